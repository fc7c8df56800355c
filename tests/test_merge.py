"""Laws of the merge: precedence, replacement, null, provenance, purity."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.strategy.merge import diff, merge, merge_layers
from stratnb.strategy.paths import assign, leaves, lookup, steps

KEYS = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["x", "y"]), st.floats(0, 1))
LISTS = st.lists(SCALARS, max_size=3)
TREES: Any = st.recursive(
    st.one_of(SCALARS, LISTS), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
LAYERS = st.dictionaries(KEYS, TREES, max_size=4)
WITH_NULL = st.dictionaries(KEYS, st.one_of(TREES, st.none()), max_size=4)


def test_higher_layers_win_leaf_by_leaf() -> None:
    config, provenance = merge(
        {"entry": {"mode": "coverage", "min_score": 0.25, "opposition": 0.5}},
        {"entry": {"min_score": 0.3, "opposition": 0.4}},
        {"entry": {"opposition": 0.3}},
        {"entry": {"max_conflict": 0.1}},
    )
    assert config == {"entry": {"mode": "coverage", "min_score": 0.3, "opposition": 0.3, "max_conflict": 0.1}}
    assert dict(provenance) == {
        "entry.mode": "default",
        "entry.min_score": "base",
        "entry.opposition": "strategy",
        "entry.max_conflict": "override",
    }


def test_lists_are_replaced_whole() -> None:
    config, provenance = merge({}, {"tags": ["a", "b", "c"]}, {"tags": ["z"]}, {})
    assert config == {"tags": ["z"]}
    assert dict(provenance) == {"tags[0]": "strategy"}


def test_null_removes_and_says_who() -> None:
    base = {"filters": {"blind_zone": {"min_signals_long": 2}, "flat_market": {}}}
    config, provenance = merge({}, base, {"filters": {"blind_zone": None}}, {})
    assert config == {"filters": {"flat_market": {}}}
    assert provenance["filters.blind_zone"] == "strategy"
    assert provenance.removed == {"filters.blind_zone": "strategy"}
    assert provenance.explain("filters.blind_zone").value is None


def test_null_lets_the_default_apply_again() -> None:
    default = {"sizing": {"kind": "fixed_fraction", "fraction": 0.1}}
    config, provenance = merge(default, {}, {"sizing": {"kind": "risk", "fraction": 0.01}}, {"sizing": None})
    assert config == default
    assert provenance["sizing.fraction"] == "default"
    assert provenance.removed["sizing"] == "override"


def test_null_of_a_parameter_never_brings_back_that_of_another_kind() -> None:
    default = {"sizing": {"kind": "fixed_fraction", "fraction": 0.1}}
    config, _ = merge(default, {}, {"sizing": {"kind": "risk", "fraction": 0.01}}, {"sizing.fraction": None})
    assert config == {"sizing": {"kind": "risk"}}


def test_null_under_risk_is_kept_because_it_switches_a_rule_off() -> None:
    config, provenance = merge({}, {"risk": {"max_daily_loss": 0.05}}, {"risk": {"max_daily_loss": None}}, {})
    assert config == {"risk": {"max_daily_loss": None}}
    assert provenance["risk.max_daily_loss"] == "strategy"


def test_another_kind_replaces_the_whole_block() -> None:
    base = {"sizing": {"kind": "fixed_quote", "amount": 50, "cap": 0.5}}
    assert merge({}, base, {"sizing": {"kind": "risk"}}, {})[0] == {"sizing": {"kind": "risk"}}
    assert merge({}, base, {"sizing": {"cap": 1}}, {})[0]["sizing"]["amount"] == 50


@pytest.mark.parametrize("section", ["exits", "filters", "indicators"])
def test_a_named_block_has_its_key_as_kind(section: str) -> None:
    base = {section: {"trailing": {"distance": 0.02}}}
    same = merge({}, base, {section: {"trailing": {"kind": "trailing", "min_step": 0.001}}}, {})[0]
    assert same[section]["trailing"] == {"distance": 0.02, "kind": "trailing", "min_step": 0.001}
    other = merge({}, base, {section: {"trailing": {"kind": "stop_loss"}}}, {})[0]
    assert other[section]["trailing"] == {"kind": "stop_loss"}


def test_the_kind_of_a_market_is_not_a_kind_of_block() -> None:
    config, _ = merge({}, {"market": {"kind": "spot", "symbol": "A/B"}}, {"market": {"kind": "linear"}}, {})
    assert config == {"market": {"kind": "linear", "symbol": "A/B"}}


def test_dotted_and_indexed_overrides_change_one_leaf() -> None:
    strategy = {"exits": {"stop_loss": {"multiple": 2.0}}, "analyzers": [{"kind": "ema", "weight": 1.0}]}
    config, provenance = merge(
        {}, {}, strategy, {"exits.stop_loss.multiple": 1.5, "analyzers[0].weight": 0.5, "entry.mode": "vote"}
    )
    assert config == {
        "exits": {"stop_loss": {"multiple": 1.5}},
        "analyzers": [{"kind": "ema", "weight": 0.5}],
        "entry": {"mode": "vote"},
    }
    assert provenance["analyzers[0].weight"] == "override"
    assert provenance["analyzers[0].kind"] == "strategy"
    assert provenance.explain("exits.stop_loss.multiple").previous == (("strategy", 2.0),)


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b", "[0]", "a[x]", "a[-1]", "a b]", "a[0", "a[99999999]"])
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge({}, {}, {}, {path: 1})
    assert caught.value.code == "unknown_path"


@pytest.mark.parametrize("path", ["a[1].b", "a[0].b.c", "z[0]", "a[0][0]"])
def test_an_index_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge({}, {}, {"a": [{"b": 1}]}, {path: 1})
    assert caught.value.code == "unknown_path"


@given(LAYERS, WITH_NULL, WITH_NULL, WITH_NULL)
def test_inputs_are_unchanged_and_results_are_not_shared(default: Any, base: Any, strategy: Any, override: Any) -> None:
    layers = (default, base, strategy, override)
    before = copy.deepcopy(layers)
    config, _ = merge(*layers)
    for path, _ in list(leaves(config)):
        assign(config, path, "changed")
    for value in config.values():
        if isinstance(value, list):
            value.append("changed")
    assert layers == before


@given(LAYERS)
def test_merging_a_default_is_the_identity(default: Any) -> None:
    once, provenance = merge(default, {}, {}, {})
    assert once == default
    assert merge(once, once, once, {})[0] == once
    assert set(provenance.values()) <= {"default"}


@given(LAYERS, WITH_NULL, WITH_NULL, WITH_NULL)
def test_every_leaf_has_the_source_that_wrote_it(default: Any, base: Any, strategy: Any, override: Any) -> None:
    layers = {"default": default, "base": base, "strategy": strategy, "override": override}
    config, provenance = merge(default, base, strategy, override)
    for path, value in leaves(config):
        assert path in provenance
        if value != {}:
            assert lookup(layers[provenance[path]], path) == value
        assert provenance.explain(path).value == value
    for path in provenance:
        assert path in provenance.removed or lookup(config, path, "absent") != "absent"


@given(LAYERS, LAYERS, LAYERS, LAYERS)
def test_merging_in_two_steps_is_merging_at_once(a: Any, b: Any, c: Any, d: Any) -> None:
    below = merge(a, b, {}, {})[0]
    assert merge_layers([("default", below), ("strategy", c), ("override", d)])[0] == merge(a, b, c, d)[0]


@given(LAYERS, LAYERS)
def test_diff_names_exactly_the_changed_leaves(a: Any, b: Any) -> None:
    changes = diff(a, b)
    before, after = dict(leaves(a)), dict(leaves(b))
    assert changes == [(path, before.get(path), after.get(path)) for path, _, _ in changes]
    untouched = {*before, *after} - {path for path, _, _ in changes}
    assert all(before[path] == after[path] for path in untouched)
    assert diff(a, a) == []
    assert {path for path, _, _ in changes} == {path for path, _, _ in diff(b, a)}


def test_diff_reaches_into_lists_and_tells_true_from_one() -> None:
    before = {"levels": [{"at": 0.01}, {"at": 0.02}], "flag": 1}
    after = {"levels": [{"at": 0.01}, {"at": 0.03}, {"at": 0.04}], "flag": True}
    assert diff(before, after) == [
        ("levels[1].at", 0.02, 0.03),
        ("flag", 1, True),
        ("levels[2].at", None, 0.04),
    ]


def test_explain_names_near_paths() -> None:
    _, provenance = merge({}, {}, {"exits": {"stop_loss": {"multiple": 2}}}, {})
    with pytest.raises(ConfigError, match=r"exits\.stop_loss\.multiple"):
        provenance.explain("exits.stop_loss.multipel")
    assert provenance.explain("exits").value == {"stop_loss": {"multiple": 2}}


def test_provenance_can_be_pickled() -> None:
    _, provenance = merge({"a": 1}, {"b": {"c": 2}}, {"b": None}, {})
    assert dict(pickle.loads(pickle.dumps(provenance))) == dict(provenance)


@given(st.lists(st.one_of(st.sampled_from(["a", "b_c", "x1"]), st.integers(0, 99)), min_size=1, max_size=5))
def test_a_path_reads_back_as_its_steps(way: list[str | int]) -> None:
    path = ""
    for step in ["top", *way]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    assert steps(path) == ["top", *way]
