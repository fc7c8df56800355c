"""Candles are valid by construction, read-only, and say what they hold."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import Candles, market_from

COLUMNS = ("open_time_ms", "open", "high", "low", "close", "volume", "flags")
MINUTE = 60_000


def some(n: int = 6, *, symbol: str = "BTC/USDT", times: list[int] | None = None, **changed: object) -> Candles:
    """Return n valid candles, with columns replaced."""
    columns: dict[str, object] = {
        "open_time_ms": np.arange(n) * MINUTE if times is None else np.array(times),
        "open": np.arange(n) + 10.0,
        "high": np.arange(n) + 12.0,
        "low": np.arange(n) + 9.0,
        "close": np.arange(n) + 11.0,
        "volume": np.full(n, 2.5),
    }
    return Candles(symbol, "1m", **(columns | changed))  # type: ignore[arg-type]


def test_columns_are_contiguous_read_only_copies_of_the_given_ones() -> None:
    given = np.array([10.0, 11.0, 12.0])
    candles = some(3, open=given)
    given[0] = 99.0
    assert candles.open[0] == 10.0
    for name in COLUMNS:
        column = getattr(candles, name)
        assert column.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    assert (candles.open_time_ms.dtype, candles.open.dtype, candles.flags.dtype) == (np.int64, np.float64, np.uint8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        candles.symbol = "X/Y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("candles_order", {"times": [0, 1, 1]}),
        ("candles_order", {"times": [0, 2, 1]}),
        ("candles_nan", {"close": [11.0, np.nan, 13.0]}),
        ("candles_nan", {"volume": [1.0, np.inf, 1.0]}),
        ("candles_price", {"low": [9.0, 0.0, 9.0]}),
        ("candles_ohlc", {"high": [12.0, 11.5, 14.0]}),
        ("candles_ohlc", {"low": [9.0, 11.5, 11.0]}),
        ("candles_volume", {"volume": [1.0, -1.0, 1.0]}),
        ("candles_length", {"volume": [1.0, 1.0]}),
        ("candles_length", {"volume": [[1.0, 1.0, 1.0]]}),
        ("candles_type", {"open": ["a", "b", "c"]}),
        ("candles_type", {"open_time_ms": [0.0, 1.5, 2.0]}),
        ("symbol_missing", {"symbol": " "}),
    ],
)
def test_impossible_candles_are_refused_with_place_and_remedy(code: str, changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        some(3, **changed)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.hint
    if code in ("candles_nan", "candles_price", "candles_ohlc", "candles_volume"):
        assert "row 1 (1970-01-01 00:01 UTC)" in str(caught.value)


def test_an_unknown_timeframe_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean '5m'"):
        dataclasses.replace(some(1), timeframe="5min")


def test_a_slice_is_a_view_by_position_and_between_a_view_by_time() -> None:
    candles = some(6)
    part = candles[2:4]
    assert part.open_time_ms.tolist() == [2 * MINUTE, 3 * MINUTE]
    assert np.shares_memory(part.close, candles.close)
    assert len(candles[-2:]) == 2
    assert candles.between(2 * MINUTE, 4 * MINUTE).close.tolist() == part.close.tolist()
    assert len(candles.between()) == 6
    assert len(candles.between(2 * MINUTE + 1, 3 * MINUTE)) == 0
    for wrong in (slice(0, 6, 2), 3):
        with pytest.raises(ConfigError, match="use candles"):
            candles[wrong]  # type: ignore[index]


def test_rows_are_the_columns_side_by_side() -> None:
    candles = some(4)
    rows = candles.rows()
    assert rows.shape == (4, 6)
    assert rows.flags.c_contiguous
    assert rows[1].tolist() == [11.0, 13.0, 10.0, 12.0, 2.5, 60_000.0]
    assert candles.close_time_ms.tolist() == [MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE]
    assert some(0).rows().shape == (0, 6)


def test_a_frame_is_indexed_by_utc_time() -> None:
    frame = some(2).to_frame()
    assert str(frame.index[1]) == "1970-01-01 00:01:00+00:00"
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "flags"]
    frame.loc[:, "open"] = 5.0


def test_copies_and_pickles_are_equal_and_read_only() -> None:
    candles = some(3, flags=[0, 1, 8])
    for twin in (copy.deepcopy(candles), pickle.loads(pickle.dumps(candles))):
        assert all(np.array_equal(getattr(twin, name), getattr(candles, name)) for name in COLUMNS)
        assert not twin.close.flags.writeable
    assert candles.is_synthetic


def test_gaps_are_counted_in_candles() -> None:
    gaps = some(4, times=[0, MINUTE, 4 * MINUTE, 6 * MINUTE]).gaps()
    assert (gaps.count, gaps.total, gaps.longest) == (2, 3, 2)
    assert gaps.after_ms.tolist() == [MINUTE, 4 * MINUTE]
    assert str(gaps) == "2 gaps, 3 candles missing, longest 2"
    assert gaps.to_frame()["missing"].tolist() == [2, 1]
    assert str(some(3).gaps()) == "no gaps"


def test_what_is_shown_is_one_line_and_escaped() -> None:
    assert repr(some(2)) == "Candles('BTC/USDT', '1m', 2 candles, 1970-01-01 00:00 to 1970-01-01 00:01 UTC)"
    shown = some(2, symbol="<img src=x onerror=alert(1)>/USD")._repr_html_()
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert "0 candles" in repr(some(0))


def flat(prices: list[float], volume: float = 0.123) -> Candles:
    return some(len(prices), open=prices, high=prices, low=prices, close=prices, volume=[volume] * len(prices))


@pytest.mark.parametrize(
    ("prices", "tick"),
    [
        ([0.00003801, 0.0000379], 1e-8),
        ([9094.18, 9098.0], 0.01),
        ([0.1 + 0.2, 0.7], 0.1),
        ([1.07160, 1.07219], 1e-5),
        ([50_000.0, 50_100.0], 1.0),
        ([1 / 3, 2 / 3], 1e-7),
    ],
)
def test_the_tick_is_the_coarsest_step_that_represents_the_prices(prices: list[float], tick: float) -> None:
    assert market_from(flat(prices)).tick == tick


@pytest.mark.parametrize(
    ("price", "volume", "lot"),
    [(100.0, 0.123, 0.001), (0.5, 7.0, 1.0), (40_000.0, 7.0, 1e-4), (100.0, 0.0, 1e-6), (5000.0, 1 / 3, 1e-8)],
)
def test_the_lot_is_the_step_of_the_volumes_or_a_fine_one(price: float, volume: float, lot: float) -> None:
    assert market_from(flat([price, price], volume)).lot == lot


def test_what_is_known_is_not_inferred() -> None:
    market = market_from(flat([1.25]), tick=0.05, taker_fee=0.0)
    assert (market.tick, market.taker_fee, market.inferred, market.min_notional) == (0.05, 0.0, ("lot",), 0.0)
    assert market_from(flat([1.25])).inferred == ("lot", "tick")
    with pytest.raises(ConfigError, match="known fields"):
        market_from(flat([1.25]), tikc=0.05)


def test_importing_candles_loads_neither_pandas_nor_arrow() -> None:
    code = "import sys, stratnb.market_data; print([m for m in ('pandas', 'pyarrow', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
