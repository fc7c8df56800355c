"""Finer candles inside the candles of a backtest."""

from __future__ import annotations

import numpy as np

from stratnb.errors import ConfigError
from stratnb.market_data.candles import VALUES, Candles, utc_text
from stratnb.model import timeframe_ms

__all__ = ["inside"]


def inside(candles: Candles, detail: Candles) -> Candles:
    """Return the finer candles of the same market that lie within the range of `candles`.

    A backtest on them decides at the closes of its primary timeframe, which is built from them, and resolves orders,
    stops and targets at their resolution. Raises `ConfigError`: another symbol, no finer or dividing timeframe, or
    candles that finer ones are missing for.
    """
    if not isinstance(detail, Candles):
        hint = "load them with load_candles in a shorter timeframe"
        text = f"{repr(detail)[:80]} is no series of candles"
        raise ConfigError("type", text, value=type(detail).__name__, hint=hint)
    if detail.symbol != candles.symbol:
        text = f"the finer candles are those of {detail.symbol}, not of {candles.symbol}"
        raise ConfigError("market_symbol", text, value=detail.symbol, hint="give those of the same market")
    long_ms, short_ms = timeframe_ms(candles.timeframe), timeframe_ms(detail.timeframe)
    if short_ms >= long_ms or long_ms % short_ms:
        text = f"{detail.timeframe!r} candles do not lie within {candles.timeframe!r} ones"
        hint = f"write a divisor of {candles.timeframe}, such as 1m"
        raise ConfigError("timeframe_divides", text, value=detail.timeframe, hint=hint)
    opens, fine = candles.open_time_ms, detail.open_time_ms
    starts, ends = np.searchsorted(fine, opens), np.searchsorted(fine, opens + long_ms)
    empty = np.flatnonzero(ends <= starts)
    if len(empty):
        first = utc_text(int(opens[empty[0]]))
        text = f"{len(empty)} of {len(opens)} candles have no finer ones inside, the first at {first} UTC"
        hint = "load finer candles of the whole range, or cut the candles to where there are some"
        raise ConfigError("no_candles", text, value=int(opens[empty[0]]), hint=hint)
    kept = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)]) if len(opens) else starts
    if len(kept) == kept[-1] - kept[0] + 1:
        return detail[int(kept[0]) : int(kept[-1]) + 1]
    columns = (getattr(detail, name)[kept] for name in VALUES)
    return Candles(detail.symbol, detail.timeframe, fine[kept], *columns)
