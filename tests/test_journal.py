"""The journal keeps what it is given: whole transactions, in order, seen by readers at once."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

import stratnb
from journal_sample import sample_row
from stratnb.errors import ConfigError, Halt, RetryLater
from stratnb.journal import Journal, JournalReader
from stratnb.journal.database import upsert
from stratnb.journal.schema import METADATA, TABLES, is_json, key_names, schema_version

SPEC = {
    *("lease", "commands", "strategies", "config_versions", "switches", "snapshots", "watermarks", "decisions"),
    *("orders", "fills", "ledger", "trades", "equity", "risk_state", "denials", "events", "meta"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a journal can be."""
    return tmp_path / "kept" / "journal.sqlite"


def equity(number: int, value: float = 1.0, scope: str = "") -> dict[str, Any]:
    return {"scope": scope, "time_ms": number, "equity": value}


def written(path: Path) -> list[int]:
    """Return the times of the equity rows in the file."""
    reader = JournalReader.open(path)
    try:
        return [row["time_ms"] for row in reader.rows("equity", order="time_ms")]
    finally:
        reader.close()


def as_read(row: dict[str, Any], table: str) -> dict[str, Any]:
    """Return a row as the journal gives it back: text through JSON keeps everything, plain text keeps what is text."""
    packed = {column.name for column in METADATA.tables[table].columns if is_json(column)}
    return {name: json.loads(json.dumps(value)) if name in packed else value for name, value in row.items()}


def test_the_tables_are_those_of_the_specification() -> None:
    assert set(TABLES) >= SPEC
    for name, table in METADATA.tables.items():
        if name not in ("meta", "candles"):
            assert {"seq", "ts_ns"} <= set(table.c.keys())


@pytest.mark.parametrize("table", TABLES)
def test_every_table_gives_back_what_it_was_given(path: Path, table: str) -> None:
    rows = [sample_row(METADATA.tables[table], number) for number in (1, 2, 3)]
    journal = Journal.open(path)
    journal.insert(table, rows[0])
    journal.upsert(table, rows[1])
    journal.upsert(table, rows[2])
    journal.delete(table, {name: rows[1][name] for name in key_names(METADATA.tables[table])})
    assert (journal.pending, journal.commit(), journal.pending) == (3, 3, 0)
    found = {name: rows[2][name] for name in key_names(METADATA.tables[table])}
    reader = journal.reader()
    assert reader.one(table, found) == as_read(rows[2], table)
    if table != "meta":
        assert reader.rows(table) == [as_read(rows[0], table), as_read(rows[2], table)]
    reader.close()
    journal.close()


def test_the_file_is_made_with_its_folders_and_only_its_owner_reads_it(path: Path) -> None:
    journal = Journal.open(f"sqlite:///{path}")
    journal.insert("equity", equity(1))
    journal.commit(durable=True)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    names = ("journal.sqlite", "journal.sqlite-mark", "journal.sqlite-shm", "journal.sqlite-wal")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert repr(journal) == f"Journal({str(path)!r}, 0 pending)"
    journal.close()
    journal.close()
    assert written(path) == [1]


def test_rows_come_in_the_order_they_were_told_and_nothing_before_the_commit(path: Path) -> None:
    journal = Journal.open(path)
    for number in (5, 3, 9, 1):
        journal.insert("equity", equity(number))
    with JournalReader.open(path) as reader:
        assert reader.rows("equity") == []
        journal.commit()
        assert [row["time_ms"] for row in reader.rows("equity")] == [5, 3, 9, 1]
        assert [row["time_ms"] for row in reader.rows("equity", newest=True, limit=2)] == [1, 9]
        assert [row["time_ms"] for row in reader.rows("equity", since=2)] == [9, 1]
        assert [row["time_ms"] for row in reader.rows("equity", order="time_ms", limit=3)] == [1, 3, 5]
    journal.close()


def test_of_several_rows_with_one_key_the_last_wins(path: Path) -> None:
    journal = Journal.open(path)
    for value in (1.0, 2.0, 3.0):
        journal.upsert("equity", equity(1, value))
    assert journal.pending == 1
    journal.commit()
    journal.upsert("equity", equity(1, 4.0))
    journal.insert("equity", equity(2, 5.0))
    journal.upsert("equity", equity(2, 6.0))
    journal.commit()
    with journal.reader() as reader:
        assert [row["equity"] for row in reader.rows("equity")] == [4.0, 6.0]
        assert reader.count("equity") == 2
        assert reader.count("equity", {"equity": 6.0}) == 1
        assert reader.one("equity", {"equity": 7.0}) is None
    journal.close()


ACTIONS = st.tuples(st.sampled_from(["insert", "upsert", "delete", "commit"]), st.integers(0, 3), st.integers(0, 9))


@given(st.lists(ACTIONS, max_size=30))
def test_any_sequence_of_words_ends_as_if_each_was_written_at_once(steps: list[tuple[str, int, int]]) -> None:
    journal = _shared_journal()
    model: dict[int, int] = {}
    for number in range(4):
        journal.delete("equity", {"scope": "model", "time_ms": number})
    journal.commit()
    for action, key, value in steps:
        row = {"scope": "model", "time_ms": key, "equity": value}
        if action == "commit":
            journal.commit()
        elif action == "delete":
            model.pop(key, None)
            journal.delete("equity", {"scope": "model", "time_ms": key})
        elif action == "upsert" or key not in model:
            model[key] = value
            getattr(journal, action)("equity", row)
    journal.commit()
    with journal.reader() as reader:
        rows = reader.rows("equity", where={"scope": "model"})
    assert {row["time_ms"]: row["equity"] for row in rows} == model


_SHARED: list[Journal] = []


def _shared_journal() -> Journal:
    return _SHARED[0]


@pytest.fixture(autouse=True, scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep one journal open for the examples of hypothesis."""
    _SHARED.append(Journal.open(tmp_path_factory.mktemp("shared") / "j.sqlite"))
    yield
    _SHARED.pop().close()


def test_a_commit_is_whole_or_nothing_and_can_be_tried_again(path: Path) -> None:
    journal = Journal.open(path)
    blocker = journal.database.driver
    blocker.execute("CREATE TRIGGER stop BEFORE INSERT ON trades BEGIN SELECT RAISE(ABORT, 'no'); END")
    journal.insert("equity", equity(1))
    journal.insert("trades", sample_row(METADATA.tables["trades"]))
    journal.insert("watermarks", sample_row(METADATA.tables["watermarks"]))
    for _ in range(2):
        with pytest.raises(Halt) as caught:
            journal.commit(durable=True)
        assert caught.value.code == "journal_conflict"
        assert str(path) in str(caught.value)
        assert journal.pending == 3
        assert written(path) == []
    blocker.execute("DROP TRIGGER stop")
    assert journal.commit(durable=True) == 3
    assert written(path) == [1]
    journal.close()


def test_an_error_between_two_statements_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stratnb.journal.pending import PendingRows

    journal = Journal.open(path)
    journal.insert("equity", equity(1))
    journal.insert("denials", {"strategy_id": "a", "code": "halted", "count": 1, "last_ms": 1})
    write, calls = PendingRows.write, []

    def broken(self: PendingRows, connection: Any) -> int:
        calls.append(write(self, connection))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PendingRows, "write", broken)
        journal.commit()
    assert (written(path), journal.pending) == ([], 2)
    assert journal.commit() == 2
    assert written(path) == [1]
    journal.close()


def test_the_fence_lets_only_the_present_generation_write(path: Path) -> None:
    journal = Journal.open(path)
    journal.insert("equity", equity(1))
    for held in (("paper", 1), ("other", 3)):
        with pytest.raises(Halt) as caught:
            journal.commit(durable=True, fence=held)
        assert caught.value.code == "lease_lost"
        assert (journal.pending, written(path)) == (1, [])
    lease = {"account": "paper", "holder": "h", "host": "x", "pid": 1, "generation": 3, "expires_ms": 1}
    journal.upsert("lease", lease)
    journal.commit()
    journal.insert("equity", equity(2))
    assert journal.commit(fence=("paper", 3)) == 1
    thief = Journal.open(path)
    thief.upsert("lease", lease | {"generation": 4})
    thief.commit(durable=True)
    journal.insert("equity", equity(3))
    for _ in range(2):
        with pytest.raises(Halt) as caught:
            journal.commit(fence=("paper", 3))
        assert caught.value.code == "lease_lost"
    with pytest.raises(Halt, match="generation 4"):
        thief.commit(fence=("paper", 3))
    assert written(path) == [1, 2]
    thief.close()
    journal.close()


def test_numbers_are_never_given_twice(path: Path) -> None:
    seen: list[int] = []
    for _ in range(4):
        journal = Journal.open(path)
        for _ in range(3):
            seen.append(journal.next_seq())
            journal.upsert("equity", equity(seen[-1]) | {"seq": seen[-1]})
            journal.commit()
        journal.close()
    assert seen == sorted(set(seen))
    with JournalReader.open(path) as reader:
        assert reader.meta("seq") == str(seen[-1])
        assert reader.meta("schema_version") == str(schema_version())
        assert reader.meta("nothing") is None


def test_a_second_writer_is_noticed_and_a_new_holder_takes_up_its_numbers(path: Path) -> None:
    first, second = Journal.open(path), Journal.open(path)
    first.insert("equity", equity(1))
    first.commit()
    second.insert("equity", equity(2))
    with pytest.raises(Halt) as caught:
        second.commit()
    assert caught.value.code == "journal_second_writer"
    second.close()
    third = Journal.open(path)
    first.insert("equity", equity(3))
    first.commit()
    third.take_up()
    third.insert("equity", equity(4))
    third.commit()
    with third.reader() as reader:
        numbers = [row["seq"] for row in reader.rows("equity")]
    assert numbers == sorted(set(numbers))
    assert written(path) == [1, 3, 4]
    third.close()
    first.close()


@pytest.mark.parametrize(
    ("table", "row", "told"),
    [
        ("equity", {"scope": "", "time_ms": 1, "equitty": 1.0}, "no column 'equitty'"),
        ("equity", {"scope": ""}, "needs a value for 'time_ms'"),
        ("equity", {"scope": "", "time_ms": 1.5}, "cannot hold 1.5 in 'time_ms'"),
        ("equity", {"scope": 7, "time_ms": 1}, "cannot hold 7 in 'scope'"),
        ("equity", {"scope": "", "time_ms": 2**63}, "more than 64 bits"),
        ("equity", {"scope": "", "time_ms": 1, "equity": "much"}, "cannot hold 'much' in 'equity'"),
        ("events", {"type": "FILL", "payload": {}}, "needs a value for 'seq'"),
        ("events", {"seq": 1, "type": "FILL", "payload": {"price": float("nan")}}, "cannot hold"),
        ("events", {"seq": 1, "type": "FILL", "payload": {"price": object()}}, "cannot hold"),
        ("risk_state", {"scope": "", "row": 5, "digest": ""}, "cannot hold 5 in 'row'"),
        ("trades", {"strategy_id": "a", "trade_no": 1, "quantity": float("inf")}, "needs a value for"),
        ("equtiy", {}, "no table 'equtiy'; did you mean 'equity'?"),
    ],
)
def test_a_row_that_fits_no_table_is_refused_at_once(path: Path, table: str, row: dict[str, Any], told: str) -> None:
    journal = Journal.open(path)
    for put in (journal.insert, journal.upsert):
        with pytest.raises(ConfigError) as caught:
            put(table, row)
        assert told in str(caught.value)
    journal.insert("equity", equity(1))
    with pytest.raises(ConfigError, match="twice"):
        journal.insert("equity", equity(1))
    with pytest.raises(ConfigError, match="is deleted from by scope, time_ms"):
        journal.delete("equity", {"scope": ""})
    assert journal.commit() == 1
    with journal.reader() as reader, pytest.raises(ConfigError, match="no column 'sope'"):
        reader.rows("equity", where={"sope": 1})
    journal.close()


def test_numbers_of_numpy_and_hostile_text_are_kept_as_what_they_are(path: Path) -> None:
    journal = Journal.open(path, now_ms=lambda: 77)
    scope = "'; DROP TABLE equity; -- \x00 \ud800 <script>"
    journal.insert("equity", {"scope": scope, "time_ms": np.int64(5), "equity": np.float64(0.1)})
    journal.insert("equity", equity(6, float("nan")))
    journal.insert("equity", equity(7, float("-inf")))
    journal.insert("risk_state", {"scope": "a", "row": np.arange(3.0), "digest": "d"})
    journal.commit()
    with journal.reader() as reader:
        rows = reader.rows("equity")
        assert rows[0] == {
            **{"scope": scope.replace("\x00", "\ufffd").replace("\ud800", "\ufffd"), "time_ms": 5, "equity": 0.1},
            **{"seq": 1, "ts_ns": 77_000_000},
        }
        assert [row["equity"] for row in rows[1:]] == [None, None]
        assert np.frombuffer(reader.rows("risk_state")[0]["row"]).tolist() == [0.0, 1.0, 2.0]
    journal.close()


def test_a_reader_is_told_when_there_is_nothing_to_read_yet(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        JournalReader.open(path)
    assert caught.value.code == "journal_missing"
    assert not path.exists()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(RetryLater) as later:
        JournalReader.open(path)
    assert later.value.code == "journal_starting"


@pytest.mark.parametrize("target", ["", ":memory:", "sqlite://", "postgresql://user:secret@host/base", "nonsense://x"])
def test_what_is_no_file_is_refused(target: str) -> None:
    for opened in (Journal.open, JournalReader.open):
        with pytest.raises(ConfigError) as caught:
            opened(target)
        assert caught.value.code == "journal_target"
        assert "secret" not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        Journal.open(tmp_path)


def test_a_reader_cannot_write_and_sees_one_state_together(path: Path) -> None:
    journal = Journal.open(path)
    journal.insert("equity", equity(1))
    journal.commit()
    reader = journal.reader()
    with pytest.raises(Halt) as caught, reader.database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM equity")
    assert caught.value.code == "journal_read_only"
    with reader.together():
        assert reader.count("equity") == 1
        journal.insert("equity", equity(2))
        journal.commit(durable=True)
        assert reader.count("equity") == 1
        assert [len(batch) for batch in reader.batches("equity", size=1)] == [1]
    assert reader.count("equity") == 2
    assert [len(batch) for batch in reader.batches("equity", size=1)] == [1, 1]
    reader.close()
    journal.close()


def test_threads_write_and_read_without_losing_a_row(path: Path) -> None:
    journal = Journal.open(path)
    reader = journal.reader()
    seen: list[int] = []

    def write(scope: str) -> None:
        for number in range(150):
            journal.insert("equity", equity(number, scope=scope))
            if number % 7 == 0:
                journal.commit()

    def read() -> None:
        for _ in range(60):
            seen.append(reader.count("equity"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    journal.commit()
    assert reader.count("equity") == 600
    assert [row["seq"] for row in reader.rows("equity")] == list(range(1, 601))
    assert all(0 <= count <= 600 for count in seen)
    reader.close()
    journal.close()


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
def test_tables_and_statements_can_be_said_to_other_databases(dialect: Any) -> None:
    for table in METADATA.tables.values():
        made = str(CreateTable(table).compile(dialect=dialect))
        assert table.name in made
        assert (" WITHOUT ROWID" in made) == (dialect.name == "sqlite" and table.name == "candles")
    words = str(CreateTable(METADATA.tables["decisions"]).compile(dialect=postgresql.dialect()))
    assert "BIGINT" in words and "BYTEA" in words
    assert "ON CONFLICT (strategy_id, open_time_ms) DO UPDATE" in str(upsert(METADATA.tables["decisions"]))


@pytest.mark.parametrize("statement", ["import stratnb", "import stratnb.cli"])
def test_sqlalchemy_is_loaded_by_the_journal_only(statement: str) -> None:
    source = str(Path(stratnb.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {source!r}); {statement}; print('sqlalchemy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"
