"""How often each rule refused an entry: in the last hour, in the last day, and since the start."""

from __future__ import annotations

from collections import deque

__all__ = ["DenialCounts"]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
KEPT = 200_000


class DenialCounts:
    """Counts by code over two windows that end now, on the feed's clock."""

    def __init__(self) -> None:
        self._times: dict[str, deque[int]] = {}

    def add(self, code: str, time_ms: int) -> None:
        """Count a denial."""
        self._times.setdefault(code, deque(maxlen=KEPT)).append(time_ms)

    def recent(self, now_ms: int) -> dict[str, tuple[int, int]]:
        """Return by code how many there were in the last hour and in the last day."""
        found = {}
        for code, times in self._times.items():
            while times and times[0] <= now_ms - DAY_MS:
                times.popleft()
            hour = 0
            for time_ms in reversed(times):
                if time_ms <= now_ms - HOUR_MS:
                    break
                hour += 1
            found[code] = (hour, len(times))
        return found
