"""`report(run)`: the whole result of a backtest on one page, live in a notebook and as one HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError, Refused
from stratnb.market_data.candles import Candles
from stratnb.market_data.paths import typed_path
from stratnb.model import installed_version
from stratnb.research.portfolio_result import Portfolio
from stratnb.ui.chart import Chart
from stratnb.ui.controls import grid, panel, styled
from stratnb.ui.format import count, escape, stamp
from stratnb.ui.panel import root
from stratnb.ui.panels.performance_rows import figures_frame, figures_of, figures_table, key_rows
from stratnb.ui.panels.report_curves import equity_part, rolling_part
from stratnb.ui.panels.report_page import page, words_html
from stratnb.ui.panels.report_parts import Drawing, Item, Listing, Part, Words
from stratnb.ui.panels.report_portfolio import portfolio_source
from stratnb.ui.panels.report_price import COARSE, FINE, price_part
from stratnb.ui.panels.report_shared import attribution_part, correlation_part, denials_part, exposure_part
from stratnb.ui.panels.report_source import Shared, Source, source_of
from stratnb.ui.panels.report_trades import (
    distribution_part,
    excursions_part,
    hours_part,
    months_part,
    reasons_part,
    trades_part,
)
from stratnb.ui.widgets import Table

__all__ = ["Report", "report"]

ENDINGS: Final = (".html", ".htm")
KEPT: Final = "Daily returns at 00:00 UTC, 365 days a year, risk-free 0, after costs. n/a is not defined, never 0."


def report(run: Any, *, candles: Candles | None = None) -> Report:
    """Return the report of a backtest or a portfolio, or of a saved backtest with the candles it ran on.

    Showing it draws the page in a notebook, `save("report.html")` writes it to one file that opens offline. Raises
    `ConfigError` for what is no run, and for candles of another one.
    """
    return Report(portfolio_source(run) if isinstance(run, Portfolio) else source_of(run, candles))


class Report:
    """The parts of one result: figures, price, equity, months, rolling figures, trades, reasons and what was run."""

    def __init__(self, source: Source) -> None:
        if len(source.line.rows) < 2:
            raise ConfigError("no_candles", "the run ended before its first candle", hint="run it again")
        self.source = source
        self._widget: w.VBox | None = None

    @cached_property
    def figures(self) -> Mapping[str, Mapping[str, float | None]]:
        """Return the figures of each curve by its key."""
        return {line.key: figures_of(line, self.source.held(line)) for line in self.source.sample.lines}

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Return what the page holds, in its order."""
        source, sample = self.source, self.source.sample
        prices = [price_part(market, max(COARSE, FINE // len(source.priced))) for market in source.priced]
        prices = prices or [_no_candles()]
        one = source.shared is None
        return (
            self._summary(),
            *(prices if one else ()),
            *([equity_part(sample)] if one else self._together(source.shared)),
            months_part(source),
            rolling_part(sample),
            distribution_part(source),
            hours_part(source),
            excursions_part(source),
            reasons_part(source),
            *(() if one else prices),
            trades_part(source),
            self._all_figures(),
            *_made(source),
        )

    def _together(self, shared: Shared | None) -> list[Part]:
        """Return what only several strategies on one account have, around the account's curve."""
        if shared is None:
            return []
        source, sample = self.source, self.source.sample
        account = replace(sample, lines=sample.lines[: 1 if sample.held is None else 2])
        return [
            attribution_part(source, shared, self.figures),
            equity_part(account),
            exposure_part(source, shared),
            correlation_part(sample),
            denials_part(shared),
        ]

    def _beside(self, span: str) -> str:
        """Return the share of the page of a wide part: all of it for several strategies."""
        return span if self.source.shared is None else "12"

    def _summary(self) -> Part:
        line = self.source.line
        rows = key_rows(line, self.figures[line.key], self.source.quote)
        return Part("Result", (Listing("Key figures", rows, kind="kpi"),), self.note)

    def _all_figures(self) -> Part:
        cols, rows = figures_table(self.source.sample, self.figures)
        return Part(
            "Figures",
            (Words(f"{KEPT} Point at a figure for its formula."), Listing("Figures", rows, cols)),
            span=self._beside("7"),
        )

    @property
    def note(self) -> str:
        """Return the period in words."""
        times = self.source.line.rows[:, 0]
        return f"{stamp(times[0])} to {stamp(times[-1])} UTC, {count(len(times) - 1)} candles"

    @cached_property
    def html(self) -> str:
        """Return the page as HTML that needs no other file and no network."""
        foot = f"stratnb {installed_version()} · all times UTC · made from {self.note}"
        return page(self.source.title, self.note, self.parts, foot)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page to an .html file, whole or not at all, and return its path.

        Raises `ConfigError` for another ending or a folder that is not there, `Refused("file_exists")` when the file
        is there and `overwrite` is not set.
        """
        target = typed_path(path)
        if not target.name.lower().endswith(ENDINGS):
            hint = f"name it {target.name or 'report'}.html"
            raise ConfigError("file_ending", f"{target.name!r} does not end in .html", value=str(path), hint=hint)
        if not target.parent.is_dir():
            words = f"the folder {str(target.parent)!r} does not exist"
            raise ConfigError("folder_missing", words, value=str(target.parent), hint="make it, or choose another one")
        if target.exists() and not overwrite:
            raise Refused(
                "file_exists", f"{target.name!r} exists already", value=str(target), hint="choose another name"
            )
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_text(self.html, encoding="utf-8")
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            words = f"{target.name!r} was not written: {error.strerror}"
            raise ConfigError("file_write", words, value=str(target)) from error
        return target

    @property
    def widget(self) -> w.VBox:
        """Return the page as widgets."""
        if self._widget is None:
            frames = [_framed(part) for part in self.parts]
            self._widget = root(styled(w.VBox([grid(*frames)]), "sn-page"))
        return self._widget

    def to_frame(self) -> pd.DataFrame:
        """Return all figures, one column per curve, with the convention of each."""
        return figures_frame(self.source.sample, self.figures)

    def __repr__(self) -> str:
        """Return what it is of on one line."""
        return f"<Report of {self.source.title}, {len(self.source.trades)} trades>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Mapping[str, Any]:
        """Return the live page, with the figures as HTML and text for places without widgets."""
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**kwargs) or {})
        frame = self.to_frame()
        bundle["text/plain"] = repr(self)
        bundle["text/html"] = f"<h3>{escape(self.source.title)}</h3>" + frame.to_html(escape=True)
        return bundle


def _no_candles() -> Part:
    none = {"t": "The candles are not known", "sub": "A saved run holds none: report(run, candles=...) draws them."}
    return Part("Price and trades", (Listing("Candles", (), (), empty=none),))


def _made(source: Source) -> list[Part]:
    """Return what was run, its warnings and its configuration."""
    cols = [{"key": "name", "label": "What", "sort": False}, {"key": "value", "label": "Value", "sort": False}]
    rows: list[dict[str, Any]] = [{"id": name, "name": name, "value": {"t": text}} for name, text in source.facts] + [
        {"id": f"note {i}", "name": "Note", "value": {"t": text}} for i, text in enumerate(source.notes)
    ]
    items: list[Item] = [Listing("What was run", rows, cols)]
    if source.document is not None:
        text = json.dumps(source.document, indent=1, ensure_ascii=False, default=str)
        items += [Words(heading="Configuration, every default filled in"), Words(text, code=True)]
    return [Part("What was run", tuple(items), span="5" if source.shared is None else "12")]


def _framed(part: Part) -> w.Widget:
    return panel(
        part.title, [styled(w.VBox([_shown(item) for item in part.items]), "sn-inner")], span=part.span, note=part.note
    )


def _shown(item: Item) -> w.Widget:
    """Return a chart, a table or a sentence as a widget."""
    if isinstance(item, Words):
        return w.HTML(words_html(item))
    if isinstance(item, Drawing):
        update = item.update
        options = {"caption": item.caption, "height": f"{item.height}px", "cfg": dict(item.cfg)}
        chart = Chart(item.figure, theme=list(item.theme), **options)
        chart.snapshot = lambda: update
        return chart
    return Table(
        kind=item.kind,
        caption=item.caption,
        cols=[dict(col) for col in item.cols],
        rows=[dict(row) for row in item.rows],
        page=item.page,
        empty=dict(item.empty),
    )
