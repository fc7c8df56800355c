"""What a person does to a running engine by hand: stops, part closes, orders, the mode; and what the picture shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused
from stratnb.market_data.candles import Candles
from stratnb.model import Position
from trading_cases import FREE, LONG, SHORT, document, flat, market, registered, series

UP, DOWN = [(101.0, 104.0, 101.0, 104.0)], [(99.0, 99.0, 96.0, 96.0)]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(candles: Candles, **options: Any) -> Engine:
    """Return a parallel engine whose limits are off."""
    known = {"cash": 1e6, "limits": FREE, "mode": "parallel", **options}
    return Engine("case", candles=candles, markets=[market(kind="linear", min_quantity=0.01)], **known)


def held(engine: Engine, key: str) -> Position:
    """Return the open position."""
    found = engine.desk.lane(key).context.book.position()
    assert found is not None
    return found


def opened(way: float, *more: Any, **sections: Any) -> tuple[Engine, str]:
    """Return an engine that holds one unit, entered at about 100 and in profit by about 4."""
    moved = UP if way == LONG else DOWN
    engine = engine_on(series([*flat(2, volume=way), *moved, *more, *flat(5, moved[0][3])]))
    key = engine.add(document(market={"kind": "linear"}, **sections))
    engine.activate(key)
    engine.step(3)
    return engine, key


@pytest.mark.parametrize("way", [LONG, SHORT])
def test_a_stop_moved_by_hand_only_tightens(way: float) -> None:
    engine, key = opened(way)
    rng = np.random.default_rng(3)
    with engine:
        side = 1.0 if way == LONG else -1.0
        mark = held(engine, key).mark_price
        for price in rng.uniform(95.0, 107.0, 200).tolist():
            before = held(engine, key).stop
            assert before is not None
            wanted = math.floor(price * 100.0 + 0.5) / 100.0
            if side * (mark - wanted) <= 0.0:
                with pytest.raises(Refused, match="beyond the mark"):
                    engine.move_stop(key, price)
            elif side * (wanted - before) <= 0.0:
                with pytest.raises(Refused, match="no tighter"):
                    engine.move_stop(key, price)
            else:
                assert engine.move_stop(key, price) == wanted
            after = held(engine, key).stop
            assert after is not None
            assert side * (after - before) >= 0.0
        view = engine.view().positions[0]
        assert view.stop_reason == "manual"
        moves = [event for event in engine.events.since(0, 10_000) if event.type == "STOP_MOVED"]
        assert len(moves) == len(view.stop_history) - 1
        assert view.initial_stop == view.stop_history[0][1]


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf, "5", True])
def test_a_stop_is_a_price(price: Any) -> None:
    engine, key = opened(LONG)
    with engine, pytest.raises(ConfigError) as caught:
        engine.move_stop(key, price)
    assert caught.value.code == "number"


def test_a_flat_strategy_has_no_stop_to_move() -> None:
    with engine_on(series(flat(3))) as engine:
        key = engine.add(document(market={"kind": "linear"}))
        with pytest.raises(Refused) as moved:
            engine.move_stop(key, 99.0)
        with pytest.raises(Refused) as even:
            engine.breakeven(key)
        assert (moved.value.code, even.value.code) == ("no_position", "no_position")


@pytest.mark.parametrize("way", [LONG, SHORT])
def test_a_breakeven_stop_loses_nothing_and_one_tick_worse_would(way: float) -> None:
    back = [(100.5, 100.5, 98.0, 98.0)] if way == LONG else [(99.5, 102.0, 99.5, 102.0)]
    engine, key = opened(way, *back)
    with engine:
        position = held(engine, key)
        stop, side = engine.breakeven(key), 1.0 if way == LONG else -1.0
        fee, slip, entry = 0.001, 0.001, position.entry_price

        def pnl(price: float) -> float:
            out = price * (1.0 - side * slip)
            return side * (out - entry) - fee * (entry + out)

        assert pnl(stop) >= 0.0 > pnl(stop - side * 0.01)
        engine.step(1)
        trade = engine.view().trades_today[0]
        assert (trade.reason, trade.pnl >= 0.0) == ("manual", True)
        assert trade.pnl == pytest.approx(pnl(stop))


@pytest.mark.parametrize(("fraction", "left"), [(0.5, 0.5), (0.2504, 0.75), (0.9999, 0.0), (1.0, 0.0)])
def test_a_part_of_a_position_closes_in_whole_lots(fraction: float, left: float) -> None:
    engine, key = opened(LONG)
    with engine:
        assert engine.close_position(key, fraction)
        assert engine.desk.lane(key).context.book.quantity == pytest.approx(left, abs=1e-12)
        assert (held(engine, key).stop is not None) if left else engine.view().positions == ()
        assert engine.view().orders == ()


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, math.nan, "half", True])
def test_a_fraction_is_above_zero_and_at_most_one(fraction: Any) -> None:
    engine, key = opened(LONG)
    with engine, pytest.raises(ConfigError) as caught:
        engine.close_position(key, fraction)
    assert caught.value.code == "range"


def test_a_part_that_no_market_takes_is_refused_and_changes_nothing() -> None:
    engine, key = opened(LONG)
    with engine:
        before = engine.desk.lane(key).context.book.row.copy()
        with pytest.raises(Refused) as caught:
            engine.close_position(key, 0.0001)
        assert caught.value.code == "below_minimum"
        assert np.array_equal(before, engine.desk.lane(key).context.book.row, equal_nan=True)


def test_a_working_entry_is_seen_and_can_be_canceled() -> None:
    with engine_on(series([*flat(1, volume=LONG), *flat(5)])) as engine:
        key = engine.add(document(market={"kind": "linear"}))
        engine.activate(key)
        engine.step(1)
        (order,) = engine.view().orders
        assert (order.strategy_id, order.side, order.quantity, order.reduces) == (key, "buy", 1.0, False)
        assert engine.view().strategies[0].order == "entry"
        assert engine.cancel_order(key)
        assert not engine.cancel_order(key)
        engine.step(2)
        assert (engine.view().orders, engine.view().positions) == ((), ())


def test_the_mode_changes_only_while_one_is_active_at_most() -> None:
    with engine_on(series(flat(5))) as engine:
        first, second = (engine.add(document(name, market={"kind": "linear"})) for name in ("first", "second"))
        engine.activate(first)
        engine.activate(second)
        with pytest.raises(Refused) as caught:
            engine.set_mode("exclusive")
        assert caught.value.code == "mode_conflict"
        engine.deactivate(second)
        engine.set_mode("exclusive")
        assert engine.view().mode == "exclusive"
        with pytest.raises(ConfigError):
            engine.set_mode("both")  # type: ignore[arg-type]


def test_the_trades_of_today_are_those_that_closed_on_it() -> None:
    trip = [*flat(1, volume=LONG), *flat(1), (100.0, 100.0, 90.0, 90.0), *flat(1, 90.0)]
    day = [*trip, *flat(1_436, 90.0)]
    with engine_on(series([*day, *flat(2), *trip])) as engine:
        key = engine.add(document(market={"kind": "linear"}))
        engine.activate(key)
        seen = set()
        for _ in range(4):
            engine.step(361)
            now_ms = engine.view().now_ms
            every = engine.desk.lane(key).context.book.trades()
            today = [trade for trade in every if trade.exit_ms // 86_400_000 == now_ms // 86_400_000]
            assert list(engine.view().trades_today) == today
            seen.add(len(today))
        engine.step(10)
        every = engine.desk.lane(key).context.book.trades()
        assert (len(every), list(engine.view().trades_today)) == (2, every[1:])
        assert seen == {0, 1}


def test_a_preview_says_what_the_switch_would_say() -> None:
    with engine_on(series(flat(5))) as engine:
        first, second = (engine.add(document(name, market={"kind": "linear"})) for name in ("first", "second"))
        engine.activate(second)
        engine.step(2)
        engine.pause(second)
        engine.activate(first)
        preview, real = engine.switch(second, from_id=first, dry_run=True), engine.switch(second, from_id=first)
        assert preview.error is not None
        assert preview.error == real.error
        assert preview.error[0] == "strategy_suspended"


def test_a_preview_says_that_the_cache_has_no_room() -> None:
    with engine_on(series(flat(5)), cache_capacity=1) as engine:
        first, second = (engine.add(document(name, market={"kind": "linear"})) for name in ("first", "second"))
        engine.activate(first)
        preview, real = engine.switch(second, from_id=first, dry_run=True), engine.switch(second, from_id=first)
        assert preview.error == real.error
        assert preview.error is not None
        assert preview.error[0] == "capacity"


def test_the_picture_counts_creations_switches_and_events() -> None:
    with engine_on(series(flat(5))) as engine:
        key = engine.add(document(market={"kind": "linear"}), overrides={"title": "Other"})
        engine.activate(key)
        view = engine.view()
        assert len(view.cache.creation_recent_ms) == view.cache.creations == 1
        assert len(view.cache.switch_recent_ms) == 1
        assert dict(view.events_by_type) == engine.events.stats()["by_type"]
        row = view.strategies[0]
        assert (row.overrides, row.risk_state) == ((("title", "Other"),), "ACTIVE")
        assert row.activated_ms == view.now_ms
