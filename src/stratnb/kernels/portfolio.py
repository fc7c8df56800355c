"""The candle loop of several strategies on one account: by instants, in the order in which live takes them.

At an instant every strategy that has a candle is resolved in the order of registration, the account is settled once,
then they close their candles in the same order. The parts are called by address, one row of `calls` a strategy.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numba import types

from stratnb.kernels.address import caller, cell, lent, part
from stratnb.kernels.fused import AHEAD, FILL, SEEK
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Row, entry, inlined
from stratnb.kernels.lanes import (
    LIGHT,
    LOUD,
    N_BEFORE,
    N_EARLY,
    N_SILENT,
    STILL,
    TERMS,
    W_BOUNDS,
    is_untouched,
    mark_still,
    next_end,
    quieten,
    settle_light,
    write_terms,
)
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
    B_HELD,
    B_MAINTENANCE,
    B_NEWS,
    B_ORDER,
    B_QUANTITY,
    B_RESERVED,
    B_RISK,
    B_STOP,
    C_TIME,
    D_REASON,
    DAY_MS,
    H_BASE_MS,
    H_COUNTERS,
    K_NEXT,
    MAX_FILLS,
    NEWS_FIRED,
    ORDER_NONE,
    S_MIN_CANDLES,
    W_BOOK,
    W_CANDLE,
    Z_NO_SIGNALS,
    Z_WARMING,
)
from stratnb.kernels.loop import CLOSE, THREE, call_close, resolve
from stratnb.kernels.risk import protect, settle_book
from stratnb.kernels.rules import start_day
from stratnb.kernels.sums import note_sums

__all__ = ["CURVES", "LANE_COLUMNS", "run_many"]

call_seek: Any = caller(SimpleNamespace(signature=SEEK))  # type: ignore[arg-type]
call_fill: Any = caller(SimpleNamespace(signature=FILL))  # type: ignore[arg-type]
call_close_ahead: Any = caller(SimpleNamespace(signature=AHEAD))  # type: ignore[arg-type]

I8X2 = types.int64[:, ::1]
WHOLE = types.int64
Tables: TypeAlias = tuple[Ints, Ints, Ints, Row, Row]
Feed: TypeAlias = tuple[Row, Ints, Ints, Ints, Ints]
Log: TypeAlias = tuple[Row, Ints, Row, Ints, Row, Ints]
Work: TypeAlias = tuple[Ints, Row, Row, Ints]
Room: TypeAlias = tuple[Row, Row, Row]
TABLES: Any = types.Tuple((I8X2, I8X2, I8, F8, F8))  # type: ignore[no-untyped-call]
FEED: Any = types.Tuple((F8X2, I8, I8, I8, I8))  # type: ignore[no-untyped-call]
LOG: Any = types.Tuple((F8X2, I8, F8X2, I8, F8X2, I8))  # type: ignore[no-untyped-call]
WORK: Any = types.Tuple((I8, F8, F8, I8))  # type: ignore[no-untyped-call]

# One row a strategy: its market, where its tables lie in the flat ones and how long they are, the length of its
# decision row, where its equity lies, how many of its candles are done. Where its blocks run ahead the addresses of
# search, fills and close (else 0), to which row of the market they ran, and the row of the signal at which they stopped
# (-1: none).
LANE_COLUMNS = (
    *("market", "code", "codes", "params", "params_n", "memory", "memory_n", "width", "equity", "done"),
    *("seek", "fill", "close", "ahead", "signal"),
)
(L_MARKET, L_CODE, L_CODES, L_PARAMS, L_PARAMS_N, L_MEMORY, L_MEMORY_N, L_WIDTH, L_EQUITY, L_DONE) = range(10)
(L_SEEK, L_FILL, L_CLOSE, L_AHEAD, L_SIGNAL) = range(10, 15)

# What is kept of the account at each instant.
CURVES = ("equity", "gross", "net", "open")


@inlined
def tables_of(tables: Tables, s: int) -> tuple[Ints, Row, Row]:
    """Return code, params and memory of strategy s."""
    _, lanes, code, params, memory = tables
    return (
        part(code, lanes[s, L_CODE], lanes[s, L_CODES]),
        part(params, lanes[s, L_PARAMS], lanes[s, L_PARAMS_N]),
        part(memory, lanes[s, L_MEMORY], lanes[s, L_MEMORY_N]),
    )


@inlined
def step(tables: Tables, books: Row, account: Row, candle: Row, s: int, late: bool, row: Row, log: Log, d: int) -> int:
    """Close a candle of strategy s; count its decision, keep it where rows are given; return the number kept."""
    _, _, decisions, owners, counts, _ = log
    decision = part(row, 0, tables[1][s, L_WIDTH])
    if call_close(tables[0][s, CLOSE], *tables_of(tables, s), books, s, account, candle, late, decision):
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
    calls, lanes, (fills, owners, _, _, _, _) = tables[0], tables[1], log
    start, own, book = n, tables_of(tables, s), part(books, s * W_BOOK, W_BOOK)
    if lanes[s, L_FILL] != 0:
        n = call_fill(lanes[s, L_FILL], *own, book, candle, fills, n)
    else:
        n = resolve(part(calls, s * calls.shape[1], calls.shape[1]), *own, book, candle, fills, n)
    for f in range(start, n):
        owners[f] = s
    return n


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
def mark_to(books: Row, feed: Feed, work: Work, s: int, row: int) -> None:
    """Mark the book of strategy s, if it is still, to a row of the candles."""
    if work[1][s] == STILL:
        mark_still(part(books, s * W_BOOK, W_BOOK), part(feed[0], row * W_CANDLE, W_CANDLE))


@inlined
def wake(lanes: Ints, books: Row, feed: Feed, work: Work, s: int) -> None:
    """Let an instant treat strategy s in full, marked to the last candle of its market."""
    j, done = work[0][lanes[s, L_MARKET]], lanes[s, L_DONE]
    if done > 0:
        mark_to(books, feed, work, s, j if j >= 0 else feed[1][lanes[s, L_MARKET]] + done - 1)
    work[1][s] = LOUD


@inlined
def settle_due(lanes: Ints, books: Row, account: Row, feed: Feed, work: Work, room: Room, now_ms: float) -> int:
    """Settle like `risk.settle`, leaving out what is known to stay: bits as there.

    A book is still when it was flat without an order at its last settlement, which fired and released nothing, and
    nothing happened in it since. All that a settlement computes from such a book on the same day is what it holds, but
    for its mark, which is moved when it is looked at.
    """
    candles, rows, modes, (terms, bounds, end) = feed[0], work[0], work[1], room
    fired, news, margin, is_loud = 0, 0.0, 0.0, False
    inside, day = math.floor((now_ms - 1.0) / DAY_MS), account[A_DAY]
    account[A_NOW] = now_ms
    for s in range(lanes.shape[0]):
        if modes[s] == STILL and now_ms < end[0] and inside <= day:
            continue
        book, j = part(books, s * W_BOOK, W_BOOK), rows[lanes[s, L_MARKET]]
        candle = part(candles, max(j, 0) * W_CANDLE, W_CANDLE)
        if modes[s] == LIGHT and j >= 0 and inside <= day and settle_light(book, candle, bounds, terms, s, now_ms):
            continue
        is_loud = True
        wake(lanes, books, feed, work, s)
        if j >= 0:
            own = settle_book(book, candle, inside, now_ms)
            fired |= own
            if own == 0 and book[B_QUANTITY] == 0.0 and book[B_ORDER] == ORDER_NONE:
                modes[s] = STILL
        if book[B_NEWS] != 0.0:
            news = max(news, book[B_NEWS])
            book[B_NEWS] = 0.0
        if book[B_MAINTENANCE] != 0.0:
            margin += book[B_MAINTENANCE] * abs(book[B_QUANTITY]) * book[B_ADVERSE]
        write_terms(terms, s, book)
        if book[B_RISK + K_NEXT] <= now_ms:
            modes[s] = LOUD
    if news == NEWS_FIRED:
        fired |= 1
    if inside > account[A_DAY]:
        start_day(account, A_STATE, A_RISK, inside, account[A_EQUITY])
    sum_terms(terms, account)
    is_quiet = not is_loud and now_ms < end[0]
    fired |= protect(books, account, news, margin, inside, now_ms, is_quiet)
    if fired != 0 or account[A_DAY] != day:
        for s in range(lanes.shape[0]):
            wake(lanes, books, feed, work, s)
            write_terms(terms, s, part(books, s * W_BOOK, W_BOOK))
    if fired != 0 or not is_quiet:
        end[0] = next_end(books, account, now_ms)
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
    tables: Tables, feed: Feed, books: Row, account: Row, work: Work, bounds: Row, log: Log, n: int, d: int
) -> tuple[int, int]:
    """Close what ended in a gap and resolve what was pending, strategy by strategy; return fills and decisions."""
    lanes, where = tables[1], log[5]
    rows, modes, row, gaps = work
    for s in range(lanes.shape[0]):
        market = lanes[s, L_MARKET]
        j = rows[market]
        if j < 0:
            continue
        where[0] = s
        candle = part(feed[0], j * W_CANDLE, W_CANDLE)
        if gaps[market] != 0 and lanes[s, L_SEEK] == 0:
            mark_to(books, feed, work, s, j - 1)
            modes[s] = LOUD
            d = step(tables, books, account, candle, s, True, row, log, d)
        if modes[s] == STILL or (modes[s] == LIGHT and is_untouched(bounds, s, candle)):
            continue
        if books[s, B_ORDER] != ORDER_NONE or books[s, B_QUANTITY] != 0.0:
            modes[s] = LOUD
            n = fill(tables, books, candle, s, log, n)
    return n, d


@inlined
def runs_to_signal(tables: Tables, feed: Feed, s: int, j: int) -> bool:
    """Let the blocks of strategy s run ahead if row j is where they are; tell whether its candle has a signal."""
    lanes, candles, firsts = tables[1], feed[0], feed[1]
    if lanes[s, L_AHEAD] <= j:
        market, own = lanes[s, L_MARKET], tables_of(tables, s)
        stop = firsts[market + 1] if market + 1 < firsts.size else candles.shape[0]
        lanes[s, L_AHEAD], found = call_seek(lanes[s, L_SEEK], *own, candles, firsts[market], lanes[s, L_AHEAD], stop)
        lanes[s, L_SIGNAL] = lanes[s, L_AHEAD] - 1 if found != 0 else -1
    return bool(lanes[s, L_SIGNAL] == j)


@inlined
def close_ahead(
    tables: Tables, feed: Feed, books: Row, account: Row, work: Work, room: Room, log: Log, s: int, j: int
) -> None:
    """Close the candle of a strategy whose blocks run ahead: nothing is to be done where it is still or light."""
    lanes, modes, book, (terms, bounds, _) = tables[1], work[1], part(books, s * W_BOOK, W_BOOK), room
    here = runs_to_signal(tables, feed, s, j)
    if not here and modes[s] != LOUD:
        book[B_HELD] += 1.0 if modes[s] == LIGHT else 0.0
        bounds[s, N_SILENT] += 1.0
        return
    mark_to(books, feed, work, s, j)
    code, params, memory = tables_of(tables, s)
    order, reserved, stop = book[B_ORDER], book[B_RESERVED], book[B_STOP]
    candle, decision = part(feed[0], j * W_CANDLE, W_CANDLE), part(work[2], 0, lanes[s, L_WIDTH])
    seen, counters = float(lanes[s, L_DONE] + 1), code[H_COUNTERS]
    memory[counters - 2], memory[counters - 1] = seen, seen
    bounds[s, N_EARLY] += 1.0 if seen < params[S_MIN_CANDLES] else 0.0
    is_calm = call_close_ahead(lanes[s, L_CLOSE], code, params, memory, books, s, account, candle, here, decision)
    log[4][s, int(decision[D_REASON])] += 1.0
    if book[B_ORDER] != order or book[B_RESERVED] != reserved:
        write_terms(terms, s, book)
        sum_terms(terms, account)
    if is_calm and quieten(params, book, bounds, s, stop):
        modes[s] = LIGHT
    elif modes[s] == LIGHT:
        modes[s] = LOUD


@inlined
def close_instant(
    tables: Tables, feed: Feed, books: Row, account: Row, work: Work, room: Room, equity: Row, log: Log, d: int
) -> int:
    """Close the candles strategy by strategy and note their equity; return the number of decisions."""
    lanes, where = tables[1], log[5]
    rows, modes, row, _ = work
    for s in range(lanes.shape[0]):
        j = rows[lanes[s, L_MARKET]]
        if j < 0:
            continue
        where[0] = s
        if lanes[s, L_SEEK] != 0:
            close_ahead(tables, feed, books, account, work, room, log, s, j)
        else:
            book, candle = part(books, s * W_BOOK, W_BOOK), part(feed[0], j * W_CANDLE, W_CANDLE)
            mark_to(books, feed, work, s, j)
            d = step(tables, books, account, candle, s, False, row, log, d)
            write_terms(room[0], s, book)
            if book[B_NEWS] != 0.0:  # a halt in a volatile market
                modes[s] = LOUD
            room[2][0] = min(room[2][0], book[B_RISK + K_NEXT])
        if books[s, B_ORDER] != ORDER_NONE:
            modes[s] = LOUD
        equity[lanes[s, L_EQUITY] + lanes[s, L_DONE]] = books[s, B_EQUITY]
        lanes[s, L_DONE] += 1
    return d


@inlined
def tell_silent(tables: Tables, feed: Feed, books: Row, work: Work, bounds: Row, counts: Row) -> None:
    """Count the closes at which nothing was to be done, and mark the books that are still."""
    _, lanes, _, params, _ = tables
    for s in range(lanes.shape[0]):
        wake(lanes, books, feed, work, s)
        done = float(lanes[s, L_DONE])
        least = math.ceil(cell(params, lanes[s, L_PARAMS] + S_MIN_CANDLES)) - 1.0
        silent, early = bounds[s, N_SILENT], bounds[s, N_EARLY]
        begun = min(max(least, 0.0), done) - min(max(least, 0.0), bounds[s, N_BEFORE])
        warming = max(begun - early, 0.0) if silent > 0.0 else 0.0
        counts[s, Z_WARMING] += warming
        counts[s, Z_NO_SIGNALS] += silent - warming


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
    fills, decisions, lanes, base_ms = log[0], log[2], tables[1], float(tables[2][H_BASE_MS])
    n, d, k, size = 0, 0, start, lanes.shape[0]
    # Made here, the compiler knows that it overlaps no book: what is lent costs a third more.
    terms, bounds, end = np.zeros((size, TERMS)), np.zeros((size, W_BOUNDS)), np.full(1, -np.inf)
    room, keep = (terms, bounds, end), decisions.shape[0] > 0
    work[1][:] = LOUD
    for s in range(size):
        bounds[s, N_BEFORE] = lanes[s, L_DONE]
    while k < stop and n + MAX_FILLS * size <= fills.shape[0] and (not keep or d + 2 * size <= decisions.shape[0]):
        now_ms = take_instant(feed, base_ms, k, work[0], work[3])
        n, d = open_instant(tables, feed, books, account, work, bounds, log, n, d)
        settle_due(lanes, books, account, feed, work, room, now_ms)
        d = close_instant(tables, feed, books, account, work, room, equity, log, d)
        curves[k, 0], curves[k, 1] = account[A_EQUITY], account[A_GROSS]
        curves[k, 2], curves[k, 3] = account[A_NET], account[A_OPEN]
        work[0][:] = -1
        k += 1
    tell_silent(tables, feed, books, work, bounds, log[4])
    return k, n, d
