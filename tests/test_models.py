"""Registry, sub-ledgers and switches against reference models (the cache's is in test_cache)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stratnb.engine import Engine
from stratnb.errors import Refused, StratnbError
from stratnb.events import EventBus, StrategyBus
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.records import TRANSITIONS, StrategyRecord, SwitchRow
from stratnb.multi.registry import Registry
from stratnb.multi.store import MemoryStore
from stratnb.services.positions import Book, PositionManager
from stratnb.services.transfers import opened
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config
from trading_cases import FREE, document, market, registered, wander

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


# The registry.

STATES = sorted(TRANSITIONS)
NAMES = st.sampled_from("abcd")


class Registered(RuleBasedStateMachine):
    """States of at most three strategies; the model is a mapping and the published transitions."""

    def __init__(self) -> None:
        super().__init__()
        self.store, self.clock = MemoryStore(), 0
        self.registry = Registry(self.store, self.tick, max_strategies=3)
        self.mode = "exclusive"
        self.states: dict[str, str] = {}
        self.active: list[str] = []

    def tick(self) -> int:
        self.clock += 1_000_000
        return self.clock

    def key(self, name: str) -> str:
        return f"{name}@AAA/USDT#main"

    def take(self, states: dict[str, str]) -> bool:
        """Return whether the model allows a change, and take it over."""
        for name, state in states.items():
            if name not in self.states or state == "removed" or state not in TRANSITIONS[self.states[name]]:
                return False
        active = [name for name in self.active if name not in states]
        active += [name for name, state in states.items() if state == "active"]
        if self.mode == "exclusive" and len(active) > 1:
            return False
        self.states.update(states)
        self.active = active
        return True

    def same(self, allowed: bool, call: Any) -> None:
        if allowed:
            call()
        else:
            with pytest.raises(StratnbError):
                call()

    @rule(name=NAMES)
    def register(self, name: str) -> None:
        record = StrategyRecord(self.key(name), "", name, "1", "AAA/USDT", "main", "active", 0)
        allowed = name not in self.states and len(self.states) < 3
        self.same(allowed, lambda: self.registry.register(record))
        if allowed:
            self.states[name] = "dormant"

    @rule(name=NAMES)
    def unregister(self, name: str) -> None:
        allowed = self.states.get(name) in ("dormant", "failed")
        self.same(allowed, lambda: self.registry.unregister(self.key(name)))
        if allowed:
            del self.states[name]

    @rule(name=NAMES, state=st.sampled_from(STATES))
    def set_state(self, name: str, state: Any) -> None:
        self.same(self.take({name: state}), lambda: self.registry.set_state(self.key(name), state))

    @rule(names=st.permutations("abcd"), states=st.tuples(*[st.sampled_from(STATES)] * 2))
    def switch(self, names: list[str], states: tuple[str, str]) -> None:
        changes = dict(zip(names[:2], states, strict=True))
        row = SwitchRow(1, None, self.key(names[0]), "keep", "commit", 0)
        by_id: Any = {self.key(name): state for name, state in changes.items()}
        self.same(self.take(changes), lambda: self.registry.commit_switch(row, by_id))

    @rule(mode=st.sampled_from(["exclusive", "parallel"]))
    def set_mode(self, mode: Any) -> None:
        allowed = mode == "parallel" or len(self.active) < 2
        self.same(allowed, lambda: self.registry.set_mode(mode))
        self.mode = mode if allowed else self.mode

    @invariant()
    def agrees(self) -> None:
        told = {record.name: record.state for record in self.registry.list()}
        assert told == self.states
        assert list(told) == list(self.states), "in the order of registration"
        assert self.registry.active_ids() == tuple(map(self.key, self.active))
        stored = {r.name: r.state for r in self.store.records() if r.state != "removed"}
        assert stored == self.states
        again = Registry(self.store, self.tick, mode="parallel")
        assert again.active_ids() == self.registry.active_ids()


# Sub-ledgers.

OWNERS = 4
CASH = 1e6
PRICES = st.integers(5_000, 20_000).map(lambda cents: cents / 100.0)
QUANTITIES = st.integers(-5_000, 5_000).filter(bool).map(lambda lots: lots / 1000.0)
OWNER = st.integers(0, OWNERS - 1)


class Ledgers(RuleBasedStateMachine):
    """Fills and transfers of several owners in one market; the model knows cash flows and lots."""

    @initialize()
    def open(self) -> None:
        plan = build_plan(build_config(document(market={"kind": "linear"})).config, market(kind="linear"))
        self.plan, bus = plan, EventBus(lambda: 0)
        self.positions = PositionManager(CASH, slots=OWNERS, limits=FREE)
        names = [f"o{k}" for k in range(OWNERS)]
        self.books: list[Book] = [
            self.positions.open(name, plan, market=0, events=StrategyBus(bus, name, "AAA/USDT")) for name in names
        ]
        self.flow, self.now_ms, self.mark = 0.0, 60_000.0, 100.0
        self.lots: list[tuple[float, float]] = [(0.0, 0.0)] * OWNERS
        self.realized, self.fees, self.closed = [0.0] * OWNERS, [0.0] * OWNERS, [0] * OWNERS
        self.crossed = [False] * OWNERS
        self.settle(100.0)

    @rule(who=OWNER, quantity=QUANTITIES, price=PRICES)
    def fill(self, who: int, quantity: float, price: float) -> None:
        self.book(who, quantity, price)

    @rule(who=OWNER, price=PRICES)
    def close(self, who: int, price: float) -> None:
        if self.lots[who][0]:
            self.book(who, -self.lots[who][0], price)

    def book(self, who: int, quantity: float, price: float) -> None:
        fee = 0.001 * abs(quantity) * price
        row = np.zeros(at.W_FILL)
        row[: at.F_REALIZED] = math.copysign(1.0, quantity), abs(quantity), price, fee, self.now_ms, at.REASON_MANUAL
        self.positions.apply(self.books[who], row)
        self.flow -= quantity * price + fee
        self.fees[who] += fee
        held, average = self.lots[who]
        if held * quantity >= 0.0:
            average = (held * average + quantity * price) / (held + quantity)
        else:
            ends = min(abs(held), abs(quantity))
            self.realized[who] += ends * (price - average) * math.copysign(1.0, held)
            self.closed[who] += abs(quantity) >= abs(held)
            self.crossed[who] |= abs(quantity) > abs(held)
            average = price if abs(quantity) > abs(held) else average
        rest = held + quantity
        self.lots[who] = (rest, average) if rest else (0.0, 0.0)

    @rule(old=OWNER, new=OWNER)
    def transfer(self, old: int, new: int) -> None:
        if old == new or not self.lots[old][0] or self.lots[new][0]:
            return
        self.settle(self.mark)
        before = self.positions.account[at.A_EQUITY]
        giver, taker = self.books[old], self.books[new]
        made = opened(taker.row, giver.row, self.now_ms)
        given, taken = self.positions.transfer(giver, taker, made, reference="t", time_ms=int(self.now_ms))
        assert given[at.F_SIGN] * given[at.F_QUANTITY] + taken[at.F_SIGN] * taken[at.F_QUANTITY] == 0.0
        self.lots[old], self.lots[new] = (0.0, 0.0), self.lots[old]
        assert self.positions.account[at.A_EQUITY] == pytest.approx(before, rel=1e-12)

    @rule(price=PRICES)
    def settle(self, price: float) -> None:
        self.now_ms += 60_000.0
        self.mark = price
        candle = np.array([[price, price, price, price, 1.0, self.now_ms]])
        loop.settle_all(self.positions.books, self.positions.account, candle, np.ones(1), self.now_ms + 60_000.0)

    @invariant()
    def sums_are_the_account(self) -> None:
        if not hasattr(self, "books"):
            return
        for who, book in enumerate(self.books):
            held, average = self.lots[who]
            assert book.quantity == pytest.approx(held, rel=1e-9, abs=1e-12)
            if held:
                assert book.row[at.B_AVERAGE] == pytest.approx(average, rel=1e-9)
            scale = 1e-9 * max(1.0, abs(self.flow))
            assert book.row[at.B_REALIZED] == pytest.approx(self.realized[who], rel=1e-9, abs=scale)
            assert book.row[at.B_COSTS] == pytest.approx(self.fees[who], rel=1e-9)
            assert book.row[at.B_TRADES] == self.closed[who]
            assert self.crossed[who] or len(book.trades()) == self.closed[who]
        net = sum(book.quantity for book in self.books)
        marked = sum(b.row[at.B_REALIZED] - b.row[at.B_COSTS] + open_pnl(b, self.mark) for b in self.books)
        assert CASH + marked == pytest.approx(CASH + self.flow + net * self.mark, rel=1e-9)


def open_pnl(book: Book, mark: float) -> float:
    return float(book.quantity * (mark - book.row[at.B_AVERAGE])) if book.quantity else 0.0


# Switches.

A, B, C = "a@AAA/USDT#main", "b@AAA/USDT#main", "c@BBB/USDT#main"
KEYS = st.sampled_from([A, B, C])
ROUTED = ("active", "managing", "suspended")


class Switches(RuleBasedStateMachine):
    """An engine whose strategies trade at random while it is switched; the model has the states between instants."""

    @initialize(mode=st.sampled_from(["exclusive", "parallel"]), seed=st.integers(1, 5))
    def open(self, mode: Any, seed: int) -> None:
        candles = [wander(600, seed), wander(600, seed + 10, symbol="BBB/USDT")]
        self.engine = Engine(
            "model", candles=candles, markets=[market(), market("BBB/USDT")], cash=1e6, limits=FREE, mode=mode
        )
        for key in (A, B, C):
            exits = {"stop_loss": {"fraction": 0.01}, "time_exit": {"max_candles": 20}}
            self.engine.add(document(key[0], exits=exits), key[2:10])
        self.mode, self.job = mode, None

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()

    def states(self) -> dict[str, str]:
        return {record.strategy_id: record.state for record in self.engine.list()}

    def book(self, key: str) -> Book:
        return self.engine.desk.lane(key).context.book

    @rule(count=st.integers(1, 15))
    def step(self, count: int) -> None:
        self.engine.step(count)
        if self.job is not None and self.job.done:
            self.job = None

    @rule()
    def hold(self) -> None:
        """Go on until an active strategy has a position."""
        active = self.engine.desk.registry.active_ids()
        for _ in range(40):
            if not active or any(self.book(key).quantity for key in active):
                break
            self.step(1)

    @precondition(lambda self: hasattr(self, "engine") and self.job is None)
    @rule(to=KEYS, named=KEYS, policy=st.sampled_from(["keep", "adopt", "close", "refuse"]), holds=st.booleans())
    def switch(self, to: str, named: str, policy: Any, holds: bool) -> None:
        if holds:
            self.hold()
        before, held = self.states(), {key: self.book(key).quantity for key in (A, B, C)}
        running = [key for key, state in before.items() if state in ("active", "suspended") and key != to]
        old = named if self.mode == "parallel" and running else running[0] if running else None
        told = self.engine.switch(to, policy=policy, from_id=old if self.mode == "parallel" else None)
        after = self.states()
        if before[to] == "active":
            assert told.phase == "noop"
            assert after == before
            return
        if not told.success:
            assert told.error is not None
            assert after == before
            assert {key: self.book(key).quantity for key in (A, B, C)} == held
            return
        expected = dict(before) | {to: "active"}
        moved = dict(held)
        if old is not None and held[old]:
            if policy == "adopt":
                moved[to] += moved[old]
            moved[old] = held[old] if policy == "keep" else 0.0
        if old is not None:
            expected[old] = "managing" if moved[old] else "dormant"
        assert after == expected
        assert {key: self.book(key).quantity for key in (A, B, C)} == moved

    @precondition(lambda self: hasattr(self, "engine") and self.mode == "exclusive" and self.job is None)
    @rule(to=KEYS)
    def wait_flat(self, to: str) -> None:
        self.job = self.engine.submit("switch", to, policy="wait_flat", wait_s=900)
        while not self.job.done and not any(lane.waits for lane in self.engine.desk.lanes()):
            self.engine.list()
        if self.job.done:
            self.job = None

    @precondition(lambda self: hasattr(self, "engine") and self.job is not None)
    @rule()
    def cancel(self) -> None:
        before = self.states()
        self.job.cancel()
        while "preparing" in self.states().values():
            pass
        self.job = None
        left = {key: "dormant" if state == "preparing" else state for key, state in before.items()}
        assert self.states() in (left, before)

    @precondition(lambda self: hasattr(self, "engine") and self.job is None)
    @rule(key=KEYS, policy=st.sampled_from(["keep", "close"]))
    def deactivate(self, key: str, policy: Any) -> None:
        if self.states()[key] in ("active", "suspended"):
            self.engine.deactivate(key, policy=policy)
            assert self.states()[key] == ("managing" if self.book(key).quantity else "dormant")

    @rule(key=KEYS)
    def pause_or_resume(self, key: str) -> None:
        state = self.states()[key]
        if state == "active":
            self.engine.pause(key)
        elif state == "suspended":
            self.engine.resume(key)

    @invariant()
    def one_owner_and_right_sums(self) -> None:
        if not hasattr(self, "engine"):
            return
        desk, states = self.engine.desk, self.states()
        active = [key for key, state in states.items() if state == "active"]
        assert desk.registry.active_ids() in (tuple(active), tuple(reversed(active)), desk.registry.active_ids())
        if self.mode == "exclusive":
            assert len(active) <= 1
        for symbol in ("AAA/USDT", "BBB/USDT"):
            held = sum(self.book(key).quantity for key in states if symbol in key)
            assert held == pytest.approx(desk.exchange.position(symbol, desk.now_ms()), rel=1e-9, abs=1e-9)
        for key, state in states.items():
            if self.book(key).quantity:
                assert state in ROUTED
            assert len(self.book(key).trades()) == self.book(key).row[at.B_TRADES]
            may = self.book(key).row[at.B_ENTRIES] == at.ENTRIES_ON
            assert may == (state == "active" and desk.lane(key).waits is None)
        rows = [self.book(key).row for key in states]
        summed = 1e6 + sum(row[at.B_EQUITY] - row[at.B_CAPITAL] for row in rows)
        assert desk.services.positions.account[at.A_EQUITY] == pytest.approx(summed, rel=1e-9)
        unfinished = [row for row in desk.store.switches() if row.success is None]
        assert len(unfinished) == (self.job is not None)


def bounded(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> Any:
    case = machine.TestCase
    case.settings = settings(QUICK, max_examples=examples, stateful_step_count=steps)
    return case


TestRegistry = bounded(Registered, 60, 30)
TestLedgers = bounded(Ledgers, 40, 30)
TestSwitches = bounded(Switches, 40, 30)


def test_a_refused_change_of_the_registry_is_told() -> None:
    registry = Registry(MemoryStore(), lambda: 0)
    registry.register(StrategyRecord("a@AAA/USDT#main", "", "a", "1", "AAA/USDT", "main", "active", 0))
    with pytest.raises(Refused) as caught:
        registry.set_state("a@AAA/USDT#main", "active")
    assert caught.value.code == "illegal_transition"
