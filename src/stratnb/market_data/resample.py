"""Causal resampling: higher timeframes built from lower candles, never an unfinished one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.market_data.candles import PARTIAL, Candles
from stratnb.model import TIMEFRAMES, timeframe_ms

__all__ = ["resample"]


def resample(candles: Candles, timeframe: str) -> Candles:
    """Return the candles of a longer timeframe, with groups aligned to the epoch.

    A group cut by the start of the data (its first candle is missing there) or by the end (its last moment is not
    reached) is withheld. A group that lacks candles elsewhere is built from those present and flagged partial; one
    without any does not exist. Volumes are added in the order of time, as a stream would. Raises `ConfigError` if the
    timeframe is not a multiple of that of the candles.

    >>> four = [1.0, 2.0, 3.0, 2.0]
    >>> minutes = Candles("BTC/USDT", "1m", np.arange(4) * 60_000, four, four, four, four, [5] * 4)
    >>> resample(minutes, "3m").volume.tolist()
    [15.0]
    """
    length, base = timeframe_ms(timeframe), candles.timeframe_ms
    if length % base:
        longer = ", ".join(name for name, ms in TIMEFRAMES.items() if ms > base and ms % base == 0)
        raise ConfigError(
            "timeframe_multiple",
            f"{candles.timeframe} candles cannot be built into {timeframe}: not a multiple",
            value=timeframe,
            hint=f"from {candles.timeframe} these can: {longer or 'none'}",
        )
    if length == base:
        return candles
    if not len(candles):
        none = candles.open
        return Candles(candles.symbol, timeframe, candles.open_time_ms, none, none, none, none, none)
    groups = candles.open_time_ms // length
    starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1])
    sizes = np.diff(starts, append=len(candles))
    kept = _kept(candles, groups[starts] * length, length)
    missing = (sizes < length // base).astype(np.uint8) * PARTIAL
    return Candles(
        candles.symbol,
        timeframe,
        (groups[starts] * length)[kept],
        candles.open[starts][kept],
        np.maximum.reduceat(candles.high, starts)[kept],
        np.minimum.reduceat(candles.low, starts)[kept],
        candles.close[starts + sizes - 1][kept],
        _sums(candles.volume, starts, sizes)[kept],
        (np.bitwise_or.reduceat(candles.flags, starts) | missing)[kept],
    )


def _kept(candles: Candles, starts_ms: npt.NDArray[np.int64], length: int) -> slice:
    """Return which groups are not cut by the start or the end of the data."""
    first = int(candles.open_time_ms[0] != starts_ms[0])
    is_open = candles.close_time_ms[-1] != starts_ms[-1] + length
    return slice(first, starts_ms.size - int(is_open))


def _sums(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the sum of each group, added one by one: `np.add.reduceat` adds pairwise, with other last bits."""
    sums = values[starts]
    for k in range(1, int(sizes.max())):
        longer = np.flatnonzero(sizes > k)
        sums[longer] += values[starts[longer] + k]
    return sums
