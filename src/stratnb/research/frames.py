"""The frames of a backtest: trades, fills and equity, built from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stratnb.model import Fill, Trade

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FILL_COLUMNS", "TRADE_COLUMNS", "equity_frame", "fills_frame", "trades_frame"]

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


def equity_frame(close_ms: Ints, equity: Floats, capital: float) -> pd.DataFrame:
    """Return equity and drawdown (fraction, from `capital` on) at each close, indexed by closing time (UTC)."""
    import pandas as pd

    whole = np.concatenate(([capital], equity))
    falls = 1.0 - whole / np.maximum.accumulate(whole)
    index = pd.to_datetime(close_ms, unit="ms", utc=True).rename("time")
    return pd.DataFrame({"equity": equity, "drawdown": falls[1:]}, index=index)
