"""How long a chart update takes from the kernel to the browser, in a real Voila page in headless Chromium.

    python -m benchmarks.chart_updates

Each update is one message: a streamed candle every fifth time, a patch of the newest candle otherwise, and the range
that follows. The latency ends when the browser's model has the update; needs Chromium and playwright.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from stratnb.ui.serve import dashboard_server

CELL = """
import asyncio, os, time
import numpy as np
from stratnb.ui import controls
from stratnb.ui.chart import Chart, Update, attr, patch, put, stream
from stratnb.ui.figures import LEVELS, LINES, price_figure
from stratnb.ui.panel import root
from stratnb.ui.window import price_columns

COUNT, HZ, UPDATES = {count}, {hz}, {updates}
rng = np.random.default_rng(7)
close = 64_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0006, COUNT + UPDATES)))
start = np.r_[close[0], close[:-1]]
high, low = np.maximum(start, close) + 9.0, np.minimum(start, close) - 9.0
times = 1.767e12 + 6e4 * np.arange(len(close))
rows = np.column_stack([start, high, low, close, np.abs(rng.normal(50.0, 9.0, len(close))), times])
names = [*(f"k{{i}}" for i in range(len(LINES))), *(f"v{{i}}" for i in range(LEVELS))]

def source(part):
    blank = np.full(len(part), np.nan)
    lines = {{name: part[:, 3] * (1.0 + 0.0004 * i) if i < 3 else blank for i, name in enumerate(names)}}
    return {{**price_columns(part), **lines}}

figure, theme = price_figure(2)
chart = Chart(figure, theme=list(theme), cfg={{"cross": True, "decimals": 2, "lines": []}}, height="460px")
view = lambda last: (last - 7.8e6, last + 6e5)
look = [attr("g_body", width={{"value": 37200.0}}), attr("vol", start=0.0, end=600.0)]
everything = [put("src", source(rows[:COUNT])), *look]
chart.snapshot = lambda: Update(everything, view(rows[COUNT - 1, 5]), True)
said = controls.text("")

async def run():
    at, cpu, began = COUNT, time.process_time(), time.perf_counter()
    for n in range(UPDATES):
        if n % 5 == 0:
            ops, at = [stream("src", source(rows[at : at + 1]))], at + 1
        else:
            price = float(rows[at - 1, 3] + n % 7)
            ops = [patch("src", {{"c": [(-1, price)], "m": [(-1, price)], "s": [(-1, 1.0)]}})]
        tags = [{{"y": float(rows[at - 1, 3] + n % 7), "t": "", "tone": "up", "axis": True}}]
        chart.push(Update(ops, view(float(rows[at - 1, 5])), tags=tags))
        await asyncio.sleep(max(0.0, began + (n + 1) / HZ - time.perf_counter()))
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    said.value = f"<span class='done'>{{share}}</span>"

def go():
    global task
    task = loop.create_task(run())

loop = asyncio.get_running_loop()
root(controls.row(controls.btn("Go", do=lambda: loop.call_soon_threadsafe(go)), said), chart)
"""


def chart_updates(*, candles: int = 2_000, hz: float = 10.0, updates: int = 200) -> dict[str, Any]:
    """Return latencies (ms), browser cost per update (ms) and the kernel's CPU share while streaming."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return {"skipped": "no Chromium is installed"}
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(CELL.format(count=candles, hz=hz, updates=updates))]
        )
        book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(book, home / "chart.ipynb")
        server = dashboard_server(home / "chart.ipynb", folder=home / "state")
        source = str(Path(__file__).parents[1] / "src")
        environment = dict(server.environment) | {"PYTHONPATH": source + os.pathsep + os.environ.get("PYTHONPATH", "")}
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(server.command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=flags)
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                _open(page, server.url, process)
                return _measure(page, candles, updates, hz)
        finally:
            process.terminate()
            process.wait(15)


def _open(page: Any, url: str, process: subprocess.Popen[bytes]) -> None:
    """Open the page once the server answers."""
    from playwright.sync_api import Error

    end = time.monotonic() + 60.0
    while True:
        try:
            page.goto(url)
            return
        except Error:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.1)


def _measure(page: Any, candles: int, updates: int, hz: float) -> dict[str, Any]:
    """Let the kernel stream and read what the page has noted."""
    shown = "n => window.__sn_charts?.length && window.__sn_charts[0].by('src').get_length() === n"
    page.wait_for_function(shown, arg=candles, timeout=60_000)
    page.wait_for_timeout(1_000)
    page.evaluate("() => { window.__sn_cost = undefined; }")
    page.get_by_role("button", name="Go").click()
    page.wait_for_selector(".done", timeout=(updates / hz + 60.0) * 1_000)
    page.wait_for_timeout(500)
    cost, share = page.evaluate("() => window.__sn_cost"), float(page.inner_text(".done"))
    latency = np.array(cost["lat"])
    return {
        "candles": candles,
        "hz": hz,
        "updates_sent": updates,
        "updates_applied": cost["n"],
        "latency_ms": {f"p{q}": round(float(np.percentile(latency, q)), 1) for q in (50, 95, 99)},
        "browser_ms_per_update": round(cost["ms"] / max(cost["n"], 1), 2),
        "kernel_cpu_share": round(share, 4),
    }


if __name__ == "__main__":
    json.dump(chart_updates(), sys.stdout, indent=2)
    sys.stdout.write("\n")
