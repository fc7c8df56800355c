"""The sizing steps and the risk checks of an entry, as numbers with their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import retell
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Plan
from stratnb.view import CheckView

__all__ = ["NOT_ASKED", "NOT_REACHED", "STEP", "risk_checks", "sizing_steps"]

Floats = npt.NDArray[np.float64]

STEP, NOT_REACHED, NOT_ASKED = "Step", "Not reached", "Not asked"
FREE_SHARE = 0.98  # of the free balance, as in the check itself
ORDER = (
    *("state", "no_stop", "below_minimum", "insufficient_funds", "max_open_positions"),
    *("exposure_strategy", "exposure_market", "exposure_account"),
)
STATES = frozenset({"halted", "reducing", "daily_loss", "kill_switch"})


def sizing_steps(plan: Plan, row: Floats, columns: Floats | None, capital: float) -> tuple[CheckView, ...]:
    """Return how the size came about: equity, stop, what the rule asks for, its caps, and the rounding.

    `capital` is the strategy's allocation in quote units; `columns` the plan's row at the candle, if it is known.
    """
    if not math.isfinite(row[at.D_NOTIONAL]):
        return ()
    quote, stop, close = plan.market.quote, row[at.D_STOP], row[at.D_CLOSE]
    compound = bool(plan.params[at.S_COMPOUND])
    equity = float(row[at.D_EQUITY]) if compound else capital
    distance = abs(close - stop) / close if math.isfinite(stop) else math.nan
    steps = [
        CheckView("Equity" if compound else "Capital", True, f"{equity:,.2f} {quote}", "", result=STEP),
        CheckView("Stop distance", True, f"{distance:.3%}" if math.isfinite(distance) else "no stop", "", result=STEP),
    ]
    if columns is not None:
        steps += _asked(plan, row, columns, equity)
    notional, quantity = row[at.D_NOTIONAL], row[at.D_QUANTITY]
    rounded = f"cut down to whole lots of {plan.market.lot:g} {plan.market.base}"
    steps += [
        CheckView("Notional", bool(notional > 0), f"{notional:,.2f} {quote}", "> 0"),
        CheckView("Quantity", bool(quantity > 0), f"{quantity:.10g} {plan.market.base}", "> 0", rounded),
    ]
    return tuple(steps)


def _asked(plan: Plan, row: Floats, columns: Floats, equity: float) -> list[CheckView]:
    """Return what the sizing block asks for and both of its caps, from the kernel that sized the entry."""
    quote, free = plan.market.quote, float(row[at.D_FREE])
    memory, out = columns.copy(), np.empty(retell.W_SIZES)
    retell.sizes(plan.code, plan.params, memory, row[at.D_CLOSE], row[at.D_STOP], equity, free, out)
    wanted, cap, carried = out.tolist()
    node = plan.sizing
    named = {str(item): float(memory[k]) for item, k in zip(node.block.inputs(), node.inputs, strict=True)}
    kind = plan.config.sizing.kind.replace("_", " ")
    share, leverage, taker = (float(plan.params[k]) for k in (at.S_CAP, at.S_LEVERAGE, at.S_TAKER))
    steps = [
        CheckView(f"Asked by {kind}", True, f"{wanted:,.2f} {quote}", "", node.block.explain(named), STEP),
        CheckView(
            "Cap", True, f"{cap:,.2f} {quote}", "", f"{share:g} × {equity:,.2f} × leverage {leverage:g}",
            _cut(wanted, cap, carried),
        ),
    ]  # fmt: skip
    if math.isfinite(carried):
        formula = f"{FREE_SHARE:.0%} of {free:,.2f} / (1 / leverage {leverage:g} + fee {taker:.3%})"
        word = _cut(wanted, carried, cap)
        steps.append(CheckView("Carried by the balance", True, f"{carried:,.2f} {quote}", "", formula, word))
    return steps


def _cut(wanted: float, limit: float, other: float) -> str:
    """Return whether a limit is the one that cuts what is wanted."""
    return "Cuts" if limit < wanted and not other < limit else STEP


def risk_checks(plan: Plan, row: Floats, limits: AccountLimits, word: str, texts: Mapping[str, str]) -> tuple[
    CheckView, ...
]:  # fmt: skip
    """Return the pre-trade checks in their order, with the values that were measured; those after a denial say so.

    `word` is the reason of the decision, `texts` the sentences for reasons.
    """
    if not math.isfinite(row[at.D_GROSS]):
        return ()
    code = "state" if word in STATES else word
    place = ORDER.index(code) if code in ORDER else len(ORDER)
    found = [("state", _state(word, texts)), *_order_checks(plan, row, limits), *_exposures(plan, row, limits)]
    return tuple(_marked(check, ORDER.index(name), place) for name, check in found)


def _marked(check: CheckView, mine: int, place: int) -> CheckView:
    """Return a check as passed, failed or not reached, by its place and that of the check that denied.

    Where two checks share a code, each says itself whether it passed.
    """
    if mine == place:
        return check
    result = NOT_REACHED if mine > place else ""
    return CheckView(check.name, mine < place, check.value, check.limit, check.note, result)


def _state(word: str, texts: Mapping[str, str]) -> CheckView:
    denied = word in STATES
    return CheckView("Trading state", not denied, word.replace("_", " ") if denied else "active", "active",
                     texts[word] if denied else "")  # fmt: skip


def _order_checks(plan: Plan, row: Floats, limits: AccountLimits) -> list[tuple[str, CheckView]]:
    market, quote, stop = plan.market, plan.market.quote, row[at.D_STOP]
    quantity, notional = row[at.D_QUANTITY], row[at.D_QUANTITY] * row[at.D_CLOSE]
    cost = notional * (1.0 / plan.params[at.S_LEVERAGE] + plan.params[at.S_TAKER])
    enough = bool(quantity > 0.0 and quantity >= market.min_quantity)
    worth = bool(notional >= market.min_notional)
    per_market = "off" if limits.max_per_market is None else f"at most {limits.max_per_market}"
    return [
        (
            "no_stop",
            CheckView("Stop", False, f"{stop:.10g}" if math.isfinite(stop) else "none",
                      "required" if limits.require_stop else "not required"),
        ),
        ("below_minimum", CheckView("Quantity", enough, f"{quantity:.8g} {market.base}", _least(market.min_quantity))),
        ("below_minimum", CheckView("Notional", worth, f"{notional:,.2f} {quote}", _least(market.min_notional))),
        (
            "insufficient_funds",
            CheckView("Margin and fee", False, f"{cost:,.2f} {quote}", f"≤ {FREE_SHARE * row[at.D_FREE]:,.2f}",
                      f"{FREE_SHARE:.0%} of the free balance of {row[at.D_FREE]:,.2f} {quote}"),
        ),
        (
            "max_open_positions",
            CheckView("Open positions", False, f"{row[at.D_OPEN] + 1:g}", _most(limits.max_open_positions),
                      f"with this one; strategies in one market: {per_market}"),
        ),
    ]  # fmt: skip


def _exposures(plan: Plan, row: Floats, limits: AccountLimits) -> list[tuple[str, CheckView]]:
    linear = plan.market.kind == "linear"
    factor, leverage = (3.0 if linear else 1.0), plan.config.execution.leverage
    gross = limits.gross_linear if linear else limits.gross_spot
    rows = (
        ("exposure_strategy", "Exposure of the strategy", at.D_STRATEGY_EXPOSURE, plan.config.risk.max_exposure,
         leverage),
        ("exposure_market", "Net in the market", at.D_MARKET_NET, limits.market_net, factor),
        ("exposure_market", "Gross in the market", at.D_MARKET_GROSS, limits.market_gross, factor),
        ("exposure_account", "Gross of the account", at.D_GROSS, gross, 1.0),
    )  # fmt: skip
    found = []
    for code, name, column, limit, times in rows:
        value, most = float(row[column]), math.inf if limit is None else limit * times
        passed = code == "exposure_market" and value <= most * (1.0 + 1e-9)
        found.append((code, CheckView(name, passed, _share(value), "off" if limit is None else f"≤ {most:.1%}")))
    return found


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "n/a"


def _least(value: float) -> str:
    return f"≥ {value:g}" if value > 0.0 else "off"


def _most(value: int | None) -> str:
    return "off" if value is None else f"≤ {value}"
