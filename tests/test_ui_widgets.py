"""Table, Confirm, assets and panels without a browser."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import traitlets

from sample_board import INJECTION, SampleBoard
from stratnb.errors import ConfigError
from stratnb.ui import assets as bundle
from stratnb.ui import controls
from stratnb.ui.panel import Panel, root
from stratnb.ui.pump import pump
from stratnb.ui.widgets import Table
from stratnb.view import EngineView


class Sent:
    """Catches what a widget sends."""

    def __init__(self, widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[dict[str, Any]] = []
        monkeypatch.setattr(widget, "send", lambda content, buffers=None: self.messages.append(content))


class Rows(Panel):
    title = "Rows"

    def body(self) -> list[Any]:
        self.table = Table(caption="Rows", cols=[{"key": "n", "label": "Name"}])
        return [self.table]

    def paint(self, view: EngineView) -> None:
        self.table.show([{"id": s.strategy_id, "n": s.title} for s in view.strategies])

    def to_frame(self) -> Any:
        import pandas as pd

        return pd.DataFrame(self.table.rows)


@pytest.fixture
def table() -> Table:
    rows = [{"id": "a", "x": "1", "y": {"t": "2", "n": 2}}, {"id": "b", "x": "3", "y": "4"}]
    return Table(caption="T", cols=[{"key": "x", "label": "X"}, {"key": "y", "label": "Y"}], rows=rows)


def test_an_unknown_keyword_is_an_error_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match=r"Table has no 'captoin'; did you mean 'caption'"):
        Table(captoin="x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "chart"},
        {"cols": [{"key": "x"}]},
        {"rows": [{"x": 1}]},
        {"rows": [{"id": "a"}, {"id": "a"}]},
        {"page": -1},
        {"rows": "text"},
    ],
)
def test_wrong_traits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(traitlets.TraitError):
        Table(**wrong)


def test_a_patch_sends_only_what_changed_and_counts_up(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(table, monkeypatch)
    table.patch({"a": {"x": "1", "y": {"t": "5", "n": 5}}, "b": {"x": "3"}, "unknown": {"x": "9"}})
    table.patch({"a": {"x": "1"}})
    table.patch({"b": {"x": "7"}})
    assert [m["patch"] for m in sent.messages] == [{"a": {"y": {"t": "5", "n": 5}}}, {"b": {"x": "7"}}]
    assert [m["seq"] for m in sent.messages] == [1, 2]
    assert table.get_state(["rows", "seq"]) == {
        "rows": [{"id": "a", "x": "1", "y": {"t": "5", "n": 5}}, {"id": "b", "x": "7", "y": "4"}],
        "seq": 2,
    }


def test_show_patches_while_the_ids_stay_and_replaces_otherwise(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(table, monkeypatch)
    table.show([{"id": "a", "x": "8", "y": {"t": "2", "n": 2}}, {"id": "b", "x": "3"}])
    assert [m["patch"] for m in sent.messages] == [{"a": {"x": "8"}, "b": {"y": None}}]
    table.show([{"id": "b", "x": "3"}])
    assert [row["id"] for row in table.rows] == ["b"]


def test_messages_of_the_browser(
    table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    acts: list[tuple[str, str]] = []
    states: list[Any] = []
    errors: list[tuple[str, str]] = []
    table.on_act = lambda act, row: acts.append((act, row))
    table.on_error = lambda where, text: errors.append((where, text))
    monkeypatch.setattr(table, "send_state", states.append)
    for message in ({"act": "go", "id": "a"}, {"need": "state"}, {"error": "no canvas", "where": "table"}, "noise"):
        with caplog.at_level(logging.ERROR, "stratnb.ui"):
            table._message(table, message, None)
    assert (acts, states, errors) == ([("go", "a")], [["rows", "seq"]], [("table", "no canvas")])
    assert "no canvas" in caplog.text


def test_confirm_runs_once_only_after_its_second_step_is_enabled() -> None:
    ran: list[str] = []
    confirm = controls.Confirm("Go")
    confirm.ask(INJECTION, lambda: ran.append("ran"), lambda: ran.append("closed"))
    assert confirm.is_open and "<img" not in confirm.message.value
    confirm.yes.click()
    assert ran == [] and confirm.is_open
    confirm._enable(confirm._round)
    confirm.yes.click()
    confirm.yes.click()
    assert ran == ["closed", "ran"] and not confirm.is_open


def test_confirm_cancels_and_expires_and_an_old_timer_does_not_touch_a_new_question() -> None:
    ran: list[str] = []
    confirm = controls.Confirm("Go")
    confirm.ask("first", lambda: ran.append("first"))
    old = confirm._round
    confirm.no.click()
    confirm.ask("second", lambda: ran.append("second"))
    confirm._expire(old)
    confirm._enable(old)
    assert confirm.is_open and confirm.yes.disabled
    confirm._expire(confirm._round)
    assert ran == [] and not confirm.is_open


def test_assets_are_one_per_kernel_and_ask_nothing_of_the_network() -> None:
    assert bundle.assets() is bundle.assets()
    for name in (*bundle.STYLES, *bundle.SCRIPTS):
        text = bundle._read((name,))
        urls = [
            word
            for word in text.replace("'", " ").replace('"', " ").split()
            if word.startswith(("http://", "https://"))
        ]
        assert all("www.w3.org" in url for url in urls), (name, urls)
    assert "innerHTML" not in bundle.script() and "insertAdjacentHTML" not in bundle.script()
    assert root().children[0] is bundle.assets()


def test_a_panel_is_the_same_for_the_same_board_until_it_is_closed() -> None:
    board = SampleBoard(2)
    panel = Rows(board)
    assert Rows(board) is panel and Rows(SampleBoard(2)) is not panel
    panel.close()
    panel.close()
    assert Rows(board) is not panel
    assert repr(panel) == "<Rows closed>"


def test_a_panel_shows_itself_live_and_as_escaped_html_and_text() -> None:
    panel = Rows(SampleBoard(2, title=INJECTION))
    bundle_ = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle_
    assert "<img" not in bundle_["text/html"] and "&lt;img" in bundle_["text/html"]
    assert bundle_["text/plain"].startswith("<Rows live>")
    assert len(panel.to_frame()) == 2
    panel.close()
    assert panel not in pump()._panels


def test_a_refused_operation_is_shown_with_code_and_remedy() -> None:
    board = SampleBoard(1)
    board.refused["remove"] = "position_open"
    panel = Rows(board)
    panel.submit("remove", strategy_id="s0")
    panel.pump.paint_now()
    assert "position_open" in panel._message.value and "try again later" in panel._message.value
    assert "sn-off" not in panel.strip._dom_classes
    panel.close()


def test_an_error_of_the_browser_is_shown_and_painting_goes_on() -> None:
    board = SampleBoard(1)
    panel = Rows(board)
    panel.table._message(panel.table, {"error": INJECTION, "where": "table"}, None)
    assert "<img" not in panel._message.value and "ui_browser" in panel._message.value
    board.title = "Fresh"
    panel.pump.paint_now()
    assert panel.table.rows[0]["n"] == "Fresh"
    panel.close()
