"""The position manager: one sub-ledger per strategy on one account, changed by fills only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from stratnb.errors import Refused
from stratnb.events import StrategyBus
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.model import Fill, Market, Position, Trade
from stratnb.services.curves import Curve
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.services.reserved import reserved_reason, reserved_row, reserved_settings
from stratnb.services.trades import fill_of, trades_of
from stratnb.services.transfers import give, receive, transfer_row
from stratnb.strategy.plan import Plan

__all__ = ["Book", "PositionManager"]

Floats = npt.NDArray[np.float64]
FILL_COUNTS_FROM = at.REASON_TARGET


@dataclass(slots=True, eq=False)
class Book:
    """One strategy's sub-ledger: its row, the settings it is filled with, its fills and its equity curve.

    `correlation` is the id of the decision that opened the present trade; its fills carry it.
    """

    strategy_id: str
    symbol: str
    slot: int
    row: Floats
    settings: Floats
    reason: Callable[[float], str]
    events: StrategyBus
    curve: Curve
    correlation: str = ""
    fill_rows: list[Floats] = field(default_factory=list)
    stops: list[tuple[int, float]] = field(default_factory=list)

    @property
    def quantity(self) -> float:
        """Return the signed quantity held."""
        return float(self.row[at.B_QUANTITY])

    @property
    def is_flat(self) -> bool:
        """Return whether there is neither a position nor a working order."""
        return bool(self.row[at.B_QUANTITY] == 0.0 and self.row[at.B_ORDER] == at.ORDER_NONE)

    def fills(self) -> list[Fill]:
        """Return the fills, oldest first."""
        rows = list(self.fill_rows)
        return [fill_of(row, strategy_id=self.strategy_id, symbol=self.symbol, reason=self.reason) for row in rows]

    def trades(self) -> list[Trade]:
        """Return the closed round trips, oldest first."""
        rows = np.array(self.fill_rows) if self.fill_rows else np.empty((0, at.W_FILL))
        return trades_of(rows, strategy_id=self.strategy_id, symbol=self.symbol, reason=self.reason)

    def fills_of(self, trade_no: int) -> list[Fill]:
        """Return the fills of one round trip, oldest first; the newer it is, the sooner they are found."""
        newer = takewhile(lambda row: row[at.F_TRADE] >= trade_no, reversed(self.fill_rows))
        rows = [row for row in newer if row[at.F_TRADE] == trade_no][::-1]
        return [fill_of(row, strategy_id=self.strategy_id, symbol=self.symbol, reason=self.reason) for row in rows]

    def trades_since(self, time_ms: int) -> list[Trade]:
        """Return the round trips that were closed since a time, oldest first."""
        rows = []
        for row in reversed(self.fill_rows):
            if row[at.F_AFTER] == 0.0 and row[at.F_TIME] < time_ms:
                break
            rows.append(row)
        found = np.array(rows[::-1]) if rows else np.empty((0, at.W_FILL))
        return trades_of(found, strategy_id=self.strategy_id, symbol=self.symbol, reason=self.reason)

    def position(self) -> Position | None:
        """Return the open position, None when flat."""
        row = self.row
        if row[at.B_QUANTITY] == 0.0:
            return None
        levels = row[at.B_LEVELS : at.B_LEVELS + at.W_LEVEL * int(row[at.B_TARGETS])].reshape(-1, at.W_LEVEL)
        original = float(row[at.B_ORIGINAL])
        return Position(
            strategy_id=self.strategy_id,
            symbol=self.symbol,
            quantity=float(row[at.B_QUANTITY]),
            entry_price=float(row[at.B_AVERAGE]),
            mark_price=float(row[at.B_MARK]),
            opened_ms=int(row[at.B_OPENED_MS]),
            stop=_known(row[at.B_STOP]),
            initial_stop=_known(row[at.B_FIRST_STOP]),
            targets=tuple((float(price), float(share / original), bool(done)) for price, share, done in levels),
            unrealized_pnl=float(row[at.B_QUANTITY] * (row[at.B_MARK] - row[at.B_AVERAGE])),
            realized_pnl=float(row[at.B_REALIZED] - row[at.B_COSTS]),
            fees=float(row[at.B_COSTS] - row[at.B_FUNDING]),
            funding=float(row[at.B_FUNDING]),
        )


class PositionManager:
    """Holds the account row and the matrix of books; slot k of the matrix belongs to one strategy.

    Only `apply` and `transfer` change what is held. The sum of the books is the account, after every event.
    """

    def __init__(
        self,
        cash: float,
        *,
        slots: int = 50,
        reserved: int = 0,
        limits: AccountLimits | None = None,
        curve_points: int | None = 100_000,
    ) -> None:
        self.cash = cash
        self.limits = limits or AccountLimits()
        self.account = new_account(cash, self.limits)
        self.slots = slots
        self.books = np.zeros((slots + reserved, at.W_BOOK))
        self.curve = Curve(curve_points)
        self._curve_points = curve_points
        self._by_id: dict[str, Book] = {}

    def __repr__(self) -> str:
        """Return the number of books and the equity."""
        return f"<PositionManager {len(self._by_id)} books, equity {self.account[at.A_EQUITY]:.6g}>"

    def open(self, strategy_id: str, plan: Plan, *, market: int, events: StrategyBus) -> Book:
        """Open a flat book for a strategy in the first free slot."""
        free = np.flatnonzero(self.books[: self.slots, at.B_USED] == 0.0)
        if not len(free):
            raise Refused("registry_full", f"all {self.slots} books are taken", hint="remove a strategy first")
        slot = int(free[0])
        open_book(self.books[slot], plan, cash=self.cash, market=market)
        book = Book(
            strategy_id=strategy_id,
            symbol=plan.market.symbol,
            slot=slot,
            row=self.books[slot],
            settings=plan.params,
            reason=plan.fill_reason,
            events=events,
            curve=Curve(self._curve_points),
        )
        self._by_id[strategy_id] = book
        self.refresh()
        return book

    def open_reserved(self, key: str, market: Market, *, number: int, events: StrategyBus) -> Book:
        """Open the book of an owner that is no strategy, in a slot that is kept for such."""
        slot = self.slots + int(np.flatnonzero(self.books[self.slots :, at.B_USED] == 0.0)[0])
        self.books[slot] = reserved_row(number, market)
        book = Book(
            strategy_id=key,
            symbol=market.symbol,
            slot=slot,
            row=self.books[slot],
            settings=reserved_settings(market),
            reason=reserved_reason,
            events=events,
            curve=Curve(self._curve_points),
        )
        self._by_id[key] = book
        return book

    def close(self, strategy_id: str) -> None:
        """Give a flat strategy's slot back; its result stays in the account."""
        book = self._by_id.pop(strategy_id)
        result = float(book.row[at.B_REALIZED] - book.row[at.B_COSTS])
        self.account[at.A_START] += result
        book.row = book.row.copy()
        self.books[book.slot] = 0.0
        self.refresh()

    @property
    def removed_pnl(self) -> float:
        """Return the result of strategies that were removed, and of owners that are none."""
        kept = self.books[self.slots :]
        gone = float(self.account[at.A_START]) - self.cash
        return gone + float((kept[:, at.B_EQUITY] - kept[:, at.B_CAPITAL]).sum())

    def arrange(self, strategy_ids: Iterable[str]) -> None:
        """Put the books of strategies into an order; those that are not named come first."""
        for key in strategy_ids:
            self._by_id[key] = self._by_id.pop(key)

    def book(self, strategy_id: str) -> Book:
        """Return the book of a loaded strategy."""
        return self._by_id[strategy_id]

    def all(self) -> tuple[Book, ...]:
        """Return the books of strategies in the order of loading."""
        return tuple(book for book in self._by_id.values() if book.slot < self.slots)

    def refresh(self) -> None:
        """Fold the books into the account row."""
        loop.update_account(self.books, self.account)

    def apply(self, book: Book, row: Floats) -> bool:
        """Book one fill and announce it; return whether it entered (the levels must then be armed)."""
        before = book.row[at.B_QUANTITY]
        loop.apply(book.row, row)
        book.fill_rows.append(row.copy())
        self._announce(book, row, before)
        return bool(before == 0.0 or row[at.F_REASON] == at.REASON_ENTRY)

    def transfer(self, old: Book, new: Book, row: Floats, *, reference: str, time_ms: int) -> tuple[Floats, Floats]:
        """Move a whole position from one book to a flat one of the same market, without order, price or pnl.

        `row` is the new owner's row with the position and its levels in it. Returns the two booked rows (W_FILL), of
        the old and the new owner.
        """
        given = transfer_row(old.row, old.fill_rows, -1.0, time_ms)
        taken = transfer_row(old.row, new.fill_rows, 1.0, time_ms)
        receive(new.row, row, old.row)
        give(old.row)
        new.correlation, new.stops = old.correlation, []
        if not np.isnan(new.row[at.B_STOP]):
            new.stops.append((time_ms, float(new.row[at.B_STOP])))
        old.stops.clear()
        ways = {"from": old.strategy_id, "to": new.strategy_id, "reference": reference}
        for book, moved in ((old, given), (new, taken)):
            book.fill_rows.append(moved)
            payload: dict[str, object] = {
                "quantity": float(moved[at.F_SIGN] * moved[at.F_QUANTITY]),
                "price": float(moved[at.F_PRICE]),
                "position_after": float(moved[at.F_AFTER]),
                **ways,
            }
            correlation = new.correlation or None
            book.events.publish("POSITION_TRANSFERRED", correlation_id=correlation, source="positions", payload=payload)
        self.refresh()
        return given, taken

    def _announce(self, book: Book, row: Floats, before: float) -> None:
        fill = fill_of(row, strategy_id=book.strategy_id, symbol=book.symbol, reason=book.reason)
        payload = {name: getattr(fill, name) for name in Fill.__slots__ if name not in ("strategy_id", "symbol")}
        correlation = book.correlation or None
        publish = book.events.publish
        publish("FILL", correlation_id=correlation, source="positions", payload=payload)
        if at.REASON_TARGET < row[at.F_REASON] <= at.REASON_TARGET + at.MAX_TARGETS:
            publish(
                "TARGET_HIT",
                correlation_id=correlation,
                source="positions",
                payload={name: getattr(fill, name) for name in ("reason", "price", "quantity")}
                | {"pnl": fill.realized_pnl},
            )
        kind = "OPENED" if before == 0.0 else "CLOSED" if fill.position_after == 0.0 else "CHANGED"
        moved: dict[str, object] = {"quantity": fill.position_after, "price": fill.price, "reason": fill.reason}
        moved["trade_no"] = fill.trade_no
        if kind == "CLOSED":
            moved["pnl"] = float(book.row[at.B_TRADE_REALIZED] - book.row[at.B_TRADE_COSTS])
        publish(f"POSITION_{kind}", correlation_id=correlation, source="positions", payload=moved)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
