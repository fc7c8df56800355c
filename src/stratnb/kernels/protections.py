"""Protections as kernels: losses of a day, drawdown, series of losing trades, gains to keep (trading_rules 6).

A limit that is NaN switches its rule off. Each is evaluated where its figures change: equity at every settlement,
trades when they close. Windows look at the newest trades that a book keeps.
"""

from __future__ import annotations

import math

from stratnb.kernels.jit import Row, helper, inlined
from stratnb.kernels.layout import (
    A_RISK,
    B_AVERAGE,
    B_CLOSES,
    B_COOLDOWN,
    B_LOST,
    B_LOW_MS,
    B_LOW_PAUSE,
    B_LOW_RETURN,
    B_LOW_TRADES,
    B_MAX_LOSSES,
    B_NATR,
    B_NEWS,
    B_ORDERS,
    B_ORIGINAL,
    B_RETURNS,
    B_RISK,
    B_SENT,
    B_STATE,
    B_STOP_REASON,
    B_STREAK,
    B_TRADE_COSTS,
    B_TRADES,
    B_USED,
    CLOSES_KEPT,
    DAY_MS,
    F_REASON,
    F_TIME,
    HEALTH_TRADES,
    K_DAY_HIGH,
    K_GUARD_COUNT,
    K_GUARD_MS,
    K_GUARD_PAUSE,
    K_LOCK_ARM,
    K_LOCK_BACK,
    K_MAX_DRAWDOWN,
    K_PEAK,
    K_RULES,
    K_TARGET,
    LATCHED,
    NEWS_CLOSED,
    NEWS_FIRED,
    ORDERS_KEPT,
    P_DAY,
    P_DAY_START,
    REASON_EXIT,
    REASON_LIQUIDATION,
    RULE_COOLDOWN,
    RULE_DAILY,
    RULE_DRAWDOWN,
    RULE_GUARD,
    RULE_LOCK,
    RULE_LOSSES,
    RULE_LOW,
    RULE_TARGET,
    RULE_VOLATILITY,
)
from stratnb.kernels.rules import fire, fold_rules

__all__ = ["count_trade", "guard_account", "guard_gains", "guard_losses", "halt_volatile", "note_order"]

CALM = 0.8


@helper
def next_midnight(time_ms: float) -> float:
    """Return the next 00:00 UTC after a time."""
    return (math.floor(time_ms / DAY_MS) + 1.0) * DAY_MS


@helper
def guard_losses(row: Row, p: int, k: int, max_daily_loss: float, low: float) -> bool:
    """Apply daily loss and drawdown to a scope's equity at the adverse extreme; return whether one fires now."""
    fires, today = False, row[p + P_DAY] * DAY_MS
    if low <= (1.0 - max_daily_loss) * row[p + P_DAY_START] and row[k + K_RULES + RULE_DAILY] <= today:
        fire(row, k, RULE_DAILY, today + DAY_MS)
        fires = True
    if low <= (1.0 - row[k + K_MAX_DRAWDOWN]) * row[k + K_PEAK] and row[k + K_RULES + RULE_DRAWDOWN] != LATCHED:
        fire(row, k, RULE_DRAWDOWN, LATCHED)
        fires = True
    return fires


@helper
def guard_gains(row: Row, p: int, k: int, equity: float) -> bool:
    """Apply profit lock and daily target to a scope's equity at the close; return whether one fires now."""
    start, fires = row[p + P_DAY_START], False
    today = row[p + P_DAY] * DAY_MS
    if row[k + K_LOCK_ARM] > 0.0:
        high = max(row[k + K_DAY_HIGH], equity)
        row[k + K_DAY_HIGH] = high
        given_back = equity <= high - row[k + K_LOCK_BACK] * (high - start)
        if high >= (1.0 + row[k + K_LOCK_ARM]) * start and given_back and row[k + K_RULES + RULE_LOCK] <= today:
            fire(row, k, RULE_LOCK, today + DAY_MS)
            fires = True
    if equity >= (1.0 + row[k + K_TARGET]) * start and row[k + K_RULES + RULE_TARGET] <= today:
        fire(row, k, RULE_TARGET, today + DAY_MS)
        fires = True
    return fires


@helper
def losing_stops(book: Row, since_ms: float) -> float:
    """Return how many of the kept trades were closed by a stop at a loss, from a time on."""
    count = 0.0
    for j in range(CLOSES_KEPT):
        count += 1.0 if book[B_CLOSES + j] < 0.0 and -book[B_CLOSES + j] >= since_ms else 0.0
    return count


@helper
def guard_account(books: Row, account: Row, now_ms: float) -> bool:
    """Apply the stop-loss guard to the trades of all books; return whether it fires now."""
    count = 0.0
    for s in range(books.shape[0]):
        if books[s, B_USED] != 0.0:
            count += losing_stops(books[s], now_ms - account[A_RISK + K_GUARD_MS])
    if count >= account[A_RISK + K_GUARD_COUNT] and account[A_RISK + K_RULES + RULE_GUARD] <= now_ms:
        fire(account, A_RISK, RULE_GUARD, now_ms + account[A_RISK + K_GUARD_PAUSE])
        return True
    return False


@helper
def weak_returns(book: Row, now_ms: float) -> bool:
    """Tell whether the kept trades of the window, if enough, returned less than the minimum together."""
    count, total, trades = 0.0, 0.0, int(book[B_TRADES])
    if not trades >= book[B_LOW_TRADES]:
        return False
    for back in range(1, min(trades, CLOSES_KEPT) + 1):
        if abs(book[B_CLOSES + (trades - back) % CLOSES_KEPT]) >= now_ms - book[B_LOW_MS]:
            count += 1.0
            total += book[B_RETURNS + (trades - back) % HEALTH_TRADES]
    return bool(count >= book[B_LOW_TRADES] and total < book[B_LOW_RETURN])


@inlined
def count_trade(book: Row, fill: Row, pnl: float) -> None:
    """Note a trade that just closed (and is counted), then apply the rules over trades.

    A trade within its costs leaves the streak of the size as it is; a profit ends it and the row of losses.
    """
    now_ms, at = fill[F_TIME], int(book[B_TRADES]) - 1
    reason = fill[F_REASON]
    by_stop = reason >= REASON_EXIT and reason == book[B_STOP_REASON]
    stopped = pnl < 0.0 and (by_stop or reason == REASON_LIQUIDATION)
    book[B_RETURNS + at % HEALTH_TRADES] = pnl / (book[B_ORIGINAL] * book[B_AVERAGE])
    book[B_CLOSES + at % CLOSES_KEPT] = -now_ms if stopped else now_ms
    if abs(pnl) > book[B_TRADE_COSTS]:
        book[B_STREAK] = 0.0 if pnl > 0.0 else book[B_STREAK] + 1.0
    if pnl != 0.0:
        book[B_LOST] = 0.0 if pnl > 0.0 else book[B_LOST] + 1.0
    news = NEWS_CLOSED
    if book[B_LOST] >= book[B_MAX_LOSSES]:
        book[B_LOST] = 0.0
        fire(book, B_RISK, RULE_LOSSES, next_midnight(now_ms))
        news = NEWS_FIRED
    if stopped and losing_stops(book, now_ms - book[B_RISK + K_GUARD_MS]) >= book[B_RISK + K_GUARD_COUNT]:
        fire(book, B_RISK, RULE_GUARD, now_ms + book[B_RISK + K_GUARD_PAUSE])
        news = NEWS_FIRED
    if weak_returns(book, now_ms):
        fire(book, B_RISK, RULE_LOW, now_ms + book[B_LOW_PAUSE])
        news = NEWS_FIRED
    if book[B_COOLDOWN] > 0.0:
        fire(book, B_RISK, RULE_COOLDOWN, now_ms + book[B_COOLDOWN])
    book[B_NEWS] = max(book[B_NEWS], news)


@helper
def halt_volatile(book: Row, natr: float, limit: float, now_ms: float) -> None:
    """Pause while the NATR of a market is above its limit, until it falls below 0.8 of it."""
    if not math.isfinite(natr):
        return
    book[B_NATR] = natr
    held = book[B_RISK + K_RULES + RULE_VOLATILITY] != 0.0
    if natr > limit and not held:
        fire(book, B_RISK, RULE_VOLATILITY, LATCHED)
        book[B_NEWS] = NEWS_FIRED
    elif held and not natr >= CALM * limit:
        book[B_RISK + K_RULES + RULE_VOLATILITY] = 0.0
    else:
        return
    fold_rules(book, B_STATE, B_RISK, now_ms)


@helper
def note_order(book: Row, time_ms: float) -> None:
    """Remember when an order was sent, in place of the oldest one."""
    book[B_ORDERS + int(book[B_SENT]) % ORDERS_KEPT] = time_ms
    book[B_SENT] += 1.0
