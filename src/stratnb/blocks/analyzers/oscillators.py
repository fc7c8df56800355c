"""Analyzer `rsi`: an overstretched relative strength index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from stratnb.blocks.analyzers.rule import side, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Rsi
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["RsiZone"]


class RsiZone(Analyzer, kind="rsi"):
    """Expects a return when the RSI is oversold (long) or overbought (short)."""

    mirror: ClassVar[bool] = True

    period: int = candles(14, "RSI period", least=2, most=200)
    oversold: float = Field(30.0, ge=0, le=100, title="Oversold at or below")
    overbought: float = Field(70.0, ge=0, le=100, title="Overbought at or above")
    extreme_low: float = Field(20.0, ge=0, le=100, title="Full confidence (long)")
    extreme_high: float = Field(80.0, ge=0, le=100, title="Full confidence (short)")
    turn: bool = Field(False, title="Only when the RSI has turned")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.extreme_low < self.oversold < self.overbought < self.extreme_high:
            raise ValueError(
                "order_violation: extreme_low < oversold < overbought < extreme_high is needed, not "
                f"{self.extreme_low:g}, {self.oversold:g}, {self.overbought:g}, {self.extreme_high:g}"
            )
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, which counts the candles, and the RSI."""
        return "close", Ref(Rsi(period=self.period))

    def required(self) -> int:
        """Count from the first candle."""
        return 1

    def state_size(self) -> int:
        """Keep the RSI of the previous candle."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the RSI exists."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the RSI with both zones; the first RSI has not turned."""
        rsi = x[1]
        if rsi == rsi:
            turn = p[7] != 0.0
            long = rsi <= p[3] and (not turn or rsi > state[0])
            short = rsi >= p[4] and (not turn or rsi < state[0])
            out[0] = side(long, short)
            out[1] = 0.0
            if long:
                out[1] = ramp(p[3] - rsi, 0.0, p[3] - p[5], p[0], p[1])
            elif short:
                out[1] = ramp(rsi - p[4], 0.0, p[6] - p[4], p[0], p[1])
        state[0] = rsi

    def explain(self, row: Mapping[str, float]) -> str:
        """Return which zones the RSI is held against."""
        turned = " and turning" if self.turn else ""
        return (
            f"{verdict(row)}: signals when RSI {self.period} is at most {self.oversold:g} (long)"
            f" or at least {self.overbought:g} (short){turned}"
        )
