"""One of many strategies on an account: how loudly an instant must treat it.

A still one is flat without an order, a light one holds a position of which only the marks move until a price, an equity
or a time is reached. All that a full treatment would do to them is what is done here, to the last bit.
"""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.jit import Row, inlined
from stratnb.kernels.layout import (
    A_RISK,
    B_ADVERSE,
    B_EQUITY,
    B_EQUITY_LOW,
    B_MAINTENANCE,
    B_MARK,
    B_NEWS,
    B_ORDER,
    B_ORDER_REASON,
    B_QUANTITY,
    B_RISK,
    B_STOP,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    DAY_MS,
    K_NEXT,
    ORDER_NONE,
    REASON_ENTRY,
)
from stratnb.kernels.quiet import position_ends, quiet_book
from stratnb.kernels.risk import mark_position, note_fall
from stratnb.kernels.sums import fixed_terms, marked_terms
from stratnb.kernels.trade import untouched

__all__ = [
    "LIGHT",
    "LOUD",
    "N_BEFORE",
    "N_EARLY",
    "N_SILENT",
    "STILL",
    "TERMS",
    "W_BOUNDS",
    "is_untouched",
    "mark_still",
    "next_end",
    "quieten",
    "settle_light",
    "write_terms",
]

LOUD, STILL, LIGHT = 0.0, 1.0, 2.0
TERMS = 8
# What bounds a light one: prices between which a candle touches nothing, the equity at the close that is no peak and
# that at the extreme which breaks no limit, a time, and the least equity at a close since it is light.
(N_LOW, N_HIGH, N_BEST, N_WORST, N_UNTIL, N_DEEPEST) = range(6)
# Of all: closes of this call at which nothing was to be done, others while it warmed, and closes before this call.
(N_SILENT, N_EARLY, N_BEFORE) = range(6, 9)
W_BOUNDS = 9


@inlined
def quieten(settings: Row, book: Row, bounds: Row, s: int, stop: float) -> bool:
    """Tell whether a position may be light from the next instant on, and note its bounds.

    Its exits must have been heeded at this close, as without a signal, and have left its `stop` as it was: they may
    read it. Once one has left, all are heeded at each close.
    """
    if book[B_STOP] == book[B_STOP] and book[B_STOP] != stop:
        return False
    is_first = book[B_ORDER] == ORDER_NONE and book[B_ORDER_REASON] == REASON_ENTRY
    if book[B_QUANTITY] == 0.0 or not is_first or book[B_MAINTENANCE] != 0.0 or book[B_NEWS] != 0.0:
        return False
    bounds[s, N_LOW], bounds[s, N_HIGH] = untouched(settings, book)
    bounds[s, N_BEST], bounds[s, N_WORST] = quiet_book(book)
    bounds[s, N_UNTIL] = min(position_ends(book), book[B_RISK + K_NEXT])
    bounds[s, N_DEEPEST] = book[B_EQUITY]
    return True


@inlined
def is_untouched(bounds: Row, s: int, candle: Row) -> bool:
    """Tell whether a candle touches nothing of a light position."""
    return bool(candle[C_LOW] > bounds[s, N_LOW] and candle[C_HIGH] < bounds[s, N_HIGH])


@inlined
def settle_light(book: Row, candle: Row, bounds: Row, terms: Row, s: int, now_ms: float) -> bool:
    """Mark a light position; return False where it needs a full settlement."""
    if now_ms >= bounds[s, N_UNTIL]:
        return False
    mark_position(book, candle)
    equity = book[B_EQUITY]
    if not (equity <= bounds[s, N_BEST] and book[B_EQUITY_LOW] > bounds[s, N_WORST]):
        return False
    if equity < bounds[s, N_DEEPEST]:
        bounds[s, N_DEEPEST] = equity
        note_fall(book, equity)
    terms[s, 0], terms[s, 1], terms[s, 3], terms[s, 4], terms[s, 5] = marked_terms(book)
    return True


@inlined
def mark_still(book: Row, candle: Row) -> None:
    """Mark a book without a position."""
    book[B_MARK] = book[B_ADVERSE] = candle[C_CLOSE]


@inlined
def write_terms(terms: Row, s: int, book: Row) -> None:
    """Note what book s adds to the account: to equity, its low, free (two), gross, net, reserved, open positions."""
    terms[s, 0], terms[s, 1], terms[s, 3], terms[s, 4], terms[s, 5] = marked_terms(book)
    terms[s, 2], terms[s, 6], terms[s, 7] = fixed_terms(book)


@inlined
def next_end(books: Row, account: Row, now_ms: float) -> float:
    """Return when a day begins or a rule of the account or of a book ends next."""
    time_ms = min(np.floor(now_ms / DAY_MS) * DAY_MS + DAY_MS, account[A_RISK + K_NEXT])
    for s in range(books.shape[0]):
        time_ms = min(time_ms, books[s, B_RISK + K_NEXT])
    return float(time_ms if time_ms == time_ms else -math.inf)
