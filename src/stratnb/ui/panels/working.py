"""Panels that compute beside the engine: one piece of work at a time, with its progress, cancel and pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

import ipywidgets as w

from stratnb.errors import Refused
from stratnb.research.tiers import compiling
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.format import age, count, escape
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.work import Work
from stratnb.view import Board, EngineView

__all__ = ["WorkingPanel"]

COMPILING_S: Final = 0.7
COMPILED: Final = {
    "blocks": "compiling the blocks, once on this machine",
    "loop": "compiling a faster loop of this strategy, once on this machine",
}


class WorkingPanel(ActingPanel):
    """A panel with work beside the engine: a worker thread computes, only the pump writes widgets.

    Subclasses set `unit`, what is counted a second, and put `running` into their body.
    """

    local: ClassVar[bool] = True
    hz: ClassVar[float] = 2.0
    unit: ClassVar[str] = "steps"
    pausable: ClassVar[bool] = False

    def __init__(self, board: Board) -> None:
        self._work: Work | None = None
        self._view: EngineView | None = None
        self._compiling_since: float | None = None
        self._counted = self.unit
        self.bar = styled(w.FloatProgress(value=0.0, max=1.0, description="Progress"), "sn-progress", "sn-nolabel")
        self.status = styled(w.HTML(), "sn-muted")
        self.pause = btn("Pause", icon="pause", tip="Hold, or go on", do=self.hold)
        self.cancel = btn("Cancel", tip="End early; what is done is kept", do=self.cancel_run)
        acts = [self.pause, self.cancel] if self.pausable else [self.cancel]
        self.running = styled(w.HBox([self.bar, self.status, *acts]), "sn-row", "sn-running", "sn-off")
        super().__init__(board)

    def go(
        self,
        call: Callable[..., Any],
        ended: Callable[[Any, Work], None],
        *,
        failed: Callable[[BaseException], None] | None = None,
        unit: str = "",
    ) -> None:
        """Start a piece of work unless one runs; `ended(result, work)` is called in a tick after its success.

        An error is shown in the panel, or given to `failed`; `unit` is what is counted when it is not the panel's own.
        """
        if self._work is not None:
            return
        self.dismiss()
        self._counted = unit or self.unit
        self._work = work = Work(call)
        self._lock(True)

        def _done(job: Any) -> None:
            self._work = None
            self._lock(False)
            if isinstance(job.error, Refused) and job.error.code == "canceled":
                self.tell(f"Canceled: {job.error.message}.")
            elif job.error is not None:
                (failed or self.refuse)(job.error)
            else:
                ended(job.result(), work)

        self.pump.track(work, _done)
        self.repaint()

    def show_progress(self, work: Work) -> None:
        """Show how far work is."""
        self.bar.value = work.fraction
        words = f"{_progress(work, self._counted)}{self._compiler()}"
        self.status.value = f"<span>{escape(words)}</span>"

    def say_waiting(self, place: w.HTML) -> None:
        """Say in the place of a check that it waits for the compiler, while it does."""
        if words := self._compiler().lstrip(" ·"):
            place.value = f'<div role="status">{escape(words[:1].upper() + words[1:])}</div>'

    def _compiler(self) -> str:
        """Return what is compiled meanwhile and for how long, "" while nothing is."""
        what, now = compiling(), time.monotonic()
        if not what:
            self._compiling_since = None
            return ""
        if self._compiling_since is None:
            self._compiling_since = now
        if now - self._compiling_since < COMPILING_S:
            return ""  # it is read from the disk
        return f" · {COMPILED[what]}, {age(now - self._compiling_since)} so far"

    def hold(self) -> None:
        """Hold the work, or let it go on."""
        if self._work is not None:
            self._work.hold(not self._work.held)
            self._label_pause(self._work.held)
            self.repaint()

    def cancel_run(self) -> None:
        """Ask the work to end early."""
        if self._work is not None:
            self._work.cancel()
            self.repaint()

    def _lock(self, on: bool) -> None:
        """Show the progress of work, or hide it."""
        self._label_pause(False)
        self.bar.value, self.status.value = 0.0, ""
        show(self.running, on)

    def _label_pause(self, held: bool) -> None:
        self.pause.description = "Resume" if held else "Pause"
        self.pause.remove_class("sn-i-pause" if held else "sn-i-play")
        self.pause.add_class("sn-i-play" if held else "sn-i-pause")


def _progress(work: Work, unit: str) -> str:
    """Return how far work is: share, steps a second and the rest."""
    if work.cancelled:
        return "Canceling"
    if work.held:
        return f"{work.fraction:.0%}, held"
    if work.rate is None:
        return "Preparing"
    rest = "" if work.remaining_s is None else f", {age(work.remaining_s)} left"
    rate = count(int(work.rate)) if work.rate >= 10 else f"{work.rate:.1f}"
    return f"{work.fraction:.0%}, {rate} {unit}/s{rest}"
