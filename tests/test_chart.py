"""The chart's operations, its windows of candles and what the price feed sends, without a browser."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_board import MINUTE_MS, START_MS, SampleBoard
from stratnb.model import TIMEFRAMES, Fill
from stratnb.ui.chart import Chart, Update, patch, put, stream
from stratnb.ui.curve import equity_figure
from stratnb.ui.figures import LEVELS, LINES, price_figure
from stratnb.ui.marks import deals, position_ops, position_tags, trade_marks
from stratnb.ui.panels.chart import PriceChart
from stratnb.ui.price_feed import PriceFeed
from stratnb.ui.window import FORMING, LIMIT, Window, gaps, grouped, price_columns, sampled
from stratnb.view import OrderView

BASE_MS = MINUTE_MS


class Screen:
    """Applies messages as the browser does: what a view shows of the source `src`."""

    def __init__(self, chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seq: int | None = None
        self.columns: dict[str, list[float]] = {}
        self.messages: list[dict[str, Any]] = []
        self.asked = 0
        self.files: list[dict[str, Any]] = []
        self.lengths: dict[str, list[float]] = {}
        monkeypatch.setattr(chart, "send", self.receive)

    def receive(self, message: dict[str, Any], buffers: Any = None) -> None:
        if "file" in message:
            self.files.append(message)
            return
        self.messages.append(message)
        if not message.get("snapshot") and message["seq"] != (self.seq or 0) + 1:
            self.asked += 1
            return
        self.seq = message["seq"]
        for op in message["ops"]:
            if op["model"] == "src":
                self._apply(op, buffers)
            elif op["op"] == "set":
                first = next(iter(op["data"].values()))
                self.lengths[op["model"]] = np.frombuffer(buffers[first["buffer"]]).tolist()

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


@pytest.mark.parametrize("role", ["1m", "5m", "1h"])
def test_the_candle_that_is_being_built_is_drawn_lighter_and_replaced_when_it_closes(panel: Any, role: str) -> None:
    panel.board.timeframe = "5m"
    panel.feed = None
    panel._dirty = True
    panel.pump.paint_now()
    assert panel._timeframe.options == ("1m", "5m", "15m", "1h", "4h")
    panel._timeframe.value = role
    step_ms, minutes = TIMEFRAMES[role], panel.board.market["BTC/USDT"]
    for n in (1, 1, 1, 1, 1, 3, 7, 60, 1, 300):
        panel.board.advance(n)
        panel.pump.paint_now()
        _same(panel)
        shown, part = panel.screen.columns, minutes[: panel.board.newest]
        whole = grouped(part, step_ms)[-1]
        assert [shown[name][-1] for name in "ohlct"] == [whole[i] for i in (0, 1, 2, 3, 5)]
        closed = part[-1, 5] + MINUTE_MS == shown["t"][-1] + step_ms
        assert shown["a"][-1] == (1.0 if closed else FORMING) and set(shown["a"][:-1]) == {1.0}
        assert bool(panel.to_frame()["provisional"].iloc[-1]) is not closed
    assert panel.screen.asked == 0


def test_a_line_on_shorter_candles_is_known_from_the_close_on() -> None:
    window = Window("BTC/USDT", "s0@BTC/USDT", "5m", 5 * BASE_MS, BASE_MS, feed="1m")
    times = np.arange(10.0) * BASE_MS
    rows = window.shifted(np.array([[0.0, 1.0], [5.0 * BASE_MS, 2.0]]))
    line = sampled(times, BASE_MS, rows, window.base_ms - BASE_MS)[:, 0]
    np.testing.assert_array_equal(line, [np.nan] * 4 + [1.0] * 5 + [2.0])


def test_entries_decided_in_a_catch_up_are_hollow_and_come_with_one_message(panel: Any) -> None:
    def ghosts() -> Any:
        ops = [op for op in panel.screen.messages[-1]["ops"] if op["model"] == "ghosts"]
        return len(ops) and len(panel.screen.lengths["ghosts"])

    assert ghosts() == 0
    panel.board.late_ms = 1e15
    before = len(panel.screen.messages)
    panel.board.advance(400)
    panel.pump.paint_now()
    assert len(panel.screen.messages) == before + 1
    decided = panel.board.decisions("s0@BTC/USDT")
    assert ghosts() == (decided[decided[:, 0] >= panel.screen.columns["t"][0], 1] == 3.0).sum() > 5
    assert set(panel.screen.columns["dl"]) == {1.0}


def test_a_waiting_order_marks_the_slot_of_its_fill_until_it_is_gone(panel: Any) -> None:
    end = int(panel.board.market["BTC/USDT"][panel.board.newest - 1, 5]) + MINUTE_MS
    panel.board.orders = (OrderView("s0-1", "s0@BTC/USDT", "BTC/USDT", "buy", 0.4, False, "entry", end),)
    panel.pump.paint_now()
    assert panel.screen.lengths["pending"] == [end - MINUTE_MS / 2]
    assert [t["t"] for t in panel.chart.tags if "pending" in t["t"]] == [
        "Long entry pending · buy 0.4 · until the next open"
    ]
    before = len(panel.screen.messages)
    panel.pump.paint_now()
    assert len(panel.screen.messages) == before
    panel.board.orders = ()
    panel.pump.paint_now()
    assert panel.screen.lengths["pending"] == [] and not any("pending" in tag["t"] for tag in panel.chart.tags)


def test_the_saved_table_holds_what_is_in_view(panel: Any) -> None:
    panel._export()
    sent = panel.screen.files[-1]
    table = pd.read_csv(io.StringIO(sent["text"]))
    start, end = panel.feed.seen
    inside = [t for t in panel.screen.columns["t"] if start <= t <= end]
    assert sent["file"] == "BTC-USDT-1m.csv" and len(table) == len(inside) < 200
    assert list(pd.to_datetime(table["open_time"]).map(lambda t: t.timestamp() * 1000)) == inside
    assert {"EMA 21", "Resistance", "decision", "reason", "score"} <= set(table)
    assert set(table["decision"]) <= {"SKIP", "ENTER"}


def test_a_trade_is_picked_from_the_list(panel: Any) -> None:
    words, entry_ms = panel._trade.options[4]
    assert words.startswith("#") and "Long" in words and words.endswith(" R")
    panel._trade.value = entry_ms
    panel.pump.paint_now()
    start, end = panel.screen.messages[-1]["range"]
    assert (start + end) / 2 == entry_ms and panel._trade.value == 0 and panel._follow.value is False


def test_going_to_a_trade_stops_following_even_while_the_newest_candle_is_in_view(panel: Any) -> None:
    panel._range.value = 24
    panel.pump.paint_now()
    panel._trade.value = panel._trade.options[1][1]
    panel.pump.paint_now()
    there = panel.feed.seen
    panel.board.advance(3)
    panel.pump.paint_now()
    assert there[0] < panel.screen.columns["t"][-1] < there[1] and panel._follow.value is False
    assert panel.screen.messages[-1]["range"] is None and panel.feed.seen == there


def test_a_running_feed_without_candles_is_stale(panel: Any) -> None:
    view = panel.board.view()
    quiet = replace(view, data_age_s=48.0)
    assert panel.frame.heading.value == "<h2>Chart</h2>"
    panel.tick(0.0, lambda board: quiet, force=True)
    assert "no candle for 48 s" in panel.frame.heading.value
    panel.tick(0.0, lambda board: replace(quiet, state="paused"), force=True)
    assert panel.frame.heading.value == "<h2>Chart</h2>"


def test_before_the_first_candle_the_chart_says_when_it_closes(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel.board, "newest", 1)
    monkeypatch.setattr(panel.board, "candles", lambda *args, **more: np.empty((0, 6)))
    panel._dirty = True
    panel.pump.paint_now()
    assert "Waiting for the first candle" in panel._blank.value and "closes in 1 m" in panel._blank.value
    monkeypatch.undo()
    panel.pump.paint_now()
    assert panel._blank.value == ""


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

    others, sizes = set(_instances), []
    for i in range(6):
        panel.show(panel.board.strategy_id(i % 2))
        panel.tick(0.0, lambda board: board.view(), force=True)
        sizes.append(len(set(_instances) - others))
    assert sizes[-1] == sizes[-2] == sizes[-3] == sizes[-4]


def test_a_time_is_brought_into_view(panel: Any) -> None:
    panel.show_at(panel.board.fills("s0@BTC/USDT")[-1].time_ms, center=True)
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
    assert {"EMA 21", "Support", "decision", "reason", "catch_up"} <= set(frame) and not frame["provisional"].any()


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
    five = Window("BTC/USDT", "s0", "5m", 5 * BASE_MS, 60 * BASE_MS)
    assert five.widened(100 * BASE_MS).step_ms == 60 * BASE_MS
    assert replace(five, step_ms=BASE_MS).widened(2_001 * BASE_MS).step_ms == 5 * BASE_MS


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


def test_a_chart_that_draws_every_candle_leaves_the_decisions_as_they_are() -> None:
    from stratnb.engine import Engine

    def run(*, drawn: bool) -> np.ndarray[Any, Any]:
        with Engine("chart", mode="exclusive") as engine:
            key = engine.add("simple-levels", symbol="BTC/USDT")
            engine.step(2_000)
            engine.activate(key)
            chart = PriceChart(engine.board) if drawn else None
            forming = 0
            for _ in range(60):
                engine.step(7)
                if chart is not None:
                    chart.tick(0.0, lambda board: board.view(), force=True)
                    forming += int(chart.to_frame()["provisional"].sum())
            if chart is not None:
                assert forming == 60 - 12  # every fifth step ends with a close
                chart.close()
            rows, words = engine.board.decisions(key), engine.board.reasons(key)
            assert rows.shape == (484, 7) and (rows[:, 6] == 1.0).sum() == 400
            assert {int(code) for code in rows[:, 3]} <= set(words)
            assert np.array_equal(engine.board.decisions(key, last=3), rows[-3:], equal_nan=True)
            return rows

    np.testing.assert_array_equal(run(drawn=True), run(drawn=False))
