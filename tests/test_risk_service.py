"""The risk manager: what it publishes, latches, releases, blocks and takes from the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.events import EventBus, StrategyBus
from stratnb.kernels import layout as at
from stratnb.parity import parity
from stratnb.research.backtest import backtest
from stratnb.services.ledger import AccountLimits, limit_account, limit_book
from stratnb.services.positions import Book, PositionManager
from stratnb.services.risk import RiskManager
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config
from trading_cases import DAY, FREE, LONG, MINUTE, START_MS, document, flat, market, registered, series, wander


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


class Case:
    """A risk manager with one strategy on an account of 10 000."""

    def __init__(self, *, limits: AccountLimits = FREE, **risk: Any) -> None:
        self.bus = EventBus(lambda: 0)
        self.positions = PositionManager(10_000.0, slots=3, limits=limits)
        self.plan = build_plan(build_config(document(risk=risk), symbol="AAA/USDT").config, market())
        self.book: Book = self.positions.open("s", self.plan, market=0, events=StrategyBus(self.bus, "s", "AAA/USDT"))
        self.risk = RiskManager(self.positions, self.bus)
        self.now_ms = START_MS

    def settle(self, low: float = 100.0, close: float = 100.0, minutes: int = 1) -> int:
        self.now_ms += minutes * MINUTE
        row = np.array([[100.0, max(100.0, close), low, close, 1.0, self.now_ms - MINUTE]])
        return self.risk.settle(row, np.ones(1), float(self.now_ms))

    def hold(self, quantity: float) -> None:
        self.book.row[[at.B_QUANTITY, at.B_AVERAGE]] = quantity, 100.0

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.payload) for event in self.bus.since(0, 1_000) if event.type == kind]


def test_a_latch_is_published_with_value_and_limit_and_released_by_the_operator() -> None:
    case = Case(max_drawdown=0.15, max_daily_loss=None)
    case.hold(100.0)
    assert case.settle(low=80.0) == 1
    (latched,), (state,) = case.told("RISK_LATCHED"), case.told("RISK_STATE")
    assert (latched["rule"], latched["value"], latched["limit"]) == ("max_drawdown", pytest.approx(0.2), 0.15)
    assert (state["state"], state["effect"], state["until_ms"]) == ("REDUCING", "reduce", None)
    case.hold(0.0)
    case.settle(minutes=5 * 1440)
    assert case.risk.state_of("s") == "REDUCING"
    assert case.risk.release("me", "checked", scope="s", reset_peak=True) == ("max_drawdown",)
    assert case.risk.state_of("s") == "ACTIVE"
    (released,) = case.told("RISK_RELEASED")
    assert (released["author"], released["reason"], released["reset_peak"]) == ("me", "checked", True)
    assert case.told("RISK_STATE")[-1] == {"state": "ACTIVE", "rule": ""}


def test_rules_that_fire_together_are_all_published() -> None:
    case = Case(max_drawdown=0.15, max_daily_loss=0.03)
    case.hold(100.0)
    case.settle(low=80.0)
    assert [(e["rule"], e["state"]) for e in case.told("RISK_STATE")] == [
        ("daily_loss", "REDUCING"),
        ("max_drawdown", "REDUCING"),
    ]
    assert [(each.rule, each.until_ms) for each in case.risk.in_force("s")] == [
        ("daily_loss", START_MS + DAY),
        ("max_drawdown", None),
    ]
    assert case.risk.state == "ACTIVE"


def test_nothing_is_published_twice_and_nothing_again_after_a_restart() -> None:
    case = Case(max_drawdown=0.15)
    case.hold(100.0)
    for _ in range(3):
        case.settle(low=80.0)
    assert len(case.told("RISK_LATCHED")) == 1
    again = RiskManager(case.positions, case.bus)
    again.restored()
    again.publish_changes()
    assert len(case.told("RISK_LATCHED")) == 1
    assert again.state_of("s") == "REDUCING"


def test_the_engine_trips_blocks_and_is_refused_unknown_words() -> None:
    case = Case()
    case.settle()
    case.risk.trip("ledger_mismatch", "s")
    assert case.risk.state_of("s") == "HALTED"
    assert case.told("RISK_LATCHED")[0]["rule"] == "ledger_mismatch"
    case.risk.block("stale_data")
    assert case.positions.account[at.A_RISK + at.K_BLOCK] == at.Z_STALE
    case.risk.block(None)
    assert case.positions.account[at.A_RISK + at.K_BLOCK] == 0.0
    with pytest.raises(ConfigError, match="ledger_mismatch"):
        case.risk.trip("ledger_mismatc")
    with pytest.raises(ConfigError):
        case.risk.block("paused")


@pytest.mark.parametrize(("failures", "state"), [(9, "ACTIVE"), (10, "REDUCING"), (11, "REDUCING")])
def test_error_storm(failures: int, state: str) -> None:
    case = Case(limits=AccountLimits())
    case.settle()
    for k in range(failures):
        case.risk.order_failed(case.now_ms + k)
    assert case.risk.state == state
    case.settle(minutes=6)
    assert case.risk.state == "ACTIVE"


def test_error_storm_counts_a_minute() -> None:
    case = Case(limits=AccountLimits())
    for k in range(30):
        case.risk.order_failed(START_MS + 7_000.0 * k)
    assert case.risk.state == "ACTIVE"


def test_feed_loss_lasts_as_long_as_the_silence() -> None:
    case = Case(limits=AccountLimits())
    for silent_s, state in ((300.0, "ACTIVE"), (300.1, "REDUCING"), (400.0, "REDUCING"), (0.0, "ACTIVE")):
        case.risk.feed_silent(silent_s)
        assert case.risk.state == state
    assert [each["state"] for each in case.told("RISK_STATE")] == ["REDUCING", "ACTIVE"]


def test_health_of_a_position_in_words() -> None:
    case = Case()
    case.settle()
    assert case.risk.position_health("s") is None
    case.hold(1.0)
    case.book.row[[at.B_FIRST_STOP, at.B_MARK]] = 90.0, 100.0
    score = case.risk.position_health("s")
    assert score is not None
    assert score[1] == "SAFE"
    case.book.row[at.B_MARK] = 79.0
    assert case.risk.position_health("s") == (0.0, "CRITICAL")


def test_limits_may_change_without_touching_the_state() -> None:
    case = Case(max_drawdown=0.15)
    case.hold(100.0)
    case.settle(low=80.0)
    before = case.book.row.copy()
    limit_book(case.book.row, case.plan)
    np.testing.assert_array_equal(case.book.row, before)
    limit_account(case.positions.account, FREE.model_copy(update={"daily_loss": 0.01}))
    assert case.positions.account[at.A_MAX_DAILY_LOSS] == 0.01


def test_every_rule_has_a_name_a_code_and_an_effect() -> None:
    case = Case()
    row = case.positions.account
    for rule in range(at.RULES):
        row[at.A_RISK + at.K_RULES + rule] = math.inf
    names = {each.rule for each in case.risk.in_force()}
    assert len(case.risk.in_force()) == at.RULES
    assert names >= {"daily_loss", "max_drawdown", "kill_switch", "error_storm", "feed_loss", "stop_loss_guard"}


# Through the engine: the same rules, the same code, in both runs.

RULES = {
    "max_drawdown": 0.004,
    "max_consecutive_losses": 2,
    "cooldown_s": 300,
    "max_trades_per_day": 3,
    "stop_loss_guard": {"count": 2, "window_s": 86400, "pause_s": 7200},
    "low_profit": {"trades": 3, "min_return": 0.0, "pause_s": 3600},
    "profit_lock": {"arm": 0.0005, "give_back": 0.3},
    "daily_target": 0.0008,
    "streak_factors": [1, 0.9, 0.7, 0.3],
    "max_holding_s": 180,
}


@pytest.mark.parametrize("rule", [*RULES, "health", "all"])
def test_engine_and_backtest_agree_where_a_rule_acts(rule: str) -> None:
    given = {**RULES, "health_factor": True, "drawdown_factor": True} if rule == "all" else {rule: RULES.get(rule)}
    given = {"health_factor": True} if rule == "health" else given
    doc = document(
        risk=given, exits={"stop_loss": {"fraction": 0.003}, "take_profit": {"levels": [{"at": 0.003, "close": 1}]}}
    )
    doc["sizing"] = {"kind": "fixed_fraction", "fraction": 0.3}
    candles = wander(3_000, 5)
    limits = AccountLimits(**{**FREE.model_dump(), "risk_per_trade": 0.02, "max_drawdown": 0.1})
    same = parity(doc, candles, market=market(), cash=10_000.0, limits=limits)
    assert same, str(same)
    free = backtest(document(exits=doc["exits"], sizing=doc["sizing"]), candles, market=market(), limits=limits)
    ruled = backtest(doc, candles, market=market(), limits=limits)
    assert len(free.closed_trades) > 20
    assert not np.array_equal(free.equity_curve, ruled.equity_curve), "the rule never acted"


def test_a_denial_by_a_pause_tells_rule_value_and_limit_and_a_persons_pause_is_none() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 97, 97), *flat(2, 97.0, LONG), *flat(4, 97.0)]
    doc = document(risk={"max_consecutive_losses": 1, "max_daily_loss": None})
    with Engine("pause", candles=series(rows), markets=[market()], cash=1e6, limits=FREE) as engine:
        key = engine.add(doc)
        engine.activate(key)
        engine.step(5)
        told = [e.payload for e in engine.events.since(0, 1_000) if e.type == "RISK_DENIED"]
        assert len(told) == 2
        assert (told[0]["code"], told[0]["rule"]) == ("paused", "consecutive_losses")
        assert (told[0]["value"], told[0]["limit"], told[0]["until_ms"]) == (1.0, 1.0, START_MS + DAY)
        assert engine.stats(key)["denials_by_code"] == {"paused": 2}
    with Engine("person", candles=series(rows), markets=[market()], cash=1e6, limits=FREE) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.pause(key)
        engine.step(5)
        assert engine.stats(key)["denials_by_code"] == {}


def test_volatility_halts_a_strategy_whose_document_has_the_indicator() -> None:
    wild = [(100, 101, 99, 100), (100, 101, 99, 100, LONG)] * 20
    rows = [*flat(20, volume=LONG), *wild, *flat(200, volume=LONG)]
    exits = {"time_exit": {"max_candles": 1}}
    limits = FREE.model_copy(update={"volatility_halt": 0.01})
    with_natr = document(indicators={"natr": {"period": 5}}, exits=exits)
    test = backtest(with_natr, series(rows), market=market(), limits=limits, decisions=True)
    paused = test.decision_rows[:, at.D_REASON] == at.Z_PAUSED
    assert (test.decision_rows[paused, at.D_RULE] == at.Z_VOLATILITY).all()
    natr = 0.02 * 0.8 ** np.arange(40)
    calm = int(np.argmax(natr < 0.008))
    last = int((test.decision_rows[paused, at.D_TIME][-1] - START_MS) / MINUTE)
    assert 60 <= last <= 60 + calm
    assert "paused" not in backtest(document(exits=exits), series(rows), market=market(), limits=limits).reasons
    assert parity(with_natr, series(rows), market=market(), limits=limits)


ACCOUNT_RULES: dict[str, Any] = {
    "max_drawdown": 0.01,
    "daily_loss": 0.008,
    "stop_loss_guard": {"count": 3, "window_s": 86400, "pause_s": 7200},
    "profit_lock": {"arm": 0.0005, "give_back": 0.3},
    "daily_target": 0.0008,
    "risk_per_trade": 0.001,
    "risk_open": 0.001,
}


@pytest.mark.parametrize("rule", ACCOUNT_RULES)
def test_engine_and_backtest_agree_where_a_rule_of_the_account_acts(rule: str) -> None:
    exits = {"stop_loss": {"fraction": 0.003}, "take_profit": {"levels": [{"at": 0.003, "close": 1}]}}
    doc = document(exits=exits, sizing={"kind": "fixed_fraction", "fraction": 0.3}, risk={"max_daily_loss": None})
    limits = AccountLimits(**{**FREE.model_dump(), rule: ACCOUNT_RULES[rule]})
    candles = wander(3_000, 5)
    same = parity(doc, candles, market=market(), cash=10_000.0, limits=limits)
    assert same, str(same)
    free = backtest(doc, candles, market=market(), limits=FREE)
    ruled = backtest(doc, candles, market=market(), limits=limits)
    assert not np.array_equal(free.equity_curve, ruled.equity_curve), "the rule never acted"
    if rule == "max_drawdown":
        assert (ruled.account[at.A_STATE], ruled.book[at.B_QUANTITY]) == (at.HALTED, 0.0)


def test_the_risk_of_a_waiting_entry_is_reserved() -> None:
    """Two strategies would each lose 4 % of the account at their stop: the second of one instant is denied."""
    doc = document(sizing={"kind": "fixed_quantity", "quantity": 2.0}, risk={"max_exposure": None})
    limits = FREE.model_copy(update={"risk_open": 0.06})
    candles = series([*flat(1, volume=LONG), *flat(2), *flat(1, volume=LONG)])
    given: dict[str, Any] = {
        "markets": [market(kind="linear", max_leverage=10.0)],
        "cash": 130.0,
        "limits": limits,
        "mode": "parallel",
    }
    doc |= {"market": {"kind": "linear"}}
    with Engine("two", candles=candles, **given) as engine:
        keys = [engine.add({**doc, "execution": {"leverage": 10}}, label=label) for label in "ab"]
        for key in keys:
            engine.activate(key)
        engine.step(1)
        books = [engine.desk.lane(key).context.book.row for key in keys]
        assert [book[at.B_ORDER] for book in books] == [at.ORDER_ENTRY, at.ORDER_NONE]
        (told,) = [e.payload for e in engine.events.since(0, 1_000) if e.type == "RISK_DENIED"]
        assert told["code"] == "risk_per_trade"
        assert told["value"] > told["limit"] == 0.06
        engine.step(3)
        assert engine.stats(keys[1])["denials_by_code"] == {"risk_per_trade": 2}


def test_the_account_drawdown_closes_every_strategy_and_stays_until_released() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 99, 99), *flat(5, 99.0, LONG)]
    limits = FREE.model_copy(update={"max_drawdown": 0.009})
    sizing = {"kind": "fixed_quantity", "quantity": 40.0}
    doc = document(sizing=sizing, risk={"max_exposure": None, "max_daily_loss": None})
    engine = Engine("fall", candles=series(rows), markets=[market()], cash=10_000.0, limits=limits, mode="parallel")
    with engine:
        keys = [engine.add(doc, label=label) for label in "ab"]
        for key in keys:
            engine.activate(key)
        engine.step(4)
        risk = engine.desk.services.risk
        assert (risk.state, risk.reason) == ("HALTED", "max_drawdown")
        assert [engine.desk.lane(key).context.book.quantity for key in keys] == [0.0, 0.0]
        engine.step(2)
        assert engine.stats(keys[0])["denials_by_code"] == {"max_drawdown": 3}
        risk.release("me", "looked at it", reset_peak=True)
        engine.step(2)
        assert engine.desk.lane(keys[0]).context.book.quantity == 40.0
