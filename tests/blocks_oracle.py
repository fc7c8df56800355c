"""The rules of analyzers and the indicators under them, over whole arrays in plain numpy and Python.

Written from the rules alone and slow on purpose: nothing is shared with the steps that it judges. Each analyzer
function takes the candle columns and parameters by name and returns its outputs by name, NaN while not ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, Floats]
Outputs = dict[str, Floats]

FLOOR, CAP = 0.5, 0.95


def empty(n: int) -> Floats:
    return np.full(n, math.nan)


def lin(v: float, a: float, b: float) -> float:
    return float(np.clip((v - a) / (b - a), 0.0, 1.0))


def ramp(v: float, a: float, b: float) -> float:
    return FLOOR + (CAP - FLOOR) * lin(v, a, b)


def lag(x: Floats, n: int = 1) -> Floats:
    return np.concatenate((empty(n), x[:-n]))


def ema(x: Floats, n: int) -> Floats:
    out = empty(len(x))
    out[n - 1] = x[:n].mean()
    for i in range(n, len(x)):
        out[i] = out[i - 1] + (x[i] - out[i - 1]) * 2.0 / (n + 1)
    return out


def wilder(x: Floats, n: int) -> Floats:
    """Average x[1:], seeded with the mean of rows 1..n."""
    out = empty(len(x))
    out[n] = x[1 : n + 1].mean()
    for i in range(n + 1, len(x)):
        out[i] = (out[i - 1] * (n - 1) + x[i]) / n
    return out


def true_range(c: Columns) -> Floats:
    before = lag(c["close"])
    return np.maximum.reduce([c["high"] - c["low"], np.abs(c["high"] - before), np.abs(c["low"] - before)])


def atr(c: Columns, n: int = 14) -> Floats:
    return wilder(true_range(c), n)


def rsi(x: Floats, n: int) -> Floats:
    change = np.concatenate(([0.0], np.diff(x)))
    gain, loss = wilder(np.maximum(change, 0.0), n), wilder(np.maximum(-change, 0.0), n)
    whole = gain + loss
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(whole) <= 1e-12 * x, 50.0, 100.0 * gain / whole)


def adx(c: Columns, n: int = 14) -> Floats:
    up, down = np.diff(c["high"], prepend=math.nan), -np.diff(c["low"], prepend=math.nan)
    plus, minus = np.where((up > down) & (up > 0), up, 0.0), np.where((down > up) & (down > 0), down, 0.0)
    tr, size = true_range(c), len(up)
    sums = [v[1:n].sum() for v in (plus, minus, tr)]
    dx, out = empty(size), empty(size)
    for i in range(n, size):
        sums = [s - s / n + v[i] for s, v in zip(sums, (plus, minus, tr), strict=True)]
        a, b = (100.0 * s / sums[2] if sums[2] > 0 else 0.0 for s in sums[:2])
        dx[i] = 100.0 * abs(a - b) / (a + b) if a + b > 0 else 0.0
    out[2 * n - 1] = dx[n : 2 * n].mean()
    for i in range(2 * n, size):
        out[i] = (out[i - 1] * (n - 1) + dx[i]) / n
    return out


def bollinger(x: Floats, n: int, dev: float) -> tuple[Floats, Floats]:
    b, width = empty(len(x)), empty(len(x))
    for i in range(n - 1, len(x)):
        window = x[i - n + 1 : i + 1]
        mid, reach = window.mean(), dev * window.std()
        b[i] = 0.5 if 2 * reach <= 1e-12 * x[i] else (x[i] - mid + reach) / (2 * reach)
        width[i] = 2 * reach / mid
    return b, width


def before(x: Floats, n: int, pick: Callable[[Floats], float]) -> Floats:
    """Pick from the previous n values, the current one excluded."""
    return np.array([pick(x[i - n : i]) if i >= n else math.nan for i in range(len(x))])


def relative_volume(c: Columns, n: int) -> Floats:
    mean = before(c["volume"], n, lambda v: float(v.mean()))
    return np.where(np.isnan(mean), math.nan, np.where(mean > 0, c["volume"] / np.where(mean > 0, mean, 1.0), 0.0))


def pivots(c: Columns, k: int) -> list[tuple[int, str, float]]:
    """Return (candle, "high" or "low", price) of every pivot, by candle, the high first."""
    found = []
    for j in range(k, len(c["close"]) - k):
        for name, sign in (("high", 1.0), ("low", -1.0)):
            x = sign * c[name]
            if all(x[j] > x[j - k : j]) and all(x[j] >= x[j + 1 : j + k + 1]):
                found.append((j, name, float(c[name][j])))
    return found


def judge(n: int, start: int, rule: Callable[[int], tuple[bool, bool, Any, Any] | None]) -> Outputs:
    """Apply a rule that gives, for a candle, both sides and both confidences as functions, or None if not ready."""
    direction, confidence = empty(n), empty(n)
    for i in range(start, n):
        verdict = rule(i)
        if verdict is not None:
            long, short, sure_long, sure_short = verdict
            direction[i] = 0.0 if long == short else 1.0 if long else -1.0
            confidence[i] = 0.0 if long == short else sure_long() if long else sure_short()
    return {"direction": direction, "confidence": confidence}


def ema_cross(
    c: Columns, *, fast: int = 9, slow: int = 21, min_gap: float = 0.1, full_gap: float = 1.0, mode: str = "state"
) -> Outputs:
    a = atr(c)
    with np.errstate(invalid="ignore", divide="ignore"):
        g = (ema(c["close"], fast) - ema(c["close"], slow)) / np.where(a > 1e-12 * c["close"], a, math.nan)
    old = lag(g)

    def rule(i: int) -> Any:
        long, short = g[i] >= min_gap, g[i] <= -min_gap
        if mode == "cross":
            long, short = long and old[i] < min_gap, short and old[i] > -min_gap
        return None if np.isnan(g[i]) else (long, short, *[lambda: ramp(abs(g[i]), min_gap, full_gap)] * 2)

    return judge(len(g), max(slow, 15) - 1, rule)


def rsi_zone(
    c: Columns,
    *,
    period: int = 14,
    oversold: float = 30,
    overbought: float = 70,
    extreme_low: float = 20,
    extreme_high: float = 80,
    turn: bool = False,
) -> Outputs:
    r = rsi(c["close"], period)
    old = lag(r)

    def rule(i: int) -> Any:
        return (
            r[i] <= oversold and (not turn or r[i] > old[i]),
            r[i] >= overbought and (not turn or r[i] < old[i]),
            lambda: ramp(oversold - r[i], 0, oversold - extreme_low),
            lambda: ramp(r[i] - overbought, 0, extreme_high - overbought),
        )

    return judge(len(r), period, rule)


def bollinger_zone(
    c: Columns,
    *,
    period: int = 20,
    dev: float = 2.0,
    mode: str = "revert",
    low: float = 0.05,
    high: float = 0.95,
    min_width: float = 0.002,
) -> Outputs:
    b, width = bollinger(c["close"], period, dev)
    old = lag(width)

    def rule(i: int) -> Any:
        if mode == "revert":
            wide = width[i] >= min_width
            return (
                b[i] <= low and wide,
                b[i] >= high and wide,
                lambda: ramp(low - b[i], 0, 0.25),
                lambda: ramp(b[i] - high, 0, 0.25),
            )
        wide = width[i] > old[i] >= min_width
        return b[i] >= 1 and wide, b[i] <= 0 and wide, lambda: ramp(b[i], 1, 1.25), lambda: ramp(-b[i], 0, 0.25)

    return judge(len(b), period, rule)


def breakout(
    c: Columns,
    *,
    lookback: int = 20,
    buffer: float = 0.1,
    full: float = 1.0,
    volume_period: int = 20,
    volume_multiplier: float = 1.5,
) -> Outputs:
    close, old, a, vr = c["close"], lag(c["close"]), lag(atr(c)), relative_volume(c, volume_period)
    top, bottom = before(c["high"], lookback, np.max), before(c["low"], lookback, np.min)
    off = volume_multiplier == 0

    def sure(i: int, b: float) -> float:
        s = lin(b, buffer, full)
        return ramp(s if off else 0.6 * s + 0.4 * lin(vr[i], 1, 2 * volume_multiplier), 0, 1)

    def rule(i: int) -> Any:
        if a[i] <= 1e-12 * close[i]:
            return None
        up, down = (close[i] - top[i]) / a[i], (bottom[i] - close[i]) / a[i]
        loud = off or vr[i] >= volume_multiplier
        return (
            up >= buffer and old[i] <= top[i] and loud,
            down >= buffer and old[i] >= bottom[i] and loud,
            lambda: sure(i, up),
            lambda: sure(i, down),
        )

    return judge(len(close), max(lookback, 15, 0 if off else volume_period), rule)


def price_momentum(
    c: Columns, *, period: int = 5, recent: int = 3, min_move: float = 1.0, full_move: float = 3.0, accel: float = 0.5
) -> Outputs:
    close, a = c["close"], atr(c)
    whole, late = close - lag(close, period), close - lag(close, recent)

    def rule(i: int) -> Any:
        if a[i] <= 1e-12 * close[i]:
            return None
        m = whole[i] / a[i]
        return (
            m >= min_move and late[i] >= accel * whole[i],
            m <= -min_move and late[i] <= accel * whole[i],
            *[lambda: ramp(abs(m), min_move, full_move)] * 2,
        )

    return judge(len(close), max(period, 14), rule)


def volume_spike(
    c: Columns, *, period: int = 20, spike: float = 1.5, full_spike: float = 3.0, min_clv: float = 0.2
) -> Outputs:
    close, old, vr = c["close"], lag(c["close"]), relative_volume(c, period)
    span = c["high"] - c["low"]
    place = (2 * close - c["high"] - c["low"]) / np.where(span > 0, span, 1.0)

    def rule(i: int) -> Any:
        loud = vr[i] >= spike
        return (
            loud and place[i] >= min_clv and close[i] > old[i],
            loud and place[i] <= -min_clv and close[i] < old[i],
            *[lambda: ramp(vr[i], spike, full_spike)] * 2,
        )

    return judge(len(close), period, rule)


def wick(
    c: Columns,
    *,
    ratio: float = 2.0,
    share: float = 0.5,
    other: float = 0.25,
    min_range: float = 0.8,
    extreme: int = 10,
) -> Outputs:
    o, h, low, close, a = c["open"], c["high"], c["low"], c["close"], lag(atr(c))
    body, span = np.abs(close - o), h - low
    tail, cap = np.minimum(o, close) - low, h - np.maximum(o, close)
    bottom = before(low, extreme, np.min) if extreme else np.full(len(o), math.inf)
    top = before(h, extreme, np.max) if extreme else np.full(len(o), -math.inf)

    def rejects(i: int, long_one: float, short_one: float) -> bool:
        least = max(ratio * max(body[i], 0.05 * span[i]), share * span[i])
        return bool(long_one >= least and short_one <= other * span[i] and span[i] >= min_range * a[i])

    def rule(i: int) -> Any:
        if a[i] <= 1e-12 * close[i]:
            return None
        return (
            rejects(i, tail[i], cap[i]) and low[i] <= bottom[i],
            rejects(i, cap[i], tail[i]) and h[i] >= top[i],
            lambda: ramp(tail[i] / span[i], share, 0.85),
            lambda: ramp(cap[i] / span[i], share, 0.85),
        )

    return judge(len(o), max(15, extreme), rule)


def trend_detector(
    c: Columns, *, k: int = 2, fast: int = 20, slow: int = 50, min_ema_gap: float = 0.1, full: float = 2.0
) -> Outputs:
    close, a, points = c["close"], atr(c), pivots(c, k)
    gap = ema(close, fast) - ema(close, slow)
    strength = empty(len(close))

    def rule(i: int) -> Any:
        if a[i] <= 1e-12 * close[i]:
            return None
        highs, lows = ([q for j, n, q in points if n == name and j + k <= i][-2:] for name in ("high", "low"))
        strength[i] = 0.0
        if len(highs) < 2 or len(lows) < 2:
            return False, False, None, None
        dh, dl, g = highs[1] - highs[0], lows[1] - lows[0], gap[i] / a[i]
        strength[i] = (lin(abs(dh) / a[i], 0, full) + lin(abs(dl) / a[i], 0, full)) / 2
        up, down = (min_ema_gap == 0 or g >= min_ema_gap), (min_ema_gap == 0 or g <= -min_ema_gap)
        return dh > 0 and dl > 0 and up, dh < 0 and dl < 0 and down, *[lambda: ramp(strength[i], 0, 1)] * 2

    out = judge(len(close), max(slow, 15, 2 * k + 1) - 1, rule)
    return out | {"bias": out["direction"], "strength": strength}


def clusters(points: list[tuple[int, float]], reach: float) -> list[list[tuple[int, float]]]:
    """Join each pivot to the first group whose mean price is within reach, else open a group."""
    groups: list[list[tuple[int, float]]] = []
    for point in points:
        home = next((g for g in groups if abs(point[1] - sum(q for _, q in g) / len(g)) <= reach), None)
        if home is None:
            groups.append([point])
        else:
            home.append(point)
    return groups


def level(
    c: Columns,
    *,
    lookback: int = 100,
    k: int = 2,
    cluster: float = 0.5,
    proximity: float = 0.5,
    min_touches: int = 2,
    full_touches: int = 4,
    recent: int = 15,
    trend: str = "penalize",
    trend_factor: float = 0.5,
) -> Outputs:
    close, a = c["close"], atr(c)
    points = sorted(pivots(c, k), key=lambda point: (point[0], -abs(point[2] - close[point[0] + k])))
    gap = ema(close, 20) - ema(close, 50)
    extras = {name: empty(len(close)) for name in ("support", "resistance", "touches")}

    def rule(i: int) -> Any:
        if a[i] <= 1e-12 * close[i]:
            return None
        known = [(j, q) for j, _, q in points if j + k <= i][-64:]
        groups = clusters([(j, q) for j, q in known if j > i - lookback], cluster * a[i])
        rows = [(sum(q for _, q in g) / len(g), len(g), i - g[-1][0]) for g in groups if len(g) >= min_touches]
        at = close[i] * (1 + 1e-12)
        support = max((r for r in rows if r[0] <= at), default=None)
        resistance = min((r for r in rows if r[0] > at), default=None)
        down = close[i] - support[0] if support else math.inf
        up = resistance[0] - close[i] if resistance else math.inf
        extras["support"][i] = support[0] if support else math.nan
        extras["resistance"][i] = resistance[0] if resistance else math.nan
        near = support if down <= up else resistance
        if near is None:
            return False, False, None, None
        extras["touches"][i] = near[1]
        bias = math.copysign(1, gap[i]) if abs(gap[i]) >= 0.25 * a[i] else 0.0

        def sure(against: bool) -> float:
            s = 0.6 * lin(near[1], min_touches - 1, full_touches) + 0.2 * (near[2] <= recent)
            s += 0.2 * (1 - near[2] / lookback)
            return ramp(s * (trend_factor if against and trend == "penalize" else 1.0), 0, 1)

        return (
            down + 1e-12 * close[i] < up and down / a[i] <= proximity and not (trend == "with" and bias < 0),
            up + 1e-12 * close[i] < down and up / a[i] <= proximity and not (trend == "with" and bias > 0),
            lambda: sure(bias < 0),
            lambda: sure(bias > 0),
        )

    return judge(len(close), max(30, 2 * k + 1) - 1, rule) | extras
