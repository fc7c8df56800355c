"""Protections at, below and above their boundary: losses, drawdown, series of trades, gains, states and releases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from blocks_harness import plain
from risk_desk import Desk, candle, one_book, settle
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.protections import halt_volatile
from stratnb.kernels.rules import release_rules, trip_external
from trading_cases import DAY, MINUTE, START_MS, Floats

K = at.B_RISK
HOUR = 60 * MINUTE


def rule(row: Floats, number: int) -> float:
    """Return when a rule of a book or the account ends."""
    return float(row[(at.B_RISK if len(row) == at.W_BOOK else at.A_RISK) + at.K_RULES + number])


def flat_book(**limits: Any) -> Desk:
    """Return a desk with one flat book."""
    desk = one_book(**limits)
    desk.hold(0, 0.0)
    return desk


def trade(desk: Desk, pnl: float, time_ms: float, *, slot: int = 0, stopped: bool = True) -> None:
    """Let a book open at 100 and close one unit at 100 + pnl, by its stop or otherwise."""
    book, fill = desk.books[slot], np.zeros(at.W_FILL)
    for sign, price, reason in ((1.0, 100.0, at.REASON_ENTRY), (-1.0, 100.0 + pnl, at.REASON_EXIT)):
        fill[:] = 0.0
        fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_TIME, at.F_REASON]] = sign, 1.0, price, time_ms, reason
        loop.apply(book, fill)
        book[at.B_STOP_REASON] = at.REASON_EXIT + (0.0 if stopped else 1.0)


def quiet(desk: Desk, close_ms: float) -> int:
    """Settle a candle of a minute that does not move and closes at a time."""
    return settle(desk, close_ms - MINUTE, 100.0, 100.0)


# Drawdown.


@pytest.mark.parametrize(("low", "fires"), [(85.0 + 1e-9, False), (85.0, True), (84.0, True)])
def test_drawdown_of_a_strategy_at_the_adverse_extreme(low: float, fires: bool) -> None:
    desk = flat_book()
    desk.hold(0, 100.0)
    desk.books[0, K + at.K_MAX_DRAWDOWN] = 0.15
    assert settle(desk, START_MS, low, 100.0) == int(fires)
    assert desk.books[0, at.B_STATE] == (at.REDUCING if fires else at.ACTIVE)
    assert rule(desk.books[0], at.RULE_DRAWDOWN) == (math.inf if fires else 0.0)
    if fires:
        assert desk.ask(1.0) == "max_drawdown"


def test_drawdown_counts_open_losses_beside_closed_profits() -> None:
    """A closed profit of 500 and an open loss: the fall from the peak trips within the candle it happens in."""
    desk = flat_book()
    desk.books[0, K + at.K_MAX_DRAWDOWN] = 0.10
    desk.books[0, at.B_REALIZED] = 500.0
    quiet(desk, START_MS + MINUTE)
    assert desk.books[0, K + at.K_PEAK] == 10_500.0
    desk.hold(0, 100.0)
    assert settle(desk, START_MS + MINUTE, 89.6, 100.0) == 0
    assert settle(desk, START_MS + 2 * MINUTE, 89.5, 100.0) == 1
    assert desk.books[0, at.B_REALIZED] > 0
    assert desk.books[0, at.B_STATE] == at.REDUCING


def test_a_candle_that_falls_and_then_makes_a_new_peak_is_measured_from_the_old_one() -> None:
    desk = flat_book()
    desk.hold(0, 100.0)
    desk.books[0, K + at.K_MAX_DRAWDOWN] = 0.15
    assert settle(desk, START_MS, 90.0, 110.0) == 0
    assert desk.books[0, K + at.K_PEAK] == 11_000.0
    assert settle(desk, START_MS + MINUTE, 93.5, 110.0) == 1


@pytest.mark.parametrize("flatten", [True, False])
def test_drawdown_of_the_account_halts_and_closes(flatten: bool) -> None:
    desk = flat_book(max_drawdown=0.20, flatten=flatten)
    desk.hold(0, 100.0)
    assert settle(desk, START_MS, 80.0 + 1e-9, 100.0) == 0
    assert settle(desk, START_MS + MINUTE, 80.0, 100.0) == 2
    assert (desk.account[at.A_STATE], desk.account[at.A_UNTIL]) == (at.HALTED, math.inf)
    assert (desk.books[0, at.B_ORDER] == at.ORDER_EXIT) == flatten
    assert desk.ask(1.0) == "max_drawdown"


@pytest.mark.parametrize("days", [1, 30])
def test_a_latch_outlives_days_and_a_copy_of_the_rows(days: int) -> None:
    desk = flat_book(max_drawdown=0.20)
    desk.books[0, K + at.K_MAX_DRAWDOWN] = 0.15
    desk.hold(0, 100.0)
    settle(desk, START_MS, 80.0, 100.0)
    twin = Desk()
    twin.books = np.frombuffer(desk.books.tobytes()).reshape(desk.books.shape).copy()
    twin.account = np.frombuffer(desk.account.tobytes()).copy()
    for each in (desk, twin):
        each.hold(0, 0.0)
        for day in range(1, days + 1):
            quiet(each, START_MS + day * DAY)
        assert each.books[0, at.B_STATE] == at.REDUCING
        assert each.account[at.A_STATE] == at.HALTED
    np.testing.assert_array_equal(desk.books, twin.books)
    np.testing.assert_array_equal(desk.account, twin.account)


@pytest.mark.parametrize("reset", [True, False])
def test_a_release_keeps_or_resets_the_peak(reset: bool) -> None:
    desk = flat_book()
    desk.books[0, K + at.K_MAX_DRAWDOWN] = 0.15
    desk.hold(0, 100.0)
    settle(desk, START_MS, 84.0, 84.0)
    release_rules(desk.books[0], reset)
    assert desk.books[0, at.B_STATE] == at.ACTIVE
    assert desk.books[0, K + at.K_PEAK] == (8_400.0 if reset else 10_000.0)
    assert settle(desk, START_MS + MINUTE, 84.0, 84.0) == int(not reset)


# Series of trades.


def losses(desk: Desk, pnls: list[float], **options: Any) -> None:
    for k, pnl in enumerate(pnls):
        trade(desk, pnl, START_MS + k * HOUR, **options)
    quiet(desk, START_MS + len(pnls) * HOUR)


@pytest.mark.parametrize(
    ("pnls", "paused"),
    [([-1.0] * 4, False), ([-1.0] * 5, True), ([-1.0] * 4 + [1.0, -1.0], False), ([-1.0, 0.0] * 5, True)],
)
def test_losses_in_a_row_pause_until_midnight(pnls: list[float], paused: bool) -> None:
    desk = flat_book()
    desk.books[0, at.B_MAX_LOSSES] = 5.0
    losses(desk, pnls)
    assert desk.ask(1.0) == ("paused" if paused else "enter")
    assert rule(desk.books[0], at.RULE_LOSSES) == (START_MS + DAY if paused else 0.0)
    assert desk.books[0, at.B_STATE] == at.ACTIVE
    if paused:
        assert desk.books[0, at.B_LOST] == 0.0
        quiet(desk, START_MS + DAY - MINUTE)
        assert desk.ask(1.0) == "paused"
        quiet(desk, START_MS + DAY)
        assert desk.ask(1.0) == "enter"


def guarded(desk: Desk, count: float = 3.0) -> None:
    desk.books[:, [K + at.K_GUARD_COUNT, K + at.K_GUARD_MS, K + at.K_GUARD_PAUSE]] = count, DAY, 6 * HOUR


def test_stops_within_the_window_pause() -> None:
    desk = flat_book()
    guarded(desk)
    for hours, expected in ((0, "enter"), (1, "enter"), (2, "paused")):
        trade(desk, -1.0, START_MS + hours * HOUR)
        assert quiet(desk, START_MS + hours * HOUR + MINUTE) == int(expected == "paused")
        assert desk.ask(1.0) == expected
    assert rule(desk.books[0], at.RULE_GUARD) == START_MS + 8 * HOUR
    quiet(desk, START_MS + 8 * HOUR - MINUTE)
    assert desk.ask(1.0) == "paused"
    quiet(desk, START_MS + 8 * HOUR)
    assert desk.ask(1.0) == "enter"


@pytest.mark.parametrize(("last_ms", "fires"), [(DAY, True), (DAY + 1, False)])
def test_the_window_of_stops_is_inclusive(last_ms: int, fires: bool) -> None:
    desk = flat_book()
    guarded(desk, 2.0)
    trade(desk, -1.0, START_MS)
    trade(desk, -1.0, START_MS + last_ms)
    assert (rule(desk.books[0], at.RULE_GUARD) > 0.0) == fires


@pytest.mark.parametrize(("pnl", "stopped"), [(1.0, True), (-1.0, False)])
def test_a_stop_in_profit_and_another_exit_do_not_count(pnl: float, stopped: bool) -> None:
    desk = flat_book()
    guarded(desk)
    losses(desk, [pnl] * 6, stopped=stopped)
    assert desk.ask(1.0) == "enter"


def test_stops_of_the_account_count_over_all_strategies() -> None:
    desk = Desk(stop_loss_guard={"count": 3, "window_s": 86_400, "pause_s": 3_600})
    trade(desk, -1.0, START_MS)
    trade(desk, -1.0, START_MS, slot=1)
    quiet(desk, START_MS + MINUTE)
    assert desk.ask(1.0, slot=2) == "enter"
    trade(desk, -1.0, START_MS + MINUTE, slot=2)
    quiet(desk, START_MS + 2 * MINUTE)
    assert desk.ask(1.0, slot=1) == "paused"
    assert desk.decision[at.D_RULE] == at.Z_GUARD
    assert rule(desk.account, at.RULE_GUARD) == START_MS + 2 * MINUTE + HOUR


@pytest.mark.parametrize(("pnls", "paused"), [([-3.0, 1.0, 2.0], False), ([-3.1, 1.0, 2.0], True), ([-9.0], False)])
def test_low_profit(pnls: list[float], paused: bool) -> None:
    desk = flat_book()
    desk.books[0, [at.B_LOW_TRADES, at.B_LOW_MS, at.B_LOW_RETURN, at.B_LOW_PAUSE]] = 3.0, 7 * DAY, 0.0, DAY
    losses(desk, pnls)
    assert desk.ask(1.0) == ("paused" if paused else "enter")
    assert rule(desk.books[0], at.RULE_LOW) == (START_MS + 2 * HOUR + DAY if paused else 0.0)


def test_cooldown_after_every_close() -> None:
    desk = flat_book()
    desk.books[0, at.B_COOLDOWN] = 600_000.0
    trade(desk, 5.0, START_MS)
    assert quiet(desk, START_MS + MINUTE) == 0
    assert desk.ask(1.0) == "cooldown"
    quiet(desk, START_MS + 9 * MINUTE)
    assert desk.ask(1.0) == "cooldown"
    quiet(desk, START_MS + 10 * MINUTE)
    assert desk.ask(1.0) == "enter"


def test_the_streak_of_the_size_ignores_trades_within_their_costs() -> None:
    desk = flat_book()
    for pnl, streak in ((-1.0, 1.0), (-1.0, 2.0), (0.0, 2.0), (-1.0, 3.0), (2.0, 0.0)):
        trade(desk, pnl, START_MS)
        assert desk.books[0, at.B_STREAK] == streak


# Gains, volatility, time.


@pytest.mark.parametrize("account", [True, False])
@pytest.mark.parametrize(("close", "fires"), [(103.01, False), (103.0, True), (102.0, True)])
def test_profit_lock(account: bool, close: float, fires: bool) -> None:
    desk = flat_book(**({"profit_lock": {"arm": 0.05, "give_back": 0.5}} if account else {}))
    if not account:
        desk.books[0, [K + at.K_LOCK_ARM, K + at.K_LOCK_BACK]] = 0.05, 0.5
    desk.hold(0, 100.0)
    quiet(desk, START_MS + MINUTE)
    settle(desk, START_MS + MINUTE, 100.0, 106.0)
    assert desk.ask(1.0) != "paused"
    assert settle(desk, START_MS + 2 * MINUTE, 100.0, close) == int(fires)
    row, k = (desk.account, at.A_RISK) if account else (desk.books[0], K)
    assert row[k + at.K_PAUSE] == (at.Z_LOCK if fires else 0.0)
    assert row[k + at.K_PAUSE_UNTIL] == (START_MS + DAY if fires else 0.0)


def test_profit_lock_needs_the_gain_that_arms_it() -> None:
    desk = flat_book(profit_lock={"arm": 0.05, "give_back": 0.5})
    desk.hold(0, 100.0)
    quiet(desk, START_MS + MINUTE)
    for close in (104.9, 100.0):
        assert settle(desk, START_MS + 2 * MINUTE, 100.0, close) == 0


@pytest.mark.parametrize("account", [True, False])
@pytest.mark.parametrize(("close", "fires"), [(102.999, False), (103.0, True), (104.0, True)])
def test_daily_target(account: bool, close: float, fires: bool) -> None:
    desk = flat_book(**({"daily_target": 0.03} if account else {}))
    if not account:
        desk.books[0, K + at.K_TARGET] = 0.03
    desk.hold(0, 100.0)
    quiet(desk, START_MS + MINUTE)
    assert settle(desk, START_MS + MINUTE, 100.0, close) == int(fires)
    row = desk.account if account else desk.books[0]
    assert rule(row, at.RULE_TARGET) == (START_MS + DAY if fires else 0.0)
    desk.hold(0, 0.0)
    desk.books[0, at.B_REALIZED] = 400.0
    quiet(desk, START_MS + DAY)
    assert rule(row, at.RULE_TARGET) == 0.0
    assert quiet(desk, START_MS + DAY + MINUTE) == 0


def test_volatility_halts_until_it_falls_below_four_fifths() -> None:
    desk, halt = flat_book(), plain(halt_volatile.py_func)
    for natr, expected in ((0.02, "enter"), (0.0201, "paused"), (0.016, "paused"), (0.0159, "enter"), (0.019, "enter")):
        halt(desk.books[0], natr, 0.02, START_MS)
        assert desk.ask(1.0) == expected
    halt(desk.books[0], 9.0, math.nan, START_MS)
    assert desk.ask(1.0) == "enter"


@pytest.mark.parametrize(("age_ms", "left"), [(HOUR - 1, False), (HOUR, True), (HOUR + 1, True)])
def test_the_longest_holding_time(age_ms: int, left: bool) -> None:
    desk = flat_book()
    desk.hold(0, 1.0)
    desk.books[0, [at.B_MAX_HOLDING, at.B_OPENED_MS]] = HOUR, START_MS + 2 * HOUR - age_ms
    assert quiet(desk, START_MS + 2 * HOUR) == int(left)
    assert (desk.books[0, at.B_ORDER] == at.ORDER_EXIT) == left


# Several rules, and rules from outside.


def test_the_strictest_rule_wins_and_all_are_kept() -> None:
    desk = flat_book(daily_loss=0.05)
    desk.books[0, [at.B_MAX_DAILY_LOSS, K + at.K_MAX_DRAWDOWN]] = 0.03, 0.15
    desk.hold(0, 100.0)
    assert settle(desk, START_MS, 84.0, 84.0) == 3
    book = desk.books[0]
    assert (rule(book, at.RULE_DAILY), rule(book, at.RULE_DRAWDOWN)) == (START_MS + DAY, math.inf)
    assert (book[at.B_STATE_REASON], book[at.B_UNTIL]) == (at.Z_DRAWDOWN, math.inf)
    desk.hold(0, 0.0)
    quiet(desk, START_MS + DAY)
    assert (rule(book, at.RULE_DAILY), book[at.B_STATE]) == (0.0, at.REDUCING)
    assert desk.account[at.A_STATE] == at.ACTIVE


def test_a_timed_state_does_not_end_a_stricter_one() -> None:
    account = Desk().account
    trip_external(account, at.RULE_STORM, at.Z_STORM, START_MS + 300_000.0, START_MS)
    assert (account[at.A_STATE], account[at.A_STATE_REASON]) == (at.REDUCING, at.Z_STORM)
    trip_external(account, at.RULE_KILL, at.Z_KILL, math.inf, START_MS)
    assert (account[at.A_STATE], account[at.A_STATE_REASON]) == (at.HALTED, at.Z_KILL)
    trip_external(account, at.RULE_HALT, at.Z_MISMATCH, START_MS + 1.0, START_MS)
    assert (account[at.A_STATE], account[at.A_UNTIL]) == (at.HALTED, math.inf)


@pytest.mark.parametrize(("close_ms", "state"), [(299_999, at.REDUCING), (300_000, at.ACTIVE), (300_001, at.ACTIVE)])
def test_an_outer_rule_ends_at_its_time(close_ms: int, state: float) -> None:
    desk = flat_book()
    trip_external(desk.books[0], at.RULE_REDUCE, at.Z_UNRESOLVED, START_MS + 300_000.0, START_MS)
    assert desk.ask(1.0) == "order_unresolved"
    quiet(desk, START_MS + close_ms)
    assert desk.books[0, at.B_STATE] == state


def test_a_settlement_at_the_same_instant_changes_nothing() -> None:
    desk = flat_book(daily_loss=0.05, max_drawdown=0.2)
    desk.hold(0, 100.0)
    settle(desk, START_MS, 70.0, 90.0)
    before = (desk.books.copy(), desk.account.copy())
    loop.settle_all(desk.books, desk.account, candle(START_MS, 70.0, 90.0), np.ones(1), START_MS + MINUTE)
    np.testing.assert_array_equal(desk.books, before[0])
    np.testing.assert_array_equal(desk.account, before[1])


def test_trades_are_counted_by_day() -> None:
    desk = flat_book()
    for time_ms, count in ((START_MS, 1.0), (START_MS + HOUR, 2.0), (START_MS + DAY, 1.0)):
        trade(desk, 1.0, time_ms)
        assert desk.books[0, at.B_DAY_TRADES] == count


def test_the_rings_keep_the_newest() -> None:
    desk = flat_book()
    for k in range(70):
        trade(desk, k + 1.0, START_MS + k * MINUTE)
    book = desk.books[0]
    returns = np.sort(book[at.B_RETURNS : at.B_RETURNS + at.HEALTH_TRADES])
    np.testing.assert_allclose(returns, np.arange(21, 71) / 100.0)
    closes = np.sort(book[at.B_CLOSES : at.B_CLOSES + at.CLOSES_KEPT])
    np.testing.assert_array_equal(closes, START_MS + MINUTE * np.arange(58, 70))
    orders = np.sort(book[at.B_ORDERS : at.B_ORDERS + at.ORDERS_KEPT])
    np.testing.assert_array_equal(orders, START_MS + MINUTE * np.arange(60, 70))
