"""Analyzer `bollinger`: a close at the edge of its Bollinger bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from stratnb.blocks.analyzers.rule import side, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Bollinger
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["BollingerZone"]


class BollingerZone(Analyzer, kind="bollinger"):
    """Expects a return from the edge of the bands, or follows a close beyond widening bands."""

    period: int = candles(20, "Band period", least=2, most=500)
    dev: float = Field(2.0, gt=0, le=10, title="Width in deviations")
    mode: Literal["revert", "breakout"] = Field("revert", title="Return or breakout")
    low: float = Field(0.05, ge=-1, le=2, title="%B of a long return at most")
    high: float = Field(0.95, ge=-1, le=2, title="%B of a short return at least")
    min_width: float = Field(0.002, ge=0, le=1, title="Least band width", json_schema_extra={"x-unit": "fraction"})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"order_violation: low {self.low:g} must be below high {self.high:g}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, which counts the candles, then %B and the width of the bands."""
        bands = Bollinger(period=self.period, dev=self.dev)
        return "close", Ref(bands, "percent_b"), Ref(bands, "width")

    def required(self) -> int:
        """Count from the first candle."""
        return 1

    def state_size(self) -> int:
        """Keep the width of the previous candle."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the bands have a previous width."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare %B with the edges, and the width with its least and its previous value."""
        b, width = x[1], x[2]
        if i >= p[2] and b == b:
            if p[4] == 0.0:
                long = b <= p[5] and width >= p[7]
                short = b >= p[6] and width >= p[7]
                depth = (p[5] - b) if long else (b - p[6])
                start = 0.0
            else:
                widening = width > state[0] and state[0] >= p[7]
                long = b >= 1.0 and widening
                short = b <= 0.0 and widening
                depth = b if long else 1.0 - b
                start = 1.0
            out[0] = side(long, short)
            out[1] = ramp(depth, start, start + 0.25, p[0], p[1]) if out[0] != 0.0 else 0.0
        state[0] = width

    def explain(self, row: Mapping[str, float]) -> str:
        """Return which edges %B is held against."""
        if self.mode == "revert":
            rule = f"%B is at most {self.low:g} (long) or at least {self.high:g} (short)"
        else:
            rule = "the close leaves widening bands"
        return f"{verdict(row)}: signals when {rule} and the width is at least {self.min_width:g}"
