"""Liquidation and funding against values worked out by hand, and on paper as in a backtest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels.costs import liquidation_price
from stratnb.kernels.stored import fill_from, put_row
from stratnb.parity import parity
from stratnb.research.backtest import Backtest, backtest, load_run
from stratnb.research.funding import FundingRates, stretches
from trading_cases import FREE, LONG, SHORT, START_MS, document, fills_of, flat, market, registered, series, wander

HOUR = 3_600_000
FAR = {"time_exit": {"max_candles": 500}}
MARKET = market("AAA/USDT", kind="linear", max_leverage=50.0)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def levered(
    leverage: float = 10.0, exits: dict[str, Any] | None = None, mode: str = "isolated", **simulation: Any
) -> dict[str, Any]:
    """Return a linear document with leverage, without slippage."""
    execution = {"leverage": leverage, "margin_mode": mode, "simulation": {"slippage": 0.0, **simulation}}
    return document(market={"kind": "linear", "direction": "both"}, exits=exits or FAR, execution=execution)


def trade(rows: list[Any], sign: float = LONG, cash: float = 1e6, **options: Any) -> Backtest:
    candles = series([*flat(1, volume=sign), *rows])
    return backtest(levered(**options), candles, market=MARKET, cash=cash, limits=FREE)


def mirror(rows: list[Any]) -> list[tuple[float, ...]]:
    return [(200 - o, 200 - low, 200 - high, 200 - c) for o, high, low, c in rows]


def test_the_price_of_a_liquidation_by_hand() -> None:
    row = np.zeros(at.W_SETTINGS)
    row[[at.S_LEVERAGE, at.S_MAINTENANCE]] = 10.0, 0.005
    assert liquidation_price(row, 1.0, 100.0) == pytest.approx(90 / 0.995, rel=1e-15)
    assert liquidation_price(row, -1.0, 100.0) == pytest.approx(110 / 1.005, rel=1e-15)


LONG_AT, SHORT_AT = 90 / 0.995, 110 / 1.005  # 90.452..., 109.452...
QUIET = (100, 100, 100, 100)
CASES = {
    "met": ([QUIET, (100, 100, 90, 95)], FAR, "liquidation"),
    "not met": ([QUIET, (100, 100, 90.6, 95)], FAR, None),
    "in the candle of the entry": ([(100, 100, 90, 95)], FAR, "liquidation"),
    "a gap beyond it": ([QUIET, (80, 82, 79, 81)], FAR, "liquidation"),
    "a nearer stop comes first": ([QUIET, (100, 100, 85, 95)], {"stop_loss": {"fraction": 0.05}}, "stop"),
    "a farther stop does not": ([QUIET, (100, 100, 85, 95)], {"stop_loss": {"fraction": 0.12}}, "liquidation"),
    "a gap beyond both": ([QUIET, (80, 82, 79, 81)], {"stop_loss": {"fraction": 0.05}}, "liquidation"),
    "a gap between them": ([QUIET, (93, 94, 85, 88)], {"stop_loss": {"fraction": 0.05}}, "stop"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_an_isolated_position_loses_its_margin_and_the_fee(name: str, sign: float) -> None:
    rows, exits, reason = CASES[name]
    result = trade(rows if sign == LONG else mirror(rows), sign, exits=exits, liquidation_fee=0.002)
    found = fills_of(result.fill_rows, result.plan)
    assert [fill[0] for fill in found[1:]] == ([reason] if reason else [])
    if reason == "liquidation":
        price = LONG_AT if sign == LONG else SHORT_AT
        assert found[1][1] == pytest.approx(price, rel=1e-15)
        (done,) = result.closed_trades
        entry_fee = 0.001 * 100
        assert done.pnl == pytest.approx(-100 / 10 - 0.002 * price - entry_fee, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(leverage=st.floats(1.5, 50), low=st.floats(1, 99.9))
def test_no_isolated_long_loses_more_than_margin_and_costs(leverage: float, low: float) -> None:
    result = trade([QUIET, (100, 100, low, low)], leverage=leverage, exits={"stop_loss": {"fraction": 0.4}})
    pnl = sum(done.pnl for done in result.closed_trades)
    assert pnl >= -100 / leverage - 0.001 * 100 - 0.001 * 100 - 1e-9


def test_spot_is_never_liquidated_and_takes_no_leverage() -> None:
    candles = series([*flat(1, volume=LONG), QUIET, (100, 100, 1, 50)])
    result = backtest(document(exits=FAR), candles, market=market(), cash=1e6, limits=FREE)
    assert len(result.fill_rows) == 1
    with pytest.raises(ConfigError) as caught:
        backtest(document(execution={"leverage": 2}), candles, market=market())
    assert {finding.path for finding in caught.value.findings} == {"execution.leverage"}


@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_cross_margin_closes_everything_when_the_account_cannot_carry_it(sign: float) -> None:
    """With 10 quote on the account and one unit at 100, equity meets 0.005 x notional a little below 91."""
    rows = [QUIET, (100, 100, 95, 96), (96, 96, 90.3, 95), (95, 96, 94, 95)]
    doc = {**levered(leverage=12.0, mode="cross"), "sizing": {"kind": "fixed_quantity", "quantity": 1.0, "cap": 1.0}}
    candles = series([*flat(1, volume=sign), *(rows if sign == LONG else mirror(rows))])
    free = market("AAA/USDT", kind="linear", max_leverage=50.0, taker_fee=0.0)
    result = backtest(doc, candles, market=free, cash=10.0, limits=FREE)
    found = fills_of(result.fill_rows, result.plan)
    assert [fill[0] for fill in found] == ["entry", "liquidation"]
    worst = 90.3 if sign == LONG else 109.7
    assert found[1][1] == worst
    assert result.equity_curve[3] == pytest.approx(10 - 9.7, abs=1e-9)
    assert result.equity_curve[-1] == result.equity_curve[3]
    early = trade(rows[:2] if sign == LONG else mirror(rows[:2]), sign, mode="cross", cash=10.0, leverage=12.0)
    assert len(early.fill_rows) <= 1


def hours(n: int, sign: float = LONG) -> Any:
    """Return hourly candles that do not move, with a signal in the first one, from midnight on."""
    return series([*flat(1, volume=sign), *flat(n - 1)], timeframe="1h")


def hourly(**options: Any) -> dict[str, Any]:
    return {**levered(leverage=1.0, **options), "timeframes": {"primary": "1h"}}


@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_funding_is_paid_at_each_time_that_a_position_is_held_through(sign: float) -> None:
    candles, side = hours(26, sign), 1 if sign == LONG else -1
    result = backtest(hourly(funding_rate=0.0001), candles, market=MARKET, cash=1e6, limits=FREE)
    paid = 1e6 - 0.1 - result.equity_curve
    hour = np.arange(1, 27)  # closing times; the entry is at the open of the second candle, at 01:00
    assert paid == pytest.approx(np.where(hour >= 2, side * 0.01 * (hour // 8), -0.1), abs=1e-9)
    assert result.book[at.B_FUNDING] == pytest.approx(side * 0.03, rel=1e-12)


def test_an_entry_at_a_funding_time_pays_from_the_next_one_on() -> None:
    candles = series([*flat(7), *flat(1, volume=LONG), *flat(9)], timeframe="1h")
    result = backtest(hourly(funding_rate=0.0001), candles, market=MARKET, cash=1e6, limits=FREE)
    assert result.fill_rows[0, at.F_TIME] == START_MS + 8 * HOUR
    assert result.book[at.B_FUNDING] == pytest.approx(0.01, rel=1e-12)


def test_a_trade_tells_its_funding_and_its_result_is_after_it(tmp_path: Path) -> None:
    candles = hours(30)
    doc = hourly(funding_rate=0.0001, end="close")
    result = backtest(doc, candles, market=MARKET, cash=1e6, limits=FREE)
    (done,) = result.closed_trades
    assert done.funding == pytest.approx(0.03, rel=1e-12)
    assert done.pnl == pytest.approx(-0.2 - 0.03, rel=1e-12)
    assert done.fees == pytest.approx(0.2, rel=1e-12)
    assert result.figures["funding"] == done.funding
    assert result.trades["funding"].tolist() == [done.funding]
    assert result.equity_curve[-1] == pytest.approx(1e6 + done.pnl, rel=1e-15)
    again = load_run(result.save(tmp_path / "run.json"))
    assert again.closed_trades[0].funding == done.funding


def test_a_gap_over_funding_times_pays_them_all() -> None:
    candles = hours(40)
    kept = np.ones(len(candles), bool)
    kept[5:20] = False
    columns = (getattr(candles, name)[kept] for name in ("open", "high", "low", "close", "volume"))
    holed = type(candles)(candles.symbol, "1h", candles.open_time_ms[kept], *columns)
    result = backtest(hourly(funding_rate=0.0001), holed, market=MARKET, cash=1e6, limits=FREE)
    assert result.book[at.B_FUNDING] == pytest.approx(0.05, rel=1e-12)


def test_a_table_of_rates_is_used_at_its_times() -> None:
    times = START_MS + HOUR * np.array([4, 8, 12, 16]) + 3
    table = FundingRates("AAA/USDT", times, np.array([0.001, -0.002, 0.003, 0.004]))
    assert table.every_ms == 4 * HOUR
    result = backtest(hourly(funding_rate=0.01), hours(22), market=MARKET, cash=1e6, limits=FREE, funding=table)
    paid = 1e6 - 0.1 - result.equity_curve[1:]
    expected = np.zeros(21)
    for hour, rate in zip((4, 8, 12, 16, 20), (0.001, -0.002, 0.003, 0.004, 0.01), strict=True):
        expected[hour - 2 :] += 100 * rate
    assert paid == pytest.approx(expected, abs=1e-8)
    assert not [finding for finding in result.findings if finding.code == "funding_missing"]


def test_without_rates_a_linear_backtest_says_so_and_pays_nothing() -> None:
    result = backtest(hourly(), hours(22), market=MARKET, cash=1e6, limits=FREE)
    assert [finding.code for finding in result.findings if finding.code == "funding_missing"] == ["funding_missing"]
    off = backtest(hourly(funding=False, funding_rate=0.05), hours(22), market=MARKET, cash=1e6, limits=FREE)
    assert result.book[at.B_FUNDING] == off.book[at.B_FUNDING] == 0.0
    assert (result.equity_curve == off.equity_curve).all()


@pytest.mark.parametrize(
    ("times", "rates"),
    [([], []), ([1, 2], [0.1]), ([HOUR, HOUR], [0.0, 0.0]), ([HOUR], [2.0]), ([7_000], [0.0]), (["a"], [0.0])],
)
def test_what_is_no_table_of_rates_is_told(times: list[Any], rates: list[float]) -> None:
    with pytest.raises(ConfigError) as caught:
        FundingRates("AAA/USDT", times, rates)  # type: ignore[arg-type]
    assert caught.value.code == "funding_rates"


def test_rates_of_another_market_are_refused() -> None:
    table = FundingRates("BBB/USDT", np.array([HOUR]), np.array([0.0]))
    with pytest.raises(ConfigError) as caught:
        backtest(hourly(), hours(5), market=MARKET, funding=table)
    assert caught.value.code == "market_symbol"


def test_stretches_cover_every_candle_once() -> None:
    table = FundingRates("AAA/USDT", HOUR * np.array([8, 16, 24]), np.array([0.1, 0.02, 0.03]))
    close_ms = HOUR * np.array([1, 2, 8, 9, 17, 30])
    assert stretches(table, close_ms, 0.5) == [(3, 0.1), (5, 0.02), (6, 0.03)]
    assert stretches(table, close_ms[:4], 0.5) == [(3, 0.1), (4, 0.5)]
    assert stretches(None, close_ms, 0.5) == [(6, 0.5)]


@pytest.mark.parametrize("seed", range(2))
def test_paper_pays_and_is_liquidated_alike(seed: int) -> None:
    doc = {**levered(leverage=20.0, funding_rate=0.0003, liquidation_fee=0.001)}
    doc["sizing"] = {"kind": "fixed_fraction", "fraction": 0.02}
    candles = wander(2600, seed, gaps=60, move=0.006)
    verdict = parity(doc, candles, market=MARKET, limits=FREE)
    assert verdict, str(verdict)
    test = backtest(doc, candles, market=MARKET, limits=FREE)
    assert {"liquidation"} <= {fill.reason for fill in test.all_fills}
    assert test.book[at.B_FUNDING] != 0.0


def test_paper_closes_cross_positions_alike() -> None:
    doc = {**levered(leverage=20.0, mode="cross", exits={"time_exit": {"max_candles": 200}})}
    doc["sizing"] = {"kind": "fixed_quantity", "quantity": 1500.0}
    candles = wander(1500, 3, gaps=20, move=0.006)
    verdict = parity(doc, candles, market=MARKET, limits=FREE)
    assert verdict, str(verdict)
    test = backtest(doc, candles, market=MARKET, limits=FREE)
    assert "liquidation" in {fill.reason for fill in test.all_fills}


def test_rows_of_an_earlier_version_are_filled_in() -> None:
    assert fill_from(np.arange(10.0).tobytes()).tolist() == [*range(10), 0.0]
    row = np.full(at.W_BOOK, 7.0)
    assert put_row(np.zeros(at.W_BOOK_FIRST).tobytes(), row, at.W_BOOK_FIRST)
    assert (row[: at.W_BOOK_FIRST] == 0.0).all() and (row[at.W_BOOK_FIRST :] == 7.0).all()
    for wrong in (np.zeros(3).tobytes(), np.zeros(at.W_BOOK + 1).tobytes(), bytes(8 * at.W_BOOK + 3)):
        assert not put_row(wrong, row, at.W_BOOK_FIRST)
