"""Time columns in any usual form into milliseconds UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Times", "parse_times"]

UNITS_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
UNIT_LIMITS = (1e11, 1e14, 1e17)
EARLIEST_S = 1e8
LATEST_MS = 253_402_300_799_999
DATE_NUMBERS = (19_000_101, 21_001_231)
ABSENT = frozenset(("", "nan", "nat", "none", "null", "n/a", "na", "#n/a"))
ZONE = re.compile(r":.*?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$|\d([+-]\d\d:\d\d)$", re.IGNORECASE)
UTC_NAMES = frozenset(("Z", "UTC", "GMT", "+00:00", "+0000", "+00", "-00:00"))
TAIL = 10

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Times:
    """Open times with one mask per fault: missing, not readable, another zone or another unit than most rows."""

    time_ms: npt.NDArray[np.int64]
    missing: Bools
    unreadable: Bools
    other_zone: Bools
    other_unit: Bools
    notes: tuple[str, ...] = ()


def parse_times(values: pd.Series, name: str) -> Times:
    """Return the times of a column: dates, whole numbers of s, ms, us or ns (told by size), or ISO 8601 text.

    Times without a zone are taken as UTC and a note says so. Raises `ConfigError` if no row can be read.
    """
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype) or np.issubdtype(
        getattr(values.dtype, "type", object), np.datetime64
    ):
        return _from_dates(values)
    if pd.api.types.is_bool_dtype(values.dtype):
        raise _unreadable(name, bool(values.iloc[0]))
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _from_numbers(values.to_numpy(np.float64, na_value=np.nan), name)
    is_text = isinstance(values.dtype, pd.StringDtype)
    text = (values if is_text else values.map(str, na_action="ignore").astype("str")).str.strip()
    missing = (text.isna() | text.str.lower().isin(ABSENT)).to_numpy(bool)
    numbers = _as_numbers(text, missing)
    if not np.any(~np.isnan(numbers)):
        return _from_text(text, missing, name)
    times = _from_numbers(numbers, name)
    unreadable = times.unreadable | (np.isnan(numbers) & ~missing)
    return Times(times.time_ms, missing, unreadable, times.other_zone, times.other_unit, times.notes)


def _as_numbers(text: pd.Series, missing: Bools) -> npt.NDArray[np.float64]:
    """Return the numbers in text, NaN elsewhere; all NaN if the first text is none, which is cheap to see."""
    import pandas as pd
    import pyarrow as pa

    if missing.all() or pd.isna(pd.to_numeric(text.iloc[int(np.argmin(missing))], errors="coerce")):
        return np.full(missing.size, np.nan)
    try:
        whole = pa.array(text, pa.string()).cast(pa.int64())
        return np.asarray(whole.to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(text.mask(missing), errors="coerce")
        return numbers.to_numpy(np.float64, na_value=np.nan)


def _from_dates(values: pd.Series) -> Times:
    has_zone = getattr(values.dt, "tz", None) is not None
    plain = values.dt.tz_convert("UTC").dt.tz_localize(None) if has_zone else values
    missing = values.isna().to_numpy(bool)
    time_ms = plain.to_numpy("datetime64[ms]").astype(np.int64)
    none = np.zeros(missing.size, bool)
    notes = () if has_zone else ("times have no zone and are taken as UTC",)
    return Times(np.where(missing, 0, time_ms), missing, none, none, none, notes)


def _from_numbers(values: npt.NDArray[np.float64], name: str) -> Times:
    """Read numbers by their size; a name such as open_time_ms tells the unit instead."""
    missing = ~np.isfinite(values)
    none = np.zeros(values.size, bool)
    present = values[~missing]
    if present.size and DATE_NUMBERS[0] <= present.min() and present.max() <= DATE_NUMBERS[1]:
        return _from_date_numbers(values, missing)
    ending = name.lower().rpartition("_")[2]
    if ending in UNITS_MS:
        unit = np.full(values.size, list(UNITS_MS).index(ending))
    else:
        if present.size and np.median(np.abs(present)) < EARLIEST_S:
            hint = "name the column open_time_ms, or with _s, _us or _ns at its end"
            text = f"column {name}: numbers like {present[0]:.10g} do not tell their unit"
            raise ConfigError("time_format", text, value=float(present[0]), hint=hint)
        unit = np.searchsorted(UNIT_LIMITS, np.abs(values), side="right").clip(0, len(UNIT_LIMITS))
    usual = np.bincount(unit[~missing], minlength=1).argmax() if present.size else 0
    scaled = np.rint(np.where(missing, 0.0, values) * np.array(list(UNITS_MS.values()))[unit])
    impossible = np.abs(scaled) > LATEST_MS
    time_ms = np.where(impossible, 0.0, scaled).astype(np.int64)
    return Times(time_ms, missing, impossible, none, ~missing & (unit != usual))


def _from_date_numbers(values: npt.NDArray[np.float64], missing: Bools) -> Times:
    """Read numbers such as 20180110 as days."""
    import pandas as pd

    text = pd.Series(np.where(missing, 0, values).astype(np.int64)).astype("str")
    dates = pd.to_datetime(text, format="%Y%m%d", errors="coerce")
    times = _from_dates(dates)
    none = np.zeros(missing.size, bool)
    return Times(
        times.time_ms, missing, times.missing & ~missing, none, none, ("numbers like 20180110 are read as days",)
    )


def _from_text(text: pd.Series, missing: Bools, name: str) -> Times:
    import pandas as pd

    zones = _zones(text, missing)
    plain = text
    if set(text.str.slice(4, 5).dropna().unique()) & {".", "/"}:
        plain = plain.str.replace(r"^(\d{4})[./](\d{1,2})[./](\d{1,2})", r"\1-\2-\3", regex=True)
    if set(text.str.slice(-1).dropna().unique()) & set("CTct"):
        plain = plain.str.replace(r"\s*(UTC|GMT|utc|gmt)$", "Z", regex=True)
    dates = pd.to_datetime(plain.mask(missing), format="ISO8601", utc=True, errors="coerce")
    times = _from_dates(dates)
    readable = ~times.missing
    if not readable.any() and not missing.all():
        raise _unreadable(name, text.iloc[int(np.argmin(missing))])
    known, counts = np.unique(zones[readable], return_counts=True)
    usual = known[counts.argmax()] if known.size else ""
    notes = ("times have no zone and are taken as UTC",) if usual == "" and readable.any() else ()
    other_zone = readable & (zones != usual)
    return Times(times.time_ms, missing, times.missing & ~missing, other_zone, np.zeros(missing.size, bool), notes)


def _zones(text: pd.Series, missing: Bools) -> npt.NDArray[Any]:
    """Return the zone written at the end of each text, "" for none; each distinct end is looked at once."""
    import pandas as pd

    codes, ends = pd.factorize(text.mask(missing, "").str.slice(-TAIL))
    found = []
    for end in ends:
        match = ZONE.search(end)
        zone = (match[1] or match[2]).upper() if match else ""
        found.append("UTC" if zone in UTC_NAMES else zone)
    return np.array(found, dtype=str)[codes]


def _unreadable(name: str, value: object) -> ConfigError:
    hint = "write times such as 2018-01-10T04:55:00Z or milliseconds since 1970"
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", str(value)):
        hint = "a time of day needs its date: join both into one column open_time, such as 2018-01-10T04:55:00Z"
    return ConfigError("time_format", f"column {name}: {value!r} is not a time", value=value, hint=hint)
