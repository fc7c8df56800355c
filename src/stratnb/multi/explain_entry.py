"""How the size of an entry came about, as numbers with their limits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import retell
from stratnb.strategy.plan import Plan
from stratnb.view import CheckView

__all__ = ["FREE_SHARE", "NOT_ASKED", "NOT_REACHED", "STEP", "sizing_steps"]

Floats = npt.NDArray[np.float64]

STEP, NOT_REACHED, NOT_ASKED = "Step", "Not reached", "Not asked"
FREE_SHARE = 0.98  # of the free balance, as in the check itself
FACTORS = (
    ("Losses in a row", at.D_STREAK, "by the losing trades before this one"),
    ("Health of the trades", at.D_HEALTH, "by win rate, profit factor and losses of the newest trades"),
    ("Drawdown", at.D_FALL, "by the fall from the peak, from half of its limit on"),
)


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
    steps += _factors(row) if columns is None else _asked(plan, row, columns, equity)
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
    steps = [CheckView(f"Asked by {kind}", True, f"{wanted:,.2f} {quote}", "", node.block.explain(named), STEP)]
    steps += _factors(row)
    factor = float(np.prod([row[cell] for _, cell, _ in FACTORS]))
    if factor < 1.0:
        wanted *= factor
        note = "asked size × " + " × ".join(f"{row[cell]:.4g}" for _, cell, _ in FACTORS)
        steps.append(CheckView("Reduced by the factors", wanted > 0.0, f"{wanted:,.2f} {quote}", "", note, STEP))
    steps += [
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


def _factors(row: Floats) -> list[CheckView]:
    """Return what reduces a size: losses in a row, health of the newest trades, drawdown; each at most 1."""
    found = []
    for name, cell, note in FACTORS:
        value = float(row[cell])
        if math.isfinite(value):
            result = "" if value == 0.0 else STEP if value == 1.0 else f"Weakened ×{value:.4g}"
            limit = "> 0" if cell == at.D_HEALTH else "≤ 1"
            found.append(CheckView(name, value > 0.0, f"×{value:.4g}", limit, note, result))
    return found


def _cut(wanted: float, limit: float, other: float) -> str:
    """Return whether a limit is the one that cuts what is wanted."""
    return "Cuts" if limit < wanted and not other < limit else STEP
