"""The curve of the performance panel: key figures, equity, the drawdown with the open fall marked, rolling Sharpe."""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets as w
import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.research.conventions import FEW, explained
from stratnb.research.daily import correlation, drawdown
from stratnb.research.falls import falls_of
from stratnb.ui.chart import Chart, Ops, Update, put
from stratnb.ui.controls import show, styled
from stratnb.ui.curve import LINES, equity_figure
from stratnb.ui.format import age, escape, num, pct, share, stamp, words
from stratnb.ui.panels.performance_controls import CurveControls
from stratnb.ui.panels.performance_data import DAYS_NEEDED, Line, Sample, spaced
from stratnb.ui.panels.performance_figures import rolling_figure, rolling_update
from stratnb.ui.panels.performance_rows import Known, key_rows
from stratnb.ui.widgets import Table

__all__ = ["CurveView", "Look", "curve_frame", "curve_update", "legend"]

Floats = npt.NDArray[np.float64]

ROLLING_PX = 130


@dataclass(frozen=True, slots=True)
class Look:
    """How the curves are drawn: from 100 on, one point a step (0: all), and the days of the rolling Sharpe."""

    relative: bool = True
    log: bool = False
    step_ms: int = 0
    window: int = 30


def _scaled(rows: Floats, look: Look) -> Floats:
    """Return the drawn rows (time, value) of a curve; a logarithmic axis has no values at or under zero."""
    drawn = spaced(rows, look.step_ms)
    value = drawn[:, 1] * (100.0 / rows[0, 1]) if look.relative and rows[0, 1] > 0 else drawn[:, 1]
    return np.column_stack([drawn[:, 0], np.where(value > 0, value, np.nan) if look.log else value])


def _fall(line: Line) -> tuple[Floats, Floats, float | None]:
    """Return times, drawdown (<= 0, for drawing) and the time of the peak of the fall that has not ended."""
    times, equity = line.rows[:, 0], line.rows[:, 1]
    if equity[0] <= 0:
        return times, np.zeros(len(times)), None
    falls = falls_of(times.astype(np.int64), equity)
    is_open = len(falls) and np.isnan(falls[-1, 1])
    return times, -drawdown(equity), float(falls[-1, 0]) if is_open else None


def curve_update(sample: Sample, look: Look) -> Update:
    """Return the operations that draw all curves, and under them the drawdown of the first (and that of B)."""
    made = {line.key: _scaled(line.rows, look) for line in sample.lines}
    empty = np.empty((0, 2))
    ops: Ops = [put(name, dict(zip("ty", made.get(name, empty).T, strict=True))) for name, *_ in LINES]
    times, fall, peak = _fall(sample.lines[0])
    since = np.inf if peak is None else peak
    for name, part in (("drawdown", times <= since), ("open", times >= since)):
        ops.append(put(name, {"t": times[part], "dd": fall[part], "zero": np.zeros(int(part.sum()))}))
    other, below, _ = _fall(sample.lines[1]) if sample.is_pair else (np.empty(0), np.empty(0), None)
    ops.append(put("other", {"t": other, "dd": below}))
    return Update(ops, sample.span, True)


def legend(sample: Sample) -> str:
    """Return the keys of the curves with their change, the open drawdown and what a pair has in common, as HTML."""
    keys = []
    for line in sample.lines:
        first, last = float(line.rows[0, 1]), float(line.rows[-1, 1])
        change = pct(last / first - 1.0) if first > 0 else "n/a"
        keys.append(f'<span class="sn-key {line.look}">{escape(line.label)} {change}</span>')
    times, fall, peak = _fall(sample.lines[0])
    keys.append('<span class="sn-key is-dd">Drawdown</span>')
    if peak is not None:
        since = f"{share(-fall[-1], 2)} since {stamp(peak)} UTC ({age((times[-1] - peak) / 1000)})"
        keys.append(f'<span class="sn-key is-open">Open drawdown {since}</span>')
    if sample.is_pair:
        keys.append(f'<span class="sn-key is-none">{escape(_apart(sample))}</span>')
    return "".join(keys)


def _apart(sample: Sample) -> str:
    """Return the difference and the correlation of a pair in words."""
    a, b = sample.lines
    gains = [float(line.rows[-1, 1] / line.rows[0, 1] - 1.0) for line in (a, b)]
    related, n = correlation(a.returns(), b.returns())
    told = f"correlation {num(related)} (N {n}{' ⚑' if n < FEW else ''})"
    is_long = a.has_ratios and b.has_ratios
    return words([f"A − B {pct(gains[0] - gains[1])}", told if is_long else "", "dashed: drawdown of B"])


def curve_frame(sample: Sample, look: Look) -> pd.DataFrame:
    """Return the drawn points: curve, time (UTC), equity, value (as drawn) and drawdown (a fraction >= 0)."""
    parts = []
    for line in sample.lines:
        times, fall, _ = _fall(line)
        kept = np.isin(times, spaced(line.rows, look.step_ms)[:, 0])
        columns = {"time": pd.to_datetime(times[kept], unit="ms", utc=True), "equity": line.rows[kept, 1]}
        drawn = {"value": _scaled(line.rows, look)[:, 1], "drawdown": np.abs(fall[kept])}
        parts.append(pd.DataFrame({"curve": line.label, **columns, **drawn}))
    return pd.concat(parts, ignore_index=True)


class CurveView:
    """Key figures, controls, legend and the charts of equity, drawdown and rolling Sharpe."""

    def __init__(self, height: int, settings: CurveControls) -> None:
        self._height = height
        self.settings = settings
        self.kpi = Table(kind="kpi", caption="Key figures")
        self.note = styled(w.HTML(), "sn-legend", "sn-off")
        self.legend = styled(w.HTML(), "sn-legend")
        self._log = False
        figure, theme = equity_figure(height)
        self.chart = Chart(figure, theme=list(theme), height=f"{height}px", caption="Equity and drawdown over time")
        figure, theme = rolling_figure()
        self.rolling = Chart(figure, theme=list(theme), height=f"{ROLLING_PX}px", caption="Rolling Sharpe ratio")
        self.heading = w.HTML()
        self._whole, self._rolled = Update(), Update()
        self.chart.snapshot, self.rolling.snapshot = lambda: self._whole, lambda: self._rolled
        self.below = w.VBox([self.rolling])
        parts = [self.kpi, settings.row, self.note, self.legend, self.chart, self.heading, self.below]
        self.widget = styled(w.VBox(parts), "sn-result")

    @property
    def look(self) -> Look:
        """Return how the curves are to be drawn."""
        s = self.settings
        return Look(bool(s.relative.value), bool(s.log.value), int(s.step.value), int(s.window.value))

    def paint(self, sample: Sample, known: Known) -> None:
        """Draw the sample."""
        look, first = self.look, sample.lines[0]
        if look.log != self._log:
            self._log = look.log
            figure, theme = equity_figure(self._height, log=look.log)
            self.chart.redraw(figure, list(theme))
        self.kpi.show(key_rows(first, known, sample.quote))
        if self.legend.value != (keys := legend(sample)):
            self.legend.value = keys
        self._say(first)
        self._whole = curve_update(sample, look)
        self.chart.send_snapshot()
        self._roll(sample, look.window)

    def _say(self, line: Line) -> None:
        """Say how many days the ratios need."""
        show(self.note, not line.has_ratios)
        text = f"Ratios need {DAYS_NEEDED} days; the range has {line.elapsed_days:.1f}."
        if not line.has_ratios and text not in self.note.value:
            self.note.value = f'<span class="sn-key is-none" role="status">{escape(text)}</span>'

    def _roll(self, sample: Sample, window: int) -> None:
        """Draw the rolling Sharpe, or say what it needs."""
        self._rolled, most = rolling_update(sample, window, sample.span)
        text = f"Rolling Sharpe, window {window} days" + (" ⚑" if window < FEW else "")
        if most < window:
            text += f": needs {window} daily returns, has {most}"
        made = f'<h3 title="{escape(explained("sharpe"))}">{escape(text)}</h3>'
        if self.heading.value != made:
            self.heading.value = made
        show(self.below, most >= window)
        self.rolling.send_snapshot()
