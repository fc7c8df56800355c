"""The space of a sweep: axes of values by document path, and the numbering of its trials."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.strategy.faults import fault, shown
from stratnb.strategy.parsing import plain
from stratnb.strategy.paths import join, leaves, lookup, nodes, steps

__all__ = ["Axis", "Method", "Range", "Space", "axes_of", "path_faults", "place_of"]

Method: TypeAlias = Literal["grid", "random", "optuna"]
Given: TypeAlias = "Range | Iterable[Any]"
MOST_VALUES = 10_000_000
LISTED = 10_000
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `start` to `stop`, both included: in steps, a `count` of them, or (random, optuna) any between.

    Whole ends give whole numbers, one apart unless a step or count is given. With `log` the values are equally far
    apart in their logarithms; a step is then no choice.

    >>> list(Range(0.1, 0.3, step=0.1)), list(Range(1, 100, count=3, log=True)), list(Range(2, 4))
    ([0.1, 0.2, 0.3], [1, 10, 100], [2, 3, 4])
    """

    start: float
    stop: float
    step: float | None = None
    count: int | None = None
    log: bool = False

    def __repr__(self) -> str:
        """Return how it is written."""
        more = [
            f"{name}={value!r}" for name, value in (("step", self.step), ("count", self.count)) if value is not None
        ]
        return f"Range({', '.join([repr(self.start), repr(self.stop), *more, *(['log=True'] if self.log else [])])})"

    @property
    def is_whole(self) -> bool:
        """Tell whether all values are whole numbers."""
        given = [self.start, self.stop] if self.step is None else [self.start, self.stop, self.step]
        return all(isinstance(value, (int, np.integer)) for value in given)

    @property
    def is_continuous(self) -> bool:
        """Tell whether any number between the ends is a value."""
        return self.step is None and self.count is None and not self.is_whole

    def __len__(self) -> int:
        """Return how many values there are."""
        if self.count is not None:
            return len(self._spread()) if self.is_whole else int(self.count)
        if self.is_whole:
            return (int(self.stop) - int(self.start)) // int(self._by) + 1
        return int((_decimal(self.stop) - _decimal(self.start)) / _decimal(self._by)) + 1

    def __getitem__(self, k: int) -> float:
        """Return value k, counted from 0."""
        if not 0 <= k < len(self):
            raise IndexError(k)
        if self.count is not None:
            return self._spread()[k] if self.is_whole else self._between(k)
        if self.is_whole:
            return int(self.start) + k * int(self._by)
        return float(_decimal(self.start) + k * _decimal(self._by))

    def __iter__(self) -> Iterator[float]:
        """Yield the values in order."""
        if self.count is not None and self.is_whole:
            return iter(self._spread())
        return (self[k] for k in range(len(self)))

    def at(self, share: float) -> float:
        """Return the number at a share (0 to 1) of the way from start to stop."""
        low, high = float(self.start), float(self.stop)
        if self.log:
            found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            found = low + share * (high - low)
        return min(max(found, low), high)

    @property
    def _by(self) -> float:
        """Return how far apart two values are: one unless it is said."""
        return 1 if self.step is None else self.step

    def _between(self, k: int) -> float:
        if self.count == 1 or k == 0:
            return float(self.start)
        if k == int(self.count or 0) - 1:
            return float(self.stop)
        return float(f"{self.at(k / (int(self.count or 0) - 1)):.12g}")

    def _spread(self) -> list[int]:
        """Return the different whole numbers nearest to equal distances."""
        count = int(self.count or 0)
        return sorted({round(self.at(k / (count - 1) if count > 1 else 0.0)) for k in range(count)})

    def faults(self, path: str) -> list[Finding]:
        """Return what is wrong with the range."""
        ends = (self.start, self.stop, *(() if self.step is None else (self.step,)))
        if not all(_is_number(value) for value in ends):
            return [fault(path, "type", f"{self!r} is not made of finite numbers", self, "write Range(5, 50, step=5)")]
        if self.start > self.stop:
            hint = f"write Range({self.stop!r}, {self.start!r})"
            return [fault(path, "range_reversed", f"{self!r} ends before it starts", self, hint)]
        if self.step is not None and (self.count is not None or self.log):
            other = "count" if self.count is not None else "log"
            return [fault(path, "range_ambiguous", f"{self!r} has a step and {other}", self, "keep one of them")]
        if self.step is not None and self.step <= 0:
            return [fault(path, "range_empty", f"{self!r} has a step that is not above 0", self, "write step=1")]
        if self.count is not None and not (isinstance(self.count, int) and 1 <= self.count <= MOST_VALUES):
            return [fault(path, "range_empty", f"{self!r} has no values", self, "write count=10")]
        if self.log and self.start <= 0:
            return [fault(path, "range_log", f"{self!r} has no logarithm at its start", self, "start above 0")]
        if self.log and self.is_whole and self.count is None:
            return [fault(path, "range_log", f"{self!r} does not say how many values", self, "write count=10")]
        return []


@dataclass(frozen=True)
class Axis:
    """The values of one path, in order."""

    path: str
    values: Range | tuple[Any, ...]

    @property
    def is_continuous(self) -> bool:
        """Tell whether the values cannot be counted."""
        return isinstance(self.values, Range) and self.values.is_continuous

    @property
    def is_ordered(self) -> bool:
        """Tell whether the values are numbers, so that neighbours mean something."""
        return isinstance(self.values, Range) or all(_is_number(value) for value in self.values)

    @cached_property
    def kind(self) -> Literal["int", "float", "bool", "text", "json"]:
        """Return how the values are kept in a column."""
        if isinstance(self.values, Range):
            return "int" if self.values.is_whole else "float"
        kinds = {type(value) for value in self.values}
        for kind, name in ((int, "int"), (bool, "bool"), (str, "text")):
            if kinds == {kind}:
                return name  # type: ignore[return-value]
        return "float" if kinds <= {int, float} else "json"

    def __len__(self) -> int:
        """Return how many values there are, of those that can be counted."""
        return len(self.values)

    def value(self, k: int) -> Any:
        """Return value k."""
        return self.values[k] if self._listed is None else self._listed[k]

    @cached_property
    def _listed(self) -> tuple[Any, ...] | None:
        """Return all values of an axis that has few."""
        if isinstance(self.values, tuple):
            return self.values
        return tuple(self.values) if len(self.values) <= LISTED else None


@dataclass(frozen=True)
class Space:
    """The axes of a sweep and how its trials are chosen; trial k is the same in every process.

    A grid counts through all combinations, the last axis fastest. Random trials are different cells of the grid, or
    with a continuous axis drawn one by one; both depend on `seed` only. Optuna's trials are known when they are asked.
    """

    axes: tuple[Axis, ...]
    method: Method = "grid"
    trials: int | None = None
    seed: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of the axes."""
        return tuple(axis.path for axis in self.axes)

    @property
    def is_continuous(self) -> bool:
        """Tell whether an axis has values that cannot be counted."""
        return any(axis.is_continuous for axis in self.axes)

    @cached_property
    def cells(self) -> int:
        """Return how many combinations there are; nothing is made for it."""
        return math.prod(len(axis) for axis in self.axes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Return the numbers of values along the axes."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def count(self) -> int:
        """Return how many trials there are."""
        if self.method == "grid":
            return self.cells
        wanted = int(self.trials or 0)
        return wanted if self.is_continuous or self.method == "optuna" else min(wanted, self.cells)

    def values(self, trial: int) -> tuple[Any, ...]:
        """Return the values of a trial of a grid or of random trials, one an axis."""
        if self.method == "random" and self.is_continuous:
            shares = np.random.default_rng([self.seed, trial]).random(len(self.axes))
            return tuple(self._drawn(axis, float(share)) for axis, share in zip(self.axes, shares, strict=True))
        return tuple(axis.value(k) for axis, k in zip(self.axes, self.place(trial), strict=True))

    def place(self, trial: int) -> tuple[int, ...]:
        """Return the place of a trial in the grid, an index an axis."""
        return place_of(self._drawn_cells[trial] if self.method == "random" else trial, self.shape)

    @cached_property
    def _drawn_cells(self) -> list[int]:
        return random.Random(self.seed).sample(range(self.cells), self.count)

    @staticmethod
    def _drawn(axis: Axis, share: float) -> Any:
        if isinstance(axis.values, Range) and axis.is_continuous:
            return axis.values.at(share)
        return axis.value(min(int(share * len(axis)), len(axis) - 1))

    def described(self) -> dict[str, Any]:
        """Return the space as plain values that tell it from another one."""
        axes = {
            axis.path: [axis.values.start, axis.values.stop, axis.values.step, axis.values.count, axis.values.log]
            if isinstance(axis.values, Range)
            else list(axis.values)
            for axis in self.axes
        }
        return {"axes": list(axes.items()), "method": self.method, "trials": self.trials, "seed": self.seed}


def place_of(cell: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of a cell of a grid, the last axis fastest.

    >>> place_of(5, (2, 3))
    (1, 2)
    """
    found = []
    for size in reversed(shape):
        cell, k = divmod(cell, size)
        found.append(k)
    return tuple(reversed(found))


def axes_of(given: Mapping[str, Given]) -> tuple[tuple[Axis, ...], list[Finding]]:
    """Return the axes of a mapping from paths to ranges or sequences of plain values, and what is wrong with it."""
    if not isinstance(given, Mapping) or not given:
        hint = "write {'analyzers[0].params.fast': Range(5, 50, step=5)}"
        return (), [fault("", "type", "the space is not a mapping of paths to values", repr(given)[:80], hint)]
    axes: list[Axis] = []
    findings: list[Finding] = []
    for path, values in given.items():
        if isinstance(values, Range):
            faults = values.faults(str(path))
            axes += [] if faults else [Axis(str(path), _plain_range(values))]
        else:
            axis, faults = _explicit(str(path), values)
            axes += [axis] if axis is not None else []
        findings += faults
    return tuple(axes), findings


def path_faults(paths: Iterable[str], *documents: Mapping[str, Any]) -> list[Finding]:
    """Return the paths that are in none of the documents, with the nearest that are."""
    paths = list(paths)
    if all(any(_is_in(document, path) for document in documents) for path in paths):
        return []
    known = dict.fromkeys(path for document in documents for path in nodes(document))
    values = [path for document in documents for path, _ in leaves(document)]
    ends = {path: path.rsplit(".", 1)[-1] for path in dict.fromkeys(values)}
    found = []
    for path in (path for path in paths if path not in known):
        last = path.rsplit(".", 1)[-1]
        close = nearest(path, ends, limit=1) or tuple(at for at, end in ends.items() if end == last)[:3]
        if not close:
            words = nearest(last, set(ends.values()), limit=1)
            close = tuple(at for at, end in ends.items() if end in words)[:3]
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?" if close else "see build_config(...).config.to_document()"
        )
        found.append(fault(path, "unknown_path", "the strategy has no such path", path, hint))
    return found


def _is_in(document: Mapping[str, Any], path: str) -> bool:
    """Tell whether a path, written as `nodes` writes it, leads to something; keys with dots are not looked for."""
    try:
        return join("", *steps(path)) == path and lookup(document, path, _ABSENT) is not _ABSENT
    except ConfigError:
        return False


def _explicit(path: str, values: Any) -> tuple[Axis | None, list[Finding]]:
    """Return the axis of explicit values."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        hint = "write a list of values, or Range(5, 50, step=5)"
        return None, [fault(path, "type", f"{shown(values)} is not a list of values", repr(values)[:80], hint)]
    copied, findings = plain({"values": list(values)})
    findings = [Finding(path, f.code, f.message, f.value, f.hint) for f in findings]
    listed = copied.get("values", [])
    if not listed:
        findings.append(fault(path, "range_empty", "there are no values", None, "give one at least"))
    unlike = {repr(value) for value in listed}
    if len(unlike) < len(listed):
        findings.append(fault(path, "duplicate_value", "a value is given twice", listed[:20], "give each once"))
    return Axis(path, tuple(listed)), findings


def _plain_range(given: Range) -> Range:
    """Return a range of Python numbers."""
    step = None if given.step is None else _python(given.step)
    return Range(_python(given.start), _python(given.stop), step, given.count, bool(given.log))


def _python(value: Any) -> float:
    """Return a number of numpy's as Python's."""
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(_python(value)))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return math.isfinite(float(value))
