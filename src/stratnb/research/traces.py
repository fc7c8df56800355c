"""What a run showed candle by candle, so that two runs can be compared up to a candle, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stratnb.market_data.candles import Candles

__all__ = ["Departure", "Trace", "Traces", "altered", "bits", "cut_points", "first_departure"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EDGES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
JUMP = 0.15
CHANGES_KEPT = 24


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Rows of numbers with the candle at whose close each row was known, rising; `values` is (rows, columns).

    A row without a candle of its own (an open trade at the end) may be `missing_last`: it is then no departure.
    """

    kind: str
    columns: tuple[str, ...]
    known: Ints
    values: Floats
    missing_last: bool = False
    drops_end: bool = False

    def before(self, cut: int) -> int:
        """Return how many rows were known when `cut` candles were."""
        return int(np.searchsorted(self.known, cut, side="left"))


Traces = Mapping[str, Trace]


@dataclass(frozen=True, slots=True)
class Departure:
    """The first row in which two runs differ: candle, column, and its value in either."""

    candle: int
    what: str
    whole: float
    part: float


def bits(values: Floats) -> Ints:
    """Return float64 values as integers with one NaN and one zero, so that equal means the same."""
    return np.where(np.isnan(values), np.nan, values + 0.0).view(np.int64)


def first_departure(whole: Trace, part: Trace, cut: int, *, same_length: bool, tolerance: float) -> Departure | None:
    """Return where a run differs first from the run on all candles, of what was known when `cut` candles were.

    `same_length` tells that the part had as many candles; one that ended at the cut may have closed what was open.
    """
    until = cut if same_length or not whole.drops_end else cut - 1
    m, n = whole.before(until), part.before(until)
    a, b = whole.values[:m], part.values[:n]
    rows = min(m, n)
    places = _places(a[:rows], b[:rows], tolerance) if rows else None
    if places is not None and len(places):
        row, column = (int(x) for x in places[0])
        what = f"{whole.kind} {whole.columns[column]}".strip()
        return Departure(
            int(min(whole.known[row], part.known[row])), what, float(a[row, column]), float(b[row, column])
        )
    open_there = n == m - 1 and (not same_length or len(part.known) == n)
    open_here = m == n - 1 and len(whole.known) == m
    if m == n or (whole.missing_last and (open_there or open_here)):
        return None
    longer = whole if m > n else part
    present = (1.0, 0.0) if m > n else (0.0, 1.0)
    return Departure(int(longer.known[rows]), f"{whole.kind} {'present' if m > n else 'absent'}", *present)


def _places(a: Floats, b: Floats, tolerance: float) -> Ints:
    """Return the (row, column) of each difference, in order."""
    differ = bits(a) != bits(b)
    if tolerance > 0.0:
        differ &= ~np.isclose(a, b, rtol=tolerance, atol=0.0, equal_nan=True)
    return np.argwhere(differ)


def altered(candles: Candles, cut: int, rng: np.random.Generator) -> Candles:
    """Return the candles with all from position `cut` on replaced by wild, possible ones at the same times."""
    n = len(candles) - cut
    if n <= 0:
        return candles
    base = float(candles.close[cut - 1]) if cut else float(candles.open[0])
    steps = rng.normal(0.0, JUMP, n) + rng.choice([-1.0, 1.0]) * JUMP * (np.arange(n) < 4)
    close = base * np.exp(np.clip(np.cumsum(steps), -4.0, 4.0))
    open_ = np.concatenate(([base], close[:-1])) * np.exp(rng.normal(0.0, JUMP / 3, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0.0, JUMP, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0.0, JUMP, n)))
    middle = float(np.median(candles.volume)) or 1.0
    volume = middle * rng.lognormal(0.0, 2.0, n)
    wild = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    columns = {name: np.concatenate((getattr(candles, name)[:cut], wild[name])) for name in wild}
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms, **columns, flags=candles.flags)


def cut_points(
    candles: Candles, traces: Traces, rng: np.random.Generator, *, wanted: int | None, lengths: Sequence[int] = ()
) -> Ints:
    """Return the numbers of candles to replay, rising: all of them, or a seeded choice of `wanted`.

    The choice has the first and last few, the ends of longer timeframes (`lengths` in ms) and of what changes seldom:
    signals, fills and levels; the rest is drawn evenly.
    """
    n = len(candles)
    whole = np.arange(1, n, dtype=np.int64)
    if wanted is None or wanted >= len(whole):
        return whole
    chosen = {cut for cut in (*EDGES, *(n - edge for edge in EDGES[:5])) if 0 < cut < n}
    for length in lengths:
        ends = np.flatnonzero(candles.open_time_ms % length == 0)
        for cut in rng.permutation(ends)[:4]:
            chosen |= {int(cut) + k for k in (-1, 0, 1)}
    changes = _changes(traces, n)
    for cut in rng.permutation(changes)[: max(wanted // 2, CHANGES_KEPT)]:
        chosen |= {int(cut), int(cut) + 1}
    for part in np.array_split(whole, max(1, wanted - len(chosen))):
        chosen.add(int(rng.choice(part)))
    return np.array(sorted(cut for cut in chosen if 0 < cut < n), np.int64)


def _changes(traces: Traces, n: int) -> Ints:
    """Return the candles at which a column that rests most of the time takes another value, and those of events."""
    found: set[int] = set()
    for trace in traces.values():
        if len(trace.known) < n // 5:
            found |= set(trace.known[:200].tolist())
        if len(trace.known) < 2:
            continue
        moved = bits(trace.values[1:]) != bits(trace.values[:-1])
        for column in np.flatnonzero((moved.mean(axis=0) < 0.2) & moved.any(axis=0))[:CHANGES_KEPT]:
            found |= set(trace.known[1:][moved[:, column]][:200].tolist())
    return np.array(sorted(found), np.int64)
