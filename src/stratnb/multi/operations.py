"""The operations of an engine: coroutines on its loop, one code path for calls, jobs and coroutines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Refused
from stratnb.events import EventBus
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.market_data.candles import market_from
from stratnb.model import Market
from stratnb.multi.desk import Desk
from stratnb.multi.feeds import candles_of, carry, keep_choices, open_replay, play_history, remove_all
from stratnb.multi.picture import EngineState, picture
from stratnb.multi.player import Player
from stratnb.multi.reading import Reader
from stratnb.multi.rebuild import Rebuilder
from stratnb.multi.records import Policy, State, StrategyRecord
from stratnb.multi.registry import Mode
from stratnb.multi.settings import EngineSettings
from stratnb.multi.stats import strategy_stats, system_stats
from stratnb.multi.switch import Switcher, SwitchResult
from stratnb.services.notify import Notifier
from stratnb.view import EngineView

__all__ = ["OPERATIONS", "Operations"]

OPERATIONS = (
    *("add", "remove", "switch", "activate", "deactivate", "pause", "resume", "start", "stop", "step", "set_speed"),
    *("kill", "release", "close_position", "list", "stats", "cache_stats", "resize_cache", "evict", "pin", "unpin"),
    *("clear_cache", "open_feed", "move_stop", "breakeven", "cancel_order", "set_mode"),
    *("restart_feed", "remove_all"),
)

log = logging.getLogger(__name__)


class Operations:
    """Holds the desk and its player; every public coroutine is an operation named in `OPERATIONS`."""

    def __init__(
        self,
        settings: EngineSettings,
        feed: ReplayFeed,
        markets: Mapping[str, Market] | Iterable[Market],
        *,
        notifier: Notifier | None = None,
    ) -> None:
        self.settings = settings
        self._notifier = notifier
        self._markets = {m.symbol: m for m in _listed(markets)}
        self._seq = 0
        self._loading = asyncio.Lock()
        self.bus = EventBus(lambda: self.desk.now_ms() * 1_000_000, capacity=settings.event_buffer)
        self._take(self._desk_for(feed))

    def _desk_for(self, feed: ReplayFeed) -> Desk:
        """Return a fresh desk for a feed; markets that were not given are inferred from the candles."""
        known = dict(self._markets)
        for series in feed.series:
            if series.symbol not in known:
                known[series.symbol] = market_from(series)
        quotes = sorted({known[symbol].quote for symbol in feed.symbols})
        if len(quotes) > 1:
            raise ConfigError(
                "quote_mixed",
                f"the markets are quoted in {', '.join(quotes)}; an account has one currency",
                value=quotes,
                hint="make one engine for each",
            )
        return Desk(self.settings, feed, known, notifier=self._notifier, bus=self.bus)

    def _take(self, desk: Desk) -> None:
        """Make a desk the present one."""
        self.desk = desk
        self.reader = Reader(desk)
        self.switcher = Switcher(desk)
        self.rebuilder = Rebuilder(desk)
        self.player: Player | None = None
        self.failure: BaseException | None = None
        self._started = False

    @property
    def state(self) -> EngineState:
        """Return stopped, running or paused."""
        if self.failure is not None or not self._started or self.player is None:
            return "stopped"
        return "running" if self.player.running else "paused"

    def open(self, delivery: asyncio.AbstractEventLoop) -> None:
        """Start on the running loop; the feed stays where it is. Handlers of events run on `delivery`, never here."""
        self.bus.attach(delivery)
        play_history(self.desk)
        self._play()

    def _play(self) -> None:
        """Open a player for the present desk; the feed stays where it is."""
        rebuilder = self.rebuilder
        self.player = Player(
            self.desk.feed, self.desk.router, on_error=self._failed, changed=rebuilder.is_due, renew=rebuilder.run
        )
        self.player.open()

    async def close(self) -> None:
        """Stop the player, snapshot and close everything."""
        await self._rest()
        self.bus.close()

    async def _rest(self) -> None:
        """Stop the player and close the desk."""
        if self.player is not None:
            await self.player.close()
        await self.desk.close()

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        log.error("the feed stopped", exc_info=error)
        self.desk.bus.publish("ENGINE_STATE", source="engine", payload={"state": "stopped", "error": repr(error)})

    def picture(self, name: str, state: EngineState) -> EngineView:
        """Return the present picture."""
        player = self.player
        moved = None if player is None else player.advanced_at
        self._seq += 1
        return picture(
            self.desk,
            seq=self._seq,
            name=name,
            state=state,
            lag_ms=player.lag_p95_ms if player is not None else 0.0,
            age_s=None if moved is None else time.monotonic() - moved,
        )

    def _playing(self) -> Player:
        assert self.player is not None, "operations run on the engine's loop"
        if self.failure is not None:
            raise Refused(
                "engine_failed", f"the engine stopped: {self.failure!r}", hint="look at the log, then make a new engine"
            )
        return self.player

    async def add(
        self,
        document: str | Path | Mapping[str, Any],
        symbol: str | None = None,
        *,
        label: str = "main",
        overrides: Mapping[str, Any] | None = None,
    ) -> str:
        """Load a strategy as dormant and return its id."""
        async with self._loading:
            await self.rebuilder.run()
            return await self.desk.add(document, symbol, label=label, overrides=overrides)

    async def remove(self, strategy_id: str, *, policy: Policy = "refuse") -> None:
        """Unload a strategy."""
        await self.desk.remove(strategy_id, policy=policy)

    async def switch(
        self,
        to_id: str,
        *,
        policy: Policy = "keep",
        from_id: str | None = None,
        timeout_s: float = 5.0,
        dry_run: bool = False,
    ) -> SwitchResult:
        """Make another strategy the active one."""
        await self.rebuilder.run()
        return await self.switcher.switch(to_id, policy=policy, from_id=from_id, timeout_s=timeout_s, dry_run=dry_run)

    async def activate(self, strategy_id: str) -> SwitchResult:
        """Make a strategy active; a failure is raised."""
        await self.rebuilder.run()
        result = await self.switcher.activate(strategy_id)
        if result.error is not None:
            raise Refused(result.error[0], result.error[1], value=strategy_id)
        return result

    async def deactivate(self, strategy_id: str, *, policy: Policy = "keep") -> State:
        """Take a strategy out of the active ones."""
        return await self.switcher.deactivate(strategy_id, policy=policy)

    async def pause(self, strategy_id: str | None = None) -> None:
        """Pause a strategy's entries, or the feed."""
        if strategy_id is not None:
            self.desk.pause(strategy_id)
        else:
            self._playing().pause()
            self._tell()

    async def resume(self, strategy_id: str | None = None) -> None:
        """Let a strategy, or the feed, go on."""
        if strategy_id is not None:
            await self.rebuilder.run()
            self.desk.resume(strategy_id)
        else:
            await self.start()

    async def start(self) -> None:
        """Let the feed run at its speed."""
        player = self._playing()
        if not self._started:
            self.desk.bus.publish("ENGINE_STARTED", source="engine", payload={"feed": self.desk.feed.label})
        self._started = True
        player.resume()
        self._tell()

    async def stop(self, *, flatten: bool = False) -> None:
        """Stop the feed and drop working entries; with `flatten` close every position."""
        if self.player is not None:
            self.player.pause()
        for lane in self.desk.lanes():
            self.desk.router.drop_entry(lane)
            if flatten:
                self.desk.close_now(lane, at.REASON_MANUAL)
        if self._started:
            self._started = False
            self.desk.bus.publish("ENGINE_STOPPED", source="engine", payload={"flatten": flatten})

    async def step(self, n: int = 1) -> int:
        """Process up to n instants; the engine counts as started."""
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
            raise ConfigError("range", f"step takes a whole number from 1 on, not {n!r}", value=n)
        player = self._playing()
        self._started = True
        return await player.step(int(n))

    async def set_speed(self, speed: float) -> None:
        """Set the replay's speed as a multiple of real time."""
        self.desk.feed.speed = speed
        player = self._playing()
        if player.running:
            player.resume()

    async def kill(self, author: str = "notebook", *, flatten: bool = True) -> dict[str, int]:
        """Halt the account, cancel entries, close positions."""
        return self.desk.kill(author, flatten=flatten)

    async def release(self, author: str, reason: str) -> None:
        """Set a halted account back to ACTIVE."""
        if not isinstance(author, str) or not isinstance(reason, str):
            given, hint = (author, reason), "say who releases and why, such as release('me', 'checked')"
            raise ConfigError("type", f"author and reason are text, not {given!r}", value=given, hint=hint)
        if not reason.strip():
            raise ConfigError("missing", "a release needs a reason", hint="say why trading may go on")
        self.desk.services.risk.release(author, reason)

    async def close_position(self, strategy_id: str, fraction: float = 1.0) -> bool:
        """Close a fraction of a position at the newest price."""
        return self.desk.close_now(self.desk.lane(strategy_id), at.REASON_MANUAL, fraction)

    async def move_stop(self, strategy_id: str, price: float) -> float:
        """Tighten the stop of a position."""
        return self.desk.services.exits.move_stop(self.desk.lane(strategy_id).context.book, price, self.desk.now_ms())

    async def breakeven(self, strategy_id: str) -> float:
        """Move the stop of a position to where it closes without a loss."""
        return self.desk.services.exits.breakeven(self.desk.lane(strategy_id).context.book, self.desk.now_ms())

    async def cancel_order(self, strategy_id: str) -> bool:
        """Cancel a working entry order."""
        return self.desk.router.drop_entry(self.desk.lane(strategy_id))

    async def set_mode(self, mode: Mode) -> None:
        """Let one strategy be active at a time, or any number."""
        self.desk.registry.set_mode(mode)

    async def list(self, state: State | None = None) -> tuple[StrategyRecord, ...]:
        """Return the loaded strategies."""
        return self.desk.registry.list(state)

    async def stats(self, strategy_id: str | None = None) -> dict[str, Any]:
        """Return the figures of one strategy or of all."""
        if strategy_id is not None:
            return strategy_stats(self.desk, self.desk.lane(strategy_id))
        return system_stats(self.desk)

    async def cache_stats(self) -> dict[str, Any]:
        """Return the cache's statistics."""
        return self.desk.cache.stats()

    async def resize_cache(self, capacity: int) -> None:
        """Set the cache's capacity."""
        await self.desk.cache.resize(capacity)

    async def evict(self, strategy_id: str) -> bool:
        """Evict one cache entry."""
        self.desk.registry.get(strategy_id)
        return await self.desk.cache.evict(strategy_id)

    async def pin(self, strategy_id: str) -> None:
        """Protect a cache entry."""
        self.desk.registry.update(strategy_id, pinned=True)
        self.desk.cache.pin(strategy_id)

    async def unpin(self, strategy_id: str) -> None:
        """Take the protection away."""
        self.desk.registry.update(strategy_id, pinned=False)
        self.desk.cache.unpin(strategy_id)
        await self.desk.cache.trim()

    async def clear_cache(self) -> None:
        """Evict what is not pinned."""
        await self.desk.cache.clear()

    async def remove_all(self, *, policy: Policy = "refuse") -> tuple[str, ...]:
        """Unload every strategy and return their ids; when one may not leave, none does."""
        async with self._loading, self._held():
            return await remove_all(self.desk, policy)

    async def open_feed(
        self,
        candles: Any = None,
        *,
        paths: Sequence[str | Path] = (),
        replace: bool = False,
        policy: Policy = "refuse",
    ) -> None:
        """Replay other candles with a fresh account; loaded strategies are removed only with `replace`.

        Files are read and checked first; a fault in them, or a refusal, leaves everything as it is.
        """
        async with self._loading:
            given = await asyncio.to_thread(candles_of, candles, paths)
            desk = self._desk_for(open_replay(given, speed=self.desk.feed.speed))
            async with self._held():
                self._check_free(replace=replace)
                await remove_all(self.desk, policy)
                await keep_choices(self.desk, desk)
                await self._rest()
                self._take(desk)
            play_history(desk)
            self._play()
        self._tell()

    def _check_free(self, *, replace: bool) -> None:
        """Raise when strategies are loaded and may not be removed."""
        loaded = self.desk.registry.list()
        if loaded and not replace:
            raise Refused(
                "strategies_loaded",
                f"{len(loaded)} strategies are loaded on {self.desk.feed.label}",
                value=[record.strategy_id for record in loaded],
                hint="remove them first, or give replace=True; results and decisions go with them",
            )

    async def restart_feed(self) -> None:
        """Play the same candles again from the start with a fresh account.

        Strategies stay loaded, their state is fresh; those that were active are active again. The feed goes on if it
        was running, else it waits at the start.
        """
        async with self._loading:
            await self.rebuilder.run()
            async with self._held():
                old, started, running = self.desk, self._started, self.player is not None and self.player.running
                if self.switcher.is_busy or old.leaving:
                    raise Refused(
                        "switch_in_progress", "a switch or a removal is running", hint="wait for it, then restart"
                    )
                desk = self._desk_for(old.feed.again())
                play_history(desk)
                await keep_choices(old, desk)
                await carry(old, desk, Switcher(desk))
                await self._rest()
                self._take(desk)
            self._started = started
            self._play()
            if running:
                self._playing().resume()
        self.bus.publish("ENGINE_STATE", source="engine", payload={"state": self.state, "feed": "restarted"})

    def _held(self) -> asyncio.Lock:
        """Return the lock under which no instant comes."""
        assert self.player is not None, "operations run on the engine's loop"
        return self.player.hold()

    def _tell(self) -> None:
        self.desk.bus.publish("ENGINE_STATE", source="engine", payload={"state": self.state})


def _listed(markets: object) -> list[Market]:
    """Return the markets of a mapping or a list, or raise `ConfigError("type")`."""
    given = markets.values() if isinstance(markets, Mapping) else markets
    found: list[Any] = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    for item in found:
        if not isinstance(item, Market):
            hint = "give a list such as [Market('BTC/USDT', tick=0.01)]"
            raise ConfigError("type", f"{repr(item)[:80]} is not a market", value=item, hint=hint)
    return found
