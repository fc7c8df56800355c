"""The daily equity series: values at 00:00 UTC, its returns and their Sharpe ratio (trading_rules 10).

A year has 365 days, the risk-free rate is 0. A figure that is not defined is None, never 0 or infinite.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["DAY_MS", "YEAR", "daily_series", "deviation", "drawdown", "finite", "returns_of", "sharpe"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

YEAR: Final = 365.0
DAY_MS: Final = 86_400_000


def drawdown(equity: Floats) -> Floats:
    """Return the fall from the running peak at each point, a fraction >= 0; a peak has to be above 0.

    >>> drawdown(np.array([1.0, 2.0, 1.0])).tolist()
    [0.0, 0.0, 0.5]
    """
    return 1.0 - equity / np.maximum.accumulate(equity)


def daily_series(time_ms: Ints, equity: Floats, start: float) -> tuple[Ints, Floats]:
    """Return the days (numbers since 1970) and the equity before the first and at the end of each, one longer.

    A day ends at 00:00 UTC with the last value up to then; days without values are flat. `start` is the equity
    before the first value.
    """
    if not len(equity):
        return np.empty(0, np.int64), np.array([start])
    days = (np.asarray(time_ms, np.int64) - 1) // DAY_MS
    every = np.arange(days[0], days[-1] + 1)
    last = np.searchsorted(days, every, side="right") - 1
    return every, np.concatenate(([start], equity[last]))


def returns_of(daily: Floats) -> Floats:
    """Return E_t / E_(t-1) - 1 of a daily equity series; none when the equity was ever 0 or less."""
    return np.diff(daily) / daily[:-1] if len(daily) > 1 and bool((daily > 0).all()) else np.empty(0)


def deviation(values: Floats, scale: float = 1.0) -> float:
    """Return the standard deviation (ddof 1), 0 for values that are equal but for their rounding beside a scale."""
    found = float(values.std(ddof=1)) if len(values) >= 2 else 0.0
    return found if found > 1e-12 * scale else 0.0


def finite(value: float | None) -> float | None:
    """Return a value as a float, None when it is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def sharpe(returns: Floats) -> float | None:
    """Return mean / standard deviation (ddof 1) x sqrt(365) of daily returns; None for fewer than 2 or equal ones."""
    spread = deviation(returns)
    return float(returns.mean()) / spread * math.sqrt(YEAR) if spread > 0 else None
