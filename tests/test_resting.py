"""Orders that rest over several candles, limits and parts: by hand, on paper, and over a restart."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import fork
from stratnb.engine import Engine
from stratnb.exchange.book import PaperBook
from stratnb.journal import JournalReader
from stratnb.journal.check import check_journal
from stratnb.kernels import layout as at
from stratnb.model import Order
from stratnb.observer import observe
from stratnb.parity import parity
from stratnb.research.backtest import Backtest, backtest
from trading_cases import FREE, LONG, MINUTE, SHORT, START_MS, document, flat, market, registered, series, wander

LADDER: dict[str, Any] = {"stop_loss": {"fraction": 0.02}, "take_profit": {"levels": [{"at": 0.01, "close": 1.0}]}}
FAR: dict[str, Any] = {"time_exit": {"max_candles": 500}}
QUIET = (100, 100, 100, 100)
MAKER, TAKER = 0.0005, 0.001


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def limited(exits: dict[str, Any] = FAR, simulation: dict[str, Any] | None = None, **execution: Any) -> dict[str, Any]:
    """Return a linear document with a limit 1 % away that rests for one candle unless told otherwise."""
    costs = {"slippage": 0.001, "funding_rate": 0.0, **(simulation or {})}
    execution = {"entry_order": "limit", "limit_offset": 0.01, **execution, "simulation": costs}
    return document(market={"kind": "linear", "direction": "both"}, exits=exits, execution=execution)


def mirror(rows: list[Any]) -> list[tuple[float, ...]]:
    return [(200 - o, 200 - low, 200 - high, 200 - c) for o, high, low, c in rows]


def trade(rows: list[Any], sign: float = LONG, **options: Any) -> Backtest:
    shown = rows if sign == LONG else mirror(rows)
    known = market(kind="linear", max_leverage=20.0)
    return backtest(limited(**options), series([*flat(1, volume=sign), *shown]), market=known, cash=1e6, limits=FREE)


# The long limit is at 99.00.
CASES: dict[str, tuple[list[Any], dict[str, Any], list[tuple[int, float, float]]]] = {
    "not reached": ([(100, 100, 99.01, 99.5), (99.5, 99.5, 90, 95)], {}, []),
    "touched only": ([(100, 100, 99.0, 99.5)], {}, []),
    "touched, where that fills": ([(100, 100, 99.0, 99.5)], {"simulation": {"touch": True}}, [(0, 99.0, MAKER)]),
    "through by a tick": ([(100, 100, 98.99, 99.5)], {}, [(0, 99.0, MAKER)]),
    "open better at once": ([(98.5, 99.5, 98, 99)], {}, [(0, 98.5, TAKER)]),
    "open better, may only rest": ([(98.5, 99.5, 98, 99)], {"post_only": True}, []),
    "open better later": ([QUIET, (98.5, 99, 98, 99)], {"limit_timeout_s": 120}, [(1, 98.5, MAKER)]),
    "through later": ([QUIET, (100, 100, 98.9, 99)], {"limit_timeout_s": 120}, [(1, 99.0, MAKER)]),
    "too late": ([QUIET, QUIET, (100, 100, 98, 99)], {"limit_timeout_s": 120}, []),
    "then at market": ([QUIET, (100.5, 101, 100, 101)], {"limit_fallback": True}, [(1, 100.5 * 1.001, TAKER)]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_a_limit_entry_by_hand(name: str, sign: float) -> None:
    rows, options, expected = CASES[name]
    result = trade(rows, sign, **options)
    found = result.fill_rows[result.fill_rows[:, at.F_REASON] == at.REASON_ENTRY]
    assert len(found) == len(expected)
    for fill, (place, long_price, rate) in zip(found, expected, strict=True):
        at_market = rate == TAKER and long_price > 100
        price = long_price if sign == LONG else 99.5 * 0.999 if at_market else 200 - long_price
        assert fill[at.F_TIME] == START_MS + MINUTE * (1 + place)
        assert fill[at.F_PRICE] == pytest.approx(price, rel=1e-12)
        assert fill[at.F_FEE] == pytest.approx(rate * price, rel=1e-12)
    if not expected:
        assert result.book[at.B_ORDER] == at.ORDER_NONE and result.book[at.B_RESERVED] == 0.0
        assert result.account[at.A_RESERVED] == 0.0


@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_what_came_before_the_limit_filled_is_no_gain(sign: float) -> None:
    """In at 99, target 99.99: the high of 105 came before; the stop at 97.02 counts, for the low came after."""
    (only,) = trade([(104, 105, 98.5, 99.5)], sign, exits=LADDER).fill_rows
    assert only[at.F_REASON] == at.REASON_ENTRY
    assert [f.reason for f in trade([(104, 105, 98.5, 101)], sign, exits=LADDER).all_fills] == ["entry", "target_1"]
    assert [f.reason for f in trade([(104, 105, 96, 101)], sign, exits=LADDER).all_fills] == ["entry", "stop"]
    held = trade([(104, 105, 98.5, 99.5)], sign).book
    assert (held[at.B_PEAK], held[at.B_TROUGH]) == ((99.5, 98.5) if sign == LONG else (101.5, 100.5))


def part(rows: list[Any], share: float = 0.1, exits: dict[str, Any] = FAR, quantity: float = 1.0) -> Backtest:
    doc = document(
        market={"kind": "linear", "direction": "both"},
        exits=exits,
        execution={"simulation": {"slippage": 0.0, "max_participation": share}},
        sizing={"kind": "fixed_quantity", "quantity": quantity},
    )
    return backtest(doc, series([*flat(1, volume=LONG), *rows]), market=market(kind="linear"), cash=1e6, limits=FREE)


def test_an_order_takes_its_share_of_each_candle_until_it_is_filled() -> None:
    rows = [(100, 100, 100, 100, 4.0), (101, 101, 101, 101, 0.0), (102, 102, 102, 102, 3.0), (103, 103, 103, 103, 90)]
    result = part(rows)
    fills = result.fill_rows
    assert fills[:, at.F_QUANTITY].tolist() == [0.4, 0.3, 0.3]
    assert fills[:, at.F_PRICE].tolist() == [100, 102, 103]
    assert result.book[at.B_QUANTITY] == pytest.approx(1.0, rel=1e-15)
    assert result.book[at.B_AVERAGE] == pytest.approx(0.4 * 100 + 0.3 * 102 + 0.3 * 103, rel=1e-12)
    assert result.book[at.B_ORIGINAL] == pytest.approx(1.0, rel=1e-15)
    assert result.book[at.B_ORDER] == at.ORDER_NONE and result.book[at.B_RESERVED] == 0.0


def test_levels_follow_the_average_while_the_entry_is_filled() -> None:
    rows = [(100, 100, 100, 100, 5.0), (102, 102, 102, 102, 5.0)]
    exits = {"stop_loss": {"fraction": 0.02}}
    assert part(rows[:1], exits=exits).book[at.B_STOP] == pytest.approx(98.0)
    assert part(rows, exits=exits).book[at.B_STOP] == pytest.approx(98.98)


def test_a_stop_ends_what_is_left_of_the_entry() -> None:
    rows = [(100, 100, 100, 100, 5.0), (100, 100, 97, 97, 0.0), (97, 97, 97, 97, 50.0)]
    result = part(rows, exits={"stop_loss": {"fraction": 0.02}})
    assert [(f.reason, f.quantity) for f in result.all_fills] == [("entry", 0.5), ("stop", 0.5)]
    assert result.book[at.B_ORDER] == at.ORDER_NONE


RESTING = {
    "limit": limited(LADDER, limit_offset=0.002, limit_timeout_s=300),
    "fallback": limited(LADDER, limit_offset=0.004, limit_timeout_s=150, limit_fallback=True, leverage=3),
    "post-only": limited(EXITS := {**LADDER, "trailing": {"distance": 0.004}}, limit_offset=0.0, post_only=True),
    "share": document(
        market={"kind": "linear", "direction": "both"},
        exits=EXITS,
        sizing={"kind": "fixed_quantity", "quantity": 2.0},
        execution={"simulation": {"slippage_model": "volume", "slippage_factor": 0.001, "max_participation": 0.2}},
    ),
}


@pytest.mark.parametrize("name", RESTING)
@pytest.mark.parametrize("primary", ["1m", "5m"])
def test_paper_rests_alike(name: str, primary: str) -> None:
    doc = {**RESTING[name], "timeframes": {"primary": primary}}
    known = market(kind="linear", max_leverage=20.0)
    if primary == "5m":
        doc["analyzers"] = [{"kind": "dice"}]
    candles = wander(1500, 11, gaps=25, move=0.003)
    verdict = parity(doc, candles, market=known, limits=None if name == "limit" else FREE)
    assert verdict, str(verdict)
    assert verdict.trades > 3


ENDS = (7, 8, 35, 51, 76, 128, 173, 210, 260)  # limits rest there, or between two parts
FAST = {"query_delays_s": (0.002,), "absences": 2, "absence_spacing_s": 0.0, "unknown_grace_s": 0.0}


@pytest.mark.parametrize("name", ["limit", "share"])
def test_a_restart_in_the_middle_changes_nothing(name: str, tmp_path: Path) -> None:
    known, candles = market(kind="linear", max_leverage=20.0), wander(260, 11, gaps=5, move=0.003)
    whole = backtest(RESTING[name], candles, market=known, limits=FREE)
    assert len(whole.fill_rows) > 6
    options: dict[str, Any] = {"candles": candles, "markets": [known], "limits": FREE, "journal": tmp_path / "j.sqlite"}
    rested: set[str] = set()
    for end in ENDS:
        with Engine("resting", **options, orders=FAST) as engine:
            if end == ENDS[0]:
                key = engine.add(RESTING[name], candles.symbol)
                engine.activate(key)
            engine.list()
            engine.step(end - engine.desk.feed.position)
            lane = engine.desk.lane(key)
            rested.add(lane.order.state if lane.order else "")
            fills = np.array(lane.context.book.fill_rows).reshape(-1, at.W_FILL)
            assert lane.context.book.row[at.B_EQUITY] == whole.equity_curve[end - 1]
    assert rested >= ({"OPEN", "PARTIAL"} if name == "share" else {"OPEN"})
    assert np.array_equal(fills, whole.fill_rows)


PARTS = [(100, 100, 100, 100, 2.0), (100, 100, 100, 100, 3.0), (100, 100, 97, 97, 2.0), (97, 97, 97, 97, 50.0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child is forked")
@pytest.mark.parametrize(("leg", "call"), [("ask", "cancel"), ("answer", "cancel"), ("ask", "submit")])
def test_killed_between_the_parts_it_goes_on_as_if_never_stopped(leg: str, call: str, tmp_path: Path) -> None:
    """The candle that fills a third part touches the stop: the rest is canceled, the stop sent, and then it dies."""
    doc = document(
        market={"kind": "linear", "direction": "both"},
        exits={"stop_loss": {"fraction": 0.02}},
        execution={"simulation": {"slippage": 0.0, "max_participation": 0.1}},
    )
    known, candles = market(kind="linear"), series([*flat(1, volume=LONG), *PARTS, *flat(3, 97.0)])
    whole = backtest(doc, candles, market=known, limits=FREE)
    assert [f.quantity for f in whole.all_fills] == [0.2, 0.3, 0.2, 0.7]
    options: dict[str, Any] = {"candles": candles, "markets": [known], "limits": FREE, "journal": tmp_path / "j.sqlite"}

    def die(at_leg: str, at_call: str) -> None:
        if (at_leg, at_call) == (leg, call):
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        with Engine("resting", **options) as engine:
            engine.activate(engine.add(doc, candles.symbol))
            engine.step(3)
            engine.desk.exchange.line = die
            engine.step(1)

    pid = fork(run)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    with Engine("resting", **options) as engine:
        (record,) = engine.list()
        engine.step(len(candles) - engine.desk.feed.position)
        book = engine.desk.lane(record.strategy_id).context.book
        assert np.array_equal(np.array(book.fill_rows), whole.fill_rows)
        assert engine.desk.exchange.position(candles.symbol, engine.desk.now_ms()) == 0.0
        assert engine.desk.orders.live() == ()
    assert check_journal(options["journal"]).faults == ()


@pytest.mark.parametrize("name", ["limit", "fallback", "share"])
def test_the_journal_knows_the_limit_of_every_order(name: str, tmp_path: Path) -> None:
    known, candles = market(kind="linear", max_leverage=20.0), wander(200, 11, gaps=5, move=0.003)
    path, shown, seen = tmp_path / "j.sqlite", {}, set()
    options: dict[str, Any] = {"candles": candles, "markets": [known], "limits": FREE, "journal": path}
    with Engine("limits", **options) as engine:
        heard = engine.events.subscribe(types=("ORDER_INTENT",))
        key = engine.add(RESTING[name], candles.symbol)
        engine.activate(key)
        for _ in range(len(candles)):
            engine.step(1)
            row = engine.desk.lane(key).context.book.row
            for order in engine.view().orders:
                if row[at.B_ORDER] == at.ORDER_ENTRY and row[at.B_ORDER_PRICE] > 0.0:
                    assert (order.limit, order.until_ms) == (row[at.B_ORDER_PRICE], row[at.B_ORDER_UNTIL])
                    shown[order.order_id] = (order.limit, order.until_ms)
                else:
                    assert (order.limit, order.until_ms) == (None, None)
        told = {event.payload["order_id"]: event.payload.get("limit") for event in heard.take()}
    with JournalReader.open(path) as reader:
        for order in reader.rows("orders"):
            limit = (order["limit_price"], order["until_ms"])
            assert limit == shown.get(order["client_id"], limit) and told[order["client_id"]] == order["limit_price"]
            assert order["purpose"] == "e" or limit == (None, None)
            seen.add((order["purpose"], limit[0] is None))
            for fill in reader.rows("fills", where={"client_id": order["client_id"]}):
                side = 1.0 if order["side"] == "buy" else -1.0
                assert limit[0] is None or side * (fill["price"] - limit[0]) <= 0.0
    assert {at_market for purpose, at_market in seen if purpose == "e"} == {
        "limit": {False}, "fallback": {False, True}, "share": {True}
    }[name]  # fmt: skip
    assert check_journal(path).faults == () and bool(shown) == (name != "share")


def test_a_restart_and_an_observer_show_the_limit(tmp_path: Path) -> None:
    known, candles = market(kind="linear", max_leverage=20.0), series([*flat(1, volume=LONG), *flat(9)])
    path = tmp_path / "j.sqlite"
    options: dict[str, Any] = {"candles": candles, "markets": [known], "limits": FREE, "journal": path}
    with Engine("limits", **options) as engine:
        engine.activate(engine.add(limited(limit_timeout_s=3600), candles.symbol))
        engine.step(3)
        (before,) = engine.view().orders
        assert before.limit == 99.0
    for is_old in (False, True):
        if is_old:  # as a journal that was brought forward from before limits were kept
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("UPDATE orders SET limit_price = NULL, until_ms = NULL")
                connection.commit()
        with Engine("limits", **options) as engine:
            engine.list()
            (after,) = engine.view().orders
            assert after == before
            if not is_old:
                board = observe(path)
                (seen,) = board.view().orders
                board.close()
                assert (seen.limit, seen.until_ms) == (before.limit, before.until_ms)


def test_an_expired_entry_is_told() -> None:
    known = market(kind="linear", max_leverage=20.0)
    candles = series([*flat(1, volume=LONG), *flat(3)])
    with Engine("resting", candles=candles, markets=[known], limits=FREE) as engine:
        heard = engine.events.subscribe(types=("ENTRY_EXPIRED",))
        key = engine.add(limited(), candles.symbol)
        engine.activate(key)
        engine.step(1)
        assert engine.desk.services.positions.account[at.A_RESERVED] > 0.0
        engine.step(2)
        assert [event.payload["filled"] for event in heard.take()] == [0.0]
        assert engine.desk.services.positions.account[at.A_RESERVED] == 0.0
        assert engine.desk.lane(key).order is None
        assert engine.desk.exchange.working(engine.desk.now_ms()) == ()


def test_the_book_of_the_exchange_keeps_parts(tmp_path: Path) -> None:
    book = PaperBook(tmp_path / "paper.sqlite")
    order = Order("o1", "s", "AAA/USDT", "buy", 3.0, False, "entry", 1_000, "e")
    rows = np.zeros((3, at.W_FILL))
    rows[:, at.F_SIGN], rows[:, at.F_QUANTITY], rows[:, at.F_TIME] = 1.0, 1.0, (1_000.0, 2_000.0, 3_000.0)
    book.accept(order, None)
    for k in range(3):
        for _ in range(2):  # asked twice
            made = (book.execute_part if k < 2 else book.execute)("o1", rows[k : k + 1], 2_000 + 1_000 * k)
            assert np.array_equal(made, rows[k : k + 1])
        told = book.report("o1", 2_000 + 1_000 * k)
        assert told is not None and (told.state, len(told.executions)) == ("OPEN" if k < 2 else "FILLED", k + 1)
    assert [each.fill_id for each in book.executions(0, 9_999)] == ["o1.0", "o1.1", "o1.2"]
    assert [book.position("AAA/USDT", ms) for ms in (1_500, 2_000, 3_500, 4_000)] == [0.0, 1.0, 2.0, 3.0]
    assert [each.state for each in book.working(3_000)] == ["OPEN"]
    book.rewind(3_000)
    told = book.report("o1", 9_999)
    assert told is not None and (told.state, len(told.executions)) == ("OPEN", 2)
    assert book.cancel("o1", 3_500) == "CANCELED"
    assert len(book.execute("o1", rows[2:], 4_000)) == 0  # it has ended; what it filled before is not told again
    assert book.position("AAA/USDT", 9_999) == 2.0
