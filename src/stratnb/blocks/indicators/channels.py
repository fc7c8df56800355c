"""Extremes of price: the Donchian channel and confirmed pivots."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stratnb.blocks.base import Indicator
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import helper, kernel
from stratnb.kernels.windows import Floats, push_max

__all__ = ["Donchian", "Pivots"]


class Donchian(Indicator, kind="donchian"):
    """Highest high and lowest low of the last n candles, with or without the current one, and their middle."""

    outputs: ClassVar[tuple[str, ...]] = ("upper", "mid", "lower")
    overlays: ClassVar[tuple[str, ...]] = ("upper", "mid", "lower")

    period: int = candles(20)
    include_current: bool = Field(True, title="Include the current candle")

    def inputs(self) -> tuple[str, ...]:
        """Return high and low."""
        return ("high", "low")

    def state_size(self) -> int:
        """Return the cells of two extremes."""
        return 2 * (self.period + 2)

    def warmup(self) -> int:
        """Return the candles until the window is full."""
        return self.period if self.include_current else self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write the channel; the extremes before this candle are read before it is pushed."""
        n = int(p[0])
        upper, lower = state[0], -state[n + 2]
        top = push_max(i, state, 0, n, x[0])
        bottom = -push_max(i, state, n + 2, n, -x[1])
        first = n
        if p[1] != 0.0:
            upper, lower, first = top, bottom, n - 1
        if i >= first:
            out[0] = upper
            out[1] = 0.5 * (upper + lower)
            out[2] = lower


@helper
def is_peak(i: int, state: Floats, base: int, k: int) -> bool:
    """Tell whether the value k candles ago is above the k before it and not below the k after it.

    The ring of 2k + 1 values stands at `base`, the value of candle i at slot i % (2k + 1).
    """
    n = 2 * k + 1
    value = state[base + (i - k) % n]
    peak = True
    for j in range(1, k + 1):
        if value <= state[base + (i - k - j) % n] or value < state[base + (i - k + j) % n]:
            peak = False
    return peak


class Pivots(Indicator, kind="pivots"):
    """The latest confirmed pivot high and low with their ages.

    A pivot high stands above the k highs before it and not below the k after it, and is known k candles later; a
    pivot low mirrors it. The age counts candles since the pivot itself, so it is k when the pivot becomes known. Each
    side is NaN until it has a pivot.
    """

    outputs: ClassVar[tuple[str, ...]] = ("high", "high_age", "low", "low_age")
    overlays: ClassVar[tuple[str, ...]] = ("high", "low")

    k: int = candles(3, "Candles on each side", most=20)

    def inputs(self) -> tuple[str, ...]:
        """Return high and low."""
        return ("high", "low")

    def state_size(self) -> int:
        """Return the cells: price and candle number + 1 of both pivots, then two rings."""
        return 4 + 2 * (2 * self.k + 1)

    def warmup(self) -> int:
        """Return the candles until a pivot can be known."""
        return 2 * self.k + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Push high and low (with the sign turned), look k candles back and write the latest pivots."""
        k = int(p[0])
        n = 2 * k + 1
        state[4 + i % n] = x[0]
        state[4 + n + i % n] = -x[1]
        if i >= 2 * k:
            for side in range(2):
                base = 4 + side * n
                if is_peak(i, state, base, k):
                    state[2 * side] = state[base + (i - k) % n]
                    state[2 * side + 1] = i - k + 1
        if state[1] > 0.0:
            out[0] = state[0]
            out[1] = i + 1 - state[1]
        if state[3] > 0.0:
            out[2] = -state[2]
            out[3] = i + 1 - state[3]
