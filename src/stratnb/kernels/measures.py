"""What an entry would do to exposure and risk, measured over the books before the rules compare it."""

from __future__ import annotations

import math

from stratnb.kernels.costs import expected_slippage, liquidation_price
from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    B_AVERAGE,
    B_MARK,
    B_MARKET,
    B_ORDER,
    B_ORDER_QUANTITY,
    B_ORDER_RISK,
    B_ORDER_SIGN,
    B_ORDERS,
    B_QUANTITY,
    B_STOP,
    B_USED,
    ORDER_ENTRY,
    ORDERS_KEPT,
    S_LEVERAGE,
    S_LINEAR,
    S_TAKER,
)

__all__ = ["liquidation_room", "loss_at_stop", "market_exposure", "open_risk", "orders_since", "pending_notional"]


@helper
def market_exposure(books: Row, market: float, signed: float) -> tuple[float, float, float]:
    """Return net and gross notional of one market with an added signed notional, and its strategies in it."""
    net, gross, holders = signed, abs(signed), 0.0
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] != 0.0 and book[B_MARKET] == market:
            quantity = book[B_QUANTITY]
            if book[B_ORDER] == ORDER_ENTRY:
                quantity += book[B_ORDER_SIGN] * book[B_ORDER_QUANTITY]
            net += quantity * book[B_MARK]
            gross += abs(quantity) * book[B_MARK]
            holders += 1.0 if quantity != 0.0 else 0.0
    return net, gross, holders


@helper
def pending_notional(books: Row) -> float:
    """Return the notional of entries that were approved and wait for their fill."""
    total = 0.0
    for s in range(books.shape[0]):
        if books[s, B_USED] != 0.0 and books[s, B_ORDER] == ORDER_ENTRY:
            total += books[s, B_ORDER_QUANTITY] * books[s, B_MARK]
    return total


@helper
def loss_at_stop(settings: Row, natr: float, quantity: float, price: float, stop: float) -> float:
    """Return what a quantity loses from its price to its stop, with the costs of both fills; NaN without a stop."""
    cost = settings[S_TAKER] + expected_slippage(settings, natr)
    return float(quantity * (abs(price - stop) + cost * (price + stop)))


@helper
def open_risk(books: Row) -> float:
    """Return what all positions lose from entry to stop, and what waiting entries were approved to lose.

    A position without a stop, or with one beyond its entry, adds nothing.
    """
    total = 0.0
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] == 0.0:
            continue
        if book[B_QUANTITY] != 0.0:
            loss = book[B_QUANTITY] * (book[B_AVERAGE] - book[B_STOP])
            total += loss if loss > 0.0 else 0.0
        if book[B_ORDER] == ORDER_ENTRY and math.isfinite(book[B_ORDER_RISK]):
            total += book[B_ORDER_RISK]
    return total


@helper
def orders_since(books: Row, slot: int, since_ms: float) -> tuple[float, float]:
    """Return how many of the kept orders were sent after a time: by the strategy of a slot, and by all."""
    own, total = 0.0, 0.0
    for s in range(books.shape[0]):
        if books[s, B_USED] == 0.0:
            continue
        for j in range(B_ORDERS, B_ORDERS + ORDERS_KEPT):
            if books[s, j] > 0.0 and books[s, j] > since_ms:
                total += 1.0
                own += 1.0 if s == slot else 0.0
    return own, total


@helper
def liquidation_room(settings: Row, sign: float, price: float, stop: float) -> float:
    """Return the distance of the isolated liquidation price in stop distances; NaN without leverage or stop."""
    leverage = settings[S_LEVERAGE]
    if settings[S_LINEAR] == 0.0 or leverage <= 1.0:
        return math.nan
    at = liquidation_price(settings, sign, price)
    return float(sign * (price - at) / abs(price - stop))
