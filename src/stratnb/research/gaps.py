"""What a run does where candles are missing: stop before it starts, hold through, or split and start anew."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, nearest
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles, utc_text
from stratnb.research.ending import close_at_end
from stratnb.strategy.plan import Plan

__all__ = ["OnGap", "close_out", "stretches_of"]

Floats = npt.NDArray[np.float64]
OnGap: TypeAlias = Literal["stop", "hold", "split"]
CHOICES: tuple[OnGap, ...] = get_args(OnGap)


def stretches_of(candles: Candles, on_gap: OnGap) -> tuple[tuple[int, int], ...]:
    """Return the stretches of candles (start, stop) that are run one after the other.

    "hold" runs through a gap as live does; "split" closes the position at the last close before it, with its costs,
    and starts the blocks anew after it; "stop" raises `ConfigError("gap")` when there is one.
    """
    if on_gap not in CHOICES:
        close = nearest(str(on_gap), CHOICES) or CHOICES
        hint = f"did you mean {' or '.join(map(repr, close))}?"
        raise ConfigError("enum", f"on_gap {on_gap!r} is not known", value=on_gap, hint=hint)
    if on_gap == "hold":
        return ((0, len(candles)),)
    gaps = candles.gaps()
    if on_gap == "stop" and gaps.count:
        text = f"candles are missing: {gaps}, the first after {utc_text(int(gaps.after_ms[0]))} UTC"
        hint = "load them, take a range without gaps, or choose on_gap='hold' or 'split'"
        raise ConfigError("gap", text, value=gaps.count, hint=hint)
    inner = (np.searchsorted(candles.open_time_ms, gaps.after_ms) + 1).tolist() if on_gap == "split" else []
    edges: list[int] = [0, *inner, len(candles)]
    return tuple(pairwise(edges))


def close_out(plan: Plan, books: Floats, account: Floats, row: Floats, fills: Floats) -> tuple[int, float]:
    """Close what a book holds at the close of a candle row, as an order filled at that price is.

    A waiting entry is dropped. Appends fill rows at the start of `fills`; returns their number and the equity after.
    """
    made = close_at_end(plan, books, 0, account, row, at.REASON_MANUAL)
    fills[: len(made)] = made
    return len(made), float(books[0, at.B_EQUITY])
