"""Reading: a merged mapping becomes typed parts, and everything wrong in it is found at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from stratnb.blocks.base import Analyzer, Block, Exit, Filter, Indicator, Role, Sizing, kinds
from stratnb.errors import Finding
from stratnb.strategy.config import SCHEMA, AnalyzerCommon, AnalyzerEntry, Header, IndicatorCommon, IndicatorEntry
from stratnb.strategy.faults import SECTIONS, fault, not_allowed, shown, unknown_key, validated
from stratnb.strategy.paths import join
from stratnb.strategy.sections import (
    Capital,
    Entry,
    Evidence,
    Execution,
    MarketSection,
    Refine,
    Risk,
    State,
    Timeframes,
)

__all__ = ["Parts", "read", "read_spot", "without_ignored"]

B = TypeVar("B", bound=Block)
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
TOP = ("schema", *Header.model_fields, *SECTIONS, "indicators", "analyzers", "filters", "sizing", "exits")


@dataclass
class Parts:
    """The valid parts of a document; what was faulty is missing or None, and `findings` says why."""

    header: Header | None = None
    market: MarketSection | None = None
    timeframes: Timeframes | None = None
    indicators: dict[str, IndicatorEntry] = field(default_factory=dict)
    analyzers: dict[int, AnalyzerEntry] = field(default_factory=dict)
    filters: dict[str, Filter] = field(default_factory=dict)
    entry: Entry | None = None
    refine: Refine | None = None
    sizing: Sizing | None = None
    exits: dict[str, Exit] = field(default_factory=dict)
    risk: Risk | None = None
    execution: Execution | None = None
    capital: Capital | None = None
    state: State | None = None
    evidence: Evidence | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def whole(self, section: str) -> bool:
        """Tell whether no fault was found in a section, so that what it lacks is really not written."""
        return not any(re.match(rf"{section}(?![a-z0-9_])", finding.path) for finding in self.findings)


def without_ignored(value: Any, path: str = "") -> tuple[Any, dict[str, Any]]:
    """Return the value without its `x_` keys, and those by path."""
    ignored: dict[str, Any] = {}
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if key.startswith("x_"):
                ignored[join(path, key)] = item
            else:
                kept[key], inner = without_ignored(item, join(path, key))
                ignored.update(inner)
        return kept, ignored
    if isinstance(value, list):
        pairs = [without_ignored(item, join(path, n)) for n, item in enumerate(value)]
        return [item for item, _ in pairs], {at: item for _, inner in pairs for at, item in inner.items()}
    return value, ignored


def read(document: Mapping[str, Any]) -> Parts:
    """Return the parts of a merged document of plain JSON values, with every fault in it."""
    plain, extra = without_ignored(document)
    parts = Parts(extra=extra)
    parts.findings += [unknown_key(key, key, TOP) for key in plain if key not in TOP]
    _read_header(plain, parts)
    for section, model in SECTIONS.items():
        raw = plain.get(section, {})
        if section == "evidence" and section not in plain:
            continue
        if section == "refine":
            raw = _refused_refine(raw, parts)
        setattr(parts, section, _section(model, raw, section, parts))
    parts.indicators = _indicators(plain, parts)
    parts.analyzers = _analyzers(plain, parts)
    parts.filters = _named(Filter, "filter", "filters", plain.get("filters", {}), parts)
    parts.sizing = _block(Sizing, "sizing", "sizing", plain.get("sizing", {"kind": "fixed_fraction"}), "", parts)
    if "exits" not in plain:
        parts.findings.append(fault("exits", "missing", "is missing", None, 'add exits such as {"stop_loss": {}}'))
    parts.exits = _named(Exit, "exit", "exits", plain.get("exits", {}), parts)
    return parts


def read_spot(section: str, key: str | int, document: Mapping[str, Any], parts: Parts) -> None:
    """Read one spot of a document without `x_` keys into parts: a section, or one block of a section.

    `key` is the name or number of the block in its section, and not used for a section of its own.
    """
    item = document[section][key] if section in ("indicators", "analyzers", "filters", "exits") else document[section]
    if section in SECTIONS:
        raw = _refused_refine(item, parts) if section == "refine" else item
        setattr(parts, section, _section(SECTIONS[section], raw, section, parts))
    elif section == "sizing":
        parts.sizing = _block(Sizing, "sizing", "sizing", item, "", parts)
    elif section == "analyzers":
        entry = _analyzer(item, join(section, key), parts)
        parts.analyzers = _with(parts.analyzers, int(key), entry)
    elif section == "indicators":
        found = _indicator(str(key), item, document[section], parts)
        parts.indicators = _with(parts.indicators, str(key), found)
    elif section == "filters":
        parts.filters = _with(parts.filters, str(key), _named_one(Filter, "filter", section, str(key), item, parts))
    else:
        parts.exits = _with(parts.exits, str(key), _named_one(Exit, "exit", section, str(key), item, parts))


_K = TypeVar("_K")
_V = TypeVar("_V")


def _with(items: dict[_K, _V], key: _K, item: _V | None) -> dict[_K, _V]:
    """Return a copy with one item in its place, or without it."""
    return {**items, key: item} if item is not None else {name: old for name, old in items.items() if name != key}


def _read_header(plain: Mapping[str, Any], parts: Parts) -> None:
    if "schema" not in plain:
        parts.findings.append(fault("schema", "missing", "is missing", None, f'add "schema": {SCHEMA}'))
    elif plain["schema"] != SCHEMA or isinstance(plain["schema"], bool):
        message = f"{shown(plain['schema'])} is not a version that can be read"
        parts.findings.append(
            fault("schema", "schema_version", message, plain["schema"], f"this version reads {SCHEMA}")
        )
    raw = {key: plain[key] for key in Header.model_fields if key in plain}
    raw.setdefault("title", raw["name"][:120] if isinstance(raw.get("name"), str) else "")
    parts.header = _section(Header, raw, "", parts)


_M = TypeVar("_M", bound=BaseModel)


def _section(model: type[_M], raw: Any, path: str, parts: Parts) -> _M | None:
    """Return a section, or None with its faults noted."""
    if not _is_object(raw, path, parts):
        return None
    found, findings = validated(model, raw, path)
    parts.findings += findings
    return found


def _is_object(raw: Any, path: str, parts: Parts) -> bool:
    if not isinstance(raw, Mapping):
        parts.findings.append(fault(path, "type", f"{shown(raw)} is not an object", raw, "write it in {braces}"))
        return False
    return True


def _refused_refine(raw: Any, parts: Parts) -> Any:
    """Return the refine section switched off, and say so when it was on."""
    if not isinstance(raw, Mapping) or raw.get("enabled") is not True:
        return raw
    hint = "set refine.enabled to false: decisions are then filled at the next primary candle"
    parts.findings.append(
        fault("refine.enabled", "refine_unsupported", "two-stage entry is not part of this version", True, hint)
    )
    return {**raw, "enabled": False}


def _block(
    base: type[B], role: Role, path: str, raw: Any, key: str, parts: Parts, known: tuple[str, ...] = ()
) -> B | None:
    """Return the block of a raw mapping; `key` is the kind when none is written and it is one."""
    if not _is_object(raw, path, parts):
        return None
    table = kinds(role)
    kind = raw.get("kind", key)
    if "kind" not in raw and not key:
        parts.findings.append(
            fault(join(path, "kind"), "missing", "is missing", None, f"allowed: {', '.join(sorted(table))}")
        )
        return None
    if "kind" not in raw and key not in table:
        parts.findings.append(
            not_allowed(path, "unknown_kind", key, table, f"is not a known kind of {role}, and no kind is written")
        )
        return None
    if not isinstance(kind, str) or kind not in table:
        parts.findings.append(not_allowed(join(path, "kind"), "unknown_kind", kind, table))
        return None
    params = {name: value for name, value in raw.items() if name != "kind"}
    block, findings = validated(table[kind], params, path, known)
    parts.findings += findings
    return block if isinstance(block, base) else None


def _is_name(name: str, path: str, parts: Parts) -> bool:
    if NAME.fullmatch(name):
        return True
    hint = "use a-z, 0-9 and '_', starting with a letter, at most 32 characters"
    parts.findings.append(fault(path, "type", f"{shown(name)} is not a name", name, hint))
    return False


def _named(base: type[B], role: Role, section: str, raw: Any, parts: Parts) -> dict[str, B]:
    """Return the blocks of a mapping from names."""
    found: dict[str, B] = {}
    if not _is_object(raw, section, parts):
        return found
    for name, item in raw.items():
        block = _named_one(base, role, section, name, item, parts)
        if block is not None:
            found[name] = block
    return found


def _named_one(base: type[B], role: Role, section: str, name: str, item: Any, parts: Parts) -> B | None:
    path = join(section, name)
    good = _is_name(name, path, parts)
    block = _block(base, role, path, item, name, parts, ("kind",))
    return block if good else None


def _indicators(plain: Mapping[str, Any], parts: Parts) -> dict[str, IndicatorEntry]:
    """Return the named indicators; a bare name of another indicator in `on` becomes its column."""
    found: dict[str, IndicatorEntry] = {}
    raw = plain.get("indicators", {})
    if not _is_object(raw, "indicators", parts):
        return found
    for name, item in raw.items():
        entry = _indicator(name, item, raw, parts)
        if entry is not None:
            found[name] = entry
    return found


def _indicator(name: str, item: Any, named: Mapping[str, Any], parts: Parts) -> IndicatorEntry | None:
    """Return one indicator; `named` are all of the document."""
    path = join("indicators", name)
    good = _is_name(name, path, parts)
    if not _is_object(item, path, parts):
        return None
    rest = {key: value for key, value in item.items() if key != "timeframe"}
    common = {key: value for key, value in item.items() if key == "timeframe"}
    if isinstance(rest.get("on"), list):
        rest["on"] = [f"ind.{c}" if isinstance(c, str) and c.partition(".")[0] in named else c for c in rest["on"]]
    head = _section(IndicatorCommon, common, path, parts)
    block = _block(Indicator, "indicator", path, rest, name, parts, ("kind", "timeframe"))
    return IndicatorEntry(timeframe=head.timeframe, block=block) if good and head and block else None


def _analyzers(plain: Mapping[str, Any], parts: Parts) -> dict[int, AnalyzerEntry]:
    """Return the valid analyzers by their place in the list."""
    raw = plain.get("analyzers")
    if raw is None:
        hint = 'add a list such as [{"kind": "ema"}]'
        parts.findings.append(fault("analyzers", "missing", "is missing", None, hint))
        return {}
    if not isinstance(raw, list):
        parts.findings.append(fault("analyzers", "type", f"{shown(raw)} is not a list", raw, "write it in [brackets]"))
        return {}
    entries = {n: _analyzer(item, join("analyzers", n), parts) for n, item in enumerate(raw)}
    return {n: entry for n, entry in entries.items() if entry is not None}


def _analyzer(raw: Any, path: str, parts: Parts) -> AnalyzerEntry | None:
    """Return one analyzer; parameters may stand in `params` or beside `kind`."""
    if not _is_object(raw, path, parts):
        return None
    kind = raw.get("kind")
    common = {key: value for key, value in raw.items() if key in AnalyzerCommon.model_fields}
    common.setdefault("kind", "")
    common.setdefault("name", kind if isinstance(kind, str) and NAME.fullmatch(kind) else "unnamed")
    head = None
    if isinstance(kind, str) or kind is None:
        head = _section(AnalyzerCommon, common, path, parts)
    params = raw.get("params", {})
    if not _is_object(params, join(path, "params"), parts):
        return None
    flat = {key: value for key, value in raw.items() if key not in AnalyzerCommon.model_fields and key != "params"}
    for key in flat.keys() & params.keys():
        message = f"{key!r} is written twice, here and in params"
        parts.findings.append(fault(join(path, key), "duplicate_key", message, flat[key], "keep one of them"))
    block = _params(kind, raw, {**flat, **params}, path, set(flat), parts)
    return AnalyzerEntry(**dict(head), params=block) if head and block else None


def _params(
    kind: object, raw: Mapping[str, Any], params: dict[str, Any], path: str, flat: set[str], parts: Parts
) -> Analyzer | None:
    """Return the analyzer block; faults point to where the parameter was written."""
    before = len(parts.findings)
    if "kind" in params:
        params.pop("kind")
        parts.findings.append(
            fault(join(path, "params.kind"), "unknown_key", "key 'kind' is not a parameter", None, "remove it")
        )
    written = {"kind": kind} if "kind" in raw else {}
    known = (*AnalyzerCommon.model_fields, "params")
    block = _block(Analyzer, "analyzer", path, {**written, **params}, "", parts, known if flat else ())
    inside = [key for key in params if key not in flat]
    for n, finding in enumerate(parts.findings[before:], before):
        rest = finding.path.removeprefix(path + ".")
        if any(re.match(rf"{re.escape(key)}(\.|\[|$)", rest) for key in inside):
            moved = join(path, "params") + "." + rest
            parts.findings[n] = Finding(moved, finding.code, finding.message, finding.value, finding.hint)
    return block
