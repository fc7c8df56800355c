"""Tables and charts in a real page: what arrives is exactly what was sent, in every view, and as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BUILD = """
import numpy as np
from sample_board import INJECTION, SampleBoard
from stratnb.ui import controls
from stratnb.ui.chart import Chart, Update, attr, put, stream
from stratnb.ui.figures import price_figure
from stratnb.ui.panel import root
from stratnb.ui.widgets import Table
from stratnb.ui.window import price_columns

board = SampleBoard(title=INJECTION)
rows = board.candles("BTC/USDT", "1m", last=500)
blank = {f"k{i}": np.full(500, np.nan) for i in range(8)} | {f"v{i}": np.full(500, np.nan) for i in range(4)}
figure, theme = price_figure(2)
note = {"x": rows[-9, 5], "y": rows[-9, 1], "t": INJECTION, "tone": "up"}
chart = Chart(figure, theme=list(theme), cfg={"cross": True}, notes=[note])
cell = {"t": INJECTION, "sub": INJECTION, "title": INJECTION, "chips": [{"t": INJECTION}]}
cell["acts"] = [{"a": "go", "t": INJECTION}]
table = Table(caption=INJECTION, cols=[{"key": "a", "label": INJECTION}, {"key": "b", "label": "B"}], page=5,
              rows=[{"id": str(i), "a": cell, "b": str(i)} for i in range(3)])
said = controls.text("waiting")
span = lambda last: (last - 7.8e6, last + 6e5)
everything = [put("src", {**price_columns(rows), **blank}), attr("g_body", width={"value": 37200.0})]
chart.snapshot = lambda: Update(everything, span(rows[-1, 5]), True)

def ten():
    for _ in range(10):
        board.advance()
        row = board.candles("BTC/USDT", "1m", last=1)
        columns = {**price_columns(row), **{k: [float("nan")] for k in blank}}
        chart.push(Update([stream("src", columns)], span(row[-1, 5])))
    for n in range(10):
        table.patch({"1": {"b": f"patched {n}"}})

def gap():
    chart.seq += 5
    chart.push(Update([stream("src", price_columns(rows[-1:]))]))
    table._trait_values["seq"] = table.seq + 5
    table.patch({"2": {"b": "after the gap"}})

def broken():
    chart.push(Update([attr("nobody", visible=True)]))

chart.on_error = lambda where, text: setattr(said, "value", "heard: " + text)
table.on_act = lambda act, row: setattr(said, "value", f"act {act} {row}")
buttons = [controls.btn("Ten", do=ten), controls.btn("Gap", do=gap), controls.btn("Broken", do=broken)]
"""

ONE = BUILD + "\nroot(controls.row(*buttons), said, table, chart)"
TWO = BUILD + "\nroot(controls.row(*buttons), said, table, chart, table, chart)"

LENGTHS = "() => window.__sn_charts.map(c => c.by('src').get_length())"


def _ready(page: Any, views: int) -> None:
    page.wait_for_function(
        "n => window.__sn_charts?.length === n && window.__sn_charts.every(c => c.by('src').get_length() === 500)",
        arg=views,
    )


def _ten(page: Any, views: int) -> None:
    """Ten updates are ten rows in each view."""
    _ready(page, views)
    page.get_by_role("button", name="Ten").click()
    page.wait_for_function("() => window.__sn_charts.every(c => c.live.seq === 10)")
    assert page.evaluate(LENGTHS) == [510] * views
    assert page.get_by_text("patched 9").count() == views


def test_one_view_gets_exactly_what_was_sent_as_text_and_follows_the_theme(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(ONE).url())
    _ten(page, 1)
    assert page.title() == "stratnb"
    assert page.locator(".sn-root img").count() == 0
    page.get_by_role("button", name="<img src=x onerror=alert(1)>").nth(1).click()
    page.get_by_text("act go 0").wait_for()
    page.locator(".sn-note", has_text="<img src=x").wait_for()
    colour = "() => JSON.stringify(window.__sn_charts[0].by('g_k0').line_color)"
    light = page.evaluate(colour)
    page.evaluate("() => document.body.setAttribute('data-jp-theme-light', 'false')")
    page.wait_for_function(f"light => ({colour})() !== light", arg=light)
    page.evaluate("() => document.body.setAttribute('data-jp-theme-light', 'true')")
    page.wait_for_function(f"light => ({colour})() === light", arg=light)
    faults.check()


def test_two_views_stay_in_step_a_gap_brings_a_snapshot_and_an_error_is_heard(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(TWO).url())
    _ten(page, 2)
    page.get_by_role("button", name="Gap").click()
    page.wait_for_function("() => window.__sn_charts.every(c => c.live.seq === 16 && c.by('src').get_length() === 500)")
    page.get_by_text("after the gap").nth(1).wait_for()
    page.get_by_role("button", name="Broken").click()
    page.get_by_text("heard: the figure has no model nobody").wait_for()
    faults.check()
