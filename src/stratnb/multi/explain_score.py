"""The aggregation of a decision as numbers: strengths, score, conflict, confidence, each with its formula."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import retell
from stratnb.multi.explain_entry import STEP
from stratnb.strategy.plan import Plan
from stratnb.view import CheckView

__all__ = ["arithmetic"]

Floats = npt.NDArray[np.float64]


def arithmetic(plan: Plan, row: Floats) -> tuple[CheckView, ...]:
    """Return the steps from the analyzers of a decision row to its score and confidence; none while warming up.

    The sums come from the kernel that decided, score and confidence from the row.
    """
    if row[at.D_ACTION] == at.WARMING or not plan.analyzers:
        return ()
    sums = _sums(plan, row)
    longs, shorts, total = sums[:4], sums[4:8], float(sums[8])
    sided = float(row[at.D_DIRECTION]) or float(_strength(plan, longs, total) - _strength(plan, shorts, total))
    mine, other = (shorts, longs) if sided < 0 else (longs, shorts)
    count = mine[0] + other[0]
    conflict = min(mine[0], other[0]) / count if count else 0.0
    return (
        _side(plan, row, "Long", 1.0, longs, total),
        _side(plan, row, "Short", -1.0, shorts, total),
        _score(plan, row, mine, other, total),
        _conflict(plan, conflict, int(min(mine[0], other[0])), int(count)),
        CheckView("Agreeing", bool(mine[0] >= plan.params[at.S_MIN_AGREEING]), f"{mine[0]:.0f}",
                  f"≥ {plan.params[at.S_MIN_AGREEING]:.0f}"),
        _confidence(plan, row, mine, conflict),
    )  # fmt: skip


def _sums(plan: Plan, row: Floats) -> Floats:
    """Return what the kernel sums over the analyzers of a row."""
    memory, out = plan.memory(), np.empty(retell.W_SUMS)
    start = plan.code[at.H_ANALYZER_LIST]
    for k, column in enumerate(plan.code[start : start + len(plan.analyzers)]):
        memory[column : column + 3] = row[at.W_DECISION + 3 * k : at.W_DECISION + 3 * k + 3]
    retell.sums(plan.code, plan.params, memory, out)
    return out


def _strength(plan: Plan, side: Floats, total: float) -> float:
    """Return the strength of one side by the mode: votes, mean confidence, or share of all weights."""
    count, weights, weighted, _ = side.tolist()
    mode = plan.params[at.S_MODE]
    if mode == at.MODE_VOTE:
        return float(count)
    base = weights if mode == at.MODE_WEIGHTED else total
    return float(weighted / base) if base else 0.0


def _side(plan: Plan, row: Floats, name: str, sign: float, side: Floats, total: float) -> CheckView:
    terms = []
    least = plan.params[at.S_SIGNAL_MIN] if plan.params[at.S_MODE] == at.MODE_VOTE else -1.0
    for k, (entry, _) in enumerate(plan.analyzers):
        direction, confidence, _ready = row[at.W_DECISION + 3 * k : at.W_DECISION + 3 * k + 3]
        if direction == sign and confidence >= least:
            terms.append(f"{confidence:.3f} × {entry.weight:g}")
    strength = _strength(plan, side, total)
    if plan.params[at.S_MODE] == at.MODE_VOTE:
        return CheckView(f"{name} votes", True, f"{strength:.0f}", "", f"confidence ≥ {least:g}", STEP)
    weighted = plan.params[at.S_MODE] == at.MODE_WEIGHTED
    base = f"{side[1]:g} (their weights)" if weighted else f"{total:g} (all weights)"
    formula = f"({' + '.join(terms)}) / {base}" if terms else ""
    return CheckView(f"{name} strength", True, f"{strength:.3f}", "", formula, STEP)


def _score(plan: Plan, row: Floats, mine: Floats, other: Floats, total: float) -> CheckView:
    score, need, mode = float(row[at.D_SCORE]), float(row[at.D_SCORE_NEED]), plan.params[at.S_MODE]
    strong, weak = _strength(plan, mine, total), _strength(plan, other, total)
    formula = f"{max(strong, weak):.3f}, the larger"
    if mode == at.MODE_VOTE:
        formula = f"{max(strong, weak):.0f} / {strong + weak:.0f} votes"
    elif mode == at.MODE_COVERAGE:
        formula = f"{strong:.3f} − {plan.params[at.S_OPPOSITION]:g} × {weak:.3f}"
    word = plan.reason(row[at.D_REASON])
    if word in ("no_signals", "tie", "conflict", "score_vote_split"):
        formula = f"0 because of {word.replace('_', ' ')}"
    return CheckView("Score", score >= need, f"{score:.3f}", f"≥ {need:.3f}" if need else "", formula)


def _conflict(plan: Plan, conflict: float, fewer: int, count: int) -> CheckView:
    formula = f"{fewer} / {count} signals" if count else ""
    if plan.params[at.S_MODE] == at.MODE_COVERAGE:
        return CheckView("Conflict", True, f"{conflict:.2f}", "", formula, STEP)
    most = float(plan.params[at.S_MAX_CONFLICT])
    return CheckView("Conflict", conflict < most, f"{conflict:.2f}", f"< {most:g}", formula)


def _confidence(plan: Plan, row: Floats, mine: Floats, conflict: float) -> CheckView:
    """Return the final confidence: that of the signal times the factors of the filters."""
    final, need = float(row[at.D_CONFIDENCE]), float(row[at.D_CONFIDENCE_NEED])
    _, weights, weighted, highest = mine.tolist()
    mode, mean = plan.params[at.S_MODE], weighted / weights if weights else 0.0
    voted = f"{highest:.3f} of {_leader(plan, row, highest)}, the highest"
    first = voted if mode == at.MODE_VOTE else f"{mean:.3f}"
    parts = [first, *([f"(1 − {conflict:.2f})"] if mode == at.MODE_COVERAGE else [])]
    start = at.W_DECISION + 3 * len(plan.analyzers)
    for k, (name, _, _) in enumerate(plan.filters):
        allow, factor = row[start + 5 * k : start + 5 * k + 2]
        if math.isfinite(allow) and factor != 1.0:
            parts.append(f"{factor:g} ({name})")
    formula = " × ".join(parts) if weights else ""
    return CheckView("Confidence", final >= need, f"{final:.3f}", f"≥ {need:.3f}", formula)


def _leader(plan: Plan, row: Floats, highest: float) -> str:
    """Return whose vote has the highest confidence; of equal ones that of the first priority, then the first."""
    equal: list[tuple[int, int, str]] = []
    for k, (entry, _) in enumerate(plan.analyzers):
        direction, confidence, _ready = row[at.W_DECISION + 3 * k : at.W_DECISION + 3 * k + 3]
        if confidence == highest and direction and direction == (row[at.D_DIRECTION] or direction):
            equal.append((entry.priority, k, entry.name))
    return min(equal)[2] if equal else "none"
