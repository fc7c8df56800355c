"""Funding rates of linear markets over time: one table a symbol, from arrays, frames or a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.kernels import layout as at
from stratnb.market_data.reading import read_frame
from stratnb.market_data.times import parse_times

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Funding", "FundingRates", "funding_tables", "load_funding"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SECOND, MINUTE = 1_000, 60_000
MOST = 0.1
LAST_MS = 10**14  # beyond the year 5000: such numbers count micro- or nanoseconds
COLUMNS = ("time", "rate")
TIME_NAMES = ("time", "time_ms", "funding_time", "fundingtime", "timestamp", "datetime", "date")
RATE_NAMES = ("rate", "funding_rate", "fundingrate")
HINT = "FundingRates('BTC/USDT:USDT', time_ms=[...], rates=[...]) of stratnb.market_data"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FundingRates:
    """The rates (fractions of the notional, longs pay positive ones) at funding times (ms, rising) of one symbol.

    Times are rounded to the second, as exchanges tell them some milliseconds late. Raises `ConfigError` with everything
    that makes it no such table.
    """

    symbol: str
    time_ms: Ints
    rates: Floats

    def __post_init__(self) -> None:
        """Check and round."""
        times, rates, faults = _columns(self.time_ms, self.rates)
        if not faults:
            times = (times + SECOND // 2) // SECOND * SECOND
            faults = _faults(times, rates)
        if faults:
            text = f"these are no funding rates of {self.symbol!r}: {'; '.join(faults)}"
            raise ConfigError("funding_rates", text, value=self.symbol, hint=HINT)
        object.__setattr__(self, "time_ms", times)
        object.__setattr__(self, "rates", rates)

    @property
    def every_ms(self) -> int:
        """Return the longest time that all funding times are multiples of, at most 8 hours."""
        return _every_ms(self.time_ms)

    def __len__(self) -> int:
        """Return the number of rates."""
        return len(self.rates)

    def __repr__(self) -> str:
        """Return symbol and number."""
        return f"FundingRates({self.symbol!r}, {len(self.rates)} rates)"


Funding: TypeAlias = "FundingRates | Mapping[str, Any] | Iterable[FundingRates] | pd.DataFrame"


def funding_tables(given: Funding | None, symbols: Sequence[str]) -> dict[str, FundingRates]:
    """Return the tables of rates by symbol, of what people have: a table, several, a mapping, or a frame.

    A mapping has a table a symbol: `FundingRates`, or a frame with the columns time and rate. A frame of several
    symbols has the column symbol as well. Times may be whole numbers, dates or texts. Raises
    `ConfigError("funding_rates")` with every fault: symbols that are none of `symbols`, a symbol given twice, and
    tables with times that do not rise or values that are no rates.
    """
    found: dict[str, FundingRates] = {}
    faults: list[Finding] = []
    for symbol, table in _parts(given, symbols, faults):
        if symbol not in symbols:
            close = nearest(symbol, symbols) or tuple(symbols[:10])
            text, hint = "there are no candles of this symbol", f"there are candles of {', '.join(close)}"
            faults.append(Finding(symbol, "market_unknown", text, symbol, hint))
        elif symbol in found:
            faults.append(Finding(symbol, "duplicate_symbol", "is given twice", symbol, "give one table a symbol"))
        try:
            found[symbol] = table if isinstance(table, FundingRates) else _of_frame(symbol, table)
        except ConfigError as error:
            faults.append(Finding(symbol, error.code, error.message, None, error.hint))
    if faults:
        many = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        text = f"the funding rates have {many}; nothing was run"
        raise ConfigError("funding_rates", text, hint="correct them all", findings=faults)
    return found


def load_funding(path: str | Path, symbols: Sequence[str]) -> dict[str, FundingRates]:
    """Return the tables of a CSV or Parquet file with the columns time, rate and, for several symbols, symbol.

    Raises `ConfigError` as `funding_tables`, and for a file that cannot be read.
    """
    frame, _, _ = read_frame(Path(path), RATE_NAMES)
    return funding_tables(frame, symbols)


def _parts(given: Any, symbols: Sequence[str], faults: list[Finding]) -> Iterable[tuple[str, Any]]:
    """Yield symbols and their tables, not checked yet."""
    if given is None:
        return
    if isinstance(given, FundingRates):
        yield given.symbol, given
    elif isinstance(given, Mapping):
        for symbol, table in given.items():
            if isinstance(table, FundingRates) and table.symbol != symbol:
                hint = "put each under its own symbol"
                text = f"the table is that of {table.symbol}"
                faults.append(Finding(str(symbol), "market_symbol", text, table.symbol, hint))
            else:
                yield str(symbol), table
    elif _is_frame(given):
        yield from _by_symbol(given, symbols, faults)
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        for table in given:
            if isinstance(table, FundingRates):
                yield table.symbol, table
            else:
                faults.append(Finding("", "type", f"{repr(table)[:80]} is no table of funding rates", None, HINT))
    else:
        faults.append(Finding("", "type", f"{repr(given)[:80]} is no table of funding rates", None, HINT))


def _is_frame(given: object) -> bool:
    return hasattr(given, "columns") and hasattr(given, "groupby")


def _named(frame: pd.DataFrame, names: Sequence[str]) -> Any:
    """Return the column with one of the names, None without one."""
    plain = {str(name).strip().lower().replace(" ", "_"): name for name in frame.columns}
    return next((plain[name] for name in names if name in plain), None)


def _by_symbol(frame: pd.DataFrame, symbols: Sequence[str], faults: list[Finding]) -> Iterable[tuple[str, Any]]:
    """Yield the rows of each symbol of a frame; one without symbols is that of the only one."""
    column = _named(frame, ("symbol",))
    if column is not None:
        yield from ((str(symbol), rows) for symbol, rows in frame.groupby(column, sort=False))
    elif len(symbols) == 1:
        yield symbols[0], frame
    else:
        text = f"the table of {len(symbols)} markets has no column 'symbol'"
        faults.append(Finding("symbol", "missing", text, list(map(str, frame.columns)), "add it"))


def _of_frame(symbol: str, table: Any) -> FundingRates:
    """Return the table of a frame with times and rates."""
    if not _is_frame(table):
        raise ConfigError("type", f"{repr(table)[:80]} is no table of funding rates", hint=HINT)
    names = [_named(table, TIME_NAMES), _named(table, RATE_NAMES)]
    lacking = [wanted for wanted, name in zip(COLUMNS, names, strict=True) if name is None]
    if lacking:
        text = f"there is no column {' and no '.join(map(repr, lacking))}"
        raise ConfigError("missing", text, hint=f"it has {', '.join(map(str, table.columns))}; rename them")
    times = parse_times(table[names[0]], str(names[0]))
    wrong = times.missing | times.unreadable
    if wrong.any():
        text = f"row {int(np.argmax(wrong))} has no readable time"
        raise ConfigError("funding_rates", text, hint="write milliseconds since 1970, or dates in UTC")
    return FundingRates(symbol, times.time_ms, table[names[1]].to_numpy())


def _columns(time_ms: Any, rates: Any) -> tuple[Ints, Floats, list[str]]:
    """Return times and rates as columns, and why they are none."""
    faults: list[str] = []
    none: tuple[Ints, Floats] = (np.empty(0, np.int64), np.empty(0))
    try:
        times, values = np.asarray(time_ms), np.asarray(rates, np.float64)
        if times.dtype.kind == "M":
            times = times.astype("datetime64[ms]").astype(np.int64)
        exact = np.asarray(times, np.float64)
    except (TypeError, ValueError) as error:
        return *none, [f"they are no numbers: {error}"]
    if times.ndim != 1 or times.shape != values.shape or not len(times):
        return *none, [f"there are {times.size} times and {values.size} rates"]
    if not (np.isfinite(exact) & (np.floor(exact) == exact)).all():
        faults.append(f"time {_first(~(np.isfinite(exact) & (np.floor(exact) == exact)), exact)} is no whole number")
    elif np.abs(exact).max() > LAST_MS:
        faults.append("the times are no milliseconds")
    if not np.isfinite(values).all():
        faults.append(f"rate {_first(~np.isfinite(values), values)} is no number")
    return (*none, faults) if faults else (times.astype(np.int64), values, faults)


def _first(wrong: npt.NDArray[np.bool_], values: Floats) -> str:
    """Return the first wrong value with its row."""
    row = int(np.argmax(wrong))
    return f"{float(values[row])!r} of row {row}"


def _faults(times: Ints, rates: Floats) -> list[str]:
    """Return what is wrong with rounded times and finite rates."""
    faults = []
    falls = np.diff(times) <= 0
    if falls.any():
        row = int(np.argmax(falls)) + 1
        faults.append(f"the times do not rise at row {row}: {times[row]} after {times[row - 1]}")
    large = np.abs(rates) > MOST
    if large.any():
        faults.append(f"rate {_first(large, rates)} is no fraction of at most {MOST:g}")
    if _every_ms(times) < MINUTE:
        faults.append("the times are no multiples of a minute since 1970, in milliseconds")
    return faults


def _every_ms(times: Ints) -> int:
    return math.gcd(int(at.FUNDING_MS), *map(int, np.unique(times % int(at.FUNDING_MS))))
