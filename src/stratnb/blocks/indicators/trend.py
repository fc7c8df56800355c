"""Strength of a trend: Wilder's directional movement."""

from __future__ import annotations

from typing import ClassVar

from stratnb.blocks.base import Indicator
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import helper, kernel
from stratnb.kernels.maths import near_zero
from stratnb.kernels.windows import Floats, true_range, wilder_next

__all__ = ["Adx"]


@helper
def decaying_sum(i: int, state: Floats, base: int, n: int, v: float) -> float:
    """Push v and return Wilder's sum: plain over the first n - 1 values (i from 1), then S - S/n + v."""
    if i < n:
        state[base] += v
    else:
        state[base] += v - state[base] / n
    return float(state[base])


class Adx(Indicator, kind="adx"):
    """Average directional index and its two directional indicators, 0..100.

    The larger of the rise of the high and the fall of the low counts as movement of that candle. The indicators
    start at row n, the index at row 2n - 1; without movement the index averages a zero.
    """

    outputs: ClassVar[tuple[str, ...]] = ("adx", "plus_di", "minus_di")

    period: int = candles(14, least=2)

    def inputs(self) -> tuple[str, ...]:
        """Return high, low and close."""
        return ("high", "low", "close")

    def state_size(self) -> int:
        """Return the cells: high, low, close before; sums of plus, minus, true range; the index."""
        return 7

    def warmup(self) -> int:
        """Return the candles until the index is seeded."""
        return 2 * self.period

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Sum the movements, compare them and average the result."""
        n = int(p[0])
        if i > 0:
            up, down = x[0] - state[0], state[1] - x[1]
            plus = decaying_sum(i, state, 3, n, up if up > 0.0 and up > down else 0.0)
            minus = decaying_sum(i, state, 4, n, down if down > 0.0 and down > up else 0.0)
            moved = decaying_sum(i, state, 5, n, true_range(x[0], x[1], state[2]))
            if i >= n:
                plus_di, minus_di, index = 0.0, 0.0, 0.0
                if not near_zero(moved, x[2]):
                    plus_di, minus_di = 100.0 * plus / moved, 100.0 * minus / moved
                    if not near_zero(plus + minus, x[2]):
                        index = 100.0 * abs(plus_di - minus_di) / (plus_di + minus_di)
                average = wilder_next(i - n, state, 6, n, index)
                out[1] = plus_di
                out[2] = minus_di
                if i >= 2 * n - 1:
                    out[0] = average
        state[0] = x[0]
        state[1] = x[1]
        state[2] = x[2]
