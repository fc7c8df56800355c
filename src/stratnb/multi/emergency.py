"""The kill switch: halted first, then entries canceled, then every position closed; and what could not be, later."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from stratnb.errors import StratnbError
from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane, Working

__all__ = ["KillSwitch"]

log = logging.getLogger(__name__)


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
