"""Local minutes of the week are right on both sides of a change of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data.calendar import minute_of_week


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def one(text: str, zone: str, timeframe_ms: int = 60_000) -> float:
    return float(minute_of_week(np.array([ms(text)]), timeframe_ms, zone)[0])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_every_quarter_of_a_year_agrees_with_the_calendar(zone: str) -> None:
    times = np.arange(ms("2024-01-01"), ms("2025-01-01"), 15 * 60_000)
    found = minute_of_week(times, 300_000, zone)
    for time, minute in zip(times[::41].tolist(), found[::41].tolist(), strict=True):
        local = datetime.fromtimestamp((time + 300_000) / 1000, ZoneInfo(zone))
        assert minute == local.weekday() * 1440 + local.hour * 60 + local.minute


def test_clocks_go_forward_and_back() -> None:
    sunday = 6 * 1440
    assert one("2024-03-31T00:59", "Europe/Berlin") == sunday + 3 * 60
    assert one("2024-03-31T00:58", "Europe/Berlin") == sunday + 119
    assert one("2024-10-27T00:59", "Europe/Berlin") == sunday + 2 * 60
    assert one("2024-10-27T00:58", "Europe/Berlin") == sunday + 2 * 60 + 59


def test_the_close_time_counts_and_the_week_starts_on_monday() -> None:
    assert one("2024-01-07T23:59", "UTC") == 0.0
    assert one("2024-01-07T23:58", "UTC") == 10_079.0
    assert one("2024-01-07T00:00", "UTC", 86_400_000) == 0.0
    assert minute_of_week(np.array([], np.int64), 60_000, "Europe/Berlin").size == 0


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'Europe/Berlin'"):
        one("2024-01-01", "Europe/Belin")
    with pytest.raises(ConfigError, match="is not known"):
        one("2024-01-01", "../etc/passwd")
