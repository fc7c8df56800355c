"""The order of a book: how it is placed, what a candle fills of it, and what rests (trading_rules 2 and 8)."""

from __future__ import annotations

import math

from stratnb.kernels.costs import slippage
from stratnb.kernels.jit import Row, helper, inlined
from stratnb.kernels.layout import (
    B_BASE_MS,
    B_INSIDE,
    B_NATR,
    B_ORDER,
    B_ORDER_MS,
    B_ORDER_PRICE,
    B_ORDER_QUANTITY,
    B_ORDER_REASON,
    B_ORDER_RISK,
    B_ORDER_SIGN,
    B_ORDER_UNTIL,
    B_QUANTITY,
    B_RESERVED,
    C_HIGH,
    C_LOW,
    C_OPEN,
    C_TIME,
    C_VOLUME,
    F_FEE,
    F_PRICE,
    F_QUANTITY,
    F_REASON,
    F_SIGN,
    F_TIME,
    ORDER_ENTRY,
    ORDER_EXIT,
    ORDER_NONE,
    REASON_ENTRY,
    REASON_LIQUIDATION,
    S_BASE_FEE,
    S_LATENCY,
    S_LIQUIDATION_FEE,
    S_LOT,
    S_MAKER,
    S_PARTICIPATION,
    S_POST_ONLY,
    S_TAKER,
    S_THROUGH,
)
from stratnb.kernels.rounding import round_down, round_nearest

__all__ = ["drop_order", "fill_open", "place_entry", "place_exit", "place_liquidation", "write_fill"]


@helper
def write_fill(
    fills: Row, n: int, sign: float, quantity: float, price: float, fee: float, time: float, reason: float
) -> int:
    """Append a fill row that has not been applied yet and return the new count."""
    row = fills[n]
    row[F_SIGN] = sign
    row[F_QUANTITY] = quantity
    row[F_PRICE] = price
    row[F_FEE] = fee
    row[F_TIME] = time
    row[F_REASON] = reason
    return n + 1


@helper
def drop_order(book: Row) -> None:
    """Take the order out of a book and give back what it reserved."""
    book[B_ORDER] = ORDER_NONE
    book[B_RESERVED] = 0.0


@helper
def tradable(settings: Row, book: Row, quantity: float, volume: float) -> float:
    """Return how much of a market order a candle of this volume takes; all of it when no volume is known."""
    share = settings[S_PARTICIPATION]
    if share <= 0.0 or not math.isfinite(volume) or book[B_ORDER_REASON] == REASON_LIQUIDATION:
        return quantity
    return min(quantity, round_down(share * volume, settings[S_LOT]))


@helper
def received(settings: Row, sign: float, quantity: float, rate: float) -> float:
    """Return what a fill moves into the book: a buy whose fee is taken in the base currency brings less."""
    return quantity * (1.0 - rate) if settings[S_BASE_FEE] != 0.0 and sign > 0.0 else quantity


@helper
def arrives_late(settings: Row, book: Row, candle: Row) -> bool:
    """Tell whether a candle opens before the order of a decision has arrived, given its latency."""
    return bool(settings[S_LATENCY] > 0.0 and candle[C_TIME] < book[B_ORDER_MS] + settings[S_LATENCY])


@helper
def keep_rest(book: Row, quantity: float, rest: float) -> None:
    """Leave the rest of an order in the book, with its share of what the whole reserved."""
    book[B_ORDER_QUANTITY] = rest
    book[B_RESERVED] *= rest / quantity
    book[B_ORDER_RISK] *= rest / quantity


@helper
def fill_limit(settings: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Fill a resting limit entry at its price, or at the open where that is better; return the new number of fills.

    One that the open would fill at once pays the taker's fee, or is dropped when it may only rest. After its time it
    does not fill any more.
    """
    sign, quantity, price = book[B_ORDER_SIGN], book[B_ORDER_QUANTITY], book[B_ORDER_PRICE]
    first, best = candle[C_OPEN], candle[C_LOW] if sign > 0.0 else candle[C_HIGH]
    if candle[C_TIME] >= book[B_ORDER_UNTIL] or arrives_late(settings, book, candle):
        return n
    rate, better = settings[S_MAKER], sign * (price - first) > 0.0
    if better and candle[C_TIME] < book[B_ORDER_MS] + settings[S_LATENCY] + book[B_BASE_MS]:
        rate = settings[S_TAKER]
        if settings[S_POST_ONLY] != 0.0:
            drop_order(book)
            return n
    if not better and not sign * (price - best) >= settings[S_THROUGH]:
        return n
    if not better:
        book[B_INSIDE] = candle[C_TIME]
    paid = first if better else price
    got = received(settings, sign, quantity, rate)
    n = write_fill(fills, n, sign, got, paid, rate * quantity * paid, candle[C_TIME], REASON_ENTRY)
    drop_order(book)
    return n


@inlined
def fill_open(settings: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Fill the pending order at the open with slippage, a limit at its price; return the new number of fills.

    What the volume of the candle does not take rests in the book.
    """
    kind, sign = book[B_ORDER], book[B_ORDER_SIGN]
    if kind == ORDER_ENTRY and book[B_ORDER_PRICE] > 0.0:
        return fill_limit(settings, book, candle, fills, n)
    if kind != ORDER_NONE and not arrives_late(settings, book, candle):
        quantity = book[B_ORDER_QUANTITY]
        if kind == ORDER_EXIT:
            quantity = min(quantity, abs(book[B_QUANTITY]))
        whole = quantity
        quantity = tradable(settings, book, whole, candle[C_VOLUME])
        slip = slippage(settings, book[B_NATR], quantity, candle[C_VOLUME])
        price, rate = candle[C_OPEN] * (1.0 + sign * slip), settings[S_TAKER]
        if book[B_ORDER_REASON] == REASON_LIQUIDATION:
            price, rate = book[B_ORDER_PRICE], rate + settings[S_LIQUIDATION_FEE]
        if quantity > 0.0:
            fee, got = rate * quantity * price, received(settings, sign, quantity, rate)
            n = write_fill(fills, n, sign, got, price, fee, candle[C_TIME], book[B_ORDER_REASON])
        if quantity < whole:
            keep_rest(book, whole, round_nearest(whole - quantity, settings[S_LOT]))
        else:
            drop_order(book)
    return n


@helper
def place_exit(book: Row, reason: float) -> None:
    """Put a market order that closes the whole position; an earlier exit order keeps its reason."""
    if book[B_QUANTITY] != 0.0 and book[B_ORDER] != ORDER_EXIT:
        book[B_ORDER] = ORDER_EXIT
        book[B_ORDER_SIGN] = -1.0 if book[B_QUANTITY] > 0.0 else 1.0
        book[B_ORDER_QUANTITY] = abs(book[B_QUANTITY])
        book[B_ORDER_REASON] = reason
        book[B_RESERVED] = 0.0


@helper
def place_liquidation(book: Row, price: float) -> None:
    """Put an order that closes the whole position at a price, in place of any other."""
    book[B_ORDER] = ORDER_NONE
    place_exit(book, REASON_LIQUIDATION)
    book[B_ORDER_PRICE] = price


@helper
def place_entry(
    book: Row, sign: float, quantity: float, price: float, until_ms: float, reserved: float, risk: float
) -> None:
    """Put an order that opens a position, and reserve its margin and fee, and what it may lose at its stop.

    At market with a price of 0, else at that limit, which rests until a time.
    """
    book[B_ORDER] = ORDER_ENTRY
    book[B_ORDER_SIGN] = sign
    book[B_ORDER_QUANTITY] = quantity
    book[B_ORDER_REASON] = REASON_ENTRY
    book[B_ORDER_PRICE] = price
    book[B_ORDER_UNTIL] = until_ms
    book[B_RESERVED] = reserved
    book[B_ORDER_RISK] = risk
