"""A saved run reads back as it was, knows its candles, and is never written over or read from something else."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError, Refused
from stratnb.kernels import layout as at
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.research.backtest import DENIAL_NAMES, Backtest, backtest, load_run
from stratnb.research.runs import fingerprint


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], candles=9_000, seed=3)[0]


@pytest.fixture(scope="module")
def run(candles: Candles) -> Backtest:
    return backtest("simple-levels", candles, decisions="entries")


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_saved_run_reads_back_to_the_last_bit(run: Backtest, candles: Candles, tmp_path: Path, name: str) -> None:
    path = run.save(tmp_path / name)
    again = load_run(path)
    assert len(run.trades) > 10
    assert again.trades.equals(run.trades) and again.fills.equals(run.fills) and again.equity.equals(run.equity)
    assert np.array_equal(again.planned_stops, run.planned_stops, equal_nan=True)
    assert again.figures == run.figures
    assert again.reasons == run.reasons and again.denials == run.denials
    assert again.ambiguous_candles == run.ambiguous_candles
    assert (again.gaps.count, again.cash, again.capital) == (run.gaps.count, 10_000.0, run.capital)
    assert again.to_json() == run.saved().to_json()
    assert again.matches(candles) and not again.matches(candles[1:])
    assert str(len(candles)) in repr(again)


def test_the_saved_document_is_the_same_run(run: Backtest, candles: Candles, tmp_path: Path) -> None:
    again = load_run(run.save(tmp_path / "run.json"))
    rerun = backtest(again.document, candles, market=Market(**again.market), cash=again.cash)
    assert np.array_equal(rerun.equity_curve, run.equity_curve)
    assert np.array_equal(rerun.fill_rows, run.fill_rows)


def test_a_file_is_never_written_over_nor_left_half(run: Backtest, tmp_path: Path) -> None:
    path = run.save(tmp_path / "run.json")
    before = path.read_bytes()
    with pytest.raises(Refused) as caught:
        run.save(path)
    assert caught.value.code == "file_exists" and path.read_bytes() == before
    assert run.save(path, overwrite=True) == path
    for wrong, code in (("run.pkl", "file_ending"), ("nowhere/run.json", "folder_missing")):
        with pytest.raises(ConfigError) as found:
            run.save(tmp_path / wrong)
        assert found.value.code == code and found.value.hint
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\x80\x04.", b'{"kind": "stratnb backtest", "schema": 2}', b"\x1f\x8bbroken", b"null"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert caught.value.code == "run_file"


def test_a_damaged_run_and_a_missing_one_are_refused(run: Backtest, tmp_path: Path) -> None:
    whole = json.loads(run.saved().to_json())
    del whole["trades"]["columns"][0]
    (tmp_path / "a.json").write_bytes(gzip.compress(json.dumps(whole).encode()))
    for name, code in (("a.json", "run_file"), ("b.json", "file_missing")):
        with pytest.raises(ConfigError) as caught:
            load_run(tmp_path / name)
        assert caught.value.code == code


def test_planned_stops_are_those_of_the_entry_decisions(run: Backtest, candles: Candles) -> None:
    every = backtest("simple-levels", candles, decisions=True)
    entered = every.decision_rows[every.decision_rows[:, at.D_ACTION] == at.ENTER]
    assert np.array_equal(run.decision_rows, entered, equal_nan=True)
    assert np.array_equal(every.planned_stops, run.planned_stops, equal_nan=True)
    for trade, stop in zip(run.closed_trades, run.planned_stops, strict=True):
        assert trade.direction * (trade.entry_price - stop) > 0.0
    assert np.isnan(backtest("simple-levels", candles).planned_stops).all()


def test_denials_are_reasons_and_gaps_are_those_of_the_candles_that_ran(candles: Candles) -> None:
    part = np.r_[0:2_000, 2_040:6_000, 6_003:9_000]
    broken = Candles(
        candles.symbol,
        candles.timeframe,
        *(getattr(candles, name)[part] for name in ("open_time_ms", "open", "high", "low", "close", "volume")),
    )
    stopped = iter([False, True])
    told: list[tuple[int, int]] = []
    tiny = {"risk.max_daily_loss": 0.001}
    run = backtest("simple-levels", broken, overrides=tiny, progress=lambda done, n: told.append((done, n)))
    assert run.denials == {name: n for name, n in run.reasons.items() if name in DENIAL_NAMES}
    assert run.denials["daily_loss"] > 0 and "low_score" not in run.denials
    assert run.gaps.missing.tolist() == [40, 3]
    assert told == [(0, len(broken)), (len(broken), len(broken))]
    none = backtest("simple-levels", broken, cancelled=lambda: next(stopped) or True)
    assert none.gaps.count == 0 and none.fills.empty and none.trades.empty


def test_a_fingerprint_changes_with_any_value(candles: Candles) -> None:
    close = candles.close.copy()
    close[5] = math.nextafter(close[5], 0.0)
    columns = (candles.open_time_ms, candles.open, candles.high, candles.low, close, candles.volume)
    other = Candles(candles.symbol, candles.timeframe, *columns)
    assert fingerprint(candles) != fingerprint(other)
    assert fingerprint(candles) == fingerprint(candles[:])


def sealed(whole: dict[str, Any]) -> str:
    """Return a changed run with the hash of what it says now."""
    text = json.dumps({name: value for name, value in whole.items() if name != "sha256"})
    return f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}'


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an equity point less": lambda whole: whole["equity"]["equity"].pop(),
    "a document that is none": lambda whole: whole.update(document=5),
    "text in trades": lambda whole: whole["trades"]["rows"][0].__setitem__(-4, "much"),
    "a planned stop less": lambda whole: whole["planned_stops"].pop(),
    "a text as capital": lambda whole: whole.update(capital="1000"),
    "times back": lambda whole: whole["equity"]["close_ms"].reverse(),
    "a huge number": lambda whole: whole["equity"]["close_ms"].__setitem__(0, 10**400),
    "an unknown timeframe": lambda whole: whole.update(timeframe="7m"),
    "a gap less": lambda whole: whole["gaps"]["missing"].append(1),
    "a list as limits": lambda whole: whole.update(limits=[]),
    "complete as a number": lambda whole: whole.update(complete=1),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=list(WRONG))
def test_a_run_whose_parts_do_not_fit_is_refused_even_with_its_hash(
    run: Backtest, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    whole = json.loads(run.saved().to_json())
    path = tmp_path / "run.json"
    path.write_text(sealed(whole))
    assert load_run(path).name == run.name
    change(whole)
    path.write_text(sealed(whole))
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert caught.value.code == "run_file"


def test_any_changed_value_is_noticed(run: Backtest, tmp_path: Path) -> None:
    whole = json.loads(run.saved().to_json())
    path = tmp_path / "run.json"
    for name in sorted(set(whole) - {"sha256"}):
        path.write_text(json.dumps(whole | {name: [whole[name]]}))
        with pytest.raises(ConfigError) as caught:
            load_run(path)
        assert caught.value.code == "run_file"


def test_a_damaged_file_is_refused_wherever_it_is_damaged(run: Backtest, tmp_path: Path) -> None:
    good = gzip.compress(run.saved().to_json().encode(), mtime=0)
    path = tmp_path / "run.json.gz"
    for at_byte in np.linspace(12, len(good) - 1, 40).astype(int):
        path.write_bytes(good[:at_byte] + bytes([good[at_byte] ^ 0x55]) + good[at_byte + 1 :])
        with pytest.raises(ConfigError):
            load_run(path)
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 10_000):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_run(path)
