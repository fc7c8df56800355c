"""The shipped documents: valid, silent, alike after a round trip, and mergeable onto any base."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stratnb.blocks.base import kinds
from stratnb.model import Market
from stratnb.strategy.documents import build_config, library, load_document, validate
from stratnb.strategy.merge import diff
from stratnb.strategy.schema import json_schema

SHIPPED = (
    "level-trading-single-ema",
    "level-trading-test",
    "level-trading-v3",
    "simple-levels",
    "trend-rider",
)
FULL_BASE: dict[str, Any] = {
    "description": "base",
    "tags": ["base"],
    "market": {"reference": "ETH/USDT"},
    "timeframes": {"primary": "5m", "context": "4h"},
    "indicators": {"base_line": {"kind": "ema", "period": 100}},
    "analyzers": [{"kind": "rsi"}],
    "filters": {"blind_zone": {"min_signals_long": 1}, "time_window": {"start_hour": 1, "end_hour": 2}},
    "entry": {"min_agreeing": 1, "opposition": 0.4},
    "refine": {"window": 40},
    "sizing": {"kind": "fixed_quote", "amount": 25},
    "exits": {"time_exit": {"max_candles": 500}, "stop_loss": {"fallback": 0.03}},
    "risk": {"max_daily_loss": 0.02, "max_exposure": None},
    "execution": {"simulation": {"slippage": 0.001}},
    "capital": {"amount": 0.2},
    "state": {"gap_policy": "reset"},
}


def test_the_library_is_what_it_says() -> None:
    assert library() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_document_is_valid_and_silent(name: str) -> None:
    loaded = build_config(name, symbol="BTC/USDT")
    assert loaded.findings == ()
    assert loaded.config.name == name
    assert not loaded.config.refine.enabled
    assert loaded.config.sizing.kind == "risk"
    assert "no profit is claimed" in loaded.config.description
    assert loaded.config.evidence is None


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("base", [{}, FULL_BASE], ids=["empty", "full"])
@pytest.mark.parametrize("market", [None, Market("BTC/USDT"), Market("BTC/USDT:USDT", kind="linear")])
def test_a_shipped_document_survives_the_round_trip(name: str, base: dict[str, Any], market: Market | None) -> None:
    config = build_config(name, base=base, market=market).config
    document = json.loads(json.dumps(config.to_document()))
    assert validate(document) == config
    assert diff(validate(document).to_document(), document) == []
    assert build_config(document).config == config


@pytest.mark.parametrize("name", SHIPPED)
def test_the_document_wins_over_a_full_base_and_keeps_the_rest(name: str) -> None:
    loaded = build_config(name, base=FULL_BASE)
    written = load_document(name).mapping
    assert [entry.kind for entry in loaded.config.analyzers] == [entry["kind"] for entry in written["analyzers"]]
    assert loaded.config.sizing.kind == "risk"
    assert {"time_window", "blind_zone"} <= set(loaded.config.filters)
    assert loaded.config.risk.max_exposure is None
    assert loaded.provenance["risk.max_daily_loss"] == "base"
    assert loaded.provenance["sizing.fraction"] == "strategy"
    assert loaded.provenance["exits.stop_loss.fallback"] in ("base", "strategy")


def test_the_reference_numbers_of_simple_levels() -> None:
    config = build_config("simple-levels").config
    assert [(entry.kind, entry.weight, entry.min_confidence) for entry in config.analyzers] == [
        ("level", 0.4, 0.6),
        ("breakout", 0.35, 0.55),
        ("trend_detector", 0.21, 0.5),
        ("wick", 0.04, 0.5),
    ]
    stop, ladder = config.exits["stop_loss"].model_dump(), config.exits["take_profit"].model_dump()
    assert (stop["basis"], stop["multiple"], stop["min_fraction"], stop["fallback"]) == ("atr", 1.5, 0.005, 0.02)
    assert [(level["at"], level["close"]) for level in ladder["levels"]] == [(0.005, 0.33), (0.01, 0.33), (0.015, 0.34)]
    assert set(config.filters) == {"blind_zone", "atr_range"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_document_fits_the_schema_by_its_keys(name: str) -> None:
    schema, written = json_schema(), load_document(name).mapping
    assert set(written) <= set(schema["properties"])
    for entry in written["analyzers"]:
        params = schema["$defs"][f"analyzer.{entry['kind']}.params"]["properties"]
        assert set(entry.get("params", {})) <= set(params)
    assert set(written["exits"]) <= set(kinds("exit"))
