"""What holds between the rows of a journal: each proof looks at one table and remembers what later ones need."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np

from stratnb.journal.digests import risk_digest, state_digest
from stratnb.journal.fold import LEDGER_KINDS, Position, is_near
from stratnb.kernels import layout as at
from stratnb.model import PURPOSES, OrderState

__all__ = ["PROOFS", "UNFILLED", "Evidence", "Fault"]

Row = Mapping[str, Any]
Fault = tuple[str, str, str]  # place, code, message

CLIENT_ID = re.compile(rf"snb-([a-z0-9]{{6}})-([0-9a-z]{{4}})-([{''.join(PURPOSES)}])([0-9a-z]{{8}})")
UNFILLED = ("INTENT", "DENIED", "REJECTED", "ABSENT")
COMMAND_STATES = ("new", "taken", "done", "refused", "failed")
FILL_BYTES = (8 * at.W_FILL_FIRST, 8 * at.W_FILL)  # an older journal has the first
SIDES = {"buy": 1.0, "sell": -1.0}
RISK_STATES = (at.ACTIVE, at.REDUCING, at.HALTED)


class Evidence:
    """What the proofs have seen so far."""

    def __init__(self) -> None:
        self.strategies: dict[str, Row] = {}
        self.generations: list[int] = []
        self.orders: dict[str, Row] = {}
        self.fills: dict[str, Row] = {}
        self.filled: defaultdict[str, float] = defaultdict(float)
        self.booked: set[str] = set()
        self.less_fee: set[str] = set()
        self.positions: defaultdict[tuple[str, str], Position] = defaultdict(Position)
        self.moved: defaultdict[tuple[str, str | None], float] = defaultdict(float)
        self.trades: defaultdict[str, list[float]] = defaultdict(list)
        self.books: dict[str, Any] = {}
        self.switches: list[Row] = []


def _floats(blob: bytes) -> Any:
    return np.frombuffer(blob, np.float64) if len(blob) % 8 == 0 else None


def _strategies(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.strategies[row["strategy_id"]] = row
    if not re.fullmatch("[a-z0-9]{6}", row["code"]):
        yield "", "strategy_code", f"code {row['code']!r} is not six of a-z and 0-9"


def _lease(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.generations.append(row["generation"])
    if row["generation"] < 1:
        yield "", "lease_generation", f"generation {row['generation']} is below 1"


def _commands(row: Row, seen: Evidence) -> Iterator[Fault]:
    if row["state"] not in COMMAND_STATES:
        yield "", "command_state", f"state {row['state']!r} is none of {', '.join(COMMAND_STATES)}"


def _switches(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.switches.append(row)
    if row["finished_ms"] is not None and row["success"] is None:
        yield "", "switch_outcome", "it is finished but neither succeeded nor failed"


def _orders(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.orders[row["client_id"]] = row
    yield from _client_id(row, seen)
    if row["state"] not in get_args(OrderState):
        yield "", "order_state", f"state {row['state']!r} is not one of an order"
    if row["side"] not in SIDES:
        yield "", "order_side", f"side {row['side']!r} is neither buy nor sell"
    if not row["quantity"] > 0.0:
        yield "", "order_quantity", f"quantity {row['quantity']} is not above zero"
    if row["limit_price"] is not None and not row["limit_price"] > 0.0:
        yield "", "order_limit", f"limit {row['limit_price']} is not above zero"
    if row["row"] is not None and len(row["row"]) not in FILL_BYTES:
        yield "", "row_width", f"the planned fill has {len(row['row'])} bytes, not {8 * at.W_FILL}"


def _client_id(row: Row, seen: Evidence) -> Iterator[Fault]:
    found = CLIENT_ID.fullmatch(row["client_id"])
    if found is None:
        yield "", "client_id", "the client id is not of the form snb-<code>-<generation>-<purpose><sequence>"
        return
    code, generation, purpose, _ = found.groups()
    owner = seen.strategies.get(row["strategy_id"])
    if owner is not None and owner["code"] != code:
        yield "", "client_id", f"the client id carries code {code!r}, {row['strategy_id']} has {owner['code']!r}"
    if int(generation, 36) != row["generation"]:
        yield "", "client_id", f"the client id carries generation {int(generation, 36)}, the row {row['generation']}"
    if row["purpose"] != purpose:
        yield "", "client_id", f"the client id carries purpose {purpose!r}, the row {row['purpose']!r}"
    if seen.generations and row["generation"] > max(seen.generations):
        yield "", "order_generation", f"generation {row['generation']} is newer than the lease"


def _fills(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.fills[row["fill_id"]] = row
    seen.filled[row["client_id"]] += row["quantity"]
    if row["fee_currency"] is not None:
        seen.less_fee.add(row["client_id"])
    order = seen.orders.get(row["client_id"])
    if order is None and not row["strategy_id"].startswith("@"):
        yield "", "fill_order", f"there is no order {row['client_id']!r}"
    for name in ("strategy_id", "symbol", "side") if order else ():
        if order is not None and order[name] != row[name]:
            yield "", "fill_order", f"{name} is {row[name]!r}, its order's {order[name]!r}"
    if order is not None and order["limit_price"] is not None and _is_worse(row, order["limit_price"]):
        yield (
            "",
            "fill_limit",
            f"{row['side']} at {row['price']} is worse than its order's limit {order['limit_price']}",
        )
    if not (row["quantity"] > 0.0 and row["price"] > 0.0 and row["side"] in SIDES):
        yield "", "fill_value", f"{row['side']!r} {row['quantity']} at {row['price']} is no fill"
    elif row["row"] is not None:
        yield from _fill_row(row)


def _is_worse(fill: Row, limit: float) -> bool:
    return bool(SIDES.get(fill["side"], 0.0) * (fill["price"] - limit) > 1e-9 * limit)


def _fill_row(row: Row) -> Iterator[Fault]:
    cells = _floats(row["row"])
    if cells is None or len(row["row"]) not in FILL_BYTES:
        yield "", "row_width", f"the fill's row has {len(row['row'])} bytes, not {8 * at.W_FILL}"
        return
    packed = (cells[at.F_SIGN], cells[at.F_QUANTITY], cells[at.F_PRICE])
    if packed != (SIDES[row["side"]], row["quantity"], row["price"]):
        yield "", "fill_row", f"its row says sign, quantity, price {tuple(map(float, packed))}"


def _ledger(row: Row, seen: Evidence) -> Iterator[Fault]:
    if row["kind"] not in LEDGER_KINDS:
        yield "", "ledger_kind", f"kind {row['kind']!r} is none of {', '.join(LEDGER_KINDS)}"
        return
    position = seen.positions[row["strategy_id"], row["symbol"]]
    owner = seen.strategies.get(row["strategy_id"])
    if owner is None or row["ts_ns"] > owner["loaded_ms"] * 1_000_000:
        position.begin()
    realized = position.fold(row)
    if not is_near(position.quantity, row["position_after"], position.largest):
        yield "", "ledger_fold", f"the rows add up to {position.quantity!r}, it says {row['position_after']!r}"
        position.quantity = row["position_after"]
    if row["kind"] == "fill":
        yield from _ledger_fill(row, seen)
        if not is_near(realized, row["realized"], position.turnover):
            yield "", "ledger_realized", f"realized is {row['realized']!r}, the lots give {realized!r}"
    if row["kind"] == "transfer":
        seen.moved[row["symbol"], row["reference"]] += row["quantity"]
    if row["kind"] in ("transfer", "adjust") and not (row["author"] and row["reason"]):
        yield "", "ledger_author", f"a {row['kind']} needs an author and a reason"


def _ledger_fill(row: Row, seen: Evidence) -> Iterator[Fault]:
    fill = seen.fills.get(row["reference"])
    if fill is None:
        yield "", "ledger_reference", f"there is no fill {row['reference']!r}"
        return
    if row["reference"] in seen.booked:
        yield "", "fill_twice", f"fill {row['reference']!r} is booked twice"
    seen.booked.add(row["reference"])
    signed = SIDES.get(fill["side"], 0.0) * fill["quantity"]
    told, expected = (row["strategy_id"], row["symbol"]), (fill["strategy_id"], fill["symbol"])
    if told != expected or row["quantity"] != signed or row["price"] != fill["price"]:
        yield (
            "",
            "ledger_fill",
            f"it books {row['quantity']} at {row['price']}, the fill is {signed} at {fill['price']}",
        )


def _trades(row: Row, seen: Evidence) -> Iterator[Fault]:
    seen.trades[row["strategy_id"]].append(row["pnl"])
    if row["exit_ms"] < row["entry_ms"] or not row["quantity"] > 0.0 or row["direction"] not in (-1, 1):
        yield "", "trade_value", "it ends before it begins, or has no quantity or direction"


def _decisions(row: Row, seen: Evidence) -> Iterator[Fault]:
    cells = _floats(row["row"])
    if cells is None or len(cells) < at.W_DECISION:
        yield "", "row_width", f"the decision has {len(row['row'])} bytes, at least {8 * at.W_DECISION} are needed"
    elif cells[at.D_TIME] != row["open_time_ms"]:
        yield "", "decision_time", f"its row is of candle {cells[at.D_TIME]}"


def _risk_state(row: Row, seen: Evidence) -> Iterator[Fault]:
    scope, cells = row["scope"], _floats(row["row"])
    width, state = (at.W_BOOK_FIRST, at.B_STATE) if scope else (at.W_ACCOUNT, at.A_STATE)
    if row["digest"] != risk_digest(scope, row["row"]):
        yield "", "digest", "the risk row is damaged: its digest differs"
    elif cells is None or len(cells) < width:
        yield "", "row_width", f"the risk row has {len(row['row'])} bytes, at least {8 * width} are needed"
    else:
        seen.books[scope] = cells
        if cells[state] not in RISK_STATES:
            yield "", "risk_value", f"its state {cells[state]} is none of ACTIVE, REDUCING, HALTED"


def _states(row: Row, seen: Evidence) -> Iterator[Fault]:
    if row["sha256"] != state_digest(row):
        yield "", "digest", "the stored memory is damaged: its digest differs"
    if len(row["memory"]) % 8:
        yield "", "row_width", f"the memory has {len(row['memory'])} bytes, no whole number of floats"


def _events(row: Row, seen: Evidence) -> Iterator[Fault]:
    if row["seq"] < 1 or not row["type"]:
        yield "", "event_value", "an event needs a number above zero and a type"


def _candles(row: Row, seen: Evidence) -> Iterator[Fault]:
    body = (row["open"], row["close"])
    if not row["low"] <= min(body) <= max(body) <= row["high"]:
        yield "", "candle_value", "low, open, close and high are not in order"


# In this order: later proofs use what earlier ones have seen.
PROOFS: dict[str, Callable[[Row, Evidence], Iterator[Fault]]] = {
    "strategies": _strategies,
    "lease": _lease,
    "commands": _commands,
    "switches": _switches,
    "orders": _orders,
    "fills": _fills,
    "ledger": _ledger,
    "trades": _trades,
    "decisions": _decisions,
    "risk_state": _risk_state,
    "states": _states,
    "snapshots": _states,
    "events": _events,
    "candles": _candles,
}
