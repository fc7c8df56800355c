"""Bringing a journal to the schema of this code: tables are made, or an older file goes forward after a copy of it."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, update

from stratnb.errors import ConfigError, Halt, RetryLater
from stratnb.journal import schema
from stratnb.journal.database import BUSY_S, POLL_S, Database, file_of, is_half_made, reading, undo_half_made
from stratnb.journal.wal import lost_commits

__all__ = ["bring_forward", "check_readable", "examine"]

META = schema.METADATA.tables["meta"]
VERSION = "schema_version"


def examine(target: str | Path) -> None:
    """Raise what speaks against writing to a file that exists, before anything opens it for writing.

    `Halt("journal_damaged")` for damaged pages, `ConfigError("journal_schema")` for what is no journal or too new.
    """
    path = file_of(target)
    if not path.exists() or not path.stat().st_size:
        return
    lost = lost_commits(path)
    if lost:
        hint = "stop trading, copy the folder with its -wal file, and go on from the newest good copy"
        raise Halt("journal_damaged", f"the log of journal {path} is damaged, {lost} commits are lost", hint=hint)
    database = _whole(path)
    try:
        faults = [row[0] for row in database.pragma("quick_check(3)")]
        if faults != ["ok"]:
            hint = "stop trading, copy the folder, and go on from the newest good copy; nothing was overwritten"
            raise Halt("journal_damaged", f"journal {path} is damaged: {'; '.join(faults)}", value=str(path), hint=hint)
        with database.transaction() as connection:
            _version(connection, path)
    finally:
        database.close()


def _whole(path: Path) -> Database:
    """Open the file for reading as soon as nobody is making it; what a killed process left half made is undone."""
    give_up = time.monotonic() + BUSY_S
    while True:
        if is_half_made(path):
            undo_half_made(path)
        try:
            return reading(path)
        except RetryLater:
            if time.monotonic() > give_up:
                raise
            time.sleep(POLL_S)


def bring_forward(database: Database, *, now_ms: int) -> None:
    """Make the tables of an empty file, or run the missing migrations in one transaction after copying the file.

    Raises `ConfigError("journal_schema")` for a file that is newer than the code or is no journal; it is not changed.
    """
    with database.transaction(durable=True) as connection:
        found = _version(connection, database.path)
        if found is None:
            schema.METADATA.create_all(connection)
            rows = [
                {"key": VERSION, "value": str(schema.schema_version())},
                {"key": "created_ms", "value": str(now_ms)},
            ]
            connection.execute(insert(META), rows)
    if found is not None and found < schema.schema_version():
        _migrate(database, found)


def _migrate(database: Database, found: int) -> None:
    database.copy_to(_free_name(database.path, found))
    with database.transaction(durable=True) as connection:
        for step in schema.MIGRATIONS[found - 1 :]:
            step(connection)
        version = str(schema.schema_version())
        connection.execute(update(META).where(META.c.key == VERSION).values(value=version))


def _free_name(path: Path, version: int) -> Path:
    """Return a name for the copy that no file has yet."""
    names = (path.with_name(f"{path.name}.schema{version}{f'-{k}' if k else ''}.bak") for k in range(10_000))
    return next(name for name in names if not name.exists())


def check_readable(database: Database) -> None:
    """Raise unless the file has exactly this code's schema.

    `RetryLater("journal_starting")` for a file without tables (its engine is just starting), `ConfigError
    ("journal_schema")` for an older or newer one.
    """
    with database.transaction() as connection:
        found = _version(connection, database.path)
    if found is None:
        raise RetryLater("journal_starting", f"journal {database.path} has no tables yet", value=str(database.path))
    if found < schema.schema_version():
        text = f"journal {database.path} has schema {found}, this version reads {schema.schema_version()}"
        raise ConfigError("journal_schema", text, value=found, hint="start its engine once: it copies and migrates it")


def _version(connection: Connection, path: Path) -> int | None:
    """Return the file's schema version, None for an empty file."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "meta" not in tables:
        hint = "name another file; this one was left as it is"
        raise ConfigError("journal_schema", f"{path} is a database but no journal", value=str(path), hint=hint)
    text = connection.execute(select(META.c.value).where(META.c.key == VERSION)).scalar()
    if text is None or not text.isdigit() or int(text) < 1:
        hint = "stop trading, copy the folder, and go on from the newest good copy"
        raise Halt("journal_damaged", f"journal {path} has lost its schema version", value=text, hint=hint)
    if int(text) > schema.schema_version():
        hint = "install the version that wrote it; the file was not changed"
        reads = schema.schema_version()
        raise ConfigError(
            "journal_schema", f"journal {path} has schema {text}, newer than {reads}", value=int(text), hint=hint
        )
    return int(text)
