"""How long after an engine published an event other processes see it on their boards."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.figure import Figures, at_most, p95
from stratnb import Engine, ObserverBoard, synthetic_market

__all__ = ["observer_lag"]

MARK = "COMMAND"
GAP_S = 0.05
LOOK_S = 0.005
TARGETS = {1: 300.0, 5: 600.0}


def _watch(journal: Path, told: Connection) -> None:
    """Note when each marked event is seen, until the engine says that it was the last one."""
    lags: list[float] = []
    with ObserverBoard(journal) as board:
        seen = board.view().events_seq
        told.send("ready")
        while not told.poll():
            for event in board.events_since(seen):
                seen = event.seq
                if event.type == MARK:
                    lags.append((time.time_ns() - event.payload["at_ns"]) / 1e6)
            time.sleep(LOOK_S)
    told.send(lags)


def _lags(observers: int, marks: int) -> list[float]:
    """Return the lags in milliseconds of all observers of one engine that trades ten instants a second."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="stratnb-") as folder:
        journal = Path(folder) / "a.sqlite"
        market = tuple(synthetic_market(["BTC/USDT", "ETH/USDT"], candles=20_000, seed=7))
        with Engine("observed", candles=market, journal=journal, mode="parallel", speed=600) as engine:
            for name in ("simple-levels", "trend-rider", "level-trading-v3"):
                engine.activate(engine.add(name, "BTC/USDT"))
            engine.step(1_000)
            engine.start()
            pipes = [context.Pipe() for _ in range(observers)]
            watching = [context.Process(target=_watch, args=(journal, theirs)) for _, theirs in pipes]
            for process in watching:
                process.start()
            try:
                for mine, _ in pipes:
                    assert mine.recv() == "ready"
                _publish(engine, marks)
                time.sleep(2.0)
                for mine, _ in pipes:
                    mine.send("end")
                return [lag for mine, _ in pipes for lag in mine.recv()]
            finally:
                for process in watching:
                    process.join(10.0)
                    process.terminate()


def _publish(engine: Engine, marks: int) -> None:
    """Publish marked events from the engine's own loop."""

    def mark() -> None:
        engine.events.publish(MARK, source="benchmark", payload={"at_ns": time.time_ns()})

    loop = engine._loop
    assert loop is not None, "it has started"
    for _ in range(marks):
        loop.call_soon_threadsafe(mark)
        time.sleep(GAP_S)


def observer_lag(*, marks: int = 400) -> Figures:
    """Return the p95 of the time from publishing to an observer's board, with one and with five processes."""
    found: Figures = {}
    for observers, target in TARGETS.items():
        lags = _lags(observers, marks)
        detail = {"observers": observers, "events": len(lags), "lost": observers * marks - len(lags)}
        found[f"observer_lag_{observers}"] = at_most(p95(lags), "ms", target, **detail)
    return found
