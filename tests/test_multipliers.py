"""The factors of a size and the health of a position, at their boundaries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blocks_harness import plain
from risk_desk import TINY
from stratnb.kernels import layout as at
from stratnb.kernels.multipliers import position_health, size_factor
from trading_cases import START_MS, Floats

FACTOR = plain(size_factor.py_func)


def rows(returns: list[float], *, fall: float = 0.0, streak: float = 0.0) -> tuple[Floats, Floats]:
    """Return settings with every factor on and a book with these trades, oldest first, and a drawdown."""
    settings, book = np.zeros(at.W_SETTINGS), np.zeros(at.W_BOOK)
    settings[[at.S_HEALTH, at.S_DRAWDOWN, at.S_FACTORS]] = 1.0, 1.0, 5.0
    settings[at.S_STREAK : at.S_STREAK + 5] = 1.0, 1.0, 0.75, 0.5, 0.25
    for k, earned in enumerate(returns):
        book[at.B_RETURNS + k % at.HEALTH_TRADES] = earned
    book[[at.B_TRADES, at.B_STREAK, at.B_EQUITY]] = len(returns), streak, 100.0 * (1.0 - fall)
    book[[at.B_RISK + at.K_PEAK, at.B_RISK + at.K_MAX_DRAWDOWN]] = 100.0, math.nan
    return settings, book


def factors(settings: Floats, book: Floats) -> tuple[float, float, float]:
    """Return the factors for streak, health and drawdown."""
    decision = np.zeros(at.W_DECISION)
    product = FACTOR(settings, book, decision)
    found = tuple(float(decision[cell]) for cell in (at.D_STREAK, at.D_HEALTH, at.D_FALL))
    assert product == found[0] * found[1] * found[2]
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("losses", "factor"), [(0, 1.0), (1, 1.0), (2, 0.75), (3, 0.5), (4, 0.25), (5, 0.25), (99, 0.25)]
)
def test_the_streak_takes_its_factor_and_the_last_repeats(losses: int, factor: float) -> None:
    assert factors(*rows([], streak=losses))[0] == factor


def test_no_factors_is_off() -> None:
    settings, book = rows([-0.1] * 20, fall=0.5, streak=9)
    book[at.B_RISK + at.K_MAX_DRAWDOWN] = 0.6
    settings[[at.S_HEALTH, at.S_DRAWDOWN, at.S_FACTORS]] = 0.0
    assert factors(settings, book) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("wins", "gain", "factor"),
    [
        (2, 9.0, 0.0),  # 20 % won
        (3, 9.0, 0.5),  # 30 % is no longer poor, but below 40 %
        (4, 9.0, 1.0),
        (4, 1.8, 1.0),  # 7.2 won, 6 lost: 1.2
        (4, 1.79, 0.5),
        (4, 1.35, 0.5),  # 5.4 won: 0.9
        (4, 1.34, 0.0),
    ],
)
def test_health_by_win_rate_and_profit_factor(wins: int, gain: float, factor: float) -> None:
    returns = [-1.0] * 5 + [gain] * wins + [-1.0] * (5 - wins)
    assert factors(*rows(returns))[1] == factor


@pytest.mark.parametrize(("row", "factor"), [(9, 1.0), (10, 0.0), (11, 0.0)])
def test_ten_losses_in_a_row_are_unhealthy(row: int, factor: float) -> None:
    assert factors(*rows([1.0] * 30 + [-0.1] * row))[1] == factor


def test_health_waits_for_ten_trades_and_looks_at_fifty() -> None:
    assert factors(*rows([-1.0] * 9))[1] == 1.0
    assert factors(*rows([-1.0] * 10))[1] == 0.0
    assert factors(*rows([-9.0] * 100 + [1.0] * 50))[1] == 1.0
    settings, book = rows([-1.0] * 40)
    book[at.B_HEALTH_FROM] = 31.0
    assert factors(settings, book)[1] == 1.0


@pytest.mark.parametrize(("fall", "factor"), [(0.149, 1.0), (0.151, 0.5)])
def test_a_deep_drawdown_halves_the_health(fall: float, factor: float) -> None:
    assert factors(*rows([1.0] * 10, fall=fall))[1] == factor


@pytest.mark.parametrize(
    ("fall", "factor"), [(0.0, 1.0), (0.1 - TINY, 1.0), (0.1 + TINY, 0.75), (0.15, 0.625), (0.2, 0.5)]
)
def test_the_drawdown_acts_from_half_its_limit(fall: float, factor: float) -> None:
    settings, book = rows([], fall=fall)
    book[at.B_RISK + at.K_MAX_DRAWDOWN] = 0.2
    assert factors(settings, book)[2] == pytest.approx(factor, abs=1e-5)


# The health of a position.


def held(mark: float, *, side: float = 1.0, stop: float = 90.0) -> Floats:
    """Return a book that holds one unit from 100 with its first stop."""
    book = np.zeros(at.W_BOOK)
    book[[at.B_QUANTITY, at.B_AVERAGE, at.B_MARK, at.B_FIRST_STOP, at.B_OPENED_MS]] = side, 100.0, mark, stop, START_MS
    book[at.B_MAX_HOLDING] = math.nan
    return book


def health(book: Floats, now_ms: float = START_MS, *parts: float) -> float:
    """Return the health with depth, NATR and its mean, all unknown by default."""
    depth, natr, mean = parts or (math.nan, math.nan, math.nan)
    return float(position_health(book, now_ms, depth, natr, mean))


def test_a_flat_book_has_no_health() -> None:
    assert math.isnan(health(np.zeros(at.W_BOOK)))


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("risks", "score"), [(2.0, 0.65), (0.0, 0.575), (-1.0, 0.3875), (-1.99, 0.201875), (-2.0, 0.0)]
)
def test_health_of_a_position_by_profit(side: float, risks: float, score: float) -> None:
    book = held(100.0 + side * 10.0 * risks, side=side, stop=100.0 - side * 10.0)
    assert health(book) == pytest.approx(score / 0.65)


def test_every_part_of_the_health() -> None:
    book = held(100.0)
    book[at.B_MAX_HOLDING] = 1_000.0
    assert health(book, START_MS + 250.0, 1.5, 0.015, 0.01) == pytest.approx(0.3 + 0.15 + 0.1 + 0.075 + 0.075)
    assert health(book, START_MS + 2_000.0, 99.0, 0.001, 0.01) == pytest.approx(0.3 + 0.0 + 0.2 + 0.15 + 0.075)


def test_without_a_first_stop_time_is_left() -> None:
    assert health(held(50.0, stop=math.nan)) == 1.0
