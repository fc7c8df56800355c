"""What trading costs beside prices and fees: slippage, funding, and the price of a liquidation (trading_rules 8)."""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    B_COSTS,
    B_FUNDING,
    B_FUNDING_AT,
    B_FUNDING_MS,
    B_FUNDING_OPEN,
    B_FUNDING_RATE,
    B_QUANTITY,
    B_TRADE_COSTS,
    S_LEVERAGE,
    S_MAINTENANCE,
    S_SLIPPAGE,
    S_SLIPPAGE_FACTOR,
    S_SLIPPAGE_MODEL,
    SLIPPAGE_FIXED,
    SLIPPAGE_VOLATILITY,
)

__all__ = ["expected_slippage", "liquidation_price", "next_funding", "pay_funding", "slippage"]

MOST = 0.1


@helper
def expected_slippage(settings: Row, natr: float) -> float:
    """Return the slippage to plan with before quantity and candle of the fill are known, as a fraction.

    `natr` is the newest one of the primary timeframe; until there is one, and for the model by volume, it is the fixed
    fraction.
    """
    if settings[S_SLIPPAGE_MODEL] == SLIPPAGE_VOLATILITY and math.isfinite(natr):
        return float(min(settings[S_SLIPPAGE_FACTOR] * natr, MOST))
    return float(settings[S_SLIPPAGE])


@helper
def slippage(settings: Row, natr: float, quantity: float, volume: float) -> float:
    """Return the slippage of a fill in a candle as a fraction of its price, at most 0.1.

    Fixed (half a spread is one), k NATR, or k sqrt(quantity / volume). Without a NATR, or without volume, it is the
    fixed fraction.
    """
    model = settings[S_SLIPPAGE_MODEL]
    if model == SLIPPAGE_FIXED:
        return float(settings[S_SLIPPAGE])
    if model == SLIPPAGE_VOLATILITY or not volume > 0.0:
        return expected_slippage(settings, natr)
    return float(min(settings[S_SLIPPAGE_FACTOR] * math.sqrt(quantity / volume), MOST))


@helper
def liquidation_price(settings: Row, sign: float, price: float) -> float:
    """Return where an isolated position of an average entry price is liquidated.

    Long: price (1 - 1/L) / (1 - m), short: price (1 + 1/L) / (1 + m), with leverage L and maintenance m.
    """
    at = price * (1.0 - sign / settings[S_LEVERAGE]) / (1.0 - sign * settings[S_MAINTENANCE])
    return float(at)


@helper
def next_funding(book: Row, time_ms: float) -> float:
    """Return the first funding time after a time, infinite for a book without funding."""
    every_ms = book[B_FUNDING_MS]
    return (np.floor(time_ms / every_ms) + 1.0) * every_ms if every_ms > 0.0 else math.inf


@helper
def pay_funding(book: Row, price: float, now_ms: float) -> None:
    """Pay quantity x price x rate for each funding time until now that the position was held through.

    A long pays a positive rate and a short gets it; it is part of the costs and told apart in cells of its own.
    """
    every_ms = book[B_FUNDING_MS]
    times = np.floor((now_ms - book[B_FUNDING_AT]) / every_ms) + 1.0
    paid = book[B_QUANTITY] * price * book[B_FUNDING_RATE] * times
    book[B_FUNDING_AT] += times * every_ms
    book[B_FUNDING] += paid
    book[B_FUNDING_OPEN] += paid
    book[B_COSTS] += paid
    book[B_TRADE_COSTS] += paid
