"""A decision in words and numbers, from its packed row and the columns of its candle."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Block, Filter
from stratnb.kernels import layout as at
from stratnb.multi.explain_entry import NOT_ASKED, sizing_steps
from stratnb.multi.explain_inputs import inputs
from stratnb.multi.explain_risk import risk_checks
from stratnb.multi.explain_score import arithmetic
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Node, Plan
from stratnb.view import AnalyzerView, CheckView, DecisionView

__all__ = ["REASON_TEXTS", "explain", "reason_text"]

Floats = npt.NDArray[np.float64]

REASON_TEXTS = {
    "enter": "All conditions were met",
    "warming_up": "Not enough candles yet",
    "no_signals": "No analyzer gave a direction",
    "conflict": "The analyzers contradict each other",
    "tie": "Long and short are equally strong",
    "score_vote_split": "The stronger side has fewer votes",
    "low_score": "The score is below its threshold",
    "too_few": "Too few analyzers agree",
    "low_confidence": "The confidence is below its threshold",
    "direction_not_allowed": "This market takes no position in that direction",
    "in_position": "A position is open",
    "order_pending": "An order is working",
    "managing": "The strategy only manages its position",
    "paused": "The strategy is paused",
    "halted": "Trading is halted",
    "no_stop": "The entry has no stop",
    "size_zero": "The size came out as zero",
    "below_minimum": "The order is below the market's minimum",
    "insufficient_funds": "The free balance does not carry it",
    "max_open_positions": "Too many positions are open",
    "exposure_strategy": "The strategy's exposure limit is reached",
    "exposure_market": "The market's exposure limit is reached",
    "exposure_account": "The account's exposure limit is reached",
    "daily_loss": "The loss of the day reached its limit",
    "kill_switch": "The kill switch was used",
    "reducing": "Only reducing orders are allowed",
    "not_lease_holder": "Another engine holds the lease",
    "not_armed": "Live trading is not armed",
    "market_unusable": "The market is not active",
    "stale_data": "The data is too old",
    "order_unresolved": "The outcome of an order is not known",
    "cooldown": "The market cools down after a close",
    "bad_price": "The price is far from the last one",
    "slippage": "The slippage would be too large",
    "risk_per_trade": "The loss at the stop would be too large",
    "above_maximum": "The order is above the market's maximum",
    "rate_limit": "Too many orders within ten seconds",
    "max_open_orders": "Too many orders are working",
    "liquidation_near": "The liquidation price is too near",
    "max_trades_per_day": "Today's trades reached their limit",
    "market_health": "The newest trades did too badly",
    "max_drawdown": "The drawdown reached its limit",
    "consecutive_losses": "Too many losing trades in a row",
    "stop_loss_guard": "Too many losing stops",
    "low_profit": "The newest trades earned too little",
    "profit_lock": "A gain of the day was given back",
    "daily_target": "The day's target is reached",
    "volatility_halt": "The market is too volatile",
    "error_storm": "Too many order calls failed",
    "feed_loss": "The prices of a position are silent",
    "unprotected": "A position could not be protected",
    "ledger_mismatch": "The ledger differs from the exchange",
    "risk_row_damaged": "The kept risk state is damaged",
    "operator": "The operator stopped entries",
}


def explain(
    plan: Plan, row: Floats, columns: Floats | None, limits: AccountLimits, *, strategy_id: str, capital: float
) -> DecisionView:
    """Return a decision row explained; `columns` is the plan's row at that candle, None when it is not known.

    `capital` is the strategy's allocation in quote units.
    """
    word = plan.reason(row[at.D_REASON])
    targets = _targets(plan, row)
    return DecisionView(
        strategy_id=strategy_id,
        open_time_ms=int(row[at.D_TIME]),
        close_time_ms=int(row[at.D_TIME]) + plan.primary_ms,
        action=at.ACTIONS[int(row[at.D_ACTION])],
        direction=int(row[at.D_DIRECTION]),
        reason=word,
        reason_text=reason_text(word),
        score=_number(row[at.D_SCORE]) or 0.0,
        score_needed=float(row[at.D_SCORE_NEED]),
        confidence=_number(row[at.D_CONFIDENCE]) or 0.0,
        confidence_needed=float(row[at.D_CONFIDENCE_NEED]),
        mode=plan.config.entry.mode,
        catchup=bool(int(row[at.D_FLAGS]) & int(at.FLAG_CATCHUP)),
        close=float(row[at.D_CLOSE]),
        stop=_number(row[at.D_STOP]),
        targets=targets,
        quantity=_number(row[at.D_QUANTITY]),
        notional=_number(row[at.D_NOTIONAL]),
        analyzers=_analyzers(plan, row, columns),
        filters=_filters(plan, row, columns),
        sizing=sizing_steps(plan, row, columns, capital),
        risk=risk_checks(plan, row, limits, word, REASON_TEXTS),
        warmup_done=min(int(row[at.D_SEEN]), plan.warmup),
        warmup_needed=plan.warmup,
        inputs=() if columns is None else inputs(plan, columns),
        arithmetic=arithmetic(plan, row),
    )


def reason_text(word: str) -> str:
    """Return a decision's reason as a sentence; a word that is no reason is the name of a filter."""
    return REASON_TEXTS.get(word, f"Blocked by filter {word}")


def _analyzers(plan: Plan, row: Floats, columns: Floats | None) -> tuple[AnalyzerView, ...]:
    total = sum(entry.weight for entry, _ in plan.analyzers)
    found = []
    for k, (entry, node) in enumerate(plan.analyzers):
        direction, confidence, ready = row[at.W_DECISION + 3 * k : at.W_DECISION + 3 * k + 3]
        found.append(
            AnalyzerView(
                name=entry.name,
                kind=entry.kind,
                ready=bool(ready),
                direction=int(direction),
                confidence=float(confidence),
                weight=entry.weight,
                contribution=float(direction * confidence * entry.weight / total),
                explanation=_sentence(plan, node, columns) if ready else "Not ready",
            )
        )
    return tuple(found)


def _filters(plan: Plan, row: Floats, columns: Floats | None) -> tuple[CheckView, ...]:
    start, found = at.W_DECISION + 3 * len(plan.analyzers), []
    for k, (name, block, node) in enumerate(plan.filters):
        numbers = row[start + 5 * k : start + 5 * k + 5]
        named = {"signal.direction": float(row[at.D_DIRECTION])} | dict(
            zip(block.outputs, numbers.tolist(), strict=True)
        )
        value, limit = block.compare(named)
        passed, result, note = _effect(block, named, float(row[at.D_CONFIDENCE_NEED]))
        found.append(CheckView(name, passed, value, limit, note or _sentence(plan, node, columns), result))
    return tuple(found)


def _effect(block: Filter, named: Mapping[str, float], need: float) -> tuple[bool, str, str]:
    """Return whether a filter let the signal pass, the word for what it did to it, and why if data was missing."""
    if not math.isfinite(named["allow"]):
        lets = block.on_missing == "allow"
        return lets, "No data, let pass" if lets else "", f"Data is missing: {'let pass' if lets else 'blocked'}"
    if named["signal.direction"] == 0.0:
        return True, NOT_ASKED, ""
    if named["allow"] == 0.0:
        return False, "", ""
    if named["factor"] < 1.0:
        return True, f"Weakened ×{named['factor']:g}", ""
    return True, f"Asks for ≥ {named['need']:g}" if 0.0 < named["need"] == need else "", ""


def _targets(plan: Plan, row: Floats) -> tuple[float, ...]:
    """Return the targets that an entry at the decision's close would have had."""
    side, price, stop = row[at.D_DIRECTION], row[at.D_CLOSE], row[at.D_STOP]
    found: list[float] = []
    for _, block in plan.exits:
        levels = getattr(block, "levels", ())
        basis = getattr(block, "basis", "")
        unit = abs(price - stop) if basis == "r" else price if basis == "fraction" else math.nan
        found += [float(price + side * level.at * unit) for level in levels if side and math.isfinite(unit)]
    return tuple(found)


def _sentence(plan: Plan, node: Node, columns: Floats | None) -> str:
    """Return the block's own explanation of its inputs and outputs."""
    if columns is None:
        return ""
    return node.block.explain(named_values(node, columns))


def named_values(node: Node, columns: Floats) -> dict[str, float]:
    """Return inputs and outputs of a node by name."""
    block: Block = node.block
    named = {
        str(item): float(columns[k])
        for item, k in zip(block.inputs(), node.inputs, strict=True)
        if isinstance(item, str)
    }
    return named | {name: float(columns[node.out + k]) for k, name in enumerate(block.outputs)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
