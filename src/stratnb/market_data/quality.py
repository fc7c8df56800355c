"""Faults of imported rows, and the repairs a user may name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import Finding

__all__ = ["REPAIRS", "Fault", "Repair", "Table", "faults", "repaired"]

REPAIRS = {
    "to_utc": "read each time with its own zone",
    "units": "read each time in its own unit",
    "drop_nan": "drop rows with missing values",
    "drop_bad": "drop rows that cannot be candles",
    "fix_ohlc": "widen high and low to hold open and close",
    "align": "move times down to the grid of the timeframe",
    "drop_off_grid": "drop rows off the grid of the timeframe",
    "drop_duplicates": "keep the last row of each open time",
    "sort": "sort by open time",
}
NUMBERS = ("open", "high", "low", "close", "volume")
SHOWN = 5
CHANGES_SHARE = 0.2

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows on their way to candles: `row` counts from 0 in the source, `values` are open, high, low, close, volume.

    `original(row, number)` gives what the source holds, and `is_text` marks what was no number.
    """

    row: npt.NDArray[np.int64]
    time_ms: npt.NDArray[np.int64]
    time_missing: Bools
    time_unreadable: Bools
    other_zone: Bools
    other_unit: Bools
    values: npt.NDArray[np.float64]
    is_text: Bools
    flags: npt.NDArray[np.uint8]
    original: Callable[[int, int], object]
    original_time: Callable[[int], object]
    first_line: int | None = None

    @property
    def timed(self) -> Bools:
        """Return which rows have a time."""
        return ~(self.time_missing | self.time_unreadable)

    def take(self, where: npt.NDArray[Any]) -> Table:
        """Return the rows of a mask or of positions, in that order."""
        columns = ("row", "time_ms", "time_missing", "time_unreadable", "other_zone", "other_unit", "values", "is_text")
        return replace(self, flags=self.flags[where], **{name: getattr(self, name)[where] for name in columns})


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows with one kind of fault, at their positions in the table; the first of `repairs` is advised."""

    code: str
    message: str
    at: npt.NDArray[np.int64]
    repairs: tuple[str, ...]
    shown: tuple[object, ...]

    def finding(self, table: Table, applied: str = "") -> Finding:
        """Return the finding; one that was repaired is a warning."""
        if applied:
            hint = f"repaired by {applied!r}: {REPAIRS[applied]}"
        elif self.repairs:
            hint = " or ".join(f"repair={name!r} to {REPAIRS[name]}" for name in self.repairs)
        else:
            hint = "no repair: export prices"
        path = _place(table, self.at)
        value = list(self.shown)
        text = f"{self.message}: {', '.join(map(repr, value))}" if value else self.message
        return Finding(path, self.code, text, value=value, hint=hint, severity="warning" if applied else "error")


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair that was made, with the number of rows and the fault it mended."""

    name: str
    rows: int
    finding: Finding


def _place(table: Table, at: npt.NDArray[np.int64]) -> str:
    """Return "rows 3, 9, 12 and 40 more (lines 5, 11, 14)"."""
    rows = table.row[at[:SHOWN]]
    more = f" and {at.size - SHOWN:,} more" if at.size > SHOWN else ""
    plural = "s" if at.size > 1 else ""
    lines = ""
    if table.first_line is not None:
        lines = f" (line{plural} {', '.join(str(row + table.first_line) for row in rows)})"
    return f"row{plural} {', '.join(map(str, rows))}{more}{lines}"


def faults(table: Table, length: int) -> Iterator[Fault]:
    """Yield every kind of fault in the rows of a timeframe of `length` milliseconds; gaps are none."""
    yield from _time_faults(table)
    yield from _number_faults(table)
    yield from _order_faults(table, length)


def repaired(table: Table, length: int, allowed: Callable[[str], bool]) -> tuple[Table, list[Repair], list[Fault]]:
    """Return the rows after every allowed repair, the repairs, and the faults left; a repair may uncover others."""
    done: list[Repair] = []
    for _ in range(3 * len(REPAIRS)):
        found = list(faults(table, length))
        offers = [(fault, name) for rank in (0, 1) for fault in found for name in fault.repairs[rank : rank + 1]]
        fault, name = next(((fault, name) for fault, name in offers if allowed(name)), (None, ""))
        if fault is None:
            return table, done, found
        done.append(Repair(name, fault.at.size, fault.finding(table, name)))
        table = _apply(table, fault, name, length)
    return table, done, list(faults(table, length))


def _apply(table: Table, fault: Fault, name: str, length: int) -> Table:
    if name == "to_utc":
        return replace(table, other_zone=np.zeros_like(table.other_zone))
    if name == "units":
        return replace(table, other_unit=np.zeros_like(table.other_unit))
    if name == "align":
        return replace(table, time_ms=table.time_ms - table.time_ms % length)
    if name == "sort":
        return table.take(np.argsort(table.time_ms, kind="stable"))
    if name == "fix_ohlc":
        values = table.values.copy()
        values[fault.at, 1] = values[fault.at, :4].max(1)
        values[fault.at, 2] = values[fault.at, :4].min(1)
        return replace(table, values=values)
    keep = np.ones(table.row.size, bool)
    keep[fault.at] = False
    return table.take(keep)


def _fault(
    code: str, message: str, mask: Bools, repairs: tuple[str, ...], show: Callable[[int], object]
) -> Iterator[Fault]:
    at = np.flatnonzero(mask)
    if at.size:
        yield Fault(code, message, at, repairs, tuple(show(int(i)) for i in at[:SHOWN]))


def _rows(mask: Bools) -> Bools:
    """Return the rows of which any value is marked."""
    return np.asarray(mask.any(axis=1), bool)


def _time_faults(table: Table) -> Iterator[Fault]:
    def _time(i: int) -> object:
        return table.original_time(int(table.row[i]))

    yield from _fault("time_missing", "no time", table.time_missing, ("drop_nan",), _time)
    yield from _fault("time_text", "not a time", table.time_unreadable, ("drop_bad",), _time)
    yield from _fault("mixed_zones", "another time zone than most rows", table.other_zone, ("to_utc",), _time)
    yield from _fault("mixed_units", "another unit of time than most rows", table.other_unit, ("units",), _time)


def _number_faults(table: Table) -> Iterator[Fault]:
    def _first(mask: Bools) -> Callable[[int], object]:
        def _show(i: int) -> object:
            number = int(np.argmax(mask[i]))
            return f"{NUMBERS[number]} {table.original(int(table.row[i]), number)}"

        return _show

    prices = table.values[:, :4]
    text = _rows(table.is_text)
    percent = text.any() and str(_first(table.is_text)(int(np.argmax(text)))).endswith("%")
    if percent:
        yield from _fault("percent_like", "percents instead of prices", text, (), _first(table.is_text))
    else:
        yield from _fault("text", "text in numbers (write 1234.5)", text, ("drop_bad",), _first(table.is_text))
    nan = ~np.isfinite(table.values) & ~table.is_text
    yield from _fault("nan", "missing or infinite value", _rows(nan), ("drop_nan",), _first(nan))
    low = np.zeros_like(table.is_text)
    low[:, :4] = prices <= 0
    if np.count_nonzero(low) >= max(1, CHANGES_SHARE * prices.size):
        message = "prices look like changes or percents (many are zero or negative)"
        yield from _fault("percent_like", message, _rows(low), (), _first(low))
        return
    yield from _fault("not_positive", "price is not positive", _rows(low), ("drop_bad",), _first(low))
    negative = np.zeros_like(table.is_text)
    negative[:, 4] = table.values[:, 4] < 0
    yield from _fault("negative_volume", "volume is negative", negative[:, 4], ("drop_bad",), _first(negative))
    body = table.values[:, (0, 3)]
    with np.errstate(invalid="ignore"):
        impossible = (table.values[:, 1] < body.max(1)) | (table.values[:, 2] > body.min(1))
    impossible &= ~_rows(nan[:, :4] | table.is_text[:, :4] | low[:, :4])

    def _candle(i: int) -> object:
        return "o {:.10g} h {:.10g} l {:.10g} c {:.10g}".format(*prices[i])

    message = "high or low does not hold open and close"
    yield from _fault("impossible_ohlc", message, impossible, ("fix_ohlc", "drop_bad"), _candle)


def _order_faults(table: Table, length: int) -> Iterator[Fault]:
    def _time(i: int) -> object:
        return table.original_time(int(table.row[i]))

    timed = table.timed
    off = timed & (table.time_ms % length != 0)
    repairs = ("align", "drop_off_grid") if off.sum() > timed.sum() / 2 else ("drop_off_grid", "align")
    yield from _fault("off_grid", f"time is no multiple of {length // 1000} s", off, repairs, _time)
    at = np.flatnonzero(timed)
    times = table.time_ms[at]
    back = np.zeros(timed.size, bool)
    back[at[1:]] = np.diff(times) < 0
    if back.any():
        order = np.argsort(times, kind="stable")
        at, times = at[order], times[order]
    twice = np.diff(times) == 0
    same = (table.values[at[1:]] == table.values[at[:-1]]).all(1)
    for code, message, which in (
        ("duplicate", "repeated row", twice & same),
        ("duplicate_differs", "open time comes again with other values, of which the last count", twice & ~same),
    ):
        mask = np.zeros(timed.size, bool)
        mask[at[:-1][which]] = True
        yield from _fault(code, message, mask, ("drop_duplicates",), _time)
    newest_first = back.sum() == max(at.size - 1, 1)
    message = "newest row first" if newest_first else "time goes back"
    yield from _fault("disorder", message, back, ("sort",), _time)
