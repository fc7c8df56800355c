"""The texts that people are told: plain, whole, and without a number that nobody knows."""

from __future__ import annotations

import pytest

from stratnb.model import Position, Trade
from stratnb.services import messages as say

HOUR = 3_600_000


def position(quantity: float = 2.0, stop: float | None = 98.0, **fields: object) -> Position:
    known = {"mark_price": 100.0, "opened_ms": 0, "initial_stop": stop, "unrealized_pnl": 0.0, "realized_pnl": 0.0}
    targets = ((102.0, 0.5, False), (110.0, 0.5, False))
    told = {**known, "targets": targets, "fees": 0.1, "entry_price": 100.0, **fields}
    return Position("a", "AAA/USDT", quantity, stop=stop, **told)  # type: ignore[arg-type]


def trade(held_ms: int = 0, **fields: object) -> Trade:
    known = {"direction": -1, "quantity": 3.0, "entry_price": 2_000.0, "exit_price": 1_990.0, "pnl": -1_234.567}
    told = {"entry_ms": 0, "exit_ms": held_ms, "fees": 6.0, "return_fraction": -0.2, "reason": "stop", "fills": 2}
    return Trade("a", "AAA/USDT", 1, **{**known, **told, "funding": -0.5, **fields})  # type: ignore[arg-type]


def test_a_position_says_its_levels_and_who_spoke_for_it() -> None:
    text = say.position_opened(position(), leverage=3.0, quote="USDT", spoken=(0.71, ("ema", "macd")))
    assert text.splitlines() == [
        "opened long 2 AAA/USDT at 100, notional 200 USDT, leverage 3",
        "stop 98 (-2.00%)",
        "target 1 102 (+2.00%), closes 50%",
        "target 2 110 (+10.00%), closes 50%",
        "confidence 0.71, agreeing: ema, macd",
    ]
    bare = say.position_opened(position(-2.0, None, targets=()), leverage=1.0, quote="USDT")
    assert bare == "opened short 2 AAA/USDT at 100, notional 200 USDT"


@pytest.mark.parametrize(
    ("held_ms", "lasted"),
    [(59_999, "59 s"), (60_000, "1 min"), (HOUR + 61_000, "1 h 1 min"), (50 * HOUR, "2 d 2 h"), (0, "0 s")],
)
def test_a_round_trip_says_what_it_cost_and_how_long_it_took(held_ms: int, lasted: str) -> None:
    text = say.position_closed(trade(held_ms), r_multiple=None, targets=0, quote="USDT")
    assert text.splitlines() == [
        "closed short 3 AAA/USDT by stop: 2,000.00 → 1,990.00",
        "pnl -1,234.57 USDT (-20.00%), R n/a, fees 6, funding -0.5",
        f"targets hit 0, held {lasted}",
    ]


def test_a_result_in_risks_is_before_costs() -> None:
    won = trade(pnl=10.0, fees=4.0, funding=1.0, quantity=3.0, entry_price=100.0)
    assert won.r_multiple(105.0) == 1.0 == won.r_multiple(95.0)
    assert won.r_multiple(100.0) is won.r_multiple(None) is None


def test_what_is_not_known_is_left_out() -> None:
    assert say.entry_denied("cooldown", rule="", value=None, limit=None) == "entry denied: cooldown"
    denied = say.entry_denied("paused", rule="stop_loss_guard", value=3.0, limit=None)
    assert denied == "entry denied: paused by stop_loss_guard, value 3, limit n/a"
    assert say.stop_moved("trailing", before=None, after=99.5) == "stop moved by trailing: n/a → 99.5"
    assert say.switched("a", policy="keep", took_ms=None) == "switched from a, policy keep, finished after a restart"
    assert say.switch_failed(None, policy="keep", reason="x: y") == "switch failed, policy keep: x: y"
    assert say.risk_changed("the account", {"state": "ACTIVE", "rule": ""}, None) == "risk state of the account: ACTIVE"
    released = say.risk_released("the account", {"author": "me", "reason": "seen", "rules": []})
    assert released == "risk of the account released by me (seen): none was in force"


def test_a_latch_names_who_and_why() -> None:
    told = {"state": "HALTED", "rule": "halted", "value": 0.3, "limit": 0.2, "effect": "halt", "until_ms": None}
    text = say.risk_changed("the account", told, {"author": "journal", "reason": "rows are lost"})
    words = "value 0.3, limit 0.2: HALTED, latched until released, by journal: rows are lost"
    assert text == f"risk of the account: halted, {words}"


def test_a_day_without_trades_or_money_has_no_shares() -> None:
    figures = {"equity": -5.0, "day_pnl": -5.0, "quote": "USDT", "drawdown": 1.0}
    text = say.daily_summary(86_400_000, **figures, strategies={}, denials={})  # type: ignore[arg-type]
    assert text == "day 1970-01-02: equity -5 USDT, pnl -5, drawdown 100.00%"
    many = say.daily_summary(
        0, equity=101.0, day_pnl=1.0, quote="USDT", drawdown=0.0, strategies={"a": (1, 1.0)}, denials={"b": 2, "a": 1}
    )
    assert many.splitlines() == [
        "day 1970-01-01: equity 101 USDT, pnl +1 (+1.00%), drawdown 0.00%",
        "a: 1 trade, pnl +1",
        "denied: a 1, b 2",
    ]
