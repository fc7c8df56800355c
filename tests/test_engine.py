"""The engine as a whole: operations, isolation, catch-up, eviction, and what wrong input gets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb import engine as engine_module
from stratnb.engine import Engine, get_engine
from stratnb.errors import ConfigError, Refused, RetryLater, StratnbError
from stratnb.events import Event
from stratnb.exchange.base import Instant
from stratnb.kernels import layout as at
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.multi import context as context_module
from stratnb.multi import creation
from stratnb.multi import desk as desk_module
from stratnb.multi import loader as loader_module
from stratnb.multi.jobs import Job
from trading_cases import (
    BOOM,
    FREE,
    IDLE,
    LONG,
    SHORT,
    SYMBOL,
    Floats,
    document,
    flat,
    market,
    registered,
    series,
    wander,
)

EXITS = {"stop_loss": {"fraction": 0.006}, "take_profit": {"levels": [{"at": 0.004, "close": 1.0}]}, "signal_exit": {}}
SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(candles: Candles | list[Candles], kind: str = "spot", **options: Any) -> Engine:
    """Return an engine on some candles whose limits are off, with the markets of the tests."""
    given = [candles] if isinstance(candles, Candles) else candles
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", **options}
    return Engine("case", candles=given, markets=[market(each.symbol, kind=kind) for each in given], **known)


def fills(engine: Engine, key: str) -> Floats:
    rows = engine.desk.lane(key).context.book.fill_rows
    return np.array(rows) if rows else np.empty((0, at.W_FILL))


def decisions(engine: Engine, key: str) -> Floats:
    """Return what a strategy decided, without what it was told of the account that it shares."""
    rows = engine.desk.store.decisions(key).rows()
    shared = [at.D_OPEN, at.D_MARKET_NET, at.D_MARKET_GROSS, at.D_GROSS, at.D_FREE, at.D_RISK_OPEN]
    rows[:, [*shared, at.D_ORDERS_ACCOUNT]] = 0.0
    return rows


def memory_of(engine: Engine, key: str) -> str:
    """Return the hash of a strategy's memory, without the free balance of the account that it shares."""
    found = engine.desk.cache.hit(key)
    assert found is not None
    memory = found.memory.copy()
    memory[at.R_FREE] = 0.0
    return hashlib.sha256(memory.tobytes()).hexdigest()


def types(engine: Engine, key: str | None = None) -> list[str]:
    events = engine.events.since(0, 100_000)
    return [e.type for e in events if key is None or e.strategy_id == key]


# Operations.


def test_plain_calls_jobs_and_coroutines_are_one_path() -> None:
    with engine_on(wander(50, 1)) as engine:
        key = engine.add(document())

        async def look() -> tuple[Any, Any]:
            return await engine.aio.list(), await engine.submit("list")

        assert asyncio.run(look()) == (engine.list(), engine.submit("list").result())
        assert [record.strategy_id for record in engine.list()] == [key] == ["case@AAA/USDT#main"]
        assert "switch" in dir(engine.aio)
        with pytest.raises(AttributeError):
            engine.aio.swich  # noqa: B018


def test_an_unknown_operation_is_named() -> None:
    with engine_on(wander(50, 1)) as engine, pytest.raises(ConfigError, match="switch") as caught:
        engine.submit("swich")
    assert caught.value.code == "unknown_operation"


def test_wrong_arguments_do_not_hang() -> None:
    with engine_on(wander(50, 1)) as engine, pytest.raises(ConfigError, match="arguments"):
        engine.submit("pin", "a", "b", "c").result(5)


def test_a_closed_engine_refuses() -> None:
    engine = engine_on(wander(50, 1))
    key = engine.add(document())
    engine.close()
    engine.close()
    assert engine.state == "stopped"
    for call in (engine.list, lambda: engine.activate(key), lambda: engine.step(1), engine.start):
        with pytest.raises(Refused) as caught:
            call()
        assert caught.value.code == "engine_closed"


def test_an_engine_that_never_ran_closes() -> None:
    before = threading.active_count()
    engine = engine_on(wander(50, 1))
    assert threading.active_count() <= before
    engine.close()
    assert engine.view().name == "case"


def test_closing_leaves_no_thread_and_no_task() -> None:
    engine = engine_on(wander(50, 1))
    engine.activate(engine.add(document()))
    engine.step(20)
    loop, thread = engine._loop, engine._thread
    engine.close()
    assert thread is not None
    assert not thread.is_alive()
    assert loop is not None
    assert loop.is_closed()
    assert not asyncio.all_tasks(loop)


def test_a_handler_may_ask_the_engine() -> None:
    found: list[int] = []
    with engine_on(wander(50, 1)) as engine:
        done = threading.Event()

        def handler(event: Event) -> None:
            found.append(len(engine.list()))
            done.set()

        engine.events.subscribe(handler, types=("STRATEGY_LOADED",))
        engine.add(document())
        assert done.wait(5)
    assert found == [1]


def test_get_engine_returns_the_same_one() -> None:
    first = get_engine("same", candles=wander(50, 1))
    try:
        assert get_engine("same") is first
        assert get_engine("same", cash=5.0) is first
    finally:
        first.close()
    again = get_engine("same", candles=wander(50, 1))
    assert again is not first
    again.close()


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_step_takes_whole_numbers(n: Any) -> None:
    with engine_on(wander(50, 1)) as engine, pytest.raises(ConfigError) as caught:
        engine.step(n)
    assert caught.value.code == "range"


def test_step_ends_with_the_candles() -> None:
    with engine_on(wander(50, 1)) as engine:
        assert [engine.step(30), engine.step(30), engine.step(30)] == [30, 20, 0]
        assert engine.feed.done
        assert engine.feed.position == engine.feed.length == 50


@pytest.mark.parametrize("capacity", [0, -3, 2.5])
def test_a_cache_needs_room(capacity: Any) -> None:
    with pytest.raises((ConfigError, ValueError)) as caught:
        engine_on(wander(50, 1), cache_capacity=capacity)
    assert "cache" in str(caught.value)
    with engine_on(wander(50, 1)) as engine, pytest.raises(ConfigError):
        engine.cache.resize(capacity)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), "fast"])
def test_a_speed_is_above_zero(speed: Any) -> None:
    with engine_on(wander(50, 1)) as engine:
        with pytest.raises(ConfigError) as caught:
            engine.feed.speed = speed
        assert caught.value.code == "speed"
        assert engine.step(1) == 1


def test_play_pause_resume() -> None:
    with engine_on(wander(3000, 1)) as engine:
        engine.pause()
        engine.pause()
        engine.start()
        engine.resume()
        engine.pause()
        held = engine.feed.position
        assert engine.state == "paused"
        assert engine.feed.position == held
        engine.stop()
        engine.stop()
        assert engine.state == "stopped"


# Wrong input.


def test_the_same_strategy_twice() -> None:
    with engine_on(wander(50, 1)) as engine:
        engine.add(document())
        with pytest.raises(Refused) as caught:
            engine.add(document())
        assert caught.value.code == "duplicate_strategy"
        assert engine.add(document(), label="second") == "case@AAA/USDT#second"
        assert len(engine.list()) == 2


@pytest.mark.parametrize(
    ("call", "code", "near"),
    [
        (lambda e: e.add("simple-level"), "unknown_document", "simple-levels"),
        (lambda e: e.add(document(name="other"), "AAB/USDT"), "market_unknown", "AAA/USDT"),
        (lambda e: e.switch("case@AAA/USDT#mian"), "unknown_strategy", "case@AAA/USDT#main"),
        (lambda e: e.activate("caze@AAA/USDT#main"), "unknown_strategy", "case@AAA/USDT#main"),
        (lambda e: e.remove("nothing"), "unknown_strategy", ""),
        (lambda e: e.stats("nothing"), "unknown_strategy", ""),
        (lambda e: e.close_position("nothing"), "unknown_strategy", ""),
        (lambda e: e.pause("nothing"), "unknown_strategy", ""),
        (lambda e: e.cache.evict("nothing"), "unknown_strategy", ""),
        (lambda e: e.switch("case@AAA/USDT#main", policy="kepe"), "enum", "keep"),
        (lambda e: e.add(document(name="other"), label="Bad Label"), "label_invalid", ""),
        (lambda e: e.add(document(name="other", exits={"stop_los": {}})), "config_invalid", "stop_loss"),
        (lambda e: e.release("me", " "), "missing", ""),
    ],
)
def test_wrong_names_are_answered_with_near_ones(call: Any, code: str, near: str) -> None:
    with engine_on(wander(50, 1)) as engine:
        engine.add(document())
        with pytest.raises((ConfigError, Refused)) as caught:
            call(engine)
        assert caught.value.code == code
        assert near in str(caught.value)
        assert len(engine.list()) == 1


def test_wrong_candles_are_refused() -> None:
    for given, code in (
        ([], "no_candles"),
        ([wander(9, 1), wander(9, 2)], "duplicate_symbol"),
        ([wander(9, 1), wander(9, 2, symbol="BBB/USDT", timeframe="5m")], "timeframe_mixed"),
        (["a.csv"], "type"),
    ):
        with pytest.raises(ConfigError) as caught:
            Engine(candles=given)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_settings_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cashh.*'cash'") as caught:
        Engine(candles=wander(9, 1), cashh=5.0)
    assert caught.value.code == "settings_invalid"


def nothing_left(engine: Engine) -> bool:
    desk = engine.desk
    idle = desk.registry.list() == () and desk.lanes() == () and desk.services.positions.all() == ()
    return idle and not desk.services.positions.books.any() and desk.cache.ids() == () and desk.router.lanes == ()


def test_a_market_of_the_wrong_kind_leaves_nothing() -> None:
    with engine_on(wander(50, 1)) as engine:
        with pytest.raises(ConfigError) as caught:
            engine.add(document(market={"kind": "linear"}))
        assert [finding.code for finding in caught.value.findings] == ["market_kind"]
        assert nothing_left(engine)
        assert engine.add(document())


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (loader_module, "build_config"),
        (desk_module, "build_plan"),
        (desk_module, "open_context"),
        (context_module, "build_plan"),
        (context_module, "StrategyBus"),
    ],
)
def test_a_failing_step_of_the_factory_leaves_nothing(where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    with engine_on(wander(50, 1)) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, fail)
            with pytest.raises(RuntimeError, match="injected"):
                engine.add(document())
        assert nothing_left(engine)
        assert engine.add(document()) == "case@AAA/USDT#main"


def test_a_failing_book_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_on(wander(50, 1)) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(type(engine.desk.services.positions), "refresh", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.add(document())
        assert engine.list() == ()
        assert engine.add(document())


def test_a_hostile_title_is_only_text() -> None:
    with engine_on(wander(50, 1)) as engine:
        key = engine.add(document(title="<img src=x onerror=alert(1)>"))
        assert engine.desk.lane(key).context.config.title == "<img src=x onerror=alert(1)>"
        assert "<img" not in repr(engine)


def test_a_full_registry_says_so() -> None:
    with engine_on(wander(50, 1), max_strategies=2) as engine:
        engine.add(document(), label="a")
        engine.add(document(), label="b")
        with pytest.raises(Refused) as caught:
            engine.add(document(), label="c")
        assert caught.value.code == "registry_full"


def test_other_candles_only_without_strategies() -> None:
    with engine_on(wander(50, 1)) as engine:
        key = engine.add(document())
        with pytest.raises(Refused) as caught:
            engine.open_feed(wander(60, 2))
        assert caught.value.code == "strategies_loaded"
        engine.remove(key)
        engine.open_feed(wander(60, 2, symbol="BBB/USDT"))
        assert engine.feed.symbols == ("BBB/USDT",)
        engine.activate(engine.add(document()))
        assert engine.step(100) == 60


# Routing and isolation.


def test_nobody_active_is_no_error() -> None:
    with engine_on(wander(50, 1)) as engine:
        engine.add(document())
        engine.step(50)
        stats = engine.stats()
        assert (stats["candles"], stats["unrouted"], stats["total_trades"]) == (50, 50, 0)


def test_adding_three_and_running_them_beside_each_other() -> None:
    feeds = [wander(400, k, symbol=symbol, gaps=5 * k) for k, symbol in enumerate(SYMBOLS)]
    with engine_on(feeds) as engine:
        keys = [engine.add(document(exits=EXITS), symbol) for symbol in SYMBOLS]
        for key in keys:
            assert engine.activate(key).success
        engine.step(5000)
        stats = engine.stats()
        assert stats["active"] == 3
        for key, feed in zip(keys, feeds, strict=True):
            assert stats["strategies"][key]["decisions"] == len(feed)
            assert stats["strategies"][key]["total_trades"] > 0
        assert stats["combined_pnl"] == pytest.approx(sum(s["total_pnl"] for s in stats["strategies"].values()))
        assert stats["equity"] == pytest.approx(1e6 + stats["combined_pnl"])
        assert stats["total_trades"] == sum(s["total_trades"] for s in stats["strategies"].values())
        assert len(engine.stats_frame()) == 3


def test_every_event_of_a_strategy_carries_its_name() -> None:
    heard: dict[str, list[Event]] = {}
    with engine_on([wander(200, k, symbol=s) for k, s in enumerate(SYMBOLS)]) as engine:
        keys = [engine.add(document(exits=EXITS), symbol) for symbol in SYMBOLS]
        subscriptions = [engine.events.subscribe(heard.setdefault(key, []).append, strategy=key) for key in keys]
        for key in keys:
            engine.activate(key)
        engine.step(200)
        engine.list()
        tagged = [e for e in engine.events.since(0, 100_000) if e.strategy_id is not None]
        asyncio.run_coroutine_threadsafe(engine.events.drain(), engine._loop).result(5)  # type: ignore[arg-type]
        assert {e.strategy_id for e in tagged} == set(keys)
        for key in keys:
            assert heard[key]
            assert {e.strategy_id for e in heard[key]} == {key}
            assert {e.symbol for e in heard[key]} <= {key.split("@")[1].split("#")[0], None}
        seqs = [e.seq for e in engine.events.since(0, 100_000)]
        assert seqs == sorted(set(seqs))
        for subscription in subscriptions:
            subscription.close()


def test_a_failing_strategy_halts_alone_and_visibly() -> None:
    candles = wander(300, 6)
    volume = candles.volume.copy()
    volume[150] = BOOM
    candles = Candles(
        candles.symbol, "1m", candles.open_time_ms, candles.open, candles.high, candles.low, candles.close, volume
    )
    calm = document("calm", analyzers=[{"kind": "ema", "params": {"fast": 3, "slow": 8}}], exits=EXITS)
    with engine_on(candles) as engine:
        bad, good = engine.add(document("bad", exits=EXITS)), engine.add(calm)
        engine.activate(bad)
        engine.activate(good)
        engine.step(300)
        stats = engine.stats()["strategies"]
        assert stats[bad]["state"] == "suspended"
        assert "the script says so" in stats[bad]["error"]
        assert types(engine, bad).count("STRATEGY_ERROR") == 1
        assert stats[bad]["decisions"] == 150
        assert stats[good]["state"] == "active"
        mine, rows = fills(engine, good), decisions(engine, good)
    with engine_on(candles) as alone:
        key = alone.add(calm)
        alone.activate(key)
        alone.step(300)
        assert np.array_equal(fills(alone, key), mine)
        assert np.array_equal(decisions(alone, key), rows, equal_nan=True)
    assert len(mine) > 0


def test_a_halted_strategy_still_leaves_at_its_stop() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), *flat(1, volume=BOOM), (100, 100, 90, 92)]
    with engine_on(series([*rows, *flat(3, 92.0)])) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(3)
        assert engine.list()[0].state == "suspended"
        assert engine.desk.lane(key).context.book.quantity == 1.0
        engine.step(1)
        assert engine.desk.lane(key).context.book.quantity == 0.0
        assert engine.stats(key)["total_trades"] == 1


def test_resuming_what_still_fails_changes_nothing() -> None:
    rows = [*flat(5), *flat(1, volume=BOOM), *flat(10)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(9)
        before = memory_of(engine, key)
        for _ in range(2):
            with pytest.raises(Refused, match="the script says so") as caught:
                engine.resume(key)
            assert caught.value.code == "strategy_failed"
            assert engine.list()[0].state == "suspended"
            assert memory_of(engine, key) == before
        engine.remove(key)
        assert engine.list() == ()


def test_a_candle_before_the_error_is_not_counted_twice() -> None:
    """What raises leaves memory and book as they were before the candle."""
    rows = [*flat(30), *flat(1, volume=BOOM), *flat(5)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(30)
        before, book = memory_of(engine, key), engine.desk.lane(key).context.book.row.copy()
        engine.step(1)
        after = engine.desk.lane(key).context.book.row.copy()
        for cell in (at.B_ENTRIES, at.B_MARK, at.B_EQUITY, at.B_EQUITY_LOW):
            after[cell] = book[cell]
        assert memory_of(engine, key) == before
        assert np.array_equal(after, book, equal_nan=True)


def test_opposite_positions_on_one_market_add_up() -> None:
    rows = [*flat(1, volume=LONG), *flat(1, volume=SHORT), *flat(3), (101, 101, 101, 101)]
    with engine_on(series(rows), kind="linear") as engine:
        up = engine.add(document("up", market={"kind": "linear", "direction": "long"}))
        down = engine.add(document("down", market={"kind": "linear", "direction": "short"}))
        engine.activate(up)
        engine.activate(down)
        engine.step(4)
        books = {key: engine.desk.lane(key).context.book.quantity for key in (up, down)}
        account = engine.desk.services.positions.account
        assert books == {up: 1.0, down: -1.0}
        assert (account[at.A_NET], account[at.A_GROSS], account[at.A_OPEN]) == (0.0, 200.0, 2.0)
        engine.step(2)
        gained = engine.stats(up)["total_pnl"] + engine.stats(down)["total_pnl"]
        assert account[at.A_EQUITY] == pytest.approx(1e6 + gained, rel=1e-12)
        assert engine.close_position(up)
        assert engine.desk.lane(down).context.book.quantity == -1.0
        assert account[at.A_NET] == -101.0


def test_an_open_position_of_one_does_not_block_the_other() -> None:
    rows = [*flat(1, volume=LONG), *flat(2), *flat(1, volume=LONG), *flat(3)]
    with engine_on(series(rows)) as engine:
        first, second = engine.add(document("first")), engine.add(document("second"))
        engine.activate(first)
        engine.step(2)
        engine.activate(second)
        engine.step(4)
        assert [len(fills(engine, key)) for key in (first, second)] == [1, 1]


def test_single_equals_the_same_among_ten() -> None:
    candles = wander(500, 9, gaps=8)
    chosen = document("chosen", exits=EXITS)
    with Engine.single(chosen, candles, markets=[market()], cash=1e6, limits=FREE) as single:
        single.step(1000)
        (record,) = single.list()
        alone, rows = fills(single, record.strategy_id), decisions(single, record.strategy_id)
    with engine_on(candles) as engine:
        keys = [
            engine.add(document(f"n{k}", exits=EXITS, sizing={"kind": "fixed_quantity", "quantity": 1.0 + k}))
            for k in range(9)
        ]
        keys.insert(4, engine.add(chosen))
        for key in keys:
            engine.activate(key)
        engine.step(1000)
        assert np.array_equal(fills(engine, keys[4]), alone)
        assert np.array_equal(decisions(engine, keys[4]), rows, equal_nan=True)
    assert len(alone) > 10


# Memory: eviction, catch-up, growth.


def test_evicted_and_resumed_equals_an_uninterrupted_twin() -> None:
    candles = synthetic_market(["SOL/USDT"], candles=1600, seed=2)[0]
    overrides = {"timeframes": {"primary": "1m", "trend": "15m"}}
    with Engine("twins", candles=candles, limits=FREE, mode="parallel") as engine:
        one, two = (engine.add("trend-rider", label=label, overrides=overrides) for label in ("one", "two"))
        for key in (one, two):
            engine.activate(key)
        engine.step(600)
        for key in (one, two):
            engine.deactivate(key, policy="close")
        engine.cache.pin(two)
        assert engine.cache.evict(one)
        assert not engine.desk.cache.contains(one)
        with pytest.raises(Refused) as caught:
            engine.cache.evict(two)
        assert caught.value.code == "pinned"
        engine.step(500)
        results = [engine.activate(key) for key in (one, two)]
        assert [r.caught_up_candles for r in results] == [500, 500]
        assert "STRATEGY_STATE_RESTORED" in types(engine, one)
        assert memory_of(engine, one) == memory_of(engine, two)
        engine.step(500)
        assert memory_of(engine, one) == memory_of(engine, two)
        assert np.array_equal(fills(engine, one), fills(engine, two))
        assert np.array_equal(decisions(engine, one), decisions(engine, two), equal_nan=True)
        assert len(decisions(engine, one)) == 1600


def test_catch_up_decides_but_never_trades() -> None:
    candles = wander(300, 3)
    with engine_on(candles) as engine:
        key = engine.add(document(exits=EXITS))
        engine.step(200)
        assert engine.activate(key).caught_up_candles == 200
        rows = decisions(engine, key)
        assert len(rows) == 200
        assert (rows[:, at.D_FLAGS].astype(int) & int(at.FLAG_CATCHUP)).all()
        assert (rows[:, at.D_REASON] == at.Z_ENTER).sum() > 10
        assert len(fills(engine, key)) == 0
        engine.step(100)
        late = fills(engine, key)
        assert len(late)
        assert late[0, at.F_TIME] >= candles.open_time_ms[200]


def test_catch_up_over_gaps_equals_the_run() -> None:
    candles = wander(600, 12, gaps=20)
    doc = document(
        timeframes={"primary": "5m", "trend": "15m"},
        analyzers=[{"kind": "ema", "timeframe": "trend"}, {"kind": "scripted"}],
    )
    with engine_on(candles) as engine:
        late, prompt = engine.add(doc, label="late"), engine.add(doc, label="prompt")
        engine.activate(prompt)
        engine.pause(prompt)
        engine.step(455)
        engine.activate(late)
        engine.pause(late)
        engine.step(145)
        first, second = decisions(engine, late), decisions(engine, prompt)
        same = [k for k in range(first.shape[1]) if k not in (at.D_FLAGS, at.D_EQUITY, at.D_REASON, at.D_ACTION)]
        assert np.array_equal(first[:, same], second[:, same], equal_nan=True)
        assert len(first) > 100


def test_a_small_cache_keeps_who_trades() -> None:
    with engine_on(wander(100, 3), cache_capacity=2) as engine:
        keys = [engine.add(document(), label=f"n{k}") for k in range(3)]
        engine.activate(keys[0])
        engine.activate(keys[1])
        with pytest.raises(Refused) as caught:
            engine.activate(keys[2])
        assert caught.value.code == "capacity"
        assert [r.state for r in engine.list()] == ["active", "active", "dormant"]
        engine.cache.resize(1)
        assert engine.cache.stats()["over_capacity"] == 1
        engine.deactivate(keys[0])
        stats = engine.cache.stats()
        assert (stats["size"], stats["over_capacity"]) == (1, 0)
        assert stats["creations"] - stats["evictions"] == stats["size"]
        engine.step(50)
        assert engine.stats(keys[1])["decisions"] == 50


def test_cycles_leave_nothing_behind() -> None:
    with engine_on(wander(400, 3), cache_capacity=3, mode="exclusive", max_strategies=4) as engine:
        base = engine.add(document("base", exits=EXITS))
        engine.switch(base)
        sizes = []
        for n in range(300):
            key = engine.add(document("guest", exits=EXITS))
            assert engine.switch(key, policy="close").success
            engine.step(1)
            assert engine.switch(base, policy="close").success
            engine.remove(key)
            if n % 100 == 20:
                assert engine._loop is not None
                own = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]  # a pool of a few workers
                sizes.append((len(own), len(asyncio.all_tasks(engine._loop)), engine.events.stats()["subscribers"]))
        assert len(set(sizes)) == 1, sizes
        desk = engine.desk
        assert np.count_nonzero(desk.services.positions.books[:, at.B_USED]) == 1
        assert len(desk.lanes()) == len(desk.router.lanes) == 1
        assert desk.cache.stats()["size"] == 1
        assert desk.services.risk.denials.keys() <= {base}
        assert engine.stats()["equity"] == pytest.approx(desk.services.positions.account[at.A_EQUITY])


def test_what_a_removed_strategy_earned_stays_in_the_account() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (101, 101, 101, 101), *flat(3, 101.0)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(4)
        with pytest.raises(Refused) as caught:
            engine.remove(key)
        assert caught.value.code == "position_open"
        assert len(engine.list()) == 1
        engine.remove(key, policy="close")
        sold, bought = 101 * (1 - 0.001), 100 * (1 + 0.001)
        earned = sold - bought - 0.001 * (sold + bought)
        assert engine.desk.services.positions.account[at.A_EQUITY] == pytest.approx(1e6 + earned, rel=1e-14)
        assert engine.desk.services.positions.account[at.A_FREE] == pytest.approx(1e6 + earned, rel=1e-14)


def test_loaded_again_with_other_rules_shows_its_own_decisions() -> None:
    with engine_on(wander(100, 3)) as engine:
        rules = {"entry": {"mode": "vote", "min_candles": 1, "min_confidence": 0.95}}
        for doc, word in ((document(), "enter"), (document(**rules), "low_confidence")):
            key = engine.add(doc)
            if engine.feed.position == 0:
                engine.step(50)
            engine.activate(key)
            plan, rows = engine.desk.lane(key).context.plan, decisions(engine, key)
            assert len(rows) == 50
            assert word in {plan.reason(code) for code in rows[:, at.D_REASON]}
            assert plan.reason(at.Z_ENTER) == "enter"
            engine.remove(key)


def test_an_override_changes_one_instance_only() -> None:
    given = document(sizing={"kind": "fixed_quantity", "quantity": 1.0})
    kept = deepcopy(given)
    with engine_on([wander(9, 1), wander(9, 2, symbol="BBB/USDT")]) as engine:
        changed = engine.add(given, "AAA/USDT", overrides={"sizing": {"quantity": 3.0}})
        given["sizing"]["quantity"] = 9.0
        plain = engine.add(kept, "BBB/USDT")
        lanes = [engine.desk.lane(key).context for key in (changed, plain)]
        assert [c.config.sizing.quantity for c in lanes] == [3.0, 1.0]  # type: ignore[attr-defined]
        assert [c.document["sizing"]["quantity"] for c in lanes] == [1.0, 1.0]
        assert [c.config.market.symbol for c in lanes] == ["AAA/USDT", "BBB/USDT"]
        assert lanes[0].plan.params is not lanes[1].plan.params
        with pytest.raises(TypeError):
            lanes[0].config.exits["more"] = None  # type: ignore[index]
        with pytest.raises(ValueError, match="frozen"):
            lanes[0].config.title = "other"


def test_nothing_trades_before_it_is_active() -> None:
    with engine_on(series(flat(20, volume=IDLE + 6))) as engine:
        key = engine.add(document())
        engine.step(10)
        assert len(fills(engine, key)) == 0
        assert SYMBOL in key


# Threads: handlers, closing, calls at the same time.


def test_handlers_that_sleep_or_exit_neither_delay_nor_end_the_engine() -> None:
    awake, exits, where = threading.Event(), threading.Event(), []

    def leave(event: Event) -> None:
        exits.set()
        raise SystemExit(3)

    def sleep(event: Event) -> None:
        where.append(threading.current_thread())
        awake.wait(20.0)

    with engine_on(wander(200, 1)) as engine:
        engine.events.subscribe(leave, types=("STRATEGY_LOADED",))
        engine.events.subscribe(sleep, types=("DECISION",))
        key = engine.add(document())
        assert exits.wait(5.0)
        engine.activate(key)
        began = time.monotonic()
        assert engine.step(150) == 150
        assert engine.stats(key)["decisions"] == 150
        assert time.monotonic() - began < 2.0
        awake.set()
        assert engine.step(100) == 50
    assert engine._thread not in where


def slowly(engine: Engine, seconds: float) -> threading.Event:
    """Let every instant take a while; return what is set once the first one came."""
    take, begun = engine.desk.router.take, threading.Event()

    def wait(instant: Instant) -> Iterator[None]:
        begun.set()
        time.sleep(seconds)
        yield from take(instant)

    engine.desk.router.take = wait  # type: ignore[method-assign]
    return begun


def test_closing_refuses_who_is_still_stepping() -> None:
    engine, caught = engine_on(wander(5_000, 1)), []
    engine.activate(engine.add(document()))
    begun = slowly(engine, 0.005)

    def step() -> None:
        try:
            engine.step(5_000)
        except StratnbError as error:
            caught.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    assert begun.wait(5.0)
    waiting = [engine.submit("step", 100) for _ in range(3)]
    began = time.monotonic()
    engine.close()
    thread.join(5.0)
    assert time.monotonic() - began < 2.0
    assert [type(error) for error in caught] == [Refused]
    for job in waiting:
        with pytest.raises(Refused):
            job.result(2.0)


def test_calls_while_closing_end_or_are_refused() -> None:
    for _ in range(5):
        engine, wrong = engine_on(wander(50, 1)), []
        key = engine.add(document())
        closing = threading.Event()

        def ask(engine: Engine = engine, key: str = key, closing: Any = closing, wrong: Any = wrong) -> None:
            while True:
                try:
                    engine.stats(key)
                except Refused:
                    return
                except BaseException as error:
                    wrong.append(error)
                    return
                closing.set()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert closing.wait(5.0)
        engine.close()
        for thread in threads:
            thread.join(5.0)
        assert not any(thread.is_alive() for thread in threads)
        assert wrong == []


def test_adding_and_opening_a_feed_at_once_loses_nothing() -> None:
    other = wander(60, 2)
    with engine_on(wander(50, 1)) as engine:
        added, opened = engine.submit("add", document()), engine.submit("open_feed", other)
        key = added.result()
        with pytest.raises(Refused, match="strategies_loaded"):
            opened.result()
        assert engine.desk.lane(key).context.strategy_id == key
        assert engine.activate(key).success
    with engine_on(wander(50, 1)) as engine:
        opened, added = engine.submit("open_feed", other), engine.submit("add", document())
        assert opened.result() is None
        key = added.result()
        assert [record.strategy_id for record in engine.list()] == [key]
        assert engine.activate(key).success
        assert engine.step(100) == 60


def test_all_threads_get_the_same_engine() -> None:
    found, candles, together = [], wander(50, 1), threading.Barrier(8)

    def get() -> None:
        together.wait(5.0)
        found.append(get_engine("everyone", candles=candles))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5.0)
    try:
        assert len(found) == 8
        assert len({id(engine) for engine in found}) == 1
    finally:
        for engine in found:
            engine.close()


# Money, documents and long histories.


def test_the_equity_is_the_start_and_all_results() -> None:
    with engine_on(wander(400, 7)) as engine:
        keys = [engine.add(document(exits=EXITS), label=label) for label in "abc"]
        for key in keys:
            engine.activate(key)
        engine.step(200)
        engine.remove(keys[0], policy="close")
        engine.step(100)
        engine.remove(keys[2], policy="close")
        engine.step(50)
        stats = engine.stats()
        assert stats["removed_pnl"] != 0.0
        assert stats["start_equity"] == 1e6
        parts = stats["start_equity"] + stats["combined_pnl"] + stats["removed_pnl"]
        assert stats["equity"] == pytest.approx(parts, rel=1e-12)
        newest = fills(engine, keys[1])[-1, at.F_TIME]
        assert stats["strategies"][keys[1]]["last_trade_ms"] == newest


def test_the_last_trade_is_the_last_fill_also_of_an_open_position() -> None:
    candles = series([*flat(1, volume=LONG), *flat(5)])
    with engine_on(candles) as engine:
        key = engine.add(document())
        engine.activate(key)
        assert engine.stats(key)["last_trade_ms"] is None
        engine.step(4)
        assert engine.stats(key)["total_trades"] == 0
        assert engine.stats(key)["last_trade_ms"] == candles.open_time_ms[1]


def test_a_workspace_has_own_documents_and_a_base(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "mine.json").write_text(json.dumps(document("mine", title="My own")))
    (tmp_path / "base.json").write_text(json.dumps({"risk": {"max_daily_loss": 0.0125}}))
    with engine_on(wander(50, 1), workspace=tmp_path) as engine:
        config = engine.desk.lane(engine.add("mine")).context.config
        assert (config.title, config.risk.max_daily_loss) == ("My own", 0.0125)
        assert engine.add("simple-levels") == "simple-levels@AAA/USDT#main"
    with engine_on(wander(50, 1)) as engine, pytest.raises(ConfigError) as caught:
        engine.add("mine")
    assert caught.value.code == "unknown_document"


def test_a_long_history_is_caught_up_beside_the_loop_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    candles, found = wander(600, 12, gaps=5), []
    rules = {"entry": {"mode": "vote", "min_candles": 1, "min_confidence": 0.95}}
    stepping: list[threading.Thread] = []
    for inline in (1_000_000, 50):
        monkeypatch.setattr(creation, "CATCHUP_INLINE", inline)
        with engine_on(candles) as engine:
            key, catch_up = engine.add(document(exits=EXITS, **rules)), engine.desk.creator.catch_up
            engine.step(400)

            def noted(made: Any, catch_up: Any = catch_up) -> int:
                stepping.append(threading.current_thread())
                return int(catch_up(made))

            engine.desk.creator.catch_up = noted  # type: ignore[method-assign]
            jobs = [engine.submit("activate", key), engine.submit("step", 100)]
            assert [job.result().success for job in jobs[:1]] == [True]
            assert jobs[1].result() == 100
            assert (stepping[0] is engine._thread) == (inline > 600)
            stepping.clear()
            engine.step(100)
            rows = decisions(engine, key)
            rows[:, at.D_FLAGS] = rows[:, at.D_FLAGS] // at.FLAG_GAP  # when it became active may differ
            found.append((memory_of(engine, key), rows.tobytes()))
            assert len(rows) == 600
    assert found[0] == found[1]


# Values of the wrong type.


@pytest.mark.parametrize(
    "call",
    [
        lambda e, k: e.add(None),
        lambda e, k: e.add(5),
        lambda e, k: e.add(document(), label=None),
        lambda e, k: e.add(document(), overrides=5),
        lambda e, k: e.switch(3),
        lambda e, k: e.remove(None),
        lambda e, k: e.activate([]),
        lambda e, k: e.deactivate({}),
        lambda e, k: e.close_position(None),
        lambda e, k: e.stats([]),
        lambda e, k: e.list("bogus"),
        lambda e, k: e.list([]),
        lambda e, k: e.release(None, None),
        lambda e, k: e.release("me", None),
        lambda e, k: e.release(None, "checked"),
        lambda e, k: e.open_feed(3),
        lambda e, k: e.submit("add"),
        lambda e, k: e.submit("stats", 1, 2, 3),
        lambda e, k: e.submit("switch", k, polcy="keep").result(),
    ],
)
def test_wrong_types_are_told(call: Any) -> None:
    with engine_on(wander(50, 1)) as engine:
        key = engine.add(document())
        with pytest.raises(StratnbError):
            call(engine, key)
        assert [record.strategy_id for record in engine.list()] == [key]
        assert engine.step(3) == 3


def test_an_unknown_state_is_answered_with_the_known_ones() -> None:
    with engine_on(wander(50, 1)) as engine:
        key = engine.add(document())
        assert [record.strategy_id for record in engine.list("dormant")] == [key]
        with pytest.raises(ConfigError, match="dormant, preparing, active") as caught:
            engine.list("bogus")  # type: ignore[arg-type]
        assert caught.value.code == "enum"


@pytest.mark.parametrize(
    "options",
    [
        {"candles": 3},
        {"cash": "a"},
        {"cash": float("inf")},
        {"cash": float("nan")},
        {"speed": 0},
        {"speed": -1.0},
        {"speed": "fast"},
        {"speed": True},
    ],
)
def test_an_engine_is_not_made_of_wrong_values(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Engine(**{"candles": wander(9, 1), **options})


def test_numbers_of_numpy_are_numbers() -> None:
    with Engine(candles=wander(50, 1), speed=np.float64(120.0)) as engine:
        assert engine.feed.speed == 120.0
        for speed in (np.int64(30), np.float32(2.5)):
            engine.feed.speed = speed  # type: ignore[assignment]
            assert engine.feed.speed == float(speed)
        assert engine.step(np.int64(7)) == 7  # type: ignore[arg-type]


@pytest.mark.parametrize("markets", ["BTC", 5, [SYMBOL], {SYMBOL: SYMBOL}])
def test_what_is_no_market_is_told(markets: Any) -> None:
    with pytest.raises(ConfigError, match="is not a market"):
        Engine("case", candles=wander(10, 1), markets=markets)


@pytest.mark.parametrize("speed", [10**400, math.nan, True, "fast", 0])
def test_what_is_no_speed_is_told(speed: Any) -> None:
    with engine_on(wander(10, 1)) as engine, pytest.raises(ConfigError) as caught:
        engine.feed.speed = speed
    assert caught.value.code == "speed"


@pytest.mark.parametrize("timeout_s", ["5", -1, 0, math.nan, True, None])
def test_a_switch_takes_a_time_above_zero(timeout_s: Any) -> None:
    with engine_on(wander(10, 1)) as engine:
        key = engine.add(document())
        with pytest.raises(ConfigError) as caught:
            engine.switch(key, timeout_s=timeout_s)
        assert caught.value.code == "range" and "timeout_s" in caught.value.message


def test_waiting_goes_on_while_blocks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [True, True, True, False]
    monkeypatch.setattr(engine_module, "TELL_S", 0.001)
    monkeypatch.setattr(engine_module, "WAIT_S", 0.002)
    monkeypatch.setattr(engine_module, "compiled_since", lambda _: busy.pop(0))
    told: list[bool] = []
    monkeypatch.setattr(engine_module, "tell", lambda: told.append(True))
    with pytest.raises(RetryLater, match="longer than"):
        engine_module._waited(Job("add", Future()))
    assert busy == [] and len(told) == 3
    done: Future[int] = Future()
    done.set_result(7)
    assert engine_module._waited(Job("add", done)) == 7


def test_a_halted_strategy_is_suspended_everywhere_and_says_what_to_do() -> None:
    candles = series([*flat(5), *flat(1, volume=BOOM), *flat(10)])
    with engine_on(candles) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(10)
        (row,) = engine.board.view().strategies
        assert {engine.list()[0].state, engine.stats(key)["state"], row.state} == {"suspended"} and row.error
        result = engine.switch(key)
        assert result.error is not None and "was halted" in result.error[1] and "mend the block" in result.error[1]


def test_a_flat_strategy_has_no_unrealized_result() -> None:
    with engine_on(synthetic_market(candles=3_000, seed=3)[0]) as engine:
        key = engine.add("simple-levels", engine.feed.symbols[0], overrides={"timeframes.primary": "5m"})
        engine.activate(key)
        while not engine.feed.done:
            engine.step(50)
            stats = engine.stats(key)
            assert stats["open_positions"] or stats["unrealized_pnl"] == 0.0
        assert stats["total_trades"]
