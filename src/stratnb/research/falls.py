"""The falls of an equity curve: each from its peak to its recovery, the last one possibly open."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.research.daily import drawdown

__all__ = ["fall_figures", "falls_of", "largest_in_money", "worst_figures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def falls_of(time_ms: Ints, equity: Floats) -> Floats:
    """Return the falls of a curve, oldest first: rows (peak time, end time, depth); an open one ends at NaN.

    The depth is a fraction. A curve that starts without money has none.

    >>> falls_of(np.arange(4), np.array([2.0, 1.0, 2.0, 1.5])).tolist()
    [[0.0, 2.0, 0.5], [2.0, nan, 0.25]]
    """
    if not len(equity) or equity[0] <= 0:
        return np.empty((0, 3))
    below = drawdown(equity)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (below > 0.0).astype(np.int8), [0]))))
    if not len(edges):
        return np.empty((0, 3))
    first, after = edges[::2], edges[1::2]
    ends = np.append(np.asarray(time_ms, np.float64), np.nan)[after]
    inside = np.append(below, 0.0)
    return np.column_stack([np.asarray(time_ms)[first - 1], ends, np.maximum.reduceat(inside, edges)[::2]])


def largest_in_money(time_ms: Ints, equity: Floats) -> tuple[float, int, int]:
    """Return the largest fall in quote units with the times of its peak and its trough."""
    if not len(equity):
        return 0.0, 0, 0
    lost = np.maximum.accumulate(equity) - equity
    trough = int(np.argmax(lost))
    peak = int(np.argmax(equity[: trough + 1]))
    return float(lost[trough]), int(time_ms[peak]), int(time_ms[trough])


def worst_figures(equity: Floats) -> dict[str, float | None]:
    """Return the largest fall of a curve, the start included, and the total return over it."""
    worst = float(drawdown(equity).max()) if len(equity) and equity[0] > 0 else 0.0
    recovery = float((equity[-1] / equity[0] - 1.0) / worst) if worst > 0 else None
    return {"max_drawdown": worst, "recovery_factor": recovery}


def fall_figures(time_ms: Ints, equity: Floats) -> dict[str, float | None]:
    """Return the figures of the falls of a curve in full resolution, the start included; no fall gives None."""
    falls = falls_of(time_ms, equity)
    until = np.where(np.isnan(falls[:, 1]), float(time_ms[-1]) if len(time_ms) else 0.0, falls[:, 1])
    lengths = (until - falls[:, 0]) / 1000.0
    is_open = bool(len(falls) and np.isnan(falls[-1, 1]))
    return worst_figures(equity) | {
        "max_drawdown_money": largest_in_money(time_ms, equity)[0],
        "longest_drawdown_s": float(lengths.max()) if len(falls) else None,
        "open_drawdown": float(drawdown(equity)[-1]) if is_open else None,
        "open_drawdown_s": float(lengths[-1]) if is_open else None,
        "average_drawdown": float(falls[:, 2].mean()) if len(falls) else None,
    }
