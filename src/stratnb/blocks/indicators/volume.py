"""Volume beside its recent mean."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stratnb.blocks.indicators.column import ColumnIndicator, candles
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats, push_sum

__all__ = ["VolumeStats"]

QUIET, LOW, HIGH, SPIKE = 0.3, 0.7, 1.3, 2.0


class VolumeStats(ColumnIndicator, kind="volume_stats"):
    """Mean volume of the previous n candles, the ratio of the current volume to it, and its class.

    The ratio is 0 when the mean is 0. The class is 0 below a ratio of 0.3, 1 below 0.7, 2 below 1.3, 3 below 2 and
    4 from there on.
    """

    outputs: ClassVar[tuple[str, ...]] = ("mean", "ratio", "class")

    on: tuple[str, ...] = Field(("volume",), min_length=1, max_length=1, title="Input column")
    period: int = candles(20)

    def state_size(self) -> int:
        """Return the cells of the moving sum."""
        return self.period + 2

    def warmup(self) -> int:
        """Return the candles until n previous ones are known."""
        return self.period + 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the volume with the mean before it, then push it."""
        n = int(p[0])
        if i >= n:
            mean = state[0] / n
            ratio = x[0] / mean if mean > 0.0 else 0.0
            out[0] = mean
            out[1] = ratio
            out[2] = (
                (1.0 if ratio >= QUIET else 0.0)
                + (1.0 if ratio >= LOW else 0.0)
                + (1.0 if ratio >= HIGH else 0.0)
                + (1.0 if ratio >= SPIKE else 0.0)
            )
        push_sum(i, state, 0, n, x[0])
