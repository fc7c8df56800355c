"""P8, risk: states, rules, exposure and denials as they are; decisions in two steps, loosening never by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ipywidgets as w
import pytest

from sample_board import SampleBoard
from stratnb.errors import ConfigError, Refused
from stratnb.events import Event
from stratnb.services.ledger import AccountLimits
from stratnb.services.limits import change_limits
from stratnb.strategy.sections import Risk
from stratnb.ui.panels.event_rows import sentence
from stratnb.ui.panels.risk import RiskPanel
from stratnb.ui.panels.risk_limits import limit_change, limit_choices, limit_text
from stratnb.ui.panels.risk_rows import rule_row, scope_row
from stratnb.ui.panels.strategy_rows import row
from stratnb.ui.pump import pump
from stratnb.view import RuleView

HELD = "s0@BTC/USDT"


def made(count: int = 3, **options: Any) -> tuple[RiskPanel, SampleBoard]:
    board = SampleBoard(count, **options)
    return RiskPanel(board), board


def confirm(question: Any) -> None:
    """Give the second step after its second of waiting."""
    question._enable(question._round)
    question.yes.click()


def hidden(widget: w.DOMWidget) -> bool:
    return "sn-off" in widget._dom_classes


def test_every_scope_has_a_row_and_the_account_is_first() -> None:
    panel, _ = made()
    rows = panel.scopes.rows
    assert [row["id"] for row in rows][:2] == ["account", HELD]
    assert [row["state"]["t"] for row in rows[:2]] == ["Near limit", "Reducing"]
    assert rows[1]["state"]["sub"] == "max drawdown"
    assert rows[1]["until"]["t"] == "Latched"
    assert (rows[0]["near"]["t"], rows[0]["used"]["bar"]) == ("Drawdown", 0.85)


def test_the_notifier_is_tested_only_where_there_is_one() -> None:
    panel, board = made()
    assert hidden(panel.notifier)
    board.notifies = True
    board.advance()
    panel.pump.paint_now()
    assert not hidden(panel.notifier)
    panel.notifier.click()
    assert board.submitted == [("test_notifier", {"author": "panel"})]


def test_a_chosen_scope_shows_its_rules() -> None:
    panel, _ = made()
    assert [row["id"] for row in panel.rules.rows][:2] == ["daily_loss", "max_drawdown"]
    panel.scopes.on_act("open", HELD)
    first, second = panel.rules.rows
    assert (first["state"]["t"], first["until"]["t"]) == ("Reduces", "Latched")
    assert (second["state"]["t"], second["until"]["sub"]) == ("Pauses", "in 22 h 00 m")
    assert first["last"]["t"] == "2026-01-03 01:00"
    assert panel.to_frame().query("scope == @HELD")["rule"].tolist() == ["max_drawdown", "consecutive_losses"]


@pytest.mark.parametrize(
    ("rule", "value", "limit", "state"),
    [
        (RuleView("profit_lock", "fraction", 0.0, None, None, "pause"), "–", "off", "Off"),
        (RuleView("daily_loss", "fraction", 0.01, 0.05, 0.2, "halt"), "1.00%", "5.00%", "Normal"),
        (RuleView("daily_loss", "fraction", 0.04, 0.05, 0.8, "halt"), "4.00%", "5.00%", "Near limit"),
        (RuleView("feed_loss", "seconds", None, 300.0, None, "reduce"), "–", "5 m", "Normal"),
        (RuleView("kill_switch", "count", None, None, None, "halt", True), "–", "–", "Halts"),
        (RuleView("rate_limit", "count", 3.0, 30.0, 0.1, "deny"), "3", "30", "Normal"),
    ],
    ids=lambda each: each.rule if isinstance(each, RuleView) else "",
)
def test_a_rule_says_value_limit_and_state_and_off_where_it_is_off(
    rule: RuleView, value: str, limit: str, state: str
) -> None:
    made_row = rule_row(rule, 0)
    limited = made_row["limit"]
    shown = limited["t"] if isinstance(limited, dict) else limited
    assert (made_row["value"], shown, made_row["state"]["t"]) == (value, limit, state)


def test_a_pause_and_a_block_are_states_of_their_own() -> None:
    view = SampleBoard(1).view()
    assert view.risk is not None
    plain = replace(view.risk.scopes[0], rules=())
    paused = scope_row(replace(plain, pause="stop_loss_guard", pause_until_ms=view.now_ms + 60_000), view)
    blocked = scope_row(replace(plain, block="order_unresolved"), view)
    assert (paused["state"]["t"], paused["state"]["sub"]) == ("Paused", "stop loss guard")
    assert paused["until"]["sub"] == "in 1 m"
    assert (blocked["state"]["t"], blocked["state"]["sub"]) == ("No entries", "order unresolved")
    assert scope_row(plain, view)["state"]["t"] == "Normal"


def test_exposure_and_denials_have_their_own_tables() -> None:
    panel, _ = made()
    panel.what.value = "Exposure"
    assert [hidden(page) for page in panel.pages.values()] == [True, False, True]
    assert [row["id"] for row in panel.markets.rows] == ["BTC/USDT", "ETH/USDT", "all markets"]
    panel.what.value = "Denied"
    (first, second) = panel.denied.rows
    assert (first["id"], first["hour"]["t"], first["day"]["t"], first["total"]["t"]) == ("max_drawdown", "1", "3", "9")
    assert second["bar"]["bar"] == pytest.approx(1 / 9)


def test_the_kill_switch_has_two_steps_and_a_choice() -> None:
    panel, board = made()
    panel.kill.click()
    assert board.submitted == []
    assert "closes 2 positions at market" in panel.kill_confirm.message.value
    panel.flatten.value = False
    assert "keeps 2 positions and the stops" in panel.kill_confirm.message.value
    confirm(panel.kill_confirm)
    assert board.submitted == [("kill", {"author": "panel", "flatten": False})]


def test_a_release_says_why_and_what_becomes_of_the_peak() -> None:
    panel, board = made()
    assert panel.release.disabled
    panel.scopes.on_act("open", HELD)
    assert not panel.release.disabled
    panel.release.click()
    assert "ends drawdown, losses in a row" in panel.heading.value
    panel.why.value, panel.peak.value = "looked at it", True
    panel.go.click()
    assert "The drawdown counts anew." in panel.confirm.message.value
    assert board.submitted == []
    confirm(panel.confirm)
    given = {"scope": HELD, "author": "panel", "reason": "looked at it", "reset_peak": True}
    assert board.submitted == [("release", given)]
    pump().paint_now()
    assert hidden(panel.drawer)


def test_reduce_by_hand_is_undone_by_activate() -> None:
    panel, board = made()
    panel.reduce.click()
    panel.why.value = "news"
    panel.go.click()
    confirm(panel.confirm)
    assert board.submitted[-1] == ("reduce", {"scope": "", "author": "panel", "reason": "news"})
    view = board.view()
    assert view.risk is not None
    by_hand = RuleView("operator", "count", None, None, None, "reduce", True)
    board.account_risk = replace(view.risk.scopes[0], state="REDUCING", reason="operator", rules=(by_hand,))
    panel.paint(board.view())
    assert panel.reduce.description == "Activate…"
    panel.reduce.click()
    panel.why.value = "quiet again"
    panel.go.click()
    confirm(panel.confirm)
    assert board.submitted[-1] == ("activate_risk", {"scope": "", "author": "panel", "reason": "quiet again"})


def test_a_limit_is_tightened_at_once_and_loosened_in_two_steps() -> None:
    panel, board = made()
    panel.edit.click()
    panel.limit.value = "daily_loss"
    assert panel.value.value == "5%"
    panel.value.value = "3%"
    panel._set()
    pump().paint_now()
    assert board.submitted[-1] == ("set_limits", {"scope": "", "changes": {"daily_loss": 0.03}, "author": "panel"})
    board.refused["set_limits"] = "limits_loosen"
    panel.value.value = "off"
    panel._set()
    pump().paint_now()
    assert panel.loosen.is_open
    assert hidden(panel.refusal)
    board.refused.clear()
    confirm(panel.loosen)
    loosened = {"scope": "", "changes": {"daily_loss": None}, "author": "panel", "confirm": True}
    assert board.submitted[-1] == ("set_limits", loosened)


def test_what_is_no_number_is_refused_before_it_is_sent() -> None:
    panel, board = made()
    panel.edit.click()
    panel.limit.value, panel.value.value = "daily_loss", "much"
    panel._set()
    assert not hidden(panel.refusal)
    assert board.submitted == []


@pytest.mark.parametrize(("scope", "model"), [("", AccountLimits()), ("s", Risk())])
def test_every_limit_is_read_back_as_it_is_shown(scope: str, model: Any) -> None:
    limits = model.model_dump()
    for _, path in limit_choices(scope, limits):
        text = limit_text(scope, limits, path)
        if text in ("on", "off"):
            continue
        same, loosened = change_limits(model, limit_change(scope, limits, path, text))
        assert loosened == ()
        assert same == model


def test_a_rule_of_several_values_is_switched_as_a_whole() -> None:
    limits = AccountLimits()
    off, loosened = change_limits(limits, limit_change("", limits.model_dump(), "stop_loss_guard", "off"))
    assert (off.stop_loss_guard, loosened) == (None, ("stop_loss_guard",))
    on, loosened = change_limits(off, limit_change("", off.model_dump(), "stop_loss_guard", "on"))
    assert (on.stop_loss_guard, loosened) == (limits.stop_loss_guard, ())
    with pytest.raises(ConfigError):
        change_limits(limits, {"daily_los": 0.1})


def test_a_strategy_that_is_gone_gives_way_to_the_account() -> None:
    panel, board = made(1)
    panel.scopes.on_act("open", HELD)
    board.count = 0
    panel.paint(board.view())
    assert "Account" in panel.whose.value
    assert panel.rules.rows[0]["id"] == "daily_loss"


def test_a_refusal_stays_in_the_panel() -> None:
    panel, board = made()
    board.refused["reduce"] = "unknown_strategy"
    panel.reduce.click()
    panel.why.value = "x"
    panel.go.click()
    confirm(panel.confirm)
    pump().paint_now()
    assert "unknown_strategy" in panel._said.value
    assert isinstance(board.jobs[-1].error, Refused)


def test_the_strategy_table_says_which_rule_and_until_when() -> None:
    view = SampleBoard(1).view()
    plain, midnight = view.strategies[0], 1_767_484_800_000
    paused = replace(plain, risk_pause="consecutive_losses", risk_pause_until_ms=midnight)
    cell = row(paused, view, named=False)["state"]
    assert (cell["t"], cell["sub"]) == ("Entries paused", "consecutive losses")
    assert cell["title"].endswith("until 2026-01-04 00:00 UTC")
    latched = replace(plain, risk_state="REDUCING", risk_reason="max_drawdown")
    cell = row(latched, view, named=False)["state"]
    assert (cell["t"], cell["sub"]) == ("Entries off", "reducing: max drawdown")
    assert cell["title"].endswith("until it is released")


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        (
            "RISK_STATE",
            {"state": "ACTIVE", "rule": "consecutive_losses", "value": 5.0, "limit": 5.0, "effect": "pause",
             "until_ms": 1_767_484_800_000},
            "consecutive losses 5 of 5: entries pause until 2026-01-04 00:00 UTC",
        ),
        (
            "RISK_STATE",
            {"state": "HALTED", "rule": "max_drawdown", "value": 0.21, "limit": 0.2, "effect": "halt",
             "until_ms": None},
            "max drawdown 21.00% of 20.00%: halted until released",
        ),
        ("RISK_STATE", {"state": "ACTIVE", "rule": ""}, "active again"),
        (
            "RISK_STATE",
            {"state": "ACTIVE", "author": "me", "limits": {"daily_loss": None}, "loosened": ["daily_loss"]},
            "limits changed by me: daily loss = off (loosened)",
        ),
        (
            "RISK_LATCHED",
            {"rule": "operator", "value": None, "limit": None, "author": "me", "reason": "news"},
            "operator, latched by me: news",
        ),
        (
            "RISK_RELEASED",
            {"author": "me", "reason": "looked", "rules": ["max_drawdown"], "reset_peak": True},
            "released by me: looked (max drawdown, peak reset)",
        ),
        (
            "RISK_DENIED",
            {"code": "paused", "rule": "consecutive_losses", "value": 5.0, "limit": 5.0,
             "until_ms": 1_767_484_800_000},
            "entry denied: paused, consecutive losses 5 of 5 until 2026-01-04 00:00 UTC",
        ),
        ("RISK_DENIED", {"code": "slippage", "value": 0.01, "limit": 0.005}, "entry denied: slippage 1.00% of 0.50%"),
    ],
)  # fmt: skip
def test_the_log_says_risk_in_words(kind: str, payload: dict[str, Any], text: str) -> None:
    assert sentence(Event(1, 10**9, kind, HELD, "BTC/USDT", None, "risk", payload)) == text
