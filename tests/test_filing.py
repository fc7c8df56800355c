"""Filing candles: everything checked first, merged by time, gaps told, built candles against filed ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stratnb.cli import app
from stratnb.errors import ConfigError
from stratnb.market_data import Archive, Candles, resample
from stratnb.market_data.filing import file_candles
from trading_cases import wander

runner = CliRunner()


def saved(candles: Candles, folder: Path, name: str) -> str:
    """Write candles as a CSV file and return its path."""
    path = folder / name
    candles.to_frame().to_csv(path)
    return str(path)


def filed(*arguments: str) -> Any:
    """Run the command and return its JSON."""
    result = runner.invoke(app, ["archive", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["series"]


def test_files_are_merged_and_gaps_told(tmp_path: Path) -> None:
    candles, to = wander(500, 3, symbol="BTC/USDT"), str(tmp_path / "archive")
    first = saved(candles[:300], tmp_path, "BTC_USDT_1m.csv")
    (row,) = filed(first, "--to", to)
    assert (row["added"], row["revised"], row["equal"]) == (300, 0, 0)
    second = saved(candles[350:], tmp_path, "BTC_USDT_1m.csv")
    (row,) = filed(second, "--to", to)
    assert row["added"] == 150
    (month,) = row["months"]
    assert (month["expected"], month["present"], month["missing"], month["longest_gap"]) == (500, 450, 50, 50)
    (row,) = filed(saved(candles, tmp_path, "BTC_USDT_1m.csv"), "--to", to)
    assert (row["added"], row["equal"]) == (50, 450)
    assert np.array_equal(Archive(to).read("import", "BTC/USDT", "1m").close, candles.close)


def test_filed_candles_are_compared_with_built_ones(tmp_path: Path) -> None:
    minutes, archive = wander(600, 3, symbol="BTC/USDT"), Archive(tmp_path)
    five = resample(minutes, "5m")
    rows = file_candles(archive, [minutes, five], "binance")
    assert rows[0]["differences"] == {}
    assert rows[1]["differences"] == {"1m": {"count": 0, "first": []}}
    high = five.high.copy()
    high[7] += 0.01
    other = Candles(five.symbol, "5m", five.open_time_ms, five.open, high, five.low, five.close, five.volume)
    (row,) = file_candles(archive, [other], "binance")
    assert row["revised"] == 1
    assert row["differences"]["1m"]["count"] == 1
    (one,) = row["differences"]["1m"]["first"]
    assert (one["field"], one["venue"] > one["built"]) == ("high", True)


def test_a_fault_in_one_file_writes_nothing(tmp_path: Path) -> None:
    to = tmp_path / "archive"
    good = saved(wander(20, 1, symbol="BTC/USDT"), tmp_path, "BTC_USDT_1m.csv")
    (tmp_path / "ETH_USDT_1m.csv").write_text("time,open\n1,2\n")
    result = runner.invoke(app, ["archive", good, str(tmp_path / "ETH_USDT_1m.csv"), "--to", str(to)])
    assert result.exit_code == 2
    assert "ETH_USDT_1m.csv" in result.output
    assert not to.exists()
    with pytest.raises(ConfigError, match=r"BTC/USDT 1m"):
        file_candles(Archive(to), [wander(5, 1, symbol="BTC/USDT"), wander(5, 2, symbol="BTC/USDT")])
    assert not to.exists()


def test_the_table_is_for_people(tmp_path: Path) -> None:
    path = saved(wander(20, 1, symbol="BTC/USDT"), tmp_path, "BTC_USDT_1m.csv")
    result = runner.invoke(app, ["archive", path, "--to", str(tmp_path / "archive")])
    assert "BTC/USDT 1m: 20 added, 0 revised, 0 known already" in result.output
    assert "20 of 20, 0 missing" in result.output
