"""The lease: at most one engine sends, whatever happens to the one before."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import update

from forked import end, fork, forked, until
from stratnb.errors import ConfigError, Halt, Refused, StratnbError
from stratnb.journal import Journal, JournalReader
from stratnb.journal import database as database_module
from stratnb.journal.check import check_journal
from stratnb.journal.clocks import boot_s
from stratnb.journal.holder import Holder, lease_holder
from stratnb.journal.lease import LEASE, Lease, LeaseSettings
from stratnb.journal.processes import is_gone, process_start

START_MS = 1_700_000_000_000
SHORT = LeaseSettings(life_s=0.4, renew_s=0.1, margin_s=0.05)


class Clock:
    """A clock that stands until it is told to go."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def boot_s(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return START_MS + round(self.seconds * 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a journal that an engine has made."""
    file = tmp_path / "journal.sqlite"
    Journal.open(file).close()
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Lease]


@pytest.fixture
def make(path: Path, clock: Clock) -> Iterator[Make]:
    """Return a maker of leases on the clock that stands; their threads rest, so that tests renew."""
    made: list[Lease] = []

    def _make(**options: Any) -> Lease:
        options = {"clock": clock.boot_s, "now_ms": clock.wall_ms, **options}
        made.append(Lease(path, options.pop("account", "paper"), **options))
        return made[-1]

    yield _make
    for lease in made:
        lease.release()


def code_of(call: Callable[[], object]) -> str:
    """Return the code of the error that a call raises, "" when it raises none."""
    try:
        call()
    except StratnbError as error:
        return error.code
    return ""


def equity(number: int) -> dict[str, Any]:
    return {"scope": "", "time_ms": number, "equity": 1.0}


def seize(path: Path, **values: Any) -> None:
    """Write the row of the lease as another engine would."""
    journal = Journal.open(path)
    with journal.database.transaction() as connection:
        connection.execute(update(LEASE).values(**values))
    journal.close()


def test_the_first_takes_it_and_the_second_learns_who_has_it(make: Make, clock: Clock) -> None:
    first, second = make(who="kernel 1"), make(who="kernel 2")
    assert first.acquire() is None
    assert first.acquire() is None
    clock.seconds += 3
    found = second.acquire()
    assert found == first_holder(first, clock)
    assert str(found).startswith("account 'paper' is held by kernel 1 (pid ") and "heard of 3 s ago" in str(found)
    assert (first.fence, first.is_held, second.is_held) == (("paper", 1), True, False)
    first.check()
    assert code_of(second.check) == code_of(lambda: second.fence) == "not_lease_holder"
    assert (repr(first), repr(second)) == ("Lease('paper', generation 1)", "Lease('paper', not held)")


def first_holder(lease: Lease, clock: Clock) -> Holder:
    host = os.uname().nodename
    since_ms = clock.wall_ms() - 3_000
    return Holder("paper", "kernel 1", host, os.getpid(), 1, since_ms + 20_000, since_ms, 3.0, True)


def test_accounts_do_not_meet(make: Make) -> None:
    assert make(account="one").acquire() is None
    assert make(account="two").acquire() is None


def test_one_that_was_given_back_is_free_and_its_generation_goes_on(make: Make, path: Path, clock: Clock) -> None:
    for generation in range(1, 6):
        lease = make()
        assert lease.acquire() is None
        assert lease.fence == ("paper", generation)
        lease.release()
        lease.release()
        assert code_of(lease.check) == "not_lease_holder"
        with JournalReader.open(path) as reader:
            found = lease_holder(reader, "paper", now_ms=clock.wall_ms)
        assert found is not None and not found.is_held and found.generation == generation
        assert "no longer held" in str(found)


def test_it_lives_as_long_as_it_is_renewed(make: Make, clock: Clock) -> None:
    lease, other = make(), make()
    lease.acquire()
    for _ in range(10):
        clock.seconds += 15
        assert other.acquire() is not None
        lease.renew()
        lease.check()
    clock.seconds += 17.9
    lease.check()
    clock.seconds += 0.2
    assert code_of(lease.check) == "lease_deadline"
    assert other.acquire() is not None, "the margin ends before the life"
    clock.seconds += 1.9
    assert other.acquire() is None
    assert other.fence == ("paper", 2)


@given(
    life_s=st.floats(1, 60),
    renew_share=st.floats(0.01, 0.6),
    margin_share=st.floats(0.0, 0.3),
    steps=st.lists(st.floats(0.01, 0.4), max_size=12),
)
def test_the_own_deadline_never_lies_behind_the_written_one(
    tmp_path_factory: pytest.TempPathFactory, life_s: float, renew_share: float, margin_share: float, steps: list[float]
) -> None:
    file, clock = tmp_path_factory.mktemp("lease") / "j.sqlite", Clock()
    Journal.open(file).close()
    settings = LeaseSettings(life_s=life_s, renew_s=renew_share * life_s, margin_s=margin_share * life_s)

    def ticking() -> float:
        clock.seconds += 0.001
        return clock.seconds

    lease = Lease(file, "paper", settings=settings, clock=ticking, now_ms=clock.wall_ms)
    lease.acquire()
    with JournalReader.open(file) as reader:
        for share in steps:
            clock.seconds += share * life_s
            if code_of(lease.check) == "":
                found = lease_holder(reader, "paper", now_ms=clock.wall_ms)
                assert found is not None and found.is_held
            lease.renew()
    lease.release()


def test_settings_leave_time_to_renew() -> None:
    with pytest.raises(ValidationError, match="longer than renew_s and margin_s"):
        LeaseSettings(life_s=5.0, renew_s=4.0, margin_s=1.0)


def test_a_changed_generation_is_told_once_and_ends_everything(make: Make, path: Path, clock: Clock) -> None:
    told: list[Halt] = []
    lease = make(on_lost=told.append)
    lease.acquire()
    seize(path, generation=2)
    for _ in range(3):
        lease.renew()
    assert [error.code for error in told] == ["lease_lost"]
    assert "taken by another engine" in str(told[0])
    assert code_of(lease.check) == "lease_lost"
    with JournalReader.open(path) as reader:
        found = lease_holder(reader, "paper", now_ms=clock.wall_ms)
    assert found is not None and found.generation == 2


def test_two_renewals_that_fail_lose_it_and_one_does_not(make: Make, path: Path, clock: Clock) -> None:
    told: list[Halt] = []
    lease = make(on_lost=told.append)
    lease.acquire()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_module, "BUSY_S", 0.01)
        blocking = Journal.open(path)
    for failures, lost in ((1, False), (0, False), (1, False), (2, True), (1, True)):
        clock.seconds += 1
        if failures == 0:
            lease.renew()
        else:
            with blocking.database.transaction():
                lease._database.driver.execute("PRAGMA busy_timeout=1")  # type: ignore[union-attr]
                lease.renew()
        assert (bool(told), lease.is_held) == (lost, not lost)
    blocking.close()
    assert [error.code for error in told] == ["lease_lost"] and "2 times" in told[0].message
    assert lease.acquire() is None, "nobody took it meanwhile"
    assert lease.fence == ("paper", 2)
    lease.check()


def test_the_thread_renews_and_tells(path: Path) -> None:
    told = threading.Event()
    threads: list[threading.Thread] = []

    def lost(error: Halt) -> None:
        threads.append(threading.current_thread())
        lease.release()
        told.set()

    lease = Lease(path, "paper", settings=LeaseSettings(life_s=30.0, renew_s=0.02), on_lost=lost)
    lease.acquire()
    with JournalReader.open(path) as reader:
        before = reader.one("lease", {"account": "paper"})
        assert before is not None
        until(lambda: (reader.one("lease", {}) or before)["expires_ms"] > before["expires_ms"])
    seize(path, generation=9)
    assert told.wait(10)
    threads[0].join(5)
    assert threads[0].name == "stratnb-lease" and threads[0].daemon and not threads[0].is_alive()
    assert code_of(lease.check) == "not_lease_holder"
    with JournalReader.open(path) as reader:
        assert (reader.one("lease", {}) or {})["expires_ms"] != 0, "what another one holds is not given back"


def test_a_lease_does_not_disturb_the_writer(make: Make, path: Path) -> None:
    journal, lease = Journal.open(path), make()
    lease.acquire()
    for number in range(5):
        journal.insert("equity", equity(number))
        journal.commit(fence=lease.fence)
        lease.renew()
    journal.close()
    assert check_journal(path).faults == ()


def test_a_forked_child_inherits_nothing(make: Make, path: Path) -> None:
    lease = make()
    lease.acquire()

    def run(tell: Callable[[str], object]) -> None:
        tell(code_of(lease.check))
        lease.release()
        tell(str(lease.acquire() is not None))

    with forked(run) as (_, hear):
        assert (hear(), hear()) == ("lease_lost", "True")
    lease.check()


def test_a_journal_comes_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="journal_missing"):
        Lease(tmp_path / "none.sqlite", "paper").acquire()
    assert list(tmp_path.iterdir()) == []


def test_of_many_processes_at_most_one_holds_it(path: Path) -> None:
    """Each takes it, holds it for a moment and gives it back or dies; times come from one clock of the machine."""
    log, wanted = path.with_name("held"), 120

    def run() -> None:
        dice = random.Random(os.getpid())
        lease = Lease(path, "paper")
        with log.open("a", buffering=1) as file:
            for _ in range(20):
                while lease.acquire() is not None:
                    time.sleep(0.001)
                begin_s, (_, generation) = boot_s(), lease.fence
                time.sleep(dice.random() * 0.003)
                lease.check()
                file.write(f"{generation} {begin_s!r} {boot_s()!r}\n")
                if dice.random() < 0.2:
                    os._exit(0)
                lease.release()

    children: set[int] = set()
    try:
        while not log.exists() or len(log.read_text().splitlines()) < wanted:
            while len(children) < 3:
                children.add(fork(run))
            pid, status = os.wait()
            children.remove(pid)
            assert status == 0
    finally:
        for pid in children:
            end(pid)
    held = sorted(
        (int(g), float(begin), float(over)) for g, begin, over in map(str.split, log.read_text().splitlines())
    )
    generations = [generation for generation, _, _ in held]
    assert len(generations) == len(set(generations)) >= wanted
    assert all(after[1] >= before[2] for before, after in itertools.pairwise(held))


def test_a_killed_holder_is_free_at_once(make: Make, path: Path, clock: Clock) -> None:
    def run(tell: Callable[[str], object]) -> None:
        lease = Lease(path, "paper", clock=clock.boot_s, now_ms=clock.wall_ms)
        assert lease.acquire() is None
        tell("held")
        time.sleep(60)

    lease = make()
    with forked(run) as (pid, hear):
        assert hear() == "held"
        found = lease.acquire()
        assert found is not None and (found.pid, found.is_held) == (pid, True)
        os.kill(pid, signal.SIGKILL)
        with JournalReader.open(path) as reader:
            until(lambda: not (lease_holder(reader, "paper", now_ms=clock.wall_ms) or found).is_held)
        assert lease.acquire() is None
        assert lease.fence == ("paper", 2)


def test_a_frozen_holder_sends_nothing_after_it_wakes(path: Path) -> None:
    def run(tell: Callable[[str], object]) -> None:
        journal, lease = Journal.open(path), Lease(path, "paper", settings=SHORT)
        assert lease.acquire() is None
        journal.take_up()
        journal.insert("equity", equity(1))
        journal.commit(durable=True, fence=lease.fence)
        journal.insert("equity", equity(2))
        tell("held")
        os.kill(os.getpid(), signal.SIGSTOP)
        tell(code_of(lease.check))
        tell(code_of(lambda: journal.commit(durable=True, fence=("paper", 1))))
        until(lambda: code_of(lease.check) == "lease_lost")
        tell(code_of(lease.check))

    with forked(run) as (pid, hear):
        assert hear() == "held"
        os.waitpid(pid, os.WUNTRACED)
        journal, lease = Journal.open(path), Lease(path, "paper")
        until(lambda: lease.acquire() is None)
        journal.take_up()
        journal.insert("equity", equity(3))
        journal.commit(durable=True, fence=lease.fence)
        os.kill(pid, signal.SIGCONT)
        assert hear() in ("lease_deadline", "lease_lost")
        assert (hear(), hear()) == ("lease_lost", "lease_lost")
        assert os.waitpid(pid, 0)[1] == 0
    lease.check()
    lease.release()
    with journal.reader() as reader:
        assert [row["time_ms"] for row in reader.rows("equity")] == [1, 3]
    journal.close()


def freeze_holder(reader: JournalReader) -> None:
    """Freeze who holds the lease until another one took it, and wake it then."""

    def holding() -> Holder | None:
        found = lease_holder(reader, "paper")
        return found if found is not None and found.is_held else None

    until(holding)
    frozen = lease_holder(reader, "paper")
    assert frozen is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    # One that is frozen within a write keeps the others out until it wakes.
    end_s = time.monotonic() + 2.0
    until(lambda: time.monotonic() > end_s or ((found := holding()) and found.generation != frozen.generation))
    os.kill(frozen.pid, signal.SIGCONT)


def test_of_engines_that_freeze_and_wake_only_the_holder_writes(path: Path) -> None:
    """Whoever holds it is frozen until another took over, then goes on; generations never mix in the journal."""

    def run() -> None:
        while True:
            journal, lease = Journal.open(path), Lease(path, "paper", settings=SHORT)
            while lease.acquire() is not None:
                time.sleep(0.005)
            journal.take_up()
            try:
                while True:
                    lease.check()
                    _, generation = lease.fence
                    number = journal.next_seq()
                    journal.insert("events", {"seq": number, "type": "SENT", "payload": {"generation": generation}})
                    journal.commit(fence=lease.fence)
                    time.sleep(0.002)
            except Halt as error:
                assert error.code in ("lease_deadline", "lease_lost"), error
            lease.release()
            journal.close()

    children = [fork(run) for _ in range(3)]
    try:
        with JournalReader.open(path) as reader:
            for _ in range(5):
                freeze_holder(reader)
    finally:
        for pid in children:
            end(pid)
    with JournalReader.open(path) as reader:
        generations = [row["payload"]["generation"] for row in reader.rows("events", order="seq")]
    assert generations == sorted(generations) and len(set(generations)) >= 3
    assert check_journal(path).faults == ()


def test_a_holder_frozen_within_a_write_keeps_everybody_out(make: Make, path: Path) -> None:
    holder = make(who="frozen")
    holder.acquire()
    with pytest.MonkeyPatch.context() as patch, Journal.open(path).database.transaction():
        patch.setattr(database_module, "BUSY_S", 0.01)
        found = make().acquire()
    assert found is not None and found.who == "frozen"


def test_only_a_proven_end_counts() -> None:
    start = process_start()
    if start is None:
        pytest.skip("this system does not tell when a process started")
    place, _, ticks = start.rpartition("/")
    assert not is_gone(os.getpid(), start)
    assert is_gone(os.getpid(), f"{place}/{int(ticks) - 1}"), "another process with the same number"
    gone = fork(lambda: None)
    zombie = process_start(gone)
    assert zombie is not None
    until(lambda: is_gone(gone, zombie))
    assert process_start(gone) == zombie, "it waits for its parent, but it runs no more"
    os.waitpid(gone, 0)
    assert is_gone(gone, zombie)
    for elsewhere in (f"another-boot/1/{ticks}", None, "", "nonsense", f"{place}x/1"):
        assert not is_gone(gone, elsewhere), "nobody can judge a process of another boot or container"
    assert not is_gone(0, start) and not is_gone(-1, start) and not is_gone(2**70, start)


def test_an_account_that_nobody_held_has_no_holder(path: Path) -> None:
    with JournalReader.open(path) as reader:
        assert lease_holder(reader, "paper") is None
    with pytest.raises(Refused, match="does not hold account"):
        Lease(path, "paper").check()
