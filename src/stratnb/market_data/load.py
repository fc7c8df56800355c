"""Import of candles from CSV, Parquet and DataFrames, with a quality report; nothing is repaired silently."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.market_data.candles import Candles, Gaps, utc_text
from stratnb.market_data.naming import check_symbol, split_pair, symbol_from, timeframe_from
from stratnb.market_data.quality import NUMBERS, REPAIRS, Fault, Table, repaired
from stratnb.market_data.reading import find_columns, read_frame
from stratnb.market_data.times import ABSENT, parse_times
from stratnb.model import TIMEFRAMES, timeframe_ms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QualityReport", "load_candles"]

JUMP = 10.0
DAY_MS = 86_400_000
EARLIEST_MS = 631_152_000_000  # 1990-01-01 UTC


@dataclass(frozen=True, slots=True, repr=False)
class QualityReport:
    """What an import found: faults (each one repaired, as warnings), gaps, notes, and the rows each repair touched."""

    source: str
    symbol: str
    timeframe: str
    rows_read: int
    rows_kept: int
    gaps: Gaps
    findings: tuple[Finding, ...] = ()
    repairs: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the headline."""
        return f"QualityReport({str(self).splitlines()[0]!r})"

    def __str__(self) -> str:
        """Return a headline and one line per finding, repair and note."""
        head = f"{self.source}: {self.symbol} {self.timeframe}, {self.rows_kept} of {self.rows_read} rows, {self.gaps}"
        lines = [str(finding) for finding in self.findings]
        lines += [f"{name}: {rows} row{'s' * (rows != 1)}" for name, rows in self.repairs.items()]
        return "\n  ".join([head, *lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """Return the text as an escaped list for notebooks."""
        head, *lines = (html.escape(line.strip()) for line in str(self).splitlines())
        return f"<div><b>{head}</b><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul></div>"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding and note: code, where, message, remedy."""
        import pandas as pd

        rows = [(finding.code, finding.path, finding.message, finding.hint) for finding in self.findings]
        rows += [("gaps", "", str(self.gaps), "")] if self.gaps.count else []
        rows += [("note", "", note, "") for note in self.notes]
        return pd.DataFrame(rows, columns=["code", "where", "message", "remedy"])


def load_candles(
    source: str | Path | pd.DataFrame,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    repair: str | tuple[str, ...] | list[str] = (),
) -> tuple[Candles, QualityReport]:
    """Return the candles of a CSV file, a Parquet file or a DataFrame, and the report of their quality.

    Columns are found by name, in any case: a time (open_time_ms, open_time, timestamp, time, date, ... or the index),
    open, high, low, close and volume. Symbol and timeframe come from the file name unless given; the timeframe must
    agree with the most common spacing. Gaps are reported; faults raise `ConfigError("data_quality")` with a finding
    each, unless `repair` names their repair (see `REPAIRS`) or is "all". Rows count from 0.
    """
    allowed = _allowed(repair)
    frame, name, first_line, notes = _frame(source)
    columns, column_notes = find_columns(frame, name)
    if not len(frame):
        raise ConfigError("no_rows", f"{name} has no rows", value=name, hint="export it again")
    symbol, symbol_note = _symbol(symbol, name, frame)
    table, time_notes = _table(frame, columns, first_line)
    timeframe = _timeframe(timeframe, name, table)
    length = timeframe_ms(timeframe)
    clean, done, left = repaired(table, length, allowed)
    _refuse(name, clean, left)
    opens, highs, lows, closes, volumes = clean.values.T
    candles = Candles(symbol, timeframe, clean.time_ms, opens, highs, lows, closes, volumes, clean.flags)
    notes = (*notes, *column_notes, *symbol_note, *time_notes, *_notes(candles, source))
    counts = {repair.name: sum(other.rows for other in done if other.name == repair.name) for repair in done}
    findings = tuple(repair.finding for repair in done)
    return candles, QualityReport(
        name, symbol, timeframe, len(frame), len(candles), candles.gaps(), findings, counts, notes
    )


def _allowed(repair: str | tuple[str, ...] | list[str]) -> Callable[[str], bool]:
    names = {repair} if isinstance(repair, str) else set(repair)
    for name in sorted(names - {*REPAIRS, "all"}):
        close = nearest(name, REPAIRS, limit=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: all, {', '.join(REPAIRS)}"
        raise ConfigError("unknown_repair", f"repair {name!r} is not known", value=name, hint=hint)
    return lambda name: "all" in names or name in names


def _frame(source: object) -> tuple[pd.DataFrame, str, int | None, tuple[str, ...]]:
    """Return the frame, its name, the line of its first row and notes."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source, "DataFrame", None, ()
    if not isinstance(source, str | Path):
        hint = "give a path to a CSV or Parquet file, or a DataFrame"
        raise ConfigError("source_type", f"{type(source).__name__} holds no candles", value=source, hint=hint)
    path = Path(source).expanduser()
    frame, first_line, notes = read_frame(path)
    return frame, path.name, first_line, notes


def _symbol(symbol: str | None, name: str, frame: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    """Return the symbol that was given, stands in a column or in the file name, and a note if a part is assumed."""
    column = next((key for key in frame.columns if str(key).strip().lower() in ("symbol", "pair", "ticker")), None)
    if column is not None:
        held = sorted(map(str, frame[column].dropna().unique()))
        if len(held) > 1:
            hint = f"pass the rows of one, such as frame[frame[{str(column)!r}] == {held[0]!r}]"
            text = f"{name} holds {len(held)} symbols: {', '.join(held[:5])}"
            raise ConfigError("several_symbols", text, value=held, hint=hint)
        if symbol is None and held:
            symbol = held[0] if "/" in held[0] else split_pair(held[0])
    if symbol is not None:
        return check_symbol(symbol), ()
    found = None if name == "DataFrame" else symbol_from(name)
    if found is None:
        raise ConfigError("symbol_missing", f"{name} names no symbol", value=name, hint="pass symbol='BTC/USDT'")
    return found[0], (found[1],) if found[1] else ()


def _table(frame: pd.DataFrame, columns: dict[str, Any], first_line: int | None) -> tuple[Table, tuple[str, ...]]:
    """Return the rows as arrays; text in number columns becomes NaN and is marked."""
    key = columns["time"]
    stamps = frame.index.to_series() if key is None else frame[key]
    times = parse_times(stamps.reset_index(drop=True), str(stamps.name if key is None else key))
    values, is_text = np.empty((len(frame), len(NUMBERS))), np.zeros((len(frame), len(NUMBERS)), bool)
    for i, role in enumerate(NUMBERS):
        values[:, i], is_text[:, i] = _numbers(frame[columns[role]])
    return Table(
        np.arange(len(frame)),
        times.time_ms,
        times.missing,
        times.unreadable,
        times.other_zone,
        times.other_unit,
        values,
        is_text,
        _flags(frame),
        lambda row, number: frame[columns[NUMBERS[number]]].iloc[row],
        lambda row: _plain_time(stamps.iloc[row]),
        first_line,
    ), times.notes


def _plain_time(value: Any) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


def _flags(frame: pd.DataFrame) -> npt.NDArray[np.uint8]:
    """Return the column flags if it holds ours, else zeros."""
    if "flags" in frame.columns and np.issubdtype(getattr(frame["flags"].dtype, "type", object), np.integer):
        flags = frame["flags"].to_numpy()
        if flags.min(initial=0) >= 0 and flags.max(initial=0) <= 15:
            return flags.astype(np.uint8)
    return np.zeros(len(frame), np.uint8)


def _numbers(values: pd.Series) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the numbers (NaN where there is none) and which values are text."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan), np.zeros(len(values), bool)
    numbers, is_text = np.full(len(values), np.nan), np.zeros(len(values), bool)
    for i, value in enumerate(values):
        if pd.isna(value) or str(value).strip().lower() in ABSENT:
            continue
        try:
            numbers[i] = float("text" if isinstance(value, bool | np.bool_) or "_" in str(value) else value)
        except (TypeError, ValueError):
            is_text[i] = True
    return numbers, is_text


def _timeframe(timeframe: str | None, name: str, table: Table) -> str:
    """Return the timeframe that was given, named by the file or is the usual spacing; it must fit the data."""
    known = timeframe or (timeframe_from(name) if name != "DataFrame" else None)
    steps = np.diff(np.sort(table.time_ms[table.timed & ~table.other_zone & ~table.other_unit]))
    steps = steps[steps > 0]
    if known is not None:
        timeframe_ms(known)
    if not steps.size:
        if known is None:
            hint = "pass timeframe='1m'"
            raise ConfigError(
                "timeframe_missing", f"{name} has too few rows to tell the timeframe", value=name, hint=hint
            )
        return known
    spacings, counts = np.unique(steps, return_counts=True)
    usual = int(spacings[counts.argmax()])
    named = {ms: text for text, ms in TIMEFRAMES.items()}
    if known is None:
        if usual not in named:
            hint = f"pass timeframe=...; known: {', '.join(TIMEFRAMES)}"
            raise ConfigError("timeframe_missing", f"{name}: rows are {usual / 1000:g} s apart", value=usual, hint=hint)
        return named[usual]
    # Thin markets often skip candles, but never trade between two of them.
    if usual == timeframe_ms(known) or int(spacings[0]) == timeframe_ms(known):
        return known
    seen = named.get(usual, f"{usual / 1000:g} s")
    origin = "given" if timeframe else "named by the file"
    hint = f"pass timeframe={seen!r}" if usual in named else f"known timeframes: {', '.join(TIMEFRAMES)}"
    text = f"{name}: timeframe {known} is {origin}, but rows are usually {seen} apart"
    raise ConfigError("timeframe_mismatch", text, value=known, hint=hint)


def _refuse(name: str, table: Table, left: list[Fault]) -> None:
    """Raise for the faults that are left, all at once."""
    if left:
        advised = tuple(dict.fromkeys(fault.repairs[0] for fault in left if fault.repairs))
        rows = np.unique(np.concatenate([fault.at for fault in left])).size
        hint = f"mend the source, or pass repair={advised!r} or repair='all'" if advised else "mend the source"
        raise ConfigError(
            "data_quality",
            f"{name}: {rows} row{'s' * (rows != 1)} with faults",
            value=[fault.code for fault in left],
            hint=hint,
            findings=[fault.finding(table) for fault in left],
        )
    if not table.row.size:
        raise ConfigError("no_rows", f"{name}: no row is left after the repairs", value=name, hint="mend the source")


def _notes(candles: Candles, source: object) -> tuple[str, ...]:
    """Return what is unusual but may be right."""
    notes = []
    closes = int(candles.close_time_ms[-1])
    written = time.time() if not isinstance(source, str | Path) else Path(source).expanduser().stat().st_mtime
    if closes > written * 1000:
        notes.append(f"the last candle closes {utc_text(closes)} UTC, after the data was written: it may be unfinished")
    notes += _odd_times(candles)
    empty = int(np.count_nonzero(candles.volume == 0))
    if empty:
        notes.append(f"{empty} candle{'s' * (empty != 1)} without volume")
    ratio = candles.close[1:] / candles.close[:-1]
    jumps = np.flatnonzero((ratio > JUMP) | (ratio < 1 / JUMP)) + 1
    if jumps.size:
        first = utc_text(int(candles.open_time_ms[jumps[0]]))
        notes.append(f"the close changes more than tenfold {jumps.size} times, first at {first} UTC: check the unit")
    return tuple(notes)


def _odd_times(candles: Candles) -> list[str]:
    """Return notes on candles more than a day in the future and on candles before 1990."""
    late = int(np.count_nonzero(candles.open_time_ms > time.time() * 1000 + DAY_MS))
    early = int(np.count_nonzero(candles.open_time_ms < EARLIEST_MS))
    return [
        f"{count} candle{'s' * (count != 1)} {where}: check the unit of the times"
        for count, where in ((late, "in the future"), (early, "before 1990"))
        if count
    ]
