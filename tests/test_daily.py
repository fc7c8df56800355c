"""Figures of daily equity against the golden vector, values of scipy 1.17.1 and formulas by hand."""

from __future__ import annotations

import math
import statistics as stats
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.research.conventions import CONVENTIONS, OF_TRADES, OTHER_TOOLS, explained
from stratnb.research.daily import (
    DAY_MS,
    against,
    correlation,
    daily_figures,
    daily_series,
    monthly,
    returns_of,
    rolling_sharpe,
)
from stratnb.research.distributions import normal_below, t_two_sided
from stratnb.research.falls import fall_figures, falls_of, largest_in_money
from stratnb.research.figures import all_figures, equity_figures, trade_figures

HOUR_MS = 3_600_000
GOLDEN = np.loadtxt(Path(__file__).with_name("golden_returns.txt"))
WANTED = {
    "sharpe": 1.7547056988,
    "sortino": 2.6489155086,
    "calmar": 4.2360624760,
    "cagr": 0.8058997079,
    "volatility": 0.3776616602,
    "max_drawdown_daily": 0.1902473612,
}
SIX_DIGITS = {
    "sharpe": "1.754706",
    "sortino": "2.648916",
    "calmar": "4.236062",
    "cagr": "0.805900",
    "volatility": "0.377662",
    "max_drawdown_daily": "0.190247",
}
SCIPY = {
    "skew": -0.027636632126854136,
    "kurtosis": -0.019236502635188835,
    "psr": 0.9932739521094217,
    "var_95": 0.0301105831833078,
}


def golden_equity() -> Any:
    return 10_000.0 * np.cumprod(np.concatenate(([1.0], 1.0 + GOLDEN)))


def test_the_golden_vector() -> None:
    """The six figures that the conventions were fixed with: 730 daily returns from 10,000."""
    found = daily_figures(golden_equity(), days=730)
    for name, value in WANTED.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
        assert f"{found[name]:.6f}" == SIX_DIGITS[name]
    for name, value in SCIPY.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_the_golden_vector_by_pandas() -> None:
    found, r = daily_figures(golden_equity(), days=730), pd.Series(GOLDEN)
    equity = pd.Series(golden_equity())
    falls = 1 - equity / equity.cummax()
    assert found["omega"] == pytest.approx(r[r > 0].sum() / -r[r < 0].sum(), rel=1e-9)
    assert found["ulcer_index"] == pytest.approx(math.sqrt((falls**2).mean()), rel=1e-9)
    assert found["cvar_95"] == pytest.approx(-r[r <= r.quantile(0.05)].mean(), rel=1e-9)
    assert found["tail_ratio"] == pytest.approx(abs(r.quantile(0.95) / r.quantile(0.05)), rel=1e-9)
    assert found["skew"] == pytest.approx(r.skew(), rel=1e-9)
    assert found["kurtosis"] == pytest.approx(r.kurt(), rel=1e-9)
    assert (found["best_day"], found["worst_day"]) == (pytest.approx(r.max()), pytest.approx(r.min()))
    assert found["days"] == 730


def test_the_front_gives_the_same_for_hours() -> None:
    """Twenty-four points a day change nothing but the drawdown in full resolution."""
    daily = golden_equity()
    hours = np.interp(np.arange(1, 730 * 24 + 1) / 24, np.arange(731), daily)
    times = np.arange(1, 730 * 24 + 1, dtype=np.int64) * HOUR_MS
    found = equity_figures(times, hours, 10_000.0, start_ms=0)
    for name, value in WANTED.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    whole = all_figures(times, hours, 10_000.0, start_ms=0)
    assert {**whole, **found} == whole


@pytest.mark.parametrize(
    ("t", "freedom", "wanted"),
    [
        (2.0, 10, 0.07338803477074037),
        (0.5, 1, 0.7048327646991335),
        (5.0, 59, 5.448480663694811e-06),
        (0.0, 7, 1.0),
        (30.0, 3, 8.135280427163958e-05),
        (0.001, 400, 0.9992026140939541),
        (-1.138477615898094, 59, 0.25952287810069136),
    ],
)
def test_students_t_is_that_of_scipy(t: float, freedom: float, wanted: float) -> None:
    assert t_two_sided(t, freedom) == pytest.approx(wanted, rel=1e-9)


@given(z=st.floats(-8, 8))
def test_the_normal_distribution(z: float) -> None:
    assert normal_below(z) == pytest.approx(stats.NormalDist().cdf(z), rel=1e-9, abs=1e-15)


def test_nothing_is_made_up_for_too_few_days() -> None:
    needs = {"var_95": 20, "cvar_95": 20, "skew": 4, "kurtosis": 4, "psr": 2, "volatility": 2, "sharpe": 2}
    for name, days in needs.items():
        for n in (days - 1, days):
            equity = 100.0 * np.cumprod(np.concatenate(([1.0], 1.0 + GOLDEN[:n])))
            assert (daily_figures(equity, days=n)[name] is None) == (n < days), (name, n)
    flat = daily_figures(np.full(40, 100.0), days=39)
    assert [flat[k] for k in ("sharpe", "sortino", "omega", "calmar", "tail_ratio", "skew", "psr")] == [None] * 7
    assert daily_figures(np.array([0.0, 1.0]), days=1)["total_return"] is None


@given(values=st.lists(st.floats(10.0, 1_000.0), min_size=1, max_size=60))
def test_falls_cover_all_time_under_the_peak(values: list[float]) -> None:
    equity, times = np.array(values), np.arange(len(values), dtype=np.int64) * HOUR_MS
    found = falls_of(times, equity)
    under = [value < max(values[: k + 1]) for k, value in enumerate(values)]
    assert len(found) == sum(is_under and not before for before, is_under in zip([False, *under], under, strict=False))
    for peak, end, depth in found:
        last = len(values) if np.isnan(end) else int(end // HOUR_MS)
        part = values[int(peak // HOUR_MS) : last]
        assert depth == pytest.approx(1 - min(part) / part[0], rel=1e-12)
        assert np.isnan(end) or values[last] >= part[0]
    worst, peak_ms, trough_ms = largest_in_money(times, equity)
    assert worst == pytest.approx(values[peak_ms // HOUR_MS] - values[trough_ms // HOUR_MS], abs=1e-9)
    figures = fall_figures(times, equity)
    assert figures["max_drawdown"] == pytest.approx(found[:, 2].max(initial=0.0), rel=1e-12)
    assert (figures["open_drawdown"] is None) == (not under[-1])
    assert (figures["recovery_factor"] is None) == (not any(under))


def test_months_of_a_year_multiply_to_the_whole() -> None:
    first = int(np.datetime64("2025-01-11", "D").astype(np.int64))
    times = (first + 1 + np.arange(730, dtype=np.int64)) * DAY_MS
    days, daily = daily_series(times, golden_equity()[1:], 10_000.0)
    months, returns = monthly(days, daily)
    by_pandas = pd.Series(daily[1:], index=pd.to_datetime(days * DAY_MS, unit="ms")).resample("ME").last()
    assert len(months) == 25
    assert np.prod(1 + returns) == pytest.approx(daily[-1] / daily[0], rel=1e-12)
    assert returns[1:] == pytest.approx(by_pandas.pct_change().to_numpy()[1:], rel=1e-9)


def test_the_rolling_sharpe_is_that_of_each_window() -> None:
    found = rolling_sharpe(GOLDEN, 30)
    by_pandas = pd.Series(GOLDEN).rolling(30)
    wanted = (by_pandas.mean() / by_pandas.std() * math.sqrt(365)).to_numpy()
    assert np.isnan(found[:29]).all()
    assert found[29:] == pytest.approx(wanted[29:], rel=1e-9)
    assert found[-1] == pytest.approx(daily_figures(np.cumprod(np.r_[1.0, 1 + GOLDEN[-30:]]), days=30)["sharpe"])
    assert np.isnan(rolling_sharpe(GOLDEN[:10], 30)).all()
    assert np.isnan(rolling_sharpe(np.full(40, 0.01), 30)).all()


def test_series_are_compared_on_common_days() -> None:
    days = np.arange(730)
    noise = np.random.default_rng(3).normal(0.0, 0.01, 730)
    own = 0.0002 + 0.5 * GOLDEN + noise
    found = against((days[100:], own[100:]), (days[:700], GOLDEN[:700]))
    beta, alpha = np.polyfit(GOLDEN[100:700], own[100:700], 1)
    assert found["beta"] == pytest.approx(beta, rel=1e-9)
    assert found["alpha"] == pytest.approx(alpha * 365, rel=1e-9)
    value, n = correlation((days[100:], own[100:]), (days[:700], GOLDEN[:700]))
    assert (value, n) == (pytest.approx(stats.correlation(own[100:700].tolist(), GOLDEN[100:700].tolist())), 600)
    assert correlation((days, GOLDEN), (days + 1_000, GOLDEN)) == (None, 0)
    assert correlation((days, GOLDEN), (days, np.full(730, 0.01))) == (None, 730)
    assert against((days[:29], own[:29]), (days[:29], GOLDEN[:29])) == {"alpha": None, "beta": None}
    assert returns_of(np.array([1.0, -1.0, 2.0])).tolist() == []


def test_every_figure_has_a_convention_and_every_remark_a_figure() -> None:
    names = set(all_figures(np.array([1, 2]), np.array([1.0, 2.0]), 1.0, start_ms=0)) | set(trade_figures([]))
    assert names <= set(CONVENTIONS)
    assert set(OTHER_TOOLS) <= set(CONVENTIONS)
    assert set(CONVENTIONS) >= OF_TRADES
    assert "252" in explained("sharpe")
    assert explained("nothing") == ""
