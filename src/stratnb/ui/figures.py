"""The bokeh figures of the panels: no fill, no toolbar, every colour bound to a CSS variable by name."""

from __future__ import annotations

from typing import Any, Final

from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    LinearColorMapper,
    LinearScale,
    NumeralTickFormatter,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.formatters import CONTEXTUAL_DATETIME_FORMATTER
from bokeh.plotting import figure

__all__ = ["CURVES", "LEVELS", "LINES", "Theme", "equity_figure", "price_figure"]

FONT: Final = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LINES: Final = (
    ("--sn-line-1", "solid", "is-1"),
    ("--sn-line-2", "6 2", "is-2"),
    ("--sn-info", "2 2", "is-3"),
    ("--sn-warn", "solid", "is-4"),
    ("--sn-ok", "6 2", "is-5"),
    ("--sn-line-1", "2 2", "is-6"),
    ("--sn-line-2", "solid", "is-7"),
    ("--sn-info", "solid", "is-8"),
)
LEVELS: Final = 4
CURVES: Final = tuple(
    (colour, dash, f"is-c{n}")
    for n, (colour, dash) in enumerate(
        ((c, d) for d in ("solid", "6 2") for c in ("--sn-ok", "--sn-warn", "--sn-info", "--sn-line-1")), 1
    )
)
PRICE_COLUMNS: Final = ("t", "o", "h", "l", "c", "v", "up", "m", "s", "vm")


class Theme(list[list[Any]]):
    """The bindings (model name, property, CSS variable) of a figure."""

    def bind(self, model: Any, name: str, **variables: Any) -> Any:
        """Name the model, bind its colours and return it."""
        model.name = name
        self.extend([name, key, variable] for key, variable in variables.items())
        return model

    def mapper(self, name: str, down: str, up: str) -> dict[str, Any]:
        """Return a colour by the column `up` (0 or 1) whose two colours follow the page."""
        mapper = LinearColorMapper(palette=["#888888", "#999999"], low=0, high=1)
        self.bind(mapper, name, palette=[down, up])
        return {"field": "up", "transform": mapper}

    def axes(self, plot: Any, name: str) -> None:
        """Bind axes and grids of a figure."""
        plot.name = name
        for i, axis in enumerate(plot.axis):
            colours = {"axis_line_color": "--sn-line", "major_tick_line_color": "--sn-line"}
            self.bind(axis, f"{name}-ax{i}", **colours, major_label_text_color="--sn-text-2")
        for i, lines in enumerate(plot.grid):
            self.bind(lines, f"{name}-gr{i}", grid_line_color="--sn-grid")


def _base(x_range: Any, **options: Any) -> Any:
    """Return an empty figure in the look of the panels."""
    plot: Any = figure(
        x_axis_type="datetime",
        x_range=x_range,
        y_axis_location="right",
        sizing_mode="stretch_both",
        toolbar_location=None,
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
        tools=[],
        min_border_right=74,
        min_border_left=0,
        min_border_top=6,
        output_backend="canvas",
        **options,
    )
    plot.xaxis.formatter = CONTEXTUAL_DATETIME_FORMATTER()
    plot.axis.minor_tick_line_color = None
    plot.axis.major_tick_in = 0
    plot.axis.major_tick_out = 3
    plot.axis.major_label_text_font_size = "12px"
    plot.axis.major_label_text_font = FONT
    plot.xaxis.ticker.desired_num_ticks = 9
    return plot


def _source(name: str, *columns: str) -> ColumnDataSource:
    """Return an empty named source."""
    return ColumnDataSource({key: [] for key in columns}, name=name)


def price_figure(decimals: int, *, log: bool = False) -> tuple[Any, Theme]:
    """Return the empty price chart and its colours; its sources are filled by operations.

    Sources: src (candles, lines k0.., levels v0..), fills, legs, stop, entry, targets, gaps; ranges: xr and vol.
    """
    theme = Theme()
    y = DataRange1d(range_padding=0.10, name="yr")
    plot = _base(Range1d(start=0, end=1, name="xr"), y_range=y, window_axis="x", y_axis_type="log" if log else "linear")
    theme.axes(plot, "main")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0." + "0" * decimals if decimals else "0,0")
    plot.yaxis.ticker.desired_num_ticks = 8
    pan, zoom = PanTool(dimensions="width"), WheelZoomTool(dimensions="width")
    plot.add_tools(pan, zoom)
    plot.toolbar.active_drag, plot.toolbar.active_scroll = pan, zoom
    plot.extra_y_ranges = {"vol": Range1d(start=0, end=1, name="vol")}
    plot.extra_y_scales = {"vol": LinearScale()}
    scaled = _candles(plot, theme)
    scaled += _position(plot, theme)
    _trades(plot, theme)
    y.renderers = scaled
    return plot, theme


def _candles(plot: Any, theme: Theme) -> list[Any]:
    """Add gaps, volume, levels, candles and lines; return what the price range follows."""
    lines, levels = [f"k{i}" for i in range(len(LINES))], [f"v{i}" for i in range(LEVELS)]
    source = _source("src", *PRICE_COLUMNS, *lines, *levels)
    strip = plot.vstrip("x0", "x1", source=_source("gaps", "x0", "x1"), line_color=None)
    theme.bind(strip.glyph, "g_gap", fill_color="--sn-text-3/.12")
    volume = theme.mapper("cm_vol", "--sn-down/.24", "--sn-up/.24")
    bars = plot.rect("t", "vm", 1, "v", source=source, y_range_name="vol", fill_color=volume, line_color=None)
    bars.glyph.name = "g_vol"
    for name in levels:
        level = plot.step("t", name, source=source, mode="after", line_dash="dotted", line_width=1.25)
        theme.bind(level.glyph, f"g_{name}", line_color="--sn-text-3")
        level.name = f"r_{name}"
    wick, edge = theme.mapper("cm_wick", "--sn-down", "--sn-up"), theme.mapper("cm_edge", "--sn-down", "--sn-up")
    body = theme.mapper("cm_body", "--sn-down", "--sn-panel")
    drawn = [
        plot.segment("t", "h", "t", "l", source=source, line_color=wick),
        plot.rect("t", "m", 1, "s", source=source, fill_color=body, line_color=edge),
    ]
    drawn[1].glyph.name = "g_body"
    for name, (colour, dash, _) in zip(lines, LINES, strict=True):
        line = plot.line("t", name, source=source, line_width=1.5, line_dash=dash)
        theme.bind(line.glyph, f"g_{name}", line_color=colour)
        line.name = f"r_{name}"
        drawn.append(line)
    return drawn


def _position(plot: Any, theme: Theme) -> list[Any]:
    """Add stop with its history, entry and targets; the price range follows all but the far targets."""
    stop = plot.line("x", "y", source=_source("stop", "x", "y"), line_width=1.5, line_dash="5 3")
    entry = plot.segment("x0", "y", "x1", "y", source=_source("entry", "x0", "x1", "y"), line_width=1)
    target = plot.segment(
        "x0", "y", "x1", "y", source=_source("targets", "x0", "x1", "y"), line_width=1.5, line_dash="2 3"
    )
    theme.bind(stop.glyph, "g_stop", line_color="--sn-err")
    theme.bind(entry.glyph, "g_entry", line_color="--sn-text-2")
    theme.bind(target.glyph, "g_target", line_color="--sn-ok")
    return [stop, entry]


def _trades(plot: Any, theme: Theme) -> None:
    """Add entries, exits and the line between them."""
    legs = _source("legs", "x0", "y0", "x1", "y1", "up")
    tone = theme.mapper("cm_leg", "--sn-down", "--sn-up")
    plot.segment("x0", "y0", "x1", "y1", source=legs, line_color=tone, line_width=1, line_dash="4 3")
    source = _source("fills", "x", "long", "short", "out")
    for field, marker, colour in (
        ("long", "triangle", "--sn-up"),
        ("short", "inverted_triangle", "--sn-down"),
        ("out", "x", "--sn-text"),
    ):
        mark = plot.scatter("x", field, source=source, marker=marker, size=11, line_width=1.5)
        theme.bind(mark.glyph, f"g_{field}", fill_color=colour, line_color=colour)


def equity_figure(height: int) -> tuple[Any, Theme]:
    """Return the empty equity and drawdown charts in one column, and their colours.

    Sources: account (t, y), hold (t, y), s0.. (t, y) and drawdown (t, dd, zero); both share the range xr.
    """
    theme = Theme()
    x = Range1d(start=0, end=1, name="xr")
    top, below = (
        _base(x, y_range=DataRange1d(range_padding=0.12)),
        _base(x, y_range=DataRange1d(end=0, range_padding=0.1)),
    )
    theme.axes(top, "main")
    theme.axes(below, "drawdown-plot")
    below.height = 52 + height // 6
    top.height = height - below.height
    top.sizing_mode = below.sizing_mode = "stretch_width"
    top.xaxis.visible = False
    top.min_border_bottom = below.min_border_top = 2
    top.yaxis.formatter, below.yaxis.formatter = (
        NumeralTickFormatter(format="0,0"),
        NumeralTickFormatter(format="0.0[0]%"),
    )
    top.yaxis.ticker.desired_num_ticks, below.yaxis.ticker.desired_num_ticks = 4, 2
    for plot in (top, below):
        plot.xgrid.visible = False
        plot.xaxis.ticker.desired_num_ticks = 6
    curves = [("hold", "--sn-text-3", "4 3", 1.25), ("account", "--sn-accent", "solid", 1.75)]
    curves += [(f"s{i}", colour, dash, 1.25) for i, (colour, dash, _) in enumerate(CURVES)]
    for name, colour, dash, width in curves:
        line = top.line("t", "y", source=_source(name, "t", "y"), line_width=width, line_dash=dash)
        theme.bind(line.glyph, f"g_{name}", line_color=colour)
    source = _source("drawdown", "t", "dd", "zero")
    theme.bind(below.varea("t", "dd", "zero", source=source).glyph, "g_area", fill_color="--sn-down/.30")
    theme.bind(below.line("t", "dd", source=source, line_width=1).glyph, "g_dd", line_color="--sn-down")
    return column(top, below, sizing_mode="stretch_width", spacing=0), theme
