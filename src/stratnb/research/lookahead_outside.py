"""Series that the step of a block reads beside its inputs: globals, closures, attributes and long parameters."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stratnb.blocks.base import Block
from stratnb.kernels.jit import STEP, Kernel, PythonKernel
from stratnb.market_data.candles import VALUES, Candles

__all__ = ["Outside", "blinded", "outside"]

LEAST = 32
DEPTH = 4
_PLAIN = (str, bytes, int, float, complex, bool, type(None))


@dataclass(frozen=True, slots=True)
class Outside:
    """A series that is known to a step before the first candle: its name, and how long it is."""

    name: str
    count: int


class _Proxy:
    """Stands in for an object whose series are blinded."""

    def __init__(self, target: Any, changed: Mapping[str, Any]) -> None:
        self.__dict__.update(changed)
        self.__dict__["_target"] = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_target"], name)


def outside(block: Block, counts: frozenset[int]) -> list[Outside]:
    """Return the series of one value per candle (of one of these `counts`) that the block brings along."""
    found: dict[str, int] = {}
    parameters = len(block.p())
    if parameters in counts and parameters >= LEAST:
        found["p"] = parameters
    step = type(block).step
    if isinstance(step, Kernel):
        for name, value in _read(step.function, set()):
            count = _count(value, counts)
            if count:
                found[name] = count
    return [Outside(name, count) for name, count in found.items()]


def blinded(block: Block, counts: frozenset[int], keep: Mapping[int, int]) -> Kernel[..., None]:
    """Return the block's step with the series it brings along made wild from `keep[count]` on, in plain Python."""
    blind = partial(_blind, counts=counts, keep=keep, depth=0)
    step: PythonKernel[..., None] = PythonKernel(_rebuilt(type(block).step.function, blind, {}), STEP)
    return step


def _read(function: Callable[..., Any], seen: set[int], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a function names outside of itself: globals, closures, defaults, and what these name."""
    function = getattr(function, "py_func", function)
    code = getattr(function, "__code__", None)
    if code is None or id(code) in seen:
        return
    seen.add(id(code))
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    values = [(name, cell.cell_contents) for name, cell in cells if _filled(cell)]
    values += [(name, function.__globals__[name]) for name in _names(code) if name in function.__globals__]
    values += [(f"default of {path or function.__name__}", value) for value in function.__defaults__ or ()]
    for name, value in values:
        yield name, value
        if callable(value) and not isinstance(value, type):
            yield from _read(value, seen, name)


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that a code object and those within it read."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _count(value: Any, counts: frozenset[int], depth: int = 0) -> int:
    """Return the length of the series in a value, 0 when there is none of a length in `counts`."""
    if isinstance(value, _PLAIN) or depth > DEPTH:
        return 0
    length = _length(value)
    if length in counts and length >= LEAST:
        return length
    return max((_count(part, counts, depth + 1) for _, part in _parts(value)), default=0)


def _length(value: Any) -> int:
    """Return the length of an array, frame, series, candles, or a list or mapping of numbers."""
    if isinstance(value, np.ndarray | Candles) or (hasattr(value, "iloc") and hasattr(value, "index")):
        return len(value)
    if isinstance(value, list | tuple) and value and isinstance(value[0], int | float | np.number):
        return len(value)
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(x, int | float | np.number) for x in list(value.values())[:3])
    ):
        return len(value)
    return 0


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of a container or of an object of a user's class, by key or attribute."""
    if isinstance(value, dict):
        yield from list(value.items())[:64]
    elif isinstance(value, list | tuple):
        yield from enumerate(value[:64])
    elif (not isinstance(value, types.ModuleType) and not callable(value)) or isinstance(value, type):
        module = value.__module__ if isinstance(value, type) else type(value).__module__
        if module.split(".")[0] not in ("numpy", "numba", "pandas", "stratnb", "pydantic", "builtins", "math"):
            yield from list(getattr(value, "__dict__", {}).items())


def _blind(value: Any, counts: frozenset[int], keep: Mapping[int, int], depth: int) -> Any:
    """Return the value with its series made wild behind what was known."""
    if not _count(value, counts, depth):
        return value
    length = _length(value)
    if length in keep:
        return _wild(value, keep[length])
    parts = {key: _blind(part, counts, keep, depth + 1) for key, part in _parts(value)}
    if isinstance(value, dict):
        return {**value, **parts}
    if isinstance(value, list | tuple):
        return type(value)([parts.get(k, part) for k, part in enumerate(value)])
    return _Proxy(value, parts)


def _wild(value: Any, known: int) -> Any:
    """Return a copy whose values from `known` on are others."""
    if isinstance(value, np.ndarray):
        copy = value.copy()
        copy[known:] = copy[known:] * -3 - 7 if value.dtype.kind in "fiu" else copy[:1]
        return copy
    if isinstance(value, Candles):
        return _Proxy(value, {name: _wild(getattr(value, name), known) for name in VALUES})
    if isinstance(value, dict):
        return {key: x if k < known else x * -3 - 7 for k, (key, x) in enumerate(value.items())}
    if isinstance(value, list | tuple):
        return type(value)([x if k < known else x * -3 - 7 for k, x in enumerate(value)])
    copy = value.astype(float)
    copy.iloc[known:] = copy.iloc[known:] * -3.0 - 7.0
    return copy


def _rebuilt(
    function: Callable[..., Any], blind: Callable[[Any], Any], made: dict[int, Callable[..., Any]]
) -> Callable[..., Any]:
    """Return a function of the same code that reads blinded values; what it calls is rebuilt as well."""
    function = getattr(function, "py_func", function)
    if id(function) in made:
        return made[id(function)]
    names, given = dict(function.__globals__), function.__closure__ or ()
    cells = tuple(types.CellType() if _filled(cell) else cell for cell in given)
    defaults = tuple(map(blind, function.__defaults__ or ())) or None
    copy = made[id(function)] = types.FunctionType(function.__code__, names, function.__name__, defaults, cells or None)
    for name in _names(function.__code__):
        if name in names:
            names[name] = _changed(names[name], blind, made)
    for cell, old in zip(cells, given, strict=True):
        if cell is not old:
            cell.cell_contents = _changed(old.cell_contents, blind, made)
    return copy


def _changed(value: Any, blind: Callable[[Any], Any], made: dict[int, Callable[..., Any]]) -> Any:
    is_function = isinstance(getattr(value, "py_func", value), types.FunctionType)
    own = is_function and (getattr(value, "__module__", "") or "").split(".")[0] not in ("numpy", "numba", "math")
    return _rebuilt(value, blind, made) if own else blind(value)
