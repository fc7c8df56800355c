"""The generated loop gives the same bits as the shared one: fills, equity, reasons, book, account and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb import ConfigError, synthetic_market
from stratnb.blocks.base import Analyzer, Exit
from stratnb.kernels import fused as made
from stratnb.kernels import layout as at
from stratnb.kernels.jit import helper, kernel, python
from stratnb.market_data.candles import Candles
from stratnb.market_data.funding import FundingRates
from stratnb.model import Market
from stratnb.research import batch, tiers
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.configured import configure
from stratnb.research.portfolio import portfolio
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import library

pytestmark = pytest.mark.usefixtures("every_loop_compiles")


@helper
def lean(value: float) -> float:
    """Return the sign of a value."""
    return 1.0 if value > 0.0 else (-1.0 if value < 0.0 else 0.0)


class Crossing(Analyzer, kind="crossing_for_test"):
    """Signals where two named averages cross, by a helper of a user's module."""

    def inputs(self) -> tuple[str, ...]:
        """Return both averages."""
        return ("ind.fast", "ind.slow")

    def state_size(self) -> int:
        """Keep the side of the candle before."""
        return 1

    @staticmethod
    @kernel
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Compare the side with the one before."""
        turn = lean(x[0] - x[1])
        out[0] = turn if i > 1 and turn != state[0] else 0.0
        out[1] = p[1]
        state[0] = turn


class Slow(Analyzer, kind="slow_for_test"):
    """A block in plain Python."""

    @staticmethod
    @python
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Signal never."""
        out[0], out[1] = 0.0, 0.0


class Nearing(Exit, kind="nearing_for_test"):
    """A stop that steps to and fro, beyond the market at times."""

    def inputs(self) -> tuple[str, ...]:
        """Return side, arming mark and close."""
        return ("position.side", "position.fresh", "close")

    def state_size(self) -> int:
        """Count the closes, and keep a price."""
        return 2

    @staticmethod
    @kernel
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        """Move the stop at every other close, now before the market, now beyond it."""
        if x[1] != 1.0:
            state[0] += 1.0
            if int(state[0]) % 2 == 1:
                state[1] = x[2] * (1.0 - x[0] * (0.001 if int(state[0]) % 3 > 0 else -0.001))
            out[0] = state[1]
        out[1] = 0.0


CROSS = {
    "schema": 1,
    "name": "cross",
    "timeframes": {"primary": "5m"},
    "indicators": {"fast": {"kind": "ema", "period": 9, "seed": "first"}, "slow": {"kind": "ema", "period": 21}},
    "analyzers": [{"kind": "crossing_for_test"}],
    "entry": {"min_confidence": 0.1, "min_score": 0.0, "min_candles": 2},
    "sizing": {"kind": "fixed_fraction", "fraction": 0.5},
    "exits": {
        "stop_loss": {"basis": "atr", "multiple": 1.5, "min_fraction": 0.001},
        "take_profit": {"levels": [{"at": 0.004, "close": 0.5, "on_hit": ["breakeven"]}, {"at": 0.01, "close": 0.5}]},
        "breakeven": {},
        "trailing": {"distance": 0.006, "start": {"profit": 0.003}},
        "time_exit": {"max_candles": 40},
        "signal_exit": {"min_confidence": 0.1},
    },
}


def gapped(candles: Candles, seed: int = 7) -> Candles:
    """Return the series without some stretches."""
    keep = np.ones(len(candles), bool)
    for start in np.random.default_rng(seed).integers(100, len(candles) - 200, 6):
        keep[start : start + 17] = False
    rows = candles.rows()[keep]
    times = rows[:, at.C_TIME].astype(np.int64)
    return Candles(candles.symbol, candles.timeframe, times, *(rows[:, k].copy() for k in range(5)))


def same(one: Backtest, other: Backtest) -> None:
    """Assert that two runs agree to the last bit."""
    for name in ("fill_rows", "equity_curve", "book", "account"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert dict(one.reasons) == dict(other.reasons)
    assert repr(one) == repr(other)


def both(strategy: Any, candles: Candles, **options: Any) -> Backtest:
    """Run both loops, assert that they agree, and return the run."""
    shared = backtest(strategy, candles, tier="scan", **options)
    same(shared, backtest(strategy, candles, tier="fused", **options))
    return shared


@pytest.fixture(scope="module")
def candles() -> Candles:
    """Return a month of a synthetic market."""
    return synthetic_market(["BTC/USDT"], "5m", candles=12_000, seed=11)[0]


@pytest.mark.parametrize("name", library())
def test_every_strategy_of_the_library_has_the_same_bits(name: str, candles: Candles) -> None:
    plan, _ = configure(name, candles)
    assert tiers.generated_loop(plan, len(candles), "fused") is not None
    run = both(name, candles)
    assert len(run.fill_rows)
    both(name, gapped(candles))


@pytest.mark.parametrize("market", ["spot", "linear"])
def test_a_users_block_and_every_exit_have_the_same_bits(market: str, candles: Candles) -> None:
    document = {**CROSS, "market": {"kind": market}}
    run = both(document, candles)
    assert len(run.closed_trades) > 50
    assert {fill.reason for fill in run.all_fills} >= {"entry", "stop", "target_1", "signal"}
    both(document, gapped(candles))


def test_protections_that_fire_have_the_same_bits(candles: Candles) -> None:
    strict = {
        "max_daily_loss": 0.004,
        "max_consecutive_losses": 2,
        "stop_loss_guard": {"count": 2},
        "daily_target": 0.003,
        "profit_lock": {"arm": 0.002, "give_back": 0.5},
        "max_holding_s": 7200,
        "cooldown_s": 1800,
    }
    run = both({**CROSS, "risk": strict}, candles)
    assert len(run.denials) > 2
    both({**CROSS, "risk": {"max_drawdown": 0.01}}, candles)


def test_funding_and_the_longest_time_have_the_same_bits(candles: Candles) -> None:
    costs = {"simulation": {"funding_rate": 0.001}}
    linear = {**CROSS, "market": {"kind": "linear"}, "execution": costs}
    run = both({**linear, "risk": {"max_holding_s": 1800}}, candles)
    assert sum(fill.reason == "risk" for fill in run.all_fills) > 10
    assert np.count_nonzero(both(linear, candles).fill_rows[:, at.F_FUNDING])
    times = candles.open_time_ms[0] // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(1, 900)
    rates = FundingRates(candles.symbol, times, np.random.default_rng(2).uniform(-0.01, 0.01, len(times)))
    paid = both(linear, candles, funding=rates).fill_rows[:, at.F_FUNDING]
    assert (paid > 0.0).any() and (paid < 0.0).any()


def test_exits_that_wait_for_volume_have_the_same_bits(candles: Candles) -> None:
    document = {
        **CROSS,
        "market": {"kind": "linear"},
        "exits": {
            "trailing": {"basis": "chandelier", "period": 5, "multiple": 1.0},
            "own": {"kind": "nearing_for_test"},
        },
        "risk": {"max_drawdown": None, "max_daily_loss": None},
        "execution": {"simulation": {"max_participation": 0.00002}},
    }
    run = both(document, candles)
    assert len(run.fill_rows) > 3 * len(run.closed_trades) > 60


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_length_of_the_chunks_changes_nothing(
    chunk: int, candles: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backtest(CROSS, candles[:4_000], tier="scan")
    monkeypatch.setattr("stratnb.research.looping.CHUNK", chunk)
    same(whole, backtest(CROSS, candles[:4_000], tier="fused"))


def test_trials_that_run_together_are_those_that_run_alone(candles: Candles, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = {**CROSS, "market": {"kind": "linear"}, "risk": {"max_holding_s": 7200}}
    plans = [configure(linear, candles, overrides={"indicators.fast.period": fast})[0] for fast in (5, 9, 14)]
    track, made = batch.track_of(candles), []
    for together in (False, True):
        monkeypatch.setattr(batch, "pays", lambda loop, candles, together=together: together)
        made.append(batch.run_batch(plans, track, cash=10_000.0))
    for name in ("daily", "book", "reasons", "exposure"):
        np.testing.assert_array_equal(getattr(made[0], name), getattr(made[1], name), err_msg=name)


def test_base_candles_below_the_primary_have_the_same_bits() -> None:
    fine = synthetic_market(["BTC/USDT"], "1m", candles=15_000, seed=5)[0]
    document = {**CROSS, "timeframes": {"primary": "5m", "trend": "1h"}, "filters": {"trend_alignment": {}}}
    assert len(both(document, fine).fill_rows)
    both(document, gapped(fine))


def test_a_canceled_run_is_the_beginning_of_the_whole(candles: Candles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.research.looping.CHUNK", 1_000)
    whole = backtest(CROSS, candles, tier="fused")
    answers = iter([False, False, False, True])
    part = backtest(CROSS, candles, tier="fused", cancelled=lambda: next(answers))
    assert len(part.equity_curve) == 3_000
    np.testing.assert_array_equal(part.equity_curve, whole.equity_curve[:3_000])
    same(whole, backtest(CROSS, candles, tier="scan"))


def test_little_work_never_compiles(candles: Candles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "is_fused", lambda loop: loop.is_ready)  # an earlier run of this test left it on disk
    plan, _ = configure({**CROSS, "indicators": {**CROSS["indicators"], "third": {"kind": "sma"}}}, candles)  # type: ignore[dict-item]
    assert tiers.generated_loop(plan, tiers.WORTH_LOADING, "auto") is None
    assert tiers.generated_loop(plan, tiers.WORTH_COMPILING, "auto") is not None


def test_a_block_in_plain_python_runs_by_the_shared_loop(candles: Candles) -> None:
    document = {**CROSS, "analyzers": [{"kind": "slow_for_test"}], "indicators": {}}
    plan, _ = configure(document, candles)
    assert tiers.generated_loop(plan, 10**9, "fused") is None
    with pytest.raises(made.Uninlinable, match="plain Python"):
        made.source_of(plan.code, plan.params, plan.kernels)


def test_another_number_is_the_same_loop_another_step_is_not(candles: Candles) -> None:
    plan, _ = configure(CROSS, candles)
    other, _ = configure(CROSS, candles, overrides={"indicators.fast.period": 30})
    averages = {"fast": {"kind": "sma", "period": 9}, "slow": {"kind": "ema", "period": 21}}
    changed, _ = configure({**CROSS, "indicators": averages}, candles)
    loops = [made.fused(each.code, each.params, each.kernels) for each in (plan, other, changed)]
    assert loops[0] is loops[1]
    assert loops[0] is not loops[2]


@pytest.fixture
def unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the cache folder be one that cannot be made."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setattr(made, "cache_folder", lambda: str(blocked))
    monkeypatch.setattr(made, "_loops", {})
    monkeypatch.setattr(made, "_by_structure", {})
    yield


def test_a_folder_that_cannot_be_written_warns_and_still_runs(unwritable: None, candles: Candles) -> None:
    plan, _ = configure(CROSS, candles)
    with pytest.warns(RuntimeWarning, match="STRATNB_CACHE"):
        loop = made.fused(plan.code, plan.params, plan.kernels)
    assert callable(loop.function)


def test_an_unknown_tier_is_refused(candles: Candles) -> None:
    with pytest.raises(ConfigError, match="tier"):
        backtest(CROSS, candles, tier="fast")  # type: ignore[arg-type]


PAIR = [CROSS, {**CROSS, "name": "other", "indicators": {**CROSS["indicators"], "fast": {"kind": "ema", "period": 5}}}]  # type: ignore[dict-item]


@pytest.mark.parametrize("names", [("simple-levels", "trend-rider", "level-trading-single-ema"), library()])
def test_a_portfolio_closes_with_the_same_bits(names: tuple[str, ...], candles: Candles) -> None:
    series = [gapped(candles), synthetic_market(["ETH/USDT"], "5m", candles=9_000, seed=3)[0]]
    limits = AccountLimits(max_open_positions=4, max_per_market=2)
    options: dict[str, Any] = {"cash": 50_000.0, "limits": limits}
    shared = portfolio([*names, *PAIR], series, tier="scan", **options)
    own = portfolio([*names, *PAIR], series, tier="fused", **options)
    assert len(shared.fill_rows) > 50
    for cells in ("fill_rows", "fill_owners", "curves", "account"):
        np.testing.assert_array_equal(getattr(own, cells), getattr(shared, cells), err_msg=cells)
    for label, one in shared.backtests.items():
        same(one, own.backtests[label])


RULES = (
    *("max_daily_loss", "max_drawdown", "max_consecutive_losses", "max_trades_per_day", "stop_loss_guard"),
    *("streak_factors", "cooldown_s", "low_profit"),
)


def coarse(candles: Candles) -> Candles:
    """Return a series of the sixth power of its prices, on whole ticks of 520."""
    rows = candles.rows()
    prices = rows[0, 0] * (rows[:, :4] / rows[0, 0]) ** 6
    rows[:, :4] = np.maximum(np.round(prices / 520.0), 2.0) * 520.0
    rows[:, 1], rows[:, 2] = rows[:, :4].max(axis=1), rows[:, :4].min(axis=1)
    times = rows[:, at.C_TIME].astype(np.int64)
    return Candles(candles.symbol, candles.timeframe, times, *(rows[:, k].copy() for k in range(5)))


def test_a_portfolio_whose_orders_fill_in_parts_has_the_same_bits() -> None:
    """The rest that an exit leaves behind is heeded by all exits again, the first one first."""
    document = {
        **CROSS,
        "market": {"kind": "linear", "direction": "both"},
        "analyzers": [{"kind": "ema", "mode": "cross", "fast": 3, "slow": 8}],
        "sizing": {"kind": "fixed_quote", "amount": 933.4},
        "exits": {
            "trailing": {"basis": "bollinger", "period": 20},
            "time_exit": {"max_minutes": 10, "only_below": 0.001},
        },
        "risk": dict.fromkeys(RULES),
        "execution": {"max_slippage": None, "simulation": {"max_participation": 0.0002}},
    }
    series = coarse(synthetic_market(["BTC/USDT"], "5m", candles=6_000, seed=11)[0])
    market = Market("BTC/USDT", kind="linear", tick=520.0, lot=2.4321905280772076e-08)
    options: dict[str, Any] = {"cash": 50_000.0, "market": market}
    shared = portfolio([document], series, tier="scan", **options)
    own = portfolio([document], series, tier="fused", **options)
    assert len(shared.fill_rows) > 500
    np.testing.assert_array_equal(own.fill_rows, shared.fill_rows)


def test_a_portfolio_takes_the_generated_close(candles: Candles) -> None:
    plan, _ = configure(CROSS, candles)
    shared = tiers.closes([plan, plan], len(candles), "scan")
    own = tiers.closes([plan, plan], len(candles), "fused")
    assert all(a.close != b.close for a, b in zip(own, shared, strict=True))
    assert tiers.closes([plan], 100, "auto") == shared[:1]
