"""Panels: any number of strategies, hostile texts, and buttons that do what the Python call does."""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
import pytest

from sample_board import INJECTION, SampleBoard
from stratnb.errors import ConfigError, Finding, Refused
from stratnb.events import Event
from stratnb.ui.dashboards import PAGES, Dashboard, build
from stratnb.ui.panel import Panel
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.cache import CachePanel, evicted
from stratnb.ui.panels.decision import DecisionPanel
from stratnb.ui.panels.engine_bar import EngineBar
from stratnb.ui.panels.events import EventLog, level
from stratnb.ui.panels.positions import Positions
from stratnb.ui.panels.risk import RiskPanel
from stratnb.ui.panels.strategies import StrategyTable
from stratnb.ui.pump import pump
from stratnb.ui.start import Choice, StartPage
from stratnb.ui.widgets import Table
from stratnb.view import EngineView

SCRIPT = "</script><script>alert(1)</script>"
PANELS: tuple[type[Panel], ...] = (
    EngineBar,
    StrategyTable,
    CachePanel,
    DecisionPanel,
    Positions,
    RiskPanel,
    EventLog,
    BacktestPanel,
)
CLOSED_SETS = {"state", "mode", "risk_state", "strategy_id", "timeframe", "action", "version", "scope", "rule"}


def hostile(value: Any, words: str) -> Any:
    """Return a picture with the words in every free text of it."""
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: hostile(getattr(value, f.name), words) for f in fields(value) if f.name not in CLOSED_SETS}
        return replace(value, **changed)
    if isinstance(value, str):
        return words
    return tuple(hostile(item, words) for item in value) if isinstance(value, tuple) else value


class HostileBoard(SampleBoard):
    """A board whose texts are markup."""

    words = INJECTION

    def view(self) -> EngineView:
        """Return the picture with the words everywhere; symbols stay, the sample needs them."""
        plain = super().view()
        rows = tuple(replace(hostile(s, self.words), symbol=s.symbol) for s in plain.strategies)
        assert plain.risk is not None
        risk = hostile(replace(plain.risk, markets=plain.risk.markets[:1], denials=plain.risk.denials[:1]), self.words)
        return replace(hostile(plain, self.words), strategies=rows, markets={self.words: 2}, risk=risk)

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> Any:
        """Return the decision with the words everywhere."""
        return hostile(super().decision(strategy_id, open_time_ms), self.words)


def walk(box: Any) -> Iterator[w.Widget]:
    """Yield a widget and everything below it."""
    yield box
    for child in getattr(box, "children", ()):
        yield from walk(child)


def event(seq: int, type_: str = "FILL", strategy_id: str | None = None, **payload: Any) -> Event:
    """Return an event."""
    return Event(seq, seq * 10**9, type_, strategy_id, "BTC/USDT", None, "test", payload)


def confirm(question: Any) -> None:
    """Give the second step after its second of waiting."""
    question._enable(question._round)
    question.yes.click()


@pytest.mark.parametrize("count", [0, 1, 50])
@pytest.mark.parametrize("kind", PANELS, ids=lambda kind: kind.__name__)
def test_every_panel_builds_with_any_number_of_strategies(kind: type[Panel], count: int) -> None:
    panel = kind(SampleBoard(count))
    assert "sn-off" in panel.strip._dom_classes, panel._message.value
    assert isinstance(panel.to_frame(), pd.DataFrame)
    pump().paint_now()
    assert "sn-off" in panel.strip._dom_classes


@pytest.mark.parametrize("words", [INJECTION, SCRIPT])
@pytest.mark.parametrize("kind", PANELS, ids=lambda kind: kind.__name__)
def test_markup_in_any_text_is_shown_literally(kind: type[Panel], words: str) -> None:
    board = HostileBoard(3)
    board.words = words
    board.events = [event(i, words, words, text=words, other=words) for i in range(1, 5)]  # type: ignore[attr-defined]
    panel = kind(board)
    if isinstance(panel, StrategyTable):
        panel.table.on_act("switch", board.strategy_id(0))
        panel.refuse(ConfigError("x", words, hint=words, findings=[Finding(words, "x", words)]))
        panel.tell(words)
    if isinstance(panel, Positions):
        panel.table.on_act("close", board.strategy_id(0))
    if isinstance(panel, EventLog):
        panel._export(words, panel.to_csv(), "text/csv")
    for widget in walk(panel.frame):
        if isinstance(widget, w.HTML):
            assert words not in widget.value
            assert "<img" not in widget.value
            assert "<script" not in widget.value
    widgets = list(walk(panel.frame))
    cells = json.dumps([widget.rows for widget in widgets if isinstance(widget, Table)], ensure_ascii=False)
    texts = [html.unescape(widget.value) for widget in widgets if isinstance(widget, w.HTML)]
    offered = [str(label) for widget in widgets if isinstance(widget, w.Dropdown) for label, *_ in widget.options]
    assert any(words in text for text in (cells, *texts, *offered))


CLICKS: dict[str, tuple[type[Panel], Callable[[Any], None], tuple[str, dict[str, Any]]]] = {
    "pause": (EngineBar, lambda p: p.run.click(), ("pause", {})),
    "speed": (EngineBar, lambda p: setattr(p.speed, "value", math.inf), ("set_speed", {"speed": math.inf})),
    "open": (
        EngineBar,
        lambda p: (setattr(p.path, "value", "a.csv; b.parquet"), p.open.click()),
        ("open_feed", {"paths": ["a.csv", "b.parquet"]}),
    ),
    "activate": (
        StrategyTable,
        lambda p: p.table.on_act("activate", "s2@SOL/USDT"),
        ("activate", {"strategy_id": "s2@SOL/USDT"}),
    ),
    "row pause": (
        StrategyTable,
        lambda p: p.table.on_act("pause", "s0@BTC/USDT"),
        ("pause", {"strategy_id": "s0@BTC/USDT"}),
    ),
    "add": (
        StrategyTable,
        lambda p: (
            setattr(p.add.pick, "value", "simple-levels"),
            setattr(p.add.overrides, "value", '{"a": 1}'),
            p.add.add.click(),
        ),
        ("add", {"document": "simple-levels", "symbol": "BTC/USDT", "label": "main", "overrides": {"a": 1}}),
    ),
    "pin": (CachePanel, lambda p: p.table.on_act("pin", "s2@SOL/USDT"), ("pin", {"strategy_id": "s2@SOL/USDT"})),
    "evict": (CachePanel, lambda p: p.table.on_act("evict", "s2@SOL/USDT"), ("evict", {"strategy_id": "s2@SOL/USDT"})),
    "capacity": (
        CachePanel,
        lambda p: (setattr(p.slider, "value", 4), p.apply.click()),
        ("resize_cache", {"capacity": 4}),
    ),
}


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_is_the_python_call(name: str) -> None:
    kind, click, expected = CLICKS[name]
    board = SampleBoard(3)
    click(kind(board))
    assert board.submitted == [expected]


ASKED: dict[str, tuple[type[Panel], Callable[[Any], Any], tuple[str, dict[str, Any]]]] = {
    "kill": (EngineBar, lambda p: (p.kill.click(), p.kill_confirm)[1], ("kill", {"author": "panel", "flatten": True})),
    "stop": (EngineBar, lambda p: (p.stop.click(), p.stop_confirm)[1], ("stop", {"flatten": False})),
    "restart": (EngineBar, lambda p: (p.restart.click(), p.restart_confirm)[1], ("restart_feed", {})),
    "close": (
        Positions,
        lambda p: (p.table.on_act("close", "s0@BTC/USDT"), p.confirm)[1],
        ("close_position", {"strategy_id": "s0@BTC/USDT"}),
    ),
    "clear": (CachePanel, lambda p: (p.clear.click(), p.confirm)[1], ("clear_cache", {})),
    "remove": (
        StrategyTable,
        lambda p: (p.table.on_act("remove", "s2@SOL/USDT"), p.drawer.preview.click(), p.drawer.confirm)[2],
        ("remove", {"strategy_id": "s2@SOL/USDT", "policy": "refuse"}),
    ),
    "deactivate": (
        StrategyTable,
        lambda p: (p.table.on_act("deactivate", "s0@BTC/USDT"), p.drawer.preview.click(), p.drawer.confirm)[2],
        ("deactivate", {"strategy_id": "s0@BTC/USDT", "policy": "keep"}),
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_loses_something_needs_two_steps(name: str) -> None:
    kind, first, expected = ASKED[name]
    board = SampleBoard(3)
    question = first(kind(board))
    assert question.is_open
    question.yes.click()
    assert board.submitted == [], "the second button is not yet enabled"
    confirm(question)
    confirm(question)
    assert board.submitted == [expected]


def test_a_question_can_be_taken_back() -> None:
    board = SampleBoard(3)
    bar = EngineBar(board)
    bar.kill.click()
    assert "closes 2 positions at market" in bar.kill_confirm.message.value
    bar.flatten.value = False
    assert "keeps 2 positions" in bar.kill_confirm.message.value
    bar.kill_confirm.no.click()
    assert board.submitted == []
    assert "sn-off" not in bar.kill._dom_classes


def test_a_switch_is_tried_out_before_it_is_done() -> None:
    board = SampleBoard(3)
    panel = StrategyTable(board)
    panel.table.on_act("switch", "s0@BTC/USDT")
    panel.drawer.target.value = "s2@SOL/USDT"
    panel.drawer.policy.value = "close"
    panel.drawer.preview.click()
    board.jobs[-1]._result = {"orders": ["sell 0.4 BTC/USDT"]}
    pump().paint_now()
    assert "Sends 1 orders: sell 0.4 BTC/USDT" in panel.drawer.confirm.message.value
    confirm(panel.drawer.confirm)
    call = {"to_id": "s2@SOL/USDT", "policy": "close", "from_id": "s0@BTC/USDT"}
    assert board.submitted == [("switch", {"dry_run": True, **call}), ("switch", call)]


def test_a_second_click_while_it_runs_sends_nothing() -> None:
    board = SampleBoard(3, slow=True)
    panel = StrategyTable(board)
    panel.table.on_act("activate", "s2@SOL/USDT")
    panel.table.on_act("activate", "s2@SOL/USDT")
    assert len(board.submitted) == 1
    board.jobs[0].finish({})
    pump().paint_now()
    panel.table.on_act("activate", "s2@SOL/USDT")
    assert len(board.submitted) == 2


def test_a_refusal_shows_code_and_remedy_and_goes_away() -> None:
    board = SampleBoard(3)
    board.refused["activate"] = "capacity"
    panel = StrategyTable(board)
    panel.table.on_act("activate", "s2@SOL/USDT")
    pump().paint_now()
    assert "capacity" in panel._said.value
    assert "try again later" in panel._said.value
    assert "sn-off" not in panel.refusal._dom_classes
    panel.dismiss()
    assert "sn-off" in panel.refusal._dom_classes


@pytest.mark.parametrize(("words", "code"), [("{bad", "json_syntax"), ("[1]", "type"), ("", "missing")])
def test_a_bad_document_is_refused_before_anything_is_sent(words: str, code: str) -> None:
    board = SampleBoard(1)
    panel = StrategyTable(board)
    panel.add.source.value = "Document"
    panel.add.paste.value = words
    panel.add.add.click()
    assert code in panel._said.value
    assert board.submitted == []


def test_the_form_adds_the_edited_document() -> None:
    board = SampleBoard(1)
    panel = StrategyTable(board)
    panel.add.source.value = "Form"
    form = panel.add.form
    assert form is not None
    title: Any = form.fields["title"]
    title.box.value = "Mine"
    panel.add.add.click()
    op, sent = board.submitted[0]
    assert (op, sent["document"]["title"], sent["document"]["schema"]) == ("add", "Mine", 1)


def test_an_unchanged_picture_sends_nothing_and_a_changed_one_only_its_cells() -> None:
    board = SampleBoard(50)
    panel = StrategyTable(board)
    sent: list[Any] = []
    panel.table.send = lambda content, buffers=None: sent.append(content)
    panel.repaint()
    pump().paint_now()
    assert sent == []
    board.count = 50
    board.title = "Other"
    pump().paint_now()
    assert {key for cells in sent[0]["patch"].values() for key in cells} == {"name", "act"}


def test_the_selection_is_shared_by_the_panels_of_a_board() -> None:
    board = SampleBoard(3)
    table, inspector = StrategyTable(board), DecisionPanel(board)
    table.table.on_act("open", "s2@SOL/USDT")
    pump().paint_now()
    assert inspector.selection.strategy_id == "s2@SOL/USDT"
    assert table.table.current == "s2@SOL/USDT"
    inspector.older.click()
    pump().paint_now()
    assert inspector.follow.value is False
    assert inspector.when.value.endswith("01:58")
    inspector.follow.value = True
    assert inspector.selection.open_time_ms is None


def test_the_verdict_explains_a_warming_and_a_missing_decision() -> None:
    board = SampleBoard(1)
    panel = DecisionPanel(board)
    assert "ENTER LONG" in panel.verdict.value
    assert "is-up" in panel.verdict._dom_classes
    board.decision = lambda *_: None  # type: ignore[method-assign]
    panel.repaint()
    pump().paint_now()
    assert "Gap: 3 candles are missing" in panel.verdict.value
    assert "is-up" not in panel.verdict._dom_classes


def test_numbers_on_screen_are_those_of_the_frame() -> None:
    panel = Positions(SampleBoard(2))
    frame = panel.to_frame()
    shown = [float(row["pnl"]["t"].split()[-1].replace(",", "").replace("−", "-")) for row in panel.table.rows]
    assert shown == frame["unrealized_pnl"].round(2).tolist()


def test_a_smaller_cache_shows_who_would_go_and_never_a_pinned_one() -> None:
    board = SampleBoard(10)
    panel = CachePanel(board)
    panel.slider.value = 3
    doomed = [row["id"] for row in panel.table.rows if row["cls"] == "is-evict"]
    assert doomed == list(evicted(board.view().cache, 3))
    assert len(doomed) == 7
    assert not {entry.strategy_id for entry in board.view().cache.entries if entry.pinned} & set(doomed)
    panel.undo.click()
    assert panel.slider.value == 10
    assert board.submitted == []


def test_the_log_filters_counts_and_exports() -> None:
    board = SampleBoard(2)
    one, two = board.strategy_id(0), board.strategy_id(1)
    board.events = [
        event(i, "FILL" if i % 2 else "STRATEGY_ERROR", one if i % 3 else two, text=f"n{i}") for i in range(1, 301)
    ]  # type: ignore[attr-defined]
    log = EventLog(board)
    assert (len(log.table.rows), log.table.rows[0]["id"]) == (200, "300")
    log.chips[two].value = True
    log.levels["error"].value = True
    assert [row["id"] for row in log.table.rows[:2]] == ["300", "294"]
    assert len(log.to_frame()) == 50 == len(log.to_jsonl().splitlines()) == len(log.to_csv().splitlines()) - 1
    log.reset.click()
    log.type.value = "order_*"
    assert log.table.rows == []
    assert log.table.empty["t"] == "No event matches"
    log.reset.click()
    log.follow.value = False
    board.events += [event(310)]  # type: ignore[attr-defined]
    pump().paint_now()
    assert log.table.rows[0]["id"] == "300"
    assert "9 dropped" in log.frame.heading.value
    log.follow.value = True
    assert log.table.rows[0]["id"] == "310"


def test_levels_come_from_the_type() -> None:
    types = ("ENTRY_DENIED", "POSITION_OPENED", "COMMAND_REFUSED", "CANDLE_ROUTED")
    assert [level(type_) for type_ in types] == ["warn", "trade", "error", "detail"]


def test_the_dashboard_builds_pages_when_they_are_opened() -> None:
    board = SampleBoard(3)
    page = Dashboard(board)
    assert set(page.panels) == {EngineBar, *PAGES["Overview"]}
    for name in PAGES:
        page.tabs.value = name
        shown = {kind for kind, panel in page.panels.items() if panel.shown}
        assert shown == {EngineBar, *PAGES[name]}
    assert board.submitted == []
    page.close()


def test_a_broken_panel_leaves_the_others_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Positions, "body", broken)
    page = Dashboard(SampleBoard(1))
    words = " ".join(widget.value for widget in walk(page.widget) if isinstance(widget, w.HTML))
    assert "ui_runtimeerror" in words
    assert "secret detail" not in words
    assert page.panels[StrategyTable].shown


def test_a_board_that_cannot_be_made_gives_a_card_with_its_code() -> None:
    def factory() -> Any:
        raise Refused("no_engine", "there is no engine", hint="start one")

    words = " ".join(widget.value for widget in walk(build(factory)) if isinstance(widget, w.HTML))
    assert "no_engine" in words
    assert "Traceback" not in words


def test_the_start_page_starts_nothing_until_the_button_is_pressed() -> None:
    started: list[Choice] = []
    page = StartPage(lambda choice: (started.append(choice), SampleBoard(0))[1])
    pump().paint_now()
    assert started == []
    page.market.value = "My candle files"
    page.button.click()
    assert "no candle file was given" in page.said.value
    page.paths.value = "a.csv; b.csv"
    page.button.click()
    page.button.click()
    assert page._work is not None
    page._work.join(5)
    pump().paint_now()
    assert started == [Choice(("a.csv", "b.csv"))]
    assert page.dashboard is not None


def test_a_start_that_fails_says_why_and_can_be_tried_again() -> None:
    def start(_: Choice) -> Any:
        raise ConfigError("file_not_found", "candle file 'x' does not exist", hint="check the path")

    page = StartPage(start)
    page.button.click()
    assert page._work is not None
    page._work.join(5)
    pump().paint_now()
    assert "file_not_found" in page.said.value
    assert page.button.disabled is False


def test_a_decision_is_copied_as_json_whatever_numbers_it_holds() -> None:
    board = SampleBoard(1)
    plain = board.decision(board.strategy_id(0))
    assert plain is not None
    board.decision = lambda *_: replace(plain, catchup=np.bool_(True), score=np.float64(0.5))  # type: ignore[method-assign]
    panel = DecisionPanel(board)
    assert "&quot;catchup&quot;: true" in panel.details.value


def test_finished_candles_leave_nothing_to_resume() -> None:
    board = SampleBoard(1)
    board.state = "paused"
    view = board.view()
    assert view.feed is not None
    board.view = lambda: replace(view, feed=replace(view.feed, done=True))  # type: ignore[method-assign]
    bar = EngineBar(board)
    assert bar.figures.rows[0]["v"]["t"] == "Finished"
    assert (bar.run.disabled, bar.step.disabled) == (True, True)
    assert "used up" in bar.run.tooltip
    assert "candles used up" in bar.feed.value
    assert "is-primary" in bar.restart._dom_classes
    bar.restart.click()
    assert "Strategies stay loaded" in bar.restart_confirm.message.value


def test_other_candles_ask_when_strategies_are_loaded() -> None:
    board = SampleBoard(3)
    board.refused["open_feed"] = "strategies_loaded"
    bar = EngineBar(board)
    bar.path.value = "a.csv"
    bar.open.click()
    pump().paint_now()
    assert bar.open_confirm.is_open
    assert "sn-off" in bar.refusal._dom_classes
    assert "Removes 3 strategies and their results, closes open positions" in bar.open_confirm.message.value
    board.refused.clear()
    confirm(bar.open_confirm)
    paths = {"paths": ["a.csv"]}
    assert board.submitted == [("open_feed", paths), ("open_feed", {**paths, "replace": True, "policy": "close"})]
    board.refused["open_feed"] = "csv_value"
    bar.open.click()
    pump().paint_now()
    assert not bar.open_confirm.is_open
    assert "csv_value" in bar._said.value


def decision_at(text: str) -> DecisionPanel:
    """Return an inspector in which a time was typed."""
    panel = DecisionPanel(SampleBoard(1))
    panel.when.value = text
    pump().paint_now()
    return panel


@pytest.mark.parametrize(
    "text",
    ["9999-12-31 23:59", "0001-01-01", "0001-01-01 00:00+14:00", "9999-12-31T23:59-12:00", "1969-12-31", "soon", ""],
)
def test_any_typed_time_leaves_the_inspector_alive(text: str) -> None:
    panel = decision_at(text)
    assert "sn-off" in panel.strip._dom_classes, panel._message.value


def test_a_typed_time_with_a_zone_is_that_moment() -> None:
    zoned, plain = decision_at("2026-01-01 05:00+05:00"), decision_at("2026-01-01 00:00")
    assert zoned.selection.open_time_ms == plain.selection.open_time_ms is not None


def test_a_wrong_threshold_says_what_the_results_are_of_and_can_be_reset() -> None:
    panel = DecisionPanel(SampleBoard(1))
    panel.ask.value = True
    pump().paint_now()
    box = panel.what_if.editors["entry"].fields["min_score"].box  # type: ignore[attr-defined]
    box.value = "60"
    panel.repaint()
    pump().paint_now()
    assert "60 % is 0.6" in panel.what_if.fault.value and "last valid values" in panel.what_if.fault.value
    assert panel.what_if.reset.disabled is False and panel.what_if.changes() == {}
    panel.what_if.reset.click()
    pump().paint_now()
    assert "sn-off" in panel.what_if.fault._dom_classes and panel.what_if.reset.disabled


class ReadingBoard(SampleBoard):
    """A board that keeps what was submitted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def submit(self, op: str, /, **arguments: Any) -> Any:
        """Keep the operation."""
        self.asked.append((op, arguments))
        return super().submit(op, **arguments)


def wait_for(done: Callable[[], bool]) -> None:
    """Let the pump go on until something has happened."""
    for _ in range(400):
        pump().paint_now()
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_the_drawer_of_candles_has_what_its_hints_ask_for(tmp_path: Path) -> None:
    lines = [f"2024-01-01 00:{i:02d},1,2,0.5,{'' if i == 3 else 1.5},10" for i in range(60)]
    path = tmp_path / "btc_usdt.csv"
    path.write_text("\n".join(["time,open,high,low,close,volume", *lines]))
    board = ReadingBoard()
    bar = EngineBar(board)
    bar.path.value, bar.timeframe.value = str(path), "1m"
    bar.open.click()
    wait_for(lambda: "Repair rows" in bar._said.value)
    assert board.asked == [] and "repair=" not in bar._said.value
    bar.repair.value = True
    bar.open.click()
    wait_for(lambda: bool(board.asked))
    op, arguments = board.asked[0]
    assert op == "open_feed" and [len(each) for each in arguments["candles"]] == [59]


@pytest.mark.parametrize("paths", ["a.csv b.csv", "/data/btc.parquet  /data/eth.parquet"])
def test_paths_apart_by_spaces_are_told_how_to_be_written(paths: str) -> None:
    bar = EngineBar(SampleBoard(1))
    bar.path.value = paths
    bar.refuse(ConfigError("file_missing", f"{paths} does not exist", hint="check the path"))
    assert "separate the paths with ;" in bar._said.value
    bar.path.value = "~nobody-here/a.csv"
    bar.open.click()
    assert "is no path" in bar._said.value


def test_panels_of_one_rate_are_painted_from_the_same_pictures() -> None:
    table, positions = StrategyTable(SampleBoard(2)), Positions(SampleBoard(2))
    seen: dict[str, list[int]] = {"table": [], "positions": []}
    table.paint = seen["table"].append  # type: ignore[method-assign,assignment]
    positions.paint = seen["positions"].append  # type: ignore[method-assign,assignment]
    for k in range(1, 200):
        for panel, odd in ((table, 0), (positions, 3)):
            if k % 7 != odd or k > 100:
                panel.tick(k / 10, lambda _, k=k: k, force=k == odd + 1)  # type: ignore[misc]
    assert [k for k in seen["table"] if k > 110] == [k for k in seen["positions"] if k > 110]
    assert len([k for k in seen["table"] if k > 110]) == pytest.approx(18, abs=1)
