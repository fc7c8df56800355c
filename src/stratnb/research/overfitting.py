"""The probability of backtest overfitting, by combinatorially symmetric cross-validation of a sweep's trials."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt

__all__ = ["probability_of_overfitting"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CELLS = 30_000_000  # of (splits x trials): more trials are looked at in fewer splits, drawn with a fixed seed
AT_ONCE = 2_000_000
FEWEST_SPLITS = 250


def probability_of_overfitting(blocks: Floats) -> float | None:
    """Return how often the trial that is best in half of the blocks is not above the median in the other half.

    `blocks` (trials, an even number of blocks, 3) holds count, sum and sum of squares of each trial's daily returns in
    consecutive blocks of time; the Sharpe ratio of a half follows from their sums. Every choice of half of the blocks
    is taken, or for very many trials a seeded draw of them; memory is bounded either way. A trial without returns that
    differ is never the best; in the other half it earned nothing, which is a Sharpe ratio of 0. Trials with a missing
    number or without days in a block are left out. None where fewer than two are left, or none is ever defined.
    Formula: Bailey, Borwein, Lopez de Prado and Zhu (2017).
    """
    blocks = np.asarray(blocks, np.float64)
    blocks = blocks[np.isfinite(blocks).all(axis=(1, 2)) & (blocks[:, :, 0] > 0).all(axis=1)]
    trials, parts = blocks.shape[:2]
    if trials < 2 or parts < 2 or parts % 2:
        return None
    chosen = _halves(parts, trials)
    whole = blocks.sum(axis=1).T[:, None]
    columns = np.ascontiguousarray(blocks.transpose(2, 1, 0))
    step = max(1, AT_ONCE // trials)
    losses, splits = 0, 0
    for start in range(0, len(chosen), step):
        sums = chosen[start : start + step] @ columns
        one, other = _sharpes(*sums), _sharpes(*(whole - sums))
        for inside, outside in ((one, other), (other, one)):
            below, known = _below_median(inside, outside)
            losses, splits = losses + below, splits + known
    return losses / splits if splits else None


def _halves(parts: int, trials: int) -> Floats:
    """Return rows of 0 and 1 that choose half of the blocks, each with its complement once."""
    chosen = np.array([row for row in combinations(range(parts), parts // 2) if row[0] == 0])
    most = max(FEWEST_SPLITS, CELLS // trials)
    if len(chosen) > most:
        chosen = chosen[np.sort(np.random.default_rng(0).choice(len(chosen), most, replace=False))]
    halves = np.zeros((len(chosen), parts))
    np.put_along_axis(halves, chosen, 1.0, axis=1)
    return halves


def _sharpes(count: Floats, total: Floats, squares: Floats) -> Floats:
    """Return per-day Sharpe ratios from sums, NaN without returns that differ."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = (squares - total * mean) / (count - 1.0)
        known = variance > 1e-12 * squares / count
        found: Floats = np.where(known, mean / np.sqrt(np.where(known, variance, 1.0)), math.nan)
    return found


def _below_median(inside: Floats, outside: Floats) -> tuple[int, int]:
    """Return in how many splits the best inside ranks in the lower half outside, and in how many there is a best."""
    ranked = np.where(np.isnan(inside), -math.inf, inside)
    best = ranked.argmax(axis=1)[:, None]
    known = np.isfinite(np.take_along_axis(ranked, best, axis=1)[:, 0])
    other = np.nan_to_num(outside, nan=0.0)
    own = np.take_along_axis(other, best, axis=1)
    rank = (other < own).sum(axis=1) + ((other == own).sum(axis=1) + 1) / 2
    below = rank / (inside.shape[1] + 1) <= 0.5
    return int((below & known).sum()), int(known.sum())
