"""Health: each injected cause gives its reason and no other, and its recommendation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stratnb.engine import Engine
from stratnb.errors import RetryLater
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.multi.clock import Clock
from stratnb.multi.health import HealthWatch
from stratnb.multi.lane import Lane
from trading_cases import BOOM, FREE, document, flat, market, registered, series


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.s = 500.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


class Bench:
    """An engine with one strategy, whose health is judged by hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.desk = engine, engine.desk
        self.key = engine.add(document())
        self.lag_s, self.lost = 0.0, ""
        self.watch = HealthWatch(engine.desk, lag_s=lambda: self.lag_s, lost=lambda: self.lost)

    @property
    def lane(self) -> Lane:
        return self.desk.lane(self.key)

    def judged(self) -> tuple[str, list[str]]:
        """Return the status and the first two words of each reason."""
        found = self.watch.judge(self.lane)
        assert len(found.recommendations) == len(found.reasons)
        assert all(found.recommendations)
        return found.status, [" ".join(reason.split()[:3]) for reason in found.reasons]


def candles(n: int = 60) -> Any:
    return series(flat(n))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with engine_on(candles()) as engine:
        made = Bench(engine)
        engine.activate(made.key)
        engine.step(5)
        yield made


def engine_on(feed: Any, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market()], "health_s": 3_600.0, **options}
    return Engine("case", candles=feed, **known)


def test_nothing_wrong_is_healthy(bench: Bench) -> None:
    assert bench.judged() == ("HEALTHY", [])
    found = bench.engine.health(bench.key)
    assert found["status"] == "HEALTHY"
    assert (found["last_candle_age_s"], found["error_rate"], found["open_position"]) == (0.0, 0.0, False)
    assert found["memory_bytes"] > 0
    assert list(bench.engine.health()) == [bench.key]


def test_dormant_or_without_a_candle_is_unknown() -> None:
    with engine_on(candles()) as engine:
        bench = Bench(engine)
        assert bench.judged() == ("UNKNOWN", ["It is dormant"])
        engine.activate(bench.key)
        assert bench.judged() == ("UNKNOWN", ["No primary candle"])


@pytest.mark.parametrize(
    ("lag_s", "status"), [(0.249, "HEALTHY"), (0.25, "DEGRADED"), (0.99, "DEGRADED"), (1.0, "UNHEALTHY")]
)
def test_the_loops_lag(bench: Bench, lag_s: float, status: str) -> None:
    bench.lag_s = lag_s
    assert bench.judged() == (status, [] if status == "HEALTHY" else ["The loop lags"])


@pytest.mark.parametrize(
    ("late_s", "status"), [(100, "HEALTHY"), (101, "DEGRADED"), (180, "DEGRADED"), (181, "UNHEALTHY")]
)
def test_the_age_of_the_newest_candle(bench: Bench, late_s: int, status: str) -> None:
    bench.desk.router.now_ms += late_s * 1_000
    assert bench.judged() == (status, [] if status == "HEALTHY" else ["The newest candle"])


@pytest.mark.parametrize(("failed", "status"), [(0, "HEALTHY"), (1, "DEGRADED"), (9, "DEGRADED"), (10, "UNHEALTHY")])
def test_the_share_of_failed_steps(bench: Bench, failed: int, status: str) -> None:
    bench.lane.tally.outcomes.extend([True] * (100 - failed) + [False] * failed)
    words = {1: "1% of the", 9: "9% of the", 10: "10% of the"}
    assert bench.judged() == (status, [words[failed]] if failed else [])


def test_a_lost_lease(bench: Bench) -> None:
    bench.lost = "Halt: lease_lost"
    assert bench.judged() == ("UNHEALTHY", ["The engine may"])


def test_a_rejected_configuration(bench: Bench) -> None:
    bench.lane.config_error = "fast is above slow"
    assert bench.judged() == ("DEGRADED", ["A new configuration"])


@pytest.mark.parametrize(("age_s", "status"), [(0.0, "DEGRADED"), (29.9, "DEGRADED"), (30.0, "UNHEALTHY")])
def test_an_order_without_an_answer(bench: Bench, age_s: float, status: str) -> None:
    clock, orders = Hand(), bench.desk.orders
    orders.clock = Clock(clock, asyncio.sleep)
    book = bench.lane.context.book.row
    book[at.B_ORDER], book[at.B_ORDER_SIGN], book[at.B_ORDER_QUANTITY] = at.ORDER_ENTRY, 1.0, 1.0

    async def lose() -> None:
        orders.place(bench.lane, "c")
        orders._lost(orders.live()[0], RetryLater("lost", "no answer"))

    assert bench.engine._loop is not None
    asyncio.run_coroutine_threadsafe(lose(), bench.engine._loop).result(5)
    clock.s += age_s
    assert bench.judged() == (status, ["The outcome of"])


def test_the_breaker_and_what_leads_to_it() -> None:
    feed = series([*flat(5), *flat(1, volume=BOOM), *flat(20)])
    with engine_on(feed) as engine:
        bench = Bench(engine)
        engine.activate(bench.key)
        engine.step(5)
        bench.lane.tally.outcomes.extend([True] * 100)
        engine.step(1)
        bench.lane.tally.outcomes.extend([True] * 100)
        assert bench.judged() == ("DEGRADED", ["It runs on"])
        engine.step(4)
        bench.lane.tally.outcomes.extend([True] * 100)
        assert bench.judged() == ("UNHEALTHY", ["The breaker is"])
        assert "resume()" in bench.watch.judge(bench.lane).recommendations[0]
        clock_ms = bench.desk.router.now_ms
        bench.desk.router.now_ms += 30_000
        assert bench.lane.breaker.allow()
        bench.desk.router.now_ms = clock_ms
        assert bench.judged() == ("DEGRADED", ["The breaker is"])


def test_a_change_of_status_is_announced_once() -> None:
    with engine_on(candles()) as engine:
        bench = Bench(engine)

        def told() -> list[Event]:
            return [event for event in engine.events.since(0, 10_000) if event.type == "STRATEGY_HEALTH"]

        async def judge() -> None:
            bench.watch.judge_all()

        def judged() -> None:
            assert engine._loop is not None
            asyncio.run_coroutine_threadsafe(judge(), engine._loop).result(5)

        judged()
        engine.activate(bench.key)
        engine.step(3)
        for lag_s in (0.0, 0.0, 0.5, 0.5, 2.0, 0.0):
            bench.lag_s = lag_s
            judged()
        statuses = [event.payload["status"] for event in told() if event.strategy_id == bench.key]
        assert statuses == ["UNKNOWN", "HEALTHY", "DEGRADED", "UNHEALTHY", "HEALTHY"]
        engine.list()
        shown = engine.view().strategies[0]
        assert (shown.health, shown.health_reasons) == ("HEALTHY", ())
