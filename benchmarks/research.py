"""Backtest, sweep and portfolio timed on the work that engines are compared with, a line of JSON for each cell.

    python -m benchmarks.research [--quick] [--data FILE.npz] [WORK ...]

Works: w1 (one backtest), w1cold (in a fresh process, from import to result), w2 (1,000 combinations), w3 (ten
strategies on one account), w4 (candle by candle), eight (eight analyzers), scaling (cost by candles and combinations).
Each cell has a process of its own. The candles are a seeded walk, or those of a file with the columns t, o, h, l, c and
v. Where the walk's trades and pnl are known from engines that share no code with this one, `parity` says whether they
are met. The first call of a structure on a machine compiles: `cold_s` has it, `w1cold` has not.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from benchmarks import crossing as work
from benchmarks.cells import emit, latencies, peak_mb, timed, watched
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles
from stratnb.model import installed_version
from stratnb.research.backtest import Backtest, backtest, open_account
from stratnb.research.configured import configure
from stratnb.research.portfolio import Portfolio, portfolio
from stratnb.research.space import Range
from stratnb.research.sweep import Sweep, sweep
from stratnb.services.ledger import AccountLimits

__all__ = ["CELLS", "PARITY", "candle_by_candle", "main", "ten", "thousand", "walk"]

Tier = Literal["auto", "scan", "fused"]
YEAR, FIVE_YEARS = 525_600, 2_628_000
THREADS = 2
FASTS, SLOWS = Range(5, 54), Range(60, 250, step=10)

CELLS: dict[str, list[int]] = {
    "w1": [10_000, 100_000, YEAR, FIVE_YEARS],
    "w1cold": [YEAR],
    "w2": [100_000, YEAR],
    "w3": [100_000],
    "w4": [100_000],
    "eight": [YEAR],
    "scaling": [FIVE_YEARS],
}
QUICK = {name: [10_000] for name in CELLS}

PARITY: dict[tuple[str, int], tuple[int, float | None]] = {
    ("W1", 10_000): (177, -7_107.08),
    ("W1", 100_000): (1_842, -143_315.43),
    ("W1", YEAR): (9_498, -633_674.17),
    ("W1", FIVE_YEARS): (47_235, -2_872_806.32),
    ("W2", 100_000): (609_514, None),
    ("W2", YEAR): (3_009_865, None),
    ("W3", 100_000): (16_543, -1_314_884.41),
    ("W4", 100_000): (1_842, -143_315.43),
}


def walk(candles: Candles, tier: Tier = "fused") -> Backtest:
    """Return W1: one backtest."""
    return backtest(work.crossing(), candles, market=work.MARKET, cash=work.CASH, limits=work.NO_LIMITS, tier=tier)


def thousand(candles: Candles, fasts: Range = FASTS, slows: Range = SLOWS, threads: int = THREADS) -> Sweep:
    """Return W2: every combination of the periods."""
    space = {"indicators.fast.period": fasts, "indicators.slow.period": slows}
    account = {"market": work.MARKET, "cash": work.CASH, "limits": work.NO_LIMITS}
    return sweep(work.crossing(), candles, space, threads=threads, ledger=False, progress=_silent, **account)  # type: ignore[arg-type]


def ten(candles: Candles, limits: AccountLimits = work.WIDE_LIMITS) -> Portfolio:
    """Return W3: ten strategies on one account."""
    strategies = {f"{fast}-{slow}": work.crossing(fast, slow) for fast, slow in work.TEN}
    return portfolio(strategies, candles, market=work.MARKET, cash=work.CASH, limits=limits, tier="fused")


def candle_by_candle(candles: Candles, *, whole: bool = True) -> tuple[list[int], int, float]:
    """Return W4: the time of each candle in nanoseconds, the trades and the pnl.

    With `whole` the fills of a candle, its settlement, plan and decision are one call and timed; else only what an
    orchestrator calls: plan and decision.
    """
    plan, _ = configure(work.crossing(), candles, market=work.MARKET)
    books, account = open_account(plan, work.CASH, work.NO_LIMITS)
    memory, rows, clock = plan.memory(), candles.rows(), time.perf_counter_ns
    times, (book, fills) = [0] * len(rows), (books[0], np.empty((2 * at.MAX_FILLS, at.W_FILL)))
    if whole:
        calls, equity, counts = loop.parts(), np.empty(len(rows)), np.zeros(128)
        tables = (calls, plan.code, plan.params, memory, books, account, rows)
        one, nothing = loop.run.compiled(), np.empty((0, plan.decision_width))
        for i in range(len(rows)):
            began = clock()
            one(*tables, i, i + 1, equity, fills, nothing, counts)
            times[i] = clock() - began
    else:
        close, decision = loop.close_candle.compiled(), np.zeros(plan.decision_width)
        fresh = np.ones(1)
        for i in range(len(rows)):
            row = rows[i]
            _fill(plan, memory, book, row, fills)
            loop.settle_all(books, account, rows[i : i + 1], fresh, row[at.C_TIME] + plan.base_ms)
            began = clock()
            close(plan.code, plan.params, memory, books, 0, account, row, False, decision)
            times[i] = clock() - began
    return times, int(book[at.B_TRADES]), float(book[at.B_EQUITY] - work.CASH)


def _fill(plan: Any, memory: Any, book: Any, row: Any, fills: Any) -> None:
    """Fill at the open what waits, then stop and target inside the candle."""
    if book[at.B_ORDER] != at.ORDER_NONE:
        for fill in fills[: loop.open_fills(plan.params, book, row, fills, 0)]:
            entered = book[at.B_QUANTITY] == 0.0
            loop.apply(book, fill)
            if entered:
                loop.arm_position(plan.code, plan.params, memory, book)
    if book[at.B_QUANTITY] != 0.0:
        for fill in fills[: loop.touch_fills(plan.params, book, row, fills, 0)]:
            loop.apply(book, fill)


def _silent(_done: int, _all: int) -> None:
    """Tell nothing."""


def _outcome(workload: str, candles: Candles, trades: int, pnl: float, **more: Any) -> dict[str, Any]:
    """Return what an engine came to, and whether that is what is known of the same work."""
    found: dict[str, Any] = {"trades": trades, "pnl": pnl, "parity": None} | more
    known = PARITY.get((workload, len(candles)))
    if known is not None:
        found["parity"] = trades == known[0] and (known[1] is None or abs(pnl - known[1]) < 0.005)
    return found


def _named(workload: str, candles: Candles, engine: str = "stratnb") -> dict[str, Any]:
    return {"engine": engine, "workload": workload, "n": len(candles), "version": installed_version()}


def _w1(candles: Candles) -> None:
    n = len(candles)
    for tier in ("fused", "scan"):
        times, run = timed(functools.partial(walk, candles, tier), reps=15)  # type: ignore[arg-type]
        speed = {"ns_per_candle": times["min_s"] * 1e9 / n, "cps": n / times["min_s"], "cps_med": n / times["med_s"]}
        began = time.perf_counter()
        frames = len(run.trades), len(run.equity)
        speed["frames_s"] = time.perf_counter() - began
        pnl = float(run.equity_curve[-1] - run.capital)
        found = _outcome("W1", candles, int(run.book[at.B_TRADES]), pnl)
        assert frames == (found["trades"], n)
        name = "stratnb" if tier == "fused" else f"stratnb {tier}"
        emit(**_named("W1", candles, name), **times, **speed, **found)


FRESH = """
import time
began = time.perf_counter()
import sys
from pathlib import Path
from benchmarks import crossing, research
run = research.walk(crossing.load(Path(sys.argv[1]), int(sys.argv[2])), sys.argv[3])
print(time.perf_counter() - began, int(run.book[research.at.B_TRADES]), float(run.equity_curve[-1] - run.capital))
"""


def _w1cold(candles: Candles, path: Path) -> None:
    walk(candles)
    for tier in ("auto", "fused"):
        inside, outside, words = [], [], []
        for _ in range(3):
            began = time.perf_counter()
            command = [sys.executable, "-c", FRESH, str(path), str(len(candles)), tier]
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            outside.append(time.perf_counter() - began)
            inside.append(float(words[0]))
        times = {"runs_s": inside, "min_s": min(inside), "med_s": float(np.median(inside)), "process_s": outside}
        name = _named("W1cold", candles, "stratnb" if tier == "auto" else f"stratnb {tier}")
        emit(**name, **times, **_outcome("W1", candles, int(words[1]), float(words[2])))


def _w2(candles: Candles) -> None:
    n = len(candles)
    for threads in (THREADS, 1) if n <= 100_000 else (THREADS,):
        times, run = timed(functools.partial(thousand, candles, threads=threads), reps=3)
        done, best, usual = run.count, times["min_s"], times["med_s"]
        speed = {"combos": done, "combos_s": done / best, "combos_s_med": done / usual, "cps": done * n / best}
        speed |= {"ns_per_candle_combo": best * 1e9 / n / done, "ns_per_candle_combo_med": usual * 1e9 / n / done}
        frame = run.frame
        found = _outcome("W2", candles, int(frame["trades"].sum()), float(frame["pnl"].sum()))
        name = "stratnb" if threads == THREADS else f"stratnb {threads} thread"
        emit(**_named("W2", candles, name), **times, **speed, **found, notes=f"threads={threads}")


def _w3(candles: Candles) -> None:
    n = len(candles)
    for name, limits in (("stratnb", work.WIDE_LIMITS), ("stratnb without rules", work.NO_LIMITS)):
        times, run = timed(functools.partial(ten, candles, limits), reps=10)
        speed = {"strategies": 10, "cps": n / times["min_s"], "cps_med": n / times["med_s"]}
        speed["sps"] = 10 * speed["cps"]
        books = np.stack([each.book for each in run.backtests.values()])
        pnl = float((books[:, at.B_EQUITY] - books[:, at.B_CAPITAL]).sum())
        found = _outcome("W3", candles, int(books[:, at.B_TRADES].sum()), pnl)
        emit(**_named("W3", candles, name), **times, **speed, **found)


def _w4(candles: Candles) -> None:
    for name, whole in (("stratnb", True), ("stratnb plan and decide", False)):
        for rep in range(4):
            gc.collect()
            began = time.perf_counter()
            times, trades, pnl = candle_by_candle(candles, whole=whole)
            wall = time.perf_counter() - began
            if rep:
                found = _outcome("W4", candles, trades, pnl, wall_s=wall, cps=len(candles) / wall)
                emit(**_named("W4", candles, name), **found, **latencies(times), rss_peak_mb=round(peak_mb(), 1))


def _eight(candles: Candles) -> None:
    for tier in ("fused", "scan"):
        run = functools.partial(backtest, work.EIGHT, candles, market=work.MARKET, tier=tier)
        times, result = timed(run, reps=5)
        speed = {"ns_per_candle": times["min_s"] * 1e9 / len(candles), "cps": len(candles) / times["min_s"]}
        found = {"trades": int(result.book[at.B_TRADES]), "pnl": float(result.equity_curve[-1] - result.capital)}
        name = _named("eight", candles, "stratnb" if tier == "fused" else f"stratnb {tier}")
        emit(**name, **times, **speed, **found, analyzers=len(result.plan.config.analyzers))


def _scaling(candles: Candles) -> None:
    """Tell the cost of one more candle and of one more combination between sizes, and what is left at none.

    Fewer combinations are spread over the same periods: short ones trade more, so that each costs more.
    """
    sizes = [n for n in (10_000, 100_000, YEAR, FIVE_YEARS) if n <= len(candles)]
    least = [timed(functools.partial(walk, candles[:n]), reps=15)[0]["min_s"] for n in sizes]
    _told("candles", candles, sizes, least)
    short = candles[:100_000]
    spaces = [(Range(5, 54, step=step), count) for step, count in ((10, 100), (4, 260), (2, 500), (1, 1_000))]
    least = [timed(functools.partial(thousand, short, fasts), reps=5)[0]["min_s"] for fasts, _ in spaces]
    _told("combinations", short, [count for _, count in spaces], least)


def _told(over: str, candles: Candles, sizes: Sequence[int], least: Sequence[float]) -> None:
    slopes = (np.diff(least) / np.diff(sizes) * 1e9).tolist() if len(sizes) > 1 else []
    fixed = float(least[0] - slopes[0] * 1e-9 * sizes[0]) if slopes else None
    each = [seconds * 1e9 / size for seconds, size in zip(least, sizes, strict=True)]
    found = {"over": over, "sizes": list(sizes), "least_s": list(least), "ns_each": each, "slopes_ns": slopes}
    emit(**_named("scaling", candles), **found, fixed_s=fixed)


WORKS: dict[str, Callable[..., None]] = {
    "w1": _w1, "w1cold": _w1cold, "w2": _w2, "w3": _w3, "w4": _w4, "eight": _eight, "scaling": _scaling,
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the cells, each in a process of its own; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description="Time the research half and print a line of JSON for each cell.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"{', '.join(WORKS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="10,000 candles for each work")
    parser.add_argument("--data", type=Path, help="an .npz file with t, o, h, l, c and v; none: a seeded walk")
    parser.add_argument("--n", type=int, help="the number of candles of every work")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if unknown := sorted({*given.works} - {*WORKS}):
        parser.error(f"unknown work {', '.join(unknown)}; choose from {', '.join(WORKS)}")
    chosen = QUICK if given.quick else CELLS
    cells = [(name, n) for name in given.works or WORKS for n in ([given.n] if given.n else chosen[name])]
    if given.here:
        for name, n in cells:
            candles = work.load(given.data, n)
            WORKS[name](candles, given.data) if name == "w1cold" else WORKS[name](candles)
        return 0
    with TemporaryDirectory() as folder:
        path = given.data or _written(max(n for _, n in cells), Path(folder) / "walk.npz")
        failed = [cell for cell in cells if _watched(*cell, path)]
    print(json.dumps({"failed": failed}), file=sys.stderr)
    return int(bool(failed))


def _watched(name: str, n: int, path: Path) -> int:
    """Run one cell in a process of its own."""
    print(f"{name} {n:,} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.research", "--here", "--data", str(path), "--n", str(n), name]
    return watched(f"stratnb|{name}|{n}", command)


def _written(count: int, path: Path) -> Path:
    """Write the seeded walk to a file."""
    candles = work.random_walk(count)
    columns = dict(zip("ohlcv", (candles.open, candles.high, candles.low, candles.close, candles.volume), strict=True))
    np.savez(path, t=candles.open_time_ms, **columns)
    return path


if __name__ == "__main__":
    sys.exit(main())
