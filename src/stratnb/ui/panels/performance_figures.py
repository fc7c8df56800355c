"""The figures beside the equity curve: rolling Sharpe, hours and weekdays, excursions; filled by operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import DataRange1d, FixedTicker, HoverTool, NumeralTickFormatter, Range1d

from stratnb.research.daily import DAY_MS, rolling_sharpe
from stratnb.research.results import hour_weekday
from stratnb.ui.chart import Ops, Update, put
from stratnb.ui.curve import LINES, lines_of
from stratnb.ui.panels.performance_data import Line, Sample
from stratnb.ui.plots import Theme, base_plot, empty_source

__all__ = [
    "WEEKDAYS",
    "excursion_figure",
    "excursion_update",
    "hours_figure",
    "hours_update",
    "rolling_figure",
    "rolling_update",
]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PALEST = 0.12


def _hover(plot: Any, renderers: list[Any], *rows: tuple[str, str]) -> None:
    """Show rows of (label, field) beside the pointer."""
    plot.add_tools(HoverTool(renderers=renderers, tooltips=list(rows)))


def rolling_figure() -> tuple[Any, Theme]:
    """Return the empty chart of rolling Sharpe ratios; sources account, hold, s0.. (t, y), range xr."""
    theme = Theme()
    plot = base_plot(Range1d(start=0, end=1, name="xr"), y_range=DataRange1d(range_padding=0.12))
    theme.axes(plot, "rolling-plot")
    plot.xgrid.visible = False
    plot.yaxis.formatter = NumeralTickFormatter(format="0.0")
    plot.yaxis.ticker.desired_num_ticks = 3
    plot.xaxis.ticker.desired_num_ticks = 6
    zero = plot.hspan(y=[0.0], line_width=1)
    theme.bind(zero.glyph, "zero", line_color="--sn-line-2x")
    lines_of(plot, theme)
    return plot, theme


def rolling_update(sample: Sample, window: int, span: tuple[float, float]) -> tuple[Update, int]:
    """Return the rolling Sharpe of each line at the end of its days, and the most daily returns of any."""
    made, most = {}, 0
    for line in sample.lines:
        days, returns = line.returns()
        most = max(most, len(returns))
        rolled = rolling_sharpe(returns, window)
        known = np.isfinite(rolled)
        made[line.key] = {"t": (days[: len(rolled)][known] + 1.0) * DAY_MS, "y": rolled[known]}
    empty = np.empty(0)
    ops = [put(name, made.get(name, {"t": empty, "y": empty})) for name, *_ in LINES]
    return Update(ops, span, True), most


def hours_figure() -> tuple[Any, Theme]:
    """Return the empty heat map of hours and weekdays; source cells (x, y, up, a, pnl, n)."""
    theme = Theme()
    plot = base_plot(Range1d(start=-0.5, end=23.5), x_axis_type="linear", y_range=Range1d(start=6.5, end=-0.5))
    theme.axes(plot, "hours-plot")
    plot.grid.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=list(range(24)))
    plot.xaxis.major_label_overrides = {hour: f"{hour:02d}" for hour in range(24)}
    plot.yaxis.ticker = FixedTicker(ticks=list(range(7)))
    plot.yaxis.major_label_overrides = dict(enumerate(WEEKDAYS))
    colour = theme.mapper("cm_hours", "--sn-down", "--sn-up")
    source = empty_source("cells", "x", "y", "up", "a", "pnl", "n")
    drawn = plot.rect("x", "y", 0.94, 0.9, source=source, fill_color=colour, fill_alpha="a", line_color=None)
    _hover(plot, [drawn], ("PnL", "@pnl{+0,0.00}"), ("Trades", "@n"), ("Hour, UTC", "@x"))
    return plot, theme


def hours_update(lines: tuple[Line, ...]) -> Update:
    """Return the cells of the hours and weekdays with trades; the strongest colour is the largest sum."""
    sums, counts = hour_weekday([trade for line in lines for trade in line.trades])
    days, hours = np.nonzero(counts)
    pnl = sums[days, hours]
    largest = float(np.abs(pnl).max(initial=0.0)) or 1.0
    alpha = PALEST + (1.0 - PALEST) * np.abs(pnl) / largest
    cells = {"x": hours, "y": days, "up": pnl >= 0, "a": alpha, "pnl": pnl, "n": counts[days, hours]}
    return Update([put("cells", cells)])


def excursion_figure() -> tuple[Any, Theme]:
    """Return the empty scatter of worst against best unrealized return; sources won and lost (mae, mfe, ret, pnl)."""
    theme = Theme()
    x, y = DataRange1d(end=0.0, range_padding=0.06), DataRange1d(start=0.0, range_padding=0.06)
    plot = base_plot(x, x_axis_type="linear", y_range=y)
    theme.axes(plot, "excursion-plot")
    plot.xaxis.axis_label, plot.yaxis.axis_label = "Worst on the way (MAE)", "Best on the way (MFE)"
    for i, axis in enumerate(plot.axis):
        axis.axis_label_text_font_style, axis.axis_label_text_font_size = "normal", "12px"
        theme.bind(axis, f"excursion-plot-ax{i}", axis_label_text_color="--sn-text-2")
        axis.formatter = NumeralTickFormatter(format="0.0[0]%")
    drawn = []
    for name, marker, colour in (("won", "triangle", "--sn-up"), ("lost", "inverted_triangle", "--sn-down")):
        source = empty_source(name, "mae", "mfe", "ret", "pnl")
        mark = plot.scatter("mae", "mfe", source=source, marker=marker, size=8, fill_alpha=0.5, line_width=1)
        theme.bind(mark.glyph, f"g_{name}", fill_color=colour, line_color=colour)
        drawn.append(mark)
    rows = [("PnL", "@pnl{+0,0.00}"), ("Return", "@ret{+0.00%}"), ("MAE", "@mae{0.00%}"), ("MFE", "@mfe{+0.00%}")]
    _hover(plot, drawn, *rows)
    return plot, theme


def excursion_update(lines: tuple[Line, ...]) -> Update:
    """Return the points of the closed trades whose candles are kept, won and lost apart."""
    pairs = [pair for line in lines for pair in zip(line.trades, line.paths, strict=True)]
    rows = [(*path, trade.return_fraction, trade.pnl) for trade, path in pairs if np.isfinite(path).all()]
    table = np.array(rows, np.float64).reshape(-1, 4)
    ops: Ops = []
    for name, chosen in (("won", table[:, 3] > 0), ("lost", table[:, 3] <= 0)):
        part = table[chosen]
        ops.append(put(name, dict(zip(("mae", "mfe", "ret", "pnl"), part.T, strict=True))))
    return Update(ops)
