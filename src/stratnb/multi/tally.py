"""What is counted of one strategy while it works; the journal's rows give the same figures again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.services.daily import DAY_MS

__all__ = ["Tally", "up_s"]

Floats = npt.NDArray[np.float64]
STEPS_KEPT = 100
UP = ("active", "managing")


def up_s(up: Mapping[str, Any], now_ms: int, first_ms: int) -> float:
    """Return the seconds of work that `Tally.dump_up` tells, none of them before the first candle."""
    since_ms = up.get("since_ms")
    present_ms = 0 if since_ms is None else max(0, now_ms - max(since_ms, first_ms))
    return (int(up.get("ms", 0)) + present_ms) / 1000.0


class Tally:
    """Counters of a strategy, or of the account: decisions, outcomes of steps, time of work, equity of each day."""

    __slots__ = ("_days", "_equity", "_since_ms", "_slipped", "_slips", "_up_ms", "decisions", "outcomes")

    def __init__(self) -> None:
        self.decisions = 0
        self.outcomes: deque[bool] = deque(maxlen=STEPS_KEPT)
        self._days: list[int] = []
        self._equity: list[float] = []
        self._slips = 0
        self._slipped = 0.0
        self._up_ms = 0
        self._since_ms: int | None = None

    @property
    def error_rate(self) -> float:
        """Return the share of the newest 100 steps that failed, 0 before the first."""
        return self.outcomes.count(False) / len(self.outcomes) if self.outcomes else 0.0

    def close(self, time_ms: int, equity: float) -> None:
        """Note the equity at a moment; the last value up to 00:00 UTC is that of the day before."""
        day = (time_ms - 1) // DAY_MS
        if self._days and self._days[-1] == day:
            self._equity[-1] = equity
        else:
            self._days.append(day)
            self._equity.append(equity)

    def days(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the last moment of each day with a value, in ms, and the value."""
        days, equity = list(self._days), list(self._equity)
        size = min(len(days), len(equity))
        return (np.array(days[:size], np.int64) + 1) * DAY_MS, np.array(equity[:size])

    def load_days(self, time_ms: npt.NDArray[np.int64], equity: Floats) -> None:
        """Take over the equity of the days of an earlier run, any number of points a day."""
        self._days, self._equity = [], []
        for when, value in zip(time_ms.tolist(), equity.tolist(), strict=True):
            self.close(int(when), float(value))

    def slip(self, fraction: float) -> None:
        """Note what an order at market lost against the price that it met."""
        self._slips += 1
        self._slipped += fraction

    def load_slips(self, fractions: Sequence[float]) -> None:
        """Take over what orders of an earlier run lost."""
        self._slips, self._slipped = len(fractions), sum(fractions)

    @property
    def slippage_mean(self) -> float | None:
        """Return the mean loss of an order at market, a fraction; None without any."""
        return self._slipped / self._slips if self._slips else None

    def state(self, state: str, now_ms: int, first_ms: int) -> None:
        """Note a state: the time in active and managing counts, from the first candle on."""
        if state in UP:
            self._since_ms = now_ms if self._since_ms is None else self._since_ms
        else:
            self._up_ms, self._since_ms = round(self.uptime_s(now_ms, first_ms) * 1000.0), None

    def uptime_s(self, now_ms: int, first_ms: int) -> float:
        """Return the seconds in active or managing so far."""
        return up_s(self.dump_up(), now_ms, first_ms)

    def dump_up(self) -> dict[str, Any]:
        """Return the time of work, JSON-safe."""
        return {"ms": self._up_ms, "since_ms": self._since_ms}

    def load_up(self, dumped: Mapping[str, Any]) -> None:
        """Take over the time of work of an earlier run."""
        self._up_ms, self._since_ms = dumped.get("ms", 0), dumped.get("since_ms")
