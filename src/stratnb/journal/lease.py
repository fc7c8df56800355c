"""The lease: of all engines on one journal, the one that may send orders.

Three things hold an engine back that lost it. Its commits carry the generation (`fence`), which every new holder
raises. Just before sending, `check` compares its own deadline with a clock that runs on while the process or the
machine sleeps. And the lease's own thread tells it (`on_lost`). What remains: a process that is frozen between a passed
`check` and the network call and wakes after another took over sends that one order; its intent stands in the journal,
so the new holder finds it. Expiry is judged by the wall clock, which two machines have to keep in step.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Connection, insert, select, update

from stratnb.errors import Halt, Refused
from stratnb.journal.clocks import boot_s, wall_ms
from stratnb.journal.database import Database
from stratnb.journal.holder import Holder, holder_in, lease_holder
from stratnb.journal.joining import joined
from stratnb.journal.processes import process_start
from stratnb.journal.reader import JournalReader
from stratnb.journal.schema import METADATA

__all__ = ["Lease", "LeaseSettings"]

LEASE = METADATA.tables["lease"]
FAILURES = 2
JOIN_S = 1.0
NEVER = float("-inf")

log = logging.getLogger(__name__)


class LeaseSettings(BaseModel):
    """How long the right to send orders lives without being renewed; seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    life_s: float = Field(20.0, gt=0, title="Life of the lease")
    renew_s: float = Field(5.0, gt=0, title="Renewed every")
    margin_s: float = Field(2.0, ge=0, title="Nothing is sent this long before its end")

    @model_validator(mode="after")
    def _lives_long_enough(self) -> LeaseSettings:
        if self.renew_s + self.margin_s >= self.life_s:
            raise ValueError("life_s has to be longer than renew_s and margin_s together")
        return self


class Lease:
    """The right of this process to send one account's orders; thread-safe.

    `who` describes the engine to others (a kernel's id). `on_lost` is called once, on the lease's own thread, when the
    lease can no longer be relied on. `clock` (seconds, never set back) judges the own deadline, `now_ms` (UTC) expiry.
    """

    def __init__(
        self,
        target: str | Path,
        account: str,
        *,
        who: str = "engine",
        settings: LeaseSettings | None = None,
        on_lost: Callable[[Halt], None] | None = None,
        clock: Callable[[], float] = boot_s,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._target = target
        self.account = account
        self.settings = settings or LeaseSettings()
        self._who = who
        self._on_lost = on_lost
        self._clock = clock
        self._now_ms = now_ms
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._pid = 0
        self._generation = 0
        self._deadline_s = NEVER
        self._failures = 0
        self._fault: Halt | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        """Return the account and the generation on one line."""
        held = f"generation {self._generation}" if self.is_held else "not held"
        return f"Lease({self.account!r}, {held})"

    @property
    def is_held(self) -> bool:
        """Tell whether orders may be sent now."""
        try:
            self.check()
        except (Halt, Refused):
            return False
        return True

    @property
    def fence(self) -> tuple[str, int]:
        """Return account and generation, which every commit checks; `Refused("not_lease_holder")` without a lease."""
        if self._database is None:
            hint = "start the engine, or watch the one that trades"
            text = f"this engine does not hold account {self.account!r}"
            raise Refused("not_lease_holder", text, value=self.account, hint=hint)
        return self.account, self._generation

    def check(self) -> None:
        """Raise unless orders may be sent: `Refused("not_lease_holder")`, `Halt`: `lease_lost`, `lease_deadline`."""
        account, generation = self.fence
        if self._fault is not None:
            raise Halt(self._fault.code, self._fault.message, value=self._fault.value, hint=self._fault.hint)
        if os.getpid() != self._pid:
            raise Halt("lease_lost", "a forked process does not inherit the lease", hint="start an engine of its own")
        late_s = self._clock() + self.settings.margin_s - self._deadline_s
        if late_s > 0:
            text = f"the lease of account {account!r} (generation {generation}) is over since {late_s:.1f} s"
            hint = "it was not renewed in time; nothing is sent until it is"
            raise Halt("lease_deadline", text, value=late_s, hint=hint)

    def acquire(self) -> Holder | None:
        """Take the lease and return None, or return who holds it: then this engine only observes.

        It is free when nobody had it, it expired or was given back, or its process ended on this host. Every taking
        raises the generation. A holder keeps what it has; one that lost it can take it again. The journal must exist
        (`Journal.open` comes first, `Journal.take_up` afterwards).
        """
        with self._lock:
            if self.is_held:
                return None
            self._ended.set()
            database = self._database if self._pid == os.getpid() else None
            database = database or joined(self._target)
            try:
                with database.transaction(durable=True) as connection:
                    taken = self._take(connection)
            except BaseException as error:
                self._close(database)
                return self._behind_lock(error)
            if isinstance(taken, Holder):
                self._close(database)
                return taken
            self._generation, self._deadline_s = taken
            self._database, self._pid, self._fault, self._failures = database, os.getpid(), None, 0
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._keep, args=(self._ended,), name="stratnb-lease", daemon=True)
            self._thread.start()
            return None

    def _take(self, connection: Connection) -> tuple[int, float] | Holder:
        """Write this holder into the row and return generation and deadline, or return who has it."""
        row = connection.execute(select(LEASE).where(LEASE.c.account == self.account)).mappings().first()
        found = None if row is None else holder_in(row, self._now_ms())
        is_own = self._pid == os.getpid() and found is not None and found.generation == self._generation
        if found is not None and found.is_held and not is_own:
            return found
        generation = 1 if found is None else found.generation + 1
        deadline_s, life = self._new_life()
        values = {"holder": self._who, "host": socket.gethostname(), "pid": os.getpid(), "seq": 0}
        values |= {"process_start": process_start(), "generation": generation, **life}
        if found is None:
            connection.execute(insert(LEASE).values(account=self.account, **values))
        else:
            connection.execute(update(LEASE).where(LEASE.c.account == self.account).values(**values))
        return generation, deadline_s

    def _new_life(self) -> tuple[float, dict[str, Any]]:
        """Return the own deadline and what to write; in this order, so that the deadline is never the later one."""
        deadline_s, now_ms = self._clock() + self.settings.life_s, self._now_ms()
        return deadline_s, {
            "expires_ms": now_ms + round(self.settings.life_s * 1000),
            "ts_ns": now_ms * 1_000_000,
        }

    def _behind_lock(self, error: BaseException) -> Holder:
        """Return the holder that keeps everybody out (it may be frozen within a transaction); raise any other fault."""
        if isinstance(error, Halt) and error.code == "journal_busy":
            with JournalReader.open(self._target) as reader:
                found = lease_holder(reader, self.account, now_ms=self._now_ms)
            if found is not None:
                return found
        raise error

    def holds(self, connection: Connection) -> bool:
        """Tell, within a transaction, whether the journal still names this holder."""
        return bool(connection.execute(select(LEASE.c.pid).where(*self._mine())).first())

    def _mine(self) -> tuple[Any, Any]:
        return LEASE.c.account == self.account, LEASE.c.generation == self._generation

    def renew(self) -> None:
        """Extend the life once; the lease's own thread does that every `renew_s`."""
        with self._lock:
            if self._database is None or self._fault is not None:
                return
            fault = self._extend(self._database)
            if fault is None:
                return
            self._fault = fault
            self._ended.set()
        log.error("%s", fault)
        if self._on_lost is not None:
            self._on_lost(fault)

    def _extend(self, database: Database) -> Halt | None:
        """Write a new life and return why the lease is lost, None while it is not."""
        name = f"the lease of account {self.account!r} (generation {self._generation})"
        try:
            with database.transaction() as connection:
                deadline_s, life = self._new_life()
                is_mine = connection.execute(update(LEASE).where(*self._mine()).values(**life)).rowcount
        except Halt as error:
            self._failures += 1
            log.warning("%s was not renewed: %s", name, error)
            if self._failures < FAILURES:
                return None
            text = f"{name} could not be renewed {FAILURES} times: {error.message}"
            return Halt("lease_lost", text, value=error.code, hint=error.hint)
        if is_mine:
            self._failures, self._deadline_s = 0, deadline_s
            return None
        hint = "another engine trades this account; this one only observes"
        return Halt("lease_lost", f"{name} was taken by another engine", value=self.account, hint=hint)

    def _keep(self, ended: threading.Event) -> None:
        due_s = time.monotonic() + self.settings.renew_s
        while not ended.wait(max(0.0, due_s - time.monotonic())):
            due_s = time.monotonic() + self.settings.renew_s
            self.renew()

    def release(self) -> None:
        """Give the lease back, so that another engine may start at once; a second call does nothing."""
        with self._lock:
            database, thread = self._database, self._thread
            if database is None or self._pid != os.getpid():
                return
            self._ended.set()
            try:
                with database.transaction(durable=True) as connection:
                    over = {"expires_ms": 0, "ts_ns": self._now_ms() * 1_000_000}
                    connection.execute(update(LEASE).where(*self._mine()).values(**over))
            finally:
                self._close(database)
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)

    def _close(self, database: Database) -> None:
        self._database = None
        database.close()
