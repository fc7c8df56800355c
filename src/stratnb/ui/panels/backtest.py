"""P10, the backtest: fields, a run in the background with progress and cancel, its result, parity and comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import StratnbError
from stratnb.ui.controls import btn, chip, show, styled, text
from stratnb.ui.curve import EquityCurve
from stratnb.ui.format import age, count, escape, stamp
from stratnb.ui.panels import backtest_rows as rows
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.backtest_setup import BacktestSetup, Plan
from stratnb.ui.widgets import Table
from stratnb.ui.work import Work
from stratnb.view import Board, EngineView

__all__ = ["BacktestPanel", "Run"]

COMPARED_MOST = 4
STORED_MOST = 12


@dataclass(frozen=True)
class Run:
    """A finished run: its plan, the candles it used and its result."""

    number: int
    plan: Plan
    candles: Any
    result: Any

    @property
    def name(self) -> str:
        """Return the name on its chip."""
        return f"{self.number} · {self.plan.title}"


def _backtest(strategy: Any, candles: Any, **options: Any) -> Any:
    from stratnb.research.backtest import backtest

    return backtest(strategy, candles, **options)


def _parity(strategy: Any, candles: Any, **options: Any) -> Any:
    from stratnb.parity import parity

    return parity(strategy, candles, **options)


class BacktestPanel(ActingPanel):
    """Backtests beside the engine: a worker thread computes, only the pump writes widgets.

    `run(strategy, candles, cash=, overrides=, progress=, cancelled=)` and `parity(strategy, candles, cash=,
    overrides=)` can be given for tests.
    """

    title: ClassVar[str] = "Backtest"
    hz: ClassVar[float] = 2.0

    def __init__(
        self, board: Board, *, run: Callable[..., Any] = _backtest, parity: Callable[..., Any] = _parity
    ) -> None:
        self._backtest, self._parity_of = run, parity
        self.runs: list[Run] = []
        self._count = 0
        self._work: Work | None = None
        self._view: EngineView | None = None
        super().__init__(board)

    def body(self) -> list[w.Widget]:
        """Make the fields, the progress and the places of the result."""
        self.setup = BacktestSetup(self.board)
        self.start = btn("Run", "primary", "play", "Run the backtest; the engine goes on", do=self.run)
        self.cancel = btn("Cancel", do=self.cancel_run)
        self.bar = styled(w.FloatProgress(value=0.0, max=1.0, description="Progress"), "sn-progress", "sn-nolabel")
        self.status = styled(w.HTML(), "sn-muted")
        self.running = styled(w.HBox([self.bar, self.status, self.cancel]), "sn-row", "sn-off")
        controls = styled(w.HBox([self.start, self.running]), "sn-addrow")
        return [self.setup, controls, self._make_result(), self._make_compare()]

    def _make_result(self) -> w.Widget:
        self.figures = Table(kind="kpi", caption="Figures of the backtest")
        self.curve = EquityCurve()
        empty = {"t": "No trade", "sub": "No decision became an entry; the counts below say why."}
        self.trades = Table(caption="Trades", cols=rows.trade_columns(), page=20, empty=empty)
        columns = [
            {"key": "name", "label": "Reason", "cls": "is-wide"},
            {"key": "n", "label": "Decisions", "align": "r"},
            {"key": "bar", "label": "Share", "align": "r", "cls": "is-barcol"},
        ]
        self.reasons = Table(caption="Why decisions ended as they did", cols=columns, page=20)
        self.check = btn(
            "Check parity",
            tip="Replay the same candles through the paper engine and compare bit for bit",
            do=self.run_parity,
        )
        self.verdict = styled(w.HTML(), "sn-muted")
        line = styled(w.HBox([self.check, self.verdict]), "sn-row")
        halves = styled(
            w.HBox(
                [w.VBox([text("Trades", "h3"), self.trades]), w.VBox([text("Reasons and denials", "h3"), self.reasons])]
            ),
            "sn-halves",
        )
        self.result = styled(w.VBox([self.figures, line, self.curve.widget, halves]), "sn-result", "sn-off")
        self.blank = styled(
            w.HTML("<strong>No run yet</strong><span>Choose a strategy and candles, then press Run.</span>"), "sn-empty"
        )
        return w.VBox([self.blank, self.result])

    def _make_compare(self) -> w.Widget:
        self.chips = styled(w.HBox([]), "sn-chips")
        self.table = Table(caption="Stored runs compared", cols=rows.compare_columns([]))
        self.compare = w.VBox([])
        self.stored = styled(w.VBox([text("Stored runs (choose up to 4)", "h3"), self.chips, self.compare]), "sn-off")
        return self.stored

    def paint(self, view: EngineView) -> None:
        """Offer what can be run and show how far the run is."""
        self._view = view
        self.setup.paint(view)
        work = self._work
        if work is None:
            return
        self.bar.value = work.fraction
        rest = "" if work.remaining_s is None else f", {age(work.remaining_s)} left"
        words = "Canceling" if work.cancelled else f"{work.fraction:.0%}{rest}"
        self.status.value = f"<span>{words}</span>"

    def run(self) -> None:
        """Start the run that the fields describe; a second one waits for the first to end."""
        if self._work is not None or self._view is None:
            return
        self.dismiss()
        try:
            plan = self.setup.plan(self._view)
        except StratnbError as error:
            self.refuse(error)
            return
        timeframe = self._view.feed.timeframe if self._view.feed else "1m"

        def _call(**hooks: Any) -> Run:
            candles = plan.candles(self.board, timeframe)
            result = self._backtest(plan.strategy, candles, cash=plan.cash, overrides=plan.overrides or None, **hooks)
            return Run(0, plan, candles, result)

        self._go(Work(_call), self._finished)

    def run_parity(self) -> None:
        """Replay the last run's candles through the engine on paper and compare."""
        if self._work is not None or not self.runs:
            return
        last = self.runs[-1]
        options = {"cash": last.plan.cash, **({"overrides": last.plan.overrides} if last.plan.overrides else {})}
        self._go(Work(lambda **_: self._parity_of(last.plan.strategy, last.candles, **options)), self._judged)

    def cancel_run(self) -> None:
        """Ask the run to end early."""
        if self._work is not None:
            self._work.cancel()
            self.repaint()

    def _go(self, work: Work, ended: Callable[[Any], None]) -> None:
        self._work = work
        self.start.disabled = self.check.disabled = True
        show(self.running, True)

        def _done(job: Any) -> None:
            self._work = None
            self.start.disabled = self.check.disabled = False
            show(self.running, False)
            if job.error is not None:
                self.refuse(job.error)
            else:
                ended(job.result())

        self.pump.track(work, _done)
        self.repaint()

    def _finished(self, run: Run) -> None:
        self._count += 1
        stored = Run(self._count, run.plan, run.candles, run.result)
        self.runs = [*self.runs, stored][-STORED_MOST:]
        show(self.blank, False)
        show(self.result, True)
        self.verdict.value = ""
        self.figures.rows = rows.figure_rows(stored.result.figures)
        self.trades.rows = rows.trade_rows(stored.result.trades)
        self.reasons.rows = rows.count_rows(stored.result.reasons)
        equity = stored.result.equity
        self.curve.draw(*curve_of(equity))
        self.frame.note(_note(stored))
        if not getattr(stored.result, "complete", True):
            self.tell("Canceled: the result covers the candles that were run.")
        self._store()

    def _judged(self, result: Any) -> None:
        """Show the verdict of parity."""
        equal = bool(result.identical)
        mark = '<span class="sn-t-ok">● Parity</span>' if equal else '<span class="sn-t-err">■ No parity</span>'
        words = "replay and backtest agree bit for bit" if equal else result.difference
        self.verdict.value = f'<span role="status">{mark} {escape(words)}</span>'

    def _store(self) -> None:
        """Add a chip per stored run; up to four of them are compared."""
        known = {button.description: button for button in self.chips.children}
        chips = []
        for run in self.runs:
            button = known.get(run.name) or chip(run.name, False, "Compare this run")
            if run.name not in known:
                button.observe(self._compare, "value")
            chips.append(button)
        self.chips.children = chips
        show(self.stored, len(self.runs) > 1)

    def _compare(self, change: Mapping[str, Any]) -> None:
        chosen = [run for run, button in zip(self.runs, self.chips.children, strict=True) if button.value]
        if len(chosen) > COMPARED_MOST:
            change["owner"].value = False
            self.tell(f"At most {COMPARED_MOST} runs are compared at once.")
            return
        columns = rows.compare_columns([run.name for run in chosen])
        compared = rows.compare_rows([run.result.figures for run in chosen])
        self.compare.children = [Table(caption="Stored runs compared", cols=columns, rows=compared)] if chosen else []

    def to_frame(self) -> pd.DataFrame:
        """Return the figures of the stored runs, one row per run."""
        return pd.DataFrame([{"run": run.name, **run.result.figures} for run in self.runs])


def curve_of(equity: pd.DataFrame) -> tuple[Any, Any]:
    """Return times (ms) and equity of a result's frame, whose index is the time."""
    index = equity.index
    times = index.as_unit("ms").asi8 if isinstance(index, pd.DatetimeIndex) else index.to_numpy()
    return times, equity["equity"].to_numpy()


def _note(run: Run) -> str:
    first, last = run.candles.open_time_ms[0], run.candles.open_time_ms[-1]
    return f"{run.plan.title} · {count(len(run.candles))} candles, {stamp(first)} to {stamp(last)} UTC"
