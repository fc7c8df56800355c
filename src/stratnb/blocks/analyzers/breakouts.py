"""Analyzer `breakout`: a close beyond the range of the previous candles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from stratnb.blocks.analyzers.rule import ATR_PERIOD, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr, Donchian, VolumeStats
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import lin, ramp
from stratnb.kernels.windows import Floats

__all__ = ["Breakout"]


class Breakout(Analyzer, kind="breakout"):
    """Follows the first close beyond the highest high or lowest low of the previous candles, on volume."""

    mirror: ClassVar[bool] = True

    lookback: int = candles(20, "Candles of the range", least=5, most=300)
    buffer: float = in_atr(0.1, "Least distance beyond", least=0, most=10)
    full: float = in_atr(1.0, "Distance of full strength", above=0, most=20)
    volume_period: int = candles(20, "Volume average", most=500)
    volume_multiplier: float = Field(1.5, ge=0, le=20, title="Least relative volume (0: off)")

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, the previous range, the ATR and the relative volume."""
        channel = Donchian(period=self.lookback, include_current=False)
        volume = VolumeStats(period=self.volume_period)
        return (
            "close",
            Ref(channel, "upper"),
            Ref(channel, "lower"),
            Ref(Atr(period=ATR_PERIOD)),
            Ref(volume, "ratio"),
        )

    def required(self) -> int:
        """Count from the first candle."""
        return 1

    def state_size(self) -> int:
        """Keep the previous close and the previous ATR."""
        return 2

    def warmup(self) -> int:
        """Return the candles until range, previous ATR and (if used) relative volume exist."""
        volume = self.volume_period + 1 if self.volume_multiplier > 0 else 0
        return max(self.lookback + 1, ATR_PERIOD + 2, volume)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the close with the range, in ATR of the previous candle."""
        close, upper, lower, vr = x[0], x[1], x[2], x[4]
        before, atr = state[0], state[1]
        quiet = p[6] == 0.0
        if upper == upper and sized(atr, close) and (quiet or vr == vr):
            loud = quiet or vr >= p[6]
            up, down = (close - upper) / atr, (lower - close) / atr
            out[0] = side(up >= p[3] and before <= upper and loud, down >= p[3] and before >= lower and loud)
            out[1] = 0.0
            if out[0] != 0.0:
                strength = lin(up if out[0] > 0.0 else down, p[3], p[4])
                if not quiet:
                    strength = 0.6 * strength + 0.4 * lin(vr, 1.0, 2.0 * p[6])
                out[1] = ramp(strength, 0.0, 1.0, p[0], p[1])
        state[0] = close
        state[1] = x[3]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return what counts as a breakout."""
        volume = f" on {self.volume_multiplier:g} times the mean volume" if self.volume_multiplier > 0 else ""
        return (
            f"{verdict(row)}: signals on the first close {self.buffer:g} ATR beyond the range of the previous"
            f" {self.lookback} candles{volume}"
        )
