"""The fields of P10: strategy, candles, range, capital and costs; they are read as texts and checked elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w

from stratnb.market_data.archive import Series
from stratnb.strategy.documents import names
from stratnb.ui.controls import chip, dropdown, field, segment, show, styled
from stratnb.ui.panels.backtest_checks import SYMBOL, Checked, findings_html
from stratnb.ui.panels.backtest_draft import Draft
from stratnb.ui.panels.performance_data import named
from stratnb.ui.serve import data_files
from stratnb.view import Board, EngineView, StrategyView

__all__ = ["BacktestSetup"]

SOURCES = ("Feed", "File", "Archive", "Synthetic")
TIMEFRAMES_OFFERED = ("1m", "5m", "15m", "1h", "4h", "1d")


class BacktestSetup(w.VBox):  # type: ignore[misc]
    """The fields of a run; `changed` is called after each edit of a person."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.changed: Callable[[], None] = lambda: None
        self._offering = False
        self.strategy = dropdown("Strategy", [(name, ("library", name)) for name in names()])
        if "simple-levels" in names():
            self.strategy.value = ("library", "simple-levels")
        files = data_files()
        offered = SOURCES if board.view().markets else SOURCES[1:]
        first = offered[0] if offered[0] == "Feed" or files else "Synthetic"
        self.data = segment(list(offered), first, "Where the candles come from")
        self.symbol = dropdown("Symbol", [])
        kept = str(files[0]) if files else ""
        self.path = styled(field("Path", "CSV or Parquet file", value=kept), "sn-longfield")
        self.named = field("Symbol", "from the file's name")
        self.repair = chip("Repair rows", False, "Mend faulty rows of the file instead of refusing it")
        self.detail = styled(field("Detail", "finer candles inside these, a file"), "sn-longfield")
        self.series = dropdown("Series", [])
        self.timeframe = dropdown("Timeframe", list(TIMEFRAMES_OFFERED), "5m")
        self.many = field("Candles", "20000", value="20000")
        self.seed = field("Seed", "7", value="7")
        self.drawn = (self.timeframe, self.many, self.seed)
        self.start, self.end = field("From", "first candle, UTC"), field("To", "last candle, UTC")
        self.cash = field("Capital", "10000", value="10000")
        self.taker, self.maker = field("Taker fee", "strategy's own"), field("Maker fee", "strategy's own")
        self.slippage = field("Slippage", "strategy's own")
        self.findings = styled(w.HTML(), "sn-findings", "sn-off")
        rows = [
            [
                self.strategy,
                self.data,
                self.symbol,
                self.path,
                self.named,
                self.repair,
                self.series,
                *self.drawn,
                self.detail,
            ],
            [self.start, self.end, self.cash, self.taker, self.maker, self.slippage],
        ]
        super().__init__([*(styled(w.HBox(row), "sn-addrow") for row in rows), self.findings])
        for box in (*rows[0], *rows[1]):
            box.observe(self._edited, "value")
        self._lay()

    def paint(self, view: EngineView) -> None:
        """Offer the loaded strategies before the shipped ones, and the symbols of the feed."""
        loaded = [(f"{name} (loaded)", ("loaded", strategy_id)) for strategy_id, name in named(view).items()]
        self._offer(self.strategy, [*loaded, *((name, ("library", name)) for name in names())])
        self._offer(self.symbol, [(symbol, symbol) for symbol in view.markets])

    def draft(self, view: EngineView) -> Draft:
        """Return what the fields say."""
        where, name = self.strategy.value
        row = next((s for s in view.strategies if where == "loaded" and s.strategy_id == name), None)
        source, path = self.data.value, self.path.value.strip()
        symbol = {"Feed": self.symbol.value or "", "Archive": ""}.get(source, self.named.value.strip())
        series = self.series.value if source == "Archive" else None
        names = {"Feed": symbol, "File": path.rsplit("/", 1)[-1], "Synthetic": f"synthetic {symbol or SYMBOL}"}
        candles = names.get(source, " ".join(series or ()))
        return Draft(
            strategy=name if row is None else row.name,
            loaded=row.strategy_id if row else "",
            title=f"{_title(row) if row else name} on {candles}",
            source=source,
            path=path,
            symbol=symbol,
            series=series,
            timeframe=self.timeframe.value if source == "Synthetic" else view.feed.timeframe if view.feed else "1m",
            many=self.many.value,
            seed=self.seed.value,
            detail=self.detail.value,
            repair=bool(self.repair.value),
            start=self.start.value,
            end=self.end.value,
            cash=self.cash.value,
            taker=self.taker.value,
            maker=self.maker.value,
            slippage=self.slippage.value,
        )

    def show(self, checked: Checked, *, quiet: bool = False) -> None:
        """Show what a check found, unless that is shown elsewhere, and the series of an archive."""
        self.findings.value = "" if quiet else findings_html(checked)
        show(self.findings, not quiet)
        if checked.series or self.data.value == "Archive":
            self._offer(self.series, [(" ".join(series), series) for series in checked.series])

    def _edited(self, change: Any) -> None:
        """Take an edit: a loaded strategy brings its symbol."""
        if self._offering:
            return
        if change["owner"] is self.strategy and change["new"] and change["new"][0] == "loaded":
            symbol = next((s.symbol for s in self.board.view().strategies if s.strategy_id == change["new"][1]), "")
            if symbol in {value for _, value in self.symbol.options}:
                self.symbol.value = symbol
        self._lay()
        self.changed()

    def _lay(self) -> None:
        """Show the fields of the chosen source."""
        source = self.data.value
        show(self.symbol, source == "Feed")
        show(self.path, source in ("File", "Archive"))
        self.path.placeholder = "CSV or Parquet file" if source == "File" else "folder of the archive"
        show(self.named, source in ("File", "Synthetic"))
        self.named.placeholder = "from the file's name" if source == "File" else SYMBOL
        for box in self.drawn:
            show(box, source == "Synthetic")
        show(self.repair, source == "File")
        show(self.detail, source != "Synthetic")
        show(self.series, source == "Archive")

    def _offer(self, box: w.Dropdown, options: Sequence[tuple[str, str | tuple[str, str] | Series]]) -> None:
        """Change the options of a dropdown and keep what was chosen."""
        if list(box.options) == list(options):
            return
        chosen, known = box.value, [value for _, value in options]
        self._offering = True
        box.options = options
        box.value = chosen if chosen in known else known[0] if known else None
        self._offering = False


def _title(row: StrategyView) -> str:
    """Return the title of a loaded strategy with its label, when it has one of its own."""
    return f"{row.title or row.name}{f' {row.label}' if row.label not in ('', 'main') else ''}"
