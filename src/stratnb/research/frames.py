"""The frames of a backtest: trades, fills and equity, built from plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import Fill, Trade

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FILL_COLUMNS",
    "TRADE_COLUMNS",
    "equity_frame",
    "exposure_frame",
    "fills_frame",
    "held_at",
    "orders_frame",
    "time_index",
    "trades_frame",
    "waiting_order",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRADE_COLUMNS = tuple(name for name in Trade.__slots__ if name not in ("strategy_id", "symbol"))
FILL_COLUMNS = tuple(name for name in Fill.__slots__ if name not in ("strategy_id", "symbol"))


def trades_frame(trades: Sequence[Trade]) -> pd.DataFrame:
    """Return one row per closed round trip with `entry` and `exit` (UTC) first; money in quote units after costs."""
    import pandas as pd

    names = [name for name in TRADE_COLUMNS if name != "trade_no"]
    frame = pd.DataFrame([[getattr(trade, name) for name in names] for trade in trades], columns=names)
    for place, side in enumerate(("entry", "exit")):
        frame.insert(place, side, pd.to_datetime(frame.pop(f"{side}_ms"), unit="ms", utc=True))
    return frame


def fills_frame(fills: Iterable[Fill]) -> pd.DataFrame:
    """Return one row per fill."""
    import pandas as pd

    names = ["time_ms", "side", "quantity", "price", "fee", "reason", "realized_pnl", "position_after", "trade_no"]
    return pd.DataFrame([[getattr(fill, name) for name in names] for fill in fills], columns=names)


def time_index(time_ms: Ints) -> pd.DatetimeIndex:
    """Return times in ms as the index of a frame, UTC."""
    import pandas as pd

    return pd.to_datetime(time_ms, unit="ms", utc=True).rename("time")


def equity_frame(close_ms: Ints, equity: Floats, capital: float) -> pd.DataFrame:
    """Return equity and drawdown (fraction, from `capital` on) at each close, indexed by closing time (UTC)."""
    import pandas as pd

    whole = np.concatenate(([capital], equity))
    falls = 1.0 - whole / np.maximum.accumulate(whole)
    return pd.DataFrame({"equity": equity, "drawdown": falls[1:]}, index=time_index(close_ms))


def held_at(fill_rows: Floats, close_ms: Ints) -> Floats:
    """Return the signed quantity that a strategy held at each close; `fill_rows` (n, W_FILL) of it alone."""
    held = np.concatenate(([0.0], fill_rows[:, at.F_AFTER]))
    return held[np.searchsorted(fill_rows[:, at.F_TIME], close_ms, side="left")]


def exposure_frame(close_ms: Ints, quantity: Floats, close: Floats, equity: Floats) -> pd.DataFrame:
    """Return quantity, notional and its share of equity (NaN where that is not positive) at each close (UTC)."""
    import pandas as pd

    notional = quantity * close
    share = np.divide(notional, equity, out=np.full(len(equity), np.nan), where=equity > 0.0)
    columns = {"quantity": quantity, "notional": notional, "share": share}
    return pd.DataFrame(columns, index=time_index(close_ms))


def waiting_order(book: Floats, reason: Callable[[float], str]) -> tuple[str, float, str] | None:
    """Return side, quantity and reason of the order that waits in a book, None without one."""
    if book[at.B_ORDER] == at.ORDER_NONE:
        return None
    side = "buy" if book[at.B_ORDER_SIGN] > 0 else "sell"
    return side, float(book[at.B_ORDER_QUANTITY]), reason(book[at.B_ORDER_REASON])


def orders_frame(
    fills: Iterable[Fill], waiting: tuple[str, float, str] | None = None, *, name: str = "", symbol: str = ""
) -> pd.DataFrame:
    """Return one row per order of a strategy that was filled, oldest first, and the one that waits, `waiting`.

    `time` (UTC) is that of the last fill, NaT for an order that waits; `price` the quantity-weighted mean.
    """
    import pandas as pd

    names = ["time", "strategy", "symbol", "side", "quantity", "price", "fee", "reason", "status", "trade_no"]
    rows: list[list[object]] = []
    for _, group in groupby(fills, key=lambda fill: (fill.trade_no, fill.reason, fill.side)):
        parts = list(group)
        last, quantity, fee = parts[-1], sum(x.quantity for x in parts), sum(x.fee for x in parts)
        price = last.price if len(parts) == 1 else sum(x.price * x.quantity for x in parts) / quantity
        when = pd.Timestamp(last.time_ms, unit="ms", tz="UTC")
        rows.append([when, name, symbol, last.side, quantity, price, fee, last.reason, "filled", last.trade_no])
    if waiting is not None:
        side, quantity, reason = waiting
        rows.append([pd.NaT, name, symbol, side, quantity, math.nan, 0.0, reason, "open", 0])
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(time=pd.to_datetime(frame["time"], utc=True))
