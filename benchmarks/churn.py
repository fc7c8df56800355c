"""Whether strategies that come and go leave anything behind."""

from __future__ import annotations

import asyncio
import gc
import time

import psutil

from benchmarks.figure import Figures, at_most
from stratnb.engine import Engine
from stratnb.market_data import synthetic_market
from stratnb.strategy.documents import library

__all__ = ["churn"]

MEMORY = 5_000_000
CANDLE_EVERY = 10


def churn(*, cycles: int = 10_000) -> Figures:
    """Return what cycles of add, switch and remove add to tasks, threads, file handles and memory.

    Growth is counted from half of the cycles on, when every bounded history is full.
    """
    first = cycles // 2
    candles = synthetic_market(["BTC/USDT"], "5m", candles=cycles // CANDLE_EVERY + 500)[0]
    began = time.perf_counter()
    with Engine("churn", candles=candles) as engine:
        engine.step(300)
        last = _cycle(engine, 0, "")
        for k in range(1, first):
            last = _cycle(engine, k, last)
        before = _held(engine)
        for k in range(first, cycles):
            last = _cycle(engine, k, last)
        grown = {name: value - before[name] for name, value in _held(engine).items()}
    seconds = time.perf_counter() - began
    memory = at_most(grown.pop("memory"), "bytes", MEMORY, cycles=cycles, seconds=round(seconds, 1))
    counts = {f"churn_{name}": at_most(value, name, 0) for name, value in grown.items()}
    return {**counts, "churn_memory": memory}


def _cycle(engine: Engine, k: int, last: str) -> str:
    """Add one, switch to it, remove the former one; now and then a candle comes between."""
    key = engine.add(library()[k % len(library())], label=f"n{k}")
    if k % CANDLE_EVERY == 0:
        engine.step(1)
    engine.switch(key, policy="close")
    if last:
        engine.remove(last, policy="close")
    return key


def _held(engine: Engine) -> dict[str, int]:
    """Return what the process holds now."""
    gc.collect()
    process = psutil.Process()
    loop = engine._loop
    return {
        "tasks": len(asyncio.all_tasks(loop)) if loop is not None else 0,
        "threads": process.num_threads(),
        "handles": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "memory": process.memory_info().rss,
    }
