"""P7, equity, drawdown and comparison: account, strategies and buy and hold over a range, in six views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import ipywidgets as w
import pandas as pd

from stratnb.ui import controls
from stratnb.ui.format import age, words
from stratnb.ui.panel import Panel
from stratnb.ui.panels.download import download
from stratnb.ui.panels.performance_controls import CurveControls, ScopeControls
from stratnb.ui.panels.performance_curve import CurveView, curve_frame
from stratnb.ui.panels.performance_data import Sample, Sampler
from stratnb.ui.panels.performance_export import page
from stratnb.ui.panels.performance_rows import Known, figures_of
from stratnb.ui.panels.performance_tables import (
    CorrelationView,
    ExcursionsView,
    FiguresView,
    HoursView,
    MonthsView,
    View,
)
from stratnb.view import Board, EngineView

__all__ = ["EquityPanel"]

CURVE: Final = "Curve"
VIEWS: Final = (CURVE, "Monthly", "Hours", "Correlation", "Excursions", "Figures")


class EquityPanel(Panel):
    """Equity, drawdown and figures of the account and its strategies; only the view that is open is painted."""

    title: ClassVar[str] = "Equity and drawdown"
    hz: ClassVar[float] = 0.5
    span: ClassVar[str] = "12"

    def __init__(self, board: Board, *, height: int = 420) -> None:
        self._height = height
        self._mark: tuple[Any, ...] = ()
        self._fresh = True
        self._sampler = Sampler(board)
        super().__init__(board)

    def body(self) -> list[w.Widget]:
        """Return the controls and the six views."""
        self.scope = ScopeControls(self._changed)
        self.curve = CurveView(self._height, CurveControls(self._changed))
        made = (MonthsView(), HoursView(), CorrelationView(), ExcursionsView(), FiguresView())
        self.views: dict[str, View] = dict(zip(VIEWS[1:], made, strict=True))
        for view in self.views.values():
            controls.show(view.widget, False)
        for chart in (self.curve.chart, self.curve.rolling):
            chart.on_ready = self._changed
        return [*self.scope.rows(), self.curve.widget, *(view.widget for view in made)]

    def tools(self) -> list[w.Widget]:
        """Return the views and the exports."""
        self.tabs = controls.segment(list(VIEWS), CURVE)
        self.tabs.observe(lambda change: self._open(str(change["new"])), "value")
        self.link = controls.styled(w.HTML(), "sn-off")
        as_csv = controls.btn("CSV", "quiet", tip="Export the frame of this view", do=self._save_csv)
        as_page = controls.btn(
            "HTML", "quiet", tip="Export all views as one file that opens offline", do=self._save_page
        )
        return [self.tabs, as_csv, as_page, self.link]

    def to_frame(self) -> pd.DataFrame:
        """Return what the open view shows as a frame; times are UTC."""
        sample = self._sampler.sample(self.board.view(), self.scope.scope)
        if sample is None:
            return pd.DataFrame()
        if self.tabs.value == CURVE:
            return curve_frame(sample, self.curve.look)
        return self.views[self.tabs.value].frame(sample, self._known(sample))

    def paint(self, view: EngineView) -> None:
        """Draw the open view when the engine went on or something was chosen."""
        self.scope.offer(view)
        mark = (view.seq, view.now_ms, view.equity)
        if mark == self._mark and not self._fresh:
            return
        self._mark, self._fresh = mark, False
        sample = self._sampler.sample(view, self.scope.scope)
        if sample is None:
            self.show_empty("No equity yet", "The curve starts with the first candles after the engine runs.")
            return
        self.show_empty()
        self._tell(sample)
        paired = (f"s{k}" for k in range(len(self.scope.ids))) if sample.is_pair else ()
        self.scope.tell(view, [*paired, *(line.key for line in sample.lines)])
        if self.tabs.value == CURVE:
            first = sample.lines[0]
            self.curve.paint(sample, figures_of(first, sample.held))
        else:
            self.views[self.tabs.value].paint(sample, self._known(sample))

    def _tell(self, sample: Sample) -> None:
        """Say what is shown beside the title."""
        first = sample.lines[0]
        points = f"points every {age(sample.step_ms / 1000)}"
        self.frame.note(words([first.label, f"{first.elapsed_days:.1f} days", points]))

    def _known(self, sample: Sample) -> Mapping[str, Known]:
        """Return the figures of each line."""
        return {line.key: figures_of(line, sample.held) for line in sample.lines}

    def _open(self, name: str) -> None:
        """Show one view."""
        controls.show(self.curve.widget, name == CURVE)
        for other, view in self.views.items():
            controls.show(view.widget, other == name)
        controls.show(self.link, False)
        self._changed()

    def _changed(self) -> None:
        """A view is new or something was chosen: draw at the next tick."""
        self._fresh = True
        if hasattr(self, "pump"):
            self.repaint()

    def _save_csv(self) -> None:
        """Offer the frame of the open view as a file."""
        name = f"performance-{str(self.tabs.value).lower()}.csv"
        self._offer(download(name, self.to_frame().to_csv(index=False), "text/csv"))

    def _save_page(self) -> None:
        """Offer all views as one page."""
        view = self.board.view()
        sample = self._sampler.sample(view, self.scope.scope)
        if sample is not None:
            title = f"Performance of {view.name}"
            whole = page(sample, self._known(sample), self.curve.look, title=title)
            self._offer(download("performance.html", whole, "text/html"))

    def _offer(self, link: str) -> None:
        """Show a link to a file."""
        self.link.value = link
        controls.show(self.link, True)
