"""The map of a sweep: a figure over one or two parameters, each cell by itself or with its neighbors."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

import ipywidgets as w
import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.research.measure import LOWER
from stratnb.ui.chart import Chart, Update, put
from stratnb.ui.controls import dropdown, segment, show, styled
from stratnb.ui.panels.backtest_rows import title_of
from stratnb.ui.panels.sweep_figures import heat_figure, heat_update, line_figure
from stratnb.ui.panels.sweep_rows import COLUMNS, short, value_text, written

__all__ = ["SweepMap", "plateau", "reduced"]

Floats = npt.NDArray[np.float64]

SIGNED: Final = ("sharpe", "sortino", "calmar", "total_return", "cagr", "expectancy", "pnl")
WAYS: Final = (("Best", "best"), ("Median", "median"), ("Of the chosen trial", "slice"))
VIEWS: Final = (("Each", "each"), ("Plateau", "plateau"))
WAY_TIP: Final = "What a cell shows of the trials that differ in other parameters: best, median, or those of the choice"
VIEW_TIP: Final = "Plateau: the mean of a cell and its neighbors, so that a lonely peak does not stand out"


class SweepMap(w.VBox):  # type: ignore[misc]
    """Draws a figure of a sweep's trials over two parameters, or over one when it is the only one or chosen twice."""

    def __init__(self) -> None:
        self._sweep: Any = None
        self._frame = pd.DataFrame()
        self._trial: int | None = None
        self._laying = False
        self._heat = Update()
        self.figure = dropdown("Figure", [])
        self.x, self.y = dropdown("Across", []), dropdown("Up", [])
        self.way = segment([*WAYS], "best", WAY_TIP)
        self.view = segment([*VIEWS], "each", VIEW_TIP)
        for box in (self.figure, self.x, self.y, self.way, self.view):
            box.observe(lambda _: self._draw(), "value")
        made, theme = line_figure("", "", "0.0")
        self.chart = Chart(made, theme=list(theme), height="330px", caption="Figure by two parameters")
        self.chart.snapshot = lambda: self._heat
        self.others = styled(w.HBox([w.HTML('<span class="sn-muted">Other parameters</span>'), self.way]), "sn-chips")
        acts = styled(w.HBox([self.figure, self.x, self.y, self.view, self.others]), "sn-addrow")
        super().__init__([acts, self.chart])

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the varied paths."""
        return () if self._sweep is None else tuple(self._sweep.space.paths)

    def show(self, sweep: Any, frame: pd.DataFrame, trial: int | None) -> None:
        """Show a sweep, its frame by trial, and the chosen trial."""
        self._sweep, self._frame, self._trial = sweep, frame, trial
        paths, self._laying = self.paths, True
        kept = [name for name in dict.fromkeys((sweep.objective, *COLUMNS)) if name in frame.columns]
        self.figure.options = [(title_of(name), name) for name in kept]
        self.x.options = self.y.options = [(short(path, paths), path) for path in paths]
        self.figure.value, self.x.value, self.y.value = kept[0], paths[0], paths[min(1, len(paths) - 1)]
        self._laying = False
        for box in (self.x, self.y):
            show(box, len(paths) > 1)
        show(self.others, len(paths) > 2)
        self._draw()

    def choose(self, trial: int | None) -> None:
        """Take another trial as the chosen one."""
        self._trial = trial
        if self.way.value == "slice":
            self._draw()

    def _draw(self) -> None:
        if self._laying or self._sweep is None or not len(self._frame):
            return
        alone = len(self.paths) == 1 or self.x.value == self.y.value
        axes = [self.x.value] if alone else [self.y.value, self.x.value]
        show(self.others, len(self.paths) > len(axes))
        frame = self._sliced(axes)
        if alone:
            self._draw_line(frame)
        else:
            self._draw_map(frame)

    def _sliced(self, axes: Sequence[str]) -> pd.DataFrame:
        """Return the trials that count: with a slice those that share the other values with the chosen one."""
        if self.way.value != "slice" or self._trial is None:
            return self._frame
        keys = self._frame.map(_key)
        alike = [keys[path] == keys.loc[self._trial, path] for path in self.paths if path not in axes]
        return self._frame[np.logical_and.reduce(alike)] if alike else self._frame

    def _draw_line(self, frame: pd.DataFrame) -> None:
        path, name = self.x.value, self.figure.value
        series = reduced(frame, [path], name, self.way.value)
        places = np.array([_place(value, i) for i, value in enumerate(series.index)], np.float64)
        heights = series.to_numpy(np.float64)
        heights = plateau(heights[None])[0] if self.view.value == "plateau" else heights
        form = "0.0[0]%" if name in ("total_return", "max_drawdown", "win_rate") else "0,0.[00]"
        made, theme = line_figure(short(path, self.paths), title_of(name), form)
        ring = [i for i, value in enumerate(series.index) if value == self._best(path)]
        self._heat = Update(
            [put("line", {"x": places, "y": heights}), put("best", {"x": places[ring], "y": heights[ring]})]
        )
        self.chart.redraw(made, theme)

    def _draw_map(self, frame: pd.DataFrame) -> None:
        x, y, name = self.x.value, self.y.value, self.figure.value
        table = reduced(frame, [y, x], name, self.way.value).unstack()
        many = reduced(frame, [y, x], name, "count").unstack().reindex_like(table).fillna(0.0)
        values = table.to_numpy(np.float64)
        values = plateau(values) if self.view.value == "plateau" else values
        words = [[written(name, value) for value in row] for row in values]
        across, up = list(map(value_text, table.columns)), list(map(value_text, table.index))
        names = (short(x, self.paths), short(y, self.paths))
        made, theme = heat_figure(across, up, names, words, signed=name in SIGNED)
        rows = [i for i, value in enumerate(table.index) if value == self._best(y)]
        cols = [i for i, value in enumerate(table.columns) if value == self._best(x)]
        self._heat = heat_update(values, many.to_numpy(np.float64), (rows[0], cols[0]) if rows and cols else None)
        self.chart.redraw(made, theme)

    def _best(self, path: str) -> Hashable:
        """Return the key of the best trial's value, None without a best."""
        row = self._sweep.best_row
        return None if row is None else _key(row[path])


def reduced(frame: pd.DataFrame, axes: Sequence[str], name: str, way: str) -> pd.Series[Any]:
    """Return a figure by the values of one or two paths: the best or the median of the trials there, or their count."""
    keys = [frame[path].map(_key) for path in axes]
    grouped = frame.groupby(keys if len(keys) > 1 else keys[0], sort=True)[name]
    if way == "count":
        return grouped.size()
    return grouped.median() if way == "median" else grouped.min() if name in LOWER else grouped.max()


def plateau(values: Floats) -> Floats:
    """Return the mean of each cell and its up to eight neighbors, those without a value left out; NaN stays NaN.

    >>> plateau(np.array([[1.0, 2.0, np.nan, 9.0]])).tolist()
    [[1.5, 1.5, nan, 9.0]]
    """
    padded = np.pad(values, 1, constant_values=np.nan)
    rows, cols = values.shape
    near = np.stack([padded[i : i + rows, j : j + cols] for i in range(3) for j in range(3)])
    known = np.isfinite(near)
    total, many = np.where(known, near, 0.0).sum(axis=0), known.sum(axis=0)
    return np.where(np.isnan(values), np.nan, total / np.maximum(many, 1))


def _key(value: Any) -> Any:
    """Return a value as it can be grouped by; lists, mappings and nothing as their text."""
    if value is None or value != value:
        return "none"
    return repr(value) if isinstance(value, (list, dict)) else value


def _place(value: Any, place: int) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return float(value) if number else float(place)
