"""P11 and P12 with real sweeps: ranges from the schema, checks before a run, cancel, the best judged, windows."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratnb.errors import Refused
from stratnb.research.honesty import verdict
from stratnb.research.space import Range
from stratnb.research.sweep import sweep
from stratnb.strategy.documents import build_config
from stratnb.ui.dashboards import Dashboard
from stratnb.ui.format import share
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.space_parameters import parameters_of
from stratnb.ui.panels.sweep import SweepPanel, varied
from stratnb.ui.panels.sweep_figures import ACROSS, STRONGEST, UP, heat_figure, strength
from stratnb.ui.panels.sweep_rows import short, trial_table
from stratnb.ui.panels.walk_forward import WalkForwardPanel
from stratnb.ui.pump import pump
from stratnb.ui.research_board import ResearchBoard
from stratnb.ui.research_page import research
from stratnb.ui.work import Work

STOP, SCORE = "exits.stop_loss.multiple", "entry.min_score"


def settle(panel: Any) -> None:
    """Paint until no work is left."""
    for _ in range(40):
        pump().paint_now()
        for job, _done in list(pump()._jobs):
            if isinstance(job, Work):  # other tests leave jobs of their boards
                job.join(30)
        if panel._work is None and not panel._checking and not panel._edited:
            return
    raise AssertionError("the panel never came to rest")


@pytest.fixture
def board() -> ResearchBoard:
    return ResearchBoard()


def opened(kind: Any, board: ResearchBoard, many: str = "6000") -> Any:
    panel = kind(board)
    panel.setup.many.value = many
    panel.space.changed = panel.setup.changed = panel.touched
    settle(panel)
    return panel


@pytest.fixture
def panel(board: ResearchBoard) -> Iterator[SweepPanel]:
    """Return a sweep panel on synthetic candles."""
    made = opened(SweepPanel, board)
    yield made
    made.close()


def test_every_parameter_of_every_shipped_strategy_is_in_its_document() -> None:
    from stratnb.strategy.documents import names
    from stratnb.strategy.paths import lookup

    for name in names():
        config = build_config(name).config
        found = parameters_of(config)
        document = config.to_document()
        assert found and all(lookup(document, each.path) == each.value for each in found)
        for each in found:
            if not each.choices:
                start, stop, step = each.start
                assert start <= stop and step > 0
                assert (each.low is None or start >= each.low) and (each.high is None or stop <= each.high)


def test_a_sweep_shows_what_python_gives(panel: SweepPanel) -> None:
    panel.space.vary(STOP, ("1", "2", "0.5"))
    panel.space.vary(SCORE, ("0.2", "0.3", "0.1"))
    settle(panel)
    assert "6 trials of 3 × 2 combinations" in panel.findings.value
    panel.start.click()
    settle(panel)
    swept = panel.view.sweep
    space = {STOP: Range(1.0, 2.0, step=0.5), SCORE: Range(0.2, 0.3, step=0.1)}
    candles = swept.backtest().candles
    expected = sweep("simple-levels", candles, space, ledger=False)
    pd.testing.assert_frame_equal(panel.to_frame(), expected.frame)
    assert panel.view.trials.rows[0]["id"] == str(expected.best_row["trial"])  # type: ignore[index]
    words = {row["id"]: row["value"]["t"] for row in panel.view.verdict.rows}
    assert words["deflated Sharpe ratio"] == share(verdict(swept, random=0).deflated, 2)
    heat = panel.view.map._heat.ops[0]["data"]
    assert np.allclose(np.sort(heat["v"]), np.sort(expected.frame["sharpe"]), equal_nan=True)


def test_a_trial_opens_in_the_backtest_panel_and_becomes_a_document(panel: SweepPanel, board: ResearchBoard) -> None:
    panel.space.vary(STOP, ("1", "2", "1"))
    panel.start.click()
    settle(panel)
    panel.view.run_chosen.click()
    settle(panel)
    other = BacktestPanel(board)
    assert len(other.runs) == 1 and "run 1 of the backtest panel" in panel.outcome.value
    values = panel.view.frame.loc[panel.view.best_trial]
    assert other.runs[0].figures["trades"] == values["trades"]
    panel.view.document.click()
    assert "has no name" in panel._said.value
    panel.view.name.value = "levels-tuned"
    panel.view.document.click()
    found = re.search(r'base64,([^"]*)', panel.view.link.value)
    assert found is not None
    document = json.loads(base64.b64decode(found[1]))
    assert document["name"] == "levels-tuned" and document["exits"]["stop_loss"]["multiple"] == values[STOP]
    other.close()


def test_wrong_ranges_are_told_before_anything_runs(panel: SweepPanel) -> None:
    panel.start.click()
    settle(panel)
    assert "no parameter varies" in panel._said.value
    panel.space.vary(STOP, ("60", "2", "x"))
    settle(panel)
    assert "is not a number" in panel.findings.value
    panel.space.rows[0].boxes[2].value = "1"
    settle(panel)
    assert "is outside 0 to 50" in panel.findings.value and panel.view.sweep is None
    panel.space.rows[0].boxes[0].value = "3"
    settle(panel)
    assert "To is below From" in panel.findings.value
    for box, value in zip(panel.space.rows[0].boxes, ("0", "50", "0.0001"), strict=True):
        box.value = value
    settle(panel)
    assert "500,001 combinations are more than 100,000" in panel.findings.value


def test_the_search_says_what_it_takes_and_keeps_to_its_memory(panel: SweepPanel) -> None:
    panel.space.vary(STOP, ("0", "50", "0.001"))
    settle(panel)
    told = re.search(
        r"50,001 trials of 50,001 combinations, at most (\d+) MB, about [\d.]+ \w+ by a timed", panel.findings.value
    )
    assert told is not None
    panel.search.memory.value = str(int(told[1]) - 1)
    settle(panel)
    assert "50,001 trials on 6,000 candles take about" in panel.findings.value
    assert "raise Memory" in panel.findings.value and "Ready" not in panel.findings.value
    for box, wrong, words in (
        (panel.search.memory, "much", "Memory &#x27;much&#x27; is not a number"),
        (panel.search.least, "-1", "Least trades -1 is outside"),
    ):
        before, box.value = box.value, wrong
        settle(panel)
        assert words in panel.findings.value
        box.value = before
    panel.search.memory.value = ""
    settle(panel)
    assert "Ready" in panel.findings.value, "without a limit"


def test_the_best_has_the_least_trades_and_others_say_why_not(panel: SweepPanel) -> None:
    panel.space.vary(SCORE, ("0.2", "0.6", "0.1"))
    panel.start.click()
    settle(panel)
    frame = panel.view.frame
    panel.search.least.value = str(int(frame["trades"].max()))
    panel.start.click()
    settle(panel)
    assert panel.view.best_trial == frame["trades"].idxmax()
    notes = {int(row["id"]): row["error"] for row in panel.view.trials.rows}
    most = int(frame["trades"].max())
    assert all((notes[trial] == f"under {most} trades") == (frame["trades"][trial] < most) for trial in frame.index)
    panel.search.least.value = str(most + 1)
    panel.start.click()
    settle(panel)
    assert panel.view.best_trial is None and f"and {most + 1} trades" in panel.view.best_head.value
    assert panel.view.run_chosen.disabled


def test_cells_of_the_map_are_best_median_or_those_of_the_choice(panel: SweepPanel) -> None:
    third = (
        "exits.time_exit.max_candles" if "time_exit" in build_config("simple-levels").config.exits else "capital.amount"
    )
    panel.space.vary(STOP, ("1", "2", "0.5"))
    panel.space.vary(SCORE, ("0.2", "0.3", "0.1"))
    values = ("0.2", "0.4", "0.2") if third == "capital.amount" else ("20", "40", "20")
    panel.space.vary(third, values)
    panel.start.click()
    settle(panel)
    view, frame = panel.view, panel.view.frame
    view.map.figure.value = "pnl" if "pnl" in dict(view.map.figure.options).values() else "total_return"
    name = view.map.figure.value

    def cells() -> Any:
        return np.reshape(view.map._heat.ops[0]["data"]["v"], (2, 3))

    for way in ("max", "median"):
        view.map.way.value = "best" if way == "max" else way
        table = frame.pivot_table(index=SCORE, columns=STOP, values=name, aggfunc=way)
        np.testing.assert_array_equal(cells(), table.to_numpy())
    view.map.way.value = "slice"
    for trial in (frame.index[0], frame.index[-1]):
        view._chosen("open", str(trial))
        alike = frame[frame[third] == frame[third][trial]]
        np.testing.assert_array_equal(cells(), alike.pivot(index=SCORE, columns=STOP, values=name).to_numpy())
    own = cells()
    view.map.view.value = "plateau"
    np.testing.assert_allclose(cells()[:, 1], own.mean()), "the middle has all others as neighbors"


def test_failed_trials_are_listed_with_their_reason(board: ResearchBoard) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "sharpe": [1.0, np.nan, 2.0], "trades": [5.0, np.nan, 6.0]})
    frame["error"] = ["", "the block says no", ""]
    _, rows = trial_table(frame, ["a"], "sharpe", 2)
    assert [row["id"] for row in rows] == ["2", "0", "1"] and rows[-1]["error"]["t"] == "the block says no"
    _, failed = trial_table(frame, ["a"], "sharpe", 2, failed=True)
    assert [row["id"] for row in failed] == ["1"]


@pytest.mark.parametrize(
    "values", [[-8.0, -6.0, -7.0], [1.0, 3.0, 2.0], [-1.0, 2.0, 0.5], [2.0, 2.0, 2.0], [np.nan] * 3]
)
def test_the_strength_of_cells_tells_near_values_apart(values: list[float]) -> None:
    found = strength(np.array(values))
    known = ~np.isnan(values)
    assert (found[~known] == 0.0).all() and (found[known] > 0.0).all()
    order = np.argsort(np.abs(np.array(values)[known]))
    assert (np.diff(found[known][order]) >= 0.0).all()
    if known.all() and len(set(np.abs(values))) == 3:
        assert found.max() == STRONGEST and len(set(found)) == 3


@pytest.mark.parametrize("many", [1, 7, 71, 500])
def test_the_labels_of_a_map_fit_beside_each_other(many: int) -> None:
    labels = [f"{1.0 + 0.002 * k:.6g}" for k in range(many)]
    plot, _ = heat_figure(labels, labels, ("a", "b"), [[""] * many] * many, signed=True)
    for axis, room in ((plot.xaxis, ACROSS), (plot.yaxis, UP)):
        shown = [labels[k] for k in axis[0].ticker.ticks]
        size = sum(len(label) for label in shown) if room == ACROSS else len(shown)
        assert 0 < size <= max(room, len(labels[0]))


def test_a_canceled_sweep_keeps_what_is_done_and_goes_on(panel: SweepPanel) -> None:
    panel.space.vary(STOP, ("1", "3", "0.05"))
    panel.search.threads.value = "1"
    settle(panel)
    panel.start.click()
    panel.hold()
    assert panel.pause.description == "Resume" and panel._work is not None and panel._work.held
    panel.cancel_run()
    settle(panel)
    swept = panel.view.sweep
    if swept is not None and not swept.complete:
        assert "Canceled" in panel.outcome.value
        panel.more.click()
        settle(panel)
        assert panel.view.sweep.complete and panel.view.sweep.count == 41


def test_a_walk_forward_shows_windows_choice_and_the_joined_curve(board: ResearchBoard) -> None:
    panel = opened(WalkForwardPanel, board)
    panel.space.vary(STOP, ("1", "2", "1"))
    panel.lengths["train"].value, panel.lengths["test"].value = "2000", "1000"
    settle(panel)
    assert "4 windows of 2 combinations" in panel.findings.value
    panel.start.click()
    settle(panel)
    found = panel.view.found
    assert found is not None and found.complete and len(panel.view.table.rows) == 4 == len(panel.to_frame())
    bars = {op["model"]: op["data"] for op in panel.view._windows.ops}
    assert len(bars["train"]["x"]) == len(bars["test"]["x"]) == 4 and not len(bars["waiting"]["x"])
    assert [row["id"] for row in panel.view.moves.rows] == [STOP]
    shown = {row["id"]: row["v"] for row in panel.view.figures.rows}
    assert shown["overfitting"]["t"] == "n/a" and found.overfitting is None, "2,000 candles are 7 days"
    panel.lengths["step"].value = "2000"
    settle(panel)
    assert "2 windows of 2 combinations" in panel.findings.value
    panel.lengths["step"].value = "900"
    settle(panel)
    assert "is shorter than test" in panel.findings.value
    panel.lengths["train"].value = "90d"
    settle(panel)
    assert "■ Error" in panel.findings.value
    panel.close()


def test_the_research_page_has_no_engine_and_refuses_every_operation(board: ResearchBoard) -> None:
    assert research().children
    with pytest.raises(Refused, match="has no engine"):
        board.submit("start")
    assert board.view().feed is None and not board.view().markets
    assert Dashboard.__init__.__kwdefaults__["foot"].startswith("paper")


def test_paths_are_shortened_until_they_differ() -> None:
    assert short("a.b.c", ["a.b.c", "a.d.c"]) == "b.c"
    assert varied({"a": {"b": [1, 2]}}, {"a.b[1]": 5}) == {"a": {"b": [1, 5]}}
