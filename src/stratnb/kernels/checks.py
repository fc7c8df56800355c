"""Pre-trade checks: the first rule that an entry breaks names the denial (trading_rules 4)."""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.costs import expected_slippage
from stratnb.kernels.jit import Row, helper, inlined
from stratnb.kernels.layout import (
    A_EQUITY,
    A_FREE,
    A_GROSS,
    A_GROSS_LINEAR,
    A_GROSS_SPOT,
    A_LIQUIDATION,
    A_MARKET_GROSS,
    A_MARKET_NET,
    A_MAX_OPEN,
    A_MAX_PER_MARKET,
    A_NOW,
    A_OPEN,
    A_RATE_ACCOUNT,
    A_RATE_STRATEGY,
    A_REQUIRE_STOP,
    A_RISK,
    A_RISK_OPEN,
    A_RISK_TRADE,
    A_STATE,
    ACTIVE,
    B_DAY_TRADES,
    B_EQUITY,
    B_LEVERAGE,
    B_MARK,
    B_MARKET,
    B_MAX_EXPOSURE,
    B_NATR,
    B_QUANTITY,
    B_RISK,
    B_STATE,
    B_TRADE_DAY,
    B_WORKING,
    D_FREE,
    D_GROSS,
    D_LIQUIDATION,
    D_MARKET_GROSS,
    D_MARKET_NET,
    D_OPEN,
    D_ORDERS,
    D_ORDERS_ACCOUNT,
    D_RISK_OPEN,
    D_RISK_TRADE,
    D_RULE,
    D_SLIPPAGE,
    D_STRATEGY_EXPOSURE,
    D_TRADES,
    D_UNTIL,
    DAY_MS,
    HALTED,
    K_BLOCK,
    K_PAUSE,
    K_PAUSE_UNTIL,
    K_RULES,
    P_REASON,
    P_STATE,
    P_UNTIL,
    RULE_COOLDOWN,
    S_LEVERAGE,
    S_LIMIT,
    S_LINEAR,
    S_MAX_ORDERS,
    S_MAX_QUANTITY,
    S_MAX_SLIPPAGE,
    S_MAX_TRADES,
    S_MIN_NOTIONAL,
    S_MIN_QUANTITY,
    S_TAKER,
    Z_ABOVE_MAXIMUM,
    Z_ACCOUNT,
    Z_BAD_PRICE,
    Z_BELOW_MINIMUM,
    Z_COOLDOWN,
    Z_ENTER,
    Z_FUNDS,
    Z_HALTED,
    Z_LIQUIDATION,
    Z_MARKET,
    Z_MAX_OPEN,
    Z_MAX_ORDERS,
    Z_MAX_TRADES,
    Z_NO_STOP,
    Z_NOT_ARMED,
    Z_PAUSED,
    Z_RATE,
    Z_REDUCING,
    Z_RISK_TRADE,
    Z_SLIPPAGE,
    Z_STALE,
    Z_STRATEGY,
)
from stratnb.kernels.measures import (
    liquidation_room,
    loss_at_stop,
    market_exposure,
    open_risk,
    orders_since,
    pending_notional,
)

__all__ = ["check_entry", "refused_scope"]

EDGE = 1.0 + 1e-9
FUNDS, DEVIATION, RATE_MS = 0.98, 0.05, 10_000.0


@helper
def ratio(value: float, base: float) -> float:
    """Return a share of a positive base, infinite of another."""
    return value / base if base > 0.0 else np.inf


@helper
def refused_state(book: Row, account: Row, decision: Row) -> float:
    """Return why the stricter of the account's and the strategy's state lets no entry pass, Z_ENTER when both do."""
    state, own = account[A_STATE], book[B_STATE]
    if state == ACTIVE and own == ACTIVE:
        return Z_ENTER
    row, p = (account, A_STATE) if state >= own else (book, B_STATE)
    decision[D_RULE] = row[p + P_REASON]
    decision[D_UNTIL] = row[p + P_UNTIL]
    if row[p + P_REASON] != 0.0:
        return float(row[p + P_REASON])
    return Z_HALTED if row[p + P_STATE] == HALTED or p == B_STATE else Z_REDUCING


@helper
def refused_scope(book: Row, account: Row, decision: Row) -> float:
    """Run the checks that ask nothing of the order: lease, arming, states, market, data, cooldown, pauses."""
    theirs, own = account[A_RISK + K_BLOCK], book[B_RISK + K_BLOCK]
    block = min(theirs, own) if theirs != 0.0 and own != 0.0 else max(theirs, own)
    if block != 0.0 and block <= Z_NOT_ARMED:
        return float(block)
    reason = refused_state(book, account, decision)
    if reason != Z_ENTER:
        return reason
    if block != 0.0:
        return float(block)
    if not (math.isfinite(account[A_EQUITY]) and math.isfinite(book[B_EQUITY])):
        return Z_STALE
    if book[B_RISK + K_RULES + RULE_COOLDOWN] > account[A_NOW]:
        decision[D_UNTIL] = book[B_RISK + K_RULES + RULE_COOLDOWN]
        return Z_COOLDOWN
    row, k = (account, A_RISK) if account[A_RISK + K_PAUSE] != 0.0 else (book, B_RISK)
    if row[k + K_PAUSE] == 0.0:
        return Z_ENTER
    decision[D_RULE] = row[k + K_PAUSE]
    decision[D_UNTIL] = row[k + K_PAUSE_UNTIL]
    return Z_PAUSED


@inlined
def is_on(limit: float) -> bool:
    """Tell whether a limit is one: NaN is none."""
    return limit == limit


@inlined
def measure_entry(
    settings: Row, books: Row, slot: int, account: Row, sign: float, quantity: float, price: float, stop: float,
    decision: Row, told: bool,
) -> float:  # fmt: skip
    """Write what the rules compare into the decision row; return the number of strategies in the market.

    What nobody asks for, because its limit is off and the decision is not `told`, stays as it is or NaN.
    """
    book, notional, holders = books[slot], quantity * price, 0.0
    equity, own = account[A_EQUITY], abs(book[B_QUANTITY]) * price + notional
    loss = loss_at_stop(settings, book[B_NATR], quantity, price, stop)
    decision[D_OPEN] = account[A_OPEN]
    decision[D_FREE] = account[A_FREE]
    if told or is_on(settings[S_MAX_SLIPPAGE]):
        decision[D_SLIPPAGE] = planned_slippage(settings, book, price)
    if told or is_on(book[B_MAX_EXPOSURE]):
        decision[D_STRATEGY_EXPOSURE] = ratio(own, book[B_EQUITY])
    if told or is_on(account[A_RISK_TRADE]):
        decision[D_RISK_TRADE] = ratio(loss, book[B_EQUITY])
    if told or is_on(account[A_MAX_PER_MARKET]) or is_on(account[A_MARKET_NET]) or is_on(account[A_MARKET_GROSS]):
        net, gross, holders = market_exposure(books, book[B_MARKET], sign * notional)
        decision[D_MARKET_NET] = ratio(abs(net), equity)
        decision[D_MARKET_GROSS] = ratio(gross, equity)
    if told or is_on(account[A_GROSS_SPOT]) or is_on(account[A_GROSS_LINEAR]):
        decision[D_GROSS] = ratio(account[A_GROSS] + pending_notional(books) + notional, equity)
    if told or is_on(account[A_RISK_OPEN]):
        decision[D_RISK_OPEN] = ratio(open_risk(books) + (loss if math.isfinite(loss) else 0.0), equity)
    if told or is_on(account[A_RATE_STRATEGY]) or is_on(account[A_RATE_ACCOUNT]):
        recent, everywhere = orders_since(books, slot, account[A_NOW] - RATE_MS)
        decision[D_ORDERS] = recent
        decision[D_ORDERS_ACCOUNT] = everywhere
    if told or is_on(account[A_LIQUIDATION]):
        decision[D_LIQUIDATION] = liquidation_room(settings, sign, price, stop)
    if told or is_on(settings[S_MAX_TRADES]):
        today = book[B_TRADE_DAY] == np.floor(account[A_NOW] / DAY_MS)
        decision[D_TRADES] = book[B_DAY_TRADES] if today else 0.0
    return holders


@helper
def planned_slippage(settings: Row, book: Row, price: float) -> float:
    """Return how far a fill may lie from the price, 0 for a limit: by the model, or by what the market moved since."""
    if settings[S_LIMIT] != 0.0:
        return 0.0
    moved = abs(book[B_MARK] / price - 1.0) if book[B_MARK] > 0.0 else 0.0
    return float(max(expected_slippage(settings, book[B_NATR]), moved))


@helper
def refused_order(
    settings: Row, book: Row, account: Row, quantity: float, price: float, stop: float, decision: Row
) -> float:
    """Run the checks of price, stop, risk, size, funds and rate."""
    notional, last = quantity * price, book[B_MARK]
    if not (math.isfinite(price) and price > 0.0) or (last > 0.0 and abs(price - last) > DEVIATION * last * EDGE):
        return Z_BAD_PRICE
    if decision[D_SLIPPAGE] > settings[S_MAX_SLIPPAGE] * EDGE:
        return Z_SLIPPAGE
    if account[A_REQUIRE_STOP] != 0.0 and not math.isfinite(stop):
        return Z_NO_STOP
    if decision[D_RISK_TRADE] > account[A_RISK_TRADE] * EDGE or decision[D_RISK_OPEN] > account[A_RISK_OPEN] * EDGE:
        return Z_RISK_TRADE
    if quantity <= 0.0 or quantity < settings[S_MIN_QUANTITY] or notional < settings[S_MIN_NOTIONAL]:
        return Z_BELOW_MINIMUM
    if quantity > settings[S_MAX_QUANTITY] * EDGE:
        return Z_ABOVE_MAXIMUM
    if notional / settings[S_LEVERAGE] + settings[S_TAKER] * notional > account[A_FREE] * FUNDS * EDGE:
        return Z_FUNDS
    if (
        decision[D_ORDERS] + 1.0 > account[A_RATE_STRATEGY]
        or decision[D_ORDERS_ACCOUNT] + 1.0 > account[A_RATE_ACCOUNT]
    ):
        return Z_RATE
    return Z_ENTER


@helper
def refused_room(settings: Row, book: Row, account: Row, holders: float, decision: Row) -> float:
    """Run the checks of positions, orders, exposures, liquidation and trades of the day."""
    factor = 3.0 if settings[S_LINEAR] != 0.0 else 1.0
    gross_limit = account[A_GROSS_LINEAR] if settings[S_LINEAR] != 0.0 else account[A_GROSS_SPOT]
    if account[A_OPEN] + 1.0 > account[A_MAX_OPEN] or holders + 1.0 > account[A_MAX_PER_MARKET]:
        return Z_MAX_OPEN
    if book[B_WORKING] + 1.0 > settings[S_MAX_ORDERS]:
        return Z_MAX_ORDERS
    if decision[D_STRATEGY_EXPOSURE] > book[B_MAX_EXPOSURE] * book[B_LEVERAGE] * EDGE:
        return Z_STRATEGY
    if (
        decision[D_MARKET_NET] > account[A_MARKET_NET] * factor * EDGE
        or decision[D_MARKET_GROSS] > account[A_MARKET_GROSS] * factor * EDGE
    ):
        return Z_MARKET
    if decision[D_GROSS] > gross_limit * EDGE:
        return Z_ACCOUNT
    if decision[D_LIQUIDATION] < account[A_LIQUIDATION] / EDGE:
        return Z_LIQUIDATION
    return Z_MAX_TRADES if decision[D_TRADES] + 1.0 > settings[S_MAX_TRADES] else Z_ENTER


@inlined
def check_entry(
    settings: Row, books: Row, slot: int, account: Row, sign: float, quantity: float, price: float, stop: float,
    decision: Row, told: bool,
) -> float:  # fmt: skip
    """Run the pre-trade checks of an entry in their order; return the first failing code or Z_ENTER.

    The measured values go into the decision row, whatever the outcome; all of them when it is `told`, else those whose
    limit is on. A value that cannot be measured (no stop, no leverage) is NaN and breaks no limit.
    """
    holders = measure_entry(settings, books, slot, account, sign, quantity, price, stop, decision, told)
    reason = refused_scope(books[slot], account, decision)
    if reason == Z_ENTER:
        reason = refused_order(settings, books[slot], account, quantity, price, stop, decision)
    if reason == Z_ENTER:
        reason = refused_room(settings, books[slot], account, holders, decision)
    return reason
