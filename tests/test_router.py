"""Routing: one instant after the other, each candle once, and everyone told once in the order of registration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused
from stratnb.exchange.base import Instant
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.services.notify import Level
from trading_cases import BOOM, FREE, LONG, MINUTE, START_MS, document, flat, market, registered, series, wander


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def parallel(*candles: Candles, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market(each.symbol) for each in candles]}
    return Engine("route", candles=list(candles), **{**known, **options})


def added(engine: Engine, *labels: str, doc: dict[str, Any] | None = None, symbol: str | None = None) -> list[str]:
    keys = [engine.add(doc or document(), symbol, label=label) for label in labels]
    for key in keys:
        engine.activate(key)
    return keys


# The feed.


def test_instants_merge_markets_by_time() -> None:
    first = wander(30, 1, symbol="AAA/USDT", gaps=4)
    second = wander(25, 2, symbol="BBB/USDT", gaps=3, start_ms=START_MS + 5 * MINUTE)
    feed = ReplayFeed([first, second])
    instants = list(iter(feed.next, None))
    assert [i.close_ms for i in instants] == sorted(
        {int(t) + MINUTE for each in (first, second) for t in each.open_time_ms}
    )
    assert len(instants) == len(feed)
    assert sum(len(i.candles) for i in instants) == 55
    for market_no, each in enumerate((first, second)):
        rows = np.array([row for i in instants for m, row in i.candles if m == market_no])
        assert np.array_equal(rows, each.rows())
    assert all([m for m, _ in i.candles] == sorted(m for m, _ in i.candles) for i in instants)
    assert feed.done
    assert feed.next() is None


def test_a_feed_waits_as_long_as_its_speed_says() -> None:
    feed = ReplayFeed([wander(5, 1, timeframe="5m")], speed=60.0)
    assert feed.pause_s() == pytest.approx(5.0)
    feed.speed = float("inf")
    assert feed.pause_s() == 0.0
    for wrong in (0, -1, "x", float("nan"), None):
        with pytest.raises(ConfigError):
            feed.speed = wrong  # type: ignore[assignment]


# Instants.


def test_strategies_are_served_in_the_order_of_registration() -> None:
    with parallel(series([*flat(1, volume=LONG), *flat(3)])) as engine:
        keys = added(engine, "c", "a", "b")
        engine.step(2)
        told = [e.strategy_id for e in engine.events.since(0, 1000) if e.type == "DECISION"]
        assert told == keys * 2
        fills = [e.strategy_id for e in engine.events.since(0, 1000) if e.type == "FILL"]
        assert fills == keys


def test_fills_come_before_decisions_at_one_instant() -> None:
    with parallel(series([*flat(1, volume=LONG), *flat(3)])) as engine:
        added(engine, "a", "b")
        engine.step(1)
        mark = engine.events.seq
        engine.step(1)
        kinds = [e.type for e in engine.events.since(mark, 1000) if e.type in ("FILL", "DECISION")]
        assert kinds == ["FILL", "FILL", "DECISION", "DECISION"]


def test_an_order_is_one_story() -> None:
    rows = [*flat(1, volume=LONG), *flat(2), (100, 100, 97, 97), *flat(2, 97.0)]
    with parallel(series(rows)) as engine:
        (key,) = added(engine, "a")
        engine.step(6)
        story = [
            e
            for e in engine.events.since(0, 1000)
            if e.type in ("ORDER_INTENT", "ORDER_SENT", "FILL", "POSITION_OPENED", "POSITION_CLOSED")
        ]
        assert [e.type for e in story] == [
            "ORDER_INTENT",
            "ORDER_SENT",
            "FILL",
            "POSITION_OPENED",
            "ORDER_INTENT",
            "ORDER_SENT",
            "FILL",
            "POSITION_CLOSED",
        ]
        assert {e.strategy_id for e in story} == {key}
        assert story[0].correlation_id == story[1].correlation_id
        assert story[-1].payload["reason"] == "stop"
        assert story[-1].payload["pnl"] == pytest.approx(engine.stats(key)["total_pnl"], rel=1e-9)
        assert engine.desk.lane(key).order is None


def test_a_close_by_hand_is_one_order() -> None:
    with parallel(series([*flat(1, volume=LONG), *flat(5)])) as engine:
        (key,) = added(engine, "a")
        engine.step(3)
        mark = engine.events.seq
        assert engine.close_position(key)
        assert not engine.close_position(key)
        story = [e.type for e in engine.events.since(mark, 100) if e.type.startswith(("ORDER", "FILL", "POSITION"))]
        assert story == ["ORDER_INTENT", "ORDER_SENT", "FILL", "POSITION_CLOSED"]
        assert engine.desk.lane(key).order is None


def test_a_position_whose_levels_cannot_be_fixed_is_closed() -> None:
    """The exit block raises at the fill price only: the strategy halts, its position goes at the next open."""
    with parallel(series([*flat(1, volume=LONG), *flat(5)])) as engine:
        (bad,) = added(engine, "a", doc=document("bad", exits={"stop_loss": {}, "fussy": {}}))
        (good,) = added(engine, "b", doc=document("good"))
        engine.step(2)
        assert [record.state for record in engine.list()] == ["suspended", "active"]
        assert engine.desk.lane(bad).context.book.quantity == 1.0
        engine.step(2)
        book = engine.desk.lane(bad).context.book
        assert (book.quantity, book.fills()[-1].reason) == (0.0, "risk")
        assert engine.desk.lane(good).context.book.quantity == 1.0


def test_a_candle_that_came_before_is_dropped_and_counted() -> None:
    candles = wander(60, 4)
    with parallel(candles) as engine:
        (key,) = added(engine, "a")
        engine.step(30)
        desk = engine.desk
        before = desk.services.positions.books.copy()
        for old in (29, 10):
            assert not list(desk.router.take(Instant(desk.router.now_ms, [(0, candles.rows()[old])])))
        assert desk.router.dropped == 2
        assert len(desk.services.candles.rows(candles.symbol)) == 30
        assert np.array_equal(desk.services.positions.books, before, equal_nan=True)
        assert engine.stats(key)["decisions"] == 30
        engine.step(30)
        assert engine.stats(key)["decisions"] == 60


def test_gaps_are_counted_and_told() -> None:
    candles = wander(200, 4, gaps=6)
    found = candles.gaps()
    with parallel(candles) as engine:
        added(engine, "a")
        engine.step(200)
        told = [e.payload["missing"] for e in engine.events.since(0, 10_000) if e.type == "CANDLE_GAP"]
        assert told == found.missing.tolist()
        assert engine.stats()["gaps"] == found.count


def test_a_market_without_a_candle_waits() -> None:
    """Only strategies whose market has a candle at an instant are stepped."""
    quiet = wander(20, 1, symbol="BBB/USDT", start_ms=START_MS + 30 * MINUTE)
    loud = wander(60, 2, symbol="AAA/USDT")
    with parallel(loud, quiet) as engine:
        (one,) = added(engine, "a", symbol="AAA/USDT")
        (two,) = added(engine, "a", symbol="BBB/USDT")
        engine.step(30)
        assert (engine.stats(one)["decisions"], engine.stats(two)["decisions"]) == (30, 0)
        engine.step(30)
        assert (engine.stats(one)["decisions"], engine.stats(two)["decisions"]) == (60, 20)
        assert engine.stats()["candles"] == 80


def test_the_curve_has_a_point_for_each_candle() -> None:
    candles = wander(120, 3)
    with parallel(candles, curve_points=None) as engine:
        (key,) = added(engine, "a")
        engine.step(120)
        book = engine.desk.lane(key).context.book
        assert book.curve.rows()[:, 0].tolist() == candles.close_time_ms.tolist()
        assert book.curve.rows()[-1, 1] == book.row[at.B_EQUITY]
        assert engine.desk.services.positions.curve.rows()[-1, 1] == pytest.approx(1e6 + engine.stats(key)["total_pnl"])


def test_decisions_are_kept_up_to_the_limit() -> None:
    with parallel(wander(120, 3), decisions_kept=50) as engine:
        (key,) = added(engine, "a")
        engine.step(120)
        rows = engine.desk.store.decisions(key).rows()
        assert len(rows) == 50
        assert (np.diff(rows[:, at.D_TIME]) == MINUTE).all()


# Those who listen.


class Bell:
    """A notifier that keeps what it is told, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.told: list[tuple[str, str, str | None]] = []

    def notify(self, level: Level, text: str, strategy_id: str | None = None) -> None:
        self.told.append((level, text, strategy_id))
        if self.fails:
            raise RuntimeError("no line")


@pytest.mark.parametrize("bell", [None, Bell(), Bell(fails=True)], ids=["none", "good", "broken"])
def test_a_notifier_never_reaches_trading(bell: Bell | None) -> None:
    rows = [*flat(3), *flat(1, volume=BOOM), *flat(6)]
    with parallel(series(rows), notifier=bell) as engine:
        (bad,) = added(engine, "a")
        (good,) = added(engine, "b", doc=document("calm", analyzers=[{"kind": "ema"}]))
        assert engine.step(10) == 10
        assert [record.state for record in engine.list()] == ["suspended", "active"]
        assert engine.stats(good)["decisions"] == 10
        if bell is not None:
            loud = [(text, who) for level, text, who in bell.told if level == "warning"]
            assert [who for _, who in loud] == [bad] * 2
            assert ["suspended" in loud[0][0], "tried again" in loud[1][0]] == [True, True]


def test_a_notifier_is_tested_on_demand() -> None:
    bell, broken = Bell(), Bell(fails=True)
    with parallel(wander(9, 1), notifier=bell) as engine:
        text = engine.test_notifier("me")
        assert bell.told == [("info", text, None)] and "asked for by me" in text and engine.view().notifies
        assert [event.type for event in engine.events.since(0, 99)].count("COMMAND") == 1
    for given, code in ((broken, "notifier_failed"), (None, "no_notifier")):
        with parallel(wander(9, 1), notifier=given) as engine:
            with pytest.raises(Refused) as caught:
                engine.test_notifier("me")
            assert caught.value.code == code and caught.value.hint
            assert engine.view().notifies == (given is not None) and engine.failure is None


def test_a_wrong_service_is_found_when_the_engine_is_built() -> None:
    with pytest.raises(ConfigError) as caught:
        parallel(wander(9, 1), notifier=object())
    assert caught.value.code == "shared_service"


def test_a_listener_that_fails_or_is_slow_stops_nobody() -> None:
    heard: list[int] = []

    def fails(_: Any) -> None:
        raise RuntimeError("listener")

    with parallel(wander(100, 3)) as engine:
        with (
            engine.events.subscribe(fails),
            engine.events.subscribe(lambda e: heard.append(e.seq), types=("DECISION",)),
        ):
            (key,) = added(engine, "a")
            engine.step(100)
            engine.list()
            assert engine.stats(key)["decisions"] == 100
        assert engine.state == "paused"
        assert heard == sorted(set(heard))


def test_a_late_listener_gets_the_backlog_once_and_in_order() -> None:
    with parallel(wander(40, 3)) as engine:
        (key,) = added(engine, "a")
        engine.step(20)
        subscription = engine.events.subscribe(strategy=key, types=("DECISION",), replay=5)
        engine.step(3)
        times = [e.payload["open_time_ms"] for e in subscription.take()]
        assert times == [START_MS + k * MINUTE for k in range(15, 23)]
        subscription.close()


ORDERS = ("ORDER_INTENT", "ORDER_SENT", "FILL")


def test_one_trade_has_the_id_of_its_entry_s_decision() -> None:
    doc = document(exits={"stop_loss": {"fraction": 0.02}, "time_exit": {"max_candles": 3}})
    rows = [
        *(*flat(1, volume=LONG), *flat(2), (100, 100, 97, 97), *flat(2, 97.0)),
        *(*flat(1, 97.0, LONG), *flat(8, 97.0)),
    ]
    with parallel(series(rows)) as engine:
        keys = added(engine, "a", "b", doc=doc)
        engine.step(len(rows))
        events = engine.events.since(0, 100_000)
        stories = {}
        for key in keys:
            entries = [
                e for e in events if e.strategy_id == key and e.type == "DECISION" and e.payload["reason"] == "enter"
            ]
            parts = [e for e in events if e.strategy_id == key and (e.type in ORDERS or e.type.startswith("POSITION_"))]
            ids = list(dict.fromkeys(e.correlation_id for e in parts))
            assert ids == [e.correlation_id for e in entries]
            assert len(ids) == engine.stats(key)["total_trades"] == 2
            trades = [[e.type for e in parts if e.correlation_id == each] for each in ids]
            assert [trade.count("FILL") for trade in trades] == [2, 2]
            assert [trade.count("ORDER_SENT") for trade in trades] == [2, 2], "an entry and an exit"
            assert [(trade.count("POSITION_OPENED"), trade.count("POSITION_CLOSED")) for trade in trades] == [
                (1, 1)
            ] * 2
            stories[key] = set(ids)
        assert not stories[keys[0]] & stories[keys[1]]


def test_ids_stay_apart_when_a_slot_is_used_again() -> None:
    rows = [*flat(1, volume=LONG), *flat(2), *flat(1, volume=LONG), *flat(4)]
    with parallel(series(rows)) as engine:
        (first,) = added(engine, "a")
        engine.step(2)
        engine.remove(first, policy="close")
        (second,) = added(engine, "b")
        engine.step(4)
        events = [e for e in engine.events.since(0, 10_000) if e.correlation_id]
        ids = [{e.correlation_id for e in events if e.strategy_id == key} for key in (first, second)]
        assert all(ids)
        assert not ids[0] & ids[1]
        orders = [e.payload["order_id"] for e in events if e.type == "ORDER_SENT"]
        assert len(orders) == len(set(orders)) == 3
