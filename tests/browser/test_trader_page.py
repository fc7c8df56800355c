"""The trader's page in Voila with the real engine: nothing runs before the button, then everything can be done."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser.conftest import ROOT

NOTEBOOK = ROOT / "dashboards" / "trader.ipynb"
LIBRARY = ROOT / "src" / "stratnb" / "strategy" / "library"
INJECTION = "<img src=x onerror=alert(1)>"
CHART = "window.__sn_charts?.find(c => c.by('src'))"
NEWEST = f"() => {CHART}.by('src').data.t.at(-1)"
START_LIMIT_MS = 180_000  # the kernels may have to be compiled
QUIET = """
import threading, time
from pathlib import Path
from stratnb.engine import get_engine
from stratnb.ui import trader

def watch():
    while True:
        Path("state").write_text(get_engine("dashboard").state)
        time.sleep(0.1)

threading.Thread(target=watch, daemon=True).start()
trader(absent_s=12)
"""  # a page sends its heartbeat every 5 s
STATE_LIMIT_S = 60.0


def _start(page: Any) -> None:
    button = page.get_by_role("button", name="Start paper engine")
    button.wait_for(timeout=START_LIMIT_MS)
    assert page.locator(".sn-engine").count() == 0
    button.click()
    page.get_by_text("compiles the indicators").wait_for()
    page.locator(".sn-tabs").wait_for(timeout=START_LIMIT_MS)


def _tab(page: Any, name: str) -> None:
    page.locator(".sn-tabs").get_by_role("button", name=name).click()


def _panel(page: Any, title: str) -> Any:
    return page.locator(".sn-panel").filter(has=page.get_by_role("heading", name=title, exact=True))


def _add(page: Any, name: str, symbol: str) -> None:
    line = _panel(page, "Strategies")
    before = line.locator("tbody tr").count()
    line.get_by_label("Strategy", exact=True).select_option(name)
    line.get_by_label("Symbol").select_option(symbol)
    line.get_by_role("button", name="Add", exact=True).click()
    line.locator("tbody tr").nth(before).wait_for()


def _row(page: Any, title: str) -> Any:
    return _panel(page, "Strategies").locator("tbody tr", has_text=title)


def _grows(page: Any, value: str) -> None:
    """Wait until a number of the page is larger than it is now."""
    before = page.evaluate(value)
    page.wait_for_function(f"before => ({value})() > before", arg=before)


def _until_state(page: Any, file: Path, state: str) -> None:
    """Wait until the kernel has written this state of the engine."""
    end = time.monotonic() + STATE_LIMIT_S
    while (found := file.read_text()) != state:
        assert time.monotonic() < end, f"the engine is {found}"
        page.wait_for_timeout(50)


def _switch(page: Any) -> None:
    """Switch from the first strategy to the second: drawer, policy, preview, confirm."""
    _row(page, "Simple levels").get_by_role("button", name="Switch").click()
    drawer = page.locator(".sn-drawer:not(.sn-off)", has_text="Switch Simple levels")
    drawer.get_by_label("Policy").select_option("Close position")
    drawer.get_by_role("button", name="Preview orders").click()
    drawer.locator(".sn-effect", has_text="Sends").wait_for()
    page.keyboard.press("Escape")
    drawer.locator(".sn-confirm.sn-off").wait_for(state="attached")
    drawer.get_by_role("button", name="Preview orders").click()
    confirm = drawer.get_by_role("button", name="Confirm")
    confirm.click()  # waits until it is enabled
    page.get_by_text("Switched.").wait_for()
    _row(page, "Trend rider").get_by_text(re.compile("Active|Warming")).wait_for()
    _row(page, "Simple levels").get_by_text("Dormant").wait_for()


def _trade(page: Any) -> None:
    """Run at full speed until a position is on screen, then slow down."""
    page.get_by_label("Speed").select_option("600×")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.sn-kpi')].some(k => /^Open[1-9]/.test(k.textContent))"
    )
    _panel(page, "Positions").locator("tbody tr").first.wait_for()
    page.get_by_label("Speed").select_option("60×")


def _look_at_chart(page: Any) -> None:
    _tab(page, "Chart")
    page.wait_for_function(f"() => {CHART}?.by('src').get_length() > 100")
    page.get_by_label("Speed").select_option("600×")
    decided = page.get_by_label("Candle (UTC)")
    before = decided.input_value()
    _grows(page, NEWEST)
    page.wait_for_function(
        "old => [...document.querySelectorAll('.sn-insp input')].some(i => i.value > old && /^2/.test(i.value))",
        arg=before,
    )
    span = page.evaluate(f"() => {{ const y = {CHART}.by('main').y_range; return y.start / y.end; }}")
    assert span > 0.5  # lines that are no prices would pull the axis down to zero
    page.get_by_label("Speed").select_option("60×")


def _backtest(page: Any) -> None:
    _tab(page, "Performance")
    panel = _panel(page, "Backtest")
    page.evaluate("""() => { window.seen = false; new MutationObserver(() => {
        const bar = document.querySelector('.sn-progress'); if (bar?.checkVisibility()) window.seen = true;
      }).observe(document.body, { subtree: true, attributes: true }); }""")
    loaded = panel.get_by_label("Strategy", exact=True).locator("option", has_text="(loaded)").first.inner_text()
    panel.get_by_label("Strategy", exact=True).select_option(loaded)
    panel.get_by_role("button", name="Run", exact=True).click()
    panel.get_by_text("Total return").wait_for()
    assert page.evaluate("() => window.seen")
    panel.get_by_role("button", name="Check parity").click()
    panel.get_by_text("replay and backtest agree bit for bit").wait_for()


def _shrink_cache(page: Any) -> None:
    _tab(page, "Engine")
    panel = _panel(page, "Strategy cache")
    handle = panel.locator(".noUi-handle")
    handle.focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    panel.get_by_role("button", name="Apply").click()
    panel.get_by_text(re.compile(r"of 1 used")).wait_for()
    _panel(page, "Events").get_by_text("fill").first.wait_for()


def test_a_trader_adds_switches_trades_and_tests(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    address = voila(notebook=NOTEBOOK).url()
    page = open_page(address)
    _start(page)
    _add(page, "simple-levels", "BTC/USDT")
    _add(page, "trend-rider", "ETH/USDT")
    assert _panel(page, "Strategies").get_by_text("Not cached").count() == 2
    _row(page, "Simple levels").get_by_role("button", name="Activate").click()
    _row(page, "Simple levels").get_by_text("Active").first.wait_for()
    _switch(page)
    _row(page, "Simple levels").get_by_role("button", name="Activate").click()
    _trade(page)
    _look_at_chart(page)
    _backtest(page)
    _shrink_cache(page)
    other = page.context.new_page()
    faults.watch(other)
    other.goto(address)
    other.get_by_role("button", name="Start paper engine").wait_for(timeout=START_LIMIT_MS)
    other.close()
    assert page.get_by_text("Running", exact=True).is_visible()
    page.reload()
    page.get_by_role("button", name="Start paper engine").wait_for(timeout=START_LIMIT_MS)
    assert page.locator(".sn-engine").count() == 0
    faults.check()


def test_wrong_input_is_answered_in_the_panel_and_text_stays_text(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(notebook=NOTEBOOK).url())
    _start(page)
    page.get_by_role("button", name="Open candles…").click()
    page.get_by_label("Candle files").fill("/nowhere/btc.csv")
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_role("alert").get_by_text("btc.csv").wait_for()
    assert page.get_by_text("10 markets").is_visible()
    panel = _panel(page, "Strategies")
    panel.get_by_role("button", name="Document").click()
    document = json.loads((LIBRARY / "simple-levels.json").read_text())
    wrong = document | {
        "analyzers": [{"kind": "breakuot"}],
        "entry": {"min_scor": 0.3},
        "exits": {"stop_loss": {"fraction": 5}},
    }
    panel.get_by_label("Document", exact=True).fill(json.dumps(wrong))
    panel.get_by_role("button", name="Add", exact=True).click()
    panel.get_by_role("alert").get_by_text("did you mean").first.wait_for()
    assert panel.get_by_role("alert").locator("li").count() >= 3
    assert panel.locator("tbody tr").count() == 0
    panel.get_by_label("Document", exact=True).fill(json.dumps(document | {"title": INJECTION, "notes": INJECTION}))
    panel.get_by_role("button", name="Add", exact=True).click()
    panel.locator("tbody tr", has_text=INJECTION).wait_for()
    panel.get_by_role("button", name="Activate").click()
    for name in ("Chart", "Performance", "Engine", "Overview"):
        _tab(page, name)
        page.locator(".sn-page:not(.sn-off) .sn-panel").first.wait_for()
    assert page.locator(".sn-root img").count() == 0
    faults.check()


def test_an_engine_without_a_browser_stops(
    voila: Callable[..., Any], open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(voila(QUIET).url())
    _start(page)
    _until_state(page, tmp_path / "state", "running")
    page.evaluate("() => document.querySelectorAll('.sn-root').forEach(root => root.remove())")
    _until_state(page, tmp_path / "state", "stopped")
