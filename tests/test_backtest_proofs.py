"""The checks beside a backtest: what leaked is a row with its candle, a difference has causes that add up."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sample_board import SampleBoard
from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.parity_explain import explain
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.lookahead import Leak, Lookahead, lookahead
from stratnb.ui.panels import backtest_proof_rows as rows
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.backtest_checks import Plan
from stratnb.ui.panels.backtest_proofs import FILE, UNTOLD, Proofs
from stratnb.ui.panels.backtest_record import record_of_board, record_of_file
from stratnb.ui.panels.backtest_runs import Run
from stratnb.ui.pump import pump
from stratnb.ui.research_board import ResearchBoard

COSTS = {"execution.simulation.taker_fee": 0.002}


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], candles=2_000, seed=3)[0]


@pytest.fixture(scope="module")
def result(candles: Candles) -> Backtest:
    return backtest("simple-levels", candles)


@pytest.fixture
def panel(result: Backtest, candles: Candles) -> Iterator[BacktestPanel]:
    made = BacktestPanel(ResearchBoard())
    made.add(Run(0, Plan("levels", "simple-levels", 10_000.0, {}), candles, result, figures=dict(result.figures)))
    pump().paint_now()
    yield made
    made.close()


def settle(panel: BacktestPanel) -> None:
    for _ in range(20):
        if panel._work is not None:
            panel._work.join(60)
        pump().paint_now()
        if panel._work is None:
            return
    raise AssertionError("the panel never came to rest")


def words(panel: BacktestPanel, name: str) -> str:
    return str(panel.proofs.told[name].value)


def is_shown(widget: Any) -> bool:
    return "sn-off" not in widget._dom_classes


def test_before_a_check_each_says_what_it_does(panel: BacktestPanel) -> None:
    for name, told in UNTOLD.items():
        assert told in words(panel, name)
    assert not any(map(is_shown, (panel.proofs.leaks, panel.proofs.compared, panel.proofs.place)))


def test_the_look_ahead_of_a_run_is_that_of_the_call(panel: BacktestPanel, candles: Candles) -> None:
    panel.proofs.lookahead.click()
    assert panel.proofs.place.children == (panel.running,) and panel.proofs.parity.disabled
    settle(panel)
    found = lookahead("simple-levels", candles)
    assert f"{found.cuts:,} cuts of 2,000 candles" in words(panel, "lookahead") and found.ok
    assert "● No look-ahead" in words(panel, "lookahead")
    assert not panel.proofs.place.children and not panel.proofs.parity.disabled


def test_a_check_can_be_canceled_and_another_run_forgets_the_answers(panel: BacktestPanel) -> None:
    panel.proofs.lookahead.click()
    panel.cancel_run()
    settle(panel)
    assert "the proof ended after" in words(panel, "lookahead") + panel.outcome.value
    panel.proofs.parity.click()
    settle(panel)
    assert "● Parity" in words(panel, "parity")
    panel._show(replace(panel.runs[0], number=7))
    assert UNTOLD["parity"] in words(panel, "parity")


def test_both_proofs_end_when_they_are_told_to(candles: Candles) -> None:
    dear = backtest("simple-levels", candles, overrides=COSTS)
    for call in (
        lambda: lookahead("simple-levels", candles, cancelled=lambda: True),
        lambda: explain(dear, candles, "simple-levels", cancelled=lambda: True),
    ):
        with pytest.raises(Refused) as caught:
            call()
        assert caught.value.code == "canceled"


def test_each_leak_is_a_row_with_its_candle() -> None:
    leaks = (
        Leak(40, 1_700_000_000_000, "an.peek.score", 1.5, -2.25, "prefix", 41),
        Leak(90, 1_700_003_000_000, "entry", 1.0, float("nan"), "altered", 91),
    )
    view = Proofs()
    view.judge_lookahead(Lookahead("peek", "BTC/USDT", 200, 10, 21, 4, leaks, ("closes (200 values) in analyzer 'x'",)))
    shown = view.leaks.rows
    assert [(row["candle"]["n"], row["what"]) for row in shown] == [(40, "an.peek.score"), (90, "entry")]
    assert shown[0]["replayed"]["t"] == "−2.25" and shown[1]["replayed"]["t"] == "nothing"
    assert "■ Looks ahead" in view.told["lookahead"].value and "first at candle 40" in view.told["lookahead"].value
    assert "beside its inputs" in view.told["lookahead"].value and is_shown(view.leaks)
    view.clear()
    assert not is_shown(view.leaks)


def test_a_saved_run_is_explained_by_its_causes(panel: BacktestPanel, candles: Candles, tmp_path: Path) -> None:
    dear = backtest("simple-levels", candles, overrides=COSTS)
    path = dear.save(tmp_path / "dear.json")
    panel.proofs.path.value = str(path)
    panel.proofs.explain.click()
    settle(panel)
    found = explain(record_of_file(str(path)), candles, "simple-levels")
    assert "■ Different" in words(panel, "explain") and is_shown(panel.proofs.compared)
    shown = {row["id"]: row for row in panel.proofs.causes.rows}
    assert set(shown) == set(found.causes) and "fee" in shown
    assert sum(row["share"]["n"] for row in shown.values()) == pytest.approx(sum(map(abs, found.causes.values())))
    assert sum(row["share"]["bar"] for row in shown.values()) == pytest.approx(1.0)
    assert len(panel.proofs.differences.rows) == len(found.differences)
    path = backtest("simple-levels", candles).save(tmp_path / "same.json")
    panel.proofs.path.value = str(path)
    panel.proofs.explain.click()
    settle(panel)
    assert "● Identical" in words(panel, "explain") and not is_shown(panel.proofs.compared)


def test_a_journal_is_explained_and_asks_which_of_its_strategies(
    panel: BacktestPanel, candles: Candles, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    with Engine("proofs", candles=candles, journal=path) as engine:
        key = engine.add("simple-levels", candles.symbol)
        engine.activate(key)
        engine.step(len(candles))
        found = record_of_board(engine.board, key)  # type: ignore[attr-defined]
        assert len(found.fills) and found.candles is not None and len(found.candles) == len(candles)
        with pytest.raises(ConfigError, match="not loaded any more"):
            record_of_board(engine.board, "other")  # type: ignore[attr-defined]
        other = engine.add("trend-rider", candles.symbol)
    panel.proofs.path.value = str(path)
    panel.proofs.explain.click()
    settle(panel)
    assert "■ Not done" in words(panel, "explain") and other in words(panel, "explain")
    panel.proofs.strategy.value = key
    panel.proofs.explain.click()
    settle(panel)
    assert "● Identical" in words(panel, "explain"), words(panel, "explain")
    gc.collect()


@pytest.mark.parametrize("path", ["", "nowhere.json", "nowhere.sqlite", "."])
def test_what_is_no_record_is_told_beside_the_button(panel: BacktestPanel, path: str) -> None:
    panel.proofs.path.value = path
    panel.proofs.explain.click()
    settle(panel)
    assert "■ Not done" in words(panel, "explain") and "; give" in words(panel, "explain")


def test_loaded_strategies_are_offered_before_the_file() -> None:
    made = BacktestPanel(SampleBoard(2, candles=300))
    pump().paint_now()
    values = [value for _, value in made.proofs.source.options]
    assert len(values) == 3 and values[-1] == FILE and made.proofs.source.value == values[0]
    assert not is_shown(made.proofs.path)
    made.proofs.source.value = FILE
    assert is_shown(made.proofs.path) and is_shown(made.proofs.strategy)
    made.close()


def test_a_verdict_says_how_much_was_compared(candles: Candles, result: Backtest) -> None:
    found = explain(result, candles)
    assert rows.report_words(found) == "every fill is that of this run; 2,000 candles of BTC/USDT compared"
    assert rows.cause_rows(found) == [] and rows.difference_rows(found) == []


def test_a_loaded_strategy_is_explained_against_its_own_backtest(candles: Candles) -> None:
    with Engine("live proofs", candles=candles) as engine:
        key = engine.add("simple-levels", candles.symbol)
        engine.activate(key)
        engine.step(len(candles))
        made = BacktestPanel(engine.board)  # type: ignore[attr-defined]
        pump().paint_now()
        made.setup.strategy.value = ("loaded", key)
        made.start.click()
        settle(made)
        assert made.proofs.source.value == key
        made.proofs.explain.click()
        settle(made)
        assert "● Identical" in words(made, "explain"), words(made, "explain")
        made.setup.slippage.value = "0.001"
        made.start.click()
        settle(made)
        made.proofs.explain.click()
        settle(made)
        assert [row["id"] for row in made.proofs.causes.rows] == ["slippage"], words(made, "explain")
        made.close()
