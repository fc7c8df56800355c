"""The strategy and the candles that research is measured with: two averages that cross, long only, one unit.

The averages start with the first close (alpha 2 / (n + 1)) and crosses count from candle 2; the market order is filled
at the next open, stop and target lie inside the candle from the entry candle on, the stop first. A position that is
open at the end is marked to the last close. Importing this registers the analyzer `cross`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stratnb.blocks.base import Analyzer
from stratnb.kernels.jit import kernel
from stratnb.kernels.windows import Floats
from stratnb.market_data.candles import SYNTHETIC, Candles
from stratnb.model import Market
from stratnb.services.ledger import AccountLimits, Guard

__all__ = [
    "CASH",
    "EIGHT",
    "FAST",
    "MARKET",
    "NO_LIMITS",
    "SLOW",
    "TEN",
    "WIDE_LIMITS",
    "Cross",
    "crossing",
    "load",
    "random_walk",
]

CASH: Final = 1e8
FAST, SLOW = 12, 26
FEE, STOP, TARGET = 0.001, 0.02, 0.04
TEN: Final = [(5 + 2 * k, 20 + 4 * k) for k in range(10)]
MARKET: Final = Market("BTC/USDT", tick=1e-8, lot=0.001, maker_fee=FEE, taker_fee=FEE)  # stops as they are reckoned

RULES: Final = (
    *("max_daily_loss", "max_exposure", "max_drawdown", "max_consecutive_losses", "cooldown_s", "max_open_orders"),
    *("max_trades_per_day", "stop_loss_guard", "low_profit", "profit_lock", "daily_target", "streak_factors"),
    "max_holding_s",
)
NO_LIMITS: Final = AccountLimits(
    **{name: None for name, field in AccountLimits.model_fields.items() if "None" in str(field.annotation)}
)
WIDE_LIMITS: Final = AccountLimits(  # every rule of the default is asked, none ever binds
    max_open_positions=1_000,
    max_per_market=1_000,
    stop_loss_guard=Guard(count=1_000_000),
    market_net=10.0,
    market_gross=10.0,
)

SEED, START_MS, MINUTE_MS = 20240607, 1_577_836_800_000, 60_000
FIRST_PRICE, VOLATILITY, PULL = 30_000.0, 0.0015, 4e-6
PIECE, STEPS = 100_000, 4

EIGHT: Final[dict[str, Any]] = {
    "schema": 1,
    "name": "eight-analyzers",
    "extends": "simple-levels",
    "analyzers": [
        {"kind": kind, "weight": 0.125}
        for kind in ("level", "breakout", "trend_detector", "wick", "ema", "rsi", "price_momentum", "volume")
    ],
}


class Cross(Analyzer, kind="cross"):
    """Signals up in the candle where the fast average comes to lie above the slow one, and down the other way."""

    def inputs(self) -> tuple[str, ...]:
        """Return both averages."""
        return ("ind.fast", "ind.slow")

    def state_size(self) -> int:
        """Keep the side of the candle before."""
        return 1

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        """Compare the sides of two candles."""
        up, down = x[0] > x[1], x[0] < x[1]
        out[0] = 0.0
        if i > 1 and up and state[0] <= 0.0:
            out[0] = 1.0
        elif i > 1 and down and state[0] >= 0.0:
            out[0] = -1.0
        out[1] = 1.0
        state[0] = 1.0 if up else (-1.0 if down else 0.0)


def crossing(fast: int = FAST, slow: int = SLOW) -> dict[str, Any]:
    """Return the document of the strategy with these two periods."""
    simulation = {"taker_fee": FEE, "maker_fee": FEE, "slippage": 0.0, "touch": True, "end": "mark"}
    return {
        "schema": 1,
        "name": f"cross-{fast}-{slow}",
        "market": {"symbol": "BTC/USDT", "direction": "long"},
        "timeframes": {"primary": "1m"},
        "indicators": {
            "fast": {"kind": "ema", "period": fast, "seed": "first"},
            "slow": {"kind": "ema", "period": slow, "seed": "first"},
        },
        "analyzers": [{"name": "cross", "kind": "cross"}],
        "entry": {"min_confidence": 0.0, "min_candles": 1, "min_score": 0},
        "sizing": {"kind": "fixed_quantity", "quantity": 1.0, "cap": 10},
        "exits": {
            "stop": {"kind": "stop_loss", "fraction": STOP},
            "target": {"kind": "take_profit", "levels": [{"at": TARGET, "close": 1.0}]},
            "signal": {"kind": "signal_exit", "min_confidence": 0.0, "min_hold_candles": 0},
        },
        "risk": {**dict.fromkeys(RULES), "health_factor": False, "drawdown_factor": False},
        "capital": {"unit": "fraction", "amount": 1.0},
        "execution": {"max_slippage": None, "simulation": simulation},
    }


def random_walk(count: int) -> Candles:
    """Return minutes of a seeded random walk: 0.15 % a minute in four steps, pulled slowly to its first price.

    Each candle opens where the one before it closed; a longer series begins with the shorter one.
    """
    rng = np.random.default_rng(SEED)
    middle = last = np.log(FIRST_PRICE)
    parts, volumes = [], []
    for start in range(0, count, PIECE):
        moves = rng.standard_normal((PIECE, STEPS)) * (VOLATILITY / np.sqrt(STEPS)) + (middle - last) * PULL / STEPS
        path = last + np.cumsum(moves.ravel()).reshape(PIECE, STEPS)
        parts.append(path[: count - start])
        volumes.append(np.random.default_rng([SEED, start]).lognormal(2.0, 0.7, PIECE)[: count - start])
        last = path[-1, -1]
    prices = np.concatenate(parts)
    close = np.round(np.exp(prices[:, -1]), 2)
    opened = np.concatenate(([FIRST_PRICE], close[:-1]))
    before = np.concatenate(([middle], prices[:-1, -1]))
    high = np.round(np.exp(np.maximum(before, prices.max(axis=1))), 2)
    low = np.round(np.exp(np.minimum(before, prices.min(axis=1))), 2)
    volume = np.round(np.concatenate(volumes), 3)
    columns = (opened, np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close)), close)
    return _candles(START_MS + MINUTE_MS * np.arange(count, dtype=np.int64), (*columns, volume))


def load(path: Path, count: int | None = None) -> Candles:
    """Return the first candles of an .npz file with the columns t, o, h, l, c and v."""
    with np.load(path) as file:
        return _candles(file["t"][:count], [file[name][:count] for name in "ohlcv"])


def _candles(times: npt.NDArray[np.int64], columns: Sequence[Floats]) -> Candles:
    return Candles("BTC/USDT", "1m", times, *columns, np.full(len(times), SYNTHETIC, np.uint8))
