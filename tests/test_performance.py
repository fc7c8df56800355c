"""P7: curves over a range, the views, what is flagged, and the exports."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import ipywidgets as w
import numpy as np
import pytest

from sample_board import INJECTION, START_MS, SampleBoard
from stratnb.research.daily import DAY_MS
from stratnb.ui.panels.equity import VIEWS, EquityPanel
from stratnb.ui.panels.performance_curve import Look, curve_update
from stratnb.ui.panels.performance_data import Sampler, Scope, hold, spaced
from stratnb.ui.pump import pump

SCRIPT = "</script><script>alert(1)</script>"


class LongBoard(SampleBoard):
    """The sample with twelve days of candles."""

    def __init__(self, strategies: int = 3, **options: Any) -> None:
        super().__init__(strategies, candles=17_280, **options)


def walk(box: Any) -> Any:
    """Yield a widget and everything below it."""
    yield box
    for child in getattr(box, "children", ()):
        yield from walk(child)


def shown(panel: EquityPanel, name: str) -> Any:
    """Open a view and return its table."""
    panel.tabs.value = name
    pump().paint_now()
    assert "sn-off" in panel.strip._dom_classes, panel._message.value
    return panel.curve.kpi if name == VIEWS[0] else panel.views[name].table  # type: ignore[attr-defined]


def key(panel: EquityPanel, name: str) -> Any:
    """Return the cell of a key figure."""
    return next(row["v"] for row in panel.curve.kpi.rows if row["id"] == name)


def cell(panel: EquityPanel, name: str, column: str = "account") -> Any:
    """Return a cell of the figures."""
    return next(row[column] for row in shown(panel, "Figures").rows if row["id"] == name)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("count", [0, 1, 50])
def test_every_view_builds_with_any_number_of_strategies(name: str, count: int) -> None:
    panel = EquityPanel(SampleBoard(count))
    shown(panel, name)
    assert panel.to_frame() is not None
    lines = {line.key for line in panel._sampler.sample(panel.board.view(), panel.scope.scope).lines}  # type: ignore[union-attr]
    assert len(lines) == min(count, 8) + 1 + (count > 0)


@pytest.mark.parametrize("words", [INJECTION, SCRIPT])
def test_markup_in_titles_is_shown_literally_in_every_view_and_export(words: str) -> None:
    panel = EquityPanel(SampleBoard(3, title=words))
    for name in VIEWS:
        shown(panel, name)
        for widget in walk(panel.frame):
            if isinstance(widget, w.HTML):
                assert words not in widget.value
    panel._save_page()
    page = base64.b64decode(re.search(r"base64,([^\"]+)", panel.link.value).group(1)).decode()  # type: ignore[union-attr]
    body = page[page.rindex("</head>") :]
    assert words not in body
    assert "&lt;" in body
    assert body.count("<script") == 1
    assert "<img" not in body


def test_the_page_asks_nobody_for_anything() -> None:
    panel = EquityPanel(LongBoard(2))
    panel._save_page()
    page = base64.b64decode(re.search(r"base64,([^\"]+)", panel.link.value).group(1)).decode()  # type: ignore[union-attr]
    assert not re.search(r"<(link|img|iframe)\b|<script[^>]*\bsrc=", page)
    assert "cdn." not in page[page.rindex("</head>") :]
    assert "default-src 'none'" in page
    for name in ("Equity and drawdown", "Rolling Sharpe", "Hours", "Excursions", "Figures", "Months"):
        assert f"<h2>{name}</h2>" in page


def test_under_two_days_there_are_no_ratios_and_it_says_why() -> None:
    panel = EquityPanel(SampleBoard(1, candles=1_000))
    assert "Ratios need 2 days; the range has 0.7." in panel.curve.note.value
    assert "sn-off" not in panel.curve.note._dom_classes
    for name in ("sharpe", "volatility", "cagr", "sortino"):
        assert (key(panel, name)["t"], key(panel, name)["sub"]) == ("n/a", "needs 2 days, has 0.7")
    assert key(panel, "total_return")["t"] != "n/a"
    longer = EquityPanel(LongBoard(1))
    assert "sn-off" in longer.curve.note._dom_classes
    assert key(longer, "sharpe")["sub"] == "N 12 ⚑"


def test_figures_follow_the_range() -> None:
    board = LongBoard(2)
    panel, rows = EquityPanel(board), board.equity()
    assert key(panel, "pnl")["n"] == pytest.approx(rows[-1, 1] - rows[0, 1])
    trades = cell(panel, "trades")["n"]
    panel.scope.range.value = 7
    first = rows[rows[:, 0] <= rows[-1, 0] - 7 * DAY_MS][-1]
    assert cell(panel, "total_return")["n"] == pytest.approx(rows[-1, 1] / first[1] - 1)
    assert 0 < cell(panel, "trades")["n"] < trades
    shown(panel, VIEWS[0])
    assert key(panel, "pnl")["n"] == pytest.approx(rows[-1, 1] - first[1])
    assert panel.to_frame()["time"].min().value // 1_000_000 == first[0]


def test_every_figure_has_its_convention_and_says_of_how_many() -> None:
    panel = EquityPanel(LongBoard(2))
    for row in shown(panel, "Figures").rows:
        if "span" in row:
            continue
        assert row["name"]["title"], row["id"]
        for column in ("account", "s0", "s1"):
            made = row[column]
            assert made["title"], row["id"]
            assert made.get("sub") or row["id"] in ("trades", "days"), row["id"]
    assert "252" in cell(panel, "sharpe")["title"]
    assert cell(panel, "alpha")["sub"] == "needs 30 days of it"
    assert cell(panel, "max_drawdown_money")["title"].count("UTC") == 1


def test_the_frame_of_the_figures_is_what_is_on_screen() -> None:
    panel = EquityPanel(LongBoard(2))
    rows = {row["id"]: row for row in shown(panel, "Figures").rows}
    frame = panel.to_frame()
    for record in frame.to_dict("records"):
        made, value = rows[record["figure"]]["account"], record["Account"]
        assert (made["t"] == "n/a") == (value is None or np.isnan(value))
        if made["t"] != "n/a":
            assert made["n"] == value


def test_hold_buys_at_the_first_open() -> None:
    rows = np.array([[10.0, 0, 0, 11.0, 0, 0.0], [11.0, 0, 0, 12.0, 0, 60.0], [12.0, 0, 0, 9.0, 0, 120.0]])
    worth = hold(rows, np.array([30.0, 60.0, 130.0, 180.0]), 100.0)
    assert worth.tolist() == [[0.0, 100.0], [60.0, pytest.approx(110.0)], [130.0, pytest.approx(120.0)], [180.0, 90.0]]
    assert len(hold(rows[:1], np.array([60.0]), 100.0)) == 0
    board = SampleBoard(1)
    line = Sampler(board).sample(board.view(), Scope(market="ETH/USDT")).held  # type: ignore[union-attr]
    assert line is not None
    assert line.label == "Buy and hold ETH/USDT"
    market = board.market["ETH/USDT"][: board.newest]
    at = int((line.rows[-1, 0] - START_MS) // 60_000) - 1
    assert line.rows[-1, 1] / line.rows[0, 1] == pytest.approx(market[at, 3] / market[0, 0])


def test_the_open_fall_is_drawn_apart_and_told() -> None:
    board = SampleBoard(0)
    curve = np.column_stack([START_MS + np.arange(6) * DAY_MS, [100.0, 120.0, 90.0, 130.0, 110.0, 117.0]])
    board.equity = lambda strategy_id=None: curve  # type: ignore[method-assign]
    panel = EquityPanel(board)
    ops = {op["model"]: op["data"] for op in panel.curve.chart.snapshot().ops}
    assert ops["open"]["dd"].tolist() == pytest.approx([0.0, -20 / 130, -0.1])
    assert ops["drawdown"]["dd"].tolist() == pytest.approx([0.0, 0.0, -0.25, 0.0])
    assert "Open drawdown 10.00% since 2026-01-04 00:00 UTC (2 d 0 h)" in panel.curve.legend.value
    assert panel.to_frame()["drawdown"].max() == 0.25


def test_relative_log_and_resolution() -> None:
    board = LongBoard(1)
    sample = Sampler(board).sample(
        board.view(), Scope((board.strategy_id(0),), frozenset({board.strategy_id(0)}), market="BTC/USDT")
    )
    assert sample is not None
    drawn = {op["model"]: op["data"] for op in curve_update(sample, Look(step_ms=DAY_MS)).ops}
    assert [drawn[name]["y"][0] for name in ("account", "s0", "hold")] == pytest.approx([100.0] * 3)
    assert len(drawn["account"]["t"]) == 13
    money = {op["model"]: op["data"] for op in curve_update(sample, Look(relative=False)).ops}
    assert money["account"]["y"].tolist() == board.equity()[:, 1].tolist()
    panel = EquityPanel(board)
    before = panel.curve.chart.item
    panel.curve.settings.log.value = True
    pump().paint_now()
    assert panel.curve.chart.item != before
    assert "LogScale" in panel.curve.chart.item
    assert spaced(np.array([[0.0, 1.0]]), DAY_MS).tolist() == [[0.0, 1.0]]


def test_a_pair_is_compared_alone() -> None:
    panel = EquityPanel(LongBoard(3))
    panel.scope.chips.children[1].value = False
    panel.scope.a.value, panel.scope.b.value = "s1", "account"
    table = shown(panel, "Figures")
    assert [col["key"] for col in table.cols] == ["name", "s1", "account", "difference"]
    rows = {row["id"]: row for row in table.rows}
    a, b = rows["total_return"]["s1"]["n"], rows["total_return"]["account"]["n"]
    assert rows["total_return"]["difference"]["n"] == pytest.approx(a - b)
    shown(panel, VIEWS[0])
    assert "A − B" in panel.curve.legend.value
    assert set(panel.to_frame()["curve"].str[:3]) == {"A: ", "B: "}


def test_at_most_eight_curves_of_fifty() -> None:
    panel = EquityPanel(SampleBoard(50))
    scope = panel.scope
    assert len(scope.ids) == 8 == len(scope.scope.on)
    last = scope.more.options[-1][1]
    scope.more.value = last
    assert "8 curves at most" in scope.said.value
    assert last not in scope.ids
    scope.chips.children[2].value = False
    gone = scope.ids[2]
    scope.more.value = last
    assert len(scope.ids) == 8
    assert last in scope.scope.on
    assert gone not in scope.ids


def test_only_the_open_view_is_painted_and_only_when_something_changed() -> None:
    board = SampleBoard(2)
    panel = EquityPanel(board)
    sent: list[Any] = []
    panel.curve.chart.send = lambda content, buffers=None: sent.append(content)
    pump().paint_now()
    assert sent == []
    shown(panel, "Hours")
    board.advance(10)
    pump().paint_now()
    assert sent == []
    shown(panel, VIEWS[0])
    assert len(sent) == 1


def test_trades_and_excursions_are_worked_out_once() -> None:
    board = SampleBoard(1)
    sampler, asked = Sampler(board), []
    candles = board.candles
    board.candles = lambda *a, **k: (asked.append(k), candles(*a, **k))[1]  # type: ignore[method-assign]
    scope = Scope((board.strategy_id(0),), frozenset({board.strategy_id(0)}))
    first = sampler.sample(board.view(), scope)
    again = sampler.sample(board.view(), scope)
    assert len(asked) == 2, "the candles of the trades, and once a moment the closing times of each market"
    assert first is not None
    assert again is not None
    line, fresh = first.trading()[0], Sampler(board).sample(board.view(), scope).trading()[0]  # type: ignore[union-attr]
    assert line.paths.tolist() == again.trading()[0].paths.tolist() == fresh.paths.tolist()
    for trade, (mae, mfe) in zip(line.trades, line.paths, strict=True):
        rows = board.market[trade.symbol]
        held = rows[(rows[:, 5] >= trade.entry_ms) & (rows[:, 5] < trade.exit_ms)]
        prices = [trade.entry_price, trade.exit_price]
        assert mae == pytest.approx(min(held[:, 2].min(), *prices) / trade.entry_price - 1)
        assert mfe == pytest.approx(max(held[:, 1].max(), *prices) / trade.entry_price - 1)


def test_hours_of_the_heat_map_sum_to_the_weekdays() -> None:
    panel = EquityPanel(LongBoard(3))
    rows = {row["id"]: row for row in shown(panel, "Hours").rows}
    frame = panel.to_frame()
    for name, part in frame.groupby("weekday"):
        assert rows[name]["pnl"]["n"] == pytest.approx(part["pnl"].sum())
        assert rows[name]["n"]["n"] == part["trades"].sum()
    ops = panel.views["Hours"].chart.snapshot().ops  # type: ignore[attr-defined]
    assert ops[0]["data"]["pnl"].sum() == pytest.approx(frame["pnl"].sum())


def test_the_exports_are_the_frame_and_one_file() -> None:
    panel = EquityPanel(SampleBoard(2))
    for name in VIEWS:
        shown(panel, name)
        panel._save_csv()
        text = base64.b64decode(re.search(r"base64,([^\"]+)", panel.link.value).group(1)).decode()  # type: ignore[union-attr]
        assert text.splitlines()[0] == ",".join(panel.to_frame().columns)
        assert len(text.splitlines()) == len(panel.to_frame()) + 1
        assert f"performance-{name.lower()}.csv" in panel.link.value


def test_a_pair_is_measured_against_buy_and_hold_too() -> None:
    panel = EquityPanel(LongBoard(2))
    panel.scope.a.value, panel.scope.b.value = "s0", "s1"
    cells = {row["id"]: row for row in shown(panel, "Figures").rows}["buy_and_hold"]
    assert cells["s0"]["t"] == cells["s1"]["t"] != "n/a"
    panel.scope.market.value = ""
    cells = {row["id"]: row for row in shown(panel, "Figures").rows}["alpha"]
    assert cells["s0"]["sub"] == "none chosen"


def test_the_whole_run_has_the_drawdown_of_every_candle() -> None:
    board = LongBoard(1)
    strategy = board.view().strategies[0]
    view = replace(board.view(), strategies=(replace(strategy, max_drawdown=0.9),))
    sampler, on = Sampler(board), frozenset({strategy.strategy_id})
    for days, is_worst in ((0, True), (7, False)):
        sample = sampler.sample(view, Scope((strategy.strategy_id,), on, days=days))
        assert sample is not None
        found = sample.lines[1].figures()
        assert (found["max_drawdown"] == 0.9) == is_worst
        assert found["recovery_factor"] == pytest.approx(found["total_return"] / found["max_drawdown"])  # type: ignore[operator]


def test_fills_are_read_only_after_a_trade() -> None:
    board = SampleBoard(2)
    sampler, asked = Sampler(board), []
    fills = board.fills
    board.fills = lambda *a: (asked.append(a), fills(*a))[1]  # type: ignore[method-assign]
    for _ in range(3):
        sampler.sample(board.view(), Scope())
    assert len(asked) == 2


class DormantBoard(SampleBoard):
    """The sample whose last strategy has no curve."""

    def equity(self, strategy_id: str | None = None) -> Any:
        """Return no points of the last strategy."""
        points = super().equity(strategy_id)
        return points[:0] if strategy_id == self.strategy_id(1) else points


def test_a_chosen_strategy_without_a_curve_is_explained() -> None:
    panel = EquityPanel(DormantBoard(2))
    pump().paint_now()
    name = panel.scope.chips.children[1].description
    assert name in panel.scope.none.value and "no curve" in panel.scope.none.value
    panel.scope.chips.children[1].value = False
    pump().paint_now()
    assert panel.scope.none.value == "" and "sn-off" in panel.scope.none._dom_classes


def test_the_number_of_days_says_over_what_time() -> None:
    panel = EquityPanel(SampleBoard(1))
    days = cell(panel, "days")
    elapsed = panel._sampler.sample(panel.board.view(), panel.scope.scope)
    assert elapsed is not None and days["sub"].startswith(f"over {elapsed.lines[0].elapsed_days:.1f} days")
