"""Values of a sweep's space that their parameter does not accept, whatever the other parameters are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stratnb.errors import Finding
from stratnb.model import Market
from stratnb.research.space import Axis, Range
from stratnb.strategy.documents import LoadedStrategy, build_config, unreadable
from stratnb.strategy.overrides import fitted
from stratnb.strategy.placed import is_loose, is_scalar, read_placed, spots_of
from stratnb.strategy.reading import without_ignored

__all__ = ["value_faults"]

EACH, TOLD, AROUND = 1_000, 3, 20

Read = Callable[[Mapping[str, Any]], list[Finding]]


def value_faults(
    document: Mapping[str, Any],
    axes: Sequence[Axis],
    *,
    symbol: str,
    market: Market | None = None,
    overrides: Mapping[str, Any] | None = None,
    loaded: LoadedStrategy | None = None,
) -> list[Finding]:
    """Return the values of axes that their own field refuses, each with what is allowed there; no plan is built.

    A value counts as refused when it is with every value of an axis that decides what stands at its path (a kind, or a
    block around it), all others as in the document, which must be valid. What only goes wrong together, such as a fast
    length above the slow one, is no fault of a value. Of many numbers only the ends and one that is not whole are
    tried, as bounds and types leave no holes; when one of them is refused all are, up to 1,000. `loaded` is what
    `build_config` gives for the document and the overrides, if it is known.
    """
    given = dict(overrides or {})
    whole = build_config(document, overrides=given, symbol=symbol, market=market) if loaded is None else loaded

    def _read(patch: Mapping[str, Any]) -> list[Finding]:
        placed = fitted(patch, whole.merged, whole.complete)
        return unreadable(document, overrides=given | placed, symbol=symbol, market=market)

    good = _good(axes, whole.merged)
    suspected = _suspected([axis for axis in axes if axis.path not in good], _read)
    around = {axis.path: list(_around(axis, axes)) for axis in suspected}
    return [finding for axis in suspected for finding in _axis_faults(axis, around[axis.path], _read)]


def _good(axes: Sequence[Axis], merged: Mapping[str, Any]) -> set[str]:
    """Return the paths of scalars whose block or section takes each outermost value, read by itself."""
    document, _ = without_ignored(merged)
    paths, found = [axis.path for axis in axes], set()
    for k, axis in enumerate(axes):
        alone = not any(_meet(axis, other) for other in axes if other is not axis)
        spots = spots_of(document, paths, [k]) if alone and is_loose(axis.path, paths) else None
        for spot, places in (spots or {}).items():
            tried = [[(places[0][1], value)] for value in _outermost(axis)]
            if all(is_scalar(own[0][1]) and not read_placed(document, spot, own).findings for own in tried):
                found.add(axis.path)
    return found


def _suspected(axes: Sequence[Axis], read: Read) -> list[Axis]:
    """Return the axes that may have a refused value: those that meet, and those told of when all are read together."""
    alone = [axis for axis in axes if not any(_meet(axis, other) for other in axes if other is not axis)]
    values = {axis.path: list(_outermost(axis)) for axis in alone}
    found: set[str] = set()
    for k in range(max(map(len, values.values()), default=0)):
        told = read({path: own[min(k, len(own) - 1)] for path, own in values.items()})
        found |= {path for path in values if any(_is_within(finding.path, path) for finding in told)}
    return [axis for axis in axes if axis not in alone or axis.path in found]


def _meet(one: Axis, other: Axis) -> bool:
    """Tell whether one of two axes has a part in what stands at the other's path."""
    blocks = [axis.path.removesuffix(".kind") for axis in (one, other)]
    return _is_within(blocks[0], blocks[1]) or _is_within(blocks[1], blocks[0])


def _axis_faults(axis: Axis, around: Sequence[Mapping[str, Any]], read: Read) -> list[Finding]:
    """Return the faults of one axis: of the first values that are refused, and how many are."""

    def _of(value: Any) -> list[Finding]:
        found: list[Finding] = []
        for other in around:
            found = [f for f in read({**other, axis.path: value}) if _is_within(f.path, axis.path)]
            if not found:
                return []
        return [replace(finding, path=_renamed(finding.path, axis.path)) for finding in found]

    if not any(_of(value) for value in _outermost(axis)):
        return []
    values = list(_outermost(axis)) if axis.is_continuous else [axis.value(k) for k in range(min(len(axis), EACH))]
    refused = [found for value in values if (found := _of(value))]
    rest = len(refused) - TOLD
    if rest > 0:
        last = refused[TOLD - 1][-1]
        text = f"{last.message}, and {rest:,} more of its {len(axis):,} values are refused"
        refused[TOLD - 1][-1] = replace(last, message=text)
    return [finding for found in refused[:TOLD] for finding in found]


def _outermost(axis: Axis) -> Iterator[Any]:
    """Yield the values that are refused when any is: every one that is no number, of numbers the outermost."""
    if isinstance(axis.values, Range):
        if axis.is_continuous:
            yield from (axis.values.at(0.0), axis.values.at(0.381966), axis.values.at(1.0))
        else:
            yield from (axis.value(k) for k in sorted({0, min(1, len(axis) - 1), len(axis) - 1}))
        return
    numbers = [value for value in axis.values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    yield from (value for value in axis.values if isinstance(value, bool) or not isinstance(value, (int, float)))
    if numbers:
        yield from (min(numbers), max(numbers))
        yield from [value for value in numbers if isinstance(value, float) and not value.is_integer()][:1]


def _around(axis: Axis, axes: Sequence[Axis]) -> Iterator[Mapping[str, Any]]:
    """Yield what may stand around an axis: the document, then each value of axes that decide what its path means."""
    yield {}
    for other in axes:
        block = other.path.removesuffix("kind").removesuffix(".")
        decides = other.path.endswith(".kind") and _is_within(axis.path, block)
        if other is not axis and (decides or _is_within(axis.path, other.path)) and not other.is_continuous:
            yield from ({other.path: other.value(k)} for k in range(min(len(other), AROUND)))


def _is_within(path: str, outer: str) -> bool:
    """Tell whether a path is another one or lies beneath it; parameters may stand in `params` or beside `kind`."""
    path, outer = path.replace("].params.", "]."), outer.replace("].params.", "].")
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _renamed(path: str, wanted: str) -> str:
    """Return the path of a fault as the space writes it."""
    return wanted + path.replace("].params.", "].").removeprefix(wanted.replace("].params.", "]."))
