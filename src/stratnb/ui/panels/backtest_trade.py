"""One trade of a backtest on its candles: entry, exits, the planned stop, and the trades around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ipywidgets as w
import numpy as np
import numpy.typing as npt

from stratnb.market_data.candles import Candles
from stratnb.model import Trade
from stratnb.ui.chart import Chart, Update, attr, put
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.figures import DECIDED, LEVELS, LINES, price_figure
from stratnb.ui.format import cents, escape, side, signed, stamp
from stratnb.ui.marks import deals, trade_marks
from stratnb.ui.panels.backtest_rows import price_decimals
from stratnb.ui.panels.backtest_runs import Run
from stratnb.ui.window import gaps, grouped, price_columns

__all__ = ["TradePicture", "around"]

Floats = npt.NDArray[np.float64]

DRAWN_MOST: Final = 600
GROUPS: Final = (1, 5, 15, 60, 240, 1440, 10_080)
BESIDE: Final = 45  # candles before and after a trade, at least


def around(candles: Candles, start_ms: int, end_ms: int) -> tuple[Floats, int]:
    """Return the candles around a stretch, grouped so that they fit on a page, and their length in milliseconds."""
    length = candles.timeframe_ms
    steps = (length * factor for factor in GROUPS)
    step = next((step for step in steps if (end_ms - start_ms) / step <= DRAWN_MOST // 2), length * GROUPS[-1])
    room = max(BESIDE * step, (end_ms - start_ms) // 2)
    part = candles.between((start_ms - room) // step * step, end_ms + room)
    rows = part.rows()
    return (rows if step == length else grouped(rows, step)), step


class TradePicture(w.VBox):  # type: ignore[misc]
    """The chart of the chosen trade; without candles it says what is needed."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.place = 0
        self.changed: Any = lambda trade_row: None
        self._decimals = 2
        self._trades: Sequence[Trade] = ()
        self._picture = Update()
        figure, theme = price_figure(self._decimals)
        cfg = {"cross": True, "decimals": self._decimals, "lines": [], "live": False}
        self.chart = Chart(figure, theme=list(theme), height="320px", caption="Candles around the trade", cfg=cfg)
        self.chart.snapshot = lambda: self._picture
        self.words = w.HTML()
        self.before = btn("Previous", tip="Trade before this one", do=lambda: self._move(-1))
        self.after = btn("Next", tip="Trade after this one", do=lambda: self._move(1))
        save = btn("Save PNG", "quiet", tip="Save the drawing as a picture", do=self._save)
        close = btn("Close", "quiet", tip="Close the chart of the trade", do=self.clear)
        self.head = styled(w.HBox([self.words, self.before, self.after, save, close]), "sn-row")
        super().__init__([self.head, self.chart])
        show(self, False)

    def clear(self) -> None:
        """Show nothing."""
        self.run, self._trades = None, ()
        show(self, False)
        self.changed("")

    def look(self, run: Run, place: int) -> None:
        """Draw a closed trade of a run, counted from 0."""
        if run is not self.run:
            self._trades = run.result.closed_trades
        if not 0 <= place < len(self._trades):
            return
        self.run, self.place = run, place
        self.before.disabled, self.after.disabled = place == 0, place == len(self._trades) - 1
        trade = self._trades[place]
        self.words.value = _heading(place, trade)
        show(self, True)
        show(self.chart, run.candles is not None)
        if run.candles is None:
            hint = "The file of a run holds no candles: choose them in the form, check, and open the file again."
            self.words.value += f' <span class="sn-muted">{escape(hint)}</span>'
        else:
            self._draw(run, run.candles, trade)
        self.changed(str(place + 1))

    def _move(self, by: int) -> None:
        if self.run is not None:
            self.look(self.run, self.place + by)

    def _draw(self, run: Run, candles: Candles, trade: Trade) -> None:
        rows, step = around(candles, trade.entry_ms, trade.exit_ms)
        self._scale(price_decimals(float(rows[:, 1].max())))
        stops = dict(zip((t.trade_no for t in self._trades), run.result.planned_stops, strict=True))
        first, last = float(rows[0, 5]), float(rows[-1, 5]) + step
        past = [fill for fill in run.result.all_fills if fill.time_ms < last]
        inside = {fill.trade_no for fill in past if fill.time_ms >= first}
        fills = [fill for fill in past if fill.trade_no in inside]  # whole trades, so that each starts with its entry
        marks, notes = trade_marks(deals(fills), rows, step, lambda deal: _known(stops.get(deal.number)))
        ops = [*_candle_ops(rows, step), *_level_ops(trade, _known(stops.get(trade.trade_no)), step), *marks]
        self._picture = Update(ops, (first, last), True, _tags(trade, _known(stops.get(trade.trade_no))), notes)
        self.chart.send_snapshot()

    def _scale(self, decimals: int) -> None:
        """Draw a new figure when the prices have other decimals."""
        if decimals == self._decimals:
            return
        self._decimals = decimals
        self.chart.cfg = {**self.chart.cfg, "decimals": decimals}
        self._picture = Update()
        self.chart.redraw(*price_figure(decimals))

    def _save(self) -> None:
        if self.run is not None:
            self.chart.save_png(f"run-{self.run.number}-trade-{self.place + 1}.png")


def _heading(place: int, trade: Trade) -> str:
    """Return the trade in words, as safe HTML."""
    way = str(side(trade.direction)["t"])
    period = f"{stamp(trade.entry_ms)} to {stamp(trade.exit_ms)} UTC"
    words = f"{period}, {signed(trade.pnl, cents(trade.symbol))}, {trade.reason.replace('_', ' ')}"
    return f"<strong>{escape(f'Trade {place + 1} {way}')}</strong> {escape(words)}"


def _known(stop: float | None) -> float | None:
    return None if stop is None or not np.isfinite(stop) else float(stop)


def _candle_ops(rows: Floats, step: int) -> list[dict[str, Any]]:
    """Return the operations of candles, volume and gaps; indicators and levels are not drawn."""
    blank = np.full(len(rows), np.nan)
    names = (*(f"k{i}" for i in range(len(LINES))), *(f"v{i}" for i in range(LEVELS)), *DECIDED)
    left, right = gaps(rows[:, 5], step)
    ops = [attr(name, width={"value": 0.62 * step}) for name in ("g_body", "g_vol")]
    ops.append(attr("vol", start=0.0, end=(float(rows[:, 4].max()) or 1.0) * 7.0))
    return [
        *ops,
        put("src", {**price_columns(rows), **dict.fromkeys(names, blank)}),
        put("gaps", {"x0": left, "x1": right}),
    ]


def _level_ops(trade: Trade, stop: float | None, step: int) -> list[dict[str, Any]]:
    """Return the lines of entry and planned stop from entry to exit."""
    start, end = float(trade.entry_ms // step * step), float(trade.exit_ms // step * step + step)
    none: list[float] = []
    x, y = (none, none) if stop is None else ([start, end], [stop, stop])
    return [
        put("stop", {"x": x, "y": y}),
        put("entry", {"x0": [start], "x1": [end], "y": [trade.entry_price]}),
        put("targets", {"x0": none, "x1": none, "y": none}),
    ]


def _tags(trade: Trade, stop: float | None) -> list[dict[str, Any]]:
    """Return the price tags of entry, exit and planned stop."""
    tags = [{"y": trade.entry_price, "t": "Entry", "tone": "text", "axis": True}]
    tags.append({"y": trade.exit_price, "t": "Exit", "tone": "up" if trade.pnl > 0 else "down", "axis": True})
    return tags if stop is None else [*tags, {"y": stop, "t": "Planned stop", "tone": "err", "axis": True}]
