"""A piece of work in a thread of its own, polled like any job: progress, hold, cancel, result or error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Work"]


class Work:
    """Runs `call(progress=, cancelled=)` in a daemon thread; it never touches a widget.

    `progress(done, total)` may be called from the thread; `cancelled()` tells it to end early. The first call starts
    the clock of `rate` and `remaining_s`, so that what comes before it, such as reading a file, counts for neither.
    Held work waits in the next report of progress until it may go on.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.fraction = 0.0
        self.steps = 0.0
        self.cancelled = False
        self.started_s = time.monotonic()
        self.took_s = 0.0
        self._call = call
        self._first: tuple[float, float] | None = None
        self._result: Any = None
        self._may_go = threading.Event()
        self._may_go.set()
        self._thread = threading.Thread(target=self._run, name="stratnb-backtest", daemon=True)
        self._thread.start()

    def result(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self._result

    def cancel(self) -> None:
        """Ask the work to end early; what was held goes on to its end."""
        self.cancelled = True
        self._may_go.set()

    @property
    def held(self) -> bool:
        """Return whether it waits."""
        return not self._may_go.is_set()

    def hold(self, on: bool) -> None:
        """Let it wait after the next report of progress, or go on."""
        self._may_go.clear() if on else self._may_go.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread, in tests and plain Python."""
        self._thread.join(seconds)

    @property
    def rate(self) -> float | None:
        """Return the steps done per second since the first report, None before there is a second one."""
        if self._first is None or not self.took_s > 0.0 or self.steps <= self._first[1]:
            return None
        return (self.steps - self._first[1]) / self.took_s

    @property
    def remaining_s(self) -> float | None:
        """Return the estimated rest in seconds, None before there is progress."""
        rate = self.rate
        if rate is None or not self.fraction > 0.0:
            return None
        return max(self.steps / self.fraction - self.steps, 0.0) / rate

    def _progress(self, done: float, total: float = 1.0) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        self.steps, self.took_s = done, now - self._first[0]
        self.fraction = min(max(done / total, 0.0), 1.0) if total > 0 else 1.0
        self._may_go.wait()

    def _run(self) -> None:
        try:
            self._result = self._call(progress=self._progress, cancelled=lambda: self.cancelled)
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
