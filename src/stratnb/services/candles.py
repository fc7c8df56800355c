"""The candle provider: the history of closed candles of every market, and higher timeframes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.kernels.layout import C_CLOSE, C_HIGH, C_LOW, C_OPEN, C_TIME, C_VOLUME, W_CANDLE
from stratnb.market_data.candles import Candles
from stratnb.market_data.resample import resample
from stratnb.model import timeframe_ms

__all__ = ["CandleProvider", "TimeframeProvider"]

Floats = npt.NDArray[np.float64]
FIRST_ROWS = 1_024


class CandleProvider:
    """Closed candles by symbol as rows (open, high, low, close, volume, open_time_ms), oldest first.

    One thread appends, any thread reads: a reader gets a view of rows that do not change any more.
    """

    def __init__(self, timeframe: str) -> None:
        self.timeframe = timeframe
        self.step_ms = timeframe_ms(timeframe)
        self._rows: dict[str, Floats] = {}
        self._count: dict[str, int] = {}

    def __repr__(self) -> str:
        """Return the timeframe and the numbers of candles."""
        return f"<CandleProvider {self.timeframe}, {sum(self._count.values())} candles of {len(self._count)} markets>"

    def append(self, symbol: str, row: Floats) -> None:
        """Add a closed candle that is newer than the last one."""
        count = self._count.get(symbol, 0)
        rows = self._rows.get(symbol)
        if rows is None or count == len(rows):
            grown = np.empty((max(FIRST_ROWS, 2 * count), W_CANDLE))
            if rows is not None:
                grown[:count] = rows
            self._rows[symbol] = rows = grown
        rows[count] = row
        self._count[symbol] = count + 1

    def open(self, symbol: str, rows: Floats) -> None:
        """Take over the history of a symbol: rows (n, 6), oldest first."""
        self._rows[symbol] = np.concatenate([rows, np.empty((FIRST_ROWS, W_CANDLE))])
        self._count[symbol] = len(rows)

    def rows(self, symbol: str) -> Floats:
        """Return all candles of a symbol, (n, 6), without copying."""
        return self._rows[symbol][: self._count[symbol]] if symbol in self._rows else np.empty((0, W_CANDLE))

    def last(self, symbol: str, count: int, before_ms: int | None = None) -> Floats:
        """Return up to `count` candles that opened before a time, oldest first."""
        rows = self.rows(symbol)
        end = len(rows) if before_ms is None else int(np.searchsorted(rows[:, C_TIME], before_ms))
        return rows[max(0, end - count) : end]

    def first_ms(self) -> int | None:
        """Return when the oldest candle of all markets opened, None before there is one."""
        firsts = [int(rows[0, C_TIME]) for symbol, rows in self._rows.items() if self._count[symbol]]
        return min(firsts, default=None)

    def newest_ms(self, symbol: str) -> int | None:
        """Return the opening time of the newest candle."""
        rows = self.rows(symbol)
        return int(rows[-1, C_TIME]) if len(rows) else None


class TimeframeProvider:
    """Builds higher timeframes from the history, closed groups only; the same rule as in a plan."""

    def __init__(self, history: CandleProvider) -> None:
        self.history = history

    def check(self, timeframe: str) -> int:
        """Return how many candles of the history make one of a timeframe, or raise `ConfigError`."""
        length = timeframe_ms(timeframe)
        if length % self.history.step_ms:
            raise ConfigError(
                "timeframe_divides",
                f"{timeframe} cannot be built from {self.history.timeframe} candles",
                value=timeframe,
                hint="choose a multiple of the feed's timeframe",
            )
        return length // self.history.step_ms

    def frames(self, symbol: str, timeframe: str, count: int, before_ms: int | None = None) -> Floats:
        """Return up to `count` closed candles of a timeframe that opened before a time, oldest first."""
        ratio = self.check(timeframe)
        if ratio == 1:
            return self.history.last(symbol, count, before_ms)
        rows = self.history.last(symbol, (count + 2) * ratio, before_ms)
        times = rows[:, C_TIME].astype(np.int64)
        o, h, low, c, v = (rows[:, k] for k in (C_OPEN, C_HIGH, C_LOW, C_CLOSE, C_VOLUME))
        candles = Candles(symbol, self.history.timeframe, times, o, h, low, c, v)
        return resample(candles, timeframe).rows()[-count:]
