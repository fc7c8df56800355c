"""A switch is killed at every point: after the restart each lot has one owner and one strategy is active."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stratnb.engine import Engine
from stratnb.exchange.book import PaperBook
from stratnb.journal import Journal
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.operations import Operations
from stratnb.multi.records import POLICIES
from stratnb.multi.registry import Registry
from stratnb.services.positions import PositionManager
from trading_cases import FREE, LONG, document, flat, market, registered, series

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")

ROWS = [*flat(2), *flat(1, volume=LONG), *flat(2), (100, 103, 100, 103), *flat(3, 103.0), (103, 103, 96, 96)]
CANDLES = series([*ROWS, *flat(4, 96.0), *flat(1, 96.0, LONG), *flat(12, 96.0)])
FIRST, SECOND = "first@AAA/USDT#main", "second@AAA/USDT#main"
HELD, WORKING = 7, 3
SOON = {"query_delays_s": (0.005, 0.005), "absences": 2, "absence_spacing_s": 0.0, "unknown_grace_s": 0.01}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def opened(path: Path) -> Engine:
    options: dict[str, Any] = {"cash": 1e6, "limits": FREE, "orders": SOON, "journal": path}
    return Engine("crash", candles=CANDLES, markets=[market()], **options)


def copied(source: Path, path: Path) -> Path:
    """Copy a journal and the exchange's book beside it."""
    for each in source.parent.glob(f"{source.stem}.*"):
        shutil.copy(each, path.parent / each.name.replace(source.stem, path.stem, 1))
    return path


class Kill:
    """Ends this process at the `number`th point that a switch passes; what runs beside it is not counted."""

    def __init__(self, number: int) -> None:
        self.number, self.passed, self.inside = number, 0, False

    def point(self) -> None:
        """Pass a point."""
        if self.inside:
            if self.passed == self.number:
                os.kill(os.getpid(), signal.SIGKILL)
            self.passed += 1

    def around(self, owner: Any, name: str, *, behind: bool) -> None:
        """Put a point before a function, and one behind it."""
        real = getattr(owner, name)

        def passing(*args: Any, **kwargs: Any) -> Any:
            self.point()
            made = real(*args, **kwargs)
            if behind:
                self.point()
            return made

        setattr(owner, name, passing)

    def every_await(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """Put a point where a coroutine begins, and where it is left to wait."""

        async def passing(*args: Any, **kwargs: Any) -> Any:
            return await _Steps(operation(*args, **kwargs), self)

        return passing

    def within(self, owner: Any, name: str) -> None:
        """Count the points within a function, too."""
        real = getattr(owner, name)

        def passing(*args: Any, **kwargs: Any) -> Any:
            self.inside = True
            try:
                return real(*args, **kwargs)
            finally:
                self.inside = False

        setattr(owner, name, passing)


class _Steps:
    def __init__(self, work: Any, kill: Kill) -> None:
        self.work, self.kill = work, kill

    def __await__(self) -> Generator[Any, Any, Any]:
        while True:
            self.kill.inside = True
            try:
                self.kill.point()
                given = self.work.send(None)
                self.kill.point()
            except StopIteration as end:
                return end.value
            finally:
                self.kill.inside = False
            yield given


def child(path: Path, policy: str, number: int) -> None:
    """Switch, being killed at a point; write the number of points when there were fewer."""
    kill = Kill(number)
    for owner, name, writes in (
        (Journal, "commit", True),
        (PaperBook, "accept", True),
        (PaperBook, "execute", True),
        (PaperBook, "cancel", True),
        (PositionManager, "transfer", False),
        (Registry, "commit_switch", False),
    ):
        kill.around(owner, name, behind=writes)
    Operations.switch = kill.every_await(Operations.switch)  # type: ignore[method-assign]
    kill.within(Desk, "rest")
    engine = opened(path)
    engine.list()
    job = engine.submit("switch", SECOND, policy=policy)
    while not job.done and not any(lane.waits for lane in engine.desk.lanes()):
        engine.list()
    engine.step(8)
    job.result(5)
    engine.close()
    path.with_suffix(".points").write_text(str(kill.passed))


def killed(path: Path, policy: str, number: int) -> bool:
    """Run a child; return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(path, policy, number)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def prove(path: Path, policy: str) -> tuple[str, ...]:
    """Restart and prove owners, states, sums and the journal; return who is active."""
    with opened(path) as engine:
        records = {record.strategy_id: record for record in engine.list()}
        until = time.monotonic() + 5.0
        while engine.desk.orders.unresolved and time.monotonic() < until:
            engine.list()
        active = tuple(key for key, record in records.items() if record.state == "active")
        assert len(active) == 1
        books = {key: engine.desk.lane(key).context.book for key in records}
        held = {key: book.quantity for key, book in books.items() if book.quantity}
        assert len(held) <= 1, "a lot has one owner"
        position = engine.desk.exchange.position("AAA/USDT", engine.desk.now_ms())
        assert sum(held.values()) == position
        for key in held:
            assert records[key].state in ("active", "managing")
        entries = {key: book.row[at.B_ENTRIES] for key, book in books.items()}
        assert [key for key, may in entries.items() if may == at.ENTRIES_ON] == list(active)
        rows = engine.desk.store.switches()
        assert all(row.success is not None for row in rows)
        account = engine.desk.services.positions.account
        summed = 1e6 + sum(book.row[at.B_EQUITY] - book.row[at.B_CAPITAL] for book in books.values())
        assert account[at.A_EQUITY] == pytest.approx(summed, rel=1e-12)
        assert check_journal(path).faults == ()
        engine.step(40)
        other = FIRST if active == (SECOND,) else SECOND
        assert engine.switch(other, policy="close").success
        assert [record.state for record in engine.list()].count("active") == 1
        assert sum(book.quantity for book in books.values()) == 0.0
        assert policy
    assert check_journal(path).faults == ()
    return active


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory, test_blocks: None) -> dict[int, Path]:
    """Return journals in which the first strategy is active, with a working order or a position."""
    folder, made = tmp_path_factory.mktemp("starts"), {}
    for steps in (WORKING, HELD):
        made[steps] = folder / f"s{steps}.sqlite"
        with opened(made[steps]) as engine:
            for name in ("first", "second"):
                engine.add(document(name, exits={"stop_loss": {"fraction": 0.02 if name == "first" else 0.03}}))
            assert engine.switch(FIRST).success
            engine.step(steps)
            book = engine.desk.lane(FIRST).context.book
            assert (book.quantity, book.row[at.B_ORDER]) == ((1.0, 0.0) if steps == HELD else (0.0, 1.0))
    return made


@pytest.mark.parametrize(
    ("policy", "steps"), [*((policy, HELD) for policy in POLICIES), ("keep", WORKING), ("adopt", WORKING)]
)
def test_a_kill_at_any_point_of_a_switch_leaves_one_owner(
    policy: str, steps: int, starts: dict[int, Path], tmp_path: Path
) -> None:
    number, after = 0, []
    while killed(path := copied(starts[steps], tmp_path / f"n{number}.sqlite"), policy, number):
        after.append(prove(path, policy))
        number += 1
    after.append(prove(path, policy))
    assert number >= (8 if policy != "refuse" else 1)
    switched = [active == (SECOND,) for active in after]
    assert switched == sorted(switched), "the commit is one moment"
    assert switched[-1] == (policy != "refuse")
