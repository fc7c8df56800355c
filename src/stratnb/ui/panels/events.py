"""P9, the event log: what happened, newest first, filtered by strategy, type, level, text and time."""

from __future__ import annotations

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
from stratnb.ui.controls import btn, chip, dropdown, field, show, styled
from stratnb.ui.format import count, escape
from stratnb.ui.panel import Panel
from stratnb.ui.panels.download import download
from stratnb.ui.panels.event_rows import (
    ACCOUNT,
    COLUMNS,
    COUNTS,
    LEVELS,
    count_rows,
    decided_ms,
    level,
    row,
    sentence,
    told,
)
from stratnb.ui.panels.event_times import RANGES, bounds
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.view import EngineView

__all__ = ["EventLog"]

KEPT, SENT, FEW = 5_000, 200, 8


class EventLog(Panel):
    """The newest 5,000 events in the kernel and up to 200 matching ones in the browser."""

    title: ClassVar[str] = "Events"
    hz: ClassVar[float] = 2.0
    span: ClassVar[str] = "8"

    def body(self) -> list[w.Widget]:
        """Make the filters, the details of one event, the counters and the table."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._details: deque[Event] = deque(maxlen=KEPT)  # apart, so that they push nothing else out
        self._seq = 0
        self._missed = 0
        self._waiting = 0
        self._new = True
        self._view: EngineView | None = None
        self._opened: Event | None = None
        self.chips: dict[str, w.ToggleButton] = {}
        self.selection = selection(self.board)
        self.strategies = styled(w.HBox([]), "sn-chips")
        filters = self._make_filters()
        self.told = styled(w.HTML(), "sn-muted")
        self.look = btn("Show decision", tip="Show the candle and its decision on the Chart page", do=self._look)
        self.same = btn("Same trade", tip="Show only what belongs to the same decision and trade", do=self._same)
        shut = btn("Close", "quiet", do=lambda: show(self.detail, False))
        line = w.HBox([self.look, self.same])
        self.detail = styled(w.HBox([self.told, line, shut]), "sn-drawer", "sn-off")
        self.counts = Table(caption="Events by type since the start", cols=COUNTS, page=10)
        self.counts.on_act = self._only
        self.counted = styled(w.VBox([self.counts]), "sn-off")
        self.table = Table(kind="log", caption="Event log", cols=COLUMNS, selectable=True)
        self.table.on_act = self._acted
        return [filters, self.strategies, self.detail, self.counted, self.table]

    def _make_filters(self) -> w.Widget:
        self.type = field("Type", "Type, e.g. FILL", hide_label=True)
        self.text = field("Text", "Text", hide_label=True)
        self.range = dropdown("Time range", list(RANGES), "all", hide_label=True)
        self.start = styled(field("From, UTC", "2026-01-31 09:00"), "sn-off")
        self.end = styled(field("To, UTC", "now"), "sn-off")
        self.fault = styled(w.HTML(), "sn-fault", "sn-off")
        self.levels = {name: chip(word) for name, (_, word) in LEVELS.items()}
        self.reset = btn("Reset filters", "quiet", do=self._reset)
        times = (self.range, self.start, self.end)
        for control in (self.type, self.text, *times, *self.levels.values()):
            control.observe(self._filtered, "value")
        line = [self.type, self.text, *times, self.fault, *self.levels.values(), self.reset]
        return styled(w.HBox(line), "sn-chips")

    def tools(self) -> list[w.Widget]:
        """Make the follow chip, the counters' chip and the exports."""
        self.many = chip("Strategies", False, "Choose strategies")
        self.many.observe(lambda change: show(self.strategies, change["new"]), "value")
        self.counting = chip("Counts", False, "Show how often each type of event was published")
        self.counting.observe(lambda change: show(self.counted, change["new"]), "value")
        self.follow = chip("Follow", True, "Off: the list pauses while events go on being kept")
        self.follow.observe(self._filtered, "value")
        self.link = styled(w.HTML(), "sn-off")
        as_csv, as_lines = btn("CSV", "quiet", tip="Export as CSV"), btn("JSONL", "quiet", tip="Export as JSON lines")
        as_csv.on_click(lambda _: self._export("events.csv", self.to_csv(), "text/csv"))
        as_lines.on_click(lambda _: self._export("events.jsonl", self.to_jsonl(), "application/jsonl"))
        return [self.many, self.counting, self.follow, as_csv, as_lines, self.link]

    def paint(self, view: EngineView) -> None:
        """Take what is new and show the newest matches."""
        self._view = view
        self._take()
        self._paint_chips(view)
        if self.counting.value:
            self.counts.show(count_rows(view.events_by_type))
        if self.follow.value and (self._new or self.range.value not in ("all", "between")):
            self._new = False
            self._show()
        dropped = self._missed + view.events_dropped
        held = "" if self.follow.value else f" · paused, {count(self._waiting)} new"
        self.frame.note(f"{len(self.table.rows)} shown of {count(len(self._events))}, {count(dropped)} dropped{held}")

    def _take(self) -> None:
        fresh = self.board.events_since(self._seq, KEPT)
        if not fresh:
            return
        if self._seq and self._view is not None and self._view.role == "holder":  # a journal leaves out some types
            self._missed += max(fresh[0].seq - self._seq - 1, 0)
        self._seq = fresh[-1].seq
        for event in fresh:
            (self._details if level(event.type) == "detail" else self._events).append(event)
        self._waiting += sum(level(event.type) != "detail" for event in fresh)
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
        first_ns, last_ns, _ = self._bounds()
        for event in self._newest_first(details="detail" in levels or glob != "*"):
            if ids and (event.strategy_id or ACCOUNT) not in ids:
                continue
            if not first_ns <= event.ts_ns <= last_ns:
                continue
            if not fnmatchcase(event.type, glob) or (levels and level(event.type) not in levels):
                continue
            if not words or words in _searched(event):
                yield event

    def _bounds(self) -> tuple[float, float, str]:
        """Return the wanted times in ns and what is wrong with the fields."""
        return bounds(self.range.value, self.start.value, self.end.value, self._view.now_ms if self._view else 0)

    def _newest_first(self, *, details: bool) -> Iterator[Event]:
        """Yield the kept events, with or without the details."""
        if not details:
            yield from reversed(self._events)
            return
        yield from merge(reversed(self._events), reversed(self._details), key=lambda event: -event.seq)

    def _show(self) -> None:
        self._waiting = 0
        n = len(self._events)
        sub = f"Reset the filters to see {count(n)} events." if n else "Events appear when the engine does something."
        empty = {"t": "No event matches" if n else "No event yet", "sub": sub}
        if self.table.empty != empty and (not n or not self.table.rows):
            self.table.empty = empty
        self.table.show([row(event) for event in islice(self._wanted(), SENT)])
        show(self.reset, self._is_filtered())

    def _is_filtered(self) -> bool:
        buttons = (*self.chips.values(), *self.levels.values())
        given = self.type.value or self.text.value or self.range.value != "all"
        return bool(given or any(button.value for button in buttons))

    def _filtered(self, _change: Mapping[str, Any]) -> None:
        """Show the matches of a changed filter at once, even while paused."""
        for widget in (self.start, self.end):
            show(widget, self.range.value == "between")
        fault = self._bounds()[2]
        self.fault.value = f'<span role="alert">{escape(fault)}</span>' if fault else ""
        show(self.fault, bool(fault))
        self._new = True
        self._show()
        self.repaint()

    def _reset(self) -> None:
        self.type.value = self.text.value = self.start.value = self.end.value = ""
        self.range.value = "all"
        for button in (*self.chips.values(), *self.levels.values()):
            button.value = False

    def _only(self, _action: str, type_: str) -> None:
        """Show only one type of event."""
        self.type.value = type_

    def _acted(self, _action: str, seq: str) -> None:
        """Open the details of an event."""
        kept = (*self._events, *self._details)
        self._opened = next((event for event in kept if str(event.seq) == seq), None)
        event = self._opened
        show(self.detail, event is not None)
        if event is not None:
            self.told.value = f"<span>{escape(told(event))}</span>"
            show(self.look, event.strategy_id is not None)
            show(self.same, bool(event.correlation_id))

    def _look(self) -> None:
        """Choose the event's strategy and the candle of its decision for all panels, and show them."""
        event = self._opened
        if event is None or event.strategy_id is None:
            return
        self.selection.choose(event.strategy_id, self._candle(event))
        self.selection.turn("Chart")

    def _candle(self, event: Event) -> int | None:
        """Return the candle that the event belongs to, else the newest one that was decided before it."""
        known = decided_ms(event)
        if known is not None or event.strategy_id is None:
            return known
        if event.strategy_id not in {s.strategy_id for s in self.board.view().strategies}:
            return None
        times = self.board.decisions(event.strategy_id)[:, 0]
        past = times[times * 1e6 < event.ts_ns]
        return int(past[-1]) if len(past) else None

    def _same(self) -> None:
        if self._opened is not None and self._opened.correlation_id:
            self.text.value = self._opened.correlation_id

    def _export(self, name: str, content: str, kind: str) -> None:
        self.link.value = download(name, content, kind)
        show(self.link, True)

    def to_csv(self) -> str:
        """Return the matching events as CSV, oldest first."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["seq", "ts_ns", "level", "type", "strategy_id", "symbol", "correlation_id", "text"])
        for e in reversed(list(self._wanted())):
            names = (e.strategy_id or "", e.symbol or "", e.correlation_id or "")
            writer.writerow([e.seq, e.ts_ns, level(e.type), e.type, *names, sentence(e)])
        return out.getvalue()

    def to_jsonl(self) -> str:
        """Return the matching events as JSON lines, oldest first."""
        return "".join(event.to_json() + "\n" for event in reversed(list(self._wanted())))

    def to_frame(self) -> pd.DataFrame:
        """Return the matching events, newest first."""
        self._take()
        names = ["seq", "ts_ns", "type", "strategy_id", "symbol", "correlation_id", "source", "payload"]
        return pd.DataFrame([[getattr(event, name) for name in names] for event in self._wanted()], columns=names)


def _searched(event: Event) -> str:
    """Return the text of an event that the text filter looks at."""
    return f"{event.strategy_id} {event.type} {event.correlation_id or ''} {sentence(event)}".lower()
