"""Figures of closed trades, and of what was traded and held in between (trading_rules 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from stratnb.model import Fill, Trade
from stratnb.research.daily import DAY_MS, YEAR, deviation
from stratnb.research.distributions import t_two_sided
from stratnb.services.trades import round_trips

__all__ = [
    "activity_figures",
    "buy_and_hold",
    "excursions",
    "exposure",
    "hour_weekday",
    "result_figures",
    "round_trips",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR_MS: Final = 3_600_000
FIRST_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday; Monday is 0


def result_figures(trades: Sequence[Trade]) -> dict[str, float | None]:
    """Return the figures of closed round trips; results of 0 count as trades, neither won nor lost."""
    pnl = np.array([trade.pnl for trade in trades], np.float64)
    n, wins, losses = len(pnl), pnl[pnl > 0], pnl[pnl < 0]
    spread = deviation(pnl, float(np.abs(pnl).max(initial=0.0)))
    sqn = math.sqrt(n) * float(pnl.mean()) / spread if spread > 0 else None
    payoff = float(wins.mean() / -losses.mean()) if len(wins) and len(losses) else None
    rate = len(wins) / n if n else None
    return {
        "trades": float(n),
        "win_rate": rate,
        "profit_factor": float(wins.sum() / -losses.sum()) if len(losses) else None,
        "payoff": payoff,
        "expectancy": float(pnl.mean()) if n else None,
        "sqn": sqn,
        "kelly": rate - (1.0 - rate) / payoff if rate is not None and payoff else None,
        "p_value": t_two_sided(sqn, n - 1) if sqn is not None else None,
        "best_trade": float(pnl.max()) if n else None,
        "worst_trade": float(pnl.min()) if n else None,
        "wins_in_a_row": float(_longest(pnl > 0)) if n else None,
        "losses_in_a_row": float(_longest(pnl < 0)) if n else None,
        **_holds(trades),
        **_fees(trades),
    }


def _longest(marks: npt.NDArray[np.bool_]) -> int:
    """Return the length of the longest run of true marks."""
    return max((len(list(run)) for is_on, run in groupby(marks.tolist()) if is_on), default=0)


def _holds(trades: Sequence[Trade]) -> dict[str, float | None]:
    """Return mean, median and longest time held, and the means of winners and losers."""
    held = np.array([(trade.exit_ms - trade.entry_ms) / 1000 for trade in trades], np.float64)
    pnl = np.array([trade.pnl for trade in trades], np.float64)
    won, lost = held[pnl > 0], held[pnl < 0]
    return {
        "average_hold_s": float(held.mean()) if len(held) else None,
        "median_hold_s": float(np.median(held)) if len(held) else None,
        "longest_hold_s": float(held.max()) if len(held) else None,
        "winner_hold_s": float(won.mean()) if len(won) else None,
        "loser_hold_s": float(lost.mean()) if len(lost) else None,
    }


def _fees(trades: Sequence[Trade]) -> dict[str, float | None]:
    """Return fees and funding, and the share of the fees in the result before both."""
    fees = float(sum(trade.fees for trade in trades))
    funding = float(sum(trade.funding for trade in trades))
    gross = float(sum(trade.pnl for trade in trades)) + fees + funding
    return {"fees": fees, "fees_rate": fees / abs(gross) if gross else None, "funding": funding}


def buy_and_hold(first_open: float, close: Floats, taker_fee: float) -> Floats:
    """Return the gain of what was bought at an open, at each close, after one round trip of fees; fractions.

    >>> buy_and_hold(100.0, np.array([110.0]), 0.001).round(6).tolist()
    [0.098]
    """
    return np.asarray(close, np.float64) / first_open - 1.0 - 2.0 * taker_fee


def exposure(fills: Sequence[Sequence[Fill]], close_ms: Ints | Floats) -> float | None:
    """Return the share of candles, by closing time, at whose close any of the strategies held a position."""
    if not len(close_ms):
        return None
    open_at = np.zeros(len(close_ms), np.bool_)
    for own in fills:
        for start, end in _held(own, float(close_ms[-1])):
            first, last = np.searchsorted(close_ms, (start, end), side="right")
            open_at[first:last] = True
    return float(open_at.mean())


def activity_figures(
    fills: Sequence[Sequence[Fill]], *, start_ms: float, close_ms: Ints | Floats, mean_equity: float
) -> dict[str, float | None]:
    """Return exposure time and turnover of strategies' fills (one sequence each) from a time to the last close."""
    span = float(close_ms[-1]) - start_ms if len(close_ms) else 0.0
    if span <= 0 or not fills:
        return {"exposure_time": None, "turnover": None}
    inside = [fill for own in fills for fill in own if start_ms <= fill.time_ms <= close_ms[-1]]
    traded = sum(abs(fill.quantity * fill.price) for fill in inside)
    yearly = YEAR / (span / DAY_MS)
    return {
        "exposure_time": exposure(fills, close_ms),
        "turnover": float(traded / mean_equity * yearly) if mean_equity > 0 else None,
    }


def _held(fills: Sequence[Fill], end_ms: float) -> list[tuple[float, float]]:
    """Return the pieces of time with a position, an open one until the end."""
    pieces, since = [], None
    for fill in fills:
        if since is None and fill.position_after != 0.0:
            since = float(fill.time_ms)
        elif since is not None and fill.position_after == 0.0:
            pieces.append((since, float(fill.time_ms)))
            since = None
    return pieces if since is None else [*pieces, (since, end_ms)]


def hour_weekday(trades: Sequence[Trade]) -> tuple[Floats, Ints]:
    """Return the sums of results and the numbers of trades by weekday (Monday first) and hour of exit, UTC: (7, 24)."""
    sums, counts = np.zeros((7, 24)), np.zeros((7, 24), np.int64)
    for trade in trades:
        day, hour = (trade.exit_ms // DAY_MS + FIRST_WEEKDAY) % 7, trade.exit_ms % DAY_MS // HOUR_MS
        sums[day, hour] += trade.pnl
        counts[day, hour] += 1
    return sums, counts


def excursions(trades: Sequence[Trade], time_ms: Floats, high: Floats, low: Floats) -> Floats:
    """Return worst and best unrealized return (MAE <= 0 <= MFE) of each trade before costs, (n, 2).

    Candles that opened from the entry until before the exit count with high and low; the candle of the exit counts
    with the fill only, because what it did after that was not held. NaN where candles of the trade are not kept.
    """
    out = np.full((len(trades), 2), np.nan)
    for row, trade in zip(out, trades, strict=True):
        first, last = np.searchsorted(time_ms, (trade.entry_ms, trade.exit_ms))
        if not len(time_ms) or time_ms[0] > trade.entry_ms:
            continue
        seen = [trade.entry_price, trade.exit_price]
        top = max([*seen, float(high[first:last].max())] if last > first else seen)
        bottom = min([*seen, float(low[first:last].min())] if last > first else seen)
        up, down = top / trade.entry_price - 1.0, bottom / trade.entry_price - 1.0
        row[:] = (down, up) if trade.direction > 0 else (-up, -down)
    return out
