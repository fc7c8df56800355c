"""The one task of a kernel that writes widgets: ten ticks a second on the kernel's main loop while a browser looks.

Callbacks of widgets only enqueue. A tick notes the heartbeats, polls the submitted jobs and lets each panel paint the
newest picture at its own rate. Without a heartbeat for 30 s nothing is painted; the first one repaints everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from stratnb.view import Board

__all__ = ["ABSENT_S", "Job", "Painter", "Pump", "pump"]

LOG: Final = logging.getLogger("stratnb.ui")

PERIOD_S: Final = 0.1
HIDDEN_PERIOD_S: Final = 1.0
ABSENT_S: Final = 30.0
LONGEST_STEP_S: Final = 1.0  # a blocked loop must not look like an absent browser
FAILURES_MAX: Final = 3


class Job(Protocol):
    """A submitted operation as the pump polls it; `result()` is called only after `done`."""

    @property
    def done(self) -> bool:
        """Return whether it has ended."""
        ...

    @property
    def error(self) -> Any:
        """Return the failure, or None."""
        ...

    def result(self) -> Any:
        """Return what it gave."""
        ...


class Painter(Protocol):
    """What the pump paints: a panel."""

    board: Board
    shown: bool

    def tick(self, now_s: float, picture: Callable[[Board], Any], *, force: bool) -> None:
        """Paint what changed; never raises."""
        ...

    def fail(self, code: str, message: str, *, retry: Callable[[], None] | None = None) -> None:
        """Show an error in the panel."""
        ...


@dataclass(slots=True)
class _Absence:
    """A callback for `seconds` without a heartbeat, and whether it ran since the last one."""

    seconds: float
    run: Callable[[], None]
    quiet_s: float = 0.0
    fired: bool = False


@dataclass(slots=True)
class _Presence:
    """Which pages look, and for how long none did."""

    pages: dict[str, tuple[float, bool]] = field(default_factory=dict)
    quiet_s: float = 0.0

    def hidden(self, now_s: float) -> bool:
        """Return whether every page that lives is in a hidden tab."""
        self.pages = {page: seen for page, seen in self.pages.items() if now_s - seen[0] <= ABSENT_S}
        return bool(self.pages) and all(hidden for _, hidden in self.pages.values())


class Pump:
    """Paints panels at ten ticks a second; one per kernel, from `pump()`.

    `start` takes the running loop and is called in a cell; without a loop `paint_now` paints once. Methods may be
    called from the kernel's main thread or from the thread of a callback.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._panels: list[Painter] = []
        self._beats: deque[tuple[str, bool]] = deque()
        self._jobs: deque[tuple[Job, Callable[[Job], None]]] = deque()
        self._timers: list[tuple[float, Callable[[], Any]]] = []
        self._absences: list[_Absence] = []
        self._presence = _Presence()
        self._last_s = clock()
        self._force = True
        self._failures = 0

    def __repr__(self) -> str:
        """Return the state on one line."""
        state = "running" if self.running else "stopped"
        return f"<Pump {state}, {len(self._panels)} panels, {'a browser' if self.present else 'no browser'}>"

    @property
    def running(self) -> bool:
        """Return whether the task is alive."""
        return self._task is not None and not self._task.done()

    @property
    def present(self) -> bool:
        """Return whether a browser was heard of within 30 s of running time."""
        return self._presence.quiet_s < ABSENT_S

    def start(self) -> bool:
        """Start the task on the running loop; return whether it runs. Does nothing while it does."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.running
        if self.running and loop is self._loop:
            return True
        self._loop, self._wake, self._last_s = loop, asyncio.Event(), self._clock()
        self._task = loop.create_task(self._run(), name="stratnb-pump")
        self._task.add_done_callback(self._ended)
        return True

    def stop(self) -> None:
        """End the task; panels stay as they are."""
        if self._task is not None:
            self._call(self._task.cancel)

    def restart(self) -> None:
        """Start again after a failure; callable from a button's callback, because it only enqueues."""
        self._failures, self._force = 0, True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._revive)

    def register(self, panel: Painter) -> None:
        """Paint this panel from now on."""
        if panel not in self._panels:
            self._panels.append(panel)
        self.poke()

    def unregister(self, panel: Painter) -> None:
        """Paint this panel no more."""
        self._panels = [other for other in self._panels if other is not panel]

    def poke(self) -> None:
        """Tick soon instead of at the next tenth of a second."""
        if self._wake is not None:
            self._call(self._wake.set)

    def beat(self, page: str, *, hidden: bool = False) -> None:
        """Note a heartbeat of a page; it takes effect at the next tick."""
        self._beats.append((page, hidden))
        if not self.present:
            self.poke()

    def track(self, job: Job, on_done: Callable[[Job], None]) -> None:
        """Call `on_done(job)` in the tick after the job has ended."""
        self._jobs.append((job, on_done))
        self.poke()

    def later(self, seconds: float, run: Callable[[], Any]) -> None:
        """Call `run` in a tick after `seconds`; without a loop, in the first `paint_now` after that."""
        self._timers.append((self._clock() + seconds, run))

    def on_absent(self, seconds: float, run: Callable[[], None], *, grace_s: float = 0.0) -> Callable[[], None]:
        """Call `run` when no heartbeat came for `seconds` from now on; return a function that takes this back.

        Before the first heartbeat `grace_s` more are waited: a browser that draws a large page may be silent for long.
        """
        absence = _Absence(seconds, run, -grace_s)
        self._absences.append(absence)
        return lambda: self._forget(absence)

    def paint_now(self) -> None:
        """Do one full tick at once: for plain Python, tests and the first picture of a cell."""
        self._tick(force=True)

    def _forget(self, absence: _Absence) -> None:
        """Take back an absence callback."""
        self._absences = [other for other in self._absences if other is not absence]

    def _call(self, run: Callable[[], Any]) -> None:
        """Run something on the loop from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(run)

    def _revive(self) -> None:
        """Start the task again on the loop."""
        if self.running or self._loop is None:
            return
        self._wake, self._last_s = asyncio.Event(), self._clock()
        self._task = self._loop.create_task(self._run(), name="stratnb-pump")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say in every panel that the task has failed."""
        if task.cancelled() or task.exception() is None:
            return
        LOG.error("the pump failed", exc_info=task.exception())
        for panel in self._panels:
            panel.fail("pump_failed", "Live updates have stopped. Retry starts them again.", retry=self.restart)

    async def _run(self) -> None:
        """Tick until cancelled; a poke ends the wait early."""
        assert self._wake is not None
        while True:
            self._wake.clear()
            self._tick(force=False)
            slow = not self.present or self._presence.hidden(self._clock())
            try:
                await asyncio.wait_for(self._wake.wait(), HIDDEN_PERIOD_S if slow else PERIOD_S)
            except TimeoutError:
                continue
            await asyncio.sleep(0)

    def _tick(self, *, force: bool) -> None:
        """Note heartbeats, run what is due, then paint if a browser looks or it is asked for."""
        now_s = self._clock()
        self._count_quiet(now_s)
        self._run_timers(now_s)
        self._poll_jobs()
        if not (self.present or force):
            return
        force, self._force = force or self._force, False
        pictures: dict[int, Any] = {}

        def picture(board: Board) -> Any:
            """Return the board's picture of this tick."""
            key = id(board)
            if key not in pictures:
                pictures[key] = board.view()
            return pictures[key]

        for panel in list(self._panels):
            if panel.shown:
                panel.tick(now_s, picture, force=force)

    def _count_quiet(self, now_s: float) -> None:
        """Count the running time without a heartbeat and fire the absence callbacks that are due."""
        step = min(now_s - self._last_s, LONGEST_STEP_S)
        self._last_s = now_s
        came = False
        while self._beats:
            page, hidden = self._beats.popleft()
            self._presence.pages[page] = (now_s, hidden)
            came = True
        if came:
            self._force = self._force or not self.present
            self._presence.quiet_s = 0.0
        else:
            self._presence.quiet_s += step
        for absence in list(self._absences):
            absence.quiet_s = 0.0 if came else absence.quiet_s + step
            absence.fired = absence.fired and not came
            if absence.quiet_s >= absence.seconds and not absence.fired:
                absence.fired = True
                self._safely(absence.run)

    def _run_timers(self, now_s: float) -> None:
        """Run the timers that are due, in their order."""
        due = [timer for timer in self._timers if timer[0] <= now_s]
        self._timers = [timer for timer in self._timers if timer[0] > now_s]
        for _, run in due:
            self._safely(run)

    def _poll_jobs(self) -> None:
        """Hand over the jobs that have ended."""
        for _ in range(len(self._jobs)):
            job, on_done = self._jobs.popleft()
            if not job.done:
                self._jobs.append((job, on_done))
                continue
            self._safely(lambda on_done=on_done, job=job: on_done(job))  # type: ignore[misc]

    def _safely(self, run: Callable[[], Any]) -> None:
        """Run a callback; its failure is logged and never stops the others."""
        try:
            run()
        except Exception:
            LOG.exception("a callback of the pump failed")


_shared: list[Pump] = []


def pump() -> Pump:
    """Return the pump of this kernel."""
    if not _shared:
        _shared.append(Pump())
    return _shared[0]
