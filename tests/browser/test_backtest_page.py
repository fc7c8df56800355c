"""The backtest panel in a real page: findings, a run, a trade on its candles, comparison, a file to save."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODE = """
from sample_board import SampleBoard
from stratnb.market_data import synthetic_market
from stratnb.ui.panels.backtest import BacktestPanel

candles = synthetic_market(["BTC/USDT"], candles=20_000, seed=3)[0]
candles.to_frame().drop(columns="flags").to_csv("btc_usdt_1m.csv")
panel = BacktestPanel(SampleBoard(2))
panel
"""
CHARTS = "() => window.__sn_charts.filter(c => c.by('{0}')?.get_length() > {1}).length"
RUN_LIMIT_MS = 60_000  # the kernels may have to be compiled


def _run(page: Any, strategy: str, number: int) -> None:
    page.get_by_label("Strategy", exact=True).select_option(strategy)
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("h3", has_text=f"{number} · {strategy}").wait_for(timeout=RUN_LIMIT_MS)


def _shot(page: Any, name: str) -> None:
    """Keep a picture of the page in the folder that STRATNB_SHOTS names."""
    if folder := os.environ.get("STRATNB_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_backtest_is_checked_run_looked_at_compared_and_saved(
    voila: Callable[..., Any], open_page: Callable[..., Any], tmp_path: Path, faults: Any
) -> None:
    for width, theme in ((1280, "light"), (1024, "dark")):
        (tmp_path / "simple-levels-on-btc-usdt-1m.csv-1.json").unlink(missing_ok=True)
        page = open_page(voila(CODE).url(theme=theme), width=width)
        page.get_by_role("button", name="File", exact=True).click(timeout=RUN_LIMIT_MS)
        page.get_by_label("Path").fill("nowhere.csv")
        page.get_by_label("Taker fee").fill("2")
        page.get_by_label("Taker fee").press("Tab")
        page.get_by_role("alert").get_by_text("did you mean 0.02?").wait_for(timeout=RUN_LIMIT_MS)
        page.get_by_role("alert").get_by_text("nowhere.csv").wait_for()
        _shot(page, f"findings-{width}-{theme}")
        page.get_by_label("Taker fee").fill("")
        page.get_by_label("Path").fill("btc_usdt_1m.csv")
        _run(page, "simple-levels", 1)
        _run(page, "trend-rider", 2)
        trades = page.get_by_role("table", name="Trades")
        trades.locator("tbody tr").nth(2).click()
        page.locator("strong", has_text="Trade ").wait_for()
        page.wait_for_function(CHARTS.format("src", 50))
        page.wait_for_function(CHARTS.format("stop", 1))
        newest = trades.locator("tbody tr").first.inner_text()
        trades.get_by_role("button", name="PnL").click()
        assert trades.locator("tbody tr").first.inner_text() != newest
        for number in (1, 2):
            page.get_by_label(f"Compare run {number}").click()
        page.wait_for_function(CHARTS.format("s1", 100))
        page.get_by_label("Show run 1").click()
        page.locator("h3", has_text="1 · simple-levels").wait_for()
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("Saved simple-levels").wait_for()
        page.get_by_role("button", name="Run JSON").click()
        with page.expect_download() as kept:
            page.locator("a.sn-save").click()
        whole = json.loads(Path(kept.value.path()).read_text())
        assert len(whole["equity"]["equity"]) == 20_000 and whole["trades"]["rows"]
        trades.locator("tbody tr").nth(1).click()
        page.locator("strong", has_text="Trade ").wait_for()
        page.wait_for_function(CHARTS.format("src", 50))
        _shot(page, f"result-{width}-{theme}")
        page.get_by_label("Saved run").fill("simple-levels-on-btc-usdt-1m.csv-1.json")
        page.get_by_role("button", name="Open run").click()
        page.locator("h3", has_text="3 · simple-levels").wait_for()
        page.close()
    faults.check()
