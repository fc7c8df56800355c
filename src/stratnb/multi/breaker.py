"""The circuit breaker: counts the failures of one strategy and says when it may be tried again (multi_strategy 10)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from stratnb.errors import Refused
from stratnb.multi.settings import BreakerSettings

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half_open"]
ERRORS_KEPT = 10
DUMPED = ("_state", "_failures", "_successes", "_reopenings", "_delay_s", "_since_s", "_next_s", "_broken_s")
COUNTED = ("_total_failures", "_total_successes", "_recoveries", "_recovery_s")


class Breaker:
    """Closed, open or half-open; `failure_threshold` failures in a row open it, `probes` good probes close it.

    `now_s` is the clock of all delays; `on_change(before)` is told after each change of state.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        now_s: Callable[[], float],
        *,
        on_change: Callable[[BreakerState], None] = lambda before: None,
    ) -> None:
        self._settings = settings
        self._now_s = now_s
        self._on_change = on_change
        self._state: BreakerState = "closed"
        self._probing = False
        self._failures = self._successes = self._reopenings = 0
        self._delay_s = self._next_s = self._broken_s = 0.0
        self._since_s = now_s()
        self._total_failures = self._total_successes = self._recoveries = 0
        self._recovery_s = 0.0
        self._errors: deque[str] = deque(maxlen=ERRORS_KEPT)

    def __repr__(self) -> str:
        """Return the state and the failures in a row."""
        return f"<Breaker {self._state}, {self._failures} failures>"

    def state(self) -> BreakerState:
        """Return the state; an open one stays open until `allow` is asked after its delay."""
        return self._state

    @property
    def is_due(self) -> bool:
        """Return whether `allow` would say yes, without taking the probe."""
        return self._state == "closed" or (not self._probing and self.after_s == 0.0)

    @property
    def after_s(self) -> float:
        """Return the seconds until the next try, 0 when nothing has to be waited for."""
        return max(0.0, self._next_s - self._now_s()) if self._state == "open" else 0.0

    def allow(self) -> bool:
        """Return whether a step may be tried now; a yes in half-open is the one probe until its outcome is told."""
        if self._state == "closed":
            return True
        if not self.is_due:
            return False
        if self._state == "open":
            self._successes = 0
            self._turn("half_open")
        self._probing = True
        return True

    def success(self) -> None:
        """Note a step that went well; one that comes late, in open, changes nothing but its count."""
        self._total_successes += 1
        self._since_s = self._since_s or self._now_s()  # it was made before the clock had a time
        if self._state == "closed":
            self._failures = 0
        elif self._state == "half_open":
            self._probing = False
            self._successes += 1
            if self._successes >= self._settings.probes:
                self._recoveries += 1
                self._recovery_s += self._now_s() - self._broken_s
                self._close()

    def failure(self, error: BaseException) -> None:
        """Note a step that failed; `Refused` is an answer and counts as none."""
        self._probing = False
        if isinstance(error, Refused):
            return
        self._total_failures += 1
        self._errors.append(f"{type(error).__name__}: {error}")
        if self._state == "open":
            return
        self._failures += 1
        if self._state == "half_open":
            self._reopenings += 1
            self._open(min(self._delay_s * self._settings.backoff, self._settings.max_open_s))
        elif self._failures >= self._settings.failure_threshold:
            self._broken_s = self._now_s()
            self._open(self._settings.open_s)

    def reset(self) -> None:
        """Close it as if nothing had failed; the totals stay."""
        self._close()

    def metrics(self) -> dict[str, Any]:
        """Return state, counts and times: `opened_ms` and `next_probe_ms` are None unless it is open."""
        tried = self._total_failures + self._total_successes
        is_open = self._state == "open"
        return {
            "state": self._state,
            "failures": self._failures,
            "total_failures": self._total_failures,
            "total_successes": self._total_successes,
            "failure_rate": self._total_failures / tried if tried else None,
            "reopenings": self._reopenings,
            "opened_ms": round(self._since_s * 1000.0) if is_open else None,
            "next_probe_ms": round(self._next_s * 1000.0) if is_open else None,
            "time_in_state_s": self._now_s() - self._since_s,
            "mean_recovery_s": self._recovery_s / self._recoveries if self._recoveries else None,
            "last_errors": list(self._errors),
        }

    def dump(self) -> dict[str, Any]:
        """Return what a restart needs, JSON-safe; nothing for one that never failed."""
        if not self._total_failures:
            return {}
        return {name: getattr(self, name) for name in (*DUMPED, *COUNTED)} | {"errors": list(self._errors)}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what an earlier run dumped; a probe that was in flight then is none any more."""
        if dumped.get("_state") in get_args(BreakerState):
            for name in (*DUMPED, *COUNTED):
                setattr(self, name, dumped[name])
            self._errors = deque(dumped["errors"], maxlen=ERRORS_KEPT)

    def _open(self, delay_s: float) -> None:
        self._delay_s, self._next_s = delay_s, self._now_s() + delay_s
        self._turn("open")

    def _close(self) -> None:
        self._failures = self._successes = self._reopenings = 0
        self._probing = False
        self._turn("closed")

    def _turn(self, state: BreakerState) -> None:
        before, self._state = self._state, state
        if before != state:
            self._since_s = self._now_s()
            self._on_change(before)
