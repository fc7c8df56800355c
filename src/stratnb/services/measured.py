"""What a rule compared: the measured value and its limit, read from the rows that the kernels decided on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels.rules import CODES

__all__ = [
    "LINEAR_FACTOR",
    "RULE_NAMES",
    "losing_stops",
    "measure_denial",
    "measure_rule",
    "open_loss",
    "orders_since",
    "rule_name",
    "scope_cells",
]

Floats = npt.NDArray[np.float64]
Pair = tuple[float, float]
LINEAR_FACTOR, FUNDS, DEVIATION = 3.0, 0.98, 0.05
NOTHING = (math.nan, math.nan)
RULE_NAMES = (
    *(at.DECISION_REASONS[code] for code in CODES[: at.RULE_REDUCE]),
    *("reduced_by_engine", "halted_by_engine"),
    *(at.DECISION_REASONS[code] for code in CODES[at.RULE_KILL :]),
)
LOSS_RULES = frozenset({at.RULE_DAILY, at.RULE_DRAWDOWN})


def scope_cells(row: Floats) -> tuple[int, int]:
    """Return where the P_ and the K_ cells of a book or an account row start."""
    return (at.B_STATE, at.B_RISK) if len(row) == at.W_BOOK else (at.A_STATE, at.A_RISK)


def rule_name(row: Floats, rule: int) -> str:
    """Return the code of a rule as a word."""
    _, k = scope_cells(row)
    outer = {at.RULE_REDUCE: at.K_OUTER_REDUCE, at.RULE_HALT: at.K_OUTER_HALT}.get(rule)
    return RULE_NAMES[rule] if outer is None else at.DECISION_REASONS[int(row[k + outer])]


class _Scope(NamedTuple):
    """A book or an account row, where its risk cells start, and the equity, lowest equity and limit of its day."""

    row: Floats
    cells: Floats
    start: float
    equity: float
    low: float
    max_daily_loss: float


_RULES: dict[int, Callable[[_Scope], Any]] = {
    at.RULE_DAILY: lambda s: (1.0 - s.low / s.start, s.max_daily_loss),
    at.RULE_DRAWDOWN: lambda s: (1.0 - s.low / s.cells[at.K_PEAK], s.cells[at.K_MAX_DRAWDOWN]),
    at.RULE_LOCK: lambda s: (_given_back(s), s.cells[at.K_LOCK_BACK]),
    at.RULE_TARGET: lambda s: (s.equity / s.start - 1.0, s.cells[at.K_TARGET]),
}
_BOOK_RULES = _RULES | {
    at.RULE_LOSSES: lambda s: (_losses(s.row), s.row[at.B_MAX_LOSSES]),
    at.RULE_GUARD: lambda s: (_stops(s.row), s.cells[at.K_GUARD_COUNT]),
    at.RULE_LOW: lambda s: (_returns(s.row), s.row[at.B_LOW_RETURN]),
    at.RULE_VOLATILITY: lambda s: (s.row[at.B_NATR], math.nan),
    at.RULE_COOLDOWN: lambda s: (math.nan, s.row[at.B_COOLDOWN] / 1_000.0),
}
_ACCOUNT_RULES = _RULES | {at.RULE_GUARD: lambda s: (math.nan, s.cells[at.K_GUARD_COUNT])}


def measure_rule(row: Floats, rule: int) -> Pair:
    """Return what a rule measures now and its limit: fractions, or counts; NaN where there is no figure."""
    p, k = scope_cells(row)
    if len(row) == at.W_BOOK:
        rules, equity, low, loss = _BOOK_RULES, row[at.B_EQUITY], row[at.B_EQUITY_LOW], row[at.B_MAX_DAILY_LOSS]
    else:
        rules, equity, low, loss = _ACCOUNT_RULES, row[at.A_EQUITY], row[at.A_EQUITY_LOW], row[at.A_MAX_DAILY_LOSS]
    if rule not in rules:
        return NOTHING
    value, limit = rules[rule](_Scope(row, row[k:], row[p + at.P_DAY_START], equity, low, loss))
    return float(value), float(limit)


def _given_back(scope: _Scope) -> float:
    """Return the share of the day's highest gain that is lost again."""
    high = scope.cells[at.K_DAY_HIGH]
    return float((high - scope.equity) / (high - scope.start)) if high > scope.start else 0.0


def open_loss(books: Floats) -> tuple[float, int]:
    """Return what all positions lose from entry to stop and waiting entries were approved to lose, in quote units.

    With it comes how many positions have no stop; these, and stops beyond the entry, add nothing.
    """
    held = (books[:, at.B_USED] != 0.0) & (books[:, at.B_QUANTITY] != 0.0)
    waiting = (books[:, at.B_USED] != 0.0) & ~held & (books[:, at.B_ORDER] == at.ORDER_ENTRY)
    lost = books[held, at.B_QUANTITY] * (books[held, at.B_AVERAGE] - books[held, at.B_STOP])
    total = np.nansum(np.maximum(lost, 0.0)) + np.nansum(books[waiting, at.B_ORDER_RISK])
    return float(total), int(np.isnan(books[held, at.B_STOP]).sum())


def orders_since(books: Floats, since_ms: float) -> int:
    """Return how many of the kept orders were sent after a time."""
    times = books[books[:, at.B_USED] != 0.0, at.B_ORDERS : at.B_ORDERS + at.ORDERS_KEPT]
    return int(np.count_nonzero((times > 0.0) & (times > since_ms)))


def losing_stops(books: Floats, since_ms: float) -> int:
    """Return how many of the kept trades of all books were closed by a stop at a loss, from a time on."""
    closes = books[books[:, at.B_USED] != 0.0, at.B_CLOSES : at.B_CLOSES + at.CLOSES_KEPT]
    return int(np.count_nonzero((closes < 0.0) & (-closes >= since_ms)))


def _newest_close(row: Floats) -> float:
    return float(np.abs(row[at.B_CLOSES : at.B_CLOSES + at.CLOSES_KEPT]).max())


def _losses(row: Floats) -> float:
    """Return the losing trades in a row; the count starts anew when the rule fires."""
    fired = row[at.B_RISK + at.K_RULES + at.RULE_LOSSES] != 0.0 and row[at.B_LOST] == 0.0
    return float(row[at.B_MAX_LOSSES if fired else at.B_LOST])


def _stops(row: Floats) -> float:
    """Return the losing stops of the window that ends with the newest trade."""
    closes = row[at.B_CLOSES : at.B_CLOSES + at.CLOSES_KEPT]
    since = _newest_close(row) - row[at.B_RISK + at.K_GUARD_MS]
    return float(np.count_nonzero((closes < 0.0) & (-closes >= since)))


def _returns(row: Floats) -> float:
    """Return the sum of the returns of the window that ends with the newest trade."""
    trades, since = int(row[at.B_TRADES]), _newest_close(row) - row[at.B_LOW_MS]
    kept = [trades - back for back in range(1, min(trades, at.CLOSES_KEPT) + 1)]
    inside = [n for n in kept if abs(row[at.B_CLOSES + n % at.CLOSES_KEPT]) >= since]
    return float(sum(row[at.B_RETURNS + n % at.HEALTH_TRADES] for n in inside))


class _Denied(NamedTuple):
    """A denied entry: all books, its own, the account, the settings of its plan and the decision's row."""

    books: Floats
    row: Floats
    account: Floats
    settings: Floats
    decision: Floats

    @property
    def notional(self) -> float:
        """Return quantity times price, in quote units."""
        return float(self.decision[at.D_QUANTITY] * self.decision[at.D_CLOSE])

    @property
    def factor(self) -> float:
        """Return what limits of exposure are multiplied by on this market."""
        return LINEAR_FACTOR if self.row[at.B_LINEAR] else 1.0


_DENIALS: dict[str, Callable[[_Denied], Any]] = {
    "bad_price": lambda d: (abs(d.decision[at.D_CLOSE] / d.row[at.B_MARK] - 1.0), DEVIATION),
    "slippage": lambda d: (d.decision[at.D_SLIPPAGE], d.settings[at.S_MAX_SLIPPAGE]),
    "risk_per_trade": lambda d: _over(
        (d.decision[at.D_RISK_TRADE], d.account[at.A_RISK_TRADE]),
        (d.decision[at.D_RISK_OPEN], d.account[at.A_RISK_OPEN]),
    ),
    "below_minimum": lambda d: _over(
        (d.decision[at.D_QUANTITY], d.settings[at.S_MIN_QUANTITY]),
        (d.notional, d.settings[at.S_MIN_NOTIONAL]),
        below=True,
    ),
    "above_maximum": lambda d: (d.decision[at.D_QUANTITY], d.settings[at.S_MAX_QUANTITY]),
    "insufficient_funds": lambda d: (
        d.notional * (1.0 / d.settings[at.S_LEVERAGE] + d.settings[at.S_TAKER]),
        d.decision[at.D_FREE] * FUNDS,
    ),
    "rate_limit": lambda d: _over(
        (d.decision[at.D_ORDERS] + 1.0, d.account[at.A_RATE_STRATEGY]),
        (d.decision[at.D_ORDERS_ACCOUNT] + 1.0, d.account[at.A_RATE_ACCOUNT]),
    ),
    "max_open_positions": lambda d: _crowd(d.books, d.row, d.account, d.decision),
    "max_open_orders": lambda d: (d.row[at.B_WORKING] + 1.0, d.settings[at.S_MAX_ORDERS]),
    "exposure_strategy": lambda d: (
        d.decision[at.D_STRATEGY_EXPOSURE],
        d.row[at.B_MAX_EXPOSURE] * d.row[at.B_LEVERAGE],
    ),
    "exposure_market": lambda d: _over(
        (d.decision[at.D_MARKET_NET], d.account[at.A_MARKET_NET] * d.factor),
        (d.decision[at.D_MARKET_GROSS], d.account[at.A_MARKET_GROSS] * d.factor),
    ),
    "exposure_account": lambda d: (
        d.decision[at.D_GROSS],
        d.account[at.A_GROSS_LINEAR if d.row[at.B_LINEAR] else at.A_GROSS_SPOT],
    ),
    "liquidation_near": lambda d: (d.decision[at.D_LIQUIDATION], d.account[at.A_LIQUIDATION]),
    "max_trades_per_day": lambda d: (d.decision[at.D_TRADES] + 1.0, d.settings[at.S_MAX_TRADES]),
    "market_health": lambda d: (d.decision[at.D_HEALTH], math.nan),
}


def measure_denial(books: Floats, row: Floats, account: Floats, settings: Floats, decision: Floats, code: str) -> Pair:
    """Return what a denied entry measured and the limit: fractions, counts, or money in quote units."""
    if code in RULE_NAMES or code == "paused":
        return _rule(row, account, decision, code)
    if code not in _DENIALS:
        return NOTHING
    value, limit = _DENIALS[code](_Denied(books, row, account, settings, decision))
    return float(value), float(limit)


def _rule(row: Floats, account: Floats, decision: Floats, code: str) -> Pair:
    """Return value and limit of the rule behind a state or a pause: the account's where it is the stricter."""
    if code == "paused" and math.isfinite(decision[at.D_RULE]):
        code = at.DECISION_REASONS[int(decision[at.D_RULE])]
    if code not in RULE_NAMES:
        return NOTHING
    rule = RULE_NAMES.index(code)
    theirs = account[at.A_RISK + at.K_RULES + rule] != 0.0 and row[at.B_RISK + at.K_RULES + rule] == 0.0
    if code == RULE_NAMES[at.RULE_VOLATILITY]:
        return float(row[at.B_NATR]), float(account[at.A_MAX_NATR])
    return measure_rule(account if theirs or account[at.A_STATE] > row[at.B_STATE] else row, rule)


def _over(first: Pair, second: Pair, *, below: bool = False) -> Pair:
    """Return the first pair when its value breaks its limit, else the second."""
    breaks = first[0] < first[1] if below else first[0] > first[1]
    return first if breaks else second


def _crowd(books: Floats, row: Floats, account: Floats, decision: Floats) -> Pair:
    """Return the open positions with this one and their limit: of the account, else of the market."""
    if decision[at.D_OPEN] + 1.0 > account[at.A_MAX_OPEN]:
        return float(decision[at.D_OPEN]) + 1.0, float(account[at.A_MAX_OPEN])
    here = (books[:, at.B_USED] != 0.0) & (books[:, at.B_MARKET] == row[at.B_MARKET])
    held = (books[:, at.B_QUANTITY] != 0.0) | (books[:, at.B_ORDER] == at.ORDER_ENTRY)
    return float(np.count_nonzero(here & held)) + 1.0, float(account[at.A_MAX_PER_MARKET])
