"""Orders on their way: intents first, an unknown outcome is a state, nothing is sent twice or lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.errors import Halt, Refused, RetryLater
from stratnb.exchange.base import Execution, OrderReport
from stratnb.exchange.paper import PaperExchange
from stratnb.kernels import layout as at
from stratnb.model import FINAL_STATES, PURPOSES, Order
from stratnb.multi.clock import Clock
from stratnb.multi.lane import Working
from stratnb.multi.order_ids import order_id
from stratnb.multi.orders import Orders
from stratnb.multi.settings import OrderSettings

LOST = RetryLater("answer_lost", "the test says so")
START_MS = 60_000
STOP = at.REASON_EXIT + 1.0
RUNNER = asyncio.Runner()


@pytest.fixture(autouse=True, scope="module")
def one_loop() -> Iterator[None]:
    with RUNNER:
        yield


class Paper(PaperExchange):
    """The paper exchange with a script of what goes wrong: leg and call -> errors, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.script: dict[tuple[str, str], list[BaseException]] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.now_s: Callable[[], float] = lambda: 0.0
        self.line = self._over_line

    def _over_line(self, leg: str, call: str) -> None:
        self.asked.append((leg, call, self.now_s()))
        if waiting := self.script.get((leg, call)):
            raise waiting.pop(0)

    def calls(self, call: str) -> int:
        """Return how often a call arrived or should have."""
        return sum(1 for leg, name, _ in self.asked if (leg, name) == ("ask", call))


class Kept:
    """A recorder that keeps the order of what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.stopped: Halt | None = None

    def order(self, work: Working) -> None:
        self.told.append((work.order_id, work.state))

    def commit(self, *, durable: bool) -> None:
        self.told.append(("commit", "durable" if durable else ""))

    def changed(self) -> None:
        self.told.append(("changed", ""))

    def check_sending(self) -> None:
        if self.stopped is not None:
            raise self.stopped


class PlainBook:
    """As much of a book as orders need."""

    def __init__(self, row: Any, reason: Callable[[float], str]) -> None:
        self.row, self.reason, self.correlation = row, reason, ""

    @property
    def quantity(self) -> float:
        return float(self.row[at.B_QUANTITY])


class Bench:
    """Orders of one strategy on a clock of their own; every wait takes no time."""

    def __init__(self, **settings: Any) -> None:
        self.clock_s, self.now_ms = 0.0, START_MS
        self.exchange, self.kept = Paper(), Kept()
        self.exchange.now_s = lambda: self.clock_s
        self.trouble: list[str] = []
        self.fills: list[tuple[str, float]] = []
        self.events: list[str] = []
        self.orders = Orders(
            self.exchange,
            self.kept,  # type: ignore[arg-type]
            settings=OrderSettings(**settings),
            now_ms=lambda: self.now_ms,
            on_fills=self._booked,
            on_trouble=lambda work, what: self.trouble.append(what),
            clock=Clock(now_s=lambda: self.clock_s, sleep=self._wait),
        )
        self.orders.generation = 3
        self.row = np.zeros(at.W_BOOK)
        book = PlainBook(self.row, self._reason)
        events = SimpleNamespace(publish=lambda type_, **_: self.events.append(type_))
        context = SimpleNamespace(strategy_id="s@AAA/USDT#main", symbol="AAA/USDT", book=book, events=events)
        self.lane: Any = SimpleNamespace(context=context, code="abc234", order=None, changed=False)

    @staticmethod
    def _reason(code: float) -> str:
        return {at.REASON_ENTRY: "entry", at.REASON_MANUAL: "manual", STOP: "stop"}.get(code, f"r{code:g}")

    def _booked(self, work: Working, rows: Any) -> None:
        for row in rows:
            work.booked += 1
            signed = float(row[at.F_SIGN] * row[at.F_QUANTITY])
            self.row[at.B_QUANTITY] += signed
            self.fills.append((work.order_id, signed))

    async def _wait(self, delay_s: float) -> None:
        self.clock_s += delay_s
        await asyncio.sleep(0)

    def enter(self, kind: float = at.ORDER_ENTRY, reason: float = at.REASON_ENTRY) -> Working:
        """Put an order into the book and make its intent; an exit is one of a short position."""
        if kind == at.ORDER_EXIT:
            self.row[at.B_QUANTITY] = -2.0
        self.row[[at.B_ORDER, at.B_ORDER_SIGN, at.B_ORDER_QUANTITY, at.B_ORDER_REASON]] = kind, 1.0, 2.0, reason
        self.orders.place(self.lane, "c1")
        work: Working = self.lane.order
        return work

    def stop(self) -> list[Working]:
        """Touch the stop of a long position."""
        self.row[at.B_QUANTITY] = 2.0
        row = np.zeros(at.W_FILL)
        row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_REASON]] = -1.0, 2.0, 99.0, STOP
        return self.orders.touch(self.lane, row[None])

    def resolve(self, until_s: float = 120.0, *, stays: bool = False) -> None:
        """Let the clock run until every outcome is known, or until a time."""

        async def run() -> None:
            task = asyncio.create_task(self.orders.resolve())
            while self.orders.unresolved and self.clock_s < until_s and not task.done():
                await asyncio.sleep(0)
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended

        RUNNER.run(run())
        assert self.orders.unresolved is stays


# Ids.


@given(
    st.from_regex("[a-z2-7]{6}", fullmatch=True),
    st.integers(0, 36**4 - 1),
    st.sampled_from(sorted(PURPOSES)),
    st.integers(0, 36**8 - 1),
)
def test_an_id_has_25_characters_that_every_exchange_takes(code: str, gen: int, purpose: Any, number: int) -> None:
    made = order_id(code, gen, purpose, number)
    assert re.fullmatch("[a-z0-9-]{25}", made)
    _, kept, told, rest = made.split("-")
    assert (kept, int(told, 36), rest[0], int(rest[1:], 36)) == (code, gen, purpose, number)


def test_ids_are_unique_and_say_what_an_order_is_for() -> None:
    bench = Bench()
    bench.orders.sequence = 35
    made = []
    for kind, reason in ((at.ORDER_ENTRY, at.REASON_ENTRY), (at.ORDER_EXIT, at.REASON_MANUAL), (at.ORDER_EXIT, 99.0)):
        bench.lane.order = None
        made.append(bench.enter(kind, reason).order_id)
    bench.lane.order = None
    made.append(bench.enter(at.ORDER_EXIT, at.REASON_KILL).order_id)
    made.append(bench.stop()[0].order_id)
    assert [each[16] for each in made] == ["e", "m", "x", "c", "s"]
    assert len({*made}) == 5
    assert made[0] == "snb-abc234-0003-e00000010"


# The straight way.


def test_an_intent_is_kept_and_committed_before_it_is_sent() -> None:
    bench = Bench()
    work = bench.enter()
    assert bench.exchange.asked == []
    bench.orders.flush()
    told = bench.kept.told
    assert (
        told.index((work.order_id, "INTENT")) < told.index(("commit", "durable")) < told.index((work.order_id, "OPEN"))
    )
    assert bench.orders.live() == (work,)
    assert not bench.orders.waiting


def test_a_stop_is_committed_before_its_orders_are_given_out() -> None:
    bench = Bench()
    (work,) = bench.stop()
    assert bench.kept.told == [(work.order_id, "INTENT"), ("commit", "durable")]
    assert bench.exchange.asked == []
    bench.orders.send(work)
    assert (work.state, bench.fills) == ("FILLED", [(work.order_id, -2.0)])


def test_a_commit_that_fails_sends_nothing() -> None:
    bench = Bench()

    def full(*, durable: bool) -> None:
        raise Halt("journal_full", "the test says so")

    bench.enter()
    bench.kept.commit = full  # type: ignore[method-assign]
    with pytest.raises(Halt):
        bench.orders.flush()
    with pytest.raises(Halt):
        bench.stop()
    assert bench.exchange.asked == []


def test_an_entry_that_was_not_sent_yet_is_withdrawn_without_a_word() -> None:
    bench = Bench()
    work = bench.enter()
    assert bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    assert (work.state, bench.exchange.asked, bench.row[at.B_ORDER]) == ("CANCELED", [], at.ORDER_NONE)


def test_a_refusal_ends_the_order() -> None:
    bench = Bench()
    bench.exchange.script["ask", "submit"] = [Refused("below_minimum", "too small")]
    work = bench.enter()
    bench.orders.flush()
    assert (work.state, bench.row[at.B_ORDER], bench.lane.order) == ("REJECTED", at.ORDER_NONE, None)
    assert "too small" in work.error


# Unknown outcomes.


def test_a_lost_answer_is_found_again() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    assert work.state == "UNKNOWN"
    assert bench.orders.unknown("s@AAA/USDT#main") == (work,)
    assert bench.orders.unknown("another") == ()
    with pytest.raises(Refused) as caught:
        bench.orders.check_resolved("s@AAA/USDT#main")
    assert caught.value.code == "order_unresolved"
    bench.resolve()
    assert (work.state, bench.exchange.calls("submit"), bench.clock_s) == ("OPEN", 1, 0.5)
    assert bench.lane.order is work
    assert bench.trouble[-1] == "resolved"


@pytest.mark.parametrize("error", [LOST, Halt("x", "y"), ValueError("what is this?"), TimeoutError()])
def test_whatever_the_answer_was_unreadable_means_unknown(error: Exception) -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [error]
    work = bench.enter()
    bench.orders.flush()
    assert work.state == "UNKNOWN"
    bench.resolve()
    assert (work.state, bench.exchange.calls("submit")) == ("OPEN", 1)


def test_a_lost_answer_of_a_stop_is_booked_once() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    (work,) = bench.stop()
    bench.orders.send(work)
    assert bench.fills == []
    bench.resolve()
    assert (work.state, bench.fills, work.filled) == ("FILLED", [(work.order_id, -2.0)], 2.0)
    assert bench.exchange.position("AAA/USDT", START_MS) == -2.0


def test_a_lost_request_is_absent_only_after_three_answers_apart_and_the_grace() -> None:
    bench = Bench()
    bench.exchange.script["ask", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    bench.resolve(until_s=14.9, stays=True)
    assert (work.state, bench.exchange.calls("submit")) == ("UNKNOWN", 1)
    bench.resolve()
    assert work.state == "OPEN"
    assert bench.exchange.calls("submit") == 2
    again = [s for leg, call, s in bench.exchange.asked if (leg, call) == ("ask", "submit")][-1]
    queries = [s for leg, call, s in bench.exchange.asked if (leg, call) == ("ask", "query")]
    assert queries == [0.5, 1.5, 3.5, 7.5, 15.5]
    assert again == 15.5
    sent = [each for each in bench.kept.told if each == (work.order_id, "ABSENT") or each[1] == "durable"]
    assert sent[-1] == ("commit", "durable")
    assert [each for each in bench.kept.told if each[0] == work.order_id][-1] == (work.order_id, "OPEN")


def test_answers_close_together_count_once() -> None:
    bench = Bench(query_delays_s=(0.1,), absence_spacing_s=2.0, unknown_grace_s=0.0)
    bench.exchange.script["ask", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    bench.resolve()
    assert len(work.absences) == 3 or not work.absences
    queries = bench.exchange.calls("query")
    assert 40 <= queries <= 43
    assert bench.clock_s >= 4.1


def test_a_failed_query_proves_nothing() -> None:
    bench = Bench()
    bench.exchange.script["ask", "submit"] = [LOST]
    bench.exchange.script["ask", "query"] = [LOST] * 8
    work = bench.enter()
    bench.orders.flush()
    bench.resolve(until_s=90.0, stays=True)
    assert (work.state, work.absences) == ("UNKNOWN", [])
    bench.resolve(until_s=400.0)
    assert (work.state, bench.exchange.calls("submit")) == ("OPEN", 2)


def test_a_duplicate_is_asked_for_and_adopted() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    bench.orders._unknown.clear()
    bench.orders.send(work)
    assert work.state == "UNKNOWN"
    bench.resolve()
    assert (work.state, len(bench.exchange.working(START_MS))) == ("OPEN", 1)


def test_notices_come_after_one_and_ten_minutes_and_once_each() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    bench.exchange.script["ask", "query"] = [LOST] * 10_000
    bench.enter()
    bench.orders.flush()
    for until_s, told in ((59.0, []), (95.0, ["notice"]), (590.0, ["notice"]), (1_500.0, ["notice", "reduce"])):
        bench.resolve(until_s=until_s, stays=True)
        assert [each for each in bench.trouble if each in ("notice", "reduce")] == told


def test_one_that_is_asked_seldom_does_not_hold_up_a_new_one() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    bench.exchange.script["ask", "query"] = [LOST] * 12
    bench.enter()
    bench.orders.flush()
    bench.resolve(until_s=61.0, stays=True)

    async def run() -> float:
        task = asyncio.create_task(bench.orders.resolve())
        await asyncio.sleep(0)
        bench.exchange.script["ask", "query"] = []
        bench.exchange.script["answer", "submit"] = [LOST]
        (work,) = bench.stop()
        began_s = bench.clock_s
        bench.orders.send(work)
        while work.state == "UNKNOWN":
            await asyncio.sleep(0)
        task.cancel()
        return bench.clock_s - began_s

    assert RUNNER.run(run()) <= 1.5


# Cancels.


def test_a_working_entry_is_canceled() -> None:
    bench = Bench()
    work = bench.enter()
    bench.orders.flush()
    assert bench.orders.withdraw(bench.lane)
    assert not bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    assert (work.state, bench.lane.order, bench.orders.live()) == ("CANCELED", None, ())
    assert bench.exchange.working(START_MS) == ()


@pytest.mark.parametrize("leg", ["ask", "answer"])
def test_a_lost_cancel_is_asked_for_and_sent_again_where_it_must_be(leg: str) -> None:
    bench = Bench()
    work = bench.enter()
    bench.orders.flush()
    bench.exchange.script[leg, "cancel"] = [LOST]
    bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    assert work.state == "UNKNOWN"
    bench.resolve()
    assert work.state == "CANCELED"
    assert bench.exchange.calls("cancel") == (2 if leg == "ask" else 1)
    assert bench.exchange.working(START_MS) == ()


def test_an_unknown_entry_that_is_withdrawn_is_canceled_when_it_turns_up() -> None:
    bench = Bench()
    bench.exchange.script["answer", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    assert bench.exchange.calls("cancel") == 0
    bench.resolve()
    assert (work.state, bench.exchange.calls("cancel")) == ("CANCELED", 1)


def test_an_unknown_entry_that_is_withdrawn_and_never_arrived_is_not_sent_again() -> None:
    bench = Bench()
    bench.exchange.script["ask", "submit"] = [LOST]
    work = bench.enter()
    bench.orders.flush()
    bench.orders.withdraw(bench.lane)
    bench.resolve()
    assert (work.state, bench.exchange.calls("submit")) == ("CANCELED", 1)


def test_a_fill_that_was_faster_than_the_cancel_is_booked() -> None:
    bench = Bench()
    work = bench.enter()
    bench.orders.flush()
    fill = np.zeros(at.W_FILL)
    fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0, 2.0, 100.0
    bench.exchange.book.execute(work.order_id, fill[None], START_MS)
    bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    bench.resolve()
    assert (work.state, bench.fills, work.filled) == ("FILLED", [(work.order_id, 2.0)], 2.0)


def test_a_canceled_order_may_carry_fills() -> None:
    bench = Bench()
    work = bench.enter()
    bench.orders.flush()
    bench.exchange.script["answer", "cancel"] = [LOST]
    bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    fill = np.zeros(at.W_FILL)
    fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0, 0.5, 100.0
    told = OrderReport(work.order_id, "AAA/USDT", "CANCELED", (Execution(1, "f", work.order_id, fill),))
    bench.exchange.query = lambda order_id, until_ms: told  # type: ignore[method-assign]
    bench.resolve()
    assert (work.state, bench.fills, work.filled) == ("CANCELED", [(work.order_id, 0.5)], 0.5)


# Parts, and too much.


def part(work: Working, number: int, quantity: float) -> Execution:
    """Return an execution of an order."""
    fill = np.zeros(at.W_FILL)
    fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0 if work.order.side == "buy" else -1.0, quantity, 100.0
    return Execution(number, f"x{number}", work.order_id, fill)


def told(bench: Bench, work: Working, state: Any, *parts: Execution) -> bool:
    return bench.orders.hear(OrderReport(work.order_id, "AAA/USDT", state, parts))


def working(bench: Bench) -> Working:
    """Return an entry order of two units that rests."""
    work = bench.enter()
    bench.row[at.B_RESERVED] = 200.0
    bench.orders.flush()
    assert work.state == "OPEN"
    return work


def test_a_part_is_booked_when_it_is_told_and_the_rest_works_on() -> None:
    bench = Bench()
    work = working(bench)
    assert told(bench, work, "PARTIAL", part(work, 1, 0.5))
    assert (work.state, work.filled, bench.fills) == ("PARTIAL", 0.5, [(work.order_id, 0.5)])
    assert (bench.row[at.B_ORDER_QUANTITY], bench.row[at.B_RESERVED]) == (1.5, 150.0)
    assert bench.lane.order is work
    assert not bench.orders.unresolved
    assert told(bench, work, "FILLED", part(work, 1, 0.5), part(work, 2, 1.5))
    assert (work.state, work.filled, bench.lane.order) == ("FILLED", 2.0, None)
    assert [quantity for _, quantity in bench.fills] == [0.5, 1.5]
    assert bench.row[at.B_ORDER] == at.ORDER_NONE


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_parts_in_any_order_and_number_of_tellings_are_booked_once_each(sizes: list[int], data: Any) -> None:
    bench = Bench()
    work = working(bench)
    whole = sum(sizes)
    parts = [part(work, number, 2.0 * size / whole) for number, size in enumerate(sizes)]
    heard: set[int] = set()
    for _ in range(data.draw(st.integers(0, 6))):
        some = data.draw(st.lists(st.sampled_from(range(len(parts))), max_size=6))
        told(bench, work, data.draw(st.sampled_from(["OPEN", "PARTIAL"])), *(parts[n] for n in some))
        heard |= {*some}
        assert work.filled == pytest.approx(sum(2.0 * sizes[n] / whole for n in heard))
        assert work.state == "PARTIAL" or not heard
    told(bench, work, "FILLED", *parts)
    assert len(bench.fills) == len(parts) == work.booked
    assert bench.row[at.B_QUANTITY] == pytest.approx(2.0)
    assert not bench.trouble
    told(bench, work, "FILLED", *parts)
    assert len(bench.fills) == len(parts)


def test_a_part_is_asked_for_again_until_the_order_has_ended() -> None:
    bench = Bench()
    work = working(bench)
    answers = [("PARTIAL", [part(work, 1, 0.5)]), ("PARTIAL", [part(work, 1, 0.5), part(work, 2, 0.5)])]
    answers += [("FILLED", [part(work, number, 0.5) for number in (1, 2, 3, 4)])]
    asked: list[float] = []

    def query(order_id: str, until_ms: int) -> OrderReport:
        state, parts = answers[min(len(asked), 2)]
        asked.append(bench.clock_s)
        return OrderReport(order_id, "AAA/USDT", state, tuple(parts))  # type: ignore[arg-type]

    bench.exchange.query = query  # type: ignore[method-assign]
    told(bench, work, "PARTIAL")

    async def run() -> None:
        task = asyncio.create_task(bench.orders.resolve())
        while not work.is_final:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    RUNNER.run(run())
    assert (work.filled, len(bench.fills), len(asked)) == (2.0, 4, 3)


def test_a_part_that_cannot_be_asked_for_is_not_an_outcome_that_is_unknown() -> None:
    """Its state is known as of before, however long the exchange is silent: nobody is told, nothing is reduced."""
    bench = Bench()
    work = working(bench)
    bench.clock_s = 5_000.0
    bench.exchange.script["ask", "query"] = [LOST] * 50
    told(bench, work, "PARTIAL", part(work, 1, 0.5))

    async def run() -> None:
        task = asyncio.create_task(bench.orders.resolve())
        while bench.exchange.calls("query") < 40:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    RUNNER.run(run())
    assert (work.state, bench.trouble, bench.orders.unresolved) == ("PARTIAL", [], False)


def test_an_order_with_a_part_that_the_exchange_does_not_know_any_more_is_never_sent_again() -> None:
    bench = Bench()
    work = working(bench)
    told(bench, work, "PARTIAL", part(work, 1, 0.5))
    bench.exchange.query = lambda order_id, until_ms: None  # type: ignore[method-assign]

    async def run() -> None:
        task = asyncio.create_task(bench.orders.resolve())
        while not work.is_final and bench.clock_s < 500.0:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    RUNNER.run(run())
    assert (work.state, work.filled, bench.exchange.calls("submit")) == ("CANCELED", 0.5, 1)
    assert (bench.lane.order, bench.row[at.B_ORDER], bench.row[at.B_QUANTITY]) == (None, at.ORDER_NONE, 0.5)
    assert "lost" in bench.trouble


def test_the_rest_of_an_entry_nobody_wants_is_canceled_and_what_it_filled_meanwhile_is_booked() -> None:
    bench = Bench()
    work = working(bench)
    told(bench, work, "PARTIAL", part(work, 1, 0.5))
    bench.exchange.script["ask", "query"] = [LOST]
    bench.orders.withdraw(bench.lane)
    bench.orders.flush()
    assert work.state == "UNKNOWN"
    ended = OrderReport(work.order_id, "AAA/USDT", "CANCELED", (part(work, 1, 0.5), part(work, 2, 0.25)))
    bench.exchange.query = lambda order_id, until_ms: ended  # type: ignore[method-assign]
    bench.resolve()
    assert (work.state, work.filled, bench.row[at.B_QUANTITY]) == ("CANCELED", 0.75, 0.75)
    told(bench, work, "CANCELED", part(work, 3, 0.25))
    assert (work.state, work.filled, bench.row[at.B_QUANTITY]) == ("CANCELED", 1.0, 1.0)
    assert not bench.trouble.count("overfill")


def test_an_entry_that_fills_too_much_says_how_much() -> None:
    bench = Bench()
    work = working(bench)
    told(bench, work, "FILLED", part(work, 1, 2.0), part(work, 2, 0.5))
    assert (work.excess, bench.trouble, work.filled) == (0.5, ["overfill"], 2.5)
    told(bench, work, "FILLED", part(work, 3, 0.25))
    assert (work.excess, bench.trouble, bench.row[at.B_QUANTITY]) == (0.25, ["overfill"] * 2, 2.75)


def test_two_closing_orders_that_both_fill_leave_a_rest_that_is_told() -> None:
    bench = Bench()
    one, two = bench.stop()[0], bench.stop()[0]
    bench.orders.send(one)
    assert (bench.row[at.B_QUANTITY], bench.trouble) == (0.0, [])
    bench.orders.send(two)
    assert (bench.row[at.B_QUANTITY], bench.trouble, two.excess) == (-2.0, ["overfill"], 2.0)


@pytest.mark.parametrize("held", [2.0, 0.0, -1.9])
def test_an_order_that_closes_more_than_its_strategy_has_is_denied_and_never_sent(held: float) -> None:
    bench = Bench()
    bench.row[[at.B_ORDER, at.B_ORDER_SIGN, at.B_ORDER_QUANTITY, at.B_ORDER_REASON]] = at.ORDER_EXIT, 1.0, 2.0, STOP
    bench.row[at.B_QUANTITY] = held
    bench.orders.place(bench.lane, "c1")
    bench.orders.flush()
    ((key, state),) = {key: state for key, state in bench.kept.told if key != "commit"}.items()
    assert (state, key[16], bench.trouble) == ("DENIED", "x", ["denied"])
    assert (bench.exchange.asked, bench.lane.order, bench.row[at.B_ORDER]) == ([], None, at.ORDER_NONE)
    assert bench.orders.live() == ()


# After a restart.


def adopted(bench: Bench, state: Any, *, created_ms: int = START_MS, row: Any = None, rests: bool = False) -> Working:
    """Take over an order of an earlier run."""
    order = Order(
        "snb-abc234-0001-e00000009", "s@AAA/USDT#main", "AAA/USDT", "buy", 2.0, False, "entry", created_ms, "e"
    )
    work = Working(order, bench.lane, "c0", row, state=state)
    if rests:
        bench.lane.order = work
        bench.row[at.B_ORDER] = at.ORDER_ENTRY
    bench.orders.adopt([work])
    return work


@pytest.mark.parametrize("state", ["INTENT", "SENT", "UNKNOWN", "ABSENT"])
def test_orders_of_an_earlier_run_without_an_answer_are_asked_for(state: Any) -> None:
    bench = Bench()
    work = adopted(bench, state, rests=True)
    assert work.state == "UNKNOWN"
    bench.resolve()
    assert (work.state, bench.exchange.calls("submit")) == ("OPEN", 1)


def test_an_order_that_rests_and_is_wanted_goes_on_resting() -> None:
    bench = Bench()
    work = adopted(bench, "OPEN", rests=True)
    assert not bench.orders.unresolved
    assert bench.orders.live() == (work,)


def test_an_order_that_rests_and_is_wanted_by_nobody_has_lost_its_cancel() -> None:
    bench = Bench()
    work = adopted(bench, "OPEN")
    bench.exchange.book.accept(work.order, None)
    bench.resolve()
    assert (work.state, bench.exchange.working(START_MS)) == ("CANCELED", ())


def test_intents_of_an_instant_that_is_taken_again_are_made_again_under_their_ids() -> None:
    bench = Bench()
    work = adopted(bench, "INTENT", created_ms=START_MS + 1)
    assert not bench.orders.unresolved
    bench.now_ms += 1
    assert bench.enter() is work
    assert bench.orders.sequence == 0


def test_an_intent_that_is_not_made_again_is_asked_for() -> None:
    bench = Bench()
    fill = np.zeros(at.W_FILL)
    fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0, 2.0, 100.0
    work = adopted(bench, "INTENT", created_ms=START_MS + 1, row=fill)
    bench.exchange.book.accept(work.order, fill)
    bench.now_ms += 1
    bench.orders.flush()
    assert not bench.orders.unresolved
    bench.now_ms += 1
    bench.orders.flush()
    assert work.state == "UNKNOWN"
    bench.resolve()
    assert bench.fills == [(work.order_id, 2.0)]


# All of it together.


@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "answer"]), st.sampled_from(["submit", "cancel", "query"])), max_size=12
    ),
    st.data(),
)
def test_whatever_is_lost_every_order_ends_and_is_booked_once(lost: list[tuple[str, str]], data: Any) -> None:
    bench = Bench()
    for leg, call in lost:
        bench.exchange.script.setdefault((leg, call), []).append(LOST)
    for what in data.draw(st.lists(st.sampled_from(["enter", "withdraw", "stop", "fill"]), max_size=12)):
        if what == "enter" and bench.lane.order is None:
            bench.enter()
        elif what == "withdraw":
            bench.orders.withdraw(bench.lane)
        elif what == "stop":
            for work in bench.stop():
                bench.orders.send(work)
        elif what == "fill" and bench.lane.order is not None and bench.lane.order.state == "OPEN":
            work, fill = bench.lane.order, np.zeros(at.W_FILL)
            fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = 1.0, 2.0, 100.0
            rows = bench.exchange.book.execute(work.order_id, fill[None], bench.now_ms)
            bench.orders.finish(work, rows)
            bench.row[at.B_ORDER] = at.ORDER_NONE
            bench._booked(work, rows)
        bench.orders.flush()
        bench.resolve(until_s=bench.clock_s + 10_000)
        bench.now_ms += 1
    told = {each.fill_id.rpartition(".")[0] for each in bench.exchange.book.executions(0, bench.now_ms)}
    assert len(bench.fills) == len({key for key, _ in bench.fills})
    assert {key for key, _ in bench.fills} == told
    assert sum(quantity for _, quantity in bench.fills) == bench.exchange.position("AAA/USDT", bench.now_ms)
    resting = {each.order_id for each in bench.exchange.working(bench.now_ms)}
    assert resting == {work.order_id for work in bench.orders.live()}
    assert all(work.state == "OPEN" for work in bench.orders.live())
    last = {key: state for key, state in bench.kept.told if key.startswith("snb")}
    assert all(state in FINAL_STATES for key, state in last.items() if key not in resting)
