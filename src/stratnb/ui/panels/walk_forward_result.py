"""The result of a walk-forward: key figures, windows, the equity of all tests joined, and the drift of the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ipywidgets as w

from stratnb.research.walked import WalkForward
from stratnb.ui.chart import Chart, Update
from stratnb.ui.controls import show, styled
from stratnb.ui.curve import EquityCurve
from stratnb.ui.figures import CURVES
from stratnb.ui.format import escape
from stratnb.ui.panels import walk_forward_rows as rows
from stratnb.ui.panels.walk_forward_figures import drift_figure, drift_update, windows_figure, windows_update
from stratnb.ui.widgets import Table

__all__ = ["WalkForwardView"]

DRIFT_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "name", "label": "Parameter", "cls": "is-wide"},
    {"key": "most", "label": "Chosen most", "align": "r"},
    {"key": "moved", "label": "Changed from window to window", "align": "r", "cls": "is-barcol"},
    {"key": "step", "label": "Mean step of the range", "align": "r"},
]

KEYS: Final = (("is-train", "Training"), ("is-test", "Test"), ("is-none", "Pale: not run"))


class WalkForwardView(w.VBox):  # type: ignore[misc]
    """Shows a walk-forward."""

    def __init__(self) -> None:
        self.found: WalkForward | None = None
        self.figures = Table(kind="kpi", caption="Figures of the walk-forward")
        self._windows, self._drift = Update(), Update()
        self.windows = self._chart(windows_figure(1), "Windows of training and test", 150)
        self.windows.snapshot = lambda: self._windows
        self.marks = styled(w.HTML(), "sn-legend")
        self.table = Table(caption="Windows", page=12, empty={"t": "No window was run", "sub": ""})
        self.curve = EquityCurve()
        self.curve.chart.caption = "Equity and drawdown of all tests joined"
        self.drift = self._chart(drift_figure((), 1), "Chosen values by window", 150)
        self.drift.snapshot = lambda: self._drift
        self.legend = styled(w.HTML(), "sn-legend")
        self.moves = Table(
            caption="Drift of the choice", cols=DRIFT_COLUMNS, empty={"t": "Nothing was chosen", "sub": ""}
        )
        parts = [
            *(self.figures, _heading("Windows"), self.marks, self.windows, self.table),
            *(_heading("Equity outside: all tests joined, each with what the one before it left"), self.curve.widget),
            *(_heading("Drift of the choice"), self.legend, self.drift, self.moves),
        ]
        super().__init__(parts)
        styled(self, "sn-result", "sn-off")

    @staticmethod
    def _chart(made: tuple[Any, Any], caption: str, height: int) -> Chart:
        figure, theme = made
        return Chart(figure, theme=list(theme), height=f"{height}px", caption=caption)

    def show(self, found: WalkForward) -> None:
        """Show a walk-forward."""
        self.found = found
        show(self, True)
        self.figures.rows = rows.key_rows(found, found.figures)
        many = len(found.planned)
        self.marks.value = _legend(KEYS if not found.complete else KEYS[:2])
        self.windows.height = f"{min(60 + 18 * many, 320)}px"
        self._windows = windows_update(found)
        _redraw(self.windows, windows_figure(many))
        self.table.cols, self.table.rows = rows.window_table(found)
        if found.windows:
            self.curve.draw(found.close_ms, found.equity_curve, found.capital)
        chosen = rows.chosen_of(found)
        shown = list(chosen)[: len(CURVES)]
        self._drift = drift_update({path: chosen[path] for path in shown})
        _redraw(self.drift, drift_figure(shown, max(len(found.windows), 1)))
        self.legend.value = _legend([(look, path) for path, (_, _, look) in zip(shown, CURVES, strict=False)])
        self.moves.rows = rows.drift_rows(found)


def _redraw(chart: Chart, made: tuple[Any, Any]) -> None:
    figure, theme = made
    chart.redraw(figure, theme)


def _heading(words: str) -> w.HTML:
    return w.HTML(f"<h3>{escape(words)}</h3>")


def _legend(keys: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<span class="sn-key {look}">{escape(label)}</span>' for look, label in keys)
