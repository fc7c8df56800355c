"""Risk rules as kernels over the account row and the books: settlement, protections, pre-trade checks.

One row of `books` is one strategy's book. The services feed these rows, reserve, persist and publish; the rules are
decided here, in live, on paper and in a backtest alike (trading_rules 4 and 6).
"""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    A_DAY,
    A_DRAWDOWN,
    A_EQUITY,
    A_EQUITY_LOW,
    A_FLATTEN,
    A_FREE,
    A_GROSS,
    A_GROSS_LINEAR,
    A_GROSS_SPOT,
    A_MARKET_GROSS,
    A_MARKET_NET,
    A_MAX_DAILY_LOSS,
    A_MAX_OPEN,
    A_MAX_PER_MARKET,
    A_NET,
    A_OPEN,
    A_PEAK,
    A_REQUIRE_STOP,
    A_RESERVED,
    A_START,
    A_STATE,
    A_STATE_REASON,
    ACTIVE,
    B_AVERAGE,
    B_CAPITAL,
    B_COSTS,
    B_DAY,
    B_DRAWDOWN,
    B_EQUITY,
    B_EQUITY_LOW,
    B_LEVERAGE,
    B_LINEAR,
    B_MARK,
    B_MARKET,
    B_MAX_DAILY_LOSS,
    B_MAX_EXPOSURE,
    B_ORDER,
    B_ORDER_QUANTITY,
    B_ORDER_SIGN,
    B_PEAK,
    B_PEAK_EQUITY,
    B_QUANTITY,
    B_REALIZED,
    B_RESERVED,
    B_STATE,
    B_STATE_REASON,
    B_TROUGH,
    B_USED,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    D_FREE,
    D_GROSS,
    D_MARKET_GROSS,
    D_MARKET_NET,
    D_OPEN,
    D_STRATEGY_EXPOSURE,
    DAY_MS,
    HALTED,
    ORDER_ENTRY,
    P_DAY,
    P_DAY_START,
    P_REASON,
    P_STATE,
    P_UNTIL,
    REASON_RISK,
    REDUCING,
    S_LEVERAGE,
    S_LINEAR,
    S_MIN_NOTIONAL,
    S_MIN_QUANTITY,
    S_TAKER,
    Z_ACCOUNT,
    Z_BELOW_MINIMUM,
    Z_DAILY_LOSS,
    Z_ENTER,
    Z_FUNDS,
    Z_HALTED,
    Z_MARKET,
    Z_MAX_OPEN,
    Z_NO_STOP,
    Z_REDUCING,
    Z_STRATEGY,
)
from stratnb.kernels.trade import equity_at, place_exit, unrealized

__all__ = ["check_entry", "settle", "sum_account"]


@helper
def mark(book: Row, candle: Row) -> None:
    """Mark the book to the close, and to the candle's adverse extreme for the protections."""
    held = book[B_QUANTITY]
    book[B_MARK] = candle[C_CLOSE]
    adverse = candle[C_CLOSE]
    if held != 0.0:
        book[B_PEAK] = max(book[B_PEAK], candle[C_HIGH])
        book[B_TROUGH] = min(book[B_TROUGH], candle[C_LOW])
        adverse = candle[C_LOW] if held > 0.0 else candle[C_HIGH]
    book[B_EQUITY] = equity_at(book, candle[C_CLOSE])
    book[B_EQUITY_LOW] = equity_at(book, adverse)
    book[B_PEAK_EQUITY] = max(book[B_PEAK_EQUITY], book[B_EQUITY])
    if book[B_PEAK_EQUITY] > 0.0:
        book[B_DRAWDOWN] = max(book[B_DRAWDOWN], 1.0 - book[B_EQUITY] / book[B_PEAK_EQUITY])


@helper
def sum_account(books: Row, account: Row) -> None:
    """Fold the books into the account: equity, free balance, exposures, open positions; in slot order."""
    equity, low, free = account[A_START], account[A_START], account[A_START]
    gross, net, opened, reserved = 0.0, 0.0, 0.0, 0.0
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] == 0.0:
            continue
        pnl = book[B_REALIZED] - book[B_COSTS]
        equity += book[B_EQUITY] - book[B_CAPITAL]
        low += book[B_EQUITY_LOW] - book[B_CAPITAL]
        free += pnl - abs(book[B_QUANTITY]) * book[B_AVERAGE] / book[B_LEVERAGE] - book[B_RESERVED]
        if book[B_LINEAR] != 0.0:
            free += unrealized(book, book[B_MARK])
        gross += abs(book[B_QUANTITY]) * book[B_MARK]
        net += book[B_QUANTITY] * book[B_MARK]
        reserved += book[B_RESERVED]
        opened += 1.0 if book[B_QUANTITY] != 0.0 or book[B_ORDER] == ORDER_ENTRY else 0.0
    account[A_EQUITY] = equity
    account[A_EQUITY_LOW] = low
    account[A_FREE] = free
    account[A_GROSS] = gross
    account[A_NET] = net
    account[A_OPEN] = opened
    account[A_RESERVED] = reserved
    account[A_PEAK] = max(account[A_PEAK], equity)
    if account[A_PEAK] > 0.0:
        account[A_DRAWDOWN] = max(account[A_DRAWDOWN], 1.0 - equity / account[A_PEAK])


@helper
def new_day(row: Row, start: int, day: float, equity: float) -> None:
    """Start a day in the risk cells from `start` on: note its equity, release a state that lasted until now."""
    row[start + P_DAY] = day
    row[start + P_DAY_START] = equity
    if row[start + P_STATE] != ACTIVE and row[start + P_UNTIL] <= day * DAY_MS:
        row[start + P_STATE] = ACTIVE
        row[start + P_REASON] = 0.0


@helper
def trip(row: Row, start: int, limit: float, low: float, state: float) -> bool:
    """Apply the daily-loss rule to the risk cells from `start` on; return whether it fires now (a NaN limit is off)."""
    fires = low <= (1.0 - limit) * row[start + P_DAY_START] and row[start + P_STATE] == ACTIVE
    if fires:
        row[start + P_STATE] = state
        row[start + P_REASON] = Z_DAILY_LOSS
        row[start + P_UNTIL] = (row[start + P_DAY] + 1.0) * DAY_MS
    return bool(fires)


@helper
def settle(books: Row, account: Row, candles: Row, fresh: Row, now_ms: float) -> int:
    """Mark all books to the candles of one instant that closed at `now_ms` and evaluate the protections.

    `candles` has one row a market, `fresh` tells which of them are of this instant. Returns 1 when a strategy's
    protection fired, plus 2 when the account's did.
    """
    fired = 0
    inside = math.floor((now_ms - 1.0) / DAY_MS)
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] != 0.0 and fresh[int(book[B_MARKET])] != 0.0:
            if inside > book[B_DAY]:
                new_day(book, B_STATE, inside, book[B_EQUITY])
            mark(book, candles[int(book[B_MARKET])])
            if trip(book, B_STATE, book[B_MAX_DAILY_LOSS], book[B_EQUITY_LOW], REDUCING):
                fired |= 1
    if inside > account[A_DAY]:
        new_day(account, A_STATE, inside, account[A_EQUITY])
    sum_account(books, account)
    if trip(account, A_STATE, account[A_MAX_DAILY_LOSS], account[A_EQUITY_LOW], HALTED):
        fired |= 2
        for s in range(books.shape[0]):
            if account[A_FLATTEN] != 0.0 and books[s, B_USED] != 0.0:
                place_exit(books[s], REASON_RISK)
    if now_ms == (inside + 1.0) * DAY_MS and account[A_DAY] < inside + 1.0:
        new_day(account, A_STATE, inside + 1.0, account[A_EQUITY])
        for s in range(books.shape[0]):
            if books[s, B_USED] != 0.0 and books[s, B_DAY] < inside + 1.0:
                new_day(books[s], B_STATE, inside + 1.0, books[s, B_EQUITY])
    return fired


@helper
def market_exposure(books: Row, market: float, signed: float) -> tuple[float, float, float]:
    """Return net and gross notional of one market with an added signed notional, and its strategies in it."""
    net, gross, holders = signed, abs(signed), 0.0
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] != 0.0 and book[B_MARKET] == market:
            quantity = book[B_QUANTITY]
            if quantity == 0.0 and book[B_ORDER] == ORDER_ENTRY:
                quantity = book[B_ORDER_SIGN] * book[B_ORDER_QUANTITY]
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
def check_entry(
    settings: Row,
    books: Row,
    slot: int,
    account: Row,
    sign: float,
    quantity: float,
    price: float,
    stop: float,
    decision: Row,
) -> float:
    """Run the pre-trade checks of an entry in their order; return the first failing code or Z_ENTER.

    The measured values go into the decision row, whatever the outcome.
    """
    book, notional = books[slot], quantity * price
    factor = 3.0 if settings[S_LINEAR] != 0.0 else 1.0
    net, gross, holders = market_exposure(books, book[B_MARKET], sign * notional)
    total = account[A_GROSS] + pending_notional(books) + notional
    cost = notional / settings[S_LEVERAGE] + settings[S_TAKER] * notional
    equity, own = account[A_EQUITY], abs(book[B_QUANTITY]) * price + notional
    decision[D_OPEN] = account[A_OPEN]
    decision[D_STRATEGY_EXPOSURE] = own / book[B_EQUITY] if book[B_EQUITY] > 0.0 else np.inf
    decision[D_MARKET_NET] = abs(net) / equity if equity > 0.0 else np.inf
    decision[D_MARKET_GROSS] = gross / equity if equity > 0.0 else np.inf
    decision[D_GROSS] = total / equity if equity > 0.0 else np.inf
    decision[D_FREE] = account[A_FREE]
    edge = 1.0 + 1e-9
    limit = account[A_GROSS_LINEAR] if settings[S_LINEAR] != 0.0 else account[A_GROSS_SPOT]
    if account[A_STATE] != ACTIVE:
        return account[A_STATE_REASON] if account[A_STATE] == HALTED else Z_REDUCING
    if book[B_STATE] != ACTIVE:
        return book[B_STATE_REASON] if book[B_STATE_REASON] != 0.0 else Z_HALTED
    if account[A_REQUIRE_STOP] != 0.0 and not math.isfinite(stop):
        return Z_NO_STOP
    if quantity <= 0.0 or quantity < settings[S_MIN_QUANTITY] or notional < settings[S_MIN_NOTIONAL]:
        return Z_BELOW_MINIMUM
    if cost > account[A_FREE] * 0.98 * edge:
        return Z_FUNDS
    if account[A_OPEN] + 1.0 > account[A_MAX_OPEN] or holders + 1.0 > account[A_MAX_PER_MARKET]:
        return Z_MAX_OPEN
    if own > book[B_MAX_EXPOSURE] * book[B_EQUITY] * book[B_LEVERAGE] * edge:
        return Z_STRATEGY
    if (
        abs(net) > account[A_MARKET_NET] * factor * equity * edge
        or gross > account[A_MARKET_GROSS] * factor * equity * edge
    ):
        return Z_MARKET
    if total > limit * equity * edge:
        return Z_ACCOUNT
    return Z_ENTER
