"""Performance figures against formulas by hand, and None where they are not defined."""

from __future__ import annotations

import math
import statistics as stats
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.model import Trade
from stratnb.research import figures
from stratnb.research.daily import daily_series
from stratnb.research.figures import CONVENTIONS, drawdown, trade_figures

DAY = 86_400_000
HOUR = 3_600_000


def equity_figures(times: Any, equity: Any, start: float) -> dict[str, float | None]:
    return figures.equity_figures(times, equity, start, start_ms=0)


def closes(n: int, step: int = DAY) -> np.ndarray[Any, np.dtype[np.int64]]:
    return step * np.arange(1, n + 1, dtype=np.int64)


def of_returns(returns: list[float], start: float = 10_000.0) -> dict[str, float | None]:
    return equity_figures(closes(len(returns)), start * np.cumprod(1.0 + np.array(returns)), start)


def trade(pnl: float, hold_s: float = 60.0, fees: float = 1.0) -> Trade:
    return Trade("s", "A/B", 1, 1, 1.0, 0, 100.0, int(hold_s * 1000), 100.0, pnl, fees, pnl / 100.0, "stop", 2)


finite = st.floats(-0.2, 0.2).map(lambda r: round(r, 6))


@given(returns=st.lists(finite, min_size=2, max_size=60))
def test_daily_figures_by_hand(returns: list[float]) -> None:
    found, equity = of_returns(returns), [10_000.0]
    for r in returns:
        equity.append(equity[-1] * (1 + r))
    real = [b / a - 1 for a, b in pairwise(equity)]
    mean, deviation = stats.fmean(real), stats.stdev(real)
    below = math.sqrt(sum(min(r, 0.0) ** 2 for r in real) / len(real))
    peak, worst = equity[0], 0.0
    for value in equity:
        peak = max(peak, value)
        worst = max(worst, 1 - value / peak)
    assert found["total_return"] == pytest.approx(equity[-1] / 10_000 - 1, rel=1e-9, abs=1e-12)
    assert found["volatility"] == pytest.approx(deviation * math.sqrt(365), rel=1e-6, abs=1e-9)
    assert found["max_drawdown"] == pytest.approx(worst, rel=1e-9, abs=1e-12)
    assert found["days"] == len(returns)
    if deviation > 1e-9:
        assert found["sharpe"] == pytest.approx(mean / deviation * math.sqrt(365), rel=1e-6, abs=1e-9)
    if below > 1e-9:
        assert found["sortino"] == pytest.approx(mean / below * math.sqrt(365), rel=1e-6, abs=1e-9)
    if worst > 1e-9:
        assert found["recovery_factor"] == pytest.approx((equity[-1] / 10_000 - 1) / worst, rel=1e-6, abs=1e-9)


def test_a_year_is_365_days_of_elapsed_time() -> None:
    """From the first candle's open to the last close: 730 days that double the money twice are 100 % a year."""
    equity = 100.0 * 4.0 ** (np.arange(1, 731) / 730)
    assert equity_figures(closes(730), equity, 100.0)["cagr"] == pytest.approx(1.0, rel=1e-9)
    hours = 100.0 * 4.0 ** (np.arange(1, 730 * 24 + 1) / (730 * 24))
    assert equity_figures(closes(730 * 24, HOUR), hours, 100.0)["cagr"] == pytest.approx(1.0, rel=1e-9)


def test_calmar_is_of_daily_equity() -> None:
    found = of_returns([0.01, -0.02, 0.03, -0.01, 0.02] * 10)
    assert found["cagr"] is not None
    assert found["max_drawdown_daily"] is not None
    assert found["calmar"] == pytest.approx(found["cagr"] / found["max_drawdown_daily"], rel=1e-12)


def test_steady_growth_has_no_sharpe() -> None:
    """Equal returns have no deviation, also when rounding leaves some."""
    for rate in (0.01, 0.001, 0.0, -0.003):
        found = of_returns([rate] * 40)
        assert found["sharpe"] is None, rate
        assert found["volatility"] == pytest.approx(0.0, abs=1e-12)
    assert of_returns([0.01] * 40)["sortino"] is None
    assert of_returns([0.01] * 40)["calmar"] is None
    assert of_returns([0.01] * 40)["recovery_factor"] is None


def test_full_resolution_and_daily_drawdown() -> None:
    equity = np.array([100.0, 50.0, 100.0, 100.0, 90.0, 95.0])
    found = equity_figures(closes(6, DAY // 2), equity, 100.0)
    assert (found["max_drawdown"], found["max_drawdown_daily"]) == (0.5, 0.5)
    assert equity_figures(closes(4, DAY // 4), equity[:4], 100.0)["max_drawdown_daily"] == 0.0


def test_nothing_is_made_up_for_too_little() -> None:
    none = equity_figures(np.empty(0, np.int64), np.empty(0), 100.0)
    assert [none[k] for k in ("sharpe", "sortino", "cagr", "volatility", "calmar", "recovery_factor")] == [None] * 6
    one = equity_figures(closes(1, HOUR), np.array([101.0]), 100.0)
    assert (one["cagr"], one["volatility"], one["sharpe"]) == (None, None, None)
    assert one["total_return"] == pytest.approx(0.01)


@pytest.mark.parametrize("end", [0.0, -50.0])
def test_a_lost_account(end: float) -> None:
    found = equity_figures(closes(40), np.linspace(100.0, end, 40), 100.0)
    assert found["cagr"] is None
    assert found["sharpe"] is None
    assert found["total_return"] == pytest.approx(end / 100 - 1)
    assert found["max_drawdown"] == pytest.approx(1 - end / 100)


def test_days_are_cut_at_midnight() -> None:
    """A close at 00:00 belongs to the day before; days without candles are flat."""
    times = np.array([DAY // 2, DAY, DAY + 1, 4 * DAY, 4 * DAY + HOUR])
    _, daily = daily_series(times, np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 0.5)
    assert daily.tolist() == [0.5, 2.0, 3.0, 3.0, 4.0, 5.0]
    assert daily_series(np.empty(0, np.int64), np.empty(0), 7.0)[1].tolist() == [7.0]


@given(values=st.lists(st.floats(1.0, 1e6), min_size=1, max_size=50))
def test_drawdown_is_the_fall_from_the_peak(values: list[float]) -> None:
    found = drawdown(np.array(values))
    for k, fall in enumerate(found):
        assert fall == pytest.approx(1 - values[k] / max(values[: k + 1]), abs=1e-12)


@given(pnls=st.lists(st.sampled_from([-30.0, -10.0, 0.0, 5.0, 20.0, 45.0]), min_size=0, max_size=30))
def test_trade_figures_by_hand(pnls: list[float]) -> None:
    found = trade_figures([trade(p, hold_s=30.0 * k) for k, p in enumerate(pnls)])
    wins, losses, n = [p for p in pnls if p > 0], [p for p in pnls if p < 0], len(pnls)
    assert found["trades"] == n
    assert found["win_rate"] == (len(wins) / n if n else None)
    assert found["profit_factor"] == (pytest.approx(sum(wins) / -sum(losses)) if losses else None)
    assert found["payoff"] == (pytest.approx(stats.fmean(wins) / -stats.fmean(losses)) if wins and losses else None)
    assert found["expectancy"] == (pytest.approx(stats.fmean(pnls)) if n else None)
    deviation = stats.stdev(pnls) if n >= 2 else 0.0
    assert found["sqn"] == (pytest.approx(math.sqrt(n) * stats.fmean(pnls) / deviation) if deviation > 0 else None)
    assert (found["best_trade"], found["worst_trade"]) == ((max(pnls), min(pnls)) if n else (None, None))
    assert found["average_hold_s"] == (pytest.approx(15.0 * (n - 1)) if n else None)
    assert found["fees"] == n


def test_equal_trades_have_no_sqn() -> None:
    assert trade_figures([trade(0.1)] * 3)["sqn"] is None
    assert trade_figures([trade(1 / 3)] * 7)["sqn"] is None


def test_every_figure_has_a_convention() -> None:
    names = {*of_returns([0.01, 0.02]), *trade_figures([])}
    assert names <= set(CONVENTIONS)
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in of_returns([0.5, -0.9, 3.0]).values())
