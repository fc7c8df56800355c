"""The curves of a report: equity with its drawdown, rolling figures; thinned, so that a long run makes a small page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import NumeralTickFormatter

from stratnb.research.conventions import FEW
from stratnb.research.daily import DAY_MS, drawdown, rolling_return, rolling_sharpe, rolling_volatility
from stratnb.research.falls import falls_of
from stratnb.ui.chart import Ops, Update, put
from stratnb.ui.curve import LINES, equity_figure, thinned
from stratnb.ui.format import age, cents, count, num, pct, share, stamp
from stratnb.ui.panels.performance_data import Line, Sample
from stratnb.ui.panels.performance_figures import rolling_figure
from stratnb.ui.panels.report_parts import Drawing, Part, Words

__all__ = ["equity_part", "rolling_part"]

Floats = npt.NDArray[np.float64]

WINDOWS: Final = (30, 90)
ROLLED: Final[tuple[tuple[str, Callable[[Floats, int], Floats], str], ...]] = (
    ("Rolling Sharpe ratio", rolling_sharpe, "0.0"),
    ("Rolling volatility, yearly", rolling_volatility, "0.0%"),
    ("Rolling return", rolling_return, "0.0%"),
)


def equity_part(sample: Sample) -> Part:
    """Return equity of all lines, and the drawdown of the first with the open fall marked."""
    line = sample.lines[0]
    figure, theme = equity_figure(360)
    ops: Ops = [put(each.key, _points(each.rows)) for each in sample.lines if each.key in _NAMES]
    times, fall, peak = _fall(line)
    since = np.inf if peak is None else peak
    for name, part in (("drawdown", times <= since), ("open", times >= since)):
        t, dd = thinned(times[part], fall[part])
        ops.append(put(name, {"t": t, "dd": dd, "zero": np.zeros(len(t))}))
    keys = [(each.look, f"{each.label} {_change(each.rows)}") for each in sample.lines]
    keys.append(("is-dd", "Drawdown"))
    if peak is not None:
        open_for = age((times[-1] - peak) / 1000)
        keys.append(("is-open", f"Open drawdown {share(-float(fall[-1]), 2)} since {stamp(peak)} UTC ({open_for})"))
    most = f"; of {count(len(line.rows))} points the lowest and highest of equal stretches are drawn"
    words = Words(
        f"Equity at each candle's close, {sample.quote}{most if len(line.rows) > len(ops[0]['data']['t']) else ''}."
    )
    drawing = Drawing(figure, theme, Update(ops, sample.span, True), "Equity and drawdown over time", 360)
    return Part("Equity and drawdown", (words, Words(keys=tuple(keys)), drawing), _money(line, sample.quote))


_NAMES: Final = frozenset(name for name, *_ in LINES)


def _points(rows: Floats) -> dict[str, Floats]:
    t, y = thinned(rows[:, 0], rows[:, 1])
    return {"t": t, "y": y}


def _change(rows: Floats) -> str:
    return pct(float(rows[-1, 1] / rows[0, 1]) - 1.0) if rows[0, 1] > 0 else "n/a"


def _money(line: Line, quote: str) -> str:
    first, last = float(line.rows[0, 1]), float(line.rows[-1, 1])
    return f"{num(first, cents(quote))} to {num(last, cents(quote))} {quote}"


def _fall(line: Line) -> tuple[Floats, Floats, float | None]:
    """Return times, drawdown (<= 0, for drawing) and the time of the peak of a fall that has not ended."""
    times, equity = line.rows[:, 0], line.rows[:, 1]
    if equity[0] <= 0:
        return times, np.zeros(len(times)), None
    falls = falls_of(times.astype(np.int64), equity)
    still = len(falls) and np.isnan(falls[-1, 1])
    return times, -drawdown(equity), float(falls[-1, 0]) if still else None


def rolling_part(sample: Sample) -> Part:
    """Return rolling Sharpe ratio, volatility and return of daily returns, for the windows that the run can fill."""
    days = len(sample.lines[0].returns()[1])
    window = next((most for most in reversed(WINDOWS) if days >= 3 * most), WINDOWS[0])
    if days < window:
        words = f"A window of {window} days needs {window} daily returns; the run has {days}."
        return Part("Rolling figures", (Words(words),))
    items: list[Any] = []
    if len(sample.lines) > 2:
        items.append(Words(keys=tuple((line.look, line.label) for line in sample.lines if line.key in _NAMES)))
    for title, roll, form in ROLLED:
        figure, theme = rolling_figure()
        figure.yaxis.formatter = NumeralTickFormatter(format=form)
        ops = [put(line.key, _rolled(line, window, roll)) for line in sample.lines if line.key in _NAMES]
        few = " ⚑ under 30: it says little" if window < FEW else ""
        items += [
            Words(heading=f"{title}, window {window} days{few}"),
            Drawing(figure, theme, Update(ops, sample.span, True), title, 130),
        ]
    return Part("Rolling figures", tuple(items), f"of {count(days)} daily returns")


def _rolled(line: Line, window: int, roll: Callable[[Floats, int], Floats]) -> dict[str, Floats]:
    """Return a rolling figure at the end of its days."""
    days, returns = line.returns()
    values = roll(returns, window)
    known = np.isfinite(values)
    ends: Floats = (days[: len(values)][known] + 1).astype(np.float64) * DAY_MS
    return {"t": ends, "y": values[known]}
