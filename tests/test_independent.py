"""Daily figures beside two independent packages with 365 periods a year; where a convention differs it is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratnb.research.daily import against, daily_figures, drawdown, probable_sharpe
from stratnb.research.deflation import deflated_sharpe, expected_maximum

EXACT = {"rel": 1e-9, "abs": 1e-12}


def _returns(seed: int, n: int, kind: str) -> pd.Series[float]:
    rng = np.random.default_rng(seed)
    drawn = rng.standard_t(3, n) * 0.012 if kind == "heavy" else rng.normal(0.0008, 0.02, n)
    if kind == "flat days":
        drawn[rng.random(n) < 0.5] = 0.0
    days = pd.date_range("2022-01-01", periods=n, freq="D")
    return pd.Series(np.clip(drawn, -0.3, 0.3), index=days)


CASES = [(1, 730, "normal"), (2, 365, "heavy"), (3, 100, "normal"), (4, 500, "flat days"), (5, 31, "heavy")]


@pytest.fixture(params=CASES, ids=[f"{kind}-{n}" for _, n, kind in CASES])
def returns(request: pytest.FixtureRequest) -> pd.Series[float]:
    return _returns(*request.param)


def _ours(returns: pd.Series[float]) -> dict[str, float | None]:
    daily = 10_000.0 * np.concatenate(([1.0], np.cumprod(1.0 + returns.to_numpy())))
    return daily_figures(daily, days=len(returns))


def test_empyrical(returns: pd.Series[float]) -> None:
    other = pytest.importorskip("empyrical")
    ours = _ours(returns)
    theirs = {
        "total_return": other.cum_returns_final(returns),
        "cagr": other.annual_return(returns, annualization=365),
        "volatility": other.annual_volatility(returns, annualization=365),
        "sharpe": other.sharpe_ratio(returns, annualization=365),
        "sortino": other.sortino_ratio(returns, annualization=365),
        "max_drawdown_daily": -other.max_drawdown(returns),
        "calmar": other.calmar_ratio(returns, annualization=365),
        "omega": other.omega_ratio(returns, annualization=365),
        "var_95": -other.value_at_risk(returns, cutoff=0.05),
        "cvar_95": -other.conditional_value_at_risk(returns, cutoff=0.05),
        "tail_ratio": other.tail_ratio(returns),
    }
    assert {name: ours[name] for name in theirs} == {name: pytest.approx(v, **EXACT) for name, v in theirs.items()}
    market = _returns(99, len(returns), "normal")
    days = np.arange(len(returns))
    found = against((days, returns.to_numpy()), (days, market.to_numpy()))
    assert found["beta"] == pytest.approx(other.beta(returns, market), **EXACT)
    # Theirs compounds the daily intercept over the year; ours is the intercept x 365 (trading_rules 10).
    assert found["alpha"] is not None
    daily = (1.0 + other.alpha(returns, market, annualization=365)) ** (1 / 365) - 1.0
    assert found["alpha"] / 365 == pytest.approx(daily, rel=1e-6, abs=1e-9)


def test_quantstats(returns: pd.Series[float]) -> None:
    other = pytest.importorskip("quantstats").stats
    ours = _ours(returns)
    theirs = {
        "volatility": other.volatility(returns, periods=365),
        "sharpe": other.sharpe(returns, periods=365),
        "sortino": other.sortino(returns, periods=365),
        "max_drawdown_daily": -other.max_drawdown(returns),
        "skew": other.skew(returns),
        "kurtosis": other.kurtosis(returns),
        "best_day": other.best(returns),
        "worst_day": other.worst(returns),
        "omega": other.omega(returns, periods=365),
        "tail_ratio": other.tail_ratio(returns),
        "total_return": other.comp(returns),
    }
    assert {name: ours[name] for name in theirs} == {name: pytest.approx(v, **EXACT) for name, v in theirs.items()}
    # Their ulcer index divides by n - 1 and leaves the start out; their recovery factor takes the sum of the returns.
    falls = drawdown(np.concatenate(([1.0], np.cumprod(1.0 + returns.to_numpy()))))
    n = len(returns)
    assert ours["ulcer_index"] == pytest.approx(math.sqrt((falls**2).sum() / (n + 1)), **EXACT)
    assert other.ulcer_index(returns) == pytest.approx(math.sqrt((falls**2).sum() / (n - 1)), **EXACT)


def test_shape_beside_scipy_and_pandas(returns: pd.Series[float]) -> None:
    ours, stats = _ours(returns), pytest.importorskip("scipy.stats")
    assert ours["skew"] == pytest.approx(stats.skew(returns, bias=False), **EXACT)
    assert ours["kurtosis"] == pytest.approx(stats.kurtosis(returns, bias=False), **EXACT)
    assert ours["skew"] == pytest.approx(returns.skew(), **EXACT)
    assert ours["kurtosis"] == pytest.approx(returns.kurt(), **EXACT)


def _probable(r: Any, beside: float) -> float:
    """Return the formula of trading_rules 10, term by term."""
    n, ratio = len(r), r.mean() / r.std(ddof=1)
    away = (r - r.mean()) / r.std(ddof=0)
    g3, g4 = (away**3).mean(), (away**4).mean()
    z = (ratio - beside) * math.sqrt(n - 1) / math.sqrt(1 - g3 * ratio + (g4 - 1) / 4 * ratio**2)
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize("trials", [2, 10, 1_000, 10**7])
def test_probabilistic_and_deflated_sharpe_by_their_formula(returns: pd.Series[float], trials: int) -> None:
    stats, r = pytest.importorskip("scipy.stats"), returns.to_numpy()
    assert probable_sharpe(r) == pytest.approx(_probable(r, 0.0), **EXACT)
    assert _ours(returns)["psr"] == pytest.approx(_probable(r, 0.0), rel=1e-6)
    spread, gamma = 0.04, 0.5772156649015329
    best = spread * ((1 - gamma) * stats.norm.ppf(1 - 1 / trials) + gamma * stats.norm.ppf(1 - 1 / (trials * math.e)))
    assert expected_maximum(trials, spread) == pytest.approx(best, rel=1e-7)
    assert deflated_sharpe(r, trials, spread) == pytest.approx(_probable(r, best), rel=1e-6, abs=1e-12)
