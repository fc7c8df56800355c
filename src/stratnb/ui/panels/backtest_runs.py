"""The runs of P10 that this session keeps, and up to four of them beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ipywidgets as w
import numpy as np

from stratnb.errors import ConfigError
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest, load_run
from stratnb.research.runs import SavedRun
from stratnb.ui.controls import show, styled, text
from stratnb.ui.panels import backtest_rows as rows
from stratnb.ui.panels.backtest_checks import Plan
from stratnb.ui.panels.backtest_curves import CompareCurve
from stratnb.ui.widgets import Table

__all__ = ["COMPARED_MOST", "STORED_MOST", "Run", "RunList", "opened"]

COMPARED_MOST: Final = 4
STORED_MOST: Final = 20


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run or one opened from a file: its plan, its candles if they are known, its result and its speed."""

    number: int
    plan: Plan
    candles: Candles | None
    result: Backtest | SavedRun
    rate: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name in lists and headings."""
        return f"{self.number} · {self.plan.title}"

    @property
    def quote(self) -> str:
        """Return the currency of its money."""
        return self.result.quote if isinstance(self.result, SavedRun) else str(self.result.plan.market.quote)


def opened(path: str, candles: Candles | None) -> Run:
    """Return the run that a file holds, with the candles if they are those it ran on."""
    if not path.strip():
        raise ConfigError("missing", "the file of the run is missing", hint="give the path of a saved run")
    saved = load_run(path.strip())
    plan = Plan(f"{saved.name} on {saved.symbol}, opened", saved.document, saved.cash, {})
    fitting = candles if candles is not None and saved.matches(candles) else None
    return Run(0, plan, fitting, saved, figures=dict(saved.figures))


class RunList(w.VBox):  # type: ignore[misc]
    """A table of the newest runs; `on_show(run)` is called when one is opened."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.shown = 0
        self.chosen: list[int] = []
        self.on_show: Callable[[Run | None], None] = lambda run: None
        self.tell: Callable[[str], None] = lambda words: None
        self._count = 0
        self.table = Table(caption="Stored runs", cols=rows.run_columns(), page=10, selectable=True)
        self.table.on_act = self._act
        self.curve = CompareCurve()
        self.compared = Table(caption="Figures of the compared runs", cols=rows.compare_columns([]))
        head = text("Compared runs, equity from 100 on", "h3")
        self.comparison = styled(w.VBox([head, self.curve.widget, self.compared]), "sn-off")
        words = f"Stored runs of this session (the newest {STORED_MOST}; compare up to {COMPARED_MOST})"
        super().__init__([text(words, "h3"), self.table, self.comparison])
        show(self, False)

    def add(self, run: Run) -> Run:
        """Keep a run, forget the oldest one beyond the limit, and return it with its number."""
        self._count += 1
        kept = Run(self._count, run.plan, run.candles, run.result, run.rate, run.figures)
        self.runs = [*self.runs, kept][-STORED_MOST:]
        self.shown = kept.number
        self._show()
        return kept

    def _act(self, action: str, row: str) -> None:
        run = next((run for run in self.runs if str(run.number) == row), None)
        if run is None:
            return
        if action == "open":
            self.shown = run.number
            self.on_show(run)
        elif action == "compare":
            self._toggle(run.number)
        elif action == "remove":
            self._remove(run)
        self._show()

    def _toggle(self, number: int) -> None:
        if number in self.chosen:
            self.chosen.remove(number)
        elif len(self.chosen) >= COMPARED_MOST:
            self.tell(f"At most {COMPARED_MOST} runs are compared at once; take one out first.")
        else:
            self.chosen.append(number)

    def _remove(self, run: Run) -> None:
        self.runs = [other for other in self.runs if other is not run]
        if run.number == self.shown:
            self.shown = self.runs[-1].number if self.runs else 0
            self.on_show(self.runs[-1] if self.runs else None)

    def _show(self) -> None:
        known = {run.number: run for run in self.runs}
        self.chosen = [number for number in self.chosen if number in known]
        self.table.show(rows.run_rows(list(reversed(self.runs)), self.chosen))
        self.table.current = str(self.shown)
        show(self, bool(self.runs))
        self._draw_compared([known[number] for number in self.chosen])

    def _draw_compared(self, chosen: Sequence[Run]) -> None:
        show(self.comparison, len(chosen) > 1)
        if len(chosen) < 2:
            return
        self.compared.cols = rows.compare_columns([run.name for run in chosen])
        days = [rows.elapsed_days(run.result) for run in chosen]
        self.compared.rows = rows.compare_rows([run.figures for run in chosen], [run.quote for run in chosen], days)
        self.curve.draw([(run.name, *_indexed(run.result)) for run in chosen])


def _indexed(result: Backtest | SavedRun) -> tuple[Any, Any]:
    """Return the closing times and the equity from 100 on."""
    return result.close_ms, np.asarray(result.equity_curve) * (100.0 / result.capital)
