"""The registry agrees with a reference model and is the only place that says who is active."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count, pairwise, product
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.multi.records import TRANSITIONS, State, SwitchRow
from stratnb.multi.registry import Registry, StrategyRecord, strategy_id
from stratnb.multi.store import MemoryStore

STATES: tuple[State, ...] = ("dormant", "preparing", "active", "managing", "suspended", "failed")
ROUTES: dict[str, tuple[State, ...]] = {
    "dormant": (),
    "preparing": ("preparing",),
    "active": ("preparing", "active"),
    "managing": ("preparing", "active", "managing"),
    "suspended": ("preparing", "active", "suspended"),
    "failed": ("preparing", "failed"),
}


def record(name: str = "alpha", symbol: str = "BTC/USDT", label: str = "main", **changes: Any) -> StrategyRecord:
    made = StrategyRecord(strategy_id(name, symbol, label), "", name, "1", symbol, label, "dormant", 5)
    return replace(made, **changes)


def registry(store: MemoryStore | None = None, **options: Any) -> Registry:
    ticks = count(1_000_000_000, 1_000_000)
    return Registry(store or MemoryStore(), lambda: next(ticks), **options)


def bring(table: Registry, key: str, state: str) -> None:
    for step in ROUTES[state]:
        table.set_state(key, step)


def refused(code: str) -> Any:
    return pytest.raises(StratnbError, match=rf"\[{code}\]")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (("a", "BTC/USDT", "Main"), "label_invalid"),
        (("a", "BTC/USDT", ""), "label_invalid"),
        (("a", "BTC/USDT", "x" * 33), "label_invalid"),
        (("a", "BTC/USDT", "-x"), "label_invalid"),
        (("a", "BTC/USDT", "x\n"), "label_invalid"),
        (("A", "BTC/USDT", "main"), "name_invalid"),
        (("<img>", "BTC/USDT", "main"), "name_invalid"),
        (("a", "", "main"), "symbol_invalid"),
        (("a", "BTC#x", "main"), "symbol_invalid"),
    ],
)
def test_a_malformed_id_is_refused_with_the_rule(parts: tuple[str, str, str], code: str) -> None:
    with refused(code) as caught:
        strategy_id(*parts)
    assert isinstance(caught.value, ConfigError) and caught.value.hint


def test_ids_are_stable_and_labels_may_carry_marks() -> None:
    assert strategy_id("simple-levels", "BTC/USDT:USDT") == "simple-levels@BTC/USDT:USDT#main"
    assert strategy_id("a", "BTC/USDT", "x_1-" + "y" * 28).endswith("#x_1-" + "y" * 28)


def test_registering_makes_it_dormant_saves_it_and_gives_a_code() -> None:
    store = MemoryStore()
    table = registry(store)
    stored = table.register(record(state="active", activated_ms=3))
    assert (stored.state, stored.activated_ms) == ("dormant", None) and re.fullmatch("[a-z2-7]{6}", stored.code)
    assert table.get(stored.strategy_id) is stored is store.records()[0] and table.has(stored.strategy_id)
    with pytest.raises(AttributeError):
        stored.state = "active"  # type: ignore[misc]


def test_what_may_not_be_registered() -> None:
    table = registry(max_strategies=2, allowed=("alpha", "beta"))
    table.register(record())
    with refused("duplicate_strategy"):
        table.register(record())
    with refused("name_not_allowed"):
        table.register(record("gamma"))
    with refused("strategy_id"):
        table.register(replace(record("beta"), strategy_id="beta@BTC/USDT"))
    table.register(record("beta"))
    with refused("registry_full"):
        table.register(record("beta", "ETH/USDT"))
    alone = registry(one_per_symbol=True)
    alone.register(record())
    with refused("symbol_conflict"):
        alone.register(record("beta"))
    alone.register(record("beta", "ETH/USDT"))
    for wrong in ({"max_strategies": 0}, {"max_strategies": 1001}, {"history_size": -1}):
        with pytest.raises(ConfigError):
            registry(**wrong)


def test_an_unknown_id_is_named_with_the_nearest() -> None:
    table = registry()
    key = table.register(record()).strategy_id
    for call in (table.get, table.conflicts, table.unregister, lambda key: table.set_state(key, "preparing")):
        with refused("unknown_strategy") as caught:
            call("alpah@BTC/USDT#main")
        assert key in str(caught.value)
    assert not table.has("alpah@BTC/USDT#main")


@pytest.mark.parametrize(("before", "after"), [*product(STATES, (*STATES, "removed"))])
def test_only_the_specified_transitions_are_legal(before: str, after: State) -> None:
    store = MemoryStore()
    table = registry(store)
    key = table.register(record()).strategy_id
    bring(table, key, before)
    if after in TRANSITIONS[before] and after != "removed":
        assert table.set_state(key, after).state == after == table.get(key).state == store.records()[0].state
        return
    kept = table.get(key)
    with refused("illegal_transition") as caught:
        table.set_state(key, after)
    assert table.get(key) is kept is store.records()[0]
    assert caught.value.value == table.history(key)[-5:] and "register" not in str(caught.value)


def test_an_illegal_transition_shows_the_last_five_rows() -> None:
    table = registry()
    key = table.register(record()).strategy_id
    for _ in range(4):
        for state in ("preparing", "active", "dormant"):
            table.set_state(key, state)  # type: ignore[arg-type]
    with refused("illegal_transition") as caught:
        table.set_state(key, "managing")
    assert [row.detail for row in caught.value.value] == [  # type: ignore[attr-defined]
        "preparing -> active",
        "active -> dormant",
        "dormant -> preparing",
        "preparing -> active",
        "active -> dormant",
    ]


def test_exclusive_mode_has_one_active_and_a_switch_changes_both_at_once() -> None:
    store = MemoryStore()
    table = registry(store)
    a, b = (table.register(record(name)).strategy_id for name in ("alpha", "beta"))
    bring(table, a, "active")
    table.set_state(b, "preparing")
    with refused("illegal_transition"):
        table.set_state(b, "active")
    row = SwitchRow(1, a, b, "keep", "commit", 7)
    before = table.list()
    with refused("illegal_transition"):
        table.commit_switch(row, {b: "active", a: "preparing"})
    with refused("illegal_transition"):
        table.commit_switch(row, {b: "active"})
    assert table.list() == before == store.records() and store.switches() == ()
    table.commit_switch(row, {b: "active", a: "managing"})
    assert table.active_ids() == (b,) and table.get(a).state == "managing" and store.switches() == (row,)
    assert table.get(b).activated_ms is not None and table.history(b)[-1].detail == "preparing -> active (switch 1)"


def test_parallel_mode_keeps_the_order_of_activation_and_cannot_be_left_with_two() -> None:
    table = registry(mode="parallel")
    keys = [table.register(record(name)).strategy_id for name in ("alpha", "beta", "gamma")]
    for key in reversed(keys):
        bring(table, key, "active")
    assert table.active_ids() == tuple(reversed(keys))
    table.set_state(keys[1], "suspended")
    table.set_state(keys[1], "active")
    assert table.active_ids() == (keys[2], keys[0], keys[1])
    with refused("mode_conflict"):
        table.set_mode("exclusive")
    for key in keys[:2]:
        table.set_state(key, "dormant")
    table.set_mode("exclusive")
    assert table.mode == "exclusive" and table.active_ids() == (keys[2],)


def test_some_fields_cannot_change() -> None:
    store = MemoryStore()
    table = registry(store)
    key = table.register(record()).strategy_id
    for field in ("name", "version", "symbol", "label", "state", "code"):
        with refused("immutable_field"):
            table.update(key, **{field: "x"})
    changed = table.update(key, overrides={"risk": {"size": 0.1}}, config_hash="h", pinned=True)
    assert (changed.config_hash, changed.pinned) == ("h", True) and table.get(key) is changed is store.records()[0]
    assert table.update(key, pinned=False).overrides == {"risk": {"size": 0.1}}


@pytest.mark.parametrize("state", STATES)
def test_only_dormant_and_failed_ones_are_unregistered(state: str) -> None:
    store = MemoryStore()
    table = registry(store)
    key = table.register(record()).strategy_id
    bring(table, key, state)
    if state in ("dormant", "failed"):
        assert table.unregister(key).state == "removed" == store.records()[0].state
        assert not table.has(key) and table.history(key)[-1].action == "unregister"
    else:
        with refused("strategy_in_use"):
            table.unregister(key)
        assert table.get(key).state == state


def test_conflicts_are_the_others_on_the_symbol_that_are_not_dormant() -> None:
    table = registry(mode="parallel")
    a, b, c, d = (
        table.register(record(name, symbol)).strategy_id
        for name, symbol in (("a", "X/Y"), ("b", "X/Y"), ("c", "X/Y"), ("d", "Z/Y"))
    )
    for key in (a, b, d):
        bring(table, key, "active")
    assert table.conflicts(a) == (b,) and table.conflicts(c) == (a, b) and table.conflicts(d) == ()


def test_history_is_ordered_and_bounded() -> None:
    table = registry(history_size=4)
    key = table.register(record()).strategy_id
    for _ in range(3):
        bring(table, key, "active")
        table.set_state(key, "dormant")
    rows = table.history()
    assert len(rows) == 4 and all(a.ts_ns < b.ts_ns for a, b in pairwise(rows))
    assert rows[-1].detail == "active -> dormant" and table.history("x") == ()
    off = registry(history_size=0)
    off.register(record())
    assert off.history() == ()


def test_codes_differ_even_when_their_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__("hashlib").sha256

    class Clash:
        def __init__(self, text: bytes) -> None:
            self.text = text if b"~2" in text else b"same"

        def digest(self) -> bytes:
            return bytes(real(self.text).digest())

    monkeypatch.setattr("stratnb.multi.registry.hashlib.sha256", Clash)
    table = registry()
    codes = [table.register(record(name)).code for name in ("alpha", "beta")]
    assert len(set(codes)) == 2


def test_a_code_is_kept_when_the_strategy_comes_back() -> None:
    store = MemoryStore()
    table = registry(store)
    first = table.register(record())
    table.unregister(first.strategy_id)
    assert table.register(record()).code == first.code
    assert registry(store).get(first.strategy_id).code == first.code


def test_a_new_registry_takes_over_what_is_stored() -> None:
    store = MemoryStore()
    table = registry(store, mode="parallel")
    keys = [table.register(record(name)).strategy_id for name in ("alpha", "beta", "gamma")]
    bring(table, keys[1], "active")
    bring(table, keys[0], "active")
    table.unregister(keys[2])
    again = registry(store, mode="parallel")
    assert again.list() == table.list() and again.active_ids() == (keys[1], keys[0]) and not again.has(keys[2])
    with refused("mode_conflict"):
        registry(store)


class Model(RuleBasedStateMachine):
    """The registry beside plain dictionaries, saved and reloaded at any time."""

    keys = st.sampled_from([strategy_id(name, symbol) for name in "abc" for symbol in ("X/Y", "Z/Y")])

    @initialize(mode=st.sampled_from(["exclusive", "parallel"]), limit=st.integers(2, 5))
    def start(self, mode: str, limit: int) -> None:
        self.store = MemoryStore()
        self.ticks = count(1_000_000_000, 1_000_000)
        self.options: dict[str, Any] = {"mode": mode, "max_strategies": limit}
        self.table = Registry(self.store, lambda: next(self.ticks), **self.options)
        self.states: dict[str, str] = {}
        self.active: list[str] = []

    def attempt(self, legal: bool, work: Any, *codes: str) -> None:
        if legal:
            work()
            return
        with pytest.raises((ConfigError, Refused)) as caught:
            work()
        assert caught.value.code in codes  # type: ignore[attr-defined]

    @rule(key=keys)
    def register(self, key: str) -> None:
        name, symbol = key.removesuffix("#main").split("@")
        legal = key not in self.states and len(self.states) < self.options["max_strategies"]
        self.attempt(legal, lambda: self.table.register(record(name, symbol)), "duplicate_strategy", "registry_full")
        if legal:
            self.states[key] = "dormant"

    @rule(key=keys, state=st.sampled_from(STATES))
    def set_state(self, key: str, state: State) -> None:
        legal = key in self.states and state in TRANSITIONS[self.states[key]]
        if state == "active" and self.options["mode"] == "exclusive" and self.active:
            legal = False
        self.attempt(legal, lambda: self.table.set_state(key, state), "illegal_transition", "unknown_strategy")
        if legal:
            self.move(key, state)

    def move(self, key: str, state: str) -> None:
        self.states[key] = state
        if key in self.active:
            self.active.remove(key)
        if state == "active":
            self.active.append(key)

    @rule(key=keys, seq=st.integers(1, 9), old=st.sampled_from(["managing", "dormant"]))
    def switch(self, key: str, seq: int, old: State) -> None:
        if len(self.active) != 1 or self.states.get(key) != "preparing":
            return
        before = self.active[0]
        row = SwitchRow(seq, before, key, "keep", "commit", 1)
        self.table.commit_switch(row, {before: old, key: "active"})
        self.move(before, old)
        self.move(key, "active")

    @rule(key=keys)
    def unregister(self, key: str) -> None:
        legal = self.states.get(key) in ("dormant", "failed")
        self.attempt(legal, lambda: self.table.unregister(key), "strategy_in_use", "unknown_strategy")
        if legal:
            del self.states[key]

    @rule()
    def restart(self) -> None:
        self.table = Registry(self.store, lambda: next(self.ticks), **self.options)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "table"):
            return
        assert {each.strategy_id: each.state for each in self.table.list()} == self.states
        assert [each.strategy_id for each in self.table.list()] == list(self.states)
        assert self.table.active_ids() == tuple(self.active)
        assert {each.strategy_id for each in self.table.list("active")} == set(self.active)
        codes = [each.code for each in self.store.records()]
        assert len(set(codes)) == len(codes)
        stats = self.table.stats()
        assert set(stats) == {"total", "active", "managing", "suspended", "dormant", "failed", "capacity"}
        assert stats["total"] == len(self.states) and stats["active"] == len(self.active)


TestModel = Model.TestCase
TestModel.settings = settings(stateful_step_count=40)
