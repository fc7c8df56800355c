"""JSON Schema 2020-12 of strategy documents, generated from the models; forms and editors are built on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from stratnb.blocks.base import ROLES, Block, Role, kinds
from stratnb.strategy.config import SCHEMA, AnalyzerCommon, Header, IndicatorCommon
from stratnb.strategy.faults import SECTIONS

__all__ = ["dumps", "json_schema"]

IGNORED = {"^x_": True}
REF = "#/$defs/"
RULES = (
    "analyzers: at least one is enabled, the enabled weights add up to more than 0, about 1; names are unique",
    "analyzers[]: min_confidence is below max_confidence; a parameter is written in params or beside kind, not in both",
    "blocks: fast is below slow, oversold below overbought, confidence_floor below confidence_cap",
    "blocks: no more than 5000 candles of warm-up",
    "exits: levels[].at rises strictly; the sum of levels[].close is at most 1",
    "exits: on_hit names only effects whose block is present; start has exactly one of immediately, targets, profit",
    "entry: by mode, min_confidence is 0.6 (vote), 0.75 (weighted), 0.5 (coverage); min_score is 0.45 in weighted",
    "exits: breakeven.offset is below the first levels[].at; a start after n targets needs n levels",
    "indicators: on names candle columns or other indicators, without a circle",
    "market: on spot the direction is long and the leverage 1",
    "name: equals the stem of the file",
    "null removes an inherited value; under risk it switches the rule off",
    "sizing: risk needs a stop_loss",
    "timeframes: entry and detail divide primary; primary < trend < trend2 < context, each a multiple of primary",
    "timeframes: a role that an enabled block reads is set",
)


def json_schema(*, shipped_only: bool = False) -> dict[str, Any]:
    """Return the schema of a document, with a definition per section and per kind of block.

    Blocks registered by the user are included unless `shipped_only`. The result is deterministic.
    """
    tables = {role: _classes(role, shipped_only=shipped_only) for role in ROLES}
    defs: dict[str, Any] = {}
    for role, table in tables.items():
        for kind, cls in sorted(table.items()):
            defs[f"{role}.{kind}"] = _block_object(role, kind, cls)
            if role == "analyzer":
                defs[f"analyzer.{kind}.params"] = _object(cls)
        defs[role] = _one_of(role, sorted(table))
    defs.update({name: _object(model) for name, model in SECTIONS.items()})
    top = _object(Header)
    top["properties"] |= {
        "schema": {"const": SCHEMA, "title": "Schema version"},
        "analyzers": {"type": "array", "minItems": 1, "items": {"$ref": f"{REF}analyzer"}, "title": "Analyzers"},
        "sizing": {"$ref": f"{REF}sizing"},
        "indicators": _named("indicator", tables["indicator"], "Indicators"),
        "filters": _named("filter", tables["filter"], "Filters"),
        "exits": _named("exit", tables["exit"], "Exits"),
        **{name: {"$ref": f"{REF}{name}"} for name in SECTIONS},
    }
    top |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Strategy document",
        "required": ["schema", "name", "analyzers", "exits"],
        "$defs": defs,
        "x-rules": sorted(RULES),
    }
    return _sorted(top)


def dumps(*, shipped_only: bool = False) -> str:
    """Return the schema as indented JSON with a final newline."""
    return json.dumps(json_schema(shipped_only=shipped_only), indent=1, ensure_ascii=False) + "\n"


def _classes(role: Role, *, shipped_only: bool) -> dict[str, type[Block]]:
    return {kind: cls for kind, cls in kinds(role).items() if not shipped_only or cls.__module__.startswith("stratnb.")}


def _object(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a model without references: closed but for keys that start with x_."""
    written = model.model_json_schema()
    closed = _closed(written, written.get("$defs", {}))
    return {key: value for key, value in closed.items() if key != "$defs"}


def _closed(node: Any, defs: Mapping[str, Any]) -> Any:
    """Return a schema node with its references resolved and `x_` keys let through in every object."""
    if isinstance(node, list):
        return [_closed(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[1]]
        return _closed({**target, **{key: value for key, value in node.items() if key != "$ref"}}, defs)
    found = {key: value if key in ("default", "enum", "const") else _closed(value, defs) for key, value in node.items()}
    if found.get("type") == "object" and "properties" in found:
        found |= {"additionalProperties": False, "patternProperties": IGNORED}
    return found


def _block_object(role: Role, kind: str, cls: type[Block]) -> dict[str, Any]:
    """Return the schema of a block as it stands in a document."""
    own = _object(cls)
    properties = own["properties"]
    if role == "analyzer":
        common = _object(AnalyzerCommon)["properties"]
        flat = {name: {"$ref": f"{REF}analyzer.{kind}.params/properties/{name}"} for name in properties}
        properties = {**flat, **common, "params": {"$ref": f"{REF}analyzer.{kind}.params"}}
        own = {**own, "x-flat": sorted(flat)}
        own.pop("required", None)
    if role == "indicator":
        properties = {**properties, **_object(IndicatorCommon)["properties"]}
    return {**own, "properties": {**properties, "kind": {"const": kind, "title": "Kind"}}}


def _one_of(role: Role, found: list[str]) -> dict[str, Any]:
    """Return the union of a role's kinds, told apart by `kind`."""
    mapping = {kind: f"{REF}{role}.{kind}" for kind in found}
    return {
        "type": "object",
        "required": ["kind"],
        "oneOf": [{"$ref": place} for place in mapping.values()],
        "discriminator": {"propertyName": "kind", "mapping": mapping},
    }


def _named(role: Role, table: Mapping[str, type[Block]], title: str) -> dict[str, Any]:
    """Return the schema of a mapping from names to blocks; a name that is a kind may leave `kind` out, null removes."""
    other = "|".join(sorted(table))
    return {
        "type": "object",
        "title": title,
        "properties": {
            kind: {"anyOf": [{"$ref": f"{REF}{role}.{kind}"}, {"$ref": f"{REF}{role}"}, {"type": "null"}]}
            for kind in table
        },
        "patternProperties": {
            **IGNORED,
            f"^(?!({other})$|x_)[a-z][a-z0-9_]{{0,31}}$": {"anyOf": [{"$ref": f"{REF}{role}"}, {"type": "null"}]},
        },
        "additionalProperties": False,
    }


def _sorted(node: dict[str, Any]) -> dict[str, Any]:
    """Return the node with sorted keys, but properties in the order of the fields."""
    return {
        key: {name: _ordered(item) for name, item in value.items()} if key == "properties" else _ordered(value)
        for key, value in sorted(node.items())
    }


def _ordered(node: Any) -> Any:
    """Return any part of a schema with sorted keys."""
    if isinstance(node, list):
        return [_ordered(item) for item in node]
    return _sorted(node) if isinstance(node, dict) else node
