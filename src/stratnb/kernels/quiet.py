"""When a settlement of a strategy that trades alone changes nothing but its marks, so that a loop may skip it.

The generated loop asks here after every full settlement; what it skipped is caught up with `catch_up`.
"""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.address import cell, put
from stratnb.kernels.jit import Row, helper, inlined
from stratnb.kernels.layout import (
    A_DAY,
    A_DAY_START,
    A_MAX_DAILY_LOSS,
    A_NOW,
    A_PEAK,
    A_RISK,
    A_START,
    B_ADVERSE,
    B_CAPITAL,
    B_DAY,
    B_DAY_START,
    B_EQUITY,
    B_EQUITY_LOW,
    B_FUNDING_AT,
    B_FUNDING_MS,
    B_HELD,
    B_MAINTENANCE,
    B_MARK,
    B_MAX_DAILY_LOSS,
    B_MAX_HOLDING,
    B_NEWS,
    B_OPENED_MS,
    B_PEAK,
    B_PEAK_EQUITY,
    B_QUANTITY,
    B_RISK,
    B_TROUGH,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    C_TIME,
    DAY_MS,
    K_GUARD_COUNT,
    K_LOCK_ARM,
    K_MAX_DRAWDOWN,
    K_NEXT,
    K_PEAK,
    K_RULES,
    K_TARGET,
    LATCHED,
    NEWS_CLOSED,
    RULE_DRAWDOWN,
    W_CANDLE,
)
from stratnb.kernels.risk import note_fall
from stratnb.kernels.sums import note_account_fall, sum_account
from stratnb.kernels.trade import worth

__all__ = [
    "catch_up",
    "position_ends",
    "position_until",
    "quiet_book",
    "quiet_equity",
    "quiet_prices",
    "rules_until",
    "takes_news",
    "undisturbed",
]

MARGIN, ULPS = 1e-9, 1e-12
TOGETHER = 8  # candles looked at between two tests


@helper
def first_at(candles: Row, i: int, stop: int, length_ms: float, time_ms: float) -> int:
    """Return the first row from i on that opens at a time or later, `stop` for none before it."""
    if i >= stop or not time_ms < math.inf:
        return stop
    low, high = i, min(stop, i + int(max(0.0, time_ms - candles[i, C_TIME] + length_ms - 1.0) / length_ms))
    if low < high and candles[high - 1, C_TIME] < time_ms:
        return high
    while low < high:
        middle = (low + high) // 2
        if candles[middle, C_TIME] >= time_ms:
            high = middle
        else:
            low = middle + 1
    return low


@helper
def rules_until(book: Row, account: Row, candles: Row, i: int, stop: int, length_ms: float) -> int:
    """Return the first row from i on that must be settled in full: news, a midnight, the end of a rule.

    With nothing left every row is: limits of a day are shares of its first equity, and then they are reached at once.
    """
    if book[B_NEWS] != 0.0 or i >= stop or min(book[B_DAY_START], account[A_DAY_START]) <= 0.0:
        return i
    time_ms = min(min(account[A_DAY], book[B_DAY]) * DAY_MS + DAY_MS, account[A_RISK + K_NEXT])
    return first_at(candles, i, stop, length_ms, min(time_ms, book[B_RISK + K_NEXT]) - length_ms)


@helper
def position_until(book: Row, candles: Row, i: int, stop: int, length_ms: float) -> int:
    """Return the first row from i on that must be settled in full for its position: its longest time, its funding."""
    if book[B_QUANTITY] == 0.0:
        return stop
    return first_at(candles, i, stop, length_ms, position_ends(book) - length_ms)


@helper
def position_ends(book: Row) -> float:
    """Return when a settlement does something for a position: its longest time, its funding; infinity for never."""
    time_ms = book[B_FUNDING_AT] if book[B_FUNDING_MS] > 0.0 else math.inf
    if book[B_OPENED_MS] + book[B_MAX_HOLDING] < time_ms:
        time_ms = book[B_OPENED_MS] + book[B_MAX_HOLDING]
    return float(time_ms)


@helper
def takes_news(book: Row, account: Row) -> bool:
    """Take in that a trade closed, where no rule of the account looks at that; return whether no news is left."""
    limit = account[A_RISK + K_GUARD_COUNT]
    if book[B_NEWS] == NEWS_CLOSED and limit != limit:
        book[B_NEWS] = 0.0
    return bool(book[B_NEWS] == 0.0)


@helper
def quiet_equity(book: Row, account: Row) -> tuple[float, float]:
    """Return up to which equity at the close, and above which at the extreme, no peak and no limit changes.

    Each side has a margin for the rounding of the account's sum.
    """
    shift = account[A_START] - book[B_CAPITAL]
    high, worst = quiet_book(book)
    high_a, worst_a = quiet_scope(account[A_PEAK], account, A_RISK)
    worst_a = max(worst_a, loss_line(account[A_MAX_DAILY_LOSS], account[A_DAY_START]))
    high_a = min(high_a, target_line(account, A_RISK, account[A_DAY_START]))
    if book[B_MAINTENANCE] != 0.0:
        worst = math.inf
    margin = MARGIN * (abs(account[A_START]) + abs(book[B_CAPITAL]) + abs(book[B_PEAK_EQUITY]) + abs(account[A_PEAK]))
    return min(high, high_a - shift) - margin, max(worst, worst_a - shift) + margin


@helper
def quiet_book(book: Row) -> tuple[float, float]:
    """Return the same of a book alone, without a margin."""
    high, worst = quiet_scope(book[B_PEAK_EQUITY], book, B_RISK)
    worst = max(worst, loss_line(book[B_MAX_DAILY_LOSS], book[B_DAY_START]))
    return min(high, target_line(book, B_RISK, book[B_DAY_START])), worst


@helper
def quiet_scope(peak: float, row: Row, k: int) -> tuple[float, float]:
    """Return the highest equity without a new peak, and where the drawdown rule fires."""
    high = min(peak, row[k + K_PEAK]) if not row[k + K_LOCK_ARM] > 0.0 else -math.inf
    line = (1.0 - row[k + K_MAX_DRAWDOWN]) * row[k + K_PEAK]
    fires = line == line and row[k + K_RULES + RULE_DRAWDOWN] != LATCHED
    return high, line if fires else -math.inf


@helper
def loss_line(most: float, start: float) -> float:
    """Return the equity at which the daily loss fires, -infinity when it is off."""
    line = (1.0 - most) * start
    return line if line == line else -math.inf


@helper
def target_line(row: Row, k: int, start: float) -> float:
    """Return the greatest equity at which the daily target does not fire, infinity when it is off."""
    line = (1.0 + row[k + K_TARGET]) * start
    return float(np.nextafter(line, -math.inf)) if line == line else math.inf


@helper
def price_at(funds: float, quantity: float, average: float, costs: float, equity: float, margin: float) -> float:
    """Return the price at which a position is worth an equity, moved by more than rounding towards a lesser margin."""
    price = average + (equity - funds + costs) / quantity
    size = abs(average) + (abs(funds) + abs(costs)) / abs(quantity) + abs(price)
    return price + margin * ULPS * size if size < math.inf else price


@helper
def quiet_prices(
    funds: float,
    quantity: float,
    average: float,
    costs: float,
    low: float,
    high: float,
    high_equity: float,
    line: float,
) -> tuple[float, float, float, float]:
    """Return between which prices a candle changes nothing but marks: exclusive for its range, inclusive for its close.

    `low` and `high` are the prices between which it touches no level; `high_equity` and `line` as `quiet_equity` gives
    them.
    """
    side = 1.0 if quantity > 0.0 else -1.0
    best = price_at(funds, quantity, average, costs, high_equity, -side)
    worst = price_at(funds, quantity, average, costs, line, side)
    if quantity > 0.0:
        return max(low, worst), high, -math.inf, best
    return low, min(high, worst), best, math.inf


@inlined
def undisturbed(
    candles: Row,
    i: int,
    end: int,
    bounds: tuple[float, float, float, float],
    position: tuple[float, float, float, float],
    draws: bool,
    equity: Row,
) -> tuple[int, float, float, float, float]:
    """Return the first row of i..end that leaves the bounds, else `end`, and the extremes of the rows before it.

    `bounds` are those of `quiet_prices`; the extremes the highest high, the lowest low, the least and the most close.
    With `draws` the equity of these rows is written, of a position given as `worth` takes it.
    """
    (low, high, floor, ceiling), (funds, quantity, average, costs) = bounds, position
    top, bottom, least, most = -math.inf, math.inf, math.inf, -math.inf
    first = i
    while i + TOGETHER <= end or (i < end and end - first >= TOGETHER):
        start = min(i, end - TOGETHER)  # the last ones with some again: that changes no extreme
        highest, lowest, below, above = -math.inf, math.inf, math.inf, -math.inf
        for j in range(TOGETHER):
            row = W_CANDLE * (start + j)
            close = cell(candles, row + C_CLOSE)
            highest, lowest = max(highest, cell(candles, row + C_HIGH)), min(lowest, cell(candles, row + C_LOW))
            below, above = min(below, close), max(above, close)
        if not (lowest > low and highest < high and below >= floor and above <= ceiling):
            break
        top, bottom, least, most = max(top, highest), min(bottom, lowest), min(least, below), max(most, above)
        if draws:
            for j in range(start, start + TOGETHER):
                put(equity, j, worth(funds, quantity, average, costs, cell(candles, W_CANDLE * j + C_CLOSE)))
        i = start + TOGETHER
    while i < end:
        row = W_CANDLE * i
        highest, lowest, close = cell(candles, row + C_HIGH), cell(candles, row + C_LOW), cell(candles, row + C_CLOSE)
        if not (lowest > low and highest < high and close >= floor and close <= ceiling):
            break
        top, bottom, least, most = max(top, highest), min(bottom, lowest), min(least, close), max(most, close)
        if draws:
            put(equity, i, worth(funds, quantity, average, costs, close))
        i += 1
    return i, top, bottom, least, most


@helper
def catch_up(
    books: Row, account: Row, candle: Row, equity: float, low: float, deepest: float, peak: float, trough: float,
    held: float, now_ms: float,
) -> None:  # fmt: skip
    """Write what the skipped settlements up to a candle would have left: marks, and the account folded from them.

    `deepest` is the least equity at their closes: below the peaks, which were the same for all, it makes the deepest
    fall.
    """
    book = books[0]
    book[B_MARK] = book[B_ADVERSE] = candle[C_CLOSE]
    book[B_EQUITY] = equity
    book[B_EQUITY_LOW] = low
    if book[B_QUANTITY] != 0.0:
        book[B_ADVERSE] = candle[C_LOW] if book[B_QUANTITY] > 0.0 else candle[C_HIGH]
        book[B_PEAK] = peak
        book[B_TROUGH] = trough
        book[B_HELD] = held
    account[A_NOW] = now_ms
    note_fall(book, deepest)
    note_account_fall(account, account[A_START] + (deepest - book[B_CAPITAL]))
    sum_account(books, account)
