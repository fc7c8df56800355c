"""Resampling gives what a stream of closed candles gives, and what the venue gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratnb.errors import ConfigError
from stratnb.market_data import Candles, load_candles, resample
from stratnb.market_data.candles import PARTIAL, SYNTHETIC

SHARED = Path(__file__).parents[2] / "shared" / "data"
MINUTE = 60_000
NAMES = ("open_time_ms", "open", "high", "low", "close", "volume", "flags")


def market(minutes: np.ndarray, seed: int = 1) -> Candles:
    """Return one-minute candles at the given minutes, with volumes whose sums depend on the order."""
    rng = np.random.default_rng(seed)
    prices = np.sort(rng.uniform(50, 150, (4, minutes.size)), axis=0)
    volume = rng.lognormal(0, 6, minutes.size)
    flags = rng.choice([0, SYNTHETIC], minutes.size)
    return Candles("A/B", "1m", minutes * MINUTE, prices[1], prices[3], prices[0], prices[2], volume, flags)


def streamed(candles: Candles, length: int) -> list[list[float]]:
    """Return the closed groups, candle by candle."""
    closed: list[list[float]] = []
    group: list[float] | None = None
    withheld, count = False, 0

    def close() -> None:
        nonlocal group
        assert group is not None
        if not withheld:
            group[6] = int(group[6]) | (PARTIAL if count < length // candles.timeframe_ms else 0)
            closed.append(group)
        group = None

    for i in range(len(candles)):
        time, o, h, low, c, v, flags = (getattr(candles, name)[i].item() for name in NAMES)
        if group is not None and time >= group[0] + length:
            close()
        if group is None:
            start = time // length * length
            withheld, count = i == 0 and time != start, 1
            group = [start, o, h, low, c, v, flags]
        else:
            count += 1
            group[2:] = [max(group[2], h), min(group[3], low), c, group[5] + v, int(group[6]) | flags]
        if time + candles.timeframe_ms == group[0] + length:
            close()
    return closed


def columns(candles: Candles) -> list[list[float]]:
    return [list(row) for row in zip(*(getattr(candles, name).tolist() for name in NAMES), strict=True)]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 200), min_size=1), st.sampled_from(["3m", "5m", "15m", "1h"]), st.integers(0, 99))
def test_resampling_equals_the_stream_bit_for_bit(minutes: set[int], timeframe: str, seed: int) -> None:
    candles = market(np.array(sorted(minutes)) + 28_000_000, seed)
    built = resample(candles, timeframe)
    assert columns(built) == streamed(candles, built.timeframe_ms)


def test_volumes_are_added_in_order_even_in_large_groups() -> None:
    candles = market(np.arange(2 * 1440) + 1440 * 17_000)
    built = resample(candles, "1d")
    assert len(built) == 2
    for day in range(2):
        total = 0.0
        for volume in candles.volume[day * 1440 : (day + 1) * 1440].tolist():
            total += volume
        assert built.volume[day] == total


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 120), min_size=2), st.integers(1, 100))
def test_resampling_is_causal(minutes: set[int], seen: int) -> None:
    candles = market(np.array(sorted(minutes)))
    early, late = columns(resample(candles[:seen], "5m")), columns(resample(candles, "5m"))
    assert late[: len(early)] == early


def test_only_groups_cut_by_the_ends_are_withheld() -> None:
    whole = market(np.arange(15))
    assert resample(whole, "5m").open_time_ms.tolist() == [0, 5 * MINUTE, 10 * MINUTE]
    assert resample(whole[1:14], "5m").open_time_ms.tolist() == [5 * MINUTE]
    holes = market(np.array([0, 1, 7, 9, 20, 24]))
    built = resample(holes, "5m")
    assert built.open_time_ms.tolist() == [0, 5 * MINUTE, 20 * MINUTE]
    assert (built.flags & PARTIAL).tolist() == [PARTIAL] * 3
    assert len(resample(whole[1:3], "5m")) == 0
    assert len(resample(whole[:0], "5m")) == 0


def test_steps_can_be_chained() -> None:
    candles = market(np.arange(600))
    at_once, in_two = resample(candles, "1h"), resample(resample(candles, "5m"), "1h")
    for name in NAMES:
        same = np.allclose if name == "volume" else np.array_equal
        assert same(getattr(at_once, name), getattr(in_two, name))
    assert resample(candles, "1m") is candles


def test_a_timeframe_that_is_no_multiple_is_refused() -> None:
    hourly = resample(market(np.arange(240)), "1h")
    with pytest.raises(ConfigError, match=r"not a multiple.*from 1h these can: 2h, 4h"):
        resample(hourly, "5m")
    with pytest.raises(ConfigError, match="timeframe '10m' is not known"):
        resample(hourly, "10m")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recorded candles beside the project")
@pytest.mark.parametrize(("low", "high"), [("1m", "5m"), ("1m", "1h"), ("5m", "1h"), ("1h", "4h"), ("1h", "1d")])
def test_built_candles_equal_those_of_the_venue(low: str, high: str) -> None:
    candles, _ = load_candles(SHARED / f"btc_usdt_binance_{low}_2018-04.parquet")
    venue, _ = load_candles(SHARED / f"btc_usdt_binance_{high}_2018-04.parquet")
    built = resample(candles, high)
    complete = built.flags & PARTIAL == 0
    common, ours, theirs = np.intersect1d(built.open_time_ms[complete], venue.open_time_ms[:-1], return_indices=True)
    assert common.size >= 4
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(built, name)[complete][ours], getattr(venue, name)[theirs])
    assert np.abs(built.volume[complete][ours] / venue.volume[theirs] - 1).max() < 1e-9
