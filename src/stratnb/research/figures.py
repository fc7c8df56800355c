"""Performance figures, with one convention each (trading_rules 10).

Daily returns are of equity at 00:00 UTC, a year has 365 days, the risk-free rate is 0. A figure that is not defined
is None, never 0 or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stratnb.model import Trade

__all__ = ["CONVENTIONS", "daily_equity", "drawdown", "equity_figures", "trade_figures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

YEAR = 365.0
DAY_MS = 86_400_000

CONVENTIONS: dict[str, str] = {
    "total_return": "last equity / first equity - 1",
    "cagr": "total return to the power of 365 / elapsed days; from 1 day on",
    "volatility": "standard deviation of daily returns (ddof 1) x sqrt(365)",
    "sharpe": "mean / standard deviation (ddof 1) of daily returns x sqrt(365), risk-free 0",
    "sortino": "mean of daily returns / root mean square of the negative ones over all days x sqrt(365)",
    "max_drawdown": "largest fall from a peak as a fraction, on every candle",
    "max_drawdown_daily": "the same on daily equity",
    "calmar": "cagr / daily max drawdown",
    "recovery_factor": "total return / max drawdown",
    "days": "number of daily returns; under 30 the yearly figures say little",
    "trades": "closed round trips; under 30 the figures say little",
    "win_rate": "trades with a profit after costs / all trades",
    "profit_factor": "sum of profits / sum of losses",
    "payoff": "mean profit / mean loss",
    "expectancy": "mean result of a trade after costs, quote units",
    "sqn": "sqrt(n) x mean / standard deviation (ddof 1) of trade results",
    "best_trade": "largest result of a trade after costs",
    "worst_trade": "smallest result of a trade after costs",
    "average_hold_s": "mean time from entry to flat",
    "fees": "fees of the closed trades, quote units",
    "exposure_time": "share of candles with a position",
    "buy_and_hold": "last close / first open - 1 after one round-trip fee",
    "ambiguous_candles": "candles that touched stop and target; the stop was taken",
}


def drawdown(equity: Floats) -> Floats:
    """Return the fall from the running peak at each point, a fraction >= 0.

    >>> drawdown(np.array([1.0, 2.0, 1.0])).tolist()
    [0.0, 0.0, 0.5]
    """
    return 1.0 - equity / np.maximum.accumulate(equity)


def daily_equity(time_ms: Ints, equity: Floats, start: float) -> Floats:
    """Return equity at each 00:00 UTC: the last value before the cut, flat days kept, first and last day as values.

    `time_ms` are the closing times of the candles, `start` the equity before the first.
    """
    if not len(equity):
        return np.array([start])
    days = (time_ms - 1) // DAY_MS
    every = np.arange(days[0], days[-1] + 1)
    last = np.searchsorted(days, every, side="right") - 1
    return np.concatenate(([start], equity[last]))


def equity_figures(time_ms: Ints, equity: Floats, start: float, *, start_ms: int) -> dict[str, float | None]:
    """Return the figures of an equity curve marked at each candle's close (`time_ms`), `start` at `start_ms`."""
    whole = np.concatenate(([start], equity))
    daily = daily_equity(time_ms, equity, start)
    total = whole[-1] / start - 1.0 if start > 0 else None
    elapsed = (time_ms[-1] - start_ms) / DAY_MS if len(time_ms) else 0.0
    returns = np.diff(daily) / daily[:-1] if (daily > 0).all() else np.empty(0)
    n = len(returns)
    deviation = _deviation(returns, 1.0)
    falls = math.sqrt(float((np.minimum(returns, 0.0) ** 2).mean())) if n else 0.0
    worst, worst_daily = float(drawdown(whole).max()), float(drawdown(daily).max())
    cagr = (whole[-1] / start) ** (YEAR / elapsed) - 1.0 if elapsed >= 1 and whole[-1] > 0 < start else None
    return {
        "total_return": _finite(total),
        "cagr": _finite(cagr),
        "volatility": deviation * math.sqrt(YEAR) if n >= 2 else None,
        "sharpe": float(returns.mean()) / deviation * math.sqrt(YEAR) if deviation > 0 else None,
        "sortino": float(returns.mean()) / falls * math.sqrt(YEAR) if falls > 0 else None,
        "max_drawdown": worst,
        "max_drawdown_daily": worst_daily,
        "calmar": _finite(cagr / worst_daily) if cagr is not None and worst_daily > 0 else None,
        "recovery_factor": total / worst if total is not None and worst > 0 else None,
        "days": float(n),
    }


def trade_figures(trades: Sequence[Trade]) -> dict[str, float | None]:
    """Return the figures of closed round trips; results of 0 count as trades, neither won nor lost."""
    pnl = np.array([trade.pnl for trade in trades])
    n, wins, losses = len(pnl), pnl[pnl > 0], pnl[pnl < 0]
    deviation = _deviation(pnl, float(np.abs(pnl).max(initial=0.0)))
    hold = [(trade.exit_ms - trade.entry_ms) / 1000 for trade in trades]
    return {
        "trades": float(n),
        "win_rate": len(wins) / n if n else None,
        "profit_factor": float(wins.sum() / -losses.sum()) if len(losses) else None,
        "payoff": float(wins.mean() / -losses.mean()) if len(wins) and len(losses) else None,
        "expectancy": float(pnl.mean()) if n else None,
        "sqn": math.sqrt(n) * float(pnl.mean()) / deviation if deviation > 0 else None,
        "best_trade": float(pnl.max()) if n else None,
        "worst_trade": float(pnl.min()) if n else None,
        "average_hold_s": float(np.mean(hold)) if n else None,
        "fees": float(sum(trade.fees for trade in trades)),
    }


def _deviation(values: Floats, scale: float) -> float:
    """Return the standard deviation (ddof 1), 0 for values that are equal but for their rounding beside a scale."""
    deviation = float(values.std(ddof=1)) if len(values) >= 2 else 0.0
    return deviation if deviation > 1e-12 * scale else 0.0


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
