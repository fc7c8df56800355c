"""The ledger folded again, row by row, beside the kernels' own arithmetic (trading_rules 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["LEDGER_KINDS", "Position", "is_near"]

LEDGER_KINDS = ("fill", "transfer", "adjust", "fee", "funding")
NEAR = 1e-9


def is_near(a: float, b: float, scale: float = 0.0) -> bool:
    """Tell whether two sums of float64 differ by rounding only; `scale` is the size of what was summed."""
    return math.isclose(a, b, rel_tol=NEAR, abs_tol=NEAR * scale)


class Position:
    """One owner's lots in one market: signed quantity, average entry price, realized pnl and fees in quote units.

    `largest` and `turnover` give the scale for comparisons; `is_plain` is true while nothing but fills was folded.
    `earlier` is what was realized before the owner was removed and loaded again: its book began anew then.
    """

    def __init__(self) -> None:
        self.quantity = self.average = self.realized = self.fees = 0.0
        self.largest = self.turnover = 0.0
        self.rows = self.closed = 0
        self.is_plain = True
        self.earlier: float | None = None

    def begin(self) -> None:
        """Begin the present life of the owner, at its first row; a second call does nothing."""
        if self.earlier is None:
            self.earlier = self.realized

    @property
    def realized_now(self) -> float:
        """Return what was realized in the present life."""
        return 0.0 if self.earlier is None else self.realized - self.earlier

    def fold(self, row: Mapping[str, Any]) -> float:
        """Take the next ledger row in and return the pnl that its price realizes on the lots held."""
        quantity, price, held = row["quantity"], row["price"], self.quantity
        realized = 0.0
        if price is None or held == 0.0:
            self.quantity = held + quantity
            self.average = self.average if price is None else price
        elif held * quantity > 0.0:
            self.average = (self.average * held + price * quantity) / (held + quantity)
            self.quantity = held + quantity
        else:
            realized = (price - self.average) * min(abs(held), abs(quantity)) * math.copysign(1.0, held)
            self._reduce(held, quantity, price)
        self.realized += row["realized"]
        self.fees += row["fee"]
        self.largest = max(self.largest, abs(self.quantity), abs(quantity))
        self.turnover += abs(quantity * (price or 0.0)) + abs(row["fee"])
        self.rows += 1
        self.is_plain = self.is_plain and row["kind"] in ("fill", "funding")
        return realized

    def _reduce(self, held: float, quantity: float, price: float) -> None:
        """Close lots; what crosses zero opens the next trade at the price."""
        if abs(quantity) < abs(held):
            self.quantity = held + quantity
            return
        self.closed += 1
        rest = abs(quantity) - abs(held)
        self.quantity = math.copysign(rest, quantity) if rest > 0.0 else 0.0
        if rest > 0.0:
            self.average = price
