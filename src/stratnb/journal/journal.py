"""The journal's writer: rows are buffered as they come and written in whole transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from stratnb.errors import Halt
from stratnb.journal.database import Database, upsert, writing
from stratnb.journal.encoding import table_named
from stratnb.journal.mark import Mark
from stratnb.journal.migration import bring_forward, examine
from stratnb.journal.pending import PendingRows
from stratnb.journal.reader import JournalReader
from stratnb.journal.schema import METADATA

__all__ = ["Journal"]

MARK = "seq"
META, LEASE = METADATA.tables["meta"], METADATA.tables["lease"]
_READ_MARK = select(META.c.value).where(META.c.key == MARK)
_WRITE_MARK = upsert(META)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Journal:
    """The one writer of a journal. Any thread may call it; a lock lets one at a time through.

    `lost` is how many numbers the file had given out beyond its newest one: it went back to an older place, and what
    was written in between is gone. `accept_loss` begins anew from here.
    """

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._lock = database.lock
        self._tables: dict[str, PendingRows] = {}
        self._mark = self._seq = self.lost = 0
        self._beside = Mark(database.path)
        self.take_up()

    @classmethod
    def open(cls, target: str | Path, *, now_ms: Callable[[], int] = _wall_ms) -> Journal:
        """Open a journal for writing: a path (made with its folders, mode 0600) or an SQLAlchemy URL.

        An older file is copied, then brought forward. `now_ms` stamps rows that come without `ts_ns`. Raises
        `ConfigError("journal_schema")` for a newer file or another kind of database, `Halt` with `journal_damaged`,
        `journal_read_only`, `journal_full`; nothing is overwritten then.
        """
        examine(target)
        database = writing(target)
        try:
            bring_forward(database, now_ms=now_ms())
            return cls(database, now_ms)
        except BaseException:
            database.close()
            raise

    def __repr__(self) -> str:
        """Return the file and what waits, on one line."""
        return f"Journal({str(self.path)!r}, {self.pending} pending)"

    @property
    def path(self) -> Path:
        """Return the file."""
        return self._database.path

    @property
    def database(self) -> Database:
        """Return the connection, for transactions that read and write at once (the lease, commands)."""
        return self._database

    @property
    def pending(self) -> int:
        """Return how many rows wait for the next commit."""
        with self._lock:
            return sum(map(len, self._tables.values()))

    def reader(self) -> JournalReader:
        """Return a new reader of this file."""
        return JournalReader.open(self.path)

    def next_seq(self) -> int:
        """Return the next journal-wide number; one that reached the file is never given again."""
        with self._lock:
            self._seq += 1
            return self._seq

    def take_up(self) -> None:
        """Count on from where the file's last writer stopped; to be called when the lease was just taken."""
        with self._database.transaction() as connection:
            self._mark = _stored_mark(connection)
            reached = self._beside.read()
            self.lost = max(0, reached - self._mark)
            self._seq = max(self._seq, self._mark, reached)

    def accept_loss(self) -> None:
        """Take the file as it is: the next commit that is waited for says how far it has come."""
        self.lost = 0

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Buffer a new row. `seq` and `ts_ns` are filled in when absent, except a `seq` that is the key.

        Raises `ConfigError("journal_row")` for what the table cannot take and for a second row with the same key.
        """
        with self._lock:
            pending = self._pending(table)
            pending.put("insert", self._stamped(pending, row))

    def upsert(self, table: str, row: Mapping[str, Any]) -> None:
        """Buffer a whole row that replaces the one with the same primary key; the last one before a commit wins."""
        with self._lock:
            pending = self._pending(table)
            pending.put("upsert", self._stamped(pending, row))

    def delete(self, table: str, key: Mapping[str, Any]) -> None:
        """Buffer the removal of the row with this primary key, if there is one."""
        with self._lock:
            self._pending(table).remove(key)

    def _pending(self, name: str) -> PendingRows:
        if name not in self._tables:
            self._tables[name] = PendingRows(table_named(name), self._database.dialect)
        return self._tables[name]

    def _stamped(self, pending: PendingRows, row: Mapping[str, Any]) -> Mapping[str, Any]:
        missing = [name for name in pending.stamps if name not in row]
        if not missing:
            return row
        return {**row, **{name: self.next_seq() if name == "seq" else self._now_ms() * 1_000_000 for name in missing}}

    def commit(self, *, durable: bool = False, fence: tuple[str, int] | None = None) -> int:
        """Write everything buffered in one transaction and return the number of rows.

        `durable` waits until the disk has it. `fence` is (account, generation): unless the lease carries it, nothing
        is written and `Halt("lease_lost")` is raised. `Halt("journal_second_writer")` tells that somebody else wrote
        since; any other failure is a `Halt` too. The buffer is kept then, and the same commit can be tried again.
        """
        with self._lock:
            if not (self.pending or fence):
                return 0
            with self._database.transaction(durable=durable) as connection:
                if fence is not None:
                    _check_fence(connection, *fence)
                self._check_mark(connection)
                written = sum(pending.write(connection) for pending in self._tables.values() if len(pending))
                if self._seq != self._mark:
                    connection.execute(_WRITE_MARK, {"key": MARK, "value": str(self._seq)})
            self._mark = self._seq
            if durable and not self.lost:
                self._beside.write(self._mark)
            for pending in self._tables.values():
                pending.clear()
            return written

    def _check_mark(self, connection: Connection) -> None:
        stored = _stored_mark(connection)
        if stored != self._mark:
            text = f"another process wrote to {self.path}: its last number is {stored}, ours {self._mark}"
            hint = "one engine writes a journal; end the other one"
            raise Halt("journal_second_writer", text, value=stored, hint=hint)

    def close(self) -> None:
        """Close the file; what was not committed is lost. A second call does nothing."""
        self._database.close()
        self._beside.close()


def _stored_mark(connection: Connection) -> int:
    return int(connection.execute(_READ_MARK).scalar() or 0)


def _check_fence(connection: Connection, account: str, generation: int) -> None:
    found = connection.execute(select(LEASE.c.generation).where(LEASE.c.account == account)).scalar()
    if found != generation:
        text = f"the lease of account {account!r} has generation {found}, this engine holds {generation}"
        raise Halt("lease_lost", text, value=found, hint="another engine trades this account; this one only observes")
