"""Analyzer `wick`: a long tail that rejects a price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from stratnb.blocks.analyzers.rule import ATR_PERIOD, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr, Donchian
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import helper, kernel
from stratnb.kernels.maths import ramp
from stratnb.kernels.windows import Floats

__all__ = ["Wick"]


@helper
def _rejects(tail: float, other: float, body: float, span: float, p: Floats) -> bool:
    """Tell whether a tail is long beside the body and the candle, and the other one short."""
    long_tail: bool = tail >= p[2] * max(body, 0.05 * span) and tail >= p[3] * span
    return long_tail and other <= p[4] * span


class Wick(Analyzer, kind="wick"):
    """Expects a return after a candle whose long tail reached a new extreme and was bought (or sold) back."""

    mirror: ClassVar[bool] = True

    ratio: float = Field(2.0, ge=1, le=10, title="Least tail in bodies")
    share: float = Field(0.5, ge=0, le=1, title="Least tail in the candle", json_schema_extra={"x-unit": "fraction"})
    other: float = Field(0.25, ge=0, le=1, title="Most of the other tail", json_schema_extra={"x-unit": "fraction"})
    min_range: float = in_atr(0.8, "Least range", least=0, most=20)
    extreme: int = candles(10, "New extreme of (0: off)", least=0, most=500)

    def inputs(self) -> tuple[Input, ...]:
        """Return the candle, the ATR and the range of the previous candles."""
        channel = Donchian(period=max(1, self.extreme), include_current=False)
        return (
            "open",
            "high",
            "low",
            "close",
            Ref(Atr(period=ATR_PERIOD)),
            Ref(channel, "upper"),
            Ref(channel, "lower"),
        )

    def required(self) -> int:
        """Count from the first candle."""
        return 4

    def state_size(self) -> int:
        """Keep the previous ATR."""
        return 1

    def warmup(self) -> int:
        """Return the candles until the previous ATR and the range exist."""
        return max(ATR_PERIOD + 2, self.extreme + 1)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Measure both tails against body, candle, previous ATR and previous extremes."""
        top, bottom = max(x[0], x[3]), min(x[0], x[3])
        body, span, atr = top - bottom, x[1] - x[2], state[0]
        upper, lower = x[1] - top, bottom - x[2]
        free = p[6] == 0.0
        if sized(atr, x[3]) and (free or x[5] == x[5]):
            wide = span >= p[5] * atr
            long = wide and _rejects(lower, upper, body, span, p) and (free or x[2] <= x[6])
            short = wide and _rejects(upper, lower, body, span, p) and (free or x[1] >= x[5])
            out[0] = side(long, short)
            out[1] = ramp((lower if long else upper) / span, p[3], 0.85, p[0], p[1]) if out[0] != 0.0 else 0.0
        state[0] = x[4]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return what counts as a rejection."""
        where = f" at an extreme of {self.extreme} candles" if self.extreme else ""
        tail = ""
        if all(name in row for name in ("open", "high", "low", "close")) and row["high"] > row["low"]:
            span = row["high"] - row["low"]
            low = (min(row["open"], row["close"]) - row["low"]) / span
            high = (row["high"] - max(row["open"], row["close"])) / span
            tail = f" (tails here: lower {low:.0%}, upper {high:.0%})"
        return (
            f"{verdict(row)}: signals when a tail is at least {self.share:.0%} of the candle and {self.ratio:g} bodies"
            f"{where}{tail}"
        )
