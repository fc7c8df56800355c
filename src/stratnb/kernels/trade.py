"""Orders, fills and levels: what a candle does to one strategy's position (trading_rules 1, 2.1 and 8).

Conventions: the position is signed; a fill of sign s and quantity f at price p changes (q, average) as a netted
ledger does; money is in quote units; slippage and fees are fractions. Intrabar order: the open, then the stop, then
the targets from the nearest on.
"""

from __future__ import annotations

import numpy as np

from stratnb.kernels.costs import liquidation_price, next_funding, slippage
from stratnb.kernels.jit import Row, helper, inlined
from stratnb.kernels.layout import (
    B_AMBIGUOUS,
    B_AVERAGE,
    B_CAPITAL,
    B_COSTS,
    B_DAY_TRADES,
    B_DONE,
    B_FIRST_STOP,
    B_FUNDING_AT,
    B_FUNDING_OPEN,
    B_GAINS,
    B_HELD,
    B_INSIDE,
    B_LEVELS,
    B_LOSSES,
    B_NATR,
    B_OPENED_MS,
    B_ORDER,
    B_ORIGINAL,
    B_PEAK,
    B_QUANTITY,
    B_REALIZED,
    B_STOP,
    B_STOP_REASON,
    B_TARGETS,
    B_TRADE_COSTS,
    B_TRADE_DAY,
    B_TRADE_NO,
    B_TRADE_REALIZED,
    B_TRADES,
    B_TROUGH,
    B_WHOLE,
    B_WINS,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    C_OPEN,
    C_TIME,
    C_VOLUME,
    DAY_MS,
    F_AFTER,
    F_AVERAGE,
    F_FEE,
    F_FUNDING,
    F_PRICE,
    F_QUANTITY,
    F_REALIZED,
    F_REASON,
    F_SIGN,
    F_TIME,
    F_TRADE,
    MARGIN_ISOLATED,
    MAX_TARGETS,
    ORDER_ENTRY,
    REASON_ENTRY,
    REASON_LIQUIDATION,
    REASON_TARGET,
    S_LIQUIDATION_FEE,
    S_LOT,
    S_MAINTENANCE,
    S_MAKER,
    S_MARGIN,
    S_MIN_NOTIONAL,
    S_MIN_QUANTITY,
    S_TAKER,
    S_THROUGH,
    W_LEVEL,
)
from stratnb.kernels.orders import drop_order, fill_open, place_exit, write_fill
from stratnb.kernels.protections import count_trade, note_order

__all__ = [
    "apply_fill",
    "equity_at",
    "fill_open",
    "fill_touch",
    "place_exit",
    "unrealized",
    "untouched",
    "worth",
]


@helper
def open_trade(book: Row, fill: Row, quantity: float) -> None:
    """Start a round trip."""
    book[B_TRADE_NO] += 1.0
    book[B_QUANTITY] = quantity
    book[B_AVERAGE] = fill[F_PRICE]
    book[B_OPENED_MS] = fill[F_TIME]
    book[B_ORIGINAL] = abs(quantity)
    book[B_PEAK] = fill[F_PRICE]
    book[B_TROUGH] = fill[F_PRICE]
    book[B_HELD] = 0.0
    book[B_TRADE_REALIZED] = 0.0
    book[B_TRADE_COSTS] = 0.0
    book[B_STOP] = np.nan
    book[B_FIRST_STOP] = np.nan
    book[B_STOP_REASON] = 0.0
    book[B_TARGETS] = 0.0
    book[B_DONE] = 0.0
    book[B_FUNDING_AT] = next_funding(book, fill[F_TIME])
    day = np.floor(fill[F_TIME] / DAY_MS)
    book[B_DAY_TRADES] = book[B_DAY_TRADES] + 1.0 if day == book[B_TRADE_DAY] else 1.0
    book[B_TRADE_DAY] = day


@helper
def close_trade(book: Row, fill: Row) -> None:
    """Count the round trip that a fill just ended, apply the rules over trades and drop its levels."""
    pnl = book[B_TRADE_REALIZED] - book[B_TRADE_COSTS]
    book[B_TRADES] += 1.0
    if pnl > 0.0:
        book[B_WINS] += 1.0
        book[B_GAINS] += pnl
    else:
        book[B_LOSSES] -= pnl
    count_trade(book, fill, pnl)
    book[B_QUANTITY] = 0.0
    book[B_STOP] = np.nan
    book[B_TARGETS] = 0.0


@inlined
def apply_fill(book: Row, fill: Row) -> None:
    """Change the ledger by one fill and complete the fill row (realized, position after, trade number)."""
    held, price = book[B_QUANTITY], fill[F_PRICE]
    signed = fill[F_SIGN] * fill[F_QUANTITY]
    realized = 0.0
    if held == 0.0:
        open_trade(book, fill, signed)
    elif held * signed > 0.0:
        book[B_AVERAGE] = (book[B_AVERAGE] * held + price * signed) / (held + signed)
        book[B_QUANTITY] = held + signed
        book[B_ORIGINAL] += abs(signed)
    else:
        closing = min(abs(held), abs(signed))
        if book[B_ORDER] == ORDER_ENTRY:  # an exit ends what is left of the entry
            drop_order(book)
        realized = (price - book[B_AVERAGE]) * closing * (1.0 if held > 0.0 else -1.0)
        book[B_QUANTITY] = held + signed if closing < abs(held) else 0.0
    average = book[B_AVERAGE]
    book[B_REALIZED] += realized
    book[B_TRADE_REALIZED] += realized
    book[B_COSTS] += fill[F_FEE]
    book[B_TRADE_COSTS] += fill[F_FEE]
    reason = fill[F_REASON]
    if reason > REASON_TARGET and reason <= REASON_TARGET + MAX_TARGETS:
        book[B_LEVELS + int(reason - REASON_TARGET - 1.0) * W_LEVEL + 2] = 1.0
        book[B_DONE] = max(book[B_DONE], reason - REASON_TARGET)
    if reason != REASON_ENTRY:
        note_order(book, fill[F_TIME])
    fill[F_REALIZED] = realized
    fill[F_AFTER] = book[B_QUANTITY]
    fill[F_TRADE] = book[B_TRADE_NO]
    fill[F_AVERAGE] = average
    fill[F_FUNDING] = book[B_FUNDING_OPEN]
    book[B_FUNDING_OPEN] = 0.0
    if held != 0.0 and book[B_QUANTITY] == 0.0:
        close_trade(book, fill)
        rest = abs(signed) - abs(held)
        if rest > 0.0:  # the fill crossed zero: the rest opens the next trade
            open_trade(book, fill, rest if signed > 0.0 else -rest)
            fill[F_AFTER] = book[B_QUANTITY]


@helper
def too_small(settings: Row, quantity: float, price: float) -> bool:
    """Tell whether a quantity is below what the market takes as one order."""
    edge = 1.0 - 1e-9
    least = max(settings[S_MIN_QUANTITY] * edge, settings[S_LOT] * 0.5)
    return bool(quantity < least or quantity * price < settings[S_MIN_NOTIONAL] * edge)


@helper
def target_quantity(settings: Row, book: Row, k: int, left: float, price: float) -> float:
    """Return what target k closes of what is left: all of it when the rest could not be sold alone.

    A share that could not be sold alone while the rest could closes nothing.
    """
    quantity = min(book[B_LEVELS + k * W_LEVEL + 1], left)
    if book[B_WHOLE] != 0.0 and k == int(book[B_TARGETS]) - 1:
        return left
    if too_small(settings, left - quantity, price):
        return left
    return 0.0 if too_small(settings, quantity, price) else quantity


@helper
def inside(book: Row, candle: Row, side: float) -> tuple[float, float]:
    """Return where a candle begins and its best price for a position that a limit opened within it.

    The price came to the limit from its better side, so the worst price lies after the fill; of the best one only the
    close is known to.
    """
    entry, close = book[B_AVERAGE], candle[C_CLOSE]
    return entry, max(entry, close) if side > 0.0 else min(entry, close)


@helper
def is_liquidated(settings: Row, book: Row, side: float, first: float, worst: float) -> bool:
    """Tell whether a candle liquidates an isolated position: it opens beyond that price, or meets it first."""
    at = liquidation_price(settings, side, book[B_AVERAGE])
    if side * (first - at) <= 0.0:
        return True
    return bool(side * (worst - at) <= 0.0 and not side * (book[B_STOP] - at) >= 0.0)


@inlined
def fill_touch(settings: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Resolve liquidation, stop and targets of the open position against one candle; return the new number of fills.

    A liquidation fills at its price and costs the maintenance margin and its fee, so that with leverage L exactly
    1/L of the entry notional, which is the initial margin, and that fee are lost.
    """
    held = book[B_QUANTITY]
    if held == 0.0:
        return n
    side = 1.0 if held > 0.0 else -1.0
    left, stop = abs(held), book[B_STOP]
    first, best = candle[C_OPEN], candle[C_HIGH] if side > 0.0 else candle[C_LOW]
    worst = candle[C_LOW] if side > 0.0 else candle[C_HIGH]
    if book[B_INSIDE] == candle[C_TIME]:
        first, best = inside(book, candle, side)
    liquidated = settings[S_MARGIN] == MARGIN_ISOLATED and is_liquidated(settings, book, side, first, worst)
    if liquidated:
        stop = liquidation_price(settings, side, book[B_AVERAGE])
    gap = side * (first - stop) <= 0.0
    touched = side * (worst - stop) <= 0.0
    for k in range(int(book[B_TARGETS])):
        level = book[B_LEVELS + k * W_LEVEL]
        if gap or left <= 0.0 or k < book[B_DONE] or book[B_LEVELS + k * W_LEVEL + 2] != 0.0:
            continue
        through = side * (best - level) >= settings[S_THROUGH]
        at_open = side * (first - level) > 0.0
        price = first if at_open else level
        quantity = target_quantity(settings, book, k, left, price)
        if quantity > 0.0 and through and touched and not at_open:
            book[B_AMBIGUOUS] += 1.0
            break
        if quantity > 0.0 and (through or at_open):
            fee = settings[S_MAKER] * quantity * price
            n = write_fill(fills, n, -side, quantity, price, fee, candle[C_TIME], REASON_TARGET + k + 1.0)
            left = 0.0 if quantity >= left else left - quantity
    if left > 0.0 and liquidated:
        fee = (settings[S_MAINTENANCE] + settings[S_LIQUIDATION_FEE]) * left * stop
        n = write_fill(fills, n, -side, left, stop, fee, candle[C_TIME], REASON_LIQUIDATION)
    elif left > 0.0 and (gap or touched):
        base = first if gap else stop
        price = base * (1.0 - side * slippage(settings, book[B_NATR], left, candle[C_VOLUME]))
        if not gap:
            price = max(price, worst) if side > 0.0 else min(price, worst)
        fee = settings[S_TAKER] * left * price
        n = write_fill(fills, n, -side, left, price, fee, candle[C_TIME], book[B_STOP_REASON])
    return n


@helper
def unrealized(book: Row, price: float) -> float:
    """Return the open profit at a price."""
    return book[B_QUANTITY] * (price - book[B_AVERAGE]) if book[B_QUANTITY] != 0.0 else 0.0


@helper
def worth(funds: float, quantity: float, average: float, costs: float, price: float) -> float:
    """Return what a strategy with a position is worth at a price; `funds` are its capital and what it realized."""
    return funds + quantity * (price - average) - costs


@helper
def equity_at(book: Row, price: float) -> float:
    """Return capital + realized + unrealized - costs at a price."""
    funds = book[B_CAPITAL] + book[B_REALIZED]
    if book[B_QUANTITY] == 0.0:
        return float(funds - book[B_COSTS])
    return float(worth(funds, book[B_QUANTITY], book[B_AVERAGE], book[B_COSTS], price))


@inlined
def untouched(settings: Row, book: Row) -> tuple[float, float]:
    """Return the prices between which a candle touches neither stop nor targets, nor liquidates the open position."""
    stop, nearest, is_long = book[B_STOP], np.nan, book[B_QUANTITY] > 0.0
    for k in range(int(book[B_DONE]), int(book[B_TARGETS])):
        level, is_done = book[B_LEVELS + k * W_LEVEL], book[B_LEVELS + k * W_LEVEL + 2] != 0.0
        if not is_done and (nearest != nearest or (level < nearest if is_long else level > nearest)):
            nearest = level
    if settings[S_MARGIN] == MARGIN_ISOLATED:
        at = liquidation_price(settings, 1.0 if is_long else -1.0, book[B_AVERAGE])
        stop = at if stop != stop or (at > stop if is_long else at < stop) else stop
    reach = abs(settings[S_THROUGH]) + 1e-12 * abs(nearest)  # a touch counts from just before the level on
    nearest += -reach if is_long else reach
    low, high = (stop, nearest) if is_long else (nearest, stop)
    return low if low == low else -np.inf, high if high == high else np.inf
