"""Measures of movement: true range, its averages, and Bollinger bands."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stratnb.blocks.base import Indicator
from stratnb.blocks.indicators.column import ColumnIndicator, candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import near_zero
from stratnb.kernels.windows import Floats, deviation, push_sum, true_range, wilder_next

__all__ = ["Atr", "Bollinger", "Natr", "TrueRange"]


class TrueRange(Indicator, kind="true_range"):
    """Largest of the range and the distances of high and low from the close before, in price units; first at row 1."""

    def inputs(self) -> tuple[str, ...]:
        """Return high, low and close."""
        return ("high", "low", "close")

    def state_size(self) -> int:
        """Return the one cell of the close before."""
        return 1

    def warmup(self) -> int:
        """Return two: the first candle has no close before."""
        return 2

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write the true range."""
        if i > 0:
            out[0] = true_range(x[0], x[1], state[0])
        state[0] = x[2]


class Atr(Indicator, kind="atr"):
    """Wilder's average of the true range in price units, seeded with the mean of rows 1..n; first at row n."""

    period: int = candles(14)

    def inputs(self) -> tuple[str, ...]:
        """Return high, low and close."""
        return ("high", "low", "close")

    def state_size(self) -> int:
        """Return the cells of the close before and the average."""
        return 2

    def warmup(self) -> int:
        """Return the candles until the seed is complete."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Average the true range."""
        n = int(p[0])
        if i > 0:
            average = wilder_next(i - 1, state, 1, n, true_range(x[0], x[1], state[0]))
            if i >= n:
                out[0] = average
        state[0] = x[2]


class Natr(Indicator, kind="natr"):
    """Wilder's average of the true range as a fraction of the close; first at row n."""

    period: int = candles(14)

    def inputs(self) -> tuple[str, ...]:
        """Return high, low and close."""
        return ("high", "low", "close")

    def state_size(self) -> int:
        """Return the cells of the close before and the average."""
        return 2

    def warmup(self) -> int:
        """Return the candles until the seed is complete."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Average the true range and divide it by the close; a close of zero has no fraction."""
        n = int(p[0])
        if i > 0:
            average = wilder_next(i - 1, state, 1, n, true_range(x[0], x[1], state[0]))
            if i >= n and x[2] != 0.0:
                out[0] = average / x[2]
        state[0] = x[2]


class Bollinger(ColumnIndicator, kind="bollinger"):
    """Mean of the last n values with bands `dev` population deviations away.

    `percent_b` is 0 at the lower and 1 at the upper band, not limited, and 0.5 when the bands meet; `width` is the
    distance of the bands as a fraction of the mean.
    """

    outputs: ClassVar[tuple[str, ...]] = ("upper", "mid", "lower", "percent_b", "width")
    overlays: ClassVar[tuple[str, ...]] = ("upper", "mid", "lower")

    period: int = candles(20)
    dev: float = Field(2.0, gt=0, le=20, title="Deviations")

    def state_size(self) -> int:
        """Return the cells of the moving sum."""
        return self.period + 2

    def warmup(self) -> int:
        """Return the candles until the first mean."""
        return self.period

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write the bands; the deviation is taken from the ring, so it is not lost in a difference of squares."""
        n = int(p[0])
        mid = push_sum(i, state, 0, n, x[0]) / n
        if i >= n - 1:
            reach = p[1] * deviation(state, 0, n, mid)
            upper, lower = mid + reach, mid - reach
            gap = upper - lower
            out[0] = upper
            out[1] = mid
            out[2] = lower
            out[3] = 0.5 if near_zero(gap, x[0]) else (x[0] - lower) / gap
            out[4] = gap / mid if mid != 0.0 else 0.0
