"""A restart goes on bit by bit where the journal ends, and says what it cannot go on from."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forked import fork
from stratnb.engine import Engine
from stratnb.errors import ConfigError, Halt, RetryLater, StratnbError
from stratnb.exchange.book import PaperBook
from stratnb.journal import Journal, JournalReader
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from trading_cases import FREE, LONG, document, flat, market, registered, series, wander

FAST = {"query_delays_s": (0.005, 0.01), "absences": 3, "absence_spacing_s": 0.002, "unknown_grace_s": 0.01}
END = 300


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.sqlite"


def candles() -> list[Candles]:
    return [wander(END, 11, gaps=2), wander(END, 12, symbol="BBB/USDT")]


def open_(path: Path | None, **options: Any) -> Engine:
    """Return an engine on two random walks, with a journal when there is a path."""
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "orders": FAST, "markets": [market(), market("BBB/USDT")]}
    given: dict[str, Any] = {"candles": candles(), **known, **options}
    return Engine("again", **given, **({} if path is None else {"journal": path}))


def busy(name: str = "busy", **sections: Any) -> dict[str, Any]:
    """Return a document that trades often."""
    return document(name, exits={"stop_loss": {"fraction": 0.003}}, **sections)


def loaded(engine: Engine) -> list[str]:
    """Load three strategies, two of them active."""
    keys = [
        engine.add(busy("one"), "AAA/USDT"),
        engine.add(busy("two"), "BBB/USDT"),
        engine.add(busy("rest"), "AAA/USDT"),
    ]
    for key in keys[:2]:
        engine.activate(key)
    return keys


def state(engine: Engine) -> dict[str, Any]:
    """Return everything that must be the same: books, memories, fills, account, words."""
    told: dict[str, Any] = {"account": engine.desk.services.positions.account.tobytes()}
    for record in engine.list():
        key = record.strategy_id
        lane = engine.desk.lane(key)
        resident = engine.desk.cache.peek(key)
        told[key] = (
            lane.context.book.row.tobytes(),
            [row.tobytes() for row in lane.context.book.fill_rows],
            lane.context.book.correlation,
            record.state,
            None if resident is None or record.state == "dormant" else resident.memory.tobytes(),
            None if resident is None or record.state == "dormant" else (resident.candles, resident.watermark_ms),
        )
    return told


def twin(acts: Any = None) -> dict[str, Any]:
    """Return how one that is never stopped ends."""
    with open_(None) as engine:
        keys = loaded(engine)
        engine.step(END // 2)
        if acts is not None:
            acts(engine, keys)
        engine.step(10 * END)
        return state(engine)


def crash(engine: Engine) -> None:
    """Leave an engine without a clean end: nothing is written any more, its files are let go."""
    record = engine._operations._record
    assert record is not None
    record.recorder.failure = Halt("test", "the process ended")
    with contextlib.suppress(StratnbError):
        engine.close()


# The same as never stopped.


@pytest.mark.parametrize("stops", [(1,), (150,), (40, 41, 42, 200), tuple(range(10, 290, 25))])
@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_goes_on_as_if_it_had_never_stopped(path: Path, stops: tuple[int, ...], clean: bool) -> None:
    engine = open_(path)
    keys = loaded(engine)
    for stop in stops:
        engine.step(stop - engine.desk.feed.position)
        engine.desk.recorder.flush()  # type: ignore[attr-defined]
        before = state(engine)
        (Engine.close if clean else crash)(engine)
        engine = open_(path)
        engine.list()
        assert engine.desk.feed.position == stop
        assert state(engine) == before
        assert check_journal(path).faults == ()
    engine.step(10 * END)
    assert state(engine) == twin()
    assert {record.strategy_id for record in engine.list()} == {*keys}
    engine.close()


def test_evicted_and_back_is_as_never_gone(path: Path) -> None:
    def acts(engine: Engine, keys: list[str]) -> None:
        engine.activate(keys[2])
        engine.step(20)
        engine.deactivate(keys[2], policy="close")

    with open_(path) as engine:
        keys = loaded(engine)
        engine.step(END // 2)
        acts(engine, keys)
        engine.submit("evict", keys[2]).result(10)
        assert not engine.desk.cache.contains(keys[2])
        engine.step(20)
        engine.activate(keys[2])
        engine.step(10 * END)
        back = state(engine)

    def both(engine: Engine, keys: list[str]) -> None:
        acts(engine, keys)
        engine.step(20)
        engine.activate(keys[2])

    assert twin(both) == back


def test_what_a_person_chose_is_still_chosen(path: Path) -> None:
    with open_(path, mode="exclusive") as engine:
        engine.set_mode("parallel")
        keys = loaded(engine)
        engine.submit("pin", keys[2]).result(10)
        engine.step(60)
        engine.pause(keys[0])
        engine.release("test", "nothing")
    with open_(path, mode="exclusive") as again:
        records = {record.strategy_id: record for record in again.list()}
        assert again.desk.registry.mode == "parallel"
        assert records[keys[0]].state == "suspended"
        assert again.desk.lane(keys[0]).paused
        assert records[keys[2]].pinned
        again.resume(keys[0])
        assert again.desk.registry.get(keys[0]).state == "active"


def test_a_pause_is_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_(path)
    keys = loaded(engine)
    engine.step(40)
    real, recorder = Journal.commit, engine.desk.recorder

    def last(self: Journal, **options: Any) -> int:
        written = real(self, **options)
        recorder.failure = Halt("test", "the process ended")  # type: ignore[attr-defined]
        return written

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", last)
        with contextlib.suppress(StratnbError):
            engine.pause(keys[0])
    crash(engine)
    with open_(path) as again:
        records = {record.strategy_id: record.state for record in again.list()}
        assert (records[keys[0]] == "suspended") is again.desk.lane(keys[0]).paused
        again.pause(keys[0])
        again.resume(keys[0])
        assert again.desk.registry.get(keys[0]).state == "active"


def test_a_halt_outlives_a_restart(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(60)
        engine.kill("test")
    with open_(path) as again:
        again.list()
        assert again.view().risk_state == "HALTED"
        assert again.step(50) == 50
        assert again.view().risk_state == "HALTED"
        again.release("test", "looked at it")
        assert again.view().risk_state == "ACTIVE"
    with open_(path) as third:
        third.list()
        assert third.view().risk_state == "ACTIVE"


# Orders on their way.


def lose(engine: Engine, leg: str, call: str) -> None:
    """Lose one call."""
    lost = [RetryLater("answer_lost", "the test says so")]

    def line(where: Any, name: str) -> None:
        if lost and (where, name) == (leg, call):
            raise lost.pop()

    engine.desk.exchange.line = line


@pytest.mark.parametrize("leg", ["ask", "answer"])
def test_an_unknown_order_is_known_after_a_restart(path: Path, leg: str) -> None:
    slow = {**FAST, "query_delays_s": (30.0,)}
    rows = [*flat(1, volume=LONG), *flat(20)]
    options = {"candles": series(rows), "markets": [market()]}
    engine = open_(path, orders=slow, **options)
    key = engine.add(busy("one"))
    engine.activate(key)
    lose(engine, leg, "submit")
    engine.step(1)
    assert engine.desk.orders.unresolved
    crash(engine)
    with open_(path, **options) as again:
        assert again.step(3) == 3
        assert not again.desk.orders.unresolved
        fills = again.desk.lane(key).context.book.fill_rows
        assert len(fills) == 1
        assert again.desk.exchange.position("AAA/USDT", again.desk.now_ms()) == 1.0
    with JournalReader.open(path) as reader:
        assert [row["state"] for row in reader.rows("orders")] == ["FILLED"]
    assert check_journal(path).faults == ()


def test_a_fill_that_the_journal_missed_is_booked_at_the_restart(path: Path) -> None:
    rows = [*flat(1, volume=LONG), *flat(20)]
    options = {"candles": series(rows), "markets": [market()]}
    engine = open_(path, **options)
    key = engine.add(busy("one"))
    engine.activate(key)
    engine.step(4)
    execute = engine.desk.exchange.book.execute

    def die(*args: Any) -> Any:
        execute(*args)
        raise KeyError("the process ended here")

    engine.desk.exchange.book.execute = die  # type: ignore[method-assign]
    with contextlib.suppress(Exception):
        engine.close_position(key)
    crash(engine)
    with open_(path, **options) as again:
        again.list()
        book = again.desk.lane(key).context.book
        assert (book.quantity, len(book.fill_rows), book.row[at.B_ORDER]) == (0.0, 2, at.ORDER_NONE)
        assert again.step(5) == 5
    with JournalReader.open(path) as reader:
        assert {row["state"] for row in reader.rows("orders")} == {"FILLED"}
    assert check_journal(path).faults == ()


def test_a_cancel_that_was_never_sent_is_sent_after_the_restart(path: Path) -> None:
    rows = [*flat(1, volume=LONG), *flat(20)]
    options = {"candles": series(rows), "markets": [market()]}
    engine = open_(path, **options)
    key = engine.add(busy("one"))
    engine.activate(key)
    engine.step(1)
    exchange = engine.desk.exchange
    exchange.cancel = lambda order_id: (_ for _ in ()).throw(SystemError())  # type: ignore[method-assign]
    with contextlib.suppress(Exception):
        engine.cancel_order(key)
    crash(engine)
    with open_(path, **options) as again:
        assert again.step(5) == 5
        assert again.desk.lane(key).context.book.quantity == 0.0
        assert again.desk.exchange.working(again.desk.now_ms()) == ()
    assert check_journal(path).faults == ()


def test_ids_of_orders_are_never_used_twice(path: Path) -> None:
    seen: set[str] = set()
    for _ in range(4):
        with open_(path) as engine:
            if not engine.list():
                loaded(engine)
            engine.step(60)
        with JournalReader.open(path) as reader:
            ids = [row["client_id"] for row in reader.rows("orders")]
        assert len({each[-8:] for each in ids}) == len(ids)
        assert seen <= {*ids}
        seen = {*ids}
    assert len(seen) > 20


def test_numbers_of_orders_go_on_although_old_orders_are_written_again(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(150)
        newest = engine.desk.orders.sequence
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("update orders set seq = seq + 100000 where client_id not like ?", (f"%{newest}",))
        raw.execute("delete from orders where substr(client_id, 18) >= '00000005'")
    with JournalReader.open(path) as reader:
        assert int(reader.meta("order_sequence") or 0) == newest


# Damage.


def damaged(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        assert raw.execute(sql).rowcount > 0


@pytest.mark.parametrize("table", ["states", "snapshots"])
def test_a_damaged_newest_state_gives_way_to_an_older_one_and_replay(path: Path, table: str) -> None:
    with open_(path) as engine:
        keys = loaded(engine)
        engine.step(100)
        engine.submit("evict", keys[2]).result(10)
        engine.step(50)
        for key in keys[:2]:
            if engine.desk.lane(key).context.book.quantity:
                engine.close_position(key)
        before = state(engine)
    damaged(path, f"update {table} set memory = zeroblob(length(memory))")
    assert any(fault.code == "digest" for fault in check_journal(path).faults)
    with open_(path) as again:
        again.list()
        assert state(again) == before


def test_a_damaged_risk_row_means_halted_and_the_position_is_kept(path: Path) -> None:
    rows = [*flat(1, volume=LONG), *flat(5), *[(100, 100, 99.9, 99.9)] * 20]
    options = {"candles": series(rows), "markets": [market()]}
    with open_(path, **options) as engine:
        key = engine.add(document("one"))
        engine.activate(key)
        engine.step(5)
        held = engine.desk.lane(key).context.book
        kept = held.quantity, held.row[at.B_AVERAGE], held.row[at.B_STOP], held.row[at.B_COSTS]
        assert kept[0] > 0
    damaged(path, f"update risk_state set digest = 'x' where scope = '{key}'")
    with open_(path, **options) as again:
        again.list()
        assert again.desk.services.risk.state_of(key) == "HALTED"
        book = again.desk.lane(key).context.book
        assert (book.quantity, book.row[at.B_AVERAGE], book.row[at.B_STOP], book.row[at.B_COSTS]) == pytest.approx(kept)
        again.step(5)
        assert again.desk.services.risk.state_of(key) == "HALTED"
    with open_(path, **options) as third:
        third.list()
        assert third.desk.services.risk.state_of(key) == "HALTED"


@pytest.mark.parametrize("sql", ["delete from risk_state where scope = ''", "update risk_state set row = x'00'"])
def test_a_missing_account_row_means_halted(path: Path, sql: str) -> None:
    with open_(path) as engine:
        keys = loaded(engine)
        engine.step(100)
        for key in keys[:2]:
            if engine.desk.lane(key).context.book.quantity:
                engine.close_position(key)
    damaged(path, sql)
    with open_(path) as again:
        again.list()
        assert again.view().risk_state == "HALTED"


def test_a_damaged_page_is_refused_and_left_as_it_is(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(100)
    whole = bytearray(path.read_bytes())
    whole[4096 * 5 : 4096 * 5 + 200] = os.urandom(200)
    path.write_bytes(whole)
    engine = open_(path)
    with pytest.raises(Halt) as caught:
        engine.list()
    assert caught.value.code == "journal_damaged"
    assert str(path) in caught.value.message
    engine.close()
    assert path.read_bytes() == whole


# Journals of others.


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"candles": [wander(END, 11, timeframe="5m"), wander(END, 12, symbol="BBB/USDT", timeframe="5m")]}, "5m"),
        ({"candles": [wander(END, 11, gaps=2)], "markets": [market()]}, "BBB/USDT"),
        ({"cash": 5e5}, "500000"),
        ({"markets": [market(), market("BBB/USDT", taker_fee=0.002)]}, "taker_fee was 0.001, is 0.002"),
        ({"candles": [wander(END, 13), wander(END, 12, symbol="BBB/USDT")]}, "AAA/USDT"),
    ],
)
def test_a_journal_of_another_account_is_refused(path: Path, options: dict[str, Any], word: str) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(100)
    before = path.read_bytes()
    other = open_(path, **options)
    with pytest.raises(ConfigError) as caught:
        other.list()
    assert word in str(caught.value)
    assert "another journal" in caught.value.hint
    other.close()
    assert check_journal(path).faults == ()
    with open_(path) as again:
        assert again.step(10) == 10
    assert before


def test_a_further_market_may_come(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(100)
        before = state(engine)
    more = [*candles(), wander(END, 14, symbol="CCC/USDT")]
    with open_(path, candles=more, markets=[*map(market, ("AAA/USDT", "BBB/USDT", "CCC/USDT"))]) as again:
        again.list()
        assert state(again) == before
        assert again.activate(again.add(busy("new"), "CCC/USDT")).success
        assert again.step(50) == 50
        assert again.failure is None


def test_an_exchange_that_holds_something_else_is_said(path: Path, tmp_path: Path) -> None:
    with open_(path) as engine:
        keys = loaded(engine)
        while not engine.desk.lane(keys[0]).context.book.quantity:
            engine.step(1)
    with open_(path, paper_book=tmp_path / "another.sqlite") as again:
        with pytest.raises(Halt) as caught:
            again.list()
        assert caught.value.code == "ledger_mismatch"
    with open_(path) as third:
        assert third.step(5) == 5


def test_an_exchange_without_an_answer_is_waited_for(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(50)
    failed = threading.Event()
    from stratnb.exchange.paper import PaperExchange

    real = PaperExchange.executions

    def executions(self: PaperExchange, after: int, until_ms: int) -> Any:
        if not failed.is_set():
            failed.set()
            raise RetryLater("answer_lost", "the test says so")
        return real(self, after, until_ms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PaperExchange, "executions", executions)
        with open_(path) as again:
            assert again.step(10) == 10
    assert failed.is_set()


def killed_in(path: Path, name: str, sees: Callable[..., bool]) -> None:
    """Trade in a child that dies right after a change of the paper book that `sees` is true for."""

    def trade() -> None:
        with open_(path) as engine:
            engine.activate(engine.add(busy("one"), "AAA/USDT"))
            inner = getattr(PaperBook, name)

            def changed(book: PaperBook, *given: Any) -> Any:
                found = inner(book, *given)
                if sees(*given):
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

            setattr(PaperBook, name, changed)
            engine.step(END)

    pid = fork(trade)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


ACTS: dict[str, Callable[[Engine, str], object]] = {
    "cancel": lambda engine, key: engine.cancel_order(key),
    "pause": lambda engine, key: engine.pause(key),
    "kill": lambda engine, key: engine.kill("tester"),
    "close": lambda engine, key: engine.close_position(key),
    "part": lambda engine, key: engine.close_position(key, 0.5),
    "remove": lambda engine, key: engine.remove(key, policy="close"),
    "orphan": lambda engine, key: engine.remove(key, policy="keep_orphan"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("when", ["entry", "stop"])
def test_what_a_person_does_after_a_crash_never_trades_twice(path: Path, act: str, when: str) -> None:
    """The paper book was ahead of the journal by an entry's fill, or by an executed stop."""
    if when == "entry":
        killed_in(path, "execute", lambda order_id, rows, now_ms: len(rows) > 0)
    else:
        killed_in(path, "accept", lambda order, row: order.purpose == "s")
    with open_(path) as engine:
        (key,) = [record.strategy_id for record in engine.list()]
        with contextlib.suppress(StratnbError):
            ACTS[act](engine, key)
        engine.step(40)
        desk = engine.desk
        held = [lane.context.book.quantity for lane in desk.everyone() if lane.context.symbol == "AAA/USDT"]
        assert desk.exchange.position("AAA/USDT", desk.now_ms()) == pytest.approx(sum(held), abs=1e-9)
        assert not desk.orders.unresolved and engine.failure is None
        fills = [row for lane in desk.lanes() for row in lane.context.book.fill_rows]
        after = [abs(row[at.F_AFTER]) for row in fills]
        assert all(quantity <= 1.0 for quantity in after), "an exit was executed twice"
        assert sum(held) >= 0.0 or any(row[at.F_SIGN] < 0 and row[at.F_REASON] == at.REASON_ENTRY for row in fills)
    assert check_journal(path).faults == ()
    with open_(path) as engine:
        assert engine.step(5) == 5


def test_a_lost_journal_beside_a_full_paper_book_is_refused(path: Path) -> None:
    with open_(path) as engine:
        loaded(engine)
        engine.step(150)
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    with open_(path) as engine, pytest.raises(Halt) as caught:
        engine.list()
    assert caught.value.code == "journal_lost"
