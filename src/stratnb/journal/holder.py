"""Who holds the right to send an account's orders, as anybody who reads the journal sees it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stratnb.journal.clocks import wall_ms
from stratnb.journal.processes import is_gone
from stratnb.journal.reader import JournalReader

__all__ = ["Holder", "holder_in", "lease_holder"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds an account's lease, or held it last: `age_s` is the time since it was heard of (`renewed_ms`)."""

    account: str
    who: str
    host: str
    pid: int
    generation: int
    expires_ms: int
    renewed_ms: int
    age_s: float
    is_held: bool

    def __str__(self) -> str:
        """Return one sentence for people."""
        ago = (
            f"{self.who} (pid {self.pid} on {self.host}, generation {self.generation}), heard of {self.age_s:.0f} s ago"
        )
        return f"account {self.account!r} is {'held' if self.is_held else 'no longer held'} by {ago}"


def lease_holder(reader: JournalReader, account: str, *, now_ms: Callable[[], int] = wall_ms) -> Holder | None:
    """Return who holds or last held an account, None when nobody ever did; for observers, it changes nothing."""
    row = reader.one("lease", {"account": account})
    return None if row is None else holder_in(row, now_ms())


def holder_in(row: Mapping[Any, Any], now_ms: int) -> Holder:
    """Return a row of the lease as seen now: not held when it expired, was given back, or its process ended."""
    is_dead = row["host"] == socket.gethostname() and is_gone(row["pid"], row["process_start"])
    renewed_ms = row["ts_ns"] // 1_000_000
    return Holder(
        account=row["account"],
        who=row["holder"],
        host=row["host"],
        pid=row["pid"],
        generation=row["generation"],
        expires_ms=row["expires_ms"],
        renewed_ms=renewed_ms,
        age_s=max(0, now_ms - renewed_ms) / 1000,
        is_held=now_ms < row["expires_ms"] and not is_dead,
    )
