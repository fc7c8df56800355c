"""Blocks that know nothing of the market: entries and exits that were drawn before, to compare a strategy with."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stratnb.blocks.base import Analyzer, Exit, Input
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats

__all__ = ["DrawnEntries", "DrawnHold"]


class DrawnEntries(Analyzer):
    """Repeats a column that was drawn beforehand: the direction at each candle, times its confidence.

    The column takes the place of the parameters, which are zeros until then.
    """

    kind: ClassVar[str] = "drawn_entries"

    length: int = Field(ge=1, title="Candles")

    def p(self) -> list[float]:
        """Return as many zeros as there are candles."""
        return [0.0] * self.length

    def inputs(self) -> tuple[Input, ...]:
        """Return the close: every candle counts."""
        return ("close",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Take the number of this candle."""
        drawn = p[i] if i < p.size else 0.0
        out[0] = 1.0 if drawn > 0.0 else -1.0 if drawn < 0.0 else 0.0
        out[1] = abs(drawn)


class DrawnHold(Exit):
    """Leaves after one of several holding times, drawn by the time of the entry and a number of the run."""

    kind: ClassVar[str] = "drawn_hold"
    reason: ClassVar[str] = "drawn"

    holds: tuple[float, ...] = Field(min_length=1, title="Holding times (candles)")

    def p(self) -> list[float]:
        """Return the number of the run, 0 until it is drawn, and the holding times."""
        return [0.0, *self.holds]

    def inputs(self) -> tuple[Input, ...]:
        """Return the arming mark, the candles held and the time."""
        return ("position.fresh", "position.candles", "open_time_ms")

    def state_size(self) -> int:
        """Return one cell: the holding time of this position."""
        return 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Draw the holding time when armed, by two rounds of a multiplicative generator; then wait for it."""
        if x[0] == 1.0:
            number = (int(x[2] / 60000.0) + int(p[0])) % 2147483647 + 1
            number = number * 48271 % 2147483647
            number = number * 48271 % 2147483647
            state[0] = p[1 + number * (p.size - 1) // 2147483647]
        out[1] = 1.0 if x[0] != 1.0 and x[1] >= state[0] else 0.0
