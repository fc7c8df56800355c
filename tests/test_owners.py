"""Positions that belong to no strategy: left behind, found at a restart, closed by their stop, adopted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crash_harness import add_up
from stratnb.engine import Engine
from stratnb.errors import Halt, Refused
from stratnb.exchange.book import PaperBook
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.model import Order
from trading_cases import FREE, LONG, SYMBOL, document, flat, market, registered, series

ORPHAN = f"@orphan@{SYMBOL}"
FALLING = [*flat(1, volume=LONG), *flat(6), (100, 100, 97, 97), *flat(6, 97.0)]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def desk_of(path: Path | None = None, rows: Any = FALLING) -> Engine:
    options: dict[str, Any] = {} if path is None else {"journal": path}
    return Engine("case", candles=series(rows), markets=[market()], cash=1e6, limits=FREE, mode="parallel", **options)


def held(engine: Engine) -> dict[str, float]:
    found = {lane.context.strategy_id: lane.context.book.quantity for lane in engine.desk.everyone()}
    return {key: quantity for key, quantity in found.items() if quantity}


def left(engine: Engine) -> str:
    """Let a strategy enter, and remove it without its position."""
    key = engine.add(document("first"))
    engine.activate(key)
    engine.step(3)
    engine.remove(key, policy="keep_orphan")
    return key


def test_a_removed_strategys_position_is_closed_by_its_stop(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with desk_of(path) as engine:
        left(engine)
        assert held(engine) == {ORPHAN: 1.0}
        (shown,) = engine.view().positions
        assert (shown.strategy_id, shown.quantity, shown.stop) == (ORPHAN, 1.0, pytest.approx(100.1 * 0.98, abs=0.01))
        assert engine.view().open_positions == 1
        stats = engine.stats()
        assert stats["equity"] == pytest.approx(1e6 + stats["combined_pnl"] + stats["removed_pnl"], rel=1e-12)
    assert check_journal(path).faults == ()
    with desk_of(path) as engine:
        engine.list()
        assert held(engine) == {ORPHAN: 1.0}
        before = engine.view().equity
        engine.step(10)
        assert held(engine) == {}
        (trade,) = engine.desk.lane(ORPHAN).context.book.trades()
        assert (trade.reason, trade.entry_price) == ("kept_stop", 100.1)
        assert engine.view().equity < before
        assert engine.desk.exchange.position(SYMBOL, engine.desk.now_ms()) == 0.0
        stats = engine.stats()
        assert stats["equity"] == pytest.approx(1e6 + stats["combined_pnl"] + stats["removed_pnl"], rel=1e-12)
    assert check_journal(path).faults == ()


@pytest.mark.parametrize("price", [None, 99.5])
def test_it_is_adopted_with_a_stop_by_somebody_for_a_reason(price: float | None, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with desk_of(path, [*FALLING[:7], *flat(20)]) as engine:
        left(engine)
        key = engine.add(document("second"))
        with pytest.raises(Refused) as caught:
            engine.adopt_orphan(SYMBOL, key, 98.0, author="ann", reason="mine")
        assert caught.value.code == "not_active"
        engine.activate(key)
        equity = engine.view().equity
        with pytest.raises(Refused) as caught:
            engine.adopt_orphan(SYMBOL, key, 100.5, author="ann", reason="mine")
        assert caught.value.code == "stop_beyond_mark"
        engine.adopt_orphan(SYMBOL, key, 99.0, entry_price=price, author="ann", reason="mine")
        assert held(engine) == {key: 1.0}
        row = engine.desk.lane(key).context.book.row
        assert (row[at.B_AVERAGE], row[at.B_STOP]) == (price or 100.1, 99.0)
        assert engine.view().equity == pytest.approx(equity, rel=1e-15)
        with pytest.raises(Refused) as caught:
            engine.adopt_orphan(SYMBOL, key, 99.0, author="ann", reason="mine")
        assert caught.value.code == "no_position"
        engine.step(2)
    assert check_journal(path).faults == ()
    with desk_of(path, [*FALLING[:7], *flat(20)]) as engine:
        engine.list()
        assert held(engine) == {key: 1.0}
        assert engine.kill()["closed"] == 1


def foreign(path: Path, quantity: float, order_id: str = "snb-zzzzzz-0001-e00000001") -> None:
    """Let the exchange execute what no journal of ours knows."""
    book = PaperBook(path.with_suffix(".paper.sqlite"))
    side = "buy" if quantity > 0 else "sell"
    order = Order(order_id, "", SYMBOL, side, abs(quantity), False, "", 1, "m")  # type: ignore[arg-type]
    row = np.zeros(at.W_FILL)
    row[: at.F_REALIZED] = np.sign(quantity), abs(quantity), 100.0, 0.0, 1.0, at.REASON_MANUAL
    book.accept(order, row)
    book.close()


def test_what_the_exchange_holds_beyond_our_books_is_an_orphans(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with desk_of(path) as engine:
        key = engine.add(document("first"))
        engine.activate(key)
        engine.step(3)
    foreign(path, 0.5)
    for _ in range(2):
        with desk_of(path) as engine:
            engine.list()
            assert held(engine) == {key: 1.0, ORPHAN: 0.5}
            assert engine.desk.services.risk.state_of(key) == "REDUCING"
            assert engine.desk.lane(ORPHAN).context.book.position() is not None
        assert check_journal(path).faults == ()


def test_what_somebody_else_traded_on_the_account_is_kept_apart(tmp_path: Path) -> None:
    path, manual = tmp_path / "j.sqlite", f"@manual@{SYMBOL}"
    with desk_of(path) as engine:
        key = engine.add(document("first"))
        engine.activate(key)
        engine.step(3)
    foreign(path, 0.5, "hand-1")
    for _ in range(2):
        with desk_of(path) as engine:
            engine.list()
            assert held(engine) == {key: 1.0, manual: 0.5}
            assert engine.desk.services.risk.state_of(key) == "ACTIVE"
            add_up(engine)
            assert [fill.reason for fill in engine.desk.lane(manual).context.book.fills()] == ["manual"]
        assert check_journal(path).faults == ()
    with desk_of(path) as engine:
        engine.step(12)
        assert held(engine) == {manual: 0.5}
        assert engine.close_position(manual)
        add_up(engine)
        assert held(engine) == {}
    assert check_journal(path).faults == ()


def test_less_than_our_books_halts(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with desk_of(path) as engine:
        engine.activate(engine.add(document("first")))
        engine.step(3)
    foreign(path, -0.5)
    engine = desk_of(path)
    with pytest.raises(Halt) as caught:
        engine.list()
    assert caught.value.code == "ledger_mismatch"


def test_a_stop_by_hand_and_a_close_by_hand_work_without_a_strategy() -> None:
    with desk_of() as engine:
        left(engine)
        assert engine.move_stop(ORPHAN, 99.5) == 99.5
        assert engine.close_position(ORPHAN, 0.5)
        assert held(engine) == {ORPHAN: 0.5}
        engine.step(8)
        assert held(engine) == {}


def test_two_orphans_of_one_market_are_not_mixed() -> None:
    with desk_of() as engine:
        first, second = engine.add(document("first")), engine.add(document("second"))
        engine.activate(first)
        engine.activate(second)
        engine.step(3)
        engine.remove(first, policy="keep_orphan")
        with pytest.raises(Refused) as caught:
            engine.remove(second, policy="keep_orphan")
        assert caught.value.code == "orphan_taken"
        assert held(engine) == {second: 1.0, ORPHAN: 1.0}
        engine.step(1)
