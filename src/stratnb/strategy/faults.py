"""Findings from pydantic errors: what is wrong, with which value, and what to do."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stratnb.blocks.base import ROLES as BLOCK_ROLES
from stratnb.blocks.base import kinds
from stratnb.errors import Finding, nearest
from stratnb.strategy.config import AnalyzerCommon, Header, IndicatorCommon
from stratnb.strategy.paths import join
from stratnb.strategy.sections import (
    Capital,
    Entry,
    Evidence,
    Execution,
    MarketSection,
    Refine,
    Risk,
    Section,
    Simulation,
    State,
    Timeframes,
)
from stratnb.strategy.spots import BOUNDS, Spot, fits, spot_of, words_of

__all__ = [
    "LATER",
    "SECTIONS",
    "fault",
    "not_allowed",
    "place_hint",
    "shown",
    "unknown_key",
    "validated",
    "warning",
]

M = TypeVar("M", bound=BaseModel)

SECTIONS: dict[str, type[Section]] = {
    "market": MarketSection,
    "timeframes": Timeframes,
    "entry": Entry,
    "refine": Refine,
    "risk": Risk,
    "execution": Execution,
    "capital": Capital,
    "state": State,
    "evidence": Evidence,
}
LATER: dict[str, frozenset[str]] = {
    "execution": frozenset({"exchange_stop"}),
}
_PLACES = {
    "indicator": "indicators.<name>",
    "analyzer": "analyzers[].params",
    "filter": "filters.<name>",
    "sizing": "sizing",
    "exit": "exits.<name>",
}
_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "model": "an object",
    "dict": "an object",
}


def shown(value: object, limit: int = 60) -> str:
    """Return a value for a message, cut to `limit` characters.

    >>> shown("emma")
    "'emma'"
    """
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def fault(path: str, code: str, message: str, value: object = None, hint: str = "") -> Finding:
    """Return an error at a path."""
    return Finding(path, code, message, value, hint)


def warning(path: str, code: str, message: str, value: object = None, hint: str = "") -> Finding:
    """Return a warning at a path."""
    return Finding(path, code, message, value, hint, severity="warning")


def not_allowed(path: str, code: str, value: object, known: Collection[str], what: str = "is not known") -> Finding:
    """Return the error of a word outside a closed set, with the nearest ones."""
    close = nearest(value, known) if isinstance(value, str) else ()
    hint = f"did you mean {_words(close)}?" if close else f"allowed: {', '.join(map(repr, sorted(known)))}"
    return fault(path, code, f"{shown(value)} {what}", value, hint)


def unknown_key(path: str, key: str, known: Collection[str], level: str = "") -> Finding:
    """Return the error of a key that is not in the schema, at the level `level`."""
    if key in LATER.get(level, ()):
        return fault(path, "unknown_key", f"key {shown(key)} is not read by this version", key, "remove it")
    return fault(path, "unknown_key", f"key {shown(key)} is not known here", key, place_hint(key, known))


def place_hint(key: str, known: Collection[str]) -> str:
    """Return near keys of the same level, else where in the schema the key belongs, else the keys allowed here."""
    close = nearest(key, known)
    if close:
        return f"did you mean {_words(close)}?"
    places = _places()
    if key in places:
        return f"`{key}` belongs under {' or '.join(f'`{place}`' for place in places[key][:3])}"
    far = nearest(key, places)
    if far:
        return "; ".join(f"did you mean {word!r} under `{places[word][0]}`?" for word in far[:1])
    return f"allowed: {', '.join(sorted(known))}" if known else "remove it"


def validated(
    model: type[M], raw: Mapping[str, Any], path: str, known: Collection[str] = ()
) -> tuple[M | None, list[Finding]]:
    """Return the model of a raw mapping and every fault in it; text is never read as a number."""
    try:
        return model.model_validate_json(json.dumps(_whole(raw)), strict=True), []
    except ValidationError as error:
        lines = error.errors(include_url=False)
        faulty = {tuple(line["loc"])[:n] for line in lines for n in range(len(line["loc"]))}
        told = [line for line in lines if line["type"] != "too_short" or tuple(line["loc"]) not in faulty]
        return None, [_translated(line, model, path, known) for line in told]


def _translated(line: Any, model: type[BaseModel], path: str, known: Collection[str]) -> Finding:
    """Return the finding of one pydantic error."""
    loc, kind, value = tuple(line["loc"]), line["type"], line["input"]
    at = join(path, *loc)
    holder, info = spot_of(model, loc)
    if kind == "extra_forbidden":
        inner = () if len(loc) > 1 else known
        return unknown_key(at, str(loc[-1]), {*(holder.model_fields if holder else ()), *inner}, join(path, *loc[:-1]))
    if kind == "missing":
        return fault(at, "missing", "is missing", None, f"add {str(loc[-1])!r}")
    if kind == "literal_error":
        return not_allowed(at, "enum", value, words_of(info), "is not allowed")
    if kind == "value_error":
        code, _, text = line["msg"].removeprefix("Value error, ").partition(": ")
        return fault(at, code, text, None) if text else fault(at, "type", code, value)
    if kind == "string_pattern_mismatch":
        return fault(at, "type", f"{shown(value)} has the wrong form", value, _pattern_hint(line))
    if kind.startswith(("greater_than", "less_than", "too_", "string_too_", "finite")):
        return _out_of_range(at, value, line, info)
    wanted = next((text for start, text in _TYPES.items() if kind.startswith(start)), "another type")
    hint = f"write {wanted} without quotes" if isinstance(value, str) and "number" in wanted else f"write {wanted}"
    allowed = _allowed(info) if "number" in wanted else ""
    return fault(at, "type", f"{shown(value)} is not {wanted}", value, f"{hint}, {allowed}" if allowed else hint)


def _out_of_range(path: str, value: Any, line: Any, info: Spot) -> Finding:
    """Return `percent_suspected` for a fraction that fits after division by 100, else `range`."""
    bounds = info.bounds()
    if isinstance(value, (list, str, tuple)):
        context = line.get("ctx", {})
        length = ", ".join(
            f"{word} {context[key]}"
            for key, word in (("min_length", "at least"), ("max_length", "at most"))
            if key in context
        )
        return fault(path, "range", f"{shown(value)} has length {len(value)}", value, f"allowed length: {length}")
    divided = value / 100
    if info.is_fraction() and value > 0 and not fits(value, bounds) and fits(divided, bounds):
        hint = f"this is a fraction, not a percent: {shown(value)} % is {divided:.6g}; allowed: {_allowed(info)}"
        return fault(path, "percent_suspected", f"{shown(value)} is out of range", value, hint)
    return fault(path, "range", f"{shown(value)} is out of range", value, f"allowed: {_allowed(info)}")


def _allowed(info: Spot) -> str:
    """Return the bounds of a number in words, empty when there are none."""
    bounds = info.bounds()
    return " and ".join(f"{word} {bounds[name]:g}" for name, word in BOUNDS if name in bounds)


def _pattern_hint(line: Any) -> str:
    """Return what the well-known patterns ask for."""
    pattern = str(line.get("ctx", {}).get("pattern", ""))
    if pattern.startswith("^[a-z0-9]"):
        return "use a-z, 0-9 and '-', at most 48 characters"
    if pattern.startswith("^[a-z]"):
        return "use a-z, 0-9 and '_', starting with a letter, at most 32 characters"
    if "d{1,6}" in pattern:
        return "write three numbers like '1.0.0'"
    return "write it like 'BTC/USDT'" if "/" in pattern else f"it must match {pattern}"


def _words(words: Collection[str]) -> str:
    return " or ".join(map(repr, words))


def _whole(value: Any) -> Any:
    """Return the value with integral floats as integers, as JSON has one kind of number."""
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _places() -> dict[str, list[str]]:
    """Return where in the schema each key stands."""
    found: dict[str, list[str]] = {}
    models: list[tuple[str, type[BaseModel]]] = [("the top level", Header), *SECTIONS.items()]
    models += [
        ("execution.simulation", Simulation),
        ("analyzers[]", AnalyzerCommon),
        ("indicators.<name>", IndicatorCommon),
    ]
    models += [(_PLACES[role], cls) for role in BLOCK_ROLES for _, cls in sorted(kinds(role).items())]
    for place, model in models:
        for key in model.model_fields:
            places = found.setdefault(key, [])
            if place not in places:
                places.append(place)
    for role in BLOCK_ROLES:
        for kind in kinds(role):
            found.setdefault(kind, []).append(_PLACES[role].removesuffix(".params").removesuffix(".<name>"))
    return found
