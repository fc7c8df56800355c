"""The longest silence of a running engine while the kernel's main thread is blocked."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.figure import Figures, at_most
from stratnb.engine import Engine
from stratnb.market_data import synthetic_market
from stratnb.strategy.documents import library

__all__ = ["heartbeat"]


def heartbeat(*, seconds: float = 30.0) -> Figures:
    """Return the longest time between two beats during `time.sleep` and during a loop of Python code."""
    return {
        "heartbeat_sleep": _longest(time.sleep, seconds),
        "heartbeat_python_loop": _longest(_count, seconds),
    }


def _count(seconds: float) -> None:
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        n += 1


def _longest(block: Callable[[float], None], seconds: float) -> dict[str, object]:
    market = synthetic_market(candles=20_000)
    with Engine("heartbeat", candles=market, speed=600.0, mode="parallel") as engine:
        for candles, name in zip(market, [*library(), *library()], strict=True):
            engine.activate(engine.add(name, candles.symbol))
        engine.start()
        time.sleep(0.5)
        player, before = engine._operations.player, engine.feed.position
        assert player is not None
        player.longest_gap_s = 0.0
        block(seconds)
        longest, made = player.longest_gap_s, engine.feed.position - before
    return at_most(longest * 1000.0, "ms", 250.0, blocked_s=seconds, instants=made)
