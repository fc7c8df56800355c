"""The operations of an engine: coroutines on its loop, one code path for calls, jobs and coroutines."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError, Halt, Refused
from stratnb.events import EventBus
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.market_data.candles import market_from
from stratnb.model import Market
from stratnb.multi.cache_operations import CACHE_OPERATIONS, CacheOperations
from stratnb.multi.config_operations import CONFIG_OPERATIONS, ConfigOperations
from stratnb.multi.desk import Desk
from stratnb.multi.emergency import KillSwitch, close_all
from stratnb.multi.feeds import candles_of, carry, keep_choices, open_replay, play_history, remove_all
from stratnb.multi.figure_operations import FIGURE_OPERATIONS, FigureOperations
from stratnb.multi.health import HealthWatch
from stratnb.multi.limits import limits_of
from stratnb.multi.notices import Notices
from stratnb.multi.picture import EngineState, cache_view, picture
from stratnb.multi.player import Player
from stratnb.multi.position_operations import POSITION_OPERATIONS, PositionOperations
from stratnb.multi.reading import Reader
from stratnb.multi.rebuild import Rebuilder
from stratnb.multi.record import Record, open_record
from stratnb.multi.records import Policy, State, StrategyRecord
from stratnb.multi.registry import Mode
from stratnb.multi.risk_operations import RISK_OPERATIONS, RiskOperations
from stratnb.multi.settings import EngineSettings
from stratnb.multi.switch import Switcher, SwitchResult
from stratnb.multi.versions import Versions
from stratnb.multi.watch import watches
from stratnb.services.notify import Notifier
from stratnb.services.risk_view import RiskPicture
from stratnb.view import EngineView

__all__ = ["OPERATIONS", "Operations"]

OPERATIONS = (
    *("add", "switch", "activate", "deactivate", "pause", "resume", "start", "stop", "step", "set_speed"),
    *POSITION_OPERATIONS,
    *CONFIG_OPERATIONS,
    *RISK_OPERATIONS,
    *FIGURE_OPERATIONS,
    *CACHE_OPERATIONS,
    *("list", "open_feed", "cancel_order", "set_mode", "restart_feed", "remove_all"),
)

log = logging.getLogger(__name__)


class Operations(CacheOperations, ConfigOperations, FigureOperations, PositionOperations, RiskOperations):
    """Holds the desk and its player; every public coroutine is an operation named in `OPERATIONS`."""

    def __init__(
        self,
        settings: EngineSettings,
        feed: ReplayFeed,
        markets: Mapping[str, Market] | Iterable[Market],
        *,
        notifier: Notifier | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.settings = settings
        self._notifier = notifier
        self._markets = {m.symbol: m for m in _listed(markets)}
        self._seq = 0
        self._record: Record | None = None
        self._loading = asyncio.Lock()
        self.bus = EventBus(lambda: self.desk.now_ms() * 1_000_000, capacity=settings.event_buffer)
        self.notices = Notices(name)
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
        self.notices.listen(desk)
        self.health_watch = HealthWatch(desk, lag_s=lambda: self._lag_ms() / 1000.0, lost=self._lost_words)
        self.switcher = Switcher(desk, self._held)
        self.kill_switch = KillSwitch(desk)
        self.risk_picture = RiskPicture(desk.services.positions, desk.services.risk, partial(limits_of, desk))
        self.rebuilder = Rebuilder(desk)
        self.configurations = Versions(desk, self.rebuilder, self._held)
        self.player: Player | None = None
        self.failure: BaseException | None = None
        self._started = False

    @property
    def feed(self) -> ReplayFeed:
        """Return the feed that is played."""
        assert isinstance(self.desk.feed, ReplayFeed), "an engine replays"
        return self.desk.feed

    @property
    def state(self) -> EngineState:
        """Return stopped, running or paused."""
        if self.failure is not None or not self._started or self.player is None:
            return "stopped"
        return "running" if self.player.running else "paused"

    async def open(self, delivery: asyncio.AbstractEventLoop) -> None:
        """Start on the running loop; the feed stays where it is. Handlers of events run on `delivery`, never here.

        With a journal the desk is first brought to where an earlier run stopped.
        """
        self.bus.attach(delivery)
        if self.settings.journal is not None:
            self._record = open_record(
                self.settings,
                self.desk,
                notifier=self._notifier,
                name=self.name,
                picture=self._shown,
                run=self._command,
                on_lost=self._lost_from(asyncio.get_running_loop()),
                on_failure=self._failed,
            )
            self._take(self._record.desk)
            try:
                self.kill_switch.go_on(await self._record.restore())
            except BaseException:
                await self._give_up(self._record)
                raise
        play_history(self.desk)
        self._play()

    async def _give_up(self, record: Record) -> None:
        """Let go of a journal that could not be gone on with; nothing is written to it, and it may be tried again."""
        self._record = None
        record.abandon()
        self.bus.keep(None)
        await record.desk.close()
        self._take(self._desk_for(self.feed.again()))

    def _play(self) -> None:
        """Open a player for the present desk; the feed stays where it is."""
        rebuilder, record = self.rebuilder, self._record
        self.player = Player(
            self.feed,
            self.desk.router,
            on_error=self._failed,
            beside=(
                *(self.desk.orders.resolve, self.health_watch.run, self.notices.run),
                *watches(self.desk, self.settings.workspace, partial(self.kill, "file KILL")),
                *(() if record is None else record.tasks),
            ),
            after=self.notices.tell,
            changed=rebuilder.is_due,
            renew=rebuilder.run,
        )
        self.player.open()

    async def close(self) -> None:
        """Stop the player, snapshot and close everything."""
        self.notices.close()
        await self._rest()
        self.bus.close()

    async def _rest(self) -> None:
        """Stop the player and close the desk."""
        self.switcher.end_waiting()
        self._started = False
        if self.player is not None:
            await self.player.close()
        self.notices.tell()
        await self.desk.close()
        if self._record is not None:
            await self._record.close()

    def _failed(self, error: BaseException) -> None:
        """Stop: nothing is traded any more, whatever still runs."""
        if self.failure is not None:
            return
        self.failure = error
        if self.player is not None:
            self.player.pause()
        log.error("the feed stopped", exc_info=error)
        self.desk.bus.publish("ENGINE_STATE", source="engine", payload={"state": "stopped", "error": repr(error)})

    def picture(self, name: str, state: EngineState) -> EngineView:
        """Return the present picture."""
        player = self.player
        moved = None if player is None else player.advanced_at
        self._seq += 1
        shown = picture(
            self.desk,
            seq=self._seq,
            name=name,
            state=state,
            lag_ms=self._lag_ms(),
            age_s=None if moved is None else time.monotonic() - moved,
            risk=self.risk_picture.view(),
        )
        return shown if self.failure is None else replace(shown, notes=(f"Stopped: {self.failure}", *shown.notes))

    def _lost_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[Halt], None]:
        """Return what the lease's thread calls when the lease is lost."""

        def lost(error: Halt) -> None:
            """Stop on the engine's own loop."""
            loop.call_soon_threadsafe(self._lease_lost, error)

        return lost

    def _lease_lost(self, error: Halt) -> None:
        """Stop: another engine may trade this account by now."""
        self.bus.publish("LEASE_LOST", source="engine", payload={"code": error.code, "message": error.message})
        if self.player is not None:
            self.player.pause()
        risk = self.desk.services.risk
        risk.block("not_lease_holder")
        risk.trip("halted", author="lease", reason=error.message)
        self._failed(error)

    async def _command(self, command: str, args: dict[str, Any], sender: Any) -> object:
        """Run an operation for an observer."""
        if command not in OPERATIONS:
            raise Refused("command_unknown", f"{command!r} is no operation", value=command)
        operation = getattr(self, command)
        if "author" in inspect.signature(operation).parameters:
            args = {**args, "author": sender.author}
        try:
            inspect.signature(operation).bind(**args)
        except TypeError as error:
            raise ConfigError("arguments", f"{command}: {error}", hint=f"see help(Engine.{command})") from error
        return await operation(**args)

    def _shown(self) -> Mapping[str, Any]:
        """Return what the engine says of itself to observers, beside what the journal holds."""
        feed, player = self.desk.feed, self.player
        moved = None if player is None or player.advanced_at is None else time.monotonic() - player.advanced_at
        told = {"position": feed.position, "length": len(feed), "done": feed.done}
        return {
            **{"state": self.state, "mode": self.desk.registry.mode, "age_s": moved, "pid": os.getpid()},
            **{"lag_ms": self._lag_ms(), "host": socket.gethostname()},
            "feed": {**told, "speed": feed.speed if math.isfinite(feed.speed) else None},
            "cache": asdict(cache_view(self.desk)),
            **{"health": self.told_health(), "notifies": self._notifier is not None},
            "error": None if self.failure is None else f"{type(self.failure).__name__}: {self.failure}",
        }

    def _lag_ms(self) -> float:
        """Return the loop's lag, 95th percentile."""
        return 0.0 if self.player is None else self.player.lag_p95_ms

    def _lost_words(self) -> str:
        """Return why the engine may not go on, or nothing."""
        return "" if self.failure is None else f"{type(self.failure).__name__}: {self.failure}"

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

    async def switch(
        self,
        to_id: str,
        *,
        policy: Policy = "keep",
        from_id: str | None = None,
        timeout_s: float = 5.0,
        wait_s: float = 3600.0,
        dry_run: bool = False,
    ) -> SwitchResult:
        """Make another strategy the active one."""
        await self.rebuilder.run()
        return await self.switcher.switch(
            to_id, policy=policy, from_id=from_id, timeout_s=timeout_s, wait_s=wait_s, dry_run=dry_run
        )

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
        for lane in self.desk.everyone():
            self.desk.router.drop_entry(lane)
            self.desk.router.done()
        try:
            if flatten:
                await close_all(self.desk, at.REASON_MANUAL)
        finally:
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
        self.feed.speed = speed
        player = self._playing()
        if player.running:
            player.resume()

    async def cancel_order(self, strategy_id: str) -> bool:
        """Cancel a working entry order."""
        dropped = self.desk.router.drop_entry(self.desk.lane(strategy_id))
        self.desk.router.done()
        return dropped

    async def set_mode(self, mode: Mode) -> None:
        """Let one strategy be active at a time, or any number."""
        self.desk.registry.set_mode(mode)

    async def list(self, state: State | None = None) -> tuple[StrategyRecord, ...]:
        """Return the loaded strategies."""
        return self.desk.registry.list(state)

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
        self._check_unrecorded()
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

    def _check_unrecorded(self) -> None:
        """Raise when a journal keeps this account: it has one history."""
        if self._record is not None:
            raise Refused(
                "journal_keeps_feed",
                f"the account in {self.settings.journal} has one history of candles",
                hint="make another engine with another journal",
            )

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
        self._check_unrecorded()
        async with self._loading:
            await self.rebuilder.run()
            async with self._held():
                old, started, running = self.desk, self._started, self.player is not None and self.player.running
                if self.switcher.is_busy or old.leaving:
                    raise Refused(
                        "switch_in_progress", "a switch or a removal is running", hint="wait for it, then restart"
                    )
                desk = self._desk_for(self.feed.again())
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
