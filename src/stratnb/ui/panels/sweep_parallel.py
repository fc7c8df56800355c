"""Parallel coordinates of a sweep's trials: every parameter is an axis, the last one is the figure."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets as w
import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.research.measure import LOWER
from stratnb.ui.chart import Chart, Update
from stratnb.ui.controls import segment, styled, text
from stratnb.ui.format import count, escape
from stratnb.ui.panels.backtest_rows import title_of
from stratnb.ui.panels.sweep_figures import LINES_MOST, parallel_figure, parallel_update
from stratnb.ui.panels.sweep_rows import short, value_text, written

__all__ = ["ParallelLines"]

Floats = npt.NDArray[np.float64]

PARTS: Final = (("All", 1.0), ("Best 25 %", 0.25), ("Best 10 %", 0.10))


class ParallelLines(w.VBox):  # type: ignore[misc]
    """Draws one line per trial, `LINES_MOST` at most; `told` says what is drawn."""

    def __init__(self) -> None:
        self._shown: tuple[pd.DataFrame, tuple[str, ...], str, int | None] | None = None
        self._lines = Update()
        self.part = segment([*PARTS], 1.0, "Which trials are drawn")
        self.part.observe(lambda _: self._draw(), "value")
        made, theme = parallel_figure(("", ""), (("", ""), ("", "")))
        self.chart = Chart(made, theme=list(theme), height="330px", caption="Parallel coordinates of the trials")
        self.chart.snapshot = lambda: self._lines
        self.told = styled(w.HTML(), "sn-muted", "sn-row")
        super().__init__([styled(w.HBox([text("Trials"), self.part]), "sn-addrow"), self.chart])

    def show(self, frame: pd.DataFrame, paths: tuple[str, ...], name: str, best: int | None) -> None:
        """Show trials by their number, with a figure as the last axis and the best as a thick line."""
        self._shown = (frame, paths, name, best)
        self._draw()

    def _draw(self) -> None:
        if self._shown is None or not len(self._shown[0]):
            return
        frame, paths, name, best = self._shown
        values = frame[name].to_numpy(np.float64)
        known = np.flatnonzero(~np.isnan(values))
        sign = 1.0 if name in LOWER else -1.0
        order = known[np.argsort(sign * values[known], kind="stable")]
        order = order[: max(1, int(np.ceil(len(order) * self.part.value)))]
        if len(order) > LINES_MOST:
            order = order[np.linspace(0, len(order) - 1, LINES_MOST).round().astype(np.int64)]
        columns, ends = zip(*(_scaled(frame[path], order) for path in paths), strict=True)
        figures, span = _spread(values[order])
        heights = np.column_stack([*columns, figures]) if len(order) else np.empty((0, len(paths) + 1))
        words = tuple(written(name, value) for value in span)
        labels = [*(short(path, paths) for path in paths), title_of(name)]
        made, theme = parallel_figure(labels, [*ends, (words[0], words[-1])])
        place = [i for i, at in enumerate(order) if int(frame.index[at]) == best]
        middle = float(np.median(values[known])) if len(known) else 0.0
        self._lines = parallel_update(heights, sign * values[order] <= sign * middle, place[0] if place else None)
        self.chart.redraw(made, theme)
        told = f"{count(len(order))} of {count(len(frame))} trials are drawn, blue at the median of all or better"
        missing = len(frame) - len(known)
        told += f"; {count(missing)} without a defined {title_of(name).lower()} are left out" if missing else ""
        self.told.value = f"<span>{escape(told)}. The ring and the thick line are the best.</span>"


def _scaled(column: pd.Series[Any], order: npt.NDArray[np.int64]) -> tuple[Floats, tuple[str, str]]:
    """Return the heights of values between the lowest and the highest, and both in words."""
    column = column.map(lambda value: repr(value) if isinstance(value, (list, dict)) else value)
    levels = sorted(column.dropna().unique(), key=lambda value: (isinstance(value, str), value))
    number = all(isinstance(value, (int, float, np.number)) for value in levels)
    if number and len(levels) > 1:
        low, high = float(levels[0]), float(levels[-1])
        heights = (column.to_numpy(np.float64)[order] - low) / (high - low)
    else:
        places = {value: i / max(len(levels) - 1, 1) for i, value in enumerate(levels)}
        heights = np.array([places.get(value, np.nan) for value in column.iloc[order]], np.float64)
    return heights, (value_text(levels[0]), value_text(levels[-1]))


def _spread(values: Floats) -> tuple[Floats, tuple[float, float]]:
    """Return the heights of a figure, and its lowest and highest value."""
    if not len(values):
        return values, (np.nan, np.nan)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5), (low, high)
