"""Analyzer `price_momentum`: a move that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from stratnb.blocks.analyzers.rule import ATR_PERIOD, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["PriceMomentum"]


class PriceMomentum(Analyzer, kind="price_momentum"):
    """Follows a move of several ATR of which the recent candles made their share."""

    mirror: ClassVar[bool] = True

    period: int = candles(5, "Candles of the move", least=2, most=100)
    recent: int = candles(3, "Recent candles", most=99)
    min_move: float = in_atr(1.0, "Least move", least=0, most=50)
    full_move: float = in_atr(3.0, "Move of full confidence", above=0, most=100)
    accel: float = Field(0.5, ge=0, le=5, title="Least recent share", json_schema_extra={"x-unit": "fraction"})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.recent >= self.period:
            raise ValueError(f"order_violation: recent {self.recent} must be below period {self.period}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the close and the ATR."""
        return "close", Ref(Atr(period=ATR_PERIOD))

    def required(self) -> int:
        """Count from the first candle."""
        return 1

    def state_size(self) -> int:
        """Keep the last `period` closes."""
        return self.period

    def warmup(self) -> int:
        """Return the candles until the ATR and the oldest close exist."""
        return max(self.period, ATR_PERIOD) + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the whole move and its recent part; both point the same way."""
        close, period, recent = x[0], int(p[2]), int(p[3])
        slot = i % period
        if i >= period and sized(x[1], close):
            move = close - state[slot]
            late = close - state[(i - recent) % period]
            m = move / x[1]
            out[0] = side(m >= p[4] and late >= p[6] * move, -m >= p[4] and -late >= p[6] * -move)
            out[1] = ramp(abs(m), p[4], p[5], p[0], p[1]) if out[0] != 0.0 else 0.0
        state[slot] = close

    def explain(self, row: Mapping[str, float]) -> str:
        """Return what counts as momentum."""
        return (
            f"{verdict(row)}: signals when {self.period} candles moved at least {self.min_move:g} ATR and the last"
            f" {self.recent} made at least {self.accel:.0%} of it"
        )
