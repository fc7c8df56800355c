"""The driver of a plan: builds higher timeframes and steps the blocks, any composition with one compiled code.

A plan is an integer table `code` (header, one record a node, lists of input columns), its numeric `params`, and its
`memory` (the row of columns, the candle counters, scratch, timeframe groups and the blocks' own state).
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from stratnb.kernels.address import call_step, caller
from stratnb.kernels.jit import F8, I8, Ints, Row, entry, helper
from stratnb.kernels.layout import (
    C_CLOSE,
    C_HIGH,
    C_LOW,
    C_OPEN,
    C_TIME,
    C_VOLUME,
    FILL_ZERO,
    G_C,
    G_CANDLES,
    G_H,
    G_L,
    G_O,
    G_OPEN_MS,
    G_STATE,
    G_V,
    GROUP_NONE,
    GROUP_OPEN,
    GROUP_WITHHELD,
    H_BASE_MS,
    H_COUNTERS,
    H_GROUPS,
    H_NODES,
    H_ROLE_COLUMNS,
    H_SEGMENTS,
    H_STEP,
    H_TIMEFRAMES,
    H_X,
    N_ADDRESS,
    N_FILL,
    N_INPUTS,
    N_LIST,
    N_OUT,
    N_OUTS,
    N_P,
    N_PS,
    N_REQUIRED,
    N_STATE,
    N_STATES,
    PRIMARY,
    R_GAP,
    R_MINUTE,
    R_TIME,
    W_CANDLE,
    W_GROUP,
    W_NODE,
    WEEK_MINUTES,
)

__all__ = [
    "close_group",
    "group_is_late",
    "grow_group",
    "load_candle",
    "minute_of_week",
    "step_nodes",
    "step_one",
    "step_segment",
]


@helper
def step_node(code: Ints, params: Row, memory: Row, k: int) -> bool:
    """Step node k on the present row; return whether its required inputs were finite."""
    node = code[H_NODES] + k * W_NODE
    out, outs = code[node + N_OUT], code[node + N_OUTS]
    blank = 0.0 if code[node + N_FILL] == FILL_ZERO else np.nan
    for j in range(outs):
        memory[out + j] = blank
    x, ready = code[H_X], True
    for j in range(code[node + N_INPUTS]):
        value = memory[code[code[node + N_LIST] + j]]
        memory[x + j] = value
        if j < code[node + N_REQUIRED] and not math.isfinite(value):
            ready = False
    if ready:
        counter = code[H_COUNTERS] + k
        i = int(memory[counter])
        memory[counter] = i + 1.0
        call_step(
            code[node + N_ADDRESS],
            i,
            memory,
            code[node + N_STATE],
            code[node + N_STATES],
            x,
            code[node + N_INPUTS],
            out,
            outs,
            params,
            code[node + N_P],
            code[node + N_PS],
        )
    return ready


@entry(types.void(I8, F8, F8, types.int64, types.int64))
def step_nodes(code: Ints, params: Row, memory: Row, first: int, last: int) -> None:
    """Step the nodes first..last in order."""
    for k in range(first, last):
        step_node(code, params, memory, k)


call_nodes = caller(step_nodes)


@helper
def step_segment(code: Ints, params: Row, memory: Row, segment: int) -> None:
    """Step all nodes of a segment in order."""
    first, last = code[H_SEGMENTS + 2 * segment], code[H_SEGMENTS + 2 * segment + 1]
    call_nodes(code[H_STEP], code, params, memory, first, last)


@helper
def step_one(code: Ints, params: Row, memory: Row, k: int) -> None:
    """Step node k."""
    call_nodes(code[H_STEP], code, params, memory, k, k + 1)


@helper
def minute_of_week(time_ms: float) -> float:
    """Return the minutes since Monday 00:00 UTC."""
    return float((math.floor(time_ms / 60_000.0) - 4 * 1440.0) % WEEK_MINUTES)


@helper
def load_candle(code: Ints, memory: Row, role: int, candle: Row) -> None:
    """Write a closed candle of a role into its columns of the row."""
    start, length = code[H_ROLE_COLUMNS + role], code[H_TIMEFRAMES + role]
    if role == PRIMARY:
        memory[R_GAP] = 1.0 if candle[C_TIME] > memory[R_TIME] + length else 0.0
    for j in range(W_CANDLE):
        memory[start + j] = candle[j]
    if role == PRIMARY:
        memory[R_MINUTE] = minute_of_week(memory[R_TIME] + length)


@helper
def group_is_late(code: Ints, memory: Row, role: int, open_ms: float) -> bool:
    """Tell whether an open group of the role ended before a candle that opens at `open_ms`."""
    group = code[H_GROUPS] + role * W_GROUP
    late = open_ms >= memory[group + G_OPEN_MS] + code[H_TIMEFRAMES + role]
    return bool(late and memory[group + G_STATE] != GROUP_NONE)


@helper
def grow_group(code: Ints, memory: Row, role: int, candle: Row, first: bool) -> bool:
    """Add a base candle to the role's group; return whether the group is complete now.

    The group in which the data starts is withheld unless the data starts with it.
    """
    group, length = code[H_GROUPS] + role * W_GROUP, code[H_TIMEFRAMES + role]
    start = math.floor(candle[C_TIME] / length) * length
    if memory[group + G_STATE] == GROUP_NONE:
        memory[group + G_STATE] = GROUP_WITHHELD if first and candle[C_TIME] != start else GROUP_OPEN
        memory[group + G_OPEN_MS] = start
        memory[group + G_O] = candle[C_OPEN]
        memory[group + G_H] = candle[C_HIGH]
        memory[group + G_L] = candle[C_LOW]
        memory[group + G_V] = candle[C_VOLUME]
        memory[group + G_CANDLES] = 1.0
    else:
        memory[group + G_H] = max(memory[group + G_H], candle[C_HIGH])
        memory[group + G_L] = min(memory[group + G_L], candle[C_LOW])
        memory[group + G_V] += candle[C_VOLUME]
        memory[group + G_CANDLES] += 1.0
    memory[group + G_C] = candle[C_CLOSE]
    return bool(candle[C_TIME] + code[H_BASE_MS] >= start + length)


@helper
def close_group(code: Ints, memory: Row, role: int, candle: Row) -> bool:
    """End the role's group and write its candle; return False when it is withheld."""
    group = code[H_GROUPS] + role * W_GROUP
    whole = memory[group + G_STATE] == GROUP_OPEN
    candle[C_OPEN] = memory[group + G_O]
    candle[C_HIGH] = memory[group + G_H]
    candle[C_LOW] = memory[group + G_L]
    candle[C_CLOSE] = memory[group + G_C]
    candle[C_VOLUME] = memory[group + G_V]
    candle[C_TIME] = memory[group + G_OPEN_MS]
    memory[group + G_STATE] = GROUP_NONE
    return bool(whole)
