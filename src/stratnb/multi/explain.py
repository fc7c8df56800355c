"""A decision in words and numbers, from its packed row and the columns of its candle."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Block
from stratnb.kernels import layout as at
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Node, Plan
from stratnb.view import AnalyzerView, CheckView, DecisionView

__all__ = ["REASON_TEXTS", "explain"]

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
}


def explain(
    plan: Plan, row: Floats, columns: Floats | None, limits: AccountLimits, *, strategy_id: str
) -> DecisionView:
    """Return a decision row explained; `columns` is the plan's row at that candle, None when it is not known."""
    word = plan.reason(row[at.D_REASON])
    targets = _targets(plan, row)
    return DecisionView(
        strategy_id=strategy_id,
        open_time_ms=int(row[at.D_TIME]),
        close_time_ms=int(row[at.D_TIME]) + plan.primary_ms,
        action=at.ACTIONS[int(row[at.D_ACTION])],
        direction=int(row[at.D_DIRECTION]),
        reason=word,
        reason_text=REASON_TEXTS.get(word, f"Blocked by filter {word}"),
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
        sizing=_sizing(plan, row),
        risk=_risk(plan, row, limits, word),
        warmup_done=min(int(row[at.D_SEEN]), plan.warmup),
        warmup_needed=plan.warmup,
    )


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
        allow, factor, need, value, limit = row[start + 5 * k : start + 5 * k + 5]
        missing = not math.isfinite(allow)
        note = f"data is missing: {block.on_missing}" if missing else _sentence(plan, node, columns)
        passed = block.on_missing == "allow" if missing else bool(allow)
        extra = [f"confidence x {factor:g}"] if factor < 1 else []
        extra += [f"needs confidence {need:g}"] if need > 0 else []
        found.append(CheckView(name, passed, _text(value), _text(limit), "; ".join([note, *extra] if note else extra)))
    return tuple(found)


def _sizing(plan: Plan, row: Floats) -> tuple[CheckView, ...]:
    if not math.isfinite(row[at.D_NOTIONAL]):
        return ()
    quote, kind, stop = plan.market.quote, plan.config.sizing.kind, row[at.D_STOP]
    distance = abs(row[at.D_CLOSE] - stop) / row[at.D_CLOSE] if math.isfinite(stop) else math.nan
    return (
        CheckView("Equity of the strategy", True, f"{row[at.D_EQUITY]:,.2f} {quote}", ""),
        CheckView("Stop distance", True, f"{distance:.2%}" if math.isfinite(distance) else "no stop", ""),
        CheckView("Notional", bool(row[at.D_NOTIONAL] > 0), f"{row[at.D_NOTIONAL]:,.6g} {quote}", f"rule {kind}"),
        CheckView("Quantity", bool(row[at.D_QUANTITY] > 0), f"{row[at.D_QUANTITY]:.10g}", f"lot {plan.market.lot:g}"),
    )


def _risk(plan: Plan, row: Floats, limits: AccountLimits, word: str) -> tuple[CheckView, ...]:
    if not math.isfinite(row[at.D_GROSS]):
        return ()
    factor = 3.0 if plan.market.kind == "linear" else 1.0
    gross = limits.gross_linear if plan.market.kind == "linear" else limits.gross_spot
    own = plan.config.risk.max_exposure
    rows = (
        ("max_open_positions", "Open positions", f"{row[at.D_OPEN] + 1:g}", _most(limits.max_open_positions)),
        ("insufficient_funds", "Free balance", f"{row[at.D_FREE]:,.2f} {plan.market.quote}", "x 0.98"),
        (
            "exposure_strategy",
            "Exposure of the strategy",
            _share(row[at.D_STRATEGY_EXPOSURE]),
            _most_share(own, plan.config.execution.leverage),
        ),
        (
            "exposure_market",
            "Net exposure of the market",
            _share(row[at.D_MARKET_NET]),
            _most_share(limits.market_net, factor),
        ),
        (
            "exposure_market",
            "Gross exposure of the market",
            _share(row[at.D_MARKET_GROSS]),
            _most_share(limits.market_gross, factor),
        ),
        ("exposure_account", "Gross exposure of the account", _share(row[at.D_GROSS]), _most_share(gross, 1.0)),
    )
    checks = [CheckView(name, code != word, value, limit) for code, name, value, limit in rows]
    if word in ("below_minimum", "no_stop", "daily_loss", "kill_switch", "reducing", "halted"):
        checks.insert(0, CheckView(REASON_TEXTS[word], False, word, ""))
    return tuple(checks)


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


def _text(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "n/a"


def _most(value: int | None) -> str:
    return "off" if value is None else f"≤ {value}"


def _most_share(value: float | None, factor: float) -> str:
    return "off" if value is None else f"≤ {value * factor:.1%}"
