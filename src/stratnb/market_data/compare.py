"""Candles that were built against those of the venue: where they differ, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stratnb.errors import ConfigError
from stratnb.market_data.candles import PARTIAL, PRICES, Candles

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["difference_report"]

VOLUME_TOLERANCE = 1e-9


def difference_report(built: Candles, venue: Candles) -> pd.DataFrame:
    """Return one row per difference of complete candles at equal times: `time` (UTC), `field`, `built`, `venue`.

    Prices must be equal to the last digit, volumes to 1e-9 relative; candles flagged partial are left out. An empty
    frame means that all agree. Raises `ConfigError` for series of other markets or timeframes.
    """
    import pandas as pd

    if (built.symbol, built.timeframe) != (venue.symbol, venue.timeframe):
        raise ConfigError(
            "series_mixed",
            f"{built.symbol} {built.timeframe} cannot be compared with {venue.symbol} {venue.timeframe}",
            value=venue.symbol,
            hint="give two series of one market and timeframe",
        )
    whole = built.flags & PARTIAL == 0
    times, ours, theirs = np.intersect1d(built.open_time_ms[whole], venue.open_time_ms, return_indices=True)
    rows: list[tuple[int, str, float, float]] = []
    for name in (*PRICES, "volume"):
        a, b = getattr(built, name)[whole][ours], getattr(venue, name)[theirs]
        equal = np.isclose(a, b, rtol=VOLUME_TOLERANCE, atol=0.0) if name == "volume" else a == b
        rows += [(int(times[k]), name, float(a[k]), float(b[k])) for k in np.flatnonzero(~equal)]
    frame = pd.DataFrame(sorted(rows), columns=["time", "field", "built", "venue"])
    frame["time"] = pd.to_datetime(frame["time"], unit="ms", utc=True)
    return frame
