"""The tail of an archive: newly closed candles in memory, read together with the month files, compacted hourly."""

from __future__ import annotations

from threading import Lock

import numpy as np

from stratnb.errors import ConfigError
from stratnb.market_data.archive import Archive, Series, Written
from stratnb.market_data.candles import PRICES, Candles

__all__ = ["COMPACT_MS", "ArchiveTail"]

COMPACT_MS = 3_600_000
Row = tuple[float, float, float, float, float]


class ArchiveTail:
    """Appends closed candles and hands them to the archive's month files when an hour of the feed's clock has passed.

    One thread appends, any thread reads archive and tail as one series. What was not compacted ends with the process.
    """

    def __init__(self, archive: Archive, exchange: str = "import") -> None:
        self.archive = archive
        self.exchange = exchange
        self._rows: dict[Series, dict[int, Row]] = {}
        self._compacted_ms: dict[Series, int] = {}
        self._lock = Lock()

    def append(self, symbol: str, timeframe: str, open_time_ms: int, row: Row) -> None:
        """Add a closed candle (open, high, low, close, volume); only one newer than the last is taken."""
        series = Series(self.exchange, symbol, timeframe)
        with self._lock:
            rows = self._rows.setdefault(series, {})
            if rows and open_time_ms <= next(reversed(rows)):
                raise ConfigError(
                    "not_newer", f"candle {open_time_ms} of {symbol} is not newer than the tail", value=open_time_ms
                )
            self._compacted_ms.setdefault(series, open_time_ms)
            rows[open_time_ms] = row

    def pending(self, symbol: str, timeframe: str) -> Candles:
        """Return the candles that are not in month files yet."""
        series = Series(self.exchange, symbol, timeframe)
        with self._lock:
            rows = dict(self._rows.get(series, {}))
        values = np.array(list(rows.values())).reshape(-1, 5)
        return Candles(symbol, timeframe, np.array(list(rows), np.int64), *(values[:, k] for k in range(5)))

    def read(self, symbol: str, timeframe: str, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        """Return archive and tail as one series, start_ms <= open time < end_ms; of a candle in both, the tail's."""
        fresh = self.pending(symbol, timeframe)
        low = -(2**62) if start_ms is None else start_ms
        high = 2**62 if end_ms is None else end_ms
        fresh = fresh.between(low, high)
        if Series(self.exchange, symbol, timeframe) not in self.archive.list():
            return fresh
        old = self.archive.read(self.exchange, symbol, timeframe, start_ms, end_ms)
        kept = ~np.isin(old.open_time_ms, fresh.open_time_ms)
        order = np.argsort(np.concatenate([old.open_time_ms[kept], fresh.open_time_ms]), kind="stable")
        names = ("open_time_ms", *PRICES, "volume", "flags")
        joined = [np.concatenate([getattr(old, name)[kept], getattr(fresh, name)])[order] for name in names]
        return Candles(symbol, timeframe, *joined)

    def compact(self, symbol: str, timeframe: str) -> Written:
        """Write the tail into the month files and empty it of what was written; nothing is lost when writing fails."""
        candles = self.pending(symbol, timeframe)
        written = self.archive.write(candles, self.exchange)
        series = Series(self.exchange, symbol, timeframe)
        with self._lock:
            rows = self._rows.get(series, {})
            for time_ms in candles.open_time_ms.tolist():
                rows.pop(time_ms, None)
            if len(candles):
                self._compacted_ms[series] = int(candles.open_time_ms[-1])
        return written

    def compact_due(self, now_ms: int) -> int:
        """Compact the series whose last compaction is an hour ago; return how many there were."""
        with self._lock:
            due = [s for s, at in self._compacted_ms.items() if now_ms - at >= COMPACT_MS and self._rows.get(s)]
        for series in due:
            self.compact(series.symbol, series.timeframe)
        return len(due)
