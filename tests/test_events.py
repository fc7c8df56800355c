"""The bus numbers, filters, keeps and delivers; no handler can hurt the publisher or another handler."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.events import EVENT_TYPES, Event, EventBus, StrategyBus

A, B = "a@BTC/USDT#main", "b@ETH/USDT#main"


def bus(**options: int) -> EventBus:
    ticks = count(1_000)
    return EventBus(lambda: next(ticks), **options)


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def test_the_types_are_the_closed_set_of_the_specification() -> None:
    assert len(EVENT_TYPES) == 51
    assert {"STRATEGY_SWITCH_FAILED", "FILL", "CACHE_EVICTED", "RECONCILE_DIFF", "STRATEGY_HEALTH"} <= EVENT_TYPES


def test_an_unknown_type_is_named_with_the_nearest_and_leaves_no_gap() -> None:
    events = bus()
    with pytest.raises(ConfigError, match="ORDER_SENT") as caught:
        events.publish("ORDER_SEND")
    assert caught.value.code == "unknown_event_type"
    with pytest.raises(ConfigError, match="unknown_event_type"):
        events.subscribe(types=("ORDERS_*",))
    assert events.publish("FILL").seq == 1


def test_an_event_is_immutable_and_goes_to_json() -> None:
    event = bus().publish("FILL", strategy_id=A, symbol="BTC/USDT", correlation_id="c1", payload={"price": 1.5})
    with pytest.raises(AttributeError):
        event.seq = 7  # type: ignore[misc]
    assert json.loads(event.to_json()) == {**event._asdict(), "payload": {"price": 1.5}}
    for value in (float("nan"), object()):
        with pytest.raises(ConfigError, match="payload_not_json"):
            event._replace(payload={"price": value}).to_json()


def test_a_strategy_bus_tags_everything_and_cannot_use_another_id() -> None:
    events = bus()
    own = StrategyBus(events, A, "BTC/USDT")
    heard = own.subscribe(types=("ORDER_*",))
    event = own.publish("ORDER_SENT", correlation_id="c1", source="orchestrator")
    assert (event.strategy_id, event.symbol, event.correlation_id) == (A, "BTC/USDT", "c1")
    with pytest.raises(TypeError):
        own.publish("FILL", strategy_id=B)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        own.strategy_id = B  # type: ignore[misc]
    for wrong in ("", "*"):
        with pytest.raises(ConfigError):
            StrategyBus(events, wrong, "BTC/USDT")
    events.publish("ORDER_SENT", strategy_id=B)
    assert seqs(list(heard)) == [1]
    own.close()
    assert events.stats()["subscribers"] == 0


def test_filters_deliver_own_events_only_and_untagged_ones_to_the_star() -> None:
    events = bus()
    everything, of_a = events.subscribe(), events.subscribe(strategy=A)
    orders = events.subscribe(types=("ORDER_*", "FILL"))
    for type_, owner in (("ORDER_SENT", A), ("FILL", B), ("ENGINE_STARTED", None), ("DECISION", A)):
        events.publish(type_, strategy_id=owner)
    assert seqs(everything.take()) == [1, 2, 3, 4]
    assert seqs(of_a.take(1)) == [1] and seqs(of_a.take(5)) == [4]
    assert seqs(list(orders)) == [1, 2]


@given(
    published=st.lists(
        st.tuples(st.sampled_from(["FILL", "ORDER_SENT", "DECISION"]), st.sampled_from([A, B, None])), max_size=40
    ),
    late=st.integers(0, 40),
    replay=st.integers(0, 50),
    strategy=st.sampled_from(["*", A, B]),
    types=st.sampled_from([("*",), ("ORDER_*",), ("FILL", "DECISION")]),
)
def test_a_late_subscriber_gets_the_backlog_in_order_and_once(
    published: list[tuple[str, str | None]], late: int, replay: int, strategy: str, types: tuple[str, ...]
) -> None:
    events = bus(capacity=16)
    made = None
    for number, (type_, owner) in enumerate(published):
        if number == late:
            made = events.subscribe(strategy=strategy, types=types, replay=replay)
        events.publish(type_, strategy_id=owner)
    made = made or events.subscribe(strategy=strategy, types=types, replay=replay)
    start = min(late, len(published))

    def wanted(rows: list[tuple[int, tuple[str, str | None]]]) -> list[int]:
        kinds = {"*": ("FILL", "ORDER_SENT", "DECISION"), "ORDER_*": ("ORDER_SENT",)}
        allowed = {kind for glob in types for kind in kinds.get(glob, (glob,))}
        return [n for n, (type_, owner) in rows if type_ in allowed and strategy in ("*", owner)]

    rows = list(enumerate(published, 1))
    backlog = wanted(rows[max(0, start - 16) : start])
    assert seqs(made.take()) == (backlog[-replay:] if replay else []) + wanted(rows[start:])


@given(
    capacity=st.integers(1, 12),
    published=st.integers(0, 40),
    after=st.integers(-2, 45),
    limit=st.integers(-1, 50),
    first=st.integers(0, 9),
)
def test_since_agrees_with_a_list(capacity: int, published: int, after: int, limit: int, first: int) -> None:
    events = bus(capacity=capacity, last_seq=first)
    made = [events.publish("FILL") for _ in range(published)]
    kept = [event for event in made[-capacity:] if event.seq > after]
    assert events.since(after, limit) == kept[: max(limit, 0)]


def test_another_thread_reads_without_holes_while_the_ring_turns_over() -> None:
    events = bus(capacity=64)
    done = threading.Event()
    faults: list[list[int]] = []

    def read() -> None:
        seen = 0
        while not done.is_set() or events.seq > seen:
            numbers = seqs(events.since(seen))
            if numbers != list(range(numbers[0], numbers[0] + len(numbers))) if numbers else False:
                faults.append(numbers)
            seen = numbers[-1] if numbers else seen

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5_000):
        events.publish("DECISION")
    done.set()
    reader.join(10)
    assert not faults and not reader.is_alive()


def test_threads_publish_with_strictly_increasing_numbers() -> None:
    events = bus()
    heard = events.subscribe()
    threads = [threading.Thread(target=lambda: [events.publish("FILL") for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seqs(heard.take()) == list(range(1, 801)) == seqs(events.since(0))


def test_handlers_never_run_inside_publish_and_keep_the_order() -> None:
    async def scenario() -> None:
        events = bus()
        plain: list[int] = []
        slow: list[int] = []

        async def later(event: Event) -> None:
            await asyncio.sleep(0)
            slow.append(event.seq)

        events.subscribe(lambda event: plain.append(event.seq))
        events.subscribe(later)
        for _ in range(20):
            events.publish("FILL")
        assert plain == [] and slow == []
        await events.drain()
        assert plain == slow == list(range(1, 21))

    asyncio.run(scenario())


def test_a_handler_that_waits_forever_delays_nobody_and_ends_with_its_subscription() -> None:
    async def scenario() -> None:
        events = bus(queue=10)
        fast: list[int] = []
        stuck = events.subscribe(lambda event: asyncio.Event().wait())
        events.subscribe(lambda event: fast.append(event.seq))
        for number in range(30):
            events.publish("FILL")
            if number % 5 == 4:
                for _ in range(3):
                    await asyncio.sleep(0)
        assert fast == list(range(1, 31))
        assert stuck.dropped == 30 - 1 - 10 and len(stuck) == 10
        stuck.close()
        stuck.close()
        await events.drain()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert events.stats()["dropped"] == 19 and events.stats()["subscribers"] == 1

    asyncio.run(scenario())


def test_a_failing_handler_is_logged_with_the_event_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    events = bus()
    heard: list[int] = []

    def fail(event: Event) -> None:
        raise ValueError("boom")

    async def fail_later(event: Event) -> None:
        raise asyncio.CancelledError

    for handler in (fail, fail_later, lambda event: heard.append(event.seq)):
        events.subscribe(handler)
    with caplog.at_level(logging.ERROR, "stratnb.events"):
        events.publish("FILL")
        events.publish("DECISION")
        events.pump()
    assert heard == [1, 2]
    assert events.stats()["errors"] == 4 and events.stats()["delivered"] == 6
    assert "failed on event 2 DECISION" in caplog.text and "boom" in caplog.text


def test_overflow_drops_the_oldest_of_that_subscriber_only() -> None:
    events = bus()
    lazy, eager = events.subscribe(), events.subscribe()
    taken = []
    for _ in range(1_500):
        events.publish("FILL")
        taken += eager.take()
    assert seqs(lazy.take()) == list(range(501, 1_501)) and lazy.dropped == 500
    assert len(taken) == 1_500 and eager.dropped == 0
    assert events.stats()["dropped"] == 500


def test_a_backlog_longer_than_the_queue_is_not_cut() -> None:
    events = bus(queue=5)
    for _ in range(20):
        events.publish("FILL")
    late = events.subscribe(replay=12)
    for _ in range(5):
        events.publish("FILL")
    assert seqs(late.take()) == list(range(9, 26)) and late.dropped == 0


def test_a_minute_of_a_thousand_events_a_second_loses_nothing_for_a_reader_that_keeps_up() -> None:
    events = bus()
    own = StrategyBus(events, A, "BTC/USDT")
    seen, read = 0, 0
    for _ in range(600):
        for _ in range(100):
            own.publish("DECISION", source="orchestrator")
        new = events.since(seen)
        assert seqs(new) == list(range(seen + 1, seen + 101)) and {event.strategy_id for event in new} == {A}
        seen, read = new[-1].seq, read + len(new)
    assert read == 60_000 == events.stats()["by_strategy"][A]


def test_events_of_another_thread_are_delivered_on_the_attached_loop() -> None:
    async def scenario() -> None:
        events = bus()
        events.attach(asyncio.get_running_loop())
        where: list[int] = []
        events.subscribe(lambda event: where.append(threading.get_ident()))
        await asyncio.to_thread(events.publish, "FILL")
        await events.drain()
        assert where == [threading.get_ident()]

    asyncio.run(scenario())


def test_delivery_goes_on_after_the_loop_was_closed() -> None:
    events = bus()
    heard: list[int] = []
    events.subscribe(lambda event: heard.append(event.seq))

    async def publish() -> None:
        events.publish("FILL")

    asyncio.run(publish())
    events.publish("FILL")

    async def again() -> None:
        events.publish("FILL")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(again())
    assert heard == [1, 2, 3]


def test_a_handler_may_publish_subscribe_and_close_itself() -> None:
    async def scenario() -> None:
        events = bus()
        heard: list[str] = []

        def once(event: Event) -> None:
            mine.close()
            events.subscribe(lambda event: heard.append(event.type), types=("ORDER_*",))
            events.publish("ORDER_SENT")

        mine = events.subscribe(once)
        events.publish("FILL")
        await events.drain()
        assert heard == ["ORDER_SENT"] and mine.closed

    asyncio.run(scenario())


def test_broadcast_reaches_each_strategy_s_subscribers_with_a_target() -> None:
    events = bus()
    of_a, of_b, all_, orders = (
        events.subscribe(strategy=A),
        events.subscribe(strategy=B),
        events.subscribe(),
        events.subscribe(strategy=A, types=("ORDER_*",)),
    )
    event = events.publish("RISK_STATE", payload={"state": "HALTED"})
    assert events.broadcast(event) == 2
    assert [copy.payload["target_strategy_id"] for copy in (*of_a.take(), *of_b.take())] == [A, B]
    assert all_.take() == [event] and orders.take() == [] and "target_strategy_id" not in event.payload
    own = events.publish("RISK_STATE", strategy_id=A)
    events.broadcast(own)
    assert of_a.take() == [own] and [copy.seq for copy in of_b.take()] == [own.seq]


def test_stats_have_exactly_the_specified_keys_and_add_up() -> None:
    events = bus()
    with events.subscribe(lambda event: None) as watched:
        events.publish("FILL", strategy_id=A)
        events.publish("FILL", strategy_id=B)
        events.publish("ENGINE_STATE")
        events.pump()
        stats = events.stats()
        assert set(stats["handler_ms"]) == {watched.name}
    assert set(stats) == {
        "published",
        "delivered",
        "dropped",
        "errors",
        "by_type",
        "by_strategy",
        "subscribers",
        "handler_ms",
    }
    assert stats["by_type"] == {"ENGINE_STATE": 1, "FILL": 2} and stats["by_strategy"] == {A: 1, B: 1}
    assert stats["published"] == 3 == stats["delivered"]
    times = stats["handler_ms"][watched.name]
    assert 0 <= times["mean"] <= times["max"] and set(times) == {"mean", "p95", "max"}
    assert events.stats()["delivered"] == 3 and events.stats()["subscribers"] == 0
    events.forget(A)
    assert events.stats()["by_strategy"] == {B: 1}


def test_a_burst_gives_way_to_the_loop() -> None:
    async def scenario() -> None:
        events = bus()
        beats = 0

        def busy(event: Event) -> None:
            sum(range(20_000))

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0)

        heart = asyncio.create_task(beat())
        events.subscribe(busy)
        for _ in range(300):
            events.publish("FILL")
        await events.drain()
        heart.cancel()
        assert beats > 5

    asyncio.run(scenario())


def test_an_exit_in_a_handler_ends_neither_the_loop_nor_another_handler(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def leave(event: Event) -> None:
        raise SystemExit(3) if event.seq % 2 else KeyboardInterrupt

    async def run() -> None:
        events = bus()
        events.attach(asyncio.get_running_loop())
        events.subscribe(leave)
        events.subscribe(lambda event: heard.append(event.seq))
        for _ in range(4):
            events.publish("FILL")
            await asyncio.sleep(0.01)
        events.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert heard == [1, 2, 3, 4]
    assert len(caplog.records) == 4
