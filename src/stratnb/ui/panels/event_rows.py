"""The rows of the event log: the level of a type, the payload in words, the time that an event is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from stratnb.events import Event
from stratnb.ui.format import MINUS, count, dot, quantity, signed, stamp, time_cell
from stratnb.ui.panels.event_risk import risk_sentence

__all__ = ["ACCOUNT", "COLUMNS", "COUNTS", "LEVELS", "count_rows", "decided_ms", "level", "row", "sentence", "told"]

ACCOUNT = "account"
LEVELS = {
    "trade": ("accent", "Trade"),
    "info": ("mute", "Info"),
    "warn": ("warn", "Warning"),
    "error": ("err", "Error"),
    "detail": ("mute", "Detail"),
}
_GLOBS = {
    "error": ("*_ERROR", "*_FAILED", "*_REJECTED", "*_REFUSED", "LEASE_LOST", "ORDER_UNKNOWN", "RISK_LATCHED"),
    "warn": ("*_DENIED", "*_GAP", "DATA_STALE", "RISK_STATE", "BREAKER_STATE", "RECONCILE_DIFF", "ENTRY_EXPIRED"),
    "trade": ("FILL", "POSITION_*", "TARGET_HIT", "STOP_MOVED", "EXIT_SIGNAL"),
    "detail": ("CANDLE_ROUTED",),
}
COLUMNS = [
    {"key": "t", "label": "Time, UTC", "head": False, "sort": False},
    {"key": "l", "label": "Level", "sort": False},
    {"key": "s", "label": "Strategy", "cls": "is-clip", "sort": False},
    {"key": "k", "label": "Type", "cls": "is-wrap", "sort": False},
    {"key": "x", "label": "Text", "cls": "is-wide is-wrap", "sort": False},
]
COUNTS = [
    {"key": "k", "label": "Type", "cls": "is-wide"},
    {"key": "l", "label": "Level"},
    {"key": "n", "label": "Since the start", "align": "r"},
    {"key": "m", "label": "Share of the most", "cls": "is-barcol", "hide": True, "sort": False},
    {"key": "act", "label": "Actions", "sort": False, "hide": True, "cls": "is-acts"},
]
_OPENED = re.compile(r"-(\d{10,})$")


@cache
def level(type_: str) -> str:
    """Return the level of an event type: error, warn, trade, info, or detail, which is shown only when asked for.

    >>> level("STRATEGY_ERROR"), level("ENTRY_DENIED"), level("FILL"), level("DECISION")
    ('error', 'warn', 'trade', 'info')
    """
    return next((name for name, globs in _GLOBS.items() if any(fnmatchcase(type_, glob) for glob in globs)), "info")


def sentence(event: Event) -> str:
    """Return the payload in words: its own text, a fill as a sentence, else names and values."""
    payload = event.payload
    if isinstance(payload.get("text"), str):
        return str(payload["text"])
    if event.type == "FILL" and {"side", "quantity", "price"} <= set(payload):
        verb = "bought" if payload["side"] == "buy" else "sold"
        why = f" ({payload['reason']})" if payload.get("reason") else ""
        return f"{verb} {quantity(payload['quantity'])} {event.symbol or ''} at {_value(payload['price'])}{why}"
    if event.type == "DECISION" and "action" in payload:
        why = str(payload.get("reason") or "").replace("_", " ")
        told = payload.get("score") and payload["action"] != "WARMING"
        way = -1 if (payload.get("direction") or 0) < 0 else 1
        score = f"score {signed(way * payload['score'], 3)}" if told else ""
        return " · ".join(part for part in (str(payload["action"]), why, score) if part)
    if event.type == "STRATEGY_HEALTH" and "status" in payload:
        return _judged(payload)
    if event.type.startswith("RISK_") and {"rule", "code", "author"} & set(payload):
        return risk_sentence(event)
    if isinstance(payload.get("error"), (list, tuple)):
        return ": ".join(str(part) for part in payload["error"])
    return _switched(payload) if "to_id" in payload else _pairs(payload) or event.symbol or "–"


def _judged(payload: Mapping[str, Any]) -> str:
    """Return how a strategy is now and was before, why, and what is recommended."""
    before = f", before {str(payload['before']).lower()}" if payload.get("before") else ""
    told = [*(payload.get("reasons") or ()), *(payload.get("recommendations") or ())]
    return f"{str(payload['status']).lower()}{before}{': ' if told else ''}{' '.join(map(str, told))}"


def _switched(payload: Mapping[str, Any]) -> str:
    source = f"from {payload['from_id']} " if payload.get("from_id") else ""
    late = payload.get("caught_up_candles") or 0
    caught = f", {count(late)} candles caught up" if late else ""
    return f"{source}to {payload['to_id']}, policy {payload.get('policy', 'n/a')}{caught}"


def _pairs(payload: Mapping[str, Any]) -> str:
    told = {key: value for key, value in payload.items() if value not in (None, "", "none", 0, [])}
    return ", ".join(_pair(key, value) for key, value in told.items())


def _pair(key: str, value: Any) -> str:
    """Return a name and its value; times of the feed's clock in UTC."""
    if key.endswith("time_ms"):
        return f"{key.removesuffix('_ms').replace('_', ' ')} {stamp(value)} UTC"
    return f"{key.replace('_', ' ')} {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    if not isinstance(value, float):
        return str(value)
    return f"{MINUS if value < 0 else ''}{abs(value):,.6g}"


def row(event: Event) -> dict[str, Any]:
    """Return the row of one event."""
    kind, word = LEVELS[level(event.type)]
    source = event.strategy_id or ACCOUNT
    return {
        "id": str(event.seq),
        "t": time_cell(event.ts_ns // 1_000_000),
        "l": dot(kind, word),
        "s": {"t": source.split("@")[0], "title": source},
        "k": event.type.replace("_", " ").lower(),
        "x": {
            "t": sentence(event),
            "title": f"Event {event.seq}" + (f", part of {event.correlation_id}" if event.correlation_id else ""),
        },
    }


def count_rows(counts: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return one row per event type with how often it was published, the most frequent first."""
    ranked = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    most = max((n for _, n in ranked), default=1)
    return [
        {
            "id": type_,
            "k": type_.replace("_", " ").lower(),
            "l": dot(*LEVELS[level(type_)]),
            "n": {"t": count(n), "n": n},
            "m": {"bar": n / most},
            "act": {"acts": [{"a": "only", "t": "Show", "kind": "quiet", "label": f"Show only {type_}"}]},
        }
        for type_, n in ranked
    ]


def decided_ms(event: Event) -> int | None:
    """Return the opening time of the candle whose decision an event belongs to; None when it does not say.

    The payload's own time counts first, then the correlation id, which ends with the time of the trade's entry.
    """
    own = event.payload.get("open_time_ms")
    if isinstance(own, int):
        return own
    found = _OPENED.search(event.correlation_id or "")
    return int(found.group(1)) if found else None


def told(event: Event) -> str:
    """Return everything that an event holds in one line: number, time, source, correlation and its payload."""
    part = f" · part of {event.correlation_id}" if event.correlation_id else ""
    when = stamp(event.ts_ns // 1_000_000, seconds=True)
    source = f" · {event.symbol}" if event.symbol else ""
    rest = _pairs(event.payload)
    where = f"{event.strategy_id or ACCOUNT}{source} · from {event.source or 'n/a'}{part}"
    return f"Event {event.seq} · {event.type} · {when} UTC · {where}" + (f" · {rest}" if rest else "")
