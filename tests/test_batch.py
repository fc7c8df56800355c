"""Many plans at once give what each gives alone, to the last bit, and the figures are those of a backtest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.batch import Batch, run_batch, track_of
from stratnb.research.configured import configure
from stratnb.research.daily import daily_series, returns_of
from stratnb.research.gaps import OnGap
from stratnb.research.measure import BLOCKS, FIGURES, blocks_of, daily_sharpes, measure
from stratnb.services.daily import deviation
from sweep_cases import EMA, FAST, MARKET, SCORE, SLOW, STOP, walk
from trading_cases import BOOM, FREE, document, flat, registered, series

pytestmark = pytest.mark.usefixtures("every_loop_compiles")

SETTINGS: list[dict[str, Any]] = [
    {FAST: 3, SLOW: 8},
    {FAST: 5, SLOW: 30, STOP: 0.004},
    {FAST: 9, SLOW: 40, STOP: 0.5},
    {SCORE: 0.99},
    {"risk.max_daily_loss": 0.001},
    {"sizing": {"kind": "fixed_quantity", "quantity": 2.5}, "capital.amount": 1.0},
]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def _equal(one: Batch, other: Batch) -> bool:
    names = ("daily", "book", "reasons", "exposure")
    return all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=True) for n in names)


@pytest.mark.parametrize(("gaps", "on_gap"), [(0, "hold"), (7, "hold"), (7, "split")])
def test_a_batch_is_the_backtests_of_its_plans(gaps: int, on_gap: OnGap) -> None:
    candles = walk(gaps=gaps)
    track = track_of(candles, on_gap)
    plans = [configure(EMA, candles, market=MARKET, overrides=own)[0] for own in SETTINGS]
    batch = run_batch(plans, track, cash=20_000.0, limits=FREE)
    for threads in (2, 5):
        assert _equal(batch, run_batch(plans, track, cash=20_000.0, limits=FREE, threads=threads))
    assert _equal(batch, _stacked([run_batch([plan], track, cash=20_000.0, limits=FREE) for plan in plans]))
    found = measure(batch, days=track.days)
    assert tuple(sorted(found)) == tuple(sorted(FIGURES))
    runs = [
        backtest(EMA, candles, market=MARKET, cash=20_000.0, limits=FREE, overrides=own, on_gap=on_gap)
        for own in SETTINGS
    ]
    for k, run in enumerate(runs):
        _check_row(batch, found, k, run)
    assert max(len(run.closed_trades) for run in runs) > 60 and min(len(run.closed_trades) for run in runs) == 0


def _stacked(parts: list[Batch]) -> Batch:
    names = ("daily", "book", "reasons", "exposure")
    return Batch(*(np.concatenate([getattr(part, name) for part in parts]) for name in names), errors=())


def _check_row(batch: Batch, found: dict[str, Any], k: int, run: Backtest) -> None:
    """Compare a row with a whole backtest."""
    _, daily = daily_series(run.close_ms, run.equity_curve, run.capital)
    assert np.array_equal(batch.daily[k], daily)
    assert np.array_equal(batch.book[k], run.book, equal_nan=True)
    assert run.plan.counts(list(batch.reasons[k])) == run.reasons
    figures = run.figures | {"pnl": float(run.equity_curve[-1]) - run.capital}
    for name in FIGURES:
        value, expected = float(found[name][k]), figures[name]
        if expected is None:
            assert math.isnan(value), name
        elif name in ("profit_factor", "expectancy", "fees"):  # sums in another order
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), name
        else:
            assert value == expected, name
    returns = returns_of(daily)
    blocks = blocks_of(batch)[k]
    assert blocks[:, 0].sum() == len(returns)
    assert blocks[:, 1].sum() == pytest.approx(returns.sum(), abs=1e-12)
    assert blocks[:, 2].sum() == pytest.approx((returns**2).sum(), abs=1e-12)
    spread = deviation(returns)
    sharpe = daily_sharpes(batch)[k]
    assert sharpe == returns.mean() / spread if spread > 0 else math.isnan(sharpe)


def test_figures_without_money_days_or_trades_are_not_defined() -> None:
    daily = np.array([[10.0, 0.0, 5.0], [10.0, 10.0, 10.0], [np.nan] * 3, [10.0, 11.0, 12.0]])
    book = np.zeros((4, at.W_BOOK))
    book[:, at.B_EQUITY], book[2] = daily[:, -1], np.nan
    batch = Batch(daily, book, np.zeros((4, 1)), np.zeros(4), ("",) * 4)
    found = measure(batch, days=2.0)
    assert np.isnan(found["sharpe"]).tolist() == [True, True, True, False]
    assert np.isnan(found["sortino"]).all() and np.isnan(found["win_rate"]).all()
    assert found["volatility"][1] == 0.0 and np.isnan(found["volatility"][[0, 2]]).all()
    assert found["total_return"].tolist()[:2] == [-0.5, 0.0] and np.isnan(found["pnl"][2])
    assert blocks_of(batch).shape == (4, BLOCKS, 3) and not blocks_of(batch)[[0, 2]].any()
    short = Batch(daily[:, :1], book, np.zeros((4, 1)), np.zeros(4), ("",) * 4)
    assert np.isnan(measure(short, days=0.0)["sharpe"]).all() and np.isnan(measure(short, days=0.0)["cagr"]).all()


def test_a_block_that_raises_is_the_error_of_its_trial() -> None:
    candles = series([*flat(30), (100.0, 100.0, 100.0, 100.0, BOOM), *flat(30)])
    good = document(name="good", analyzers=[{"kind": "dice"}])
    plans = [configure(own, candles, market=MARKET)[0] for own in (good, document(), good)]
    batch = run_batch(plans, track_of(candles), cash=1_000.0, threads=2)
    assert batch.errors[0] == batch.errors[2] == "" and "the script says so" in batch.errors[1]
    assert np.isnan(batch.daily[1]).all() and np.isnan(batch.book[1]).all()
    assert np.array_equal(batch.daily[0], batch.daily[2])


def test_a_gap_stops_or_splits() -> None:
    candles = walk(gaps=20)
    with pytest.raises(ConfigError, match=r"20 gaps, .* the first after") as error:
        backtest(EMA, candles, market=MARKET, on_gap="stop")
    assert error.value.code == "gap"
    with pytest.raises(ConfigError, match="'sliep' is not known"):
        backtest(EMA, candles, market=MARKET, on_gap="sliep")  # type: ignore[arg-type]
    split = backtest(EMA, candles, market=MARKET, limits=FREE, on_gap="split")
    gaps = candles.gaps()
    before, length = gaps.after_ms + 60_000, candles.open_time_ms
    after = length[np.searchsorted(length, gaps.after_ms) + 1]
    for trade in split.closed_trades:
        assert not any(trade.entry_ms < end and trade.exit_ms > start for end, start in zip(before, after, strict=True))
    closes = candles.close[np.searchsorted(length, gaps.after_ms)]
    forced = [fill for fill in split.all_fills if fill.reason == "manual"]
    assert forced and {fill.time_ms for fill in forced} <= set(before.tolist())
    for fill in forced:
        close = closes[before.tolist().index(fill.time_ms)]
        assert fill.price == pytest.approx(close * (1 - 0.001 if fill.side == "sell" else 1 + 0.001), abs=0.011)
    assert backtest(EMA, walk(), market=MARKET, on_gap="split").fill_rows.tolist() == (
        backtest(EMA, walk(), market=MARKET, on_gap="stop").fill_rows.tolist()
    )
