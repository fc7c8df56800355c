"""Recovery: a strategy that raised is suspended at once, tried again as its breaker says, and goes back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from stratnb.cache import Cache
from stratnb.errors import Halt, Refused, StratnbError
from stratnb.multi.breaker import Breaker, BreakerState
from stratnb.multi.lane import Lane
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.records import State
from stratnb.multi.registry import Registry
from stratnb.multi.router import Router
from stratnb.multi.settings import EngineSettings
from stratnb.services import messages
from stratnb.services.notify import Level
from stratnb.services.shared import SharedServices

__all__ = ["Recovery"]


class Owner(Protocol):
    """What recovery needs of the desk."""

    settings: EngineSettings
    services: SharedServices
    registry: Registry
    cache: Cache[TradingOrchestrator]
    router: Router

    def now_ms(self) -> int:
        """Return the feed's clock."""
        ...

    def lane(self, key: str) -> Lane:
        """Return a strategy's lane."""
        ...

    def resident(self, key: str) -> TradingOrchestrator:
        """Return an orchestrator that must be resident."""
        ...

    def catch_up(self, orchestrator: TradingOrchestrator) -> int:
        """Step an orchestrator to the newest candle without trading."""
        ...

    def set_state(self, key: str, state: State) -> None:
        """Change a strategy's state."""
        ...

    def note_flags(self, lane: Lane) -> None:
        """Keep how a strategy is suspended."""
        ...

    def rest(self, lane: Lane) -> None:
        """Put a flat strategy to rest."""
        ...

    def notify(self, level: Level, text: str, key: str | None) -> None:
        """Send a message."""
        ...


class Recovery:
    """Suspends and brings back the strategies of a desk.

    Memory and book of one that raised are as before the candle. The same candle, with all that came since, is stepped
    by catch-up at each try: never traded. Stop and targets go on meanwhile.
    """

    def __init__(self, desk: Owner) -> None:
        self._desk = desk

    def breaker(self, key: str) -> Breaker:
        """Return a breaker for a strategy; its delays run on the desk's clock, so that a replay repeats itself."""
        desk = self._desk
        return Breaker(
            desk.settings.breaker,
            lambda: desk.now_ms() / 1000.0,
            on_change=lambda before: self._turned(key, before),
        )

    def failed(self, lane: Lane, error: Exception) -> None:
        """Suspend a strategy that raised, or note that it raised again; `Halt` stops its trading until released."""
        desk, key = self._desk, lane.context.strategy_id
        if not desk.registry.has(key):
            return
        was, lane.steps, lane.error = lane.error, False, f"{type(error).__name__}: {error}"
        lane.failed_ms = desk.now_ms()
        if isinstance(error, Halt):
            lane.breaker.failure(Refused(error.code, error.message))
            desk.services.risk.trip("halted", key, author="orchestrator")
        else:
            lane.breaker.failure(error)
        state = desk.registry.get(key).state
        if state in ("active", "managing"):
            lane.managed = state == "managing"
            desk.set_state(key, "suspended")
        desk.note_flags(lane)
        desk.router.drop_entry(lane)
        if lane.error != was:
            self.tell(lane, error)

    def probe(self, lane: Lane) -> Iterator[None]:
        """Try a suspended strategy again if its breaker lets it, at an instant later than the failure.

        Yields while a block in plain Python computes beside the loop.
        """
        orchestrator = self._desk.cache.peek(lane.context.strategy_id)
        if orchestrator is None or orchestrator.is_busy or lane.failed_ms >= self._desk.now_ms():
            return
        if not lane.breaker.allow():
            return
        rows = self._desk.services.candles.rows(lane.context.symbol)
        try:
            if orchestrator.in_python:
                yield from orchestrator.catch_up_beside(rows)
            else:
                orchestrator.catch_up(rows)
        except Exception as error:
            lane.tally.outcomes.append(False)
            self.failed(lane, error)
            return
        if orchestrator.closed or lane.steps:
            return  # it was removed, or a person resumed it meanwhile
        lane.tally.outcomes.append(True)
        lane.breaker.success()
        lane.changed = True
        if lane.breaker.state() == "closed":
            self.go_back(lane)
        self._desk.note_flags(lane)

    def go_back(self, lane: Lane) -> None:
        """Let a strategy whose steps work again be what it was before it was suspended; a pause stays."""
        desk, key = self._desk, lane.context.strategy_id
        lane.steps, lane.error = True, ""
        if desk.registry.get(key).state == "suspended" and not lane.paused:
            rival = desk.registry.mode == "exclusive" and bool(desk.registry.active_ids())
            if not lane.managed and not rival:
                desk.set_state(key, "active")
            elif lane.context.book.is_flat:
                desk.rest(lane)
            else:
                desk.set_state(key, "managing")
        desk.note_flags(lane)

    def mended(self, lane: Lane) -> None:
        """Go on with blocks that were defined again and have stepped all candles."""
        lane.breaker.reset()
        if not lane.steps:
            self.go_back(lane)

    def pause(self, lane: Lane) -> None:
        """Stop a strategy's entries for a person; one that failed stays suspended after it has recovered."""
        desk, key = self._desk, lane.context.strategy_id
        state = desk.registry.get(key).state
        if lane.paused or (state == "suspended" and lane.steps):
            return
        desk.router.drop_entry(lane)
        lane.paused = True
        if state != "suspended":
            lane.managed = state == "managing"
            desk.set_state(key, "suspended")
        desk.note_flags(lane)
        desk.router.done()
        desk.notify("info", messages.paused(), key)

    def resume(self, lane: Lane) -> None:
        """End a pause and reset the breaker; candles that were missed are caught up first."""
        desk, key = self._desk, lane.context.strategy_id
        lane.breaker.reset()
        if lane.paused:
            desk.notify("info", messages.resumed(), key)
        if desk.registry.get(key).state == "suspended":
            try:
                desk.catch_up(desk.resident(key))
            finally:
                desk.note_flags(lane)
            lane.paused = False
            self.go_back(lane)
        desk.router.done()

    def tell(self, lane: Lane, error: Exception) -> None:
        """Announce why a strategy cannot go on."""
        key, code = lane.context.strategy_id, error.code if isinstance(error, StratnbError) else "exception"
        payload = {"code": code, "message": lane.error}
        lane.context.events.publish("STRATEGY_ERROR", source="orchestrator", payload=payload)
        self._desk.notify("warning", f"{key} was suspended: {lane.error}", key)

    def _turned(self, key: str, before: BreakerState) -> None:
        """Announce a change of a breaker."""
        lane = self._desk.lane(key)
        breaker, metrics = lane.breaker, lane.breaker.metrics()
        payload = {
            "state": metrics["state"],
            "before": before,
            "failures": metrics["failures"],
            "reopenings": metrics["reopenings"],
            "after_s": breaker.after_s or None,
        }
        lane.context.events.publish("BREAKER_STATE", source="breaker", payload=payload)
        if before == "closed":
            self._desk.notify("warning", f"{key} fails; it is tried again in {breaker.after_s:g} s", key)
