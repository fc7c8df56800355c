"""Which funding rate holds for each stretch of candles, and what is told when rates are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.market_data.funding import FundingRates
from stratnb.strategy.funding import funding_missing
from stratnb.strategy.plan import Plan

__all__ = [
    "FundingRates",
    "Rates",
    "check_funding",
    "missing",
    "parts_of",
    "rates_at",
    "rates_of",
    "shared",
    "stretches",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rates: TypeAlias = Sequence[tuple[int, float]]


def stretches(funding: FundingRates | None, close_ms: Ints, rate: float) -> Rates:
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


def rates_of(plan: Plan, book: Floats, close_ms: Ints, funding: FundingRates | None) -> Rates:
    """Set the funding times of a book and return the rates by stretches of the candles that close at `close_ms`."""
    if funding is None or not book[at.B_FUNDING_MS]:
        return [(len(close_ms), plan.config.execution.simulation.funding_rate)]
    book[at.B_FUNDING_MS] = funding.every_ms
    return stretches(funding, close_ms, plan.config.execution.simulation.funding_rate)


def parts_of(rates: Rates, span: tuple[int, int]) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the parts of a span of candles (start, stop) that have one rate each, with it.

    >>> list(parts_of([(4, 0.1), (9, 0.2)], (2, 7)))
    [((2, 4), 0.1), ((4, 7), 0.2)]
    """
    start, stop = span
    for until, rate in rates:
        if start < min(until, stop):
            yield (start, min(until, stop)), rate
            start = until


def shared(rates: Sequence[Rates], ends: Ints) -> tuple[Ints, list[tuple[int, int, Floats]]]:
    """Return where stretches end of which each has one rate for each of m runs, and those rates.

    The stretches end at `ends`, rising to the last candle, and where a rate does; a triple (first, last, rates (m,))
    says which stretches, `last` exclusive, have the rates.

    >>> shared([[(5, 0.1), (9, 0.2)], [(9, 0.3)]], np.array([3, 6, 9]))
    (array([3, 5, 6, 9]), [(0, 2, array([0.1, 0.3])), (2, 4, array([0.2, 0.3]))])
    """
    unlike = {id(own): own for own in rates}
    columns = {key: (np.array([stop for stop, _ in own]), np.array([x for _, x in own])) for key, own in unlike.items()}
    stops = np.unique(np.concatenate([own for own, _ in columns.values()]))
    every = np.unique(np.concatenate([ends, stops]))
    edges = [0, *(np.searchsorted(every, stops) + 1).tolist()]
    known = {key: values[np.searchsorted(own, stops)] for key, (own, values) in columns.items()}
    table = np.column_stack([known[id(own)] for own in rates])
    return every, [(first, last, row) for (first, last), row in zip(pairwise(edges), table, strict=True)]


def missing(plan: Plan, funding: FundingRates | None, candles: Candles | None = None) -> Iterator[Finding]:
    """Yield the warnings about what the costs need and nobody gave: finer candles for a latency, funding rates."""
    costs = plan.config.execution.simulation
    if costs.latency_ms and plan.base_ms == plan.primary_ms:
        path, hint = "execution.simulation.latency_ms", "give finer candles by detail=, or remove it"
        text = "latency acts with finer candles only"
        yield Finding(path, "not_enforced", text, costs.latency_ms, hint, severity="warning")
    path, rate = "execution.simulation.funding_rate", costs.funding_rate
    if plan.market.kind != "linear" or not costs.funding:
        if funding is not None:
            text = f"funding of {plan.market.symbol} is not paid: {_unpaid(plan)}"
            yield Finding("funding", "not_enforced", text, None, "leave its rates out", severity="warning")
    elif funding is None:
        hint = "give funding=FundingRates(...), or write the rate to count with"
        yield from funding_missing(plan.config, plan.market, hint)
    elif candles is not None:
        where = _uncovered(funding, candles, is_written="funding_rate" in costs.model_fields_set)
        if where:
            text = f"the funding rates of {plan.market.symbol} leave out times {' and '.join(where)}"
            hint = f"give them all; a time without one pays the next known rate, after the last it is {rate:g}"
            yield Finding(path, "funding_missing", text, rate, hint, severity="warning")


def _uncovered(funding: FundingRates, candles: Candles, *, is_written: bool) -> list[str]:
    """Return where candles have no rates; after the last there is one when the document writes it."""
    times, first, last = funding.time_ms, int(candles.open_time_ms[0]), int(candles.close_time_ms[-1])
    inside = times[(times >= first) & (times <= last)]
    found = ["before the first"] if int(times[0]) - first > funding.every_ms else []
    found += ["in between"] if (np.diff(inside) > at.FUNDING_MS).any() else []
    return found + (["after the last"] if last - int(times[-1]) >= funding.every_ms and not is_written else [])


def _unpaid(plan: Plan) -> str:
    return "the market is spot" if plan.market.kind != "linear" else "execution.simulation.funding is off"


def check_funding(funding: object, candles: Candles) -> None:
    """Raise for what are no funding rates of the candles' symbol."""
    if funding is not None and not isinstance(funding, FundingRates):
        hint = "FundingRates(symbol, time_ms, rates) of stratnb.market_data"
        raise ConfigError("type", f"{repr(funding)[:80]} is no table of funding rates", value=funding, hint=hint)
    if funding is not None and funding.symbol != candles.symbol:
        hint = f"give those of {candles.symbol}"
        raise ConfigError(
            "market_symbol", f"the funding rates are those of {funding.symbol}", value=funding.symbol, hint=hint
        )


def rates_at(
    plan: Plan, book: Floats, candles: Candles, funding: FundingRates | None, close_ms: Ints
) -> list[tuple[int, float]]:
    """Return (stop, rate) pairs of one market among the instants `close_ms` of several, as `rates_of` of its candles.

    Up to instant `stop`, exclusive, the book has that rate; the last pair reaches to the end.
    """
    closes = candles.close_time_ms
    own = rates_of(plan, book, closes, funding)
    places = np.searchsorted(close_ms, [closes[stop - 1] for stop, _ in own], side="right")
    places[-1] = len(close_ms)
    found: list[tuple[int, float]] = []
    for stop, (_, rate) in zip(places.tolist(), own, strict=True):
        if found and found[-1][1] == rate:
            found.pop()
        found.append((stop, rate))
    return found
