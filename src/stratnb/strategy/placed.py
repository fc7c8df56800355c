"""Single numbers and words of a document: in which block or section they stand, and what it is with others there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from stratnb.strategy.paths import lookup, steps
from stratnb.strategy.reading import Parts, read_spot

__all__ = ["NAMED", "WHOLE", "Places", "Spot", "is_loose", "is_scalar", "read_placed", "spots_of"]

NAMED = ("indicators", "filters", "exits")
WHOLE = ("entry", "refine", "risk", "execution", "capital", "state", "sizing")
_ABSENT = object()

Spot: TypeAlias = "tuple[str, str | int]"
Way: TypeAlias = "tuple[str | int, ...]"
Places: TypeAlias = "tuple[tuple[int, Way], ...]"


def is_scalar(value: object) -> bool:
    """Tell whether a value is a single number or word."""
    return isinstance(value, (bool, int, float, str))


def is_loose(path: str, paths: Sequence[str]) -> bool:
    """Tell whether a scalar at a path touches one block or section only, whatever stands at the other paths."""
    way = steps(path)
    deep = len(way) >= 3 if way[0] in (*NAMED, "analyzers") else len(way) >= 2 and way[0] in WHOLE
    others = [other for other in paths if other != path]
    nested = any(a.startswith((f"{b}.", f"{b}[")) for o in others for a, b in ((path, o), (o, path)))
    return deep and way[-1] != "kind" and not nested and list(paths).count(path) == 1


def spots_of(document: Mapping[str, Any], paths: Sequence[str], loose: Sequence[int]) -> dict[Spot, Places] | None:
    """Return the loose places by block or section, None where one of them is not written in the document.

    A spot is a section and the name or number of a block in it (an empty text for a section of its own); a place is
    the number of a path and the way to it within its spot.
    """
    found: dict[Spot, Places] = {}
    for k in loose:
        path = next((at for at in (paths[k], paths[k].replace("].params.", "].")) if _has_scalar(document, at)), None)
        if path is None:
            return None
        section, *way = steps(path)
        spot: Spot = (str(section), way.pop(0) if section in (*NAMED, "analyzers") else "")
        found[spot] = (*found.get(spot, ()), (k, tuple(way)))
    return found


def read_placed(document: Mapping[str, Any], spot: Spot, values: Sequence[tuple[Way, Any]]) -> Parts:
    """Return the parts of one block or section of a document without `x_` keys, with values in their places."""
    section, key = spot
    named = section in (*NAMED, "analyzers")
    changed: Any = document[section]
    for way, value in values:
        changed = _replaced(changed, (key, *way) if named else way, value)
    parts = Parts()
    read_spot(section, key, {section: changed}, parts)
    return parts


def _has_scalar(document: Mapping[str, Any], path: str) -> bool:
    return is_scalar(lookup(document, path, _ABSENT))


def _replaced(value: Any, way: Sequence[str | int], new: Any) -> Any:
    """Return nested dicts and lists with another value at one place; only those on the way are copied."""
    if not way:
        return new
    held: Any = value[:] if isinstance(value, list) else dict(value)
    held[way[0]] = _replaced(held[way[0]], way[1:], new)
    return held
