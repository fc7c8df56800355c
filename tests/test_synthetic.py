"""The synthetic market is seeded, plausible, and always labelled."""

from __future__ import annotations

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import Candles, market_from, synthetic_market
from stratnb.market_data.candles import SYNTHETIC

NAMES = ("open_time_ms", "open", "high", "low", "close", "volume", "flags")


@pytest.fixture(scope="module")
def market() -> list[Candles]:
    return synthetic_market(candles=8_000)


def test_equal_seeds_give_equal_bits_and_others_differ(market: list[Candles]) -> None:
    again, other = synthetic_market(candles=8_000), synthetic_market(candles=8_000, seed=8)
    for mine, same, different in zip(market, again, other, strict=True):
        assert all(getattr(mine, name).tobytes() == getattr(same, name).tobytes() for name in NAMES)
        assert not np.array_equal(mine.close, different.close)


def test_ten_symbols_share_one_grid_without_gaps_and_are_labelled(market: list[Candles]) -> None:
    assert len({candles.symbol for candles in market}) == 10
    for candles in market:
        assert np.array_equal(candles.open_time_ms, market[0].open_time_ms)
        assert candles.gaps().count == 0
        assert (candles.flags == SYNTHETIC).all()
        assert np.array_equal(candles.open[1:], candles.close[:-1])
        assert (candles.volume > 0).all()


def test_prices_stand_on_a_sensible_tick(market: list[Candles]) -> None:
    for candles in market:
        tick = market_from(candles).tick
        assert 1e-7 < tick / candles.close[0] < 1e-4


def test_volatility_is_clustered(market: list[Candles]) -> None:
    for candles in market:
        size = np.abs(np.diff(np.log(candles.close)))
        assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1


def test_regimes_show_as_trends_ranges_and_loud_stretches(market: list[Candles]) -> None:
    stretch = 120
    for candles in market:
        returns = np.diff(np.log(candles.close))
        parts = returns[: returns.size // stretch * stretch].reshape(-1, stretch)
        noise = parts.std(axis=1)
        assert np.quantile(noise, 0.95) > 2 * np.quantile(noise, 0.1)
        # A random walk ends about one standard deviation away; trends end far off on both sides, ranges near.
        score = parts.sum(axis=1) / (noise * np.sqrt(stretch))
        assert score.max() > 1.5
        assert score.min() < -1.5
        assert np.abs(score).min() < 0.3


def test_symbols_move_together_but_not_alike(market: list[Candles]) -> None:
    related = np.corrcoef([np.diff(np.log(candles.close)) for candles in market])[np.triu_indices(10, 1)]
    assert related.min() > 0.1
    assert related.max() < 0.9


def test_volume_follows_the_time_of_day(market: list[Candles]) -> None:
    hours = market[0].open_time_ms // 3_600_000 % 24
    total = np.mean([candles.volume / candles.volume.mean() for candles in market], axis=0)
    assert total[hours == 15].mean() > 1.5 * total[hours == 3].mean()


def test_time_starts_on_the_grid_and_longer_candles_move_more() -> None:
    minutes = synthetic_market(["A/B"], candles=500, start_ms=90_001)[0]
    hours = synthetic_market(["A/B"], "1h", candles=500)[0]
    assert minutes.open_time_ms[0] == 60_000
    assert np.std(np.diff(np.log(hours.close))) > 4 * np.std(np.diff(np.log(minutes.close)))


@pytest.mark.parametrize(
    ("symbols", "candles", "seed"), [([], 5, 1), (["A/B"], 0, 1), (["A/B", "A/B"], 5, 1), (["A/B"], 5, -1)]
)
def test_impossible_wishes_are_refused(symbols: list[str], candles: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="different symbols"):
        synthetic_market(symbols, candles=candles, seed=seed)
