"""P7, equity and drawdown: the account, up to eight strategies and buy and hold, with the figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.ui import controls
from stratnb.ui.chart import Chart, Ops, Update, put
from stratnb.ui.figures import CURVES, equity_figure
from stratnb.ui.format import escape, num, pct, signed, tone
from stratnb.ui.panel import Panel
from stratnb.ui.widgets import Table
from stratnb.view import Board, EngineView

__all__ = ["EquityPanel", "drawdown", "hold"]

Floats = npt.NDArray[np.float64]
Figures: TypeAlias = "Mapping[str, Any] | pd.DataFrame"

CURVES_MAX: Final = 8
DAY_MS: Final = 86_400_000
DAYS_NEEDED: Final = 10
RANGES: Final = (("All", 0), ("1 d", 1), ("1 w", 7), ("1 mo", 30))


def drawdown(equity: Floats) -> Floats:
    """Return the drawdown of an equity curve as fractions <= 0 for drawing."""
    peak = np.maximum.accumulate(equity) if len(equity) else equity
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(peak > 0.0, equity / peak - 1.0, 0.0)


def hold(closes: Floats, times: Floats, at: Floats, start: float) -> Floats:
    """Return what `start` bought at the first close would be worth at the times `at`; NaN before the first close."""
    if not len(closes):
        return np.full(len(at), np.nan)
    index = np.searchsorted(times, at, side="right") - 1
    worth = start * closes[np.maximum(index, 0)] / closes[max(int(index[0]), 0) if len(index) else 0]
    return np.where(index >= 0, worth, np.nan)


class EquityPanel(Panel):
    """Equity and drawdown of the account and its strategies; `figures` gives a mapping or a frame shown as a table."""

    title: ClassVar[str] = "Equity and drawdown"
    hz: ClassVar[float] = 0.5
    span: ClassVar[str] = "12"

    def __init__(self, board: Board, *, figures: Callable[[], Figures] | None = None, height: int = 420) -> None:
        self._figures = figures
        self._height = height
        self._ids: tuple[str, ...] = ()
        self._mark: tuple[Any, ...] = ()
        self._fresh = True
        self._whole = Update()
        super().__init__(board)

    def body(self) -> list[widgets.Widget]:
        """Return figures, legend and chart."""
        figure, theme = equity_figure(self._height)
        self.kpi = Table(kind="kpi", caption="Performance figures")
        self.legend = controls.styled(widgets.HTML(), "sn-legend")
        caption = "Equity and drawdown over time"
        self.chart = Chart(figure, theme=list(theme), height=f"{self._height}px", caption=caption)
        self.chart.snapshot = lambda: self._whole
        self.chart.on_ready = self._on_ready
        self.table = Table(caption="Metrics", empty={"t": "No figures yet", "sub": "They appear with the first trade."})
        controls.show(self.table, self._figures is not None)
        return [self.kpi, self.legend, self.chart, self.table]

    def tools(self) -> list[widgets.Widget]:
        """Return the choice of strategies, the range and the scale."""
        self._pick = controls.row()
        self._hold = controls.chip("Buy and hold", True, "The first market, bought with the start equity")
        self._relative = controls.chip("Relative", False, "Every curve starts at 100")
        self._range = controls.segment(list(RANGES), 0)
        for control in (self._hold, self._relative, self._range):
            control.observe(lambda change: self._on_ready(), "value")
        return [self._pick, self._hold, self._relative, self._range]

    def to_frame(self) -> pd.DataFrame:
        """Return the account's equity and drawdown; `time` is UTC."""
        rows = self.board.equity()
        frame = pd.DataFrame({"equity": rows[:, 1], "drawdown": -drawdown(rows[:, 1])})
        frame.insert(0, "time", pd.to_datetime(rows[:, 0], unit="ms", utc=True))
        return frame

    def paint(self, view: EngineView) -> None:
        """Draw the curves when they have grown or something was chosen."""
        self._offer(view)
        account = self.board.equity()
        if len(account) < 2:
            self.show_empty("No equity yet", "The curve starts with the first candles after the engine runs.")
            return
        self.show_empty()
        mark = (float(account[-1, 0]), float(account[-1, 1]), len(account))
        if mark == self._mark and not self._fresh:
            return
        self._mark, self._fresh = mark, False
        start = self._start(account)
        ops, legend, ends = self._curves(view, account, start)
        shown = account[account[:, 0] >= start]
        fall = drawdown(account[:, 1])[account[:, 0] >= start]
        ops.append(put("drawdown", {"t": shown[:, 0], "dd": fall, "zero": np.zeros(len(fall))}))
        end = max([float(shown[-1, 0]), *ends])
        first = float(shown[0, 0])
        legend.append('<span class="sn-key is-dd">Drawdown</span>')
        words = "".join(legend)
        if self.legend.value != words:
            self.legend.value = words
        self._whole = Update(ops, (first, end + 0.02 * max(end - first, 1.0)), True)
        self.chart.send_snapshot()
        self._numbers(account, view)
        self._metrics()

    def _start(self, account: Floats) -> float:
        """Return the first time that is shown."""
        days = self._range.value
        return float(account[-1, 0] - days * DAY_MS) if days else float(account[0, 0])

    def _offer(self, view: EngineView) -> None:
        """Keep a chip per strategy, at most eight."""
        ids = tuple(row.strategy_id for row in view.strategies)[:CURVES_MAX]
        if ids == self._ids:
            return
        self._ids, self._fresh = ids, True
        titles = {row.strategy_id: f"{row.title or row.name} {row.symbol}" for row in view.strategies}
        chips = [controls.chip(titles[i], False) for i in ids]
        for made in chips:
            made.observe(lambda change: self._on_ready(), "value")
        before, self._pick.children = self._pick.children, chips
        for old in before:
            controls.discard(old)

    def _curves(self, view: EngineView, account: Floats, start: float) -> tuple[Ops, list[str], list[float]]:
        """Return the operations, the legend and the end times of all curves."""
        ops, legend, ends = [], [], []
        curves: list[tuple[str, str, str, Floats | None]] = [("account", "Account", "", account)]
        held = self._held(view, account) if self._hold.value else None
        curves.append(("hold", "Buy and hold", "is-bh", held))
        for i, strategy_id in enumerate(self._ids):
            chip = self._pick.children[i]
            rows = self.board.equity(strategy_id) if chip.value else None
            curves.append((f"s{i}", chip.description, CURVES[i][2], rows))
        for name, label, look, rows in curves:
            shown = np.empty((0, 2)) if rows is None else rows[rows[:, 0] >= start]
            ops.append(put(name, {"t": shown[:, 0], "y": self._scaled(shown[:, 1])}))
            if len(shown):
                change = float(shown[-1, 1] / shown[0, 1] - 1.0) if shown[0, 1] else 0.0
                legend.append(f'<span class="sn-key {look}">{escape(label)} {pct(change)}</span>')
                ends.append(float(shown[-1, 0]))
        return ops, legend, ends

    def _scaled(self, curve: Floats) -> Floats:
        """Return the curve, from 100 on when relative."""
        return curve * (100.0 / curve[0]) if self._relative.value and len(curve) and curve[0] else curve

    def _held(self, view: EngineView, account: Floats) -> Floats | None:
        """Return buy and hold of the first market as rows (time, worth), or None without candles."""
        if not view.strategies:
            return None
        first = view.strategies[0]
        rows = self.board.candles(first.symbol, first.timeframe, last=100_000)
        if not len(rows):
            return None
        at = account[account[:, 0] >= rows[0, 5], 0]
        worth = hold(rows[:, 3], rows[:, 5], at, float(account[0, 1]))
        return np.column_stack([at, worth]) if len(at) else None

    def _numbers(self, account: Floats, view: EngineView) -> None:
        """Show the figures of the account; ratios need days, and it says how many."""
        equity, days = account[:, 1], (account[-1, 0] - account[0, 0]) / DAY_MS
        whole = float(equity[-1] / equity[0] - 1.0) if equity[0] else 0.0
        pnl = float(equity[-1] - equity[0])
        short = {"t": "n/a", "sub": f"needs {DAYS_NEEDED} days, has {days:.1f}"}
        rows = [
            ("equity", f"Equity, {view.quote}", num(float(equity[-1]))),
            ("return", "Return", {"t": pct(whole), "tone": tone(whole), "sub": f"{signed(pnl)} {view.quote}"}),
            ("drawdown", "Max drawdown", pct(float(drawdown(equity).min()))),
            ("trades", "Trades", str(sum(row.trades for row in view.strategies))),
            ("sharpe", "Sharpe, yearly", self._sharpe(account) if days >= DAYS_NEEDED else short),
        ]
        self.kpi.show([{"id": key, "label": label, "v": value, "pri": 1} for key, label, value in rows])

    def _sharpe(self, account: Floats) -> Any:
        """Return the yearly Sharpe ratio of daily returns, without a risk-free rate."""
        day = (account[:, 0] // DAY_MS).astype(np.int64)
        last = account[np.r_[np.diff(day) > 0, True], 1]
        returns = np.diff(last) / last[:-1]
        if len(returns) < DAYS_NEEDED - 1 or not returns.std(ddof=1) > 0.0:
            return {"t": "n/a", "sub": f"{len(returns)} daily returns"}
        return {"t": num(float(returns.mean() / returns.std(ddof=1) * np.sqrt(365.0))), "sub": f"{len(returns)} days"}

    def _metrics(self) -> None:
        """Show the figures given from outside as a table."""
        if self._figures is None:
            return
        given = self._figures()
        frame = given if isinstance(given, pd.DataFrame) else _listed(given)
        columns = [str(name) for name in frame.columns]
        keys = [f"c{i}" for i in range(len(columns))]
        right = [i > 0 for i in range(len(columns))]
        cols = [
            {"key": key, "label": label, **({"align": "r"} if number else {})}
            for key, label, number in zip(keys, columns, right, strict=True)
        ]
        if cols != self.table.cols:
            self.table.cols = cols
        rows = [
            {"id": str(at), **{key: _cell(value) for key, value in zip(keys, values, strict=True)}}
            for at, values in enumerate(frame.itertuples(index=False, name=None))
        ]
        self.table.show(rows)

    def _on_ready(self) -> None:
        """A view is new or something was chosen: draw at the next tick."""
        self._fresh = True
        if hasattr(self, "pump"):
            self.repaint()


def _listed(figures: Mapping[str, Any]) -> pd.DataFrame:
    """Return a mapping as a frame of two columns whose values keep their types."""
    values = pd.Series(list(figures.values()), dtype=object)
    return pd.DataFrame({"Figure": list(figures), "Value": values})


def _cell(value: Any) -> Any:
    """Return a figure as a cell; what is not a number is shown as it is."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "n/a"
    if isinstance(value, (dict, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return {"t": num(float(value), 4 if abs(float(value)) < 1.0 else 2), "n": float(value)}
    return str(value)
