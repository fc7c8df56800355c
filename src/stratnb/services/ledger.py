"""Opening the rows that kernels work on: one account, one book per strategy, with their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from stratnb.kernels import layout as at
from stratnb.strategy.plan import Plan

__all__ = ["AccountLimits", "allocated", "new_account", "open_book"]

Floats = npt.NDArray[np.float64]
FRACTION: dict[str, Any] = {"x-unit": "fraction"}


class AccountLimits(BaseModel):
    """The account's risk limits; None switches a rule off. Fractions of account equity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_open_positions: int | None = Field(10, ge=1, title="Open positions")
    max_per_market: int | None = Field(3, ge=1, title="Strategies in one market")
    market_net: float | None = Field(0.5, gt=0, title="Net notional of a market", json_schema_extra=FRACTION)
    market_gross: float | None = Field(1.0, gt=0, title="Gross notional of a market", json_schema_extra=FRACTION)
    gross_spot: float | None = Field(1.0, gt=0, title="Gross notional, spot", json_schema_extra=FRACTION)
    gross_linear: float | None = Field(3.0, gt=0, title="Gross notional, linear", json_schema_extra=FRACTION)
    daily_loss: float | None = Field(0.05, gt=0, le=1, title="Loss of a day", json_schema_extra=FRACTION)
    flatten: bool = Field(True, title="Close everything when the daily loss is reached")
    require_stop: bool = Field(False, title="Deny entries without a stop")


def new_account(cash: float, limits: AccountLimits | None = None) -> Floats:
    """Return an account row that starts with `cash` in quote units."""
    limits = limits or AccountLimits()
    row = np.zeros(at.W_ACCOUNT)
    row[[at.A_START, at.A_EQUITY, at.A_EQUITY_LOW, at.A_FREE, at.A_DAY_START, at.A_PEAK]] = cash
    row[at.A_DAY] = -1.0
    row[at.A_MAX_OPEN] = _limit(limits.max_open_positions)
    row[at.A_MAX_PER_MARKET] = _limit(limits.max_per_market)
    row[at.A_MARKET_NET] = _limit(limits.market_net)
    row[at.A_MARKET_GROSS] = _limit(limits.market_gross)
    row[at.A_GROSS_SPOT] = _limit(limits.gross_spot)
    row[at.A_GROSS_LINEAR] = _limit(limits.gross_linear)
    row[at.A_MAX_DAILY_LOSS] = _limit(limits.daily_loss)
    row[at.A_FLATTEN] = float(limits.flatten)
    row[at.A_REQUIRE_STOP] = float(limits.require_stop)
    return row


def allocated(plan: Plan, cash: float) -> float:
    """Return the strategy's capital in quote units, of an account that started with `cash`."""
    capital = plan.config.capital
    return capital.amount if capital.unit == "quote" else capital.amount * cash


def open_book(row: Floats, plan: Plan, *, cash: float, market: int = 0) -> None:
    """Write a fresh book for a plan into a row: flat, dormant, with its capital and limits."""
    capital, risk = allocated(plan, cash), plan.config.risk
    row[:] = 0.0
    row[[at.B_CAPITAL, at.B_EQUITY, at.B_EQUITY_LOW, at.B_PEAK_EQUITY, at.B_DAY_START]] = capital
    row[[at.B_STOP, at.B_FIRST_STOP]] = math.nan
    row[at.B_USED] = 1.0
    row[at.B_MARKET] = market
    row[at.B_LEVERAGE] = plan.config.execution.leverage
    row[at.B_LINEAR] = float(plan.market.kind == "linear")
    row[at.B_MAX_EXPOSURE] = _limit(risk.max_exposure)
    row[at.B_MAX_DAILY_LOSS] = _limit(risk.max_daily_loss)
    row[at.B_BASE_MS] = plan.base_ms
    row[at.B_DAY] = -1.0


def _limit(value: float | None) -> float:
    return math.nan if value is None else float(value)
