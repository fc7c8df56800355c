"""What a rule compared: the measured value and its limit, read from the rows that the kernels decided on."""

from __future__ import annotations

import math
from typing import Any

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


def measure_rule(row: Floats, rule: int) -> Pair:
    """Return what a rule measures now and its limit: fractions, or counts; NaN where there is no figure."""
    p, k = scope_cells(row)
    is_book = len(row) == at.W_BOOK
    cells, start = row[k:], row[p + at.P_DAY_START]
    equity, low = row[[at.B_EQUITY, at.B_EQUITY_LOW] if is_book else [at.A_EQUITY, at.A_EQUITY_LOW]]
    high = cells[at.K_DAY_HIGH]
    pairs: dict[int, Any] = {
        at.RULE_DAILY: lambda: (1.0 - low / start, row[at.B_MAX_DAILY_LOSS if is_book else at.A_MAX_DAILY_LOSS]),
        at.RULE_DRAWDOWN: lambda: (1.0 - low / cells[at.K_PEAK], cells[at.K_MAX_DRAWDOWN]),
        at.RULE_LOCK: lambda: ((high - equity) / (high - start) if high > start else 0.0, cells[at.K_LOCK_BACK]),
        at.RULE_TARGET: lambda: (equity / start - 1.0, cells[at.K_TARGET]),
    }
    if is_book:
        pairs |= {
            at.RULE_LOSSES: lambda: (_losses(row), row[at.B_MAX_LOSSES]),
            at.RULE_GUARD: lambda: (_stops(row), cells[at.K_GUARD_COUNT]),
            at.RULE_LOW: lambda: (_returns(row), row[at.B_LOW_RETURN]),
            at.RULE_VOLATILITY: lambda: (row[at.B_NATR], math.nan),
            at.RULE_COOLDOWN: lambda: (math.nan, row[at.B_COOLDOWN] / 1_000.0),
        }
    else:
        pairs[at.RULE_GUARD] = lambda: (math.nan, cells[at.K_GUARD_COUNT])
    value, limit = pairs[rule]() if rule in pairs else NOTHING
    return float(value), float(limit)


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


def measure_denial(books: Floats, row: Floats, account: Floats, settings: Floats, decision: Floats, code: str) -> Pair:
    """Return what a denied entry measured and the limit: fractions, counts, or money in quote units."""
    linear = bool(row[at.B_LINEAR])
    factor = LINEAR_FACTOR if linear else 1.0
    price, quantity = decision[at.D_CLOSE], decision[at.D_QUANTITY]
    if code in RULE_NAMES or code == "paused":
        return _rule(row, account, decision, code)
    pairs: dict[str, Any] = {
        "bad_price": lambda: (abs(price / row[at.B_MARK] - 1.0), DEVIATION),
        "slippage": lambda: (decision[at.D_SLIPPAGE], settings[at.S_MAX_SLIPPAGE]),
        "risk_per_trade": lambda: _over(
            (decision[at.D_RISK_TRADE], account[at.A_RISK_TRADE]), (decision[at.D_RISK_OPEN], account[at.A_RISK_OPEN])
        ),
        "below_minimum": lambda: _over(
            (quantity, settings[at.S_MIN_QUANTITY]), (quantity * price, settings[at.S_MIN_NOTIONAL]), below=True
        ),
        "above_maximum": lambda: (quantity, settings[at.S_MAX_QUANTITY]),
        "insufficient_funds": lambda: (
            quantity * price * (1.0 / settings[at.S_LEVERAGE] + settings[at.S_TAKER]),
            decision[at.D_FREE] * FUNDS,
        ),
        "rate_limit": lambda: _over(
            (decision[at.D_ORDERS] + 1.0, account[at.A_RATE_STRATEGY]),
            (decision[at.D_ORDERS_ACCOUNT] + 1.0, account[at.A_RATE_ACCOUNT]),
        ),
        "max_open_positions": lambda: _crowd(books, row, account, decision),
        "max_open_orders": lambda: (row[at.B_WORKING] + 1.0, settings[at.S_MAX_ORDERS]),
        "exposure_strategy": lambda: (
            decision[at.D_STRATEGY_EXPOSURE],
            row[at.B_MAX_EXPOSURE] * row[at.B_LEVERAGE],
        ),
        "exposure_market": lambda: _over(
            (decision[at.D_MARKET_NET], account[at.A_MARKET_NET] * factor),
            (decision[at.D_MARKET_GROSS], account[at.A_MARKET_GROSS] * factor),
        ),
        "exposure_account": lambda: (
            decision[at.D_GROSS],
            account[at.A_GROSS_LINEAR if linear else at.A_GROSS_SPOT],
        ),
        "liquidation_near": lambda: (decision[at.D_LIQUIDATION], account[at.A_LIQUIDATION]),
        "max_trades_per_day": lambda: (decision[at.D_TRADES] + 1.0, settings[at.S_MAX_TRADES]),
        "market_health": lambda: (decision[at.D_HEALTH], math.nan),
    }
    value, limit = pairs[code]() if code in pairs else NOTHING
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
