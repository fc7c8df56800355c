"""Pages that follow a journal: they wait for the engine that another process hosts, and then show its dashboard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import ConfigError, RetryLater
from stratnb.ui.controls import show, styled
from stratnb.ui.dashboards import OBSERVER_PAGES, Dashboard, error_card
from stratnb.ui.format import escape
from stratnb.ui.panel import root
from stratnb.ui.panels.acting import refusal_html
from stratnb.ui.pump import pump
from stratnb.ui.serve import JOURNAL_VARIABLE, journal_file
from stratnb.ui.work import Work
from stratnb.view import Board

__all__ = ["AttachPage", "follow", "observer"]

POLL_S: Final = 0.5
PATIENCE_S: Final = 15.0
REASONS: Final = {
    "journal_missing": "It has not opened its journal yet. The first start on a machine compiles the blocks and the "
    "trading kernel, once; that takes about half a minute.",
    "journal_starting": "It has opened its journal and is bringing its strategies to where they were.",
    "offline": "Its journal is here, but it has not written to it. It starts, or it has ended.",
}


def follow(journal: Path) -> Board:
    """Return this kernel's board of a journal; runs in a worker thread."""
    from stratnb.observer import observe

    return observe(journal, author=f"dashboard {os.getpid()}")


class AttachPage:
    """A card that says what is waited for; then the dashboard of the engine takes its place.

    An engine that has been silent is waited for `patience_s` seconds; then its last picture is shown, marked as such.
    """

    def __init__(
        self,
        attach: Callable[[], Board],
        make: Callable[[Board], Dashboard] = Dashboard,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._attach = attach
        self._make = make
        self._patience_s = patience_s
        self._began_s = time.monotonic()
        self.dashboard: Dashboard | None = None
        head = w.HTML('<span class="sn-badge">PAPER</span><h1>Waiting for the engine</h1>')
        self.elapsed = styled(w.HTML(), "sn-muted")
        self.reason = styled(w.HTML(), "sn-muted")
        self.said = styled(w.HTML(), "sn-msg")
        self.refusal = styled(w.HBox([self.said]), "sn-strip", "sn-off")
        parts = [styled(head, "sn-starthead"), self.elapsed, self.reason, self.refusal]
        self.card = styled(w.VBox(parts), "sn-panel", "sn-startcard")
        self.place = w.VBox([styled(w.VBox([self.card]), "sn-page", "sn-startpage")])
        self.widget = root(self.place)
        pump().start()
        self._try()

    @property
    def waited_s(self) -> float:
        """Return the seconds since the page was made."""
        return time.monotonic() - self._began_s

    def _try(self) -> None:
        """Open the journal in a thread; what comes of it is seen in a later tick."""
        self.elapsed.value = f'<span role="status">Waiting, {self.waited_s:.0f} s</span>'
        pump().track(Work(lambda **_: self._attach()), self._tried)

    def _tried(self, work: Any) -> None:
        error = work.error
        if isinstance(error, RetryLater) or (isinstance(error, ConfigError) and error.code == "journal_missing"):
            self._wait(error.code)
        elif error is not None:
            self.said.value = f'<span role="alert">{refusal_html(error)}</span>'
            show(self.refusal, True)
            pump().later(POLL_S * 10, self._try)
        elif work.result().view().offline_since_ms is not None and self.waited_s < self._patience_s:
            self._wait("offline")
        else:
            self._show(work.result())

    def _wait(self, why: str) -> None:
        show(self.refusal, False)
        self.reason.value = f"<span>{escape(REASONS.get(why, REASONS['journal_starting']))}</span>"
        pump().later(POLL_S, self._try)

    def _show(self, board: Board) -> None:
        try:
            self.dashboard = self._make(board)
        except Exception as error:
            self.place.children = [error_card(error, "The dashboard could not be built")]
            return
        self.place.children = self.dashboard.body


def observer() -> w.Widget:
    """Return a page for the wall: the engine's panels without a control, following the journal of this server.

    The journal's path stands in `STRATNB_JOURNAL`, which `stratnb dashboard` sets.
    """
    try:
        journal = journal_file()
        if journal is None:
            hint = "serve it by `stratnb dashboard --notebook dashboards/observer.ipynb`"
            raise ConfigError("journal_missing", f"{JOURNAL_VARIABLE} names no journal", hint=hint)
        return AttachPage(lambda: follow(journal), lambda board: Dashboard(board, OBSERVER_PAGES, acting=False)).widget
    except Exception as error:
        return root(styled(w.VBox([error_card(error, "The page could not be built")]), "sn-page"))
