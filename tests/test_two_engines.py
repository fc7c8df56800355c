"""Two engines on one journal and one paper book: at most one of them sends."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forked import forked, until
from stratnb.engine import Engine
from stratnb.errors import Halt, Refused, StratnbError
from stratnb.kernels import layout as at
from stratnb.market_data import synthetic_market

CANDLES = list(synthetic_market(["BTC/USDT"], candles=3_000, seed=5))
SHORT = {"life_s": 1.0, "renew_s": 0.2, "margin_s": 0.2}
QUICK = {"query_delays_s": (0.01,), "absences": 2, "absence_spacing_s": 0.0, "unknown_grace_s": 0.0}


def engine(folder: Path, name: str, **options: Any) -> Engine:
    journal = folder / "journal.sqlite"
    settings: dict[str, Any] = {"mode": "parallel", "journal": journal, "lease": SHORT, "orders": QUICK}
    return Engine(name, candles=CANDLES, **{**settings, **options})


def orders(folder: Path) -> list[tuple[str, str]]:
    """Return what the paper exchange accepted, oldest first."""
    with sqlite3.connect(folder / "journal.paper.sqlite") as book:
        return book.execute("select order_id, state from orders order by created_ms, order_id").fetchall()


def test_a_second_engine_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with engine(tmp_path, "first") as first:
        first.activate(first.add("simple-levels"))
        first.step(300)
        second = engine(tmp_path, "second")
        with pytest.raises(Refused) as caught:
            second.list()
        assert caught.value.code == "not_lease_holder"
        assert "first" in caught.value.message
        second.close()
        first.step(300)
        trades = first.stats()["total_trades"]
    with engine(tmp_path, "third") as third:
        assert [record.state for record in third.list()] == ["active"]
        assert third.stats()["total_trades"] == trades
        assert third.step(100) == 100


def frozen(folder: Path) -> Callable[[Callable[[str], object]], None]:
    """Return a child's work: trade until something stops it, then tell what."""

    def run(tell: Callable[[str], object]) -> None:
        trader = engine(folder, "frozen")
        trader.activate(trader.add("simple-levels"))
        trader.step(500)
        tell("trading")
        try:
            while trader.step(1):
                time.sleep(0.002)
            tell("done")
        except StratnbError as error:
            tell(error.code)
        failure = trader.failure
        tell(failure.code if isinstance(failure, Halt) else repr(failure))

    return run


def test_a_holder_that_was_frozen_sends_nothing_after_it_wakes(tmp_path: Path) -> None:
    with forked(frozen(tmp_path)) as (pid, hear):
        assert hear() == "trading"
        os.kill(pid, signal.SIGSTOP)
        time.sleep(SHORT["life_s"] + 0.3)
        with engine(tmp_path, "heir") as heir:
            heir.step(200)
            before = orders(tmp_path)
            os.kill(pid, signal.SIGCONT)
            said = hear()
            assert said not in ("done", ""), "the frozen one goes on as if nothing had happened"
            assert hear() in ("lease_lost", "lease_deadline", "journal_second_writer")
            after = orders(tmp_path)
            first = [order for order, _ in after if order.split("-")[2] == "0001"]
            assert first == [order for order, _ in before if order.split("-")[2] == "0001"]
            until(lambda: not heir.desk.orders.unresolved)
            assert heir.step(500) == 500
            sent = [order for order, _ in orders(tmp_path)]
            assert len(sent) == len(set(sent))
            held = heir.desk.lane(heir.list()[0].strategy_id).context.book.quantity
            assert heir.desk.exchange.position("BTC/USDT", heir.desk.now_ms()) == pytest.approx(held, abs=1e-9)


def test_a_dead_holder_s_lease_is_free_at_once(tmp_path: Path) -> None:
    with forked(frozen(tmp_path)) as (pid, hear):
        assert hear() == "trading"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with engine(tmp_path, "heir", lease={"life_s": 60.0}) as heir:
            assert heir.step(300) == 300
            assert heir.desk.orders.generation == 2


def test_a_lost_lease_halts_and_is_named_and_the_next_holder_trades_on(tmp_path: Path) -> None:
    with engine(tmp_path, "first") as first:
        first.activate(first.add("simple-levels"))
        first.step(300)
        with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
            journal.execute("update lease set generation = generation + 1, expires_ms = 0")
        until(lambda: first.failure is not None)
        until(lambda: first.view().risk_state == "HALTED")
        account = first.desk.services.positions.account
        assert account[at.A_RISK + at.K_BLOCK] == at.Z_NOT_HOLDER
        sent = orders(tmp_path)
        with pytest.raises(StratnbError):
            first.step(100)
        assert orders(tmp_path) == sent
    with engine(tmp_path, "second") as second:
        assert second.step(300) == 300
        assert second.view().risk_state == "ACTIVE"
        assert second.desk.services.positions.account[at.A_RISK + at.K_BLOCK] == 0.0
