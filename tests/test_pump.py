"""The pump: rates, presence, failures of one panel, jobs, timers; all on an injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sample_board import SampleBoard, SampleJob
from stratnb.ui.panel import Panel
from stratnb.ui.pump import ABSENT_S, Pump
from stratnb.view import EngineView


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Recorder:
    """A painter that counts."""

    def __init__(self, board: SampleBoard) -> None:
        self.board = board
        self.shown = True
        self.ticks: list[bool] = []
        self.failed: list[str] = []
        self.retry: Callable[[], None] | None = None
        self.broken = False

    def tick(self, now_s: float, picture: Callable[[Any], Any], *, force: bool) -> None:
        if self.broken:
            raise RuntimeError("broken")
        picture(self.board)
        self.ticks.append(force)

    def fail(self, code: str, message: str, *, retry: Callable[[], None] | None = None) -> None:
        self.failed.append(code)
        self.retry = retry


class Numbers(Panel):
    title = "Numbers"
    hz = 4.0

    def body(self) -> list[Any]:
        self.seen: list[int] = []
        return []

    def paint(self, view: EngineView) -> None:
        self.seen.append(view.seq)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pump(clock: Clock) -> Pump:
    return Pump(clock=clock)


def _pass(pump: Pump, clock: Clock, seconds: float, *, beats: bool = False) -> None:
    for _ in range(round(seconds * 10)):
        clock.now_s += 0.1
        if beats:
            pump.beat("page")
        pump._tick(force=False)


def test_nothing_is_painted_30_s_after_the_last_heartbeat_and_all_at_the_next(pump: Pump, clock: Clock) -> None:
    panel = Recorder(SampleBoard(1))
    pump.register(panel)
    _pass(pump, clock, ABSENT_S + 5.0)
    before = len(panel.ticks)
    _pass(pump, clock, 5.0)
    assert len(panel.ticks) == before
    pump.beat("page")
    _pass(pump, clock, 0.2)
    assert panel.ticks[before:] == [True, False]


def test_a_blocked_loop_is_not_an_absent_browser(pump: Pump, clock: Clock) -> None:
    gone: list[str] = []
    pump.on_absent(ABSENT_S, lambda: gone.append("gone"))
    _pass(pump, clock, 1.0, beats=True)
    clock.now_s += 600.0
    pump._tick(force=False)
    assert pump.present
    assert gone == []


def test_absence_fires_once_and_again_after_another_visit(pump: Pump, clock: Clock) -> None:
    gone: list[float] = []
    pump.on_absent(ABSENT_S, lambda: gone.append(clock.now_s))
    _pass(pump, clock, 100.0)
    assert [round(t) for t in gone] == [30]
    pump.beat("page")
    _pass(pump, clock, 40.0)
    assert [round(t) for t in gone] == [30, 130]


def test_absence_counts_from_its_registration_and_can_be_taken_back(pump: Pump, clock: Clock) -> None:
    gone: list[float] = []
    _pass(pump, clock, 50.0)
    back = pump.on_absent(ABSENT_S, lambda: gone.append(clock.now_s))
    _pass(pump, clock, 29.0)
    assert gone == []
    back()
    _pass(pump, clock, 10.0)
    assert gone == []


def test_a_page_that_is_still_being_drawn_is_waited_for(pump: Pump, clock: Clock) -> None:
    gone: list[float] = []
    pump.on_absent(ABSENT_S, lambda: gone.append(clock.now_s), grace_s=60.0)
    _pass(pump, clock, 80.0)
    assert gone == []
    pump.beat("page")
    _pass(pump, clock, 40.0)
    assert [round(t) for t in gone] == [110]


def test_hidden_only_while_every_page_is(pump: Pump, clock: Clock) -> None:
    pump.beat("a", hidden=True)
    pump.beat("b")
    _pass(pump, clock, 0.1)
    assert not pump._presence.hidden(clock.now_s)
    pump.beat("b", hidden=True)
    _pass(pump, clock, 0.1)
    assert pump._presence.hidden(clock.now_s)


def test_one_picture_per_board_and_tick(pump: Pump, clock: Clock) -> None:
    board = SampleBoard(1)
    calls: list[int] = []
    real = board.view
    board.view = lambda: (calls.append(1), real())[1]  # type: ignore[method-assign,func-returns-value]
    for _ in range(3):
        pump.register(Recorder(board))
    _pass(pump, clock, 0.1)
    assert len(calls) == 1


def test_jobs_are_handed_over_after_they_end_even_when_a_callback_fails(pump: Pump, clock: Clock) -> None:
    first, second, done = SampleJob("add", {}), SampleJob("remove", {}), []

    def fails(job: Any) -> None:
        done.append("first")
        raise ValueError("the panel's fault")

    pump.track(first, fails)
    pump.track(second, lambda job: done.append(job.result()))
    _pass(pump, clock, 0.1)
    assert done == []
    first.finish()
    second.finish("second")
    _pass(pump, clock, 0.2)
    assert done == ["first", "second"]


def test_timers_run_when_due(pump: Pump, clock: Clock) -> None:
    ran: list[str] = []
    pump.later(1.0, lambda: ran.append("late"))
    pump.later(0.15, lambda: ran.append("soon"))
    _pass(pump, clock, 0.3)
    assert ran == ["soon"]
    _pass(pump, clock, 1.0)
    assert ran == ["soon", "late"]


def test_a_failing_panel_shows_it_and_the_others_go_on() -> None:
    bad, good = SampleBoard(1), SampleBoard(1)
    broken, healthy = Numbers(bad), Numbers(good)
    bad.broken = RuntimeError("/secret/path must not be shown")
    for _ in range(3):
        good.advance()
        broken.pump.paint_now()
    assert len(healthy.seen) == 4
    assert "sn-off" not in broken.strip._dom_classes
    assert "ui_numbers" in broken._message.value and "secret" not in broken._message.value
    assert "sn-off" in healthy.strip._dom_classes
    bad.broken = None
    broken.retry()
    broken.pump.paint_now()
    assert len(broken.seen) == 2
    assert "sn-off" in broken.strip._dom_classes
    broken.close()
    healthy.close()


def test_a_panel_is_painted_at_its_own_rate() -> None:
    board = SampleBoard(1)
    panel = Numbers(board)
    panel.seen.clear()
    for tenth in range(1, 101):
        panel.tick(1_000.0 + tenth / 10.0, lambda b: b.view(), force=False)
    assert 33 <= len(panel.seen) <= 41
    panel.close()


def test_a_pump_that_fails_says_so_in_every_panel_and_restarts(pump: Pump) -> None:
    panel = Recorder(SampleBoard(1))

    async def scenario() -> None:
        assert pump.start() and pump.running
        pump.register(panel)
        panel.broken = True
        for _ in range(50):
            await asyncio.sleep(0.005)
            if not pump.running:
                break
        assert panel.failed == ["pump_failed"]
        panel.broken = False
        assert panel.retry is not None
        panel.retry()
        for _ in range(50):
            await asyncio.sleep(0.005)
            if panel.ticks:
                break
        assert pump.running and panel.ticks == [True]
        pump.stop()
        await asyncio.sleep(0.005)
        assert not pump.running

    asyncio.run(scenario())


def test_the_strips_of_a_failed_pump_go_when_it_ticks_again() -> None:
    panel = Numbers(SampleBoard(1))
    panel.fail("pump_failed", "stopped", retry=lambda: None)
    assert "sn-off" not in panel.strip._dom_classes
    panel.pump.paint_now()
    assert "sn-off" in panel.strip._dom_classes and len(panel.seen) == 2
    panel.close()


def test_without_a_loop_it_paints_on_demand(pump: Pump) -> None:
    assert pump.start() is False
    panel = Recorder(SampleBoard(1))
    pump.register(panel)
    pump.paint_now()
    assert panel.ticks == [True]
    assert repr(pump) == "<Pump stopped, 1 panels, a browser>"
