"""Strategies, candles and a grid for the tests of sweeps, and whether two tables are the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.research.space import Range
from trading_cases import document, wander

FAST, SLOW = "analyzers[0].params.fast", "analyzers[0].params.slow"
STOP, SCORE = "exits.stop_loss.fraction", "entry.min_score"
MARKET = Market("AAA/USDT", tick=0.01, lot=0.001, taker_fee=0.001)
EMA = document(
    name="swept",
    timeframes={"primary": "1m"},
    analyzers=[{"kind": "ema", "params": {"fast": 5, "slow": 20}}],
    entry={"mode": "coverage", "min_candles": 20, "min_confidence": 0.5},
    sizing={"kind": "fixed_fraction", "fraction": 0.5},
    exits={
        "stop_loss": {"fraction": 0.01},
        "take_profit": {"levels": [{"at": 0.01, "close": 0.5}]},
        "signal_exit": {},
    },
    capital={"amount": 0.5},
)
GRID: dict[str, Any] = {FAST: Range(3, 9, step=2), SLOW: [8, 20], STOP: [0.005, 0.02]}


def walk(n: int = 6_000, seed: int = 3, gaps: int = 0) -> Candles:
    """Return candles of several days."""
    return wander(n, seed, gaps=gaps, timeframe="1m")


def same(a: Any, b: Any) -> bool:
    """Tell whether two frames are equal to the last bit."""
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        return False
    for name in a.columns:
        one, other = a[name].to_numpy(), b[name].to_numpy()
        if one.dtype.kind == "f":
            if one.tobytes() != other.astype(one.dtype).tobytes() and not np.array_equal(one, other, equal_nan=True):
                return False
        elif [repr(value) for value in one.tolist()] != [repr(value) for value in other.tolist()]:
            return False
    return True
