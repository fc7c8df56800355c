"""Small formulas shared by steps: clipped ramps and the zero of a denominator."""

from __future__ import annotations

from stratnb.kernels.jit import helper

__all__ = ["clip", "lin", "near_zero", "ramp"]


@helper
def clip(v: float) -> float:
    """Return v limited to 0..1."""
    return min(1.0, max(0.0, v))


@helper
def lin(v: float, a: float, b: float) -> float:
    """Return where v stands between a and b, limited to 0..1 (a step at a when b <= a)."""
    if b <= a:
        return 1.0 if v >= a else 0.0
    return min(1.0, max(0.0, (v - a) / (b - a)))


@helper
def ramp(v: float, a: float, b: float, floor: float, cap: float) -> float:
    """Return the confidence that rises from floor at a to cap at b."""
    return floor + (cap - floor) * lin(v, a, b)


@helper
def near_zero(d: float, scale: float) -> bool:
    """Tell whether a denominator counts as zero beside a price."""
    return abs(d) <= 1e-12 * abs(scale)
