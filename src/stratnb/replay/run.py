"""Runs a replay: loads, adds, steps, switches, and compares every instance with its backtest."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.market_data import Candles
from stratnb.model import Market
from stratnb.multi.settings import EngineSettings
from stratnb.parity import Parity, parity
from stratnb.replay.report import Object, Run, parity_report, report, timing
from stratnb.replay.settings import ReplaySettings, load_series, markets_of
from stratnb.research.configured import configure

__all__ = ["replay"]

Item = TypeVar("Item")
MOST_ACTIVE = 500
MOST_LOADED = 1_000
PARTS = 50


def replay(settings: ReplaySettings) -> Object:
    """Run it and return one JSON-safe object; two runs give the same but for `timing`. Faults are `StratnbError`."""
    began = time.perf_counter()
    series, reports = load_series(settings)
    markets = markets_of(settings, series)
    for name in settings.strategies:
        configure(name, series[0], overrides=settings.overrides)  # compiles here, before anything waits for the engine
    loaded = time.perf_counter()
    with _engine(settings, series, markets) as engine:
        run = Run(settings, engine, series, markets, reports)
        run.notes += _notes(settings, len(series))
        _add(run)
        _advance(run)
        result, times = report(run), timing(run)
    result["parity"] = parity_report(_parities(run), result["instances"])
    ended = time.perf_counter()
    return result | {"timing": {"load_s": loaded - began, **times, "total_s": ended - began}}


def _engine(settings: ReplaySettings, series: Sequence[Candles], markets: Sequence[Market]) -> Engine:
    """Return an engine with room for every instance."""
    count = len(settings.strategies) * len(series)
    most = MOST_ACTIVE if settings.mode == "parallel" else MOST_LOADED
    if count > most:
        text = f"{len(settings.strategies)} strategies on {len(series)} files make {count} instances, over {most}"
        raise ConfigError("too_many_instances", text, value=count, hint="replay fewer at a time")
    return Engine(
        "replay",
        candles=series,
        markets=markets,
        mode=settings.mode,
        cash=settings.cash,
        cache_capacity=max(settings.capacity, count) if settings.mode == "parallel" else settings.capacity,
        max_strategies=max(EngineSettings().max_strategies, count),
    )


def _notes(settings: ReplaySettings, files: int) -> Iterator[str]:
    """Yield what was done otherwise than asked for."""
    count = len(settings.strategies) * files
    if settings.mode == "parallel" and settings.capacity < count:
        yield f"the cache's capacity was raised from {settings.capacity} to {count}: all instances are active"
    if settings.mode == "parallel" and settings.switch_every is not None:
        yield "switch_every has no effect in parallel mode: all instances are active"
    if settings.mode == "exclusive" and settings.switch_every is None and count > 1:
        yield "only the first instance was active: give --switch-every, or --mode parallel"


def _add(run: Run) -> None:
    """Load every strategy on every market, then activate the first or all."""
    for name in run.settings.strategies:
        for candles, market in zip(run.series, run.markets, strict=True):
            run.ids[run.engine.add(name, candles.symbol, overrides=run.settings.overrides)] = (name, candles, market)
    keys = list(run.ids)
    for key in keys if run.settings.mode == "parallel" else keys[:1]:
        run.engine.activate(key)


def _advance(run: Run) -> None:
    """Replay to the end, switching to the next instance after every `switch_every` instants."""
    settings, total, keys = run.settings, run.engine.feed.length, list(run.ids)
    rotates = settings.mode == "exclusive" and settings.switch_every is not None and len(keys) > 1
    size = settings.switch_every if rotates and settings.switch_every else max(1, total // PARTS)
    began = time.perf_counter()
    for turn, start in enumerate(_told(range(0, total, size), "replay")):
        if rotates and turn:
            run.switches.append(run.engine.switch(keys[turn % len(keys)], policy=settings.policy))
        _play(run.engine, min(size, total - start), settings.speed)
    run.replay_s = time.perf_counter() - began


def _play(engine: Engine, count: int, speed: float) -> None:
    """Process some instants, at a multiple of real time."""
    if math.isinf(speed):
        engine.step(count)
        return
    pause_s, due = engine.desk.services.candles.step_ms / 1000.0 / speed, time.monotonic()
    while count > 0:
        due += pause_s
        time.sleep(max(0.0, due - time.monotonic()))
        missed = int((time.monotonic() - due) / pause_s)
        made = engine.step(min(count, 1 + missed))
        due += missed * pause_s
        count = count - made if made else 0


def _parities(run: Run) -> list[Parity]:
    """Return for each instance whether engine and backtest agree."""
    if not run.settings.parity:
        return []
    options: Object = {"cash": run.settings.cash, "overrides": run.settings.overrides}
    items = _told(list(run.ids.values()), "parity")
    return [parity(name, candles, market=market, **options) for name, candles, market in items]


def _told(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Show the progress through some items on a terminal's error stream."""
    if not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    shown: Iterable[Item] = tqdm(items, desc=what, file=sys.stderr, leave=False)
    return shown
