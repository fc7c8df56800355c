"""Values of a space that their parameter does not accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from stratnb.cli import app
from stratnb.errors import ConfigError, Finding
from stratnb.research.space import Axis, Range, axes_of
from stratnb.research.sweep import sweep
from stratnb.research.value_checks import value_faults
from stratnb.research.walk_forward import walk_forward
from stratnb.strategy.config import Header
from stratnb.strategy.documents import build_config, library
from stratnb.strategy.paths import leaves
from sweep_cases import EMA, FAST, MARKET, SCORE, SLOW, STOP, walk

WHOLE = "at least 1 and at most 500"
FALLING = [{"at": 0.2, "close": 0.5}, {"at": 0.1, "close": 0.5}]
WRONG: list[tuple[str, Any, str, str, str]] = [
    (FAST, ["a", 5], "type", "'a' is not a whole number", WHOLE),
    (FAST, [True, 5], "type", "true is not a whole number", WHOLE),
    (FAST, [None, 5], "type", "null is not a whole number", WHOLE),
    (FAST, [5, 5.5], "type", "5.5 is not a whole number", WHOLE),
    (FAST, Range(2, 4, step=0.5), "type", "2.5 is not a whole number", WHOLE),
    (FAST, Range(2.0, 4.0), "type", "is not a whole number", WHOLE),
    (FAST, [7, -1], "range", "-1 is out of range", WHOLE),
    (FAST, Range(-1, 9), "range", "-1 is out of range", WHOLE),
    (FAST, Range(490, 510), "range", "503 is out of range, and 7 more of its 21 values are refused", WHOLE),
    ("analyzers[0].fast", [4, 3], "duplicate_key", "is written twice", "keep one of them"),
    (STOP, ["0.01", 0.01], "type", "'0.01' is not a number", "write a number without quotes, above 0 and at most 0.5"),
    (STOP, [0.01, 1.5], "percent_suspected", "1.5 is out of range", "1.5 % is 0.015; allowed: above 0 and at most 0.5"),
    (STOP, Range(0.0, 0.5), "range", "0 is out of range", "above 0 and at most 0.5"),
    ("timeframes.primary", ["1m", "7m"], "enum", "'7m' is not allowed", "did you mean '1m' or '3m' or '5m'?"),
    ("analyzers[0].kind", ["ems"], "unknown_kind", "'ems' is not known", "did you mean 'ema'?"),
    ("entry.mode", ["vot", "vote"], "enum", "'vot' is not allowed", "did you mean 'vote'?"),
    ("exits.take_profit.levels", [[], [{"at": 0.1, "close": 1.0}]], "range", "has length 0", "at least 1"),
    ("exits.take_profit.levels[0].at", [0.1, -1], "range", "-1 is out of range", "above 0"),
    ("exits.take_profit", [{"levels": FALLING}], "targets_not_increasing", "must rise", ""),
]


def faults(space: dict[str, Any], document: dict[str, Any] | None = None) -> list[Finding]:
    axes, wrong = axes_of(space)
    assert not wrong
    return value_faults(document or EMA, axes, symbol="AAA/USDT", market=MARKET)


@pytest.mark.parametrize(("path", "values", "code", "message", "hint"), WRONG)
def test_a_refused_value_is_told_at_its_path_with_what_is_allowed(
    path: str, values: Any, code: str, message: str, hint: str
) -> None:
    found = faults({path: values})
    assert {finding.code for finding in found} == {code} and all(f.path.startswith(path) for f in found)
    assert any(message in finding.message for finding in found), found
    assert all(hint in finding.hint for finding in found), found


def test_what_a_parameter_accepts_is_no_fault() -> None:
    together: list[dict[str, Any]] = [
        {FAST: [5, 30], SLOW: [8, 20]},  # fast above slow
        {"timeframes.primary": ["1m", "5m"], "timeframes.trend": [None, "3m"]},
        {"exits.stop_loss": [None, {"fraction": 0.02}]},
        {"analyzers[0].params": [{"fast": 30}, {"fast": 3}]},
        {"entry.min_score": (0.1, 0.3), "capital.amount": Range(0.1, 1.0, count=4, log=True)},
    ]
    assert [faults(space) for space in together] == [[]] * len(together)


def test_a_kind_of_the_space_decides_what_fits_beneath_it() -> None:
    assert faults({"exits.stop_loss.kind": ["stop_loss"], STOP: [5]})
    kinds = {"analyzers[0].kind": ["ema", "rsi"]}
    assert faults({**kinds, "analyzers[0].params.period": [14, 20]}) == []
    found = faults({**kinds, "analyzers[0].params.period": [14, -1]})
    assert len(found) == 1 and "allowed" in found[0].hint


def test_what_changes_no_trade_is_no_axis() -> None:
    space = {"market.symbol": ["AAA/USDT", "BBB/USDT"], "name": ["a", "b"], "tags[0]": ["x"], FAST: [10**400, 5]}
    with pytest.raises(ConfigError) as error:
        sweep(EMA, walk(600), space, market=MARKET, ledger=False)
    told = [(finding.path, finding.code) for finding in error.value.findings]
    assert (FAST, "range") in told and told.count((FAST, "range")) == 1 and (FAST, "type") not in told
    assert {("market.symbol", "no_effect"), ("name", "no_effect")} <= set(told)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-50, 1_100), min_size=1, max_size=30, unique=True))
def test_values_are_refused_exactly_when_their_document_is(values: list[int]) -> None:
    bad = [value for value in values if not 2 <= value <= 1_000]
    found = faults({SLOW: values})
    assert bool(found) == bool(bad) and [finding.value for finding in found] == bad[:3]


def test_nothing_runs_and_all_faults_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stratnb.research.trials.run_batch", lambda *_a, **_o: pytest.fail("it ran"))
    space: dict[str, Any] = {FAST: ["a", -1, 5], "entry.mode": ["vot"], SCORE: [0.2], "nowhere": [1]}
    candles, file = walk(3_000), tmp_path / "kept.parquet"
    calls = [
        lambda: sweep(EMA, candles, space, market=MARKET, ledger=False, path=file),
        lambda: walk_forward(EMA, candles, space, train=1_000, test=500, market=MARKET, ledger=False),
    ]
    for call in calls:
        with pytest.raises(ConfigError) as error:
            call()
        told = [(finding.path, finding.code) for finding in error.value.findings]
        assert told == [("nowhere", "unknown_path"), (FAST, "type"), (FAST, "range"), ("entry.mode", "enum")]
    assert not file.exists()


def test_the_command_says_it_the_same_way(tmp_path: Path) -> None:
    candles, document = tmp_path / "AAA_USDT_1m.csv", tmp_path / "swept.json"
    series = walk(600)
    rows = zip(series.open_time_ms, series.open, series.high, series.low, series.close, series.volume, strict=True)
    text = "\n".join(",".join(map(str, row)) for row in rows)
    candles.write_text(f"time,open,high,low,close,volume\n{text}\n")
    document.write_text(json.dumps(EMA))
    asked = [str(document), str(candles), "--grid", f"{FAST}=-1,5", "--grid", "entry.mode=vot,vote"]
    for extra in (["sweep"], ["walk-forward"]):
        windows = ["--train", "200", "--test", "100"] if extra == ["walk-forward"] else []
        done = CliRunner().invoke(app, [*extra, *asked, *windows, "--symbol", "AAA/USDT", "--timeframe", "1m"])
        assert done.exit_code != 0
        text = done.output + (done.stderr if done.stderr_bytes else "")
        assert f"{FAST}: -1 is out of range" in text and "did you mean 'vote'" in text, text


@pytest.mark.parametrize("name", library())
def test_what_a_document_says_itself_is_never_refused(name: str) -> None:
    document = build_config(name, symbol="BTC/USDT").config.to_document()
    idle = ("schema", "evidence", "market", *Header.model_fields)
    own = [(path, value) for path, value in leaves(document) if path.split(".")[0] not in idle]
    axes = [Axis(path, (value,)) for path, value in own if not isinstance(value, (dict, list))]
    assert len(axes) > 80 and value_faults(document, axes, symbol="BTC/USDT") == []
