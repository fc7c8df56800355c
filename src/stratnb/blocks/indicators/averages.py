"""Moving averages with the seeds and first rows of TA-Lib."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from stratnb.blocks.indicators.column import ColumnIndicator, candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats, ema_next, push_sum, wilder_next

__all__ = ["Ema", "Rma", "Sma", "Wma"]


class Sma(ColumnIndicator, kind="sma"):
    """Mean of the last `period` values; first at row period - 1."""

    overlays: ClassVar[tuple[str, ...]] = ("value",)

    period: int = candles(20)

    def state_size(self) -> int:
        """Return the cells of the moving sum."""
        return self.period + 2

    def warmup(self) -> int:
        """Return the candles until the first mean."""
        return self.period

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Push the value and write the mean."""
        n = int(p[0])
        total = push_sum(i, state, 0, n, x[0])
        if i >= n - 1:
            out[0] = total / n


class Ema(ColumnIndicator, kind="ema"):
    """Exponential average e += (x - e)·2/(n + 1), seeded with the mean of the first n values or the first value."""

    overlays: ClassVar[tuple[str, ...]] = ("value",)

    period: int = candles(20)
    seed: Literal["mean", "first"] = Field("mean", title="Seed")

    def state_size(self) -> int:
        """Return the one cell of the recursion."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the seed is complete."""
        return self.period if self.seed == "mean" else 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Advance the recursion and write it once it is seeded."""
        n = int(p[0])
        if p[1] == 0.0:
            average = ema_next(i, state, 0, n, x[0])
            if i >= n - 1:
                out[0] = average
        else:
            if i == 0:
                state[0] = x[0]
            state[0] += (x[0] - state[0]) * (2.0 / (n + 1.0))
            out[0] = state[0]


class Wma(ColumnIndicator, kind="wma"):
    """Average of the last n values with weights 1 (oldest) to n (newest); first at row n - 1."""

    overlays: ClassVar[tuple[str, ...]] = ("value",)

    period: int = candles(20)

    def state_size(self) -> int:
        """Return the cells of the plain sum and of the weighted one."""
        return self.period + 3

    def warmup(self) -> int:
        """Return the candles until the first average."""
        return self.period

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Shift every weight down by one, add the newest with weight n and write the average."""
        n = int(p[0])
        state[0] += n * x[0] - state[1]
        push_sum(i, state, 1, n, x[0])
        if i % n == n - 1:
            state[0] = 0.0
            for k in range(n):
                state[0] += (k + 1.0) * state[3 + k]
        if i >= n - 1:
            out[0] = state[0] / (0.5 * n * (n + 1.0))


class Rma(ColumnIndicator, kind="rma"):
    """Wilder's average (e·(n - 1) + x)/n, seeded with the mean of the first n values; first at row n - 1."""

    overlays: ClassVar[tuple[str, ...]] = ("value",)

    period: int = candles(14)

    def state_size(self) -> int:
        """Return the one cell of the recursion."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the seed is complete."""
        return self.period

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Advance the recursion and write it once it is seeded."""
        n = int(p[0])
        average = wilder_next(i, state, 0, n, x[0])
        if i >= n - 1:
            out[0] = average
