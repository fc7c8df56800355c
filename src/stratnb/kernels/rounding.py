"""Whole steps of price and quantity (trading_rules 2.1)."""

from __future__ import annotations

import numpy as np

from stratnb.kernels.jit import helper

__all__ = ["round_down", "round_nearest"]


@helper
def steps_to(count: float, step: float) -> float:
    """Return count steps as a float, exact for decimal steps."""
    inverse = float(np.floor(1.0 / step + 0.5))
    if inverse >= 1.0 and abs(inverse * step - 1.0) < 1e-12:
        return count / inverse
    return count * step


@helper
def round_down(value: float, step: float) -> float:
    """Return the value cut down to whole steps.

    A value counts as whole within 1e-9 steps, or within the rounding of the division where that is more.
    """
    if step <= 0.0:
        return value
    count = value / step
    return steps_to(float(np.floor(count + max(1e-9, 4.5e-16 * count))), step)


@helper
def round_nearest(value: float, step: float) -> float:
    """Return the nearest whole number of steps (half away from zero)."""
    if step <= 0.0:
        return value
    return steps_to(float(np.floor(value / step + 0.5)), step)
