"""Opening the rows that kernels work on: one account, one book per strategy, with their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from stratnb.kernels import layout as at
from stratnb.strategy.plan import Plan
from stratnb.strategy.sections import ProfitLock, Risk
from stratnb.strategy.settings import limit

__all__ = [
    "AccountLimits",
    "ErrorStorm",
    "Guard",
    "allocated",
    "limit_account",
    "limit_book",
    "move_capital",
    "new_account",
    "open_book",
]

Floats = npt.NDArray[np.float64]
FRACTION: dict[str, Any] = {"x-unit": "fraction"}
SECONDS: dict[str, Any] = {"x-unit": "s"}


class Guard(BaseModel):
    """A pause of all entries after several losing stops of the account within a window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(8, ge=1, title="Stops")
    window_s: float = Field(86400, gt=0, title="Window", json_schema_extra=SECONDS)
    pause_s: float = Field(21600, ge=0, title="Pause", json_schema_extra=SECONDS)


class ErrorStorm(BaseModel):
    """Only reducing orders for a while after many failed order calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(10, ge=1, le=1_000, title="Failed calls")
    window_s: float = Field(60, gt=0, title="Window", json_schema_extra=SECONDS)
    pause_s: float = Field(300, gt=0, title="Pause", json_schema_extra=SECONDS)


class AccountLimits(BaseModel):
    """The account's risk limits; None switches a rule off. Fractions of account equity, unless said otherwise.

    `volatility_halt` acts on strategies whose document has an indicator `natr` on the primary timeframe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_open_positions: int | None = Field(10, ge=1, title="Open positions")
    max_per_market: int | None = Field(3, ge=1, title="Strategies in one market")
    market_net: float | None = Field(0.5, gt=0, title="Net notional of a market", json_schema_extra=FRACTION)
    market_gross: float | None = Field(1.0, gt=0, title="Gross notional of a market", json_schema_extra=FRACTION)
    gross_spot: float | None = Field(1.0, gt=0, title="Gross notional, spot", json_schema_extra=FRACTION)
    gross_linear: float | None = Field(3.0, gt=0, title="Gross notional, linear", json_schema_extra=FRACTION)
    daily_loss: float | None = Field(0.05, gt=0, le=1, title="Loss of a day", json_schema_extra=FRACTION)
    max_drawdown: float | None = Field(0.20, gt=0, le=1, title="Drawdown", json_schema_extra=FRACTION)
    risk_per_trade: float | None = Field(
        0.02, gt=0, le=1, title="Loss at the stop, of the strategy's equity", json_schema_extra=FRACTION
    )
    risk_open: float | None = Field(0.06, gt=0, le=1, title="Loss at all stops", json_schema_extra=FRACTION)
    orders_per_strategy: int | None = Field(10, ge=1, le=10, title="Orders of a strategy in 10 s")
    orders_per_account: int | None = Field(30, ge=1, title="Orders in 10 s")
    liquidation_distance: float | None = Field(1.5, gt=0, title="Liquidation, in stop distances (with leverage)")
    stop_loss_guard: Guard | None = Field(Guard(), title="Stop-loss guard")
    profit_lock: ProfitLock | None = Field(None, title="Profit lock")
    daily_target: float | None = Field(None, gt=0, title="Gain of a day to stop at", json_schema_extra=FRACTION)
    volatility_halt: float | None = Field(None, gt=0, title="Most NATR of a market", json_schema_extra=FRACTION)
    error_storm: ErrorStorm | None = Field(ErrorStorm(), title="Error storm")
    feed_loss_s: float | None = Field(300, gt=0, title="Silence of an open position", json_schema_extra=SECONDS)
    flatten: bool = Field(True, title="Close everything when daily loss or drawdown halts the account")
    require_stop: bool = Field(False, title="Deny entries without a stop")


def new_account(cash: float, limits: AccountLimits | None = None) -> Floats:
    """Return an account row that starts with `cash` in quote units."""
    row = np.zeros(at.W_ACCOUNT)
    row[[at.A_START, at.A_EQUITY, at.A_EQUITY_LOW, at.A_FREE, at.A_DAY_START, at.A_PEAK]] = cash
    row[[at.A_RISK + at.K_DAY_HIGH, at.A_RISK + at.K_PEAK]] = cash
    row[at.A_RISK + at.K_NEXT] = math.inf
    row[at.A_DAY] = -1.0
    limit_account(row, limits or AccountLimits())
    return row


def limit_account(row: Floats, limits: AccountLimits) -> None:
    """Write limits into an account row; state, peak and day stay."""
    row[at.A_MAX_OPEN] = limit(limits.max_open_positions)
    row[at.A_MAX_PER_MARKET] = limit(limits.max_per_market)
    row[at.A_MARKET_NET] = limit(limits.market_net)
    row[at.A_MARKET_GROSS] = limit(limits.market_gross)
    row[at.A_GROSS_SPOT] = limit(limits.gross_spot)
    row[at.A_GROSS_LINEAR] = limit(limits.gross_linear)
    row[at.A_MAX_DAILY_LOSS] = limit(limits.daily_loss)
    row[at.A_FLATTEN] = float(limits.flatten)
    row[at.A_REQUIRE_STOP] = float(limits.require_stop)
    row[at.A_RISK_TRADE] = limit(limits.risk_per_trade)
    row[at.A_RISK_OPEN] = limit(limits.risk_open)
    row[at.A_RATE_STRATEGY] = limit(limits.orders_per_strategy)
    row[at.A_RATE_ACCOUNT] = limit(limits.orders_per_account)
    row[at.A_LIQUIDATION] = limit(limits.liquidation_distance)
    row[at.A_MAX_NATR] = limit(limits.volatility_halt)
    _protect(row[at.A_RISK :], limits)


def _protect(cells: Floats, limits: AccountLimits | Risk) -> None:
    """Write the limits of the protections that strategy and account both have."""
    guard, lock = limits.stop_loss_guard, limits.profit_lock
    cells[at.K_MAX_DRAWDOWN] = limit(limits.max_drawdown)
    cells[at.K_GUARD_COUNT] = limit(guard.count if guard else None)
    cells[at.K_GUARD_MS] = limit(guard.window_s * 1_000.0 if guard else None)
    cells[at.K_GUARD_PAUSE] = limit(guard.pause_s * 1_000.0 if guard else None)
    cells[at.K_LOCK_ARM] = limit(lock.arm if lock else None)
    cells[at.K_LOCK_BACK] = limit(lock.give_back if lock else None)
    cells[at.K_TARGET] = limit(limits.daily_target)


def allocated(plan: Plan, cash: float) -> float:
    """Return the strategy's capital in quote units, of an account that started with `cash`."""
    capital = plan.config.capital
    return capital.amount if capital.unit == "quote" else capital.amount * cash


def open_book(row: Floats, plan: Plan, *, cash: float, market: int = 0) -> None:
    """Write a fresh book for a plan into a row: flat, dormant, with its capital and limits."""
    capital = allocated(plan, cash)
    row[:] = 0.0
    row[[at.B_CAPITAL, at.B_EQUITY, at.B_EQUITY_LOW, at.B_PEAK_EQUITY, at.B_DAY_START]] = capital
    row[[at.B_RISK + at.K_DAY_HIGH, at.B_RISK + at.K_PEAK]] = capital
    row[at.B_RISK + at.K_NEXT] = math.inf
    row[[at.B_STOP, at.B_FIRST_STOP, at.B_NATR]] = math.nan
    row[at.B_FUNDING_AT] = math.inf
    row[at.B_USED] = 1.0
    row[at.B_MARKET] = market
    row[at.B_DAY] = -1.0
    row[at.B_RISK + at.K_BLOCK] = 0.0 if plan.market.active else float(at.Z_UNUSABLE)
    limit_book(row, plan)


def _cost(row: Floats, plan: Plan) -> None:
    """Write what funding and a margin that the account shares are counted with."""
    execution, is_linear = plan.config.execution, plan.market.kind == "linear"
    is_cross = is_linear and execution.margin_mode == "cross"
    row[at.B_MAINTENANCE] = execution.simulation.maintenance_margin if is_cross else 0.0
    row[at.B_FUNDING_MS] = at.FUNDING_MS if is_linear and execution.simulation.funding else 0.0
    row[at.B_FUNDING_RATE] = execution.simulation.funding_rate


def move_capital(row: Floats, plan: Plan, *, cash: float) -> None:
    """Give a book another capital; its result and its drawdown in quote units stay."""
    more = allocated(plan, cash) - row[at.B_CAPITAL]
    row[[at.B_CAPITAL, at.B_EQUITY, at.B_EQUITY_LOW, at.B_PEAK_EQUITY, at.B_DAY_START]] += more
    row[[at.B_RISK + at.K_DAY_HIGH, at.B_RISK + at.K_PEAK]] += more


def limit_book(row: Floats, plan: Plan, risk: Risk | None = None) -> None:
    """Write a plan's limits, or others in place of them, into a book; position, state and peak stay."""
    risk = risk or plan.config.risk
    row[at.B_LEVERAGE] = plan.config.execution.leverage
    row[at.B_LINEAR] = float(plan.market.kind == "linear")
    row[at.B_BASE_MS] = plan.base_ms
    _cost(row, plan)
    row[at.B_MAX_EXPOSURE] = limit(risk.max_exposure)
    row[at.B_MAX_DAILY_LOSS] = limit(risk.max_daily_loss)
    row[at.B_MAX_LOSSES] = limit(risk.max_consecutive_losses)
    row[at.B_MAX_HOLDING] = limit(risk.max_holding_s * 1_000.0 if risk.max_holding_s else None)
    row[at.B_COOLDOWN] = limit(risk.cooldown_s * 1_000.0 if risk.cooldown_s else None)
    low = risk.low_profit
    row[at.B_LOW_TRADES] = limit(low.trades if low else None)
    row[at.B_LOW_MS] = limit(low.window_s * 1_000.0 if low else None)
    row[at.B_LOW_RETURN] = limit(low.min_return if low else None)
    row[at.B_LOW_PAUSE] = limit(low.pause_s * 1_000.0 if low else None)
    _protect(row[at.B_RISK :], risk)
