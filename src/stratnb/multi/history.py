"""The events of an earlier run, put back into a bus so that panels show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratnb.events import Event, EventBus
from stratnb.journal import JournalReader

__all__ = ["event_of", "relay_events"]


def event_of(row: Mapping[str, Any]) -> Event:
    """Return the event that a row of the table `events` holds."""
    told = {name: row[name] for name in Event._fields}
    return Event(**{**told, "source": row["source"] or "", "payload": row["payload"] or {}})


def relay_events(bus: EventBus, reader: JournalReader, *, newest: int) -> int:
    """Relay the newest events of a journal to a fresh bus, which numbers on after them; return the newest number."""
    rows = reader.rows("events", newest=True, limit=newest)[::-1]
    if rows:
        bus.go_on(rows[0]["seq"] - 1)
    for row in rows:
        bus.relay(event_of(row))
    return rows[-1]["seq"] if rows else -1
