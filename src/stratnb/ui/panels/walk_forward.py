"""P12, the walk-forward: windows of training and test, what each chose, and what the choices made outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError, Finding
from stratnb.research.space import Space
from stratnb.research.windows import Span, Spans, windows_of
from stratnb.ui.controls import field, segment, styled
from stratnb.ui.format import age, count
from stratnb.ui.panels.search_options import SearchOptions
from stratnb.ui.panels.study import Study, StudyPanel
from stratnb.ui.panels.walk_forward_result import WalkForwardView
from stratnb.ui.work import Work

__all__ = ["WalkForwardPanel"]

LENGTHS = ("train", "test", "step", "purge", "embargo")

TIPS: Final = {
    "train": "The candles that each choice is made on",
    "test": "The candles behind them that it is traded on",
    "step": "From one test to the next, at least the length of a test",
    "purge": "Left out at the end of each training, for trades opened there reach on",
    "embargo": "Left out between a training and its test",
}


class WalkForwardPanel(StudyPanel):
    """Walk-forwards beside the engine: each training window is swept, its best is traded on the test behind it."""

    title: ClassVar[str] = "Walk-forward"
    verb: ClassVar[str] = "Walk forward"
    empty: ClassVar[tuple[str, str]] = (
        "No walk-forward yet",
        "Choose strategy, candles and what may vary, set the windows and press Walk forward.",
    )

    def options(self) -> list[w.Widget]:
        """Make the fields of windows and search."""
        self.search = SearchOptions(self.touched)
        self.mode = segment([("Rolling", "rolling"), ("Anchored", "anchored")], "rolling", "Where trainings begin")
        self.lengths = {
            "train": field("Training", "30d or a number of candles", value="30d"),
            "test": field("Test", "10d or a number of candles", value="10d"),
            "step": field("Test step", "as long as a test"),
            "purge": field("Purge", "0", value="0"),
            "embargo": field("Embargo", "0", value="0"),
        }
        for name, tip in TIPS.items():
            self.lengths[name].tooltip = tip
        for box in (self.mode, *self.lengths.values()):
            box.observe(lambda _: self.touched(), "value")
        rows = [self.mode, *self.lengths.values()]
        return [styled(w.HBox(rows), "sn-addrow"), self.search]

    def result(self) -> w.Widget:
        """Make the place of the result."""
        self.view = WalkForwardView()
        return self.view

    def chosen(self) -> Mapping[str, Any]:
        """Return windows and search options."""
        lengths = {name: box.value for name, box in self.lengths.items()}
        return {"mode": self.mode.value, **lengths, **self.search.chosen()}

    def judge(self, study: Study, findings: list[Finding]) -> Space | None:
        """Return the space of one training, None when windows or search are wrong."""
        assert study.space is not None
        space = self.search.judge(study.space, study.asked.options, findings, study.candles)
        candles = study.checked.candles
        if candles is None:
            return None
        try:
            windows_of(candles, Spans(**_windows(study.asked.options)))
        except ConfigError as error:
            findings += error.findings or (Finding("", error.code, error.message, error.value, error.hint),)
            return None
        return space

    def say(self, study: Study) -> str:
        """Return how many windows and trials there are."""
        assert study.checked.candles is not None
        windows = windows_of(study.checked.candles, Spans(**_windows(study.asked.options)))
        each = f"{count(len(windows))} windows of {count(study.trials)} combinations"
        words = f"{each}, {count(len(windows) * study.trials)} trials and {count(len(windows))} tests"
        trained = study.trials * sum(window.train[1] - window.train[0] for window in windows)
        return f"{words}, about {age(trained / study.rate)} by a timed trial" if study.rate else words

    def compute(self, study: Study, **hooks: Any) -> Any:
        """Return the walk-forward of a study."""
        from stratnb.research.walk_forward import walk_forward

        options, plan = study.asked.options, study.checked.plan
        return walk_forward(
            study.document,  # type: ignore[arg-type]
            study.checked.candles,  # type: ignore[arg-type]
            study.asked.space,
            cash=plan.cash,
            **_windows(options),
            **self.search.arguments(options),
            **hooks,
        )

    def finished(self, study: Study, result: Any, work: Work) -> None:
        """Show a walk-forward."""
        self.view.show(result)
        self.frame.note(study.checked.plan.title)
        if not result.complete:
            self.tell("Canceled: the windows that were run are shown.")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per window."""
        return pd.DataFrame() if self.view.found is None else self.view.found.frame


def _windows(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the windows' arguments; a plain number is a number of candles."""
    lengths: dict[str, Span | None] = {name: _length(str(options[name])) for name in LENGTHS if name != "step"}
    step = str(options["step"]).strip()
    return {"mode": options["mode"], **lengths, "step": _length(step) if step else None}


def _length(text: str) -> Span:
    text = text.strip() or "0"
    return int(text) if text.isdigit() else text
