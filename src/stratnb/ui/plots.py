"""What every bokeh figure of the panels shares: no fill, no toolbar, every colour bound to a CSS variable by name."""

from __future__ import annotations

from typing import Any, Final, Literal

from bokeh.models import ColumnDataSource, LinearColorMapper
from bokeh.models.formatters import CONTEXTUAL_DATETIME_FORMATTER
from bokeh.plotting import figure

__all__ = ["Theme", "base_plot", "empty_source"]

FONT: Final = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


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


def base_plot(x_range: Any, x_axis_type: Literal["datetime", "linear"] = "datetime", **options: Any) -> Any:
    """Return an empty figure in the look of the panels."""
    plot: Any = figure(
        x_axis_type=x_axis_type,
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
    if x_axis_type == "datetime":
        plot.xaxis.formatter = CONTEXTUAL_DATETIME_FORMATTER()
    plot.axis.minor_tick_line_color = None
    plot.axis.major_tick_in = 0
    plot.axis.major_tick_out = 3
    plot.axis.major_label_text_font_size = "12px"
    plot.axis.major_label_text_font = FONT
    plot.xaxis.ticker.desired_num_ticks = 9
    return plot


def empty_source(name: str, *columns: str) -> ColumnDataSource:
    """Return an empty named source."""
    return ColumnDataSource({key: [] for key in columns}, name=name)
