"""Figures of trades and of what was held, against formulas by hand and values of scipy 1.17.1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.model import Fill, Trade
from stratnb.research.results import activity_figures, excursions, exposure, hour_weekday, result_figures, round_trips

HOUR_MS = 3_600_000
MONDAY_MS = 4 * 24 * HOUR_MS  # 1970-01-05


def trade(pnl: float, *, start: int = 0, end: int = 60, direction: int = 1, out: float = 100.0) -> Trade:
    return Trade("s", "A/B", 1, direction, 1.0, start, 100.0, end, out, pnl, 1.0, pnl / 100.0, "stop", 2)


def fill(
    side: str, quantity: float, price: float, time_ms: int, *, after: float, no: int = 1, won: float = 0.0
) -> Fill:
    return Fill("s", "A/B", side, quantity, price, 0.5, time_ms, "x", won, after, no)  # type: ignore[arg-type]


def test_the_t_test_is_that_of_scipy() -> None:
    pnl = np.random.default_rng(5).normal(3, 40, 60)
    assert result_figures([trade(float(p)) for p in pnl])["p_value"] == pytest.approx(0.25952287810069136, rel=1e-9)


@given(pnls=st.lists(st.sampled_from([-30.0, -10.0, 0.0, 5.0, 20.0]), max_size=30))
def test_streaks_kelly_and_fees_by_hand(pnls: list[float]) -> None:
    found = result_figures([trade(p) for p in pnls])
    text = "".join("w" if p > 0 else "l" if p < 0 else "." for p in pnls)
    for letter, name in (("w", "wins_in_a_row"), ("l", "losses_in_a_row")):
        other = text.replace("l" if letter == "w" else "w", ".")
        assert found[name] == (max(map(len, other.split("."))) if pnls else None)
    wins, losses = [p for p in pnls if p > 0], [p for p in pnls if p < 0]
    if wins and losses:
        rate, payoff = len(wins) / len(pnls), np.mean(wins) / -np.mean(losses)
        assert found["kelly"] == pytest.approx(rate - (1 - rate) / payoff)
    else:
        assert found["kelly"] is None
    gross = sum(pnls) + len(pnls)
    assert found["fees_rate"] == (pytest.approx(len(pnls) / abs(gross)) if gross else None)


def test_times_held_of_winners_and_losers_apart() -> None:
    found = result_figures([trade(5.0, end=1_000), trade(5.0, end=3_000), trade(-1.0, end=8_000), trade(0.0, end=0)])
    names = ("average_hold_s", "median_hold_s", "longest_hold_s", "winner_hold_s", "loser_hold_s")
    assert [found[name] for name in names] == [3.0, 2.0, 8.0, 2.0, 8.0]
    assert result_figures([])["winner_hold_s"] is None


def test_round_trips_from_fills() -> None:
    fills = [
        fill("sell", 2.0, 100.0, 10, after=-2.0),
        fill("buy", 1.0, 90.0, 20, after=-1.0, won=10.0),
        fill("buy", 1.0, 80.0, 30, after=0.0, won=20.0),
        fill("buy", 1.0, 50.0, 40, after=1.0, no=2),
    ]
    (made,) = round_trips(fills)
    assert (made.direction, made.quantity, made.entry_price, made.exit_price) == (-1, 2.0, 100.0, 85.0)
    assert (made.pnl, made.fees, made.fills, made.exit_ms) == (28.5, 1.5, 3, 30)
    assert made.return_fraction == pytest.approx(28.5 / 200)


def test_hours_and_weekdays_are_those_of_the_exit() -> None:
    monday, sunday = MONDAY_MS + 13 * HOUR_MS, MONDAY_MS - 1
    sums, counts = hour_weekday([trade(5.0, end=monday), trade(-2.0, end=monday + 59), trade(1.0, end=sunday)])
    assert (sums[0, 13], counts[0, 13], sums[6, 23], counts.sum()) == (3.0, 2, 1.0, 3)


def test_excursions_end_with_the_fill_of_the_exit() -> None:
    """High and low count from the entry's candle on; of the exit's candle only the fill does."""
    times = np.arange(5) * 60.0
    high, low = np.array([101.0, 104.0, 110.0, 150.0, 100.0]), np.array([50.0, 97.0, 99.0, 10.0, 100.0])
    long, short = trade(0.0, start=60, end=180, out=95.0), trade(0.0, start=60, end=180, direction=-1, out=95.0)
    assert excursions([long], times, high, low)[0] == pytest.approx([-0.05, 0.10])
    assert excursions([short], times, high, low)[0] == pytest.approx([-0.10, 0.05])
    same = trade(0.0, start=60, end=60, out=102.0)
    assert excursions([same], times, high, low)[0] == pytest.approx([0.0, 0.02])
    assert np.isnan(excursions([long], times[2:], high[2:], low[2:])).all()
    assert np.isnan(excursions([long], np.empty(0), high, low)).all()


def test_exposure_is_the_share_of_candles_with_any_position() -> None:
    year = 365 * 24 * HOUR_MS
    closes = np.linspace(year / 12, year, 12)
    one = [fill("buy", 1.0, 100.0, 0, after=1.0), fill("sell", 1.0, 100.0, year // 2, after=0.0)]
    two = [fill("buy", 1.0, 100.0, year // 4, after=1.0)]
    found = activity_figures([one, two], start_ms=0, close_ms=closes, mean_equity=150.0)
    assert found == {"exposure_time": 1.0, "turnover": 2.0}
    late = activity_figures([one], start_ms=year / 4, close_ms=closes[3:], mean_equity=100.0)
    assert late["exposure_time"] == pytest.approx(1 / 3)
    assert late["turnover"] == pytest.approx(1 / 0.75)
    nothing = {"exposure_time": None, "turnover": None}
    assert activity_figures([], start_ms=0, close_ms=closes, mean_equity=1.0) == nothing
    assert activity_figures([one], start_ms=0, close_ms=closes[:0], mean_equity=1.0) == nothing


def test_candles_that_are_missing_are_not_held() -> None:
    own = [fill("buy", 1.0, 100.0, 60, after=1.0), fill("sell", 1.0, 100.0, 600, after=0.0)]
    assert exposure([own], np.array([60.0, 120.0, 600.0, 660.0])) == 0.5
    assert exposure([], np.array([60.0])) == 0.0
    assert exposure([own], np.empty(0)) is None
