"""The start of the trader's page: nothing runs until the button is pressed; then the kernel hosts a paper engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import ConfigError, StratnbError
from stratnb.ui.attach import AttachPage, follow
from stratnb.ui.controls import btn, field, segment, show, styled
from stratnb.ui.dashboards import Dashboard, error_card
from stratnb.ui.format import escape
from stratnb.ui.panel import root
from stratnb.ui.panels.acting import followable, refusal_html
from stratnb.ui.panels.engine_bar import parse_paths
from stratnb.ui.pump import pump
from stratnb.ui.serve import data_files, journal_file
from stratnb.ui.work import Work
from stratnb.view import Board

__all__ = ["Choice", "StartPage", "paper_engine", "trader"]

ABSENT_S: Final = 30.0
DRAWING_S: Final = 90.0  # a busy browser sends no heartbeat while it draws the pages for the first time
START_SPEED: Final = 60.0
BUSY: Final = (
    "The first start on a machine compiles the indicators, analyzers, filters, exits and the trading kernel, once; "
    "that takes about half a minute. Later starts load them from disk in about two seconds."
)
SYNTHETIC, FILES = "Synthetic", "My candle files"
HINTS: Final = {
    "data_quality": "mend the source, or start the synthetic market and open the file there with Repair rows on",
    "timeframe_missing": "write the timeframe into the file's name, such as btc_usdt_5m.csv",
    "timeframe_mismatch": "write the timeframe into the file's name, such as btc_usdt_5m.csv",
}
WORDS: Final = {
    SYNTHETIC: "Ten markets of one-minute candles from a seeded generator. No real prices, no keys, no network.",
    FILES: "CSV or Parquet with time, open, high, low, close and volume; the symbol comes from the file name.",
}


@dataclass(frozen=True)
class Choice:
    """The market of the paper engine: candle files, or the synthetic one without any."""

    paths: tuple[str, ...] = ()


def paper_engine(choice: Choice) -> Board:
    """Return the started paper engine of this kernel on the chosen market; runs in a worker thread."""
    from stratnb.engine import paper_board

    board: Board = paper_board(paths=choice.paths, speed=START_SPEED)
    return board


class StartPage:
    """The card with the choice of a market and the button; after it, the dashboard takes its place."""

    def __init__(
        self,
        start: Callable[[Choice], Board] = paper_engine,
        *,
        paths: tuple[str, ...] = (),
        absent_s: float = ABSENT_S,
    ) -> None:
        self._start = start
        self._absent_s = absent_s
        self._work: Work | None = None
        self.dashboard: Dashboard | None = None
        self.market = segment([SYNTHETIC, FILES], FILES if paths else SYNTHETIC)
        self.market.observe(lambda _: self._lay(), "value")
        self.paths = field("Files", "paths, several with ;", value="; ".join(paths))
        self.words = styled(w.HTML(), "sn-muted")
        self.button = btn(
            "Start paper engine", "primary", "play", "Start a private paper engine in this kernel", do=self.start
        )
        self.said = styled(w.HTML(), "sn-msg")
        self.refusal = styled(w.HBox([self.said]), "sn-strip", "sn-off")
        self.busy = styled(w.HTML(f'<span role="status">{escape(BUSY)}</span>'), "sn-muted", "sn-off")
        self.elapsed = styled(w.HTML(), "sn-muted", "sn-off")
        head = w.HTML(
            '<span class="sn-badge">PAPER</span><h1>stratnb trader</h1>'
            "<p>No engine runs yet. It starts when you press the button, belongs to this page alone, trades on paper "
            "only and stops 30 s after the page is closed.</p>"
            '<p class="sn-themes">Look: <a href="?theme=light">light</a> or <a href="?theme=dark">dark</a></p>'
        )
        row = styled(w.HBox([self.button, self.elapsed]), "sn-row")
        parts = [styled(head, "sn-starthead"), self.market, self.words, self.paths, row, self.busy, self.refusal]
        self.card = styled(w.VBox(parts), "sn-panel", "sn-startcard")
        self.place = w.VBox([styled(w.VBox([self.card]), "sn-page", "sn-startpage")])
        self.widget = root(self.place)
        self._lay()
        pump().start()

    def start(self) -> None:
        """Start the engine on the chosen market; a second click does nothing."""
        if self._work is not None or self.dashboard is not None:
            return
        try:
            paths = tuple(parse_paths(self.paths.value)) if self.market.value == FILES else ()
        except ConfigError as error:
            self._refused(error)
            return
        if self.market.value == FILES and not paths:
            self._refused(
                ConfigError("missing", "no candle file was given", hint="give a path, or take the synthetic market")
            )
            return
        show(self.refusal, False)
        show(self.busy, True)
        self.button.disabled = True
        self._work = Work(lambda **_: self._start(Choice(paths)))
        pump().track(self._work, self._started)
        self._count()

    def _count(self) -> None:
        """Say every second how long the start has taken, so that nobody takes the page for dead."""
        work = self._work
        show(self.elapsed, work is not None)
        if work is not None:
            self.elapsed.value = f"<span>Starting, {int(time.monotonic() - work.started_s)} s</span>"
            pump().later(1.0, self._count)

    def _started(self, work: Any) -> None:
        self._work = None
        show(self.busy, False)
        self._count()
        self.button.disabled = False
        if work.error is not None:
            self._refused(work.error)
            return
        board = work.result()
        try:
            self.dashboard = Dashboard(board)
        except Exception as error:
            self.place.children = [error_card(error, "The dashboard could not be built")]
            return
        self.place.children = self.dashboard.body
        pump().on_absent(self._absent_s, lambda: board.submit("stop", flatten=False), grace_s=DRAWING_S)

    def _refused(self, error: BaseException) -> None:
        if isinstance(error, StratnbError) and self.market.value == FILES:
            error = followable(error, HINTS, self.paths.value)
        self.said.value = f'<span role="alert">{refusal_html(error)}</span>'
        show(self.refusal, True)

    def _lay(self) -> None:
        show(self.paths, self.market.value == FILES)
        self.words.value = f"<span>{escape(WORDS[self.market.value])}</span>"


def trader(*, start: Callable[[Choice], Board] = paper_engine, absent_s: float = ABSENT_S) -> w.Widget:
    """Return the trader's page; nothing is started.

    Where the server names a journal (`stratnb dashboard`), the page follows the engine that writes it. Elsewhere a
    button starts a private paper engine in this kernel, which stops `absent_s` seconds after the last heartbeat of a
    browser; candle files named at the start of the server are preset.
    """
    try:
        journal = journal_file()
        if journal is not None:
            return AttachPage(lambda: follow(journal)).widget
        return StartPage(start, paths=tuple(map(str, data_files())), absent_s=absent_s).widget
    except Exception as error:
        return root(styled(w.VBox([error_card(error, "The page could not be built")]), "sn-page"))
