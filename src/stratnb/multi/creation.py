"""Creating orchestrators: from the newest snapshot that fits, caught up, spaced by the breaker when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stratnb.errors import Refused, RetryLater
from stratnb.multi.lane import Lane
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.settings import EngineSettings
from stratnb.multi.store import Store
from stratnb.services.shared import SharedServices

__all__ = ["Creator"]

CATCHUP_INLINE = 20_000


class Creator:
    """Makes orchestrators for the cache; `stepped` says how many candles the last creation of each id took.

    `on_error` announces why a strategy cannot go on.
    """

    def __init__(
        self,
        services: SharedServices,
        store: Store,
        settings: EngineSettings,
        lane_of: Callable[[str], Lane],
        on_error: Callable[[Lane, Exception], None],
    ) -> None:
        self._services = services
        self._store = store
        self._settings = settings
        self._lane_of = lane_of
        self._on_error = on_error
        self.stepped: dict[str, int] = {}

    def check(self, key: str) -> None:
        """Raise `RetryLater` (`breaker_open`) while the breaker of a strategy that is to be woken is open."""
        lane = self._lane_of(key)
        self.stepped[key] = 0
        if lane.steps and not lane.breaker.is_due:
            raise RetryLater(
                "breaker_open",
                f"{key} failed too often, it may be tried again in {lane.breaker.after_s:.0f} s: {lane.error}",
                after_s=lane.breaker.after_s,
                value=key,
                hint="mend it, wait, or reset it by resume()",
            )

    async def create(self, key: str) -> TradingOrchestrator:
        """Build an orchestrator; once more when a block of it was defined again meanwhile."""
        while True:
            lane = self._lane_of(key)
            counts = lane.steps and lane.breaker.allow()
            try:
                made = await self._made(key, lane)
            except Exception as error:
                lane.breaker.failure(error)  # what a candle raised was counted already
                raise
            if made.context is lane.context:
                if counts:
                    lane.breaker.success()
                return made

    def catch_up(self, orchestrator: TradingOrchestrator) -> int:
        """Step an orchestrator to the newest candle without trading; return how many candles that took.

        What a candle raises is counted and announced, and `Refused` (`strategy_failed`) for the caller.
        """
        context = orchestrator.context
        try:
            return orchestrator.catch_up(self._services.candles.rows(context.symbol))
        except Exception as error:
            lane = self._lane_of(context.strategy_id)
            lane.error = f"{type(error).__name__}: {error}"
            lane.breaker.failure(error)
            self._on_error(lane, error)
            raise Refused(
                "strategy_failed",
                f"{context.strategy_id} fails on past candles: {lane.error}",
                value=context.strategy_id,
                hint="mend the block and define it again, or remove the strategy",
            ) from error

    async def _made(self, key: str, lane: Lane) -> TradingOrchestrator:
        """Build an orchestrator, restore its newest usable snapshot, catch up."""
        made = TradingOrchestrator(
            lane.context,
            self._services,
            self._store.decisions(key, lane.context.plan.decision_width),
            step_timeout_s=self._settings.step_timeout_s,
        )
        for snapshot in self._store.snapshots(key):
            if made.restore(snapshot):
                payload = {"watermark_ms": snapshot.watermark_ms, "candles": snapshot.candles}
                lane.context.events.publish("STRATEGY_STATE_RESTORED", source="desk", payload=payload)
                break
        if not lane.steps:
            return made  # its candles wait for the breaker
        missing = len(self._services.candles.rows(lane.context.symbol)) - made.candles
        # A long history is stepped beside the loop; what arrives meanwhile is caught up by the caller.
        beside = missing > CATCHUP_INLINE or made.in_python
        self.stepped[key] = await asyncio.to_thread(self.catch_up, made) if beside else self.catch_up(made)
        return made
