"""The result of one run in P10: figures, equity, trades with their chart, reasons, denials, gaps and the exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from stratnb.model import timeframe_ms
from stratnb.ui.controls import btn, field, show, styled, text
from stratnb.ui.curve import EquityCurve
from stratnb.ui.format import count, escape
from stratnb.ui.panels import backtest_rows as rows
from stratnb.ui.panels.backtest_files import EXPORTS, file_name
from stratnb.ui.panels.backtest_proofs import Proofs
from stratnb.ui.panels.backtest_runs import Run
from stratnb.ui.panels.backtest_trade import TradePicture
from stratnb.ui.widgets import Table

__all__ = ["ResultView"]


class ResultView(w.VBox):  # type: ignore[misc]
    """Shows a run; `on_save(path)` and `on_export(what)` are called by its buttons, `proofs` has its checks."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.on_save: Callable[[str], None] = lambda path: None
        self.on_export: Callable[[str], None] = lambda what: None
        self.figures = Table(kind="kpi", caption="Figures of the backtest")
        self.curve = EquityCurve()
        self.picture = TradePicture()
        self.picture.changed = lambda row: setattr(self.trades, "current", row)
        self.heading = w.HTML()
        self.proofs = Proofs()
        parts = [self.heading, self.figures, self.proofs, self.curve.widget, self._make_tables()]
        super().__init__([*parts, self._make_exports()])
        styled(self, "sn-result", "sn-off")

    def _make_tables(self) -> w.Widget:
        none = {"t": "No trade", "sub": "No decision became an entry; the counts say why."}
        self.trades = Table(caption="Trades", cols=rows.trade_columns(), page=10, empty=none, selectable=True)
        self.trades.on_act = self._open_trade
        self.reasons = Table(caption="Why decisions ended as they did", cols=rows.COUNT_COLUMNS, page=10)
        free = {"t": "No denial", "sub": "Every entry passed the checks of risk and size."}
        denials = [{**rows.COUNT_COLUMNS[0], "label": "Code"}, *rows.COUNT_COLUMNS[1:]]
        self.denials = Table(caption="Denials by code", cols=denials, page=10, empty=free)
        whole = {"t": "No gaps", "sub": "Every candle between the first and the last is there."}
        self.gaps = Table(caption="Gaps in the range", cols=rows.GAP_COLUMNS, page=5, empty=whole)
        self.trades_head, self.gaps_head = w.HTML(), w.HTML()
        self.ambiguous = styled(w.HTML(), "sn-muted")
        columns = [
            w.VBox([text("Reasons", "h3"), self.reasons]),
            w.VBox([text("Denials", "h3"), self.denials]),
            w.VBox([self.gaps_head, self.gaps, styled(w.HBox([self.ambiguous]), "sn-row")]),
        ]
        return w.VBox([self.trades_head, self.trades, self.picture, styled(w.HBox(columns), "sn-thirds")])

    def _make_exports(self) -> w.Widget:
        self.path = styled(field("Save run as", "run.json or report.html"), "sn-longfield")
        self.save = btn("Save", tip="Write the run to a file of the kernel", do=lambda: self.on_save(self.path.value))
        self.exports = [self._export(what) for what in EXPORTS]
        self.link = styled(w.HTML(), "sn-off")
        words = text("Download", cls="sn-muted")
        return styled(w.HBox([self.path, self.save, words, *self.exports, self.link]), "sn-addrow")

    def _export(self, what: str) -> w.Button:
        name, ending = what.split(".")
        return btn(f"{name.capitalize()} {ending.upper()}", "quiet", do=lambda: self.on_export(what))

    def show(self, run: Run | None) -> None:
        """Show a run, or nothing."""
        self.run = run
        show(self, run is not None)
        self.picture.clear()
        self.offer("")
        self.proofs.clear()
        if run is None:
            return
        result, stops = run.result, run.result.planned_stops
        self.heading.value = f"<h3>{escape(run.name)}</h3>"
        self.figures.rows = rows.figure_rows(run.figures, run.quote, days=rows.elapsed_days(result))
        trades = result.trades
        self.trades.cols = rows.trade_columns(trades["funding"])
        self.trades.rows = rows.trade_rows(trades, stops, run.quote)
        shown = f", the newest {count(rows.TRADES_SHOWN)} of them here" if len(trades) > rows.TRADES_SHOWN else ""
        hint = "; choose one to see it on its candles" if len(trades) else ""
        self.trades_head.value = f"<h3>Trades: {count(len(trades))}{shown}{hint}</h3>"
        self.reasons.rows = rows.count_rows(result.reasons)
        self.denials.rows = rows.count_rows(result.denials, sum(result.reasons.values()))
        self._candles(result)
        self.curve.draw(result.close_ms, result.equity_curve, result.capital)
        self.path.value = file_name(run.plan.title, run.number)
        for button in self.proofs.buttons:
            button.disabled = run.candles is None

    def _candles(self, result: Any) -> None:
        """Show gaps and ambiguous candles."""
        step = timeframe_ms(result.timeframe)
        self.gaps_head.value = f"<h3>Gaps in the range: {escape(result.gaps)}</h3>"
        self.gaps.rows = rows.gap_rows(result.gaps, step)
        n = result.ambiguous_candles
        taken = ", of which the stop was taken" if n else ""
        self.ambiguous.value = f"<span>Ambiguous candles, touching stop and target: {count(n)}{taken}</span>"

    def offer(self, link: str) -> None:
        """Show a link that saves a file, or take it away."""
        self.link.value = link
        show(self.link, bool(link))

    def _open_trade(self, action: str, row: str) -> None:
        if action == "open" and self.run is not None and row.isdigit():
            self.picture.look(self.run, int(row) - 1)
