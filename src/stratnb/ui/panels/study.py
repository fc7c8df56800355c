"""What the panels of sweep and walk-forward share: strategy, candles, ranges, a check of all, and work in a thread."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import ipywidgets as w

from stratnb.errors import ConfigError, Finding, StratnbError
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import backtest
from stratnb.research.space import Space, axes_of
from stratnb.strategy.documents import build_config
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.format import escape
from stratnb.ui.panels.backtest_checks import Checked, Examiner, findings_html
from stratnb.ui.panels.backtest_draft import Draft
from stratnb.ui.panels.backtest_setup import BacktestSetup
from stratnb.ui.panels.space_editor import SpaceEditor
from stratnb.ui.panels.space_parameters import Parameter, parameters_of
from stratnb.ui.panels.working import WorkingPanel
from stratnb.ui.work import Work
from stratnb.view import Board, EngineView

__all__ = ["Asked", "Study", "StudyPanel", "timed"]

PROBE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the fields say: the draft of strategy and candles, the space as given, and its options."""

    draft: Draft
    space: Mapping[str, Any]
    faults: tuple[Finding, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """What a check made of it: the plan and its candles, the whole document, what can vary, and the search space.

    `rate` is how many candles of it run a second, one trial after the other; None until it was timed.
    """

    asked: Asked
    checked: Checked
    document: Mapping[str, Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    space: Space | None = None
    rate: float | None = None

    @property
    def candles(self) -> int:
        """Return how many candles a trial has."""
        return 0 if self.checked.candles is None else len(self.checked.candles)

    @property
    def trials(self) -> int:
        """Return how many combinations would be tried."""
        return 0 if self.space is None else self.space.count

    @property
    def blocked(self) -> bool:
        """Return whether something forbids the run."""
        return self.checked.blocked or self.space is None


class StudyPanel(WorkingPanel):
    """A panel that tries many parameters beside the engine."""

    unit: ClassVar[str] = "trials"
    pausable: ClassVar[bool] = True
    verb: ClassVar[str] = "Run"
    empty: ClassVar[tuple[str, str]] = ("Nothing tried yet", "Choose parameters and press Run.")

    def __init__(self, board: Board) -> None:
        self._examine = Examiner(board)
        self._edited = True
        self._checking = False
        self._known: tuple[Any, Any] = (None, None)
        self._paced: tuple[str, float | None] = ("", None)
        super().__init__(board)

    def options(self) -> list[w.Widget]:
        """Return the rows of options of this study; called once."""
        return []

    def acts(self) -> list[w.Widget]:
        """Return the buttons beside that of the run; called once."""
        return []

    def result(self) -> w.Widget:
        """Return the place of the result; called once."""
        return w.VBox([])

    def chosen(self) -> Mapping[str, Any]:
        """Return the options as texts and values."""
        return {}

    @abstractmethod
    def judge(self, study: Study, findings: list[Finding]) -> Space | None:
        """Return the space of a study, and add what is wrong with its options to the findings."""

    @abstractmethod
    def say(self, study: Study) -> str:
        """Return in words what would run."""

    @abstractmethod
    def compute(self, study: Study, **hooks: Any) -> Any:
        """Return the result of a study; runs in a worker thread."""

    @abstractmethod
    def finished(self, study: Study, result: Any, work: Work) -> None:
        """Show a result."""

    def body(self) -> list[w.Widget]:
        """Make fields, ranges, options, progress and the place of the result."""
        self.setup = BacktestSetup(self.board)
        self.space = SpaceEditor()
        self.setup.changed = self.space.changed = self.touched
        self.findings = styled(w.HTML(), "sn-findings")
        self.start = btn(self.verb, "primary", "play", f"{self.verb}; the engine goes on", do=self.run)
        first, then = map(escape, self.empty)
        self.blank = styled(w.HTML(f"<strong>{first}</strong><span>{then}</span>"), "sn-empty")
        controls = styled(w.HBox([self.start, *self.acts(), self.running]), "sn-addrow")
        return [self.setup, self.space, *self.options(), self.findings, controls, self.blank, self.result()]

    def paint(self, view: EngineView) -> None:
        """Offer what can be run, check what was edited and show how far the work is."""
        self._view = view
        self.setup.paint(view)
        work = self._work
        if work is not None:
            self.show_progress(work)
        elif self._checking:
            self.say_waiting(self.findings)
        elif self._edited:
            self._check()

    def touched(self) -> None:
        """A field was edited: what was refused is past, the fields are checked at the next paint."""
        self.dismiss()
        self._edited = True

    def ask(self) -> Asked:
        """Return what the fields say."""
        assert self._view is not None
        faults: list[Finding] = []
        space = self.space.space(faults)
        return Asked(self.setup.draft(self._view), space, tuple(faults), self.chosen())

    def _check(self) -> None:
        """Check the fields without running anything."""
        self._edited, self._checking, asked = False, True, self.ask()

        def _shown(job: Any) -> None:
            self._checking = False
            if job.error is not None:
                self.refuse(job.error)
            elif not self._edited:
                self._judged(job.result())

        self.pump.track(Work(lambda **_: self._study(asked)), _shown)

    def _judged(self, study: Study) -> None:
        """Show what a check found: findings, what can vary, and how much would run."""
        self.setup.show(study.checked, quiet=True)
        self.space.offer(study.parameters)
        checked = study.checked if study.blocked else _with(study.checked, self.say(study))
        self.findings.value = (
            findings_html(checked, ready=not study.blocked) if study.checked.findings or not study.blocked else ""
        )

    def _study(self, asked: Asked) -> Study:
        """Return everything a run needs, and every finding; runs in a worker thread."""
        checked = self._examine(asked.draft)
        findings = [*checked.findings, *asked.faults]
        document, parameters = self._opened(checked)
        study = Study(asked, checked, document, parameters)
        space = None
        if asked.space and not asked.faults and document is not None:
            axes, wrong = axes_of(asked.space)
            findings += wrong
            if not wrong:
                study = Study(asked, checked, document, parameters, Space(axes))
                space = self.judge(study, findings)
        made = Study(asked, _found(checked, findings), document, parameters, space)
        return made if made.blocked else replace(made, rate=self._pace(made))

    def _pace(self, study: Study) -> float | None:
        """Return how many candles of a strategy run a second; a short run is timed once for each strategy."""
        key = repr(study.document)
        if self._paced[0] != key:
            self._paced = (key, timed(study.document or {}, study.checked.candles))
        return self._paced[1]

    def _opened(self, checked: Checked) -> tuple[Mapping[str, Any] | None, tuple[Parameter, ...]]:
        """Return the whole document of the plan, and what can vary in it; kept until the plan changes."""
        plan = checked.plan
        key = (repr(plan.strategy), tuple(sorted(plan.overrides.items())))
        if self._known[0] != key:
            try:
                config = build_config(plan.strategy, overrides=plan.overrides or None).config
            except ConfigError:
                return None, ()  # the check of the strategy says it
            self._known = (key, (config.to_document(), parameters_of(config)))
        found: tuple[Mapping[str, Any], tuple[Parameter, ...]] = self._known[1]
        return found

    def run(self) -> None:
        """Check what the fields describe and run it; a second run waits for the first to end."""
        if self._work is not None or self._view is None:
            return
        self.tell("")
        self._edited, asked = False, self.ask()

        def _call(**hooks: Any) -> tuple[Study, Any]:
            study = self._study(asked)
            if not asked.space and not study.checked.blocked:
                raise ConfigError("no_parameter", "no parameter varies", hint="choose one and press Add")
            return study, None if study.blocked else self.compute(study, **hooks)

        self.go(_call, self._ended)

    def _ended(self, found: tuple[Study, Any], work: Work) -> None:
        study, result = found
        self._judged(study)
        if result is not None:
            show(self.blank, False)
            self.finished(study, result, work)

    def _lock(self, on: bool) -> None:
        """Disable what must wait while work is done, and show its progress."""
        self.start.disabled = on
        super()._lock(on)


def timed(document: Mapping[str, Any], candles: Candles | None) -> float | None:
    """Return how many candles of a strategy the shared loop runs a second, None where it does not run at all."""
    if candles is None:
        return None
    part = candles[:PROBE]
    try:
        backtest(document, part, tier="scan")  # what is loaded once is no part of the time
        began = time.perf_counter()
        backtest(document, part, tier="scan")
    except StratnbError:
        return None
    return len(part) / max(time.perf_counter() - began, 1e-6)


def _found(checked: Checked, findings: list[Finding]) -> Checked:
    """Return a check with other findings, each once."""
    each = tuple({(one.severity, str(one)): one for one in findings}.values())
    return Checked(checked.plan, checked.candles, each, checked.summary, checked.series)


def _with(checked: Checked, words: str) -> Checked:
    """Return a check whose summary says more."""
    summary = f"{checked.summary}; {words}" if words else checked.summary
    return Checked(checked.plan, checked.candles, checked.findings, summary, checked.series)
