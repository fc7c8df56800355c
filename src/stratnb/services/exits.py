"""Position exiting: owns the level row (stop, targets) of each open position and places closing orders."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.errors import Refused
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.services.positions import Book
from stratnb.strategy.plan import Plan

__all__ = ["PositionExiting"]

Floats = npt.NDArray[np.float64]


class PositionExiting:
    """Arms the levels of a new position and watches how they move; works while a strategy is paused or has failed."""

    def arm(self, plan: Plan, memory: Floats, book: Book, time_ms: int) -> None:
        """Fix stop and targets of a position that was just entered, at its average price."""
        loop.arm_position(plan.code, plan.params, memory, book.row)
        stop = float(book.row[at.B_STOP])
        book.stops.clear()
        if not math.isnan(stop):
            book.stops.append((time_ms, stop))

    def watch(self, book: Book, time_ms: int) -> None:
        """Record and announce a stop that moved at a close."""
        stop = float(book.row[at.B_STOP])
        before = book.stops[-1][1] if book.stops else math.nan
        if stop != before and not math.isnan(stop):
            book.stops.append((time_ms, stop))
            payload = {
                "from": None if math.isnan(before) else before,
                "to": stop,
                "reason": book.reason(book.row[at.B_STOP_REASON]),
            }
            book.events.publish("STOP_MOVED", source="exits", payload=payload)

    def request_close(self, book: Book, reason: int) -> None:
        """Place a market order for the whole position; a second one while it works is refused."""
        if book.row[at.B_QUANTITY] == 0.0:
            return
        if book.row[at.B_ORDER] == at.ORDER_EXIT:
            raise Refused(
                "close_in_progress",
                f"{book.strategy_id} is being closed already",
                value=book.strategy_id,
                hint="wait for its fill",
            )
        loop.close_position(book.row, float(reason))
