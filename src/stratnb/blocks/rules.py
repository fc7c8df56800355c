"""Blocks that every plan adds by itself: the common rule of analyzers, the trend source, local time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field

from stratnb.blocks.base import Indicator, Input
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats

__all__ = ["LocalMinute", "SignalRule", "TrendSource"]

FIRST_YEAR, LAST_YEAR = 2000, 2060


class SignalRule(Indicator):
    """Holds an analyzer's last event, limits its confidence and tells whether it is ready (blocks 3)."""

    outputs: ClassVar[tuple[str, ...]] = ("direction", "confidence", "ready")

    hold: int = Field(1, ge=1, le=50, title="Hold (candles)")
    min_confidence: float = Field(0.0, ge=0, le=1, title="Least confidence")
    max_confidence: float = Field(1.0, ge=0, le=1, title="Most confidence")

    def inputs(self) -> tuple[Input, ...]:
        """Return nothing by itself: the plan gives the raw direction and confidence."""
        return ("raw.direction", "raw.confidence")

    def state_size(self) -> int:
        """Return three cells: direction, confidence and age of the last event."""
        return 3

    def p(self) -> list[float]:
        """Return hold and the limits, then whether it holds at all."""
        return [float(self.hold), self.min_confidence, self.max_confidence, float(self.hold > 1)]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return whether it holds."""
        return (3,)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Apply hold, then the limits."""
        direction, confidence = x[0], x[1]
        if p[3] == 1.0:
            if direction != 0.0:
                state[0], state[1], state[2] = direction, confidence, 0.0
            else:
                state[2] += 1.0
                if state[0] != 0.0 and state[2] < p[0]:
                    direction, confidence = state[0], state[1] * (1.0 - state[2] / p[0])
        confidence = min(confidence, p[2])
        if confidence < p[1] or direction == 0.0:
            direction, confidence = 0.0, 0.0
        out[0], out[1], out[2] = direction, confidence, 1.0


class TrendSource(Indicator):
    """Weighs the trends of the higher timeframes into one bias and one strength (blocks 4)."""

    outputs: ClassVar[tuple[str, ...]] = ("bias", "strength")
    structural: ClassVar[frozenset[str]] = frozenset({"columns"})

    columns: tuple[str, ...]
    weights: tuple[float, ...]

    def inputs(self) -> tuple[Input, ...]:
        """Return bias and strength of each role."""
        return self.columns

    def required(self) -> int:
        """Return 0: roles that are not ready count nothing."""
        return 0

    def p(self) -> list[float]:
        """Return the number of roles and their weights, summing to 1."""
        total = sum(self.weights)
        return [float(len(self.weights)), *(weight / total for weight in self.weights)]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return the number of roles."""
        return (0,)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Sum the weighted biases; contradicting timeframes give bias 0 with a high strength."""
        total, strength, ready = 0.0, 0.0, False
        for k in range(int(p[0])):
            if math.isfinite(x[2 * k]) and math.isfinite(x[2 * k + 1]):
                ready = True
                total += p[1 + k] * x[2 * k] * x[2 * k + 1]
                strength += p[1 + k] * x[2 * k + 1]
        if ready:
            out[0] = 0.0 if abs(total) < 0.15 else (1.0 if total > 0.0 else -1.0)
            out[1] = strength


class LocalMinute(Indicator):
    """The minute of the week of a candle's close in a time zone, from Monday 00:00 local time."""

    structural: ClassVar[frozenset[str]] = frozenset({"zone"})

    zone: str

    def inputs(self) -> tuple[Input, ...]:
        """Return the opening time and the minute of the week in UTC."""
        return ("open_time_ms", "minute_of_week")

    def p(self) -> list[float]:
        """Return the changes of the clock as pairs of UTC milliseconds and the offset in minutes from then on."""
        return [number for change in _changes(self.zone) for number in change]

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Find the offset in force and shift the minute."""
        low, high = 0, p.size // 2 - 1
        while low < high:
            middle = (low + high + 1) // 2
            if p[2 * middle] <= x[0]:
                low = middle
            else:
                high = middle - 1
        out[0] = (x[1] + p[2 * low + 1]) % 10_080.0


@lru_cache(maxsize=32)
def _changes(zone: str) -> tuple[tuple[float, float], ...]:
    """Return (UTC ms, offset minutes) of every change of the clock in the supported years."""
    rules, moment = ZoneInfo(zone), datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(rules).utcoffset()
    changes = [(0.0, _minutes(offset))]
    while moment.year < LAST_YEAR:
        later = moment + timedelta(days=7)
        if later.astimezone(rules).utcoffset() != offset:
            while moment.astimezone(rules).utcoffset() == offset:
                moment += timedelta(minutes=15)
            offset = moment.astimezone(rules).utcoffset()
            changes.append((moment.timestamp() * 1000.0, _minutes(offset)))
        else:
            moment = later
    return tuple(changes)


def _minutes(offset: timedelta | None) -> float:
    return offset.total_seconds() / 60.0 if offset else 0.0
