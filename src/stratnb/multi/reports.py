"""What the exchange's reports of an order mean for the book: what is new, what still works, what is too much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.exchange.base import OrderReport
from stratnb.kernels import layout as at
from stratnb.multi.lane import Working

__all__ = ["is_same", "new_fills", "overfill", "shrink_order", "unowned"]

Floats = npt.NDArray[np.float64]
EDGE = 1e-9


def is_same(before: Floats | None, now: Floats | None) -> bool:
    """Return whether two orders would execute alike: what a person did after a restart may have changed that."""
    if before is None or now is None:
        return before is now
    return bool(np.array_equal(before[: at.F_REALIZED], now[: at.F_REALIZED]))


def new_fills(work: Working, report: OrderReport) -> Floats:
    """Return the rows of a report's executions that are not in the book yet, and note their ids as booked next.

    Executions are known by their ids: one that is told twice, or after a later one, is booked once.
    """
    known = {work.fill_id(number) for number in range(work.booked)}
    fresh = {each.fill_id: each for each in report.executions if each.fill_id not in known}
    work.fill_ids = [*(work.fill_id(number) for number in range(work.booked)), *fresh]
    return np.array([each.row for each in fresh.values()]).reshape(-1, at.W_FILL)


def shrink_order(work: Working, quantity: float) -> None:
    """Let the order in the book be for what is left of it after a part of it was filled."""
    row = work.lane.context.book.row
    if work.lane.order is not work or not row[at.B_ORDER_QUANTITY] > 0.0:
        return
    left = max(0.0, 1.0 - quantity / float(row[at.B_ORDER_QUANTITY]))
    row[[at.B_ORDER_QUANTITY, at.B_RESERVED, at.B_ORDER_RISK]] *= left


def overfill(work: Working, quantity: float) -> float:
    """Return how much of what an order just filled should not be there, 0 when all of it should.

    Of an entry that is what it filled beyond its quantity; of a closing order what it opened on the other side.
    """
    held = work.lane.context.book.quantity
    sign = 1.0 if work.order.side == "buy" else -1.0
    if held * sign <= 0.0:
        return 0.0
    excess = quantity if work.order.reduces else min(quantity, work.filled - work.order.quantity)
    return min(abs(held), excess) if excess > EDGE * work.order.quantity else 0.0


def unowned(work: Working) -> float:
    """Return how much more a closing order wants to close than its strategy holds, 0 when it owns all of it."""
    order, held = work.order, work.lane.context.book.quantity
    if not order.reduces:
        return 0.0
    own = -held if order.side == "buy" else held
    excess = order.quantity - max(0.0, own)
    return excess if excess > EDGE * order.quantity else 0.0
