"""The decision inspector: signs follow the side, and every analyzer says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sample_board import SampleBoard
from stratnb.kernels.layout import Z_ENTER, Z_LOW_SCORE
from stratnb.ui.panels.decision import DecisionPanel
from stratnb.ui.panels.decision_rows import analyzer_rows, check_rows, link_rows, verdict
from stratnb.ui.panels.strategy_rows import row
from stratnb.ui.pump import pump
from stratnb.view import CheckView, DecisionView, LinkView


def _decision(direction: int, contribution: float, score: float) -> DecisionView:
    board = SampleBoard(1)
    made = board.decision(board.strategy_id(0))
    assert made is not None
    first = replace(made.analyzers[0], contribution=contribution, ready=True, explanation="Because of a level.")
    return replace(made, direction=direction, score=score, score_needed=0.25, analyzers=(first,), action="SKIP")


@pytest.mark.parametrize(
    ("direction", "contribution", "score", "shown", "need", "why"),
    [
        (1, 0.4, 0.4, "+0.400", "≥ 0.250", "Score +0.400 ≥ 0.250"),
        (-1, -0.4, 0.4, "−0.400", "≤ −0.250", "Score −0.400 ≤ −0.250"),
        (0, -0.1, 0.1, "−0.100", "≤ −0.250", "Score −0.100, needs ≤ −0.250"),
        (0, 0.0, 0.0, "0.000", "≥ 0.250", "Score 0.000, needs ≥ 0.250"),
    ],
)
def test_the_sum_and_the_verdict_have_the_sign_of_their_side(
    direction: int, contribution: float, score: float, shown: str, need: str, why: str
) -> None:
    decision = _decision(direction, contribution, score)
    total = analyzer_rows(decision)[-1]
    assert (total["k"]["t"], total["c"]["t"]) == (shown, need)
    assert total["k"]["div"] == pytest.approx(-score if shown.startswith("−") else score)
    assert verdict(decision)[3].startswith(why)


def test_an_analyzer_that_is_ready_is_followed_by_its_explanation() -> None:
    rows = analyzer_rows(_decision(1, 0.4, 0.4))
    assert [line["id"] for line in rows] == ["0", "0-why", "sum"]
    assert rows[1]["span"] == "Because of a level."


def test_a_strategy_is_evicted_only_after_it_has_decided_something() -> None:
    plain = SampleBoard(1).view().strategies[0]
    out = replace(plain, cached=False, pinned=False)
    view = SampleBoard(1).view()
    words = [row(replace(out, last_decision_ms=at), view, named=False)["slot"]["chips"][0]["t"] for at in (None, 1)]
    assert words == ["Not cached", "Evicted"]


def test_a_check_says_what_it_did_and_shows_why_below_it() -> None:
    checks = [
        CheckView("a", True, "1", "≥ 1", "fine"),
        CheckView("b", True, "1", "≥ 2", "too few", "Weakened ×0.85"),
        CheckView("c", False, "9", "≤ 2", "too many"),
        CheckView("d", True, "", "", "", "Step"),
    ]
    rows = check_rows(checks)
    assert [row["id"] for row in rows] == ["0", "1", "1-why", "2", "2-why", "3"]
    states = [(row["s"]["dot"], row["s"]["t"]) for row in rows if "s" in row]
    assert states == [("ok", "Pass"), ("warn", "Weakened ×0.85"), ("err", "Fail"), ("mute", "Step")]
    assert [row["id"] for row in check_rows(checks, told=True)] == ["0", "0-why", "1", "1-why", "2", "2-why", "3"]


def test_a_fill_goes_to_its_candle() -> None:
    board = SampleBoard(1)
    made = board.decision(board.strategy_id(0))
    assert made is not None
    when = made.open_time_ms - 300_000 + 42
    fill = LinkView("fill", "3", "stop", -1, 0.5, 64_000.0, -12.5, when)
    board.decision = lambda *_: replace(made, links=(fill,))  # type: ignore[method-assign]
    panel = DecisionPanel(board)
    shown, more = panel.links.rows
    assert (shown["n"]["t"], shown["p"]["t"]) == ("Fill", "▼ −12.50")
    assert more["span"].startswith("stop · 0.5 at 64,000.00 · ")
    assert shown["id"] == link_rows([fill], 2, 60_000)[0]["id"]
    panel.links.on_act("go", shown["id"])
    assert panel.selection.open_time_ms == when - 42


def test_the_arrows_go_through_the_decisions_with_the_chosen_reason() -> None:
    board = SampleBoard(1)
    panel = DecisionPanel(board)
    rows = board.decisions(board.strategy_id(0))
    entered = rows[rows[:, 3] == Z_ENTER, 0].tolist()
    assert [label for label, _ in panel.reason.options] == ["Any reason", "enter", "low score"]
    panel.reason.value = Z_ENTER
    for time_ms in entered[:-4:-1]:
        panel.older.click()
        assert panel.selection.open_time_ms == time_ms
    panel.newer.click()
    assert panel.selection.open_time_ms == entered[-2]
    panel.reason.value = Z_LOW_SCORE
    panel.newer.click()
    assert panel.selection.open_time_ms == entered[-2] + board.step_ms


def test_a_typed_time_chooses_the_candle_that_holds_it_and_an_undecided_one_says_why() -> None:
    board = SampleBoard(1)
    panel = DecisionPanel(board)
    panel.when.value = "2030-01-01 10:02"
    pump().paint_now()
    assert "No decision" in panel.verdict.value
    assert "Gap: 3 candles are missing." in panel.verdict.value


def test_what_if_shows_the_difference_and_is_put_back() -> None:
    board = SampleBoard(1)
    panel = DecisionPanel(board)
    ask = panel.what_if
    assert not ask.is_open
    panel.ask.value = True
    pump().paint_now()
    assert ask.is_open and ask.changes() == {} and ask.reset.disabled
    ask.editors["entry"].fields["min_score"].box.value = "0.05"  # type: ignore[attr-defined]
    ask.editors["analyzers[0]"].box.value = "0.9"  # type: ignore[attr-defined]
    ask.editors["filters.blind_zone"].fields["enabled"].box.value = False  # type: ignore[attr-defined]
    pump().paint_now()
    changed = {"entry.min_score": 0.05, "analyzers[0].weight": 0.9, "filters.blind_zone.enabled": False}
    assert ask.changes() == changed
    assert "30 new" in ask.summary.value and "&quot;entry.min_score&quot;: 0.05" in ask.details.value
    assert [line["d"] for line in ask.reasons.rows] == ["−30", "+30"]
    assert not board.submitted
    ask.reset.click()
    pump().paint_now()
    assert ask.changes() == {} and "0 new" in ask.summary.value
