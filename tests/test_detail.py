"""Finer candles inside a candle, latency, and fees that are taken in the base currency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.market_data import resample
from stratnb.parity import parity
from stratnb.research.backtest import backtest
from trading_cases import FREE, LONG, MINUTE, START_MS, document, fills_of, flat, market, registered, series, wander

FEE = 0.001
LADDER: dict[str, Any] = {"stop_loss": {"fraction": 0.02}, "take_profit": {"levels": [{"at": 0.01, "close": 1.0}]}}
FIVE: dict[str, Any] = {"timeframes": {"primary": "5m"}, "analyzers": [{"kind": "dice"}]}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def test_detail_tells_which_of_stop_and_target_came_first() -> None:
    signal = flat(4) + flat(1, volume=LONG - 4)  # five minutes with a volume of 7
    inside = [(100, 100, 100, 100), (100, 102, 100, 102), (102, 102, 96, 96), (96, 96, 96, 96), (96, 96, 96, 96)]
    fine = series([*signal, *inside])
    coarse = resample(fine, "5m")
    doc = document(exits=LADDER, timeframes={"primary": "5m"})
    plain = backtest(doc, coarse, market=market(), cash=1e6, limits=FREE)
    found = backtest(doc, coarse, detail=fine, market=market(), cash=1e6, limits=FREE)
    assert [reason for reason, _, _ in fills_of(plain.fill_rows, plain.plan)] == ["entry", "stop"]
    assert [reason for reason, _, _ in fills_of(found.fill_rows, found.plan)] == ["entry", "target_1"]
    assert (plain.ambiguous_candles, found.ambiguous_candles) == (1, 0)


def test_detail_is_a_run_on_the_finer_candles_of_that_range() -> None:
    fine = wander(1000, 4, move=0.003)
    coarse = resample(fine, "5m")
    doc = document(exits=LADDER, **FIVE)
    options: dict[str, Any] = {"market": market(), "limits": FREE}
    found = backtest(doc, coarse[20:120], detail=fine, **options)
    direct = backtest(doc, fine[100:600], **options)
    assert len(direct.fill_rows) > 4
    assert np.array_equal(found.fill_rows, direct.fill_rows)
    assert np.array_equal(found.equity_curve, direct.equity_curve)


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        (wander(100, 1, symbol="BBB/USDT"), "market_symbol"),
        (wander(100, 1, timeframe="5m"), "timeframe_divides"),
        (wander(100, 1, timeframe="3m"), "timeframe_divides"),
        (wander(90, 1), "no_candles"),
        ([1, 2], "type"),
    ],
)
def test_detail_that_does_not_fit_is_told(detail: Any, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backtest(document(**FIVE), wander(20, 1, timeframe="5m"), detail=detail, market=market())
    assert caught.value.code == code


@pytest.mark.parametrize(("latency_ms", "minute"), [(0, 5), (1, 6), (MINUTE, 6), (90_000, 7)])
def test_latency_fills_from_the_first_finer_candle_after_it(latency_ms: int, minute: int) -> None:
    rows = [*flat(4), *flat(1, volume=LONG - 4), *[(100 + k, 100 + k, 100 + k, 100 + k) for k in range(1, 6)]]
    simulation = {"slippage": 0.0, "latency_ms": latency_ms}
    doc = document(exits={"time_exit": {"max_candles": 1}}, timeframes={"primary": "5m"},
                   execution={"simulation": simulation})  # fmt: skip
    fine = series([*rows, *flat(5, 120)])
    result = backtest(doc, resample(fine, "5m"), detail=fine, market=market(), cash=1e6, limits=FREE)
    entry, leave = result.fill_rows
    assert (entry[at.F_TIME], entry[at.F_PRICE]) == (START_MS + MINUTE * minute, 100 + minute - 4)
    assert leave[at.F_TIME] == START_MS + MINUTE * (minute + 5)
    coarse = backtest(doc, resample(fine, "5m"), market=market(), cash=1e6, limits=FREE)
    assert coarse.fill_rows[0, at.F_TIME] == START_MS + 5 * MINUTE
    told = [finding.path for finding in coarse.findings if finding.code == "not_enforced"]
    assert told == (["execution.simulation.latency_ms"] if latency_ms else [])


def test_paper_is_as_late() -> None:
    doc = document(exits=LADDER, execution={"simulation": {"latency_ms": 61_000}}, **FIVE)
    verdict = parity(doc, wander(1200, 7, gaps=15, move=0.003), market=market(), limits=FREE)
    assert verdict, str(verdict)
    assert verdict.trades > 3


IN_BASE = {"simulation": {"slippage": 0.0, "fee_currency": "base"}}


def test_a_fee_in_the_base_currency_leaves_less_to_sell() -> None:
    rows = [(100, 100, 100, 100), (100, 103, 100, 103)]
    candles = series([*flat(1, volume=LONG), *rows])
    base, quote = (
        backtest(document(exits=LADDER, execution=costs), candles, market=market(), cash=1e6, limits=FREE)
        for costs in (IN_BASE, {"simulation": {"slippage": 0.0}})
    )
    entry, leave = base.fill_rows
    assert entry[at.F_QUANTITY] == leave[at.F_QUANTITY] == 1.0 * (1 - FEE)
    assert entry[at.F_FEE] == quote.fill_rows[0, at.F_FEE]
    paid = entry[at.F_QUANTITY] * 100 + entry[at.F_FEE]
    assert paid == pytest.approx(100.0, rel=1e-15)  # one unit was bought, whatever the fee was taken in
    assert base.book[at.B_QUANTITY] == 0.0
    linear = document(exits=LADDER, market={"kind": "linear"}, execution=IN_BASE)
    assert backtest(linear, candles, market=market(kind="linear"), cash=1e6, limits=FREE).fill_rows[0, 1] == 1.0


def test_paper_takes_the_fee_alike_and_its_journal_is_sound(tmp_path: Path) -> None:
    doc, candles = document(exits=LADDER, execution=IN_BASE), wander(300, 7, move=0.004)
    verdict = parity(doc, candles, market=market(), limits=FREE)
    assert verdict, str(verdict)
    with Engine("fees", candles=candles, markets=[market()], limits=FREE, journal=tmp_path / "j.sqlite") as engine:
        engine.activate(engine.add(doc, candles.symbol))
        engine.step(len(candles))
        assert engine.desk.lane(engine.list()[0].strategy_id).context.book.fill_rows
    assert not check_journal(tmp_path / "j.sqlite").faults
