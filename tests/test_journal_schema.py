"""Schemas go forward only, in one transaction, after a copy; a newer file is refused unchanged."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from journal_sample import trading_journal
from stratnb.errors import ConfigError, Halt
from stratnb.journal import Journal, JournalReader
from stratnb.journal import schema as at
from stratnb.journal.check import check_journal

STEPS = list(at.MIGRATIONS)
PRESENT = at.schema_version()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a journal with the present schema, which the tests let grow old."""
    path = tmp_path / "j.sqlite"
    trading_journal(path)
    return path


def add_note(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, words TEXT)"))
    connection.execute(text("INSERT INTO notes (words) SELECT strategy_id FROM strategies ORDER BY place"))


def add_colour(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'red'"))


def broken(connection: Connection) -> None:
    connection.execute(text("DELETE FROM fills"))
    connection.execute(text("CREATE TABLE meta (x)"))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def version(path: Path) -> str:
    return str(rows(path, "SELECT value FROM meta WHERE key = 'schema_version'")[0][0])


def test_an_older_file_goes_forward_after_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at, "MIGRATIONS", [*STEPS, add_note])
    assert at.schema_version() == PRESENT + 1
    with pytest.raises(ConfigError, match="start its engine once"):
        JournalReader.open(old)
    Journal.open(old).close()
    assert version(old) == str(PRESENT + 1)
    assert [row[0] for row in rows(old, "SELECT words FROM notes")] == ["alpha@BTC/USDT#main", "beta@BTC/USDT#main"]
    copy = old.with_name(f"j.sqlite.schema{PRESENT}.bak")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert version(copy) == str(PRESENT)
    assert rows(copy, "SELECT count(*) FROM fills") == rows(old, "SELECT count(*) FROM fills")
    assert check_journal(old).faults == ()
    monkeypatch.setattr(at, "MIGRATIONS", [*STEPS, add_note, add_colour])
    Journal.open(old).close()
    assert rows(old, "SELECT DISTINCT colour FROM notes") == [("red",)]
    assert sorted(file.name for file in old.parent.iterdir()) == [
        *("j.sqlite", "j.sqlite-mark", f"j.sqlite.schema{PRESENT}.bak", f"j.sqlite.schema{PRESENT + 1}.bak"),
    ]
    before = old.stat().st_mtime_ns
    Journal.open(old).close()
    assert old.stat().st_mtime_ns == before


def test_several_steps_run_at_once_and_a_copy_is_never_overwritten(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = old.with_name(f"j.sqlite.schema{PRESENT}.bak")
    taken.write_text("somebody's")
    monkeypatch.setattr(at, "MIGRATIONS", [*STEPS, add_note, add_colour])
    Journal.open(old).close()
    assert version(old) == str(PRESENT + 2)
    assert taken.read_text() == "somebody's"
    assert version(old.with_name(f"j.sqlite.schema{PRESENT}-1.bak")) == str(PRESENT)


def test_a_step_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at, "MIGRATIONS", [*STEPS, add_note, broken])
    with pytest.raises(Halt) as caught:
        Journal.open(old)
    assert str(old) in caught.value.message
    assert version(old) == str(PRESENT)
    monkeypatch.setattr(at, "MIGRATIONS", STEPS)
    report = check_journal(old)
    assert (report.faults, report.rows["fills"]) == ((), 7)


@pytest.mark.parametrize("stored", [str(PRESENT + 1), "99"])
def test_a_newer_file_is_refused_unchanged(old: Path, stored: str) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (stored,))
        connection.commit()
    before = old.read_bytes()
    for opened in (Journal.open, JournalReader.open, check_journal):
        with pytest.raises(ConfigError) as caught:
            opened(old)
        assert caught.value.code == "journal_schema"
        assert stored in caught.value.message
    assert old.read_bytes() == before
    assert [
        file.name for file in old.parent.iterdir() if not file.name.endswith(("-shm", "-mark")) and file.stat().st_size
    ] == ["j.sqlite"]


@pytest.mark.parametrize("stored", ["0", "-1", "two", ""])
def test_a_file_without_a_version_is_damaged(old: Path, stored: str) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (stored,))
        connection.commit()
    with pytest.raises(Halt) as caught:
        Journal.open(old)
    assert caught.value.code == "journal_damaged"


def test_the_first_schema_goes_forward_and_keeps_its_orders(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        for name in ("limit_price", "until_ms"):
            connection.execute(f"ALTER TABLE orders DROP COLUMN {name}")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
        connection.commit()
    before = rows(old, "SELECT client_id, quantity, state FROM orders ORDER BY seq")
    with pytest.raises(ConfigError, match="start its engine once"):
        JournalReader.open(old)
    Journal.open(old).close()
    assert version(old) == str(PRESENT) and version(old.with_name("j.sqlite.schema1.bak")) == "1"
    assert rows(old, "SELECT client_id, quantity, state FROM orders ORDER BY seq") == before
    assert set(rows(old, "SELECT limit_price, until_ms FROM orders")) == {(None, None)}
    assert check_journal(old).faults == ()
    fresh = {row[1:3] for row in rows(old, "PRAGMA table_info(orders)") if row[1] in ("limit_price", "until_ms")}
    trading_journal(old.with_name("new.sqlite"))
    made = rows(old.with_name("new.sqlite"), "PRAGMA table_info(orders)")
    assert {name for name, _ in fresh} <= {row[1] for row in made}
