"""The result of a sweep: the best with what it is worth, a map of two parameters, parallel coordinates, all trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets as w
import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.research.measure import LOWER
from stratnb.ui.chart import Chart, Update, put
from stratnb.ui.controls import btn, dropdown, field, segment, show, styled, text
from stratnb.ui.format import count, escape
from stratnb.ui.panels.backtest_rows import figure, title_of
from stratnb.ui.panels.sweep_figures import (
    LINES_MOST,
    heat_figure,
    heat_update,
    line_figure,
    parallel_figure,
    parallel_update,
)
from stratnb.ui.panels.sweep_rows import COLUMNS, SHOWN_MOST, short, stability_rows, trial_table, value_text
from stratnb.ui.widgets import Table

__all__ = ["SweepView"]

Floats = npt.NDArray[np.float64]

SIGNED: Final = ("sharpe", "sortino", "calmar", "total_return", "cagr", "expectancy", "pnl")
WAYS: Final = (("Best of the others", "best"), ("Median of the others", "median"))
PARTS: Final = (("All", 1.0), ("Best 25 %", 0.25), ("Best 10 %", 0.10))
VERDICT_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "name", "label": "Beside the best", "sort": False},
    {"key": "value", "label": "Value", "sort": False},
]


class SweepView(w.VBox):  # type: ignore[misc]
    """Shows a sweep; `on_open(trial)` and `on_document(name, trial)` are called by its buttons."""

    def __init__(self) -> None:
        self.sweep: Any = None
        self.trial: int | None = None
        self._laying = False
        self.frame = pd.DataFrame()
        self.on_open: Callable[[int], None] = lambda trial: None
        self.on_document: Callable[[str, int], None] = lambda name, trial: None
        self.figures = Table(kind="kpi", caption="Figures of the sweep")
        self.verdict = Table(caption="What the best is worth", cols=VERDICT_COLUMNS)
        self.rule = styled(w.HTML(), "sn-muted", "sn-row")
        super().__init__([self.figures, self._make_best(), self._make_maps(), self._make_table(), self._make_acts()])
        styled(self, "sn-result", "sn-off")

    def _make_best(self) -> w.Widget:
        self.best_head, self.plateau = w.HTML(), Table(caption="Stability of the neighborhood", cols=VERDICT_COLUMNS)
        none = {"t": "Not judged yet", "sub": "It is judged after the sweep."}
        self.verdict.empty = none
        left = w.VBox([text("What the best is worth", "h3"), self.verdict, self.rule])
        right = w.VBox([self.best_head, self.plateau])
        return styled(w.HBox([left, right]), "sn-halves")

    def _make_maps(self) -> w.Widget:
        self.figure = dropdown("Figure", [])
        self.x, self.y = dropdown("Across", []), dropdown("Up", [])
        self.way = segment([*WAYS], "best", "What a cell shows of the trials that differ in other parameters")
        self.part = segment([(name, share) for name, share in PARTS], 1.0, "Which trials are drawn")
        for box in (self.figure, self.x, self.y, self.way, self.part):
            box.observe(lambda _: self._draw(), "value")
        self._heat, self._lines = Update(), Update()
        made, theme = line_figure("", "", "0.0")
        self.map = Chart(made, theme=list(theme), height="330px", caption="Figure by two parameters")
        self.map.snapshot = lambda: self._heat
        made, theme = parallel_figure(("", ""), (("", ""), ("", "")))
        self.lines = Chart(made, theme=list(theme), height="330px", caption="Parallel coordinates of the trials")
        self.lines.snapshot = lambda: self._lines
        self.told = styled(w.HTML(), "sn-muted", "sn-row")
        self.map_acts = styled(w.HBox([self.figure, self.x, self.y, self.way]), "sn-addrow")
        left = w.VBox([self.map_acts, self.map])
        right = w.VBox([styled(w.HBox([text("Trials"), self.part]), "sn-addrow"), self.lines])
        return w.VBox([styled(w.HBox([left, right]), "sn-halves"), self.told])

    def _make_table(self) -> w.Widget:
        none = {"t": "No trial", "sub": "It was canceled before the first one."}
        self.trials = Table(caption="Trials", page=12, selectable=True, empty=none)
        self.trials.on_act = self._chosen
        self.trials_head = w.HTML()
        return w.VBox([self.trials_head, self.trials])

    def _make_acts(self) -> w.Widget:
        self.chosen = styled(w.HTML(), "sn-muted")
        self.run_chosen = btn("Open in backtest", tip="Run the chosen trial and show it in the backtest panel")
        self.run_chosen.on_click(lambda _: self.trial is not None and self.on_open(self.trial))
        self.name = field("Name", "name of the new document")
        self.document = btn("New document", tip="Make a document of its own from the chosen trial")
        self.document.on_click(lambda _: self.trial is not None and self.on_document(self.name.value, self.trial))
        self.link = styled(w.HTML(), "sn-off")
        row = [self.chosen, self.run_chosen, self.name, self.document, self.link]
        return styled(w.HBox(row), "sn-addrow")

    @property
    def best_trial(self) -> int | None:
        """Return the number of the best trial, None without one."""
        row = None if self.sweep is None else self.sweep.best_row
        return None if row is None else int(row["trial"])

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the varied paths."""
        return () if self.sweep is None else tuple(self.sweep.space.paths)

    def show(self, sweep: Any) -> None:
        """Show a sweep."""
        self.sweep, self.frame = sweep, sweep.frame.set_index("trial")
        show(self, True)
        self.offer("")
        self.verdict.rows, self.rule.value = [], ""
        best = self.best_trial
        self.trials.cols, self.trials.rows = trial_table(self.frame, self.paths, sweep.objective, best)
        shown = f", the best {count(SHOWN_MOST)} of them here" if len(self.frame) > SHOWN_MOST else ""
        self.trials_head.value = f"<h3>Trials: {count(len(self.frame))}{shown}; choose one to open it</h3>"
        self.figures.rows = self._key_rows()
        self._offer_axes()
        self._stability()
        self._take(best)
        self._draw()

    def judge(self, verdict: Any) -> None:
        """Show what the best is worth."""
        rows = [
            {"id": name, "name": name[:1].upper() + name[1:], "value": {"t": words}} for name, words in verdict.rows
        ]
        rows[0]["value"] |= {"dot": "ok" if verdict.significant else "warn"}
        self.verdict.rows = rows
        self.rule.value = f"<span>{escape(verdict.rule[:1].upper() + verdict.rule[1:])}.</span>"

    def offer(self, link: str) -> None:
        """Show a link that saves a document, or take it away."""
        self.link.value = link
        show(self.link, bool(link))

    def _key_rows(self) -> list[dict[str, Any]]:
        sweep, row = self.sweep, self.sweep.best_row
        failed = int((self.frame["error"] != "").sum())
        cells: list[tuple[str, str, Any]] = [
            ("trials", "Trials", f"{count(sweep.count)} of {count(sweep.space.count)}"),
            ("failed", "Failed", {"t": count(failed), "tone": "warn"} if failed else count(failed)),
        ]
        known = {} if row is None else dict(row)
        for name in dict.fromkeys((sweep.objective, *COLUMNS)):
            if name in self.frame.columns:
                cells.append((name, f"{title_of(name)}, best", figure(name, _number(known.get(name)))))
        return [{"id": name, "label": label, "v": cell, "pri": 1} for name, label, cell in cells]

    def _offer_axes(self) -> None:
        paths = self.paths
        names = [(short(path, paths), path) for path in paths]
        kept = [name for name in dict.fromkeys((self.sweep.objective, *COLUMNS)) if name in self.frame.columns]
        self._laying = True
        self.figure.options = [(title_of(name), name) for name in kept]
        self.x.options = self.y.options = names
        self.figure.value = kept[0]
        self.x.value, self.y.value = paths[0], paths[min(1, len(paths) - 1)]
        self._laying = False
        for box in (self.x, self.y):
            show(box, len(paths) > 1)
        show(self.way, len(paths) > 2)

    def _stability(self) -> None:
        best = self.sweep.best
        words = ", ".join(f"{short(path, self.paths)} {value_text(value)}" for path, value in (best or {}).items())
        self.best_head.value = f"<h3>Best: {escape(words or 'no trial has a defined objective')}</h3>"
        self.plateau.rows = stability_rows(self.sweep.stability(), self.sweep.objective)

    def _take(self, trial: int | None) -> None:
        """Choose a trial."""
        self.trial = trial
        self.trials.current = "" if trial is None else str(trial)
        self.run_chosen.disabled = self.document.disabled = trial is None
        words = "No trial is chosen" if trial is None else f"Trial {trial}"
        self.chosen.value = f"<span>{escape(words)}</span>"

    def _chosen(self, action: str, row: str) -> None:
        if action == "open" and row.isdigit():
            self._take(int(row))

    def _draw(self) -> None:
        """Draw map and lines for what is chosen."""
        if self._laying or self.sweep is None or not len(self.frame):
            return
        if len(self.paths) == 1 or self.x.value == self.y.value:
            self._draw_line()
        else:
            self._draw_map()
        self._draw_parallel()

    def _draw_line(self) -> None:
        path, name = self.x.value, self.figure.value
        series = _combined(self.frame, path, name, self.way.value)
        x = np.array([_place(value, i) for i, value in enumerate(series.index)], np.float64)
        y = series.to_numpy(np.float64)
        form = "0.0[0]%" if name in ("total_return", "max_drawdown", "win_rate") else "0,0.[00]"
        made, theme = line_figure(short(path, self.paths), title_of(name), form)
        row = self.sweep.best_row
        places = [] if row is None else [i for i, value in enumerate(series.index) if value == row[path]]
        ring = {"x": x[places], "y": y[places]}
        self._heat = Update([put("line", {"x": x, "y": y}), put("best", ring)])
        self.map.redraw(made, theme)

    def _draw_map(self) -> None:
        x, y, name = self.x.value, self.y.value, self.figure.value
        way: Any = "median" if self.way.value == "median" else "min" if name in LOWER else "max"
        table = self.sweep.pivot(x, y, name, way)
        many = self.frame.groupby([y, x], sort=True)[name].size().unstack().reindex_like(table).fillna(0.0)
        values = table.to_numpy(np.float64)
        written = [[_written(name, value) for value in row] for row in values]
        across, up = list(map(value_text, table.columns)), list(map(value_text, table.index))
        names = (short(x, self.paths), short(y, self.paths))
        made, theme = heat_figure(across, up, names, written, signed=name in SIGNED)
        row, ring = self.sweep.best_row, None
        if row is not None and row[x] in table.columns and row[y] in table.index:
            ring = (table.index.get_loc(row[y]), table.columns.get_loc(row[x]))
        self._heat = heat_update(values, many.to_numpy(np.float64), ring)
        self.map.redraw(made, theme)

    def _draw_parallel(self) -> None:
        name, paths = self.figure.value, self.paths
        values = self.frame[name].to_numpy(np.float64)
        known = np.flatnonzero(~np.isnan(values))
        sign = 1.0 if name in LOWER else -1.0
        order = known[np.argsort(sign * values[known], kind="stable")]
        order = order[: max(1, int(np.ceil(len(order) * self.part.value)))]
        if len(order) > LINES_MOST:
            order = order[np.linspace(0, len(order) - 1, LINES_MOST).round().astype(np.int64)]
        columns, ends = zip(*(_scaled(self.frame[path], order) for path in paths), strict=True)
        figures, span = _spread(values[order])
        heights = np.column_stack([*columns, figures]) if len(order) else np.empty((0, len(paths) + 1))
        words = tuple(_written(name, value) for value in span)
        labels = [*(short(path, paths) for path in paths), title_of(name)]
        made, theme = parallel_figure(labels, [*ends, (words[0], words[-1])])
        place = [i for i, at in enumerate(order) if int(self.frame.index[at]) == self.best_trial]
        middle = float(np.median(values[known])) if len(known) else 0.0
        self._lines = parallel_update(heights, sign * values[order] <= sign * middle, place[0] if place else None)
        self.lines.redraw(made, theme)
        told = f"{count(len(order))} of {count(len(self.frame))} trials are drawn, blue at the median of all or better"
        missing = len(self.frame) - len(known)
        told += f"; {count(missing)} without a defined {title_of(name).lower()} are left out" if missing else ""
        self.told.value = f"<span>{escape(told)}. The ring and the thick line are the best.</span>"


def _combined(frame: pd.DataFrame, path: str, name: str, way: str) -> pd.Series[Any]:
    """Return the best or the median of a figure for each value of a path."""
    grouped = frame.groupby(path, sort=True)[name]
    return grouped.median() if way == "median" else grouped.min() if name in LOWER else grouped.max()


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _place(value: Any, place: int) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return float(value) if number else float(place)


def _written(name: str, value: float) -> str:
    """Return a figure's value as it is written into a cell."""
    if np.isnan(value):
        return "n/a"
    cell = figure(name, float(value))
    return cell if isinstance(cell, str) else str(cell["t"]).removeprefix("▲ ").removeprefix("▼ ")


def _scaled(column: pd.Series[Any], order: npt.NDArray[np.int64]) -> tuple[Floats, tuple[str, str]]:
    """Return the heights of values between the lowest and the highest, and both in words."""
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
