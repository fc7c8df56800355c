"""Candles a second through the engine: each is delivered to every strategy, one subscriber hears all events."""

from __future__ import annotations

import time

from benchmarks.figure import Figures, at_least
from stratnb.engine import Engine
from stratnb.market_data import synthetic_market
from stratnb.strategy.documents import library

__all__ = ["replay_speed"]

FIRST = 500


def replay_speed(*, candles: int = 20_000) -> Figures:
    """Return the speed with one strategy and with ten on one market, in candles of the feed a second."""
    ten = [*library(), *library()][:10]
    return {
        "replay_one_strategy": _speed(["simple-levels"], candles, target=20_000),
        "replay_ten_strategies": _speed(ten, candles // 2, target=5_000),
    }


def _speed(names: list[str], candles: int, *, target: float) -> dict[str, object]:
    series = synthetic_market(["BTC/USDT"], "5m", candles=candles + FIRST)[0]
    heard = 0

    def hear(_: object) -> None:
        nonlocal heard
        heard += 1

    with Engine("speed", candles=series, mode="parallel") as engine:
        engine.events.subscribe(hear)
        for k, name in enumerate(names):
            engine.activate(engine.add(name, label=f"n{k}"))
        engine.step(FIRST)
        began = time.perf_counter()
        made = engine.step(candles)
        seconds = time.perf_counter() - began
        events, trades = engine.events.stats(), engine.stats()["total_trades"]
    counts = {"strategies": len(names), "candles": made, "trades": trades}
    return at_least(
        made / seconds,
        "candles/s",
        target,
        **counts,
        events=events["published"],
        heard=heard,
        dropped=events["dropped"],
    )
