"""Analyzer `trend_detector`: rising highs and lows, or falling ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import model_validator

from stratnb.blocks.analyzers.rule import ATR_PERIOD, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr, Ema, Pivots
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import lin, ramp
from stratnb.kernels.windows import Floats

__all__ = ["TrendDetector"]


class TrendDetector(Analyzer, kind="trend_detector"):
    """Follows a structure of rising (or falling) pivot highs and lows that the averages confirm.

    `bias` is the direction of this candle; `strength` (0..1) is the mean size of the last steps of highs and lows,
    0 until there are two of each.
    """

    outputs: ClassVar[tuple[str, ...]] = ("direction", "confidence", "bias", "strength")
    mirror: ClassVar[bool] = True

    k: int = candles(2, "Candles beside a pivot", most=20)
    fast: int = candles(20, "Fast EMA", most=500)
    slow: int = candles(50, "Slow EMA", least=2, most=1000)
    min_ema_gap: float = in_atr(0.1, "Least EMA gap (0: off)", least=0, most=5)
    full: float = in_atr(2.0, "Step of full strength", above=0, most=20)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"order_violation: fast {self.fast} must be below slow {self.slow}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, the latest pivots with their ages, both averages and the ATR."""
        pivots = Pivots(k=self.k)
        return (
            "close",
            *(Ref(pivots, name) for name in ("high", "high_age", "low", "low_age")),
            Ref(Ema(period=self.fast)),
            Ref(Ema(period=self.slow)),
            Ref(Atr(period=ATR_PERIOD)),
        )

    def required(self) -> int:
        """Count from the first candle."""
        return 1

    def state_size(self) -> int:
        """Keep two highs, two lows and how many of each were seen."""
        return 6

    def warmup(self) -> int:
        """Return the candles until averages, ATR and pivots can exist."""
        return max(self.slow, ATR_PERIOD + 1, 2 * self.k + 1)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Take in a pivot at the candle that confirms it (its age is k), then compare the last two of each."""
        if x[2] == p[2]:
            state[0], state[1], state[4] = state[1], x[1], state[4] + 1.0
        if x[4] == p[2]:
            state[2], state[3], state[5] = state[3], x[3], state[5] + 1.0
        atr, gap = x[7], x[5] - x[6]
        if i + 1 >= max(p[4], 2.0 * p[2] + 1.0) and sized(atr, x[0]) and gap == gap:
            out[0], out[1], out[3] = 0.0, 0.0, 0.0
            if state[4] >= 2.0 and state[5] >= 2.0:
                highs, lows = (state[1] - state[0]) / atr, (state[3] - state[2]) / atr
                off, g = p[5] == 0.0, gap / atr
                rising = highs > 0.0 and lows > 0.0 and (off or g >= p[5])
                falling = highs < 0.0 and lows < 0.0 and (off or -g >= p[5])
                out[0] = side(rising, falling)
                out[3] = (lin(abs(highs), 0.0, p[6]) + lin(abs(lows), 0.0, p[6])) / 2.0
                out[1] = ramp(out[3], 0.0, 1.0, p[0], p[1]) if out[0] != 0.0 else 0.0
            out[2] = out[0]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the bias and the strength of the structure."""
        if "bias" not in row or row["bias"] != row["bias"]:
            return verdict(row)
        word = {1.0: "up", -1.0: "down"}.get(row["bias"], "undecided")
        return f"{verdict(row)}: structure {word}, strength {row.get('strength', 0.0):.2f}"
