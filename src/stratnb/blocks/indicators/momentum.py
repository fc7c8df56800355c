"""Oscillators of speed and position: RSI, MACD and stochastic, with the conventions of TA-Lib."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from stratnb.blocks.base import Indicator
from stratnb.blocks.indicators.column import ColumnIndicator, candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import near_zero
from stratnb.kernels.windows import Floats, ema_next, push_max, push_sum, wilder_next

__all__ = ["Macd", "Rsi", "Stochastic"]


class Rsi(ColumnIndicator, kind="rsi"):
    """Wilder's relative strength index, 0..100: 100·G/(G + D) of averaged gains and losses; 50 when both are zero."""

    period: int = candles(14, least=2)

    def state_size(self) -> int:
        """Return the cells: value before, average gain, average loss."""
        return 3

    def warmup(self) -> int:
        """Return the candles until the first `period` changes are known."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Average the gain and the loss and write their share."""
        n = int(p[0])
        if i > 0:
            change = x[0] - state[0]
            gain = wilder_next(i - 1, state, 1, n, max(0.0, change))
            loss = wilder_next(i - 1, state, 2, n, max(0.0, -change))
            if i >= n:
                out[0] = 50.0 if near_zero(gain + loss, x[0]) else 100.0 * gain / (gain + loss)
        state[0] = x[0]


class Macd(ColumnIndicator, kind="macd"):
    """Difference of two exponential averages, its average and the distance between both.

    Both averages start at row slow - 1, the fast one seeded with the mean of its n values ending there; all outputs
    start with the signal at row slow + signal - 2.
    """

    outputs: ClassVar[tuple[str, ...]] = ("line", "signal", "hist")

    fast: int = candles(12, "Fast period")
    slow: int = candles(26, "Slow period", least=2)
    signal: int = candles(9, "Signal period")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError("order_violation: fast must be below slow")
        return self

    def state_size(self) -> int:
        """Return the cells of the three recursions."""
        return 3

    def warmup(self) -> int:
        """Return the candles until the signal is seeded."""
        return self.slow + self.signal - 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Advance the three averages and write line, signal and hist."""
        fast, slow, n = int(p[0]), int(p[1]), int(p[2])
        if i >= slow - fast:
            ema_next(i - (slow - fast), state, 0, fast, x[0])
        ema_next(i, state, 1, slow, x[0])
        if i >= slow - 1:
            line = state[0] - state[1]
            signal = ema_next(i - (slow - 1), state, 2, n, line)
            if i >= slow + n - 2:
                out[0] = line
                out[1] = signal
                out[2] = line - signal


class Stochastic(Indicator, kind="stochastic"):
    """Place of the close in the range of k candles, 0..100, smoothed to K and again to D; 50 without a range."""

    outputs: ClassVar[tuple[str, ...]] = ("k", "d")

    k: int = candles(14, "Range period")
    smooth_k: int = candles(3, "Smoothing of K")
    d: int = candles(3, "Smoothing of D")

    def inputs(self) -> tuple[str, ...]:
        """Return high, low and close."""
        return ("high", "low", "close")

    def state_size(self) -> int:
        """Return the cells of two extremes and two moving sums."""
        return 2 * (self.k + 2) + self.smooth_k + 2 + self.d + 2

    def warmup(self) -> int:
        """Return the candles until D exists."""
        return self.k + self.smooth_k + self.d - 2

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Place the close in the range and smooth it twice."""
        n, smooth, d = int(p[0]), int(p[1]), int(p[2])
        top = push_max(i, state, 0, n, x[0])
        bottom = -push_max(i, state, n + 2, n, -x[1])
        if i >= n - 1:
            raw = 50.0 if near_zero(top - bottom, x[2]) else 100.0 * (x[2] - bottom) / (top - bottom)
            fast = push_sum(i - (n - 1), state, 2 * n + 4, smooth, raw) / smooth
            if i >= n + smooth - 2:
                slow = push_sum(i - (n + smooth - 2), state, 2 * n + smooth + 6, d, fast) / d
                if i >= n + smooth + d - 3:
                    out[0] = fast
                    out[1] = slow
