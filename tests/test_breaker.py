"""The circuit breaker: its whole table, and how a strategy that fails is suspended, tried again and brought back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stratnb.blocks import base
from stratnb.blocks.base import Analyzer, Exit, Input
from stratnb.engine import Engine
from stratnb.errors import ConfigError, Halt, Refused, RetryLater
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.kernels.jit import python
from stratnb.multi.breaker import Breaker
from stratnb.multi.settings import BreakerSettings
from trading_cases import BOOM, FREE, LONG, Floats, document, flat, market, registered, series, wander

FAULT = ValueError("boom")
EXITS = {"stop_loss": {"fraction": 0.006}, "take_profit": {"levels": [{"at": 0.004, "close": 1.0}]}, "signal_exit": {}}
FAILING = threading.Event()
GATE = threading.Event()
FLOOD: list[Callable[[], object]] = []
HOARD: list[bytearray] = []


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


class Plain(Analyzer, kind="plain"):
    """Raises, waits or signals as the test says; in plain Python."""

    def inputs(self) -> tuple[Input, ...]:
        return ("volume",)

    def state_size(self) -> int:
        return 1

    @staticmethod
    @python
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        if FAILING.is_set() and x[0] == 3.0:
            raise ValueError("for a while")
        if x[0] == BOOM:
            GATE.wait(20.0)
        HOARD.extend(bytearray(100_000) for _ in FLOOD[:1])
        for call in FLOOD:
            call()
        state[0] += x[0]
        out[0], out[1] = (1.0, 0.9) if x[0] == LONG else (0.0, 0.0)


base._REGISTRY["analyzer"].pop("plain", None)


@pytest.fixture(autouse=True)
def test_blocks() -> Iterator[None]:
    FAILING.clear()
    GATE.clear()
    FLOOD.clear()
    HOARD.clear()
    with registered():
        base._REGISTRY["analyzer"]["plain"] = Plain
        yield
    base._REGISTRY["analyzer"].pop("plain", None)
    GATE.set()


def made(**settings: Any) -> tuple[Breaker, Hand, list[tuple[str, str]]]:
    clock = Hand()
    turns: list[tuple[str, str]] = []
    breaker = Breaker(
        BreakerSettings(**settings), clock, on_change=lambda before: turns.append((before, breaker.state()))
    )
    return breaker, clock, turns


def opened(**settings: Any) -> tuple[Breaker, Hand, list[tuple[str, str]]]:
    breaker, clock, turns = made(**settings)
    for _ in range(settings.get("failure_threshold", 5)):
        breaker.failure(FAULT)
    return breaker, clock, turns


def engine_on(candles: Any, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], **options}
    return Engine("case", candles=candles, **known)


def told(engine: Engine, kind: str) -> list[Event]:
    return [event for event in engine.events.since(0, 100_000) if event.type == kind]


def memory(engine: Engine, key: str) -> bytes:
    found = engine.desk.cache.peek(key)
    assert found is not None
    return found.memory.tobytes()


# The table


def test_closed_opens_at_the_threshold_and_a_success_starts_the_count_anew() -> None:
    breaker, _, turns = made()
    for _ in range(4):
        breaker.failure(FAULT)
    assert (breaker.state(), breaker.allow()) == ("closed", True)
    breaker.success()
    for _ in range(4):
        breaker.failure(FAULT)
    assert breaker.state() == "closed"
    breaker.failure(FAULT)
    assert turns == [("closed", "open")]
    assert breaker.metrics()["failures"] == 5


def test_open_lets_nothing_through_until_its_delay_is_over() -> None:
    breaker, clock, turns = opened()
    assert (breaker.allow(), breaker.after_s, breaker.is_due) == (False, 30.0, False)
    clock.s += 29.999
    assert not breaker.allow()
    clock.s += 0.001
    assert breaker.is_due
    assert breaker.state() == "open"
    assert breaker.allow()
    assert turns[-1] == ("open", "half_open")


def test_half_open_has_one_probe_in_flight() -> None:
    breaker, clock, _ = opened()
    clock.s += 30.0
    assert [breaker.allow() for _ in range(4)] == [True, False, False, False]
    breaker.success()
    assert [breaker.allow() for _ in range(2)] == [True, False]


def test_enough_good_probes_close_it_and_the_delay_is_the_first_again() -> None:
    breaker, clock, turns = opened(probes=2, failure_threshold=1)
    clock.s += 30.0
    breaker.allow()
    breaker.failure(FAULT)
    assert breaker.after_s == 60.0
    clock.s += 60.0
    for _ in range(2):
        assert breaker.allow()
        breaker.success()
    assert turns[-1] == ("half_open", "closed")
    assert breaker.metrics()["mean_recovery_s"] == 90.0
    breaker.failure(FAULT)
    assert breaker.after_s == 30.0


def test_each_reopening_doubles_the_delay_up_to_the_longest() -> None:
    breaker, clock, _ = opened()
    delays = []
    for _ in range(2_000):
        delays.append(breaker.after_s)
        clock.s += breaker.after_s
        assert breaker.allow()
        breaker.failure(FAULT)
    assert delays[:6] == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    assert set(delays[4:]) == {300.0}
    assert breaker.metrics()["reopenings"] == 2_000


def test_refused_is_an_answer_and_no_failure() -> None:
    breaker, clock, turns = made(failure_threshold=1)
    breaker.failure(Refused("no", "no"))
    assert (turns, breaker.metrics()["total_failures"]) == ([], 0)
    breaker.failure(FAULT)
    clock.s += 30.0
    assert breaker.allow()
    breaker.failure(Refused("no", "no"))
    assert (breaker.state(), breaker.allow()) == ("half_open", True)


def test_what_comes_late_in_open_is_not_counted_twice() -> None:
    breaker, _, turns = opened()
    until = breaker.metrics()["next_probe_ms"]
    breaker.failure(FAULT)
    breaker.success()
    assert turns == [("closed", "open")]
    known = breaker.metrics()
    assert (known["failures"], known["next_probe_ms"], known["total_failures"]) == (5, until, 6)


def test_reset_closes_it_whatever_it_was() -> None:
    breaker, _, turns = opened()
    breaker.reset()
    breaker.reset()
    assert turns == [("closed", "open"), ("open", "closed")]
    assert breaker.allow()
    assert breaker.metrics()["failures"] == 0


def test_its_metrics_are_those_of_the_specification() -> None:
    breaker, clock, _ = opened()
    clock.s += 12.0
    found = breaker.metrics()
    assert found == {
        "state": "open",
        "failures": 5,
        "total_failures": 5,
        "total_successes": 0,
        "failure_rate": 1.0,
        "reopenings": 0,
        "opened_ms": 1_000_000,
        "next_probe_ms": 1_030_000,
        "time_in_state_s": 12.0,
        "mean_recovery_s": None,
        "last_errors": ["ValueError: boom"] * 5,
    }
    for _ in range(20):
        breaker.failure(FAULT)
    assert len(breaker.metrics()["last_errors"]) == 10


@given(st.lists(st.tuples(st.sampled_from(["ask", "good", "bad", "reset"]), st.integers(0, 400)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_sequence_agrees_with_a_model_and_survives_a_restart(words: list[tuple[str, int]]) -> None:
    breaker, clock, _ = made(failure_threshold=2, probes=2)
    state, failures, k, good, until, probing = "closed", 0, 0, 0, 0.0, False
    for word, wait in words:
        clock.s += wait
        if word == "ask":
            expected = state == "closed" or (not probing and (state == "half_open" or clock.s >= until))
            if expected and state != "closed":
                good = 0 if state == "open" else good
                state, probing = "half_open", True
            assert breaker.allow() == expected
        elif word == "good":
            breaker.success()
            failures = 0 if state == "closed" else failures
            if state == "half_open":
                good, probing = good + 1, False
                if good >= 2:
                    state, failures, k, good = "closed", 0, 0, 0
        elif word == "bad":
            breaker.failure(FAULT)
            probing = False
            if state == "closed":
                failures += 1
                if failures >= 2:
                    state, until = "open", clock.s + 30.0
            elif state == "half_open":
                k += 1
                state, until = "open", clock.s + min(30.0 * 2.0**k, 300.0)
        else:
            breaker.reset()
            state, failures, k, good, probing = "closed", 0, 0, 0, False
        assert breaker.state() == state
        again = Breaker(BreakerSettings(failure_threshold=2, probes=2), clock)
        again.load(breaker.dump())
        if breaker.dump():
            assert {**again.metrics(), "total_successes": 0, "failure_rate": 0} == {
                **breaker.metrics(),
                "total_successes": 0,
                "failure_rate": 0,
            }


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"failure_threshold": 0}, {"open_s": 0.5}, {"backoff": 11}, {"probes": 21}, {"max_open_s": 10.0}):
        with pytest.raises(ValidationError):
            BreakerSettings(**wrong)


# In the engine


def test_a_permanent_fault_is_tried_ever_more_rarely_on_the_feeds_clock() -> None:
    rows = [*flat(10), *flat(1, volume=BOOM), *flat(60)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(11)
        assert engine.list()[0].state == "suspended"
        assert engine.view().strategies[0].breaker == "closed"
        before = memory(engine, key)
        engine.step(60)
        assert memory(engine, key) == before
        assert len(told(engine, "STRATEGY_ERROR")) == 1
        turns = told(engine, "BREAKER_STATE")
        minutes = [
            ((e.ts_ns - turns[0].ts_ns) // 60_000_000_000, e.payload["state"], e.payload["after_s"]) for e in turns
        ]
        assert minutes[:7] == [
            (0, "open", 30.0),
            (1, "half_open", None),
            (1, "open", 60.0),
            (2, "half_open", None),
            (2, "open", 120.0),
            (4, "half_open", None),
            (4, "open", 240.0),
        ]
        shown = engine.view().strategies[0]
        assert (shown.breaker, shown.state) == ("open", "suspended")
        assert shown.next_probe_ms is not None


def test_a_transient_fault_heals_by_itself_and_what_was_missed_is_not_traded() -> None:
    rows = [*flat(5), *flat(1, volume=3.0), *flat(2, volume=LONG), *flat(2), *flat(1, volume=LONG), *flat(3)]
    with engine_on(series(rows)) as engine:
        doc = document(analyzers=[{"kind": "plain"}])
        key, twin = engine.add(doc), engine.add(doc, label="twin")
        engine.activate(key)
        FAILING.set()
        engine.step(8)
        assert [record.state for record in engine.list()] == ["suspended", "dormant"]
        assert "for a while" in engine.view().strategies[0].error
        FAILING.clear()
        engine.activate(twin)
        engine.step(1)
        assert engine.list()[0].state == "active"
        assert engine.view().strategies[0].error == ""
        assert memory(engine, key) == memory(engine, twin)
        assert engine.stats(key)["entries"] == 0
        engine.step(5)
        assert engine.stats(key)["entries"] == 1
        assert told(engine, "BREAKER_STATE") == []


def test_an_open_breaker_closes_after_three_good_probes() -> None:
    rows = [*flat(5), *flat(1, volume=3.0), *flat(30)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document(analyzers=[{"kind": "plain"}]))
        engine.activate(key)
        FAILING.set()
        engine.step(10)
        assert engine.desk.lane(key).breaker.state() == "open"
        FAILING.clear()
        states = []
        for _ in range(4):
            engine.step(1)
            states.append((engine.desk.lane(key).breaker.state(), engine.list()[0].state))
        assert states == [
            ("half_open", "suspended"),
            ("half_open", "suspended"),
            ("closed", "active"),
            ("closed", "active"),
        ]


def test_a_managing_strategy_and_a_pause_stay_what_they_were() -> None:
    rows = [*flat(1, volume=LONG), *flat(2), *flat(1, volume=3.0), *flat(10)]
    doc = document(analyzers=[{"kind": "plain"}], exits={"stop_loss": {"fraction": 0.5}})
    with engine_on(series(rows)) as engine:
        key, paused = engine.add(doc), engine.add(doc, label="paused")
        for each in (key, paused):
            engine.activate(each)
        engine.step(2)
        assert engine.deactivate(key) == "managing"
        FAILING.set()
        engine.step(3)
        engine.pause(paused)
        assert [record.state for record in engine.list()] == ["suspended", "suspended"]
        FAILING.clear()
        engine.step(2)
        assert [record.state for record in engine.list()] == ["managing", "suspended"]
        shown = engine.view().strategies[1]
        assert (shown.paused, shown.error) == (True, "")
        engine.resume(paused)
        assert engine.list()[1].state == "active"


def test_stop_and_targets_go_on_while_the_breaker_is_open() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), *flat(1, volume=BOOM), *flat(8), (100, 100, 90, 92), *flat(3, 92.0)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(11)
        assert engine.desk.lane(key).breaker.state() == "open"
        assert engine.desk.lane(key).context.book.quantity == 1.0
        engine.step(1)
        assert engine.desk.lane(key).context.book.quantity == 0.0


def test_one_that_fails_changes_no_other_and_opens_no_other() -> None:
    candles = wander(400, 6)
    volume = candles.volume.copy()
    volume[150] = BOOM
    candles = type(candles)(
        candles.symbol, "1m", candles.open_time_ms, candles.open, candles.high, candles.low, candles.close, volume
    )
    calm = document("calm", analyzers=[{"kind": "ema", "params": {"fast": 3, "slow": 8}}], exits=EXITS)
    found = []
    for companions in (0, 1):
        with engine_on(candles) as engine:
            if companions:
                engine.activate(engine.add(document("bad")))
            key = engine.add(calm)
            engine.activate(key)
            engine.step(400)
            fills = np.array(engine.desk.lane(key).context.book.fill_rows)
            found.append((fills, engine.desk.store.decisions(key).rows()[:, : at.D_EQUITY]))
            assert engine.desk.lane(key).breaker.metrics()["total_failures"] == 0
    assert len(found[0][0])
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1], equal_nan=True)


def test_creation_that_fails_too_often_is_spaced() -> None:
    rows = [*flat(5), *flat(1, volume=3.0), *flat(5)]
    with engine_on(series(rows), breaker={"failure_threshold": 1}) as engine:
        key = engine.add(document(analyzers=[{"kind": "plain"}]))
        engine.step(8)
        FAILING.set()
        with pytest.raises(Refused, match="for a while"):
            engine.activate(key)
        assert engine.cache.stats()["creation_failures"] == 1
        orchestrator = engine.desk.orchestrator(key)
        with pytest.raises(RetryLater) as caught:
            orchestrator.send(None)
        assert (caught.value.code, caught.value.after_s) == ("breaker_open", 30.0)
        assert engine.cache.stats()["creation_failures"] == 1


def test_halt_goes_past_the_breaker() -> None:
    with engine_on(series(flat(10))) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(3)
        lane = engine.desk.lane(key)

        async def halt() -> None:
            engine.desk.recovery.failed(lane, Halt("unsafe", "stop"))

        assert engine._loop is not None
        asyncio.run_coroutine_threadsafe(halt(), engine._loop).result(5)
        assert engine.desk.services.risk.state_of(key) == "HALTED"
        assert lane.breaker.metrics()["total_failures"] == 0
        assert engine.list()[0].state == "suspended"
        engine.step(3)
        assert engine.list()[0].state == "active"
        assert engine.desk.services.risk.state_of(key) == "HALTED"


def test_a_restart_goes_on_with_breaker_and_memory(tmp_path: Path) -> None:
    rows = [*flat(10), *flat(1, volume=BOOM), *flat(60)]
    shown = []
    for stops in ((71,), (13, 16, 25, 17)):
        path = tmp_path / f"{len(stops)}.sqlite"
        for count in stops:
            with engine_on(series(rows), journal=path) as engine:
                if not engine.list():
                    engine.activate(engine.add(document()))
                engine.step(count)
                lane = engine.desk.lanes()[0]
                figures = {**lane.breaker.metrics(), "total_successes": 0, "failure_rate": 0}
                last = figures, lane.error, memory(engine, lane.context.strategy_id)
        shown.append(last)
    assert shown[0] == shown[1]


# Plain Python


def test_plain_python_computes_what_compiled_code_does() -> None:
    candles = wander(500, 9)
    with engine_on(candles) as engine:
        plain = engine.add(document(analyzers=[{"kind": "plain"}], exits=EXITS))
        engine.activate(plain)
        engine.step(200)
        engine.deactivate(plain, policy="close")
        engine.step(100)
        engine.activate(plain)
        engine.step(200)
        rows = engine.desk.store.decisions(plain).rows()
        assert np.array_equal(rows[:, at.D_DIRECTION] > 0, candles.volume == LONG)
        found = engine.desk.cache.peek(plain)
        assert found is not None
        start = found.plan.code[at.H_NODES]
        state = found.memory[found.plan.code[start + at.N_STATE]]
        assert state == pytest.approx(candles.volume.sum())


def test_a_step_that_hangs_is_given_up_and_changes_no_other() -> None:
    rows = [*flat(3), *flat(1, volume=BOOM), *flat(4)]
    calm = document("calm", analyzers=[{"kind": "ema", "params": {"fast": 2, "slow": 3}}])
    with engine_on(series(rows), step_timeout_s=0.05) as engine:
        hangs, good = engine.add(document(analyzers=[{"kind": "plain"}])), engine.add(calm)
        for key in (hangs, good):
            engine.activate(key)
        began = time.monotonic()
        engine.step(8)
        assert time.monotonic() - began < 5.0
        assert [record.state for record in engine.list()] == ["suspended", "active"]
        assert "took more than 0.05 s" in engine.view().strategies[0].error
        assert engine.stats(good)["decisions"] == 8
        assert engine.desk.lane(hangs).breaker.metrics()["total_failures"] == 1
        orchestrator = engine.desk.cache.peek(hangs)
        assert orchestrator is not None
        assert orchestrator.is_busy
        before = memory(engine, hangs)
        GATE.set()
        orchestrator.worker._last.exception(5.0)  # type: ignore[union-attr]
        assert memory(engine, hangs) == before
        engine.resume(hangs)
        assert engine.list()[0].state == "active"


@pytest.mark.parametrize("what", ["removes", "closes"])
def test_what_a_person_does_while_a_step_computes_is_not_undone(what: str) -> None:
    rows = [*flat(1, volume=LONG), *flat(2), *flat(1, volume=BOOM), *flat(4)]
    with engine_on(series(rows), step_timeout_s=20.0) as engine:
        key, good = engine.add(document(analyzers=[{"kind": "plain"}])), engine.add(document("calm"), label="good")
        engine.activate(key)
        engine.step(3)
        orchestrator = engine.desk.cache.peek(key)
        assert orchestrator is not None
        assert engine.desk.lane(key).context.book.quantity == 1.0
        job = engine.submit("step", 5)
        until = time.monotonic() + 10.0
        while not orchestrator.is_busy and time.monotonic() < until:
            time.sleep(0.005)
        if what == "removes":
            engine.remove(key, policy="close")
        else:
            assert engine.close_position(key)
        GATE.set()
        assert job.result(20.0) == 5
        assert [record.strategy_id for record in engine.list()] == ([good] if what == "removes" else [key, good])
        books, account = engine.desk.services.positions.books, engine.desk.services.positions.account
        assert (books[:, at.B_QUANTITY] == 0.0).all()
        used = books[books[:, at.B_USED] != 0.0]
        assert account[at.A_EQUITY] == account[at.A_START] + (used[:, at.B_EQUITY] - used[:, at.B_CAPITAL]).sum()


def test_one_that_floods_events_and_hoards_memory_changes_no_other() -> None:
    calm = document("calm", analyzers=[{"kind": "ema", "params": {"fast": 3, "slow": 8}}], exits=EXITS)
    found = []
    for floods in (0, 500):
        FLOOD.clear()
        with engine_on(wander(120, 6)) as engine:
            bad, key = engine.add(document(analyzers=[{"kind": "plain"}])), engine.add(calm)
            publish = engine.desk.lane(bad).context.events.publish
            FLOOD.extend([partial(publish, "SIGNAL_NEW", source="block")] * floods)
            engine.activate(bad)
            engine.activate(key)
            engine.step(120)
            fills = np.array(engine.desk.lane(key).context.book.fill_rows)
            found.append((fills, engine.desk.store.decisions(key).rows()))
            assert engine.events.stats()["by_type"].get("SIGNAL_NEW", 0) == 120 * floods
    assert len(found[0][0])
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1], equal_nan=True)


def test_plain_python_goes_on_bit_for_bit_after_a_restart(tmp_path: Path) -> None:
    found = []
    for stops in ((200,), (70, 5, 125)):
        path = tmp_path / f"{len(stops)}.sqlite"
        for count in stops:
            with engine_on(wander(200, 9), journal=path) as engine:
                if not engine.list():
                    engine.activate(engine.add(document(analyzers=[{"kind": "plain"}], exits=EXITS)))
                engine.step(count)
                (lane,) = engine.desk.lanes()
                last = memory(engine, lane.context.strategy_id), np.array(lane.context.book.fill_rows)
        found.append(last)
    assert found[0][0] == found[1][0]
    assert len(found[0][1])
    assert np.array_equal(found[0][1], found[1][1])


def test_an_exit_in_plain_python_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:

        class Lazy(Exit, kind="lazy_exit"):
            """Would hold up a stop."""

            @staticmethod
            @python
            def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
                out[1] = 0.0

    assert caught.value.code == "python_exit"
