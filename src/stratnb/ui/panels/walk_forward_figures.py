"""The charts of a walk-forward: the windows on the axis of time, and how the choice moved from window to window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import FixedTicker, HoverTool, Range1d

from stratnb.research.walked import WalkForward
from stratnb.ui.chart import Update, put
from stratnb.ui.figures import CURVES
from stratnb.ui.plots import Theme, base_plot, empty_source

__all__ = ["drift_figure", "drift_update", "windows_figure", "windows_update"]

Floats = npt.NDArray[np.float64]

KINDS: Final = (("train", "--sn-info/.40"), ("waiting", "--sn-text-3/.18"), ("test", "--sn-ok/.80"))


def windows_figure(count: int) -> tuple[Any, Theme]:
    """Return the empty picture of windows, the first on top; sources train, waiting and test (x, y, w, k)."""
    theme = Theme()
    plot = base_plot(Range1d(start=0, end=1, name="xr"), y_range=Range1d(start=count + 0.5, end=0.5))
    theme.axes(plot, "windows-plot")
    plot.ygrid.visible = False
    plot.xaxis.ticker.desired_num_ticks = 5
    step = max(1, count // 8)
    plot.yaxis.ticker = FixedTicker(ticks=list(range(1, count + 1, step)))
    plot.yaxis.major_label_overrides = {n: f"Window {n}" for n in range(1, count + 1)}
    drawn = []
    for name, colour in KINDS:
        bars = plot.rect("x", "y", "w", 0.72, source=empty_source(name, "x", "y", "w"), line_color=None)
        theme.bind(bars.glyph, f"g_{name}", fill_color=colour)
        drawn.append(bars)
    plot.add_tools(HoverTool(renderers=drawn[::2], tooltips=[("Window", "@y")]))
    return plot, theme


def windows_update(found: WalkForward) -> Update:
    """Return the bars of training and test; planned windows that were not run are pale."""
    opened, closed = found.candles.open_time_ms, found.candles.close_time_ms
    bars: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in KINDS}
    for k, window in enumerate(found.planned):
        done = k < len(found.windows)
        for name, (first, stop) in (("train", window.train), ("test", window.test)):
            start, end = float(opened[first]), float(closed[stop - 1])
            bars[name if done else "waiting"].append(((start + end) / 2.0, k + 1.0, end - start))
    ops = []
    for name, rows in bars.items():
        table = np.array(rows, np.float64).reshape(-1, 3)
        ops.append(put(name, dict(zip("xyw", table.T, strict=True))))
    return Update(ops, (float(opened[0]), float(closed[-1])), True)


def drift_figure(paths: Sequence[str], windows: int) -> tuple[Any, Theme]:
    """Return the empty lines of the chosen values, each between its lowest and highest; sources s0.. (t, y)."""
    theme = Theme()
    plot = base_plot(
        Range1d(start=0.7, end=windows + 0.3), x_axis_type="linear", y_range=Range1d(start=-0.08, end=1.08)
    )
    theme.axes(plot, "drift-plot")
    plot.xgrid.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=list(range(1, windows + 1, max(1, windows // 12))))
    plot.yaxis.ticker = FixedTicker(ticks=[0, 1])
    plot.yaxis.major_label_overrides = {0: "lowest", 1: "highest"}
    for i, (colour, dash, _) in zip(range(len(paths)), CURVES, strict=False):
        source = empty_source(f"s{i}", "t", "y")
        line = plot.step("t", "y", source=source, mode="center", line_width=1.5, line_dash=dash)
        theme.bind(line.glyph, f"g_s{i}", line_color=colour)
        dots = plot.scatter("t", "y", source=source, size=6)
        theme.bind(dots.glyph, f"g_d{i}", fill_color=colour, line_color=colour)
    return plot, theme


def drift_update(chosen: Mapping[str, Sequence[Any]]) -> Update:
    """Return the chosen values by path, None where nothing was chosen, between the lowest and the highest chosen."""
    ops = []
    for i, values in enumerate(list(chosen.values())[: len(CURVES)]):
        levels = sorted({value for value in values if value is not None}, key=_order)
        places = {value: n / max(len(levels) - 1, 1) for n, value in enumerate(levels)}
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in levels) and len(levels) > 1:
            low, high = float(levels[0]), float(levels[-1])
            places = {value: (float(value) - low) / (high - low) for value in levels}
        known = [(n + 1.0, places[value]) for n, value in enumerate(values) if value is not None]
        table = np.array(known, np.float64).reshape(-1, 2)
        ops.append(put(f"s{i}", {"t": table[:, 0], "y": table[:, 1]}))
    return Update(ops)


def _order(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, (int, float))
    return (not number, value if number else str(value))
