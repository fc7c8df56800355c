"""The time range of the event log: relative to the feed's clock, or between two UTC times."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

__all__ = ["RANGES", "bounds", "parse_time"]

RANGES: Final = (
    ("All times", "all"),
    ("Last 5 minutes", "300"),
    ("Last hour", "3600"),
    ("Last 6 hours", "21600"),
    ("Last day", "86400"),
    ("Between…", "between"),
)
_PATTERNS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_NS_PER_S = 1_000_000_000


def parse_time(text: str) -> float:
    """Return a UTC time in ns; a text that is none raises ValueError.

    >>> parse_time("2018-01-01 00:00")
    1.5147648e+18
    """
    for pattern in _PATTERNS:
        try:
            return datetime.strptime(text.strip(), pattern).replace(tzinfo=UTC).timestamp() * _NS_PER_S
        except ValueError:
            continue
    raise ValueError(f"{text.strip()!r} is no time: write it like 2026-01-31 09:00")


def bounds(choice: str, start: str, end: str, now_ms: int) -> tuple[float, float, str]:
    """Return the first and last time in ns that are wanted, and what is wrong with `start` or `end` (then all times).

    An empty start or end is open; a choice in seconds counts back from the feed's clock.
    """
    if choice == "all":
        return -math.inf, math.inf, ""
    if choice != "between":
        return now_ms * 1e6 - float(choice) * _NS_PER_S, math.inf, ""
    try:
        first = parse_time(start) if start.strip() else -math.inf
        last = parse_time(end) if end.strip() else math.inf
    except ValueError as error:
        return -math.inf, math.inf, str(error)
    if first > last:
        return -math.inf, math.inf, "From is after To"
    return first, last, ""
