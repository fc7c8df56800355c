"""The journal's database: opening, transactions, and everything that only SQLite needs.

Two roles open the same file. The writer keeps one connection; each of its transactions takes the write lock at once
(BEGIN IMMEDIATE), so it fails before it has written. Readers open the file read-only; in WAL mode they see whole
transactions and stop nobody.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, event
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from stratnb.errors import ConfigError, Halt, RetryLater
from stratnb.journal.schema import key_names

__all__ = ["Database", "file_of", "is_half_made", "reading", "translated", "undo_half_made", "upsert", "writing"]

BUSY_S, POLL_S = 5.0, 0.005
KEPT_LOG_BYTES = 64 * 1024 * 1024

# What SQLite's primary result code means to the caller: our code, what happened, the remedy.
_DAMAGED = ("journal_damaged", "is damaged", "stop trading, copy the folder, and go on from the newest good copy")
_READ_ONLY = (
    "journal_read_only",
    "cannot be opened or written",
    "give the account that runs the engine the right to write the file and its folder",
)
_FAULTS = {
    sqlite3.SQLITE_FULL: ("journal_full", "has no room left on its disk", "free some space, then try again"),
    sqlite3.SQLITE_IOERR: ("journal_io", "cannot be read or written", "look at the disk, its quota and the kernel log"),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_BUSY: (
        "journal_busy",
        "stayed locked by another process",
        "end the other writer, then try again",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "journal_conflict",
        "refuses a row that is there already or lacks a value",
        "report this: a row was numbered twice",
    ),
}
_OTHER = ("journal_failed", "could not do what was asked", "look at the disk and at the kernel log")


def file_of(target: str | Path) -> Path:
    """Return the file that a path or an SQLAlchemy URL names; raises `ConfigError("journal_target")` otherwise."""
    hint = "give a path, or sqlite:///folder/journal.sqlite"
    name: str | None = str(target)
    if "://" in str(target):
        try:
            url = make_url(str(target))
        except ArgumentError as error:
            raise ConfigError("journal_target", f"{target!r} is no database URL", value=target, hint=hint) from error
        if url.get_backend_name() != "sqlite":
            text = f"{url.get_backend_name()} cannot hold a journal yet"
            raise ConfigError("journal_target", text, value=url.render_as_string(), hint=hint)
        name = url.database
    if not name or name == ":memory:" or "\0" in name:
        raise ConfigError("journal_target", "a journal needs a file", value=str(target), hint=hint)
    path = Path(name).expanduser().absolute()
    if path.is_dir():
        raise ConfigError("journal_target", f"{path} is a folder", value=str(path), hint="name a file in it")
    return path


@contextmanager
def translated(path: Path, *, files: bool = False) -> Iterator[None]:
    """Turn an error of the database into a `Halt` that names the file, what happened and the remedy.

    With `files`, an error of the file system as well.
    """
    try:
        yield
    except DBAPIError as error:
        raise _halt(path, cast(BaseException, error.orig)) from error
    except (sqlite3.Error, SQLAlchemyError, UnicodeDecodeError) as error:
        raise _halt(path, error) from error
    except OSError as error:
        if not files:
            raise
        raise _halt(path, error) from error


def _halt(path: Path, error: BaseException) -> Halt:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error):
        primary = sqlite3.SQLITE_CORRUPT
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        closed = error.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
        primary = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_PERM if closed else sqlite3.SQLITE_IOERR
    code, text, hint = _FAULTS.get(primary, _OTHER)
    return Halt(code, f"journal {path} {text} ({error})", value=str(path), hint=f"{hint}; nothing was overwritten")


def upsert(table: Table) -> Insert:
    """Return the statement that inserts whole rows, or replaces those with the same key."""
    statement = insert(table)
    keys = key_names(table)
    rest = {name: column for name, column in statement.excluded.items() if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


class Database:
    """One connection to the journal's file, used by one thread at a time (`lock`)."""

    def __init__(self, path: Path, engine: Engine, *, can_write: bool) -> None:
        self.path = path
        self.can_write = can_write
        self.lock = RLock()
        self._engine = engine
        self._durable: bool | None = None
        with translated(path):
            self.connection = engine.connect()

    @property
    def driver(self) -> sqlite3.Connection:
        """Return the driver's connection, for what cannot be said in SQL."""
        return cast(sqlite3.Connection, self.connection.connection.dbapi_connection)

    @property
    def dialect(self) -> Dialect:
        """Return the SQL that the database speaks."""
        return self._engine.dialect

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Connection]:
        """Give the connection in a transaction that ends with the block: whole, or not at all when it raises.

        Within a transaction of the same thread it joins that one. `durable` waits until the disk has it.
        """
        with self.lock:
            if self.connection.in_transaction():
                with translated(self.path):
                    yield self.connection
                return
            with translated(self.path):
                self._set_durable(durable)
                try:
                    self.connection.begin()
                    yield self.connection
                    self.connection.commit()
                except BaseException:
                    self._roll_back()
                    raise

    def _set_durable(self, durable: bool) -> None:
        """Choose whether commits wait for the disk; SQLite takes this only between transactions."""
        if self.can_write and durable != self._durable:
            self.driver.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _roll_back(self) -> None:
        with suppress(SQLAlchemyError, sqlite3.Error):
            self.connection.rollback()
        with suppress(sqlite3.Error):
            if self.driver.in_transaction:
                self.driver.rollback()

    def pragma(self, name: str) -> list[tuple[Any, ...]]:
        """Return the rows of a pragma of SQLite."""
        with self.lock, translated(self.path):
            return self.driver.execute(f"PRAGMA {name}").fetchall()

    def copy_to(self, path: Path) -> None:
        """Write a copy of everything committed to a new file, readable by its owner only, and wait for the disk."""
        with translated(path, files=True):
            _create(path)
            copy = sqlite3.connect(path)
            try:
                self.driver.backup(copy)
            finally:
                copy.close()
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Give back the connection; a second call does nothing."""
        with self.lock, translated(self.path):
            self.connection.close()
            self._engine.dispose()


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _engine(path: Path, *, mode: str, begin: str, prepare: Callable[[sqlite3.Connection], None]) -> Engine:
    """Return an engine with one connection whose transactions begin as told."""

    def _connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=_connect, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def writing(target: str | Path) -> Database:
    """Open the file for writing, made with its folders when it is not there (mode 0600).

    Raises `ConfigError("journal_target")` and `Halt`: `journal_read_only`, `journal_full`, `journal_damaged`.
    """
    path = file_of(target)
    with translated(path, files=True):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _create(path)
    return Database(path, _engine(path, mode="rw", begin="BEGIN IMMEDIATE", prepare=_as_writer), can_write=True)


def _as_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    mode = _log_mode(connection)
    if mode != "wal":
        hint = "put the journal on a local disk"
        raise ConfigError("journal_target", f"the disk allows no write-ahead log (mode {mode})", value=mode, hint=hint)
    connection.execute(f"PRAGMA journal_size_limit={KEPT_LOG_BYTES}")


def is_half_made(path: Path) -> bool:
    """Tell whether whoever made the file is just at it, or died over it."""
    undo = path.with_name(f"{path.name}-journal")
    return undo.exists() and undo.stat().st_size > 0


def undo_half_made(path: Path) -> None:
    """Let SQLite take back what a killed process had begun before the file had its write-ahead log."""
    with translated(path), closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_S)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _log_mode(connection: sqlite3.Connection) -> str:
    """Switch to the write-ahead log and return the mode; this one lock SQLite does not wait for by itself."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(POLL_S)


def reading(target: str | Path) -> Database:
    """Open the file read-only.

    Raises `ConfigError("journal_missing")` when there is none, `RetryLater("journal_starting")` when it is half made,
    `Halt` when it cannot be read.
    """
    path = file_of(target)
    if not path.exists():
        hint = "start the engine that writes it, or correct the path"
        raise ConfigError("journal_missing", f"there is no journal at {path}", value=str(path), hint=hint)
    if is_half_made(path):
        hint = "start its engine, or wait until it has started"
        raise RetryLater("journal_starting", f"journal {path} is being made", value=str(path), hint=hint)
    log = path.with_name(f"{path.name}-wal")
    # A copy on a read-only disk: nobody can be writing, and there is no room for the log's index.
    is_still = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    mode = "ro&immutable=1" if is_still else "ro"
    return Database(path, _engine(path, mode=mode, begin="BEGIN", prepare=_as_reader), can_write=False)


def _as_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")
