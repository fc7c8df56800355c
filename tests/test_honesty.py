"""Overfitting, bootstrap, random entries and the verdict: by brute force, by their laws, and in degenerate cases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research import overfitting
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.bootstrap import bootstrap, trade_returns
from stratnb.research.deflation import deflated_sharpe, expected_maximum
from stratnb.research.holding import against_buy_and_hold
from stratnb.research.honesty import RULE, Ledger, study_of, verdict
from stratnb.research.overfitting import probability_of_overfitting
from stratnb.research.random_entries import random_entries

Floats = np.ndarray[Any, np.dtype[np.float64]]


def sums(returns: Floats, parts: int = 16) -> Floats:
    """Return count, sum and sum of squares of daily returns (trials, days) in consecutive blocks."""
    pieces = np.array_split(np.arange(returns.shape[1]), parts)
    made = [
        [np.full(len(returns), float(len(p))), returns[:, p].sum(axis=1), (returns[:, p] ** 2).sum(axis=1)]
        for p in pieces
    ]
    return np.array(made).transpose(2, 0, 1)


def brute_force(returns: Floats, parts: int) -> float | None:
    """Return the share of splits in which the best of one half is in the lower half of the other, day by day."""
    pieces, below, splits = np.array_split(np.arange(returns.shape[1]), parts), 0, 0
    for chosen in combinations(range(parts), parts // 2):
        inside = returns[:, np.concatenate([pieces[k] for k in chosen])]
        outside = returns[:, np.concatenate([pieces[k] for k in range(parts) if k not in chosen])]
        ratios = [
            [r.mean() / r.std(ddof=1) if r.std() > 1e-9 else math.nan for r in half] for half in (inside, outside)
        ]
        known = [k for k, ratio in enumerate(ratios[0]) if not math.isnan(ratio)]
        if not known:
            continue
        best = max(known, key=lambda k: (ratios[0][k], -k))
        other = [0.0 if math.isnan(ratio) else ratio for ratio in ratios[1]]
        rank = sum(x < other[best] for x in other) + (sum(x == other[best] for x in other) + 1) / 2
        share = rank / (len(other) + 1)
        below, splits = below + (math.log(share / (1 - share)) <= 0.0), splits + 1
    return below / splits if splits else None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("trials", "parts"), [(2, 4), (5, 6), (9, 8)])
def test_overfitting_is_that_of_brute_force(seed: int, trials: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.normal(rng.normal(0, 0.3, (trials, 1)), 1.0, (trials, 61))
    returns[-1] = 0.0  # a trial that never traded
    returns[0, :9] = 0.0
    assert probability_of_overfitting(sums(returns, parts)) == pytest.approx(brute_force(returns, parts), abs=1e-12)


def test_overfitting_tells_skill_from_luck() -> None:
    rng = np.random.default_rng(1)
    noise = [probability_of_overfitting(sums(rng.normal(0, 1, (40, 320)))) for _ in range(8)]
    skilled = rng.normal(0, 1, (40, 320))
    skilled[7] += 0.4
    assert 0.3 < float(np.mean([x for x in noise if x is not None])) < 0.7
    assert (probability_of_overfitting(sums(skilled)) or 0.0) < 0.01


def test_overfitting_is_not_made_up() -> None:
    rng = np.random.default_rng(2)
    returns = rng.normal(0, 1, (4, 64))
    short = sums(returns[:, :10])
    failed = np.concatenate((sums(returns[:1]), np.full((3, 16, 3), math.nan)))
    assert probability_of_overfitting(sums(returns[:1])) is None
    assert probability_of_overfitting(sums(np.zeros((4, 64)))) is None
    assert probability_of_overfitting(short) is None
    assert probability_of_overfitting(failed) is None
    assert probability_of_overfitting(np.empty((0, 16, 3))) is None


def test_overfitting_of_many_trials_takes_fewer_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the memory do not change the figure; a drawn share of the splits is near it."""
    blocks = sums(np.random.default_rng(3).normal(0, 1, (60, 160)))
    whole = probability_of_overfitting(blocks)
    monkeypatch.setattr(overfitting, "AT_ONCE", 7_000)
    assert probability_of_overfitting(blocks) == whole
    monkeypatch.setattr(overfitting, "CELLS", 60 * 1_000)
    assert whole is not None
    assert probability_of_overfitting(blocks) == pytest.approx(whole, abs=0.08)


def test_more_trials_deflate_more() -> None:
    returns = np.random.default_rng(4).normal(0.002, 0.02, 500)
    found = [deflated_sharpe(returns, trials, 0.03) for trials in (2, 10, 100, 10_000)]
    assert found == sorted((x for x in found if x is not None), reverse=True)
    assert deflated_sharpe(returns, 1, 0.03) is None
    assert deflated_sharpe(returns, 10, math.nan) is None
    assert deflated_sharpe(np.zeros(50), 10, 0.03) is None
    with pytest.raises(ConfigError, match="below 0"):
        expected_maximum(10, -0.1)


def test_the_best_of_noise_is_the_expected_maximum() -> None:
    rng = np.random.default_rng(5)
    found = rng.normal(0, 0.05, (4_000, 50)).max(axis=1).mean()
    assert expected_maximum(50, 0.05) == pytest.approx(found, rel=0.02)


def test_the_bootstrap_is_seeded_and_covers() -> None:
    rng = np.random.default_rng(6)
    first = bootstrap(rng.normal(0.01, 0.05, 80), samples=500, seed=3)
    again = bootstrap(np.random.default_rng(6).normal(0.01, 0.05, 80), samples=500, seed=3)
    assert first.intervals == again.intervals
    covered = 0
    for k in range(60):
        mean = bootstrap(rng.normal(0.01, 0.05, 100), samples=300, seed=k)["mean"]
        assert mean.low is not None
        assert mean.high is not None
        covered += mean.low <= 0.01 <= mean.high
    assert covered >= 50


def test_the_figures_of_the_trades_by_hand() -> None:
    found = bootstrap([0.1, -0.05, 0.02, 0.0], samples=50)
    assert found["mean"].value == pytest.approx(0.0175)
    assert found["total"].value == pytest.approx(1.1 * 0.95 * 1.02 - 1)
    assert found["win_rate"].value == 0.5
    assert found["profit_factor"].value == pytest.approx(0.12 / 0.05)
    assert found["max_drawdown"].value == pytest.approx(0.05)
    assert list(found.frame.columns) == ["value", "low", "high"]
    assert "profit_factor" in found._repr_html_()


def test_blocks_keep_what_follows_what() -> None:
    """Wins and losses in turn: single trades forget it, long blocks keep their sum near zero."""
    returns = np.tile([0.1, -0.1], 60)
    one, long = (bootstrap(returns, samples=400, block=size)["mean"] for size in (1.0, 40.0))
    assert one.high is not None
    assert long.high is not None
    assert long.high < 0.3 * one.high


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1, 0.2]])
def test_the_bootstrap_makes_nothing_up(returns: list[float]) -> None:
    found = bootstrap(returns, samples=100)
    assert (found["profit_factor"].value, found["profit_factor"].high) == (None, None)
    if len(returns) < 2:
        assert all(each.low is None and each.high is None for each in found.intervals.values())
    assert "n/a" in found._repr_html_()


def test_wrong_input_of_the_bootstrap() -> None:
    for options in ({"samples": 0}, {"level": 1.0}, {"block": 0.5}, {"block": math.nan}):
        with pytest.raises(ConfigError, match="cannot be made"):
            bootstrap([0.1, 0.2], **options)
    with pytest.raises(ConfigError, match="no returns of trades"):
        bootstrap([0.1, math.nan])


DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "turns",
    "title": "Turns",
    "market": {"kind": "linear"},
    "timeframes": {"primary": "1h"},
    "analyzers": [{"kind": "ema", "params": {"fast": 5, "slow": 20, "mode": "state"}}],
    "entry": {"min_score": 0.0, "min_confidence": 0.0},
    "sizing": {"kind": "risk", "fraction": 0.01},
    "exits": {"stop_loss": {"fraction": 0.05}, "signal_exit": {"min_confidence": 0.0}},
    "risk": {
        **{"max_daily_loss": None, "max_drawdown": None, "max_consecutive_losses": None, "stop_loss_guard": None},
        "streak_factors": None,
    },
}


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], "1h", candles=3_000, seed=3)[0]


@pytest.fixture(scope="module")
def result(candles: Candles) -> Backtest:
    return backtest(DOCUMENT, candles, decisions="entries")


def test_trade_returns_add_up_to_the_result(result: Backtest) -> None:
    returns = trade_returns(result.closed_trades, result.capital)
    realized = sum(trade.pnl for trade in result.closed_trades)
    assert np.prod(1.0 + returns) - 1.0 == pytest.approx(realized / result.capital, rel=1e-9)
    found = bootstrap(result, samples=200)
    assert found["total"].value == pytest.approx(realized / result.capital, rel=1e-9)
    lost = [trade for trade in result.closed_trades if trade.pnl < 0]
    assert trade_returns(lost, -lost[0].pnl).tolist() == [-1.0]


def test_random_entries_have_the_frequency_and_are_seeded(result: Backtest) -> None:
    found = random_entries(result, n=24, seed=5, threads=1)
    again = random_entries(result, n=24, seed=5, threads=3)
    assert found.returns.tobytes() == again.returns.tobytes()
    assert found.returns.tobytes() != random_entries(result, n=24, seed=6).returns.tobytes()
    assert found.entries.mean() == pytest.approx(found.own_entries, rel=0.15)
    assert len(set(found.returns)) > 20
    worse = int((found.returns >= found.own).sum())
    assert found.p_value == (1 + worse) / 25
    assert "random entries" in found._repr_html_()


def test_random_entries_pay_the_same_costs(candles: Candles, result: Backtest) -> None:
    """With ten times the fees chance loses more, as the strategy does."""
    dear = backtest(DOCUMENT, candles, overrides={"execution.simulation.taker_fee": 0.01})
    cheap = random_entries(result, n=8).median
    costly = random_entries(dear, n=8).median
    assert cheap is not None
    assert costly is not None
    assert costly < cheap - 0.1


@pytest.fixture(scope="module")
def waves(candles: Candles) -> Candles:
    """Candles that rise and fall for thirty hours each, where averages that cross are always right."""
    steps = np.repeat(np.tile([0.004, -0.004], 50), 30)
    close = 100.0 * np.exp(np.cumsum(steps))
    opens = np.concatenate(([100.0], close[:-1]))
    rows = [opens, np.maximum(opens, close), np.minimum(opens, close), close, np.ones(len(close))]
    return Candles("BTC/USDT", "1h", candles.open_time_ms[: len(close)], *rows)


def test_foresight_beats_chance(waves: Candles) -> None:
    found = random_entries(backtest(DOCUMENT, waves), n=30)
    assert found.p_value == pytest.approx(1 / 31)


def test_random_entries_of_a_strategy_that_never_traded(candles: Candles) -> None:
    idle = backtest(DOCUMENT, candles, overrides={"entry.min_score": 1.0, "entry.min_confidence": 1.0})
    found = random_entries(idle, n=5)
    assert (found.own_entries, found.p_value, found.median) == (0, None, None)
    with pytest.raises(ConfigError, match="at least 1"):
        random_entries(idle, n=0)


def test_random_entries_can_be_stopped(result: Backtest) -> None:
    told: list[tuple[int, int]] = []
    found = random_entries(result, n=20, progress=lambda done, n: told.append((done, n)), threads=1)
    assert told == [(16, 20), (20, 20)]
    assert len(found.returns) == 20
    assert random_entries(result, n=5, cancelled=lambda: True).p_value is None


def test_beside_buy_and_hold(candles: Candles, result: Backtest) -> None:
    found = against_buy_and_hold(result)
    fee = float(result.plan.params[at.S_TAKER])
    assert found["held_total_return"] == pytest.approx(candles.close[-1] / candles.open[0] - 1 - 2 * fee, rel=1e-9)
    assert found["total_return"] == pytest.approx(result.equity_curve[-1] / result.capital - 1, rel=1e-9)
    assert found["excess"] == pytest.approx((found["total_return"] or 0) - (found["held_total_return"] or 0))
    assert found["beta"] is not None


@dataclass
class Trials:
    """What a verdict reads of a sweep, of given trials on given candles."""

    candles: Candles
    returns: Floats
    best: dict[str, Any] | None = field(default_factory=lambda: {"analyzers[0].params.fast": 5})
    study: str | None = None
    ledger: Ledger | None = None
    min_trades: int = 0

    @property
    def count(self) -> int:
        return len(self.returns)

    @property
    def blocks(self) -> Floats:
        return sums(self.returns)

    @property
    def sharpes(self) -> Floats:
        found: Floats = self.returns.mean(axis=1) / self.returns.std(axis=1, ddof=1)
        return found

    def backtest(self) -> Backtest:
        return backtest(DOCUMENT, self.candles)


@pytest.fixture
def trials(candles: Candles) -> Trials:
    return Trials(candles, np.random.default_rng(8).normal(0, 0.01, (12, 125)))


def test_a_verdict_counts_the_ledgers_trials(trials: Any, tmp_path: Path, result: Backtest) -> None:
    ledger = Ledger(tmp_path / "trials.sqlite")
    first = verdict(trials, ledger=ledger, random=0, samples=50)
    assert (first.trials, first.counted) == (12, 12)
    ledger.note(study_of(result.plan.config, result.candles), [str(k) for k in range(500)], np.linspace(-0.1, 0.1, 500))
    second = verdict(trials, ledger=ledger, random=3, samples=50)
    assert second.counted == 500
    assert first.deflated is not None
    assert second.deflated is not None
    assert second.deflated <= first.deflated
    assert not second.significant
    assert any("deflated Sharpe ratio" in text for text in second.against)
    assert second.random is not None
    shown = second._repr_html_()
    assert RULE.replace(">", "&gt;").replace("<", "&lt;") in shown
    assert "500 in the ledger" in shown
    assert f'<td style="text-align: left">{second.deflated:.2%}</td>' in shown
    assert f"{abs(second.sharpe or 0.0):.2f} over {second.days} days" in shown
    assert "not significant" in repr(second)
    assert second.frame.loc["trials", "value"] == "12 in this sweep, 500 in the ledger"


def test_a_verdict_without_a_best(trials: Any) -> None:
    trials.best = None
    found = verdict(trials, random=3)
    assert (found.significant, found.best, found.against) == (False, None, ("no trial has a defined objective",))
    assert "n/a" in found._repr_html_()


def test_the_rule_of_significance(trials: Any, waves: Candles) -> None:
    """Skill is found; too few days and trades, or trades that lose, are not it."""
    found = verdict(Trials(waves, trials.returns), random=0, samples=200)  # type: ignore[arg-type]
    assert (found.significant, found.against) == (True, ())
    assert "significant: deflated Sharpe" in repr(found)
    short = verdict(Trials(waves[:200], trials.returns), random=0, samples=200)  # type: ignore[arg-type]
    assert not short.significant
    assert [text for text in short.against if "are under 30" in text] == [
        "9 days are under 30",
        "6 trades are under 30",
    ]
    poor = verdict(trials, random=0, samples=200)
    assert not poor.significant
    assert any(text.startswith("the interval of the mean trade starts at -") for text in poor.against)
