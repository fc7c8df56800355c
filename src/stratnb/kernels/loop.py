"""The candle loop over history, made of the same compiled parts that live and paper call one by one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from stratnb.kernels.address import caller, lent
from stratnb.kernels.close import close_candle, copy_candle, decide_candle, enter
from stratnb.kernels.drive import step_nodes
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Row, entry, helper
from stratnb.kernels.layout import (
    B_EQUITY,
    B_ORDER,
    B_QUANTITY,
    C_TIME,
    D_REASON,
    F_REASON,
    H_BASE_MS,
    MAX_FILLS,
    ORDER_NONE,
    REASON_ENTRY,
    W_CANDLE,
)
from stratnb.kernels.levels import arm, first_stop
from stratnb.kernels.limits import fall_back
from stratnb.kernels.multipliers import position_health
from stratnb.kernels.protections import note_order
from stratnb.kernels.retell import outcome, sizes, sums
from stratnb.kernels.risk import settle
from stratnb.kernels.rules import release_rules, trip_external
from stratnb.kernels.sums import sum_account
from stratnb.kernels.trade import apply_fill, fill_open, fill_touch, place_exit

__all__ = [
    "EVERY",
    "apply",
    "arm_position",
    "close_candle",
    "close_position",
    "count_sent",
    "open_fills",
    "parts",
    "run",
    "scan",
    "settle_all",
    "touch_fills",
    "update_account",
]

WHOLE = types.int64
REAL = types.float64
THREE: Any = types.UniTuple(WHOLE, 3)  # type: ignore[no-untyped-call]


@entry(WHOLE(F8, F8, F8, F8X2, WHOLE))
def open_fills(params: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Fill the pending order of a book at the candle's open; append fill rows after n and return their new number."""
    return fill_open(params, book, candle, fills, n)


@entry(WHOLE(F8, F8, F8, F8X2, WHOLE))
def touch_fills(params: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Resolve stop and targets of a book against a candle; append fill rows after n and return their new number."""
    return fill_touch(params, book, candle, fills, n)


@entry(types.void(F8, F8))
def apply(book: Row, fill: Row) -> None:
    """Apply one fill to a book and complete its row."""
    apply_fill(book, fill)


@entry(types.void(I8, F8, F8, F8))
def arm_position(code: Ints, params: Row, memory: Row, book: Row) -> None:
    """Fix the levels of a position that was just entered."""
    arm(code, params, memory, book)


@entry(WHOLE(F8X2, F8, F8X2, F8, REAL))
def settle_all(books: Row, account: Row, candles: Row, fresh: Row, now_ms: float) -> int:
    """Mark the books to one instant and evaluate the protections; bits: 1 a strategy's fired, 2 the account's."""
    return settle(books, account, candles, fresh, now_ms)


@entry(types.void(F8X2, F8))
def update_account(books: Row, account: Row) -> None:
    """Fold the books into the account row."""
    sum_account(books, account)


@entry(types.void(F8, REAL))
def count_sent(book: Row, time_ms: float) -> None:
    """Count an order of a book that was sent."""
    note_order(book, time_ms)


@entry(types.void(F8, REAL))
def close_position(book: Row, reason: float) -> None:
    """Place a market order that closes the book's position."""
    place_exit(book, reason)


call_open, call_touch, call_apply = caller(open_fills), caller(touch_fills), caller(apply)
call_arm, call_settle, call_close = caller(arm_position), caller(settle_all), caller(close_candle)


@entry(types.void(I8, F8, F8, F8X2, WHOLE, F8, F8, F8))
def fall_back_order(
    code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, candle: Row, seen: Row
) -> None:
    """Put what is left of an expired limit entry to market, where that is chosen."""
    fall_back(code, params, memory, books, slot, account, candle, seen)


call_fall = caller(fall_back_order)
(OPEN, TOUCH, APPLY, ARM, SETTLE, CLOSE, FALL) = range(7)


PARTS = (open_fills, touch_fills, apply, arm_position, settle_all, close_candle, fall_back_order)


@cache
def parts() -> npt.NDArray[np.int64]:
    """Return the addresses of the compiled parts, in the order that `run` and `scan` expect."""
    return np.array([part.address() for part in PARTS], np.int64)


@helper
def resolve(calls: Ints, code: Ints, params: Row, memory: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Fill the pending order, arm what was entered, resolve stop and targets; all applied. Return the fill count."""
    start = n
    if book[B_ORDER] != ORDER_NONE:
        n = call_open(calls[OPEN], params, book, candle, fills, n)
    for f in range(start, n):
        entered = book[B_QUANTITY] == 0.0 or fills[f, F_REASON] == REASON_ENTRY
        call_apply(calls[APPLY], book, fills[f])
        if entered:
            call_arm(calls[ARM], code, params, memory, book)
    start = n
    if book[B_QUANTITY] != 0.0:
        n = call_touch(calls[TOUCH], params, book, candle, fills, n)
    for f in range(start, n):
        call_apply(calls[APPLY], book, fills[f])
    return n


@helper
def gap_before(code: Ints, candles: Row, i: int) -> bool:
    """Tell whether candles are missing before row i, so that timeframes may have ended unnoticed."""
    return i > 0 and candles[i, C_TIME] != candles[i - 1, C_TIME] + code[H_BASE_MS]


@helper
def copy_row(row: Row, to: Row) -> None:
    """Copy a row of any length."""
    for j in range(row.size):
        to[j] = row[j]


@entry(THREE(I8, I8, F8, F8, F8X2, F8, F8X2, WHOLE, WHOLE, F8, F8X2, F8X2, F8), is_long=True, allocates=True)
def run(
    calls: Ints,
    code: Ints,
    params: Row,
    memory: Row,
    books: Row,
    account: Row,
    candles: Row,
    start: int,
    stop: int,
    equity: Row,
    fills: Row,
    decisions: Row,
    counts: Row,
) -> tuple[int, int, int]:
    """Run one strategy alone on an account over candles start..stop.

    `candles` (n, 6); `equity` (n) gets the strategy's equity at each close; `fills` collects fill rows; `decisions`
    collects decision rows when it has any; `counts` counts reason codes. Returns (next candle, fills, decisions) and
    stops early when a buffer is full: call again from there. All state is in memory, books and account.
    """
    calls, code, params, memory = lent(calls), lent(code), lent(params), lent(memory)
    books, account, candles, fills = lent(books), lent(account), lent(candles), lent(fills)
    equity, decisions, counts = lent(equity), lent(decisions), lent(counts)
    n, d, i = 0, 0, start
    candle, fresh, decision, book = np.empty((1, W_CANDLE)), np.ones(1), np.empty(decisions.shape[1]), books[0]
    keep = decisions.shape[0] > 0
    while i < stop and n + MAX_FILLS <= fills.shape[0] and (not keep or d + 2 <= decisions.shape[0]):
        copy_candle(candles[i], candle[0])
        for late in range(1 if gap_before(code, candles, i) else 0, -1, -1):
            if late == 0:
                n = resolve(calls, code, params, memory, book, candle[0], fills, n)
                call_settle(calls[SETTLE], books, account, candle, fresh, candle[0, C_TIME] + code[H_BASE_MS])
            if call_close(calls[CLOSE], code, params, memory, books, 0, account, candle[0], late == 1, decision):
                counts[int(decision[D_REASON])] += 1.0
                if keep:
                    copy_row(decision, decisions[d])
                    d += 1
        equity[i] = book[B_EQUITY]
        i += 1
    return i, n, d


@entry(WHOLE(I8, I8, F8, F8, F8X2, F8, F8X2, WHOLE, WHOLE, I8, F8X2, F8X2), is_long=True, allocates=True)
def scan(
    calls: Ints,
    code: Ints,
    params: Row,
    memory: Row,
    books: Row,
    account: Row,
    candles: Row,
    start: int,
    stop: int,
    columns: Ints,
    out: Row,
    decisions: Row,
) -> int:
    """Step a plan without trading: catch-up, charts, the inspector.

    `columns` are row columns to record; `out` (m, columns) and `decisions` (m, width), when they have rows, get one
    row a primary close, the oldest first. Returns the number of primary closes.
    """
    d = 0
    candle, decision = np.empty(W_CANDLE), np.empty(decisions.shape[1])
    for i in range(start, stop):
        copy_candle(candles[i], candle)
        for late in range(1 if gap_before(code, candles, i) else 0, -1, -1):
            if call_close(calls[CLOSE], code, params, memory, books, 0, account, candle, late == 1, decision):
                if decisions.shape[0] > 0:
                    copy_row(decision, decisions[d])
                if out.shape[0] > 0:
                    for j in range(columns.size):
                        out[d, j] = memory[columns[j]]
                d += 1
    return d


# The slowest to compile first.
EVERY = (
    *(
        decide_candle,
        close_candle,
        settle_all,
        enter,
        run,
        open_fills,
        touch_fills,
        apply,
        arm_position,
        first_stop,
        step_nodes,
    ),
    *(
        fall_back_order,
        scan,
        update_account,
        close_position,
        count_sent,
        sums,
        sizes,
        outcome,
        trip_external,
        release_rules,
        position_health,
    ),
)
