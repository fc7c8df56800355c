"""Rules in force: when each one ends, and the state and the pause that follow from all of them (trading_rules 6).

The rows of a book and of the account hold the same cells, from `p` (P_ cells) and `k` (K_ cells) on.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from stratnb.kernels.jit import F8, Row, entry, helper
from stratnb.kernels.layout import (
    A_EQUITY,
    A_RISK,
    A_STATE,
    ACTIVE,
    B_EQUITY,
    B_HEALTH_FROM,
    B_LOST,
    B_RISK,
    B_STATE,
    B_TRADES,
    HALTED,
    K_DAY_HIGH,
    K_NEXT,
    K_OUTER_HALT,
    K_OUTER_REDUCE,
    K_PAUSE,
    K_PAUSE_UNTIL,
    K_PEAK,
    K_RULES,
    LATCHED,
    P_DAY,
    P_DAY_START,
    P_REASON,
    P_STATE,
    P_UNTIL,
    REDUCING,
    RULE_HALT,
    RULE_REDUCE,
    RULES,
    W_BOOK,
    Z_COOLDOWN,
    Z_DAILY_LOSS,
    Z_DRAWDOWN,
    Z_FEED,
    Z_GUARD,
    Z_KILL,
    Z_LOCK,
    Z_LOSSES,
    Z_LOW_PROFIT,
    Z_STORM,
    Z_TARGET,
    Z_VOLATILITY,
)

__all__ = ["fire", "fold_rules", "release_rules", "rule_code", "start_day", "trip_external"]

# By rule: its code (an outer rule's is a cell) and its effect, which for a loss depends on the scope.
CODES = (
    *(Z_DAILY_LOSS, Z_DRAWDOWN, Z_LOSSES, Z_GUARD, Z_LOW_PROFIT, Z_LOCK, Z_TARGET, Z_VOLATILITY),
    *(Z_COOLDOWN, 0, 0, Z_KILL, Z_STORM, Z_FEED),
)
NOTHING, PAUSES, REDUCES, HALTS, BY_SCOPE = 0, 1, 2, 3, 4
EFFECTS = (
    *(BY_SCOPE, BY_SCOPE, PAUSES, PAUSES, PAUSES, PAUSES, PAUSES, PAUSES),
    *(NOTHING, REDUCES, HALTS, HALTS, REDUCES, REDUCES),
)


@helper
def rule_code(row: Row, k: int, rule: int) -> float:
    """Return the reason code of a rule."""
    if rule == RULE_REDUCE:
        return float(row[k + K_OUTER_REDUCE])
    if rule == RULE_HALT:
        return float(row[k + K_OUTER_HALT])
    return float(CODES[rule])


@helper
def fold_rules(row: Row, p: int, k: int, now_ms: float) -> None:
    """End the rules that lasted until `now_ms`; write state, pause and the next release that follow from the rest.

    The strictest rule names the state, the longest of several that are equally strict.
    """
    state, reason, until = ACTIVE, 0.0, 0.0
    pause, pause_until, ends_next = 0.0, 0.0, LATCHED
    for rule in range(RULES):
        end = row[k + K_RULES + rule]
        if end <= now_ms:
            row[k + K_RULES + rule] = 0.0
            continue
        ends_next = min(ends_next, end)
        effect = EFFECTS[rule]
        if effect == BY_SCOPE:
            effect = HALTS if p == A_STATE else REDUCES
        if effect == PAUSES and end > pause_until:
            pause, pause_until = rule_code(row, k, rule), end
        strict = HALTED if effect == HALTS else (REDUCING if effect == REDUCES else ACTIVE)
        if strict > state or (strict == state and strict != ACTIVE and end > until):
            state, reason, until = strict, rule_code(row, k, rule), end
    row[p + P_STATE] = state
    row[p + P_REASON] = reason
    row[p + P_UNTIL] = until
    row[k + K_PAUSE] = pause
    row[k + K_PAUSE_UNTIL] = pause_until
    row[k + K_NEXT] = ends_next


@helper
def fire(row: Row, k: int, rule: int, until_ms: float) -> None:
    """Put a rule in force until a time; one that is in force for longer stays. The next fold makes it act."""
    row[k + K_RULES + rule] = max(row[k + K_RULES + rule], until_ms)
    row[k + K_NEXT] = 0.0


@helper
def start_day(row: Row, p: int, k: int, day: float, equity: float) -> None:
    """Start a day in a scope: note its equity."""
    row[p + P_DAY] = day
    row[p + P_DAY_START] = equity
    row[k + K_DAY_HIGH] = equity


@entry(types.void(F8, types.int64, types.float64, types.float64, types.float64))
def trip_external(row: Row, rule: int, code: float, until_ms: float, now_ms: float) -> None:
    """Put a rule in force that is seen outside the rows: RULE_KILL, _STORM, _FEED, or _REDUCE and _HALT with a code.

    `row` is a book or the account; an infinite `until_ms` latches it.
    """
    p, k = (B_STATE, B_RISK) if row.size == W_BOOK else (A_STATE, A_RISK)
    if rule == RULE_REDUCE:
        row[k + K_OUTER_REDUCE] = code
    elif rule == RULE_HALT:
        row[k + K_OUTER_HALT] = code
    fire(row, k, rule, until_ms)
    fold_rules(row, p, k, now_ms)


@entry(types.void(F8, types.boolean))
def release_rules(row: Row, reset_peak: bool) -> None:
    """End every rule of a book or of the account; its day starts anew, and with `reset_peak` its peak.

    A peak that is kept lets the drawdown rule fire again while the drawdown lasts.
    """
    is_book = row.size == W_BOOK
    p, k = (B_STATE, B_RISK) if is_book else (A_STATE, A_RISK)
    equity = row[B_EQUITY] if is_book else row[A_EQUITY]
    fold_rules(row, p, k, np.inf)
    row[p + P_DAY_START] = equity
    row[k + K_DAY_HIGH] = equity
    if reset_peak and math.isfinite(equity):
        row[k + K_PEAK] = equity
    if is_book:
        row[B_LOST] = 0.0
        row[B_HEALTH_FROM] = row[B_TRADES]
