"""The chart's operations, its windows of candles and what the price feed sends, without a browser."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_board import MINUTE_MS, START_MS, SampleBoard
from stratnb.model import Fill
from stratnb.ui.chart import Chart, Update, patch, put, stream
from stratnb.ui.figures import LEVELS, LINES, equity_figure, price_figure
from stratnb.ui.marks import deals, position_ops, position_tags, trade_marks
from stratnb.ui.panels.chart import PriceChart
from stratnb.ui.panels.equity import EquityPanel, drawdown, hold
from stratnb.ui.price_feed import PriceFeed
from stratnb.ui.window import LIMIT, Window, gaps, grouped, price_columns, sampled

BASE_MS = MINUTE_MS


class Screen:
    """Applies messages as the browser does: what a view shows of the source `src`."""

    def __init__(self, chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seq: int | None = None
        self.columns: dict[str, list[float]] = {}
        self.messages: list[dict[str, Any]] = []
        self.asked = 0
        monkeypatch.setattr(chart, "send", self.receive)

    def receive(self, message: dict[str, Any], buffers: Any = None) -> None:
        self.messages.append(message)
        if not message.get("snapshot") and message["seq"] != (self.seq or 0) + 1:
            self.asked += 1
            return
        self.seq = message["seq"]
        for op in message["ops"]:
            if op["model"] == "src":
                self._apply(op, buffers)

    def _apply(self, op: dict[str, Any], buffers: Any) -> None:
        if op["op"] == "set":
            self.columns = {k: np.frombuffer(buffers[v["buffer"]]).tolist() for k, v in op["data"].items()}
        elif op["op"] == "stream":
            for name, values in op["data"].items():
                kept = self.columns[name] + [math.nan if x is None else x for x in values]
                self.columns[name] = kept[-op["rollover"] :]
        else:
            for name, pairs in op["data"].items():
                for i, x in pairs:
                    self.columns[name][i] = math.nan if x is None else x


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Any:
    board = SampleBoard(2, candles=2_500)
    made = PriceChart(board)
    made.screen = Screen(made.chart, monkeypatch)  # type: ignore[attr-defined]
    made._on_ready()
    made.pump.paint_now()
    yield made
    made.close()


def _same(panel: Any) -> None:
    """The screen shows what a fresh window reads."""
    window = panel.feed.window
    rows = window.candles(panel.board)
    shown = panel.screen.columns
    for name, column in price_columns(rows).items():
        assert shown[name] == column.tolist(), name
    lines = window.lines(panel.board, rows[:, 5])
    np.testing.assert_array_equal(np.array(shown["k0"]), lines[:, 0])


def test_candles_streamed_one_by_one_or_many_at_once_give_the_same_screen(panel: Any) -> None:
    for n in (1, 1, 7, 255, 256, 257, 1, 900):
        panel.board.advance(n)
        panel.pump.paint_now()
        _same(panel)
    assert panel.screen.asked == 0


def test_nothing_new_sends_nothing_and_a_tick_sends_one_message(panel: Any) -> None:
    before = len(panel.screen.messages)
    panel.pump.paint_now()
    assert len(panel.screen.messages) == before
    panel.board.advance(3)
    panel.pump.paint_now()
    assert len(panel.screen.messages) == before + 1
    assert [op["op"] for op in panel.screen.messages[-1]["ops"]].count("stream") == 1


@pytest.mark.parametrize("role", ["5m", "1h"])
def test_a_grouped_candle_grows_as_its_parts_close(panel: Any, role: str) -> None:
    panel._timeframe.value = role
    panel.pump.paint_now()
    for n in (1, 2, 4, 5, 60, 61):
        panel.board.advance(n)
        panel.pump.paint_now()
        _same(panel)


def test_panning_left_pages_older_candles_in_and_following_brings_the_newest_back(panel: Any) -> None:
    rows = panel.board.market["BTC/USDT"]
    panel._on_range(float(rows[100, 5]), float(rows[230, 5]))
    panel.pump.paint_now()
    assert panel.screen.columns["t"][0] <= rows[100, 5] and len(panel.screen.columns["t"]) <= LIMIT
    assert panel._follow.value is False
    assert panel.screen.messages[-1]["range"] == (rows[100, 5], rows[230, 5])
    last = panel.chart.tags[0]["y"]
    panel.board.advance(5)
    panel.pump.paint_now()
    assert panel.screen.columns["t"][0] <= rows[100, 5]
    assert panel.chart.tags[0]["y"] == last
    panel._follow.value = True
    panel.pump.paint_now()
    _same(panel)
    assert panel.screen.columns["t"][-1] == rows[2_504, 5]


def test_a_range_of_months_is_drawn_in_longer_candles(panel: Any) -> None:
    panel._range.value = 720
    panel.pump.paint_now()
    assert panel.feed.window.step_ms == 30 * MINUTE_MS
    assert len(panel.screen.columns["t"]) <= LIMIT
    _same(panel)


def test_switching_strategy_line_and_scale(panel: Any) -> None:
    panel.show("s1@ETH/USDT")
    panel.pump.paint_now()
    assert panel.feed.window.symbol == "ETH/USDT" and panel._strategy.value == "s1@ETH/USDT"
    _same(panel)
    panel._overlays.children[0].value = False
    panel.pump.paint_now()
    seen = {op["model"]: op["data"] for op in panel.screen.messages[-1]["ops"] if op["op"] == "attr"}
    assert seen["r_k0"] == {"visible": False} and seen["r_k1"] == {"visible": True}
    assert [line[1] for line in panel.chart.cfg["lines"]] == ["EMA 55"]
    item = panel.chart.item
    panel._log.value = True
    assert panel.chart.item != item and '"LogAxis"' in panel.chart.item


def test_switching_strategies_leaves_no_widgets_behind(panel: Any) -> None:
    from ipywidgets.widgets.widget import _instances

    sizes = []
    for i in range(6):
        panel.show(panel.board.strategy_id(i % 2))
        panel.pump.paint_now()
        sizes.append(len(_instances))
    assert sizes[-1] == sizes[-2] == sizes[0]


def test_the_last_trade_is_brought_into_view(panel: Any) -> None:
    panel.show_last_trade()
    panel.pump.paint_now()
    start, end = panel.screen.messages[-1]["range"]
    panel.show_at(start + 60_000.0)
    panel.pump.paint_now()
    assert panel.screen.messages[-1]["range"] is None
    assert start < panel.board.fills("s0@BTC/USDT")[-1].time_ms < end
    assert panel._follow.value is False


def test_without_strategies_the_chart_says_what_to_do() -> None:
    panel = PriceChart(SampleBoard(0))
    assert "Add a strategy" in panel._blank.value and len(panel.to_frame()) == 0
    panel.close()


def test_the_frame_equals_what_is_drawn(panel: Any) -> None:
    frame = panel.to_frame()
    assert list(frame["close"]) == panel.screen.columns["c"]
    assert {"ema21", "an.level.support"} <= set(frame)


def test_a_feed_keeps_no_candles() -> None:
    board = SampleBoard(1)
    feed = PriceFeed(board, board.view().strategies[0])
    feed.whole(None)
    kept = [value for value in vars(feed).values() if isinstance(value, (np.ndarray, list, tuple))]
    assert max(len(value) for value in kept) < 10


def test_operations_carry_no_number_that_json_lacks() -> None:
    assert stream("s", {"x": [1.0, math.nan, math.inf]})["data"] == {"x": [1.0, None, None]}
    assert patch("s", {"x": [(-1, math.nan), (0, 2.0)]})["data"] == {"x": [(-1, None), (0, 2.0)]}
    assert put("s", {"x": [1, 2]})["data"]["x"].dtype == np.float64


def test_messages_count_up_and_a_snapshot_keeps_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    figure, theme = price_figure(2)
    chart = Chart(figure, theme=list(theme))
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(chart, "send", lambda message, buffers=None: sent.append(message))
    chart.push(Update([stream("src", {"t": [1.0]})]))
    chart.push(Update(tags=[{"y": 1.0, "t": "", "tone": "up", "axis": True}]))
    chart.push(Update([stream("src", {"t": [2.0]})]))
    chart._message(chart, {"ready": True}, None)
    assert [(m["seq"], m.get("snapshot", False)) for m in sent] == [(1, False), (2, False), (2, True)]
    assert chart.tags[0]["y"] == 1.0


def test_every_bound_colour_names_a_model_of_its_figure() -> None:
    for figure, theme in (price_figure(0), equity_figure(300)):
        names = {model.name for model in figure.references()}
        assert {name for name, _, _ in theme} <= names
    assert len(LINES) == 8 and LEVELS == 4


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True), st.sampled_from([2, 3, 5, 15]))
def test_grouping_conserves_volume_and_extremes_and_never_mixes_periods(minutes: list[int], factor: int) -> None:
    times = START_MS + BASE_MS * np.array(sorted(minutes), dtype=np.float64)
    close = 100.0 + np.sin(times / 7e5)
    rows = np.column_stack([close, close + 1.0, close - 1.0, close, np.ones(len(times)), times])
    wide = grouped(rows, factor * BASE_MS)
    assert wide[:, 4].sum() == len(rows)
    assert (wide[:, 5] % (factor * BASE_MS) == 0).all() and (np.diff(wide[:, 5]) > 0).all()
    for row in wide:
        part = rows[(rows[:, 5] >= row[5]) & (rows[:, 5] < row[5] + factor * BASE_MS)]
        assert (row[0], row[3]) == (part[0, 0], part[-1, 3])
        assert (row[1], row[2]) == (part[:, 1].max(), part[:, 2].min())
    columns = np.column_stack([times, close])
    np.testing.assert_array_equal(sampled(wide[:, 5], factor * BASE_MS, columns)[:, 0], wide[:, 3])


def test_a_line_is_missing_where_its_candle_is() -> None:
    columns = np.array([[0.0, 1.0], [60_000.0, 2.0], [300_000.0, 3.0]])
    out = sampled(np.array([0.0, 60_000.0, 120_000.0, 300_000.0]), 60_000, columns)[:, 0]
    np.testing.assert_array_equal(out, [1.0, 2.0, np.nan, 3.0])
    assert np.isnan(sampled(np.array([0.0]), 60_000, np.empty((0, 2)))).all()


def test_gaps_lie_between_the_candles_around_them() -> None:
    left, right = gaps(np.array([0.0, 1.0, 2.0, 6.0, 7.0]) * 60_000, 60_000)
    assert (left.tolist(), right.tolist()) == ([150_000.0], [330_000.0])


def test_a_window_of_too_many_candles_takes_longer_ones() -> None:
    window = Window("BTC/USDT", "s0", "1m", BASE_MS, BASE_MS)
    assert window.widened(2_000 * BASE_MS).factor == 1
    assert window.widened(2_001 * BASE_MS).factor == 2
    assert replace(window, step_ms=5 * BASE_MS).widened(129_600 * BASE_MS).factor == 120


def _fill(side: str, quantity: float, price: float, minute: int, left: float, pnl: float = 0.0) -> Fill:
    when = START_MS + minute * MINUTE_MS
    return Fill("s", "BTC/USDT", side, quantity, price, 0.0, when, "x", pnl, left, 1)  # type: ignore[arg-type]


def test_a_trade_is_marked_with_its_r_or_its_money() -> None:
    board = SampleBoard(1)
    rows = board.candles("BTC/USDT", "1m", last=100)
    first = int((rows[0, 5] - START_MS) // MINUTE_MS)
    trips = deals(
        [
            _fill("sell", 2, 100, first + 5, -2),
            _fill("buy", 1, 90, first + 7, -1, 10),
            _fill("buy", 1, 80, first + 9, 0, 20),
        ]
    )
    assert (trips[0].direction, trips[0].closed, trips[0].r_multiple(105.0)) == (-1, True, 3.0)
    ops, notes = trade_marks(trips, rows, MINUTE_MS, lambda deal: 105.0)
    assert np.isfinite(ops[0]["data"]["short"]).sum() == 1 and np.isfinite(ops[0]["data"]["out"]).sum() == 2
    assert [(n["t"], n["tone"], n["at"]) for n in notes] == [("+3.0 R", "up", "below")]
    _, notes = trade_marks(trips, rows, MINUTE_MS, lambda deal: None)
    assert notes[0]["t"] == "+30.00"
    assert trade_marks(trips, rows[50:], MINUTE_MS, lambda deal: None)[1] == []


def test_position_lines_show_the_history_of_the_stop_and_open_targets_only() -> None:
    board = SampleBoard(1)
    position = board.view().positions[0]
    stop, entry, targets = (op["data"] for op in position_ops(position, 9e12))
    assert stop["x"].tolist() == [
        position.stop_history[0][0],
        position.stop_history[1][0],
        position.stop_history[1][0],
        9e12,
    ]
    assert entry["y"].tolist() == [position.entry_price] and len(targets["y"]) == 1
    assert [tag["t"] for tag in position_tags(position)][1:] == ["Stop", "Target 2"]
    assert all(len(op["data"]["y"]) == 0 for op in position_ops(None, 0.0)) and position_tags(None) == []


def test_drawdown_and_buy_and_hold() -> None:
    np.testing.assert_allclose(drawdown(np.array([100.0, 120.0, 90.0, 130.0])), [0.0, 0.0, -0.25, 0.0])
    worth = hold(np.array([10.0, 20.0]), np.array([1.0, 3.0]), np.array([1.0, 2.0, 3.0]), 100.0)
    assert worth.tolist() == [100.0, 100.0, 200.0]


def test_the_equity_panel_draws_chosen_curves_and_given_figures() -> None:
    board = SampleBoard(3)
    panel = EquityPanel(board, figures=lambda: {"Trades": 12, "Win rate": 0.5, "Note": "<b>"})
    assert [row["c1"] for row in panel.table.rows] == ["12", {"t": "0.5000", "n": 0.5}, "<b>"]
    assert "Account" in panel.legend.value
    assert panel.kpi.rows[-1]["v"] == {"t": "n/a", "sub": "needs 10 days, has 2.1"}
    panel._pick.children[1].value = True
    panel.pump.paint_now()
    sizes = {op["model"]: len(op["data"]["t"]) for op in panel._whole.ops if "t" in op["data"]}
    assert sizes["s1"] > 0 and sizes["s0"] == 0 and sizes["account"] == len(board.equity())
    assert "Level breakout ETH/USDT" in panel.legend.value
    sent = panel.chart.sent
    panel.tick(1e9, lambda b: b.view(), force=True)
    assert panel.chart.sent == sent
    assert list(panel.to_frame()) == ["time", "equity", "drawdown"]
    panel.close()
