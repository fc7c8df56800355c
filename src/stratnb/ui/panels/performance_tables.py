"""The further views of the performance panel: months, hours, correlation, excursions and all figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import ipywidgets as w
import pandas as pd

from stratnb.research.conventions import FEW, explained
from stratnb.ui.chart import Chart, Update
from stratnb.ui.controls import show, styled
from stratnb.ui.format import escape
from stratnb.ui.panels import performance_breakdown as breakdown
from stratnb.ui.panels import performance_rows as rows
from stratnb.ui.panels.performance_data import Line, Sample
from stratnb.ui.panels.performance_figures import (
    excursion_figure,
    excursion_update,
    hours_figure,
    hours_update,
)
from stratnb.ui.widgets import Table

__all__ = ["CorrelationView", "ExcursionsView", "FiguresView", "HoursView", "MonthsView", "View"]

HOURS_PX, EXCURSIONS_PX = 236, 300
NO_TRADE = {"t": "No closed trade in the range", "sub": "Choose a longer range or more strategies."}


def _of(lines: tuple[Line, ...]) -> str:
    """Return whose trades are shown."""
    n = sum(len(line.trades) for line in lines)
    flag = " ⚑" if n < FEW else ""
    return f"{', '.join(line.label for line in lines)} · n {n:,}{flag}"


class View(ABC):
    """One view: `widget` is shown, `paint` writes it, `frame` gives the same as a frame."""

    def __init__(self, *parts: w.Widget) -> None:
        self.note = styled(w.HTML(), "sn-legend")
        self.widget = w.VBox([self.note, *parts])

    def say(self, text: str) -> None:
        """Show a sentence above the parts."""
        made = f'<span class="sn-key is-none">{escape(text)}</span>'
        if self.note.value != made:
            self.note.value = made

    @abstractmethod
    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Write what is shown."""

    @abstractmethod
    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return what is shown."""


def _fill(table: Table, made: rows.TableRows) -> None:
    """Show columns and rows; the columns only when they changed."""
    cols, cells = made
    if cols != table.cols:
        table.cols = cols
    table.show(cells)


class MonthsView(View):
    """The monthly table."""

    def __init__(self) -> None:
        self.table = Table(caption="Returns of calendar months", empty={"t": "No day is in the range", "sub": ""})
        super().__init__(self.table)

    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Write the months."""
        self.say("Return of each calendar month, UTC; begun months as they stand.")
        _fill(self.table, breakdown.months_table(self.frame(sample, known)))

    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return the months."""
        return breakdown.months_frame(sample)


class HoursView(View):
    """The heat map of results by weekday and hour, and the weekdays as a table."""

    def __init__(self) -> None:
        figure, theme = hours_figure()
        caption = "Results of trades by weekday and hour of exit; the table below has the weekdays"
        self.chart = Chart(figure, theme=list(theme), height=f"{HOURS_PX}px", caption=caption)
        self._whole = Update()
        self.chart.snapshot = lambda: self._whole
        self.table = Table(caption="Results by weekday", empty=NO_TRADE)
        self.drawing = w.VBox([self.chart])
        super().__init__(self.drawing, self.table)

    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Draw the hours."""
        lines = sample.trading()
        self.say(f"PnL of trades after costs by weekday and hour of exit, UTC: {_of(lines)}")
        is_any = any(line.trades for line in lines)
        show(self.drawing, is_any)
        self._whole = hours_update(lines)
        self.chart.send_snapshot()
        made = breakdown.weekday_table(lines)
        _fill(self.table, made if is_any else (made[0], []))

    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return the hours with trades."""
        return breakdown.hours_frame(sample.trading())


class CorrelationView(View):
    """The correlations of daily returns."""

    def __init__(self) -> None:
        self.table = Table(caption="Correlation of daily returns")
        super().__init__(self.table)

    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Write the correlations."""
        self.say("Correlation of daily returns at 00:00 UTC, on the days that both curves have.")
        _fill(self.table, breakdown.correlation_table(sample))

    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return the correlations."""
        return breakdown.correlation_frame(sample)


class ExcursionsView(View):
    """The scatter of MAE and MFE, and their means."""

    def __init__(self) -> None:
        figure, theme = excursion_figure()
        caption = "Worst against best unrealized return of each trade; the table below has the means"
        self.chart = Chart(figure, theme=list(theme), height=f"{EXCURSIONS_PX}px", caption=caption)
        self._whole = Update()
        self.chart.snapshot = lambda: self._whole
        self.table = Table(caption="Means of excursions", empty=NO_TRADE)
        self.drawing = w.VBox([self.chart])
        super().__init__(self.drawing, self.table)
        self.note.tooltip = explained("average_mae")

    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Draw the excursions."""
        lines = sample.trading()
        frame = breakdown.excursion_frame(lines)
        lost = int(frame["mae"].isna().sum())
        told = f" · {lost} whose candles are no longer kept are left out" if lost else ""
        self.say(
            f"MAE and MFE of each closed trade before costs, from highs and lows while held; the candle of the exit "
            f"counts with its fill. ▲ won, ▼ lost. {_of(lines)}{told}"
        )
        show(self.drawing, len(frame) > lost)
        self._whole = excursion_update(lines)
        self.chart.send_snapshot()
        made = breakdown.excursion_table(frame)
        _fill(self.table, made if len(frame) > lost else (made[0], []))

    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return the trades with their excursions."""
        return breakdown.excursion_frame(sample.trading())


class FiguresView(View):
    """All figures of all lines."""

    def __init__(self) -> None:
        self.table = Table(caption="Figures by curve")
        super().__init__(self.table)

    def paint(self, sample: Sample, known: Mapping[str, rows.Known]) -> None:
        """Write the figures."""
        self.say(
            f"Daily returns at 00:00 UTC, 365 days a year, risk-free 0, after costs. N days, n trades; ⚑ under {FEW}: "
            "the figure says little. Point at a figure for its formula and why other tools differ."
        )
        _fill(self.table, rows.figures_table(sample, known))

    def frame(self, sample: Sample, known: Mapping[str, rows.Known]) -> pd.DataFrame:
        """Return the figures."""
        return rows.figures_frame(sample, known)
