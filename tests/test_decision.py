"""The decision inspector: signs follow the side, and every analyzer says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sample_board import SampleBoard
from stratnb.ui.panels.decision import analyzer_rows, verdict
from stratnb.ui.panels.strategies import row
from stratnb.view import DecisionView


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
    words = [row(replace(out, last_decision_ms=at), now_ms=0)["slot"]["chips"][0]["t"] for at in (None, 1)]
    assert words == ["Not cached", "Evicted"]
