"""One cell of a table of engines: a work timed in a process of its own, and its line of JSON.

The fields are those that a comparison of engines reads: `cold_s` of the first call, `runs_s` of those behind it, their
`min_s` and `med_s`, the resident memory before and at its peak, trades and pnl, and how busy the machine was (`load1`,
`calib_s`: a fixed loop of Python). With `BENCH_OUT` in the environment each line is appended to that file as well.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

__all__ = ["emit", "latencies", "peak_mb", "timed", "watched"]

T = TypeVar("T")
SAMPLE_S = 0.25


def timed(call: Callable[[], T], *, reps: int = 5, budget_s: float = 60.0) -> tuple[dict[str, Any], T]:
    """Return the times of a first call and up to `reps` more within a budget, with memory, and the last result."""
    gc.collect()
    base, reset = _resident_mb(), _reset_peak()
    began = time.perf_counter()
    result = call()
    cold, runs = time.perf_counter() - began, list[float]()
    while len(runs) < reps and (not runs or sum(runs) + runs[-1] < budget_s):
        gc.collect()
        began = time.perf_counter()
        result = call()
        runs.append(time.perf_counter() - began)
    peak, children = peak_mb(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    times = {"cold_s": cold, "runs_s": runs, "min_s": min(runs), "med_s": float(np.median(runs))}
    memory = {"rss_base_mb": round(base, 1), "rss_peak_mb": round(peak, 1), "rss_over_base_mb": round(peak - base, 1)}
    return times | memory | {"child_peak_mb": round(children, 1), "hwm_reset": reset}, result


def latencies(ns: Sequence[int]) -> dict[str, float]:
    """Return mean and percentiles of times in nanoseconds, in microseconds."""
    us = np.asarray(ns, np.float64) / 1_000.0
    at = {"us_p50": 50.0, "us_p90": 90.0, "us_p99": 99.0, "us_p999": 99.9, "us_max": 100.0}
    return {"us_mean": float(us.mean()), **{name: float(np.percentile(us, share)) for name, share in at.items()}}


def emit(**fields: Any) -> None:
    """Print a line of JSON, and append it to the file that `BENCH_OUT` names."""
    began = time.perf_counter()
    total = 0
    for k in range(1_000_000):
        total += k & 7
    load = {"ts": time.time(), "load1": os.getloadavg()[0], "calib_s": round(time.perf_counter() - began, 4)}
    _write(fields | load | {"python": sys.version.split()[0]})


def watched(label: str, command: Sequence[str]) -> int:
    """Run a command, tell the peak of its processes' memory (PSS) in a line of its own, and return its exit code."""
    began, peak = time.time(), 0.0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, sum(_share_mb(pid) for pid in _family(process.pid)))
        time.sleep(SAMPLE_S)
    took = {"tree_pss_peak_mb": round(peak, 1), "elapsed_s": round(time.time() - began, 1), "rc": process.returncode}
    _write({"kind": "tree", "label": label, "argv": list(command), **took})
    return process.returncode


def peak_mb() -> float:
    """Return the peak of the resident memory since it was last reset."""
    return _kilobytes("/proc/self/status", "VmHWM") * 1_024 / 1e6


def _write(fields: dict[str, Any]) -> None:
    line = json.dumps(fields)
    print(line, flush=True)
    if path := os.environ.get("BENCH_OUT"):
        with Path(path).open("a") as file:
            file.write(line + "\n")


def _resident_mb() -> float:
    return _kilobytes("/proc/self/status", "VmRSS") * 1_024 / 1e6


def _reset_peak() -> bool:
    """Begin the peak anew where the system can (Linux); tell whether it did."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def _kilobytes(path: str, name: str) -> float:
    """Return a figure of a file of /proc, 0 where there is none."""
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return float(line.split()[1])
    return 0.0


def _share_mb(pid: int) -> float:
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss") / 1_000.0


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: list[int] = []
    with suppress(OSError, ValueError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(each for child in children for each in _family(child))]
