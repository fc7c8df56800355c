"""The candle loop over history, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.jit import Kernel
from stratnb.kernels.loop_frame import WORK
from stratnb.research.failing import told
from stratnb.research.gaps import close_out
from stratnb.research.kept_rows import Rows
from stratnb.strategy.plan import Plan

__all__ = ["CHUNK", "FILL_BUFFER", "REASON_CELLS", "Course", "Made", "filled", "run"]

Floats = npt.NDArray[np.float64]
CHUNK = 50_000
FILL_BUFFER = 4_096
REASON_CELLS = 128
NO_COLUMNS: Floats = np.empty((0, 1))


class Made(NamedTuple):
    """What the loop made: equity at each close, fill rows, decision rows in parts, counts of the reasons."""

    equity: Floats
    fills: Rows
    decisions: list[Floats]
    counts: Floats


class Course(NamedTuple):
    """What a run goes over: rows (n, 6), stretches that start with fresh blocks, and until where each rate holds."""

    rows: Floats
    stretches: Sequence[tuple[int, int]]
    rates: Sequence[tuple[int, float]]


def run(
    plan: Plan,
    books: Floats,
    account: Floats,
    course: Course,
    decisions: bool | Literal["entries"],
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
    *,
    own: Kernel[..., Any] | None = None,
) -> Made:
    """Run the loop, or the structure's `own`, in chunks, each with the funding rate of its stretch.

    When a block raises in `own`, all is run again by the shared loop, which tells which block it was, and where.
    """
    start = books.copy(), account.copy()
    try:
        return _run(plan, books, account, course, decisions, progress, cancelled, own)
    except ConfigError:
        if own is None:
            raise
        books[:], account[:] = start
        return _run(plan, books, account, course, decisions, progress, cancelled, None)


def _run(
    plan: Plan,
    books: Floats,
    account: Floats,
    course: Course,
    decisions: bool | Literal["entries"],
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
    own: Kernel[..., Any] | None,
) -> Made:
    """Run the chunks one after the other until the end, or until it is cancelled."""
    n = len(course.rows)
    made = Made(np.empty(n), Rows(at.W_FILL, FILL_BUFFER), [], np.zeros(REASON_CELLS))
    log, done = np.empty((CHUNK if decisions else 0, plan.decision_width)), 0
    if progress is not None:
        progress(0, n)
    chunks = _chunks(plan, books, account, course, made, log, own)
    while not (cancelled is not None and cancelled()) and (chunk := next(chunks, None)) is not None:
        done, fills, decided = chunk
        made.fills.keep(fills)
        made.decisions.append(_kept(decided, decisions))
        if progress is not None:
            progress(done, n)
    return made._replace(equity=made.equity[:done])


def _chunks(
    plan: Plan, books: Floats, account: Floats, course: Course, made: Made, log: Floats, own: Kernel[..., Any] | None
) -> Iterator[tuple[int, int, Floats]]:
    """Run the stretches in chunks; give the next candle, the number of fills and decisions, overwritten after that."""
    calls, rows = loop.parts(), course.rows
    rates, until, work = iter(course.rates), 0, np.zeros(WORK + plan.decision_width)
    for start, end in course.stretches:
        memory, done = plan.memory(), start
        while done < end:
            while done >= until:
                until, books[0, at.B_FUNDING_RATE] = next(rates)
            fills, _ = made.fills.room()
            given = (calls, plan.code, plan.params, memory, books, account, rows, done, min(until, end, done + CHUNK))
            with told(plan, memory):
                if own is None:
                    done, f, d = loop.run(*given, made.equity, fills, log, made.counts)
                else:
                    (done, f), d = own(*given, made.equity, fills, NO_COLUMNS, made.counts, work), 0
            yield done, f, log[:d]
        if end < len(rows):
            fills, _ = made.fills.room()
            f, made.equity[end - 1] = close_out(plan, books, account, rows[end - 1], fills)
            yield end, f, log[:0]


def filled(
    plan: Plan,
    memory: Floats,
    books: Floats,
    account: Floats,
    rows: Floats,
    span: tuple[int, int],
    equity: Floats,
    fills: Floats,
    counts: Floats,
) -> Iterator[Floats]:
    """Run the shared loop over a span of candles without decisions; give the fill rows, overwritten after that."""
    calls, log, (done, stop) = loop.parts(), np.empty((0, plan.decision_width)), span
    with told(plan, memory):
        while done < stop:
            done, f, _ = loop.run(
                calls, plan.code, plan.params, memory, books, account, rows, done, stop, equity, fills, log, counts
            )
            yield fills[:f]


def _kept(rows: Floats, which: bool | Literal["entries"]) -> Floats:
    """Return a copy of the decision rows to keep."""
    return rows[rows[:, at.D_ACTION] == at.ENTER] if which == "entries" else rows.copy()
