"""P10, the backtest: fields, a check of them, a run beside the engine with progress and cancel, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.research.lookahead import lookahead
from stratnb.ui.controls import btn, field, show, styled
from stratnb.ui.format import count, stamp
from stratnb.ui.panels.backtest_checks import Checked, Examiner
from stratnb.ui.panels.backtest_draft import Draft
from stratnb.ui.panels.backtest_files import export, save
from stratnb.ui.panels.backtest_record import explained_run, record_of_board, record_of_file
from stratnb.ui.panels.backtest_result import ResultView
from stratnb.ui.panels.backtest_runs import Run, RunList, opened
from stratnb.ui.panels.backtest_setup import BacktestSetup
from stratnb.ui.panels.performance_data import named
from stratnb.ui.panels.working import WorkingPanel
from stratnb.ui.work import Work
from stratnb.view import Board, EngineView

__all__ = ["BacktestPanel"]


def _backtest(strategy: Any, candles: Any, **options: Any) -> Any:
    from stratnb.research.backtest import backtest

    return backtest(strategy, candles, decisions="entries", **options)


def _parity(strategy: Any, candles: Any, **options: Any) -> Any:
    from stratnb.parity import parity

    return parity(strategy, candles, **options)


class BacktestPanel(WorkingPanel):
    """Backtests beside the engine, and their parity with it.

    `run` and `parity` can be given for tests: both take (strategy, candles, cash=, overrides=, progress=, cancelled=).
    """

    title: ClassVar[str] = "Backtest"
    unit: ClassVar[str] = "candles"

    def __init__(
        self, board: Board, *, run: Callable[..., Any] = _backtest, parity: Callable[..., Any] = _parity
    ) -> None:
        self._backtest, self._parity_of = run, parity
        self._examine = Examiner(board)
        self._edited = self._checking = False
        super().__init__(board)

    @property
    def runs(self) -> list[Run]:
        """Return the stored runs, oldest first."""
        return self.list.runs

    def body(self) -> list[w.Widget]:
        """Make the fields, the progress, the place of the result and the stored runs."""
        self.setup = BacktestSetup(self.board)
        self.setup.changed = self._touched
        self.start = btn("Run", "primary", "play", "Run the backtest; the engine goes on", do=self.run)
        self.file = field("Saved run", "path of a .json file")
        self.reopen = btn("Open run", tip="Show a run that was saved to a file", do=self.open_run)
        saved = styled(w.HBox([self.file, self.reopen]), "sn-chips", "sn-pushed")
        self.controls = styled(w.HBox([self.start, self.running, saved]), "sn-addrow")
        self._saved = saved
        self.result = ResultView()
        self.result.on_save, self.result.on_export = self._save, self._export
        self.proofs = self.result.proofs
        self.proofs.on_parity, self.proofs.on_lookahead = self.run_parity, self.run_lookahead
        self.proofs.on_explain = self.run_explain
        self.list = RunList()
        self.list.on_show, self.list.tell = self._show, self.tell
        self.blank = styled(
            w.HTML("<strong>No run yet</strong><span>Choose a strategy and candles, then press Run.</span>"), "sn-empty"
        )
        return [self.setup, self.controls, self.blank, self.result, self.list]

    def paint(self, view: EngineView) -> None:
        """Offer what can be run, check what was edited and show how far the run is."""
        self._view = view
        self.setup.paint(view)
        self.proofs.offer([(f"{name} (loaded)", strategy_id) for strategy_id, name in named(view).items()])
        if self._work is not None:
            self.show_progress(self._work)
        elif self._checking:
            self.say_waiting(self.setup.findings)
        elif self._edited:
            self._check(self.setup.draft(view))

    def _touched(self) -> None:
        """A field was edited: it is checked at the next paint."""
        self._edited = True

    def _check(self, draft: Draft) -> None:
        """Check the fields without running anything."""
        self._edited, self._checking = False, True

        def _shown(job: Any) -> None:
            self._checking = False
            if job.error is not None:
                self.refuse(job.error)
            elif not self._edited:
                self.setup.show(job.result())

        self.pump.track(Work(lambda **_: self._examine(draft)), _shown)

    def run(self) -> None:
        """Check what the fields describe and run it; a second run waits for the first to end."""
        if self._work is not None or self._view is None:
            return
        self.dismiss()
        self.tell("")
        self._edited = False
        draft = self.setup.draft(self._view)

        def _call(**hooks: Any) -> tuple[Checked, Run | None]:
            checked = self._examine(draft)
            if checked.blocked:
                return checked, None
            plan = checked.plan
            result = self._backtest(
                plan.strategy, checked.candles, cash=plan.cash, overrides=plan.overrides or None, **hooks
            )
            return checked, Run(0, plan, checked.candles, result, figures=dict(result.figures))

        self.go(_call, self._finished)

    def add(self, run: Run) -> None:
        """Keep a run that was made elsewhere, and show it."""
        self._show(self.list.add(run))

    def run_parity(self) -> None:
        """Replay the shown run's candles through the engine on paper and compare."""
        self._prove("parity", self._parity_of, self.proofs.judge_parity, "candles")

    def run_lookahead(self) -> None:
        """Run the shown run's strategy on beginnings of its candles and compare."""

        def _call(strategy: Any, candles: Any, *, cash: float, **options: Any) -> Any:
            return lookahead(strategy, candles, **options)

        self._prove("lookahead", _call, self.proofs.judge_lookahead, "cuts")

    def run_explain(self, strategy_id: str, path: str, strategy: str) -> None:
        """Find why a recorded run, of a loaded strategy or in a file, differs from the shown one."""
        last = self.result.run

        def _call(*_: Any, cash: float, overrides: Any, **hooks: Any) -> Any:
            record = record_of_board(self.board, strategy_id) if strategy_id else record_of_file(path, strategy)
            return explained_run(last, record, **hooks)  # type: ignore[arg-type]

        self._prove("explain", _call, self.proofs.judge_record, "runs")

    def _prove(self, name: str, call: Callable[..., Any], judge: Callable[[Any], None], unit: str) -> None:
        """Run one of the checks of the shown run; its answer is dropped when another run is shown meanwhile."""
        last = self.result.run
        if last is None or last.candles is None or self._work is not None:
            return
        plan = last.plan
        options = {"cash": plan.cash, "overrides": plan.overrides or None}
        self.controls.children = (self.start, self._saved)
        self.proofs.begin(name, self.running)

        def _ended(found: Any, work: Work) -> None:
            if self.result.run is last:
                judge(found)

        self.go(
            lambda **hooks: call(plan.strategy, last.candles, **options, **hooks),
            _ended,
            failed=lambda error: self.proofs.refuse(name, error),
            unit=unit,
        )

    def open_run(self) -> None:
        """Show a run that was saved to a file, on the candles of the form if they are the same."""
        if self._view is None:
            return
        path, draft = self.file.value, self.setup.draft(self._view)
        self.go(
            lambda **_: opened(path, self._examine(draft).candles), lambda run, work: self._show(self.list.add(run))
        )

    def _save(self, path: str) -> None:
        run = self.result.run
        if run is not None:
            self.go(lambda **_: save(run.result, path, run.candles), lambda words, work: self.tell(words))

    def _export(self, what: str) -> None:
        run = self.result.run
        if run is not None:
            self.go(lambda **_: export(run.result, what, run.candles), lambda link, work: self.result.offer(link))

    def _lock(self, on: bool) -> None:
        """Disable what must wait while work is done, and show its progress."""
        known = self.result.run is not None and self.result.run.candles is not None
        for button in (self.start, self.reopen, self.result.save, *self.result.exports):
            button.disabled = on
        for button in self.proofs.buttons:
            button.disabled = on or not known
        if not on:
            self.proofs.end()
            self.controls.children = (self.start, self.running, self._saved)
        super()._lock(on)

    def _finished(self, found: tuple[Checked, Run | None], work: Work) -> None:
        checked, run = found
        self.setup.show(checked)
        if run is None:
            return
        self._show(self.list.add(replace(run, rate=work.rate)))
        if not run.result.complete:
            self.tell("Canceled: the result covers the candles that were run.")

    def _show(self, run: Run | None) -> None:
        """Show a run, or that there is none."""
        show(self.blank, run is None)
        self.result.show(run)
        self.frame.note("" if run is None else _note(run))

    def to_frame(self) -> pd.DataFrame:
        """Return the figures of the stored runs, one row per run."""
        return pd.DataFrame([{"run": run.name, **run.figures} for run in self.runs])


def _note(run: Run) -> str:
    times = run.result.close_ms
    if not len(times):
        return run.plan.title
    speed = "" if run.rate is None else f", {count(int(run.rate))} candles/s"
    return f"{run.plan.title} · {count(len(times))} candles, {stamp(times[0])} to {stamp(times[-1])} UTC{speed}"
