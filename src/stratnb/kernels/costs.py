"""What a fill costs beside its price: slippage by the chosen model (trading_rules 8)."""

from __future__ import annotations

import math

from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    S_SLIPPAGE,
    S_SLIPPAGE_FACTOR,
    S_SLIPPAGE_MODEL,
    SLIPPAGE_FIXED,
    SLIPPAGE_VOLATILITY,
)

__all__ = ["expected_slippage", "slippage"]

MOST = 0.1


@helper
def expected_slippage(settings: Row, natr: float) -> float:
    """Return the slippage to plan with before quantity and candle of the fill are known, as a fraction.

    `natr` is the newest one of the primary timeframe; until there is one, and for the model by volume, it is the fixed
    fraction.
    """
    if settings[S_SLIPPAGE_MODEL] == SLIPPAGE_VOLATILITY and math.isfinite(natr):
        return float(min(settings[S_SLIPPAGE_FACTOR] * natr, MOST))
    return float(settings[S_SLIPPAGE])


@helper
def slippage(settings: Row, natr: float, quantity: float, volume: float) -> float:
    """Return the slippage of a fill in a candle as a fraction of its price, at most 0.1.

    Fixed (half a spread is one), k NATR, or k sqrt(quantity / volume). Without a NATR, or without volume, it is the
    fixed fraction.
    """
    model = settings[S_SLIPPAGE_MODEL]
    if model == SLIPPAGE_FIXED:
        return float(settings[S_SLIPPAGE])
    if model == SLIPPAGE_VOLATILITY or not volume > 0.0:
        return expected_slippage(settings, natr)
    return float(min(settings[S_SLIPPAGE_FACTOR] * math.sqrt(quantity / volume), MOST))
