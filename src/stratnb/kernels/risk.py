"""Settlement as a kernel over the account row and the books: mark to the candles, then evaluate the protections.

One row of `books` is one strategy's book. The services feed these rows, persist and publish; the rules are decided
here and in the modules beside, in live, on paper and in a backtest alike (trading_rules 4 to 6).
"""

from __future__ import annotations

import numpy as np

from stratnb.kernels.costs import pay_funding
from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    A_DAY,
    A_EQUITY,
    A_EQUITY_LOW,
    A_FLATTEN,
    A_MAX_DAILY_LOSS,
    A_NOW,
    A_RISK,
    A_STATE,
    ACTIVE,
    B_ADVERSE,
    B_AVERAGE,
    B_DAY,
    B_DRAWDOWN,
    B_EQUITY,
    B_EQUITY_LOW,
    B_EXPIRED,
    B_FUNDING_AT,
    B_FUNDING_MS,
    B_INSIDE,
    B_MAINTENANCE,
    B_MARK,
    B_MARKET,
    B_MAX_DAILY_LOSS,
    B_MAX_HOLDING,
    B_NEWS,
    B_OPENED_MS,
    B_ORDER,
    B_ORDER_PRICE,
    B_ORDER_QUANTITY,
    B_ORDER_SIGN,
    B_ORDER_UNTIL,
    B_PEAK,
    B_PEAK_EQUITY,
    B_QUANTITY,
    B_RISK,
    B_STATE,
    B_TROUGH,
    B_USED,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    C_TIME,
    DAY_MS,
    K_NEXT,
    K_PEAK,
    NEWS_FIRED,
    ORDER_ENTRY,
    REASON_RISK,
)
from stratnb.kernels.orders import drop_order, place_exit, place_liquidation
from stratnb.kernels.protections import guard_account, guard_gains, guard_losses
from stratnb.kernels.rules import fold_rules, start_day
from stratnb.kernels.sums import sum_account
from stratnb.kernels.trade import equity_at

__all__ = ["mark_position", "note_fall", "protect", "settle", "settle_book"]


@helper
def note_fall(book: Row, equity: float) -> None:
    """Keep a book's deepest drawdown."""
    if book[B_PEAK_EQUITY] > 0.0:
        book[B_DRAWDOWN] = max(book[B_DRAWDOWN], 1.0 - equity / book[B_PEAK_EQUITY])


@helper
def mark_position(book: Row, candle: Row) -> None:
    """Mark what the book holds to the close, and to the candle's adverse extreme for the protections."""
    held = book[B_QUANTITY]
    book[B_MARK] = candle[C_CLOSE]
    adverse = candle[C_CLOSE]
    if held != 0.0:
        high, low = candle[C_HIGH], candle[C_LOW]
        if book[B_INSIDE] == candle[C_TIME]:  # what came before a limit filled is not seen by its position
            high = max(candle[C_CLOSE], book[B_AVERAGE]) if held > 0.0 else high
            low = min(candle[C_CLOSE], book[B_AVERAGE]) if held < 0.0 else low
        book[B_PEAK] = max(book[B_PEAK], high)
        book[B_TROUGH] = min(book[B_TROUGH], low)
        adverse = candle[C_LOW] if held > 0.0 else candle[C_HIGH]
    book[B_ADVERSE] = adverse
    book[B_EQUITY] = equity_at(book, candle[C_CLOSE])
    book[B_EQUITY_LOW] = equity_at(book, adverse)


@helper
def mark(book: Row, candle: Row) -> None:
    """Mark the book; its peak and drawdown follow."""
    mark_position(book, candle)
    book[B_PEAK_EQUITY] = max(book[B_PEAK_EQUITY], book[B_EQUITY])
    note_fall(book, book[B_EQUITY])


@helper
def settle_book(book: Row, candle: Row, inside: float, now_ms: float) -> int:
    """Mark one book and evaluate its protections; return 1 when one fired, else 0."""
    fired = 0
    if inside > book[B_DAY]:
        start_day(book, B_STATE, B_RISK, inside, book[B_EQUITY])
    if book[B_FUNDING_MS] > 0.0 and book[B_QUANTITY] != 0.0 and now_ms >= book[B_FUNDING_AT]:
        pay_funding(book, candle[C_CLOSE], now_ms)
    mark(book, candle)
    if guard_losses(book, B_STATE, B_RISK, book[B_MAX_DAILY_LOSS], book[B_EQUITY_LOW]):
        fired = 1
    if guard_gains(book, B_STATE, B_RISK, book[B_EQUITY]):
        fired = 1
    book[B_RISK + K_PEAK] = max(book[B_RISK + K_PEAK], book[B_EQUITY])
    if book[B_ORDER] == ORDER_ENTRY and book[B_ORDER_PRICE] > 0.0 and book[B_ORDER_UNTIL] <= now_ms:
        fired = 1
        book[B_EXPIRED] = book[B_ORDER_SIGN] * book[B_ORDER_QUANTITY]
        drop_order(book)
    if book[B_QUANTITY] != 0.0 and now_ms - book[B_OPENED_MS] >= book[B_MAX_HOLDING]:
        place_exit(book, REASON_RISK)
        fired = 1
    return fired


@helper
def settle_account(books: Row, account: Row, news: float, now_ms: float) -> int:
    """Evaluate the account's protections; return 2 when one halts it (all is then closed), 1 for a pause, else 0."""
    fired = 0
    if guard_losses(account, A_STATE, A_RISK, account[A_MAX_DAILY_LOSS], account[A_EQUITY_LOW]):
        fired = 2
        for s in range(books.shape[0]):
            if account[A_FLATTEN] != 0.0 and books[s, B_USED] != 0.0:
                place_exit(books[s], REASON_RISK)
    if guard_gains(account, A_STATE, A_RISK, account[A_EQUITY]):
        fired |= 1
    if news != 0.0 and guard_account(books, account, now_ms):
        fired |= 1
    account[A_RISK + K_PEAK] = max(account[A_RISK + K_PEAK], account[A_EQUITY])
    return fired


@helper
def liquidate_cross(books: Row, account: Row) -> None:
    """Close all positions on cross margin at the adverse extremes, which the account's equity could not carry."""
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] != 0.0 and book[B_MAINTENANCE] != 0.0 and book[B_QUANTITY] != 0.0:
            place_liquidation(book, book[B_ADVERSE])
            book[B_MARK] = book[B_ADVERSE]
            book[B_EQUITY] = book[B_EQUITY_LOW]
    sum_account(books, account)


@helper
def turn_midnight(books: Row, account: Row, day: float) -> None:
    """Start a day at the instant of midnight, once."""
    start_day(account, A_STATE, A_RISK, day, account[A_EQUITY])
    for s in range(books.shape[0]):
        if books[s, B_USED] != 0.0 and books[s, B_DAY] < day:
            start_day(books[s], B_STATE, B_RISK, day, books[s, B_EQUITY])


@helper
def settle(books: Row, account: Row, candles: Row, fresh: Row, now_ms: float) -> int:
    """Mark all books to the candles of one instant that closed at `now_ms` and evaluate the protections.

    `candles` has one row a market, `fresh` tells which of them are of this instant. Returns 1 when a rule of a
    strategy or a pause fired since the last settlement, plus 2 when the account was halted. What ends now is released
    last, so that the decisions of this instant are free of it.
    """
    fired, news, margin = 0, 0.0, 0.0
    inside = np.floor((now_ms - 1.0) / DAY_MS)
    account[A_NOW] = now_ms
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_USED] == 0.0:
            continue
        if fresh[int(book[B_MARKET])] != 0.0:
            fired |= settle_book(book, candles[int(book[B_MARKET])], inside, now_ms)
        if book[B_MAINTENANCE] != 0.0:
            margin += book[B_MAINTENANCE] * abs(book[B_QUANTITY]) * book[B_ADVERSE]
        if book[B_NEWS] != 0.0:
            news = max(news, book[B_NEWS])
            book[B_NEWS] = 0.0
    if news == NEWS_FIRED:
        fired |= 1
    if inside > account[A_DAY]:
        start_day(account, A_STATE, A_RISK, inside, account[A_EQUITY])
    sum_account(books, account)
    return fired | protect(books, account, news, margin, inside, now_ms, False)


@helper
def protect(books: Row, account: Row, news: float, margin: float, inside: float, now_ms: float, quiet: bool) -> int:
    """Evaluate the account's protections on its sums, begin the day that comes, release what ends; as `settle`.

    `margin` is what the positions with a common margin must keep. It is `quiet` while no day begins, nothing ends and
    no entry waits.
    """
    fired = 0
    if margin > 0.0 and account[A_EQUITY_LOW] <= margin:
        liquidate_cross(books, account)
        fired |= 1
    fired |= settle_account(books, account, news, now_ms)
    if quiet and fired == 0:
        return 0
    if now_ms == (inside + 1.0) * DAY_MS and account[A_DAY] < inside + 1.0:
        turn_midnight(books, account, inside + 1.0)
    release_due(books, account, now_ms)
    return fired | cancel_waiting(books, account)


@helper
def cancel_waiting(books: Row, account: Row) -> int:
    """Cancel the entries that still wait where a state allows none any more; return 1 when there were some, else 0."""
    found = 0
    for s in range(books.shape[0]):
        book = books[s]
        if book[B_ORDER] == ORDER_ENTRY and (account[A_STATE] != ACTIVE or book[B_STATE] != ACTIVE):
            drop_order(book)
            found = 1
    if found == 1:
        sum_account(books, account)
    return found


@helper
def release_due(books: Row, account: Row, now_ms: float) -> None:
    """Let act what fired, and end the rules that lasted until now."""
    if account[A_RISK + K_NEXT] <= now_ms:
        fold_rules(account, A_STATE, A_RISK, now_ms)
    for s in range(books.shape[0]):
        if books[s, B_USED] != 0.0 and books[s, B_RISK + K_NEXT] <= now_ms:
            fold_rules(books[s], B_STATE, B_RISK, now_ms)
