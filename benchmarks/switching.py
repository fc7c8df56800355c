"""How long a switch takes, cached and cold, and what an orchestrator weighs."""

from __future__ import annotations

import gc
import time

import psutil

from benchmarks.figure import Figures, at_most, p95
from stratnb.engine import Engine
from stratnb.market_data import Candles, synthetic_market
from stratnb.strategy.documents import library

__all__ = ["orchestrator_size", "switch_times"]

MISSED = 1_000
MEGABYTES = 2_000_000


def switch_times(*, near: int = 300, far: int = 60, cold: int = 200) -> Figures:
    """Return p95 of the waiting time of a caller: few missed candles, many, and a creation without a snapshot."""
    return {
        "switch_cached_10_missed": at_most(p95(_cached(near, 10)), "ms", 5.0, switches=near),
        "switch_cached_1000_missed": at_most(p95(_cached(far, MISSED)), "ms", 50.0, switches=far),
        "switch_cold_1000_candles": at_most(p95(_cold(cold)), "ms", 100.0, switches=cold),
    }


def orchestrator_size(*, count: int = 100) -> Figures:
    """Return the largest size by its own account, and the process's growth for each of many."""
    with Engine("size", candles=_candles(MISSED), mode="parallel", cache_capacity=500, max_strategies=500) as engine:
        keys = [engine.add(name, label=f"n{k}") for k in range(-(-count // len(library()))) for name in library()]
        engine.step(MISSED)
        for key in keys[: len(library())]:
            engine.activate(key)
        gc.collect()
        before = psutil.Process().memory_info().rss
        for key in keys[len(library()) :]:
            engine.activate(key)
        gc.collect()
        grown = (psutil.Process().memory_info().rss - before) / max(1, len(keys) - len(library()))
        largest = max(row["bytes"] for row in engine.cache.stats()["entries"])
    return {
        "orchestrator_bytes": at_most(largest, "bytes", MEGABYTES),
        "orchestrator_resident": at_most(max(0.0, grown), "bytes", MEGABYTES, orchestrators=len(keys)),
    }


def _candles(count: int) -> Candles:
    return synthetic_market(["BTC/USDT"], "5m", candles=count)[0]


def _timed(engine: Engine, key: str) -> float:
    began = time.perf_counter()
    result = engine.switch(key)
    took = (time.perf_counter() - began) * 1000.0
    assert result.success, result.error
    return took


def _cached(count: int, missed: int) -> list[float]:
    """Return the times of switches between two strategies that are both in the cache."""
    times = []
    with Engine("switch", candles=_candles((count + 4) * missed + MISSED)) as engine:
        keys = [engine.add(name) for name in ("simple-levels", "trend-rider")]
        engine.step(MISSED)
        for turn in range(count + 4):
            engine.step(missed)
            times.append(_timed(engine, keys[turn % 2]))
    return times[4:]


def _cold(count: int) -> list[float]:
    """Return the times of switches to a strategy that was never run, after a thousand candles."""
    times = []
    with Engine("cold", candles=_candles(MISSED)) as engine:
        engine.step(MISSED)
        last = ""
        for k in range(count + 4):
            key = engine.add(library()[k % len(library())], label=f"n{k}")
            times.append(_timed(engine, key))
            if last:
                engine.remove(last)
            last = key
    return times[4:]
