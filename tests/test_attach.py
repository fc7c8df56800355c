"""Pages that follow a journal, without a browser: waiting, login, a silent engine, and the page for the wall."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sample_board import SampleBoard
from stratnb import ConfigError, Engine, ObserverBoard, RetryLater, synthetic_market
from stratnb.ui.attach import AttachPage, follow, observer
from stratnb.ui.dashboards import OBSERVER_PAGES, Dashboard
from stratnb.ui.panels.engine_bar import EngineBar, figures, offline_text, role_text
from stratnb.ui.panels.login import LoginBox
from stratnb.ui.panels.strategies import StrategyTable
from stratnb.ui.pump import pump
from stratnb.ui.serve import JOURNAL_VARIABLE
from stratnb.ui.start import trader

LIMIT_S = 20.0
MARKET = tuple(synthetic_market(["BTC/USDT"], candles=600, seed=7))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("seen", candles=MARKET, journal=tmp_path / "a.sqlite", mode="parallel") as engine:
        engine.add("simple-levels", "BTC/USDT")
        engine.step(50)
        yield engine


@pytest.fixture
def board(engine: Engine, tmp_path: Path) -> Iterator[ObserverBoard]:
    with ObserverBoard(tmp_path / "a.sqlite") as board:
        yield board


def paint_until(law: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not law():
        assert time.monotonic() < end, "it does not come"
        pump().paint_now()
        time.sleep(0.02)


def off(widget: Any) -> bool:
    return "sn-off" in widget._dom_classes


def test_a_page_waits_with_the_reason_and_then_shows_the_dashboard() -> None:
    answers: list[Any] = [
        ConfigError("journal_missing", "no file"),
        RetryLater("journal_starting", "no tables"),
        SampleBoard(1),
    ]
    reasons: set[str] = set()

    def attach() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    page = AttachPage(attach)

    def shown() -> bool:
        reasons.add(page.reason.value)
        return page.dashboard is not None

    paint_until(shown)
    assert any("half a minute" in words for words in reasons) and any(
        "opened its journal" in words for words in reasons
    )
    assert "Waiting, " in page.elapsed.value
    assert page.place.children == tuple(page.dashboard.body) if page.dashboard else False


def test_another_fault_is_shown_with_its_code_and_no_path() -> None:
    def attach() -> Any:
        raise ConfigError("journal_schema", "the journal is newer", hint="install a newer version")

    page = AttachPage(attach)
    paint_until(lambda: not off(page.refusal))
    assert "journal_schema" in page.said.value and page.dashboard is None


def test_the_traders_page_follows_the_journal_that_the_server_names(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Start paper engine" in {getattr(part, "description", "") for part in parts(trader())}
    monkeypatch.setenv(JOURNAL_VARIABLE, str(tmp_path / "a.sqlite"))
    page = trader()
    paint_until(lambda: any("sn-tabs" in part._dom_classes for part in parts(page) if hasattr(part, "_dom_classes")))
    assert "Start paper engine" not in {getattr(part, "description", "") for part in parts(page)}
    follow(tmp_path / "a.sqlite").close()  # the one that the page follows: its thread must not outlive the test


def parts(box: Any) -> Iterator[Any]:
    yield box
    for child in getattr(box, "children", ()):
        yield from parts(child)


def test_a_wall_without_a_journal_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOURNAL_VARIABLE, raising=False)
    assert any("stratnb dashboard --notebook" in getattr(part, "value", "") for part in parts(observer()))


def test_logging_in_gives_a_role_and_logging_out_takes_it(board: ObserverBoard, tmp_path: Path) -> None:
    bar = EngineBar(board)
    box = bar.login
    assert isinstance(box, LoginBox) and "Viewer" in box.badge.value and off(box.leave)
    box.token.value = "wrong"
    box.enter.click()
    assert box.token.value == ""
    paint_until(lambda: "4 attempts left" in box.said.value)
    box.token.value = (tmp_path / "operator.token").read_text()
    box._submitted(box.token, {"event": "submit"}, ())
    paint_until(lambda: "Operator" in box.badge.value)
    assert off(box.token) and off(box.said) and not off(box.leave)
    box.leave.click()
    paint_until(lambda: "Viewer" in box.badge.value)
    bar.close()


def test_five_wrong_tokens_pause_the_field(board: ObserverBoard) -> None:
    bar = EngineBar(board)
    box = bar.login
    assert box is not None
    for _ in range(5):
        box.token.value = "wrong"
        box.enter.click()
        paint_until(lambda: box._work is None)
    paint_until(lambda: box.enter.description.startswith("Wait"))
    assert box.enter.disabled and box.token.disabled
    bar.close()


def test_what_is_typed_is_never_sent_back(board: ObserverBoard) -> None:
    box = LoginBox(board.login)
    assert type(box.token).value.metadata["echo_update"] is False
    assert "token" not in box.token.get_state().get("value", "")


def test_an_action_without_a_login_is_refused_where_it_was_asked(board: ObserverBoard) -> None:
    table = StrategyTable(board)
    table._acted("activate", board.view().strategies[0].strategy_id)
    paint_until(lambda: not off(table.refusal))
    assert "login_needed" in table._said.value and "operator token" in table._said.value
    table.close()


class Silent(SampleBoard):
    """An engine that can fall silent."""

    since_ms: int | None = None

    def view(self) -> Any:
        return replace(super().view(), offline_since_ms=self.since_ms, journal_bytes=1_000_000, role="observer")


def test_a_silent_engine_grays_the_panels_and_disables_the_bar_until_it_is_back() -> None:
    board = Silent(2)
    bar, table = EngineBar(board), StrategyTable(board)
    assert off(bar.offline)
    for button in (bar.restart, bar.files):  # a journal keeps one history of candles: said, not hidden
        assert button.disabled and not off(button) and "--fresh" in button.tooltip
    board.since_ms = 1_704_067_200_000
    pump().paint_now()
    assert "Engine offline since 2024-01-01 00:00:00 UTC" in bar.offline.value and not off(bar.offline)
    assert "is-offline" in table.frame._dom_classes
    assert all(button.disabled for button in (bar.run, bar.kill, bar.stop, bar.step))
    assert "offline" in bar.run.tooltip and figures(board.view())[0]["v"]["t"] == "Offline"
    board.since_ms = None
    pump().paint_now()
    assert off(bar.offline) and "is-offline" not in table.frame._dom_classes and not bar.kill.disabled
    for panel in (bar, table):
        panel.close()


def test_the_bar_says_whose_engine_it_is() -> None:
    view = replace(SampleBoard(1).view(), pid=7, host="desk", generation=3, journal_bytes=2_500_000)
    assert role_text(replace(view, role="observer")).startswith("Observer, generation 3 · account")
    assert role_text(view).startswith("Holder, generation 3") and "pid 7 on desk" in role_text(view)
    assert offline_text(view) == ""
    unknown = [figure for figure in figures(replace(view, unknown_orders=2)) if figure["id"] == "unknown"]
    assert unknown[0]["v"]["t"] == "2" and not [f for f in figures(view) if f["id"] == "unknown"]


def test_the_wall_has_its_pages_and_marks_its_panels() -> None:
    dashboard = Dashboard(SampleBoard(2), OBSERVER_PAGES, acting=False)
    for name in OBSERVER_PAGES:
        dashboard.open(name)
    assert set(dashboard.pages) == {"Overview", "Chart", "Performance", "Events"}
    assert all("is-readonly" in panel.frame._dom_classes for panel in dashboard.panels.values())
    dashboard.close()
