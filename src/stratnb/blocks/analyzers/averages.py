"""Analyzer `ema`: the distance of a fast and a slow moving average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from stratnb.blocks.analyzers.rule import ATR_PERIOD, NAN, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr, Ema
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["EmaCross"]


class EmaCross(Analyzer, kind="ema"):
    """Follows the fast average when it stands far enough from the slow one, in ATR."""

    mirror: ClassVar[bool] = True

    fast: int = candles(9, "Fast EMA", most=500)
    slow: int = candles(21, "Slow EMA", least=2, most=1000)
    min_gap: float = in_atr(0.1, "Least gap", least=0, most=5)
    full_gap: float = in_atr(1.0, "Gap of full confidence", above=0, most=20)
    mode: Literal["state", "cross"] = Field("state", title="While apart, or only when they part")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"order_violation: fast {self.fast} must be below slow {self.slow}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, both averages and the ATR."""
        return "close", Ref(Ema(period=self.fast)), Ref(Ema(period=self.slow)), Ref(Atr(period=ATR_PERIOD))

    def required(self) -> int:
        """Count from the first candle, whatever the averages need."""
        return 1

    def state_size(self) -> int:
        """Keep the gap of the previous candle."""
        return 1

    def warmup(self) -> int:
        """Return the candles until both averages and the ATR exist."""
        return max(self.slow, ATR_PERIOD + 1)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the gap with the threshold; a gap of the previous candle that is not known is no crossing."""
        gap = (x[1] - x[2]) / x[3] if sized(x[3], x[0]) else NAN
        if gap == gap:
            state_mode = p[6] == 0.0
            long = gap >= p[4] and (state_mode or state[0] < p[4])
            short = -gap >= p[4] and (state_mode or -state[0] < p[4])
            out[0] = side(long, short)
            out[1] = ramp(abs(gap), p[4], p[5], p[0], p[1]) if out[0] != 0.0 else 0.0
        state[0] = gap

    def explain(self, row: Mapping[str, float]) -> str:
        """Return what the averages say."""
        rule = "has crossed" if self.mode == "cross" else "stands"
        return (
            f"{verdict(row)}: signals when EMA {self.fast} {rule} at least {self.min_gap:g} ATR from EMA {self.slow}"
            f" (full confidence at {self.full_gap:g})"
        )
