"""The risk checks of an entry in the kernel's order, with what each compared; those after a denial were not reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.multi.explain_entry import FREE_SHARE, NOT_REACHED
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Plan
from stratnb.view import CheckView

__all__ = ["risk_checks"]

Floats = npt.NDArray[np.float64]
Line = tuple[str, CheckView]
EDGE = 1.0 + 1e-9

ORDER = (
    *("right", "state", "data", "cooldown", "paused", "market_health", "bad_price", "slippage", "no_stop"),
    *("risk_per_trade", "below_minimum", "above_maximum", "insufficient_funds", "rate_limit", "max_open_positions"),
    *("max_open_orders", "exposure_strategy", "exposure_market", "exposure_account", "liquidation_near"),
    "max_trades_per_day",
)
# Codes that share a line.
PLACES = {
    **dict.fromkeys(("not_lease_holder", "not_armed"), "right"),
    **dict.fromkeys(("market_unusable", "stale_data", "order_unresolved"), "data"),
    **dict.fromkeys(("halted", "reducing", "daily_loss", "max_drawdown", "kill_switch", "error_storm"), "state"),
    **dict.fromkeys(("feed_loss", "unprotected", "ledger_mismatch", "risk_row_damaged", "operator"), "state"),
}


def risk_checks(plan: Plan, row: Floats, limits: AccountLimits, word: str, texts: Mapping[str, str]) -> tuple[
    CheckView, ...
]:  # fmt: skip
    """Return the pre-trade checks in their order, with the values that were measured; those after a denial say so.

    `word` is the reason of the decision, `texts` the sentences for reasons.
    """
    if not math.isfinite(row[at.D_HEALTH]) or word == "size_zero":
        return ()
    health = CheckView("Health of the newest trades", False, f"×{row[at.D_HEALTH]:.4g}", "> 0")
    code = PLACES.get(word, word)
    if word == "order_unresolved" and math.isfinite(row[at.D_RULE]):
        code = "state"
    place = ORDER.index(code) if code in ORDER else len(ORDER)
    found = [*_scope(row, code, word, texts), ("market_health", health)]
    if math.isfinite(row[at.D_GROSS]):  # else nothing was compared: the size had come out as zero
        found += [*_order(plan, row, limits), *_funds(plan, row, limits), *_room(plan, row, limits)]
    return tuple(_marked(check, ORDER.index(name), place) for name, check in found)


def _marked(check: CheckView, mine: int, place: int) -> CheckView:
    """Return a check as passed, failed or not reached, by its place and that of the check that denied.

    Where two checks share a code, each says itself whether it passed.
    """
    if mine == place:
        return check
    result = NOT_REACHED if mine > place else ""
    return CheckView(check.name, mine < place, check.value, check.limit, check.note, result)


def _scope(row: Floats, code: str, word: str, texts: Mapping[str, str]) -> list[Line]:
    """Return the checks that ask nothing of the order; right and data only when they denied."""
    rule = at.DECISION_REASONS[int(row[at.D_RULE])] if math.isfinite(row[at.D_RULE]) else word
    note = f"{texts.get(rule, rule)}{_until(row[at.D_UNTIL])}"
    plain, told = word.replace("_", " "), rule.replace("_", " ")

    def _line(name: str, here: str, free: str, shown: str, why: str) -> Line:
        denied = code == here
        return here, CheckView(name, False, shown if denied else free, free, why if denied else "")

    lines = [_line("Trading state", "state", "active", plain, note)]
    if code == "right":
        lines.insert(0, _line("Right to trade", "right", "held", plain, texts[word]))
    if code == "data":
        lines.append(_line("Market and data", "data", "usable", plain, texts[word]))
    return [
        *lines,
        _line("Cooldown after a close", "cooldown", "over", "cooling down", note),
        _line("Pauses", "paused", "none", told, note),
    ]


def _order(plan: Plan, row: Floats, limits: AccountLimits) -> list[Line]:
    """Return the checks of price, slippage, stop and risk."""
    stop, price = row[at.D_STOP], row[at.D_CLOSE]
    most, alone, together = plan.params[at.S_MAX_SLIPPAGE], row[at.D_RISK_TRADE], row[at.D_RISK_OPEN]
    single = not alone > _limit(limits.risk_per_trade) * EDGE
    every = not together > _limit(limits.risk_open) * EDGE
    return [
        ("bad_price", CheckView("Price", False, f"{price:.10g}", "within 5% of the last price")),
        ("slippage", CheckView("Slippage", False, f"{row[at.D_SLIPPAGE]:.3%}", _most_share(most, 3))),
        (
            "no_stop",
            CheckView("Stop", False, f"{stop:.10g}" if math.isfinite(stop) else "none",
                      "required" if limits.require_stop else "not required"),
        ),
        ("risk_per_trade", CheckView("Loss at the stop", single, _share(alone, 2, "no stop"),
                                     _most_share(limits.risk_per_trade, 2), "with costs, of the strategy's equity")),
        ("risk_per_trade", CheckView("Loss at all stops", every, _share(together, 2),
                                     _most_share(limits.risk_open, 2), "of all positions, of the account's equity")),
    ]  # fmt: skip


def _funds(plan: Plan, row: Floats, limits: AccountLimits) -> list[Line]:
    """Return the checks of size, funds and rate."""
    market, quote = plan.market, plan.market.quote
    quantity, notional = row[at.D_QUANTITY], row[at.D_QUANTITY] * row[at.D_CLOSE]
    cost = notional * (1.0 / plan.params[at.S_LEVERAGE] + plan.params[at.S_TAKER])
    enough = bool(quantity > 0.0 and quantity >= market.min_quantity)
    worth = bool(notional >= market.min_notional)
    amount = f"{quantity:.8g} {market.base}"
    own, every = row[at.D_ORDERS] + 1.0, row[at.D_ORDERS_ACCOUNT] + 1.0
    return [
        ("below_minimum", CheckView("Quantity", enough, amount, _least(market.min_quantity))),
        ("below_minimum", CheckView("Notional", worth, f"{notional:,.2f} {quote}", _least(market.min_notional))),
        ("above_maximum", CheckView("Largest order", False, amount, _most(market.max_quantity))),
        (
            "insufficient_funds",
            CheckView("Margin and fee", False, f"{cost:,.2f} {quote}", f"≤ {FREE_SHARE * row[at.D_FREE]:,.2f}",
                      f"{FREE_SHARE:.0%} of the free balance of {row[at.D_FREE]:,.2f} {quote}"),
        ),
        ("rate_limit", CheckView("Orders in 10 s", own <= _limit(limits.orders_per_strategy), f"{own:g}",
                                 _most(limits.orders_per_strategy), "of the strategy, with this one")),
        ("rate_limit", CheckView("Orders in 10 s, account", every <= _limit(limits.orders_per_account), f"{every:g}",
                                 _most(limits.orders_per_account), "of all strategies, with this one")),
    ]  # fmt: skip


def _room(plan: Plan, row: Floats, limits: AccountLimits) -> list[Line]:
    """Return the checks of positions, orders, exposures, liquidation and trades of the day."""
    per_market = "off" if limits.max_per_market is None else f"at most {limits.max_per_market}"
    away, near = row[at.D_LIQUIDATION], limits.liquidation_distance
    shown = f"{away:.2f} stop distances" if math.isfinite(away) else "no leverage or stop"
    return [
        (
            "max_open_positions",
            CheckView("Open positions", False, f"{row[at.D_OPEN] + 1:g}", _most(limits.max_open_positions),
                      f"with this one; strategies in one market: {per_market}"),
        ),
        ("max_open_orders", CheckView("Open orders", False, "with this one", _most(plan.params[at.S_MAX_ORDERS]))),
        *_exposures(plan, row, limits),
        ("liquidation_near", CheckView("Liquidation", False, shown, "off" if near is None else f"≥ {near:g}")),
        (
            "max_trades_per_day",
            CheckView("Trades of the day", False, f"{row[at.D_TRADES] + 1:g}", _most(plan.params[at.S_MAX_TRADES]),
                      "with this one"),
        ),
    ]  # fmt: skip


def _exposures(plan: Plan, row: Floats, limits: AccountLimits) -> list[Line]:
    linear = plan.market.kind == "linear"
    factor, leverage = (3.0 if linear else 1.0), plan.config.execution.leverage
    gross = limits.gross_linear if linear else limits.gross_spot
    rows = (
        ("exposure_strategy", "Exposure of the strategy", at.D_STRATEGY_EXPOSURE, plan.params[at.S_MAX_EXPOSURE],
         leverage),
        ("exposure_market", "Net in the market", at.D_MARKET_NET, limits.market_net, factor),
        ("exposure_market", "Gross in the market", at.D_MARKET_GROSS, limits.market_gross, factor),
        ("exposure_account", "Gross of the account", at.D_GROSS, gross, 1.0),
    )  # fmt: skip
    found = []
    for code, name, column, limit, times in rows:
        value, most = float(row[column]), _limit(limit) * times
        passed = code == "exposure_market" and value <= most * EDGE
        found.append((code, CheckView(name, passed, _share(value, 1), _most_share(most, 1))))
    return found


def _until(until_ms: float) -> str:
    """Return until when a rule is in force, in words."""
    if math.isnan(until_ms) or until_ms == 0.0:
        return ""
    if math.isinf(until_ms):
        return ", until it is released"
    return f", until {datetime.fromtimestamp(until_ms / 1000.0, UTC):%Y-%m-%d %H:%M} UTC"


def _limit(value: float | None) -> float:
    """Return a limit, infinite when it is off."""
    return math.inf if value is None or math.isnan(value) else float(value)


def _share(value: float, digits: int, missing: str = "n/a") -> str:
    return f"{value:.{digits}%}" if math.isfinite(value) else missing


def _most_share(value: float | None, digits: int) -> str:
    return "off" if math.isinf(_limit(value)) else f"≤ {value:.{digits}%}"


def _least(value: float) -> str:
    return f"≥ {value:g}" if value > 0.0 else "off"


def _most(value: float | None) -> str:
    return "off" if math.isinf(_limit(value)) else f"≤ {value:g}"
