"""Health: what is wrong with each strategy, in words, and what to do about it (multi_strategy 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from stratnb.kernels import layout as at
from stratnb.multi.judgment import Health, HealthStatus
from stratnb.multi.stats import lane_sharpe

if TYPE_CHECKING:
    from stratnb.multi.desk import Desk
    from stratnb.multi.lane import Lane

__all__ = ["HealthWatch"]

ERROR_RATES = (0.01, 0.1)
LAGS_S = (0.25, 1.0)
UNKNOWN_ORDER_S = 30.0


class Cause(NamedTuple):
    """One thing that is wrong."""

    is_bad: bool
    reason: str
    advice: str


class HealthWatch:
    """Judges the strategies of a desk, every few seconds and when asked; a change of status is announced.

    `lag_s` gives the loop's lag (95th percentile), `lost` why the engine may not trade any more, or nothing.
    """

    def __init__(self, desk: Desk, *, lag_s: Callable[[], float], lost: Callable[[], str]) -> None:
        self._desk = desk
        self._lag_s = lag_s
        self._lost = lost

    async def run(self) -> None:
        """Judge all strategies every `health_s` seconds; runs until it is cancelled."""
        while True:
            self.judge_all()
            await self._desk.orders.clock.sleep(self._desk.settings.health_s)

    def judge_all(self) -> None:
        """Judge all strategies and announce what changed."""
        for lane in self._desk.lanes():
            before, lane.health = lane.health, self.judge(lane)
            lane.sharpe = lane_sharpe(self._desk, lane)
            if before is None or before.status != lane.health.status:
                payload = {
                    "status": lane.health.status,
                    "before": None if before is None else before.status,
                    "reasons": list(lane.health.reasons),
                    "recommendations": list(lane.health.recommendations),
                }
                lane.context.events.publish("STRATEGY_HEALTH", source="health", payload=payload)

    def judge(self, lane: Lane) -> Health:
        """Return the judgment of one strategy."""
        desk, key = self._desk, lane.context.strategy_id
        orchestrator = desk.cache.peek(key)
        age_s, lag_s = self._age_s(lane), self._lag_s()
        causes = [*self._of_engine(lag_s), *self._of_steps(lane), *self._of_data(lane, age_s), *self._of_orders(key)]
        asleep = self._asleep(lane, age_s)
        bad = any(cause.is_bad for cause in causes)
        status: HealthStatus = "UNHEALTHY" if bad else "DEGRADED" if causes else "HEALTHY"
        if asleep and not bad:
            status, causes = "UNKNOWN", [asleep]
        return Health(
            strategy_id=key,
            status=status,
            ts_ms=desk.now_ms(),
            reasons=tuple(cause.reason for cause in causes),
            recommendations=tuple(cause.advice for cause in causes),
            last_candle_age_s=age_s,
            error_rate=lane.tally.error_rate,
            loop_lag_p95_s=lag_s,
            memory_bytes=0 if orchestrator is None else orchestrator.nbytes,
            open_position=bool(lane.context.book.row[at.B_QUANTITY] != 0.0),
            breaker=lane.breaker.state(),
        )

    def _age_s(self, lane: Lane) -> float | None:
        """Return how long ago the newest primary candle closed; None before the first."""
        candles, length = self._desk.services.candles, lane.context.plan.primary_ms
        newest_ms = candles.newest_ms(lane.context.symbol)
        if newest_ms is None:
            return None
        closed_ms = (newest_ms + candles.step_ms) // length * length
        first_ms = int(candles.rows(lane.context.symbol)[0, at.C_TIME])
        return None if closed_ms <= first_ms else (self._desk.now_ms() - closed_ms) / 1000.0

    def _asleep(self, lane: Lane, age_s: float | None) -> Cause | None:
        """Return why nothing can be said."""
        state = self._desk.registry.get(lane.context.strategy_id).state
        if state in ("dormant", "preparing"):
            return Cause(False, f"It is {state} and gets no candles.", "Activate it.")
        if age_s is None:
            return Cause(False, "No primary candle has closed yet.", "Start the feed, or wait for the first close.")
        return None

    def _of_engine(self, lag_s: float) -> Iterator[Cause]:
        lost = self._lost()
        if lost:
            yield Cause(True, f"The engine may not trade: {lost}.", "Look at the engine's log, then start it again.")
        if lag_s >= LAGS_S[0]:
            advice = "Take load off this process: fewer strategies, blocks without plain Python."
            yield Cause(lag_s >= LAGS_S[1], f"The loop lags by {lag_s:.2f} s (95th percentile).", advice)

    def _of_steps(self, lane: Lane) -> Iterator[Cause]:
        breaker, rate = lane.breaker, lane.tally.error_rate
        if self._desk.registry.get(lane.context.strategy_id).state == "failed":
            yield Cause(
                True, f"It could not be built: {lane.error}.", "Mend the block and define it again, or remove it."
            )
        elif breaker.state() == "open":
            advice = f"Mend the block; it is tried again in {breaker.after_s:.0f} s, or at once by resume()."
            yield Cause(True, f"The breaker is open: {lane.error}.", advice)
        elif breaker.state() == "half_open":
            yield Cause(False, "The breaker is half open: good steps are being counted.", "Wait for the next candles.")
        elif not lane.steps:
            yield Cause(False, f"It runs on catch-up after an error: {lane.error}.", "Wait for the next candle.")
        if rate >= ERROR_RATES[0]:
            advice = "Look at its errors in the event log."
            yield Cause(rate >= ERROR_RATES[1], f"{rate:.0%} of the newest steps failed.", advice)
        if lane.config_error:
            advice = "Mend the definition and run it again."
            yield Cause(False, f"A new configuration was rejected: {lane.config_error}.", advice)

    def _of_data(self, lane: Lane, age_s: float | None) -> Iterator[Cause]:
        length_s = lane.context.plan.primary_ms / 1000.0
        if age_s is not None and age_s > 1.5 * length_s + 10.0:
            reason = f"The newest candle closed {age_s:.0f} s ago, a candle takes {length_s:.0f} s."
            yield Cause(age_s > 3.0 * length_s, reason, "Check the feed of its market.")

    def _of_orders(self, key: str) -> Iterator[Cause]:
        orders = self._desk.orders
        ages_s = [orders.clock.now_s() - work.unknown_s for work in orders.unknown(key)]
        if ages_s:
            reason = f"The outcome of an order has been unknown for {max(ages_s):.0f} s."
            advice = "Wait for the exchange's answer; nothing is sent meanwhile."
            yield Cause(max(ages_s) >= UNKNOWN_ORDER_S, reason, advice)
