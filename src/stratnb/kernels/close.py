"""What happens when a candle closes: the blocks step, the strategy decides, sizes, checks and places its order."""

from __future__ import annotations

import math

import numpy as np
from numba import types

from stratnb.kernels.address import caller
from stratnb.kernels.checks import check_entry, refused_scope
from stratnb.kernels.costs import expected_slippage
from stratnb.kernels.decide import aggregate, judge
from stratnb.kernels.drive import close_group, group_is_late, grow_group, load_candle, step_segment
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Row, entry, helper, inlined
from stratnb.kernels.layout import (
    A_FREE,
    A_MAX_NATR,
    A_NOW,
    B_CAPITAL,
    B_DENIALS,
    B_ENTRIES,
    B_EQUITY,
    B_EXPIRED,
    B_HELD,
    B_NATR,
    B_ORDER,
    B_ORDER_MS,
    B_QUANTITY,
    B_RESERVED,
    C_TIME,
    D_ACTION,
    D_CLOSE,
    D_EQUITY,
    D_FLAGS,
    D_HEALTH,
    D_NOTIONAL,
    D_POSITION,
    D_QUANTITY,
    D_REASON,
    D_SEEN,
    D_STOP,
    D_TIME,
    ENTER,
    ENTRIES_MANAGING,
    ENTRIES_OFF,
    ENTRIES_PAUSED,
    FLAG_CATCHUP,
    FLAG_GAP,
    H_ANALYZER_LIST,
    H_ANALYZERS,
    H_BASE_MS,
    H_COUNTERS,
    H_DECIDE,
    H_ENTER,
    H_FILTER_LIST,
    H_FILTERS,
    H_FIRST_STOP,
    H_GROUPS,
    H_NATR,
    H_NODES,
    H_SEGMENTS,
    H_TIMEFRAMES,
    HOLD,
    N_OUT,
    ORDER_EXIT,
    ORDER_NONE,
    PRIMARY,
    R_CLOSE,
    R_COST,
    R_DIRECTION,
    R_EQUITY,
    R_FEES,
    R_FREE,
    R_GAP,
    R_PRICE,
    R_STOP_PRICE,
    R_TIME,
    S_CAP,
    S_COMPOUND,
    S_LEVERAGE,
    S_LIMIT,
    S_LIMIT_MS,
    S_LOT,
    S_MIN_CANDLES,
    S_TAKER,
    SEG_FILTERS,
    SEG_SIZING,
    SKIP,
    W_CANDLE,
    W_DECISION,
    W_GROUP,
    W_NODE,
    WAIT,
    WARMING,
    Z_CONFLICT,
    Z_ENTER,
    Z_HALTED,
    Z_HEALTH,
    Z_IN_POSITION,
    Z_MANAGING,
    Z_PAUSED,
    Z_PENDING,
    Z_SIZE_ZERO,
    Z_TIE,
    Z_WARMING,
)
from stratnb.kernels.levels import call_first_stop, move_levels, show_position
from stratnb.kernels.limits import fall_back, limit_price
from stratnb.kernels.measures import loss_at_stop
from stratnb.kernels.multipliers import size_factor
from stratnb.kernels.orders import place_entry
from stratnb.kernels.protections import halt_volatile, note_order
from stratnb.kernels.rounding import round_down
from stratnb.kernels.sums import sum_account

__all__ = [
    "action_of",
    "answer",
    "ask_size",
    "call_decide",
    "close_candle",
    "decide_candle",
    "enter",
    "enter_sized",
    "entry_terms",
    "may_enter",
    "note_answer",
    "room",
    "show_terms",
    "sized_equity",
]

WHOLE = types.int64


@helper
def room(params: Row, account: Row, equity: float) -> float:
    """Return the largest notional: cap x equity x leverage, and what the free balance carries with its fee."""
    carried = account[A_FREE] * 0.98 / (1.0 / params[S_LEVERAGE] + params[S_TAKER])
    return float(min(params[S_CAP] * equity * params[S_LEVERAGE], carried))


@helper
def show_terms(params: Row, memory: Row, price: float, stop: float, equity: float, free: float, natr: float) -> None:
    """Write what a sizing block reads beside the signal: price, stop, equity, free balance and costs."""
    memory[R_STOP_PRICE] = stop
    memory[R_PRICE] = price
    memory[R_EQUITY] = equity
    memory[R_FREE] = free
    memory[R_COST] = 2.0 * (params[S_TAKER] + expected_slippage(params, natr))


@helper
def ask_size(code: Ints, params: Row, memory: Row, price: float, stop: float, equity: float, free: float) -> float:
    """Return the notional that the sizing block asks for, given the entry's price, stop, equity and free balance."""
    natr = memory[code[H_NATR]] if code[H_NATR] != 0 else math.nan
    show_terms(params, memory, price, stop, equity, free, natr)
    step_segment(code, params, memory, SEG_SIZING)
    return float(memory[code[code[H_NODES] + code[H_SEGMENTS + 2 * SEG_SIZING] * W_NODE + N_OUT]])


@helper
def entry_terms(params: Row, sign: float, close: float, now_ms: float) -> tuple[float, float, float]:
    """Return the price to plan an entry with, its limit (0: at market), and until when that rests."""
    if params[S_LIMIT] != 0.0:
        limit = limit_price(params, sign, close)
        return limit, limit, now_ms + params[S_LIMIT_MS]
    return close, 0.0, math.inf


@helper
def sized_equity(params: Row, book: Row) -> float:
    """Return the equity that a size is a share of."""
    return float(book[B_EQUITY] if params[S_COMPOUND] != 0.0 else book[B_CAPITAL])


@entry(types.float64(I8, F8, F8, F8X2, WHOLE, F8, F8))
def enter(code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, decision: Row) -> float:
    """Size, round and check an entry, place its order when nothing objects; return the reason code."""
    sign, now_ms = memory[R_DIRECTION], memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY]
    price, limit, until_ms = entry_terms(params, sign, memory[R_CLOSE], now_ms)
    stop, _ = call_first_stop(code[H_FIRST_STOP], code, params, memory, sign, price)
    equity = sized_equity(params, books[slot])
    wanted = ask_size(code, params, memory, price, stop, equity, account[A_FREE])
    return enter_sized(params, books, slot, account, sign, price, limit, until_ms, stop, equity, wanted, decision, True)


@inlined
def enter_sized(
    params: Row, books: Row, slot: int, account: Row, sign: float, price: float, limit: float, until_ms: float,
    stop: float, equity: float, wanted: float, decision: Row, told: bool,
) -> float:  # fmt: skip
    """Round and check an entry of a wanted notional, place its order when nothing objects; return the reason code.

    The decision row gets what was measured, all of it when it is `told`.
    """
    book = books[slot]
    factor = size_factor(params, book, decision)
    notional = min(wanted * factor, room(params, account, equity)) if wanted > 0.0 else 0.0
    quantity = round_down(notional / price, params[S_LOT]) if notional > 0.0 else 0.0
    decision[D_STOP] = stop
    decision[D_NOTIONAL] = notional
    decision[D_QUANTITY] = quantity
    if decision[D_HEALTH] == 0.0 or notional <= 0.0:
        reason = refused_scope(book, account, decision)
        if reason != Z_ENTER:
            return reason
        return Z_HEALTH if decision[D_HEALTH] == 0.0 else Z_SIZE_ZERO
    reason = check_entry(params, books, slot, account, sign, quantity, price, stop, decision, told)
    if reason == Z_ENTER:
        cost = quantity * price * (1.0 / params[S_LEVERAGE] + params[S_TAKER])
        place_entry(
            book, sign, quantity, limit, until_ms, cost, loss_at_stop(params, book[B_NATR], quantity, price, stop)
        )
        note_order(book, account[A_NOW])
    return reason


@helper
def note_answer(book: Row, reason: float, now_ms: float) -> None:
    """Note when an entry was decided, and a denial."""
    book[B_ORDER_MS] = now_ms
    book[B_DENIALS] += 1.0 if reason >= Z_HALTED else 0.0


call_enter = caller(enter)


@helper
def may_enter(book: Row) -> float:
    """Return Z_ENTER, or why the strategy takes no entry whatever its signal."""
    if book[B_QUANTITY] != 0.0:
        return Z_IN_POSITION
    if book[B_ORDER] != ORDER_NONE:
        return Z_PENDING
    if book[B_ENTRIES] == ENTRIES_MANAGING:
        return Z_MANAGING
    if book[B_ENTRIES] == ENTRIES_PAUSED:
        return Z_PAUSED
    return Z_ENTER


@helper
def action_of(reason: float, held: bool) -> float:
    """Return the action that a reason code stands for."""
    if reason == Z_ENTER:
        return ENTER
    if reason == Z_WARMING:
        return WARMING
    if held:
        return HOLD
    return WAIT if reason in (Z_CONFLICT, Z_TIE) else SKIP


@helper
def write_blocks(code: Ints, memory: Row, decision: Row) -> None:
    """Copy the outputs of analyzers and filters behind the decision's head."""
    at = W_DECISION
    for a in range(code[H_ANALYZERS]):
        for j in range(3):
            decision[at + j] = memory[code[code[H_ANALYZER_LIST] + a] + j]
        at += 3
    for f in range(code[H_FILTERS]):
        for j in range(5):
            decision[at + j] = memory[code[code[H_FILTER_LIST] + 2 * f] + j]
        at += 5


@helper
def answer(code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, decision: Row) -> float:
    """Enter in the direction of the row if nothing objects; return the reason code."""
    book = books[slot]
    reason = may_enter(book)
    if reason == Z_ENTER:
        reason = call_enter(code[H_ENTER], code, params, memory, books, slot, account, decision)
        note_answer(book, reason, memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY])
    return reason


@helper
def decide(code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, decision: Row) -> None:
    """Decide at a primary close: aggregate, filter, move the levels, then enter if nothing objects."""
    book = books[slot]
    for j in range(decision.size):
        decision[j] = np.nan
    show_position(memory, book, memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY])
    memory[R_PRICE] = memory[R_CLOSE]
    memory[R_FEES] = 2.0 * params[S_TAKER]
    signal = aggregate(code, params, memory)
    step_segment(code, params, memory, SEG_FILTERS)
    reason = judge(code, params, memory, signal, decision)
    held = book[B_QUANTITY] != 0.0
    seen = memory[code[H_COUNTERS] - 1]
    if seen < params[S_MIN_CANDLES]:
        reason = Z_WARMING
    if held:
        book[B_HELD] += 1.0
        show_position(memory, book, memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY])
        waits = book[B_ORDER] == ORDER_EXIT
        move_levels(code, params, memory, book)
        if book[B_ORDER] == ORDER_EXIT and not waits:
            book[B_ORDER_MS] = memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY]
    catchup = book[B_ENTRIES] == ENTRIES_OFF
    if code[H_NATR] != 0:
        natr = memory[code[H_NATR]]
        halt_volatile(book, natr, account[A_MAX_NATR], memory[R_TIME] + code[H_TIMEFRAMES + PRIMARY])
    if reason == Z_ENTER and not catchup:
        reason = answer(code, params, memory, books, slot, account, decision)
    decision[D_TIME] = memory[R_TIME]
    decision[D_SEEN] = seen
    decision[D_REASON] = reason
    decision[D_ACTION] = action_of(reason, held)
    decision[D_CLOSE] = memory[R_CLOSE]
    decision[D_EQUITY] = book[B_EQUITY]
    decision[D_POSITION] = book[B_QUANTITY]
    decision[D_FLAGS] = (FLAG_CATCHUP if catchup else 0.0) + FLAG_GAP * memory[R_GAP]
    write_blocks(code, memory, decision)


@helper
def copy_candle(candle: Row, to: Row) -> None:
    """Copy a candle row."""
    for j in range(W_CANDLE):
        to[j] = candle[j]


@helper
def close_roles(code: Ints, params: Row, memory: Row, candle: Row, late: bool) -> bool:
    """Close the timeframes that end now (or ended before a late candle); return whether the primary closed."""
    first = memory[code[H_COUNTERS] - 2] == 0.0
    scratch = code[H_GROUPS] + (PRIMARY + 1) * W_GROUP
    group = memory[scratch : scratch + W_CANDLE]
    primary = False
    for role in range(PRIMARY + 1):
        length = code[H_TIMEFRAMES + role]
        if length == 0:
            continue
        closed = False
        if length == code[H_BASE_MS]:
            closed = not late
            copy_candle(candle, group)
        elif late:
            closed = group_is_late(code, memory, role, candle[C_TIME]) and close_group(code, memory, role, group)
        elif grow_group(code, memory, role, candle, first):
            closed = close_group(code, memory, role, group)
        if closed:
            load_candle(code, memory, role, group)
            step_segment(code, params, memory, role)
            primary = role == PRIMARY
    if not late:
        memory[code[H_COUNTERS] - 2] += 1.0
    if primary:
        memory[code[H_COUNTERS] - 1] += 1.0
    return primary


@entry(types.void(I8, F8, F8, F8X2, WHOLE, F8, F8, types.boolean, F8))
def decide_candle(
    code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, candle: Row, late: bool, decision: Row
) -> None:
    """Decide on the columns of a primary that has just closed, and sum the account when an order came or changed."""
    order, reserved = books[slot, B_ORDER], books[slot, B_RESERVED]
    decide(code, params, memory, books, slot, account, decision)
    if late or books[slot, B_ORDER] != order or books[slot, B_RESERVED] != reserved:
        sum_account(books, account)


call_decide = caller(decide_candle)


@entry(types.boolean(I8, F8, F8, F8X2, WHOLE, F8, F8, types.boolean, F8))
def close_candle(
    code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, candle: Row, late: bool, decision: Row
) -> bool:
    """Step one strategy with a closed base candle; True when its primary closed (the decision row is then filled).

    With `late` only the timeframes that ended in a gap before this candle are closed. Otherwise the account is the sum
    of the books, and stays it.
    """
    closed = close_roles(code, params, memory, candle, late)
    if books[slot, B_EXPIRED] != 0.0 and not late:
        fall_back(code, params, memory, books, slot, account, candle, decision)
    if closed:
        call_decide(code[H_DECIDE], code, params, memory, books, slot, account, candle, late, decision)
    return closed
