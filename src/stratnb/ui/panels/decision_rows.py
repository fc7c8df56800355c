"""What the decision inspector writes: the verdict and the rows of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stratnb.ui.format import cents, delta, dot, num, quantity, side, signed, stamp, words
from stratnb.view import AnalyzerView, CheckView, DecisionView, LinkView

__all__ = [
    "ANALYZERS",
    "CHECKS",
    "INPUTS",
    "LINKS",
    "analyzer_rows",
    "check_rows",
    "input_rows",
    "link_rows",
    "plain",
    "signed_score",
    "verdict",
]

ANALYZERS = [
    {"key": "n", "label": "Analyzer", "cls": "is-wide", "sort": False},
    {"key": "d", "label": "Direction", "sort": False},
    {"key": "c", "label": "Confidence", "cls": "is-barcol", "align": "r", "sort": False},
    {"key": "g", "label": "Weight", "align": "r", "sort": False},
    {"key": "k", "label": "Contribution", "cls": "is-barcol", "align": "r", "sort": False},
]
CHECKS = [
    {"key": "s", "label": "Result", "cls": "is-fix", "sort": False},
    {"key": "n", "label": "Check", "sort": False},
    {"key": "v", "label": "Value", "align": "r", "sort": False},
    {"key": "l", "label": "Limit", "align": "r", "sort": False},
]

LINKS = [
    {"key": "n", "label": "What", "cls": "is-wide", "sort": False},
    {"key": "d", "label": "Side", "sort": False},
    {"key": "p", "label": "Result", "align": "r", "sort": False},
    {"key": "act", "label": "Go to", "hide": True, "sort": False},
]
INPUTS = [
    {"key": "n", "label": "Input", "cls": "is-wide", "sort": False},
    {"key": "v", "label": "Value", "align": "r", "sort": False},
]
_QUIET = ("Step", "Not reached", "Not asked")


def analyzer_rows(decision: DecisionView) -> list[dict[str, Any]]:
    """Return one row per analyzer and the sum row; contributions are drawn on a common scale."""
    widest = max((abs(a.contribution) for a in decision.analyzers), default=0.0) or 1.0
    rows = [line for i, a in enumerate(decision.analyzers) for line in _lines(f"{i}", a, widest)]
    if rows:
        score, _, need = signed_score(decision)
        total = {"t": signed(score, 3), "tone": side(score)["tone"], "div": score}
        need_cell = {"t": need, "title": "The score that an entry needs"}
        weight = num(sum(a.weight for a in decision.analyzers))
        rows.append(
            {
                "id": "sum",
                "cls": "is-sum",
                "n": "Score",
                "d": side(score),
                "c": need_cell,
                "g": weight,
                "k": total,
            }
        )
    return rows


def signed_score(decision: DecisionView) -> tuple[float, bool, str]:
    """Return the score with the sign of the side it speaks for, whether it suffices, and the bound in words.

    The side is that of the decision, else that of the summed contributions.
    """
    leaning = float(decision.direction) or sum(a.contribution for a in decision.analyzers)
    way = -1 if leaning < 0 else 1
    enough = decision.score >= decision.score_needed
    return way * decision.score, enough, f"{'≥' if way > 0 else '≤'} {num(way * decision.score_needed, 3)}"


def _lines(key: str, a: AnalyzerView, widest: float) -> list[dict[str, Any]]:
    """Return the row of an analyzer and, below it, its explanation."""
    told = a.ready and a.explanation
    row = {**_analyzer(key, a, widest), **({"cls": "has-note"} if told else {})}
    return [row, {"id": f"{key}-why", "cls": "is-note", "span": a.explanation}] if told else [row]


def _analyzer(key: str, a: AnalyzerView, widest: float) -> dict[str, Any]:
    name = {"t": a.name, **({"sub": a.kind} if a.kind != a.name else {})}
    if not a.ready:
        waiting = {"t": "Warming up", "tone": "mute"}
        return {"id": key, "n": name, "d": waiting, "c": "n/a", "g": num(a.weight), "k": "n/a"}
    return {
        "id": key,
        "n": name,
        "d": side(a.direction),
        "c": {"t": num(a.confidence), "bar": a.confidence, "btone": "mute"},
        "g": num(a.weight),
        "k": {"t": signed(a.contribution, 3), "tone": side(a.contribution)["tone"], "div": a.contribution / widest},
    }


def check_rows(checks: Sequence[CheckView], *, told: bool = False) -> list[dict[str, Any]]:
    """Return one row per filter, step or check, in order.

    The note stands below it with `told`, or when the check did anything else than pass; else it is the tooltip.
    """
    rows: list[dict[str, Any]] = []
    for i, check in enumerate(checks):
        below = bool(check.note) and (told or not check.passed or check.result not in ("", *_QUIET))
        rows.append(
            {
                "id": str(i),
                "s": _result(check),
                "n": {"t": check.name, **({"title": check.note} if check.note and not below else {})},
                "v": check.value or "n/a",
                "l": check.limit or "–",
                **({"cls": "has-note"} if below else {}),
            }
        )
        if below:
            rows.append({"id": f"{i}-why", "cls": "is-note", "span": check.note})
    return rows


def _result(check: CheckView) -> dict[str, Any]:
    """Return the result with its word: passed, failed, or what else it did."""
    if check.result:
        return dot("mute" if check.result in _QUIET else "warn", check.result)
    return dot("ok", "Pass") if check.passed else dot("err", "Fail")


def link_rows(links: Sequence[LinkView], decimals: int, step_ms: int, *, money: int = 2) -> list[dict[str, Any]]:
    """Return a row and a line below it per order, fill and trade, with a button that goes to its candle."""
    rows: list[dict[str, Any]] = []
    for i, link in enumerate(links):
        key = f"{i}:{int(link.time_ms // step_ms * step_ms)}"
        amount = f"{quantity(link.quantity)} at {num(link.price, decimals)}" if link.price else quantity(link.quantity)
        rows.append(
            {
                "id": key,
                "cls": "has-note",
                "n": {"t": link.kind.capitalize(), "sub": link.ident if link.kind != "fill" else ""},
                "d": side(link.side),
                "p": "–" if link.pnl is None else delta(link.pnl, money),
                "act": {"acts": [{"a": "go", "t": "Go", "label": f"Show the candle of {stamp(link.time_ms)}"}]},
            }
        )
        told = words((link.state.replace("_", " "), amount, stamp(link.time_ms, seconds=True)))
        rows.append({"id": f"{key}-more", "cls": "is-note", "span": told})
    return rows


def input_rows(decision: DecisionView, decimals: int) -> list[dict[str, Any]]:
    """Return one row per input: the numbers of the candle with its decimals, indicators with six digits."""
    rows = []
    for i, (name, value) in enumerate(decision.inputs):
        price = name in ("Open", "High", "Low", "Close")
        shown = "n/a" if value is None else num(value, decimals) if price else f"{value:,.6g}"
        rows.append({"id": str(i), "n": name, "v": shown})
    return rows


def verdict(decision: DecisionView | None, *, decimals: int = 2) -> tuple[str, str, str, str]:
    """Return the tone of the verdict and its three lines: what, with which levels, and why."""
    if decision is None:
        return "", "No decision", "Nothing was decided at this candle.", "Choose another candle, or start the engine."
    if decision.action == "WARMING":
        done = f"Warming up: {decision.warmup_done} of {decision.warmup_needed} candles seen"
        return "", "◐ WARMING UP", done, "Decisions start when every enabled block has its candles."
    way = {1: ("up", "▲ ", " LONG"), -1: ("down", "▼ ", " SHORT")}.get(decision.direction, ("", "", ""))
    entering = decision.action == "ENTER"
    head = way[1] + decision.action + way[2]
    caught = "caught up later, never traded" if decision.catchup else ""
    total, enough, need = signed_score(decision)
    score = f"Score {signed(total, 3)}" + (f" {need}" if enough else f", needs {need}")
    sure = f"confidence {num(decision.confidence)} of {num(decision.confidence_needed)}"
    why = " · ".join(part for part in (score, sure, f"mode {decision.mode}", caught) if part)
    return (way[0] if entering else ""), head, _levels(decision, decimals), why


def _levels(decision: DecisionView, decimals: int) -> str:
    """Return the second line: the plan of an entry, or the reason why there is none."""
    if decision.action != "ENTER":
        return decision.reason_text or decision.reason or "No reason was given"
    parts = [f"{quantity(decision.quantity)} at {num(decision.close, decimals)}"] if decision.quantity else []
    if decision.stop is not None:
        parts.append(f"stop {num(decision.stop, decimals)}")
    if decision.targets:
        parts.append("targets " + " and ".join(num(target, decimals) for target in decision.targets))
    if decision.notional is not None:
        money = cents(decision.strategy_id.partition("#")[0])
        parts.append(f"notional {num(decision.notional, money)}")
    return " · ".join(parts) or decision.reason_text


def plain(value: Any) -> Any:
    """Return what JSON can hold: the Python value of a numpy scalar, else the text."""
    return value.item() if isinstance(value, np.generic) else str(value)
