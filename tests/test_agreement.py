"""The performance panel on a running engine and a backtest of the same candles give one name and one number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.market_data import resample, synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest, backtest
from stratnb.services.ledger import AccountLimits
from stratnb.ui.panels import backtest_rows as rows
from stratnb.ui.panels.performance_data import Line, Sampler, Scope
from stratnb.ui.panels.performance_rows import TITLES, figure_cell, figures_of

CANDLES = resample(synthetic_market(["BTC/USDT"], candles=20_000, seed=5)[0], "5m")
NAME = "level-trading-single-ema"
OVERRIDES = {"timeframes.primary": "5m", "execution.simulation.taker_fee": 0.002}
SHARED = ("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "exposure_time", "fees",
          "buy_and_hold", "trades", "win_rate", "profit_factor", "expectancy", "average_hold_s", "days")  # fmt: skip


def both(candles: Candles, late: int = 0) -> Iterator[tuple[Line, Line, Backtest]]:
    """Yield the line of the strategy, buy and hold, and the backtest from the candle on at which it was added."""
    with Engine("agree", candles=candles, limits=AccountLimits(), curve_points=None) as engine:
        if late:
            engine.step(late)
        key = engine.add(NAME, overrides=OVERRIDES)
        engine.activate(key)
        engine.step(len(candles) - late)
        scope = Scope((key,), frozenset({key}), market=candles.symbol)
        sample = Sampler(engine.board).sample(engine.board.view(), scope)
        assert sample is not None and sample.held is not None
        yield sample.trading()[0], sample.held, backtest(NAME, candles[late:], overrides=OVERRIDES)


def test_every_shared_figure_is_the_same() -> None:
    for line, held, test in both(CANDLES):
        known = figures_of(line, held)
        assert known["trades"], "the case trades"
        for name in SHARED:
            assert known[name] == pytest.approx(test.figures[name], rel=1e-9), name
        column = figures_of(held, held)
        assert column["total_return"] == pytest.approx(test.figures["buy_and_hold"], rel=1e-9)


def test_buy_and_hold_starts_with_the_strategy() -> None:
    for line, held, test in both(CANDLES, late=1_000):
        prices, fee = test.candles, 0.002
        wanted = prices.close[-1] / prices.open[0] - 1.0 - 2.0 * fee
        assert figures_of(line, held)["buy_and_hold"] == pytest.approx(wanted, rel=1e-9)
        assert held.rows[0, 0] < line.rows[0, 0]


def test_buy_and_hold_pays_its_fee_before_anything_was_traded() -> None:
    calm = CANDLES[40:69]
    for line, held, test in both(calm):
        assert not len(test.fill_rows)
        assert figures_of(line, held)["buy_and_hold"] == pytest.approx(test.figures["buy_and_hold"], rel=1e-9)


@pytest.mark.parametrize("candles", [CANDLES[:317], CANDLES], ids=["under two days", "long"])
def test_names_flags_and_reasons_are_those_of_the_performance_panel(candles: Candles) -> None:
    for line, held, test in both(candles):
        known = figures_of(line, held)
        shown = {row["id"]: row for row in rows.figure_rows(test.figures, "USDT", days=rows.elapsed_days(test))}
        for name in SHARED:
            ours, theirs = shown[name]["v"], figure_cell(name, known, line, "USDT")
            assert shown[name]["label"] == TITLES[name]
            assert ours["t"].removeprefix("▲ ").removeprefix("▼ ") == theirs["t"], name
            assert (ours.get("sub"), ours["title"]) == (theirs.get("sub"), theirs["title"]), name
        few = len(candles) < 576
        assert (shown["cagr"]["v"]["t"] == "n/a") is few and (shown["sharpe"]["v"]["t"] == "n/a") is few


def test_round_trips_of_the_engine_are_those_of_the_backtest_to_the_last_bit() -> None:
    for line, _, test in both(CANDLES):
        ours = [(t.pnl, t.entry_price, t.exit_price, t.fees, t.return_fraction) for t in test.closed_trades]
        theirs = [(t.pnl, t.entry_price, t.exit_price, t.fees, t.return_fraction) for t in line.trades]
        assert np.array_equal(np.array(ours), np.array(theirs))
