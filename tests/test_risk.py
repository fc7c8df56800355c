"""Risk rules at, below and above their boundary, as kernels and through the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from risk_desk import TINY, Desk, candle, edge, one_book, settle
from stratnb.engine import Engine
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.rules import trip_external
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import backtest
from stratnb.services.ledger import AccountLimits
from trading_cases import DAY, FREE, LONG, MINUTE, SHORT, START_MS, document, flat, market, registered, series


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


# Pre-trade rules.


def test_insufficient_funds() -> None:
    edge(Desk(), 98.0, "insufficient_funds")


def test_insufficient_funds_counts_the_fee_and_the_leverage() -> None:
    desk = Desk(linear=True)
    desk.settings[[at.S_TAKER, at.S_LEVERAGE]] = 0.001, 4.0
    edge(desk, 98.0 / (1 / 4 + 0.001), "insufficient_funds")


def test_insufficient_funds_counts_what_is_held_and_reserved() -> None:
    desk = Desk()
    desk.hold(1, 30.0, market=1.0)
    desk.wait(2, 1.0, 20.0, market=2.0)
    edge(desk, 98.0 * 0.5, "insufficient_funds")


def test_below_minimum_quantity() -> None:
    desk = Desk()
    desk.settings[at.S_MIN_QUANTITY] = 0.5
    assert [desk.ask(q) for q in (0.5, 0.5 - TINY, 0.0)] == ["enter", "below_minimum", "below_minimum"]


def test_below_minimum_notional() -> None:
    desk = Desk()
    desk.settings[at.S_MIN_NOTIONAL] = 10.0
    assert [desk.ask(q) for q in (0.1 + TINY, 0.1, 0.1 - TINY)] == ["enter", "enter", "below_minimum"]


def test_no_stop() -> None:
    desk = Desk(require_stop=True)
    assert (desk.ask(1.0), desk.ask(1.0, stop=math.nan)) == ("enter", "no_stop")
    assert Desk().ask(1.0, stop=math.nan) == "enter"


def test_max_open_positions_counts_held_and_waiting() -> None:
    desk = Desk(max_open_positions=2)
    assert desk.ask(1.0) == "enter"
    desk.hold(1, 1.0, market=1.0)
    assert desk.ask(1.0) == "enter"
    desk.wait(2, 1.0, 1.0, market=2.0)
    assert desk.ask(1.0) == "max_open_positions"


def test_max_strategies_in_one_market() -> None:
    desk = Desk(max_per_market=2)
    desk.hold(1, 1.0)
    assert desk.ask(1.0) == "enter"
    desk.wait(2, -1.0, 1.0)
    assert desk.ask(1.0) == "max_open_positions"
    desk.books[2, at.B_MARKET] = 1.0
    assert desk.ask(1.0) == "enter"


def test_exposure_strategy() -> None:
    desk = Desk()
    desk.books[0, at.B_MAX_EXPOSURE] = 0.5
    edge(desk, 50.0, "exposure_strategy")
    desk.books[0, at.B_EQUITY] = 4_000.0
    edge(desk, 20.0, "exposure_strategy")


def test_exposure_strategy_is_a_share_of_equity_times_leverage() -> None:
    desk = Desk(linear=True)
    desk.settings[at.S_LEVERAGE] = desk.books[0, at.B_LEVERAGE] = 3.0
    desk.books[0, at.B_MAX_EXPOSURE] = 0.5
    edge(desk, 150.0, "exposure_strategy")


def test_exposure_market_net() -> None:
    desk = Desk(market_net=0.5)
    desk.hold(1, 20.0)
    edge(desk, 30.0, "exposure_market")
    desk.hold(1, 20.0, market=1.0)
    edge(desk, 50.0, "exposure_market")


def test_exposure_market_net_lets_the_other_side_pass() -> None:
    desk = Desk(linear=True, market_net=0.5)
    desk.settings[at.S_LEVERAGE] = desk.books[:, at.B_LEVERAGE] = 10.0
    desk.hold(1, 100.0)
    assert desk.ask(1.0, sign=-1.0) == "enter"
    edge(desk, 250.0, "exposure_market", sign=-1.0)  # 100 - 250 = -150, three times 0.5


def test_exposure_market_gross_counts_both_sides_and_orders() -> None:
    desk = Desk(linear=True, market_gross=1.0)
    desk.settings[at.S_LEVERAGE] = desk.books[:, at.B_LEVERAGE] = 10.0
    desk.hold(1, 100.0)
    desk.wait(2, 1.0, 50.0)
    edge(desk, 150.0, "exposure_market", sign=-1.0)  # three times the equity


@pytest.mark.parametrize(("linear", "limit"), [(False, {"gross_spot": 0.6}), (True, {"gross_linear": 0.6})])
def test_exposure_account_counts_every_market(linear: bool, limit: dict[str, float]) -> None:
    desk = Desk(linear=linear, **limit)
    desk.hold(1, 20.0, market=1.0)
    desk.wait(2, 1.0, 15.0, market=2.0)
    edge(desk, 25.0, "exposure_account")


def test_without_limits_nothing_is_denied() -> None:
    desk = Desk(linear=True)
    desk.settings[at.S_LEVERAGE] = desk.books[:, at.B_LEVERAGE] = 1000.0
    desk.hold(1, 5_000.0)
    desk.hold(2, -5_000.0)
    assert desk.ask(3_000.0) == "enter"


def test_a_ruined_account_enters_nothing() -> None:
    desk = Desk(market_gross=1.0)
    desk.books[1, at.B_EQUITY] = -20_000.0
    loop.update_account(desk.books, desk.account)
    assert desk.account[at.A_EQUITY] < 0
    assert desk.ask(1.0) in ("exposure_market", "insufficient_funds")


@pytest.mark.parametrize(
    ("account", "book", "code"),
    [
        (at.HALTED, at.ACTIVE, "kill_switch"),
        (at.REDUCING, at.ACTIVE, "reducing"),
        (at.ACTIVE, at.REDUCING, "daily_loss"),
        (at.HALTED, at.REDUCING, "kill_switch"),
    ],
)
def test_states_come_before_every_other_rule(account: float, book: float, code: str) -> None:
    desk = Desk(require_stop=True)
    desk.account[[at.A_STATE, at.A_STATE_REASON]] = account, at.Z_KILL if account == at.HALTED else 0.0
    desk.books[0, [at.B_STATE, at.B_STATE_REASON]] = book, at.Z_DAILY_LOSS if book else 0.0
    assert desk.ask(1e9, stop=math.nan) == code


def test_the_first_failing_rule_is_named() -> None:
    desk = Desk(require_stop=True, max_open_positions=1, market_net=0.1, gross_spot=0.1)
    desk.settings[at.S_MIN_QUANTITY] = 1.0
    desk.books[0, at.B_MAX_EXPOSURE] = 0.1
    desk.hold(1, 50.0)
    asked = [desk.ask(0.5, stop=math.nan), desk.ask(0.5), desk.ask(60.0), desk.ask(20.0)]
    assert asked == ["no_stop", "below_minimum", "insufficient_funds", "max_open_positions"]
    desk.account[at.A_MAX_OPEN] = math.nan
    assert desk.ask(20.0) == "exposure_strategy"
    desk.books[0, at.B_MAX_EXPOSURE] = math.nan
    assert desk.ask(20.0) == "exposure_market"
    desk.account[at.A_MARKET_NET] = math.nan
    assert desk.ask(20.0) == "exposure_account"


# The daily loss and the day.


@pytest.mark.parametrize(("low", "state"), [(70.0 + 1e-9, at.ACTIVE), (70.0, at.REDUCING), (69.0, at.REDUCING)])
def test_daily_loss_of_a_strategy_at_the_adverse_extreme(low: float, state: float) -> None:
    desk = one_book()
    desk.books[0, at.B_MAX_DAILY_LOSS] = 0.03
    fired = settle(desk, START_MS, low, 100.0)
    assert (desk.books[0, at.B_STATE], fired) == (state, int(state != at.ACTIVE))
    assert desk.account[at.A_STATE] == at.ACTIVE
    if state != at.ACTIVE:
        assert desk.ask(1.0) == "daily_loss"
        assert desk.books[0, at.B_UNTIL] == START_MS + DAY


def test_daily_loss_of_a_short_is_at_the_high() -> None:
    desk = one_book(linear=True)
    desk.books[0, [at.B_MAX_DAILY_LOSS, at.B_QUANTITY]] = 0.03, -10.0
    settle(desk, START_MS, 99.0, 129.0)
    assert desk.books[0, at.B_STATE] == at.ACTIVE
    settle(desk, START_MS + MINUTE, 99.0, 130.0)
    assert desk.books[0, at.B_STATE] == at.REDUCING


def test_daily_loss_fires_once_and_ends_at_midnight() -> None:
    desk = one_book()
    desk.books[0, at.B_MAX_DAILY_LOSS] = 0.03
    assert [settle(desk, START_MS + k * MINUTE, 60.0, 60.0) for k in range(3)] == [1, 0, 0]
    settle(desk, START_MS + DAY - 2 * MINUTE, 60.0, 60.0)
    assert desk.books[0, at.B_STATE] == at.REDUCING
    settle(desk, START_MS + DAY - MINUTE, 60.0, 60.0)
    assert desk.books[0, at.B_STATE] == at.ACTIVE
    assert desk.books[0, at.B_DAY_START] == 10_000.0 - 400.0
    desk.books[0, at.B_MARK] = 100.0
    assert desk.ask(1.0) == "enter"


@pytest.mark.parametrize("gap_days", [1, 2, 9])
def test_daily_loss_ends_after_a_gap_over_midnight(gap_days: int) -> None:
    desk = one_book(daily_loss=0.05)
    desk.books[0, at.B_MAX_DAILY_LOSS] = 0.03
    desk.account[at.A_DAY] = -1.0
    settle(desk, START_MS, 40.0, 95.0)
    assert (desk.books[0, at.B_STATE], desk.account[at.A_STATE]) == (at.REDUCING, at.HALTED)
    settle(desk, START_MS + gap_days * DAY + 5 * MINUTE, 94.0, 94.0)
    assert (desk.books[0, at.B_STATE], desk.account[at.A_STATE]) == (at.ACTIVE, at.ACTIVE)
    assert desk.books[0, at.B_DAY_START] == desk.account[at.A_DAY_START] == 10_000.0 - 50.0


def test_a_day_may_be_lost_at_once_after_a_gap() -> None:
    """The first candle of a day that gaps down is measured against the equity before the gap."""
    desk = one_book()
    desk.books[0, at.B_MAX_DAILY_LOSS] = 0.03
    settle(desk, START_MS, 100.0, 100.0)
    assert settle(desk, START_MS + DAY + 5 * MINUTE, 60.0, 60.0) == 1
    assert desk.books[0, at.B_UNTIL] == START_MS + 2 * DAY


@pytest.mark.parametrize(("low", "state"), [(50.0 + 1e-9, at.ACTIVE), (50.0, at.HALTED)])
@pytest.mark.parametrize("flatten", [True, False])
def test_daily_loss_of_the_account(low: float, state: float, flatten: bool) -> None:
    desk = one_book(daily_loss=0.05, flatten=flatten)
    fired = settle(desk, START_MS, low, 100.0)
    assert (desk.account[at.A_STATE], fired) == (state, 2 * int(state == at.HALTED))
    placed = desk.books[0, at.B_ORDER] == at.ORDER_EXIT
    assert placed == (flatten and state == at.HALTED)
    if state == at.HALTED:
        assert desk.ask(1.0) == "daily_loss"
        assert desk.account[at.A_UNTIL] == START_MS + DAY


def test_midnight_is_settled_once() -> None:
    """An order by hand at the instant of midnight does not start the day again."""
    desk = one_book(daily_loss=0.05)
    settle(desk, START_MS + DAY - MINUTE, 100.0, 100.0)
    start = desk.account[at.A_DAY_START]
    desk.books[0, at.B_COSTS] += 50.0
    loop.settle_all(desk.books, desk.account, candle(START_MS + DAY, 100.0, 100.0), np.ones(1), START_MS + DAY)
    assert desk.account[at.A_DAY_START] == desk.books[0, at.B_DAY_START] == start


def test_a_latched_state_does_not_end_at_midnight() -> None:
    desk = one_book(daily_loss=0.05)
    trip_external(desk.account, at.RULE_KILL, at.Z_KILL, math.inf, START_MS)
    for day in range(3):
        settle(desk, START_MS + (day + 1) * DAY - MINUTE, 100.0, 100.0)
        assert desk.account[at.A_STATE] == at.HALTED


def test_rules_are_off_with_none() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 98.2, 98.2), *flat(1, 98.2, LONG), *flat(2, 98.2)]
    stop = {"stop_loss": {"fraction": 0.015}}
    options: dict[str, Any] = {"market": market(), "cash": 110.0, "limits": FREE}
    big = document(exits=stop, risk={"max_daily_loss": 0.01})
    off = document(exits=stop, risk={"max_daily_loss": None})
    assert backtest(big, series(rows), **options).reasons.get("daily_loss") == 1
    assert "daily_loss" not in backtest(off, series(rows), **options).reasons


# Through the engine: each denial has its code, its event and its counter.

DENIED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "no_stop": ({"require_stop": True}, {"exits": {"time_exit": {"max_candles": 5}}}, {}),
    "below_minimum": ({}, {}, {"min_notional": 101.0}),
    "max_open_positions": ({"max_open_positions": 1}, {}, {}),
    "exposure_strategy": ({}, {"risk": {"max_exposure": 0.00005}}, {}),
    "exposure_market": ({"market_net": 0.00015}, {}, {}),
    "exposure_account": ({"gross_spot": 0.00015}, {}, {}),
}


def crowd(candles: Candles, limits: AccountLimits, doc: dict[str, Any], **fields: Any) -> tuple[Engine, list[str]]:
    """Return an engine with two equal strategies that want to enter at the same instant."""
    engine = Engine("crowd", candles=candles, markets=[market(**fields)], cash=1e6, limits=limits, mode="parallel")
    keys = [engine.add(doc, label=label) for label in ("a", "b")]
    for key in keys:
        engine.activate(key)
    return engine, keys


@pytest.mark.parametrize("code", DENIED)
def test_a_denial_has_code_event_and_counter(code: str) -> None:
    given, sections, fields = DENIED[code]
    limits = FREE.model_copy(update=given)
    engine, keys = crowd(series([*flat(1, volume=LONG), *flat(3)]), limits, document(**sections), **fields)
    with engine:
        engine.step(1)
        both = code in ("no_stop", "below_minimum", "exposure_strategy")
        denied = keys if both else keys[1:]
        events = [e for e in engine.events.since(0, 10_000) if e.type == "RISK_DENIED"]
        assert [(e.strategy_id, e.payload["code"]) for e in events] == [(key, code) for key in denied]
        for key in keys:
            assert engine.stats(key)["denials_by_code"] == ({code: 1} if key in denied else {})
            row = engine.desk.store.decisions(key).rows()[-1]
            assert engine.desk.lane(key).context.plan.reason(row[at.D_REASON]) == (code if key in denied else "enter")
            assert engine.desk.lane(key).context.book.row[at.B_DENIALS] == float(key in denied)
        engine.step(3)
        assert [bool(engine.desk.lane(key).context.book.quantity) for key in keys] == [
            key not in denied for key in keys
        ]


def test_the_first_of_two_orders_takes_the_room() -> None:
    """Both want 70 of 100 at one instant: the second gets what is left, and nothing is owed twice."""
    doc = document(sizing={"kind": "fixed_quantity", "quantity": 0.7}, risk={"max_exposure": None})
    engine = Engine(
        "room",
        candles=series([*flat(1, volume=LONG), *flat(3)]),
        markets=[market()],
        cash=100.0,
        limits=FREE,
        mode="parallel",
    )
    with engine:
        keys = [engine.add(doc, label=label) for label in ("a", "b")]
        for key in keys:
            engine.activate(key)
        engine.step(1)
        account = engine.desk.services.positions.account
        books = [engine.desk.lane(key).context.book.row for key in keys]
        assert books[0][at.B_ORDER_QUANTITY] == 0.7
        assert books[1][at.B_ORDER_QUANTITY] == math.floor((100 - 70.07) * 0.98 / 1.001 / 100 * 1000) / 1000
        assert account[at.A_RESERVED] == pytest.approx(sum(b[at.B_ORDER_QUANTITY] for b in books) * 100 * 1.001)
        assert account[at.A_FREE] == pytest.approx(100.0 - account[at.A_RESERVED])
        engine.step(1)
        assert account[at.A_RESERVED] == 0.0
        assert 0.0 <= account[at.A_FREE] < 1.0


def test_daily_loss_of_one_strategy_stops_only_its_entries() -> None:
    rows = [*flat(1, volume=LONG), *flat(1), (100, 100, 97, 97), *flat(2, 97.0, LONG), *flat(4, 97.0)]
    engine, keys = crowd(
        series(rows), FREE, document(capital={"unit": "quote", "amount": 50.0}, risk={"max_daily_loss": 0.02})
    )
    with engine:
        other = engine.add(document("rich"))
        engine.activate(other)
        engine.step(9)
        stats = engine.stats()["strategies"]
        assert stats[keys[0]]["denials_by_code"] == {"daily_loss": 2}
        assert stats[other]["entries"] == 2
        assert engine.desk.services.risk.state == "ACTIVE"
        states = [
            e.payload for e in engine.events.since(0, 10_000) if e.type == "RISK_STATE" and e.strategy_id == keys[0]
        ]
        assert [(each["state"], each["rule"]) for each in states] == [("REDUCING", "daily_loss")]
        assert states[0]["value"] >= states[0]["limit"] == 0.02


def test_daily_loss_of_the_account_closes_everything_until_midnight() -> None:
    start = START_MS + DAY - 10 * MINUTE
    rows = [
        *flat(1, volume=LONG),
        *flat(1),
        (100, 100, 99, 100),
        *flat(2, volume=LONG),
        *flat(6),
        *flat(1, volume=LONG),
        *flat(3),
    ]
    doc = document(
        sizing={"kind": "fixed_quantity", "quantity": 40.0}, risk={"max_exposure": None, "max_daily_loss": None}
    )
    limits = FREE.model_copy(update={"daily_loss": 0.008})
    engine = Engine(
        "lost", candles=series(rows, start_ms=start), markets=[market()], cash=10_000.0, limits=limits, mode="parallel"
    )
    with engine:
        keys = [engine.add(doc, label=label) for label in ("a", "b")]
        for key in keys:
            engine.activate(key)
        engine.step(3)
        assert engine.desk.services.risk.state == "HALTED"
        engine.step(1)
        for key in keys:
            book = engine.desk.lane(key).context.book
            assert (book.quantity, book.fills()[-1].reason) == (0.0, "risk")
        engine.step(1)
        assert engine.stats(keys[0])["denials_by_code"] == {"daily_loss": 2}
        engine.step(5)
        assert engine.desk.services.risk.state == "ACTIVE"
        engine.step(3)
        assert engine.desk.lane(keys[0]).context.book.quantity == 40.0


def test_the_account_halts_cancel_entries_that_wait_on_quiet_markets() -> None:
    quiet = series([*flat(1, volume=LONG)], symbol="BBB/USDT", start_ms=START_MS + MINUTE)
    loud = series([*flat(1, volume=LONG), *flat(1), (100, 100, 50, 50), *flat(2, 50.0)])
    limits = FREE.model_copy(update={"daily_loss": 0.001})
    engine = Engine(
        "quiet",
        candles=[loud, quiet],
        markets=[market(), market("BBB/USDT")],
        cash=1_000.0,
        limits=limits,
        mode="parallel",
    )
    with engine:
        first, second = (
            engine.add(document(risk={"max_exposure": None}), "AAA/USDT"),
            engine.add(document(), "BBB/USDT"),
        )
        engine.activate(first)
        engine.activate(second)
        engine.step(2)
        assert engine.desk.lane(second).order is not None
        engine.step(1)
        assert engine.desk.services.risk.state == "HALTED"
        assert engine.desk.lane(second).order is None
        assert engine.desk.services.positions.account[at.A_RESERVED] == 0.0


def killed(engine: Engine, *, flatten: bool = True) -> tuple[int, int]:
    """Use the kill switch; return how many entries it canceled and positions it closed."""
    result = engine.kill("tester", flatten=flatten)
    return result["canceled"], result["closed"]


def test_the_kill_switch_works_twice_and_holds_until_released() -> None:
    rows = [
        *flat(1, volume=LONG),
        *flat(3),
        *flat(1, volume=LONG),
        *flat(1, volume=SHORT),
        *flat(1, volume=LONG),
        *flat(5),
    ]
    engine, keys = crowd(series(rows), FREE, document())
    with engine:
        engine.step(2)
        assert killed(engine) == (0, 2)
        assert killed(engine) == (0, 0)
        assert engine.desk.services.risk.state == "HALTED"
        assert engine.desk.services.risk.reason == "kill_switch"
        for key in keys:
            assert engine.desk.lane(key).context.book.fills()[-1].reason == "kill_switch"
        engine.step(3)
        assert engine.stats(keys[0])["denials_by_code"] == {"kill_switch": 1}
        engine.release("tester", "checked")
        assert engine.desk.services.risk.state == "ACTIVE"
        engine.step(3)
        assert engine.desk.lane(keys[0]).context.book.quantity == 1.0


def test_the_kill_switch_cancels_waiting_entries() -> None:
    engine, keys = crowd(series([*flat(1, volume=LONG), *flat(3)]), FREE, document())
    with engine:
        engine.step(1)
        assert killed(engine, flatten=False) == (2, 0)
        engine.step(3)
        assert [engine.desk.lane(key).context.book.quantity for key in keys] == [0.0, 0.0]
        assert engine.desk.services.positions.account[at.A_RESERVED] == 0.0


def test_a_close_by_hand_does_not_judge_the_last_candle_again() -> None:
    """After midnight the low of the day before is no loss of the new day."""
    rows = [*flat(1, volume=LONG), *flat(8), (100, 100, 98.2, 100), *flat(3)]
    doc = document(capital={"unit": "quote", "amount": 101.0}, risk={"max_daily_loss": 0.01})
    engine, keys = crowd(series(rows, start_ms=START_MS + DAY - 10 * MINUTE), FREE, doc)
    with engine:
        engine.step(10)
        books = [engine.desk.lane(key).context.book.row for key in keys]
        assert [book[at.B_STATE] for book in books] == [at.ACTIVE, at.ACTIVE]
        states = [e.payload["state"] for e in engine.events.since(0, 10_000) if e.type == "RISK_STATE"]
        assert engine.close_position(keys[0])
        assert [book[at.B_STATE] for book in books] == [at.ACTIVE, at.ACTIVE], states


def test_the_kill_switch_works_before_the_first_candle() -> None:
    engine, _ = crowd(series(flat(5)), FREE, document())
    with engine:
        assert killed(engine) == (0, 0)
        engine.step(5)


# What a denial tells: the measured value and its limit, under the id of its decision.

MEASURED: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], float, float]] = {
    "minimum notional": ("below_minimum", {}, {}, {"min_notional": 101.0}, 100.0, 101.0),
    "minimum quantity": ("below_minimum", {}, {}, {"min_quantity": 2.0}, 1.0, 2.0),
    "strategy": ("exposure_strategy", {}, {"risk": {"max_exposure": 0.00005}}, {}, 1e-4, 5e-5),
    "market net": ("exposure_market", {"market_net": 0.00015}, {}, {}, 2e-4, 1.5e-4),
    "market gross": ("exposure_market", {"market_gross": 0.00015}, {}, {}, 2e-4, 1.5e-4),
    "market net, linear": ("exposure_market", {"market_net": 0.00005}, {}, {"kind": "linear"}, 2e-4, 1.5e-4),
    "account": ("exposure_account", {"gross_spot": 0.00015}, {}, {}, 2e-4, 1.5e-4),
    "open positions": ("max_open_positions", {"max_open_positions": 1}, {}, {}, 2.0, 1.0),
    "strategies in one market": ("max_open_positions", {"max_per_market": 1}, {}, {}, 2.0, 1.0),
}


def denials(engine: Engine, code: str) -> list[dict[str, Any]]:
    """Return the payloads of the denials, having checked that each is told under the id of its decision."""
    events = engine.events.since(0, 100_000)
    decided = {e.correlation_id: e for e in events if e.type == "DECISION"}
    told = [e for e in events if e.type == "RISK_DENIED" and e.payload["code"] == code]
    for event in told:
        assert decided[event.correlation_id].strategy_id == event.strategy_id
        assert decided[event.correlation_id].payload["reason"] == code
    return [dict(event.payload) for event in told]


@pytest.mark.parametrize("case", MEASURED)
def test_a_denial_tells_value_and_limit(case: str) -> None:
    code, given, sections, fields, value, limit = MEASURED[case]
    kinds = {"market": {"kind": fields.get("kind", "spot")}}
    candles = series([*flat(1, volume=LONG), *flat(3)])
    engine, _ = crowd(candles, FREE.model_copy(update=given), document(**kinds, **sections), **fields)
    with engine:
        engine.step(1)
        told = denials(engine, code)[-1]
        assert (told["value"], told["limit"]) == (pytest.approx(value), pytest.approx(limit))
        assert told["value"] < told["limit"] if code == "below_minimum" else told["value"] > told["limit"]


def test_a_denial_by_the_account_counts_all_linear_markets() -> None:
    symbols = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
    candles = [series([*flat(1, volume=LONG), *flat(3)], symbol=symbol) for symbol in symbols]
    markets = [market(symbol, kind="linear") for symbol in symbols]
    limits = FREE.model_copy(update={"gross_linear": 0.00025, "gross_spot": 0.00001})
    engine = Engine("three", candles=candles, markets=markets, cash=1e6, limits=limits, mode="parallel")
    with engine:
        keys = [engine.add(document(market={"kind": "linear"}), symbol) for symbol in symbols]
        for key in keys:
            engine.activate(key)
        engine.step(1)
        (told,) = denials(engine, "exposure_account")
        assert (told["value"], told["limit"]) == (pytest.approx(3e-4), pytest.approx(2.5e-4))
        assert engine.stats(keys[2])["denials_by_code"] == {"exposure_account": 1}


LOSING = [*flat(1, volume=LONG), *flat(1), (100, 100, 97, 97), *flat(1, 97.0), *flat(1, 97.0, LONG), *flat(6, 97.0)]


def test_a_denial_after_a_daily_loss_tells_fractions() -> None:
    capital = {"unit": "quote", "amount": 50.0}
    own = document(capital=capital, risk={"max_daily_loss": 0.02})
    engine, keys = crowd(series(LOSING), FREE, own)
    with engine:
        engine.step(5)
        told = denials(engine, "daily_loss")
        assert len(told) == len(keys)
        for each in told:
            assert each["limit"] == 0.02
            assert 0.02 < each["value"] < 0.1
    limits = FREE.model_copy(update={"daily_loss": 1e-6})
    engine, keys = crowd(series(LOSING), limits, document(risk={"max_daily_loss": None}))
    with engine:
        engine.step(5)
        told = denials(engine, "daily_loss")
        assert len(told) == len(keys)
        for each in told:
            assert each["limit"] == 1e-6
            assert 1e-6 < each["value"] < 1e-4


def test_an_account_released_after_a_daily_loss_stays_released() -> None:
    limits = FREE.model_copy(update={"daily_loss": 1e-6})
    engine, _ = crowd(series([*LOSING, *flat(1, 97.0, LONG), *flat(4, 97.0)]), limits, document())
    with engine:
        engine.step(3)
        assert engine.desk.services.risk.state == "HALTED"
        engine.step(2)
        engine.release("tester", "looked at it")
        engine.step(3)
        assert engine.desk.services.risk.state == "ACTIVE"
        states = [
            e.payload["state"] for e in engine.events.since(0, 10_000) if e.type == "RISK_STATE" and not e.strategy_id
        ]
        assert states == ["HALTED", "ACTIVE"]


def test_the_kill_switch_is_announced_once_until_released() -> None:
    engine, _ = crowd(series(flat(9)), FREE, document())
    with engine:
        engine.step(1)

        def latched() -> int:
            return sum(e.type == "RISK_LATCHED" for e in engine.events.since(0, 10_000))

        engine.kill("tester")
        engine.kill("tester")
        assert latched() == 1
        engine.release("tester", "checked")
        engine.kill("tester")
        assert latched() == 2
