"""Many plans over the same candles: the only place where the trials of a sweep are run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels.fused import structure_keys
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import open_account
from stratnb.research.daily import DAY_MS
from stratnb.research.ending import close_at_end
from stratnb.research.funding import FundingRates, Rates, parts_of, rates_of, shared
from stratnb.research.gaps import OnGap, close_out, stretches_of
from stratnb.research.looping import FILL_BUFFER, REASON_CELLS, filled
from stratnb.research.tiers import pays, usable
from stratnb.research.together import Structure, run_together, structure_of
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Plan

__all__ = ["Batch", "Track", "cores", "run_batch", "track_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOGETHER = 256  # trials of one call: few enough for threads to share, and for their columns to stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Candles made ready for many runs: rows (n, 6), closing times, the last candle of each day, stretches to run.

    A linear market pays the rates of `funding`, without a table that of each run's document.
    """

    rows: Floats
    close_ms: Ints
    day_ends: Ints
    stretches: tuple[tuple[int, int], ...]
    funding: FundingRates | None = None

    @property
    def days(self) -> float:
        """Return the time from the first open to the last close in days."""
        return float((self.close_ms[-1] - int(self.rows[0, at.C_TIME])) / DAY_MS)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What m trials came to, a row each.

    `daily` is the equity before the first and at the end of each day, cut at 00:00 UTC (m, days + 1); `book` the final
    book (m, W_BOOK); `reasons` how often each decision ended as it did (m, REASON_CELLS); `exposure` the share of
    candles with a position (m,); `errors` what a block raised in a run, else an empty text: its numbers are NaN.
    """

    daily: Floats
    book: Floats
    reasons: Floats
    exposure: Floats
    errors: tuple[str, ...]


def cores() -> int:
    """Return how many threads can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def track_of(candles: Candles, on_gap: OnGap = "hold", *, funding: FundingRates | None = None) -> Track:
    """Return candles made ready; raises `ConfigError` where `on_gap` is "stop" and there is a gap."""
    close_ms = candles.close_time_ms
    days = (close_ms - 1) // DAY_MS
    ends = np.searchsorted(days, np.arange(days[0], days[-1] + 1), side="right") - 1
    return Track(candles.table(), close_ms, ends, stretches_of(candles, on_gap), funding)


def run_batch(
    plans: Sequence[Plan],
    track: Track,
    *,
    cash: float,
    limits: AccountLimits | None = None,
    threads: int = 1,
    whole: int = 0,
) -> Batch:
    """Run each plan alone on an account of its own and return what came of it, in the order of the plans.

    The result does not depend on the number of threads, nor on what else is in the batch, nor on `whole`: how many
    trials there are with those of other batches, by which a compiler may be worth its time.
    """
    m = len(plans)
    batch = Batch(
        daily=np.full((m, len(track.day_ends) + 1), np.nan),
        book=np.full((m, at.W_BOOK), np.nan),
        reasons=np.zeros((m, REASON_CELLS)),
        exposure=np.full(m, np.nan),
        errors=("",) * m,
    )
    errors: list[str] = [""] * m
    opened, tasks = _Opened(cash, limits, track), _tasks(plans, track, whole, threads)
    lock, left = threading.Lock(), iter(tasks)

    def _work() -> None:
        equity, fills = np.empty(len(track.rows)), np.empty((FILL_BUFFER, at.W_FILL))
        while True:
            with lock:
                structure, chosen = next(left, (None, ()))
            if not len(chosen):
                return
            if structure is not None and _run_all(structure, [plans[k] for k in chosen], track, opened, batch, chosen):
                continue
            for k in chosen:
                errors[k] = _try(plans[k], track, opened, batch, k, equity, fills)

    workers = max(1, min(threads, len(tasks)))
    if workers == 1:
        _work()
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="stratnb-sweep") as pool:
            for done in [pool.submit(_work) for _ in range(workers)]:
                done.result()
    return replace(batch, errors=tuple(errors))


def _tasks(
    plans: Sequence[Plan], track: Track, whole: int, threads: int
) -> list[tuple[Structure | None, Sequence[int]]]:
    """Return which trials are run together by a generated loop, and which one by one.

    A position that is closed at the end, and blocks that start anew after a gap, are run one by one.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    alone = []
    keys = structure_keys([(plan.code, plan.params, plan.kernels) for plan in plans])
    for k, plan in enumerate(plans):
        if len(track.stretches) > 1 or plan.config.execution.simulation.end == "close":
            alone.append(k)
        else:
            groups.setdefault(keys[k], []).append(k)
    tasks: list[tuple[Structure | None, Sequence[int]]] = []
    for numbers in groups.values():
        structure = structure_of([plans[k] for k in numbers])
        n = len(track.rows)
        if structure is None or not (pays(structure.loop, len(numbers) * n, whole * n) and usable(structure.kernels)):
            alone += numbers
        else:
            calls = threads * -(-len(numbers) // (TOGETHER * threads))
            size = -(-len(numbers) // calls)
            tasks += [(structure, numbers[k : k + size]) for k in range(0, len(numbers), size)]
    return tasks + [(None, [k]) for k in alone]


def _run_all(
    structure: Structure, plans: Sequence[Plan], track: Track, opened: _Opened, batch: Batch, rows: Sequence[int]
) -> bool:
    """Run trials together and write their rows; False when a block raised, which is then told one by one."""
    accounts = [opened.tables(plan) for plan in plans]
    ends, rates = shared([own for _, _, own in accounts], track.day_ends + 1)
    try:
        made = run_together(
            structure, plans, [(book, account) for book, account, _ in accounts], track.rows, ends, rates
        )
    except Exception:
        return False
    chosen, days = np.array(rows), np.searchsorted(ends, track.day_ends + 1) + 1
    batch.daily[chosen] = made.daily[:, np.append(0, days)]
    batch.book[chosen], batch.reasons[chosen] = made.books, made.counts
    batch.exposure[chosen] = made.inside / len(track.close_ms)
    return True


def _try(plan: Plan, track: Track, opened: _Opened, batch: Batch, k: int, equity: Floats, fills: Floats) -> str:
    """Run one trial and return what a block raised, else an empty text."""
    try:
        _run(plan, track, opened, batch, k, equity, fills)
    except ConfigError as error:
        batch.daily[k], batch.book[k], batch.reasons[k], batch.exposure[k] = np.nan, np.nan, 0.0, np.nan
        return str(error.message)
    return ""


class _Opened:
    """Opens an account for one plan after the other; what the next one has in common with the last is kept."""

    def __init__(self, cash: float, limits: AccountLimits | None, track: Track) -> None:
        self.cash, self.limits, self.track = cash, limits, track
        self._last: tuple[tuple[Any, ...], Floats, Floats, Rates] | None = None

    def tables(self, plan: Plan) -> tuple[Floats, Floats, Rates]:
        """Return a fresh book and account, and until where each funding rate holds."""
        config = plan.config
        read = (config.capital, config.risk, config.execution, plan.market, plan.base_ms)
        last = self._last
        if last is None or any(a is not b for a, b in zip(read, last[0], strict=True)):
            books, account = open_account(plan, self.cash, self.limits)
            rates = rates_of(plan, books[0], self.track.close_ms, self.track.funding)
            last = self._last = (read, books, account, rates)
        return last[1].copy(), last[2].copy(), last[3]


def _run(plan: Plan, track: Track, opened: _Opened, batch: Batch, k: int, equity: Floats, fills: Floats) -> None:
    """Run one plan and write row k of the batch."""
    books, account, rates = opened.tables(plan)
    capital, held, since = float(books[0, at.B_CAPITAL]), 0, -1
    for rows in _filled(plan, track, rates, books, account, equity, fills, batch.reasons[k]):
        more, since = _held(rows, track.close_ms, since)
        held += more
    if plan.config.execution.simulation.end == "close":
        rows = close_at_end(plan, books, 0, account, track.rows[-1])
        more, since = _held(rows, track.close_ms, since)
        held, equity[-1] = held + more, books[0, at.B_EQUITY]
    if since >= 0:
        held += len(track.close_ms) - since
    batch.daily[k, 0] = capital
    batch.daily[k, 1:] = equity[track.day_ends]
    batch.book[k] = books[0]
    batch.exposure[k] = held / len(track.close_ms)


def _filled(
    plan: Plan,
    track: Track,
    rates: Rates,
    books: Floats,
    account: Floats,
    equity: Floats,
    fills: Floats,
    counts: Floats,
) -> Iterator[Floats]:
    """Run the stretches and give the fill rows as they come; they are overwritten after that."""
    for start, stop in track.stretches:
        memory = plan.memory()
        for part, rate in parts_of(rates, (start, stop)):
            books[0, at.B_FUNDING_RATE] = rate
            yield from filled(plan, memory, books, account, track.rows, part, equity, fills, counts)
        if stop < len(track.rows):
            n, equity[stop - 1] = close_out(plan, books, account, track.rows[stop - 1], fills)
            yield fills[:n]


def _held(fills: Floats, close_ms: Ints, since: int) -> tuple[int, int]:
    """Return at how many closes there was a position that ended in these fills, and since which one is open (or -1)."""
    is_open = np.concatenate(([since >= 0], fills[:, at.F_AFTER] != 0.0))
    turns = np.flatnonzero(is_open[1:] != is_open[:-1])
    places = np.searchsorted(close_ms, fills[turns, at.F_TIME], side="right").tolist()
    held = 0
    for place in places:
        if since < 0:
            since = place
        else:
            held += place - since
            since = -1
    return held, since
