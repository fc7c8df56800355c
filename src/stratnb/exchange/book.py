"""The paper exchange's own book: orders and executions in a file of its own, so that it outlives its clients."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stratnb.errors import Halt, Refused, RetryLater
from stratnb.exchange.base import Execution, OrderReport
from stratnb.kernels import layout as at
from stratnb.kernels.stored import fill_from
from stratnb.model import Order, OrderState

__all__ = ["PaperBook"]

Floats = npt.NDArray[np.float64]
HEARD = "coalesce(e.heard_ms, o.closed_ms, o.created_ms)"
SCHEMA = """
create table if not exists orders (
    order_id text primary key, symbol text not null, quantity real not null, state text not null,
    created_ms integer not null, closed_ms integer
) without rowid;
create table if not exists executions (
    seq integer primary key, fill_id text not null unique, order_id text not null, symbol text not null,
    signed real not null, time_ms integer not null, fill blob not null, heard_ms integer
);
create index if not exists executions_of_order on executions (order_id);
create index if not exists working on orders (state) where state = 'OPEN';
"""


class PaperBook:
    """Every change is one transaction of SQLite; without a path the book lives in memory.

    The client's crash loses nothing that was accepted; two clients may share one file. What the file refuses is
    `RetryLater` (`paper_book`): nothing was changed then.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.executescript(SCHEMA)
            self._bring_forward()
        except (OSError, sqlite3.Error) as error:
            raise Halt(
                "paper_book", f"the paper exchange's book {path} cannot be opened: {error}", hint="check file and disk"
            ) from error

    def _bring_forward(self) -> None:
        """Add what a file of an earlier version lacks: its executions were heard when their order closed."""
        if "heard_ms" not in {row[1] for row in self._db.execute("pragma table_info(executions)")}:
            self._db.execute("alter table executions add column heard_ms integer")

    def close(self) -> None:
        """Close the file; later calls fail."""
        self._db.close()

    def accept(self, order: Order, row: Floats | None) -> OrderState:
        """Keep a new order, executed at once when a fill row is given; a known id is `Refused`."""
        state: OrderState = "OPEN" if row is None else "FILLED"
        with self._transaction():
            try:
                self._db.execute(
                    "insert into orders values (?, ?, ?, ?, ?, ?)",
                    (
                        *(order.order_id, order.symbol, order.quantity, state, order.created_ms),
                        None if row is None else order.created_ms,
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Refused(
                    "duplicate_order", f"order {order.order_id} exists already", value=order.order_id, hint="query it"
                ) from error
            if row is not None:
                self._insert(order.order_id, order.symbol, row[None], order.created_ms)
        return state

    def execute(self, order_id: str, rows: Floats, now_ms: int) -> Floats:
        """Fill a working order with these rows and return them; asked twice at a time, those of the first time.

        One that has ended before returns none.
        """
        return self._execute(order_id, rows, now_ms, "FILLED" if len(rows) else "CANCELED")

    def execute_part(self, order_id: str, rows: Floats, now_ms: int) -> Floats:
        """Fill a part of a working order and return the rows, those of before when it is done twice; it rests on."""
        return self._execute(order_id, rows, now_ms, "OPEN")

    def _execute(self, order_id: str, rows: Floats, now_ms: int, state: OrderState) -> Floats:
        with self._transaction():
            found = self._db.execute("select state, symbol from orders where order_id = ?", (order_id,)).fetchone()
            if found is None or found[0] != "OPEN":
                return self._heard(order_id, now_ms)
            known = self._heard(order_id, now_ms)
            if len(known):
                return known
            self._insert(order_id, found[1], rows, now_ms)
            if state != "OPEN":
                sql = "update orders set state = ?, closed_ms = ? where order_id = ?"
                self._db.execute(sql, (state, now_ms, order_id))
        return rows

    def _heard(self, order_id: str, heard_ms: int) -> Floats:
        """Return the rows that an order executed at a time."""
        sql = "select fill from executions where order_id = ? and heard_ms = ? order by seq"
        found = self._db.execute(sql, (order_id, heard_ms))
        return np.array([fill_from(row[0]) for row in found]).reshape(-1, at.W_FILL)

    def cancel(self, order_id: str, now_ms: int) -> OrderState:
        """Cancel an order if it works, and return its state; an unknown one is `Refused`."""
        sql = "update orders set state = 'CANCELED', closed_ms = ? where order_id = ? and state = 'OPEN'"
        with self._transaction():
            self._db.execute(sql, (now_ms, order_id))
            found = self._db.execute("select state from orders where order_id = ?", (order_id,)).fetchone()
        if found is None:
            raise Refused("order_not_found", f"order {order_id} is not known", value=order_id, hint="query it again")
        state: OrderState = found[0]
        return state

    def rewind(self, to_ms: int) -> None:
        """Forget what happened after a time: that time is going to be replayed, so none of it has happened."""
        later = "select order_id from orders where created_ms > ? or closed_ms > ?"
        with self._transaction():
            self._db.execute(
                f"delete from executions where heard_ms > ? or (heard_ms is null and order_id in ({later}))",
                (to_ms, to_ms, to_ms),
            )
            self._db.execute("delete from orders where created_ms > ?", (to_ms,))
            self._db.execute("update orders set state = 'OPEN', closed_ms = null where closed_ms > ?", (to_ms,))

    @property
    def is_empty(self) -> bool:
        """Return whether no order was ever taken."""
        with self._transaction("deferred"):
            return self._db.execute("select 1 from orders limit 1").fetchone() is None

    def report(self, order_id: str, until_ms: int) -> OrderReport | None:
        """Return an order as it was at a time: executions that came later are not told, nor their effect."""
        with self._transaction("deferred"):
            return self._report(order_id, until_ms)

    def _report(self, order_id: str, until_ms: int) -> OrderReport | None:
        sql = "select symbol, state, closed_ms from orders where order_id = ?"
        found = self._db.execute(sql, (order_id,)).fetchone()
        if found is None:
            return None
        symbol, state, closed_ms = found
        if closed_ms is not None and closed_ms > until_ms:
            return OrderReport(order_id, symbol, "OPEN", self._executions_of(order_id, until_ms))
        return OrderReport(order_id, symbol, state, self._executions_of(order_id))

    def working(self, until_ms: int) -> tuple[OrderReport, ...]:
        """Return the orders that worked at a time and were made before it."""
        sql = (
            "select order_id from orders where created_ms <= ? and (state = 'OPEN' or closed_ms > ?) "
            "order by created_ms, order_id"
        )
        with self._transaction("deferred"):
            ids = [row[0] for row in self._db.execute(sql, (until_ms, until_ms))]
            reports = [self._report(order_id, until_ms) for order_id in ids]
        return tuple(each for each in reports if each is not None and each.state == "OPEN")

    def _executions_of(self, order_id: str, until_ms: int | None = None) -> tuple[Execution, ...]:
        sql = (
            "select seq, fill_id, order_id, fill from executions where order_id = :id "
            "and (:ms is null or heard_ms <= :ms) order by seq"
        )
        return tuple(_execution(row) for row in self._db.execute(sql, {"id": order_id, "ms": until_ms}))

    def executions(self, after: int, until_ms: int) -> tuple[Execution, ...]:
        """Return the executions with a larger number that had happened at a time, oldest first."""
        sql = (
            "select e.seq, e.fill_id, e.order_id, e.fill from executions e join orders o using (order_id) "
            f"where e.seq > ? and {HEARD} <= ? and o.created_ms <= ? order by e.seq"
        )
        with self._transaction("deferred"):
            return tuple(_execution(row) for row in self._db.execute(sql, (after, until_ms, until_ms)))

    def position(self, symbol: str, until_ms: int) -> float:
        """Return the sum of the signed executions of a market."""
        sql = (
            "select e.signed from executions e join orders o using (order_id) where e.symbol = ? "
            f"and {HEARD} <= ? and o.created_ms <= ? order by e.seq"
        )
        with self._transaction("deferred"):
            return float(sum(row[0] for row in self._db.execute(sql, (symbol, until_ms, until_ms))))

    @contextmanager
    def _transaction(self, kind: str = "immediate") -> Iterator[None]:
        """Run a block as one transaction: whole, or not at all when it raises; it sees one state of the book."""
        try:
            with self._db:
                self._db.execute(f"begin {kind}")
                yield
        except sqlite3.Error as error:
            text, hint = f"the paper exchange's book {self.path} does not answer: {error}", "look at file and disk"
            raise RetryLater("paper_book", text, hint=hint) from error

    def _insert(self, order_id: str, symbol: str, rows: Floats, heard_ms: int) -> None:
        sql = "select count(*) from executions where order_id = ?"
        before = self._db.execute(sql, (order_id,)).fetchone()[0]
        for number, row in enumerate(rows, before):
            self._db.execute(
                "insert into executions (fill_id, order_id, symbol, signed, time_ms, fill, heard_ms) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (
                    f"{order_id}.{number}",
                    order_id,
                    symbol,
                    float(row[at.F_SIGN] * row[at.F_QUANTITY]),
                    int(row[at.F_TIME]),
                    row.tobytes(),
                    heard_ms,
                ),
            )


def _execution(row: tuple[int, str, str, bytes]) -> Execution:
    return Execution(row[0], row[1], row[2], fill_from(row[3]))
