"""What the rules of all analyzers share: one side or none, sizes that count, and the wording of a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from stratnb.kernels.jit import helper

__all__ = ["ATR_PERIOD", "NAN", "close_location", "in_atr", "side", "sized", "verdict"]

ATR_PERIOD = 14
NAN = math.nan


def in_atr(default: float, title: str, *, least: float | None = None, above: float | None = None, most: float) -> Any:
    """Return the field of a price distance in ATR with its bounds."""
    return Field(default, ge=least, gt=above, le=most, title=title, json_schema_extra={"x-unit": "atr"})


@helper
def side(long: bool, short: bool) -> float:
    """Return +1 for long alone, -1 for short alone and 0 for neither or both."""
    return (1.0 if long else 0.0) - (1.0 if short else 0.0)


@helper
def sized(d: float, scale: float) -> bool:
    """Tell whether a denominator is a number and counts as more than zero beside a price."""
    return d > 1e-12 * abs(scale)


@helper
def close_location(high: float, low: float, close: float) -> float:
    """Return where the close stands in the candle, -1 at the low to +1 at the high (0 without a range)."""
    span = high - low
    return (2.0 * close - high - low) / span if sized(span, close) else 0.0


def verdict(row: Mapping[str, float]) -> str:
    """Return the direction and confidence of a row in words.

    >>> verdict({"direction": 1.0, "confidence": 0.725})
    'Long with confidence 0.72'
    """
    direction, confidence = row.get("direction", math.nan), row.get("confidence", math.nan)
    if not math.isfinite(direction):
        return "Not ready"
    if direction == 0:
        return "No signal"
    return f"{'Long' if direction > 0 else 'Short'} with confidence {confidence:.2f}"
