"""Opening other candles, starting the same again, removing everything: all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.market_data import synthetic_market
from stratnb.multi.operations import OPERATIONS
from trading_cases import FREE, LONG, Floats, document, flat, market, registered, series, wander

EXITS = {"stop_loss": {"fraction": 0.006}, "take_profit": {"levels": [{"at": 0.004, "close": 1.0}]}}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(candles: Any, **options: Any) -> Engine:
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", "markets": [market(), market("BBB/USDT")], **options}
    return Engine("case", candles=candles, **known)


def results(engine: Engine, key: str) -> tuple[Floats, Floats]:
    """Return the fills and the decisions of a strategy."""
    found = engine.desk.lane(key).context.book.fill_rows
    return (np.array(found) if found else np.empty((0, at.W_FILL))), engine.desk.store.decisions(key).rows()


def holding() -> Engine:
    """Return an engine with one strategy that holds a position and one that is flat."""
    engine = engine_on(series([*flat(2), *flat(1, volume=LONG), *flat(10)]))
    engine.activate(engine.add(document()))
    engine.add(document(), label="other")
    engine.step(6)
    assert engine.view().open_positions == 1
    return engine


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "AAA_USDT_1m.csv"
    path.write_text("open_time,open,high,low,close,volume\n2020-01-01,1,2,0.5,abc,1\n")
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "BBB_USDT_1m.csv"
    rows = [f"{1_600_000_020_000 + 60_000 * k},100,101,99,100.5,3" for k in range(40)]
    path.write_text("\n".join(["open_time_ms,open,high,low,close,volume", *rows]))
    return path


@pytest.mark.parametrize("replace", [False, True])
def test_a_fault_in_a_file_comes_before_anything_else(broken: Path, replace: bool) -> None:
    with holding() as engine:
        before = (engine.list(), engine.feed.position, engine.desk)
        for given in ({"paths": [str(broken)]}, {"paths": ["nowhere.csv"]}, {"candles": [broken]}, {"candles": 3}):
            with pytest.raises(ConfigError):
                engine.submit("open_feed", replace=replace, policy="close", **given).result()
        assert (engine.list(), engine.feed.position, engine.desk) == before
        assert engine.step(1) == 1


def test_candles_are_replaced_only_when_told_so(good: Path) -> None:
    with holding() as engine:
        first = engine.desk
        for replace, policy, code, word in (
            (False, "close", "strategies_loaded", "replace=True"),
            (True, "refuse", "position_open", "policy='close'"),
            (True, "keep", "enum", "close"),
        ):
            with pytest.raises(StratnbError) as caught:
                engine.open_feed(good, replace=replace, policy=policy)  # type: ignore[arg-type]
            assert caught.value.code == code
            assert word in str(caught.value)
            assert engine.desk is first
            assert len(engine.list()) == 2
        engine.open_feed(good, replace=True, policy="close")
        assert engine.list() == ()
        assert engine.feed.symbols == ("BBB/USDT",)
        assert engine.view().equity == 1e6
        assert engine.activate(engine.add(document())).success
        assert engine.step(99) == 40


def test_paths_stand_in_place_of_candles(good: Path) -> None:
    with engine_on(wander(9, 1)) as engine:
        for given in (good, str(good), [good], (str(good),)):
            engine.open_feed(given)
            assert engine.feed.length == 40
        engine.open_feed(each for each in (wander(5, 2), wander(6, 3, symbol="BBB/USDT")))
        assert engine.feed.symbols == ("AAA/USDT", "BBB/USDT")


def test_removing_all_is_all_or_nothing() -> None:
    with holding() as engine:
        keys = tuple(record.strategy_id for record in engine.list())
        with pytest.raises(Refused) as caught:
            engine.remove_all()
        assert caught.value.code == "position_open"
        assert tuple(record.strategy_id for record in engine.list()) == keys
        assert engine.remove_all(policy="close") == keys
        assert engine.list() == ()
        assert engine.remove_all() == ()
        assert engine.desk.services.positions.all() == ()


@pytest.mark.parametrize("mode", ["exclusive", "parallel"])
def test_a_restart_repeats_the_run_bit_for_bit(mode: str) -> None:
    with engine_on(wander(700, 4, gaps=6), mode=mode) as engine:
        keys = [engine.add(document(exits=EXITS), label=label) for label in ("one", "two")]
        for key in keys if mode == "parallel" else keys[1:]:
            engine.activate(key)
        assert engine.step(10_000) == 700
        first = [results(engine, key) for key in keys]
        assert len(first[1][0]) > 10
        codes = [record.code for record in engine.list()]
        engine.feed.restart()
        assert (engine.feed.position, engine.feed.done, engine.state) == (0, False, "paused")
        assert engine.view().equity == 1e6
        assert [record.code for record in engine.list()] == codes
        assert [record.state for record in engine.list()] == [
            "active" if mode == "parallel" else "dormant",
            "active",
        ]
        assert engine.step(10_000) == 700
        for key, (fills, decisions) in zip(keys, first, strict=True):
            again = results(engine, key)
            assert np.array_equal(again[0], fills)
            assert np.array_equal(again[1], decisions, equal_nan=True)


def test_a_restart_keeps_what_was_chosen() -> None:
    heard: list[Event] = []
    with engine_on(wander(60, 4)) as engine:
        engine.events.subscribe(heard.append, types=("ENGINE_STATE", "DECISION"))
        names = ("runs", "paused", "rests", "pinned")
        runs, paused, rests, pinned = (engine.add(document(), label=name) for name in names)
        engine.activate(runs)
        engine.activate(paused)
        engine.pause(paused)
        engine.cache.pin(pinned)
        engine.cache.resize(3)
        engine.step(60)
        before = engine.events.seq
        asyncio.run(_awaited(engine))
        states = {record.strategy_id: record.state for record in engine.list()}
        assert states == {runs: "active", paused: "suspended", rests: "dormant", pinned: "dormant"}
        assert engine.desk.lane(paused).paused
        assert [record.pinned for record in engine.list()] == [False, False, False, True]
        assert engine.cache.stats()["capacity"] == 3
        assert engine.events.seq > before
        heard.clear()
        engine.step(2)
        assert engine.desk.store.decisions(runs).total == 2
        assert engine._loop is not None
        asyncio.run_coroutine_threadsafe(engine.events.drain(), engine._loop).result(5)
        assert [event.type for event in heard].count("DECISION") == 4
        engine.resume(paused)
        assert engine.list()[1].state == "active"


async def _awaited(engine: Engine) -> None:
    await engine.aio.restart_feed()


def test_a_restart_while_running_goes_on_running() -> None:
    with engine_on(wander(3_000, 4), speed=60.0) as engine:
        engine.activate(engine.add(document()))
        engine.start()
        engine.step(100)
        engine.restart_feed()
        assert engine.state == "running"
        assert engine.feed.position < 50
        assert engine.feed.speed == 60.0


def test_a_halted_strategy_starts_anew() -> None:
    rows = [*flat(5), *flat(1, volume=0.5), *flat(10)]
    with engine_on(series(rows)) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(16)
        assert engine.list()[0].state == "suspended"
        engine.restart_feed()
        assert engine.list()[0].state == "active"
        assert engine.view().strategies[0].error == ""
        engine.step(3)
        assert engine.stats(key)["decisions"] == 3


def test_a_synthetic_market_has_its_history_again() -> None:
    feed = synthetic_market(["SOL/USDT"], candles=400, seed=3)
    with Engine("case", candles=feed, mode="parallel", synthetic_history=150) as engine:
        key = engine.add(document(sizing={"kind": "fixed_quantity", "quantity": 0.01}))
        assert engine.feed.position == 150
        engine.activate(key)
        engine.step(1000)
        for _ in range(2):
            engine.restart_feed()
            assert engine.feed.position == 150
            assert len(engine.desk.store.decisions(key)) == 150
            assert engine.stats(key)["decisions"] == 0
        assert engine.step(1000) == 250


def test_the_operations_are_known_by_name() -> None:
    assert {"open_feed", "restart_feed", "remove_all"} <= set(OPERATIONS)
