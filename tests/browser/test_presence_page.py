"""The heartbeat of a page, and what the page says when its kernel is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CELL = """
import os, signal
from sample_board import SampleBoard
from stratnb.ui import controls
from stratnb.ui.panel import Panel, root
from stratnb.ui.pump import pump
from stratnb.ui.widgets import Table

class Ticks(Panel):
    title, hz = "Ticks", 10.0
    def body(self):
        self.n = 0
        self.table = Table(kind="kpi", caption="Ticks")
        return [self.table]
    def paint(self, view):
        self.n += 1
        if view.seq:
            raise ValueError("/secret/path")
        self.table.show([{"id": "n", "label": "Ticks", "v": f"tick {self.n}"}])

class Other(Ticks):
    title = "Other"

board, other = SampleBoard(0), SampleBoard(0)
bad, good = Ticks(board), Other(other)
pages = controls.text("")

def say():
    pages.value = f"pages {len(pump()._presence.pages)} present {pump().present}"
    pump().later(0.5, say)

say()
crash = controls.btn("Crash", do=board.advance)
die = controls.btn("Die", do=lambda: os.kill(os.getpid(), signal.SIGKILL))
root(controls.row(crash, die), pages, bad.frame, good.frame)
"""


def test_a_heartbeat_is_heard_and_a_failing_panel_leaves_the_other_alive(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(CELL).url())
    page.get_by_text("pages 1 present True").wait_for()
    page.get_by_role("button", name="Crash").click()
    page.get_by_text("ui_ticks").first.wait_for()
    assert page.locator(".sn-strip:not(.sn-off)").count() == 1
    assert "/secret/path" not in page.content()
    other = page.locator(".sn-panel", has_text="Other").locator("dd")
    before = other.inner_text()
    page.wait_for_function("old => ![...document.querySelectorAll('dd')].some(d => d.textContent === old)", arg=before)
    faults.check()


def test_a_dead_kernel_is_noticed_by_the_page_and_old_views_do_not_throw(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(CELL).url())
    page.get_by_text("pages 1 present True").wait_for()
    page.get_by_role("button", name="Die").click()
    page.get_by_text("The kernel has not answered").wait_for(timeout=30_000)
    assert faults.errors == []
    assert faults.outside == []
