"""The recorder: an instant is one transaction, intents are on disk before they are sent, a full disk stops trading."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import until
from stratnb.engine import Engine
from stratnb.errors import Halt, Refused, RetryLater, StratnbError
from stratnb.exchange.paper import PaperExchange
from stratnb.journal import Journal, JournalReader
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from trading_cases import FREE, LONG, document, flat, market, registered, series, wander

FAST = {"query_delays_s": (0.005, 0.01), "absences": 3, "absence_spacing_s": 0.002, "unknown_grace_s": 0.01}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.sqlite"


def recorded(path: Path, candles: Any = None, **options: Any) -> Engine:
    """Return an engine with a journal on a random walk."""
    candles = wander(400, 3) if candles is None else candles
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], "orders": FAST}
    return Engine("kept", candles=candles, journal=path, **{**known, **options})


def trading(path: Path, candles: Any = None, **options: Any) -> tuple[Engine, str]:
    """Return one with an active strategy."""
    engine = recorded(path, candles, **options)
    key = engine.add(busy())
    engine.activate(key)
    return engine, key


def busy(name: str = "busy") -> dict[str, Any]:
    """Return a document that trades often: its stop is near."""
    return document(name, exits={"stop_loss": {"fraction": 0.002}})


def table(path: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of a table as another process sees them."""
    with JournalReader.open(path) as reader:
        return reader.rows(name, **options)


# Intents.


def test_nothing_is_sent_before_its_intent_is_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = PaperExchange.submit, []

    def submit(self: PaperExchange, order: Any, row: Any = None) -> Any:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
            found = other.execute("select state from orders where client_id = ?", (order.order_id,)).fetchone()
        other.close()
        seen.append((order.purpose, found))
        return real(self, order, row)

    monkeypatch.setattr(PaperExchange, "submit", submit)
    engine, key = trading(path)
    with engine:
        engine.step(399)
        if engine.desk.lane(key).context.book.quantity:
            engine.close_position(key)
        engine.kill("test")
    assert len(seen) > 20
    assert {purpose for purpose, _ in seen} >= {"e", "s"}
    assert all(found is not None for _, found in seen)


def test_an_instant_is_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, key = trading(path)
    looks: list[tuple[int, int, float, float]] = []
    real = Journal.commit

    def commit(self: Journal, **options: Any) -> int:
        written = real(self, **options)
        with JournalReader.open(path) as reader, reader.together():
            mark = reader.one("watermarks", {"strategy_id": ""})
            risk = reader.one("risk_state", {"scope": key})
            fills = reader.rows("fills")
            if mark is not None and risk is not None:
                held = np.frombuffer(risk["row"])[at.B_QUANTITY]
                booked = sum(f["quantity"] if f["side"] == "buy" else -f["quantity"] for f in fills)
                looks.append((mark["open_time_ms"], mark["candles"], held, booked))
        return written

    monkeypatch.setattr(Journal, "commit", commit)
    with engine:
        engine.step(300)
    assert len(looks) > 30
    assert all(held == pytest.approx(booked) for _, _, held, booked in looks)
    assert looks == sorted(looks, key=lambda look: look[:2])


def test_instants_without_orders_are_written_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = Journal.commit, 0

    def commit(self: Journal, **options: Any) -> int:
        nonlocal count
        count += 1
        return real(self, **options)

    with recorded(path, series(flat(3_000))) as engine:
        engine.activate(engine.add(document()))
        monkeypatch.setattr(Journal, "commit", commit)
        engine.step(2_900)
    assert count < 300
    assert len(table(path, "decisions")) == 2_900
    assert len(table(path, "candles")) == 2_900


# What is kept.


def test_what_is_kept_adds_up(path: Path) -> None:
    engine, key = trading(path)
    with engine:
        engine.step(399)
        fills = len(engine.desk.lane(key).context.book.fill_rows)
        trades = engine.stats(key)["total_trades"]
        equity = float(engine.desk.services.positions.account[at.A_EQUITY])
    assert check_journal(path).faults == ()
    assert len(table(path, "fills")) == len(table(path, "ledger")) == fills > 20
    assert len(table(path, "trades")) == trades
    assert len(table(path, "decisions")) == 399
    orders = table(path, "orders")
    assert sum(order["filled"] for order in orders) == pytest.approx(sum(f["quantity"] for f in table(path, "fills")))
    assert {order["state"] for order in orders} <= {"FILLED", "CANCELED", "OPEN"}
    curve = table(path, "equity", where={"scope": ""}, order="time_ms")
    assert len(curve) == 399
    assert curve[-1]["equity"] == equity


def test_a_failing_strategy_keeps_its_book_with_its_fills(path: Path) -> None:
    rows = [*flat(1, volume=LONG), *flat(1, volume=0.5), *flat(5), (100, 100, 97, 97), *flat(20, 97.0)]
    engine, key = trading(path, series(rows))
    with engine:
        for _ in range(12):
            engine.step(1)
            engine.desk.recorder.flush()  # type: ignore[attr-defined]
            held = engine.desk.lane(key).context.book.row
            found = table(path, "risk_state", where={"scope": key})[0]["row"]
            assert np.array_equal(np.frombuffer(found), held, equal_nan=True)
    assert check_journal(path).faults == ()


def test_events_outlive_a_small_ring(path: Path) -> None:
    with recorded(path, event_buffer=4) as engine:
        engine.activate(engine.add(document()))
        engine.step(200)
        for number in range(3_000):
            engine.events.publish("SIGNAL_NEW", payload={"number": number})
    told = [row["payload"]["number"] for row in table(path, "events", where={"type": "SIGNAL_NEW"})]
    assert told == list(range(3_000))
    numbers = [row["seq"] for row in table(path, "events")]
    assert len(numbers) == len({*numbers})


def test_events_of_other_threads_are_all_kept_while_it_trades(path: Path) -> None:
    with recorded(path, event_buffer=50) as engine:
        engine.activate(engine.add(document()))

        def shout(name: int) -> None:
            for number in range(500):
                engine.events.publish("SIGNAL_NEW", payload={"from": name, "number": number})

        threads = [threading.Thread(target=shout, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        engine.step(399)
        for thread in threads:
            thread.join()
    told = [
        (row["payload"]["from"], row["payload"]["number"])
        for row in table(path, "events", where={"type": "SIGNAL_NEW"})
    ]
    assert sorted(told) == [(name, number) for name in range(4) for number in range(500)]


@pytest.mark.parametrize(
    "payload",
    [{"x": math.nan}, {"x": object()}, {"x": {1: math.inf}}, {1: "key"}, {"x": b"bytes"}, {"x": "\ud800\0"}],
)
def test_a_payload_that_is_no_json_stops_nothing(path: Path, payload: Any) -> None:
    with recorded(path) as engine:
        engine.activate(engine.add(document()))
        engine.events.publish("SIGNAL_NEW", payload=payload)
        engine.step(50)
        assert engine.failure is None
    assert len(table(path, "events", where={"type": "SIGNAL_NEW"})) == 1


def test_a_removed_strategy_leaves_its_history_and_a_new_one_begins_anew(path: Path) -> None:
    engine, key = trading(path)
    with engine:
        engine.step(150)
        first = engine.stats(key)["total_trades"]
        engine.remove(key, policy="close")
        closed = len(table(path, "trades"))
        assert closed >= first > 3
        assert table(path, "states") == table(path, "snapshots") == []
        assert engine.add(busy()) == key
        engine.activate(key)
        engine.step(150)
        fills = [row.copy() for row in engine.desk.lane(key).context.book.fill_rows]
        second = engine.stats(key)["total_trades"]
        decided = len(engine.desk.store.decisions(key).rows())
    assert len(table(path, "trades")) == closed + second
    assert check_journal(path).faults == ()
    with recorded(path) as again:
        again.list()
        assert np.array_equal(again.desk.lane(key).context.book.fill_rows, fills)
        assert again.stats(key)["total_trades"] == second
        assert len(again.desk.store.decisions(key).rows()) <= decided


# When the journal cannot be written.


def failing(engine: Engine, monkeypatch: pytest.MonkeyPatch, code: str = "journal_full") -> list[str]:
    """Let every commit fail from now on; return the list of the calls that reach the exchange."""
    sent: list[str] = []
    exchange = engine.desk.exchange
    for name in ("submit", "cancel"):
        real = getattr(exchange, name)

        def call(*args: Any, name: str = name, real: Any = real) -> Any:
            sent.append(name)
            return real(*args)

        monkeypatch.setattr(exchange, name, call)

    def commit(self: Journal, **options: Any) -> int:
        raise Halt(code, f"journal {self.path} has no room left on its disk", hint="free some space, then try again")

    monkeypatch.setattr(Journal, "commit", commit)
    return sent


def test_a_full_disk_stops_trading_and_nothing_is_sent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, key = trading(path)
    with engine:
        engine.step(100)
        before = table(path, "orders"), table(path, "watermarks")
        sent = failing(engine, monkeypatch)
        with pytest.raises(StratnbError):
            engine.step(200)
        assert engine.state == "stopped"
        assert engine.view().state == "stopped"
        assert str(path) in engine.view().notes[0]
        assert "free some space" in str(engine.failure)
        for refused in (lambda: engine.step(1), engine.start, lambda: engine.add(document("another"))):
            with pytest.raises(StratnbError):
                refused()
        for tried in (lambda: engine.close_position(key), lambda: engine.pause(key), lambda: engine.kill("test")):
            with contextlib.suppress(StratnbError):
                tried()
        assert sent == []
    assert (table(path, "orders"), table(path, "watermarks")) == before


def test_after_there_is_space_again_a_new_engine_goes_on_as_if_nothing_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, key = trading(path)
    with engine:
        engine.step(100)
        with monkeypatch.context() as patch:
            failing(engine, patch)
            with pytest.raises(StratnbError):
                engine.step(300)
            engine.close()
    with recorded(path) as engine:
        assert engine.failure is None
        engine.step(400)
        ended = engine.desk.lane(key).context.book.row.copy()
    twin_path = path.with_name("twin.sqlite")
    twin, key = trading(twin_path)
    with twin:
        twin.step(400)
        assert np.array_equal(twin.desk.lane(key).context.book.row, ended, equal_nan=True)
    assert check_journal(path).faults == ()


def test_a_disk_that_fills_up_while_it_plays_by_itself_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = trading(path, wander(3_000, 5))
    with engine:
        engine.step(20)
        sent = failing(engine, monkeypatch, "journal_io")
        with contextlib.suppress(Refused):  # what is flushed ten times a second may have met the disk already
            engine.start()
        until(lambda: engine.failure is not None)
        assert isinstance(engine.failure, Halt)
        assert sent == []
        assert engine.state == "stopped"
        with pytest.raises(Refused) as caught:
            engine.start()
        assert caught.value.code == "engine_failed"


def test_a_small_disk_for_real(path: Path) -> None:
    engine, _ = trading(path, wander(20_000, 5))
    with engine:
        engine.step(50)
        record = engine._operations._record
        assert record is not None
        pages = int(record.journal.database.pragma("page_count")[0][0])
        record.journal.database.driver.execute(f"PRAGMA max_page_count={pages + 40}")
        with pytest.raises(StratnbError) as caught:
            engine.step(19_000)
        assert caught.value.code == "journal_full"
        assert str(path) in caught.value.message
        assert engine.state == "stopped"
    assert check_journal(path).faults == ()
    with recorded(path, wander(20_000, 5)) as again:
        assert again.step(100) == 100
        assert again.failure is None


def test_an_engine_whose_journal_cannot_be_opened_does_not_trade_without_it(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    path = blocked / "j.sqlite"
    engine = recorded(path)
    with engine:
        for _ in range(2):
            with pytest.raises(StratnbError) as caught:
                engine.add(document())
            assert str(path) in caught.value.message
        blocked.unlink()
        assert engine.add(document())


def test_the_kill_switch_is_kept_even_while_an_instant_waits(path: Path) -> None:
    engine, _ = trading(path)
    with engine:
        engine.step(20)

        def dead(leg: str, call: str) -> None:
            raise RetryLater("answer_lost", "the test says so")

        engine.desk.exchange.line = dead
        job = engine.submit("step", 300)
        for _ in range(200):
            if engine.desk.orders.unresolved:
                break
            threading.Event().wait(0.01)
        assert engine.desk.orders.unresolved
        with contextlib.suppress(StratnbError):
            engine.kill("test")
        with JournalReader.open(path) as reader:
            kept = reader.meta("killed")
            found = reader.one("risk_state", {"scope": ""})
        assert found is not None
        assert kept is not None or np.frombuffer(found["row"])[at.A_STATE] == at.HALTED
        copy = path.with_name("copy.sqlite")
        with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
            source.backup(target)
            target.execute("delete from lease")
        source.close()
        target.close()
        engine.desk.exchange.line = None
        job.result(30)
    copied = path.with_suffix(".paper.sqlite")
    again = recorded(copy, paper_book=copied)
    with again:
        assert again.view() is not None
        again.list()
        assert again.view().risk_state == "HALTED"


def test_an_id_is_refused_while_another_engine_of_this_process_holds_the_account(path: Path) -> None:
    engine, _ = trading(path)
    with engine:
        other = recorded(path)
        with pytest.raises(Refused) as caught:
            other.list()
        assert caught.value.code == "not_lease_holder"
        other.close()
        assert engine.step(5) == 5
