"""Sizing blocks: how much to buy or sell, as a notional in quote units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from stratnb.blocks.base import Input, Sizing
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats

__all__ = ["FixedFraction", "FixedQuantity", "FixedQuote", "RiskFraction"]


class FixedQuote(Sizing, kind="fixed_quote"):
    """The same notional each time."""

    amount: float = Field(100.0, gt=0, title="Amount", json_schema_extra={"x-unit": "quote"})

    def inputs(self) -> tuple[Input, ...]:
        """Return the entry estimate, which shows that a price is known."""
        return ("signal.price",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write the amount."""
        out[0] = p[0]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return that the amount is fixed."""
        return f"always {self.amount:,.2f}"


class FixedQuantity(Sizing, kind="fixed_quantity"):
    """The same quantity of the base currency each time."""

    quantity: float = Field(1.0, gt=0, title="Quantity", json_schema_extra={"x-unit": "base"})

    def inputs(self) -> tuple[Input, ...]:
        """Return the entry estimate."""
        return ("signal.price",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write quantity times price."""
        out[0] = p[0] * x[0]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return quantity times price."""
        return f"{self.quantity:g} × {row['signal.price']:,.6g}"


class FixedFraction(Sizing, kind="fixed_fraction"):
    """A fixed fraction of the strategy's equity."""

    fraction: float = Field(0.1, gt=0, le=10, title="Fraction of equity", json_schema_extra={"x-unit": "fraction"})

    def inputs(self) -> tuple[Input, ...]:
        """Return the equity of the strategy."""
        return ("account.equity",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write fraction times equity."""
        out[0] = p[0] * x[0]

    def explain(self, row: Mapping[str, float]) -> str:
        """Return fraction times equity."""
        return f"{self.fraction:.4g} × {row['account.equity']:,.2f}"


class RiskFraction(Sizing, kind="risk"):
    """The notional that loses a fixed fraction of equity when the stop is hit."""

    needs_stop: ClassVar[bool] = True

    fraction: float = Field(0.01, gt=0, le=0.1, title="Equity at risk", json_schema_extra={"x-unit": "fraction"})
    include_costs: bool = Field(True, title="Count fees and slippage as risk")

    def inputs(self) -> tuple[Input, ...]:
        """Return the entry estimate, the stop, the equity and the cost of a round trip (fraction)."""
        return ("signal.price", "stop.price", "account.equity", "cost.round_trip")

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Write fraction * E / (stop distance + costs)."""
        distance = abs(x[0] - x[1]) / x[0]
        if p[1] != 0.0:
            distance += x[3]
        out[0] = p[0] * x[2] / distance if distance > 0.0 else 0.0

    def explain(self, row: Mapping[str, float]) -> str:
        """Return the money at risk over the distance of the stop."""
        distance = abs(row["signal.price"] - row["stop.price"]) / row["signal.price"]
        costs = f" + {row['cost.round_trip']:.3%} costs" if self.include_costs else ""
        return f"{self.fraction:.4g} × {row['account.equity']:,.2f} / ({distance:.3%} stop{costs})"
