"""Filing candles in an archive: what was new, what is missing, and where venue and built candles differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stratnb.errors import ConfigError
from stratnb.market_data.archive import Archive
from stratnb.market_data.candles import Candles
from stratnb.market_data.compare import difference_report
from stratnb.market_data.resample import resample
from stratnb.model import TIMEFRAMES

__all__ = ["file_candles", "filing_text"]

MOST = 20


def file_candles(archive: Archive, series: Sequence[Candles], exchange: str = "import") -> list[dict[str, Any]]:
    """Merge candles into an archive and return one row per series, for JSON.

    A row has `symbol`, `timeframe`, `added`, `revised`, `equal`, the `months` with their coverage, and `differences`:
    per shorter timeframe stored of that market, how many values of candles built from it are not those of the series,
    and the first of them. Raises `ConfigError` for the same series twice, before anything is written.
    """
    names = [(each.symbol, each.timeframe) for each in series]
    twice = sorted({f"{symbol} {timeframe}" for symbol, timeframe in names if names.count((symbol, timeframe)) > 1})
    if twice:
        hint = "file one after the other, so that it is clear which one counts"
        raise ConfigError("duplicate_series", f"more than one file of {', '.join(twice)}", value=twice, hint=hint)
    written = [archive.write(each, exchange) for each in series]
    coverage = archive.coverage()
    found = []
    for each, counts in zip(series, written, strict=True):
        mine = (coverage.exchange == exchange) & (coverage.symbol == each.symbol)
        months = coverage[mine & (coverage.timeframe == each.timeframe)]
        rows = months.drop(columns=["exchange", "symbol", "timeframe"]).to_dict("records")
        head = {"symbol": each.symbol, "timeframe": each.timeframe, **asdict(counts)}
        found.append({**head, "months": rows, "differences": _differences(archive, each, exchange)})
    return found


def _differences(archive: Archive, venue: Candles, exchange: str) -> dict[str, Any]:
    """Return per stored shorter timeframe how the candles built from it differ from those of the venue."""
    found: dict[str, Any] = {}
    stored = {s.timeframe for s in archive.list() if (s.exchange, s.symbol) == (exchange, venue.symbol)}
    for name, length in TIMEFRAMES.items():
        if name not in stored or length >= venue.timeframe_ms or venue.timeframe_ms % length or not len(venue):
            continue
        first, end = int(venue.open_time_ms[0]), int(venue.open_time_ms[-1]) + venue.timeframe_ms
        shorter = archive.read(exchange, venue.symbol, name, first, end)
        if len(shorter):
            report = difference_report(resample(shorter, venue.timeframe), venue)
            report["time"] = report["time"].astype(str)
            found[name] = {"count": len(report), "first": report.head(MOST).to_dict("records")}
    return found


def filing_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `file_candles` as lines for a terminal."""
    lines = []
    for row in rows:
        counts = f"{row['added']} added, {row['revised']} revised, {row['equal']} known already"
        lines.append(f"{row['symbol']} {row['timeframe']}: {counts}")
        for month in row["months"]:
            lines.append(
                f"  {month['month']}  {month['present']} of {month['expected']}, {month['missing']} missing, "
                f"longest gap {month['longest_gap']}, {month['zero_volume']} without volume"
            )
        for name, found in row["differences"].items():
            lines.append(f"  {found['count']} values differ from candles built of {name}")
            for one in found["first"]:
                lines.append(f"    {one['time']} {one['field']}: built {one['built']:.12g}, filed {one['venue']:.12g}")
    return "\n".join(lines)
