"""The benchmark of false discoveries on a few sweeps: noise is told from trends; how often is for the full run."""

from __future__ import annotations

import numpy as np
from benchmarks.noise import noise_figures, random_walk


def test_noise_is_told_from_trends() -> None:
    found = noise_figures(sweeps=1, candles=4_380, trending=1)
    noise, trends = found["noise_called_significant"], found["trends_called_significant"]
    assert (noise["value"], noise["ok"], noise["sweeps"], noise["trials_each"]) == (0.0, True, 1, 36)
    assert (trends["value"], trends["ok"]) == (1.0, True)


def test_the_noise_has_no_drift_and_is_seeded() -> None:
    walks = [random_walk(seed, candles=500) for seed in range(40)]
    moves = np.concatenate([np.diff(np.log(each.close)) for each in walks])
    assert abs(moves.mean()) < 4 * moves.std() / np.sqrt(len(moves))
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 0.03
    assert random_walk(3, candles=500).close.tobytes() == walks[3].close.tobytes()
    assert walks[0].is_synthetic
