"""The two distributions that the tests of figures need, without a statistics package."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["normal_below", "t_two_sided"]

TERMS: Final = 400
PRECISE: Final = 1e-15
TINY: Final = 1e-300


def normal_below(z: float) -> float:
    """Return the probability that a standard normal value is below `z`.

    >>> round(normal_below(1.959964), 6)
    0.975
    """
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def t_two_sided(t: float, freedom: float) -> float:
    """Return the probability of a Student t beyond +-`t`: the incomplete beta I(f / (f + t^2); f / 2, 1 / 2).

    >>> round(t_two_sided(2.0, 10), 6)
    0.073388
    """
    x = freedom / (freedom + t * t)
    a, b = freedom / 2.0, 0.5
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    whole = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return whole * _fraction(x, a, b) / a
    return 1.0 - whole * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta (Abramowitz and Stegun 26.5.8), by Lentz's way."""
    c, d = 1.0, _away(1.0 - (a + b) * x / (a + 1.0))
    h = 1.0 / d
    d = h
    for m in range(1, TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            h *= d * c
        if abs(d * c - 1.0) < PRECISE:
            break
    return h


def _away(value: float) -> float:
    """Return the value, moved off zero."""
    return value if abs(value) > TINY else TINY
