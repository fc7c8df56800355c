"""The candle archive: a folder per exchange, symbol and timeframe, a Parquet file per month, and a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np

from stratnb.errors import ConfigError, nearest
from stratnb.market_data.candles import REVISED, VALUES, Candles
from stratnb.market_data.lock import file_lock
from stratnb.market_data.months import (
    COLUMNS,
    Columns,
    checksum,
    columns_of,
    month_of,
    read_month,
    replace_file,
    stored_checksum,
    write_month,
)
from stratnb.model import timeframe_ms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Archive", "Series", "Written"]

MANIFEST, LOCK = "manifest.json", ".lock"
LONGEST_NAME = 200


class Series(NamedTuple):
    """The name of one candle series."""

    exchange: str
    symbol: str
    timeframe: str


@dataclass(frozen=True, slots=True)
class Written:
    """How many candles a write added, changed (flagged revised) and found equal."""

    added: int
    revised: int
    equal: int


class Archive:
    """Candles on disk. Writing merges by open time under a lock; reading takes no lock and never waits.

    Month files are replaced whole and carry their own checksum, so a crash leaves the old or the new file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        if self.root.exists() and not self.root.is_dir():
            hint = "give a folder"
            raise ConfigError("archive_root", f"{self.root} is not a folder", value=str(self.root), hint=hint)

    def __repr__(self) -> str:
        """Return the folder on one line."""
        return f"Archive({str(self.root)!r})"

    def write(self, candles: Candles, exchange: str = "import", *, wait_s: float = 5.0) -> Written:
        """Merge candles into their series: new ones are added, changed ones replace the old, flagged revised.

        Raises `RetryLater` when another process writes this series for longer than `wait_s`.
        """
        series = Series(exchange, candles.symbol, candles.timeframe)
        folder = self._folder(series)
        if not len(candles):
            return Written(0, 0, 0)
        folder.mkdir(parents=True, exist_ok=True)
        counts = np.zeros(3, np.int64)
        with file_lock(folder / LOCK, wait_s=wait_s):
            months = month_of(candles.open_time_ms)
            entries = self._kept_entries(series)
            for month in np.unique(months):
                where = np.flatnonzero(months == month)
                part, path = candles[int(where[0]) : int(where[-1]) + 1], folder / f"{month}.parquet"
                merged, changes = _merge(read_month(path) if path.exists() else None, columns_of(part))
                if changes[:2].any():
                    write_month(path, merged)
                entries[str(month)] = _entry(merged, timeframe_ms(series.timeframe))
                counts += changes
            text = json.dumps(_manifest(series, entries), indent=1)
            replace_file(folder / MANIFEST, text.encode())
        return Written(*map(int, counts))

    def read(
        self, exchange: str, symbol: str, timeframe: str, start_ms: int | None = None, end_ms: int | None = None
    ) -> Candles:
        """Return the stored candles with start_ms <= open time < end_ms; None leaves a side open.

        Raises `ConfigError` for a series that is not stored and for a damaged file, which it names.
        """
        series = Series(exchange, symbol, timeframe)
        timeframe_ms(timeframe)
        paths = self._months(series)
        if not paths:
            raise self._missing(series)
        bounds = [
            np.datetime64(ms, "ms").astype("datetime64[M]") if ms is not None else None for ms in (start_ms, end_ms)
        ]
        parts = [
            read_month(path)
            for path in paths
            if (bounds[0] is None or np.datetime64(path.stem, "M") >= bounds[0])
            and (bounds[1] is None or np.datetime64(path.stem, "M") <= bounds[1])
        ]
        parts = parts or [{name: column[:0] for name, column in read_month(paths[0]).items()}]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        return Candles(symbol, timeframe, **joined).between(start_ms, end_ms)

    def list(self) -> tuple[Series, ...]:
        """Return the stored series, sorted."""
        return tuple(sorted(set(self._series())))

    def manifest(self, exchange: str, symbol: str, timeframe: str) -> dict[str, Any]:
        """Return rows, first, last, gaps and the entries of each month; made anew when a file is newer than it."""
        series = Series(exchange, symbol, timeframe)
        if not self._months(series):
            raise self._missing(series)
        return _manifest(series, self._kept_entries(series))

    def coverage(self) -> pd.DataFrame:
        """Return one row per series and month, from the candles themselves.

        `expected` counts the candles between the first and the last of the series that fall in the month; `missing`,
        `longest_gap`, `zero_volume`, `flat` (O = H = L = C) and `duplicates` describe those present.
        """
        import pandas as pd

        rows = [row for series in self.list() for row in _coverage(self.read(*series), series)]
        names = (*Series._fields, "month", "expected", "present", "missing", "longest_gap", "zero_volume", "flat")
        return pd.DataFrame(rows, columns=[*names, "duplicates"])

    def _folder(self, series: Series) -> Path:
        timeframe_ms(series.timeframe)
        return self.root / _encoded(series.exchange) / _encoded(series.symbol) / series.timeframe

    def _months(self, series: Series) -> tuple[Path, ...]:
        return tuple(sorted(self._folder(series).glob("[0-9]*-[0-9][0-9].parquet")))

    def _series(self) -> Iterator[Series]:
        folders = {path.parent for path in self.root.glob("*/*/*/[0-9]*-[0-9][0-9].parquet")}
        for folder in folders:
            exchange, symbol, timeframe = folder.relative_to(self.root).parts
            yield Series(unquote(exchange), unquote(symbol), timeframe)

    def _kept_entries(self, series: Series) -> dict[str, Any]:
        """Return the manifest entries of the month files, each read again unless its checksum is the file's."""
        path = self._folder(series) / MANIFEST
        try:
            known = json.loads(path.read_text())["months"]
        except (OSError, ValueError, KeyError):
            known = {}
        entries: dict[str, Any] = {}
        for month in self._months(series):
            entry = known.get(month.stem, {})
            is_current = entry.get("sha256") == stored_checksum(month)
            entries[month.stem] = entry if is_current else _entry(read_month(month), timeframe_ms(series.timeframe))
        return entries

    def _missing(self, series: Series) -> ConfigError:
        known = [" ".join(other) for other in self.list()]
        close = nearest(" ".join(series), known)
        hint = f"did you mean {' or '.join(close)}?" if close else f"stored: {', '.join(known) or 'nothing'}"
        return ConfigError("archive_missing", f"{self!r} has no {' '.join(series)}", value=series, hint=hint)


def _encoded(name: str) -> str:
    """Return a name that is one plain folder name on every system and decodes to the same text."""
    encoded = quote(name, safe=" ").replace(".", "%2E").replace("~", "%7E")
    if not name.strip() or len(encoded) > LONGEST_NAME:
        hint = f"use 1 to {LONGEST_NAME} characters"
        raise ConfigError("archive_name", f"{name!r} cannot name a folder", value=name, hint=hint)
    return encoded


def _merge(old: Columns | None, new: Columns) -> tuple[Columns, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the sorted union, in which new values replace different old ones, and (added, revised, equal)."""
    if old is None:
        return new, np.array([new["flags"].size, 0, 0])
    at = np.searchsorted(old["open_time_ms"], new["open_time_ms"])
    at_safe = np.minimum(at, old["open_time_ms"].size - 1)
    known = old["open_time_ms"][at_safe] == new["open_time_ms"]
    same = known & np.all([old[name][at_safe] == new[name] for name in VALUES], axis=0)
    revised = known & ~same
    merged = {name: column.copy() for name, column in old.items()}
    for name in COLUMNS:
        merged[name][at_safe[revised]] = new[name][revised]
    merged["flags"][at_safe[revised]] |= REVISED
    places = at[~known]
    merged = {name: np.insert(merged[name], places, new[name][~known]) for name in COLUMNS}
    return merged, np.array([np.sum(~known), np.sum(revised), np.sum(same)])


def _entry(columns: Columns, length: int) -> dict[str, Any]:
    times = columns["open_time_ms"]
    return {
        "rows": int(times.size),
        "first_ms": int(times[0]),
        "last_ms": int(times[-1]),
        "gaps": int(np.count_nonzero(np.diff(times) > length)),
        "sha256": checksum(columns),
    }


def _manifest(series: Series, entries: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest: totals over the months, counting gaps across their borders too."""
    months = dict(sorted(entries.items()))
    parts, length = list(months.values()), timeframe_ms(series.timeframe)
    borders = sum(after["first_ms"] - before["last_ms"] > length for before, after in pairwise(parts))
    totals: dict[str, Any] = {"rows": sum(part["rows"] for part in parts)}
    if parts:
        totals |= {"first_ms": parts[0]["first_ms"], "last_ms": parts[-1]["last_ms"]}
    return {**series._asdict(), **totals, "gaps": sum(part["gaps"] for part in parts) + borders, "months": months}


def _coverage(candles: Candles, series: Series) -> Iterator[tuple[object, ...]]:
    if not len(candles):
        return
    length, months = candles.timeframe_ms, month_of(candles.open_time_ms)
    first, last = int(candles.open_time_ms[0]), int(candles.open_time_ms[-1])
    for month in np.arange(months[0], months[-1] + 1):
        starts, ends = (int(edge.astype("datetime64[ms]").astype(np.int64)) for edge in (month, month + 1))
        part = candles.between(starts, ends)
        since, until = max(first, starts + (first - starts) % length), min(last, ends - 1)
        expected = (until - since) // length + 1
        edges = np.concatenate([[since - length], part.open_time_ms, [until + length - (until - since) % length]])
        longest = int(np.rint(np.diff(edges) / length).max()) - 1
        flat = (part.high == part.low) & (part.open == part.close) & (part.open == part.high)
        empty = int(np.count_nonzero(part.volume == 0))
        missing = max(expected - len(part), 0)
        yield (*series, str(month), expected, len(part), missing, longest, empty, int(flat.sum()), 0)
