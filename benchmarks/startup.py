"""How long a fresh process takes to import and to show its first backtest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figures, at_most

__all__ = ["startup"]

SOURCE = str(Path(__file__).parents[1] / "src")
IMPORT = """
import sys, time
began = time.perf_counter()
import stratnb
took = time.perf_counter() - began
heavy = [name for name in ("bokeh", "ccxt", "ipywidgets", "numba", "pandas") if name in sys.modules]
import json
print(json.dumps([took, len(sys.modules), heavy]))
"""
BACKTEST = """
from stratnb import backtest, synthetic_market
candles = synthetic_market(["BTC/USDT"], "5m", candles={candles})[0]
print(len(backtest("simple-levels", candles).trades))
"""


def startup(*, candles: int = 5_000, runs: int = 3) -> Figures:
    """Return the time of the import and of processes that make one backtest, cached and on the very first run."""
    imports = [json.loads(_run(IMPORT)[0]) for _ in range(runs)]
    heavy = sorted({name for _, _, names in imports for name in names})
    code = BACKTEST.format(candles=candles)
    with tempfile.TemporaryDirectory() as folder:
        cold_s, told = _seconds(code, folder)
        warm = [_seconds(code, folder)[0] for _ in range(runs)]
    seconds = median(took for took, _, _ in imports)
    return {
        "import_stratnb": at_most(seconds, "s", 1.0, modules=imports[0][1], heavy=heavy),
        "import_heavy_modules": at_most(len(heavy), "modules", 0),
        "first_backtest_warm": at_most(median(warm), "s", 2.0),
        "first_backtest_ever": at_most(cold_s, "s", 15.0, progress_line="ompil" in told),
    }


def _run(code: str, **environment: str) -> tuple[str, str]:
    path = os.pathsep.join(part for part in (SOURCE, os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def _seconds(code: str, folder: str) -> tuple[float, str]:
    began = time.perf_counter()
    _, told = _run(code, STRATNB_CACHE=folder)
    return time.perf_counter() - began, told
