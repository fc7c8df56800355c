"""`journal check` proves what a journal promises and names every fault; `journal export` hands all of it out."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from journal_sample import ALPHA, BETA, START_MS, Trading, trading_journal
from stratnb.cli import app
from stratnb.errors import ConfigError, Halt
from stratnb.journal import Journal, JournalReader, risk_digest, state_digest
from stratnb.journal.check import check_journal
from stratnb.journal.export import export_journal
from stratnb.journal.fold import Position
from stratnb.journal.schema import TABLES
from stratnb.kernels import layout as at
from stratnb.kernels.trade import apply_fill
from stratnb.multi.store import Snapshot

runner = CliRunner()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed, sound journal."""
    path = tmp_path_factory.mktemp("sound") / "j.sqlite"
    trading_journal(path)
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """Return a copy that may be damaged."""
    return Path(shutil.copy(sound, tmp_path / "j.sqlite"))


def damage(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


def codes(path: Path) -> list[str]:
    return [fault.code for fault in check_journal(path).faults]


def test_a_sound_journal_has_no_fault(path: Path) -> None:
    report = check_journal(path)
    assert report.faults == ()
    assert set(report.rows) == set(TABLES)
    assert {name: report.rows[name] for name in ("orders", "fills", "ledger", "trades", "decisions")} == {
        **{"orders": 8, "fills": 7, "ledger": 7, "trades": 2, "decisions": 5}
    }


FIRST = "(SELECT min(seq) FROM ledger)"
LAST = "(SELECT max(seq) FROM ledger)"
FAULTS = {
    "UPDATE fills SET client_id = 'snb-abc234-0001-e00000099' WHERE fill_id LIKE '%1.1'": {"fill_order"},
    "UPDATE fills SET symbol = 'ETH/USDT' WHERE fill_id LIKE '%1.1'": {"fill_order", "ledger_fill"},
    "UPDATE fills SET quantity = 0.31 WHERE fill_id LIKE '%1.1'": {"fill_row", "ledger_fill", "order_filled"},
    "UPDATE fills SET price = -1.0 WHERE fill_id LIKE '%1.1'": {"fill_value", "ledger_fill"},
    "UPDATE fills SET price = 9e999 WHERE fill_id LIKE '%1.1'": {"value_type"},
    "UPDATE fills SET price = 'much' WHERE fill_id LIKE '%1.1'": {"value_type"},
    "UPDATE fills SET row = x'00' WHERE fill_id LIKE '%1.1'": {"row_width"},
    "DELETE FROM fills WHERE fill_id LIKE '%1.1'": {"ledger_reference", "order_filled"},
    f"DELETE FROM ledger WHERE seq = {LAST}": {"fill_ledger", "book_quantity"},
    f"UPDATE ledger SET quantity = 0.4 WHERE seq = {FIRST}": {"ledger_fold", "ledger_fill"},
    f"UPDATE ledger SET position_after = 0.9 WHERE seq = {LAST}": {"ledger_fold", "book_quantity"},
    "UPDATE ledger SET realized = 7.0 WHERE realized > 0": {"ledger_realized", "book_realized", "trade_pnl"},
    f"UPDATE ledger SET kind = 'gift' WHERE seq = {LAST}": {"ledger_kind", "fill_ledger"},
    f"UPDATE ledger SET kind = 'adjust' WHERE seq = {LAST}": {"ledger_author", "fill_ledger"},
    f"UPDATE ledger SET kind = 'transfer' WHERE seq = {LAST}": {"ledger_author", "transfer_sum"},
    f"UPDATE ledger SET reference = (SELECT reference FROM ledger WHERE seq = {FIRST}) WHERE seq = {LAST}": {
        *("fill_twice", "fill_ledger", "ledger_fill")
    },
    "UPDATE orders SET filled = filled * 2 WHERE state = 'FILLED'": {"order_filled"},
    "UPDATE orders SET quantity = quantity / 2": {"order_overfilled", "order_state"},
    "UPDATE orders SET state = 'DREAMT' WHERE state = 'UNKNOWN'": {"order_state"},
    "UPDATE orders SET state = 'REJECTED' WHERE client_id LIKE '%1'": {"order_state"},
    "UPDATE orders SET state = 'FILLED' WHERE state = 'UNKNOWN'": {"order_state"},
    "UPDATE orders SET side = 'hold' WHERE state = 'UNKNOWN'": {"order_side"},
    "UPDATE orders SET quantity = 0 WHERE state = 'UNKNOWN'": {"order_quantity"},
    "UPDATE orders SET client_id = 'SNB-1' WHERE state = 'UNKNOWN'": {"client_id"},
    "UPDATE orders SET client_id = 'snb-xyz789-0002-x00000077' WHERE state = 'UNKNOWN'": {"client_id"},
    "UPDATE lease SET generation = 0": {"lease_generation", "order_generation"},
    "UPDATE orders SET limit_price = 0 WHERE state = 'UNKNOWN'": {"order_limit"},
    "UPDATE orders SET limit_price = 1e-9 WHERE side = 'buy' AND state = 'FILLED'": {"fill_limit"},
    "UPDATE orders SET row = x'0011' WHERE state = 'UNKNOWN'": {"row_width"},
    "UPDATE strategies SET code = 'TOO LONG' WHERE place = 1": {"strategy_code", "client_id"},
    "UPDATE strategies SET symbol = 'ETH/USDT'": {"ledger_symbol"},
    "DELETE FROM trades WHERE strategy_id LIKE 'alpha%'": {"trade_count"},
    "UPDATE trades SET pnl = pnl + 1 WHERE strategy_id LIKE 'alpha%'": {"trade_pnl"},
    "UPDATE trades SET exit_ms = 1 WHERE strategy_id LIKE 'alpha%'": {"trade_value"},
    "UPDATE risk_state SET digest = 'x' WHERE scope LIKE 'alpha%'": {"digest", "risk_missing"},
    "UPDATE risk_state SET row = zeroblob(16) WHERE scope = ''": {"digest", "risk_missing"},
    "DELETE FROM risk_state WHERE scope LIKE 'alpha%'": {"risk_missing"},
    "DELETE FROM risk_state WHERE scope = ''": {"risk_missing"},
    "UPDATE states SET memory = zeroblob(72)": {"digest"},
    "UPDATE snapshots SET watermark_ms = 1": {"digest"},
    "UPDATE snapshots SET memory = x'00'": {"digest", "row_width"},
    "UPDATE decisions SET row = zeroblob(9) WHERE seq = (SELECT min(seq) FROM decisions)": {"row_width"},
    "UPDATE decisions SET open_time_ms = 5 WHERE seq = (SELECT min(seq) FROM decisions)": {"decision_time"},
    "UPDATE events SET payload = '{'": {"value_type"},
    "UPDATE events SET seq = -4": {"event_value"},
    "UPDATE candles SET low = 9.0": {"candle_value"},
    "UPDATE meta SET value = '3' WHERE key = 'seq'": {"seq_mark"},
    "INSERT INTO switches (number, to_id, policy, phase, started_ms, seq, ts_ns) "
    "VALUES (2, 'a', 'keep', 'drain', 1, 1, 1), (3, 'b', 'keep', 'drain', 1, 1, 1)": {"switch_open"},
    "UPDATE switches SET success = NULL": {"switch_outcome"},
    f"UPDATE switches SET from_id = '{BETA}'": {"switch_owner"},
    "DROP TABLE trades": {"table_missing", "table_unreadable"},
    "ALTER TABLE equity DROP COLUMN equity": {"table_missing", "table_unreadable"},
}


@pytest.mark.parametrize("statement", FAULTS)
def test_each_broken_promise_is_named(path: Path, statement: str) -> None:
    damage(path, statement)
    assert set(codes(path)) >= FAULTS[statement]


def test_all_faults_are_reported_not_only_the_first(path: Path) -> None:
    damage(
        path,
        "UPDATE orders SET state = 'DREAMT' WHERE state = 'UNKNOWN'",
        "UPDATE decisions SET row = zeroblob(9)",
        "DELETE FROM risk_state WHERE scope = ''",
        "DROP TABLE trades",
    )
    found = codes(path)
    assert found.count("row_width") == 5
    assert {"order_state", "risk_missing", "table_missing"} <= set(found)


def test_transfers_adjustments_and_foreign_fills_add_up(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    trading = Trading(path)
    journal, book = trading.journal, trading.books[ALPHA]
    row = {"symbol": "BTC/USDT", "fee": 0.0, "time_ms": START_MS, "author": "ann", "reason": "found at the exchange"}
    moves = [("@orphan", "adjust", 0.5, 0.5), ("@orphan", "transfer", -0.5, 0.0), (ALPHA, "transfer", 0.5, 0.5)]
    for owner, kind, quantity, after in moves:
        told = {"strategy_id": owner, "kind": kind, "quantity": quantity, "price": 100.0, "realized": 0.0}
        journal.insert("ledger", row | told | {"seq": journal.next_seq(), "position_after": after, "reference": "t1"})
    fill = {"fill_id": "x1", "client_id": "theirs", "strategy_id": "@manual", "symbol": "BTC/USDT", "side": "buy"}
    journal.insert("fills", fill | {"quantity": 1.0, "price": 5.0, "fee": 0.0, "time_ms": START_MS})
    told = {"strategy_id": "@manual", "kind": "fill", "quantity": 1.0, "price": 5.0, "realized": 0.0}
    journal.insert("ledger", row | told | {"seq": journal.next_seq(), "position_after": 1.0, "reference": "x1"})
    book[at.B_QUANTITY], book[at.B_AVERAGE] = 0.5, 100.0
    trading.risk()
    journal.commit()
    journal.close()
    assert check_journal(path).faults == ()
    damage(path, "UPDATE ledger SET quantity = 0.4, position_after = 0.4 WHERE strategy_id LIKE 'alpha%'")
    assert codes(path) == ["transfer_sum", "book_quantity"]


FILLS = st.lists(st.tuples(st.sampled_from([-1.0, 1.0]), st.integers(1, 900), st.integers(1, 500)), max_size=40)


@given(FILLS)
def test_the_fold_is_the_kernels_arithmetic_bit_for_bit(fills: list[tuple[float, int, int]]) -> None:
    book, position = np.zeros(at.W_BOOK), Position()
    for sign, lots, ticks in fills:
        row = np.zeros(at.W_FILL)
        row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = sign, lots / 1000, ticks / 7
        apply_fill(book, row)
        told = {"quantity": sign * lots / 1000, "price": ticks / 7, "realized": row[at.F_REALIZED], "fee": 0.0}
        assert position.fold(told | {"kind": "fill"}) == row[at.F_REALIZED]
        assert position.quantity == book[at.B_QUANTITY] == row[at.F_AFTER]
        assert position.average == book[at.B_AVERAGE]
        assert position.realized == book[at.B_REALIZED]
    assert position.closed == book[at.B_TRADES]


def test_the_digest_of_a_state_is_that_of_the_snapshot_it_holds() -> None:
    snapshot = Snapshot(1, ALPHA, "c", "d", START_MS, START_MS, 3, b"memory--")
    row = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    assert state_digest(row) == snapshot.digest()
    assert len({risk_digest("", b"b"), risk_digest("a", b"b"), risk_digest("a", b"c")}) == 3


def test_a_journal_is_checked_while_it_is_written(path: Path) -> None:
    journal = Journal.open(path)
    journal.insert("decisions", {"strategy_id": BETA, "open_time_ms": 1, "row": b"short"})
    assert codes(path) == []
    journal.commit()
    assert codes(path) == ["row_width"]
    journal.close()


def test_every_table_becomes_a_file(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "deep"
    rows = export_journal(path, folder)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.parquet" for name in TABLES)
    tables = {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in TABLES}
    assert {name: len(table) for name, table in tables.items()} == rows
    with JournalReader.open(path) as reader:
        for name in ("orders", "fills", "ledger", "trades", "equity", "candles", "states", "decisions", "events"):
            for read, kept in zip(tables[name], next(reader.batches(name), []), strict=True):
                for column, value in kept.items():
                    floats = column == "row" and value is not None
                    wanted = np.frombuffer(value).tolist() if floats else value
                    np.testing.assert_equal(read[column], wanted)


def test_nothing_is_overwritten_by_an_export(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "trades.parquet").write_text("mine")
    with pytest.raises(ConfigError) as caught:
        export_journal(path, folder)
    assert caught.value.code == "export_exists"
    assert [file.name for file in folder.iterdir()] == ["trades.parquet"]
    with pytest.raises(Halt) as halted:
        export_journal(path, path / "below-a-file")
    assert halted.value.code == "export_failed"
    with pytest.raises(ConfigError):
        export_journal(tmp_path / "none.sqlite", folder)


def test_an_export_that_fails_names_the_folder_not_the_journal(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(Halt) as caught:
        export_journal(path, tmp_path / "out")
    assert caught.value.code == "export_failed"
    assert str(tmp_path / "out") in caught.value.message
    assert not [file for file in (tmp_path / "out").iterdir() if file.suffix == ".part"]


def test_a_reader_names_the_column_that_is_no_json(path: Path) -> None:
    damage(path, "UPDATE events SET payload = '{'")
    with JournalReader.open(path) as reader, pytest.raises(Halt, match="which is no JSON") as caught:
        reader.rows("events")
    assert caught.value.code == "journal_damaged"


def test_the_command_check_says_what_it_found(path: Path) -> None:
    result = runner.invoke(app, ["journal", "check", str(path)])
    assert result.exit_code == 0, result.output
    assert f"{path}: no fault; " in result.output
    assert "7 fills" in result.output
    damage(path, "UPDATE orders SET state = 'DREAMT' WHERE state = 'UNKNOWN'", "UPDATE events SET seq = -4")
    result = runner.invoke(app, ["journal", "check", str(path)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("fault [order_state] orders/snb-abc234-0001-e00000008: state 'DREAMT'")
    assert lines[-1].startswith(f"{path}: 2 faults; ")
    result = runner.invoke(app, ["journal", "check", str(path), "--json"])
    assert result.exit_code == 1
    assert [fault["code"] for fault in json.loads(result.output)["faults"]] == ["order_state", "event_value"]


def test_the_command_export_writes_files(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = runner.invoke(app, ["journal", "export", str(path), str(folder)])
    assert result.exit_code == 0, result.output
    assert len(list(folder.glob("*.parquet"))) == len(TABLES)
    again = runner.invoke(app, ["journal", "export", str(path), str(folder)])
    assert again.exit_code == 2
    assert "[export_exists]" in again.output


@pytest.mark.parametrize("words", [["check"], ["export"]])
def test_a_missing_journal_is_an_error_in_words(tmp_path: Path, words: list[str]) -> None:
    target = [str(tmp_path / "out")] if words == ["export"] else []
    result = runner.invoke(app, ["journal", *words, str(tmp_path / "none.sqlite"), *target])
    assert result.exit_code == 2
    assert "[journal_missing] there is no journal at" in result.output
    assert "Traceback" not in result.output
