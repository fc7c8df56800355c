"""Switching: the policies, the rollback before the commit, and what happens while a switch is under way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.records import POLICIES
from trading_cases import BOOM, FREE, LONG, document, flat, market, registered, series, wander

RISING = [*flat(3), *flat(1, volume=LONG), *flat(4), (100, 100, 97, 97), *flat(20, 97.0)]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def pair(candles: Candles | None = None, kind: str = "spot", **options: Any) -> tuple[Engine, str, str]:
    """Return an exclusive engine with an active and a dormant strategy."""
    given = series(RISING) if candles is None else candles
    engine = Engine("case", candles=given, markets=[market(kind=kind)], cash=1e6, limits=FREE, **options)
    kinds = {"market": {"kind": kind}}
    first, second = engine.add(document("first", **kinds)), engine.add(document("second", **kinds))
    assert engine.switch(first).success
    return engine, first, second


def begun(engine: Engine, to_id: str, **options: Any) -> Any:
    """Return the job of a switch that is done, or waits for the old one to be flat."""
    job = engine.submit("switch", to_id, **options)
    while not job.done and all(lane.waits is None for lane in engine.desk.lanes()):
        engine.list()
    return job


def states(engine: Engine) -> list[str]:
    return [record.state for record in engine.list()]


def quantity(engine: Engine, key: str) -> float:
    return engine.desk.lane(key).context.book.quantity


def everything(engine: Engine) -> tuple[Any, ...]:
    """Return all that a dry run must not change."""
    desk = engine.desk
    return (
        desk.services.positions.books.tobytes(),
        desk.services.positions.account.tobytes(),
        engine.list(),
        desk.registry.history(),
        desk.cache.ids(),
        desk.cache.stats()["hits"],
        desk.store.switches(),
        engine.events.seq,
        tuple(lane.context.strategy_id for lane in desk.router.lanes),
    )


# None to one, one to another, and back.


def test_from_none_to_one_to_another_and_back() -> None:
    engine = Engine("case", candles=wander(300, 1), markets=[market()], cash=1e6, limits=FREE)
    with engine:
        first, second = engine.add(document("first")), engine.add(document("second"))
        result = engine.switch(first)
        assert (result.success, result.from_id, result.phase) == (True, None, "retire")
        engine.step(100)
        result = engine.switch(second, policy="close")
        assert (result.success, result.from_id, result.caught_up_candles) == (True, first, 100)
        assert states(engine) == ["dormant", "active"]
        engine.step(50)
        assert engine.desk.cache.contains(first)
        result = engine.switch(first, policy="close")
        assert (result.from_id, result.caught_up_candles) == (second, 50)
        assert states(engine) == ["active", "dormant"]
        engine.step(50)
        kept = engine.desk.resident(first)
        assert kept.candles == 200
        assert [row.phase for row in engine.desk.store.switches()] == ["retire"] * 3
        assert engine.desk.registry.active_ids() == (first,)


def test_the_same_one_is_no_switch() -> None:
    engine, first, _ = pair()
    with engine:
        before = everything(engine)
        result = engine.switch(first)
        assert (result.success, result.phase, result.error) == (True, "noop", None)
        assert everything(engine)[1:7] == before[1:7]


def test_an_active_one_is_not_activated_beside_another() -> None:
    engine, _, second = pair()
    with engine, pytest.raises(Refused) as caught:
        engine.activate(second)
    assert caught.value.code == "mode_conflict"


# Policies.


def test_keep_manages_until_flat_then_rests() -> None:
    engine, first, second = pair()
    with engine:
        engine.step(6)
        assert quantity(engine, first) == 1.0
        result = engine.switch(second)
        assert (result.success, result.position_action, result.orders) == (True, "kept", ())
        assert states(engine) == ["managing", "active"]
        assert "position" in engine.cache.stats()["entries"][0]["pin_reasons"]
        engine.step(4)
        assert quantity(engine, first) == 0.0
        assert states(engine) == ["dormant", "active"]
        assert engine.stats(first)["total_trades"] == 1
        assert engine.desk.services.positions.account[at.A_OPEN] == 0.0
        rows = engine.desk.store.decisions(first).rows()
        assert len(rows) == 9, "a managing strategy is stepped until it is flat"
        log = [e for e in engine.events.since(0, 10_000) if e.strategy_id == first and e.type == "STRATEGY_DEACTIVATED"]
        assert [e.payload["state"] for e in log] == ["managing", "dormant"]


def test_a_managing_one_can_take_over_again() -> None:
    engine, first, second = pair()
    with engine:
        engine.step(6)
        engine.switch(second)
        engine.step(1)
        result = engine.switch(first)
        assert (result.success, result.caught_up_candles, result.position_action) == (True, 0, "none")
        assert states(engine) == ["active", "dormant"]
        assert quantity(engine, first) == 1.0
        engine.step(3)
        assert states(engine) == ["active", "dormant"]
        assert engine.stats(first)["total_trades"] == 1


def test_a_managing_one_does_not_enter_again() -> None:
    rows = [*flat(1, volume=LONG), *flat(2), *flat(3, volume=LONG), (100, 100, 97, 97), *flat(4, 97.0, LONG)]
    engine, first, second = pair(series(rows))
    with engine:
        engine.step(2)
        engine.switch(second)
        engine.step(9)
        assert engine.stats(first)["entries"] == 1
        words = [
            engine.desk.lane(first).context.plan.reason(r[at.D_REASON])
            for r in engine.desk.store.decisions(first).rows()
        ]
        assert words.count("enter") == 1


def test_close_sells_now_and_says_so() -> None:
    engine, first, second = pair()
    with engine:
        engine.step(6)
        result = engine.switch(second, policy="close")
        assert (result.success, result.position_action) == (True, "closed")
        assert result.orders == ("sell 1 AAA/USDT at market",)
        assert states(engine) == ["dormant", "active"]
        last = engine.desk.lane(first).context.book.fills()[-1]
        assert (last.reason, last.side, last.position_after) == ("switch_close", "sell", 0.0)
        assert last.price == pytest.approx(100 * (1 - 0.001), rel=1e-14)


def test_close_buys_a_short_back() -> None:
    rows = [*flat(1, volume=6.0), *flat(9)]
    engine, first, second = pair(series(rows), kind="linear")
    with engine:
        engine.step(3)
        assert quantity(engine, first) == -1.0
        assert engine.switch(second, policy="close").orders == ("buy 1 AAA/USDT at market",)
        assert quantity(engine, first) == 0.0


def test_refuse_needs_a_flat_one() -> None:
    engine, first, second = pair()
    with engine:
        engine.step(6)
        result = engine.switch(second, policy="refuse")
        assert (result.success, result.error is not None and result.error[0]) == (False, "position_open")
        assert states(engine) == ["active", "dormant"]
        engine.step(4)
        assert quantity(engine, first) == 0.0
        assert engine.switch(second, policy="refuse").success


@pytest.mark.parametrize("policy", POLICIES)
def test_flat_ones_are_all_alike(policy: Any) -> None:
    engine, _, second = pair()
    with engine:
        engine.step(2)
        result = engine.switch(second, policy=policy)
        assert (result.success, result.position_action, result.canceled_orders, result.orders) == (True, "none", 0, ())
        assert states(engine) == ["dormant", "active"]


@pytest.mark.parametrize(("policy", "canceled"), [("keep", 1), ("close", 1), ("refuse", 0)])
def test_a_working_entry_is_canceled_or_refused(policy: Any, canceled: int) -> None:
    engine, first, second = pair()
    with engine:
        engine.step(4)
        assert engine.desk.lane(first).order is not None
        result = engine.switch(second, policy=policy)
        assert (result.success, result.canceled_orders) == (policy != "refuse", canceled)
        assert (engine.desk.lane(first).order is None) == bool(canceled)
        engine.step(3)
        assert quantity(engine, first) == (0.0 if canceled else 1.0)
        if canceled:
            assert engine.desk.services.positions.account[at.A_RESERVED] == 0.0


@pytest.mark.parametrize("steps", [2, 4, 6])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_dry_run_changes_nothing_and_tells_what_would_happen(policy: Any, steps: int) -> None:
    engine, _, second = pair()
    with engine:
        engine.step(steps)
        before = everything(engine)
        told = engine.switch(second, policy=policy, dry_run=True)
        assert everything(engine) == before
        job = begun(engine, second, policy=policy)
        if not job.done:
            engine.step(4)
        done = job.result(5)
        assert told.dry_run
        assert not done.dry_run
        names = ("success", "from_id", "to_id", "position_action", "canceled_orders", "orders", "error")
        assert [getattr(told, n) for n in names] == [getattr(done, n) for n in names]


def test_unknown_policies_and_targets() -> None:
    engine, _, _ = pair()
    with engine:
        with pytest.raises(ConfigError) as caught:
            engine.switch("second@AAA/USDT#man")
        assert caught.value.code == "unknown_strategy"
        with pytest.raises(ConfigError):
            engine.switch("second@AAA/USDT#main", policy="give")  # type: ignore[arg-type]
        assert states(engine) == ["active", "dormant"]


# Under way.


class Gate:
    """Holds an awaited call of the desk until it is opened."""

    def __init__(self, engine: Engine, target: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.opened, self.reached = engine, asyncio.Event(), asyncio.Event()
        real = getattr(target, name)

        async def held(*args: Any, **kwargs: Any) -> Any:
            self.reached.set()
            await self.opened.wait()
            return await real(*args, **kwargs)

        monkeypatch.setattr(target, name, held)

    def wait(self) -> None:
        """Wait until the call is held."""
        assert self.engine._loop is not None
        asyncio.run_coroutine_threadsafe(self.reached.wait(), self.engine._loop).result(5)

    def open(self) -> None:
        """Let it go on."""
        assert self.engine._loop is not None
        self.engine._loop.call_soon_threadsafe(self.opened.set)


AWAITS: dict[str, Callable[[Engine], tuple[Any, str]]] = {
    "orchestrator": lambda e: (e.desk, "orchestrator"),
    "lookup": lambda e: (e.desk.cache, "get_or_create"),
    "creation": lambda e: (e.desk.cache, "_create"),
    "room": lambda e: (e.desk.cache, "_make_room"),
}


@pytest.mark.parametrize("where", AWAITS)
def test_a_timeout_before_the_commit_leaves_the_old_one_active(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, first, second = pair()
    with engine:
        engine.step(4)
        gate = Gate(engine, *AWAITS[where](engine), monkeypatch)
        result = engine.switch(second, timeout_s=0.02)
        assert (result.success, result.phase) == (False, "prepare")
        assert result.error is not None
        assert result.error[0] == "timeout"
        assert states(engine) == ["active", "dormant"]
        gate.open()
        engine.step(3)
        assert quantity(engine, first) == 1.0
        rows = engine.desk.store.switches()
        assert [(row.phase, row.success, row.error[:7]) for row in rows] == [
            ("retire", True, ""),
            ("prepare", False, "timeout"),
        ]
        assert engine.events.stats()["by_type"]["STRATEGY_SWITCH_FAILED"] == 1
        assert engine.switch(second).success
        assert states(engine) == ["managing", "active"]


def test_a_canceled_switch_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, first, second = pair()
    with engine:
        gate = Gate(engine, engine.desk, "orchestrator", monkeypatch)
        job = engine.submit("switch", second)
        gate.wait()
        assert states(engine) == ["active", "preparing"]
        job.cancel()
        with pytest.raises(StratnbError) as caught:
            job.result(5)
        assert caught.value.code == "canceled"
        gate.open()
        engine.step(1)
        assert states(engine) == ["active", "dormant"]
        assert engine.switch(second).success
        assert engine.stats(first)["state"] == "dormant"


def test_a_second_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _, second = pair()
    with engine:
        third = engine.add(document("third"))
        gate = Gate(engine, engine.desk, "orchestrator", monkeypatch)
        job = engine.submit("switch", second)
        gate.wait()
        for key in (third, second):
            with pytest.raises(Refused) as caught:
                engine.switch(key)
            assert caught.value.code == "switch_in_progress"
        with pytest.raises(Refused) as caught:
            engine.remove(second)
        assert caught.value.code == "switch_in_progress"
        gate.open()
        assert job.result(5).success
        assert states(engine) == ["dormant", "active", "dormant"]


def test_candles_during_a_switch_are_processed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    candles = wander(200, 5)
    engine, first, second = pair(candles)
    with engine:
        engine.step(50)
        gate = Gate(engine, engine.desk, "orchestrator", monkeypatch)
        job = engine.submit("switch", second, policy="close")
        gate.wait()
        engine.step(20)
        gate.open()
        result = job.result(5)
        assert (result.success, result.caught_up_candles) == (True, 70)
        engine.step(130)
        old, new = (engine.desk.store.decisions(key).rows()[:, at.D_TIME] for key in (first, second))
        assert np.array_equal(old, candles.open_time_ms[:70])
        assert np.array_equal(new, candles.open_time_ms)
        flags = engine.desk.store.decisions(second).rows()[:, at.D_FLAGS].astype(int) & int(at.FLAG_CATCHUP)
        assert flags[:70].all()
        assert not flags[70:].any()


def test_refuse_is_checked_again_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one trades on while the new one is prepared, and may have a position by then."""
    engine, first, second = pair()
    with engine:
        engine.step(2)
        gate = Gate(engine, engine.desk, "orchestrator", monkeypatch)
        job = engine.submit("switch", second, policy="refuse")
        gate.wait()
        engine.step(4)
        assert quantity(engine, first) == 1.0
        gate.open()
        result = job.result(5)
        assert not result.success
        assert result.error is not None
        assert result.error[0] == "position_open"
        assert states(engine) == ["active", "dormant"]


def test_a_target_whose_block_raises_is_rolled_back() -> None:
    rows = [*flat(3), *flat(1, volume=BOOM), *flat(9)]
    engine = Engine("case", candles=series(rows), markets=[market()], cash=1e6, limits=FREE)
    calm = document("calm", analyzers=[{"kind": "ema"}])
    with engine:
        first, second = engine.add(calm), engine.add(document("second"))
        assert engine.switch(first).success
        engine.step(6)
        result = engine.switch(second)
        assert not result.success
        assert result.error is not None
        assert "the script says so" in result.error[1]
        assert states(engine)[0] == "active"
        assert states(engine)[1] in ("dormant", "failed")
        assert engine.desk.registry.active_ids() == (first,)
        engine.step(3)
        assert engine.stats(first)["decisions"] == 9
        engine.remove(second)
        assert engine.add(document("second"))


def test_a_failing_snapshot_does_not_undo_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, first, second = pair()
    with engine:
        engine.step(2)
        with monkeypatch.context() as patch:

            def broken(self: TradingOrchestrator) -> None:
                raise OSError("no room")

            patch.setattr(TradingOrchestrator, "snapshot", broken)
            assert engine.switch(second).success
        assert states(engine) == ["dormant", "active"]
        assert engine.events.stats()["by_type"].get("STRATEGY_ERROR") == 1
        engine.step(2)
        assert engine.switch(first).success


# Halted and paused ones.


def halted_pair() -> tuple[Engine, str, str]:
    rows = [*flat(1, volume=LONG), *flat(1), *flat(1, volume=BOOM), *flat(3), (100, 100, 97, 97), *flat(9, 97.0)]
    engine = Engine("case", candles=series(rows), markets=[market()], cash=1e6, limits=FREE)
    bad, calm = engine.add(document("bad")), engine.add(document("calm", analyzers=[{"kind": "ema"}]))
    assert engine.switch(bad).success
    engine.step(4)
    assert states(engine) == ["suspended", "dormant"]
    return engine, bad, calm


def test_a_halted_one_can_be_left_and_rests_when_flat() -> None:
    engine, bad, calm = halted_pair()
    with engine:
        assert quantity(engine, bad) == 1.0
        assert engine.switch(calm).success
        assert states(engine) == ["managing", "active"]
        engine.step(4)
        assert quantity(engine, bad) == 0.0
        assert states(engine) == ["dormant", "active"]


def test_a_paused_one_takes_no_entries_until_it_is_resumed() -> None:
    rows = [*flat(2), *flat(3, volume=LONG), *flat(2), *flat(1, volume=LONG), *flat(3)]
    engine, first, _ = pair(series(rows))
    with engine:
        engine.pause(first)
        engine.pause(first)
        assert states(engine) == ["suspended", "dormant"]
        engine.step(6)
        words = [
            engine.desk.lane(first).context.plan.reason(r[at.D_REASON])
            for r in engine.desk.store.decisions(first).rows()
        ]
        assert words.count("paused") == 3
        engine.resume(first)
        engine.resume(first)
        assert states(engine) == ["active", "dormant"]
        engine.step(5)
        assert quantity(engine, first) == 1.0


def test_a_paused_one_leaves_at_its_stop_and_can_be_switched_away() -> None:
    engine, first, second = pair()
    with engine:
        engine.step(6)
        engine.pause(first)
        engine.step(4)
        assert quantity(engine, first) == 0.0
        assert engine.switch(second).success
        assert states(engine) == ["dormant", "active"]
        assert engine.switch(first).success
        engine.step(2)
        assert engine.desk.resident(first).candles == 12


def test_a_managing_one_that_was_paused_goes_on_managing() -> None:
    engine, first, _ = pair(mode="parallel")
    with engine:
        engine.step(6)
        assert engine.deactivate(first) == "managing"
        engine.pause(first)
        engine.resume(first)
        assert states(engine)[0] == "managing"


# Parallel mode.


def test_parallel_swaps_the_named_one() -> None:
    engine, first, second = pair(mode="parallel")
    with engine:
        third = engine.add(document("third"))
        assert engine.activate(second).success
        result = engine.switch(third, from_id=first)
        assert (result.success, result.from_id) == (True, first)
        assert states(engine) == ["dormant", "active", "active"]
        told = engine.switch(first, from_id=first).error
        assert told is not None
        assert told[0] == "not_active"
        unnamed = engine.switch(first)
        assert unnamed.error is not None
        assert unnamed.error[0] == "from_id_missing"
        assert engine.deactivate(second) == "dormant"
        with pytest.raises(Refused) as caught:
            engine.deactivate(second)
        assert caught.value.code == "illegal_transition"


def test_switch_events_tell_the_story() -> None:
    heard: list[Event] = []
    engine, first, second = pair()
    with engine:
        engine.step(6)
        heard += engine.events.since(0, 10_000)
        engine.switch(second)
        after = engine.events.since(heard[-1].seq, 100)
        told = [(e.type, e.strategy_id) for e in after if e.type.startswith("STRATEGY_") and "STATE" not in e.type]
        assert told == [("STRATEGY_ACTIVATED", second), ("STRATEGY_DEACTIVATED", first), ("STRATEGY_SWITCHED", second)]
        assert after[-1].payload["position_action"] == "kept"


# Removing and activating at once.


@pytest.mark.parametrize("ops", [("remove", "activate"), ("activate", "remove")])
def test_removing_and_activating_at_once_leaves_nothing_half_done(ops: tuple[str, str]) -> None:
    with Engine("case", candles=wander(300, 1), markets=[market()], cash=1e6, limits=FREE, mode="parallel") as engine:
        key = engine.add(document())
        other = engine.add(document("other"))
        engine.activate(other)
        engine.step(100)
        assert engine._loop is not None
        options = {"remove": {"policy": "close"}, "activate": {}}
        held = threading.Event()
        engine._loop.call_soon_threadsafe(held.wait, 5.0)  # both are queued before one of them begins
        jobs = {op: engine.submit(op, key, **options[op]) for op in ops}
        held.set()
        for job in jobs.values():
            with contextlib.suppress(StratnbError):
                job.result(10.0)
        refused = [op for op, job in jobs.items() if job.error is not None]
        assert len(refused) == 1, "exactly one of them wins"
        assert isinstance(jobs[refused[0]].error, StratnbError)
        kept = [record.strategy_id for record in engine.list()]
        routed = [lane.context.strategy_id for lane in engine.desk.router.lanes]
        assert kept == ([key, other] if refused == ["remove"] else [other])
        assert sorted(routed) == sorted(kept)
        assert sorted(engine.desk.cache.ids()) == sorted(kept)
        assert len(engine.desk.services.positions.all()) == len(kept)
        assert engine.step(100) == 100
        if refused == ["activate"]:
            key = engine.add(document())
            assert engine.activate(key).success
        engine.remove(key, policy="close")
        assert [record.strategy_id for record in engine.list()] == [other]


@pytest.mark.parametrize("state", ["dormant", "active"])
def test_a_strategy_is_removed_once(state: str) -> None:
    with Engine("case", candles=wander(300, 1), markets=[market()], cash=1e6, limits=FREE, mode="parallel") as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(50)
        if state == "dormant":
            engine.deactivate(key, policy="close")
        jobs = [engine.submit("remove", key, policy="close") for _ in range(3)]
        for job in jobs:
            with contextlib.suppress(StratnbError):
                job.result(10.0)
        assert [job.error is None for job in jobs] == [True, False, False]
        assert all(isinstance(job.error, StratnbError) for job in jobs[1:])
        assert engine.list() == ()
        assert sum(e.type == "STRATEGY_REMOVED" for e in engine.events.since(0, 10_000)) == 1
