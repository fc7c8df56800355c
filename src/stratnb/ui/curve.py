"""Equity curves with the drawdown under them: the figure, and one curve of a result that does not change any more."""

from __future__ import annotations

from typing import Any

import ipywidgets as w
import numpy as np
import numpy.typing as npt
from bokeh.layouts import column
from bokeh.models import DataRange1d, NumeralTickFormatter, Range1d

from stratnb.research.daily import drawdown
from stratnb.ui.chart import Chart, Update, put
from stratnb.ui.controls import styled
from stratnb.ui.figures import CURVES
from stratnb.ui.plots import Theme, base_plot, empty_source

__all__ = ["LINES", "EquityCurve", "equity_figure", "lines_of", "thinned"]

POINTS_MOST = 4_000
LINES = (
    ("hold", "--sn-text-3", "4 3", 1.25),
    *((f"s{i}", colour, dash, 1.25) for i, (colour, dash, _) in enumerate(CURVES)),
    ("account", "--sn-accent", "solid", 1.75),
)


def lines_of(plot: Any, theme: Theme) -> None:
    """Add the empty lines of account, buy and hold and eight strategies; sources account, hold, s0.. (t, y)."""
    for name, colour, dash, width in LINES:
        line = plot.line("t", "y", source=empty_source(name, "t", "y"), line_width=width, line_dash=dash)
        theme.bind(line.glyph, f"g_{name}", line_color=colour)


def equity_figure(height: int, *, log: bool = False) -> tuple[Any, Theme]:
    """Return the empty equity and drawdown charts in one column, and their colours.

    Sources: account, hold, s0.. (t, y), drawdown and open (t, dd, zero), the latter for a fall that has not ended, and
    other (t, dd), the drawdown of a second curve; all share the range xr.
    """
    theme = Theme()
    x = Range1d(start=0, end=1, name="xr")
    top = base_plot(x, y_range=DataRange1d(range_padding=0.12), y_axis_type="log" if log else "linear")
    below = base_plot(x, y_range=DataRange1d(end=0, range_padding=0.1, default_span=0.02))
    theme.axes(top, "main")
    theme.axes(below, "drawdown-plot")
    below.height = 52 + height // 6
    top.height = height - below.height
    top.sizing_mode = below.sizing_mode = "stretch_width"
    top.xaxis.visible = False
    top.min_border_bottom, below.min_border_top = 8, 2  # half of a label beside the lowest tick
    top.yaxis.formatter = NumeralTickFormatter(format="0,0[.]00[0000]")
    below.yaxis.formatter = NumeralTickFormatter(format="0.0[0]%")
    top.yaxis.ticker.desired_num_ticks, below.yaxis.ticker.desired_num_ticks = 4, 2
    for plot in (top, below):
        plot.xgrid.visible = False
        plot.xaxis.ticker.desired_num_ticks = 6
    lines_of(top, theme)
    for name, colour in (("drawdown", "--sn-down"), ("open", "--sn-warn")):
        source = empty_source(name, "t", "dd", "zero")
        theme.bind(below.varea("t", "dd", "zero", source=source).glyph, f"g_{name}_area", fill_color=f"{colour}/.30")
        theme.bind(below.line("t", "dd", source=source, line_width=1).glyph, f"g_{name}", line_color=colour)
    other = below.line("t", "dd", source=empty_source("other", "t", "dd"), line_width=1.25, line_dash="6 2")
    theme.bind(other.glyph, "g_other", line_color="--sn-text-2")
    return column(top, below, sizing_mode="stretch_width", spacing=0), theme


def thinned(times: npt.ArrayLike, values: npt.ArrayLike, most: int = POINTS_MOST) -> tuple[Any, Any]:
    """Return at most `most` points of a curve: of equal stretches the lowest and the highest, and both ends.

    >>> len(thinned(range(10_000), range(10_000), 100)[0]) <= 100
    True
    """
    t, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if len(t) <= most:
        return t, y
    starts = np.linspace(0, len(y), most // 2, dtype=np.int64)[:-1]
    keep = {0, len(y) - 1}
    for a, b in zip(starts, np.append(starts[1:], len(y)), strict=True):
        keep |= {int(a + np.argmin(y[a:b])), int(a + np.argmax(y[a:b]))}
    chosen = np.array(sorted(keep))
    return t[chosen], y[chosen]


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

    def draw(self, times_ms: npt.ArrayLike, equity: npt.ArrayLike, start: float | None = None) -> None:
        """Draw a curve; the drawdown is the fall from the running peak, `start` included, as a fraction."""
        t, y = thinned(times_ms, equity)
        if not len(t):
            return
        whole = np.asarray(equity, np.float64)
        first = whole[0] if start is None else start
        fall = -drawdown(np.concatenate(([first], whole)))[1:] if first > 0 else np.zeros(len(whole))
        at, fall = thinned(times_ms, fall)
        room = max(t[-1] - t[0], 1.0) * 0.02
        ops = [put("account", {"t": t, "y": y}), put("drawdown", {"t": at, "dd": fall, "zero": np.zeros(len(at))})]
        self._picture = Update(ops=ops, range=(float(t[0]), float(t[-1] + room)), force=True)
        self.chart.send_snapshot()
