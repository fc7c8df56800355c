"""A small sound journal, row by row, with the kernels' own ledger arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Boolean, Column, Double, LargeBinary, Table, Text

from stratnb.journal import Journal, risk_digest, state_digest
from stratnb.journal.schema import is_json
from stratnb.kernels import layout as at
from stratnb.kernels.trade import apply_fill

ALPHA, BETA = "alpha@BTC/USDT#main", "beta@BTC/USDT#main"
CODES = {ALPHA: "abc234", BETA: "xyz789"}
SIDES = {1.0: "buy", -1.0: "sell"}
START_MS = 1_700_000_000_000


def sample_value(column: Column[Any], number: int) -> Any:
    """Return a value of a column's kind that differs from row to row."""
    if is_json(column):
        return {"number": number, "text": "a ünïcode <b>\x00\ud800</b>", "list": [None, True, 1.5]}
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, Double):
        return number + 0.1
    if isinstance(column.type, LargeBinary):
        return np.arange(number + 1.0).tobytes()
    return f"{column.name} {number} €" if isinstance(column.type, Text) else 2**53 + number


def sample_row(table: Table, number: int = 1) -> dict[str, Any]:
    """Return a whole row."""
    return {column.name: sample_value(column, number) for column in table.columns}


class Trading:
    """Writes what an engine would write for two strategies, fill by fill."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal.open(path, now_ms=lambda: START_MS)
        self.books = {name: np.zeros(at.W_BOOK) for name in CODES}
        self.first: dict[str, list[Any]] = {name: [] for name in CODES}
        self.number = 0
        self.journal.upsert(
            "lease", {"account": "paper", "holder": "h", "host": "here", "pid": 1, "generation": 1, "expires_ms": 1}
        )
        for place, (name, code) in enumerate(CODES.items()):
            self.strategy(name, code, place)
        self.risk()

    def strategy(self, name: str, code: str, place: int) -> None:
        told = {"strategy_id": name, "place": place, "code": code, "name": name[:4], "symbol": "BTC/USDT"}
        rest = {"state": "active", "loaded_ms": START_MS - 1, "config_hash": "c", "document": {"name": name}}
        self.journal.upsert("strategies", told | rest)

    def order(self, owner: str, sign: float, quantity: float, **changes: Any) -> str:
        """Write an order that is filled whole and return its id."""
        self.number += 1
        client_id = f"snb-{CODES[owner]}-0001-e{self.number:08d}"
        row = {"client_id": client_id, "strategy_id": owner, "symbol": "BTC/USDT", "side": SIDES[sign]}
        row |= {"quantity": quantity, "purpose": "e", "generation": 1, "state": "FILLED", "filled": quantity}
        self.journal.upsert("orders", row | {"created_ms": START_MS, "updated_ms": START_MS} | changes)
        return client_id

    def fill(self, owner: str, sign: float, quantity: float, price: float) -> None:
        """Write an order with its fill and ledger row, and the trade when it closed one."""
        client_id, book, time_ms = self.order(owner, sign, quantity), self.books[owner], START_MS + self.number
        row = np.zeros(at.W_FILL)
        row[: at.F_REASON] = sign, quantity, price, quantity * price * 0.001, time_ms
        closed = book[at.B_TRADES]
        apply_fill(book, row)
        same = {"strategy_id": owner, "symbol": "BTC/USDT", "price": price, "fee": row[at.F_FEE], "time_ms": time_ms}
        fill = {"fill_id": f"{client_id}.1", "client_id": client_id, "side": SIDES[sign], "quantity": quantity}
        self.journal.upsert("fills", same | fill | {"row": row})
        told = {"kind": "fill", "quantity": sign * quantity, "realized": row[at.F_REALIZED]}
        told |= {"position_after": row[at.F_AFTER], "reference": f"{client_id}.1", "seq": self.journal.next_seq()}
        self.journal.upsert("ledger", same | told)
        if book[at.B_TRADES] > closed:
            self.trade(owner, time_ms, quantity)
        self.risk()

    def trade(self, owner: str, time_ms: int, quantity: float) -> None:
        book = self.books[owner]
        pnl = book[at.B_TRADE_REALIZED] - book[at.B_TRADE_COSTS]
        told = {"strategy_id": owner, "trade_no": book[at.B_TRADES].astype(int), "symbol": "BTC/USDT", "direction": 1}
        told |= {"quantity": quantity, "entry_ms": START_MS, "entry_price": 1.0, "exit_ms": time_ms, "exit_price": 1.0}
        self.journal.upsert("trades", told | {"pnl": pnl, "fees": 0.0, "fills": 2})

    def risk(self) -> None:
        """Write every book and the account."""
        rows = {"": np.zeros(at.W_ACCOUNT), **self.books}
        for scope, row in rows.items():
            cells = row.tobytes()
            self.journal.upsert("risk_state", {"scope": scope, "row": cells, "digest": risk_digest(scope, cells)})

    def decision(self, owner: str, open_time_ms: int, width: int = at.W_DECISION + 8) -> None:
        row = np.full(width, np.nan)
        row[at.D_TIME] = open_time_ms
        self.journal.insert("decisions", {"strategy_id": owner, "open_time_ms": open_time_ms, "row": row})

    def state(self, owner: str) -> None:
        row = {"strategy_id": owner, "schema": 1, "config_hash": "c", "code_hash": "d", "taken_ms": START_MS}
        row |= {"watermark_ms": START_MS, "candles": 3, "memory": np.arange(9.0).tobytes()}
        row["sha256"] = state_digest(row)
        self.journal.upsert("states", row)
        self.journal.upsert("snapshots", row | {"seq": self.journal.next_seq()})


def trading_journal(path: Path) -> None:
    """Write a journal in which two strategies traded on opposite sides, with a row in every kind of table."""
    trading = Trading(path)
    for owner, sign, quantity, price in (
        *((ALPHA, 1.0, 0.3, 100.0), (BETA, -1.0, 0.2, 101.0), (ALPHA, 1.0, 0.1, 103.3), (ALPHA, -1.0, 0.15, 104.0)),
        *((BETA, 1.0, 0.2, 99.0), (ALPHA, -1.0, 0.25, 102.0), (BETA, 1.0, 0.7, 98.0)),
    ):
        trading.fill(owner, sign, quantity, price)
        trading.journal.commit(durable=True)
    trading.order(ALPHA, 1.0, 1.0, state="UNKNOWN", filled=0.0)
    for number in range(5):
        trading.decision(ALPHA, START_MS + number * 60_000)
    trading.state(ALPHA)
    switch = {"number": 1, "from_id": None, "to_id": ALPHA, "policy": "keep", "phase": "retire", "success": True}
    trading.journal.insert("switches", switch | {"started_ms": START_MS, "finished_ms": START_MS})
    trading.journal.insert("events", {"seq": 1, "type": "FILL", "strategy_id": ALPHA, "payload": {"price": 1.5}})
    candle = {"symbol": "BTC/USDT", "open_time_ms": START_MS, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}
    trading.journal.upsert("candles", candle | {"volume": 7.0})
    trading.journal.commit(durable=True)
    trading.journal.close()
