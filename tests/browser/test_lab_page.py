"""The shipped notebooks in JupyterLab with the real engine: panels appear, answer, move and survive a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from browser.conftest import ROOT, run_all, save

RUN_LIMIT_MS = 180_000  # the kernels may have to be compiled
CELLS = "window.jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type === 'code')"
DONE = f"() => {CELLS}.length > 0 && {CELLS}.every(cell => cell.model.executionCount)"
FAULTS = f"""() => {CELLS}.flatMap(cell => cell.model.outputs.toJSON())
  .filter(output => output.output_type === 'error').map(output => output.evalue)"""
PLACE = """() => Math.max(...[...document.querySelectorAll('.sn-feed')].map(
  line => Number(/candle ([\\d,]+) of/.exec(line.textContent)?.[1].replaceAll(',', '') ?? 0)))"""
CHART = "window.__sn_charts?.find(c => c.by('src'))"
NEWEST = f"() => {CHART}?.by('src').data.t.at(-1) ?? 0"


def _run(lab: Callable[..., Any], open_page: Callable[..., Any], folder: Path, name: str) -> Any:
    """Open a shipped notebook in Lab, without the last cell that closes the engine, and run all cells."""
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert "engine.close()" in book.cells[-1].source
    del book.cells[-1]
    (folder / "books").mkdir()
    nbformat.write(book, folder / "books" / f"{name}.ipynb")
    page = open_page(lab().url(f"/lab/tree/{name}.ipynb"), width=1_600)
    run_all(page)
    page.wait_for_function(DONE, timeout=RUN_LIMIT_MS)
    assert page.evaluate(FAULTS) == []
    return page


def _show(page: Any, source: str) -> Any:
    """Scroll to the code cell with this source and return it."""
    at = """text => { const book = window.jupyterapp.shell.currentWidget.content;
      book.activeCellIndex = book.widgets.findIndex(cell => cell.model.sharedModel.source.includes(text)); }"""
    page.evaluate(at, source)
    cell = page.locator(".jp-CodeCell").filter(has=page.locator(".cm-content", has_text=source))
    cell.scroll_into_view_if_needed()
    return cell


def _grows(page: Any, value: str) -> None:
    before = page.evaluate(value)
    page.wait_for_function(f"before => ({value})() > before", arg=before)


def _add_and_switch(page: Any, panel: Any) -> None:
    """Add a fourth strategy and make it the active one: drawer, preview, confirm."""
    panel.get_by_label("Strategy", exact=True).select_option("level-trading-v3")
    panel.get_by_label("Symbol").select_option("ETH/USDT")
    panel.get_by_role("button", name="Add", exact=True).click()
    row = panel.locator("tbody tr", has_text="Levels with average and RSI")
    row.get_by_role("button", name="Switch").click()
    drawer = panel.locator(".sn-drawer:not(.sn-off)", has_text="Switch Levels")
    drawer.get_by_label("Policy").select_option("Close position")
    drawer.get_by_role("button", name="Preview orders").click()
    drawer.locator(".sn-effect", has_text="Sends").wait_for()
    drawer.get_by_role("button", name="Confirm").click()
    panel.get_by_text("Switched.").wait_for()
    row.get_by_text("Active").first.wait_for()


def test_many_strategies_move_in_lab_and_come_back_after_a_reload(
    lab: Callable[..., Any], open_page: Callable[..., Any], tmp_path: Path, faults: Any
) -> None:
    page = _run(lab, open_page, tmp_path, "03_many_strategies")
    cell = _show(page, "cache_capacity=2")
    cell.locator(".sn-engine").wait_for(timeout=RUN_LIMIT_MS)
    panel = cell.locator(".sn-panel").filter(has=page.get_by_role("heading", name="Strategies", exact=True))
    assert panel.locator("tbody tr").count() == 3
    _add_and_switch(page, panel)
    cell.get_by_label("Speed").select_option("600×")
    cell.locator(".sn-engine").get_by_role("button", name="Resume").click()
    _grows(page, PLACE)
    cell.locator(".sn-tabs").get_by_role("button", name="Chart").click()
    page.wait_for_function(f"() => {CHART}?.by('src').get_length() > 500")
    _grows(page, NEWEST)
    save(page)
    page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    page.reload()
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(f"() => {CHART}?.by('src').get_length() > 500", timeout=20_000)
    _grows(page, NEWEST)
    _grows(page, PLACE)
    assert page.locator(".sn-strip:not(.sn-off)").count() == 0
    faults.check()


def test_the_first_notebook_tests_and_explains_in_lab(
    lab: Callable[..., Any], open_page: Callable[..., Any], tmp_path: Path, faults: Any
) -> None:
    page = _run(lab, open_page, tmp_path, "01_first_backtest")
    panel = _show(page, "panel = BacktestPanel")
    panel.get_by_role("button", name="Run", exact=True).click()
    panel.get_by_text("Total return").wait_for()
    panel.get_by_role("button", name="Check parity").click()
    panel.get_by_text("replay and backtest agree bit for bit").wait_for(timeout=RUN_LIMIT_MS)
    inspector = _show(page, "inspector = DecisionPanel")
    inspector.get_by_role("button", name="Next entry").click()
    inspector.locator(".sn-verdict", has_text="ENTER").wait_for()
    faults.check()
