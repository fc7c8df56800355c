"""What the journal costs: intents on disk, events, replay with it, growth, restart, many strategies, memory.

    python -m benchmarks.journal [--long]

`--long` publishes 1,000 events a second for 60 s and plays 10,000 cycles; it takes some minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.figure import Figures, at_least, at_most, p95
from stratnb.engine import Engine
from stratnb.journal import Journal, JournalReader
from stratnb.market_data import synthetic_market
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import library

__all__ = ["journal_figures"]

FIRST = 500
MEMORY = 5_000_000
NO_LIMITS: dict[str, Any] = {
    name: None for name in AccountLimits.model_fields if name not in ("flatten", "require_stop")
}


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="stratnb-journal-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def journal_figures(
    *,
    intents: int = 300,
    candles: int = 20_000,
    events: int = 100_000,
    strategies: int = 50,
    seconds: float = 5.0,
    instants: int = 120,
    cycles: int = 2_000,
) -> Figures:
    """Return all figures of the journal."""
    with _folder() as folder:
        return {
            **_intent(folder / "intent.sqlite", intents),
            **_publish(folder / "publish.sqlite"),
            **_replay(folder / "replay.sqlite", candles),
            **_restart(folder / "restart.sqlite", events, strategies),
            **_stream(folder / "stream.sqlite", seconds),
            **_many(folder / "many.sqlite", strategies, instants),
            **_memory(folder / "memory.sqlite", cycles),
        }


def _intent(path: Path, count: int) -> Figures:
    """Time commits of one order intent that wait for the disk."""
    journal, times = Journal.open(path), []
    row = {"strategy_id": "s@BTC/USDT#main", "symbol": "BTC/USDT", "side": "buy", "quantity": 1.0, "purpose": "e"}
    row |= {"reduces": False, "reason": "entry", "correlation": "c", "generation": 1, "state": "INTENT", "filled": 0.0}
    for number in range(count):
        began = time.perf_counter()
        told = {"client_id": f"snb-abc234-0001-e{number:08}", "created_ms": number, "updated_ms": number}
        journal.upsert("orders", {**row, **told})
        journal.commit(durable=True)
        times.append(1000.0 * (time.perf_counter() - began))
    journal.close()
    told = {"median": float(np.median(times)), "disk_p95": _disk(path.with_suffix(".raw"), count), "commits": count}
    return {"journal_intent_durable": at_most(p95(times), "ms", 5.0, **told)}


def _disk(path: Path, count: int) -> float:
    """Return what the disk alone needs to keep one page, p95 in ms."""
    times = []
    with path.open("wb") as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(1000.0 * (time.perf_counter() - began))
    return p95(times)


def _engine(path: Path, series: Any, **options: Any) -> Engine:
    return Engine("journal", candles=series, mode="parallel", journal=path, **options)


def _publish(path: Path) -> Figures:
    """Time the tagging and publishing of events while they are kept."""
    with _engine(path, synthetic_market(["BTC/USDT"], "5m", candles=50)) as engine:
        key = engine.add("simple-levels")
        bus, count = engine.desk.lane(key).context.events, 20_000
        payload = {"price": 1.5, "quantity": 2.0}
        began = time.perf_counter()
        for _ in range(count):
            bus.publish("SIGNAL_NEW", correlation_id="c", source="bench", payload=payload)
        each = 1e6 * (time.perf_counter() - began) / count
    return {"journal_event_publish": at_most(each, "us", 20.0, events=count)}


def _replay(path: Path, candles: int) -> Figures:
    """Replay with the journal on, and weigh what a decision leaves in it."""
    series = synthetic_market(["BTC/USDT"], "5m", candles=candles + FIRST)[0]
    with _engine(path, series) as engine:
        key = engine.add("simple-levels")
        engine.activate(key)
        engine.step(FIRST)
        before = _size(path)
        began = time.perf_counter()
        made = engine.step(candles)
        speed = made / (time.perf_counter() - began)
        trades = engine.stats(key)["total_trades"]
    grown = (_size(path) - before) / made
    return {
        "journal_replay": at_least(speed, "candles/s", 5_000, candles=made, trades=trades),
        "journal_growth": at_most(grown, "bytes/decision", 1_000, decisions=made),
    }


def _size(path: Path) -> int:
    """Return the bytes of the database itself; its log is written over again."""
    with JournalReader.open(path) as reader:
        pages, size = (int(reader.database.pragma(name)[0][0]) for name in ("page_count", "page_size"))
    return pages * size


def _restart(path: Path, events: int, strategies: int) -> Figures:
    """Time a restart with many events and strategies up to the first decision."""
    series = synthetic_market([f"M{k}/USDT" for k in range(10)], "5m", candles=2_200)
    options = {"max_strategies": strategies, "cache_capacity": strategies + 14}
    names = library()
    with _engine(path, series, **options) as engine:
        for k in range(strategies):
            engine.activate(engine.add(names[k % len(names)], f"M{k % 10}/USDT", label=f"n{k}"))
        engine.step(2_000)
        for number in range(events):
            engine.events.publish("SIGNAL_NEW", payload={"number": number})
        engine.step(1)
    with JournalReader.open(path) as reader:
        kept = reader.count("events")
    began = time.perf_counter()
    with _engine(path, series, **options) as engine:
        engine.step(1)
        seconds = time.perf_counter() - began
    return {"journal_restart": at_most(seconds, "s", 3.0, events=kept, strategies=strategies)}


def _stream(path: Path, seconds: float) -> Figures:
    """Publish 1,000 events a second while a strategy trades, and count those that the journal lacks."""
    published, over = 0, threading.Event()
    with _engine(path, synthetic_market(["BTC/USDT"], "5m", candles=5_000), speed=300.0 * 20) as engine:
        engine.activate(engine.add("simple-levels"))

        def shout() -> None:
            nonlocal published
            began = time.perf_counter()
            while (passed := time.perf_counter() - began) < seconds:
                while published < 1_000 * passed:
                    engine.events.publish("SIGNAL_NEW", payload={"number": published})
                    published += 1
                time.sleep(0.005)
            over.set()

        engine.start()
        thread = threading.Thread(target=shout)
        thread.start()
        over.wait()
        thread.join()
    with JournalReader.open(path) as reader:
        kept = reader.count("events", {"type": "SIGNAL_NEW"})
    return {"journal_events_lost": at_most(published - kept, "events", 0, published=published, seconds=seconds)}


def _many(path: Path, strategies: int, instants: int) -> Figures:
    """Time each instant of many strategies on ten markets: from its candles to the last decision, and to the disk."""
    series = synthetic_market([f"M{k}/USDT" for k in range(10)], "1m", candles=FIRST + instants + 10)
    options = {"max_strategies": strategies, "cache_capacity": max(64, strategies), "limits": NO_LIMITS}
    names, times, kept, began = library(), [], [], 0.0
    with _engine(path, series, **options) as engine:
        for k in range(strategies):
            engine.activate(engine.add(names[k % len(names)], f"M{k % 10}/USDT", label=f"n{k}"))
        engine.step(FIRST)
        router, recorder = engine.desk.router, engine.desk.recorder
        take, finish = router.take, recorder.finish

        def decided(*, sending: bool) -> None:
            times.append(1000.0 * (time.perf_counter() - began))
            finish(sending=sending)

        def timed(instant: Any) -> Iterator[None]:
            nonlocal began
            began = time.perf_counter()
            yield from take(instant)
            kept.append(1000.0 * (time.perf_counter() - began))

        router.take, recorder.finish = timed, decided  # type: ignore[method-assign]
        for _ in range(instants):
            engine.step(1)
            time.sleep(0.01)
    return {
        "many_candle_to_decision": at_most(
            p95(times), "ms", 10.0, on_disk_p95=p95(kept), strategies=strategies, markets=10, instants=instants
        )
    }


def _memory(path: Path, cycles: int) -> Figures:
    """Return what cycles of one instant each add to the memory, from half of them on."""
    series = synthetic_market(["BTC/USDT"], "5m", candles=FIRST + cycles + 10)[0]
    limited = {"event_buffer": 1_000, "decisions_kept": 500, "curve_points": 256}
    with _engine(path, series, **limited) as engine:
        engine.activate(engine.add("simple-levels"))
        for _ in range(cycles // 2):
            engine.step(1)
        before = _held()
        for _ in range(cycles // 2):
            engine.step(1)
        grown = _held() - before
    return {"journal_memory": at_most(grown, "bytes", MEMORY, cycles=cycles)}


def _held() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measure the journal and print the figures as JSON.")
    parser.add_argument("--long", action="store_true", help="60 s of events and 10,000 cycles")
    long = parser.parse_args().long
    print(
        json.dumps(journal_figures(**({"seconds": 60.0, "cycles": 10_000, "instants": 600} if long else {})), indent=2)
    )


if __name__ == "__main__":
    main()
