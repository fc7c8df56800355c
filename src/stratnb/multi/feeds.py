"""Candles for an engine: read from files, made into a replay, and strategies taken from one desk to the next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Refused
from stratnb.exchange.replay import ReplayFeed
from stratnb.market_data import load_candles, synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.multi.desk import Desk
from stratnb.multi.limits import put_limits
from stratnb.multi.records import Policy
from stratnb.multi.switch import Switcher

__all__ = ["candles_of", "carry", "keep_choices", "load_files", "open_replay", "play_history", "remove_all"]

SYNTHETIC_CANDLES = 20_000
SYNTHETIC_SEED = 7


def load_files(paths: Sequence[str | Path]) -> tuple[Candles, ...]:
    """Return the candles of several files; faults in them are `ConfigError` naming the file."""
    return tuple(load_candles(path)[0] for path in paths)


def candles_of(given: Any, paths: Sequence[str | Path] = ()) -> Any:
    """Return the candles of files, given as `paths` or in place of candles; candles themselves pass unread."""
    if isinstance(given, str | Path):
        given = [given]
    series = list(given) if isinstance(given, Iterable) and not isinstance(given, Candles) else None
    named = list(paths) if paths else series or []
    if named and all(isinstance(each, str | Path) for each in named):
        return load_files(named)
    return given if series is None else series


def open_replay(
    candles: Candles | Iterable[Candles] | None, *, speed: float | None = None, label: str = ""
) -> ReplayFeed:
    """Return a replay of some candles; without any, of the synthetic market (60 times real time by default)."""
    if candles is None:
        market = synthetic_market(candles=SYNTHETIC_CANDLES, seed=SYNTHETIC_SEED)
        return ReplayFeed(
            market, speed=60.0 if speed is None else speed, label=f"Synthetic market, seed {SYNTHETIC_SEED}"
        )
    if not isinstance(candles, Candles | Iterable):
        raise ConfigError(
            "type", f"{candles!r} is not a series of candles", value=repr(candles)[:80], hint="use load_candles"
        )
    series = [candles] if isinstance(candles, Candles) else list(candles)
    for item in series:
        if not isinstance(item, Candles):
            hint = "load files with load_candles, or use paths="
            raise ConfigError(
                "type", f"{type(item).__name__} is not a series of candles", value=repr(item)[:80], hint=hint
            )
    return ReplayFeed(series, speed=math.inf if speed is None else speed, label=label)


def play_history(desk: Desk) -> None:
    """Play what a synthetic market has behind it at the start; nothing trades on it."""
    for _ in range(desk.settings.synthetic_history if desk.feed.synthetic and not desk.feed.position else 0):
        instant = desk.feed.next()
        if instant is None:
            break
        for _ in desk.router.take(instant):
            raise AssertionError("nothing trades in the history")


async def remove_all(desk: Desk, policy: Policy) -> tuple[str, ...]:
    """Unload every strategy and return their ids; when one may not leave, none does. No instant comes meanwhile."""
    keys = tuple(record.strategy_id for record in desk.registry.list())
    held: list[Refused] = []
    for key in keys:
        try:
            desk.check_removable(key, policy)
        except Refused as error:
            held.append(error)
    if held:
        message = "; ".join(error.message for error in held)
        raise Refused(held[0].code, message, value=[error.value for error in held], hint=held[0].hint)
    for key in keys:
        await desk.remove(key, policy=policy)
    return keys


async def keep_choices(old: Desk, new: Desk) -> None:
    """Give a fresh desk the mode, the cache capacity and the limits that were chosen on another."""
    new.services.risk.limit(old.services.positions.limits)
    new.registry.set_mode(old.registry.mode)
    await new.cache.resize(old.cache.capacity)


async def carry(old: Desk, new: Desk, switcher: Switcher) -> None:
    """Load the strategies of a desk on a fresh one, those active that were; what cannot be activated is announced."""
    for lane in old.lanes():
        new.take_over(old.registry.get(lane.context.strategy_id), lane.context)
        put_limits(new, new.lane(lane.context.strategy_id))
        for version in old.store.versions(lane.context.strategy_id):
            new.store.save_version(version)
    running = [*old.registry.active_ids()]
    suspended = [record.strategy_id for record in old.registry.list("suspended")]
    running += [key for key in suspended if not old.lane(key).managed]
    for key in running[:1] if new.registry.mode == "exclusive" else running:
        result = await switcher.activate(key)
        if result.error is None and old.lane(key).paused:
            new.pause(key)
