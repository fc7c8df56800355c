"""A full disk, a read-only one, damage and kills: a clear error, whole transactions, nothing overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journal_sample import trading_journal
from stratnb.errors import ConfigError, Halt, StratnbError
from stratnb.journal import Journal, JournalReader
from stratnb.journal.check import check_journal
from stratnb.journal.wal import lost_commits

NOBODY = 65534
GROUP = 4


@contextlib.contextmanager
def child(run: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Fork a process that runs a function with the end of a pipe; give its pid and the pipe's other end."""
    end, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(end)
            run(start)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(start)
    try:
        yield pid, end
    finally:
        os.close(end)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def in_child(run: Callable[[], None]) -> None:
    """Run a function in a forked process and fail when it fails."""
    with child(lambda _: run()) as (pid, _):
        _, status = os.waitpid(pid, 0)
        assert status == 0


def group(number: int, blob: int = 500) -> list[dict[str, Any]]:
    """Return the rows of one transaction."""
    return [{"strategy_id": f"s{k}", "open_time_ms": number, "row": b"x" * blob} for k in range(GROUP)]


def write_groups(journal: Journal, first: int, *, durable: bool, told: Callable[[int], Any] = id) -> None:
    """Commit groups one after another until something stops it."""
    number = first
    while True:
        for row in group(number):
            journal.upsert("decisions", row)
        journal.commit(durable=durable)
        told(number)
        number += 1


def groups_in(path: Path) -> int:
    """Return how many groups the file holds; they are whole and without a gap."""
    with JournalReader.open(path) as reader:
        times = [row["open_time_ms"] for row in reader.rows("decisions")]
    assert times == [number for number in range(len(times) // GROUP) for _ in range(GROUP)]
    return len(times) // GROUP


def prints(folder: Path) -> dict[str, str]:
    """Return the digests of a folder's files, but for the index that SQLite keeps beside the log."""
    files = [file for file in folder.iterdir() if not file.name.endswith("-shm") and file.stat().st_size]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a journal can be."""
    return tmp_path / "j.sqlite"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed, sound journal."""
    path = tmp_path_factory.mktemp("sound") / "j.sqlite"
    trading_journal(path)
    return path


def test_a_file_that_may_not_grow_stops_the_commit_and_keeps_the_rows(path: Path) -> None:
    def run() -> None:
        journal = Journal.open(path)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        room = path.with_name("j.sqlite-wal").stat().st_size + 150_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        done: list[int] = []
        with pytest.raises(Halt) as caught:
            write_groups(journal, 0, durable=True, told=done.append)
        assert caught.value.code == "journal_io"
        assert str(path) in caught.value.message
        assert journal.pending == GROUP
        with pytest.raises(Halt):
            journal.commit(durable=True)
        assert groups_in(path) == len(done) > 5
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert journal.commit(durable=True) == GROUP
        assert groups_in(path) == len(done) + 1
        journal.close()

    in_child(run)
    assert groups_in(path) > 5
    assert lost_commits(path) == 0
    Journal.open(path).close()


def test_a_full_disk_stops_the_commit_and_keeps_the_rows(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        path, done = disk / "j.sqlite", []
        journal = Journal.open(path)
        with pytest.raises(Halt) as caught:
            write_groups(journal, 0, durable=True, told=done.append)
        assert caught.value.code == "journal_full"
        assert "free some space" in caught.value.hint
        assert (journal.pending, groups_in(path)) == (GROUP, len(done))
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        assert journal.commit(durable=True) == GROUP
        assert groups_in(path) == len(done) + 1
        journal.close()
        assert not [fault for fault in check_journal(path).faults if fault.code != "row_width"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_database_at_its_limit_stops_the_commit(path: Path) -> None:
    journal = Journal.open(path)
    journal.database.driver.execute("PRAGMA max_page_count=120")
    done: list[int] = []
    with pytest.raises(Halt) as caught:
        write_groups(journal, 0, durable=False, told=done.append)
    assert caught.value.code == "journal_full"
    journal.database.driver.execute("PRAGMA max_page_count=4000")
    assert journal.commit() == GROUP
    assert groups_in(path) == len(done) + 1
    journal.close()


def test_a_read_only_file_or_folder_is_said_and_can_still_be_read(sound: Path) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        path = home / "j.sqlite"
        shutil.copy(sound, path)
        path.chmod(0o444)
        home.chmod(0o555)

        def run() -> None:
            if os.getuid() == 0:
                os.setuid(NOBODY)
            for target in (path, home / "new.sqlite", home / "deeper" / "new.sqlite"):
                with pytest.raises(Halt) as caught:
                    Journal.open(target)
                assert caught.value.code == "journal_read_only", caught.value
                assert str(home) in caught.value.message
            assert check_journal(path).faults == ()

        before = prints(home)
        in_child(run)
        assert prints(home) == before
        assert [file.name for file in home.iterdir()] == ["j.sqlite"]
    finally:
        home.chmod(0o755)
        shutil.rmtree(home)


@pytest.mark.parametrize("place", [0, 16, 100, 4096, 3 * 4096])
def test_a_damaged_page_is_said_and_nothing_is_overwritten(sound: Path, path: Path, place: int) -> None:
    damaged = bytearray(sound.read_bytes())
    damaged[place : place + 64] = bytes(value ^ 0xFF for value in damaged[place : place + 64])
    path.write_bytes(damaged)
    with pytest.raises(Halt) as caught:
        Journal.open(path)
    assert caught.value.code == "journal_damaged"
    assert str(path) in caught.value.message
    assert path.read_bytes() == damaged
    assert check_journal(path).faults


def test_any_damage_ends_in_words(sound: Path, path: Path) -> None:
    source, random_ = sound.read_bytes(), random.Random(7)
    found = 0
    for _ in range(60):
        damaged = bytearray(source)
        for _ in range(random_.choice([1, 3, 40])):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        path.write_bytes(damaged[: random_.choice([len(damaged), random_.randrange(len(damaged))])])
        before = path.read_bytes()
        try:
            faults = check_journal(path).faults
            found += bool(faults)
        except StratnbError:
            found += 1
        with contextlib.suppress(StratnbError):
            Journal.open(path).close()
            continue
        assert path.read_bytes() == before
    assert found > 30


def leave_log(path: Path, groups: int) -> None:
    """Write groups and die without closing, so that they are in the log only."""

    def run() -> None:
        journal = Journal.open(path)
        for number in range(groups):
            for row in group(number):
                journal.insert("decisions", row)
            journal.commit(durable=True)

    in_child(run)


def test_a_damaged_log_is_said_before_its_end_is_cut_off(path: Path) -> None:
    leave_log(path, 30)
    log = path.with_name("j.sqlite-wal")
    assert lost_commits(path) == 0
    whole = log.read_bytes()
    for place in (20, 40, len(whole) // 2, len(whole) // 2 + 2000):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        log.write_bytes(damaged)
        before = prints(path.parent)
        with pytest.raises(Halt) as caught:
            Journal.open(path)
        assert caught.value.code == "journal_damaged"
        assert prints(path.parent) == before
    report = check_journal(path)
    assert [fault.code for fault in report.faults if fault.code != "row_width"] == ["log_damaged", "journal_went_back"]
    log.write_bytes(whole)
    Journal.open(path).close()
    assert groups_in(path) == 30


def test_a_torn_end_of_the_log_is_no_damage(path: Path) -> None:
    leave_log(path, 30)
    log = path.with_name("j.sqlite-wal")
    whole = log.read_bytes()
    # A kill between the head of the last frame and its page, then a shorter commit over the torn one's first frames.
    log.write_bytes(whole[:-4096] + bytes(4096))
    assert lost_commits(path) == 0
    stale = whole[: -3 * (24 + 4096)] + bytes(24 + 4096) + whole[-2 * (24 + 4096) : -4096] + bytes(4096)
    log.write_bytes(stale)
    assert lost_commits(path) == 0
    log.write_bytes(whole[:-3000])
    assert lost_commits(path) == 0
    Journal.open(path).close()
    assert 20 <= groups_in(path) < 30


def test_a_kill_at_any_time_leaves_a_prefix_with_all_that_was_confirmed(path: Path) -> None:
    random_, before = random.Random(3), 0
    for _ in range(20):

        def run(told: int, first: int = before) -> None:
            journal = Journal.open(path)
            write_groups(journal, first, durable=first % 2 == 0, told=lambda n: os.write(told, struct.pack("q", n)))

        with child(run) as (pid, end):
            os.read(end, 8)
            time.sleep(random_.uniform(0.0, 0.02))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            confirmed = [before]
            while part := os.read(end, 8000):
                confirmed += struct.unpack(f"{len(part) // 8}q", part)
        after = groups_in(path)
        assert after in (confirmed[-1] + 1, confirmed[-1] + 2)
        before = after
    codes = {fault.code for fault in check_journal(path).faults}
    assert codes == {"row_width", "decision_time"} or codes == {"row_width"}


def test_a_reader_sees_what_another_process_commits_and_never_holds_it_up(path: Path) -> None:
    Journal.open(path).close()

    def run(told: int) -> None:
        journal = Journal.open(path)
        write_groups(journal, 0, durable=True, told=lambda n: os.write(told, struct.pack("q", n)))

    with JournalReader.open(path) as reader, child(run) as (_, end):
        confirmed = struct.unpack("q", os.read(end, 8))[0]
        for _ in range(30):
            count = reader.count("decisions")
            assert count >= GROUP * (confirmed + 1)
            assert count % GROUP == 0
            confirmed = struct.unpack("q", os.read(end, 8))[0]
        with reader.together():
            count = reader.count("decisions")
            for _ in range(50):
                confirmed = struct.unpack("q", os.read(end, 8))[0]
            assert reader.count("decisions") == count < GROUP * confirmed


def test_a_kill_while_a_journal_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    random_ = random.Random(1)
    for number in range(15):
        path = tmp_path / f"{number}.sqlite"
        for _ in range(2):
            with child(lambda _, path=path: Journal.open(path).close()) as (pid, _):
                time.sleep(random_.uniform(0.0, 0.03))
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        journal = Journal.open(path)
        journal.upsert("decisions", group(0)[0])
        assert journal.commit(durable=True) == 1
        journal.close()
        assert check_journal(path).rows["decisions"] == 1


def test_several_processes_can_make_one_journal_at_once(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.sqlite"
        with contextlib.ExitStack() as stack:
            pids = [stack.enter_context(child(lambda _, path=path: Journal.open(path).close()))[0] for _ in range(4)]
            assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0, 0]
        assert check_journal(path).faults == ()


def test_a_writer_that_is_locked_out_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.journal.database.BUSY_S", 0.05)
    journal = Journal.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.insert("decisions", group(0)[0])
    with pytest.raises(Halt) as caught:
        journal.commit()
    assert caught.value.code == "journal_busy"
    other.execute("ROLLBACK")
    other.close()
    assert journal.commit() == 1
    journal.close()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    other, text = tmp_path / "other.sqlite", tmp_path / "text"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    text.write_text("not a database at all\n" * 300)
    before = prints(tmp_path)
    with pytest.raises(ConfigError, match="is a database but no journal"):
        Journal.open(other)
    with pytest.raises(Halt) as caught:
        Journal.open(text)
    assert caught.value.code == "journal_damaged"
    for path in (other, text):
        with pytest.raises(StratnbError):
            JournalReader.open(path)
    assert prints(tmp_path) == before
