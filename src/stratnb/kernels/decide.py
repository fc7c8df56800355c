"""The entry decision: votes of the analyzers, filters, thresholds (blocks 4 and 5)."""

from __future__ import annotations

import math

from stratnb.kernels.jit import Ints, Row, inlined
from stratnb.kernels.layout import (
    D_CONFIDENCE,
    D_CONFIDENCE_NEED,
    D_DIRECTION,
    D_LONG,
    D_SCORE,
    D_SCORE_NEED,
    D_SHORT,
    H_ANALYZER_LIST,
    H_ANALYZERS,
    H_FILTER_LIST,
    H_FILTERS,
    MODE_COVERAGE,
    MODE_VOTE,
    MODE_WEIGHTED,
    R_CONFIDENCE,
    R_DIRECTION,
    R_LONG,
    R_SCORE,
    R_SHORT,
    S_LONG,
    S_MAX_CONFLICT,
    S_MIN_AGREEING,
    S_MIN_CONFIDENCE,
    S_MIN_SCORE,
    S_MODE,
    S_OPPOSITION,
    S_SHORT,
    S_SIGNAL_MIN,
    S_WEIGHTS,
    Z_CONFLICT,
    Z_DIRECTION,
    Z_ENTER,
    Z_FILTER,
    Z_LOW_CONFIDENCE,
    Z_LOW_SCORE,
    Z_NO_SIGNALS,
    Z_TIE,
    Z_TOO_FEW,
    Z_VOTE_SPLIT,
)

__all__ = ["aggregate", "all_weights", "judge", "tally"]


@inlined
def tally(code: Ints, params: Row, memory: Row, sign: float, least: float) -> tuple[float, float, float, float]:
    """Return number, sum of weights, weighted confidence and highest confidence of the signals of one side."""
    count, weights, weighted, highest = 0.0, 0.0, 0.0, 0.0
    for a in range(code[H_ANALYZERS]):
        column = code[code[H_ANALYZER_LIST] + a]
        direction, confidence = memory[column], memory[column + 1]
        if direction == sign and confidence >= least:
            weight = params[int(params[S_WEIGHTS]) + a]
            count += 1.0
            weights += weight
            weighted += confidence * weight
            highest = max(highest, confidence)
    return count, weights, weighted, highest


@inlined
def all_weights(code: Ints, params: Row) -> float:
    """Return the summed weight of all enabled analyzers, ready or silent."""
    total = 0.0
    for a in range(code[H_ANALYZERS]):
        total += params[int(params[S_WEIGHTS]) + a]
    return total


@inlined
def aggregate(code: Ints, params: Row, memory: Row) -> float:
    """Write direction, score and confidence of the signals into the row; return the reason code."""
    mode = params[S_MODE]
    least = params[S_SIGNAL_MIN] if mode == MODE_VOTE else -1.0
    n_long, w_long, c_long, top_long = tally(code, params, memory, 1.0, least)
    n_short, w_short, c_short, top_short = tally(code, params, memory, -1.0, least)
    n = n_long + n_short
    conflict = min(n_long, n_short) / n if n > 0.0 else 0.0
    long_score, short_score = n_long, n_short
    if mode == MODE_WEIGHTED:
        long_score = c_long / w_long if w_long > 0.0 else 0.0
        short_score = c_short / w_short if w_short > 0.0 else 0.0
    elif mode == MODE_COVERAGE:
        total = all_weights(code, params)
        long_score, short_score = c_long / total, c_short / total
    is_long = long_score > short_score
    confidence, score = top_long if is_long else top_short, 0.0
    if mode == MODE_VOTE:
        score = max(n_long, n_short) / n if n > 0.0 else 0.0
    elif mode == MODE_WEIGHTED:
        score = max(long_score, short_score)
        confidence = score
    else:
        score = max(long_score, short_score) - params[S_OPPOSITION] * min(long_score, short_score)
        weights, weighted = (w_long, c_long) if is_long else (w_short, c_short)
        confidence = weighted / weights * (1.0 - conflict) if weights > 0.0 else 0.0
    reason = Z_ENTER
    split = mode != MODE_COVERAGE and (n_long == n_short or conflict >= params[S_MAX_CONFLICT])
    if n == 0.0:
        reason = Z_NO_SIGNALS
    elif mode != MODE_VOTE and abs(long_score - short_score) <= 1e-12:
        reason = Z_TIE
    elif split:
        reason = Z_CONFLICT
    elif mode == MODE_WEIGHTED and is_long != (n_long > n_short):
        reason = Z_VOTE_SPLIT
    elif mode != MODE_VOTE and score < params[S_MIN_SCORE]:
        reason = Z_LOW_SCORE
    directed = reason in (Z_ENTER, Z_LOW_SCORE)
    sign = 1.0 if is_long else -1.0
    memory[R_LONG] = n_long
    memory[R_SHORT] = n_short
    memory[R_SCORE] = score if directed else 0.0
    memory[R_CONFIDENCE] = confidence if directed else 0.0
    memory[R_DIRECTION] = sign if reason == Z_ENTER else 0.0
    return reason


@inlined
def judge(code: Ints, params: Row, memory: Row, reason: float, decision: Row) -> float:
    """Apply filters and thresholds to the aggregated signal, write the decision's head, return the reason code."""
    direction, confidence = memory[R_DIRECTION], memory[R_CONFIDENCE]
    need, blocked = params[S_MIN_CONFIDENCE], -1.0
    for f in range(code[H_FILTERS]):
        record = code[H_FILTER_LIST] + 2 * f
        column, allow_missing = code[record], code[record + 1] == 1
        allow = memory[column]
        if math.isfinite(allow):
            confidence *= memory[column + 1]
            need = max(need, memory[column + 2])
        passed = allow != 0.0 if math.isfinite(allow) else allow_missing
        if not passed and blocked < 0.0:
            blocked = float(f)
    agreeing = memory[R_LONG] if direction > 0.0 else memory[R_SHORT]
    if reason == Z_ENTER:
        if agreeing < params[S_MIN_AGREEING]:
            reason = Z_TOO_FEW
        elif blocked >= 0.0:
            reason = Z_FILTER + blocked
        elif confidence < need:
            reason = Z_LOW_CONFIDENCE
        elif (direction > 0.0 and params[S_LONG] == 0.0) or (direction < 0.0 and params[S_SHORT] == 0.0):
            reason = Z_DIRECTION
    decision[D_DIRECTION] = direction
    decision[D_SCORE] = memory[R_SCORE]
    decision[D_CONFIDENCE] = confidence
    decision[D_SCORE_NEED] = 0.0 if params[S_MODE] == MODE_VOTE else params[S_MIN_SCORE]
    decision[D_CONFIDENCE_NEED] = need
    decision[D_LONG] = memory[R_LONG]
    decision[D_SHORT] = memory[R_SHORT]
    return reason
