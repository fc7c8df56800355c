"""Round trips from fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import Fill, Trade

__all__ = ["fill_of", "round_trips", "trades_of"]

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
        funding=float(row[at.F_FUNDING]),
    )


def trades_of(fills: Floats, *, strategy_id: str, symbol: str, reason: Callable[[float], str]) -> list[Trade]:
    """Return the closed round trips of one strategy's fill rows (n, W_FILL), oldest first; see `round_trips`."""
    return round_trips(fill_of(row, strategy_id=strategy_id, symbol=symbol, reason=reason) for row in fills)


def round_trips(fills: Iterable[Fill]) -> list[Trade]:
    """Return the closed round trips of one strategy's fills, oldest first; one that is still open is left out.

    Prices are the quantity-weighted means of what opened and what closed; `pnl` is after fees and funding;
    `return_fraction` is pnl over the entry notional. Lots that came by transfer open a trade at their average price;
    a trade whose lots were handed to another owner is no round trip and is left out.
    """
    groups = [list(rows) for _, rows in groupby(fills, key=lambda fill: fill.trade_no)]
    groups = [rows for rows in groups if len({fill.side for fill in rows}) == 2]  # one side alone closes nothing
    return [_trade(rows) for rows in groups if rows[-1].position_after == 0.0 and rows[-1].reason != "transfer"]


def _trade(rows: Sequence[Fill]) -> Trade:
    first, last = rows[0], rows[-1]
    opened = [fill for fill in rows if fill.side == first.side]
    quantity, entry_price = sum(fill.quantity for fill in opened), _mean_price(opened)
    fees = sum(fill.fee for fill in rows)
    funding = sum(fill.funding for fill in rows)
    pnl = sum(fill.realized_pnl for fill in rows) - fees - funding
    return Trade(
        strategy_id=first.strategy_id,
        symbol=first.symbol,
        trade_no=first.trade_no,
        direction=1 if first.side == "buy" else -1,
        quantity=quantity,
        entry_ms=first.time_ms,
        entry_price=entry_price,
        exit_ms=last.time_ms,
        exit_price=_mean_price([fill for fill in rows if fill.side != first.side]),
        pnl=pnl,
        fees=fees,
        return_fraction=pnl / (quantity * entry_price),
        reason=last.reason,
        fills=len(rows),
        funding=funding,
    )


def _mean_price(fills: Sequence[Fill]) -> float:
    """Return the quantity-weighted mean price; that of a single fill is its own, to the last bit."""
    if len(fills) == 1:
        return fills[0].price
    return sum(fill.price * fill.quantity for fill in fills) / sum(fill.quantity for fill in fills)
