"""The price chart in Voila and in Lab: it moves, pages older candles in, and comes back after a reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from browser.conftest import run_all, save
from sample_board import MINUTE_MS, START_MS

BUILD = """
from sample_board import SampleBoard
from stratnb.ui import controls
from stratnb.ui.panel import root
from stratnb.ui.panels.chart import PriceChart

board = SampleBoard(2, candles=6_000)
panel = PriceChart(board)
buttons = [controls.btn("One", do=board.advance), controls.btn("Many", do=lambda: board.advance(1_000))]
"""
PAGE = BUILD + "root(controls.row(*buttons), controls.grid(panel.frame))"
CHART = "window.__sn_charts?.find(c => c.by('src'))"
STATE = f"""() => {{ const c = {CHART}, t = c.by('src').data.t, x = c.by('xr');
  return {{ count: t.length, first: t[0], last: t[t.length - 1], start: x.start, end: x.end }}; }}"""


def _shown(page: Any, count: int = 2_000) -> dict[str, float]:
    page.wait_for_function(f"n => {CHART}?.by('src').get_length() === n", arg=count)
    state: dict[str, float] = page.evaluate(STATE)
    return state


def _last_is(page: Any, last: float) -> None:
    page.wait_for_function(f"t => {CHART}.by('src').data.t.at(-1) === t", arg=last)


def test_it_moves_pages_and_comes_back(voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any) -> None:
    page = open_page(voila(PAGE).url())
    before = _shown(page)
    page.get_by_role("button", name="One").click()
    _last_is(page, before["last"] + MINUTE_MS)
    page.get_by_role("button", name="Many").click()
    _last_is(page, before["last"] + 1_001 * MINUTE_MS)
    live = _shown(page)
    assert live["start"] < live["last"] < live["end"]
    box = page.locator(".sn-chart-box").bounding_box()
    y = box["y"] + box["height"] / 2.0
    for _ in range(20):
        page.mouse.move(box["x"] + 80, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 120, y, steps=3)
        page.mouse.up()
    page.wait_for_function(f"t => {CHART}.by('src').data.t[0] < t", arg=live["first"])
    page.wait_for_function(f"() => {{ const s = ({STATE})(); return s.first <= s.start; }}")
    assert page.get_by_role("button", name="Follow").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Follow").click()
    _last_is(page, live["last"])
    page.get_by_role("button", name="5m", exact=True).click()
    page.wait_for_function(f"() => {CHART}.by('src').data.t.every(t => t % 300000 === 0)")
    page.get_by_role("button", name="Log", exact=True).click()
    page.wait_for_function(f"() => {CHART}?.by('main').y_scale.type === 'LogScale'")
    page.locator(".sn-rd-time").wait_for()
    page.mouse.move(box["x"] + 300, y)
    page.locator(".sn-over.is-live").wait_for()
    read = "() => ['.sn-rd-time', '.sn-axtag.is-x'].map(s => document.querySelector(s).textContent)"
    page.get_by_role("button", name="One").evaluate("button => button.click()")
    page.wait_for_function(f"() => {{ const [a, b] = ({read})(); return a === b; }}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="PNG", exact=True).click()
    assert saved.value.suggested_filename == "BTC-USDT-5m.png"
    faults.check()


def test_lab_shows_the_panel_and_brings_it_back_after_a_reload(
    lab: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    cells = [BUILD, "panel", "panel", "board.advance()"]
    page = open_page(lab(chart=cells).url("/lab/tree/chart.ipynb"))
    run_all(page)
    page.wait_for_function("() => window.__sn_charts?.length === 2")
    _last_is(page, START_MS + 6_000 * MINUTE_MS)
    page.locator(".sn-chart").nth(1).wait_for()
    save(page)
    page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    page.reload()
    page.locator(".sn-panel").first.wait_for()
    page.wait_for_function(f"() => {CHART}?.by('src').get_length() === 2000", timeout=20_000)
    assert page.locator(".sn-strip:not(.sn-off)").count() == 0
    faults.check()
