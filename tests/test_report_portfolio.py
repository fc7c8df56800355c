"""The report of a portfolio: the figures of the account, results that add up, trades under owners, one closed file."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.portfolio import Portfolio, portfolio
from stratnb.services.ledger import AccountLimits
from stratnb.ui import Report, report
from stratnb.ui.panels.backtest_rows import price_decimals, trade_rows
from stratnb.ui.panels.performance_data import hold

INJECTION = "<img src=x onerror=alert(1)></script>"
STRATEGIES = {"levels": "simple-levels", "rider": ("trend-rider", "ETH/USDT"), INJECTION: ("simple-levels", "BTC/USDT")}


@pytest.fixture(scope="module")
def candles() -> list[Candles]:
    whole = synthetic_market(["BTC/USDT", "ETH/USDT"], "5m", candles=12_000, seed=7)
    return [whole[0][:9_000], whole[1][2_000:]]


@pytest.fixture(scope="module")
def run(candles: list[Candles]) -> Portfolio:
    limits = AccountLimits(max_open_positions=1)
    return portfolio(STRATEGIES, candles, decisions="entries", limits=limits)


@pytest.fixture(scope="module")
def made(run: Portfolio) -> Report:
    found: Report = run.report()
    return found


def states(html: str) -> dict[str, Any]:
    """Return what the page's charts and tables show by their captions."""
    found = re.search(r'id="sn-states">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return {part["state"]["caption"]: part for part in json.loads(found[1])}


def column(part: dict[str, Any], model: str, name: str = "y") -> np.ndarray[Any, np.dtype[np.float64]]:
    op = next(op for op in part["message"]["ops"] if op["model"] == model)
    held = part["buffers"][op["data"][name]["buffer"]]
    if isinstance(held, dict):
        return np.full(held["n"], held["fill"])
    return np.frombuffer(base64.b64decode(held), np.float64)


def test_the_figures_are_those_of_the_account_and_of_each_strategy(run: Portfolio, made: Report) -> None:
    frame = made.to_frame().set_index("figure")
    assert frame.columns[0] == "Account" and list(frame.columns[2:-1]) == list(run.labels)
    for name, value in run.figures.items():
        if name in frame.index:
            assert frame.loc[name, "Account"] == pytest.approx(value, abs=1e-9), name
    for label, own in run.items():
        for name in ("total_return", "max_drawdown", "sharpe", "trades", "win_rate", "buy_and_hold", "exposure_time"):
            assert frame.loc[name, label] == pytest.approx(own.figures[name], abs=1e-9, nan_ok=True), (label, name)


def test_every_part_is_there_and_the_results_add_up(run: Portfolio, made: Report) -> None:
    titles = [part.title for part in made.parts]
    wanted = ("Attribution", "Equity and drawdown", "Exposure", "Months", "Correlation", "Denials", "Trades", "Figures")
    assert set(wanted) <= set(titles) and titles.count("Price and trades") == 2
    page = states(made.html)
    table = {row["name"]: row for row in page["What each strategy added"]["state"]["rows"]}
    assert list(table) == list(run.labels)
    assert sum(row["pnl"]["n"] for row in table.values()) == pytest.approx(run.equity_curve[-1] - run.cash)
    curves = page["Results of the strategies over time"]
    last = [column(curves, f"s{k}")[-1] for k in range(len(run))]
    assert last == run.results.iloc[-1].tolist()
    account = column(page["Equity and drawdown over time"], "account")
    whole = np.concatenate(([run.cash], run.equity_curve))
    assert (account.min(), account.max(), account[-1]) == (whole.min(), whole.max(), whole[-1])
    gross = column(page["Gross and net exposure over time"], "account")
    assert gross.max() == run.exposure["gross_share"].max()
    held = column(page["Open positions and waiting entries over time"], "account")
    assert held.max() == run.exposure["open"].max()
    rows = {row["id"]: row for row in page["Denials by strategy"]["state"]["rows"]}
    assert {code: {run.labels[int(key[1:])]: cell["n"] for key, cell in row.items() if key[0] == "d" and cell["n"]}
            for code, row in rows.items()} == run.denials  # fmt: skip
    assert rows


def test_every_trade_stands_under_its_owner_with_its_plan(run: Portfolio, made: Report) -> None:
    source, frame = made.source, run.trades
    assert source.shared is not None
    assert list(source.shared.owners) == frame["strategy"].tolist()
    assert [trade.symbol for trade in source.trades] == frame["symbol"].tolist()
    for label, own in run.items():
        mine = np.array([owner == label for owner in source.shared.owners])
        assert np.array_equal(source.stops[mine], own.planned_stops, equal_nan=True)
    rows = states(made.html)["Trades"]["state"]["rows"]
    assert [row["strategy"] for row in rows] == frame["strategy"].tolist()[::-1]
    for row in rows:
        digits = len(row["entry"]["t"].partition(".")[2])
        mine = frame[frame["symbol"] == row["symbol"]]["entry_price"]
        assert digits == price_decimals(float(mine.max()))


def test_buy_and_hold_is_an_equal_part_of_each_market(run: Portfolio, made: Report) -> None:
    held = made.source.sample.held
    assert held is not None and held.label == "Buy and hold 2 markets"
    gain = held.rows[-1, 1] / held.rows[0, 1] - 1.0
    assert gain == pytest.approx(run.figures["buy_and_hold"], abs=1e-12)


def test_holding_reads_the_length_of_a_candle_where_the_second_is_missing(candles: list[Candles]) -> None:
    rows = np.delete(candles[0].rows()[:50], 1, axis=0)
    closes = rows[:, 5] + 300_000
    assert np.array_equal(hold(rows, closes, 1_000.0)[1:, 0], closes)


def test_the_file_is_one_closed_page_and_labels_stay_text(made: Report, run: Portfolio, tmp_path: Path) -> None:
    target = made.save(tmp_path / "run.html")
    html = target.read_text("utf-8")
    assert html == made.html and "default-src 'none'" in html and "<img" not in html
    assert html.count("</script>") == html.count("<script")
    assert "<img" not in run._repr_html_()


def test_ten_strategies_draw_the_eight_that_moved_the_account_most(candles: list[Candles]) -> None:
    labels = {f"n{k}": ("simple-levels", "BTC/USDT") for k in range(10)}
    run = portfolio(labels, candles[0][:3_000])
    made = report(run)
    shared = made.source.shared
    assert shared is not None and len(set(shared.keys.values())) == 10
    moved = run.attribution["pnl"].abs()
    drawn = [label for label, key in shared.keys.items() if key in {f"s{k}" for k in range(8)}]
    assert moved[drawn].min() >= moved.drop(drawn).max()
    assert "The 8 that moved" in made.html and len(made.to_frame().columns) == 14


def test_a_canceled_portfolio_is_reported_as_far_as_it_went(
    candles: list[Candles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stratnb.research.portfolio.CHUNK", 4 * 1_000)  # ends before the second market begins
    calls = iter(range(100))
    run = portfolio(STRATEGIES, candles, cancelled=lambda: next(calls) > 0)
    assert not run.complete and len(run.close_ms) == 1_000 and not len(run["rider"].equity_curve)
    made = report(replace(run))
    assert any("canceled" in note for note in made.source.notes) and len(made.html) > 1_000_000


def test_trades_of_one_strategy_name_no_owner(run: Portfolio) -> None:
    own = run["rider"]
    assert all("strategy" not in row for row in trade_rows(own.trades))
    assert trade_rows(own.trades[:0]) == []
