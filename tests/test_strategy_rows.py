"""The cells of the strategy table that say how a strategy is: state, health, breaker, Sharpe ratio."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sample_board import SampleBoard
from stratnb.ui.panels.strategy_rows import breaker, columns, health, row, sharpe
from stratnb.view import EngineView, StrategyView


@pytest.fixture
def view() -> EngineView:
    return SampleBoard().view()


@pytest.fixture
def one(view: EngineView) -> StrategyView:
    return view.strategies[0]


def test_every_column_has_its_cell(view: EngineView, one: StrategyView) -> None:
    keys = {column["key"] for column in columns(every=True)}
    assert {"health", "breaker", "sharpe"} <= keys
    assert keys <= set(row(one, view, named=False))


@pytest.mark.parametrize(
    ("status", "kind"), [("HEALTHY", "ok"), ("DEGRADED", "warn"), ("UNHEALTHY", "err"), ("UNKNOWN", "mute")]
)
def test_health_is_a_dot_beside_its_word(one: StrategyView, status: str, kind: str) -> None:
    cell = health(replace(one, health=status))
    assert (cell["dot"], cell["t"]) == (kind, status.capitalize())


def test_every_reason_stands_before_its_advice(one: StrategyView) -> None:
    cell = health(replace(one, health="UNHEALTHY", health_reasons=("A.", "B."), health_advice=("Do a.", "Do b.")))
    assert cell["title"] == "A. Do a. B. Do b."
    assert cell["sub"] == "and 1 more"


def test_an_open_breaker_says_when_it_tries_again(one: StrategyView) -> None:
    assert breaker(one, 0) == {"dot": "ok", "t": "Closed"}
    assert breaker(replace(one, breaker_failures=2), 0)["sub"] == "2 failed"
    cell = breaker(replace(one, breaker="open", next_probe_ms=90_000), 60_000)
    assert (cell["dot"], cell["t"], cell["sub"]) == ("err", "Open", "next try in 30 s")
    assert breaker(replace(one, breaker="half_open"), 0)["dot"] == "warn"


def test_a_sharpe_ratio_bears_its_number_of_days(one: StrategyView) -> None:
    assert sharpe(replace(one, sharpe=1.234, sharpe_days=40)) == {"t": "1.23 (40)", "n": 1.234}
    assert "29 days" in sharpe(replace(one, sharpe=1.0, sharpe_days=29))["title"]
    assert sharpe(replace(one, sharpe=None, sharpe_days=1))["sub"] == "under 2 days"
    assert sharpe(replace(one, sharpe=None, sharpe_days=9))["sub"] == "equal returns"


def test_one_that_failed_is_suspended_and_may_be_tried_at_once(view: EngineView, one: StrategyView) -> None:
    made = row(replace(one, state="suspended", error="ValueError: no", paused=False), view, named=False)
    assert (made["state"]["t"], made["state"]["sub"]) == ("Suspended", "ValueError")
    first = made["act"]["acts"][0]
    assert (first["a"], first["t"]) == ("resume", "Retry")
