"""Within one candle: what is executed at its open must not depend on its high, low, close and volume.

A function that returns fills or trades is run again with one candle changed behind its open: it hardly moves, it
crashes, or it soars. Events that are executed at the open of that candle (their price moves with the open alone) must
be the same in all of these. An exit in the candle of its entry is left out, for its level may hang on the open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from stratnb.market_data.candles import VALUES, Candles
from stratnb.research.traces import Departure, Floats, Ints, Trace, Traces

__all__ = ["open_departure", "suspects"]

NUDGE, SLACK, BAND = 1e-6, 1e-3, 0.005
EVENTS = ("fill", "entry", "trade")
Event = tuple[str, float, float]
Run = Callable[[Candles], Traces]


def suspects(traces: Traces, n: int, rng: np.random.Generator, *, wanted: int) -> Ints:
    """Return the candles to look into: those with events and those behind them, seeded."""
    found = {int(k) + more for name in EVENTS if name in traces for k in traces[name].known for more in (0, 1)}
    entered = traces["entry"].known if "entry" in traces else np.empty(0, np.int64)
    end = int(entered[-1]) if len(entered) else n - 1  # the last trade may be open at the end of another run
    chosen = rng.permutation(sorted(k for k in found if 0 < k < end))[:wanted]
    return np.sort(chosen.astype(np.int64))


def open_departure(run: Run, candles: Candles, k: int) -> Departure | None:
    """Return how what is executed at the open of candle k depends on the rest of that candle, None when it does not."""
    variants = [candles, *_variants(candles, k)]
    found = [_executed_at_open(run, variant, k) for variant in variants]
    for other in found[1:]:
        if missing := found[0].symmetric_difference(other):
            kind, side, ratio = sorted(missing)[0]
            at_open = float(candles.open[k]) * ratio
            seen = (at_open, float("nan")) if (kind, side, ratio) in found[0] else (float("nan"), at_open)
            return Departure(k, f"{kind} at the open", *seen)
    return None


def _executed_at_open(run: Run, candles: Candles, k: int) -> set[Event]:
    """Return the events of candle k whose price moves with its open alone, each with its price over the open."""
    before = _events(run(candles), k)
    if not before:
        return set()
    nudged, moved = _nudged(candles, k)
    after = _events(run(nudged), k)
    found = set()
    for (kind, side, price), (_, _, later) in zip(before, after, strict=False):
        ratio = price / float(candles.open[k])
        step = (later / price - 1.0) / moved
        if abs(step - 1.0) < SLACK and abs(ratio - 1.0) <= BAND:
            found.add((kind, side, round(ratio, 9)))
    return found


def _variants(candles: Candles, k: int) -> Iterable[Candles]:
    o = float(candles.open[k])
    shapes = ((o * 1.0001, o, o * 1.0001), (o, o * 0.5, o * 0.5), (o * 2.0, o, o * 2.0))
    for (high, low, close), volume in zip(shapes, (1.0, 3.0, 0.3), strict=True):
        rest = {"high": high, "low": low, "close": close, "volume": float(candles.volume[k]) * volume + 1.0}
        yield _with(candles, k, rest)


def _nudged(candles: Candles, k: int) -> tuple[Candles, float]:
    """Return the candles with the open of candle k moved a little within its range, and by how much (fraction)."""
    o, high = float(candles.open[k]), float(candles.high[k])
    sign = 1.0 if o * (1.0 + NUDGE) <= high else -1.0
    new = o * (1.0 + sign * NUDGE)
    return _with(candles, k, {"open": new, "low": min(new, float(candles.low[k]))}), new / o - 1.0


def _with(candles: Candles, k: int, changed: Mapping[str, float]) -> Candles:
    columns: dict[str, Floats] = {}
    for name in VALUES:
        column = getattr(candles, name)
        if name in changed:
            column = column.copy()
            column[k] = changed[name]
        columns[name] = column
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms, **columns, flags=candles.flags)


def _events(traces: Traces, k: int) -> list[Event]:
    """Return kind, side and price of the events in candle k."""
    found = [*_of(traces, "fill", k, "price"), *_of(traces, "entry", k, "entry_price")]
    if not any(kind == "entry" for kind, _, _ in found):
        found += _of(traces, "trade", k, "exit_price")
    fills = [event for event in found if event[0] == "fill"]
    return found if len(fills) < 2 else [*fills[:1], *(event for event in found if event[0] != "fill")]


def _of(traces: Traces, name: str, k: int, price: str) -> list[Event]:
    trace: Trace | None = traces.get(name)
    if trace is None or price not in trace.columns:
        return []
    low, high = trace.before(k), trace.before(k + 1)
    side = next((trace.columns.index(word) for word in ("side", "direction") if word in trace.columns), None)
    rows = trace.values[low:high]
    return [(name, 0.0 if side is None else float(row[side]), float(row[trace.columns.index(price)])) for row in rows]
