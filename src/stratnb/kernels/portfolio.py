"""The candle loop of several strategies on one account: by instants, in the order in which live takes them.

At an instant every strategy that has a candle is resolved in the order of registration, the account is settled once,
then they close their candles in the same order. The parts are called by address, one row of `calls` a strategy.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numba import types

from stratnb.kernels.address import lent, part
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Row, entry, inlined
from stratnb.kernels.layout import (
    A_DAY,
    A_EQUITY,
    A_GROSS,
    A_NET,
    A_NOW,
    A_OPEN,
    A_RISK,
    A_START,
    A_STATE,
    B_ADVERSE,
    B_EQUITY,
    B_MAINTENANCE,
    B_MARK,
    B_NEWS,
    B_ORDER,
    B_QUANTITY,
    B_RISK,
    C_CLOSE,
    C_TIME,
    D_REASON,
    DAY_MS,
    H_BASE_MS,
    K_NEXT,
    MAX_FILLS,
    NEWS_FIRED,
    ORDER_NONE,
    W_BOOK,
    W_CANDLE,
)
from stratnb.kernels.loop import CLOSE, THREE, call_close, resolve
from stratnb.kernels.risk import note_sums, protect, settle_book, terms_of
from stratnb.kernels.rules import start_day

__all__ = ["CURVES", "LANE_COLUMNS", "run_many"]

I8X2 = types.int64[:, ::1]
WHOLE = types.int64
Tables: TypeAlias = tuple[Ints, Ints, Ints, Row, Row]
Feed: TypeAlias = tuple[Row, Ints, Ints, Ints, Ints]
Log: TypeAlias = tuple[Row, Ints, Row, Ints, Row, Ints]
Work: TypeAlias = tuple[Ints, Row, Row, Ints]
TABLES: Any = types.Tuple((I8X2, I8X2, I8, F8, F8))  # type: ignore[no-untyped-call]
FEED: Any = types.Tuple((F8X2, I8, I8, I8, I8))  # type: ignore[no-untyped-call]
LOG: Any = types.Tuple((F8X2, I8, F8X2, I8, F8X2, I8))  # type: ignore[no-untyped-call]
WORK: Any = types.Tuple((I8, F8, F8, I8))  # type: ignore[no-untyped-call]

# One row a strategy: its market, where its tables lie in the flat ones and how long they are, the length of its
# decision row, where its equity lies, and how many of its candles are done.
LANE_COLUMNS = ("market", "code", "codes", "params", "params_n", "memory", "memory_n", "width", "equity", "done")
(L_MARKET, L_CODE, L_CODES, L_PARAMS, L_PARAMS_N, L_MEMORY, L_MEMORY_N, L_WIDTH, L_EQUITY, L_DONE) = range(10)

# What is kept of the account at each instant.
CURVES = ("equity", "gross", "net", "open")
TERMS = 8


@inlined
def step(tables: Tables, books: Row, account: Row, candle: Row, s: int, late: bool, row: Row, log: Log, d: int) -> int:
    """Close a candle of strategy s; count its decision, keep it where rows are given; return the number kept."""
    calls, lanes, code, params, memory = tables
    _, _, decisions, owners, counts, _ = log
    decision = part(row, 0, lanes[s, L_WIDTH])
    closed = call_close(
        calls[s, CLOSE],
        part(code, lanes[s, L_CODE], lanes[s, L_CODES]),
        part(params, lanes[s, L_PARAMS], lanes[s, L_PARAMS_N]),
        part(memory, lanes[s, L_MEMORY], lanes[s, L_MEMORY_N]),
        books,
        s,
        account,
        candle,
        late,
        decision,
    )
    if closed:
        counts[s, int(decision[D_REASON])] += 1.0
        if decisions.shape[0] > 0:
            for j in range(decision.size):
                decisions[d, j] = decision[j]
            owners[d] = s
            d += 1
    return d


@inlined
def fill(tables: Tables, books: Row, candle: Row, s: int, log: Log, n: int) -> int:
    """Resolve order, stop and targets of strategy s against its candle; return the number of fills."""
    calls, lanes, code, params, memory = tables
    fills, owners, _, _, _, _ = log
    start = n
    n = resolve(
        part(calls, s * calls.shape[1], calls.shape[1]),
        part(code, lanes[s, L_CODE], lanes[s, L_CODES]),
        part(params, lanes[s, L_PARAMS], lanes[s, L_PARAMS_N]),
        part(memory, lanes[s, L_MEMORY], lanes[s, L_MEMORY_N]),
        part(books, s * W_BOOK, W_BOOK),
        candle,
        fills,
        n,
    )
    for f in range(start, n):
        owners[f] = s
    return n


@inlined
def is_still(book: Row, still: float, now_ms: float) -> bool:
    """Tell whether a settlement would find the book as the last one left it, so that only its mark moves."""
    return bool(still != 0.0 and book[B_NEWS] == 0.0 and book[B_RISK + K_NEXT] > now_ms)


@inlined
def write_terms(terms: Row, s: int, book: Row) -> None:
    """Note what book s adds to the account."""
    a, b, c, d, e, f, g, h = terms_of(book)
    terms[s, 0], terms[s, 1], terms[s, 2], terms[s, 3] = a, b, c, d
    terms[s, 4], terms[s, 5], terms[s, 6], terms[s, 7] = e, f, g, h


@inlined
def sum_terms(terms: Row, account: Row) -> None:
    """Fold what the books add into the account, in their order."""
    equity, low, free = account[A_START], account[A_START], account[A_START]
    gross, net, opened, reserved = 0.0, 0.0, 0.0, 0.0
    for s in range(terms.shape[0]):
        equity, low, free = equity + terms[s, 0], low + terms[s, 1], free + terms[s, 2] + terms[s, 3]
        gross, net = gross + terms[s, 4], net + terms[s, 5]
        reserved, opened = reserved + terms[s, 6], opened + terms[s, 7]
    note_sums(account, equity, low, free, gross, net, reserved, opened)


@inlined
def settle_due(lanes: Ints, books: Row, account: Row, candles: Row, work: Work, terms: Row, now_ms: float) -> int:
    """Settle like `risk.settle`, leaving out what is known to stay: bits as there.

    A book is still when it was flat without an order at its last settlement, which fired and released nothing, and
    nothing happened in it since. All that a settlement computes from such a book on the same day is what it holds.
    """
    rows, still = work[0], work[1]
    fired, news, margin = 0, 0.0, 0.0
    inside, day = math.floor((now_ms - 1.0) / DAY_MS), account[A_DAY]
    account[A_NOW] = now_ms
    if inside > day:
        still[:] = 0.0
    for s in range(lanes.shape[0]):
        book, j = part(books, s * W_BOOK, W_BOOK), rows[lanes[s, L_MARKET]]
        if is_still(book, still[s], now_ms):
            if j >= 0:
                book[B_MARK] = book[B_ADVERSE] = candles[j, C_CLOSE]
            continue
        still[s] = 0.0
        if j >= 0:
            own = settle_book(book, part(candles, j * W_CANDLE, W_CANDLE), inside, now_ms)
            fired |= own
            if own == 0 and book[B_QUANTITY] == 0.0 and book[B_ORDER] == ORDER_NONE:
                still[s] = 1.0
        if book[B_NEWS] != 0.0:
            news = max(news, book[B_NEWS])
            book[B_NEWS] = 0.0
        if book[B_MAINTENANCE] != 0.0:
            margin += book[B_MAINTENANCE] * abs(book[B_QUANTITY]) * book[B_ADVERSE]
        write_terms(terms, s, book)
        if book[B_RISK + K_NEXT] <= now_ms:
            still[s] = 0.0
    if news == NEWS_FIRED:
        fired |= 1
    if inside > account[A_DAY]:
        start_day(account, A_STATE, A_RISK, inside, account[A_EQUITY])
    sum_terms(terms, account)
    fired |= protect(books, account, news, margin, inside, now_ms)
    if fired != 0 or account[A_DAY] != day:
        still[:] = 0.0
    return fired


@inlined
def take_instant(feed: Feed, base_ms: float, k: int, rows: Ints, gaps: Ints) -> float:
    """Note which row each market has at instant k, and whether candles are missing before it; return the instant."""
    candles, firsts, starts, markets, places = feed
    time_ms = 0.0
    for j in range(starts[k], starts[k + 1]):
        m, place = markets[j], places[j]
        row = firsts[m] + place
        time_ms = candles[row, C_TIME]
        rows[m] = row
        gaps[m] = 1 if place > 0 and time_ms != candles[row - 1, C_TIME] + base_ms else 0
    return time_ms + base_ms


@inlined
def open_instant(
    tables: Tables, books: Row, account: Row, candles: Row, work: Work, log: Log, n: int, d: int
) -> tuple[int, int]:
    """Close what ended in a gap and resolve what was pending, strategy by strategy; return fills and decisions."""
    lanes, where = tables[1], log[5]
    rows, still, row, gaps = work
    for s in range(lanes.shape[0]):
        market = lanes[s, L_MARKET]
        j = rows[market]
        if j < 0:
            continue
        where[0] = s
        candle = part(candles, j * W_CANDLE, W_CANDLE)
        if gaps[market] != 0:
            d = step(tables, books, account, candle, s, True, row, log, d)
            still[s] = 0.0
        if books[s, B_ORDER] != ORDER_NONE or books[s, B_QUANTITY] != 0.0:
            still[s] = 0.0
            n = fill(tables, books, candle, s, log, n)
    return n, d


@inlined
def close_instant(
    tables: Tables, books: Row, account: Row, candles: Row, work: Work, equity: Row, log: Log, d: int
) -> int:
    """Close the candles strategy by strategy and note their equity; return the number of decisions."""
    lanes, where = tables[1], log[5]
    rows, still, row, _ = work
    for s in range(lanes.shape[0]):
        j = rows[lanes[s, L_MARKET]]
        if j < 0:
            continue
        where[0] = s
        d = step(tables, books, account, part(candles, j * W_CANDLE, W_CANDLE), s, False, row, log, d)
        if books[s, B_ORDER] != ORDER_NONE:
            still[s] = 0.0
        equity[lanes[s, L_EQUITY] + lanes[s, L_DONE]] = books[s, B_EQUITY]
        lanes[s, L_DONE] += 1
    return d


@inlined
def lend(tables: Tables, feed: Feed, log: Log, work: Work) -> tuple[Tables, Feed, Log, Work]:
    """Return the tables as arrays that count no references."""
    return (
        (lent(tables[0]), lent(tables[1]), lent(tables[2]), lent(tables[3]), lent(tables[4])),
        (lent(feed[0]), lent(feed[1]), lent(feed[2]), lent(feed[3]), lent(feed[4])),
        (lent(log[0]), lent(log[1]), lent(log[2]), lent(log[3]), lent(log[4]), lent(log[5])),
        (lent(work[0]), lent(work[1]), lent(work[2]), lent(work[3])),
    )


@entry(THREE(TABLES, F8X2, F8, FEED, WHOLE, WHOLE, F8, F8X2, LOG, WORK), is_long=True, allocates=True)
def run_many(
    tables: Tables,
    books: Row,
    account: Row,
    feed: Feed,
    start: int,
    stop: int,
    equity: Row,
    curves: Row,
    log: Log,
    work: Work,
) -> tuple[int, int, int]:
    """Run strategies on one account over instants start..stop.

    `tables` are calls (strategies, parts): the addresses of `loop.parts`; lanes (strategies, LANE_COLUMNS); and the
    flat code, params and memory in which these tell the places. Strategy s has row s of `books`. `feed` is candles
    (n, 6), the markets one after the other, market m from firsts[m] on; then starts, markets and places: the candles
    of instant k are numbers starts[k]..starts[k + 1] of markets and places (row within the market). `equity` gets each
    strategy's at its own closes, `curves` (instants, CURVES) the account's. `log` is fills and their owners, decisions
    (no rows: not kept) and their owners, counts (strategies, reasons), and the strategy at work, which names the one
    that raised. `work` is room: rows of -1 (markets), flags (strategies), the widest decision, gaps (markets).
    Returns (next instant, fills, decisions) and stops early when a buffer is full: call again from there. All state is
    in memory, books, account, lanes and work.
    """
    tables, feed, log, work = lend(tables, feed, log, work)
    books, account, equity, curves = lent(books), lent(account), lent(equity), lent(curves)
    candles, fills, decisions, lanes, base_ms = feed[0], log[0], log[2], tables[1], float(tables[2][H_BASE_MS])
    n, d, k, size = 0, 0, start, lanes.shape[0]
    # Made here, the compiler knows that it overlaps no book: what is lent costs a third more.
    terms, keep = np.zeros((size, TERMS)), decisions.shape[0] > 0
    work[1][:] = 0.0
    while k < stop and n + MAX_FILLS * size <= fills.shape[0] and (not keep or d + 2 * size <= decisions.shape[0]):
        now_ms = take_instant(feed, base_ms, k, work[0], work[3])
        n, d = open_instant(tables, books, account, candles, work, log, n, d)
        settle_due(lanes, books, account, candles, work, terms, now_ms)
        d = close_instant(tables, books, account, candles, work, equity, log, d)
        curves[k, 0], curves[k, 1] = account[A_EQUITY], account[A_GROSS]
        curves[k, 2], curves[k, 3] = account[A_NET], account[A_OPEN]
        work[0][:] = -1
        k += 1
    return k, n, d
