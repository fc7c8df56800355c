"""The cache agrees with a reference model, creates once, never evicts what is pinned and counts exactly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stratnb.cache import Cache
from stratnb.errors import ConfigError, Refused, RetryLater
from stratnb.events import EventBus

KEYS = [f"s{number}" for number in range(7)]
STATS = (
    "capacity", "size", "pinned", "over_capacity", "hits", "misses", "hit_rate", "joins", "creations",
    "creation_failures", "evictions", "evictions_by_reason", "creation_ms", "resident_bytes", "entries",
)  # fmt: skip
PINS = ("active", "managing", "suspended", "position", "order", "pending_entry", "switch", "user")
REASONS = ("capacity", "resize", "idle", "manual", "config", "removed", "clear")


class Value:
    """A stand-in for an orchestrator with a listener and a task of its own, and faults on demand."""

    def __init__(self, key: str, bus: EventBus) -> None:
        self.key = key
        self.nbytes = 100
        self.state = "dormant"
        self.closed = 0
        self.snapshots = 0
        self.failing_snapshots = 0
        self.close_error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.subscription = bus.subscribe(lambda event: None, strategy=key)
        self.task = asyncio.create_task(asyncio.Event().wait())

    def snapshot(self) -> tuple[str, int]:
        self.snapshots += 1
        if self.failing_snapshots:
            self.failing_snapshots -= 1
            raise OSError("disk full")
        return self.key, self.snapshots

    async def close(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.subscription.close()
        self.task.cancel()
        await asyncio.wait({self.task})
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


class World:
    """A cache with everything around it in reach."""

    def __init__(self, capacity: int = 3, **options: Any) -> None:
        self.now_ns = 10**18
        self.bus = EventBus(lambda: self.now_ns)
        self.pins: dict[str, frozenset[str]] = {}
        self.kept: list[tuple[str, int]] = []
        self.created: list[Value] = []
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.cache: Cache[Value] = Cache(
            self.create,
            capacity=capacity,
            pin_reasons=lambda key: self.pins.get(key, frozenset()),
            keep=self.kept.append,
            publish=self.bus.publish,
            now_ns=lambda: self.now_ns,
            **options,
        )

    async def create(self, key: str) -> Value:
        await asyncio.sleep(0)
        if self.before is not None:
            await self.before(key)
        self.created.append(Value(key, self.bus))
        return self.created[-1]

    async def fill(self, *keys: str) -> list[Value]:
        return [await self.cache.get_or_create(key) for key in keys]

    def events(self, type_: str) -> list[tuple[str | None, dict[str, Any]]]:
        return [(event.strategy_id, dict(event.payload)) for event in self.bus.since(0) if event.type == type_]

    def check(self) -> dict[str, Any]:
        stats = self.cache.stats()
        assert stats["creations"] - stats["evictions"] == stats["size"] == len(self.cache.ids())
        assert stats["evictions"] == sum(stats["evictions_by_reason"].values())
        resident = [value for value in self.created if not value.closed]
        assert stats["resident_bytes"] == 100 * stats["size"] == 100 * len(resident)
        assert self.bus.stats()["subscribers"] == stats["size"]
        return stats


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on a fresh loop; one that hangs fails after 20 s."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def refused(code: str, error: type[Exception] = Refused) -> Any:
    return pytest.raises(error, match=rf"\[{code}\]")


def test_a_miss_then_a_hit_is_the_same_object_and_counts_exactly() -> None:
    async def scenario() -> None:
        world = World()
        assert world.cache.hit("a") is None and world.check()["hit_rate"] is None
        first = await world.cache.get_or_create("a")
        assert world.check()["entries"][0]["accesses"] == 0
        assert await world.cache.get_or_create("a") is first is world.cache.hit("a")
        stats = world.check()
        assert (stats["hits"], stats["misses"], stats["joins"], stats["hit_rate"]) == (2, 1, 0, 2 / 3)
        assert stats["entries"][0]["accesses"] == 2 and stats["creation_ms"]["count"] == 1
        assert [len(world.events(f"CACHE_{kind}")) for kind in ("MISS", "CREATED", "HIT")] == [1, 1, 1]

    run(scenario)


def test_stats_have_exactly_the_specified_keys() -> None:
    async def scenario() -> None:
        world = World()
        assert world.cache.stats()["creation_ms"] == {"count": 0, "mean": None, "p50": None, "p95": None, "max": None}
        world.pins["b"] = frozenset({"position", "active"})
        await world.fill("a", "b")
        world.cache.pin("b")
        world.now_ns += 2_500_000_000
        world.cache.hit("a")
        stats = world.check()
        assert tuple(stats) == STATS
        assert tuple(stats["evictions_by_reason"]) == REASONS and stats["pinned"] == 1
        times = stats["creation_ms"]
        assert 0 < times["p50"] <= times["p95"] <= times["max"] and times["mean"] <= times["max"]
        assert stats["entries"] == [
            {
                "strategy_id": "b",
                "created_ms": 10**12,
                "age_s": 2.5,
                "idle_s": 2.5,
                "accesses": 0,
                "pinned": True,
                "pin_reasons": ("active", "position", "user"),
                "bytes": 100,
                "state": "dormant",
            },
            {
                "strategy_id": "a",
                "created_ms": 10**12,
                "age_s": 2.5,
                "idle_s": 0.0,
                "accesses": 1,
                "pinned": False,
                "pin_reasons": (),
                "bytes": 100,
                "state": "dormant",
            },
        ]

    run(scenario)


@pytest.mark.parametrize("callers", [2, 50])
def test_concurrent_first_lookups_create_once(callers: int) -> None:
    async def scenario() -> None:
        world = World()
        values = await asyncio.gather(*(world.cache.get_or_create("a") for _ in range(callers)))
        assert len(world.created) == 1 and set(values) == {world.created[0]}
        stats = world.check()
        assert (stats["misses"], stats["joins"], stats["hits"]) == (1, callers - 1, 0)

    run(scenario)


def test_a_creation_error_reaches_every_caller_and_nothing_is_cached() -> None:
    async def scenario() -> None:
        world = World(capacity=1)
        (other,) = await world.fill("b")
        error = RetryLater("breaker_open", "the breaker is open", after_s=3.0)

        async def fail(key: str) -> None:
            raise error

        world.before = fail
        results = await asyncio.gather(*(world.cache.get_or_create("a") for _ in range(5)), return_exceptions=True)
        assert all(result is error for result in results)
        stats = world.check()
        assert (stats["creation_failures"], stats["creations"], stats["misses"], stats["joins"]) == (1, 1, 2, 4)
        assert world.cache.ids() == ("b",) and not other.closed
        world.before = None
        await world.fill("a")
        assert world.cache.ids() == ("a",)

    run(scenario)


def test_a_caller_that_gives_up_does_not_stop_the_creation() -> None:
    async def scenario() -> None:
        world = World()
        gate = asyncio.Event()
        world.before = lambda key: gate.wait()  # type: ignore[assignment,return-value]
        first = asyncio.create_task(world.cache.get_or_create("a"))
        await asyncio.sleep(0)
        second = asyncio.create_task(world.cache.get_or_create("a"))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert await second is world.created[0]
        assert first.cancelled() and world.cache.ids() == ("a",)

    run(scenario)


def test_looking_does_not_change_the_order() -> None:
    async def scenario() -> None:
        world = World()
        await world.fill("a", "b", "c")
        before = world.cache.stats()
        assert world.cache.contains("a") and not world.cache.contains("z")
        assert world.cache.ids() == ("a", "b", "c") and world.cache.stats() == before
        world.cache.hit("a")
        await world.fill("d")
        assert world.cache.ids() == ("c", "a", "d")

    run(scenario)


def test_capacities_outside_the_range_are_refused_with_the_range() -> None:
    async def scenario() -> None:
        for wrong in (0, -1, 501, True, 2.5, "3"):
            with pytest.raises(ConfigError, match="1 to 500"):
                World(capacity=wrong)  # type: ignore[arg-type]
        world = World()
        await world.fill("a")
        with pytest.raises(ConfigError):
            await world.cache.resize(0)
        assert world.cache.capacity == 3 and world.cache.ids() == ("a",)

    run(scenario)


def test_shrinking_trims_at_once_and_goes_on_when_pins_vanish() -> None:
    async def scenario() -> None:
        world = World(capacity=5)
        await world.fill(*"abcde")
        world.pins = {"a": frozenset({"active"}), "b": frozenset({"position"}), "e": frozenset({"order"})}
        await world.cache.resize(2)
        stats = world.check()
        assert world.cache.ids() == ("a", "b", "e") and (stats["capacity"], stats["over_capacity"]) == (2, 1)
        assert [owner for owner, _ in world.events("CACHE_EVICTED")] == ["c", "d"]
        world.pins["b"] = frozenset()
        await world.cache.trim()
        assert world.cache.ids() == ("a", "e") and world.check()["evictions_by_reason"]["resize"] == 3

    run(scenario)


def test_eviction_snapshots_closes_and_publishes_once() -> None:
    async def scenario() -> None:
        world = World(capacity=1)
        (first,) = await world.fill("a")
        await world.fill("b")
        assert first.closed == 1 and world.kept == [("a", 1)] and first.task.cancelled()
        assert world.events("CACHE_EVICTED") == [("a", {"reason": "capacity"})]
        assert await world.cache.evict("b") and not await world.cache.evict("b")
        world.check()
        assert asyncio.all_tasks() - {asyncio.current_task()} == set()

    run(scenario)


@pytest.mark.parametrize("reason", PINS)
def test_a_pinned_entry_survives_everything_but_removal(reason: str) -> None:
    async def scenario() -> None:
        world = World(capacity=2, idle_ttl_s=1.0)
        (pinned,) = await world.fill("a")
        if reason == "user":
            world.cache.pin("a")
        else:
            world.pins["a"] = frozenset({reason})
        await world.fill("b", "c")
        await world.cache.resize(1)
        world.now_ns += 10**10
        await world.cache.trim()
        await world.cache.clear()
        assert world.cache.ids() == ("a",) and not pinned.closed
        with refused("pinned") as caught:
            await world.cache.evict("a")
        assert reason in str(caught.value)
        with refused("cache_pinned"):
            await world.cache.get_or_create("d")
        assert [value.key for value in world.created] == ["a", "b", "c"]
        assert world.check()["creation_failures"] == 0
        assert await world.cache.remove("a") and world.check()["evictions_by_reason"]["removed"] == 1
        await world.fill("a")
        world.pins.clear()
        assert await world.cache.evict("a")

    run(scenario)


def test_idle_entries_leave_after_their_time() -> None:
    async def scenario() -> None:
        world = World(idle_ttl_s=60.0)
        await world.fill("a", "b")
        world.now_ns += 50 * 10**9
        world.cache.hit("a")
        world.now_ns += 11 * 10**9
        await world.cache.trim()
        assert world.cache.ids() == ("a",) and world.check()["evictions_by_reason"]["idle"] == 1

    run(scenario)


def test_a_snapshot_is_tried_twice_and_then_the_next_victim_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world = World(capacity=2)
        a, b = await world.fill("a", "b")
        a.failing_snapshots = 1
        await world.fill("c")
        assert a.closed and world.kept == [("a", 2)]
        b.failing_snapshots = 4
        await world.fill("d")
        assert world.cache.ids() == ("b", "d") and b.snapshots == 2 and not b.closed
        with refused("snapshot_failed", RetryLater):
            await world.cache.evict("b")
        assert await world.cache.evict("b")
        stats = world.check()
        assert stats["evictions_by_reason"]["capacity"] == 2 and stats["evictions_by_reason"]["manual"] == 1

    with caplog.at_level(logging.CRITICAL, "stratnb.cache"):
        run(scenario)


def test_a_new_value_without_room_is_closed_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world = World(capacity=1)
        (a,) = await world.fill("a")

        async def pin_meanwhile(key: str) -> None:
            world.pins["a"] = frozenset({"position"})

        world.before = pin_meanwhile
        with refused("cache_pinned"):
            await world.cache.get_or_create("b")
        assert world.created[1].closed == 1 and not a.closed
        assert world.check()["creation_failures"] == 1

    run(scenario)


def test_errors_and_delays_of_closing_do_not_keep_an_entry(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world = World(capacity=1, close_limit_s=0.01)
        (a,) = await world.fill("a")
        a.close_error = ValueError("socket")
        (b,) = await world.fill("b")
        b.gate = asyncio.Event()
        await world.fill("c")
        assert world.cache.ids() == ("c",) and world.cache.stats()["evictions"] == 2
        b.task.cancel()

    run(scenario)
    assert "closing a failed" in caplog.text and "closing b took more than 0.01 s" in caplog.text


def test_a_lookup_during_the_eviction_waits_and_creates_again() -> None:
    async def scenario() -> None:
        world = World(capacity=2)
        (old,) = await world.fill("a")
        old.gate = asyncio.Event()
        leaving = asyncio.create_task(world.cache.evict("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.cache.hit("a") is None
        lookups = [asyncio.create_task(world.cache.get_or_create("a")) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(lookup.done() for lookup in lookups) and len(world.created) == 1
        leaving.cancel()
        old.gate.set()
        values = await asyncio.gather(*lookups)
        assert set(values) == {world.created[1]} and old.closed == 1
        stats = world.check()
        assert (stats["hits"], stats["misses"], stats["joins"]) == (0, 2, 2)

    run(scenario)


def test_more_concurrent_creations_than_room_never_hand_out_a_closed_value() -> None:
    async def scenario() -> None:
        world = World(capacity=2)

        async def use(key: str) -> None:
            value = await world.cache.get_or_create(key)
            assert value.key == key and not value.closed

        await asyncio.gather(*(use(KEYS[number % 7]) for number in range(40)))
        stats = world.check()
        assert stats["size"] == 2 and stats["hits"] + stats["misses"] + stats["joins"] == 40

    run(scenario)


def test_a_caller_that_pins_at_once_keeps_what_it_was_given() -> None:
    async def scenario() -> None:
        world = World(capacity=1)

        async def pin(key: str) -> Value:
            value = await world.cache.get_or_create(key)
            world.pins[key] = frozenset({"active"})
            return value

        first, second = await asyncio.gather(pin("a"), pin("b"), return_exceptions=True)
        assert isinstance(first, Value) and not first.closed and world.cache.hit("a") is first
        assert isinstance(second, Refused) and second.code == "cache_pinned" and world.created[1].closed
        world.check()

    run(scenario)


def test_replacing_keeps_place_and_pins_and_counts_a_swap() -> None:
    async def scenario() -> None:
        world = World()
        old, _ = await world.fill("a", "b")
        world.cache.pin("a")
        new = Value("a", world.bus)
        world.created.append(new)
        await world.cache.replace("a", new, creation_ms=4.0)
        assert world.cache.ids() == ("a", "b") and old.closed and world.kept == [("a", 1)]
        stats = world.check()
        assert (stats["creations"], stats["evictions_by_reason"]["config"], stats["hits"]) == (3, 1, 0)
        assert stats["entries"][0]["pin_reasons"] == ("user",) and stats["creation_ms"]["count"] == 3
        assert world.cache.hit("a") is new
        with refused("not_cached"):
            await world.cache.replace("z", new)
        assert not new.closed

    run(scenario)


def test_removing_waits_for_a_creation_and_needs_no_snapshot(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world = World()
        gate = asyncio.Event()
        world.before = lambda key: gate.wait()  # type: ignore[assignment,return-value]
        lookup = asyncio.create_task(world.cache.get_or_create("a"))
        await asyncio.sleep(0)
        removal = asyncio.create_task(world.cache.remove("a"))
        await asyncio.sleep(0)
        gate.set()
        value = await lookup
        value.failing_snapshots = 2
        assert await removal and value.closed and not await world.cache.remove("a")
        world.check()

    with caplog.at_level(logging.CRITICAL, "stratnb.cache"):
        run(scenario)


def test_closing_ends_creations_and_refuses_lookups() -> None:
    async def scenario() -> None:
        world = World()
        world.pins["a"] = frozenset({"active"})
        await world.fill("a", "b")
        world.before = lambda key: asyncio.Event().wait()  # type: ignore[assignment,return-value]
        lookups = [asyncio.create_task(world.cache.get_or_create("c")) for _ in range(2)]
        await asyncio.sleep(0)
        await world.cache.close()
        await world.cache.close()
        for lookup in lookups:
            with refused("engine_closed"):
                await lookup
        with refused("engine_closed"):
            await world.cache.get_or_create("a")
        assert world.cache.ids() == () and world.kept == [("a", 1), ("b", 1)]
        world.check()
        assert asyncio.all_tasks() - {asyncio.current_task()} == set()

    run(scenario)


def test_many_cycles_leave_nothing_behind() -> None:
    async def scenario() -> None:
        world = World(capacity=3)
        for number in range(500):
            await world.cache.get_or_create(KEYS[number % 7])
            if number % 11 == 0:
                await world.cache.remove(KEYS[number % 7])
        await world.cache.clear()
        world.check()
        assert asyncio.all_tasks() - {asyncio.current_task()} == set()
        assert not world.cache._waiting and not world.cache._flights and not world.cache._running

    run(scenario)


class Model(RuleBasedStateMachine):
    """The cache beside a list in LRU order, a set of pins and plain counters."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = self.do(self.build())
        self.order: list[str] = []
        self.capacity = 3
        self.pinned: set[str] = set()
        self.failing = False
        self.counts = dict.fromkeys(("hits", "misses", "joins", "creations", "creation_failures"), 0)
        self.evicted = dict.fromkeys(REASONS, 0)
        self.accesses: dict[str, int] = {}

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    async def build(self) -> World:
        return World()

    def drop(self, key: str, reason: str) -> None:
        self.order.remove(key)
        self.evicted[reason] += 1

    def shrink(self, room: int, reason: str) -> bool:
        while len(self.order) > room:
            free = [key for key in self.order if key not in self.pinned]
            if not free:
                return False
            self.drop(free[0], reason)
        return True

    def found(self, key: str) -> None:
        self.counts["hits"] += 1
        self.accesses[key] += 1
        self.order.remove(key)
        self.order.append(key)

    @rule(key=st.sampled_from(KEYS), callers=st.integers(1, 3))
    def look_up(self, key: str, callers: int) -> None:
        async def all_at_once() -> list[Any]:
            lookups = (self.world.cache.get_or_create(key) for _ in range(callers))
            return await asyncio.gather(*lookups, return_exceptions=True)

        results = self.do(all_at_once())
        if key in self.order:
            for _ in range(callers):
                self.found(key)
            assert len(set(results)) == 1 and results[0].key == key and not results[0].closed
        elif len(self.pinned.intersection(self.order)) >= self.capacity:
            self.counts["misses"] += callers
            assert all(isinstance(error, Refused) and error.code == "cache_pinned" for error in results)
        else:
            self.counts["misses"] += 1
            self.counts["joins"] += callers - 1
            if self.failing:
                self.counts["creation_failures"] += 1
                assert all(isinstance(error, ArithmeticError) for error in results)
            else:
                assert self.shrink(self.capacity - 1, "capacity")
                self.order.append(key)
                self.accesses[key] = 0
                self.counts["creations"] += 1
                assert len(set(results)) == 1 and results[0].key == key and not results[0].closed

    @rule(key=st.sampled_from(KEYS))
    def hit(self, key: str) -> None:
        value = self.world.cache.hit(key)
        assert (value is not None) == (key in self.order)
        if value is not None:
            self.found(key)

    @rule(key=st.sampled_from(KEYS), reason=st.sampled_from(["active", "order", "user"]))
    def pin(self, key: str, reason: str) -> None:
        if reason == "user":
            self.world.cache.pin(key)
        else:
            self.world.pins[key] = frozenset({reason})
        self.pinned.add(key)

    @rule(key=st.sampled_from(KEYS))
    def unpin(self, key: str) -> None:
        self.world.cache.unpin(key)
        self.world.pins.pop(key, None)
        self.pinned.discard(key)
        self.do(self.world.cache.trim())
        self.shrink(self.capacity, "resize")

    @rule(capacity=st.integers(1, 6))
    def resize(self, capacity: int) -> None:
        self.do(self.world.cache.resize(capacity))
        self.capacity = capacity
        self.shrink(capacity, "resize")

    @rule(key=st.sampled_from(KEYS))
    def evict(self, key: str) -> None:
        if key in self.order and key in self.pinned:
            with refused("pinned"):
                self.do(self.world.cache.evict(key))
        else:
            assert self.do(self.world.cache.evict(key)) is (key in self.order)
            if key in self.order:
                self.drop(key, "manual")

    @rule()
    def clear(self) -> None:
        self.do(self.world.cache.clear())
        for key in [key for key in self.order if key not in self.pinned]:
            self.drop(key, "clear")

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        assert self.do(self.world.cache.remove(key)) is (key in self.order)
        self.pinned -= set() if key in self.world.pins else {key}
        if key in self.order:
            self.drop(key, "removed")

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.order))

        async def swap() -> None:
            self.world.created.append(Value(key, self.world.bus))
            await self.world.cache.replace(key, self.world.created[-1])

        self.do(swap())
        self.accesses[key] = 0
        self.counts["creations"] += 1
        self.evicted["config"] += 1

    @rule(failing=st.booleans())
    def set_fault(self, failing: bool) -> None:
        async def fail(key: str) -> None:
            raise ArithmeticError(key)

        self.failing = failing
        self.world.before = fail if failing else None

    @invariant()
    def agrees(self) -> None:
        stats = self.world.check()
        assert [row["strategy_id"] for row in stats["entries"]] == self.order == list(self.world.cache.ids())
        assert {name: stats[name] for name in self.counts} == self.counts
        assert stats["evictions_by_reason"] == self.evicted
        assert stats["pinned"] == len(self.pinned.intersection(self.order))
        assert stats["over_capacity"] == max(0, len(self.order) - self.capacity)
        assert {row["strategy_id"]: row["accesses"] for row in stats["entries"]} == {
            key: self.accesses[key] for key in self.order
        }

    def teardown(self) -> None:
        self.do(self.world.cache.close())
        self.runner.close()


TestModel = Model.TestCase
TestModel.settings = settings(stateful_step_count=40)
