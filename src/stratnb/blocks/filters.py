"""Filters: blocks that veto a signal, lower its confidence or raise the threshold.

Each writes `allow`, `factor` and `need`, then the compared number and its threshold (`value`, `limit`). Without a
direction everything is allowed.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from stratnb.blocks.base import Filter, Input, Ref
from stratnb.blocks.indicators import Adx, Atr, Ema, Natr
from stratnb.blocks.indicators.column import candles
from stratnb.errors import nearest
from stratnb.kernels.jit import kernel
from stratnb.kernels.maths import lin, near_zero
from stratnb.kernels.windows import Floats

__all__ = ["AtrRange", "BlindZone", "FlatMarket", "TimeWindow", "TrendAlignment"]

PERIOD = 14
MINUTES_A_DAY = 1440.0

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class BlindZone(Filter, kind="blind_zone"):
    """Lowers the confidence when too few analyzers agree on the direction."""

    order: ClassVar[int] = 1

    min_signals_long: int = Field(3, ge=0, le=28, title="Least analyzers for long")
    min_signals_short: int = Field(3, ge=0, le=28, title="Least analyzers for short")
    long_penalty: float = Field(0.85, ge=0, le=1, title="Factor for long", json_schema_extra={"x-unit": "fraction"})
    short_penalty: float = Field(0.90, ge=0, le=1, title="Factor for short", json_schema_extra={"x-unit": "fraction"})

    def inputs(self) -> tuple[Input, ...]:
        """Return the direction and the agreeing analyzers of each direction."""
        return "signal.direction", "signal.long", "signal.short"

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the agreeing analyzers of the direction with their least number."""
        out[0], out[1], out[2] = 1.0, 1.0, 0.0
        if x[0] > 0.0:
            out[3], out[4] = x[1], p[0]
            out[1] = p[2] if x[1] < p[0] else 1.0
        elif x[0] < 0.0:
            out[3], out[4] = x[2], p[1]
            out[1] = p[3] if x[2] < p[1] else 1.0

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the agreeing analyzers and their least number."""
        return (f"{row['value']:.0f}", f"≥ {row['limit']:.0f}") if _known(row) else ("", "")

    def explain(self, row: Mapping[str, float]) -> str:
        """Return how many analyzers agree and how many are wanted."""
        if not _known(row):
            return "No direction to judge"
        few = row.get("factor", 1.0) < 1.0
        end = f": confidence × {row['factor']:g}" if few else ""
        return f"{row['value']:.0f} analyzers agree, {row['limit']:.0f} wanted{end}"


class FlatMarket(Filter, kind="flat_market"):
    """Blocks signals in a market without trend and movement; flatness runs from 0 (moving) to 1 (flat)."""

    order: ClassVar[int] = 2

    threshold: float = Field(0.7, ge=0, le=1, title="Blocked from flatness", json_schema_extra={"x-unit": "fraction"})
    ema_fast: int = candles(20, "Fast EMA", most=500)
    ema_slow: int = candles(50, "Slow EMA", least=2, most=1000)
    ema_gap: float = Field(0.5, gt=0, le=20, title="EMA gap of a trend", json_schema_extra={"x-unit": "atr"})
    atr_fraction: float = Field(0.0015, gt=0, le=1, title="ATR of a mover", json_schema_extra={"x-unit": "fraction"})
    adx_low: float = Field(10.0, ge=0, le=100, title="ADX without trend")
    adx_high: float = Field(25.0, ge=0, le=100, title="ADX of a trend")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ema_fast >= self.ema_slow:
            raise ValueError(f"order_violation: ema_fast {self.ema_fast} must be below ema_slow {self.ema_slow}")
        if self.adx_low >= self.adx_high:
            raise ValueError(f"order_violation: adx_low {self.adx_low:g} must be below adx_high {self.adx_high:g}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the direction, the close, both averages, ATR, NATR and ADX."""
        return (
            "signal.direction",
            "close",
            Ref(Ema(period=self.ema_fast)),
            Ref(Ema(period=self.ema_slow)),
            Ref(Atr(period=PERIOD)),
            Ref(Natr(period=PERIOD)),
            Ref(Adx(period=PERIOD), "adx"),
        )

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Weigh the three signs of a flat market; an ATR of zero is no EMA gap."""
        gap = 0.0 if near_zero(x[4], x[1]) else abs(x[2] - x[3]) / x[4]
        flat = 0.4 * (1.0 - lin(gap, 0.0, p[3])) + 0.3 * (1.0 - lin(x[5], 0.0, p[4]))
        flat += 0.3 * (1.0 - lin(x[6], p[5], p[6]))
        out[0] = 0.0 if x[0] != 0.0 and flat >= p[0] else 1.0
        out[1], out[2], out[3], out[4] = 1.0, 0.0, flat, p[0]

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the flatness and what it must stay below."""
        return (f"{row['value']:.2f}", f"< {row['limit']:.2f}") if _known(row) else ("", "")

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the flatness and its threshold."""
        if not _known(row):
            return "Not ready"
        return f"{_outcome(row)}: flatness {row['value']:.2f}, blocked from {row['limit']:.2f}"


class TrendAlignment(Filter, kind="trend_alignment"):
    """Blocks signals against the trend of the higher timeframes."""

    order: ClassVar[int] = 5

    block_long_in_downtrend: bool = Field(True, title="No long in a downtrend")
    block_short_in_uptrend: bool = Field(True, title="No short in an uptrend")
    block_in_neutral: bool = Field(False, title="Nothing without a trend")

    def inputs(self) -> tuple[Input, ...]:
        """Return the direction and the bias of the trend."""
        return "signal.direction", "trend.bias"

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the signs of direction and bias."""
        against = (x[0] > 0.0 and x[1] < 0.0 and p[0] != 0.0) or (x[0] < 0.0 and x[1] > 0.0 and p[1] != 0.0)
        neutral = x[0] != 0.0 and x[1] == 0.0 and p[2] != 0.0
        out[0] = 0.0 if against or neutral else 1.0
        out[1], out[2], out[3], out[4] = 1.0, 0.0, x[1], 0.0

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the trend and which trends the direction allows."""
        if not _known(row):
            return "", ""
        side = row.get("signal.direction", 0.0)
        against = self.block_long_in_downtrend if side > 0 else self.block_short_in_uptrend
        word = "down" if side > 0 else "up"
        barred = [*([word] if side and against else []), *(["neutral"] if side and self.block_in_neutral else [])]
        return _trend(row["value"]), f"not {' or '.join(barred)}" if barred else "any"

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the trend in words."""
        if not _known(row):
            return "Trend not ready"
        return f"{_outcome(row)}: the trend is {_trend(row['value'])}"


class TimeWindow(Filter, kind="time_window"):
    """Blocks or penalizes signals of candles that close inside a daily window.

    The window runs from `start_hour` to before `end_hour` and may wrap midnight; its part after midnight belongs to
    the day on which it began. Equal hours are no window.
    """

    order: ClassVar[int] = 7
    structural: ClassVar[frozenset[str]] = Filter.structural | {"timezone"}

    start_hour: float = Field(0.0, ge=0, le=23.99, title="From (hour)", json_schema_extra={"x-unit": "h"})
    end_hour: float = Field(0.0, ge=0, le=23.99, title="Until (hour)", json_schema_extra={"x-unit": "h"})
    days: Literal["all"] | tuple[Weekday, ...] = Field("all", title="Days")
    timezone: str = Field("UTC", title="Time zone")
    mode: Literal["block", "penalize"] = Field("block", title="Inside the window")
    penalty: float = Field(0.8, ge=0, le=1, title="Factor inside", json_schema_extra={"x-unit": "fraction"})

    @field_validator("days", mode="before")
    @classmethod
    def _spelled_out(cls, days: Any) -> Any:
        """Sort the days, drop repeated ones and complete three-letter names; an empty list is refused."""
        if not isinstance(days, (list, tuple)):
            return days
        if not days:
            raise ValueError('no day is named; write "all" or leave the filter out')
        full = [next((day for day in WEEKDAYS if str(name).lower() in (day, day[:3])), name) for name in days]
        return tuple(sorted(set(full), key=lambda day: WEEKDAYS.index(day) if day in WEEKDAYS else len(WEEKDAYS)))

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        """Refuse a zone that the time zone database does not know."""
        try:
            zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            close = nearest(name, zoneinfo.available_timezones())
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "write it like 'Europe/Berlin'"
            raise ValueError(f"timezone {name!r} is not known; {hint}") from error
        return name

    def inputs(self) -> tuple[Input, ...]:
        """Return the direction and the minute of the week of the close, in the zone."""
        return "signal.direction", "minute_of_week" + ("" if self.timezone == "UTC" else f"@{self.timezone}")

    def p(self) -> list[float]:
        """Return the hours, the days as a bit mask (Monday is 1), whether signals are penalized, and the factor."""
        mask = sum(1 << n for n, day in enumerate(WEEKDAYS) if self.days == "all" or day in self.days)
        return [self.start_hour, self.end_hour, float(mask), float(self.mode == "penalize"), self.penalty]

    @classmethod
    def choices(cls) -> tuple[int, ...]:
        """Return the days and whether signals are penalized."""
        return (2, 3)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Find hour and day of the close and compare them with the window."""
        day = int(x[1] // MINUTES_A_DAY)
        hour = (x[1] - day * MINUTES_A_DAY) / 60.0
        start, end = p[0], p[1]
        inside = start <= hour < end
        if start > end:
            inside = hour >= start or hour < end
            if hour < end:
                day += 6
        inside = inside and (int(p[2]) >> (day % 7)) & 1 == 1
        hit = inside and x[0] != 0.0
        out[0] = 0.0 if hit and p[3] == 0.0 else 1.0
        out[1] = p[4] if hit and p[3] != 0.0 else 1.0
        out[2], out[3], out[4] = 0.0, hour, end if inside else start

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the time of the close and the window that it must be outside of."""
        if not _known(row):
            return "", ""
        return _clock(row["value"]), f"outside {_clock(self.start_hour)} to {_clock(self.end_hour)}"

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the hour and the window."""
        if not _known(row):
            return "Time not known"
        end = f", confidence × {row['factor']:g}" if row.get("factor", 1.0) < 1.0 else ""
        window = f"{_clock(self.start_hour)} to {_clock(self.end_hour)} {self.timezone}"
        return f"{_outcome(row)}: closed at {_clock(row['value'])}, window {window}{end}"


class AtrRange(Filter, kind="atr_range"):
    """Blocks signals while the ATR, as a fraction of the price, is too small or too large."""

    order: ClassVar[int] = 11

    period: int = candles(PERIOD, "ATR period", most=500)
    min: float = Field(0.00005, ge=0, le=1, title="Least ATR", json_schema_extra={"x-unit": "fraction"})
    max: float = Field(0.02, gt=0, le=1, title="Most ATR", json_schema_extra={"x-unit": "fraction"})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"order_violation: min {self.min:g} must be below max {self.max:g}")
        return self

    def inputs(self) -> tuple[Input, ...]:
        """Return the direction and the NATR."""
        return "signal.direction", Ref(Natr(period=self.period))

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the NATR with both bounds; a bound itself is inside."""
        low, high = x[1] < p[1], x[1] > p[2]
        out[0] = 0.0 if x[0] != 0.0 and (low or high) else 1.0
        out[1], out[2], out[3], out[4] = 1.0, 0.0, x[1], p[1] if low else p[2]

    def compare(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the ATR as a share of the price, and both bounds."""
        return (f"{row['value']:.3%}", f"≥ {self.min:.3%}, ≤ {self.max:.3%}") if _known(row) else ("", "")

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the ATR and its bounds."""
        if not _known(row):
            return "ATR not ready"
        return f"{_outcome(row)}: ATR is {row['value']:.3%} of the price, allowed {self.min:.3%} to {self.max:.3%}"


def _known(row: Mapping[str, float]) -> bool:
    """Tell whether the row holds a compared number and its threshold."""
    return all(row.get(name, float("nan")) == row.get(name) for name in ("value", "limit"))


def _outcome(row: Mapping[str, float]) -> str:
    """Return whether the row lets the signal pass, in a word."""
    return "Blocked" if row.get("allow") == 0 else "Allowed"


def _trend(bias: float) -> str:
    """Return a bias in a word."""
    return "up" if bias > 0 else "down" if bias < 0 else "neutral"


def _clock(hour: float) -> str:
    """Return an hour of the day as HH:MM.

    >>> _clock(22.5)
    '22:30'
    """
    minutes = round(hour * 60.0)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
