"""The bokeh figures of the panels: no fill, no toolbar, every colour bound to a CSS variable by name."""

from __future__ import annotations

from typing import Any, Final

from bokeh.models import DataRange1d, LinearScale, NumeralTickFormatter, PanTool, Range1d, WheelZoomTool

from stratnb.ui.plots import Theme
from stratnb.ui.plots import base_plot as _base
from stratnb.ui.plots import empty_source as _source

__all__ = ["CURVES", "DECIDED", "LEVELS", "LINES", "Theme", "price_figure"]

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
DECIDED: Final = ("da", "dd", "dr", "ds", "dl")  # action, direction, reason, score and catch-up of the decision
CURVES: Final = tuple(
    (colour, dash, f"is-c{n}")
    for n, (colour, dash) in enumerate(
        ((c, d) for d in ("solid", "6 2") for c in ("--sn-ok", "--sn-warn", "--sn-info", "--sn-line-1")), 1
    )
)
PRICE_COLUMNS: Final = ("t", "o", "h", "l", "c", "v", "up", "m", "s", "vm", "a", *DECIDED)


def price_figure(decimals: int, *, log: bool = False) -> tuple[Any, Theme]:
    """Return the empty price chart and its colours; its sources are filled by operations.

    Sources: src (candles, lines k0.., levels v0.., decisions), fills, legs, ghosts, pending, stop, entry, targets,
    gaps; ranges: xr and vol.
    """
    theme = Theme()
    # BokehJS fits a logarithmic range to all rows instead of those in view: the page fits a plain one itself.
    y: Any = Range1d(start=1, end=10, name="yr") if log else DataRange1d(range_padding=0.10, name="yr")
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
    if not log:
        y.renderers = scaled
    return plot, theme


def _candles(plot: Any, theme: Theme) -> list[Any]:
    """Add gaps, volume, levels, candles and lines; return what the price range follows."""
    lines, levels = [f"k{i}" for i in range(len(LINES))], [f"v{i}" for i in range(LEVELS)]
    source = _source("src", *PRICE_COLUMNS, *lines, *levels)
    strip = plot.vstrip("x0", "x1", source=_source("gaps", "x0", "x1"), line_color=None)
    theme.bind(strip.glyph, "g_gap", fill_color="--sn-text-3/.12")
    slot = plot.vstrip("x0", "x1", source=_source("pending", "x0", "x1"), line_dash="4 3")
    theme.bind(slot.glyph, "g_pending", fill_color="--sn-warn/.16", line_color="--sn-warn")
    volume = theme.mapper("cm_vol", "--sn-down/.24", "--sn-up/.24")
    bars = plot.rect(
        "t", "vm", 1, "v", source=source, y_range_name="vol", fill_color=volume, line_color=None, fill_alpha="a"
    )
    bars.glyph.name = "g_vol"
    for name in levels:
        level = plot.step("t", name, source=source, mode="after", line_dash="dotted", line_width=1.25)
        theme.bind(level.glyph, f"g_{name}", line_color="--sn-text-3")
        level.name = f"r_{name}"
    wick, edge = theme.mapper("cm_wick", "--sn-down", "--sn-up"), theme.mapper("cm_edge", "--sn-down", "--sn-up")
    body = theme.mapper("cm_body", "--sn-down", "--sn-panel")
    drawn = [
        plot.segment("t", "h", "t", "l", source=source, line_color=wick, line_alpha="a"),
        plot.rect("t", "m", 1, "s", source=source, fill_color=body, line_color=edge, line_alpha="a", fill_alpha="a"),
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
    """Add entries, exits, the line between them, and hollow what was only decided while catching up."""
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
    late = _source("ghosts", "x", "long", "short")
    for field, marker, colour in (("long", "triangle", "--sn-up"), ("short", "inverted_triangle", "--sn-down")):
        mark = plot.scatter("x", field, source=late, marker=marker, size=11, line_width=1.5, fill_color=None)
        theme.bind(mark.glyph, f"g_late_{field}", line_color=colour)
