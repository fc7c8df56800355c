"""Analyzer `level`: support and resistance from clusters of pivots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from stratnb.blocks.analyzers.rule import ATR_PERIOD, NAN, in_atr, side, sized, verdict
from stratnb.blocks.base import Analyzer, Input, Ref
from stratnb.blocks.indicators import Atr, Ema, Pivots
from stratnb.blocks.indicators.column import candles
from stratnb.kernels.jit import helper, kernel
from stratnb.kernels.maths import lin, ramp
from stratnb.kernels.windows import Floats

__all__ = ["Level"]

MIN_CANDLES = 30
CAPACITY = 64
PRICE = 1  # state[0] counts the pivots seen; rings of price and candle number follow, then the levels
CANDLE = PRICE + CAPACITY
TOTAL = CANDLE + CAPACITY
TOUCHES = TOTAL + CAPACITY
NEWEST = TOUCHES + CAPACITY
SIZE = NEWEST + CAPACITY
FAST, SLOW, TREND_GAP = 20, 50, 0.25
FAR = math.inf
SAME = 1e-12


@helper
def _remember(state: Floats, price: float, candle: float) -> None:
    """Put a pivot into the ring, over the oldest one when it is full."""
    slot = int(state[0]) % CAPACITY
    state[PRICE + slot] = price
    state[CANDLE + slot] = candle
    state[0] += 1.0


@helper
def _cluster(state: Floats, oldest: float, reach: float) -> int:
    """Join the pivots from candle `oldest` on to levels, oldest first, and return the number of levels."""
    seen, count = int(state[0]), 0
    for n in range(max(0, seen - CAPACITY), seen):
        price, candle = state[PRICE + n % CAPACITY], state[CANDLE + n % CAPACITY]
        if candle >= oldest:
            at = 0
            while at < count and abs(price - state[TOTAL + at] / state[TOUCHES + at]) > reach:
                at += 1
            if at == count:
                count += 1
                state[TOTAL + at] = 0.0
                state[TOUCHES + at] = 0.0
            state[TOTAL + at] += price
            state[TOUCHES + at] += 1.0
            state[NEWEST + at] = candle
    return count


@helper
def _nearest(state: Floats, count: int, close: float, touches: float) -> tuple[int, int]:
    """Return the nearest qualified level at or below the close and the nearest above it (-1: none).

    A mean of prices on a tick is off by rounding, so a level counts as at the close within `SAME` of it.
    """
    below, above, top = -1, -1, close + SAME * close
    floor, ceiling = -FAR, FAR
    for n in range(count):
        if state[TOUCHES + n] >= touches:
            price = state[TOTAL + n] / state[TOUCHES + n]
            if price <= top and price > floor:
                below, floor = n, price
            elif price > top and price < ceiling:
                above, ceiling = n, price
    return below, above


@helper
def _price(state: Floats, level: int) -> float:
    """Return the mean price of a level, NaN for none."""
    return state[TOTAL + level] / state[TOUCHES + level] if level >= 0 else NAN


class Level(Analyzer, kind="level"):
    """Expects a return from the nearest support or resistance that was touched often enough.

    `support` and `resistance` are the nearest qualified levels (NaN for none), `touches` belongs to the nearer one.
    """

    outputs: ClassVar[tuple[str, ...]] = ("direction", "confidence", "support", "resistance", "touches")
    overlays: ClassVar[tuple[str, ...]] = ("levels",)
    mirror: ClassVar[bool] = True

    lookback: int = candles(100, "Look-back", least=MIN_CANDLES, most=500)
    k: int = candles(2, "Candles beside a pivot", most=20)
    cluster: float = in_atr(0.5, "Pivots of one level within", above=0, most=10)
    proximity: float = in_atr(0.5, "Near a level within", above=0, most=10)
    min_touches: int = Field(2, ge=1, le=CAPACITY, title="Least touches")
    full_touches: int = Field(4, ge=1, le=CAPACITY, title="Touches of full strength")
    recent: int = candles(15, "Recent touch within", most=500)
    trend: Literal["penalize", "with", "any"] = Field("penalize", title="Signals against the trend")
    trend_factor: float = Field(0.5, ge=0, le=1, title="Strength against the trend times")

    def inputs(self) -> tuple[Input, ...]:
        """Return the close, the latest pivots with their ages, the trend averages and the ATR."""
        pivots = Pivots(k=self.k)
        return (
            "close",
            *(Ref(pivots, name) for name in ("high", "high_age", "low", "low_age")),
            Ref(Ema(period=FAST)),
            Ref(Ema(period=SLOW)),
            Ref(Atr(period=ATR_PERIOD)),
        )

    def required(self) -> int:
        """Count from the first candle; without averages there is no trend yet."""
        return 1

    def state_size(self) -> int:
        """Keep the last 64 pivots, and room for as many levels."""
        return SIZE

    def warmup(self) -> int:
        """Return the least number of candles that levels are built from."""
        return max(MIN_CANDLES, 2 * self.k + 1)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Take in pivots as they are confirmed (age k), build the levels anew and judge the nearest one.

        Of a high and a low of one candle, the one farther from the close is taken as the older.
        """
        close, k, atr, gap = x[0], p[3], x[7], x[5] - x[6]
        new_high, new_low = x[2] == k, x[4] == k
        low_first = new_high and new_low and close - x[3] > x[1] - close
        if low_first:
            _remember(state, x[3], i - k)
        if new_high:
            _remember(state, x[1], i - k)
        if new_low and not low_first:
            _remember(state, x[3], i - k)
        if i + 1 >= max(MIN_CANDLES, 2.0 * k + 1.0) and sized(atr, close):
            count = _cluster(state, i - p[2] + 1.0, p[4] * atr)
            below, above = _nearest(state, count, close, p[6])
            out[0], out[1], out[2], out[3] = 0.0, 0.0, _price(state, below), _price(state, above)
            down = close - out[2] if below >= 0 else FAR
            up = out[3] - close if above >= 0 else FAR
            level = below if down <= up else above
            if level >= 0:
                out[4] = state[TOUCHES + level]
                age = i - state[NEWEST + level]
                strength = 0.6 * lin(out[4], p[6] - 1.0, p[7]) + 0.2 * (1.0 - age / p[2])
                strength += 0.2 if age <= p[8] else 0.0
                equal = abs(down - up) <= SAME * close
                d = 0.0 if equal else side(down < up and down <= p[5] * atr, up < down and up <= p[5] * atr)
                against = abs(gap) >= TREND_GAP * atr and gap * d < 0.0
                if d != 0.0 and not (against and p[9] == 1.0):
                    factor = p[10] if against and p[9] == 0.0 else 1.0
                    out[0], out[1] = d, ramp(strength * factor, 0.0, 1.0, p[0], p[1])

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the levels around the price."""
        found = [
            f"{name} {row[name]:.6g}" for name in ("support", "resistance") if math.isfinite(row.get(name, math.nan))
        ]
        if not found:
            return f"{verdict(row)}: no level with {self.min_touches} touches in {self.lookback} candles"
        close = f", close {row['close']:.6g}" if "close" in row else ""
        return f"{verdict(row)}: {', '.join(found)}, the nearer one touched {row.get('touches', 0):.0f} times{close}"
