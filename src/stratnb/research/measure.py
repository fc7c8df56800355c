"""The figures of many trials at once, each as `figures` gives it for one backtest; NaN where it is not defined."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.research.batch import Batch
from stratnb.research.daily import YEAR, growth, yearly_sharpe

__all__ = ["BLOCKS", "FIGURES", "LOWER", "blocks_of", "daily_sharpes", "measure"]

Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]

BLOCKS: Final = 16
FIGURES: Final = (
    *("total_return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "calmar", "trades", "win_rate"),
    *("profit_factor", "expectancy", "pnl", "fees", "exposure_time", "final_equity"),
)
LOWER: Final = frozenset({"volatility", "max_drawdown", "fees", "exposure_time"})  # the smaller, the better


def measure(batch: Batch, *, days: float) -> dict[str, Floats]:
    """Return every figure of `FIGURES`, one value a trial; `days` is the elapsed time for the yearly growth."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _of_equity(batch, days) | _of_trades(batch)


def daily_sharpes(batch: Batch) -> Floats:
    """Return the Sharpe ratio of each trial's daily returns, not annualized; NaN where undefined."""
    returns, known = _returns(batch.daily)
    spread = _spread(returns)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _where(known & (spread > 0.0), _mean(returns) / spread)


def blocks_of(batch: Batch) -> Floats:
    """Return count, sum and sum of squares of the daily returns in 16 consecutive blocks: (m, 16, 3).

    A trial without returns, because its equity was ever 0 or less or because it failed, has zeros.
    """
    returns, known = _returns(batch.daily)
    n = returns.shape[1]
    out = np.zeros((len(returns), BLOCKS, 3))
    for k in range(BLOCKS):
        part = returns[:, n * k // BLOCKS : n * (k + 1) // BLOCKS]
        out[:, k, 0], out[:, k, 1], out[:, k, 2] = part.shape[1], part.sum(axis=1), (part**2).sum(axis=1)
    out[~known] = 0.0
    return out


def _returns(daily: Floats) -> tuple[Floats, Marks]:
    """Return the daily returns of each trial, and which trials have any (`services.daily.returns_of`)."""
    known = (daily > 0.0).all(axis=1) & (daily.shape[1] > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(daily, axis=1) / daily[:, :-1], known


def _mean(values: Floats) -> Floats:
    found: Floats = values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)
    return found


def _spread(returns: Floats) -> Floats:
    """Return the standard deviations as `services.daily.deviation` gives them."""
    if returns.shape[1] < 2:
        return np.zeros(len(returns))
    found = returns.std(axis=1, ddof=1)
    return np.where(found > 1e-12, found, 0.0)


def _where(known: Marks, values: Floats) -> Floats:
    return np.where(known & np.isfinite(values), values, np.nan)


def _of_equity(batch: Batch, days: float) -> dict[str, Floats]:
    daily, book = batch.daily, batch.book
    returns, known = _returns(daily)
    first, last, mean, spread = daily[:, 0], daily[:, -1], _mean(returns), _spread(returns)
    below = np.sqrt(_mean(np.minimum(returns, 0.0) ** 2))
    worst = (1.0 - daily / np.maximum.accumulate(daily, axis=1)).max(axis=1)
    yearly = [growth(float(a), float(b), days) for a, b in zip(first, last, strict=True)]
    cagr = np.array([math.nan if value is None else value for value in yearly])
    return {
        "total_return": _where(first > 0.0, last / first - 1.0),
        "cagr": cagr,
        "volatility": _where(known & (returns.shape[1] >= 2), spread * math.sqrt(YEAR)),
        "sharpe": _where(known & (spread > 0.0), yearly_sharpe(mean, spread)),
        "sortino": _where(known & (below > 0.0), mean / below * math.sqrt(YEAR)),
        "max_drawdown": _where(first > 0.0, book[:, at.B_DRAWDOWN]),
        "calmar": _where(worst > 0.0, cagr / worst),
        "pnl": book[:, at.B_EQUITY] - first,
        "final_equity": book[:, at.B_EQUITY].copy(),
    }


def _of_trades(batch: Batch) -> dict[str, Floats]:
    book = batch.book
    trades, gains, losses = book[:, at.B_TRADES], book[:, at.B_GAINS], book[:, at.B_LOSSES]
    paid = book[:, at.B_TRADE_COSTS] - book[:, at.B_FUNDING_OPEN]
    still_open = np.where(book[:, at.B_QUANTITY] != 0.0, paid, 0.0)
    return {
        "trades": trades.copy(),
        "win_rate": _where(trades > 0.0, book[:, at.B_WINS] / trades),
        "profit_factor": _where(losses > 0.0, gains / losses),
        "expectancy": _where(trades > 0.0, (gains - losses) / trades),
        "fees": book[:, at.B_COSTS] - book[:, at.B_FUNDING] - still_open,
        "exposure_time": batch.exposure.copy(),
    }
