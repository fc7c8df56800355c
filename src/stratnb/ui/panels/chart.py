"""P4, the live chart: candles, volume, indicator lines, levels, trades and the open position of one strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import ipywidgets as widgets
import pandas as pd

from stratnb.kernels.layout import ACTIONS
from stratnb.model import timeframe_ms
from stratnb.ui import controls
from stratnb.ui.chart import Chart, Update
from stratnb.ui.figures import LINES, price_figure
from stratnb.ui.format import age
from stratnb.ui.panel import Panel
from stratnb.ui.panels.chart_rows import stale, strategy_label, table, timeframes
from stratnb.ui.price_feed import PriceFeed
from stratnb.view import Board, EngineView, OrderView, PositionView, StrategyView

__all__ = ["PriceChart"]

SPANS: Final = {"2 h": 2, "6 h": 6, "1 d": 24, "3 d": 72, "1 w": 168, "1 mo": 720, "3 mo": 2160}
HOUR_MS: Final = 3_600_000
NO_TRADE: Final = ("Go to trade…", 0)
LINES_FIRST: Final = 2  # drawn until others are switched on


class PriceChart(Panel):
    """The live chart of a strategy. `show(strategy_id)` and `show_at(time_ms)` let other panels steer it.

    `on_strategy(strategy_id)` is called when another strategy is drawn, whoever chose it.
    """

    title: ClassVar[str] = "Chart"
    hz: ClassVar[float] = 5.0
    span: ClassVar[str] = "8"

    def __init__(self, board: Board, *, strategy_id: str | None = None, height: str = "var(--sn-chart-h)") -> None:
        self.feed: PriceFeed | None = None
        self._wanted = strategy_id
        self._height = height
        self._decimals = 2
        self._dirty = True
        self._fresh = False
        self._choosing = False
        self._listed = -1
        self._pan: tuple[float, float] | None = None
        self.on_strategy: Callable[[str], None] = lambda strategy_id: None
        super().__init__(board)

    def body(self) -> list[widgets.Widget]:
        """Return the switches and the chart."""
        figure, theme = price_figure(self._decimals)
        self.chart = Chart(figure, theme=list(theme), height=self._height, caption="Price chart", cfg={"cross": True})
        self.chart.on_ready = self._on_ready
        self.chart.on_range = self._on_range
        self._overlays = controls.row()
        self._level_chip = controls.chip("Levels", True, "Support and resistance of the analyzers")
        self._log = controls.chip("Log", False, "Logarithmic price axis")
        self._follow = controls.chip("Follow", True, "Keep the newest candle in view")
        self._level_chip.observe(lambda change: self._touch(), "value")
        self._log.observe(lambda change: self._rescale(), "value")
        self._follow.observe(lambda change: self._follow_chosen(), "value")
        switches = controls.row(self._overlays, controls.row(self._follow, self._log), cls="sn-switches")
        return [switches, self.chart]

    def tools(self) -> list[widgets.Widget]:
        """Return the selectors of the head."""
        self._strategy = controls.dropdown("Strategy", [], hide_label=True)
        self._timeframe = controls.segment([""])
        self._range = controls.dropdown("Range", [("Auto", 0), *SPANS.items()], 0, hide_label=True)
        self._strategy.observe(lambda change: self._strategy_chosen(), "value")
        self._timeframe.observe(lambda change: self._timeframe_chosen(), "value")
        self._range.observe(lambda change: self._range_chosen(), "value")
        self._trade = controls.styled(controls.dropdown("Go to trade", [NO_TRADE], hide_label=True), "sn-goto")
        self._trade.observe(lambda change: self._trade_chosen(), "value")
        png = controls.btn("PNG", "quiet", tip="Save the drawing as a picture", do=self._save)
        table = controls.btn("CSV", "quiet", tip="Save the shown candles with lines and decisions", do=self._export)
        return [self._strategy, self._timeframe, self._range, self._trade, controls.row(png, table)]

    def show(self, strategy_id: str) -> None:
        """Show another strategy at the next tick."""
        self._wanted = strategy_id
        self._touch()

    def show_at(self, time_ms: float, *, center: bool = False) -> None:
        """Move to a time at the next tick and stop following; without `center` only if it is out of view."""
        if self.feed is not None:
            self.feed.go_to(time_ms, center=center)
            self._touch()

    def to_frame(self) -> pd.DataFrame:
        """Return the drawn candles, lines and decisions; `open_time` is UTC, a provisional candle has not closed."""
        return pd.DataFrame() if self.feed is None else table(self.board, self.feed)

    def paint(self, view: EngineView) -> None:
        """Draw what is new: everything when something was chosen or a view is new, the newest candles otherwise."""
        row = self._select(view)
        if row is None:
            self.show_empty("No strategy to chart", "Add a strategy; its market appears here.")
            return
        if self.feed is None or self.feed.window.strategy_id != row.strategy_id or not self.feed.is_current():
            self.feed = self._open(row, view)
        if self._pan is not None:
            (start, end), self._pan = self._pan, None
            self._dirty = self.feed.page(start, end, self._step()) or self._dirty
        position = next((p for p in view.positions if p.strategy_id == row.strategy_id), None)
        order = next((o for o in view.orders if o.strategy_id == row.strategy_id), None)
        update = None if self._dirty or self._fresh else self.feed.advance(position, order)
        if update is None:
            self._draw(self.feed, position, order, view)
        else:
            self.chart.push(update)
        self._mirror(self.feed)
        self.mark_stale(stale(view))

    def _draw(self, feed: PriceFeed, position: PositionView | None, order: OrderView | None, view: EngineView) -> None:
        """Send everything to every view."""
        self._dirty = self._fresh = False
        update = feed.whole(position, order)
        if update is None:
            words = f"The next {feed.window.primary} candle of {feed.window.symbol} starts the chart; it closes in "
            left_ms = feed.window.base_ms - view.now_ms % feed.window.base_ms
            self.show_empty("Waiting for the first candle", f"{words}{age(left_ms / 1000)} of the feed's time.")
            self._dirty = True
            return
        self.show_empty()
        self._configure(feed)
        self.chart.snapshot = lambda: update
        self.chart.send_snapshot()
        self.chart.snapshot = Update

    def _select(self, view: EngineView) -> StrategyView | None:
        """Return the chosen strategy, and keep the selector in step with the strategies there are."""
        options = [(strategy_label(row), row.strategy_id) for row in view.strategies]
        ids = [value for _, value in options]
        kept, wanted = self._strategy.value, self._wanted
        if tuple(self._strategy.options) != tuple(options):
            self._strategy.options = options
            controls.show(self._strategy, len(options) > 1)
        if ids:
            chosen = next((i for i in (wanted, kept) if i in ids), ids[0])
            if self._strategy.value != chosen:
                self._strategy.value = chosen
        self._wanted = None
        return next((row for row in view.strategies if row.strategy_id == self._strategy.value), None)

    def _open(self, row: StrategyView, view: EngineView) -> PriceFeed:
        """Bind the chart to a strategy."""
        arriving = view.feed.timeframe if view.feed is not None else ""
        feed = PriceFeed(self.board, row, arriving)
        chips = [controls.chip(label, i < LINES_FIRST) for i, (_, label) in enumerate(feed.lines)]
        feed.visible = [bool(chip.value) for chip in chips]
        for made in chips:
            made.observe(lambda change: self._touch(), "value")
        before = self._overlays.children
        self._overlays.children = [*chips, *([self._level_chip] if feed.levels else [])]
        for old in before:
            if old is not self._level_chip:
                controls.discard(old)
        self._choosing = True
        self._timeframe.options, tips = timeframes(row.timeframe, arriving, self.board.document(row.strategy_id))
        self._timeframe.tooltips = tips
        self._timeframe.value = row.timeframe
        self._range.value = 0
        self._listed = -1
        self._choosing = False
        words = f"Price chart {row.symbol} {row.timeframe}. Left and right arrow keys step through candles."
        self.chart.caption = words
        decimals = view.markets.get(row.symbol, 2)
        if decimals != self._decimals:
            self._decimals = decimals
            self._rescale()
        self._dirty = True
        return feed

    def _configure(self, feed: PriceFeed) -> None:
        """Tell the read-out which lines there are."""
        lines = [
            [f"k{i}", label, LINES[i][2]]
            for i, ((_, label), on) in enumerate(zip(feed.lines, feed.visible, strict=True))
            if on
        ]
        cfg: dict[str, Any] = {"cross": True, "decimals": self._decimals, "lines": lines}
        cfg["levels"] = [[f"v{i}", label] for i, (_, label) in enumerate(feed.levels) if feed.levels_on]
        cfg["live"], cfg["actions"] = feed.window.end_ms is None, [word.capitalize() for word in ACTIONS]
        known = self.board.reasons(feed.window.strategy_id)
        cfg["reasons"] = {str(code): sentence for code, (_, sentence) in known.items()}
        if cfg != self.chart.cfg:
            self.chart.cfg = cfg

    def _mirror(self, feed: PriceFeed) -> None:
        """Let the switch say whether the chart follows, and the list which trades there are."""
        if feed.fills != self._listed:
            self._listed, self._choosing = feed.fills, True
            self._trade.options = [NO_TRADE, *feed.trades()]
            self._trade.value = 0
            self._choosing = False
        if self._follow.value != feed.follow:
            self._choosing = True
            self._follow.value = feed.follow
            self._choosing = False

    def _trade_chosen(self) -> None:
        """A trade was picked: its entry is brought to the middle, and the list offers every trade again."""
        if self._choosing or not self._trade.value:
            return
        self.show_at(self._trade.value, center=True)
        self._listed = -1

    def _step(self) -> int:
        """Return the candle length of the chosen timeframe."""
        return timeframe_ms(self._timeframe.value)

    def _touch(self) -> None:
        """Draw everything at the next tick, with what is switched on now."""
        if self.feed is not None:
            chips = [chip for chip in self._overlays.children if chip is not self._level_chip]
            self.feed.visible = [bool(chip.value) for chip in chips]
            self.feed.levels_on = bool(self._level_chip.value)
        self._dirty = True
        if hasattr(self, "pump"):
            self.repaint()

    def _on_ready(self) -> None:
        """A view is new or has missed a message."""
        self._fresh = True
        self.repaint()

    def _on_range(self, start_ms: float, end_ms: float) -> None:
        """A person has panned or zoomed."""
        self._pan = (start_ms, end_ms)
        self.repaint()

    def _strategy_chosen(self) -> None:
        """Another strategy was picked."""
        self._touch()
        if self._strategy.value:
            self.on_strategy(self._strategy.value)

    def _timeframe_chosen(self) -> None:
        """Another timeframe was picked: as many candles of it are shown, up to the newest."""
        if self.feed is not None and not self._choosing and self._timeframe.value:
            step = self._step()
            self.feed.zoom(self.feed.span_ms / self.feed.window.step_ms * step, step)
            self._touch()

    def _range_chosen(self) -> None:
        """Another range was picked."""
        if self.feed is not None and not self._choosing and self._range.value:
            self.feed.zoom(float(self._range.value * HOUR_MS), self._step())
            self._touch()

    def _follow_chosen(self) -> None:
        """Following was switched: on goes to the newest candle."""
        if self.feed is None or self._choosing:
            return
        if self._follow.value:
            self._pan = None  # a pan that was not painted yet came before the click
            self.feed.zoom(self.feed.span_ms, self._step())
            self._touch()
        self.feed.follow = bool(self._follow.value)

    def _rescale(self) -> None:
        """Draw a new figure: another axis or other decimals."""
        figure, theme = price_figure(self._decimals, log=bool(self._log.value))
        self.chart.redraw(figure, theme)
        if self.feed is not None and not self.feed.follow:
            self.feed.stay()
        self._touch()

    def _save(self) -> None:
        """Let the browser save the drawing."""
        self.chart.save_png(self._file("png"))

    def _export(self) -> None:
        """Let the browser save the candles in view, with lines and decisions, as a table."""
        frame = self.to_frame()
        if self.feed is not None and self.feed.seen[1] > 0.0:
            start, end = pd.to_datetime(list(self.feed.seen), unit="ms", utc=True)
            frame = frame[frame["open_time"].between(start, end)]
        self.chart.save_text(self._file("csv"), frame.to_csv(index=False))

    def _file(self, kind: str) -> str:
        """Return the name of a file to save."""
        symbol = "".join(c if c.isalnum() else "-" for c in self.feed.window.symbol) if self.feed else "chart"
        return f"{symbol}-{self._timeframe.value}.{kind}"
