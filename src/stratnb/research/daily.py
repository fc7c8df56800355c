"""Figures of a daily equity series: returns at 00:00 UTC, a year of 365 days, risk-free 0 (trading_rules 10).

A figure that is not defined is None, never 0 or infinite.
"""

from __future__ import annotations

import math
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from stratnb.research.distributions import normal_below
from stratnb.services.daily import (
    DAY_MS,
    YEAR,
    daily_series,
    deviation,
    drawdown,
    finite,
    returns_of,
    sharpe,
)

__all__ = [
    "DAY_MS",
    "YEAR",
    "against",
    "correlation",
    "daily_figures",
    "daily_series",
    "deviation",
    "drawdown",
    "finite",
    "growth",
    "monthly",
    "probable_sharpe",
    "returns_of",
    "rolling_return",
    "rolling_sharpe",
    "rolling_volatility",
    "yearly_sharpe",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Value = TypeVar("Value", float, Floats)

TAIL_DAYS: Final = 20
MOMENT_DAYS: Final = 4
REGRESSION_DAYS: Final = 30


def growth(first: float, last: float, days: float) -> float | None:
    """Return the yearly growth (last / first)^(365 / days) - 1; None under 1 day or without money at an end."""
    return finite((last / first) ** (YEAR / days) - 1.0) if days >= 1 and last > 0 < first else None


def yearly_sharpe(mean: Value, spread: Value) -> Value:
    """Return the yearly Sharpe ratio of daily returns, risk-free 0, from their mean and standard deviation."""
    return mean / spread * math.sqrt(YEAR)


def daily_figures(daily: Floats, *, days: float) -> dict[str, float | None]:
    """Return the figures of a daily equity series (start first); `days` is the elapsed time for the yearly growth."""
    r = returns_of(daily)
    n, spread = len(r), deviation(r)
    falls = drawdown(daily) if daily[0] > 0 else np.zeros(1)
    worst, cagr = float(falls.max()), growth(float(daily[0]), float(daily[-1]), days)
    below = math.sqrt(float((np.minimum(r, 0.0) ** 2).mean())) if n else 0.0
    lost = float(-r[r < 0].sum()) if n else 0.0
    return {
        "total_return": finite(daily[-1] / daily[0] - 1.0) if daily[0] > 0 else None,
        "cagr": cagr,
        "volatility": spread * math.sqrt(YEAR) if n >= 2 else None,
        "sharpe": sharpe(r),
        "sortino": float(r.mean()) / below * math.sqrt(YEAR) if below > 0 else None,
        "max_drawdown_daily": worst,
        "calmar": finite(cagr / worst) if cagr is not None and worst > 0 else None,
        "omega": float(r[r > 0].sum()) / lost if lost > 0 else None,
        "ulcer_index": math.sqrt(float((falls**2).mean())),
        **_tails(r),
        **_shape(r, spread),
        "best_day": float(r.max()) if n else None,
        "worst_day": float(r.min()) if n else None,
        "days": float(n),
    }


def _tails(r: Floats) -> dict[str, float | None]:
    """Return value at risk, its conditional mean and the tail ratio of daily returns."""
    low, high = (float(q) for q in np.quantile(r, (0.05, 0.95))) if len(r) else (0.0, 0.0)
    enough = len(r) >= TAIL_DAYS
    return {
        "var_95": -low if enough else None,
        "cvar_95": float(-r[r <= low].mean()) if enough else None,
        "tail_ratio": finite(abs(high / low)) if low != 0.0 else None,
    }


def _shape(r: Floats, spread: float) -> dict[str, float | None]:
    """Return skewness G1, excess kurtosis G2 (Joanes and Gill 1998) and the probabilistic Sharpe ratio against 0."""
    n = len(r)
    if n < 2 or spread <= 0.0:
        return {"skew": None, "kurtosis": None, "psr": None}
    g3, g4 = _moments(r)
    many = n >= MOMENT_DAYS
    return {
        "skew": g3 * math.sqrt(n * (n - 1.0)) / (n - 2.0) if many else None,
        "kurtosis": (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (g4 - 3.0) + 6.0) if many else None,
        "psr": probable_sharpe(r),
    }


def _moments(r: Floats) -> tuple[float, float]:
    """Return m3 / m2^1.5 and m4 / m2^2 of values that are not equal."""
    away = r - r.mean()
    m2, m3, m4 = (float((away**k).mean()) for k in (2, 3, 4))
    return m3 / m2**1.5, m4 / m2**2


def probable_sharpe(r: Floats, beside: float = 0.0) -> float | None:
    """Return the probability that the true per-day Sharpe ratio of daily returns is above `beside`.

    It is the probabilistic Sharpe ratio of Bailey and Lopez de Prado (2012), with the moments m3 / m2^1.5 and
    m4 / m2^2; None for fewer than two returns, equal ones, and moments for which it is not defined.
    """
    n, spread = len(r), deviation(r)
    if n < 2 or spread <= 0.0:
        return None
    g3, g4 = _moments(r)
    daily = float(r.mean()) / spread
    under = 1.0 - g3 * daily + (g4 - 1.0) / 4.0 * daily**2
    return normal_below((daily - beside) * math.sqrt(n - 1.0) / math.sqrt(under)) if under > 0 else None


def monthly(days: Ints, daily: Floats) -> tuple[Ints, Floats]:
    """Return the months (numbers since 1970-01) and their returns; begun months as they stand.

    >>> monthly(np.array([30, 31]), np.array([1.0, 2.0, 3.0]))[1].tolist()
    [1.0, 0.5]
    """
    if not len(days) or not (daily > 0).all():
        return np.empty(0, np.int64), np.empty(0)
    month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    last = np.flatnonzero(np.r_[np.diff(month) > 0, True])
    ends = daily[last + 1]
    return month[last], ends / np.concatenate(([daily[0]], ends[:-1])) - 1.0


def rolling_sharpe(returns: Floats, window: int) -> Floats:
    """Return the yearly Sharpe ratio of the last `window` daily returns at each day; NaN before and without spread."""
    out = np.full(len(returns), np.nan)
    if window < 2 or len(returns) < window:
        return out
    seen = np.lib.stride_tricks.sliding_window_view(returns, window)
    spread = seen.std(axis=1, ddof=1)
    known = spread > 1e-12
    made = np.full(len(seen), np.nan)
    made[known] = yearly_sharpe(seen.mean(axis=1)[known], spread[known])
    out[window - 1 :] = made
    return out


def rolling_volatility(returns: Floats, window: int) -> Floats:
    """Return the yearly volatility of the last `window` daily returns at each day; NaN before."""
    out = np.full(len(returns), np.nan)
    if 2 <= window <= len(returns):
        seen = np.lib.stride_tricks.sliding_window_view(returns, window)
        out[window - 1 :] = seen.std(axis=1, ddof=1) * math.sqrt(YEAR)
    return out


def rolling_return(returns: Floats, window: int) -> Floats:
    """Return what the last `window` daily returns come to at each day, as a fraction; NaN before.

    >>> rolling_return(np.array([1.0, -0.5, 0.1]), 2)[1:].round(9).tolist()
    [0.0, -0.45]
    """
    out = np.full(len(returns), np.nan)
    if 1 <= window <= len(returns):
        out[window - 1 :] = (1.0 + np.lib.stride_tricks.sliding_window_view(returns, window)).prod(axis=1) - 1.0
    return out


def _common(a: tuple[Ints, Floats], b: tuple[Ints, Floats]) -> tuple[Floats, Floats]:
    """Return two series (days, returns) on the days they share."""
    if not (len(a[0]) == len(a[1]) and len(b[0]) == len(b[1])):
        return np.empty(0), np.empty(0)
    _, i, j = np.intersect1d(a[0], b[0], assume_unique=True, return_indices=True)
    return a[1][i], b[1][j]


def correlation(a: tuple[Ints, Floats], b: tuple[Ints, Floats]) -> tuple[float | None, int]:
    """Return Pearson's correlation of two series (days, returns) on their common days, and how many those are."""
    x, y = _common(a, b)
    if deviation(x) <= 0.0 or deviation(y) <= 0.0:
        return None, len(x)
    return finite(float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))), len(x)


def against(own: tuple[Ints, Floats], other: tuple[Ints, Floats]) -> dict[str, float | None]:
    """Return alpha (x 365) and beta of daily returns regressed on another series; None under 30 common days."""
    x, y = _common(other, own)
    if len(x) < REGRESSION_DAYS or deviation(x) <= 0.0:
        return {"alpha": None, "beta": None}
    beta = float(np.cov(x, y, ddof=1)[0, 1] / x.var(ddof=1))
    return {"alpha": float(y.mean() - beta * x.mean()) * YEAR, "beta": beta}
