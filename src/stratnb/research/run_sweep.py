"""The course of a sweep: which trials are missing, who runs them, what is told and counted on the way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from stratnb.research.cluster import Cluster
from stratnb.research.ledger import Ledger
from stratnb.research.search import ROUND, searched
from stratnb.research.space import Space
from stratnb.research.store import Store
from stratnb.research.trials import Rows, Runner
from stratnb.strategy.config import canonical
from stratnb.strategy.plan import Plan

__all__ = ["Course", "Study", "run_course"]

Ints = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]
Share = tuple[list[int], list[tuple[Any, ...]]]

TARGET_S, MOST, GROWTH = 0.5, 1_024, 16


@dataclass(frozen=True)
class Study:
    """The ledger in which trials are counted, under the idea they belong to."""

    ledger: Ledger
    name: str
    plan: Plan

    def note(self, rows: Rows, runner: Runner) -> None:
        """Count the trials that ran; the same values are the same trial over whatever candles of the market."""
        base = [self.plan.config.config_hash]
        ran = [k for k, error in enumerate(rows.errors) if not error]
        values = [sorted(zip(runner.job.paths, rows.values[k], strict=True)) for k in ran]
        keys = [canonical({"of": base, "values": own}) for own in values]
        self.ledger.note(self.name, keys, rows.sharpes[ran].tolist())


@dataclass(frozen=True)
class Course:
    """Everything that a sweep needs to run, and to go on later."""

    runner: Runner
    space: Space
    objective: str
    store: Store
    threads: int
    cluster: Cluster | None
    study: Study | None
    min_trades: int = 0


def run_course(course: Course, progress: Progress | None, cancelled: Callable[[], bool] | None) -> bool:
    """Run what is missing and keep it; return whether nothing is missing any more. An interrupt keeps what is done."""
    done = course.store.done()
    count, stop = course.space.count, _Stop(cancelled)
    with ExitStack() as stack:
        tell = progress or _line(count, stack)
        kept = len(done)
        tell(kept, count)
        try:
            for rows in _rows(course, done, stop) if kept < count else ():
                course.store.append(rows)
                if course.study is not None:
                    course.study.note(rows, course.runner)
                kept += len(rows)
                tell(kept, count)
        except KeyboardInterrupt:
            stop.now = True
        finally:
            course.store.finish()
    return kept == count


class _Stop:
    """Tells whether a sweep is to end early."""

    def __init__(self, cancelled: Callable[[], bool] | None) -> None:
        self.now = False
        self._cancelled = cancelled

    def __call__(self) -> bool:
        """Ask; a yes is kept."""
        self.now = self.now or (self._cancelled is not None and bool(self._cancelled()))
        return self.now


def _rows(course: Course, done: Ints, stop: _Stop) -> Iterator[Rows]:
    """Give the rows of missing trials as they come."""
    if course.space.method == "optuna":

        def _round(numbers: Sequence[int], values: Sequence[tuple[Any, ...]]) -> Iterator[Rows]:
            pieces = [(list(numbers), list(values))]
            if course.cluster is not None:
                size = -(-len(numbers) // min(course.cluster.threads, ROUND))
                cuts = range(0, len(numbers), size)
                pieces = [(list(numbers[k : k + size]), list(values[k : k + size])) for k in cuts]
            yield from _run(course, iter(pieces), stop)

        rows, least = course.store.rows(), course.min_trades
        return searched(course.space, course.objective, _round, rows, min_trades=least)
    missing = _Missing(course.space, done)
    if course.cluster is not None:
        missing.size = course.cluster.share_size(missing.left)
    return _run(course, missing, stop)


def _run(course: Course, shares: Iterator[Share], stop: _Stop) -> Iterator[Rows]:
    """Run shares in this process, or on the cluster."""
    if course.cluster is not None:
        yield from course.cluster.rows(shares, stop)
        return
    if isinstance(shares, _Missing):
        shares.size = min(MOST, 4 * course.threads)
    while not stop() and (share := next(shares, None)) is not None:
        began_s = time.perf_counter()
        rows = course.runner.run(*share, threads=course.threads)
        took_s = time.perf_counter() - began_s
        yield rows
        if isinstance(shares, _Missing):
            shares.adapt(took_s, rows.errors.count(""))


class _Missing(Iterator[Share]):
    """Consecutive trials that are not kept yet, `size` of them at a time at most."""

    def __init__(self, space: Space, done: Ints) -> None:
        self.space, self.size, self._at = space, 1, 0
        self._trials = np.setdiff1d(np.arange(space.count), done, assume_unique=True)
        self._ends = np.append(np.flatnonzero(np.diff(self._trials) != 1) + 1, len(self._trials))

    @property
    def left(self) -> int:
        """Return how many trials are still to be given."""
        return len(self._trials) - self._at

    def __next__(self) -> Share:
        """Return the next trials with their values."""
        if not self.left:
            raise StopIteration
        end = int(self._ends[np.searchsorted(self._ends, self._at, side="right")])
        numbers = self._trials[self._at : min(end, self._at + self.size)].tolist()
        self._at += len(numbers)
        return numbers, [self.space.values(number) for number in numbers]

    def adapt(self, took_s: float, ran: int) -> None:
        """Choose the next size from how many trials ran the last time, and how long they took."""
        ran = max(ran, 1)
        self.size = max(1, min(MOST, GROWTH * ran, int(ran * TARGET_S / max(took_s, 1e-6))))


def _line(count: int, stack: ExitStack) -> Progress:
    """Return what draws a line with rate and remaining time on a terminal or in a notebook, else nothing."""
    shown = sys.stderr.isatty() or "ipykernel.kernelapp" in sys.modules
    if not shown or threading.current_thread() is not threading.main_thread():
        return lambda _done, _all: None
    bar = stack.enter_context(tqdm(total=count, unit="trial", desc="Sweep", leave=False, delay=0.5))

    def _tell(done: int, _all: int) -> None:
        bar.update(done - bar.n)

    return _tell
