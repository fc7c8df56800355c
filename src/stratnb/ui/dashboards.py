"""Whole pages: the engine bar on top, panels in tabs below it, and the card that starts the paper engine.

Nothing here starts an engine by itself: `trader()` shows a card with a button. Whatever fails while a page or a panel
is built becomes a card with a code; the other panels go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import ipywidgets as w

from stratnb.errors import StratnbError
from stratnb.ui.controls import discard, grid, panel, show, stack, styled, text
from stratnb.ui.format import escape
from stratnb.ui.panel import Panel, root
from stratnb.ui.panels.acting import refusal_html
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.cache import CachePanel
from stratnb.ui.panels.chart import PriceChart
from stratnb.ui.panels.config_editor import ConfigEditor
from stratnb.ui.panels.decision import DecisionPanel
from stratnb.ui.panels.engine_bar import EngineBar
from stratnb.ui.panels.equity import EquityPanel
from stratnb.ui.panels.events import EventLog
from stratnb.ui.panels.positions import Positions
from stratnb.ui.panels.risk import RiskPanel
from stratnb.ui.panels.strategies import StrategyTable
from stratnb.ui.panels.sweep import SweepPanel
from stratnb.ui.panels.walk_forward import WalkForwardPanel
from stratnb.ui.selection import selection
from stratnb.view import Board

__all__ = ["OBSERVER_PAGES", "PAGES", "RESEARCH_PAGES", "Dashboard", "build", "engine_panel", "error_card"]

LOG: Final = logging.getLogger("stratnb.ui")

PAGES: Final[Mapping[str, tuple[type[Panel], ...]]] = {
    "Overview": (StrategyTable, Positions, RiskPanel),
    "Chart": (PriceChart, DecisionPanel),
    "Performance": (EquityPanel, BacktestPanel),
    "Engine": (CachePanel, EventLog),
    "Config": (ConfigEditor,),
}
OBSERVER_PAGES: Final[Mapping[str, tuple[type[Panel], ...]]] = {
    "Overview": (StrategyTable, Positions),
    "Chart": (PriceChart,),
    "Performance": (EquityPanel,),
    "Events": (EventLog,),
}
RESEARCH_PAGES: Final[Mapping[str, tuple[type[Panel], ...]]] = {
    "Backtest": (BacktestPanel,),
    "Sweep": (SweepPanel,),
    "Walk-forward": (WalkForwardPanel,),
}
PAPER: Final = "paper trading only · all times UTC"


def error_card(error: BaseException, title: str = "This part could not be built") -> w.Widget:
    """Return a card that says what failed, with its code and remedy; the traceback goes to the log only."""
    LOG.error("%s", title, exc_info=error)
    if isinstance(error, StratnbError):
        words = refusal_html(error)
    else:
        code = escape(f"ui_{type(error).__name__.lower()}")
        words = f"<strong>{code}</strong><span>An unexpected fault; the kernel's log has it.</span>"
    return panel(title, [styled(w.HTML(f'<span role="alert">{words}</span>'), "sn-empty")])


class Dashboard:
    """The pages of one board. A page is built when it is first opened and only hidden after that.

    With `acting=False` nothing on them can be done but look. `top` takes the place of the engine bar on pages without
    an engine, `foot` that of the words at the end.
    """

    def __init__(
        self,
        board: Board,
        pages: Mapping[str, tuple[type[Panel], ...]] = PAGES,
        *,
        acting: bool = True,
        top: w.Widget | None = None,
        foot: str = PAPER,
    ) -> None:
        self.board = board
        self._kinds = pages
        self._acting = acting
        self._tied = False
        self.panels: dict[type[Panel], Panel] = {}
        self.selection = selection(board)
        self.bar = self._frame(EngineBar) if top is None else top
        self.tabs = styled(w.ToggleButtons(options=list(pages), value=next(iter(pages))), "sn-tabs")
        self.pages = {name: styled(w.VBox([]), "sn-page", "sn-off") for name in pages}
        self.tabs.observe(lambda change: self.open(change["new"]), "value")
        self.selection.turn = lambda page: setattr(self.tabs, "value", page) if page in pages else None
        words = f"stratnb {board.view().version}".strip()
        self.foot = styled(w.HBox([text(f"{words} · {foot}", cls="sn-muted")]), "sn-foot")
        self.body = [self.bar, self.tabs, *self.pages.values(), self.foot]
        self.widget = root(*self.body)
        self.open(next(iter(pages)))
        self._tie()

    @property
    def closed(self) -> bool:
        """Return whether a panel was closed, so that the pages are no longer whole."""
        return any(made.closed for made in self.panels.values())

    def open(self, name: str) -> None:
        """Show a page; its panels paint only while it is shown."""
        page = self.pages[name]
        if not page.children:
            page.children = [self._page(name)]
            self._tie()
        for other, box in self.pages.items():
            show(box, other == name)
            for kind in self._kinds[other]:
                if kind in self.panels:
                    self.panels[kind].shown = other == name
        for kind in self._kinds[name]:
            if kind in self.panels:
                self.panels[kind].repaint()

    def close(self) -> None:
        """Close every panel and the pages around them."""
        for made in self.panels.values():
            made.close()
        for part in (self.tabs, self.foot, *self.pages.values()):
            discard(part)
        self.widget.close()  # the scripts in it are shared

    def _page(self, name: str) -> w.Widget:
        frames = [self._frame(kind) for kind in self._kinds[name]]
        if name == "Engine":
            return grid(stack("7", frames[0]), stack("5", frames[1]))
        if name == "Overview" or len(frames) == 1:
            for frame in frames:
                styled(frame.remove_class("sn-c8") or frame, "sn-c12")
        return grid(*frames)

    def _frame(self, kind: type[Panel]) -> Any:
        """Return the frame of a panel, or a card when it cannot be built."""
        try:
            made = kind(self.board)
        except Exception as error:
            return error_card(error, f"{kind.title} could not be built")
        self.panels[kind] = made
        if not self._acting:
            made.frame.add_class("is-readonly")
        return made.frame

    def _tie(self) -> None:
        """Tie the chart to the selection, once it exists."""
        chart = self.panels.get(PriceChart)
        if not isinstance(chart, PriceChart) or self._tied:
            return
        self._tied = True

        def _follow() -> None:
            if self.selection.strategy_id:
                chart.show(self.selection.strategy_id)
            if self.selection.open_time_ms is not None:
                chart.show_at(self.selection.open_time_ms)

        def _picked(time_ms: float) -> None:
            self.selection.choose(self.selection.strategy_id, int(time_ms))

        def _chosen(strategy_id: str) -> None:
            if strategy_id != self.selection.strategy_id:
                self.selection.choose(strategy_id)

        chart.chart.on_pick = _picked
        chart.on_strategy = _chosen
        self.selection.listen(_follow)
        _follow()


def build(board_factory: Callable[[], Board]) -> w.Widget:
    """Return the dashboard of the board that the factory gives, or a card with a code when that fails."""
    try:
        return Dashboard(board_factory()).widget
    except Exception as error:
        return root(styled(w.VBox([error_card(error, "The dashboard could not be built")]), "sn-page"))


_shown: WeakValueDictionary[int, Dashboard] = WeakValueDictionary()  # a dashboard holds its engine, so ids stay its own


def engine_panel(engine: Any) -> w.Widget:
    """Return the pages of an engine (its `board`) for its display; showing it again gives the same ones."""
    board = getattr(engine, "board", engine)
    made = _shown.get(id(board))
    if made is None or made.closed:
        for old in list(_shown.values()):
            if old.closed or getattr(old.board, "closed", False):
                old.close()
        made = _shown[id(board)] = Dashboard(board)
    return made.widget
