"""What came of a decision: the order, the fills and the trade that carry its correlation id."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.services.trades import fill_of, trades_of
from stratnb.view import LinkView

__all__ = ["correlation", "links"]

Floats = npt.NDArray[np.float64]


def correlation(lane: Lane, row: Floats) -> str:
    """Return the id that the events of a decision share; a decision that was caught up has none."""
    caught = int(row[at.D_FLAGS]) & int(at.FLAG_CATCHUP)
    return "" if caught else f"{lane.code}-{int(row[at.D_TIME])}"


def links(desk: Desk, lane: Lane, row: Floats) -> tuple[LinkView, ...]:
    """Return order, fills and trade of an entry, or the trade that was open at another decision.

    An entry is filled before the strategy can decide the
    next one, so its trade is the first that opens after it and before that.
    """
    name = correlation(lane, row)
    if not name:
        return ()
    entered, close_ms = row[at.D_ACTION] == at.ENTER, int(row[at.D_TIME]) + lane.context.plan.primary_ms
    fills = _of_entry(desk, lane, row, close_ms) if entered else _open_at(lane, close_ms)
    if not entered:
        return _trade(lane, fills)
    return (_order(desk, lane, row, name, fills), *(_fill(lane, fill) for fill in fills), *_trade(lane, fills))


def _rows(lane: Lane) -> Floats:
    rows = list(lane.context.book.fill_rows)
    return np.array(rows) if rows else np.empty((0, at.W_FILL))


def _of_entry(desk: Desk, lane: Lane, row: Floats, close_ms: int) -> Floats:
    """Return the fills of the trade that an entry opened."""
    rows = _rows(lane)
    log = desk.store.decisions(lane.context.strategy_id).rows()
    later = (log[:, at.D_TIME] > row[at.D_TIME]) & (log[:, at.D_ACTION] == at.ENTER)
    later &= (log[:, at.D_FLAGS].astype(int) & int(at.FLAG_CATCHUP)) == 0
    until = log[later, at.D_TIME].min() + lane.context.plan.primary_ms if later.any() else np.inf
    opening = rows[:, at.F_REASON] == at.REASON_ENTRY
    mine = rows[opening & (rows[:, at.F_TIME] >= close_ms) & (rows[:, at.F_TIME] < until)]
    return _of_trade(rows, mine[0, at.F_TRADE]) if len(mine) else rows[:0]


def _open_at(lane: Lane, close_ms: int) -> Floats:
    """Return the fills of the trade that was open at a time."""
    rows = _rows(lane)
    before = rows[rows[:, at.F_TIME] < close_ms]
    if not len(before) or before[-1, at.F_AFTER] == 0.0:
        return rows[:0]
    return _of_trade(rows, before[-1, at.F_TRADE])


def _of_trade(rows: Floats, number: float) -> Floats:
    found: Floats = rows[rows[:, at.F_TRADE] == number]
    return found


def _order(desk: Desk, lane: Lane, row: Floats, name: str, fills: Floats) -> LinkView:
    """Return the order that an entry placed; its number is empty once the event that announced it is dropped."""
    events = desk.bus.since(0, desk.settings.event_buffer)
    sent = [event for event in events if event.correlation_id == name and event.type == "ORDER_INTENT"]
    newest = desk.store.decisions(lane.context.strategy_id).rows(1)
    working = row[at.D_TIME] == newest[0, at.D_TIME] and lane.context.book.row[at.B_ORDER] == at.ORDER_ENTRY
    return LinkView(
        kind="order",
        ident=str(sent[0].payload["order_id"]) if sent else "",
        state="filled" if len(fills) else "working" if working else "canceled",
        side=int(row[at.D_DIRECTION]),
        quantity=float(row[at.D_QUANTITY]),
        price=float(fills[0, at.F_PRICE]) if len(fills) else None,
        pnl=None,
        time_ms=int(row[at.D_TIME]) + lane.context.plan.primary_ms,
    )


def _fill(lane: Lane, row: Floats) -> LinkView:
    """Return one fill with its result after its fee; that of an entry is not known."""
    book, opening = lane.context.book, row[at.F_REASON] == at.REASON_ENTRY
    made = fill_of(row, strategy_id=book.strategy_id, symbol=book.symbol, reason=book.reason)
    side = 1 if made.side == "buy" else -1
    pnl = None if opening else made.realized_pnl - made.fee
    return LinkView("fill", f"{made.trade_no}", made.reason, side, made.quantity, made.price, pnl, made.time_ms)


def _trade(lane: Lane, fills: Floats) -> tuple[LinkView, ...]:
    """Return the round trip of some fills; while it is open its result is not known."""
    if not len(fills):
        return ()
    book = lane.context.book
    done = trades_of(fills, strategy_id=book.strategy_id, symbol=book.symbol, reason=book.reason)
    side, number = int(fills[0, at.F_SIGN]), f"{lane.code}/{int(fills[0, at.F_TRADE])}"
    if done:
        trade = done[0]
        return (
            LinkView("trade", number, trade.reason, side, trade.quantity, trade.exit_price, trade.pnl, trade.exit_ms),
        )  # fmt: skip
    left = abs(float(fills[-1, at.F_AFTER]))
    price = float(fills[-1, at.F_AVERAGE])
    return (LinkView("trade", number, "open", side, left, price, None, int(fills[0, at.F_TIME])),)
