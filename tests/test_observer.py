"""Observers: what they show is what the engine shows, and they can do nothing without its token."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from stratnb import ConfigError, Engine, ObserverBoard, Refused, RetryLater, observe, synthetic_market
from stratnb.journal import Journal
from stratnb.journal.clocks import wall_ms

LIMIT_S = 10.0
# What is the observer's own, or is measured on the wall clock.
OWN = {
    "seq",
    "events_seq",
    "role",
    "rights",
    "data_age_s",
    "loop_lag_p95_ms",
    "journal_bytes",
    "events_dropped",
    "events_by_type",
}
TIMED = {"age_s", "idle_s", "creation_ms", "switch_ms"}
MARKET = tuple(synthetic_market(["BTC/USDT", "ETH/USDT"], candles=3_000, seed=7))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with made(tmp_path) as engine:
        yield engine


def made(folder: Path, **options: Any) -> Engine:
    return Engine("seen", candles=MARKET, journal=folder / "a.sqlite", mode="parallel", speed=600, **options)


def traded(engine: Engine) -> list[str]:
    keys = [engine.add(name, symbol) for name, symbol in (("simple-levels", "BTC/USDT"), ("trend-rider", "ETH/USDT"))]
    for key in keys:
        engine.activate(key)
    engine.step(700)
    return keys


@pytest.fixture
def board(engine: Engine, tmp_path: Path) -> Iterator[ObserverBoard]:
    engine.list()
    with ObserverBoard(tmp_path / "a.sqlite") as board:
        yield board


def until(law: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not law():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def told(value: Any, leave: set[str] = TIMED) -> Any:
    """Return a picture as plain values, without what a clock measures."""
    if is_dataclass(value):
        return {field.name: told(getattr(value, field.name)) for field in fields(value) if field.name not in leave}
    if isinstance(value, tuple | list):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def differing(mine: Any, theirs: Any, where: str = "") -> list[str]:
    """Return the paths of what is not the same."""
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
        return [path for key in mine for path in differing(mine[key], theirs[key], f"{where}.{key}")]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [
            path for n, pair in enumerate(zip(mine, theirs, strict=True)) for path in differing(*pair, f"{where}.{n}")
        ]
    return [] if mine == theirs else [f"{where}: {mine!r} is seen as {theirs!r}"]


def agrees(engine: Engine, board: ObserverBoard, *leave: str) -> None:
    """Wait until the observer shows every field as the engine does; those of paths with a word of `leave` aside."""
    end = time.monotonic() + LIMIT_S
    while found := differing(told(engine.view(), OWN), told(board.view(), OWN)):
        if all(any(word in path for word in leave) for path in found):
            return
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_an_observer_shows_what_the_engine_shows_after_steps_and_a_removal(
    engine: Engine, board: ObserverBoard
) -> None:
    keys = traded(engine)
    agrees(engine, board)
    assert engine.view().positions or any(s.trades for s in engine.view().strategies)
    engine.step(200)
    engine.remove(keys[0], policy="close")
    agrees(engine, board)
    assert [s.strategy_id for s in board.view().strategies] == keys[1:]


def test_what_was_read_is_the_engines_own_history(engine: Engine, board: ObserverBoard) -> None:
    keys = traded(engine)
    agrees(engine, board)
    own = engine.board
    for key in keys:
        assert board.decisions(key).tobytes() == own.decisions(key).tobytes()
        assert board.decision(key) == own.decision(key)
        assert board.document(key) == own.document(key)
        assert list(board.fills(key)) == list(own.fills(key))
        assert board.equity(key)[-1].tobytes() == own.equity(key)[-1].tobytes()
    assert board.candles("BTC/USDT", "5m").tobytes() == own.candles("BTC/USDT", "5m").tobytes()
    kept = [
        event for event in own.events_since(0, 10_000) if event.seq in {e.seq for e in board.events_since(0, 10_000)}
    ]
    assert [event.type for event in board.events_since(0, 10_000)] == [event.type for event in kept]


def test_a_late_observer_and_one_after_a_restart_see_the_same(tmp_path: Path) -> None:
    with made(tmp_path) as engine:
        keys = traded(engine)
        with ObserverBoard(tmp_path / "a.sqlite") as late:
            agrees(engine, late)
    with made(tmp_path) as again, ObserverBoard(tmp_path / "a.sqlite") as board:
        assert [record.strategy_id for record in again.list()] == keys
        agrees(again, board, "stop_history")
        assert board.view().generation == again.view().generation == 2
        again.step(50)
        agrees(again, board, "stop_history")


def test_an_observer_that_stays_follows_the_next_engine(tmp_path: Path) -> None:
    with made(tmp_path) as engine:
        traded(engine)
        board = ObserverBoard(tmp_path / "a.sqlite")
    try:
        until(lambda: board.view().state == "stopped")
        with made(tmp_path, cash=10_000) as again:
            again.step(100)
            agrees(again, board, "stop_history")
    finally:
        board.close()


def test_a_silent_engine_is_offline_since_its_last_word_until_another_one_writes(tmp_path: Path) -> None:
    ahead = [0]
    with made(tmp_path) as engine:
        traded(engine)
        with ObserverBoard(tmp_path / "a.sqlite", wall_ms=lambda: wall_ms() + ahead[0]) as board:
            assert board.view().offline_since_ms is None
            engine.close()
            ahead[0] = 9_000
            assert board.view().offline_since_ms is None
            ahead[0] = 11_000
            until(lambda: board.view().offline_since_ms is not None)
            since = board.view().offline_since_ms
            assert since is not None and abs(wall_ms() - since) < 10_000
            with pytest.raises(Refused, match="no engine runs"):
                board.submit("pause").result(1)
            ahead[0] = 0
            with made(tmp_path) as again:
                again.list()
                until(lambda: board.view().offline_since_ms is None)


def test_commands_need_a_login_and_do_what_the_call_does(engine: Engine, board: ObserverBoard, tmp_path: Path) -> None:
    keys = traded(engine)
    with pytest.raises(Refused) as refused:
        board.submit("pause", strategy_id=keys[0]).result(5)
    assert refused.value.code == "login_needed" and "operator token" in refused.value.hint
    with pytest.raises(Refused, match="no token"):
        board.login.enter("x" * 40)
    assert board.login.enter((tmp_path / "operator.token").read_text()) == "operator"
    until(lambda: board.view().rights == "operator")
    board.submit("pause", strategy_id=keys[0]).result(5)
    assert engine.list("suspended")[0].strategy_id == keys[0]
    switched = board.submit("switch", to_id=keys[1], policy="keep").result(5)
    assert switched.success and switched.phase == "noop" and switched.orders == ()
    board.submit("set_speed", speed=math.inf).result(5)
    until(lambda: "speed=inf" in repr(engine.view().feed) and "speed=inf" in repr(board.view().feed))
    with pytest.raises(Refused) as refused:
        board.submit("release", author="me", reason="checked").result(5)
    assert refused.value.code == "role_needed" and "owner" in refused.value.hint
    with pytest.raises(Refused) as refused:
        board.submit("arm").result(5)
    assert refused.value.code == "command_local"
    with pytest.raises(ConfigError, match="extra"):
        board.submit("pause", extra=1).result(5)
    board.login.leave()
    until(lambda: board.view().rights == "viewer")


class Bell:
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notify(self, level: str, text: str, strategy_id: str | None = None) -> None:
        self.told.append(text)


def test_an_operator_tests_the_notifier_from_elsewhere(tmp_path: Path) -> None:
    bell = Bell()
    with made(tmp_path, notifier=bell) as engine:
        engine.list()
        with ObserverBoard(tmp_path / "a.sqlite", author="page") as board:
            assert board.view().notifies
            board.login.enter((tmp_path / "operator.token").read_text())
            assert board.submit("test_notifier", author="someone else").result(LIMIT_S) == bell.told[0]
            assert "asked for by page" in bell.told[0]


def test_a_forged_row_changes_nothing_and_is_counted(engine: Engine, board: ObserverBoard, tmp_path: Path) -> None:
    key = traded(engine)[0]
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute(
            "insert into commands (command, args, author, role, nonce, created_ms, mac, state, ts_ns, seq)"
            " values ('kill', '{}', 'me', 'owner', 'n', ?, ?, 'new', 0, 0)",
            (wall_ms(), "0" * 64),
        )
    until(lambda: any(event.type == "COMMAND_REFUSED" for event in board.events_since(0, 10_000)))
    refused = [event for event in board.events_since(0, 10_000) if event.type == "COMMAND_REFUSED"]
    assert [event.payload["code"] for event in refused] == ["command_signature"]
    assert engine.view().risk_state == "ACTIVE" and engine.list("active")[0].strategy_id == key


def test_a_journal_without_an_engine_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="journal"):
        ObserverBoard(tmp_path / "none.sqlite")
    Journal.open(tmp_path / "new.sqlite").close()
    with pytest.raises(RetryLater) as early:
        ObserverBoard(tmp_path / "new.sqlite")
    assert early.value.code == "journal_starting"


def test_a_kernel_has_one_board_of_a_journal(engine: Engine, tmp_path: Path) -> None:
    engine.list()
    first = observe(tmp_path / "a.sqlite")
    assert observe(tmp_path / "a.sqlite") is first and "seen" in repr(first)
    first.close()
    second = observe(tmp_path / "a.sqlite")
    assert second is not first and first.closed
    second.close()


@pytest.mark.parametrize("late", [False, True], ids=["one that watches", "one that comes later"])
def test_a_new_configuration_is_seen_with_the_history_before_it(
    engine: Engine, board: ObserverBoard, tmp_path: Path, late: bool
) -> None:
    keys = traded(engine)
    if not late:
        agrees(engine, board)
    patches: tuple[dict[str, Any], ...] = (
        {"entry.min_confidence": 0.3},
        {"exits.stop_loss.fraction": 0.011, "exits.time_exit": {"max_candles": 30}},
        {"filters.flat_market": {}},
    )
    for patch in patches:
        for key in keys:
            engine.apply(key, patch, author="test")
        engine.step(150)
        if not late:
            agrees(engine, board, "stop_history")
    engine.rollback(keys[0], 1, author="test")
    engine.step(150)
    shown = ObserverBoard(tmp_path / "a.sqlite") if late else board
    agrees(engine, shown, "stop_history")
    for key in keys:
        own = engine.board
        assert shown.document(key) == own.document(key)
        assert [fill.reason for fill in shown.fills(key)] == [fill.reason for fill in own.fills(key)]
        assert list(shown.fills(key)) == list(own.fills(key))
        mine, theirs = own.decisions(key), shown.decisions(key)  # what the engine judged anew is not in the journal
        assert len(theirs) >= 30
        assert theirs.tobytes() == mine[len(mine) - len(theirs) :].tobytes()
        assert board.reasons(key) == own.reasons(key)
        assert shown.decision(key) == own.decision(key)
        assert shown.equity(key)[-1].tobytes() == own.equity(key)[-1].tobytes()
    if late:
        shown.close()
