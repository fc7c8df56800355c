"""A seeded market to try things on: regimes, clustered volatility, one common factor; always flagged synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.market_data.candles import SYNTHETIC, Candles
from stratnb.market_data.naming import check_symbol
from stratnb.model import timeframe_ms

__all__ = ["REGIMES", "START_PRICES", "synthetic_market"]

START_PRICES = {
    "BTC/USDT": 43_000.0,
    "ETH/USDT": 2_300.0,
    "SOL/USDT": 100.0,
    "BNB/USDT": 310.0,
    "XRP/USDT": 0.62,
    "ADA/USDT": 0.55,
    "DOGE/USDT": 0.09,
    "AVAX/USDT": 38.0,
    "LINK/USDT": 15.0,
    "DOT/USDT": 8.0,
}
START_MS = 1_704_067_200_000
REGIMES = ("up", "down", "range", "volatile")
DRIFT = np.array([0.09, -0.09, 0.0, 0.0])
LOUDNESS = np.array([1.0, 1.0, 0.6, 2.2])
PULL = np.array([0.0, 0.0, 0.03, 0.0])
NEXT = np.array([[0.0, 0.25, 0.5, 0.25], [0.25, 0.0, 0.5, 0.25], [0.4, 0.4, 0.0, 0.2], [0.3, 0.3, 0.4, 0.0]])
MEAN_STAY, SHORTEST_STAY = 200, 40
SHOCK, MEMORY = 0.12, 0.85
MINUTE_VOLATILITY = 6e-4
LARGEST_STEP = 0.2
DIGITS = 5
NOTIONAL_PER_MINUTE = 150_000.0
DAY_MS = 86_400_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Draws:
    """Random numbers of shape (candles, symbols): steps, wicks above and below, volume noise; regime and its start."""

    step: Floats
    above: Floats
    below: Floats
    volume: Floats
    regime: Ints
    is_start: npt.NDArray[np.bool_]

    def of(self, k: int) -> _Draws:
        """Return the columns of one symbol."""
        step, above, below, volume = (column[:, k] for column in (self.step, self.above, self.below, self.volume))
        return _Draws(step, above, below, volume, self.regime[:, k], self.is_start[:, k])


def synthetic_market(
    symbols: Sequence[str] = tuple(START_PRICES),
    timeframe: str = "1m",
    *,
    candles: int = 10_000,
    seed: int = 7,
    start_ms: int = START_MS,
) -> list[Candles]:
    """Return one series per symbol, all on one grid from `start_ms` (moved down to it) and without gaps.

    A Markov chain per symbol changes between trend up, trend down, range and high volatility. Step sizes follow a
    GARCH(1, 1) recursion (shock 0.12, memory 0.85) and share one market factor; volumes follow the step sizes and the
    time of day. Equal arguments give equal bits.

    >>> market = synthetic_market(["BTC/USDT"], candles=100)
    >>> market[0].is_synthetic, len(market[0])
    (True, 100)
    """
    names = [check_symbol(symbol) for symbol in symbols]
    if candles < 1 or seed < 0 or not names or len(set(names)) < len(names):
        hint = "give at least one candle, different symbols and a seed of 0 or more"
        text = f"{candles} candles of {names} with seed {seed} cannot be generated"
        raise ConfigError("synthetic_size", text, value=(candles, names, seed), hint=hint)
    length = timeframe_ms(timeframe)
    times = start_ms // length * length + length * np.arange(candles, dtype=np.int64)
    draws = _draws(seed, candles, len(names))
    sigma = MINUTE_VOLATILITY * np.sqrt(length / 60_000) * LOUDNESS[draws.regime] * _clusters(draws.step)
    paths = _paths(draws, sigma)
    return [
        _candles(name, timeframe, times, path=paths[:, k], sigma=sigma[:, k], own=draws.of(k))
        for k, name in enumerate(names)
    ]


def _draws(seed: int, candles: int, symbols: int) -> _Draws:
    market, *own = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(symbols + 1))
    factor = market.standard_normal(candles)
    numbers = np.empty((4, candles, symbols))
    regime, is_start = np.empty((candles, symbols), np.int64), np.zeros((candles, symbols), bool)
    for k, rng in enumerate(own):
        beta = rng.uniform(0.55, 0.85)
        numbers[:, :, k] = rng.standard_normal((4, candles))
        numbers[0, :, k] = beta * factor + np.sqrt(1 - beta**2) * numbers[0, :, k]
        regime[:, k], is_start[:, k] = _regimes(rng, candles)
    return _Draws(numbers[0], np.abs(numbers[1]), np.abs(numbers[2]), numbers[3], regime, is_start)


def _regimes(rng: np.random.Generator, candles: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the regime at each candle and where one begins: a Markov chain with geometric stays."""
    state, left = int(rng.integers(len(REGIMES))), candles
    states, stays = [], []
    while left > 0:
        stay = SHORTEST_STAY + int(rng.geometric(1 / (MEAN_STAY - SHORTEST_STAY)))
        states.append(state)
        stays.append(min(stay, left))
        left -= stay
        state = int(rng.choice(len(REGIMES), p=NEXT[state]))
    is_start = np.zeros(candles, bool)
    is_start[np.cumsum([0, *stays[:-1]])] = True
    return np.repeat(np.array(states), stays), is_start


def _clusters(step: Floats) -> Floats:
    """Return the volatility of each step beside its mean: h = w + h (shock z^2 + memory), mean 1."""
    growth = SHOCK * step**2 + MEMORY
    variance = np.ones(step.shape)
    for i in range(1, len(step)):
        variance[i] = (1 - SHOCK - MEMORY) + variance[i - 1] * growth[i - 1]
    return np.sqrt(variance)


def _paths(draws: _Draws, sigma: Floats) -> Floats:
    """Return the log price after each step, from 0; in a range it is pulled back to where the range began."""
    moves = np.clip(sigma * (draws.step + DRIFT[draws.regime]), -LARGEST_STEP, LARGEST_STEP)
    pull = PULL[draws.regime]
    paths = np.empty(moves.shape)
    level = np.zeros(moves.shape[1])
    anchor = level
    for i in range(len(moves)):
        if draws.is_start[i].any():
            anchor = np.where(draws.is_start[i], level, anchor)
        level = level + moves[i] - pull[i] * (level - anchor)
        paths[i] = level
    return paths


def _candles(name: str, timeframe: str, times: Ints, *, path: Floats, sigma: Floats, own: _Draws) -> Candles:
    start = START_PRICES.get(name, 100.0)
    decimals = DIGITS - int(np.floor(np.log10(start)))
    tick = 10.0**-decimals
    close = np.maximum(np.round(start * np.exp(path), decimals), tick)
    opens = np.concatenate([[start], close[:-1]])
    top, bottom = np.maximum(opens, close), np.minimum(opens, close)
    high = np.maximum(np.round(top * np.exp(0.5 * sigma * own.above), decimals), top)
    low = np.maximum(np.minimum(np.round(bottom * np.exp(-0.5 * sigma * own.below), decimals), bottom), tick)
    volume = _volume(times, start, timeframe_ms(timeframe), own)
    flags = np.full(times.size, SYNTHETIC, np.uint8)
    return Candles(name, timeframe, times, opens, high, low, close, volume, flags)


def _volume(times: Ints, price: float, length: int, own: _Draws) -> Floats:
    """Return base volumes: highest at 15:00 UTC, more with larger steps and in loud regimes."""
    day = 1 + 0.5 * np.cos(2 * np.pi * ((times + length / 2) % DAY_MS / DAY_MS - 15 / 24))
    effort = (0.5 + np.abs(own.step)) * LOUDNESS[own.regime] * np.exp(0.4 * own.volume)
    base = NOTIONAL_PER_MINUTE * length / 60_000 / price
    volume: Floats = np.round(base * day * effort, 4)
    return volume
