"""The trades of a report: how their results are spread, what they went through, months, reasons and the list."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from bokeh.models import DataRange1d, HoverTool, NumeralTickFormatter

from stratnb.research.conventions import FEW
from stratnb.research.frames import trades_frame
from stratnb.ui.chart import Update, put
from stratnb.ui.format import cents, count, delta, num, pct, share
from stratnb.ui.panels import backtest_rows
from stratnb.ui.panels.performance_breakdown import (
    excursion_frame,
    excursion_table,
    months_frame,
    months_table,
    weekday_table,
)
from stratnb.ui.panels.performance_figures import excursion_figure, excursion_update, hours_figure, hours_update
from stratnb.ui.panels.report_parts import Drawing, Listing, Part, Words
from stratnb.ui.panels.report_source import Source
from stratnb.ui.plots import Theme, base_plot, empty_source

__all__ = [
    "distribution_part",
    "excursions_part",
    "hours_part",
    "months_part",
    "reasons_part",
    "result_bins",
    "trades_part",
]

Floats = npt.NDArray[np.float64]

NO_TRADE: Final = {"t": "No closed trade", "sub": "No decision became an entry; the reasons say why."}
BINS: Final = (10, 60)
SPREAD: Final = 4_000  # points of the scatter


def months_part(source: Source) -> Part:
    """Return the return of each calendar month."""
    cols, rows = months_table(months_frame(source.sample))
    words = Words("Return of each calendar month, UTC; begun months as they stand.")
    none = {"t": "No month", "sub": "The run has no whole day."}
    return Part("Months", (words, Listing("Returns of calendar months", rows, cols, empty=none)))


def result_bins(returns: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the edges, one of them 0, and the counts of a histogram, about as wide as Freedman and Diaconis say.

    >>> edges, counts = result_bins(np.array([-0.01, 0.01, 0.02]))
    >>> 0.0 in edges, int(counts.sum())
    (True, 3)
    """
    low, high = min(float(returns.min()), 0.0), max(float(returns.max()), 0.0)
    if not high > low:
        low, high = -0.001, 0.001
    quarter = float(np.subtract(*np.quantile(returns, (0.75, 0.25))))
    width = 2.0 * quarter / len(returns) ** (1.0 / 3.0)
    many = np.clip((high - low) / width if width > 0 else BINS[0], *BINS)
    width = (high - low) / float(many)
    edges = np.arange(np.floor(low / width), np.ceil(high / width) + 1.5) * width
    return edges, np.histogram(returns, edges)[0]


def _distribution_figure() -> tuple[Any, Theme]:
    """Return the empty histogram; source bars (x, w, y, n, up, a, b)."""
    theme = Theme()
    plot = base_plot(DataRange1d(range_padding=0.04), x_axis_type="linear", y_range=DataRange1d(start=0.0))
    theme.axes(plot, "spread-plot")
    plot.xgrid.visible = False
    plot.xaxis.formatter = NumeralTickFormatter(format="0.0[0]%")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.ticker.desired_num_ticks = 4
    colour = theme.mapper("cm_spread", "--sn-down", "--sn-up")
    source = empty_source("bars", "x", "w", "m", "n", "up", "a", "b")
    bars = plot.rect("x", "m", "w", "n", source=source, fill_color=colour, fill_alpha=0.75, line_color=None)
    rows = [("Return", "@a{+0.00%} to @b{+0.00%}"), ("Trades", "@n")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=rows))
    return plot, theme


def distribution_part(source: Source) -> Part:
    """Return the distribution of the returns of trades, in sum and by weekday and hour of exit."""
    trades = source.trades
    if not trades:
        return Part("Distribution of trades", (Listing("Trades", (), (), empty=NO_TRADE),), span="7")
    returns = np.array([trade.return_fraction for trade in trades])
    edges, counts = result_bins(returns)
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2.0
    bars = {"x": middle, "w": width * 0.94, "m": counts / 2.0, "n": counts, "up": middle > 0}
    figure, theme = _distribution_figure()
    update = Update([put("bars", {**bars, "a": edges[:-1], "b": edges[1:]})])
    low, middle_one, high = np.quantile(returns, (0.05, 0.5, 0.95))
    flag = f" ⚑ under {FEW} trades: it says little" if len(trades) < FEW else ""
    spread = f"5 % of them under {pct(low)}, half under {pct(middle_one)}, 5 % above {pct(high)}"
    words = Words(f"Return of each closed trade after costs: n {count(len(trades))}, {spread}{flag}.")
    drawing = Drawing(figure, theme, update, "Number of trades by return", 230)
    return Part("Distribution of trades", (words, drawing, _holding(source)), span="7")


def _holding(source: Source) -> Listing:
    """Return the results by the reason of the exit."""
    frame = trades_frame(source.trades)
    frame["held_s"] = (frame["exit"] - frame["entry"]).dt.total_seconds()
    cols: list[dict[str, Any]] = [{"key": "name", "label": "Exit by", "cls": "is-wide"}]
    heads = {"n": "Trades", "won": "Won", "pnl": "PnL", "mean": "Mean return", "held": "Mean time held"}
    cols += [{"key": key, "label": label, "align": "r"} for key, label in heads.items()]
    rows = []
    for reason, part in frame.groupby("reason", sort=True):
        pnl, held = float(part["pnl"].sum()), float(part["held_s"].mean())
        rows.append(
            {
                "id": str(reason),
                "name": str(reason).replace("_", " "),
                "n": {"t": count(len(part)), "n": len(part)},
                "won": {"t": share(float((part["pnl"] > 0).mean())), "n": float((part["pnl"] > 0).mean())},
                "pnl": delta(pnl, cents(source.quote)),
                "mean": backtest_rows.delta_percent(float(part["return_fraction"].mean())),
                "held": backtest_rows.figure("average_hold_s", held),
            }
        )
    return Listing("Results by reason of the exit", rows, cols)


def hours_part(source: Source) -> Part:
    """Return the results by weekday and hour of exit."""
    line = source.line
    if not line.trades:
        return Part("Hours and weekdays", (Listing("Trades", (), (), empty=NO_TRADE),), span="5")
    figure, theme = hours_figure()
    cols, rows = weekday_table((line,))
    words = Words("PnL of trades after costs by weekday and hour of exit, UTC; the stronger, the more.")
    drawing = Drawing(figure, theme, hours_update((line,)), "Results by weekday and hour of exit", 230)
    return Part("Hours and weekdays", (words, drawing, Listing("Results by weekday", rows, cols)), span="5")


def excursions_part(source: Source) -> Part:
    """Return worst against best unrealized return of each trade."""
    line = source.line
    known = np.isfinite(line.paths).all(axis=1) if len(line.trades) else np.zeros(0, np.bool_)
    if not known.any():
        sub = "Give the candles of the run: report(run, candles=...)." if line.trades else NO_TRADE["sub"]
        none = {"t": "No excursion is known", "sub": sub}
        return Part("MAE and MFE", (Listing("Excursions", (), (), empty=none),), span="7")
    frame = excursion_frame((line,))
    cols, rows = excursion_table(frame)
    figure, theme = excursion_figure()
    update = excursion_update((line,))
    for op in update.ops:
        op["data"] = _fewer(op["data"])
    drawn = sum(len(op["data"]["mae"]) for op in update.ops)
    left = f"; {count(drawn)} of {count(int(known.sum()))} are drawn, the extreme ones among them"
    words = Words(
        "Worst and best unrealized return of each closed trade before costs, from highs and lows while it was held; "
        f"the candle of the exit counts with its fill. ▲ won, ▼ lost{left if drawn < known.sum() else ''}."
    )
    drawing = Drawing(figure, theme, update, "Worst against best unrealized return of each trade", 320)
    return Part("MAE and MFE", (words, drawing, Listing("Means of excursions", rows, cols)), span="7")


def _fewer(points: dict[str, Floats]) -> dict[str, Floats]:
    """Return at most half of `SPREAD` points: every so many of the order of their sizes, both ends among them."""
    size = len(points["mae"])
    if size <= SPREAD // 2:
        return points
    order = np.argsort(points["mfe"] - points["mae"], kind="stable")
    kept = order[np.unique(np.linspace(0, size - 1, SPREAD // 2).round().astype(np.int64))]
    return {name: values[kept] for name, values in points.items()}


def reasons_part(source: Source) -> Part:
    """Return how decisions ended, and what was denied."""
    denials = [{**backtest_rows.COUNT_COLUMNS[0], "label": "Denied by"}, *backtest_rows.COUNT_COLUMNS[1:]]
    free = {"t": "No denial", "sub": "Every entry passed the checks of risk and size."}
    total = sum(source.reasons.values())
    return Part(
        "Decisions",
        (
            Words(heading="Why decisions ended as they did"),
            Listing("Reasons", backtest_rows.count_rows(source.reasons), backtest_rows.COUNT_COLUMNS, page=12),
            Words(heading="Entries that a check of risk or size denied"),
            Listing("Denials", backtest_rows.count_rows(source.denials, total), denials, page=12, empty=free),
        ),
        f"{count(total)} decisions",
        span="5",
    )


def trades_part(source: Source) -> Part:
    """Return the newest trades as a table."""
    frame: pd.DataFrame = trades_frame(source.trades)
    if source.shared is not None:
        frame = frame.assign(strategy=source.shared.owners, symbol=[trade.symbol for trade in source.trades])
    rows = backtest_rows.trade_rows(frame, source.stops, source.quote)
    many, shown = len(frame), backtest_rows.TRADES_SHOWN
    note = f"{count(many)}, the newest {num(shown, 0)} of them here" if many > shown else count(many)
    cols = backtest_rows.trade_columns(frame["funding"], several=source.shared is not None)
    return Part("Trades", (Listing("Trades", rows, cols, page=15, empty=NO_TRADE),), note)
