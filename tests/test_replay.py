"""Headless replays: what comes of them, twice the same, and wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stratnb.cli import app
from stratnb.market_data import Candles, resample, synthetic_market
from stratnb.replay import ReplaySettings, replay, table

SHARED = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("level-trading-single-ema", "trend-rider")
runner = CliRunner()

Files = tuple[Path, ...]


def write(folder: Path, candles: Candles, name: str = "") -> Path:
    path = folder / (name or f"{candles.symbol.replace('/', '_')}_{candles.timeframe}.csv".lower())
    candles.to_frame().drop(columns="flags").to_csv(path, index_label="open_time")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("candles")
    market = synthetic_market(["BTC/USDT", "ETH/USDT"], candles=6_000, seed=11)
    return tuple(write(folder, resample(series, "5m")) for series in market)


def settings(files: Iterable[Path], **changes: Any) -> ReplaySettings:
    return ReplaySettings(files=tuple(files), strategies=NAMES, **changes)


def run(*words: object) -> Result:
    return runner.invoke(app, ["replay", *map(str, words)])


def without_times(result: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in result.items() if name != "timing"}, allow_nan=False)


def test_two_runs_differ_in_their_times_only(files: Files) -> None:
    first, second = (replay(settings(files, switch_every=100)) for _ in range(2))
    assert without_times(first) == without_times(second)


def test_the_sums_are_those_of_the_instances(files: Files) -> None:
    found = replay(settings(files, switch_every=100))
    rows = found["instances"]
    assert [row["id"] for row in rows] == [f"{name}@{s}/USDT#main" for name in NAMES for s in ("BTC", "ETH")]
    assert (found["candles"], found["instants"]) == (2_400, 1_200)
    for name in ("decisions", "fills", "trades"):
        assert found[name] == sum(row[name] for row in rows) > 0
        assert found[name] == sum(row[name] for row in found["strategies"].values())
    assert found["pnl"] == pytest.approx(sum(row["pnl"] for row in rows))
    assert found["equity"] == pytest.approx(found["cash"] + found["pnl"])
    assert found["parity"] == {"checked": 4, "identical": 4, "verdict": True}
    assert all(row["parity"]["identical"] for row in rows)


def test_the_active_one_rotates_through_all(files: Files) -> None:
    found = replay(settings(files, switch_every=100, parity=False))
    switches, cache = found["switches"], found["cache"]
    assert switches["count"] == 11 == switches["succeeded"] + switches["failed"]
    assert switches["caught_up_candles"] > 0
    assert found["timing"]["switch_ms"]["count"] == switches["succeeded"]
    assert cache["misses"] == 4
    assert cache["hits"] > 1_200
    assert found["parity"] == {"checked": 0, "identical": 0, "verdict": None}
    assert "not checked" in table(found) and "0 of 0" not in table(found)
    assert found["events"]["by_type"]["STRATEGY_SWITCHED"] == switches["succeeded"]


def test_a_small_cache_evicts_and_a_refusing_policy_refuses(files: Files) -> None:
    found = replay(settings(files, switch_every=40, capacity=2, policy="refuse", parity=False))
    assert found["cache"]["evictions"] > 0
    assert found["switches"]["failures"].keys() <= {"position_open", "capacity"}
    assert found["switches"]["failures"]["position_open"] > 0


def test_in_parallel_all_are_active_and_the_cache_has_room(files: Files) -> None:
    found = replay(settings(files, mode="parallel", capacity=2, switch_every=5, parity=False))
    assert [row["state"] for row in found["instances"]] == ["active"] * 4
    assert [row["decisions"] for row in found["instances"]] == [1_200] * 4
    assert found["cache"]["capacity"] == 4
    assert [note.split(" ")[0] for note in found["notes"]] == ["the", "switch_every"]


def test_a_finite_speed_gives_the_same(files: Files) -> None:
    slow, fast = (
        replay(settings(files[:1], switch_every=300, parity=False, speed=speed)) for speed in (5e6, float("inf"))
    )
    assert slow.pop("speed") == 5e6
    assert fast.pop("speed") == "max"
    assert without_times(slow) == without_times(fast)


def test_gaps_and_inferred_precision_are_told(files: Files, tmp_path: Path) -> None:
    lines = files[0].read_text().splitlines(keepends=True)
    path = tmp_path / files[0].name
    path.write_text("".join([*lines[:500], *lines[503:]]))
    market = tmp_path / "market.json"
    market.write_text('{"BTC/USDT": {"tick": 0.5, "taker_fee": 0.0005}}')
    told = replay(settings([path], market_file=market))
    row = told["markets"][0]
    assert row["quality"]["gaps"] == {"count": 1, "missing": 3, "longest": 3}
    assert told["gaps"] == 1
    assert (row["tick"], row["taker_fee"], row["inferred"]) == (0.5, 0.0005, ["lot"])
    assert told["parity"]["verdict"] is True
    assert "1 gaps, 3 candles missing" in table(told)


def test_overrides_reach_every_strategy(files: Files) -> None:
    told = run("--candles", files[0], "--strategies", ",".join(NAMES), "--set", "timeframes.primary=10m")
    assert told.exit_code == 2
    assert "timeframes.primary" in told.output
    good = run("--candles", files[0], "--strategies", ",".join(NAMES), "--set", "timeframes.trend=4h", "--json")
    assert json.loads(good.stdout)["overrides"] == {"timeframes.trend": "4h"}


def test_the_command_takes_what_a_shell_makes_of_a_glob(files: Files) -> None:
    words = [*("--candles", *map(str, files)), *("--strategies", ",".join(NAMES)), "--switch-every", "500", "--json"]
    command = [sys.executable, "-c", "from stratnb.cli import app; app()", "replay", *words, "--speed", "max"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert [row["file"] for row in found["markets"]] == [path.name for path in files]
    assert without_times(found) == without_times(replay(settings(files, switch_every=500)))


def test_a_table_is_for_people(files: Files) -> None:
    told = run("--candles", files[0], "--strategies", NAMES[0])
    assert told.exit_code == 0
    assert "identical" in told.stdout
    assert f"{NAMES[0]}@BTC/USDT#main" in told.stdout


def test_backtest_prints_its_figures(files: Files) -> None:
    told = runner.invoke(app, ["backtest", NAMES[0], str(files[0]), "--json"])
    assert json.loads(told.stdout)["figures"]["trades"] > 0
    wrong = runner.invoke(app, ["backtest", "trend-ridr", str(files[0])])
    assert wrong.exit_code == 2
    assert "trend-rider" in wrong.output


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown strategy": (("--strategies", "trend-ridr"), "did you mean 'trend-rider'?"),
    "no strategy": (("--strategies", " , "), "[no_strategies]"),
    "a strategy twice": (("--strategies", "trend-rider,trend-rider"), "[duplicate_strategy]"),
    "unknown mode": (("--mode", "exclusiv"), "did you mean 'exclusive'?"),
    "unknown policy": (("--policy", "kep"), "did you mean 'keep'?"),
    "speed in words": (("--speed", "quick"), "'quick' is neither a number nor max"),
    "speed 0": (("--speed", "0"), "[speed]"),
    "switching every 0": (("--switch-every", "0"), "[range] switch_every"),
    "capacity 0": (("--capacity", "0"), "[cache_capacity]"),
    "cash 0": (("--cash", "0"), "[range] cash"),
    "cash nan": (("--cash", "nan"), "[range] cash"),
    "too many symbols": (("--symbol", "A/B,C/D"), "2 symbols are given for 1 files"),
    "no market file": (("--market", "no.json"), "[file_missing]"),
    "an override without a value": (("--set", "entry.mode"), "[override]"),
    "unknown repair": (("--repair", "al"), "[unknown_repair]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_errors_in_words(case: str, files: Files) -> None:
    words, said = WRONG[case]
    told = run("--candles", files[0], *(() if words[0] == "--strategies" else ("--strategies", NAMES[0])), *words)
    assert told.exit_code == 2, told.output
    assert said in told.output
    assert "Traceback" not in told.output


def _missing(files: Files, _: Path) -> tuple[Files, str]:
    return (files[0].with_name("no_such_5m.csv"),), "[file_missing]"


def _twice(files: Files, _: Path) -> tuple[Files, str]:
    return (files[0], files[0]), "[duplicate_symbol]"


def _no_parquet(_: Files, folder: Path) -> tuple[Files, str]:
    path = folder / "btc_usdt_5m.parquet"
    path.write_text("open,high,low,close\n")
    return (path,), "is not a Parquet file"


def _other_quote(files: Files, folder: Path) -> tuple[Files, str]:
    candles = synthetic_market(["ETH/BTC"], "5m", candles=10)[0]
    return (files[0], write(folder, candles)), "not BTC: ETH/BTC; USDT: BTC/USDT"


def _other_timeframe(files: Files, folder: Path) -> tuple[Files, str]:
    candles = synthetic_market(["ADA/USDT"], "1m", candles=10)[0]
    return (files[0], write(folder, candles)), "[timeframe_mixed]"


@pytest.mark.parametrize("make", [_missing, _twice, _no_parquet, _other_quote, _other_timeframe])
def test_wrong_files_are_errors_in_words(
    make: Callable[[Files, Path], tuple[Files, str]], files: Files, tmp_path: Path
) -> None:
    given, said = make(files, tmp_path)
    told = run("--candles", *given, "--strategies", NAMES[0])
    assert told.exit_code == 2, told.output
    assert said in told.output


def test_markets_of_other_files_are_refused(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "market.json"
    path.write_text('{"BTC/USDC": {"tick": 0.5}}')
    told = run("--candles", files[0], "--strategies", NAMES[0], "--market", path)
    assert told.exit_code == 2
    assert "no candles of 'BTC/USDC'" in told.output


@pytest.mark.skipif(not SHARED.exists(), reason="the shared candles are not here")
def test_real_candles_with_gaps_agree_with_their_backtest() -> None:
    names = ("simple-levels", "trend-rider")
    path = SHARED / "unittest_btc_1m_2017.parquet"
    found = replay(ReplaySettings(files=(path,), strategies=names, switch_every=500))
    assert found["gaps"] == 538
    assert found["trades"] > 0
    assert found["parity"]["verdict"] is True
