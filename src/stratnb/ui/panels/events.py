"""P9, the event log: what happened, newest first, filtered by strategy, type, level and text."""

from __future__ import annotations

import base64
import csv
import io
from collections import deque
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from heapq import merge
from itertools import islice
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.events import Event
from stratnb.ui.controls import btn, chip, field, show, styled
from stratnb.ui.format import count, dot, escape, quantity, signed, stamp, time_cell
from stratnb.ui.panel import Panel
from stratnb.ui.widgets import Table
from stratnb.view import EngineView

__all__ = ["EventLog", "download", "level", "row", "sentence"]

KEPT, SENT, ACCOUNT, FEW = 5_000, 200, "account", 8
_LEVELS = {
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
_COLUMNS = [
    {"key": "t", "label": "Time, UTC", "head": False, "sort": False},
    {"key": "l", "label": "Level", "sort": False},
    {"key": "s", "label": "Strategy", "sort": False},
    {"key": "k", "label": "Type", "cls": "is-p2", "sort": False},
    {"key": "x", "label": "Text", "cls": "is-wide is-wrap", "sort": False},
]


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
    if isinstance(payload.get("error"), (list, tuple)):
        return ": ".join(str(part) for part in payload["error"])
    return _switched(payload) if "to_id" in payload else _pairs(payload) or event.symbol or "–"


def _switched(payload: Mapping[str, Any]) -> str:
    source = f"from {payload['from_id']} " if payload.get("from_id") else ""
    late = payload.get("caught_up_candles") or 0
    caught = f", {count(late)} candles caught up" if late else ""
    return f"{source}to {payload['to_id']}, policy {payload.get('policy', 'n/a')}{caught}"


def _pairs(payload: Mapping[str, Any]) -> str:
    told = {key: value for key, value in payload.items() if value not in (None, "", "none", 0)}
    return ", ".join(_pair(key, value) for key, value in told.items())


def _pair(key: str, value: Any) -> str:
    """Return a name and its value; times of the feed's clock in UTC."""
    if key.endswith("time_ms"):
        return f"{key.removesuffix('_ms').replace('_', ' ')} {stamp(value)} UTC"
    return f"{key.replace('_', ' ')} {_value(value)}"


def _value(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def row(event: Event) -> dict[str, Any]:
    """Return the row of one event."""
    kind, word = _LEVELS[level(event.type)]
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


def download(name: str, content: str, kind: str) -> str:
    """Return a link that saves a text as a file, from the page itself."""
    data = base64.b64encode(content.encode()).decode()
    return (
        f'<a class="sn-save" download="{escape(name)}" href="data:{escape(kind)};base64,{data}">Save {escape(name)}</a>'
    )


class EventLog(Panel):
    """The newest 5,000 events in the kernel and up to 200 matching ones in the browser."""

    title: ClassVar[str] = "Events"
    hz: ClassVar[float] = 2.0
    span: ClassVar[str] = "8"

    def body(self) -> list[w.Widget]:
        """Make the filters and the table."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._details: deque[Event] = deque(maxlen=KEPT)  # apart, so that they push nothing else out
        self._seq = 0
        self._missed = 0
        self._new = True
        self._view: EngineView | None = None
        self.chips: dict[str, w.ToggleButton] = {}
        self.strategies = styled(w.HBox([]), "sn-chips")
        self.type = field("Type", "Type, e.g. FILL", hide_label=True)
        self.text = field("Text", "Text", hide_label=True)
        self.levels = {name: chip(word) for name, (_, word) in _LEVELS.items()}
        self.reset = btn("Reset filters", "quiet", do=self._reset)
        for control in (self.type, self.text, *self.levels.values()):
            control.observe(self._filtered, "value")
        self.table = Table(kind="log", caption="Event log", cols=_COLUMNS)
        filters = styled(w.HBox([self.type, self.text, *self.levels.values(), self.reset]), "sn-chips")
        return [filters, self.strategies, self.table]

    def tools(self) -> list[w.Widget]:
        """Make the follow chip and the exports."""
        self.many = chip("Strategies", False, "Choose strategies")
        self.many.observe(lambda change: show(self.strategies, change["new"]), "value")
        self.follow = chip("Follow", True, "Off: the list stands still while events go on being kept")
        self.follow.observe(self._filtered, "value")
        self.link = styled(w.HTML(), "sn-off")
        as_csv, as_lines = btn("CSV", "quiet", tip="Export as CSV"), btn("JSONL", "quiet", tip="Export as JSON lines")
        as_csv.on_click(lambda _: self._export("events.csv", self.to_csv(), "text/csv"))
        as_lines.on_click(lambda _: self._export("events.jsonl", self.to_jsonl(), "application/jsonl"))
        return [self.many, self.follow, as_csv, as_lines, self.link]

    def paint(self, view: EngineView) -> None:
        """Take what is new and show the newest matches."""
        self._view = view
        self._take()
        self._paint_chips(view)
        if self._new and self.follow.value:
            self._new = False
            self._show()
        dropped = self._missed + view.events_dropped
        held = "" if self.follow.value else " · standing still"
        self.frame.note(f"{len(self.table.rows)} shown of {count(len(self._events))}, {count(dropped)} dropped{held}")

    def _take(self) -> None:
        fresh = self.board.events_since(self._seq, KEPT)
        if not fresh:
            return
        if self._seq:
            self._missed += max(fresh[0].seq - self._seq - 1, 0)
        self._seq = fresh[-1].seq
        for event in fresh:
            (self._details if level(event.type) == "detail" else self._events).append(event)
        self._new = True

    def _paint_chips(self, view: EngineView) -> None:
        names = [ACCOUNT, *(s.strategy_id for s in view.strategies)]
        if names == list(self.chips):
            return
        kept = {name: old for name, old in self.chips.items() if name in names}
        for name in names:
            if name not in kept:
                kept[name] = chip(name.removesuffix("#main"), False, f"Show only {name}")
                kept[name].observe(self._filtered, "value")
        self.chips = {name: kept[name] for name in names}
        self.strategies.children = list(self.chips.values())
        show(self.many, len(names) > FEW)
        show(self.strategies, len(names) <= FEW or self.many.value)

    def _wanted(self) -> Iterator[Event]:
        """Yield the matching events, newest first."""
        ids = {name for name, button in self.chips.items() if button.value}
        levels = {name for name, button in self.levels.items() if button.value}
        glob, words = self.type.value.strip().upper() or "*", self.text.value.strip().lower()
        for event in self._newest_first(details="detail" in levels or glob != "*"):
            if ids and (event.strategy_id or ACCOUNT) not in ids:
                continue
            if not fnmatchcase(event.type, glob) or (levels and level(event.type) not in levels):
                continue
            if not words or words in f"{event.strategy_id} {event.type} {sentence(event)}".lower():
                yield event

    def _newest_first(self, *, details: bool) -> Iterator[Event]:
        """Yield the kept events, with or without the details."""
        if not details:
            yield from reversed(self._events)
            return
        yield from merge(reversed(self._events), reversed(self._details), key=lambda event: -event.seq)

    def _show(self) -> None:
        n = len(self._events)
        sub = f"Reset the filters to see {count(n)} events." if n else "Events appear when the engine does something."
        empty = {"t": "No event matches" if n else "No event yet", "sub": sub}
        if self.table.empty != empty and (not n or not self.table.rows):
            self.table.empty = empty
        self.table.show([row(event) for event in islice(self._wanted(), SENT)])
        show(self.reset, self._is_filtered())

    def _is_filtered(self) -> bool:
        buttons = (*self.chips.values(), *self.levels.values())
        return bool(self.type.value or self.text.value or any(button.value for button in buttons))

    def _filtered(self, _change: Mapping[str, Any]) -> None:
        """Show the matches of a changed filter at once, even while standing still."""
        self._new = True
        self._show()
        self.repaint()

    def _reset(self) -> None:
        self.type.value = self.text.value = ""
        for button in (*self.chips.values(), *self.levels.values()):
            button.value = False

    def _export(self, name: str, content: str, kind: str) -> None:
        self.link.value = download(name, content, kind)
        show(self.link, True)

    def to_csv(self) -> str:
        """Return the matching events as CSV, oldest first."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["seq", "ts_ns", "type", "strategy_id", "symbol", "correlation_id", "text"])
        for e in reversed(list(self._wanted())):
            writer.writerow(
                [e.seq, e.ts_ns, e.type, e.strategy_id or "", e.symbol or "", e.correlation_id or "", sentence(e)]
            )
        return out.getvalue()

    def to_jsonl(self) -> str:
        """Return the matching events as JSON lines, oldest first."""
        return "".join(event.to_json() + "\n" for event in reversed(list(self._wanted())))

    def to_frame(self) -> pd.DataFrame:
        """Return the matching events, newest first."""
        self._take()
        names = ["seq", "ts_ns", "type", "strategy_id", "symbol", "correlation_id", "source", "payload"]
        return pd.DataFrame([[getattr(event, name) for name in names] for event in self._wanted()], columns=names)
