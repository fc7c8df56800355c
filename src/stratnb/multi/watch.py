"""What live prices need between two candles: whether those of open positions are heard, and how positions fare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.multi.clock import Clock
from stratnb.multi.desk import Desk
from stratnb.multi.kill_file import KillFile
from stratnb.multi.lane import Lane
from stratnb.services import messages

__all__ = ["Watch", "prices_are_live", "watches"]

EVERY_S = 5.0
SILENT_S = 60.0


def prices_are_live(desk: Desk) -> bool:
    """Return whether the machine's clock is that of the market; a replay's is the time of its candles."""
    return not isinstance(desk.feed, ReplayFeed)


def watches(
    desk: Desk, folder: Path | None, kill: Callable[[], Awaitable[Any]]
) -> list[Callable[[], Coroutine[Any, Any, None]]]:
    """Return what looks at the machine's clock: for the file `KILL` in a folder, and after live prices."""
    clock, found = desk.orders.clock, []
    if folder is not None:
        found.append(KillFile(folder, kill, clock).run)
    if prices_are_live(desk):
        found.append(Watch(desk, clock).run)
    return found


class Watch:
    """Looks every five seconds; a market is heard when its newest candle or a mark price changed.

    A position whose market is silent for 60 s is told, one that is silent for longer than the limit reduces the
    account until it is heard again (trading_rules 6). A position in a critical state is told once (6.1).
    """

    def __init__(self, desk: Desk, clock: Clock | None = None) -> None:
        self._desk = desk
        self._clock = clock or Clock()
        self._heard: dict[str, tuple[object, float]] = {}
        self._told: set[str] = set()
        self._critical: set[str] = set()

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            self.look()

    def look(self) -> None:
        """Measure silence and health once."""
        held = [lane for lane in self._desk.lanes() if lane.context.book.quantity]
        silent = {lane.context.symbol: self._silent_s(lane) for lane in held}
        self._tell_silence(silent)
        risk = self._desk.services.risk
        risk.feed_silent(max(silent.values(), default=0.0))
        if risk.stirred:
            self._desk.router.done()
        for lane in held:
            self._health(lane)
        self._critical &= {lane.context.strategy_id for lane in held}

    def _silent_s(self, lane: Lane) -> float:
        """Return for how many seconds nothing of a position's market has changed."""
        symbol, now_s = lane.context.symbol, self._clock.now_s()
        newest = (self._desk.services.candles.newest_ms(symbol), float(lane.context.book.row[at.B_MARK]))
        known = self._heard.get(symbol)
        if known is None or known[0] != newest:
            self._heard[symbol] = (newest, now_s)
        return now_s - self._heard[symbol][1]

    def _tell_silence(self, silent: dict[str, float]) -> None:
        late = {symbol for symbol, seconds in silent.items() if seconds > SILENT_S}
        for symbol in sorted(late - self._told):
            payload = {"silent_s": silent[symbol]}
            self._desk.bus.publish("DATA_STALE", symbol=symbol, source="watch", payload=payload)
            self._desk.notify("warning", messages.feed_stale(symbol, silent[symbol]), None)
        for symbol in sorted(self._told.intersection(silent) - late):
            self._desk.notify("warning", messages.feed_recovered(symbol), None)
        self._told = late

    def _health(self, lane: Lane) -> None:
        """Tell when a position has come into a critical state."""
        key = lane.context.strategy_id
        found = self._desk.services.risk.position_health(key)
        if found is None or found[1] != "CRITICAL":
            self._critical.discard(key)
        elif key not in self._critical:
            self._critical.add(key)
            told = {"position": found[1], "score": found[0]}
            lane.context.events.publish("STRATEGY_HEALTH", source="watch", payload=told)
            self._desk.notify("warning", f"the position of {key} is in a critical state ({found[0]:.2f})", key)
