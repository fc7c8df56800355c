"""What a loop may skip is what changes nothing, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from stratnb.kernels.layout import (
    A_DAY,
    A_DAY_START,
    A_RISK,
    B_DAY,
    B_DAY_START,
    B_RISK,
    C_CLOSE,
    C_HIGH,
    C_LOW,
    C_TIME,
    DAY_MS,
    K_NEXT,
    W_ACCOUNT,
    W_BOOK,
    W_CANDLE,
)
from stratnb.kernels.quiet import quiet_prices, rules_until, undisturbed
from stratnb.kernels.trade import worth

inf = math.inf
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def candles_of(rng: np.random.Generator, n: int) -> Floats:
    """Return candles whose prices have few values, so that they often lie on a limit."""
    rows = np.zeros((n, W_CANDLE))
    rows[:, C_TIME] = 60_000.0 * np.arange(n)
    prices = np.sort(rng.integers(95, 106, (n, 3)).astype(float), axis=1)
    rows[:, C_LOW], rows[:, C_CLOSE], rows[:, C_HIGH] = prices.T
    return rows


def plain(
    candles: Floats, i: int, end: int, low: float, high: float, floor: float, ceiling: float
) -> tuple[int, float, float, float, float]:
    """Look at one candle after the other."""
    top, bottom, least, most = -inf, inf, inf, -inf
    while i < end:
        h, lo, k = candles[i, C_HIGH], candles[i, C_LOW], candles[i, C_CLOSE]
        if not (lo > low and h < high and k >= floor and k <= ceiling):
            break
        top, bottom, least, most = max(top, h), min(bottom, lo), min(least, k), max(most, k)
        i += 1
    return i, top, bottom, least, most


def test_candles_looked_at_together_are_those_looked_at_one_by_one() -> None:
    rng = np.random.default_rng(3)
    ends = []
    for _ in range(4_000):
        n = int(rng.integers(0, 41))
        candles = candles_of(rng, max(n, 1))
        i, end = sorted(rng.integers(0, n + 1, 2).tolist())
        low, high = rng.choice([-inf, 85.0, 94.0, 95.0]), rng.choice([inf, 115.0, 106.0, 105.0])
        floor, ceiling = rng.choice([-inf, 95.0, 96.0]), rng.choice([inf, 105.0, 104.0])
        bounds, position, equity = (low, high, floor, ceiling), (1_000.0, 2.5, 100.0, 3.0), np.full(n + 1, -1.0)
        made = undisturbed(candles, i, end, bounds, position, True, equity)
        assert made == plain(candles, i, end, *bounds)
        assert equity[i : made[0]].tolist() == [worth(*position, k) for k in candles[i : made[0], C_CLOSE]]
        assert (equity[:i] == -1.0).all() and (equity[made[0] :] == -1.0).all()
        ends.append(made[0] == end)
    assert 0.2 < np.mean(ends) < 0.9


def positions(rng: np.random.Generator) -> Iterator[tuple[float, float, float, float, float, float]]:
    """Return positions of many sizes: funds, quantity, average, costs, and two limits of the equity."""
    for _ in range(3_000):
        average, funds = np.exp(rng.uniform(-12.0, 12.0)), np.exp(rng.uniform(-3.0, 15.0))
        quantity = rng.choice([-1.0, 1.0]) * funds / average * np.exp(rng.uniform(-12.0, 5.0))
        costs = funds * rng.choice([0.0, 1e-6, 0.3, -0.01])
        reach = abs(quantity) * average * np.exp(rng.uniform(-20.0, 0.5, 2))
        high = rng.choice([inf, -inf, *[funds - costs + reach[0]] * 8])
        line = rng.choice([inf, -inf, *[funds - costs - reach[1]] * 8])
        yield float(funds), float(quantity), float(average), float(costs), float(high), float(line)


def near(price: float) -> list[float]:
    """Return a price, those beside it, and some a little further off."""
    made = [price, math.nextafter(price, inf), math.nextafter(price, -inf)]
    return made + [price * (1.0 + step) for step in (1e-15, -1e-15, 1e-12, -1e-12, 1e-6, -1e-6)]


def test_no_price_passes_that_the_equity_would_not() -> None:
    passed = 0
    for funds, quantity, average, costs, high_equity, line in positions(np.random.default_rng(4)):
        low, high, floor, ceiling = quiet_prices(funds, quantity, average, costs, -inf, inf, high_equity, line)
        exact = [average + (equity - funds + costs) / quantity for equity in (high_equity, line)]
        tried = [price for edge in (low, high, floor, ceiling, *exact) if math.isfinite(edge) for price in near(edge)]
        for price in tried:
            equity = worth(funds, quantity, average, costs, price)
            if floor <= price <= ceiling:
                assert equity <= high_equity
                passed += 1
            if low < price < high:
                assert equity > line
                passed += 1
    assert passed > 10_000


def test_prices_that_are_clearly_between_the_limits_pass() -> None:
    for funds, quantity, average, costs, high_equity, line in positions(np.random.default_rng(5)):
        low, high, floor, ceiling = quiet_prices(funds, quantity, average, costs, -inf, inf, high_equity, line)
        size = 1e-9 * (funds + abs(costs) + abs(quantity) * average)
        equity = funds - costs  # what it is worth at its average
        if equity < high_equity - size:
            assert floor <= average <= ceiling
        if equity > line + size:
            assert low < average < high


@pytest.mark.parametrize("quantity", [2.0, -2.0])
def test_levels_of_the_position_are_kept(quantity: float) -> None:
    low, high, floor, ceiling = quiet_prices(1_000.0, quantity, 100.0, 0.0, 90.0, 120.0, 1e9, -1e9)
    assert (low, high) == (90.0, 120.0)
    assert floor < 0.0 if quantity < 0.0 else floor == -inf
    assert ceiling > 1e6 if quantity > 0.0 else ceiling == inf


@pytest.mark.parametrize(("own", "whole"), [(1.0, 1.0), (0.0, 1.0), (-3.0, 1.0), (1.0, -3.0)])
def test_with_nothing_left_no_candle_is_skipped(own: float, whole: float) -> None:
    candles = candles_of(np.random.default_rng(6), 500)
    book, account = np.zeros(W_BOOK), np.zeros(W_ACCOUNT)
    book[B_RISK + K_NEXT] = account[A_RISK + K_NEXT] = inf
    book[B_DAY], account[A_DAY], book[B_DAY_START], account[A_DAY_START] = 0.0, 0.0, own, whole
    until = rules_until(book, account, candles, 7, 500, 60_000.0)
    assert until == (500 if min(own, whole) > 0.0 else 7)
    assert candles[-1, C_TIME] < DAY_MS
