"""The parts of a report that several strategies on one account have: who earned what, exposure, how alike they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import NumeralTickFormatter

from stratnb.ui.chart import Ops, Update, put
from stratnb.ui.curve import LINES, thinned
from stratnb.ui.format import Cell, cents, count, delta, na, num, pct, share
from stratnb.ui.panels.backtest_rows import COUNT_COLUMNS
from stratnb.ui.panels.performance_breakdown import correlation_table
from stratnb.ui.panels.performance_data import Sample
from stratnb.ui.panels.performance_figures import rolling_figure
from stratnb.ui.panels.performance_rows import TITLES, figure_cell
from stratnb.ui.panels.report_parts import Drawing, Listing, Part, Words
from stratnb.ui.panels.report_source import Shared, Source

__all__ = ["attribution_part", "correlation_part", "denials_part", "exposure_part"]

Floats = npt.NDArray[np.float64]
Figures = Mapping[str, Mapping[str, float | None]]

OWN: Final = ("total_return", "trades", "win_rate", "profit_factor", "max_drawdown", "sharpe", "exposure_time")
HEADS: Final = {
    "capital": ("Capital", "What the strategy was given at the start"),
    "pnl": ("PnL", "Result with what is open, after costs"),
    "share": ("Of the result", "Its part of the account's result"),
    "contribution": ("Of the account", "Its result over the account's start"),
}
FEW_CURVES: Final = 4  # account, buy and hold and two strategies fit beside each other
DRAWN: Final = tuple(name for name, *_ in LINES)


def attribution_part(source: Source, shared: Shared, figures: Figures) -> Part:
    """Return what each strategy added to the account: a table, and the course of the results."""
    lines = {line.key: line for line in source.sample.lines}
    heads = HEADS | {name: (TITLES[name], "") for name in OWN} | {"fees": ("Fees", "")}
    cols: list[dict[str, Any]] = [{"key": "name", "label": "Strategy"}, {"key": "symbol", "label": "Market"}]
    cols += [{"key": key, "label": label, "align": "r", "title": told} for key, (label, told) in heads.items()]
    rows = []
    for label, row in shared.attribution.to_dict("index").items():
        line = lines.get(shared.keys.get(str(label), ""))
        cells = {name: figure_cell(name, figures[line.key], line, source.quote) if line else na() for name in OWN}
        rows.append(
            {"id": str(label), "name": str(label), "symbol": row["symbol"], **_money(row, source.quote), **cells}
        )
    words = Words("The results add up to the account's. Figures of a strategy are of its own equity and capital.")
    table = Listing("What each strategy added", rows, cols)
    return Part(
        "Attribution",
        (words, table, *_course(source, shared)),
        f"{count(len(rows))} strateg{'y' if len(rows) == 1 else 'ies'}",
    )


def _money(row: Mapping[Any, Any], quote: str) -> dict[str, Cell]:
    """Return the cells of a strategy's money."""
    part, digits = float(row["share"] if row["share"] is not None else math.nan), cents(quote)
    return {
        "capital": {"t": num(row["capital"], digits), "n": row["capital"]},
        "pnl": delta(row["pnl"], digits),
        "share": na("no result") if math.isnan(part) else {"t": share(part), "n": part},
        "contribution": {**delta(row["contribution"]), "t": pct(row["contribution"])},
        "fees": {"t": num(row["fees"], digits), "n": row["fees"]},
    }


def _course(source: Source, shared: Shared) -> tuple[Words, Drawing]:
    """Return the results of strategies over time; of more than eight those that moved the account most."""
    figure, theme = rolling_figure()
    figure.yaxis.formatter = NumeralTickFormatter(format="0,0[.]00")
    labels = list(shared.attribution.index)
    looks = {line.key: line.look for line in source.sample.lines}
    ops: Ops = []
    keys = []
    for k, label in enumerate(labels):
        key = shared.keys.get(label, "")
        if key in DRAWN:
            ops.append(put(key, _points(shared.times, shared.results[:, k])))
            keys.append((looks[key], f"{label} {num(float(shared.results[-1, k]), cents(source.quote))}"))
    left = f" The {len(keys)} that moved the account most are drawn." if len(keys) < len(labels) else ""
    words = Words(f"Result of each strategy so far, {source.quote}, with what is open.{left}", tuple(keys))
    update = Update(ops, source.sample.span, True)
    return words, Drawing(figure, theme, update, "Results of the strategies over time", 220)


def exposure_part(source: Source, shared: Shared) -> Part:
    """Return what the account held over time: gross and net notional as shares of equity, and the positions."""
    figure, theme = rolling_figure()
    figure.yaxis.formatter = NumeralTickFormatter(format="0%")
    gross, net, held = shared.exposure.T
    known = np.isfinite(gross)
    times = shared.times[known]
    ops = [put("account", _points(times, gross[known])), put("s0", _points(times, net[known]))]
    below, colours = rolling_figure()
    below.yaxis.formatter = NumeralTickFormatter(format="0")
    most = f"{share(float(gross[known].max()))}" if known.any() else "n/a"
    mean = f"{share(float(gross[known].mean()))}" if known.any() else "n/a"
    words = Words(
        f"Notional at each close over equity: gross {mean} on average and {most} at most.",
        (("is-acc", "Gross"), ("is-c1", "Net: long less short")),
    )
    counts = Update([put("account", _points(shared.times, held))], source.sample.span, True)
    return Part(
        "Exposure",
        (
            words,
            Drawing(figure, theme, Update(ops, source.sample.span, True), "Gross and net exposure over time", 180),
            Words(heading="Open positions and waiting entries"),
            Drawing(below, colours, counts, "Open positions and waiting entries over time", 110),
        ),
        f"at most {count(int(held.max(initial=0.0)))} positions",
    )


def correlation_part(sample: Sample) -> Part:
    """Return how alike the daily returns of the curves are."""
    cols, rows = correlation_table(sample)
    words = Words("Pearson's correlation of daily returns on the days that both curves have.")
    return Part("Correlation", (words, Listing("Correlations of daily returns", rows, cols)), span=_span(rows, "7"))


def denials_part(shared: Shared) -> Part:
    """Return which strategy was denied how often by which check."""
    labels = list(shared.attribution.index)
    cols: list[dict[str, Any]] = [{**COUNT_COLUMNS[0], "label": "Denied by"}]
    cols += [{"key": f"d{k}", "label": label, "align": "r"} for k, label in enumerate(labels)]
    rows = [
        {"id": code, "name": code.replace("_", " "), **{f"d{k}": _counted(by.get(x, 0)) for k, x in enumerate(labels)}}
        for code, by in shared.denials.items()
    ]
    none = {"t": "No denial", "sub": "Every entry passed the checks of risk and size."}
    words = Words(
        "Entries that a check of risk or size turned down, by strategy: what one denies may be room of others."
    )
    table = Listing("Denials by strategy", rows, cols, page=12, empty=none)
    return Part("Denials", (words, table), span=_span([*labels, None, None], "5"))


def _span(curves: Sequence[object], few: str) -> str:
    """Return the share of the page of a table with a column per curve: all of it, or `few` for two strategies."""
    return few if len(curves) <= FEW_CURVES else "12"


def _counted(n: int) -> Cell:
    return {"t": count(n) if n else "–", "n": n}


def _points(times: Floats, values: Floats) -> dict[str, Floats]:
    t, y = thinned(times, values)
    return {"t": t, "y": y}
