"""Pre-trade rules at, below and above their boundary, their order, and what they measure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from risk_desk import TINY, Desk, edge
from stratnb.kernels import layout as at
from trading_cases import DAY, START_MS

RISK_TRADE = at.A_RISK_TRADE


def blocked(code: float, *, account: bool = False) -> Desk:
    """Return a desk whose first strategy, or account, is blocked by a service."""
    desk = Desk()
    row, k = (desk.account, at.A_RISK) if account else (desk.books[0], at.B_RISK)
    row[k + at.K_BLOCK] = code
    return desk


@pytest.mark.parametrize("account", [True, False])
@pytest.mark.parametrize("code", ["not_lease_holder", "not_armed", "market_unusable", "stale_data", "order_unresolved"])
def test_a_block_denies_with_its_code_until_it_is_lifted(code: str, account: bool) -> None:
    desk = blocked(at.DECISION_REASONS.index(code), account=account)
    assert desk.ask(1.0) == code
    assert desk.ask(1.0, slot=1) == (code if account else "enter")
    desk.account[at.A_RISK + at.K_BLOCK] = desk.books[0, at.B_RISK + at.K_BLOCK] = 0.0
    assert desk.ask(1.0) == "enter"


def test_the_earlier_of_two_blocks_is_named() -> None:
    desk = blocked(at.Z_UNRESOLVED)
    desk.account[at.A_RISK + at.K_BLOCK] = at.Z_STALE
    assert desk.ask(1.0) == "stale_data"
    desk.books[0, at.B_RISK + at.K_BLOCK] = at.Z_UNUSABLE
    assert desk.ask(1.0) == "market_unusable"


def test_lease_and_arming_come_before_states_and_states_before_data() -> None:
    desk = blocked(at.Z_NOT_ARMED)
    desk.account[[at.A_STATE, at.A_STATE_REASON]] = at.HALTED, at.Z_KILL
    assert desk.ask(1.0) == "not_armed"
    desk.books[0, at.B_RISK + at.K_BLOCK] = at.Z_STALE
    assert desk.ask(1.0) == "kill_switch"


def test_the_stricter_of_both_states_is_named() -> None:
    desk = Desk()
    desk.account[[at.A_STATE, at.A_STATE_REASON]] = at.REDUCING, at.Z_STORM
    desk.books[0, [at.B_STATE, at.B_STATE_REASON]] = at.HALTED, at.Z_MISMATCH
    assert desk.ask(1.0) == "ledger_mismatch"
    assert desk.ask(1.0, slot=1) == "error_storm"
    desk.account[at.A_STATE] = at.HALTED
    assert desk.ask(1.0) == "error_storm"


def test_a_halt_without_a_reason_still_halts() -> None:
    desk = Desk()
    desk.account[at.A_STATE] = at.HALTED
    assert desk.ask(1.0) == "halted"


@pytest.mark.parametrize("where", [at.A_EQUITY, at.B_EQUITY])
def test_without_an_equity_nothing_enters(where: int) -> None:
    desk = Desk()
    (desk.account if where == at.A_EQUITY else desk.books[0])[where] = math.nan
    assert desk.ask(1.0) == "stale_data"


@pytest.mark.parametrize(("now", "code"), [(-1.0, "cooldown"), (0.0, "enter"), (1.0, "enter")])
def test_cooldown_ends_at_its_time(now: float, code: str) -> None:
    desk = Desk()
    desk.books[0, at.B_RISK + at.K_RULES + at.RULE_COOLDOWN] = START_MS
    desk.account[at.A_NOW] = START_MS + now
    assert desk.ask(1.0) == code
    assert desk.ask(1.0, slot=1) == "enter"


@pytest.mark.parametrize("account", [True, False])
def test_a_pause_names_its_rule_in_the_decision(account: bool) -> None:
    desk = Desk()
    row, k = (desk.account, at.A_RISK) if account else (desk.books[0], at.B_RISK)
    row[k + at.K_PAUSE], row[k + at.K_PAUSE_UNTIL] = at.Z_GUARD, START_MS
    assert desk.ask(1.0) == "paused"
    assert (desk.decision[at.D_RULE], desk.decision[at.D_UNTIL]) == (at.Z_GUARD, START_MS)


def test_cooldown_comes_before_a_pause() -> None:
    desk = Desk()
    desk.books[0, at.B_RISK + at.K_RULES + at.RULE_COOLDOWN] = 1.0
    desk.books[0, at.B_RISK + at.K_PAUSE] = at.Z_LOSSES
    assert desk.ask(1.0) == "cooldown"


@pytest.mark.parametrize("price", [math.nan, math.inf, 0.0, -1.0])
def test_a_price_that_is_none_is_bad(price: float) -> None:
    assert Desk().ask(1.0, price=price) == "bad_price"


@pytest.mark.parametrize("side", [1, -1])
def test_a_price_far_from_the_last_is_bad(side: int) -> None:
    desk = Desk()
    far = {factor: 100.0 * (1 + side * 0.05 * factor) for factor in (1 - TINY, 1.0, 1 + TINY)}
    assert [desk.ask(1.0, price=price) for price in far.values()] == ["enter", "enter", "bad_price"]


def test_slippage_of_the_model_and_of_the_last_price() -> None:
    desk = Desk()
    desk.settings[at.S_MAX_SLIPPAGE] = 0.005
    for slippage, code in ((0.005 * (1 - TINY), "enter"), (0.005, "enter"), (0.005 * (1 + TINY), "slippage")):
        desk.settings[at.S_SLIPPAGE] = slippage
        assert desk.ask(1.0) == code
        assert desk.decision[at.D_SLIPPAGE] == slippage
    desk.settings[at.S_SLIPPAGE] = 0.0
    desk.books[0, at.B_MARK] = 100.5
    assert desk.ask(1.0) == "enter"
    desk.books[0, at.B_MARK] = 100.5001
    assert desk.ask(1.0) == "slippage"


def test_risk_per_trade_is_the_loss_at_the_stop_with_costs() -> None:
    desk = Desk(risk_per_trade=0.02)
    edge(desk, 40.0, "risk_per_trade")  # 40 x 5 is 2 % of 10 000
    edge(desk, 40.0, "risk_per_trade", sign=-1.0, stop=105.0)
    desk.settings[[at.S_TAKER, at.S_SLIPPAGE]] = 0.001, 0.0005
    edge(desk, 200.0 / (5.0 + 0.0015 * 195.0), "risk_per_trade")
    desk.books[0, at.B_EQUITY] = 5_000.0
    edge(desk, 100.0 / (5.0 + 0.0015 * 195.0), "risk_per_trade")


def test_risk_per_trade_needs_a_stop_to_compare() -> None:
    assert Desk(risk_per_trade=0.02).ask(90.0, stop=math.nan) == "enter"


def test_risk_of_all_stops_counts_positions_and_waiting_entries() -> None:
    desk = Desk(risk_open=0.06)
    desk.hold(1, 30.0, market=1.0)
    desk.books[1, at.B_STOP] = 90.0  # 300
    desk.wait(2, 1.0, 1.0, market=2.0)
    desk.books[2, at.B_ORDER_RISK] = 100.0
    edge(desk, 40.0, "risk_per_trade")  # 200 of the 600 are left
    desk.books[1, at.B_STOP] = 101.0  # nothing more to lose there
    assert desk.ask(60.0) == "enter"


def test_risk_of_a_short_position_at_its_stop() -> None:
    desk = Desk(linear=True, risk_open=0.06)
    desk.settings[at.S_LEVERAGE] = desk.books[:, at.B_LEVERAGE] = 10.0
    desk.hold(1, -30.0, market=1.0)
    desk.books[1, at.B_STOP] = 110.0
    edge(desk, 60.0, "risk_per_trade")


def test_above_maximum() -> None:
    desk = Desk()
    desk.settings[at.S_MAX_QUANTITY] = 5.0
    edge(desk, 5.0, "above_maximum")


def times(desk: Desk, slot: int, count: int, time_ms: float) -> None:
    desk.books[slot, at.B_ORDERS : at.B_ORDERS + count] = time_ms


@pytest.mark.parametrize(("age_s", "code"), [(9.999, "rate_limit"), (10.0, "enter"), (10.001, "enter")])
def test_rate_of_a_strategy_counts_ten_seconds(age_s: float, code: str) -> None:
    desk = Desk(orders_per_strategy=3)
    desk.account[at.A_NOW] = START_MS
    times(desk, 0, 2, START_MS - 1_000.0 * age_s)
    assert desk.ask(1.0) == "enter"
    times(desk, 0, 3, START_MS - 1_000.0 * age_s)
    assert desk.ask(1.0) == code
    assert desk.ask(1.0, slot=1) == "enter"


def test_rate_of_the_account_counts_all_strategies() -> None:
    desk = Desk(orders_per_account=12)
    desk.account[at.A_NOW] = START_MS
    times(desk, 1, 6, START_MS)
    times(desk, 2, 5, START_MS)
    assert desk.ask(1.0) == "enter"
    times(desk, 2, 6, START_MS)
    assert desk.ask(1.0) == "rate_limit"


def test_max_open_orders() -> None:
    desk = Desk()
    desk.settings[at.S_MAX_ORDERS] = 5.0
    for working, code in ((3.0, "enter"), (4.0, "enter"), (5.0, "max_open_orders")):
        desk.books[0, at.B_WORKING] = working
        assert desk.ask(1.0) == code


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_liquidation_must_be_farther_than_one_and_a_half_stops(sign: float) -> None:
    desk = Desk(linear=True, liquidation_distance=1.5)
    desk.settings[at.S_LEVERAGE] = desk.books[:, at.B_LEVERAGE] = 10.0
    liquidation = 100.0 * (1 - sign / 10.0) / (1 - sign * 0.005)
    room = abs(100.0 - liquidation) / 1.5
    stops = [100.0 - sign * room * factor for factor in (1 - TINY, 1.0, 1 + TINY)]
    assert [desk.ask(1.0, sign=sign, stop=stop) for stop in stops] == ["enter", "enter", "liquidation_near"]
    desk.settings[at.S_LEVERAGE] = 1.0
    assert desk.ask(1.0, sign=sign, stop=stops[2]) == "enter"


def test_max_trades_per_day_counts_the_trades_of_today() -> None:
    desk = Desk()
    desk.settings[at.S_MAX_TRADES] = 200.0
    desk.account[at.A_NOW] = START_MS + 5.0
    desk.books[0, at.B_TRADE_DAY] = START_MS // DAY
    for trades, code in ((198.0, "enter"), (199.0, "enter"), (200.0, "max_trades_per_day")):
        desk.books[0, at.B_DAY_TRADES] = trades
        assert desk.ask(1.0) == code
    desk.account[at.A_NOW] = START_MS + DAY
    assert desk.ask(1.0) == "enter"


ORDER = [
    *("cooldown", "bad_price", "slippage", "no_stop", "risk_per_trade"),
    *("below_minimum", "above_maximum", "insufficient_funds", "rate_limit"),
    *("max_open_positions", "max_open_orders", "exposure_strategy", "exposure_market"),
    *("exposure_account", "max_trades_per_day"),
]


def broken() -> Desk:
    """Return a desk on which an entry of 900 with a stop at 95 breaks every rule that can be broken beside others."""
    desk = Desk(
        require_stop=True, risk_per_trade=0.02, orders_per_strategy=1, max_open_positions=0 + 1, market_net=0.1,
        gross_spot=0.1,
    )  # fmt: skip
    desk.settings[[at.S_MAX_SLIPPAGE, at.S_MAX_QUANTITY, at.S_MAX_ORDERS, at.S_MAX_TRADES]] = 0.005, 5.0, 1.0, 1.0
    desk.account[at.A_NOW] = START_MS
    desk.books[0, [at.B_MARK, at.B_WORKING, at.B_MAX_EXPOSURE, at.B_DAY_TRADES]] = 110.0, 1.0, 0.1, 1.0
    desk.books[0, [at.B_TRADE_DAY, at.B_RISK + at.K_RULES + at.RULE_COOLDOWN]] = START_MS // DAY, START_MS + 1.0
    times(desk, 0, 1, START_MS)
    desk.hold(1, 1.0, market=1.0)
    desk.settings[at.S_MIN_QUANTITY] = 1_000.0
    return desk


def mend(desk: Desk, code: str) -> None:
    """Make one rule pass."""
    book, account, settings = desk.books[0], desk.account, desk.settings
    mended: dict[str, tuple[Any, int, float]] = {
        "cooldown": (book, at.B_RISK + at.K_RULES + at.RULE_COOLDOWN, 0.0),
        "bad_price": (book, at.B_MARK, 101.0),
        "slippage": (book, at.B_MARK, 100.0),
        "no_stop": (account, at.A_REQUIRE_STOP, 0.0),
        "risk_per_trade": (account, at.A_RISK_TRADE, math.nan),
        "below_minimum": (settings, at.S_MIN_QUANTITY, 0.0),
        "above_maximum": (settings, at.S_MAX_QUANTITY, math.nan),
        "insufficient_funds": (account, at.A_FREE, 1e9),
        "rate_limit": (account, at.A_RATE_STRATEGY, 2.0),
        "max_open_positions": (account, at.A_MAX_OPEN, 2.0),
        "max_open_orders": (settings, at.S_MAX_ORDERS, 2.0),
        "exposure_strategy": (book, at.B_MAX_EXPOSURE, math.nan),
        "exposure_market": (account, at.A_MARKET_NET, math.nan),
        "exposure_account": (account, at.A_GROSS_SPOT, math.nan),
        "max_trades_per_day": (settings, at.S_MAX_TRADES, 2.0),
    }
    row, cell, value = mended[code]
    row[cell] = value


def test_the_rules_are_asked_in_the_order_of_the_specification() -> None:
    desk, named = broken(), []
    for _ in ORDER:
        stop = math.nan if desk.account[at.A_REQUIRE_STOP] and "slippage" in named else 95.0
        named.append(desk.ask(900.0, stop=stop))
        mend(desk, named[-1])
    assert named == ORDER
    assert desk.ask(900.0) == "enter"


def test_a_denied_entry_is_measured_whole() -> None:
    desk = broken()
    desk.decision[:] = np.nan
    desk.ask(900.0)
    measured = [at.D_OPEN, at.D_STRATEGY_EXPOSURE, at.D_MARKET_NET, at.D_MARKET_GROSS, at.D_GROSS, at.D_FREE]
    measured += [at.D_SLIPPAGE, at.D_RISK_TRADE, at.D_RISK_OPEN, at.D_ORDERS, at.D_ORDERS_ACCOUNT, at.D_TRADES]
    assert np.isfinite(desk.decision[measured]).all()
