"""The operations on positions: closing, stops by hand, and whose they are."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.owners import adopt_orphan, leave
from stratnb.multi.records import Removal

__all__ = ["POSITION_OPERATIONS", "PositionOperations"]

POSITION_OPERATIONS = ("close_position", "move_stop", "breakeven", "remove", "adopt_orphan")


class PositionOperations(ABC):
    """The part of an engine's operations that acts on positions; an id may be that of an owner that is no strategy."""

    desk: Desk

    async def close_position(self, strategy_id: str, fraction: float = 1.0) -> bool:
        """Close a fraction of a position at the newest price."""
        return self.desk.close_now(self.desk.lane(strategy_id), at.REASON_MANUAL, fraction)

    async def move_stop(self, strategy_id: str, price: float) -> float:
        """Tighten the stop of a position."""
        desk = self.desk
        stop = desk.services.exits.move_stop(desk.lane(strategy_id).context.book, price, desk.now_ms())
        desk.router.done()
        return stop

    async def breakeven(self, strategy_id: str) -> float:
        """Move the stop of a position to where it closes without a loss."""
        desk = self.desk
        stop = desk.services.exits.breakeven(desk.lane(strategy_id).context.book, desk.now_ms())
        desk.router.done()
        return stop

    async def remove(self, strategy_id: str, *, policy: Removal = "refuse") -> None:
        """Unload a strategy; with "keep_orphan" its position stays, under its stop."""
        if policy != "keep_orphan":
            await self.desk.remove(strategy_id, policy=policy)
            return
        async with self._held():
            leave(self.desk, strategy_id)
            await self.desk.remove(strategy_id)

    async def adopt_orphan(
        self, symbol: str, to: str, stop: float, *, entry_price: float | None = None, author: str, reason: str
    ) -> None:
        """Give a position that belongs to nobody to a strategy of its market."""
        async with self._held():
            adopt_orphan(self.desk, symbol, to, stop=stop, entry_price=entry_price, author=author, reason=reason)

    @abstractmethod
    def _held(self) -> asyncio.Lock:
        """Return the lock under which no instant comes."""
