"""P11, the sweep: many variants of a strategy on the same candles, and what the best of them is worth."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError, Finding
from stratnb.research.batch import cores
from stratnb.research.space import Space
from stratnb.research.sweep_memory import memory_of
from stratnb.strategy.documents import build_config
from stratnb.strategy.paths import assign
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.format import age, count
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.backtest_checks import Plan
from stratnb.ui.panels.backtest_runs import Run
from stratnb.ui.panels.download import download
from stratnb.ui.panels.search_options import SearchOptions
from stratnb.ui.panels.study import Study, StudyPanel
from stratnb.ui.panels.sweep_result import SweepView
from stratnb.ui.panels.sweep_rows import value_text
from stratnb.ui.selection import selection
from stratnb.ui.work import Work

__all__ = ["SweepPanel", "varied"]


class SweepPanel(StudyPanel):
    """Sweeps beside the engine; after each, its best is judged against the number of trials and against chance."""

    title: ClassVar[str] = "Sweep"
    verb: ClassVar[str] = "Sweep"
    empty: ClassVar[tuple[str, str]] = (
        "No sweep yet",
        "Choose strategy, candles and what may vary; then press Sweep.",
    )

    def options(self) -> list[w.Widget]:
        """Make the fields of the search."""
        self.search = SearchOptions(self.touched)
        self._rate: float | None = None
        self._study_shown: Study | None = None
        return [self.search]

    def acts(self) -> list[w.Widget]:
        """Make the button that goes on with a canceled sweep."""
        self.more = styled(btn("Go on", tip="Run the trials that were left out", do=self.go_on), "sn-off")
        return [self.more]

    def _lock(self, on: bool) -> None:
        """Disable the button that goes on, too."""
        self.more.disabled = on
        super()._lock(on)

    def result(self) -> w.Widget:
        """Make the place of the result."""
        self.view = SweepView()
        self.view.on_open, self.view.on_document = self.open_trial, self.new_document
        return self.view

    def chosen(self) -> Mapping[str, Any]:
        """Return the search options."""
        return self.search.chosen()

    def judge(self, study: Study, findings: list[Finding]) -> Space | None:
        """Return the space by method, trials and seed."""
        assert study.space is not None
        return self.search.judge(study.space, study.asked.options, findings, study.candles)

    def say(self, study: Study) -> str:
        """Return how many trials there are, how much memory they take, and how long."""
        assert study.space is not None
        sides = " × ".join(count(side) for side in study.space.shape) if not study.space.is_continuous else ""
        words = f"{count(study.trials)} trials" + (f" of {sides} combinations" if sides else "")
        threads = self.search.arguments(study.asked.options).get("threads") or cores()
        memory = memory_of(study.trials, study.candles, threads) / 1e6
        words += f", at most {count(round(memory))} MB"
        rate, by = (self._rate, "the rate of the last sweep") if self._rate else (study.rate, "a timed trial")
        return f"{words}, about {age(study.trials * study.candles / rate)} by {by}" if rate else words

    def compute(self, study: Study, **hooks: Any) -> Any:
        """Return the sweep of a study."""
        from stratnb.research.sweep import sweep

        arguments = self.search.arguments(study.asked.options)
        return sweep(
            study.document,  # type: ignore[arg-type]
            study.checked.candles,  # type: ignore[arg-type]
            study.asked.space,
            cash=study.checked.plan.cash,
            **arguments,
            **hooks,
        )

    def finished(self, study: Study, result: Any, work: Work) -> None:
        """Show a sweep, and judge its best."""
        self._rate = None if work.rate is None else work.rate * study.candles
        self._study_shown = study
        self.view.show(result)
        self.frame.note(study.checked.plan.title)
        if not result.complete:
            self.tell("Canceled: the trials that were run are shown and kept; Go on runs the others.")
        show(self.more, not result.complete)
        if result.best is not None:
            self._judge_best(result)

    def go_on(self) -> None:
        """Run the trials that a canceled sweep left out."""
        study, swept = self._study_shown, self.view.sweep
        if study is not None and swept is not None and not swept.complete:
            self.tell("")
            self.go(swept.resume, lambda result, work: self.finished(study, result, work))

    def _judge_best(self, result: Any) -> None:
        from stratnb.research.honesty import verdict

        def _shown(found: Any, work: Work) -> None:
            if self.view.sweep is result:
                self.view.judge(found)

        self.go(lambda **hooks: verdict(result, **hooks), _shown)

    def open_trial(self, trial: int) -> None:
        """Run a trial once more and show it in the backtest panel of this board."""
        study, swept = self._study_shown, self.view.sweep
        if study is None or swept is None:
            return
        values = self._values(trial)

        def _shown(result: Any, work: Work) -> None:
            plan = study.checked.plan
            words = ", ".join(f"{path.rsplit('.', 1)[-1]} {value_text(value)}" for path, value in values.items())
            title = f"{plan.title}, {words}"
            document = varied(study.document or {}, values)
            run = Run(
                0, Plan(title, document, plan.cash, {}), study.checked.candles, result, None, dict(result.figures)
            )
            panel = BacktestPanel(self.board)
            panel.add(run)
            self.tell(f"Trial {trial} is run {panel.runs[-1].number} of the backtest panel.")
            selection(self.board).turn("Backtest")

        self.go(lambda **_: swept.backtest(trial), _shown)

    def _values(self, trial: int) -> dict[str, Any]:
        """Return the varied values of a trial by path."""
        row = self.view.frame.loc[trial]
        return {path: _native(row[path]) for path in self.view.paths}

    def new_document(self, name: str, trial: int) -> None:
        """Offer a trial as a document of its own, under a new name."""
        study = self._study_shown
        if study is None or study.document is None:
            return
        self.dismiss()
        try:
            if not name.strip():
                raise ConfigError("missing", "the new document has no name", hint="write one, such as levels-fast")
            if name.strip() == study.document.get("name"):
                words = f"the new document has the name of its source, {name.strip()!r}"
                raise ConfigError("name_taken", words, value=name, hint="give it another one")
            document = varied(study.document, {**self._values(trial), "name": name.strip()})
            build_config(document)
        except ConfigError as error:
            self.refuse(error)
            return
        content = json.dumps(document, indent=1, ensure_ascii=False)
        self.view.offer(download(f"{name.strip()}.json", content, "application/json"))
        self.tell(f"Trial {trial} as {name.strip()}.json: save it with the link, or add it where an engine runs.")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per trial."""
        return self.view.frame.reset_index()


def varied(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a document with values at paths; a missing place is a `ConfigError("unknown_path")`."""
    made = copy.deepcopy(dict(document))
    for path, value in values.items():
        assign(made, path, value)
    return made


def _native(value: Any) -> Any:
    """Return a value of a frame as Python's."""
    return value.item() if hasattr(value, "item") else value
