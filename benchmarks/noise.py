"""How often the best of a sweep is called significant on pure noise, and on candles that do trend, as one JSON object.

    python -m benchmarks.noise [--quick]

Noise is a random walk without drift, traded long and short without fees and slippage, so that no strategy has an edge
and none is held back by costs: the hardest case for the rule. Each sweep has a ledger of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.figure import Figures, at_least, at_most
from stratnb.market_data.candles import SYNTHETIC, Candles
from stratnb.market_data.synthetic import START_MS
from stratnb.research.honesty import LEVEL, RULE, Ledger, Verdict, verdict
from stratnb.research.sweep import sweep

__all__ = ["main", "noise_figures", "random_walk"]

HOUR_MS, STEPS = 3_600_000, 6
HOURLY = 0.006
TREND, TURNS = (
    0.15,
    1 / 150,
)  # of the trending candles: drift beside volatility, and the chance that it turns in an hour
WIDE = {"analyzers[0].params.fast": [3, 5, 8, 12, 18, 26], "analyzers[0].params.slow": [30, 45, 60, 80, 110, 150]}
NEAR = {"analyzers[0].params.fast": [8, 9, 10], "analyzers[0].params.slow": [40, 42, 44]}
OFF = ("max_daily_loss", "max_drawdown", "max_consecutive_losses", "stop_loss_guard", "streak_factors")
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "noise",
    "title": "Averages that cross",
    "market": {"kind": "linear", "direction": "both"},
    "timeframes": {"primary": "1h"},
    "analyzers": [{"kind": "ema", "params": {"fast": 5, "slow": 20, "mode": "state"}}],
    "entry": {"min_score": 0.0, "min_confidence": 0.0},
    "sizing": {"kind": "risk", "fraction": 0.01},
    "exits": {"stop_loss": {"fraction": 0.2}, "signal_exit": {"min_confidence": 0.0}},
    "risk": dict.fromkeys(OFF),
    "execution": {"simulation": {"taker_fee": 0.0, "maker_fee": 0.0, "slippage": 0.0}},
    "capital": {"amount": 1.0},
}


def random_walk(seed: int, *, candles: int, trend: float = 0.0) -> Candles:
    """Return hourly candles of a martingale in six steps an hour; a trend is a drift that turns by chance."""
    rng = np.random.default_rng([seed, candles])
    moves = rng.normal(0.0, HOURLY / np.sqrt(STEPS), (candles, STEPS))
    side = np.cumprod(np.where(rng.random(candles) < TURNS, -1.0, 1.0))
    moves += (trend * HOURLY / STEPS * side)[:, None]
    path: npt.NDArray[np.float64] = 30_000.0 * np.exp(np.cumsum(moves - HOURLY**2 / STEPS / 2.0).reshape(moves.shape))
    opens = np.concatenate(([30_000.0], path[:-1, -1]))
    high, low = np.maximum(path.max(axis=1), opens), np.minimum(path.min(axis=1), opens)
    times = START_MS + HOUR_MS * np.arange(candles, dtype=np.int64)
    volume, flags = np.full(candles, 1_000.0), np.full(candles, SYNTHETIC, np.uint8)
    return Candles("BTC/USDT", "1h", times, opens, high, low, path[:, -1], volume, flags)


def noise_figures(*, sweeps: int = 200, candles: int = 4_380, trending: int = 20, trend: float = TREND) -> Figures:
    """Return the share of seeded sweeps whose best is called significant: on noise, and where there is something.

    Noise is swept twice: over parameters far apart, and over neighbours, which are nearly one trial.
    """
    found: Figures = {}
    for name, space in (("noise_called_significant", WIDE), ("noise_called_significant_neighbours", NEAR)):
        noise = [_judged(seed, candles, 0.0, space) for seed in range(sweeps)]
        overfitting = [each.overfitting for each in noise if each.overfitting is not None]
        detail = {
            "sweeps": sweeps,
            "trials_each": noise[0].trials,
            "candles": candles,
            "by_the_plain_sharpe_ratio": _share([(each.psr or 0.0) >= LEVEL for each in noise]),
            "by_the_deflated_one_alone": _share([(each.deflated or 0.0) >= LEVEL for each in noise]),
            "mean_overfitting": round(float(np.mean(overfitting)), 3),
            "rule": RULE,
        }
        found[name] = at_most(_share([each.significant for each in noise]), "share", 0.05, **detail)
    real = [_judged(seed, candles, trend, WIDE) for seed in range(trending)]
    share = _share([each.significant for each in real])
    return found | {"trends_called_significant": at_least(share, "share", 0.5, sweeps=trending, drift=trend)}


def _judged(seed: int, candles: int, trend: float, space: Mapping[str, list[int]]) -> Verdict:
    """Return the verdict of one sweep with a ledger of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "trials.sqlite")
        series = random_walk(seed, candles=candles, trend=trend)
        return verdict(sweep(DOCUMENT, series, space, ledger=ledger), ledger=ledger, random=0, samples=1_000)


def _share(marks: Sequence[bool]) -> float:
    return float(np.mean(marks))


def main(words: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Count false and true discoveries and print them as JSON.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter sweeps")
    given = parser.parse_args(words)
    print("noise ...", file=sys.stderr, flush=True)
    found = noise_figures(sweeps=20, candles=2_000, trending=4) if given.quick else noise_figures()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
