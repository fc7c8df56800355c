"""What the desk does, as rows of the journal's tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.events import Event
from stratnb.journal import risk_digest
from stratnb.kernels import layout as at
from stratnb.model import Fill
from stratnb.multi.lane import Working
from stratnb.services.positions import Book
from stratnb.services.trades import fill_of

__all__ = ["candle_row", "event_row", "fill_rows", "funding_row", "moved_row", "order_row", "risk_row"]

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]
LONGEST = 2_000


def candle_row(symbol: str, row: Floats) -> Row:
    """Return a candle."""
    o, h, low, c, v, time_ms = row.tolist()
    told = {"symbol": symbol, "open_time_ms": int(time_ms), "open": o, "high": h, "low": low, "close": c}
    return {**told, "volume": v}


def fill_rows(book: Book, work: Working, number: int, row: Floats) -> tuple[Fill, Row, Row]:
    """Return the order's `number`th fill, its row in `fills` and its row in `ledger`."""
    key = work.order.strategy_id
    fill = fill_of(row, strategy_id=key, symbol=book.symbol, reason=book.reason)
    fill_id, signed = work.fill_id(number), float(row[at.F_SIGN] * row[at.F_QUANTITY])
    same = {"strategy_id": key, "symbol": book.symbol, "fee": fill.fee, "time_ms": fill.time_ms}
    booked = {
        **{**same, "fill_id": fill_id, "client_id": work.order_id, "side": fill.side},
        **{"quantity": fill.quantity, "price": fill.price, "fee_currency": _fee_currency(book, row)},
        **{"row": row.tobytes(), "raw": None, "reason": fill.reason},
    }
    entry = {
        **{**same, "kind": "fill", "quantity": signed, "price": fill.price, "realized": fill.realized_pnl},
        **{"position_after": fill.position_after, "reference": fill_id, "author": "engine"},
        "reason": fill.reason,
    }
    return fill, booked, entry


def _fee_currency(book: Book, row: Floats) -> str | None:
    """Return the base currency when the fee of a buy was taken in it, else None: the quote currency."""
    in_base = book.settings[at.S_BASE_FEE] != 0.0 and row[at.F_SIGN] > 0.0
    return book.symbol.split("/")[0] if in_base else None


def moved_row(book: Book, row: Floats, *, reference: str, author: str, reason: str) -> Row:
    """Return one side of a transfer of lots as a row of `ledger`."""
    kind = "transfer" if row[at.F_REASON] == at.REASON_TRANSFER else "adjust"
    told = {"strategy_id": book.strategy_id, "symbol": book.symbol, "kind": kind, "fee": 0.0}
    signed, price = float(row[at.F_SIGN] * row[at.F_QUANTITY]), float(row[at.F_PRICE])
    told |= {"quantity": signed, "price": price, "position_after": float(row[at.F_AFTER])}
    told |= {"realized": float(row[at.F_REALIZED])}
    return told | {"reference": reference, "author": author, "reason": reason, "time_ms": int(row[at.F_TIME])}


def funding_row(book: Book, amount: float, time_ms: int) -> Row:
    """Return what a position paid at a funding time as a row of `ledger`: a cost without lots."""
    told = {
        "strategy_id": book.strategy_id,
        "symbol": book.symbol,
        "kind": "funding",
        "fee": amount,
        "time_ms": time_ms,
    }
    told |= {"quantity": 0.0, "price": None, "realized": 0.0, "position_after": book.quantity}
    return {**told, "reference": None, "author": "engine", "reason": "funding"}


def order_row(work: Working, now_ms: int) -> Row:
    """Return the present state of an order; its generation is that of its id, whoever writes the row."""
    order = work.order
    return {
        **{"client_id": order.order_id, "strategy_id": order.strategy_id, "symbol": order.symbol},
        **{"side": order.side, "quantity": order.quantity, "purpose": order.purpose, "reduces": order.reduces},
        **{"reason": order.reason, "correlation": work.correlation},
        **{"limit_price": order.limit, "until_ms": order.until_ms},
        **{"generation": int(order.order_id.split("-")[2], 36), "filled": work.filled},
        **{"state": work.state, "code": work.error or None, "exchange_id": None},
        "row": None if work.row is None else work.row.tobytes(),
        "created_ms": order.created_ms,
        "sent_ms": None if work.state == "INTENT" else order.created_ms,
        "updated_ms": now_ms,
    }


def risk_row(scope: str, cells: bytes) -> Row:
    """Return the cells of a book, or of the account (scope ""), with their digest."""
    return {"scope": scope, "row": cells, "digest": risk_digest(scope, cells)}


def event_row(event: Event) -> Row:
    """Return an event; a payload that is no JSON is kept as near as text comes to it."""
    payload = dict(event.payload)
    try:
        json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        payload = {str(name): _plain(value) for name, value in payload.items()}
    return {**event._asdict(), "payload": payload}


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value of which JSON can be made: no number that is not finite, nothing unknown, nothing endless."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < 8 and isinstance(value, Mapping):
        return {str(name): _plain(each, depth + 1) for name, each in value.items()}
    if depth < 8 and isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in value]
    try:
        return repr(value)[:LONGEST]
    except Exception:
        return f"<{type(value).__name__}>"
