"""The desk: everything that trades, on one loop. Adds, removes, wakes and rests strategies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stratnb.cache import Cache
from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.events import EventBus
from stratnb.exchange.paper import PaperExchange
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.model import Market
from stratnb.multi.context import StrategyContext, open_context
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.records import Policy, State, StrategyRecord, SwitchRow, strategy_id
from stratnb.multi.registry import Registry
from stratnb.multi.router import Lane, Router
from stratnb.multi.settings import EngineSettings
from stratnb.multi.store import MemoryStore, Snapshot
from stratnb.services.candles import CandleProvider, TimeframeProvider
from stratnb.services.exits import PositionExiting
from stratnb.services.notify import Notifier
from stratnb.services.positions import PositionManager
from stratnb.services.risk import RiskManager
from stratnb.services.shared import SharedServices
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import LoadedStrategy, build_config, load_base

__all__ = ["Desk"]

ROUTED: tuple[State, ...] = ("active", "managing", "suspended")
CATCHUP_INLINE = 20_000
ENTRIES = {"active": at.ENTRIES_ON, "managing": at.ENTRIES_MANAGING, "suspended": at.ENTRIES_PAUSED}

log = logging.getLogger(__name__)


class Desk:
    """Owns services, registry, cache, router and switcher; only the engine's loop calls it.

    `now_ms()` is the feed's clock: the closing time of the newest instant.
    """

    def __init__(
        self,
        settings: EngineSettings,
        feed: ReplayFeed,
        markets: Mapping[str, Market],
        *,
        notifier: Notifier | None = None,
        store: MemoryStore | None = None,
        bus: EventBus | None = None,
    ) -> None:
        self.settings = settings
        self.feed = feed
        self.bus = bus or EventBus(lambda: self.now_ms() * 1_000_000, capacity=settings.event_buffer)
        self.store = store or MemoryStore(decisions_kept=settings.decisions_kept)
        self.exchange = PaperExchange(markets.values())
        self.services = _services(settings, feed.timeframe, self.bus, notifier)
        self.registry = Registry(
            self.store,
            lambda: self.now_ms() * 1_000_000,
            mode=settings.mode,
            max_strategies=settings.max_strategies,
            history_size=settings.history_size,
            allowed=settings.allowed,
            one_per_symbol=settings.one_per_symbol,
        )
        self.cache: Cache[TradingOrchestrator] = Cache(
            self._create,
            capacity=settings.cache_capacity,
            pin_reasons=self.pins,
            keep=self._keep,
            publish=self.bus.publish,
            now_ns=time.monotonic_ns,
        )
        self.router = Router(self.services, self.exchange, self.cache, self.bus, on_halt=self._halt, on_flat=self._rest)
        self.router.open(feed.symbols)
        self.switch_ms: deque[float] = deque(maxlen=1_000)
        self.snapshots_taken = 0
        self._lanes: dict[str, Lane] = {}
        self._trims: set[asyncio.Task[None]] = set()
        self._leaving: set[str] = set()
        self._caught_up: dict[str, int] = {}

    def now_ms(self) -> int:
        """Return the feed's clock, 0 before the first candle."""
        return self.router.now_ms

    def lane(self, key: str) -> Lane:
        """Return a loaded strategy's lane, or raise `ConfigError` (`unknown_strategy`)."""
        self.registry.get(key)
        return self._lanes[key]

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
        symbol = symbol or self._only_symbol()
        loaded = self._load(document, symbol, overrides)
        market = self._market(loaded.config)
        if not market.inferred:
            loaded = self._load(document, market.symbol, overrides, market)
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
        )
        await asyncio.to_thread(build_plan, config, market, base=self.feed.timeframe)  # compiles what is new
        self.registry.register(record)
        try:
            self._open(key, loaded, market)
        except BaseException:
            self.registry.unregister(key)
            raise
        payload = {"name": config.name, "version": config.version, "warnings": [str(f) for f in loaded.findings]}
        self.bus.publish("STRATEGY_LOADED", strategy_id=key, symbol=market.symbol, source="desk", payload=payload)
        return key

    def take_over(self, record: StrategyRecord, context: StrategyContext) -> None:
        """Load a strategy as it was loaded on another desk for the same market: dormant, flat, with its pin."""
        stored = self.registry.register(replace(record, loaded_ms=self.now_ms()))
        self._open(stored.strategy_id, context.loaded, self._market(context.config))
        if record.pinned:
            self.cache.pin(stored.strategy_id)

    def _load(
        self,
        document: str | Path | Mapping[str, Any],
        symbol: str | None,
        overrides: Mapping[str, Any] | None,
        market: Market | None = None,
    ) -> LoadedStrategy:
        """Load a document, by name from the workspace's `strategies` first, over the workspace's `base.json`."""
        space = self.settings.workspace
        folder = None if space is None else space / "strategies"
        base = None if space is None else load_base(space / "base.json")
        return build_config(document, base=base, overrides=overrides, symbol=symbol, market=market, folder=folder)

    def _market(self, config: StrategyConfig) -> Market:
        """Return the market that a configuration names."""
        if config.market.symbol is None:
            raise ConfigError(
                "symbol_missing",
                f"{config.name} does not say which of the {len(self.feed.symbols)} markets it trades",
                hint=f"give symbol=, such as {self.feed.symbols[0]!r}",
            )
        market = self.exchange.market(config.market.symbol)
        # Candles do not tell the kind of their market, so one that was inferred from them takes the document's.
        return replace(market, kind=config.market.kind) if market.inferred else market

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
        self._lanes[key] = Lane(context, number, self.registry.get(key).code)
        rows = self.services.candles.rows(market.symbol)
        if len(rows):
            context.book.row[at.B_MARK] = rows[-1, at.C_CLOSE]

    async def remove(self, key: str, *, policy: Policy = "refuse") -> None:
        """Unload a strategy; with an open position policy "refuse" refuses and "close" closes it at market first."""
        record, lane = self.registry.get(key), self.lane(key)
        self.check_removable(key, policy)
        self._leaving.add(key)
        try:
            self.router.drop_entry(lane)
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
        self._caught_up.pop(key, None)
        self._route()
        self.bus.publish("STRATEGY_REMOVED", strategy_id=key, symbol=record.symbol, source="desk")
        self.bus.forget(key)

    def check_removable(self, key: str, policy: Policy) -> None:
        """Raise when a strategy cannot be removed now under a policy."""
        record, book = self.registry.get(key), self.lane(key).context.book
        self.check_stays(key)
        if policy not in ("refuse", "close"):
            raise ConfigError("enum", f"policy {policy!r} cannot remove", value=policy, hint="use 'refuse' or 'close'")
        if record.state == "preparing":
            raise Refused("switch_in_progress", f"{key} is being prepared", value=key, hint="wait for the switch")
        if policy == "refuse" and not book.is_flat:
            held = f"{key} holds {book.quantity:g} {book.symbol}" if book.quantity else f"{key} has a working order"
            raise Refused("position_open", held, value=book.quantity, hint="use policy='close'")

    @property
    def leaving(self) -> frozenset[str]:
        """Return the ids that are being removed."""
        return frozenset(self._leaving)

    def check_stays(self, key: str) -> None:
        """Raise while a strategy is being removed."""
        if key in self._leaving:
            raise Refused("switch_in_progress", f"{key} is being removed", value=key, hint="add it again afterwards")

    async def orchestrator(self, key: str) -> TradingOrchestrator:
        """Return the resident orchestrator, creating it if needed."""
        self.registry.get(key)
        self.check_stays(key)
        self._caught_up[key] = 0
        return await self.cache.get_or_create(key)

    def resident(self, key: str) -> TradingOrchestrator:
        """Return an orchestrator that must be resident."""
        found = self.cache.hit(key)
        assert found is not None, "a prepared instance is pinned"
        return found

    def caught_up(self, key: str) -> int:
        """Return how many candles the last creation stepped."""
        return self._caught_up.get(key, 0)

    def catch_up(self, orchestrator: TradingOrchestrator) -> int:
        """Step an orchestrator to the newest candle without trading; return how many candles that took."""
        context = orchestrator.context
        try:
            return orchestrator.catch_up(self.services.candles.rows(context.symbol))
        except Exception as error:
            lane = self._lanes[context.strategy_id]
            lane.error = f"{type(error).__name__}: {error}"
            self._tell_error(lane, error)
            raise Refused(
                "strategy_failed",
                f"{context.strategy_id} fails on past candles: {lane.error}",
                value=context.strategy_id,
                hint="mend the block and define it again, or remove the strategy",
            ) from error

    async def _create(self, key: str) -> TradingOrchestrator:
        """Build an orchestrator; once more when a block of it was defined again meanwhile."""
        while True:
            lane = self._lanes[key]
            made = await self._made(key, lane)
            if made.context is lane.context:
                return made

    async def _made(self, key: str, lane: Lane) -> TradingOrchestrator:
        """Build an orchestrator, restore its newest usable snapshot, catch up."""
        made = TradingOrchestrator(
            lane.context, self.services, self.store.decisions(key, lane.context.plan.decision_width)
        )
        for snapshot in self.store.snapshots(key):
            if made.restore(snapshot):
                payload = {"watermark_ms": snapshot.watermark_ms, "candles": snapshot.candles}
                lane.context.events.publish("STRATEGY_STATE_RESTORED", source="desk", payload=payload)
                break
        missing = len(self.services.candles.rows(lane.context.symbol)) - made.candles
        # A long history is stepped beside the loop; what arrives meanwhile is caught up by the caller.
        work = asyncio.to_thread(self.catch_up, made) if missing > CATCHUP_INLINE else None
        self._caught_up[key] = self.catch_up(made) if work is None else await work
        return made

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

    def commit(self, row: SwitchRow, states: Mapping[str, State]) -> None:
        """Write a switch and its states in one transaction, then route accordingly."""
        self.registry.commit_switch(row, states)
        for key, state in states.items():
            self._allow(key, state)
        self._route()

    def _allow(self, key: str, state: State) -> None:
        lane = self._lanes[key]
        lane.context.book.row[at.B_ENTRIES] = ENTRIES.get(state, at.ENTRIES_OFF)
        if state != "suspended":
            lane.paused = False
        if state == "active":
            lane.steps, lane.managed, lane.error = True, False, ""
        elif state == "dormant":
            lane.steps, lane.error = True, ""

    def _route(self) -> None:
        states = {record.strategy_id: record.state for record in self.registry.list()}
        self.router.lanes = tuple(lane for key, lane in self._lanes.items() if states.get(key) in ROUTED)

    async def settle_cache(self, key: str) -> None:
        """Snapshot a strategy that went to rest and trim the cache."""
        if self.registry.get(key).state == "dormant" and self.cache.contains(key):
            self._keep(self.resident(key).snapshot())
        await self.cache.trim()

    def _rest(self, lane: Lane) -> None:
        """Put a managing strategy to rest once it is flat."""
        key = lane.context.strategy_id
        self.set_state(key, "dormant")
        self._keep(self.resident(key).snapshot())
        self.bus.publish("STRATEGY_DEACTIVATED", strategy_id=key, source="desk", payload={"state": "dormant"})
        task = asyncio.get_running_loop().create_task(self.cache.trim())
        self._trims.add(task)
        task.add_done_callback(self._trims.discard)

    def _halt(self, lane: Lane, error: Exception) -> None:
        """Stop stepping a strategy that raised; its stop and targets go on."""
        key = lane.context.strategy_id
        lane.steps, lane.error = False, f"{type(error).__name__}: {error}"
        state = self.registry.get(key).state
        if state != "suspended":
            self.set_state(key, "suspended")
            lane.managed = state == "managing"
        self.router.drop_entry(lane)
        self._tell_error(lane, error)

    def _tell_error(self, lane: Lane, error: Exception) -> None:
        """Announce why a strategy cannot go on."""
        key, code = lane.context.strategy_id, error.code if isinstance(error, StratnbError) else "exception"
        payload = {"code": code, "message": lane.error}
        lane.context.events.publish("STRATEGY_ERROR", source="orchestrator", payload=payload)
        if self.services.notifier is None:
            return
        try:
            self.services.notifier.notify("warning", f"{key} was halted: {lane.error}", key)
        except Exception:
            log.exception("the notifier failed")

    def pause(self, key: str) -> None:
        """Stop a strategy's entries; its exits go on. Pausing twice is harmless."""
        lane = self.lane(key)
        state = self.registry.get(key).state
        if state == "suspended":
            return
        self.set_state(key, "suspended")
        lane.paused, lane.managed = True, state == "managing"
        self.router.drop_entry(lane)

    def resume(self, key: str) -> None:
        """Let a paused or halted strategy go on; candles that it missed are caught up first."""
        lane = self.lane(key)
        if self.registry.get(key).state != "suspended":
            return
        self.catch_up(self.resident(key))
        lane.steps, lane.paused, lane.error = True, False, ""
        if lane.managed or (self.registry.mode == "exclusive" and self.registry.active_ids()):
            self.set_state(key, "dormant" if lane.context.book.is_flat else "managing")
        else:
            self.set_state(key, "active")

    def close_now(self, lane: Lane, reason: int, fraction: float = 1.0) -> bool:
        """Close a fraction of a strategy's position at the newest price; return whether there was one."""
        book = lane.context.book
        if not book.quantity:
            return False
        if book.row[at.B_ORDER] != at.ORDER_EXIT:
            self.services.exits.request_close(book, reason, fraction)
        self.router.execute_now(lane)
        return True

    def kill(self, author: str, *, flatten: bool = True) -> dict[str, int]:
        """Halt the account (latched), cancel all entries and, with `flatten`, close everything; works twice."""
        self.services.risk.kill(author)
        canceled = sum(self.router.drop_entry(lane) for lane in self.lanes())
        closed = sum(self.close_now(lane, at.REASON_KILL) for lane in self.lanes()) if flatten else 0
        return {"canceled": canceled, "closed": closed}

    def _only_symbol(self) -> str | None:
        return self.feed.symbols[0] if len(self.feed.symbols) == 1 else None

    async def close(self) -> None:
        """Snapshot and close every orchestrator and context; the event bus stays open."""
        await self.cache.close()
        for lane in self.lanes():
            lane.context.close()


def _services(settings: EngineSettings, timeframe: str, bus: EventBus, notifier: Notifier | None) -> SharedServices:
    """Make the six services that all strategies share."""
    positions = PositionManager(
        settings.cash, slots=settings.max_strategies, limits=settings.limits, curve_points=settings.curve_points
    )
    history = CandleProvider(timeframe)
    return SharedServices(
        candles=history,
        timeframes=TimeframeProvider(history),
        positions=positions,
        risk=RiskManager(positions, bus),
        exits=PositionExiting(),
        notifier=notifier,
    )
