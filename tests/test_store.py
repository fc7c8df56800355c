"""What the memory store keeps, and for how long."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.multi.records import StrategyRecord, SwitchRow
from stratnb.multi.store import SNAPSHOT_SCHEMA, DecisionLog, MemoryStore, Snapshot, Store


def record(number: int, **changes: object) -> StrategyRecord:
    name = f"s{number}"
    made = StrategyRecord(f"{name}@BTC/USDT#main", f"{number:06d}", name, "1", "BTC/USDT", "main", "dormant", 1)
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(number: int, strategy_id: str = "a@BTC/USDT#main") -> Snapshot:
    return Snapshot(SNAPSHOT_SCHEMA, strategy_id, "c", "d", number, number, number, bytes([number] * 9)).sealed()


def test_a_snapshot_notices_every_change() -> None:
    good = snapshot(3)
    assert good.verify()
    changes = {
        "schema": 2, "strategy_id": "b", "config_hash": "x", "code_hash": "x", "taken_ms": 9, "watermark_ms": 9,
        "candles": 9, "memory": b"\1" * 9, "sha256": "",
    }  # fmt: skip
    for name, value in changes.items():
        assert not replace(good, **{name: value}).verify(), name


def test_the_newest_five_snapshots_are_kept_newest_first() -> None:
    store: Store = MemoryStore()
    for number in range(8):
        store.save_snapshot(snapshot(number))
        store.save_snapshot(snapshot(number, "b@BTC/USDT#main"))
    assert [kept.taken_ms for kept in store.snapshots("a@BTC/USDT#main")] == [7, 6, 5, 4, 3]
    assert store.snapshots("c@BTC/USDT#main") == ()
    assert not store.persistent


def test_records_keep_their_order_and_a_strategy_loaded_again_comes_last() -> None:
    store = MemoryStore()
    for number in (1, 2):
        store.save_record(record(number))
    store.save_record(record(1, state="active"))
    assert [kept.name for kept in store.records()] == ["s1", "s2"]
    store.save_record(record(1, state="removed"))
    store.save_record(record(1))
    assert [(kept.name, kept.state) for kept in store.records()] == [("s2", "dormant"), ("s1", "dormant")]


def test_a_switch_is_saved_with_its_records_and_updated_in_place() -> None:
    store = MemoryStore()
    row = SwitchRow(1, None, "s1@BTC/USDT#main", "keep", "prepare", 5)
    store.save_switch(row)
    store.save_switch(replace(row, phase="commit"), [record(1, state="active")])
    assert store.switches() == (replace(row, phase="commit"),)
    assert store.records()[0].state == "active"
    for seq in range(2, 1_500):
        store.save_switch(replace(row, seq=seq))
    assert len(store.switches()) == 1_000 and store.switches()[-1].seq == 1_499


def test_removed_strategies_do_not_fill_the_memory() -> None:
    store = MemoryStore()
    for number in range(120):
        store.save_record(record(number))
        store.save_snapshot(snapshot(1, record(number).strategy_id))
        store.decisions(record(number).strategy_id, 3)
        store.save_record(record(number, state="removed"))
    assert [kept.name for kept in store.records()] == [f"s{number}" for number in range(70, 120)]
    assert store.snapshots("s119@BTC/USDT#main") == ()
    assert store.decisions("s119@BTC/USDT#main").width == 1


def test_many_rows_at_once_are_kept_like_one_by_one() -> None:
    rows = np.column_stack([np.array([3.0, 1.0, 4.0, 4.0, 7.0, 9.0, 8.0, 11.0]), np.arange(8.0)])
    for capacity in (2, 3, 100):
        one, many = DecisionLog(2, capacity), DecisionLog(2, capacity)
        kept = sum(one.append(row) for row in rows)
        assert many.extend(rows[:3]) + many.extend(rows[3:3]) + many.extend(rows[3:]) == kept == many.total
        assert np.array_equal(one.rows(), many.rows())
    with pytest.raises(ConfigError, match="has 2 numbers"):
        many.extend(np.array([[np.nan, 1.0]]))


def test_a_log_survives_and_is_emptied_when_its_width_changes() -> None:
    store = MemoryStore(decisions_kept=10)
    assert len(store.decisions("a")) == 0
    log = store.decisions("a", 3)
    log.append(np.array([1.0, 2.0, 3.0]))
    assert store.decisions("a") is log is store.decisions("a", 3) and log.capacity == 10
    assert len(store.decisions("a", 4)) == 0 and store.decisions("a").width == 4


@given(
    times=st.lists(st.integers(0, 300), max_size=200),
    capacity=st.integers(1, 150),
    last=st.none() | st.integers(-1, 200),
)
def test_a_log_agrees_with_a_list(times: list[int], capacity: int, last: int | None) -> None:
    log = DecisionLog(2, capacity)
    kept: list[int] = []
    for place, time in enumerate(times):
        newer = not kept or time > kept[-1]
        assert log.append(np.array([time, place], float)) is newer
        if newer:
            kept.append(time)
    kept = kept[-capacity:]
    assert len(log) == len(kept) and log.rows().shape == (len(kept), 2)
    expected = kept if last is None else kept[len(kept) - min(max(last, 0), len(kept)) :]
    assert log.rows(last)[:, 0].tolist() == expected
    for time in range(0, 301, 7):
        found = log.find(time)
        assert (found is not None) == (time in kept)
        assert found is None or found[0] == time


def test_a_log_turns_over_at_its_capacity_and_hands_out_copies() -> None:
    log = DecisionLog(2, 100)
    row = np.zeros(2)
    for number in range(950):
        row[:] = number, -number
        log.append(row)
    assert log.rows()[:, 1].tolist() == [-float(number) for number in range(850, 950)]
    assert log.nbytes == 100 * 2 * 8
    log.rows()[:] = 0.0
    found = log.find(900)
    assert found is not None
    found[:] = 0.0
    assert log.find(900) is not None and log.find(849) is None and log.find(950) is None


def test_a_wrong_row_is_refused_with_the_width() -> None:
    log = DecisionLog(3)
    for row in (np.zeros(2), np.zeros((1, 3)), np.array([np.nan, 0.0, 0.0])):
        with pytest.raises(ConfigError, match="3 numbers"):
            log.append(row)
    with pytest.raises(ConfigError):
        DecisionLog(0)
    assert len(log) == 0


def test_readers_never_see_a_torn_row() -> None:
    log = DecisionLog(8, 256)
    done = threading.Event()
    faults: list[np.ndarray] = []

    def read() -> None:
        while not done.is_set():
            rows = log.rows()
            if not (rows == rows[:, :1]).all() or not (np.diff(rows[:, 0]) == 1).all():
                faults.append(rows)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5_000):
        log.append(np.full(8, float(number)))
    done.set()
    reader.join(10)
    assert not faults and not reader.is_alive()
