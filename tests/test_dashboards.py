"""Dashboards: the same engine shows the same pages, and a closed engine is not kept alive by what showed it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from sample_board import SampleBoard
from stratnb.ui.dashboards import PAGES, Dashboard, engine_panel
from stratnb.ui.panels.chart import PriceChart
from stratnb.ui.panels.strategies import StrategyTable
from stratnb.ui.selection import selection


class Closable(SampleBoard):
    """A board whose engine can be closed."""

    closed = False


def test_a_closed_board_is_let_go_when_another_one_is_shown() -> None:
    board = Closable(2)
    tabs = next(part for part in engine_panel(board).children if "sn-tabs" in part._dom_classes)
    for name in PAGES:
        tabs.value = name
    gone = weakref.ref(board)
    board.closed = True
    other = Closable(1)
    assert engine_panel(other) is engine_panel(other)
    del board, tabs
    gc.collect()
    assert gone() is None


def test_a_board_keeps_its_panels_until_it_is_closed_and_gets_new_ones_afterwards() -> None:
    board, other = Closable(2), Closable(2)
    table, pages = StrategyTable(board), engine_panel(board)
    StrategyTable(other)
    assert StrategyTable(board) is table and not table.closed
    assert engine_panel(board) is pages
    table.close()
    assert StrategyTable(board) is not table
    assert engine_panel(board) is not pages


def test_a_strategy_picked_in_the_chart_is_chosen_everywhere() -> None:
    board = Closable(2)
    dashboard = Dashboard(board)
    dashboard.open("Chart")
    chart: Any = dashboard.panels[PriceChart]
    chart.show(board.strategy_id(1))
    chart.pump.paint_now()
    assert selection(board).strategy_id == board.strategy_id(1)
