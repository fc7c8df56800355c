"""The JSON Schema: complete, closed, deterministic, and the committed copy is current."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stratnb.blocks.base import ROLES, Role, kinds
from stratnb.strategy.documents import build_config, library, load_document
from stratnb.strategy.schema import dumps, json_schema

COPY = Path(__file__).parents[1] / "docs" / "strategy.schema.json"
BLOCKS = [
    (role, kind) for role in ROLES for kind, cls in sorted(kinds(role).items()) if cls.__module__.startswith("stratnb.")
]


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema inside a schema."""
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object":
            yield node
        for item in node.values():
            yield from objects(item)
    elif isinstance(node, list):
        for item in node:
            yield from objects(item)


def references(node: Any) -> Iterator[str]:
    """Yield every reference inside a schema."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for item in node.values():
            yield from references(item)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_the_committed_copy_is_current() -> None:
    code = "from stratnb.strategy.schema import dumps; print(dumps(shipped_only=True), end='')"
    hint = f'write it again: python -c "{code}" > docs/strategy.schema.json'
    assert COPY.read_text(encoding="utf-8") == dumps(shipped_only=True), hint


def test_it_is_deterministic_and_plain_json() -> None:
    assert dumps() == dumps()
    assert json.loads(dumps()) == json_schema()


def test_every_object_is_closed_but_for_ignored_keys() -> None:
    found = list(objects(json_schema()))
    assert len(found) > 30
    assert all(part["additionalProperties"] is False and part["patternProperties"]["^x_"] is True for part in found)


def test_every_reference_leads_somewhere() -> None:
    schema = json_schema()
    for reference in references(schema):
        target: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_told_apart_by_kind(role: Role) -> None:
    union = json_schema()["$defs"][role]
    assert set(union["discriminator"]["mapping"]) == set(kinds(role))
    assert union["discriminator"]["propertyName"] == "kind"
    assert union["required"] == ["kind"]


@pytest.mark.parametrize(("role", "kind"), BLOCKS)
def test_a_block_schema_has_what_a_form_needs(role: Role, kind: str) -> None:
    schema = json_schema()["$defs"][f"{role}.{kind}" + (".params" if role == "analyzer" else "")]
    common = {"kind", "timeframe"} - set(kinds(role)[kind].model_fields)
    schema["properties"] = {name: part for name, part in schema["properties"].items() if name not in common}
    assert set(schema["properties"]) == set(kinds(role)[kind].model_fields)
    assert schema["description"]
    for name, part in schema["properties"].items():
        assert part["title"], name
        kinds_of = part.get("type") or [option.get("type") for option in part["anyOf"]]
        if kinds_of in ("number", "integer"):
            assert {"minimum", "exclusiveMinimum"} & set(part), f"{name} has no lower bound"
        assert "default" in part or name in schema.get("required", ()), name


def test_bounds_units_and_defaults_come_from_the_models() -> None:
    schema = json_schema()["$defs"]
    assert schema["sizing.risk"]["properties"]["fraction"] == {
        "default": 0.01,
        "exclusiveMinimum": 0,
        "maximum": 0.1,
        "title": "Equity at risk",
        "type": "number",
        "x-unit": "fraction",
    }
    assert schema["entry"]["properties"]["min_candles"]["x-unit"] == "candles"


def test_rules_between_fields_are_listed() -> None:
    rules = json_schema()["x-rules"]
    assert rules == sorted(rules)
    assert any("levels[].at rises strictly" in rule for rule in rules)


def test_documents_and_configurations_fit() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)
    for name in library():
        written = json.loads(json.dumps(dict(load_document(name).mapping)))
        for document in (written, build_config(name).config.to_document()):
            assert [error.message for error in validator.iter_errors(document)] == []
    flat = {"schema": 1, "name": "a", "analyzers": [{"kind": "ema", "fast": 9, "x_a": 1}], "exits": {"stop_loss": {}}}
    named = {**flat, "exits": {"hard": {"kind": "stop_loss"}}, "filters": {"blind_zone": None}}
    assert validator.is_valid(flat)
    assert validator.is_valid(named)
    for broken in (
        {**flat, "foo": 1},
        {**flat, "schema": 2},
        {**flat, "analyzers": [{"kind": "emma"}]},
        {**flat, "analyzers": [{"kind": "ema", "fst": 9}]},
        {**flat, "exits": {"hard": {}}},
        {**flat, "entry": {"min_score": 25}},
    ):
        assert not validator.is_valid(broken), broken
