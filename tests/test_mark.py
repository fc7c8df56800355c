"""A journal that went back to an older place says so, and nothing is traded until somebody has looked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stratnb.engine import Engine
from stratnb.journal.check import check_journal
from stratnb.journal.mark import Mark
from stratnb.kernels import layout as at
from trading_cases import FREE, document, market, registered, wander

CANDLES = wander(300, 5)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def opened(path: Path) -> Engine:
    options: dict[str, Any] = {"cash": 1e6, "limits": FREE, "mode": "parallel", "journal": path}
    return Engine("case", candles=CANDLES, markets=[market()], **options)


def copied(path: Path, folder: Path) -> Path:
    """Copy all files of a journal that is open, as a crash would leave them; its lease is free."""
    folder.mkdir()
    for each in path.parent.glob(f"{path.name.split('.')[0]}.*"):
        shutil.copy(each, folder / each.name)
    return folder / path.name


def freed(path: Path) -> Path:
    with sqlite3.connect(path) as journal:
        journal.execute("update lease set expires_ms = 0")
    return path


def cut(path: Path) -> None:
    """Cut the write-ahead log in half, at the end of a frame."""
    log = path.with_name(f"{path.name}-wal")
    whole = log.read_bytes()
    log.write_bytes(whole[: 32 + (len(whole) - 32) // (24 + 4096) // 2 * (24 + 4096)])


def older(path: Path) -> None:
    """Put the copy that was made before in the place of the journal."""
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
        found = path.parent.parent / "before" / (path.name + name)
        if found.exists():
            shutil.copy(found, path.with_name(path.name + name))


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """Return the files of an engine that was killed after somebody had pulled the kill switch."""
    path = tmp_path / "now" / "j.sqlite"
    with opened(path) as engine:
        engine.activate(engine.add(document("case")))
        engine.step(100)
        copied(path, tmp_path / "before")
        engine.step(100)
        engine.kill("test")
        return copied(path, tmp_path / "after")


def test_a_whole_journal_goes_on_without_a_word(crashed: Path) -> None:
    assert check_journal(crashed).faults == ()
    with opened(freed(crashed)) as engine:
        engine.list()
        assert [rule.rule for rule in engine.desk.services.risk.in_force()] == ["kill_switch"]


@pytest.mark.parametrize("back", [cut, older])
def test_one_that_went_back_is_named_and_halts_until_somebody_releases_it(
    crashed: Path, back: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    reached = Mark(crashed).read()
    back(crashed)
    assert "journal_went_back" in {fault.code for fault in check_journal(crashed).faults}
    with opened(freed(crashed)) as engine:
        engine.list()
        assert "went back to an older place" in caplog.text
        latched = [event for event in engine.events.since(0, 10_000) if event.type == "RISK_LATCHED"][-1]
        assert latched.payload["author"] == "journal"
        fills = engine.desk.exchange.executions(0, 1 << 60)
        engine.step(20)
        kept = {each.fill_id for each in fills}
        later = [each for each in engine.desk.exchange.executions(0, 1 << 60) if each.fill_id not in kept]
        assert all(each.row[at.F_REASON] != at.REASON_ENTRY for each in later), "entries while it is halted"
        assert engine.desk.services.risk.state == "HALTED"
    with opened(crashed) as engine:
        engine.list()
        assert engine.desk.services.risk.state == "HALTED"
        engine.release("test", "looked at it")
        engine.step(100)
        assert engine.desk.services.risk.state == "ACTIVE"
    assert check_journal(crashed).faults == ()
    assert Mark(crashed).read() > reached


def test_numbers_that_were_given_out_are_not_given_again(crashed: Path) -> None:
    reached = Mark(crashed).read()
    cut(crashed)
    with opened(freed(crashed)) as engine:
        engine.list()
        assert engine.desk.store.journal.next_seq() > reached  # type: ignore[attr-defined]


def test_a_mark_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    (tmp_path / "j.sqlite-mark").mkdir()
    with opened(path) as engine:
        engine.activate(engine.add(document("case")))
        assert engine.step(100) == 100
    assert Mark(path).read() == 0
    assert check_journal(path).faults == ()
