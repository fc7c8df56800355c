"""What the desk does about orders in trouble: calls that fail, answers that are lost, fills that are too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stratnb.multi.lane import Lane, Working
from stratnb.multi.orders import Orders
from stratnb.multi.router import Router
from stratnb.services.notify import Level
from stratnb.services.shared import SharedServices

__all__ = ["Trouble"]


class Owner(Protocol):
    """What the trouble of orders needs of the desk."""

    services: SharedServices
    orders: Orders
    router: Router
    on_resolved: Callable[[Working], None] | None

    def now_ms(self) -> int:
        """Return the feed's clock."""
        ...

    def knows(self, key: str) -> bool:
        """Return whether an id is that of a loaded strategy or of another owner."""
        ...

    def notify(self, level: Level, text: str, key: str | None) -> None:
        """Send a message."""
        ...


class Trouble:
    """Told of each order in trouble; `restoring` is set while a restart does not know everything yet."""

    def __init__(self, desk: Owner) -> None:
        self._desk = desk
        self.restoring = False
        self._later: list[tuple[Lane, float]] = []

    def __call__(self, work: Working, what: str) -> None:
        """Act on an order whose call failed, whose outcome is not known, has not been for long, or is known now.

        Or on one that was denied because it would close more than its strategy has, or that filled too much.
        """
        desk, key = self._desk, work.order.strategy_id
        if what == "failed":
            desk.services.risk.order_failed(desk.now_ms())
        elif what == "notice":
            self._unknown(work)
        elif desk.knows(key):
            getattr(self, f"_{what}")(work)

    def _lost(self, work: Working) -> None:
        self._desk.services.risk.block("order_unresolved", work.order.strategy_id)

    def _resolved(self, work: Working) -> None:
        desk, key = self._desk, work.order.strategy_id
        if not desk.orders.unknown(key):
            desk.services.risk.block(None, key)
        if desk.on_resolved is not None:
            desk.on_resolved(work)

    def _unknown(self, work: Working) -> None:
        text = f"the outcome of order {work.order_id} is still unknown: {work.error}"
        self._desk.notify("warning", text, work.order.strategy_id)

    def _reduce(self, work: Working) -> None:
        self._unknown(work)
        self._desk.services.risk.trip("order_unresolved", work.order.strategy_id)
        self._desk.router.done()

    def _denied(self, work: Working) -> None:
        book, wanted = work.lane.context.book, work.order.quantity
        code, held = "insufficient_own_quantity", abs(book.quantity)
        self._desk.services.risk.refuse(book, code, wanted, held, work.correlation)

    def _overfill(self, work: Working) -> None:
        """Say that an order filled too much, and close that; a restart does it once it knows everything."""
        order = work.order
        text = f"order {order.order_id} filled {work.excess:g} {order.symbol} too much; that is closed at once"
        self._desk.notify("critical", text, order.strategy_id)
        self._later.append((work.lane, work.excess))
        if not self.restoring:
            self.restored()

    def restored(self) -> None:
        """Close what was found to be filled too much."""
        self.restoring = False
        later, self._later = self._later, []
        for lane, quantity in later:
            self._desk.router.flatten(lane, quantity)
