"""Market files: both shapes, and every fault named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from stratnb.errors import ConfigError
from stratnb.market_data.markets import load_markets


def write(folder: Path, text: str) -> Path:
    path = folder / "market.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        '{"ETH/BTC": {"tick": 1e-6, "lot": 0.001}}',
        '[{"symbol": "ETH/BTC", "tick": 1e-6, "lot": 0.001}]',
        '{"symbol": "ETH/BTC", "tick": 1e-6, "lot": 0.001}',
    ],
)
def test_every_shape_holds_the_same(text: str, tmp_path: Path) -> None:
    rows = load_markets(write(tmp_path, text))
    assert {symbol: row.known for symbol, row in rows.items()} == {"ETH/BTC": {"tick": 1e-6, "lot": 0.001}}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("{", "not_json", "market.json is not JSON"),
        ("3", "market_shape", "holds no markets"),
        ('{"ETHBTC": {}}', "market_invalid", "did you mean 'ETH/BTC'?"),
        ('{"ETH/BTC": {"tik": 1}}', "market_invalid", "did you mean 'tick'?"),
        ('{"ETH/BTC": {"tick": 0, "lot": "x"}}', "market_invalid", "has 2 faults"),
        ('{"ETH/BTC": {"tick": NaN}}', "market_invalid", "ETH/BTC.tick"),
        ('[{"tick": 1}]', "market_invalid", "[0]"),
    ],
)
def test_every_fault_is_told(text: str, code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_markets(write(tmp_path, text))
    assert caught.value.code == code
    assert said in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json"):
        load_markets(tmp_path / "no.json")
