"""Fills that come in parts, late, or too many: each is booked once, and what should not be there is closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crash_harness import add_up
from stratnb.engine import Engine
from stratnb.exchange.base import OrderReport
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.model import OrderState
from stratnb.multi.lane import Working
from trading_cases import FREE, LONG, SYMBOL, Messages, document, flat, market, registered, series

FALLING = [*flat(1, volume=LONG), *flat(6), (100, 100, 97, 97), *flat(8, 97.0)]
TARGETS = {"take_profit": {"levels": [{"at": 0.01, "close": 0.5}, {"at": 0.05, "close": 0.5}]}}
EXITS = {"exits": {"stop_loss": {"fraction": 0.02}, **TARGETS}}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def opened(path: Path, rows: Any = FALLING, notifier: Any = None) -> Engine:
    kept = {"journal": path, "notifier": notifier}
    return Engine("case", candles=series(rows), markets=[market()], cash=1e6, limits=FREE, mode="parallel", **kept)


def entering(engine: Engine, **sections: Any) -> str:
    """Add a strategy that enters a unit and let its order rest."""
    key = engine.add(document("first", **sections))
    engine.activate(key)
    engine.step(1)
    return key


def filled(engine: Engine, work: Working, quantity: float, state: OrderState, price: float = 100.0) -> None:
    """Let the exchange fill a part of an order, and tell it."""
    order, book = work.order, engine.desk.exchange.book
    row = np.zeros(at.W_FILL)
    row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0 if order.side == "buy" else -1.0, quantity, price
    row[[at.F_FEE, at.F_TIME]] = 0.001 * quantity * price, engine.desk.now_ms()
    row[at.F_REASON] = at.REASON_MANUAL if order.reduces else at.REASON_ENTRY
    with book._transaction():
        book._insert(order.order_id, order.symbol, row[None], engine.desk.now_ms())
    report = book.report(order.order_id, engine.desk.now_ms())
    assert report is not None
    engine.desk.orders.hear(OrderReport(order.order_id, order.symbol, state, report.executions))


def test_exits_arm_on_the_part_that_is_filled_and_grow_with_it(tmp_path: Path) -> None:
    with opened(tmp_path / "j.sqlite") as engine:
        key = entering(engine, **EXITS)
        lane = engine.desk.lane(key)
        book, work = lane.context.book, lane.order
        assert work is not None
        filled(engine, work, 0.4, "PARTIAL")
        position = book.position()
        assert position is not None
        assert (position.quantity, position.stop) == (0.4, 98.0)
        assert [round(share, 3) for _, share, _ in position.targets] == [0.5, 0.5]
        assert book.row[at.B_LEVELS + 1] == 0.2
        assert work.state == "PARTIAL"
        engine.step(1)
        position = book.position()
        assert position is not None
        assert (position.quantity, work.state, lane.order) == (1.0, "FILLED", None)
        assert book.row[at.B_LEVELS + 1] == 0.5
        assert position.stop is not None
        assert position.stop >= 98.0
        engine.step(20)
        assert book.quantity == 0.0
        add_up(engine)
        rows = [(fill.quantity, fill.reason) for fill in book.fills()]
    assert rows == [(0.4, "entry"), (0.6, "entry"), (1.0, "stop")]
    assert check_journal(tmp_path / "j.sqlite").faults == ()


def test_a_close_cancels_what_is_left_of_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with opened(path) as engine:
        key = entering(engine)
        lane = engine.desk.lane(key)
        work = lane.order
        assert work is not None
        filled(engine, work, 0.4, "PARTIAL")
        assert engine.close_position(key)
        assert lane.context.book.is_flat
        assert (work.state, work.filled) == ("CANCELED", 0.4)  # asked at once what else it had filled
        assert not engine.desk.orders.unresolved
        engine.step(3)
        assert lane.context.book.is_flat
        assert engine.desk.exchange.working(engine.desk.now_ms()) == ()
        add_up(engine)
    assert check_journal(path).faults == ()


def test_what_two_closing_orders_filled_is_closed_at_once_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, messages = tmp_path / "j.sqlite", Messages()
    with opened(path, notifier=messages) as engine:
        key = entering(engine)
        engine.step(1)
        lane = engine.desk.lane(key)
        works: list[Working] = []
        real = engine.desk.orders.send

        def send(work: Working) -> None:
            works.append(work)
            real(work)

        monkeypatch.setattr(engine.desk.orders, "send", send)
        engine.step(7)
        (stop,) = works
        assert (stop.order.purpose, lane.context.book.quantity) == ("s", 0.0)
        filled(engine, stop, 1.0, "FILLED", 97.0)
        assert lane.context.book.quantity == -1.0
        assert works[-1].order.purpose == "c"
        assert works[-1].order.reason == "overfill"
        assert (works[-1].order.side, works[-1].order.quantity, works[-1].state) == ("buy", 1.0, "OPEN")
        engine.step(1)
        assert lane.context.book.is_flat
        add_up(engine)
    (loud,) = (text for level, text in messages.told if level != "info")
    assert "filled 1 AAA/USDT too much" in loud
    assert check_journal(path).faults == ()


def test_an_entry_that_filled_too_much_is_cut_back_to_its_size(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with opened(path) as engine:
        key = entering(engine)
        lane = engine.desk.lane(key)
        work = lane.order
        assert work is not None
        engine.step(1)
        filled(engine, work, 0.25, "FILLED")
        assert lane.context.book.quantity == 1.25
        engine.step(1)
        assert lane.context.book.quantity == 1.0
        assert lane.context.book.position().stop is not None  # type: ignore[union-attr]
        add_up(engine)
    assert check_journal(path).faults == ()
    with opened(path) as engine:
        engine.list()
        assert engine.desk.lane(key).context.book.quantity == 1.0
        add_up(engine)


def test_too_much_that_came_while_the_engine_was_away_is_closed_after_the_restart(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with opened(path) as engine:
        key = entering(engine)
        work = engine.desk.lane(key).order
        assert work is not None
        engine.step(3)
        row = np.zeros(at.W_FILL)
        row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_TIME]] = 1.0, 0.5, 100.0, engine.desk.now_ms()
        with engine.desk.exchange.book._transaction():
            engine.desk.exchange.book._insert(work.order_id, SYMBOL, row[None], engine.desk.now_ms())
    with opened(path) as engine:
        engine.list()
        book = engine.desk.lane(key).context.book
        assert book.quantity == 1.5
        assert (book.row[at.B_ORDER], book.row[at.B_ORDER_QUANTITY]) == (at.ORDER_EXIT, 0.5)
        engine.step(1)
        assert book.quantity == 1.0
        add_up(engine)
    assert check_journal(path).faults == ()


def told(engine: Engine, order_id: str) -> bool:
    """Tell the engine again all that the exchange knows of an order; return whether it knows it."""
    report = engine.desk.exchange.book.report(order_id, engine.desk.now_ms())
    assert report is not None
    return engine.desk.orders.hear(report)


def test_parts_a_cancel_and_too_much_told_twice_and_over_a_restart_are_booked_once_each(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with opened(path) as engine:
        key = entering(engine)
        lane = engine.desk.lane(key)
        book, work = lane.context.book, lane.order
        assert work is not None
        filled(engine, work, 0.25, "PARTIAL")
        filled(engine, work, 0.25, "PARTIAL")
        assert told(engine, work.order_id)
        assert engine.cancel_order(key)
        assert (work.state, work.filled, book.quantity) == ("CANCELED", 0.5, 0.5)
        filled(engine, work, 0.25, "CANCELED")  # it was on its way when the cancel arrived
        assert told(engine, work.order_id)
        assert (work.state, work.filled, book.quantity, book.row[at.B_ORDER]) == ("CANCELED", 0.75, 0.75, at.ORDER_NONE)
    with opened(path) as engine:
        engine.list()
        book = engine.desk.lane(key).context.book
        assert told(engine, work.order_id)
        assert book.quantity == 0.75
        filled(engine, work, 0.5, "CANCELED")  # a quarter of it is too much
        assert told(engine, work.order_id)
        assert (book.quantity, book.row[at.B_ORDER_QUANTITY]) == (1.25, 0.25)
        assert not engine.desk.orders.hear(OrderReport("snb-nobody", SYMBOL, "FILLED", ()))
        engine.step(1)
        assert book.quantity == 1.0
        add_up(engine)
    with opened(path) as engine:
        engine.list()
        book = engine.desk.lane(key).context.book
        assert [fill.quantity for fill in book.fills()] == [0.25, 0.25, 0.25, 0.5, 0.25]
        assert book.quantity == 1.0
    assert check_journal(path).faults == ()
