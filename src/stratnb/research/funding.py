"""Funding rates of a market over time, and what of them holds for each stretch of candles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.strategy.plan import Plan

__all__ = ["FundingRates", "check_funding", "missing", "rates_of", "stretches"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SECOND, MINUTE = 1_000, 60_000
MOST = 0.1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FundingRates:
    """The rates (fractions of the notional, longs pay positive ones) at funding times (ms, rising) of one symbol.

    Times are rounded to the second, as exchanges tell them some milliseconds late. Raises `ConfigError` for what is no
    such table.
    """

    symbol: str
    time_ms: Ints
    rates: Floats

    def __post_init__(self) -> None:
        """Check and round."""
        try:
            times, rates = np.asarray(self.time_ms, np.int64), np.asarray(self.rates, np.float64)
        except (TypeError, ValueError) as error:
            raise _fault(f"they are no numbers: {error}") from error
        if times.ndim != 1 or times.shape != rates.shape or not len(times):
            raise _fault(f"there are {times.size} times and {rates.size} rates")
        times = (times + SECOND // 2) // SECOND * SECOND
        if not (np.diff(times) > 0).all():
            raise _fault("the times do not rise")
        if not (np.abs(rates) <= MOST).all():
            raise _fault(f"a rate is no fraction of at most {MOST:g}")
        object.__setattr__(self, "time_ms", times)
        object.__setattr__(self, "rates", rates)
        if self.every_ms < MINUTE:
            raise _fault("the times are no multiples of a minute since 1970")

    @property
    def every_ms(self) -> int:
        """Return the longest time that all funding times are multiples of, at most 8 hours."""
        return math.gcd(int(at.FUNDING_MS), *map(int, np.unique(self.time_ms % int(at.FUNDING_MS))))

    def __repr__(self) -> str:
        """Return symbol and number."""
        return f"FundingRates({self.symbol!r}, {len(self.rates)} rates)"


def stretches(funding: FundingRates | None, close_ms: Ints, rate: float) -> Sequence[tuple[int, float]]:
    """Return (stop, rate) pairs that cover the candles: up to `stop`, exclusive, a funding time has that rate.

    A time without a rate takes the next known one, after the last it is `rate`. Several times within one candle, or in
    a gap before it, take their mean.
    """
    n = len(close_ms)
    if funding is None:
        return [(n, rate)]
    place = np.searchsorted(close_ms, funding.time_ms)
    inside = place < n
    ends, first = np.unique(place[inside], return_index=True)
    if not len(ends):
        return [(n, rate)]
    known = funding.rates[inside]
    means = np.add.reduceat(known, first) / np.diff(np.append(first, len(known)))
    found = [(int(end) + 1, float(mean)) for end, mean in zip(ends, means, strict=True)]
    return found if found[-1][0] == n else [*found, (n, rate)]


def _fault(what: str) -> ConfigError:
    hint = "FundingRates('BTC/USDT:USDT', time_ms=[...], rates=[...]) of stratnb.research.funding"
    return ConfigError("funding_rates", f"these are no funding rates: {what}", hint=hint)


def rates_of(plan: Plan, book: Floats, candles: Candles, funding: FundingRates | None) -> Sequence[tuple[int, float]]:
    """Set the funding times of a book and return the rates by stretches of candles."""
    if funding is None or not book[at.B_FUNDING_MS]:
        return [(len(candles), plan.config.execution.simulation.funding_rate)]
    book[at.B_FUNDING_MS] = funding.every_ms
    return stretches(funding, candles.close_time_ms, plan.config.execution.simulation.funding_rate)


def missing(plan: Plan, funding: FundingRates | None) -> Iterator[Finding]:
    """Yield the warnings about what the costs need and nobody gave: finer candles for a latency, funding rates."""
    costs = plan.config.execution.simulation
    if costs.latency_ms and plan.base_ms == plan.primary_ms:
        path, hint = "execution.simulation.latency_ms", "give finer candles by detail=, or remove it"
        text = "latency acts with finer candles only"
        yield Finding(path, "not_enforced", text, costs.latency_ms, hint, severity="warning")
    if (
        funding is None
        and plan.market.kind == "linear"
        and costs.funding
        and "funding_rate" not in costs.model_fields_set
    ):
        path = "execution.simulation.funding_rate"
        hint = "give funding=FundingRates(...), or write the rate to count with"
        yield Finding(path, "funding_missing", "no funding rates are given; 0 is paid", 0.0, hint, severity="warning")


def check_funding(funding: object, candles: Candles) -> None:
    """Raise for what are no funding rates of the candles' symbol."""
    if funding is not None and not isinstance(funding, FundingRates):
        hint = "FundingRates(symbol, time_ms, rates) of stratnb.research.funding"
        raise ConfigError("type", f"{repr(funding)[:80]} is no table of funding rates", value=funding, hint=hint)
    if funding is not None and funding.symbol != candles.symbol:
        hint = f"give those of {candles.symbol}"
        raise ConfigError(
            "market_symbol", f"the funding rates are those of {funding.symbol}", value=funding.symbol, hint=hint
        )
