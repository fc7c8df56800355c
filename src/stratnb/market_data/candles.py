"""Columnar candle history of one market and timeframe, valid by construction."""

from __future__ import annotations

import html
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.model import Market, timeframe_ms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BACKFILLED", "PARTIAL", "REVISED", "SYNTHETIC", "Candles", "Gaps", "market_from", "utc_text"]

SYNTHETIC, REVISED, BACKFILLED, PARTIAL = 1, 2, 4, 8
PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
WHOLE: dict[str, np.dtype[Any]] = {"open_time_ms": np.dtype(np.int64), "flags": np.dtype(np.uint8)}
NOISE = 1e-9
FINEST = 12
LINEAR_LEVERAGE = 125.0
DIGITS = 8

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def utc_text(time_ms: int) -> str:
    """Return a time as text, to the minute, with seconds only when it has some.

    >>> utc_text(1515560100000)
    '2018-01-10 04:55'
    """
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M}" if time_ms % 60_000 == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """The stretches without candles: `after_ms` is the open time before each, `missing` its candles."""

    after_ms: Ints
    missing: Ints

    @property
    def count(self) -> int:
        """Return how many stretches there are."""
        return int(self.after_ms.size)

    @property
    def total(self) -> int:
        """Return how many candles are missing in all."""
        return int(self.missing.sum())

    @property
    def longest(self) -> int:
        """Return the candles missing in the longest stretch, 0 without gaps."""
        return int(self.missing.max(initial=0))

    def __str__(self) -> str:
        """Return the counts on one line."""
        if not self.count:
            return "no gaps"
        words = "gap" if self.count == 1 else "gaps", "candle" if self.total == 1 else "candles"
        return f"{self.count} {words[0]}, {self.total} {words[1]} missing, longest {self.longest}"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per gap: `after` (UTC) and `missing`."""
        import pandas as pd

        return pd.DataFrame({"after": pd.to_datetime(self.after_ms, unit="ms", utc=True), "missing": self.missing})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Candles:
    """Closed candles of one symbol and timeframe, oldest first, as read-only columns of one length.

    Times are milliseconds UTC and strictly increase; prices are finite, positive and consistent (low <= open, close
    <= high), volumes are finite and not negative. `flags` adds synthetic 1, revised 2, backfilled 4 and partial 8.
    Raises `ConfigError` naming the first row that breaks this.

    >>> candles = Candles("BTC/USDT", "1m", [0, 60_000], [1, 2], [2, 3], [1, 2], [2, 2], [5, 6])
    >>> len(candles), candles[1:].close.tolist()
    (2, [2.0])
    """

    symbol: str
    timeframe: str
    open_time_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    flags: npt.NDArray[np.uint8] = None  # type: ignore[assignment]
    _table: Floats | None = field(default=None, init=False)
    _close_ms: Ints | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Copy the columns into contiguous read-only arrays and check every row."""
        timeframe_ms(self.timeframe)
        if not self.symbol.strip():
            raise ConfigError("symbol_missing", "candles need a symbol", value=self.symbol, hint="such as 'BTC/USDT'")
        if self.flags is None:
            object.__setattr__(self, "flags", np.zeros(len(self.open_time_ms), np.uint8))
        for name in ("open_time_ms", *VALUES, "flags"):
            object.__setattr__(self, name, _column(getattr(self, name), name=name))
        _check_lengths(self)
        _check_rows(self)

    def __len__(self) -> int:
        """Return the number of candles."""
        return int(self.open_time_ms.size)

    def __getitem__(self, where: slice) -> Candles:
        """Return the candles at positions start:stop, without copying."""
        if not isinstance(where, slice) or where.step not in (None, 1):
            raise ConfigError("slice", f"candles[{where!r}] is not a range", value=where, hint="use candles[10:20]")
        part = object.__new__(Candles)
        object.__setattr__(part, "symbol", self.symbol)
        object.__setattr__(part, "timeframe", self.timeframe)
        for name in ("open_time_ms", *VALUES, "flags"):
            object.__setattr__(part, name, getattr(self, name)[where])
        for name in ("_table", "_close_ms"):
            kept = getattr(self, name)
            object.__setattr__(part, name, None if kept is None else kept[where])
        return part

    def __reduce__(self) -> tuple[type[Candles], tuple[Any, ...]]:
        """Rebuild from the columns, so that pickling and copying keep them read-only."""
        columns = (getattr(self, name) for name in ("open_time_ms", *VALUES, "flags"))
        return Candles, (self.symbol, self.timeframe, *columns)

    def __repr__(self) -> str:
        """Return symbol, timeframe, number and period on one line."""
        return f"Candles({self.symbol!r}, {self.timeframe!r}, {len(self)} candles{self._period()})"

    def _repr_html_(self) -> str:
        """Return a small escaped table for notebooks."""
        note = "synthetic" if self.is_synthetic else ""
        cells = (self.symbol, self.timeframe, f"{len(self):,} candles", self._period(), str(self.gaps()), note)
        row = "".join(f"<td>{html.escape(cell.lstrip(', '))}</td>" for cell in cells if cell)
        return f"<table><tr>{row}</tr></table>"

    def _period(self) -> str:
        if not len(self):
            return ""
        return f", {utc_text(int(self.open_time_ms[0]))} to {utc_text(int(self.open_time_ms[-1]))} UTC"

    @property
    def timeframe_ms(self) -> int:
        """Return the length of one candle in milliseconds."""
        return timeframe_ms(self.timeframe)

    @property
    def close_time_ms(self) -> Ints:
        """Return open times plus the timeframe, made once."""
        if self._close_ms is None:
            closes = self.open_time_ms + self.timeframe_ms
            closes.flags.writeable = False
            object.__setattr__(self, "_close_ms", closes)
        assert self._close_ms is not None
        return self._close_ms

    @property
    def is_synthetic(self) -> bool:
        """Tell whether any candle was generated."""
        return bool(np.any(self.flags & SYNTHETIC))

    def between(self, start_ms: int | None = None, end_ms: int | None = None) -> Candles:
        """Return the candles with start_ms <= open time < end_ms; None leaves a side open."""
        start = 0 if start_ms is None else int(np.searchsorted(self.open_time_ms, start_ms))
        stop = len(self) if end_ms is None else int(np.searchsorted(self.open_time_ms, end_ms))
        return self[start:stop]

    def rows(self) -> Floats:
        """Return a new (n, 6) C-contiguous array: open, high, low, close, volume, open_time_ms."""
        return np.column_stack([*(getattr(self, name) for name in VALUES), self.open_time_ms.astype(np.float64)])

    def table(self) -> Floats:
        """Return what `rows` returns, made once: it is shared by all who ask and must not be changed."""
        if self._table is None:
            object.__setattr__(self, "_table", self.rows())
        assert self._table is not None
        return self._table

    def gaps(self) -> Gaps:
        """Return where candles are missing between the first and the last."""
        steps = np.diff(self.open_time_ms)
        missing = np.rint(steps / self.timeframe_ms).astype(np.int64) - 1
        at = np.flatnonzero(missing > 0)
        return Gaps(self.open_time_ms[at], missing[at])

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame of copies, indexed by open time (UTC): open, high, low, close, volume, flags."""
        import pandas as pd

        index = pd.to_datetime(self.open_time_ms, unit="ms", utc=True).rename("open_time")
        return pd.DataFrame({name: getattr(self, name).copy() for name in (*VALUES, "flags")}, index=index)


def _column(values: Any, *, name: str) -> npt.NDArray[Any]:
    """Return a read-only contiguous copy; an array that is already so is kept."""
    dtype = WHOLE.get(name, np.dtype(np.float64))
    try:
        given = np.asarray(values)
        if given.dtype != dtype and dtype.kind != "f" and not np.array_equal(given, given.astype(dtype)):
            raise ValueError("not whole numbers")
        if given.dtype == dtype and given.flags.c_contiguous and not given.flags.writeable and given.base is None:
            return given
        column: npt.NDArray[Any] = np.array(given, dtype=dtype, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        hint = "use load_candles, which names the rows"
        raise ConfigError("candles_type", f"column {name} is not numeric: {error}", value=name, hint=hint) from error
    column.flags.writeable = False
    return column


def _check_lengths(candles: Candles) -> None:
    for name in ("open_time_ms", *VALUES, "flags"):
        column = getattr(candles, name)
        if column.ndim != 1 or column.size != candles.open_time_ms.size:
            raise ConfigError(
                "candles_length",
                f"column {name} has shape {column.shape}, open_time_ms has {candles.open_time_ms.shape}",
                value=column.shape,
                hint="give one-dimensional columns of one length",
            )


def _check_rows(candles: Candles) -> None:
    """Raise for the first row that is not a possible candle."""
    prices = np.vstack([getattr(candles, name) for name in PRICES])
    finite = np.isfinite(prices).all(0) & np.isfinite(candles.volume)
    body_low, body_high = np.minimum(candles.open, candles.close), np.maximum(candles.open, candles.close)
    consistent = (candles.low <= body_low) & (body_high <= candles.high)
    in_order = np.ones(len(candles), bool)
    in_order[1:] = np.diff(candles.open_time_ms) > 0
    rules = (
        ("candles_order", "open time does not increase", in_order),
        ("candles_nan", "a price or the volume is not finite", finite),
        ("candles_price", "a price is not positive", (prices > 0).all(0)),
        ("candles_ohlc", "low, open, close and high contradict", consistent),
        ("candles_volume", "volume is negative", candles.volume >= 0),
    )
    for code, message, good in rules:
        if not good.all():
            row = int(np.argmin(good))
            value = {name: float(getattr(candles, name)[row]) for name in VALUES}
            where = f"{candles.symbol} {candles.timeframe}, row {row} ({utc_text(int(candles.open_time_ms[row]))} UTC)"
            hint = "load_candles reports all such rows and repairs them on request"
            raise ConfigError(code, f"{where}: {message} ({value})", value=value, hint=hint)


def market_from(candles: Candles, **known: Any) -> Market:
    """Return the market of some candles: what is not `known` is guessed and named in `Market.inferred`.

    The tick is the coarsest power of ten, at most 1, that represents every price within 1e-9 relative; prices with
    more than eight digits have no such step and give about a millionth of the median price. The lot is the same step
    of the volumes; whole volumes say little (shares, ticks and quote units are counted so), so then a lot is also
    worth ten quote units at most.

    >>> market_from(Candles("BTC/USDT", "1m", [0], [7.25], [7.5], [7], [7.25], [0.125])).tick
    0.01
    """
    prices = np.concatenate([getattr(candles, name) for name in PRICES])
    middle = float(np.median(prices)) if prices.size else 1.0
    guesses: dict[str, Any] = {"tick": _tick(prices, middle), "lot": _lot(candles.volume, middle)}
    guesses = {name: value for name, value in guesses.items() if name not in known}
    if known.get("kind") == "linear" and "max_leverage" not in known:
        guesses["max_leverage"] = LINEAR_LEVERAGE
    market = Market(symbol=candles.symbol, inferred=tuple(sorted(guesses)), **guesses)
    try:
        return replace(market, **known)
    except TypeError as error:
        fields = ", ".join(market.__dataclass_fields__)
        raise ConfigError("market_field", str(error), value=sorted(known), hint=f"known fields: {fields}") from error


def _decimals(values: Floats) -> int | None:
    """Return the fewest decimals that represent every value, None when there are more than twelve."""
    for decimals in range(FINEST + 1):
        scaled = values * 10.0**decimals
        if np.all(np.abs(scaled - np.rint(scaled)) <= NOISE * np.abs(scaled)):
            return decimals
    return None


def _step(decimals: int) -> float:
    """Return the power of ten as the nearest double, so 8 gives exactly 1e-08."""
    return float(f"1e{-decimals}")


def _tick(prices: Floats, middle: float) -> float:
    decimals, magnitude = _decimals(prices), int(np.floor(np.log10(middle)))
    has_step = decimals is not None and decimals + magnitude < DIGITS
    return _step(decimals if has_step and decimals is not None else 6 - magnitude)


def _lot(volumes: Floats, middle: float) -> float:
    decimals = _decimals(volumes) if np.any(volumes > 0) else None
    if decimals is None or decimals > 8:
        return 1e-8 if middle > 1000 else 1e-6
    return _step(decimals) if decimals > 0 else min(1.0, _step(int(np.ceil(np.log10(middle))) - 1))
