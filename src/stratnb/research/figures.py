"""Performance figures, with one convention each (trading_rules 10).

Daily returns are of equity at 00:00 UTC, a year has 365 days, the risk-free rate is 0. A figure that is not defined
is None, never 0 or infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stratnb.model import Trade
from stratnb.research.conventions import CONVENTIONS
from stratnb.research.daily import DAY_MS, daily_figures, daily_series, drawdown, finite, monthly
from stratnb.research.falls import fall_figures, worst_figures
from stratnb.research.results import result_figures

__all__ = ["CONVENTIONS", "all_figures", "drawdown", "equity_figures", "trade_figures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OF_EQUITY: Final = (
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "max_drawdown_daily",
    "calmar",
    "recovery_factor",
    "days",
)
OF_RESULTS: Final = (
    "trades",
    "win_rate",
    "profit_factor",
    "payoff",
    "expectancy",
    "sqn",
    "best_trade",
    "worst_trade",
    "average_hold_s",
    "fees",
    "funding",
)


def all_figures(
    time_ms: Ints, equity: Floats, start: float, *, start_ms: int, trades: Sequence[Trade] = ()
) -> dict[str, float | None]:
    """Return every figure of a curve marked at each candle's close (`time_ms`) and of its trades.

    `start` is the equity at `start_ms`, before the first candle.
    """
    whole = np.concatenate(([start], equity))
    times = np.concatenate(([start_ms], np.asarray(time_ms, np.int64)))
    days, daily = daily_series(time_ms, equity, start)
    _, months = monthly(days, daily)
    found = daily_figures(daily, days=(times[-1] - start_ms) / DAY_MS) | fall_figures(times, whole)
    found |= {"best_month": finite(months.max()) if len(months) else None}
    found |= {"worst_month": finite(months.min()) if len(months) else None}
    return found | result_figures(trades)


def equity_figures(time_ms: Ints, equity: Floats, start: float, *, start_ms: int) -> dict[str, float | None]:
    """Return the key figures of an equity curve marked at each candle's close (`time_ms`), `start` at `start_ms`."""
    _, daily = daily_series(time_ms, equity, start)
    elapsed = (time_ms[-1] - start_ms) / DAY_MS if len(time_ms) else 0.0
    found = daily_figures(daily, days=elapsed) | worst_figures(np.concatenate(([start], equity)))
    return {name: found[name] for name in OF_EQUITY}


def trade_figures(trades: Sequence[Trade]) -> dict[str, float | None]:
    """Return the key figures of closed round trips; results of 0 count as trades, neither won nor lost."""
    found = result_figures(trades)
    return {name: found[name] for name in OF_RESULTS}
