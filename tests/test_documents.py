"""Documents: everything wrong is told at once, with place, value and remedy; what is right is frozen."""

from __future__ import annotations

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stratnb.blocks import base
from stratnb.blocks.base import Filter
from stratnb.errors import ConfigError, Finding
from stratnb.kernels.jit import kernel
from stratnb.model import Market
from stratnb.strategy.documents import (
    LoadedStrategy,
    build_config,
    library,
    load_base,
    load_document,
    names,
    validate,
)
from stratnb.strategy.merge import merge
from stratnb.strategy.paths import assign, leaves

GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "mine",
    "analyzers": [{"kind": "ema", "params": {"fast": 9, "slow": 21}}],
    "exits": {
        "stop_loss": {"basis": "atr"},
        "take_profit": {"levels": [{"at": 0.01, "close": 0.5}, {"at": 0.02, "close": 0.5}]},
        "breakeven": {"offset": 0.003},
        "trailing": {"start": {"targets": 1}},
    },
}
LINEAR = Market("BTC/USDT:USDT", kind="linear", max_leverage=20)


def document(**changes: Any) -> dict[str, Any]:
    """Return the good document with changes by dotted path (`__` for a dot); a section is replaced, None removes."""
    kept = {key: value for key, value in GOOD.items() if key not in changes}
    return merge({}, {}, kept, {path.replace("__", "."): value for path, value in changes.items()})[0]


def faults(given: Any, **options: Any) -> list[Finding]:
    with pytest.raises(ConfigError) as caught:
        build_config(given, **options)
    assert caught.value.code == "config_invalid"
    return [finding for finding in caught.value.findings if finding.severity == "error"]


def warnings(given: Any, **options: Any) -> list[tuple[str, str]]:
    return [(finding.path, finding.code) for finding in build_config(given, **options).findings]


def written(folder: Path, **given: Any) -> dict[str, Any]:
    made = {**document(), **given}
    (folder / f"{made['name']}.json").write_text(json.dumps(made), encoding="utf-8")
    return made


def test_a_good_document_has_no_findings_and_complete_provenance() -> None:
    loaded = build_config(document(), overrides={"exits.stop_loss.multiple": 1.5}, symbol="BTC/USDT")
    assert loaded.findings == ()
    paths = {path for path, _ in leaves(loaded.config.to_document())}
    assert paths <= set(loaded.provenance)
    assert loaded.provenance["exits.stop_loss.multiple"] == "override"
    assert loaded.provenance["market.symbol"] == "override"
    assert loaded.provenance["analyzers[0].params.fast"] == "strategy"
    assert loaded.provenance["analyzers[0].params.min_gap"] == "default"
    assert loaded.explain("exits.stop_loss.multiple").value == 1.5


CASES = [
    (document(schema=2), "schema", "schema_version"),
    (document(schema=True), "schema", "schema_version"),
    (document(schema=None), "schema", "missing"),
    (document(name=None), "name", "missing"),
    (document(name="Mine!"), "name", "type"),
    (document(title="x" * 121), "title", "range"),
    (document(version="1"), "version", "type"),
    (document(tags=["x" * 33]), "tags[0]", "range"),
    (document(tags="a"), "tags", "type"),
    (document(foo=1), "foo", "unknown_key"),
    (document(market=[]), "market", "type"),
    (document(market__symbol="BTCUSDT"), "market.symbol", "type"),
    (document(market__kind="inverse"), "market.kind", "enum"),
    (document(market__direction="both"), "market.direction", "short_on_spot"),
    (document(market__direction="short"), "market.direction", "short_on_spot"),
    (document(market__symbol="BTC/USD:BTC", market__kind="linear"), "market.symbol", "market_kind"),
    (document(market__symbol="BTC/USDT:USDT"), "market.symbol", "market_kind"),
    (document(timeframes__primary="7m"), "timeframes.primary", "enum"),
    (document(timeframes__primary=5), "timeframes.primary", "enum"),
    (document(timeframes__trend="5m"), "timeframes.trend", "timeframe_order"),
    (document(timeframes__trend="1h", timeframes__trend2="15m"), "timeframes.trend2", "timeframe_order"),
    (document(timeframes={"primary": "2h", "trend": "3m"}), "timeframes.trend", "timeframe_order"),
    (document(timeframes={"primary": "4h", "trend": "6h"}), "timeframes.trend", "timeframe_divides"),
    (document(timeframes__entry="5m"), "timeframes.entry", "timeframe_order"),
    (document(timeframes__entry="3m"), "timeframes.entry", "timeframe_divides"),
    (document(timeframes__detail="3m"), "timeframes.detail", "timeframe_divides"),
    (document(indicators={"Slow": {"kind": "ema"}}), "indicators.Slow", "type"),
    (document(indicators={"slow": {"kind": "emma"}}), "indicators.slow.kind", "unknown_kind"),
    (document(indicators={"slow": {}}), "indicators.slow", "unknown_kind"),
    (document(indicators={"slow": 3}), "indicators.slow", "type"),
    (document(indicators={"ema": {"timeframe": "entry"}}), "indicators.ema.timeframe", "enum"),
    (document(indicators={"ema": {"timeframe": "trend"}}), "indicators.ema.timeframe", "timeframe_missing"),
    (document(indicators={"ema": {"on": ["clsoe"]}}), "indicators.ema.on[0]", "unknown_column"),
    (document(indicators={"ema": {"on": ["trend.close"]}}), "indicators.ema.on[0]", "timeframe_missing"),
    (document(indicators={"ema": {"on": ["funding.rate"]}}), "indicators.ema.on[0]", "input_missing"),
    (document(indicators={"ema": {"on": ["macd"]}, "macd": {}}), "indicators.ema.on[0]", "unknown_column"),
    (document(indicators={"ema": {"on": ["macd.lime"]}, "macd": {}}), "indicators.ema.on[0]", "unknown_column"),
    (document(indicators={"sma": {"on": ["ema"]}, "ema": {"on": ["sma"]}}), "indicators.sma.on", "cycle"),
    (document(indicators={"sma": {"on": ["sma"]}}), "indicators.sma.on", "cycle"),
    (document(analyzers=None), "analyzers", "missing"),
    (document(analyzers={}), "analyzers", "type"),
    (document(analyzers=[]), "analyzers", "no_analyzer"),
    (document(analyzers=[{"kind": "ema", "enabled": False}]), "analyzers", "no_analyzer"),
    (document(analyzers=[3]), "analyzers[0]", "type"),
    (document(analyzers=[{}]), "analyzers[0].kind", "missing"),
    (document(analyzers=[{"kind": 3}]), "analyzers[0].kind", "unknown_kind"),
    (document(analyzers=[{"kind": "emma"}]), "analyzers[0].kind", "unknown_kind"),
    (document(analyzers=[{"kind": "ema", "weight": 0}]), "analyzers", "weight_zero"),
    (document(analyzers=[{"kind": "ema"}, {"kind": "ema"}]), "analyzers[1].name", "duplicate_name"),
    (document(analyzers=[{"kind": "ema", "fast": 9, "params": {"fast": 9}}]), "analyzers[0].fast", "duplicate_key"),
    (document(analyzers=[{"kind": "ema", "fast": 50, "slow": 20}]), "analyzers[0]", "order_violation"),
    (
        document(analyzers=[{"kind": "ema", "min_confidence": 0.9, "max_confidence": 0.5}]),
        "analyzers[0]",
        "order_violation",
    ),
    (
        document(analyzers=[{"kind": "ema", "params": {"fast": 9, "kind": "rsi"}}]),
        "analyzers[0].params.kind",
        "unknown_key",
    ),
    (document(analyzers=[{"kind": "ema", "confidence_floor": 0.96}]), "analyzers[0]", "order_violation"),
    (document(analyzers=[{"kind": "ema", "params": []}]), "analyzers[0].params", "type"),
    (document(analyzers=[{"kind": "ema", "params": {"mode": "crosss"}}]), "analyzers[0].params.mode", "enum"),
    (document(analyzers=[{"kind": "ema", "fast": "9"}]), "analyzers[0].fast", "type"),
    (document(analyzers=[{"kind": "ema", "fast": True}]), "analyzers[0].fast", "type"),
    (document(analyzers=[{"kind": "ema", "fast": 9.5}]), "analyzers[0].fast", "type"),
    (document(analyzers=[{"kind": "ema", "timeframe": "context"}]), "analyzers[0].timeframe", "timeframe_missing"),
    (document(filters={"blind_zone": {"enabled": 1}}), "filters.blind_zone.enabled", "type"),
    (document(filters={"flat_markt": {}}), "filters.flat_markt", "unknown_kind"),
    (document(filters={"mine": {"kind": "nope"}}), "filters.mine.kind", "unknown_kind"),
    (document(entry__mode="vot"), "entry.mode", "enum"),
    (document(entry__pyramiding=1), "entry.pyramiding", "range"),
    (document(entry__max_conflict=0.9), "entry.max_conflict", "percent_suspected"),
    (document(entry__min_candles=0), "entry.min_candles", "range"),
    (document(refine__enabled=True), "refine.enabled", "refine_unsupported"),
    (document(refine__enabled="no"), "refine.enabled", "enum"),
    (document(refine__windw=5), "refine.windw", "unknown_key"),
    (document(sizing__kind="risky"), "sizing.kind", "unknown_kind"),
    (document(sizing__amount=5), "sizing.amount", "unknown_key"),
    (document(exits=None), "exits", "missing"),
    (document(exits__stop_loss__basis="art"), "exits.stop_loss.basis", "enum"),
    (document(exits__time_exit={}), "exits.time_exit", "missing"),
    (document(exits__trailing__start={"targets": 1, "profit": 0.1}), "exits.trailing.start", "start_ambiguous"),
    (document(exits__breakeven={"after_targets": 1, "at_profit": 0.1}), "exits.breakeven", "start_ambiguous"),
    (document(exits__trailing__start={"targets": 3}), "exits.trailing.start.targets", "targets_start_too_high"),
    (document(exits__breakeven={"after_targets": 3}), "exits.breakeven.after_targets", "targets_start_too_high"),
    (document(exits__breakeven={"offset": 0.01}), "exits.breakeven.offset", "breakeven_beyond_target"),
    (document(risk__max_drawdown="off"), "risk.max_drawdown", "type"),
    (document(risk__streak_factors=[]), "risk.streak_factors", "range"),
    (document(risk__stop_loss_guard={"count": 0}), "risk.stop_loss_guard.count", "range"),
    (document(execution__entry_order="stop"), "execution.entry_order", "enum"),
    (document(execution__margin_mode="portfolio"), "execution.margin_mode", "enum"),
    (document(execution__leverage=2), "execution.leverage", "range"),
    (document(execution__exchange_stop=True), "execution.exchange_stop", "unknown_key"),
    (document(execution__simulation={"latency": 5}), "execution.simulation.latency", "unknown_key"),
    (document(capital__amount=0), "capital.amount", "range"),
    (document(state__gap_policy="drop"), "state.gap_policy", "enum"),
    (document(evidence__win_rate=64), "evidence.win_rate", "percent_suspected"),
]


@pytest.mark.parametrize(("given", "path", "code"), CASES, ids=[f"{path}-{code}" for _, path, code in CASES])
def test_a_fault_has_place_code_and_remedy(given: dict[str, Any], path: str, code: str) -> None:
    found = faults(given)
    assert [(finding.path, finding.code) for finding in found] == [(path, code)]
    assert found[0].message
    assert found[0].hint or code in ("order_violation", "start_ambiguous", "missing")


def _levels(*levels: dict[str, Any]) -> dict[str, Any]:
    return document(exits={"stop_loss": {}, "take_profit": {"levels": list(levels)}})


LADDERS = [
    (_levels({"at": 0.02, "close": 0.5}, {"at": 0.01, "close": 0.5}), "exits.take_profit", "targets_not_increasing"),
    (_levels({"at": 0.01, "close": 0.7}, {"at": 0.02, "close": 0.7}), "exits.take_profit", "close_sum"),
    (_levels({"at": 0, "close": 0.7}), "exits.take_profit.levels[0].at", "range"),
    (_levels({"at": 0.01, "close": 30}), "exits.take_profit.levels[0].close", "percent_suspected"),
    (
        _levels({"at": 0.01, "close": 1, "on_hit": ["trail"]}),
        "exits.take_profit.levels[0].on_hit",
        "on_hit_without_block",
    ),
    (_levels({"at": 0.01, "close": 1, "on_hit": ["stop"]}), "exits.take_profit.levels[0].on_hit[0]", "enum"),
]


@pytest.mark.parametrize(("given", "path", "code"), LADDERS, ids=[code for _, _, code in LADDERS])
def test_a_ladder_that_cannot_be_climbed(given: dict[str, Any], path: str, code: str) -> None:
    assert [(finding.path, finding.code) for finding in faults(given)] == [(path, code)]


def test_risk_sizing_needs_a_stop_block() -> None:
    given = document(sizing={"kind": "risk"}, exits={"time_exit": {"max_candles": 5}})
    assert [(finding.path, finding.code) for finding in faults(given)] == [("sizing.kind", "missing")]
    assert warnings(document(sizing={"kind": "risk"}, exits={"stop_loss": {}})) == []


def test_an_effect_of_a_target_replaces_the_start_of_its_block() -> None:
    levels = [{"at": 0.01, "close": 0.5, "on_hit": ["trail"]}, {"at": 0.02, "close": 0.5}]
    given = document(exits={"stop_loss": {}, "take_profit": {"levels": levels}, "trailing": {"start": {"targets": 5}}})
    assert warnings(given) == []


WARNED = [
    (document(analyzers=[{"kind": "ema", "weight": 0.5}]), "analyzers", "weight_sum"),
    (document(exits={"trailing": {"start": {"profit": 0.02}}}), "exits", "no_loss_limit"),
    (document(exits={"signal_exit": {}}), "exits", "no_loss_limit"),
    (_levels({"at": 0.01, "close": 0.5}), "exits.take_profit.levels", "close_sum_below_one"),
    (_levels({"at": 1.5, "close": 1}), "exits.take_profit.levels[0].at", "percent_suspected"),
    (document(indicators={"ema": {"period": 50}}), "indicators.ema", "unused_indicator"),
    (document(state__gap_policy="reset"), "state.gap_policy", "not_enforced"),
    (document(state__max_catchup=500), "state.max_catchup", "not_enforced"),
    (document(market__reference="ETH/USDT"), "market.reference", "not_enforced"),
    (document(evidence={"win_rate": 0.6}), "evidence", "evidence_unverified"),
    (document(capital__amount=10), "capital.amount", "capital_over_allocated"),
]


@pytest.mark.parametrize(("given", "path", "code"), WARNED, ids=[code for _, _, code in WARNED])
def test_a_warning_does_not_stop_the_strategy(given: dict[str, Any], path: str, code: str) -> None:
    assert warnings(given) == [(path, code)]


def test_a_setting_that_does_not_act_is_no_warning_at_its_default() -> None:
    state = {"gap_policy": "hold", "max_catchup": 100_000}
    assert warnings(document(state=state, market__reference="BTC/USDT")) == []


@pytest.mark.parametrize("exits", [{"stop_loss": {}}, {"trailing": {}}, {"time_exit": {"max_candles": 9}}])
def test_what_limits_a_loss(exits: dict[str, Any]) -> None:
    assert warnings(document(exits=exits)) == []


def test_weights_do_not_matter_to_votes() -> None:
    assert warnings(document(entry__mode="vote", analyzers=[{"kind": "ema", "weight": 0.5}])) == []


def test_warmup_is_limited_along_the_chain() -> None:
    chain = {"a": {"kind": "sma", "period": 3000}, "b": {"kind": "sma", "period": 3000, "on": ["a"]}}
    assert [(f.path, f.code) for f in faults(document(indicators=chain))] == [("indicators.b", "warmup_too_long")]


def test_all_faults_are_told_at_once_errors_first_in_document_order() -> None:
    given = {
        "schema": 1,
        "name": "mine",
        "risk": {"max_daily_loss": 3},
        "evidence": {"trades": 5},
        "exits": {"stop_loss": {"multipel": 2}},
        "analyzers": [{"kind": "emma"}, {"kind": "rsi", "wieght": 1, "params": {"oversod": 20}}],
        "timeframes": {"primary": "7m"},
    }
    with pytest.raises(ConfigError) as caught:
        build_config(given)
    assert [(f.path, f.code, f.severity) for f in caught.value.findings] == [
        ("risk.max_daily_loss", "percent_suspected", "error"),
        ("exits.stop_loss.multipel", "unknown_key", "error"),
        ("analyzers[0].kind", "unknown_kind", "error"),
        ("analyzers[1].wieght", "unknown_key", "error"),
        ("analyzers[1].params.oversod", "unknown_key", "error"),
        ("timeframes.primary", "enum", "error"),
        ("evidence", "evidence_unverified", "warning"),
    ]
    assert "6 errors" in str(caught.value)
    assert "analyzers[0].kind: 'emma' is not known; did you mean 'ema'?" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (document(analyzers=[{"kind": "rsi", "oversod": 20}]), "did you mean 'oversold'?"),
        (document(exits__stop_loss__multipel=2), "did you mean 'multiple'?"),
        (document(oversold=20), "`oversold` belongs under `analyzers[].params`"),
        (document(stop_loss={}), "`stop_loss` belongs under `exits`"),
        (document(min_confidence=0.5), "`min_confidence` belongs under `entry` or `analyzers[]` or `exits.<name>`"),
        (document(entry__max_daily_los=1), "did you mean 'max_daily_loss' under `risk`?"),
        (document(timeframes__primary="5min"), "did you mean '5m'?"),
    ],
)
def test_did_you_mean_looks_here_first_then_anywhere(given: dict[str, Any], hint: str) -> None:
    assert faults(given)[0].hint == hint


@pytest.mark.parametrize(
    ("given", "divided"),
    [
        (document(entry__min_confidence=60), "60 % is 0.6"),
        (document(sizing={"kind": "risk", "fraction": 2}), "2 % is 0.02"),
        (document(exits__stop_loss__fraction=1.5), "1.5 % is 0.015"),
        (document(risk__max_exposure=50), "50 % is 0.5"),
        (document(execution__simulation={"slippage": 0.5}), "0.5 % is 0.005"),
        (document(risk__streak_factors=[1, 50]), "50 % is 0.5"),
    ],
)
def test_a_percent_is_recognised_and_not_converted(given: dict[str, Any], divided: str) -> None:
    (found,) = faults(given)
    assert found.code == "percent_suspected"
    assert divided in found.hint


def test_numbers_far_out_of_range_are_not_taken_for_percents() -> None:
    assert faults(document(entry__min_confidence=600))[0].code == "range"
    assert faults(document(entry__min_confidence=-5))[0].code == "range"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('{"schema": 1,\n "name" 3}', "json_syntax", "line 2, column 9"),
        ("", "json_syntax", "line 1, column 1"),
        (b'{"name": "\xff"}', "json_syntax", "not UTF-8"),
        ("[" * 100_000, "json_syntax", "cannot be read"),
        ('{"a": ' * 30 + "1" + "}" * 30, "type", "nested deeper"),
        ("[1]", "type", "not an object"),
        ('{"schema": 1, "name": "a", "name": "b"}', "duplicate_key", "'name' is written twice"),
        ('{"risk": {"max_drawdown": NaN}}', "range", "not a finite number"),
        ('{"risk": {"max_drawdown": 1e999}}', "range", "not a finite number"),
        ('{"risk": {"max_drawdown": 1' + "0" * 400 + "}}", "range", "too many digits"),
        ('{"risk": {"max_drawdown": 1' + "0" * 5000 + "}}", "json_syntax", "cannot be read"),
        ('{"title": "\\ud800"}', "type", "Unicode"),
    ],
)
def test_text_that_is_no_document(text: str | bytes, code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = load_document(tmp_path / "mine.json")
    assert any(finding.code == code and said in finding.message for finding in found.findings)
    assert code in {finding.code for finding in faults(found)}


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert build_config(tmp_path / "mine.json").config.name == "mine"


HOSTILE = ["<img src=x onerror=alert(1)>", "'; DROP TABLE x;--", "\x00\x1b[31m", "\u202e", "💥" * 30, "a" * 100]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_kept_as_text_or_refused(text: str) -> None:
    assert build_config(document(title=text)).config.title == text
    for place in ("name", "market__symbol", "version", "timeframes__primary", "extends"):
        assert len(faults(document(**{place: text}))) == 1
    for section in ("filters", "exits", "indicators"):
        assert faults({**document(), section: {text: {}}})
    assert faults({**document(), text: 1})[0].code == "unknown_key"
    with pytest.raises(ConfigError) as caught:
        build_config(document(), overrides={text: 1})
    assert caught.value.findings
    with pytest.raises(ConfigError) as caught:
        load_document(text)
    assert caught.value.code in ("unknown_document", "file_missing")


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, {1: 2}, float("nan"), float("inf"), lambda: 1])
def test_python_values_that_json_cannot_hold(value: object) -> None:
    found = faults(document(), overrides={"risk.max_drawdown": value})
    assert (found[0].path, found[0].source) == ("risk.max_drawdown", "override")


def test_a_mapping_that_holds_itself_is_refused() -> None:
    given = document()
    given["evidence"] = given
    assert any("nested deeper" in finding.message for finding in faults(given))


def test_numpy_numbers_tuples_and_integral_floats_are_plain_numbers() -> None:
    overrides = {"risk.max_daily_loss": np.float64(0.02), "entry.min_candles": 30.0, "tags": ("a", "b")}
    config = build_config(document(), overrides=overrides).config
    assert (config.risk.max_daily_loss, config.entry.min_candles, config.tags) == (0.02, 30, ("a", "b"))
    assert type(config.risk.max_daily_loss) is float


def test_faults_name_the_layer_they_come_from() -> None:
    found = faults(
        {**document(), "entry": {"min_score": 7}}, base={"risk": {"max_drawdown": 9}}, overrides={"capital.unit": "x"}
    )
    assert {finding.path: finding.source for finding in found} == {
        "entry.min_score": "document",
        "risk.max_drawdown": "base",
        "capital.unit": "override",
    }


def test_overrides_reach_into_lists() -> None:
    loaded = build_config(
        document(), overrides={"analyzers[0].params.slow": 30, "exits.take_profit.levels[1].at": 0.03}
    )
    assert loaded.config.analyzers[0].params.model_dump()["slow"] == 30
    assert loaded.provenance["analyzers[0].params.slow"] == "override"
    assert loaded.provenance["exits.take_profit.levels[1].at"] == "override"
    assert loaded.provenance["exits.take_profit.levels[0].at"] == "strategy"
    found = faults(document(), overrides={"analyzers[7].weight": 1, "a..b": 1})
    assert [(finding.path, finding.code) for finding in found] == [
        ("analyzers[7].weight", "unknown_path"),
        ("a..b", "unknown_path"),
    ]


def test_the_symbol_argument_wins() -> None:
    loaded = build_config(document(market__symbol="ETH/USDT"), symbol="BTC/USDT")
    assert loaded.config.market.symbol == "BTC/USDT"
    assert loaded.provenance["market.symbol"] == "override"
    assert loaded.document["market"] == {"symbol": "ETH/USDT"}


def test_the_market_fixes_what_the_document_leaves_open() -> None:
    config = build_config(document(), market=LINEAR).config
    assert (config.market.symbol, config.market.kind, config.market.direction) == ("BTC/USDT:USDT", "linear", "both")
    spot = build_config(document(), market=Market("BTC/USDT")).config
    assert (spot.market.kind, spot.market.direction) == ("spot", "long")


def test_a_document_that_does_not_fit_the_market() -> None:
    found = faults(
        document(market__kind="linear", execution__leverage=50), market=Market("BTC/USDT"), symbol="ETH/USDT"
    )
    assert {finding.code for finding in found} == {"market_kind", "market_symbol", "range"}


@pytest.mark.parametrize("mode", ["vote", "weighted", "coverage"])
def test_thresholds_follow_the_mode(mode: str) -> None:
    entry = build_config(document(entry__mode=mode)).config.entry
    expected = {"vote": (0.6, 0.25), "weighted": (0.75, 0.45), "coverage": (0.5, 0.25)}[mode]
    assert (entry.min_confidence, entry.min_score) == expected
    assert build_config(document(entry={"mode": mode, "min_confidence": 0.1})).config.entry.min_confidence == 0.1


def test_null_switches_a_risk_rule_off() -> None:
    given = {**document(), "risk": {"max_daily_loss": None, "max_drawdown": None}}
    loaded = build_config(given)
    assert (loaded.config.risk.max_daily_loss, loaded.config.risk.max_drawdown) == (None, None)
    assert loaded.findings == ()
    assert validate(loaded.config.to_document()) == loaded.config


def test_ignored_keys_are_kept_and_written_back() -> None:
    given = document(x_note="mine", exits__stop_loss__x_why=[1, {"a": None}])
    given["analyzers"][0]["x_chart"] = "red"
    loaded = build_config(given)
    again = loaded.config.to_document()
    assert (again["x_note"], again["exits"]["stop_loss"]["x_why"]) == ("mine", [1, {"a": None}])
    assert again["analyzers"][0]["x_chart"] == "red"
    assert validate(again) == loaded.config
    assert loaded.config.config_hash == build_config(document()).config.config_hash


def test_flat_parameters_are_the_same_as_nested_ones() -> None:
    flat = document(analyzers=[{"kind": "ema", "fast": 9, "slow": 21}])
    assert build_config(flat).config == build_config(document()).config


def test_indicators_may_be_named_without_their_prefix() -> None:
    bare = {"slow": {"kind": "ema", "period": 50}, "smooth": {"kind": "sma", "on": ["slow"]}}
    loaded = build_config(document(indicators=bare))
    assert loaded.config.indicators["smooth"].block.inputs() == ("ind.slow",)
    assert [(finding.path, finding.code) for finding in loaded.findings] == [("indicators.smooth", "unused_indicator")]
    assert validate(loaded.config.to_document()) == loaded.config


@pytest.mark.parametrize(
    ("column", "code"),
    [
        ("ind.slow", None),
        ("ind.slwo", "unknown_column"),
        ("clsoe", "unknown_column"),
        ("book.spread", "input_missing"),
        ("trend.close", "timeframe_missing"),
        ("trend.bias", None),
    ],
)
def test_the_inputs_of_a_users_block_are_checked(column: str, code: str | None) -> None:
    class Reader(Filter, kind="reads_a_column"):
        """A filter that reads one column."""

        column: str = "close"
        structural = Filter.structural | {"column"}

        def inputs(self) -> tuple[str, ...]:
            return (self.column,)

        @staticmethod
        @kernel
        def step(i, state, x, out, p):  # type: ignore[no-untyped-def]
            out[0] = 1.0

    filters = {"reads_a_column": {"column": column}}
    given = document(indicators={"slow": {"kind": "ema"}}, filters=filters)
    try:
        if code is None:
            assert build_config(given).config.filters["reads_a_column"].inputs() == (column,)
        else:
            assert [(finding.path, finding.code) for finding in faults(given)] == [("filters.reads_a_column", code)]
    finally:
        base._REGISTRY["filter"].pop("reads_a_column")


def test_a_configuration_is_frozen_hashed_copied_and_pickled() -> None:
    config = build_config(document(), base={"filters": {"blind_zone": {}}}).config
    with pytest.raises(ValidationError):
        config.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot be changed"):
        config.exits["new"] = config.exits["stop_loss"]  # type: ignore[index]
    with pytest.raises(TypeError, match="cannot be changed"):
        config.filters.clear()  # type: ignore[attr-defined]
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), validate(config.to_document())):
        assert twin == config
        assert twin.config_hash == config.config_hash
        with pytest.raises(TypeError):
            twin.filters.pop("blind_zone")  # type: ignore[attr-defined]


def test_inputs_are_never_changed() -> None:
    given, base, overrides = document(), {"risk": {"max_drawdown": 0.1}}, {"entry.mode": "vote"}
    before = copy.deepcopy((given, base, overrides))
    loaded = build_config(given, base=base, overrides=overrides, symbol="BTC/USDT")
    assert (given, base, overrides) == before
    given["exits"]["stop_loss"]["basis"] = "fixed"
    assert loaded.document["exits"]["stop_loss"]["basis"] == "atr"


@pytest.mark.parametrize("change", [{"entry.min_score": 0.3}, {"title": "Other"}, {"analyzers[0].params.slow": 22}])
def test_any_change_changes_the_hash(change: dict[str, Any]) -> None:
    assert build_config(document(), overrides=change).config.config_hash != build_config(document()).config.config_hash


def test_the_order_of_keys_does_not_change_the_hash() -> None:
    given = dict(reversed(document().items()))
    assert build_config(given).config.config_hash == build_config(document()).config.config_hash


def test_unknown_names_get_near_ones(tmp_path: Path) -> None:
    written(tmp_path, name="my-levels")
    with pytest.raises(ConfigError) as caught:
        load_document("my-level", folder=tmp_path)
    assert (caught.value.code, caught.value.value) == ("unknown_document", "my-level")
    assert "'my-levels'" in caught.value.hint
    with pytest.raises(ConfigError, match="trend-rider"):
        build_config("trend-ridr")
    assert set(names(tmp_path)) == {*library(), "my-levels"}


@pytest.mark.parametrize(
    "name", ["../secret", "..", "/etc/passwd", "a/../../b.json", "~root", "C:\\x.json", "\x00.json"]
)
def test_a_name_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    with pytest.raises(ConfigError) as caught:
        build_config(name, folder=tmp_path / "strategies")
    assert caught.value.code in ("unknown_document", "file_missing", "config_invalid")


def test_files_are_read_by_path_and_name(tmp_path: Path) -> None:
    written(tmp_path)
    for found in (load_document("mine", folder=tmp_path), load_document(str(tmp_path / "mine.json"))):
        assert build_config(found).config.name == "mine"
        assert found.source == "mine.json"
    with pytest.raises(ConfigError) as caught:
        load_document(tmp_path / "mien.json")
    assert (caught.value.code, caught.value.hint) == ("file_missing", "did you mean 'mine.json'?")
    with pytest.raises(ConfigError) as caught:
        load_document(tmp_path)
    assert caught.value.code == "file_missing"


def test_file_faults(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(" " * 1_048_577)
    (tmp_path / "other.json").write_text(json.dumps(document()))
    (tmp_path / "broken.json").write_text('{\n "a": }')
    found = {stem: faults(tmp_path / f"{stem}.json") for stem in ("big", "other", "broken")}
    assert found["big"][0].code == "file_too_large"
    assert [finding.code for finding in found["other"]] == ["name_mismatch"]
    assert (found["broken"][0].code, found["broken"][0].source) == ("json_syntax", "broken.json")
    assert "line 2, column 7" in found["broken"][0].message


def test_a_workspace_file_hides_a_shipped_one(tmp_path: Path) -> None:
    written(tmp_path, name="trend-rider")
    loaded = build_config("trend-rider", folder=tmp_path)
    assert [(finding.path, finding.code) for finding in loaded.findings] == [("name", "shadows_shipped")]
    assert len(loaded.config.analyzers) == 1


def test_a_document_extends_others(tmp_path: Path) -> None:
    written(tmp_path, name="one", filters={"blind_zone": {}, "flat_market": {}}, title="One", evidence={"trades": 5})
    written(tmp_path, name="two", extends="one", entry={"mode": "vote"})
    three = {"schema": 1, "name": "three", "extends": "two", "filters": {"flat_market": None}}
    (tmp_path / "three.json").write_text(json.dumps(three))
    loaded = build_config("three", folder=tmp_path, base={"entry": {"mode": "weighted", "min_score": 0.4}})
    config = loaded.config
    assert (config.title, config.entry.mode, config.entry.min_score) == ("three", "vote", 0.4)
    assert (list(config.filters), config.evidence, config.extends) == (["blind_zone"], None, None)
    assert loaded.provenance["filters.blind_zone"] == "base"
    assert loaded.provenance.removed["filters.flat_market"] == "strategy"
    assert validate(config.to_document()) == config


def test_extending_is_bounded_and_free_of_circles(tmp_path: Path) -> None:
    for n in range(5):
        written(tmp_path, name=f"d{n}", extends=f"d{n + 1}" if n < 4 else None)
    assert build_config("d1", folder=tmp_path).config.name == "d1"
    assert [finding.code for finding in faults("d0", folder=tmp_path)] == ["extends_depth"]
    written(tmp_path, name="left", extends="right")
    written(tmp_path, name="right", extends="left")
    assert [(f.path, f.code) for f in faults("left", folder=tmp_path)] == [("extends", "extends_cycle")]
    written(tmp_path, name="lost", extends="nowhere")
    assert [(f.path, f.code) for f in faults("lost", folder=tmp_path)] == [("extends", "file_missing")]
    (tmp_path / "torn.json").write_text("{")
    written(tmp_path, name="heir", extends="torn")
    assert [(f.code, f.source) for f in faults("heir", folder=tmp_path)] == [("json_syntax", "torn.json")]


def test_the_base_file_may_be_absent(tmp_path: Path) -> None:
    assert load_base(tmp_path / "base.json") == {}
    (tmp_path / "base.json").write_text('{"risk": {"max_daily_loss": 0.01}}')
    assert load_base(tmp_path / "base.json") == {"risk": {"max_daily_loss": 0.01}}
    (tmp_path / "base.json").write_text('{"risk": }')
    with pytest.raises(ConfigError) as caught:
        load_base(tmp_path / "base.json")
    assert (caught.value.findings[0].code, caught.value.findings[0].source) == ("json_syntax", "base.json")


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


@given(st.integers(0, 10_000), JUNK)
def test_junk_anywhere_is_a_finding_or_valid_but_never_a_crash(seed: int, junk: Any) -> None:
    full = build_config(
        document(indicators={"ema": {}}, filters={"blind_zone": {}, "atr_range": {}})
    ).config.to_document()
    path = random.Random(seed).choice([at for at, _ in leaves(full)])
    assign(full, path, junk)
    try:
        loaded = build_config(full)
    except ConfigError as error:
        assert error.code == "config_invalid"
        assert all(finding.code and finding.message for finding in error.findings)
        assert any(finding.path.startswith(path.split("[")[0].split(".")[0]) for finding in error.findings)
    else:
        assert isinstance(loaded, LoadedStrategy)
        assert validate(loaded.config.to_document()) == loaded.config


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("exits.stop_los", "stop_loss"),
        ("exits.stop_loss.multipl", "multiple"),
        ("sizing.fracton", "fraction"),
        ("execution.simulation.slipage", "slippage"),
        ("timeframes.tred", "trend"),
        ("filters.blind_zon", "blind_zone"),
        ("captal", "capital"),
    ],
)
def test_a_null_at_a_misspelled_path_is_told(path: str, meant: str) -> None:
    (found,) = faults("trend-rider", overrides={path: None})
    assert (found.path, found.code, found.source) == (path, "unknown_key", "override")
    assert repr(meant) in found.hint


@pytest.mark.parametrize("path", ["exits.trailing", "timeframes.trend2", "filters.blind_zone", "x_note", "refine"])
def test_a_null_where_something_could_stand_removes_nothing_quietly(path: str) -> None:
    assert build_config("trend-rider", overrides={path: None}).config.name == "trend-rider"


def test_broken_json_has_no_other_faults(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"schema": 1, ')
    assert [finding.code for finding in faults(tmp_path / "mine.json")] == ["json_syntax"]
