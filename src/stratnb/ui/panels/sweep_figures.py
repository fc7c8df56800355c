"""The charts of a sweep: a heat map of two parameters, a line of one, and parallel coordinates of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import DataRange1d, FixedTicker, HoverTool, NumeralTickFormatter, Range1d

from stratnb.ui.chart import Update, put
from stratnb.ui.plots import Theme, base_plot, empty_source

__all__ = ["LINES_MOST", "heat_figure", "heat_update", "line_figure", "parallel_figure", "parallel_update", "strength"]

Floats = npt.NDArray[np.float64]

LINES_MOST: Final = 1_000  # trials drawn in parallel coordinates
WRITTEN_MOST: Final = 150  # cells that have their value written in them
ACROSS: Final = 60  # characters of labels that fit below a map
UP: Final = 16  # labels beside it
PALEST: Final = 0.08
STRONGEST: Final = 0.55  # the values written into the cells stay readable


def strength(values: Floats) -> Floats:
    """Return the opacity of values by their size, from the smallest on where all have one sign; NaN is invisible."""
    known = np.abs(values[~np.isnan(values)])
    alike = len(known) and (np.nanmin(values) >= 0.0 or np.nanmax(values) <= 0.0)
    low, high = float(known.min()) if alike else 0.0, float(known.max(initial=0.0))
    if low == high:
        low = 0.0
    part = (np.abs(np.nan_to_num(values)) - low) / ((high - low) or 1.0)
    return np.where(np.isnan(values), 0.0, PALEST + (STRONGEST - PALEST) * part)


def _titled(plot: Any, theme: Theme, names: Sequence[str]) -> None:
    """Write the names of the axes in the look of the panels; the colours of the axes stay bound."""
    for i, (axis, name) in enumerate(zip(plot.axis, names, strict=True)):
        axis.axis_label = name
        axis.axis_label_text_font_style, axis.axis_label_text_font_size = "normal", "12px"
        theme.append([f"{plot.name}-ax{i}", "axis_label_text_color", "--sn-text-2"])


def heat_figure(
    x: Sequence[str], y: Sequence[str], names: tuple[str, str], words: Sequence[Sequence[str]], *, signed: bool
) -> tuple[Any, Theme]:
    """Return the empty heat map of the values `x` and `y`; sources cells (x, y, up, a, v, n) and best (x, y).

    `words` are written into the cells, by (y, x), while there are few. A signed figure has the colours of gain and
    loss, another one a plain colour.
    """
    theme = Theme()
    across, up = Range1d(start=-0.5, end=len(x) - 0.5), Range1d(start=-0.5, end=len(y) - 0.5)
    plot = base_plot(across, x_axis_type="linear", y_range=up)
    theme.axes(plot, "heat-plot")
    plot.grid.visible = False
    for axis, labels, room in ((plot.xaxis, x, ACROSS), (plot.yaxis, y, UP)):
        size = 1 if axis is plot.yaxis else max(map(len, labels), default=0) + 2
        step = max(1, math.ceil(len(labels) * size / room))
        axis.ticker = FixedTicker(ticks=list(range(0, len(labels), step)))
        axis.major_label_overrides = dict(enumerate(labels))
    _titled(plot, theme, names)
    colours = ("--sn-down", "--sn-up") if signed else ("--sn-info", "--sn-info")
    colour = theme.mapper("cm_heat", *colours)
    source = empty_source("cells", "x", "y", "up", "a", "v", "n")
    drawn = plot.rect("x", "y", 0.96, 0.94, source=source, fill_color=colour, fill_alpha="a", line_color=None)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=[("Figure", "@v{0,0.0000}"), ("Trials", "@n")]))
    if len(x) * len(y) <= WRITTEN_MOST:
        places = [(j, i, text) for i, row in enumerate(words) for j, text in enumerate(row)]
        across_, up_, texts = zip(*places, strict=True)
        options = {"text_align": "center", "text_baseline": "middle", "text_font_size": "12px"}
        written = plot.text(across_, up_, text=texts, **options)
        theme.bind(written.glyph, "g_written", text_color="--sn-text")
    ring = plot.rect("x", "y", 0.96, 0.94, source=empty_source("best", "x", "y"), fill_color=None, line_width=2)
    theme.bind(ring.glyph, "g_best", line_color="--sn-text")
    return plot, theme


def heat_update(values: Floats, trials: Floats, best: tuple[int, int] | None) -> Update:
    """Return the cells of values by (y, x), NaN where no trial is, and the ring around the best."""
    rows, cols = np.indices(values.shape)
    flat = values.ravel()
    cells = {"x": cols.ravel(), "y": rows.ravel(), "up": flat >= 0.0, "a": strength(flat), "v": flat}
    ring = ([], []) if best is None else ([float(best[1])], [float(best[0])])
    ops = [put("cells", {**cells, "n": trials.ravel()}), put("best", {"x": ring[0], "y": ring[1]})]
    return Update(ops)


def line_figure(name: str, figure: str, form: str) -> tuple[Any, Theme]:
    """Return the empty line of a figure over one parameter; sources line (x, y) and best (x, y)."""
    theme = Theme()
    plot = base_plot(DataRange1d(range_padding=0.05), x_axis_type="linear", y_range=DataRange1d(range_padding=0.12))
    theme.axes(plot, "line-plot")
    _titled(plot, theme, (name, figure))
    plot.yaxis.formatter = NumeralTickFormatter(format=form)
    source = empty_source("line", "x", "y")
    theme.bind(plot.line("x", "y", source=source, line_width=1.5).glyph, "g_line", line_color="--sn-line-1")
    dots = plot.scatter("x", "y", source=source, size=7)
    theme.bind(dots.glyph, "g_dots", fill_color="--sn-line-1", line_color="--sn-line-1")
    ring = plot.scatter("x", "y", source=empty_source("best", "x", "y"), size=13, fill_color=None, line_width=2)
    theme.bind(ring.glyph, "g_best", line_color="--sn-text")
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[(name, "@x"), (figure, "@y{0,0.0000}")]))
    return plot, theme


def parallel_figure(names: Sequence[str], ends: Sequence[tuple[str, str]]) -> tuple[Any, Theme]:
    """Return the empty parallel coordinates; each axis has a name and its lowest and highest value in words.

    Sources legs (x0, y0, x1, y1, up, a) and best (x, y); heights are from 0 to 1.
    """
    theme = Theme()
    last = len(names) - 1
    plot = base_plot(
        Range1d(start=-0.35, end=last + 0.35), x_axis_type="linear", y_range=Range1d(start=-0.12, end=1.14)
    )
    theme.axes(plot, "parallel-plot")
    plot.grid.visible = False
    plot.yaxis.visible = False
    plot.min_border_right = 12
    plot.xaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    plot.xaxis.major_label_overrides = dict(enumerate(names))
    posts = plot.segment(list(range(len(names))), 0.0, list(range(len(names))), 1.0, line_width=1)
    theme.bind(posts.glyph, "g_posts", line_color="--sn-field")
    for i, (low, high) in enumerate(ends):
        for height, words, base in ((-0.02, low, "top"), (1.02, high, "bottom")):
            text = plot.text(
                [i], [height], text=[words], text_align="center", text_baseline=base, text_font_size="12px"
            )
            theme.bind(text.glyph, f"g_end{i}{base}", text_color="--sn-text-2")
    colour = theme.mapper("cm_legs", "--sn-down", "--sn-up")
    legs = empty_source("legs", "x0", "y0", "x1", "y1", "up", "a")
    plot.segment("x0", "y0", "x1", "y1", source=legs, line_color=colour, line_alpha="a", line_width=1)
    best = plot.line("x", "y", source=empty_source("best", "x", "y"), line_width=2.5)
    theme.bind(best.glyph, "g_best", line_color="--sn-text")
    return plot, theme


def parallel_update(heights: Floats, good: npt.NDArray[np.bool_], best: int | None) -> Update:
    """Return the lines of trials, rows of heights in 0..1; `good` ones have the colour of a gain."""
    many, axes = heights.shape
    if axes < 2 or not many:
        return Update([put("legs", {name: [] for name in ("x0", "y0", "x1", "y1", "up", "a")})])
    start = np.broadcast_to(np.arange(axes - 1.0), (many, axes - 1))
    legs = {"x0": start, "y0": heights[:, :-1], "x1": start + 1.0, "y1": heights[:, 1:]}
    legs |= {"up": np.repeat(good[:, None], axes - 1, 1), "a": np.full((many, axes - 1), min(1.0, 60.0 / many + 0.08))}
    ops = [put("legs", {name: np.ravel(values) for name, values in legs.items()})]
    line = np.empty(0) if best is None else heights[best]
    return Update([*ops, put("best", {"x": np.arange(float(len(line))), "y": line})])
