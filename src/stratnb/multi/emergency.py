"""The kill switch: halted first, then entries canceled, then every position closed; and what could not be, later."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from stratnb.errors import Refused, StratnbError
from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane, Working

__all__ = ["KillSwitch", "close_all"]

STOP_LIMIT_S, LOOK_S = 30.0, 0.01

log = logging.getLogger(__name__)


async def close_all(desk: Desk, reason: int) -> None:
    """Close every position; one whose order has no answer is waited for while the others are closed.

    What is still open after 30 s is `Refused` (`order_unresolved`).
    """
    left, until_s = list(desk.everyone()), desk.orders.clock.now_s() + STOP_LIMIT_S
    while left := [lane for lane in left if not _is_closed(desk, lane, reason)]:
        if desk.orders.clock.now_s() >= until_s:
            keys = [lane.context.strategy_id for lane in left]
            text = f"positions of {', '.join(keys)} are still open: the outcome of an order of each is not known"
            raise Refused("order_unresolved", text, value=keys, hint="the exchange is being asked; try again later")
        await desk.orders.clock.sleep(LOOK_S)


def _is_closed(desk: Desk, lane: Lane, reason: int) -> bool:
    try:
        desk.close_now(lane, reason)
    except Refused as error:
        if error.code != "order_unresolved":
            raise
        return False
    return True


class KillSwitch:
    """Works without strategy code, candles or panels; pulling it twice is harmless."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._later: set[str] = set()
        desk.on_resolved = self._resolved

    def pull(self, author: str, *, flatten: bool = True) -> dict[str, int]:
        """Halt the account until released and return how many entries were canceled, positions closed and left."""
        desk = self._desk
        desk.services.risk.kill(author)
        if flatten:
            desk.recorder.closes([lane.context.strategy_id for lane in desk.everyone()], begins=True)
        desk.recorder.latch()
        canceled = sum(desk.router.drop_entry(lane) for lane in desk.everyone())
        desk.router.done()
        closed = self._close_all(desk.everyone()) if flatten else 0
        left = sum(lane.context.book.quantity != 0.0 for lane in desk.everyone())
        return {"canceled": canceled, "closed": closed, "left": left}

    def go_on(self, keys: Collection[str]) -> None:
        """Close what an earlier run had still to close when it ended in the middle of a kill, and say so."""
        desk = self._desk
        lanes = [desk.lane(key) for key in keys if desk.knows(key)]
        held = [lane.context.strategy_id for lane in lanes if lane.context.book.quantity]
        if held:
            text = f"the engine ended in the middle of a kill; positions of {', '.join(held)} are closed now"
            log.error(text)
            desk.notify("critical", text, None)
        if keys:
            self._close_all(lanes)

    def _close_all(self, lanes: Iterable[Lane]) -> int:
        """Close positions and return how many; whose has to wait is kept, so that a restart goes on with it."""
        closed = sum(self._close(lane) for lane in lanes)
        self._keep()
        return closed

    def _keep(self) -> None:
        self._desk.recorder.closes(self._later)
        self._desk.recorder.changed()

    def _resolved(self, work: Working) -> None:
        """Close what had to wait for the outcome of an order."""
        key = work.order.strategy_id
        if key in self._later and not self._desk.orders.unknown(key):
            self._later.discard(key)
            self._close(work.lane)
            self._keep()

    def _close(self, lane: Lane) -> bool:
        try:
            return self._desk.close_now(lane, at.REASON_KILL)
        except StratnbError as error:
            self._later.add(lane.context.strategy_id)
            log.warning("%s is closed later: %s", lane.context.strategy_id, error)
            return False
