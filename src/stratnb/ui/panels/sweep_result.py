"""The result of a sweep: the best with what it is worth, a map of two parameters, parallel coordinates, all trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets as w
import pandas as pd

from stratnb.ui.controls import btn, field, segment, show, styled, text
from stratnb.ui.format import count, escape
from stratnb.ui.panels.backtest_rows import figure, title_of
from stratnb.ui.panels.sweep_map import SweepMap
from stratnb.ui.panels.sweep_parallel import ParallelLines
from stratnb.ui.panels.sweep_rows import COLUMNS, SHOWN_MOST, short, stability_rows, trial_table, value_text
from stratnb.ui.panels.sweep_verdict import verdict_rows
from stratnb.ui.widgets import Table

__all__ = ["SweepView"]

VERDICT_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "name", "label": "Beside the best", "sort": False},
    {"key": "value", "label": "Value", "sort": False},
]
WHICH: Final = (("All", False), ("Failed", True))


class SweepView(w.VBox):  # type: ignore[misc]
    """Shows a sweep; `on_open(trial)` and `on_document(name, trial)` are called by its buttons."""

    def __init__(self) -> None:
        self.sweep: Any = None
        self.trial: int | None = None
        self.frame = pd.DataFrame()
        self.on_open: Callable[[int], None] = lambda trial: None
        self.on_document: Callable[[str, int], None] = lambda name, trial: None
        self.figures = Table(kind="kpi", caption="Figures of the sweep")
        self.verdict = Table(caption="What the best is worth", cols=VERDICT_COLUMNS)
        self.rule = styled(w.HTML(), "sn-muted", "sn-row")
        self.map, self.lines = SweepMap(), ParallelLines()
        self.map.figure.observe(lambda _: self._draw_lines(), "value")
        maps = w.VBox([styled(w.HBox([self.map, self.lines]), "sn-halves"), self.lines.told])
        super().__init__([self.figures, self._make_best(), maps, self._make_table(), self._make_acts()])
        styled(self, "sn-result", "sn-off")

    def _make_best(self) -> w.Widget:
        self.best_head, self.plateau = w.HTML(), Table(caption="Stability of the neighborhood", cols=VERDICT_COLUMNS)
        none = {"t": "Not judged yet", "sub": "It is judged after the sweep."}
        self.verdict.empty = none
        left = w.VBox([text("What the best is worth", "h3"), self.verdict, self.rule])
        right = w.VBox([self.best_head, self.plateau])
        return styled(w.HBox([left, right]), "sn-halves")

    def _make_table(self) -> w.Widget:
        none = {"t": "No trial", "sub": "It was canceled before the first one."}
        self.trials = Table(caption="Trials", page=12, selectable=True, empty=none)
        self.trials.on_act = self._chosen
        self.trials_head = w.HTML()
        self.which = segment([*WHICH], False, "All trials, the best first, or those that failed with their reason")
        self.which.observe(lambda _: self._list(), "value")
        self.choice = styled(w.HBox([self.which]), "sn-row")
        return w.VBox([self.trials_head, self.choice, self.trials])

    def _make_acts(self) -> w.Widget:
        self.chosen = styled(w.HTML(), "sn-muted")
        self.run_chosen = btn("Open in backtest", tip="Run the chosen trial and show it in the backtest panel")
        self.run_chosen.on_click(lambda _: self.trial is not None and self.on_open(self.trial))
        self.name = field("Name", "such as levels-fast")
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
        self.figures.rows = self._key_rows()
        failed = int((self.frame["error"] != "").sum())
        self.which.value = False
        show(self.choice, failed > 0)
        self._list()
        self._stability()
        self.map.show(sweep, self.frame, self.best_trial)
        self._take(self.best_trial)
        self._draw_lines()

    def _list(self) -> None:
        """List the trials that are asked for."""
        if self.sweep is None:
            return
        failed = bool(self.which.value)
        asked = (self.frame, self.paths, self.sweep.objective, self.best_trial)
        self.trials.cols, self.trials.rows = trial_table(*asked, failed=failed, least=self.sweep.min_trades)
        many = int((self.frame["error"] != "").sum()) if failed else len(self.frame)
        kind = "first" if failed else "best"
        part = f", the {kind} {count(SHOWN_MOST)} of them here" if many > SHOWN_MOST else ""
        head = "Failed trials" if failed else "Trials"
        self.trials_head.value = f"<h3>{head}: {count(many)}{part}; choose one to open it</h3>"

    def _draw_lines(self) -> None:
        if self.sweep is not None and self.map.figure.value is not None:
            self.lines.show(self.frame, self.paths, self.map.figure.value, self.best_trial)

    def judge(self, verdict: Any) -> None:
        """Show what the best is worth."""
        self.verdict.rows = verdict_rows(verdict)
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

    def _stability(self) -> None:
        best = self.sweep.best
        words = ", ".join(f"{short(path, self.paths)} {value_text(value)}" for path, value in (best or {}).items())
        least = f" and {count(self.sweep.min_trades)} trades" if self.sweep.min_trades else ""
        self.best_head.value = f"<h3>Best: {escape(words or f'no trial has a defined objective{least}')}</h3>"
        self.plateau.rows = stability_rows(self.sweep.stability(), self.sweep.objective)

    def _take(self, trial: int | None) -> None:
        """Choose a trial."""
        self.trial = trial
        self.trials.current = "" if trial is None else str(trial)
        self.run_chosen.disabled = self.document.disabled = trial is None
        words = "No trial is chosen" if trial is None else f"Trial {trial}"
        self.chosen.value = f"<span>{escape(words)}</span>"
        self.map.choose(trial)

    def _chosen(self, action: str, row: str) -> None:
        if action == "open" and row.isdigit():
            self._take(int(row))


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
