"""One equity curve with its drawdown, for results that do not change any more."""

from __future__ import annotations

from typing import Any

import ipywidgets as w
import numpy as np
import numpy.typing as npt

from stratnb.ui.chart import Chart, Update, put
from stratnb.ui.controls import styled
from stratnb.ui.figures import equity_figure

__all__ = ["EquityCurve", "thinned"]

POINTS_MOST = 4_000


def thinned(times: npt.ArrayLike, values: npt.ArrayLike, most: int = POINTS_MOST) -> tuple[Any, Any]:
    """Return at most `most` points of a curve: evenly spaced ones, with the last, the lowest and the highest kept.

    >>> len(thinned(range(10_000), range(10_000), 100)[0]) <= 100
    True
    """
    t, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if len(t) <= most:
        return t, y
    keep = {0, len(t) - 1, int(np.argmin(y)), int(np.argmax(y))}
    chosen = np.unique([*np.linspace(0, len(t) - 1, most - 2).astype(int), *keep])
    return t[chosen][-most:], y[chosen][-most:]


class EquityCurve:
    """A chart of equity and drawdown that is drawn anew for each result."""

    def __init__(self, height: int = 300) -> None:
        figure, theme = equity_figure(height)
        self.chart = Chart(
            figure, theme=list(theme), height=f"{height}px", caption="Equity and drawdown of the backtest"
        )
        self.chart.snapshot = lambda: self._picture
        self._picture = Update()
        legend = '<span class="sn-key is-acc">Equity</span><span class="sn-key is-dd">Drawdown</span>'
        self.widget = w.VBox([styled(w.HTML(legend), "sn-legend"), self.chart])

    def draw(self, times_ms: npt.ArrayLike, equity: npt.ArrayLike) -> None:
        """Draw a curve; the drawdown is the fall from the running peak as a fraction."""
        t, y = thinned(times_ms, equity)
        if not len(t):
            return
        fall = y / np.maximum.accumulate(np.maximum(y, 1e-12)) - 1.0
        room = max(t[-1] - t[0], 1.0) * 0.02
        ops = [put("account", {"t": t, "y": y}), put("drawdown", {"t": t, "dd": fall, "zero": np.zeros(len(t))})]
        self._picture = Update(ops=ops, range=(float(t[0]), float(t[-1] + room)), force=True)
        self.chart.send_snapshot()
