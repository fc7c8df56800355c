"""The researcher's page served by Voila: a small sweep with its map, its best and a report that opens offline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_LIMIT_MS = 90_000  # the kernels may have to be compiled
SHOWN = ".sn-page:not(.sn-off)"
OPTIONS = f"() => document.querySelectorAll('{SHOWN} .sn-pick option').length > 10"
FILLED = "() => window.__sn_charts.some(c => c.by('cells')?.get_length() === 4)"
DRAWN = "() => document.querySelectorAll('[data-state]').length > 5 && window.__sn_charts?.length > 4"


def _shot(page: Any, name: str) -> None:
    """Keep a picture of the page in the folder that STRATNB_SHOTS names."""
    if folder := os.environ.get("STRATNB_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def _vary(page: Any, path: str, *values: str) -> None:
    """Let a parameter vary between two values."""
    shown = page.locator(SHOWN)
    shown.get_by_label("Parameter", exact=True).select_option(index=_place(page, path))
    shown.get_by_role("button", name="Add", exact=True).click()
    row = shown.locator(".sn-spacerow", has_text=path)
    for label, value in zip(("From", "To", "Step"), values, strict=True):
        row.get_by_label(label, exact=True).fill(value)
        row.get_by_label(label, exact=True).press("Tab")


def _place(page: Any, path: str) -> int:
    labels = page.locator(f"{SHOWN} .sn-pick option").all_text_contents()
    return next(i for i, label in enumerate(labels) if label.replace("\xa0", " ").startswith(f"{path} "))


def test_a_sweep_runs_shows_its_map_and_its_best_and_a_report_opens_offline(
    voila: Callable[..., Any],
    open_page: Callable[..., Any],
    chromium: Any,
    faults: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("STRATNB_LEDGER", str(tmp_path / "trials.sqlite"))
    page = open_page(voila(notebook=ROOT / "dashboards" / "research.ipynb").url(), width=1280)
    tabs = page.locator(".sn-tabs")
    tabs.get_by_role("button", name="Sweep", exact=True).click(timeout=RUN_LIMIT_MS)
    page.wait_for_function(OPTIONS, timeout=RUN_LIMIT_MS)
    shown = page.locator(SHOWN)
    shown.get_by_label("Candles", exact=True).fill("6000")
    _vary(page, "exits.stop_loss.multiple", "1", "2", "1")
    _vary(page, "entry.min_score", "0.2", "0.3", "0.1")
    shown.get_by_text("4 trials of 2 × 2 combinations").wait_for(timeout=RUN_LIMIT_MS)
    shown.get_by_role("button", name="Sweep", exact=True).click()
    shown.get_by_text("4 of 4", exact=True).wait_for(timeout=RUN_LIMIT_MS)
    page.wait_for_function(FILLED)
    shown.get_by_text("Deflated Sharpe ratio", exact=True).wait_for(timeout=RUN_LIMIT_MS)
    shown.get_by_role("button", name="Plateau").click()
    page.wait_for_function(FILLED)
    _shot(page, "sweep-1280-light")
    shown.get_by_role("button", name="Open in backtest").click()
    page.locator(SHOWN).locator("h3", has_text="1 · simple-levels").wait_for(timeout=RUN_LIMIT_MS)
    page.locator(SHOWN).get_by_role("button", name="Check look-ahead").click()
    page.locator(SHOWN).get_by_text("● No look-ahead").wait_for(timeout=RUN_LIMIT_MS)
    page.locator(SHOWN).get_by_role("button", name="Report HTML").click()
    with page.expect_download(timeout=RUN_LIMIT_MS) as kept:
        page.locator(f"{SHOWN} a.sn-save").click(timeout=RUN_LIMIT_MS)
    file = tmp_path / "report.html"
    kept.value.save_as(file)
    context = chromium.new_context(offline=True, color_scheme="dark", viewport={"width": 1024, "height": 900})
    saved = context.new_page()
    faults.watch(saved)
    saved.goto(file.as_uri())
    saved.wait_for_function(DRAWN)
    assert saved.evaluate("() => document.body.dataset.fault") is None
    assert saved.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    light = saved.locator("body").get_attribute("data-jp-theme-light")
    saved.get_by_role("button", name="Light", exact=True).click()
    assert (light, saved.locator("body").get_attribute("data-jp-theme-light")) == ("false", "true")
    _shot(saved, "report-1024-light")
    context.close()
    faults.check()
