"""What holds for a journal as a whole, once every row was seen."""

from __future__ import annotations

from collections.abc import Iterator

from stratnb.journal.fold import Position, is_near
from stratnb.journal.proofs import UNFILLED, Evidence, Fault
from stratnb.kernels import layout as at

__all__ = ["summed_faults"]


def summed_faults(seen: Evidence) -> Iterator[Fault]:
    """Yield place, code and message of every fault that only sums show."""
    yield from _orders(seen)
    yield from _owners(seen)
    for (owner, symbol), position in sorted(seen.positions.items()):
        yield from _against_book(seen, owner, symbol, position)
        yield from _against_trades(seen, owner, position)
    if any(seen.books) and "" not in seen.books:
        yield "risk_state/", "risk_missing", "the account's risk row is missing or damaged; trading starts HALTED"


def _orders(seen: Evidence) -> Iterator[Fault]:
    for fill_id in sorted(seen.fills.keys() - seen.booked):
        yield f"fills/{fill_id}", "fill_ledger", "no ledger row books it"
    flattened = {order["strategy_id"] for order in seen.orders.values() if order["reason"] == "overfill"}
    for client_id, order in seen.orders.items():
        place, total = f"orders/{client_id}", seen.filled.get(client_id, 0.0)
        quantity = order["quantity"]
        if not is_near(total, order["filled"], quantity):
            yield place, "order_filled", f"it says {order['filled']!r} filled, its fills add up to {total!r}"
        over = total > quantity and not is_near(total, quantity)
        closed = over and order["strategy_id"] in flattened
        if over and not closed:
            yield place, "order_overfilled", f"its fills add up to {total!r}, its quantity is {quantity!r}"
        if order["state"] in UNFILLED and total:
            yield place, "order_state", f"an order that is {order['state']} has fills"
        is_whole = closed or is_near(total, quantity) or client_id in seen.less_fee
        if order["state"] == "FILLED" and not is_whole:
            yield place, "order_state", f"it is FILLED with {total!r} of {quantity!r}"


def _owners(seen: Evidence) -> Iterator[Fault]:
    unfinished = [row["number"] for row in seen.switches if row["finished_ms"] is None]
    if len(unfinished) > 1:
        yield "switches", "switch_open", f"switches {unfinished} are all unfinished; one at a time is possible"
    yield from _switched(seen)
    for (symbol, reference), quantity in seen.moved.items():
        largest = max((p.largest for (_, market), p in seen.positions.items() if market == symbol), default=0.0)
        if not is_near(quantity, 0.0, largest):
            text = f"transfer {reference!r} in {symbol} gives {quantity!r} more than it takes; a lot has one owner"
            yield "ledger", "transfer_sum", text


def _switched(seen: Evidence) -> Iterator[Fault]:
    """After the newest hand-over the one that gave is not active any more, unless it was activated since."""
    done = [row for row in seen.switches if row["success"] is not False and row["from_id"] != row["to_id"]]
    newest = max(done, key=lambda row: int(row["number"]), default=None)
    if newest is None:
        return
    before, after = (seen.strategies.get(newest[name]) for name in ("from_id", "to_id"))
    if before is None or after is None or before["state"] != "active" or after["state"] != "active":
        return
    finished_ms = newest["finished_ms"]
    if finished_ms is None or (before["activated_ms"] or 0) <= finished_ms:
        text = f"it hands over from {newest['from_id']} to {newest['to_id']}, and both are active"
        yield f"switches/{newest['number']}", "switch_owner", text


def _against_book(seen: Evidence, owner: str, symbol: str, position: Position) -> Iterator[Fault]:
    if owner.startswith("@"):
        return
    place = f"risk_state/{owner}"
    book, known = seen.books.get(owner), seen.strategies.get(owner)
    if book is None:
        if known is not None or position.quantity:
            yield place, "risk_missing", f"its risk row is missing or damaged, its ledger holds {position.quantity!r}"
        return
    if known is not None and known["symbol"] != symbol:
        yield place, "ledger_symbol", f"its ledger has rows in {symbol}, it trades {known['symbol']}"
        return
    if not is_near(book[at.B_QUANTITY], position.quantity, position.largest):
        text = f"the book holds {float(book[at.B_QUANTITY])!r}, the ledger adds up to {position.quantity!r}"
        yield place, "book_quantity", text
    if position.quantity and not is_near(book[at.B_AVERAGE], position.average):
        text = f"the book's average is {float(book[at.B_AVERAGE])!r}, the ledger's {position.average!r}"
        yield place, "book_average", text
    if not is_near(book[at.B_REALIZED], position.realized_now, position.turnover):
        text = f"the book realized {float(book[at.B_REALIZED])!r}, the ledger adds up to {position.realized_now!r}"
        yield place, "book_realized", text


def _against_trades(seen: Evidence, owner: str, position: Position) -> Iterator[Fault]:
    if owner.startswith("@") or not position.is_plain:
        return
    trades = seen.trades.get(owner, [])
    if len(trades) != position.closed:
        yield f"trades/{owner}", "trade_count", f"{len(trades)} trades, the ledger closes {position.closed}"
    elif not position.quantity and not is_near(sum(trades), position.realized - position.fees, position.turnover):
        text = f"its trades add up to {sum(trades)!r}, the ledger to {position.realized - position.fees!r}"
        yield f"trades/{owner}", "trade_pnl", text
