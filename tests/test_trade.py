"""Orders, fills and levels, against values worked out by hand and against laws that hold for every candle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.rounding import round_down, round_nearest
from stratnb.research.backtest import backtest
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config
from trading_cases import (
    FREE,
    LONG,
    SHORT,
    SYMBOL,
    Floats,
    Steps,
    document,
    fills_of,
    flat,
    market,
    merged,
    registered,
    series,
    wander,
)

SLIP, TAKER, MAKER = 0.001, 0.001, 0.0005
HALVES = {"take_profit": {"levels": [{"at": 0.01, "close": 0.5}, {"at": 0.02, "close": 0.5}]}}
STOP = {"stop_loss": {"fraction": 0.02}}
LADDER = merged(STOP, HALVES)
IN = ("entry", 100.0 * (1 + SLIP), 1.0)
OUT = ("entry", 100.0 * (1 - SLIP), 1.0)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def trade(rows: list[Any], *, exits: dict[str, Any] = LADDER, sign: float = LONG, **fields: Any) -> Any:
    """Signal at the close of one quiet candle, then show the rows; return the backtest."""
    linear = fields.pop("kind", "linear")
    doc = document(exits=exits, market={"kind": linear, "direction": "both" if linear == "linear" else "long"})
    candles = series([*flat(1, volume=sign), *rows])
    return backtest(doc, candles, market=market(kind=linear, **fields), cash=1e6, limits=FREE)


# Long: in at 100.10, stop 98.10, targets 101.10 and 102.10 of a half each.
LONG_CASES = {
    "nothing is touched": ([(100, 101.10, 98.11, 100)], [], 0),
    "stop touched to the tick": ([(100, 100.5, 98.10, 99)], [("stop", 98.10, 1.0)], 0),
    "slippage stays within the candle": ([(100, 100.5, 98.05, 99)], [("stop", 98.05, 1.0)], 0),
    "stop with slippage": ([(100, 100.5, 97, 98)], [("stop", 98.10 * (1 - SLIP), 1.0)], 0),
    "gap below the stop fills at the open": (
        [(100, 100, 100, 100), (97, 98.5, 96.5, 98)],
        [("stop", 97 * (1 - SLIP), 1.0)],
        0,
    ),
    "target needs one tick more than a touch": (
        [(100, 101.10, 100, 100), (100, 101.11, 100, 100)],
        [("target_1", 101.10, 0.5)],
        0,
    ),
    "both targets": ([(100, 102.2, 100, 102)], [("target_1", 101.10, 0.5), ("target_2", 102.10, 0.5)], 0),
    "open beyond a target fills better": (
        [(100, 100, 100, 100), (101.5, 101.6, 101, 101)],
        [("target_1", 101.5, 0.5)],
        0,
    ),
    "open beyond both targets": (
        [(100, 100, 100, 100), (103, 103, 102.5, 103)],
        [("target_1", 103, 0.5), ("target_2", 103, 0.5)],
        0,
    ),
    "open at a target is only a touch": ([(100, 100, 100, 100), (101.10, 101.10, 100.5, 101)], [], 0),
    "stop and target in one candle: the stop": ([(100, 101.5, 97, 100)], [("stop", 98.10 * (1 - SLIP), 1.0)], 1),
    "open beyond a target, then the stop": (
        [(100, 100, 100, 100), (101.2, 101.3, 97, 98.5)],
        [("target_1", 101.2, 0.5), ("stop", 98.10 * (1 - SLIP), 0.5)],
        0,
    ),
    "open beyond a target, then target and stop": (
        [(100, 100, 100, 100), (101.2, 102.5, 97, 98.5)],
        [("target_1", 101.2, 0.5), ("stop", 98.10 * (1 - SLIP), 0.5)],
        1,
    ),
    "a target, then the stop in a later candle": (
        [(100, 101.2, 100, 101), (100, 100, 97, 98)],
        [("target_1", 101.10, 0.5), ("stop", 98.10 * (1 - SLIP), 0.5)],
        0,
    ),
}


def mirror(rows: list[Any]) -> list[tuple[float, ...]]:
    """Turn candles upside down around 100."""
    return [(200 - o, 200 - low, 200 - high, 200 - c) for o, high, low, c in rows]


@pytest.mark.parametrize("name", LONG_CASES)
def test_long_cases(name: str) -> None:
    rows, expected, ambiguous = LONG_CASES[name]
    result = trade(rows)
    assert fills_of(result.fill_rows, result.plan) == [
        (r, pytest.approx(p, rel=1e-13), q) for r, p, q in [IN, *expected]
    ]
    assert result.figures["ambiguous_candles"] == ambiguous


@pytest.mark.parametrize("name", LONG_CASES)
def test_short_cases_are_the_mirror_image(name: str) -> None:
    """Short: in at 99.90, stop 101.90, targets 98.90 and 97.90; slippage goes the other way."""
    rows, expected, ambiguous = LONG_CASES[name]
    result = trade(mirror(rows), sign=SHORT)
    found = fills_of(result.fill_rows, result.plan)
    assert found[0] == OUT
    assert len(found) == 1 + len(expected)
    for (reason, price, quantity), (wanted, long_price, share) in zip(found[1:], expected, strict=True):
        paid = 200 - long_price
        if wanted == "stop" and long_price != 98.10 and long_price != 98.05:
            paid = (200 - long_price / (1 - SLIP)) * (1 + SLIP)
        assert (reason, quantity) == (wanted, share)
        assert price == pytest.approx(paid, rel=1e-13)
    assert result.figures["ambiguous_candles"] == ambiguous


def test_a_position_may_end_in_its_first_candle() -> None:
    result = trade([(100, 102.5, 99, 102)])
    assert [r[0] for r in fills_of(result.fill_rows, result.plan)] == ["entry", "target_1", "target_2"]
    assert set(result.fill_rows[:, at.F_TIME]) == {result.candles.open_time_ms[1]}


def test_fees_realized_and_equity_by_hand() -> None:
    result = trade([(100, 101.2, 100, 101), (100, 100, 97, 98)])
    entry, target, stop = 100.1, 101.10, 98.10 * (1 - SLIP)
    fees = TAKER * entry + MAKER * 0.5 * target + TAKER * 0.5 * stop
    gain = 0.5 * (target - entry) + 0.5 * (stop - entry)
    assert result.fill_rows[:, at.F_FEE].sum() == pytest.approx(fees, rel=1e-12)
    assert result.equity_curve[-1] == pytest.approx(1e6 + gain - fees, rel=1e-14)
    (closed,) = result.closed_trades
    assert closed.pnl == pytest.approx(gain - fees, rel=1e-12)
    assert closed.exit_price == pytest.approx((target + stop) / 2, rel=1e-14)
    assert (closed.reason, closed.fills, closed.direction) == ("stop", 3, 1)
    assert closed.return_fraction == pytest.approx((gain - fees) / entry, rel=1e-12)


def test_an_open_position_is_marked_to_the_last_close() -> None:
    result = trade([(100, 100.5, 99.5, 100.4)])
    assert not result.closed_trades
    assert result.equity_curve[-1] == pytest.approx(1e6 + (100.4 - 100.1) - TAKER * 100.1, rel=1e-14)
    assert result.figures["open_quantity"] == 1.0


TRAIL = merged(STOP, {"trailing": {"basis": "percent", "distance": 0.01}})
EVEN = merged(LADDER, {"breakeven": {"after_targets": 1, "offset": 0.003}})
MOVED = {
    "trailing follows the highest high": (
        TRAIL,
        [(100, 105, 100, 104.9), (104.5, 104.6, 103.9, 104)],
        ("trailing", 103.9),
    ),
    "trailing acts from the next candle on": (TRAIL, [(100, 105, 100, 104.9), (104, 104, 103.96, 104)], None),
    "a stop beyond the close leaves at the open": (
        TRAIL,
        [(100, 105, 100, 103), (103.2, 104, 103, 103)],
        ("trailing", 103.2 * (1 - SLIP)),
    ),
    "breakeven covers offset and fees": (
        EVEN,
        [(100, 101.2, 100, 101), (101, 101, 100.5, 100.6)],
        ("breakeven", 100.5),
    ),
    "breakeven waits for its target": (EVEN, [(100, 101.1, 100, 101), (101, 101, 100.5, 100.6)], None),
    "breakeven acts from the next candle on": (EVEN, [(100, 101.2, 99, 101), (101, 101, 100.61, 101)], None),
    "on_hit moves the stop": (
        merged(
            STOP,
            {
                "take_profit": {
                    "levels": [{"at": 0.01, "close": 0.5, "on_hit": ["breakeven"]}, {"at": 0.02, "close": 0.5}]
                },
                "breakeven": {"offset": 0.0, "cover_fees": False},
            },
        ),
        [(100, 101.2, 100, 101), (101, 101, 100, 100)],
        ("breakeven", 100.0),
    ),
    "trailing from the second target on": (
        merged(LADDER, {"trailing": {"basis": "percent", "distance": 0.005, "start": {"targets": 2}}}),
        [(100, 101.2, 100, 101), (101, 101, 100.2, 100.3)],
        None,
    ),
    "time exit at the open after the limit": (
        merged(STOP, {"time_exit": {"max_candles": 2}}),
        [(100, 100, 100, 100), (100, 100, 100, 100), (99, 99, 99, 99)],
        ("time", 99 * (1 - SLIP)),
    ),
    "time exit not a candle earlier": (
        merged(STOP, {"time_exit": {"max_candles": 3}}),
        [(100, 100, 100, 100), (100, 100, 100, 100), (99, 99, 99, 99)],
        None,
    ),
    "time exit in minutes": (
        merged(STOP, {"time_exit": {"max_minutes": 2}}),
        [(100, 100, 100, 100), (100, 100, 100, 100), (99, 99, 99, 99)],
        ("time", 99 * (1 - SLIP)),
    ),
    "time exit only below a return": (
        merged(STOP, {"time_exit": {"max_candles": 1, "only_below": 0.0}}),
        [(100, 101, 100, 100.2), (100, 100, 100, 100)],
        None,
    ),
    "opposite signal": (
        merged(STOP, {"signal_exit": {"min_confidence": 0.9}}),
        [(100, 100, 100, 100, SHORT), (99, 99, 99, 99)],
        ("signal", 99 * (1 - SLIP)),
    ),
    "opposite signal too weak": (
        merged(STOP, {"signal_exit": {"min_confidence": 0.95}}),
        [(100, 100, 100, 100, SHORT), (99, 99, 99, 99)],
        None,
    ),
    "time comes before signal": (
        merged(STOP, {"signal_exit": {}, "time_exit": {"max_candles": 1}}),
        [(100, 100, 100, 100, SHORT), (99, 99, 99, 99)],
        ("time", 99 * (1 - SLIP)),
    ),
    "the stop comes before an exit at the next close": (
        merged(STOP, {"time_exit": {"max_candles": 1}}),
        [(100, 100, 97, 99), (99, 99, 99, 99)],
        ("stop", 98.1 * (1 - SLIP)),
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_levels_move_at_closes(name: str) -> None:
    exits, rows, expected = MOVED[name]
    result = trade(rows, exits=exits)
    last = fills_of(result.fill_rows, result.plan)[-1]
    if expected is None:
        assert last[0] in ("entry", "target_1")
    else:
        assert last[:2] == (expected[0], pytest.approx(expected[1], rel=1e-13))


def test_an_entry_does_not_follow_a_signal_in_position_or_with_an_order() -> None:
    result = trade([(100, 100, 100, 100, LONG)] * 5, exits=STOP)
    assert [r[0] for r in fills_of(result.fill_rows, result.plan)] == ["entry"]
    assert result.reasons == {"enter": 1, "in_position": 5}


@pytest.mark.parametrize(
    ("limits", "shares", "sold"),
    [
        ({"min_notional": 15.0}, (0.5, 0.4), (0.5, 0.5)),  # 0.1 left would be worth 10.21
        ({"min_notional": 10.0}, (0.5, 0.4), (0.5, 0.4)),
        ({"min_quantity": 0.2}, (0.5, 0.4), (0.5, 0.5)),
        ({"min_quantity": 0.1}, (0.5, 0.4), (0.5, 0.4)),
        ({"min_quantity": 0.6}, (0.5, 0.4), (1.0,)),
    ],
)
def test_no_exit_leaves_dust(limits: dict[str, float], shares: tuple[float, ...], sold: tuple[float, ...]) -> None:
    levels = [{"at": 0.01 * n, "close": share} for n, share in enumerate(shares, 1)]
    result = trade([(100, 102.5, 100, 102)], exits=merged(STOP, {"take_profit": {"levels": levels}}), **limits)
    assert tuple(q for _, _, q in fills_of(result.fill_rows, result.plan)[1:]) == pytest.approx(sold, abs=1e-12)


@pytest.mark.parametrize(
    ("lots", "sold"),
    [
        (1, {"target_3": 1}),
        (2, {"target_3": 2}),
        (3, {"target_1": 1, "target_3": 2}),
        (10, {"target_1": 3, "target_2": 3, "target_3": 4}),
    ],
)
def test_small_positions_keep_the_ladder(lots: int, sold: dict[str, int]) -> None:
    """A level whose share is less than a lot sells nothing; the last of a whole ladder sells all that is left."""
    levels = [{"at": 0.01, "close": 0.34}, {"at": 0.02, "close": 0.33}, {"at": 0.03, "close": 0.33}]
    doc = document(
        exits=merged(STOP, {"take_profit": {"levels": levels}}),
        sizing={"kind": "fixed_quantity", "quantity": float(lots)},
    )
    candles = series([*flat(1, volume=LONG), (100, 104, 100, 104)])
    result = backtest(doc, candles, market=market(lot=1.0), cash=1e6, limits=FREE)
    assert {r: q for r, _, q in fills_of(result.fill_rows, result.plan)[1:]} == sold


@pytest.mark.parametrize("limits", [{"min_quantity": 0.1}, {"min_notional": 10.0}])
def test_a_target_below_the_minimum_is_no_order(limits: dict[str, float]) -> None:
    levels = [{"at": 0.01, "close": 0.05}, {"at": 0.02, "close": 0.45}, {"at": 0.03, "close": 0.5}]
    result = trade([(100, 104, 100, 104)], exits=merged(STOP, {"take_profit": {"levels": levels}}), **limits)
    sold = [(r, q) for r, _, q in fills_of(result.fill_rows, result.plan)[1:]]
    assert sold == [("target_2", 0.45), ("target_3", pytest.approx(0.55))]


# Rounding.

STEPS = ("1", "0.1", "0.01", "0.001", "1e-5", "1e-6", "1e-8", "0.25", "0.5", "0.05", "0.0025", "5", "10", "2.5", "100")


@pytest.mark.parametrize("step", STEPS)
@given(count=st.integers(0, 10**12))
def test_whole_steps_stay_what_they_are(step: str, count: int) -> None:
    value = float(count * Decimal(step))
    if value / float(step) > 1e13:
        return
    assert round_down(value, float(step)) == value
    assert round_nearest(value, float(step)) == value


@pytest.mark.parametrize("step", [*STEPS, "0.3", "0.007"])
@given(value=st.floats(0, 1e6, allow_subnormal=False))
def test_rounding_down_never_goes_up(step: str, value: float) -> None:
    size = float(step)
    down = round_down(value, size)
    assert down <= value + 1e-9 * size + 1e-15 * value
    assert value - down < size * (1 + 1e-9) + 1e-15 * value
    assert round_down(down, size) == down


@given(count=st.integers(1, 10**6), step=st.sampled_from(STEPS), part=st.floats(0.001, 0.998))
def test_a_part_of_a_step_is_cut(count: int, step: str, part: float) -> None:
    size = Decimal(step)
    assert round_down(float((count + Decimal(part)) * size), float(size)) == float(count * size)


def test_no_step_means_no_rounding() -> None:
    assert round_down(1.2345, 0.0) == round_nearest(1.2345, 0.0) == 1.2345


shares = st.lists(st.integers(1, 100), min_size=1, max_size=8)


@given(
    weights=shares, lot=st.sampled_from(("1", "0.1", "0.001", "1e-6", "1e-8", "0.25", "5")), lots=st.integers(1, 10**7)
)
@settings(max_examples=40)
def test_a_whole_ladder_sells_exactly_what_was_bought(weights: list[int], lot: str, lots: int) -> None:
    total = sum(weights)
    levels = [{"at": 0.01 * n, "close": w / total} for n, w in enumerate(weights, 1)]
    quantity = float(lots * Decimal(lot))
    doc = document(
        exits=merged(STOP, {"take_profit": {"levels": levels}}), sizing={"kind": "fixed_quantity", "quantity": quantity}
    )
    candles = series([*flat(1, volume=LONG), (100, 112, 100, 112)])
    result = backtest(doc, candles, market=market(lot=float(lot)), cash=1e12, limits=FREE)
    rows = result.fill_rows
    bought, sold = rows[0, at.F_QUANTITY], rows[1:, at.F_QUANTITY]
    assert bought == quantity
    assert (sold > 0).all()
    assert sum(Decimal(float(q)) for q in sold) == pytest.approx(Decimal(bought), rel=Decimal("1e-14"))
    assert rows[-1, at.F_AFTER] == 0.0
    on_grid = sold[:-1] / float(lot)
    assert np.allclose(on_grid, np.rint(on_grid), atol=1e-4)


# Stops.


@st.composite
def exit_mixes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a random legal mixture of exits."""
    exits: dict[str, Any] = {
        "stop_loss": draw(st.sampled_from([{"fraction": 0.01}, {"basis": "atr", "multiple": 1.5}]))
    }
    ladder = draw(st.booleans())
    if ladder:
        on_hit = draw(st.sampled_from([[], ["none"]]))
        exits["take_profit"] = {"levels": [{"at": 0.006, "close": 0.3, "on_hit": on_hit}, {"at": 0.012, "close": 0.3}]}
    if draw(st.booleans()):
        exits["breakeven"] = {
            "at_profit": draw(st.sampled_from([0.002, 0.005])),
            "offset": draw(st.sampled_from([0.0, 0.001])),
        }
    if draw(st.booleans()):
        basis = draw(st.sampled_from(["percent", "atr", "chandelier", "bollinger"]))
        starts = [{"immediately": True}, {"profit": 0.003}, *([{"targets": 1}] if ladder else [])]
        exits["trailing"] = {"basis": basis, "distance": 0.008, "start": draw(st.sampled_from(starts))}
        exits["trailing"]["min_step"] = draw(st.sampled_from([0.0, 0.002]))
    if draw(st.booleans()):
        exits["time_exit"] = {"max_candles": 25}
    return exits


@given(exits=exit_mixes(), seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_stop_never_loosens(exits: dict[str, Any], seed: int) -> None:
    config = build_config(document(exits=exits, market={"kind": "linear"}), symbol=SYMBOL).config
    run = Steps(build_plan(config, market(kind="linear")))
    trade_no, stop, moves = 0.0, math.nan, 0
    for row in wander(240, seed, gaps=3).rows():
        run.take(row)
        book = run.book
        if book[at.B_QUANTITY] == 0.0 or book[at.B_TRADE_NO] != trade_no:
            trade_no, stop = book[at.B_TRADE_NO], book[at.B_FIRST_STOP] if book[at.B_QUANTITY] != 0.0 else math.nan
        if book[at.B_QUANTITY] != 0.0:
            side = math.copysign(1.0, book[at.B_QUANTITY])
            assert side * (book[at.B_STOP] - stop) >= 0.0
            moves += int(book[at.B_STOP] != stop)
            stop = book[at.B_STOP]
    closing = {}
    for fill in run.fills:
        key = fill[at.F_TRADE]
        closing[key] = closing.get(key, 0.0) + fill[at.F_SIGN] * fill[at.F_QUANTITY]
    assert all(abs(left) < 1e-9 for key, left in closing.items() if key != run.book[at.B_TRADE_NO])
    assert run.fills


# Ledgers.


def new_fill(sign: float, quantity: float, price: float, fee: float, time: float) -> Floats:
    row = np.zeros(at.W_FILL)
    row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_FEE, at.F_TIME]] = sign, quantity, price, fee, time
    row[at.F_REASON] = at.REASON_MANUAL
    return row


throws = st.tuples(st.integers(0, 3), st.booleans(), st.floats(0.001, 5.0), st.floats(1.0, 500.0), st.floats(0.0, 0.01))


@given(throws=st.lists(throws, min_size=1, max_size=60), linear=st.booleans())
def test_books_add_up_to_the_account_after_every_fill(
    throws: list[tuple[int, bool, float, float, float]], linear: bool
) -> None:
    """Money is what came in and went out plus what is held, for each book and for all of them together."""
    config = build_config(document(market={"kind": "linear"}), symbol=SYMBOL).config
    run = Steps(build_plan(config, market(kind="linear")), cash=4_000.0)
    books = np.vstack([run.book] * 4)
    books[:, [at.B_CAPITAL, at.B_EQUITY]] = 1_000.0
    books[:, at.B_LINEAR] = float(linear)
    cash, held, marks = [1_000.0] * 4, [0.0] * 4, np.zeros((1, at.W_CANDLE))
    for n, (k, grows, most, price, rate) in enumerate(throws):
        sign, quantity = 1.0 if held[k] > 0 else -1.0 if held[k] < 0 else (1.0 if grows else -1.0), most
        if held[k] != 0.0 and not grows:
            sign, quantity = -sign, min(most, abs(held[k]))
        loop.apply(books[k], new_fill(sign, quantity, price, rate * quantity * price, float(n)))
        cash[k] -= sign * quantity * price + rate * quantity * price
        held[k] += sign * quantity
        marks[0, :4] = price
        loop.settle_all(books, run.account, marks, np.ones(1), 60_000.0 * (n + 1))
        assert books[:, at.B_QUANTITY] == pytest.approx(np.array(held), abs=1e-9)
        worth = np.array(cash) + np.array(held) * price
        assert books[:, at.B_EQUITY] == pytest.approx(worth, rel=1e-9, abs=1e-6)
        assert run.account[at.A_EQUITY] == pytest.approx(worth.sum(), rel=1e-9, abs=1e-6)
        assert run.account[at.A_NET] == pytest.approx(sum(held) * price, rel=1e-9, abs=1e-6)
        assert run.account[at.A_GROSS] == pytest.approx(np.abs(held).sum() * price, rel=1e-9, abs=1e-6)
        assert run.account[at.A_OPEN] == np.count_nonzero(books[:, at.B_QUANTITY])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_equity_is_cash_plus_what_is_held(seed: int) -> None:
    candles = wander(200, seed, gaps=2)
    exits = merged(LADDER, {"trailing": {"distance": 0.01}, "signal_exit": {}})
    result = backtest(document(exits=exits), candles, market=market(), cash=1e6, limits=FREE)
    rows, times = result.fill_rows, candles.open_time_ms
    flow = -(rows[:, at.F_SIGN] * rows[:, at.F_QUANTITY] * rows[:, at.F_PRICE] + rows[:, at.F_FEE])
    for i in range(len(candles)):
        known = rows[:, at.F_TIME] <= times[i]
        quantity = (rows[known, at.F_SIGN] * rows[known, at.F_QUANTITY]).sum()
        assert result.equity_curve[i] == pytest.approx(1e6 + flow[known].sum() + quantity * candles.close[i], rel=1e-12)


# A fill larger than the position closes the trade and opens the next.


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_fill_that_crosses_zero_is_two_trades(sign: float) -> None:
    book, fill = np.zeros(at.W_BOOK), np.zeros(at.W_FILL)
    book[at.B_CAPITAL] = 1_000.0
    for side, quantity, price, time in ((sign, 2.0, 100.0, 1.0), (-sign, 5.0, 110.0, 2.0)):
        fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_TIME]] = side, quantity, price, time
        loop.apply(book, fill)
    assert book[at.B_QUANTITY] == fill[at.F_AFTER] == -3.0 * sign
    assert book[at.B_AVERAGE] == book[at.B_PEAK] == book[at.B_TROUGH] == 110.0
    assert book[at.B_REALIZED] == fill[at.F_REALIZED] == 20.0 * sign
    assert (book[at.B_TRADES], book[at.B_TRADE_NO], fill[at.F_TRADE]) == (1.0, 2.0, 1.0)
    assert (book[at.B_ORIGINAL], book[at.B_OPENED_MS], book[at.B_TRADE_REALIZED]) == (3.0, 2.0, 0.0)
    assert (book[at.B_GAINS], book[at.B_LOSSES]) == ((20.0, 0.0) if sign > 0 else (0.0, 20.0))
    fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_TIME]] = sign, 3.0, 100.0, 3.0
    loop.apply(book, fill)
    assert (book[at.B_QUANTITY], book[at.B_TRADES]) == (0.0, 2.0)
    assert book[at.B_REALIZED] == pytest.approx(20.0 * sign + 30.0 * sign)
