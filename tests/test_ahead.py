"""Blocks that run ahead of the account lead to the same bits as blocks that are stepped with it."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from stratnb import synthetic_market
from stratnb.blocks.base import Analyzer, Exit
from stratnb.kernels import layout as at
from stratnb.kernels.fused import source_of
from stratnb.kernels.jit import kernel
from stratnb.kernels.loop_nodes import told_apart
from stratnb.kernels.plan_table import PlanTable
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.research import looping
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.configured import configure
from stratnb.services.ledger import AccountLimits

pytestmark = pytest.mark.usefixtures("every_loop_compiles")

N = 3_000


class Often(Analyzer, kind="often_for_test"):
    """Signals by counters, at runs of candles and after long silence."""

    every: int = 9

    def inputs(self) -> tuple[str, ...]:
        """Return open, high, low and close."""
        return ("open", "high", "low", "close")

    def state_size(self) -> int:
        """Keep a number that looks random."""
        return 1

    @staticmethod
    @kernel
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Signal at the first candles, then where a remainder says so."""
        total = 0.0
        for k in range(int(p[2])):
            total += float(k)
        for k in range(3):
            total += x[k + 1] - x[0]
        state[0] = (state[0] * 7.13 + x[3] + total * float(k) + float(i)) % 97.0
        out[0] = (1.0 if x[3] > x[0] else -1.0) if i < 3 or int(state[0]) % int(p[2]) == 0 else 0.0
        out[1] = 0.9 if i >= 15 else 0.8


class Marks(Exit, kind="marks_for_test"):
    """A stop behind the best price, and a longest time: no memory, and no column of the candle."""

    distance: float = 0.006
    longest: int = 30

    def inputs(self) -> tuple[str, ...]:
        """Return side, both extremes and how long it is held."""
        return ("position.side", "position.peak", "position.trough", "position.candles")

    @staticmethod
    @kernel
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Follow the best price."""
        out[0] = (x[1] if x[0] > 0.0 else x[2]) * (1.0 - x[0] * p[0])
        out[1] = 1.0 if x[3] >= p[1] else 0.0


class Closes(Exit, kind="closes_for_test"):
    """A stop behind the price of the signal, and a target by the return: both go by the close, which is not read."""

    distance: float = 0.006
    most: float = 0.008

    def inputs(self) -> tuple[str, ...]:
        """Return side, the signal's price and the return."""
        return ("position.side", "signal.price", "position.return")

    @staticmethod
    @kernel
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Follow the close."""
        out[0] = x[1] * (1.0 - x[0] * p[0])
        out[1] = 1.0 if x[2] > p[1] or x[2] < -p[1] else 0.0


def strategy(exit_: dict[str, Any], every: int = 9, **sections: Any) -> dict[str, Any]:
    """Return a strategy with one exit."""
    return {
        "schema": 1,
        "name": "often",
        "timeframes": {"primary": "5m"},
        "market": {"kind": "linear", "direction": "both"},
        "analyzers": [{"kind": "often_for_test", "every": every}],
        "entry": {"min_confidence": 0.1, "min_score": 0.0, "min_candles": 1},
        "sizing": {"kind": "fixed_fraction", "fraction": 0.5, "cap": 10.0},
        "exits": exit_,
    } | sections


EXITS: dict[str, dict[str, Any]] = {"marks": {"marks_for_test": {}}, "closes": {"closes_for_test": {}}}
NO_LIMITS = (
    *("risk_per_trade", "risk_open", "gross_linear", "market_net", "market_gross"),
    *("liquidation_distance", "daily_loss", "max_drawdown"),
)
MARKET = Market("BTC/USDT", kind="linear", tick=0.01, lot=1e-6, max_leverage=125.0)


def same(one: Backtest, other: Backtest) -> None:
    """Assert that two runs agree to the last bit."""
    for name in ("fill_rows", "equity_curve", "book", "account"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert dict(one.reasons) == dict(other.reasons)


def both(config: dict[str, Any], candles: Candles, **options: Any) -> Backtest:
    """Run both loops, assert that they agree, and return the run."""
    shared = backtest(config, candles, tier="scan", market=MARKET, **options)
    same(shared, backtest(config, candles, tier="fused", market=MARKET, **options))
    return shared


@pytest.fixture(scope="module")
def candles() -> Candles:
    """Return a synthetic market with holes."""
    made = synthetic_market(["BTC/USDT"], "5m", candles=N, seed=5)[0]
    keep = np.ones(N, bool)
    for start in np.random.default_rng(5).integers(100, N - 100, 4):
        keep[start : start + 17] = False
    rows = made.rows()[keep]
    times = rows[:, at.C_TIME].astype(np.int64)
    return Candles(made.symbol, made.timeframe, times, *(rows[:, k].copy() for k in range(5)))


@pytest.mark.parametrize(
    ("exits", "ahead", "at_once"),
    [
        ({"stop_loss": {"fraction": 0.01}}, True, True),
        (EXITS["marks"], True, False),
        (EXITS["closes"], True, False),
        ({"stop_loss": {"basis": "atr"}}, False, False),
    ],
)
def test_candles_are_taken_at_once_where_exits_come_to_the_same(
    exits: dict[str, Any], ahead: bool, at_once: bool, candles: Candles
) -> None:
    plan = configure(strategy(exits), candles, market=MARKET)[0]
    source = source_of(plan.code, plan.params, plan.kernels)[0]
    assert PlanTable(plan.code).runs_ahead() is ahead
    assert ("undisturbed(" in source) is at_once


def test_no_name_of_a_generated_text_ends_with_a_digit(candles: Candles) -> None:
    plan = configure(strategy(EXITS["marks"]), candles, market=MARKET)[0]
    source, outside = source_of(plan.code, plan.params, plan.kernels)
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    assert {name for name in names if name[-1].isdigit()} <= set(outside)
    assert (
        told_apart("i2 = g2(c12, s0_1, 1e-09) + np.int64(x) * Z_1")
        == "i2_ = g2(c12_, s0_1_, 1e-09) + np.int64(x) * Z_1"
    )


@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("every", [2, 40])
def test_exits_that_read_no_candle_see_each_close(name: str, every: int, candles: Candles) -> None:
    run = both(strategy(EXITS[name], every), candles, on_gap="split")
    assert len(run.fill_rows) > 50


def test_calls_end_where_they_like(candles: Candles, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = {"entry_order": "limit", "limit_offset": 0.0005, "limit_fallback": True, "limit_timeout_s": 900}
    config = strategy(EXITS["marks"], 5, execution=limit | {"simulation": {"max_participation": 0.0005}})
    whole = backtest(config, candles, tier="scan", market=MARKET)
    assert len(whole.fill_rows) > 50
    for chunk in (1, 7, 64):
        monkeypatch.setattr(looping, "CHUNK", chunk)
        monkeypatch.setattr(looping, "FILL_BUFFER", at.MAX_FILLS + chunk)
        same(whole, backtest(config, candles, tier="fused", market=MARKET))


def test_an_account_with_nothing_left_is_paused_when_the_shared_loop_pauses_it(candles: Candles) -> None:
    rows = candles.rows()
    rows[:, :4] *= np.linspace(1.0, 0.2, len(rows))[:, None]
    falling = Candles(candles.symbol, candles.timeframe, candles.open_time_ms, *(rows[:, k].copy() for k in range(5)))
    config = strategy(
        {"marks_for_test": {"distance": 0.5, "longest": 700}},
        2,
        sizing={"kind": "fixed_fraction", "fraction": 10.0, "cap": 10.0},
        market={"kind": "linear", "direction": "long"},
        execution={"leverage": 50, "margin_mode": "cross", "simulation": {"maintenance_margin": 0.0}},
        risk={"profit_lock": {"arm": 0.01, "give_back": 0.5}, "max_drawdown": None, "max_daily_loss": None},
    )
    run = both(config, falling, limits=AccountLimits(**dict.fromkeys(NO_LIMITS, None)))
    assert run.equity_curve[-1] < 0.0
    assert run.reasons["paused"] > 500
