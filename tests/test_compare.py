"""The difference report names every difference and no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import resample, synthetic_market
from stratnb.market_data.compare import difference_report

MINUTES = synthetic_market(["BTC/USDT"], "1m", candles=600, seed=5)[0]
FIVE = resample(MINUTES, "5m")


def test_equal_series_have_no_difference() -> None:
    assert difference_report(FIVE, FIVE).empty


def test_a_price_and_a_volume_that_differ_are_named() -> None:
    high, volume = FIVE.high.copy(), FIVE.volume.copy()
    high[3] += 1.0
    volume[7] *= 1.0 + 1e-8
    volume[8] *= 1.0 + 1e-12
    found = difference_report(FIVE, replace(FIVE, high=high, volume=volume))
    assert found["field"].tolist() == ["high", "volume"]
    assert (found["time"].astype("int64") // 10**6 == 0).sum() == 0
    assert found["venue"].tolist() == [high[3], volume[7]]


def test_partial_candles_are_left_out() -> None:
    flags = np.full(len(FIVE), 8, np.uint8)
    assert difference_report(replace(FIVE, flags=flags), replace(FIVE, high=FIVE.high + 1.0)).empty


def test_other_series_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be compared"):
        difference_report(FIVE, MINUTES)
