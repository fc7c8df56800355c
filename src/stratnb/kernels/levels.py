"""Stops and targets: exit blocks write the level row of a position when it is armed and at each primary close."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from stratnb.kernels.address import caller
from stratnb.kernels.drive import step_one
from stratnb.kernels.jit import F8, I8, Ints, Row, entry, helper, inlined
from stratnb.kernels.layout import (
    B_AVERAGE,
    B_DONE,
    B_FIRST_STOP,
    B_HELD,
    B_LEVELS,
    B_OPENED_MS,
    B_ORIGINAL,
    B_PEAK,
    B_QUANTITY,
    B_STOP,
    B_STOP_REASON,
    B_TARGETS,
    B_TROUGH,
    B_WHOLE,
    H_COUNTERS,
    H_FIRST_STOP,
    H_NODES,
    H_SEGMENTS,
    N_OUT,
    N_STATE,
    N_STATES,
    N_TARGETS,
    R_CLOSE,
    R_DONE,
    R_ENTRY,
    R_FIRST_STOP,
    R_FRESH,
    R_HELD,
    R_MINUTES,
    R_PEAK,
    R_QUANTITY,
    R_RETURN,
    R_SIDE,
    R_STOP,
    R_TROUGH,
    REASON_EXIT,
    S_LOT,
    S_TICK,
    SEG_EXITS,
    W_LEVEL,
    W_NODE,
)
from stratnb.kernels.rounding import round_down, round_nearest
from stratnb.kernels.trade import place_exit

__all__ = [
    "arm",
    "call_first_stop",
    "first_stop",
    "fix_levels",
    "heed",
    "minutes_since",
    "move_levels",
    "return_of",
    "tightened",
]

PAIR: Any = types.UniTuple(types.float64, 2)  # type: ignore[no-untyped-call]


@inlined
def tightened(
    tick: float, side: float, price: float, wish: float, stop: float, reason: float, own: float
) -> tuple[float, float, float]:
    """Return the tighter of a stop and the one that an exit wishes, and its reason; `own` is that of the exit.

    Then the wish if the stop is as tight as it, NaN where the price did not allow that.
    """
    if not math.isfinite(wish):
        return stop, reason, wish
    level, met = round_nearest(wish, tick), wish
    if side * (price - level) <= 0.0:
        level, met = round_nearest(price, tick) - side * tick, math.nan
    return (stop, reason, met) if side * (level - stop) <= 0.0 else (level, own, met)


@entry(PAIR(I8, F8, F8, types.float64, types.float64))
def first_stop(code: Ints, params: Row, memory: Row, side: float, price: float) -> tuple[float, float]:
    """Step the exit blocks for a position entered at `price`; return the tightest stop (NaN: none) and its reason."""
    memory[R_SIDE] = side
    memory[R_QUANTITY] = 0.0
    memory[R_ENTRY] = price
    memory[R_PEAK] = price
    memory[R_TROUGH] = price
    memory[R_STOP] = np.nan
    memory[R_FIRST_STOP] = np.nan
    memory[R_DONE] = 0.0
    memory[R_RETURN] = 0.0
    memory[R_HELD] = 0.0
    memory[R_MINUTES] = 0.0
    memory[R_FRESH] = 1.0
    stop, reason, tick = math.nan, 0.0, params[S_TICK]
    start = code[H_SEGMENTS + 2 * SEG_EXITS]
    for k in range(start, code[H_SEGMENTS + 2 * SEG_EXITS + 1]):
        node = code[H_NODES] + k * W_NODE
        memory[code[H_COUNTERS] + k] = 0.0
        for j in range(code[node + N_STATE], code[node + N_STATE] + code[node + N_STATES]):
            memory[j] = 0.0
        step_one(code, params, memory, k)
        wish = memory[code[node + N_OUT]]
        stop, reason, _ = tightened(tick, side, price, wish, stop, reason, float(REASON_EXIT + k - start))
        memory[R_FIRST_STOP] = stop
        memory[R_STOP] = stop
    memory[R_FRESH] = 0.0
    return stop, reason


call_first_stop = caller(first_stop)


@helper
def arm(code: Ints, params: Row, memory: Row, book: Row) -> None:
    """Fix stop and targets of a position at its average entry price."""
    price, side = book[B_AVERAGE], 1.0 if book[B_QUANTITY] > 0.0 else -1.0
    stop, reason = call_first_stop(code[H_FIRST_STOP], code, params, memory, side, price)
    fix_levels(code, params, memory, book, side, price, stop, reason)


@inlined
def fix_levels(
    code: Ints, params: Row, memory: Row, book: Row, side: float, price: float, stop: float, reason: float
) -> None:
    """Write stop and targets of a position whose exit blocks were stepped for `price`.

    A target whose share is less than a lot sells nothing and counts as done; the last of a whole ladder stays.
    """
    book[B_STOP] = stop
    book[B_FIRST_STOP] = stop
    book[B_STOP_REASON] = reason
    count, shares, tick = 0, 0.0, params[S_TICK]
    for k in range(code[H_SEGMENTS + 2 * SEG_EXITS], code[H_SEGMENTS + 2 * SEG_EXITS + 1]):
        node = code[H_NODES] + k * W_NODE
        for t in range(code[node + N_TARGETS]):
            level, share = memory[code[node + N_OUT] + 2 + 2 * t], memory[code[node + N_OUT] + 3 + 2 * t]
            if not (math.isfinite(level) and math.isfinite(share)):
                continue
            shares += share
            level = round_nearest(level, tick)
            if side * (level - price) <= 0.0:
                level = round_nearest(price, tick) + side * tick
            quantity = round_down(share * book[B_ORIGINAL], params[S_LOT])
            book[B_LEVELS + count * W_LEVEL] = level
            book[B_LEVELS + count * W_LEVEL + 1] = quantity
            book[B_LEVELS + count * W_LEVEL + 2] = 0.0 if quantity > 0.0 else 1.0
            count += 1
    book[B_TARGETS] = count
    book[B_DONE] = 0.0
    book[B_WHOLE] = 1.0 if shares >= 1.0 - 1e-9 else 0.0
    if count > 0 and book[B_WHOLE] != 0.0:
        book[B_LEVELS + (count - 1) * W_LEVEL + 2] = 0.0


@helper
def return_of(side: float, close: float, average: float) -> float:
    """Return a position's return at a close, as a fraction."""
    return side * (close / average - 1.0)


@helper
def minutes_since(start_ms: float, end_ms: float) -> float:
    """Return the minutes between two times."""
    return (end_ms - start_ms) / 60_000.0


@helper
def show_position(memory: Row, book: Row, close_ms: float) -> None:
    """Write the position's columns into the row."""
    held = book[B_QUANTITY]
    side = 1.0 if held > 0.0 else (-1.0 if held < 0.0 else 0.0)
    memory[R_SIDE] = side
    memory[R_QUANTITY] = held
    memory[R_FRESH] = 0.0
    memory[R_ENTRY] = book[B_AVERAGE] if held != 0.0 else np.nan
    memory[R_FIRST_STOP] = book[B_FIRST_STOP] if held != 0.0 else np.nan
    memory[R_STOP] = book[B_STOP] if held != 0.0 else np.nan
    memory[R_PEAK] = book[B_PEAK] if held != 0.0 else np.nan
    memory[R_TROUGH] = book[B_TROUGH] if held != 0.0 else np.nan
    memory[R_DONE] = book[B_DONE] if held != 0.0 else 0.0
    memory[R_RETURN] = return_of(side, memory[R_CLOSE], book[B_AVERAGE]) if held != 0.0 else 0.0
    memory[R_HELD] = book[B_HELD] if held != 0.0 else 0.0
    memory[R_MINUTES] = minutes_since(book[B_OPENED_MS], close_ms) if held != 0.0 else 0.0


@helper
def heed(settings: Row, book: Row, close: float, wish: float, asks: float, reason: float, leave: float) -> float:
    """Heed one exit block at a close: its stop tightens the position's; return the reason to leave, -1 for none.

    A stop beyond the market leaves at the next open; the first reason stays.
    """
    side = 1.0 if book[B_QUANTITY] > 0.0 else -1.0
    if asks == 1.0 and leave < 0.0:
        leave = reason
    if math.isfinite(wish):
        wish = round_nearest(wish, settings[S_TICK])
        if side * (close - wish) <= 0.0:
            if leave < 0.0:
                leave = book[B_STOP_REASON] = reason
        elif not side * (wish - book[B_STOP]) <= 0.0:
            book[B_STOP] = wish
            book[B_STOP_REASON] = reason
    return leave


@helper
def move_levels(code: Ints, params: Row, memory: Row, book: Row) -> None:
    """Let the exit blocks tighten the stop or ask to leave; a stop beyond the market leaves at the next open."""
    start, leave = code[H_SEGMENTS + 2 * SEG_EXITS], -1.0
    for k in range(start, code[H_SEGMENTS + 2 * SEG_EXITS + 1]):
        step_one(code, params, memory, k)
        out = code[code[H_NODES] + k * W_NODE + N_OUT]
        reason = float(REASON_EXIT + k - start)
        leave = heed(params, book, memory[R_CLOSE], memory[out], memory[out + 1], reason, leave)
    if leave >= 0.0:
        place_exit(book, leave)
