"""The tables of the trader's page with the real engine: filters, bulk actions, stops, parts, and the way to a chart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from browser.test_trader_page import NOTEBOOK, _add, _panel, _row, _start, _tab, _trade

OVERFLOW = """() => [...document.querySelectorAll('.sn-scroll')].filter(s => s.checkVisibility()
  && s.scrollWidth > s.clientWidth + 1).map(s => s.querySelector('caption').textContent)"""


def _strategies(page: Any) -> None:
    """Filter, pause and resume in bulk, and add twice under free labels."""
    panel = _panel(page, "Strategies")
    panel.get_by_label("Filter strategies").fill("trend")
    panel.get_by_text("1 of 3 shown").wait_for()
    panel.get_by_role("button", name="Pause shown").click()
    panel.get_by_role("button", name="Confirm", exact=True).click()
    panel.get_by_text("1 of 1 paused").wait_for()
    panel.get_by_role("button", name="Resume shown").click()
    panel.get_by_role("button", name="Confirm", exact=True).click()
    panel.get_by_text("1 of 1 resumed").wait_for()
    panel.get_by_role("button", name="CSV").click()
    with page.expect_download() as saved:
        panel.get_by_role("link", name="Save strategies.csv").click()
    assert "trend-rider@ETH/USDT#main" in saved.value.path().read_text()
    panel.get_by_role("button", name="Reset", exact=True).click()
    panel.get_by_text("3 loaded").wait_for()


def _positions(page: Any) -> None:
    """Refuse a looser stop in the panel, then close a half, which is a trade of today only when all is closed."""
    panel = _panel(page, "Positions")
    panel.get_by_role("button", name="Move the stop").first.click()
    panel.get_by_label("New stop").fill("0.01")
    panel.get_by_role("button", name="Move stop", exact=True).click()
    panel.get_by_role("alert").get_by_text("stop_").wait_for()
    panel.get_by_role("button", name="Close the").first.click()
    panel.get_by_label("Close", exact=True).select_option("Half")
    panel.locator(".sn-effect", has_text="Sells about").wait_for()
    panel.get_by_role("button", name="Close position", exact=True).click()
    panel.get_by_text("A part of").wait_for()


def test_tables_are_filtered_and_acted_on_and_lead_to_the_chart(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(notebook=NOTEBOOK).url(), width=1280)
    _start(page)
    for name, symbol in (("simple-levels", "BTC/USDT"), ("simple-levels", "BTC/USDT"), ("trend-rider", "ETH/USDT")):
        _add(page, name, symbol)
    _row(page, "5m · 2").wait_for()
    for row in ("BTC/USDT · 5m", "Trend rider"):
        _row(page, row).first.get_by_role("button", name="Activate").click()
        _row(page, row).first.get_by_role("button", name="Pause").wait_for()
    _strategies(page)
    _trade(page)
    _positions(page)
    assert page.evaluate(OVERFLOW) == []
    _tab(page, "Engine")
    log = _panel(page, "Events")
    log.get_by_label("Type").fill("FILL")
    log.locator("tbody tr", has_text="bought").first.focus()
    page.keyboard.press("Enter")
    log.get_by_role("button", name="Show decision").click()
    _panel(page, "Decision").locator(".sn-verdict", has_text="ENTER").wait_for()
    faults.check()
