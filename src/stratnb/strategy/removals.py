"""Nulls that remove nothing: fine where the schema knows the place, a misspelling where it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from stratnb.blocks.base import Role, kinds
from stratnb.errors import Finding
from stratnb.strategy.config import IndicatorCommon
from stratnb.strategy.faults import SECTIONS, unknown_key
from stratnb.strategy.merge import Provenance
from stratnb.strategy.paths import lookup, steps
from stratnb.strategy.reading import TOP
from stratnb.strategy.spots import spot_of

__all__ = ["check_removals"]

NAMED: dict[str, Role] = {"indicators": "indicator", "filters": "filter", "exits": "exit"}
Document = Mapping[str, Any]


def check_removals(provenance: Provenance, config: Document) -> Iterator[Finding]:
    """Yield the nulls whose key no document could have there; a block's own name is free but in an override."""
    for path, source in provenance.missed.items():
        *way, key = map(str, steps(path))
        is_name = len(way) == 1 and way[0] in NAMED
        known = _known(way, key, config)
        if not known or key in known or key.startswith("x_") or (is_name and source != "override"):
            continue
        yield unknown_key(path, key, known, ".".join(way))


def _known(way: list[str], key: str, config: Document) -> Collection[str]:
    """Return the keys that may stand beside a key, none where that is told elsewhere or not known."""
    if not way:
        return TOP
    head, *rest = way
    if head in SECTIONS:
        return _fields(SECTIONS[head], rest, key)
    if head == "sizing":
        return _of_block("sizing", "sizing", "", rest, key, config)
    if head not in NAMED:
        return ()
    if rest:
        return _of_block(NAMED[head], f"{head}.{rest[0]}", rest[0], rest[1:], key, config)
    named = config.get(head, {})
    return {*(named if isinstance(named, Mapping) else ()), *kinds(NAMED[head])}


def _of_block(role: Role, path: str, kind: str, rest: list[str], key: str, config: Document) -> Collection[str]:
    """Return the keys of a block, or of what is inside it."""
    block = kinds(role).get(str(lookup(config, f"{path}.kind", kind)))
    if block is None:
        return ()
    found = _fields(block, rest, key)
    common = IndicatorCommon.model_fields if role == "indicator" else ()
    return found if rest else {*found, "kind", *common}


def _fields(model: type[BaseModel], rest: list[str], key: str) -> Collection[str]:
    holder, _ = spot_of(model, (*rest, key))
    return tuple(holder.model_fields) if holder is not None else ()
