"""The equity of several runs on one time axis."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as w
import numpy as np
import numpy.typing as npt
from bokeh.models import DataRange1d, NumeralTickFormatter, Range1d

from stratnb.ui.chart import Chart, Update, put
from stratnb.ui.controls import styled
from stratnb.ui.curve import lines_of, thinned
from stratnb.ui.figures import CURVES
from stratnb.ui.format import escape
from stratnb.ui.plots import Theme, base_plot

__all__ = ["CompareCurve"]


class CompareCurve:
    """A chart of up to eight curves, drawn anew for each choice."""

    def __init__(self, height: int = 240) -> None:
        theme = Theme()
        plot = base_plot(Range1d(start=0, end=1, name="xr"), y_range=DataRange1d(range_padding=0.12))
        theme.axes(plot, "main")
        plot.yaxis.formatter = NumeralTickFormatter(format="0,0[.]00")
        plot.yaxis.ticker.desired_num_ticks = 5
        plot.xgrid.visible = False
        lines_of(plot, theme)
        self.chart = Chart(plot, theme=list(theme), height=f"{height}px", caption="Equity of the compared runs")
        self.chart.snapshot = lambda: self._picture
        self._picture = Update()
        self.legend = styled(w.HTML(), "sn-legend")
        self.widget = w.VBox([self.legend, self.chart])

    def draw(self, curves: Sequence[tuple[str, npt.ArrayLike, npt.ArrayLike]]) -> None:
        """Draw curves given as (name, times in ms, values); nothing without a point."""
        drawn = [(name, *thinned(times, values)) for name, times, values in curves[: len(CURVES)]]
        ends = [float(t[i]) for _, t, _ in drawn if len(t) for i in (0, -1)]
        if not ends:
            return
        blank: npt.NDArray[np.float64] = np.empty(0)
        ops = [put(f"s{i}", {"t": t, "y": y}) for i, (_, t, y) in enumerate(drawn)]
        ops += [put(f"s{i}", {"t": blank, "y": blank}) for i in range(len(drawn), len(CURVES))]
        keys = (f'<span class="sn-key {CURVES[i][2]}">{escape(name)}</span>' for i, (name, _, _) in enumerate(drawn))
        self.legend.value = "".join(keys)
        room = 0.02 * (max(ends) - min(ends)) + 1.0
        self._picture = Update(ops=ops, range=(min(ends), max(ends) + room), force=True)
        self.chart.send_snapshot()
