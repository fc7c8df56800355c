"""Exit blocks: stop-loss, target ladder, breakeven, trailing stop, time and signal exits.

Written for long and short alike through `position.side`. They are stepped when a position is armed at its fill
price and at each primary close; the level row keeps the tightest stop of all of them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from stratnb.blocks.base import Exit, Input, Ref
from stratnb.blocks.indicators import Atr, Bollinger, Donchian
from stratnb.blocks.ladder import MAX_TARGETS, Level, TrailingStart
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats

__all__ = [
    "MAX_TARGETS",
    "Breakeven",
    "Level",
    "SignalExit",
    "StopLoss",
    "TakeProfit",
    "TimeExit",
    "Trailing",
    "TrailingStart",
]


class StopLoss(Exit, kind="stop_loss"):
    """A stop at a fixed fraction or a multiple of ATR from the entry price, fixed at the fill."""

    reason: ClassVar[str] = "stop"
    limits_loss: ClassVar[bool] = True

    basis: Literal["fixed", "atr"] = Field("fixed", title="Basis")
    fraction: float = Field(0.02, gt=0, le=0.5, title="Distance", json_schema_extra={"x-unit": "fraction"})
    period: int = Field(14, ge=1, le=500, title="ATR period (candles)")
    multiple: float = Field(2.0, gt=0, le=50, title="Multiple of ATR", json_schema_extra={"x-unit": "atr"})
    min_fraction: float = Field(0.005, ge=0, le=0.5, title="Least distance", json_schema_extra={"x-unit": "fraction"})
    max_fraction: float = Field(0.2, gt=0, le=0.5, title="Largest distance", json_schema_extra={"x-unit": "fraction"})
    fallback: float = Field(
        0.02, gt=0, le=0.5, title="Distance while ATR is not ready", json_schema_extra={"x-unit": "fraction"}
    )

    @model_validator(mode="after")
    def _ordered(self) -> StopLoss:
        if self.min_fraction > self.max_fraction:
            raise ValueError("order_violation: min_fraction must not be above max_fraction")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return side, entry price and the arming mark, then ATR for that basis."""
        base: tuple[Input, ...] = ("position.side", "position.entry_price", "position.fresh")
        return (*base, Ref(Atr(period=self.period))) if self.basis == "atr" else base

    def required(self) -> int:
        """Return 3: a missing ATR means the fallback."""
        return 3

    def state_size(self) -> int:
        """Return one cell: the stop price."""
        return 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Fix the stop when armed, then repeat it."""
        if x[2] == 1.0:
            distance = p[1] * x[1]
            if p[0] == 1.0:
                distance = p[6] * x[1]
                if math.isfinite(x[3]):
                    distance = min(max(p[3] * x[3], p[4] * x[1]), p[5] * x[1])
            state[0] = x[1] - x[0] * distance
        out[0] = state[0]
        out[1] = 0.0


class TakeProfit(Exit, kind="take_profit"):
    """A ladder of targets, each closing a share of the original quantity."""

    reason: ClassVar[str] = "target"
    outputs: ClassVar[tuple[str, ...]] = (
        "stop",
        "exit",
        *(f"{name}{n}" for n in range(1, MAX_TARGETS + 1) for name in ("price", "share")),
    )

    basis: Literal["fraction", "r", "atr"] = Field("fraction", title="Basis")
    period: int = Field(14, ge=1, le=500, title="ATR period (candles)")
    levels: tuple[Level, ...] = Field(min_length=1, max_length=MAX_TARGETS, title="Targets")

    @model_validator(mode="after")
    def _ladder(self) -> TakeProfit:
        reach = [level.at for level in self.levels]
        if any(b <= a for a, b in pairwise(reach)):
            raise ValueError("targets_not_increasing: levels[].at must rise strictly")
        if sum(level.close for level in self.levels) > 1 + 1e-9:
            raise ValueError("close_sum: the shares of levels[].close add up to more than 1")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return side, entry price, the arming mark and the first stop, then ATR for that basis."""
        base: tuple[Input, ...] = ("position.side", "position.entry_price", "position.fresh", "position.initial_stop")
        return (*base, Ref(Atr(period=self.period))) if self.basis == "atr" else base

    def required(self) -> int:
        """Return 3: without a stop or ATR the targets of that basis stay empty."""
        return 3

    def p(self) -> list[float]:
        """Return basis and number of targets, then eight rows of (at, close, on_hit mask), padded with NaN."""
        rows = [[level.at, level.close, _mask(level)] for level in self.levels]
        rows += [[math.nan] * 3] * (MAX_TARGETS - len(rows))
        return [
            float(("fraction", "r", "atr").index(self.basis)),
            float(len(self.levels)),
            *(v for row in rows for v in row),
        ]

    def target_count(self) -> int:
        """Return the number of targets."""
        return len(self.levels)

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return the basis and the number of targets."""
        return (0, 1)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write price and share of each target when armed."""
        out[1] = 0.0
        if x[2] == 1.0:
            unit = x[1]
            if p[0] == 1.0:
                unit = abs(x[1] - x[3])
            elif p[0] == 2.0:
                unit = x[4]
            for k in range(int(p[1])):
                out[2 + 2 * k] = x[1] + x[0] * p[2 + 3 * k] * unit
                out[3 + 2 * k] = p[3 + 3 * k]


class Breakeven(Exit, kind="breakeven"):
    """Moves the stop to the entry price plus an offset once a target was hit or a profit reached."""

    reason: ClassVar[str] = "breakeven"

    after_targets: int | None = Field(None, ge=1, le=MAX_TARGETS, title="After this many targets (default 1)")
    at_profit: float | None = Field(None, gt=0, le=1, title="At this return", json_schema_extra={"x-unit": "fraction"})
    offset: float = Field(0.003, ge=0, le=0.5, title="Offset from entry", json_schema_extra={"x-unit": "fraction"})
    cover_fees: bool = Field(True, title="Add the fees of the round trip")

    def inputs(self) -> tuple[Input, ...]:
        """Return side, entry price, arming mark, targets done, return at the close and round-trip fees."""
        return (
            "position.side",
            "position.entry_price",
            "position.fresh",
            "position.targets_done",
            "position.return",
            "cost.fees",
        )

    def state_size(self) -> int:
        """Return one cell: whether it has been triggered."""
        return 1

    def p(self) -> list[float]:
        """Return after_targets (1 unless a profit is given), at_profit, offset, cover_fees."""
        after = self.after_targets if self.after_targets or self.at_profit else 1
        return [_or_nan(after), _or_nan(self.at_profit), self.offset, float(self.cover_fees)]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return cover_fees."""
        return (3,)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Give the breakeven price from the trigger on."""
        if x[2] == 1.0:
            state[0] = 0.0
        elif x[3] >= p[0] or x[4] >= p[1]:
            state[0] = 1.0
        if state[0] == 1.0:
            offset = p[2]
            if p[3] == 1.0:
                offset += x[5]
            out[0] = x[1] * (1.0 + x[0] * offset)
        out[1] = 0.0


class Trailing(Exit, kind="trailing"):
    """A stop that follows the best price at a distance and never turns back."""

    reason: ClassVar[str] = "trailing"

    basis: Literal["percent", "atr", "chandelier", "bollinger"] = Field("percent", title="Basis")
    distance: float = Field(
        0.01, gt=0, lt=1, title="Distance from the best price", json_schema_extra={"x-unit": "fraction"}
    )
    multiple: float | None = Field(None, gt=0, le=50, title="Multiple of ATR", json_schema_extra={"x-unit": "atr"})
    period: int | None = Field(None, ge=2, le=500, title="Look-back (candles)")
    dev: float = Field(2.0, gt=0, le=10, title="Deviations of the band")
    start: TrailingStart = Field(TrailingStart(immediately=True), title="Start")
    min_step: float = Field(0.0, ge=0, le=0.5, title="Least move", json_schema_extra={"x-unit": "fraction"})

    def inputs(self) -> tuple[Input, ...]:
        """Return position columns, then the prices of the basis: for long, for short, and ATR."""
        base: tuple[Input, ...] = (
            "position.side",
            "position.entry_price",
            "position.fresh",
            "position.targets_done",
            "position.return",
        )
        atr = Ref(Atr(period=14))
        if self.basis == "chandelier":
            channel = Donchian(period=self.period or 22)
            return (*base, Ref(channel, "upper"), Ref(channel, "lower"), atr)
        if self.basis == "bollinger":
            band = Bollinger(period=self.period or 20, dev=self.dev)
            return (*base, Ref(band, "lower"), Ref(band, "upper"))
        best: tuple[Input, ...] = ("position.peak", "position.trough")
        return (*base, *best, atr) if self.basis == "atr" else (*base, *best)

    def required(self) -> int:
        """Return 5: while the basis is not ready there is no opinion."""
        return 5

    def state_size(self) -> int:
        """Return two cells: started, last stop."""
        return 2

    def p(self) -> list[float]:
        """Return basis, distance, multiple, start (targets or NaN, profit or NaN, immediately), min_step."""
        multiple = self.multiple or (3.0 if self.basis == "chandelier" else 2.0)
        basis = ("percent", "atr", "chandelier", "bollinger").index(self.basis)
        start = self.start
        return [
            float(basis),
            self.distance,
            multiple,
            _or_nan(start.targets),
            _or_nan(start.profit),
            float(bool(start.immediately)),
            self.min_step,
        ]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return basis and immediately."""
        return (0, 5)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Follow the best price from the start condition on."""
        if x[2] == 1.0:
            state[0] = p[5]
            state[1] = math.nan
        elif x[3] >= p[3] or x[4] >= p[4]:
            state[0] = 1.0
        if state[0] == 1.0:
            best = x[5] if x[0] > 0.0 else x[6]
            stop = best
            if p[0] == 0.0:
                stop = best * (1.0 - x[0] * p[1])
            elif p[0] < 3.0:
                stop = best - x[0] * p[2] * x[7]
            if math.isfinite(stop) and not (x[0] * (stop - state[1]) <= p[6] * x[1]):
                state[1] = stop
            out[0] = state[1]
        out[1] = 0.0


class TimeExit(Exit, kind="time_exit"):
    """Leaves after a time, or only if the return is still below a value by then."""

    reason: ClassVar[str] = "time"
    limits_loss: ClassVar[bool] = True

    max_minutes: float | None = Field(None, gt=0, title="Longest hold (minutes)")
    max_candles: int | None = Field(None, ge=1, title="Longest hold (candles)")
    only_below: float | None = Field(
        None, ge=-1, le=10, title="Only below this return", json_schema_extra={"x-unit": "fraction"}
    )

    @model_validator(mode="after")
    def _limited(self) -> TimeExit:
        if self.max_minutes is None and self.max_candles is None:
            raise ValueError("missing: give max_minutes or max_candles")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return minutes and candles held, and the return at the close."""
        return ("position.minutes", "position.candles", "position.return")

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Ask to leave at or after the limit."""
        late = x[0] >= p[0] or x[1] >= p[1]
        out[1] = 1.0 if late and not (x[2] >= p[2]) else 0.0


class SignalExit(Exit, kind="signal_exit"):
    """Leaves when the entry decision turns to the other side."""

    reason: ClassVar[str] = "signal"

    min_confidence: float = Field(0.6, ge=0, le=1, title="Least confidence", json_schema_extra={"x-unit": "fraction"})
    min_hold_candles: int = Field(1, ge=0, le=10_000, title="Least hold (candles)")

    def inputs(self) -> tuple[Input, ...]:
        """Return side, candles held, and the aggregated signal."""
        return ("position.side", "position.candles", "signal.direction", "signal.confidence")

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Ask to leave on an opposite signal with enough confidence."""
        against = x[2] * x[0] < 0.0 and x[3] >= p[0] and x[1] >= p[1]
        out[1] = 1.0 if against else 0.0


def _mask(level: Level) -> float:
    """Return 1 for breakeven plus 2 for trail."""
    return float(("breakeven" in level.on_hit) + 2 * ("trail" in level.on_hit))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
