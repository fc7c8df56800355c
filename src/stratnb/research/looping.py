"""The candle loop over history, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.jit import Kernel
from stratnb.kernels.loop_frame import WORK
from stratnb.research.failing import told
from stratnb.strategy.plan import Plan

__all__ = ["Made", "run"]

Floats = npt.NDArray[np.float64]
CHUNK = 50_000
FILL_BUFFER = 4_096
REASON_CELLS = 128
NO_COLUMNS: Floats = np.empty((0, 1))


class Made(NamedTuple):
    """What the loop made: equity at each close, fill and decision rows in parts, counts of the reasons."""

    equity: Floats
    fills: list[Floats]
    decisions: list[Floats]
    counts: Floats


def run(
    plan: Plan,
    books: Floats,
    account: Floats,
    rows: Floats,
    rates: Sequence[tuple[int, float]],
    decisions: bool | Literal["entries"],
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
    *,
    own: Kernel[..., Any] | None = None,
) -> Made:
    """Run the loop, or the structure's `own`, in chunks, each with the funding rate of its stretch."""
    memory, n, until, done = plan.memory(), len(rows), 0, 0
    equity, counts, stretch, calls = np.empty(n), np.zeros(REASON_CELLS), iter(rates), loop.parts()
    kept_fills, kept_decisions = [], []
    fills = np.empty((FILL_BUFFER, at.W_FILL))
    work = np.zeros(WORK + plan.decision_width)
    log = np.empty((CHUNK if decisions else 0, plan.decision_width))
    if progress is not None:
        progress(0, n)
    while done < n and not (cancelled is not None and cancelled()):
        if done == until:
            until, books[0, at.B_FUNDING_RATE] = next(stretch)
        stop = min(until, done + CHUNK)
        with told(plan, memory):
            given = (calls, plan.code, plan.params, memory, books, account, rows, done, stop, equity, fills)
            if own is None:
                done, f, d = loop.run(*given, log, counts)
            else:
                (done, f), d = own(*given, NO_COLUMNS, counts, work), 0
        kept_fills.append(fills[:f].copy())
        kept_decisions.append(_kept(log[:d], decisions))
        if progress is not None:
            progress(done, n)
    return Made(equity[:done], kept_fills, kept_decisions, counts)


def _kept(rows: Floats, which: bool | Literal["entries"]) -> Floats:
    """Return a copy of the decision rows to keep."""
    return rows[rows[:, at.D_ACTION] == at.ENTER] if which == "entries" else rows.copy()
