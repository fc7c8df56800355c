"""The kill switch over a death of the engine: nothing of it has happened, or all of it happens."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crash_harness import add_up, dying, ended, insist
from forked import fork
from stratnb.engine import Engine
from stratnb.errors import Refused, RetryLater
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.multi import emergency
from trading_cases import FREE, LONG, Messages, document, flat, market, registered, series

ROWS = [*flat(1, volume=LONG), *flat(2), *flat(1, volume=LONG), *flat(6)]
FAST = {"query_delays_s": (0.002,), "absences": 2, "absence_spacing_s": 0.0, "unknown_grace_s": 0.0}
FAR = {"entry_order": "limit", "limit_offset": 0.05, "limit_timeout_s": 3_600, "simulation": {"slippage": 0.0}}
SEVERAL, STRIDE = 3, 7


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def opened(path: Path, **options: Any) -> Engine:
    """Return an engine on a journal."""
    given = {"markets": [market()], "cash": 1e6, "limits": FREE, "mode": "parallel", "orders": FAST, **options}
    return Engine("killed", candles=series(ROWS), journal=path, **given)


@pytest.fixture(scope="module")
def holding(test_blocks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the journal of an account: three strategies hold a unit, the entry of a fourth rests."""
    folder = tmp_path_factory.mktemp("holding")
    with opened(folder / "j.sqlite") as engine:
        for number in range(SEVERAL):
            engine.activate(engine.add(document(f"holds-{number}")))
        engine.activate(engine.add(document("rests", execution=FAR)))
        engine.step(2)
        held = [lane.context.book for lane in engine.desk.lanes()]
        assert [book.quantity for book in held] == [1.0] * SEVERAL + [0.0]
        assert held[-1].row[at.B_ORDER] == at.ORDER_ENTRY
    return folder


def pull(path: Path, nth: int, told: int = -1) -> None:
    """Pull the kill switch and die at the nth point; one that gets through tells how many points there were."""
    with opened(path) as engine:
        engine.list()
        with dying(nth) as passed:
            engine.kill("test")
        if told >= 0:
            os.write(told, str(passed()).encode())


def points_of(holding: Path, folder: Path) -> int:
    """Return how many points a kill passes."""
    shutil.copytree(holding, folder)
    end, start = os.pipe()
    os.waitpid(fork(lambda: pull(folder / "j.sqlite", 0, start)), 0)
    os.close(start)
    with os.fdopen(end) as heard:
        return int(heard.read())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_in_the_middle_of_a_kill_it_goes_on_with_it(holding: Path, tmp_path: Path) -> None:
    points = points_of(holding, tmp_path / "whole")
    with opened(tmp_path / "whole" / "j.sqlite") as engine:
        engine.step(2)
        twin = ended(engine)
    assert points > 20
    told = 0
    for nth in range(1, points + 1, STRIDE):
        folder, messages = tmp_path / str(nth), Messages()
        shutil.copytree(holding, folder)
        _, status = os.waitpid(fork(partial(pull, folder / "j.sqlite", nth)), 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        with opened(folder / "j.sqlite", notifier=messages) as engine:
            engine.list()
            insist(partial(settled, engine))
            if engine.desk.services.risk.state == "HALTED":
                assert ended(engine).fills == twin.fills, nth
                assert not engine.desk.orders.live()
                told += "in the middle of a kill" in "".join(
                    text for level, text in messages.told if level == "critical"
                )
            else:
                assert nth <= 2
                assert [lane.context.book.quantity for lane in engine.desk.lanes()] == [1.0] * SEVERAL + [0.0]
            add_up(engine)
        messages = Messages()
        with opened(folder / "j.sqlite", notifier=messages) as engine:
            engine.step(2)
            assert ended(engine).differences(twin) == [] or nth <= 2, nth
        assert [text for level, text in messages.told if level != "info"] == []
        assert check_journal(folder / "j.sqlite").faults == ()
    assert told > 3


def settled(engine: Engine) -> None:
    """Raise while the outcome of an order is not known."""
    if engine.desk.orders.unresolved:
        raise RetryLater("order_unresolved", "not yet")


@pytest.mark.parametrize("leg", ["ask", "answer"])
def test_a_stop_that_flattens_waits_for_an_order_without_an_answer_and_closes_the_others(leg: str) -> None:
    engine = Engine("stopped", candles=series(ROWS), markets=[market()], cash=1e6, limits=FREE, orders=FAST)
    with engine:
        engine.set_mode("parallel")
        for number in range(SEVERAL):
            engine.activate(engine.add(document(f"holds-{number}")))
        engine.step(2)
        lost = [leg]

        def line(at_leg: str, at_call: str) -> None:
            if (at_leg, at_call) == (leg, "submit") and lost:
                lost.clear()
                raise RetryLater("answer_lost", "the test says so")

        engine.desk.exchange.line = line
        engine.stop(flatten=True)
        assert not lost
        assert [lane.context.book.quantity for lane in engine.desk.lanes()] == [0.0] * SEVERAL
        assert engine.state == "stopped"
        add_up(engine)


def test_a_stop_that_cannot_close_one_closes_the_others_stops_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emergency, "STOP_LIMIT_S", 0.05)
    engine = Engine("stopped", candles=series(ROWS), markets=[market()], cash=1e6, limits=FREE, orders=FAST)
    with engine:
        engine.set_mode("parallel")
        for number in range(SEVERAL):
            engine.activate(engine.add(document(f"holds-{number}")))
        engine.step(2)
        first = engine.list()[0].strategy_id

        def dead(at_leg: str, at_call: str) -> None:
            if at_call == "query" or engine.desk.orders.sequence == SEVERAL + 1:
                raise RetryLater("answer_lost", "the test says so")

        engine.desk.exchange.line = dead
        with pytest.raises(Refused, match=first) as caught:
            engine.stop(flatten=True)
        assert caught.value.code == "order_unresolved"
        assert [lane.context.book.quantity for lane in engine.desk.lanes()] == [1.0] + [0.0] * (SEVERAL - 1)
        assert engine.state == "stopped"
