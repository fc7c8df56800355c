"""Round trips from fills."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import Fill, Trade

__all__ = ["fill_of", "trades_of"]

Floats = npt.NDArray[np.float64]


def fill_of(row: Floats, *, strategy_id: str, symbol: str, reason: Callable[[float], str]) -> Fill:
    """Return the fill that a kernel's row holds."""
    return Fill(
        strategy_id=strategy_id,
        symbol=symbol,
        side="buy" if row[at.F_SIGN] > 0 else "sell",
        quantity=float(row[at.F_QUANTITY]),
        price=float(row[at.F_PRICE]),
        fee=float(row[at.F_FEE]),
        time_ms=int(row[at.F_TIME]),
        reason=reason(row[at.F_REASON]),
        realized_pnl=float(row[at.F_REALIZED]),
        position_after=float(row[at.F_AFTER]),
        trade_no=int(row[at.F_TRADE]),
    )


def trades_of(fills: Floats, *, strategy_id: str, symbol: str, reason: Callable[[float], str]) -> list[Trade]:
    """Return the closed round trips of one strategy's fill rows (n, W_FILL), oldest first.

    The entry price is the average, the exit price the quantity-weighted mean; pnl is after fees; `return_fraction`
    is pnl over the entry notional.
    """
    if not len(fills):
        return []
    cuts = np.flatnonzero(np.diff(fills[:, at.F_TRADE])) + 1
    groups = np.split(fills, cuts)
    return [_trade(rows, strategy_id, symbol, reason) for rows in groups if rows[-1, at.F_AFTER] == 0.0]


def _trade(rows: Floats, strategy_id: str, symbol: str, reason: Callable[[float], str]) -> Trade:
    sign = rows[0, at.F_SIGN]
    opening = rows[:, at.F_SIGN] == sign
    quantity = float(rows[opening, at.F_QUANTITY].sum())
    entry_price = float(rows[-1, at.F_AVERAGE])
    closing = rows[~opening]
    exit_price = float((closing[:, at.F_PRICE] * closing[:, at.F_QUANTITY]).sum() / closing[:, at.F_QUANTITY].sum())
    fees = float(rows[:, at.F_FEE].sum())
    pnl = float(rows[:, at.F_REALIZED].sum()) - fees
    return Trade(
        strategy_id=strategy_id,
        symbol=symbol,
        trade_no=int(rows[0, at.F_TRADE]),
        direction=int(sign),
        quantity=quantity,
        entry_ms=int(rows[0, at.F_TIME]),
        entry_price=entry_price,
        exit_ms=int(rows[-1, at.F_TIME]),
        exit_price=exit_price,
        pnl=pnl,
        fees=fees,
        return_fraction=pnl / (quantity * entry_price),
        reason=reason(rows[-1, at.F_REASON]),
        fills=len(rows),
    )
