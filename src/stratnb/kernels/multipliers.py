"""What reduces a size, and how a position fares (trading_rules 5 and 6.1)."""

from __future__ import annotations

import math

from numba import types

from stratnb.kernels.jit import F8, Row, entry, helper
from stratnb.kernels.layout import (
    B_AVERAGE,
    B_EQUITY,
    B_FIRST_STOP,
    B_HEALTH_FROM,
    B_MARK,
    B_MAX_HOLDING,
    B_OPENED_MS,
    B_QUANTITY,
    B_RETURNS,
    B_RISK,
    B_STREAK,
    B_TRADES,
    D_FALL,
    D_HEALTH,
    D_STREAK,
    HEALTH_TRADES,
    K_MAX_DRAWDOWN,
    K_PEAK,
    S_DRAWDOWN,
    S_FACTORS,
    S_HEALTH,
    S_STREAK,
)
from stratnb.kernels.maths import clip

__all__ = ["position_health", "size_factor"]

LEAST_TRADES, LONGEST_ROW = 10, 10
POOR_WINS, POOR_FACTOR, FAIR_WINS, FAIR_FACTOR, DEEP = 0.30, 0.9, 0.40, 1.2, 0.15


@helper
def fall_of(book: Row) -> float:
    """Return the present drawdown from the peak, as a fraction."""
    peak = book[B_RISK + K_PEAK]
    return 1.0 - book[B_EQUITY] / peak if peak > 0.0 else 0.0


@helper
def streak_factor(settings: Row, book: Row) -> float:
    """Return the factor for the losses in a row; the last one repeats."""
    if settings[S_FACTORS] == 0.0:
        return 1.0
    return float(settings[S_STREAK + min(int(book[B_STREAK]), int(settings[S_FACTORS]) - 1)])


@helper
def health_factor(settings: Row, book: Row) -> float:
    """Return 0, a half or 1 by win rate, profit factor and losses in a row of the newest trades, by their returns."""
    if settings[S_HEALTH] == 0.0:
        return 1.0
    trades = int(book[B_TRADES])
    n = min(HEALTH_TRADES, trades - int(book[B_HEALTH_FROM]))
    if n < LEAST_TRADES:
        return 1.0
    wins, gains, losses, row, unbroken = 0.0, 0.0, 0.0, 0, True
    for back in range(1, n + 1):
        earned = book[B_RETURNS + (trades - back) % HEALTH_TRADES]
        wins += 1.0 if earned > 0.0 else 0.0
        gains += max(earned, 0.0)
        losses -= min(earned, 0.0)
        unbroken = unbroken and earned <= 0.0
        row += 1 if unbroken and earned < 0.0 else 0
    if wins < POOR_WINS * n or gains < POOR_FACTOR * losses or row >= LONGEST_ROW:
        return 0.0
    return 0.5 if wins < FAIR_WINS * n or gains < FAIR_FACTOR * losses or fall_of(book) > DEEP else 1.0


@helper
def drawdown_factor(settings: Row, book: Row) -> float:
    """Return 1 - (drawdown / limit) / 2 from half the limit on."""
    if settings[S_DRAWDOWN] == 0.0:
        return 1.0
    fall, limit = fall_of(book), book[B_RISK + K_MAX_DRAWDOWN]
    if not fall >= 0.5 * limit:
        return 1.0
    return float(max(0.0, 1.0 - fall / limit / 2.0))


@helper
def size_factor(settings: Row, book: Row, decision: Row) -> float:
    """Return the product of the factors of a size, each of which goes into the decision."""
    decision[D_STREAK] = streak_factor(settings, book)
    decision[D_HEALTH] = health_factor(settings, book)
    decision[D_FALL] = drawdown_factor(settings, book)
    return float(decision[D_STREAK] * decision[D_HEALTH] * decision[D_FALL])


@entry(types.float64(F8, types.float64, types.float64, types.float64, types.float64))
def position_health(book: Row, now_ms: float, depth: float, natr: float, mean_natr: float) -> float:
    """Return how a position fares, 0..1, NaN when flat.

    Parts: drawdown 0.30, time 0.20, liquidity 0.20, volatility 0.15, profit 0.15, each limited to 0..1.
    `depth` is the quantity at the top of the order book. A part whose input is NaN is left out and the weights of the
    others fill up to 1. A loss of two initial risks or more is 0.
    """
    held, entry_price = book[B_QUANTITY], book[B_AVERAGE]
    if held == 0.0:
        return math.nan
    gain = (book[B_MARK] - entry_price) * (1.0 if held > 0.0 else -1.0)
    risks = gain / abs(entry_price - book[B_FIRST_STOP])
    if risks <= -2.0:
        return 0.0
    total, weights = 0.0, 0.0
    if math.isfinite(risks):
        total += 0.30 * clip(1.0 + min(0.0, risks) / 2.0) + 0.15 * clip(0.5 + risks / 4.0)
        weights += 0.45
    age = (now_ms - book[B_OPENED_MS]) / book[B_MAX_HOLDING]
    total += 0.20 * (clip(1.0 - age) if math.isfinite(age) else 1.0)
    weights += 0.20
    if math.isfinite(depth):
        total += 0.20 * clip(depth / (3.0 * abs(held)))
        weights += 0.20
    if math.isfinite(natr) and mean_natr > 0.0:
        total += 0.15 * clip(2.0 - natr / mean_natr)
        weights += 0.15
    return total / weights
