"""The researcher's page: backtests, sweeps and walk-forwards on files, in a kernel without engine, account or keys."""

from __future__ import annotations

from typing import Final

import ipywidgets as w

from stratnb.ui.controls import styled
from stratnb.ui.dashboards import RESEARCH_PAGES, Dashboard, error_card
from stratnb.ui.panel import root
from stratnb.ui.research_board import ResearchBoard

__all__ = ["research"]

HEAD: Final = (
    '<span class="sn-badge">RESEARCH</span><h1>stratnb research</h1>'
    "<p>On candle files and synthetic candles only: no engine, no exchange, no keys in this kernel. "
    '<span class="sn-themes">Look: <a href="?theme=light">light</a> or <a href="?theme=dark">dark</a></span></p>'
)
FOOT: Final = "nothing is traded here · all times UTC"
_board: list[ResearchBoard] = []


def research() -> w.Widget:
    """Return the page of backtest, sweep and walk-forward; showing it runs nothing.

    It works on this kernel alone; candle files that the server was started with are preset.
    """
    if not _board:
        _board.append(ResearchBoard())
    try:
        top = styled(w.HBox([styled(w.HTML(HEAD), "sn-researchhead")]), "sn-engine", "sn-research")
        return Dashboard(_board[0], RESEARCH_PAGES, top=top, foot=FOOT).widget
    except Exception as error:
        return root(styled(w.VBox([error_card(error, "The page could not be built")]), "sn-page"))
