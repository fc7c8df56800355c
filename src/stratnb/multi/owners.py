"""Owners that are no strategy: positions nobody explains or manages, until they are adopted or closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from stratnb.errors import ConfigError, Refused
from stratnb.events import StrategyBus
from stratnb.exchange.base import Execution
from stratnb.kernels import layout as at
from stratnb.model import Order
from stratnb.multi.context import StrategyContext
from stratnb.multi.desk import Desk
from stratnb.multi.handover import check_leaving, prepared
from stratnb.multi.lane import Lane, Working
from stratnb.services.positions import Book
from stratnb.services.reserved import MANUAL, ORPHAN, reserved_id
from stratnb.services.transfers import booked, opened

__all__ = [
    "OwnerContext",
    "adopt_orphan",
    "book_difference",
    "book_foreign",
    "is_foreign",
    "leave",
    "may_have",
    "owner_lane",
]

CODES = {ORPHAN: "orphan", MANUAL: "manual"}
OURS = "snb-"
GIVEN: tuple[str, ...] = ("active", "managing", "suspended")


@dataclass(frozen=True, slots=True, eq=False)
class OwnerContext:
    """What the router and the orders need of an owner without a strategy; it has no plan and is never stepped."""

    strategy_id: str
    symbol: str
    book: Book
    events: StrategyBus


def owner_lane(desk: Desk, owner: str, symbol: str) -> Lane:
    """Return the lane of a reserved owner in a market, opened when it is needed first."""
    key = reserved_id(owner, symbol)
    if key not in desk.owners:
        number, market = desk.router.number(symbol), desk.exchange.market(symbol)
        events = StrategyBus(desk.bus, key, symbol)
        book = desk.services.positions.open_reserved(key, market, number=number, events=events)
        context = cast(StrategyContext, OwnerContext(key, symbol, book, events))
        lane = Lane(context, number, CODES[owner], desk.recovery.breaker(key))
        lane.steps = False
        rows = desk.services.candles.rows(symbol)
        if len(rows):
            book.row[at.B_MARK] = rows[-1, at.C_CLOSE]
        desk.owners[key] = lane
    return desk.owners[key]


def leave(desk: Desk, key: str, *, author: str = "operator") -> None:
    """Leave a strategy's position to the orphans of its market: only its stop goes on, and closes it.

    Raises Refused: `order_unresolved`, `close_in_progress`, `orphan_taken`, `switch_in_progress`.
    """
    lane = desk.lane(key)
    desk.check_removable(key, "close")
    desk.orders.check_resolved(key)
    book = lane.context.book
    if book.row[at.B_ORDER] == at.ORDER_EXIT:
        raise Refused("close_in_progress", f"{key} is being closed", value=key, hint="wait for the fill")
    orphan = owner_lane(desk, ORPHAN, book.symbol).context.book
    if book.quantity and not orphan.is_flat:
        raise Refused(
            "orphan_taken",
            f"{orphan.strategy_id} holds {orphan.quantity:g} already",
            value=orphan.quantity,
            hint="adopt or close that first",
        )
    desk.router.drop_entry(lane)
    desk.router.done()
    desk.orders.check_resolved(key)
    if book.quantity:
        _leave(desk, lane, orphan, author)


def _leave(desk: Desk, lane: Lane, orphan: Book, author: str) -> None:
    """Move a position with its stop to the orphans."""
    book = lane.context.book
    stop = float(book.row[at.B_STOP])
    row = opened(orphan.row, book.row, float(desk.now_ms()))
    row[at.B_LEVERAGE] = book.row[at.B_LEVERAGE]
    if not math.isnan(stop):
        row[[at.B_STOP, at.B_FIRST_STOP]], row[at.B_STOP_REASON] = stop, at.REASON_ADOPTED
    reference = f"orphan-{desk.now_ms()}-{lane.code}"
    moved = desk.services.positions.transfer(book, orphan, row, reference=reference, time_ms=desk.now_ms())
    for each, change in zip((book, orphan), moved, strict=True):
        desk.recorder.moved(each, change, reference=reference, author=author, reason="removed, position kept")
    lane.changed = True
    desk.reroute_owners()
    desk.router.done()


def may_have(desk: Desk, symbol: str, quantity: float) -> bool:
    """Return whether the orphans of a market can take a quantity: they hold nothing, or the same side."""
    lane = desk.owners.get(reserved_id(ORPHAN, symbol))
    return lane is None or lane.context.book.quantity * quantity >= 0.0


def book_difference(desk: Desk, symbol: str, quantity: float) -> None:
    """Give the orphans what the exchange holds beyond our books, at the newest price; the market only reduces."""
    lane = owner_lane(desk, ORPHAN, symbol)
    book, now_ms = lane.context.book, desk.now_ms()
    row, price = book.row, float(lane.context.book.row[at.B_MARK])
    held, reference = float(row[at.B_QUANTITY]), f"mismatch-{now_ms}-{desk.bus.seq}"
    average = (held * row[at.B_AVERAGE] + quantity * price) / (held + quantity)
    source = row.copy()
    source[[at.B_QUANTITY, at.B_AVERAGE, at.B_PEAK, at.B_TROUGH]] = held + quantity, average, price, price
    if held == 0.0:
        row[:] = opened(row, source, float(now_ms))
    else:
        row[[at.B_QUANTITY, at.B_AVERAGE, at.B_ORIGINAL]] = held + quantity, average, abs(held + quantity)
    told = {"quantity": quantity, "price": price, "after": held + quantity, "time_ms": float(now_ms)}
    change = booked(book.fill_rows, **told, reason=at.REASON_MANUAL)
    book.fill_rows.append(change)
    reason = "the exchange holds more than the fills explain"
    desk.recorder.moved(book, change, reference=reference, author="engine", reason=reason)
    payload = {"quantity": held + quantity, "price": price, "reason": "orphan"}
    book.events.publish("POSITION_CHANGED", source="restart", payload=payload)
    for each in desk.lanes():
        if each.context.symbol == symbol:
            desk.services.risk.trip("reducing", each.context.strategy_id, reason=f"{quantity:g} {symbol} {reason}")
    desk.reroute_owners()
    desk.notify(
        "critical", f"{quantity:g} {symbol} at the exchange belong to no fill of ours: adopt or close them", None
    )


def is_foreign(order_id: str) -> bool:
    """Return whether an order at the exchange was given by somebody else: it does not carry our mark."""
    return not order_id.startswith(OURS)


def book_foreign(desk: Desk, executions: Sequence[Execution], symbol: str) -> None:
    """Give the fills of an order that is not ours to the manual owner of its market; the order is never touched."""
    lane, first = owner_lane(desk, MANUAL, symbol), executions[0]
    rows = np.array([each.row for each in executions])
    rows[:, at.F_REASON] = at.REASON_MANUAL
    order = Order(
        order_id=first.order_id,
        strategy_id=lane.context.strategy_id,
        symbol=symbol,
        side="buy" if first.row[at.F_SIGN] > 0.0 else "sell",
        quantity=float(rows[:, at.F_QUANTITY].sum()),
        reduces=True,
        reason="manual",
        created_ms=int(first.row[at.F_TIME]),
        purpose="m",
    )
    work = Working(order, lane, "", state="FILLED", fill_ids=[each.fill_id for each in executions])
    desk.router.book_fills(work, rows)
    desk.reroute_owners()
    signed = float((rows[:, at.F_SIGN] * rows[:, at.F_QUANTITY]).sum())
    desk.notify("info", f"{signed:+g} {symbol} by order {order.order_id}, which is not ours: kept apart", None)


def adopt_orphan(
    desk: Desk, symbol: str, to: str, *, stop: float, entry_price: float | None, author: str, reason: str
) -> None:
    """Give the orphans of a market to a strategy there, with a stop, at an entry price; what that leaves is theirs.

    Raises Refused: no_position, not_active, order_unresolved, adopt_*, stop_beyond_mark; ConfigError: number, missing.
    """
    for name, value in {"stop": stop, "entry_price": 1.0 if entry_price is None else entry_price}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
            raise ConfigError("number", f"{name} is a price above 0, not {value!r}", value=value, hint="give a price")
    if not author.strip() or not reason.strip():
        raise ConfigError("missing", "an adoption needs an author and a reason", hint="say who adopts and why")
    record, new = desk.registry.get(to), desk.lane(to)
    old = desk.owners.get(reserved_id(ORPHAN, symbol))
    if old is None or not old.context.book.quantity:
        raise Refused("no_position", f"nobody's position in {symbol} is empty", value=symbol, hint="nothing to adopt")
    if record.state not in GIVEN:
        raise Refused("not_active", f"{to} is {record.state}", value=record.state, hint="activate it first")
    check_leaving(desk, old, new, "adopt")
    desk.orders.check_resolved(to)
    book, side = old.context.book, float(np.sign(old.context.book.quantity))
    if side * (book.row[at.B_MARK] - stop) <= 0.0:
        raise Refused(
            "stop_beyond_mark",
            f"a stop at {stop:g} lies beyond the mark {book.row[at.B_MARK]:g}",
            value=stop,
            hint="choose a price on the losing side of the mark",
        )
    giver = book.row.copy()
    price = float(giver[at.B_AVERAGE] if entry_price is None else entry_price)
    gained = float(giver[at.B_QUANTITY] * (price - giver[at.B_AVERAGE]))
    giver[at.B_STOP], giver[at.B_AVERAGE] = stop, price
    ready = replace(prepared(desk, old, new, giver), gained=gained)
    ready.book(desk, reference=f"adopt-{desk.now_ms()}-{new.code}", author=author, reason=reason)
    desk.reroute_owners()
    desk.router.done()
