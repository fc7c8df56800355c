"""Adopting a position and waiting for a flat one: owners, levels, sums, and how a waiting switch ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.multi.records import POLICIES
from trading_cases import FREE, LONG, SHORT, document, flat, market, registered, series, wander

FALLING = [*flat(1, volume=SHORT), *flat(8)]
RISE = [*flat(1, volume=LONG), *flat(1), (100, 104, 100, 104), *flat(6, 104.0)]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def desk_of(rows: Any = None, kind: str = "spot", target: Any = None, first: Any = None, **options: Any) -> Any:
    """Return an engine, the active strategy with its stop at 2 %, and a dormant one with other exits."""
    given = rows if hasattr(rows, "symbol") else series(RISE if rows is None else rows)
    engine = Engine("case", candles=given, markets=[market(kind=kind)], cash=1e6, limits=FREE, **options)
    same = {"market": {"kind": kind}}
    leaves, takes = (
        document("first", **same, **(first or {})),
        document("second", **{**same, "exits": {"stop_loss": {"fraction": 0.05}}, **(target or {})}),
    )
    one, two = engine.add(leaves), engine.add(takes)
    assert engine.switch(one).success
    return engine, one, two


def book(engine: Engine, key: str) -> Any:
    return engine.desk.lane(key).context.book


def begun(engine: Engine, to_id: str, **options: Any) -> Any:
    """Return the job of a switch that is done, or waits for the old one to be flat."""
    job = engine.submit("switch", to_id, **options)
    while not job.done and all(lane.waits is None for lane in engine.desk.lanes()):
        engine.list()
    return job


def states(engine: Engine) -> list[str]:
    return [record.state for record in engine.list()]


def code(result: Any) -> str:
    return result.error[0] if result.error else ""


def account_sum(engine: Engine) -> float:
    books = engine.desk.services.positions.books
    used = books[books[:, at.B_USED] == 1.0]
    open_pnl = used[:, at.B_QUANTITY] * (
        used[:, at.B_MARK] - np.where(used[:, at.B_QUANTITY], used[:, at.B_AVERAGE], 0)
    )
    return float(1e6 + (used[:, at.B_REALIZED] - used[:, at.B_COSTS] + open_pnl).sum())


# Adopt.


def test_adopt_moves_the_lots_without_an_order_or_a_result() -> None:
    engine, first, second = desk_of()
    with engine:
        engine.step(4)
        before, equity = book(engine, first).row.copy(), engine.view().equity
        orders = engine.events.stats()["by_type"]["ORDER_INTENT"]
        result = engine.switch(second, policy="adopt")
        assert (result.success, result.position_action) == (True, "transferred")
        assert result.orders[0].startswith("transfer 1 AAA/USDT at 100.1 to second@")
        old, new = book(engine, first), book(engine, second)
        assert (old.quantity, new.quantity, new.row[at.B_AVERAGE]) == (0.0, 1.0, before[at.B_AVERAGE])
        assert (old.row[at.B_REALIZED], new.row[at.B_REALIZED], new.row[at.B_COSTS]) == (0.0, 0.0, 0.0)
        assert old.row[at.B_COSTS] == before[at.B_COSTS]
        assert engine.view().equity == pytest.approx(equity, rel=1e-15)
        assert account_sum(engine) == pytest.approx(equity, rel=1e-15)
        assert states(engine) == ["dormant", "active"]
        assert engine.events.stats()["by_type"]["ORDER_INTENT"] == orders
        told = [e for e in engine.events.since(0, 10_000) if e.type == "POSITION_TRANSFERRED"]
        assert [(e.strategy_id, e.payload["quantity"], e.payload["from"], e.payload["to"]) for e in told] == [
            (first, -1.0, first, second),
            (second, 1.0, first, second),
        ]
        assert engine.desk.exchange.position("AAA/USDT", engine.desk.now_ms()) == 1.0


@pytest.mark.parametrize(
    ("fraction", "stop", "reason"), [(0.05, 100.1 * 0.98, "adopted_stop"), (0.01, 100.1 * 0.99, "stop")]
)
def test_the_tighter_stop_stays(fraction: float, stop: float, reason: str) -> None:
    engine, _, second = desk_of(target={"exits": {"stop_loss": {"fraction": fraction}}})
    with engine:
        engine.step(4)
        engine.switch(second, policy="adopt")
        new = book(engine, second)
        assert new.row[at.B_STOP] == pytest.approx(stop, abs=0.01)
        assert new.reason(new.row[at.B_STOP_REASON]) == reason
        assert new.stops == [(engine.desk.now_ms(), new.row[at.B_STOP])]
        assert new.row[at.B_FIRST_STOP] == pytest.approx(100.1 * (1 - fraction), abs=0.01)


def test_the_targets_are_the_new_owners_on_what_is_left() -> None:
    ladder = {"levels": [{"at": 0.02, "close": 0.5}, {"at": 0.2, "close": 0.5}]}
    halves = [
        *flat(1, volume=LONG),
        *flat(1),
        (100, 103, 100, 103),
        *flat(2, 103.0),
        (103, 125, 103, 125),
        *flat(3, 125.0),
    ]
    exits = {"stop_loss": {"fraction": 0.02}, "take_profit": ladder}
    engine, first, second = desk_of(halves, target={"exits": exits})
    with engine:
        engine.step(3)
        engine.close_position(first, 0.5)
        engine.switch(second, policy="adopt")
        row = book(engine, second).row
        assert row[at.B_QUANTITY] == row[at.B_ORIGINAL] == 0.5
        assert list(row[at.B_LEVELS + 1 : at.B_LEVELS + 6 : 3]) == [0.25, 0.25]
        engine.step(6)
        assert book(engine, second).quantity == 0.0


def test_trades_begin_and_end_with_the_owner() -> None:
    engine, first, second = desk_of([*RISE[:4], (104, 104, 90, 90), *flat(2, 90.0, LONG), *flat(3, 90.0)])
    with engine:
        engine.step(4)
        engine.switch(second, policy="adopt")
        engine.step(1)
        assert book(engine, first).trades() == []
        (trade,) = book(engine, second).trades()
        assert (trade.direction, trade.quantity, trade.entry_price, trade.reason) == (1, 1.0, 100.1, "adopted_stop")
        assert trade.pnl == pytest.approx(book(engine, second).row[at.B_REALIZED] - trade.fees, rel=1e-15)
        assert (engine.stats(first)["total_trades"], engine.stats(second)["total_trades"]) == (0, 1)
        assert [fill.reason for fill in book(engine, first).fills()] == ["entry", "transfer"]
        engine.step(5)
        assert [fill.trade_no for fill in book(engine, second).fills()] == [1, 1, 2]
        assert account_sum(engine) == pytest.approx(engine.view().equity, rel=1e-15)


def test_an_open_gain_that_leaves_is_no_loss_of_the_day() -> None:
    engine, first, second = desk_of()
    with engine:
        engine.step(4)
        before = {key: book(engine, key).row.copy() for key in (first, second)}
        engine.switch(second, policy="adopt")
        for key in (first, second):
            row = book(engine, key).row
            for cell in (at.B_DAY_START, at.B_RISK + at.K_PEAK):
                lost = before[key][cell] - before[key][at.B_EQUITY]
                assert row[cell] - row[at.B_EQUITY] == pytest.approx(lost, abs=1e-9)


@pytest.mark.parametrize(
    ("target", "rows", "kind", "told"),
    [
        ({"exits": {}}, RISE, "spot", "adopt_exits"),
        ({"market": {"kind": "linear", "direction": "short"}}, RISE, "linear", "adopt_direction"),
        ({"market": {"kind": "linear", "direction": "long"}}, FALLING, "linear", "adopt_direction"),
        ({"exits": {"fussy": {}}}, RISE, "spot", "adopt_levels"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_take_it_leaves_the_owner(target: Any, rows: Any, kind: str, told: str) -> None:
    engine, first, second = desk_of(rows, kind, target)
    with engine:
        engine.step(4)
        before = book(engine, first).row.copy()
        assert code(engine.switch(second, policy="adopt")) == told
        assert np.array_equal(book(engine, first).row, before, equal_nan=True)
        assert book(engine, second).quantity == 0.0
        assert states(engine) == ["active", "dormant"]


def test_another_market_cannot_adopt() -> None:
    candles = [series(RISE), series(RISE, "BBB/USDT")]
    with Engine("case", candles=candles, markets=[market(), market("BBB/USDT")], cash=1e6, limits=FREE) as engine:
        first, second = engine.add(document("first"), "AAA/USDT"), engine.add(document("second"), "BBB/USDT")
        engine.switch(first)
        engine.step(4)
        assert code(engine.switch(second, policy="adopt", dry_run=True)) == "adopt_market"
        assert code(engine.switch(second, policy="adopt")) == "adopt_market"


def test_lots_that_are_being_sold_are_not_given_away() -> None:
    engine, first, second = desk_of(first={"exits": {"time_exit": {"max_candles": 1}}})
    with engine:
        while book(engine, first).row[at.B_ORDER] != at.ORDER_EXIT:
            assert engine.step(1)
        assert code(engine.switch(second, policy="adopt")) == "close_in_progress"
        engine.step(1)
        assert book(engine, first).quantity == 0.0
        assert engine.switch(second, policy="adopt").position_action == "none"


# Waiting.


FALL = [*flat(1, volume=LONG), *flat(3), (100, 100, 97, 97), *flat(9, 97.0, LONG)]


def test_the_commit_comes_with_the_candle_that_leaves_it_flat() -> None:
    engine, first, second = desk_of(FALL)
    with engine:
        engine.step(2)
        job = begun(engine, second, policy="wait_flat")
        engine.step(1)
        assert states(engine) == ["active", "preparing"]
        assert book(engine, first).row[at.B_ENTRIES] == at.ENTRIES_MANAGING
        engine.step(3)
        result = job.result(5)
        assert (result.success, result.position_action, result.orders) == (True, "waited", ())
        assert states(engine) == ["dormant", "active"]
        log = [engine.desk.store.decisions(key).rows() for key in (first, second)]
        assert len(log[0]) == 5, "the candle of its stop is the old one's last"
        traded = log[1][:, at.D_FLAGS].astype(int) & int(at.FLAG_CATCHUP) == 0
        assert list(traded) == [False] * 5 + [True]
        assert book(engine, first).trades()[0].reason == "stop"
        engine.step(1)
        assert book(engine, second).quantity == 1.0


def test_who_waits_takes_no_entry_and_gets_them_back_when_the_time_is_up() -> None:
    rows = [*flat(1, volume=LONG), *flat(20), (100, 100, 97, 97), *flat(2, 97.0), *flat(3, 97.0, LONG)]
    engine, first, second = desk_of(rows)
    with engine:
        engine.step(3)
        job = begun(engine, second, policy="wait_flat", wait_s=600)
        engine.step(9)
        assert not job.done
        engine.step(1)
        result = job.result(5)
        assert (result.success, code(result)) == (False, "wait_over")
        assert states(engine) == ["active", "dormant"]
        assert book(engine, first).row[at.B_ENTRIES] == at.ENTRIES_ON
        engine.step(14)
        assert book(engine, first).quantity == 1.0
        rows = engine.desk.store.switches()
        assert (rows[-1].success, rows[-1].phase) == (False, "drain")


def test_canceling_the_job_gives_the_entries_back() -> None:
    engine, first, second = desk_of()
    with engine:
        engine.step(4)
        job = begun(engine, second, policy="wait_flat")
        engine.step(1)
        with pytest.raises(Refused) as caught:
            engine.switch(second)
        assert caught.value.code == "switch_in_progress"
        for refused in (lambda: engine.remove(first, policy="close"), lambda: engine.deactivate(first)):
            with pytest.raises(Refused) as caught:
                refused()
            assert caught.value.code == "switch_in_progress"
        job.cancel()
        with pytest.raises(StratnbError):
            job.result(5)
        engine.step(1)
        assert states(engine) == ["active", "dormant"]
        assert book(engine, first).row[at.B_ENTRIES] == at.ENTRIES_ON
        assert engine.switch(second, policy="keep").success


def test_a_pause_while_waiting_does_not_give_entries() -> None:
    engine, first, second = desk_of(FALL)
    with engine:
        engine.step(2)
        job = begun(engine, second, policy="wait_flat")
        engine.step(1)
        engine.pause(first)
        engine.resume(first)
        assert book(engine, first).row[at.B_ENTRIES] == at.ENTRIES_MANAGING
        engine.pause(first)
        engine.step(3)
        assert job.result(5).success
        assert states(engine) == ["dormant", "active"]


def test_an_engine_that_ends_while_a_switch_waits_leaves_the_old_one_active(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    engine, first, second = desk_of(journal=path)
    engine.step(4)
    job = begun(engine, second, policy="wait_flat")
    engine.step(1)
    engine.close()
    assert code(job.result(5)) == "engine_closed"
    with Engine("case", candles=series(RISE), markets=[market()], cash=1e6, limits=FREE, journal=path) as engine:
        assert states(engine) == ["active", "dormant"]
        assert book(engine, first).row[at.B_ENTRIES] == at.ENTRIES_ON
        assert book(engine, first).quantity == 1.0
    assert check_journal(path).faults == ()
    assert second


# All of them.


@pytest.mark.parametrize("policy", POLICIES)
def test_an_order_without_an_answer_stops_every_policy(policy: Any) -> None:
    engine, _, second = desk_of(orders={"query_delays_s": (60.0,)})
    with engine:
        engine.step(3)

        def deaf(leg: str, call: str) -> None:
            from stratnb.errors import RetryLater

            if leg == "answer":
                raise RetryLater("answer_lost", "gone")

        engine.desk.exchange.line = deaf
        with pytest.raises(Refused):
            engine.close_position(engine.desk.registry.active_ids()[0])
        assert code(engine.switch(second, policy=policy, dry_run=True)) == "order_unresolved"
        assert code(engine.switch(second, policy=policy)) == "order_unresolved"
        assert states(engine) == ["active", "dormant"]


@pytest.mark.parametrize("policy", ["adopt", "keep", "close"])
def test_journal_and_restart_know_the_owner(policy: Any, tmp_path: Path) -> None:
    path, candles = tmp_path / "j.sqlite", wander(400, 3)
    keys = ("first@AAA/USDT#main", "second@AAA/USDT#main")
    engine, *_ = desk_of(candles, journal=path)
    moved = 0
    for turn in range(8):
        for _ in range(40):
            if book(engine, keys[turn % 2]).quantity:
                break
            engine.step(1)
        moved += bool(book(engine, keys[turn % 2]).quantity)
        assert engine.switch(keys[1 - turn % 2], policy=policy).success or policy == "adopt"
        kept = [book(engine, key).row.copy() for key in keys]
        trades = [book(engine, key).trades() for key in keys]
        engine.close()
        assert check_journal(path).faults == ()
        engine = Engine("case", candles=candles, markets=[market()], cash=1e6, limits=FREE, journal=path)
        engine.list()
        assert [book(engine, key).trades() for key in keys] == trades
        for row, key in zip(kept, keys, strict=True):
            assert np.array_equal(book(engine, key).row[: at.B_STATE], row[: at.B_STATE], equal_nan=True)
        assert len(engine.desk.registry.active_ids()) == 1
    assert moved >= 4
    assert account_sum(engine) == pytest.approx(engine.view().equity, rel=1e-12)
    engine.close()


@pytest.mark.parametrize("times", [{"timeout_s": 0}, {"wait_s": -1.0}, {"timeout_s": math.nan}, {"wait_s": True}])
def test_times_are_checked(times: Any) -> None:
    engine, _, second = desk_of()
    with engine, pytest.raises(ConfigError):
        engine.switch(second, **times)
