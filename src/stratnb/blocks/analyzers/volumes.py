"""Analyzer `volume`: a loud candle that closes near its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from stratnb.blocks.analyzers.rule import close_location, side, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import VolumeStats
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["VolumeSpike"]


class VolumeSpike(Analyzer, kind="volume"):
    """Follows a candle of unusual volume that moved and closed in its direction."""

    mirror: ClassVar[bool] = True

    period: int = candles(20, "Volume average", most=500)
    spike: float = Field(1.5, ge=1, le=20, title="Least relative volume")
    full_spike: float = Field(3.0, ge=1, le=100, title="Relative volume of full confidence")
    min_clv: float = Field(0.2, ge=0, le=1, title="Least close location (0 middle, 1 end of the candle)")

    def inputs(self) -> tuple[Input, ...]:
        """Return the candle and its relative volume."""
        return "high", "low", "close", Ref(VolumeStats(period=self.period), "ratio")

    def required(self) -> int:
        """Count from the first candle."""
        return 3

    def state_size(self) -> int:
        """Keep the previous close."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the relative volume exists."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare volume, place of the close and change of the close."""
        close, vr = x[2], x[3]
        if vr == vr:
            clv = close_location(x[0], x[1], close)
            loud = vr >= p[3]
            out[0] = side(
                loud and clv >= p[5] and close > state[0],
                loud and -clv >= p[5] and close < state[0],
            )
            out[1] = ramp(vr, p[3], p[4], p[0], p[1]) if out[0] != 0.0 else 0.0
        state[0] = close

    def explain(self, row: Mapping[str, float]) -> str:
        """Return what counts as a spike."""
        return (
            f"{verdict(row)}: signals when the volume is at least {self.spike:g} times the mean of the previous"
            f" {self.period} candles and the close lies at least {self.min_clv:g} toward the end of the candle"
        )
