"""Runs blocks one candle at a time without the plan, so it doubles as an oracle of the plan's driver.

`run` gives the outputs of a block on columns; `resolve` and `walk` are its two halves, for laws that save and
restore memory; `make_candles` gives seeded candles with flat stretches and candles without volume.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Block, Ref
from stratnb.kernels.jit import Kernel

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, Floats]


@dataclass
class Memory:
    """What a block keeps between candles: the number of candles it was stepped on and its own cells."""

    i: int
    state: Floats

    @classmethod
    def of(cls, block: Block) -> Memory:
        """Return the memory of a block that has seen nothing."""
        return cls(0, np.zeros(block.state_size()))

    def copy(self) -> Memory:
        """Return an independent copy."""
        return Memory(self.i, self.state.copy())


def run(block: Block, columns: Columns, *, python: bool = False) -> dict[str, Floats]:
    """Return the outputs of a block by name; references to other blocks are computed first.

    `python` runs the step and the helpers it calls as plain Python instead of compiled code.
    """
    out = walk(block, resolve(block, columns, python=python), python=python)
    return {name: np.ascontiguousarray(out[:, k]) for k, name in enumerate(block.outputs)}


def resolve(block: Block, columns: Columns, *, python: bool = False) -> Floats:
    """Return the input rows of a block, shape (candles, inputs)."""
    return _Resolver(columns, python).rows(block)


def walk(block: Block, x: Floats, memory: Memory | None = None, *, python: bool = False) -> Floats:
    """Step a block over input rows and return its output rows; `memory` is continued and changed in place.

    A candle is skipped, and its outputs stay NaN, while one of the first `required()` inputs is not finite.
    """
    memory = Memory.of(block) if memory is None else memory
    step, p, required = step_of(block, python=python), np.array(block.p(), dtype=float), block.required()
    out = np.full((len(x), len(block.outputs)), math.nan)
    ready = np.isfinite(x[:, :required]).all(axis=1)
    for row in np.flatnonzero(ready):
        step(memory.i, memory.state, x[row], out[row], p)
        memory.i += 1
    return out


def step_of(block: Block, *, python: bool = False) -> Callable[..., None]:
    """Return the step of a block, compiled or as plain Python."""
    step: Kernel[..., None] = type(block).step
    return plain(step.function) if python else step.compiled()


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with every compiled helper it names, however deep, replaced by its Python source."""
    names: dict[str, Any] = dict(function.__globals__)
    for name in function.__code__.co_names:
        source = getattr(names.get(name), "py_func", None)
        if source is not None and source is not function:
            names[name] = plain(source)
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)


def make_candles(n: int, seed: int = 0, *, start: float = 100.0, interval_ms: int = 60_000) -> dict[str, Floats]:
    """Return n seeded candles as columns: prices on a tick of 0.01, some flat stretches, some without volume."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(0.0, 0.0008, n // 40 + 1), 40)[:n]
    spread = 0.004 * np.repeat(rng.uniform(0.3, 1.7, n // 60 + 1), 60)[:n]
    close = start * np.exp(np.cumsum(drift + rng.normal(0.0, 1.0, n) * spread))
    open_ = np.concatenate(([start], close[:-1])) * (1.0 + rng.normal(0.0, 0.0003, n))
    high = np.maximum(open_, close) * (1.0 + np.abs(rng.normal(0.0, 0.5, n)) * spread)
    low = np.minimum(open_, close) * (1.0 - np.abs(rng.normal(0.0, 0.5, n)) * spread)
    prices = np.round(np.stack((open_, high, low, close)), 2)
    for first in np.flatnonzero(rng.random(n) < 0.01):
        length = int(rng.integers(1, 6))
        prices[:, first : first + length] = prices[3, first]
    volume = np.round(rng.lognormal(2.0, 0.8, n), 3)
    volume[rng.random(n) < 0.02] = 0.0
    return {
        **dict(zip(("open", "high", "low", "close"), prices, strict=True)),
        "volume": volume,
        "open_time_ms": 1_600_000_020_000.0 + interval_ms * np.arange(n, dtype=float),
    }


def make_columns(block: Block, candles: Columns, seed: int = 0) -> dict[str, Floats]:
    """Return the candles with seeded values in a plausible range for every other column the block reads."""
    columns, rng = dict(candles), np.random.default_rng(seed)
    waiting: list[Any] = list(block.inputs())
    while waiting:
        name = waiting.pop(0)
        if isinstance(name, Ref):
            waiting.extend(name.block.inputs())
        elif name not in columns:
            columns[name] = _plausible(name, candles, rng)
    return columns


def _plausible(name: str, candles: Columns, rng: np.random.Generator) -> Floats:
    """Return values for a column that is not in the candles, judged by the last part of its name."""
    n, word = len(candles["close"]), name.rpartition(".")[2]
    if word in candles:
        return candles[word].copy()
    if word == "minute_of_week":
        return np.floor(candles["open_time_ms"] / 60_000.0) % 10_080.0
    if word in ("direction", "bias", "side"):
        return rng.integers(-1, 2, n).astype(float)
    if word in ("agreeing", "long", "short", "opposing"):
        return rng.integers(0, 6, n).astype(float)
    if word in ("price", "stop", "entry_price"):
        return candles["close"] * (1.0 + rng.normal(0.0, 0.01, n))
    return rng.random(n)


@dataclass
class _Resolver:
    """Computes input rows, each distinct block once."""

    columns: Columns
    python: bool
    known: dict[tuple[str, str], Floats] = field(default_factory=dict)

    def rows(self, block: Block) -> Floats:
        """Return the input rows of a block."""
        return np.ascontiguousarray(np.stack([self._column(name) for name in block.inputs()], axis=1), dtype=float)

    def _column(self, name: str | Ref) -> Floats:
        if isinstance(name, str):
            return self.columns[name]
        block, key = name.block, (type(name.block).kind, name.block.model_dump_json())
        if key not in self.known:
            self.known[key] = walk(block, self.rows(block), python=self.python)
        output = name.output or block.outputs[0]
        return self.known[key][:, block.outputs.index(output)]
