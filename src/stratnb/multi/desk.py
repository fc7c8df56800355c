"""The desk: everything that trades, on one loop. Adds, removes, wakes and rests strategies."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.cache import Cache
from stratnb.errors import ConfigError, Refused
from stratnb.events import EventBus
from stratnb.exchange.base import Feed
from stratnb.exchange.paper import PaperExchange, unreliable
from stratnb.kernels import layout as at
from stratnb.model import Market
from stratnb.multi.clock import Clock
from stratnb.multi.context import StrategyContext, open_context
from stratnb.multi.creation import Creator
from stratnb.multi.lane import Lane, Working
from stratnb.multi.loader import Loader
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.orders import Orders
from stratnb.multi.recorder import Recorder
from stratnb.multi.records import Policy, State, StrategyRecord, SwitchRow, strategy_id
from stratnb.multi.recovery import Recovery
from stratnb.multi.registry import Registry
from stratnb.multi.router import Router
from stratnb.multi.settings import EngineSettings
from stratnb.multi.store import MemoryStore, Snapshot, Store, next_version
from stratnb.multi.trouble import Trouble
from stratnb.services.candles import CandleProvider, TimeframeProvider
from stratnb.services.exits import PositionExiting
from stratnb.services.notify import Level, Notifier
from stratnb.services.positions import PositionManager
from stratnb.services.risk import RiskManager
from stratnb.services.shared import SharedServices
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import LoadedStrategy

__all__ = ["Desk"]

ROUTED: tuple[State, ...] = ("active", "managing", "suspended")
RESERVED = 2  # owners beside the strategies, in each market
ENTRIES = {"active": at.ENTRIES_ON, "managing": at.ENTRIES_MANAGING, "suspended": at.ENTRIES_PAUSED}

Floats = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


class Desk:
    """Owns services, registry, cache, router and switcher; only the engine's loop calls it.

    `now_ms()` is the feed's clock: the closing time of the newest instant.
    """

    def __init__(
        self,
        settings: EngineSettings,
        feed: Feed,
        markets: Mapping[str, Market],
        *,
        notifier: Notifier | None = None,
        store: Store | None = None,
        bus: EventBus | None = None,
        recorder: Recorder | None = None,
        exchange: PaperExchange | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._lanes: dict[str, Lane] = {}
        self.owners: dict[str, Lane] = {}
        self.settings = settings
        self.feed = feed
        self.bus = bus or EventBus(lambda: self.now_ms() * 1_000_000, capacity=settings.event_buffer)
        self.store = store or MemoryStore(decisions_kept=settings.decisions_kept)
        self.exchange = exchange or PaperExchange(markets.values())
        if settings.paper_loss:
            self.exchange.line = unreliable(settings.seed, lost=settings.paper_loss)
        self.recorder = recorder or Recorder()
        self.services = _services(settings, feed, self.bus, notifier)
        self.loader = Loader(self.exchange, feed.symbols, settings.workspace)
        self.on_resolved: Callable[[Working], None] | None = None
        self.registry = self._registry()
        self.recovery, self.trouble = Recovery(self), Trouble(self)
        self.creator = Creator(self.services, self.store, settings, self._lanes.__getitem__, self.recovery.tell)
        self.cache = self._cache()
        self.orders = Orders(
            self.exchange,
            self.recorder,
            settings=settings.orders,
            now_ms=self.now_ms,
            on_fills=self._executed,
            on_trouble=self.trouble,
            clock=clock,
        )
        self.router = Router(
            *(self.services, self.exchange, self.cache, self.bus, self.orders, self.recorder),
            on_error=self.recovery.failed,
            on_probe=self.recovery.probe,
            on_flat=self.rest,
        )
        self.router.open(feed.symbols)
        self.switch_ms: deque[float] = deque(maxlen=1_000)
        self.snapshots_taken = 0
        self._trims: set[asyncio.Task[None]] = set()
        self._leaving: set[str] = set()

    def _registry(self) -> Registry:
        settings = self.settings
        return Registry(
            self.store,
            lambda: self.now_ms() * 1_000_000,
            mode=settings.mode,
            max_strategies=settings.max_strategies,
            history_size=settings.history_size,
            allowed=settings.allowed,
            one_per_symbol=settings.one_per_symbol,
        )

    def _cache(self) -> Cache[TradingOrchestrator]:
        return Cache(
            self.creator.create,
            capacity=self.settings.cache_capacity,
            pin_reasons=self.pins,
            keep=self._keep,
            publish=self.bus.publish,
            now_ns=time.monotonic_ns,
        )

    def now_ms(self) -> int:
        """Return the feed's clock, 0 before the first candle."""
        return self.router.now_ms

    def lane(self, key: str) -> Lane:
        """Return a loaded strategy's lane, or raise `ConfigError` (`unknown_strategy`)."""
        if isinstance(key, str) and key in self.owners:
            return self.owners[key]
        self.registry.get(key)
        return self._lanes[key]

    def reroute_owners(self) -> None:
        """Let candles reach the owners that are no strategy, too: their stops are watched."""
        self._route()

    def everyone(self) -> tuple[Lane, ...]:
        """Return all lanes and those of owners that are no strategy."""
        return (*self._lanes.values(), *self.owners.values())

    def knows(self, key: str) -> bool:
        """Return whether an id is that of a loaded strategy or of another owner."""
        return key in self.owners or self.registry.has(key)

    def lanes(self) -> tuple[Lane, ...]:
        """Return all lanes in registration order."""
        return tuple(self._lanes.values())

    async def add(
        self,
        document: str | Path | Mapping[str, Any],
        symbol: str | None = None,
        *,
        label: str = "main",
        overrides: Mapping[str, Any] | None = None,
    ) -> str:
        """Load a strategy on a market as dormant and return its id; on any error nothing stays behind.

        Without a symbol the document's own is used, else the only market of the feed.
        """
        loaded, market = self.loader.load(document, symbol, overrides)
        config = loaded.config
        key = strategy_id(config.name, market.symbol, label)
        record = StrategyRecord(
            strategy_id=key,
            code="",
            name=config.name,
            version=config.version,
            symbol=market.symbol,
            label=label,
            state="dormant",
            loaded_ms=self.now_ms(),
            config_hash=config.config_hash,
            overrides=dict(overrides or {}),
            sources={"document": dict(loaded.document), "base": dict(self.loader.base())},
        )
        await asyncio.to_thread(build_plan, config, market, base=self.feed.timeframe)  # compiles what is new
        self.registry.register(record)
        try:
            self._open(key, loaded, market)
        except BaseException:
            self.registry.unregister(key)
            raise
        stored = self.registry.get(key)
        self.store.save_version(next_version(self.store, stored, loaded.merged, now_ms=self.now_ms(), reason="loaded"))
        self.router.done()
        payload = {"name": config.name, "version": config.version, "warnings": [str(f) for f in loaded.findings]}
        self.bus.publish("STRATEGY_LOADED", strategy_id=key, symbol=market.symbol, source="desk", payload=payload)
        return key

    def take_over(self, record: StrategyRecord, context: StrategyContext) -> None:
        """Load a strategy as it was loaded on another desk for the same market: dormant, flat, with its pin."""
        stored = self.registry.register(replace(record, loaded_ms=self.now_ms()))
        self._open(stored.strategy_id, context.loaded, self.loader.market(context.config))
        if record.pinned:
            self.cache.pin(stored.strategy_id)

    def reopen(self, record: StrategyRecord) -> None:
        """Open a strategy of an earlier run from what it was loaded with; its book is flat then."""
        self._open(record.strategy_id, *self.loader.reload(record))
        keys = [each.strategy_id for each in self.registry.list() if each.strategy_id in self._lanes]
        for key in keys:
            self._lanes[key] = self._lanes.pop(key)
        self.services.positions.arrange(keys)

    def _open(self, key: str, loaded: LoadedStrategy, market: Market) -> None:
        """Open the context and the lane of a registered strategy, marked to the newest price."""
        number = self.router.number(market.symbol)
        context = open_context(
            loaded,
            market,
            strategy_id=key,
            number=number,
            services=self.services,
            bus=self.bus,
            state=lambda: self.registry.get(key).state,
            now_ms=self.now_ms,
        )
        self._lanes[key] = Lane(context, number, self.registry.get(key).code, self.recovery.breaker(key))
        if not market.active:
            self.services.risk.stand(key, "market_unusable")
        rows = self.services.candles.rows(market.symbol)
        if len(rows):
            context.book.row[at.B_MARK] = rows[-1, at.C_CLOSE]

    async def remove(self, key: str, *, policy: Policy = "refuse") -> None:
        """Unload a strategy; with an open position policy "refuse" refuses and "close" closes it at market first."""
        record, lane = self.registry.get(key), self.lane(key)
        self.check_removable(key, policy)
        self._leaving.add(key)
        try:
            self.orders.check_resolved(key)
            self.router.drop_entry(lane)
            self.router.done()
            self.orders.check_resolved(key)
            self.close_now(lane, at.REASON_MANUAL)
            if record.state in ROUTED:
                self.set_state(key, "dormant")
            await self.cache.remove(key)
            self.registry.unregister(key)
        finally:
            self._leaving.discard(key)
        lane.context.close()
        self.services.positions.close(key)
        self.services.risk.forget(key)
        del self._lanes[key]
        self.creator.stepped.pop(key, None)
        self._route()
        self.router.done()
        self.bus.publish("STRATEGY_REMOVED", strategy_id=key, symbol=record.symbol, source="desk")
        self.bus.forget(key)

    def check_removable(self, key: str, policy: Policy) -> None:
        """Raise when a strategy cannot be removed now under a policy."""
        record, book = self.registry.get(key), self.lane(key).context.book
        self.check_stays(key)
        if policy not in ("refuse", "close"):
            hint = "use 'refuse', 'close' or 'keep_orphan'"
            raise ConfigError("enum", f"policy {policy!r} cannot remove", value=policy, hint=hint)
        if record.state == "preparing" or self.lane(key).waits is not None:
            raise Refused("switch_in_progress", f"{key} takes part in a switch", value=key, hint="wait for its end")
        if policy == "refuse" and not book.is_flat:
            held = f"{key} holds {book.quantity:g} {book.symbol}" if book.quantity else f"{key} has a working order"
            raise Refused("position_open", held, value=book.quantity, hint="use policy='close'")

    @property
    def leaving(self) -> frozenset[str]:
        """Return the ids that are being removed."""
        return frozenset(self._leaving)

    def forget(self, key: str, *, stays: bool = False) -> None:
        """Drop a strategy that the holder of the journal removed; one that `stays` is opened anew in another form."""
        lane = self._lanes.pop(key)
        lane.context.close()
        self.services.positions.close(key)
        if not stays:
            self.services.risk.forget(key)
        self._route()

    def check_stays(self, key: str) -> None:
        """Raise while a strategy is being removed."""
        if key in self._leaving:
            raise Refused("switch_in_progress", f"{key} is being removed", value=key, hint="add it again afterwards")

    async def orchestrator(self, key: str) -> TradingOrchestrator:
        """Return the resident orchestrator, creating it if needed."""
        self.registry.get(key)
        self.check_stays(key)
        self.creator.check(key)
        return await self.cache.get_or_create(key)

    def resident(self, key: str) -> TradingOrchestrator:
        """Return an orchestrator that must be resident."""
        found = self.cache.hit(key)
        assert found is not None, "a prepared instance is pinned"
        return found

    def caught_up(self, key: str) -> int:
        """Return how many candles the last creation stepped."""
        return self.creator.stepped.get(key, 0)

    def catch_up(self, orchestrator: TradingOrchestrator) -> int:
        """Step an orchestrator to the newest candle without trading; return how many candles that took."""
        return self.creator.catch_up(orchestrator)

    def _keep(self, snapshot: Snapshot) -> None:
        if not snapshot.memory:
            return
        self.store.save_snapshot(snapshot)
        self.snapshots_taken += 1
        payload = {"watermark_ms": snapshot.watermark_ms, "bytes": len(snapshot.memory)}
        self.bus.publish("STRATEGY_STATE_SAVED", strategy_id=snapshot.strategy_id, source="desk", payload=payload)

    def pins(self, key: str) -> frozenset[str]:
        """Return why an entry must stay: its state, its position, its order."""
        lane = self._lanes.get(key)
        if lane is None or not self.registry.has(key):
            return frozenset()
        state, row = self.registry.get(key).state, lane.context.book.row
        reasons: set[str] = {state} if state in ROUTED else {"switch"} if state == "preparing" else set()
        if row[at.B_QUANTITY] != 0.0:
            reasons.add("position")
        if row[at.B_ORDER] != at.ORDER_NONE:
            reasons.add("order")
        return frozenset(reasons)

    def set_state(self, key: str, state: State) -> None:
        """Change a strategy's state, what it may do, and the routing."""
        self.registry.set_state(key, state)
        self._allow(key, state)
        self._route()
        self.recorder.changed()

    def commit(self, row: SwitchRow, states: Mapping[str, State], move: Callable[[], None] | None = None) -> None:
        """Write a switch, its states and the lots that `move` books in one transaction, then route accordingly."""
        self.registry.commit_switch(row, states)
        if move is not None:
            move()
        for key, state in states.items():
            self._allow(key, state)
        self._route()
        self.recorder.changed()

    def _allow(self, key: str, state: State) -> None:
        lane = self._lanes[key]
        waits = lane.waits is not None and state == "active"
        lane.context.book.row[at.B_ENTRIES] = at.ENTRIES_MANAGING if waits else ENTRIES.get(state, at.ENTRIES_OFF)
        if state != "suspended":
            lane.paused = False
        lane.tally.state(state, self.now_ms(), self.services.candles.first_ms() or self.now_ms())
        if state == "active":
            lane.steps, lane.managed, lane.error = True, False, ""
            lane.breaker.reset()
        elif state == "dormant":
            lane.steps, lane.error = True, ""
        self.note_flags(lane)

    def wait_for(self, lane: Lane, waits: Callable[[], None] | None, until_ms: float = math.inf) -> None:
        """Let a strategy only exit until it is flat or the time is up, then call `waits`; None ends that."""
        lane.waits, lane.until_ms = waits, until_ms
        self._allow(lane.context.strategy_id, self.registry.get(lane.context.strategy_id).state)
        self.recorder.changed()

    def reroute(self, key: str) -> None:
        """Let the book and the routing follow a state that was restored."""
        self._allow(key, self.registry.get(key).state)
        self._route()

    def note_flags(self, lane: Lane) -> None:
        """Keep how a strategy was paused or suspended, for a restart."""
        key = lane.context.strategy_id
        if self.registry.has(key):
            known = dict(self.registry.get(key).flags)
            if known != (flags := known | lane.flags()):
                self.registry.update(key, flags=flags)

    def note_limits(self, key: str, limits: Mapping[str, Any]) -> None:
        """Keep the risk limits of a strategy that a person changed, for a restart."""
        self.registry.update(key, flags={**self.registry.get(key).flags, "limits": dict(limits)})

    def _route(self) -> None:
        states = {record.strategy_id: record.state for record in self.registry.list()}
        routed = (lane for key, lane in self._lanes.items() if states.get(key) in ROUTED)
        self.router.lanes = (*routed, *self.owners.values())

    async def settle_cache(self, key: str) -> None:
        """Snapshot a strategy that went to rest and trim the cache."""
        if self.registry.get(key).state == "dormant" and self.cache.contains(key):
            self._keep(self.resident(key).snapshot())
        await self.cache.trim()

    def rest(self, lane: Lane) -> None:
        """Put a managing strategy to rest once it is flat; a switch that waits for it goes on."""
        if lane.waits is not None:
            lane.waits()
            return
        key = lane.context.strategy_id
        self.set_state(key, "dormant")
        self._keep(self.resident(key).snapshot())
        self.bus.publish("STRATEGY_DEACTIVATED", strategy_id=key, source="desk", payload={"state": "dormant"})
        task = asyncio.get_running_loop().create_task(self.cache.trim())
        self._trims.add(task)
        task.add_done_callback(self._trims.discard)

    @property
    def is_heard(self) -> bool:
        """Return whether anybody gets messages: a notifier, or the log."""
        return self.services.notifier is not None or log.isEnabledFor(logging.INFO)

    def notify(self, level: Level, text: str, key: str | None) -> None:
        """Log and send a message; a notifier that fails changes nothing."""
        log.info("%s%s: %s", f"{key} " if key else "", level, text)
        if self.services.notifier is None:
            return
        try:
            self.services.notifier.notify(level, text, key)
        except Exception:
            log.exception("the notifier failed")

    def pause(self, key: str) -> None:
        """Stop a strategy's entries; its exits go on. Pausing twice is harmless."""
        self.recovery.pause(self.lane(key))

    def resume(self, key: str) -> None:
        """Let a paused or failing strategy go on and reset its breaker; candles that it missed are caught up first."""
        self.recovery.resume(self.lane(key))

    def close_now(self, lane: Lane, reason: int, fraction: float = 1.0) -> bool:
        """Close a fraction of a strategy's position at the newest price; return whether there was one.

        An order of it whose outcome is not known, before or by this one, is `Refused` (`order_unresolved`).
        """
        book = lane.context.book
        if not book.quantity:
            return False
        self.orders.check_resolved(book.strategy_id)
        if book.row[at.B_ORDER] != at.ORDER_EXIT:
            self.services.exits.request_close(book, reason, fraction)
        if not self.router.execute_now(lane):
            self.orders.check_resolved(book.strategy_id)
        return True

    def _executed(self, work: Working, rows: Floats) -> None:
        self.router.book_fills(work, rows)

    async def close(self) -> None:
        """Snapshot and close every orchestrator and context; the event bus stays open."""
        await self.cache.close()
        for lane in self.lanes():
            lane.context.close()
        self.exchange.close()


def _services(settings: EngineSettings, feed: Feed, bus: EventBus, notifier: Notifier | None) -> SharedServices:
    """Make the six services that all strategies share."""
    positions = PositionManager(
        settings.cash,
        slots=settings.max_strategies,
        reserved=RESERVED * len(feed.symbols),
        limits=settings.limits,
        curve_points=settings.curve_points,
    )
    history = CandleProvider(feed.timeframe)
    return SharedServices(
        candles=history,
        timeframes=TimeframeProvider(history),
        positions=positions,
        risk=RiskManager(positions, bus),
        exits=PositionExiting(),
        notifier=notifier,
    )
