"""A rule in force in words: its effect, its figures, its end; and the rules that only the engine or a person sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels.rules import BY_SCOPE, EFFECTS
from stratnb.services.measured import measure_rule, rule_name, scope_cells

__all__ = [
    "BLOCKS",
    "CODES",
    "OUTER",
    "STATES",
    "Effect",
    "Health",
    "RiskState",
    "RuleState",
    "finite",
    "rule_state",
    "whole",
]

Floats = npt.NDArray[np.float64]
RiskState = Literal["ACTIVE", "REDUCING", "HALTED"]
Effect = Literal["none", "pause", "reduce", "halt"]
Health = Literal["SAFE", "WARNING", "CRITICAL"]
STATES: tuple[RiskState, ...] = ("ACTIVE", "REDUCING", "HALTED")
WORDS: tuple[Effect, ...] = ("none", "pause", "reduce", "halt")
OUTER = {
    **dict.fromkeys(("unprotected", "order_unresolved", "operator", "reducing"), at.RULE_REDUCE),
    **dict.fromkeys(("ledger_mismatch", "risk_row_damaged", "halted"), at.RULE_HALT),
    "error_storm": at.RULE_STORM,
    "feed_loss": at.RULE_FEED,
}
BLOCKS = ("not_lease_holder", "not_armed", "market_unusable", "stale_data", "order_unresolved")
CODES = {word: float(code) for code, word in enumerate(at.DECISION_REASONS)}


@dataclass(frozen=True, slots=True)
class RuleState:
    """One rule in force: its effect, what it measured against its limit (None: no figure), and when it ends.

    `until_ms` is None while it is latched.
    """

    rule: str
    effect: Effect
    value: float | None
    limit: float | None
    until_ms: int | None


def rule_state(row: Floats, rule: int, account: Floats) -> RuleState:
    """Return a rule of a book or of the account as it is in force."""
    _, k = scope_cells(row)
    value, limit = measure_rule(row, rule)
    if rule == at.RULE_VOLATILITY:
        limit = float(account[at.A_MAX_NATR])
    effect = EFFECTS[rule]
    if effect == BY_SCOPE:
        effect = 2 if len(row) == at.W_BOOK else 3
    until = whole(row[k + at.K_RULES + rule])
    return RuleState(rule_name(row, rule), WORDS[effect], finite(value), finite(limit), until)


def finite(value: float | None) -> float | None:
    """Return a finite number, else None."""
    return float(value) if value is not None and math.isfinite(value) else None


def whole(value: float) -> int | None:
    """Return a finite number as a whole one, else None."""
    return int(value) if math.isfinite(value) else None
