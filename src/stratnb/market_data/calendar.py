"""Local calendar time of candles, correct over changes of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, nearest

__all__ = ["minute_of_week"]

MINUTES_OF_WEEK = 7 * 24 * 60
MINUTE_MS = 60_000
QUARTER_MS = 900_000
THURSDAY = 3 * 24 * 60


def minute_of_week(
    open_time_ms: npt.NDArray[np.int64], timeframe_ms: int, zone: str = "UTC"
) -> npt.NDArray[np.float64]:
    """Return the minutes since Monday 00:00, local time of `zone`, of each candle's close (float64, 0 <= m < 10080).

    Raises `ConfigError` for an unknown zone.

    >>> minute_of_week(np.array([1515542400000]), 300_000).tolist()
    [2885.0]
    """
    times_ms = np.asarray(open_time_ms, np.int64) + timeframe_ms
    # The epoch was a Thursday; fractions of a minute stay fractions.
    minutes = (times_ms + _offsets_ms(times_ms, zone)) / MINUTE_MS + THURSDAY
    return np.mod(minutes, MINUTES_OF_WEEK)


def _offsets_ms(times_ms: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.int64]:
    """Return local minus UTC at each time; clocks change on quarters of an hour, so one look per quarter is enough."""
    rules = _zone(zone)
    if zone == "UTC":
        return np.zeros(times_ms.size, np.int64)
    quarters, where = np.unique(times_ms // QUARTER_MS, return_inverse=True)
    moments = (datetime.fromtimestamp(quarter * QUARTER_MS / 1000, rules) for quarter in quarters.tolist())
    offsets = [(moment.utcoffset() or timedelta()) // timedelta(milliseconds=1) for moment in moments]
    return np.array(offsets, np.int64)[where]


def _zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        close = nearest(zone, available_timezones())
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "use an IANA name such as 'Europe/Berlin'"
        raise ConfigError("unknown_zone", f"time zone {zone!r} is not known", value=zone, hint=hint) from error
