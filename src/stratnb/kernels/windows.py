"""Memory of the last n values: moving sums and extremes over ring buffers, and exponential recursions.

Each function works on the cells of `state` from `base` on, is called once per candle with the candle's number `i`,
and needs no set-up but zeroed cells. The result does not depend on anything but the values pushed, so a saved and
restored memory goes on with the same bits.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stratnb.kernels.jit import helper

__all__ = ["Floats", "deviation", "ema_next", "push_max", "push_sum", "true_range", "wilder_next"]

Floats: TypeAlias = npt.NDArray[np.float64]


@helper
def push_sum(i: int, state: Floats, base: int, n: int, v: float) -> float:
    """Push v and return the sum of the last n values; takes n + 2 cells: sum, run of equal values, ring.

    The sum is taken anew from the ring each n steps, so rounding does not drift, and is exact while all n values are
    equal: a window without volume sums to zero.
    """
    ring = base + 2
    slot = ring + i % n
    before = state[ring + (i + n - 1) % n]
    total: float = state[base] + (v - state[slot])
    state[base + 1] = state[base + 1] + 1.0 if v == before else 1.0
    state[slot] = v
    if i % n == n - 1:
        total = 0.0
        for k in range(ring, ring + n):
            total += state[k]
    if state[base + 1] >= n:
        total = n * v
    state[base] = total
    return total


@helper
def deviation(state: Floats, base: int, n: int, mean: float) -> float:
    """Return the population deviation from the mean of the n values that `push_sum` keeps at `base`."""
    squares = 0.0
    for k in range(base + 2, base + 2 + n):
        squares += (state[k] - mean) * (state[k] - mean)
    return float(np.sqrt(squares / n))


@helper
def push_max(i: int, state: Floats, base: int, n: int, v: float) -> float:
    """Push v and return the largest of the last n values; takes n + 2 cells: largest, its candle, ring.

    The smallest is found with the signs turned: `-push_max(i, state, base, n, -v)`.
    """
    ring = base + 2
    state[ring + i % n] = v
    if i == 0 or v >= state[base]:
        state[base], state[base + 1] = v, i
    elif state[base + 1] <= i - n:
        state[base], state[base + 1] = v, i
        for j in range(i - n + 1, i):
            if state[ring + j % n] >= state[base]:
                state[base], state[base + 1] = state[ring + j % n], j
    return float(state[base])


@helper
def ema_next(i: int, state: Floats, base: int, n: int, v: float) -> float:
    """Push v and return the exponential average, seeded with the mean of the first n, usable at i >= n-1. One cell."""
    if i < n:
        state[base] += v
        if i == n - 1:
            state[base] /= n
    else:
        state[base] += (v - state[base]) * (2.0 / (n + 1.0))
    return float(state[base])


@helper
def wilder_next(i: int, state: Floats, base: int, n: int, v: float) -> float:
    """Push v and return Wilder's average, seeded with the mean of the first n, usable at i >= n-1. One cell."""
    if i < n:
        state[base] += v
        if i == n - 1:
            state[base] /= n
    else:
        state[base] = (state[base] * (n - 1) + v) / n
    return float(state[base])


@helper
def true_range(high: float, low: float, before: float) -> float:
    """Return the largest of the range and the distances of high and low from the close before."""
    return max(high - low, abs(high - before), abs(low - before))
