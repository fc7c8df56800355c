"""Why there is no decision at a candle, in a sentence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane

__all__ = ["why_undecided"]

MINUTE_MS = 60_000
Floats = npt.NDArray[np.float64]


def why_undecided(desk: Desk, lane: Lane, open_time_ms: int | None) -> str:
    """Return why a strategy decided nothing at the candle that opened then (None: nothing at all so far)."""
    candles = desk.services.candles.rows(lane.context.symbol)
    if not len(candles):
        return f"No candle of {lane.context.symbol} has arrived yet; start the feed."
    missing = "" if open_time_ms is None else _no_candle(lane, candles, open_time_ms)
    return missing or _not_kept(desk, lane, open_time_ms) or _resting(desk, lane)


def _no_candle(lane: Lane, candles: Floats, open_ms: int) -> str:
    """Return why there is no whole candle of that time, or nothing."""
    plan = lane.context.plan
    length, base = plan.primary_ms, plan.base_ms
    word, close_ms = plan.config.timeframes.primary, open_ms + plan.primary_ms
    times = candles[:, at.C_TIME]
    if open_ms % length:
        return f"No {word} candle opens at {_clock(open_ms)}."
    if close_ms <= times[0]:
        return f"The candles begin at {_clock(times[0])}, after this one."
    if open_ms < times[0]:
        return f"The candles begin at {_clock(times[0])}, within this {word} candle; such a candle is left out."
    if close_ms > times[-1] + base:
        return f"This candle closes at {_clock(close_ms)}; the newest one closed at {_clock(times[-1] + base)}."
    first, last = np.searchsorted(times, [open_ms, close_ms])
    if first == last:
        before, after = times[first - 1] + base, times[first]
        lost = round((after - before) / base)
        return f"Gap: {lost} candles are missing from {_clock(before)} to {_clock(after)}."
    return ""


def _not_kept(desk: Desk, lane: Lane, open_ms: int | None) -> str:
    """Return that the decision was dropped from the full log, or nothing."""
    log = desk.store.decisions(lane.context.strategy_id)
    oldest = log.rows()[:1, at.D_TIME]
    if open_ms is None or not len(oldest) or open_ms >= oldest[0] or log.total <= len(log):
        return ""
    return f"Only the newest {len(log):,} decisions are kept; the oldest is of {_clock(oldest[0])}."


def _resting(desk: Desk, lane: Lane) -> str:
    """Return why the strategy was not asked: its state."""
    state, plan = desk.registry.get(lane.context.strategy_id).state, lane.context.plan
    log = desk.store.decisions(lane.context.strategy_id)
    newest = log.rows(1)
    seen = int(newest[0, at.D_SEEN]) if len(newest) and newest.shape[1] > at.D_SEEN else 0
    since = f" since {_clock(newest[0, at.D_TIME] + plan.primary_ms)}" if seen else ""
    if lane.error:
        return f"The strategy was suspended by an error{since}: {lane.error}. Its breaker says when it is tried again."
    if state == "suspended":
        return f"The strategy is paused{since} and was not stepped; it catches up when it is resumed."
    if state in ("dormant", "preparing"):
        return f"The strategy is {state}{since}: it gets no candles and catches up when it is activated."
    if seen < plan.warmup:
        return f"Warming up: {seen} of {plan.warmup} candles seen."
    return "The strategy was not asked at this candle; it decides again at the next close."


def _clock(time_ms: float) -> str:
    return str(np.datetime64(int(time_ms) // MINUTE_MS, "m")).replace("T", " ")
