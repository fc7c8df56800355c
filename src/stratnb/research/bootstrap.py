"""How far the result of a row of trades could have been another: a block bootstrap with intervals."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.model import Trade
from stratnb.research.daily import finite

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bootstrap", "Interval", "Traded", "bootstrap", "trade_returns"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELLS = 2_000_000
FIGURES = ("mean", "total", "win_rate", "profit_factor", "max_drawdown")


class Traded(Protocol):
    """What has round trips of one account: a backtest, or one that was saved."""

    @property
    def closed_trades(self) -> Sequence[Trade]:
        """Return the closed round trips, oldest first."""

    @property
    def capital(self) -> float:
        """Return the equity before the first."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure of the trades as they were, and where it lies in most of the resampled rows; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The intervals of a row of trades by figure, at a level of confidence; `block` is the mean length of a block."""

    intervals: Mapping[str, Interval]
    trades: int
    samples: int
    block: float
    level: float

    def __getitem__(self, name: str) -> Interval:
        """Return the interval of a figure."""
        return self.intervals[name]

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per figure: value, low, high."""
        import pandas as pd

        rows = [[each.value, each.low, each.high] for each in self.intervals.values()]
        return pd.DataFrame(rows, index=list(self.intervals), columns=["value", "low", "high"], dtype=float)

    def _repr_html_(self) -> str:
        """Return a small table."""
        cells = (
            f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{_shown(x)}</td>' for x in (i.value, i.low, i.high))}</tr>"
            for name, i in self.intervals.items()
        )
        caption = f"{self.trades} trades, {self.samples} samples, {self.level:.0%} intervals"
        head = "<tr><th></th><th>value</th><th>low</th><th>high</th></tr>"
        return f"<table><caption>{caption}</caption>{head}{''.join(cells)}</table>"


def trade_returns(trades: Sequence[Trade], capital: float) -> Floats:
    """Return each trade's result as a fraction of the equity before it, which starts at `capital`.

    The row ends with the trade that leaves nothing.
    """
    pnl = np.array([trade.pnl for trade in trades], np.float64)
    before = capital + np.concatenate(([0.0], np.cumsum(pnl)[:-1])) if len(pnl) else np.empty(0)
    alive = int(np.argmax(before <= 0.0)) if bool((before <= 0.0).any()) else len(pnl)
    return pnl[:alive] / before[:alive]


def bootstrap(
    source: Traded | Sequence[float] | Floats,
    *,
    samples: int = 2_000,
    block: float | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Bootstrap:
    """Resample the trades of a backtest, or returns of trades, in blocks and return the intervals of their figures.

    The stationary bootstrap of Politis and Romano (1994): blocks of geometric length, `block` trades on average (the
    cube root of their number by default), from random places of the row taken as a circle. Figures are of the returns:
    mean, compounded total, win rate, profit factor and the largest fall at closed trades; the intervals lie between
    quantiles. Without two trades, and where a quantile is infinite, they are None. Memory is bounded.
    """
    returns = _returns(source)
    n = len(returns)
    length = float(block) if block is not None else max(1.0, n ** (1.0 / 3.0))
    if samples < 1 or not 0.0 < level < 1.0 or not length >= 1.0:
        text = f"{samples} samples with blocks of {length:g} and a level of {level:g} cannot be made"
        hint = "give 1 sample or more, blocks of 1 trade or more and a level between 0 and 1"
        raise ConfigError("range", text, value=(samples, length, level), hint=hint)
    values = _figures(returns[None])[0] if n else np.full(len(FIGURES), math.nan)
    found = np.full((0, len(FIGURES)), math.nan)
    if n >= 2:
        rng, step = np.random.default_rng(seed), max(1, CELLS // n)
        sizes = [min(step, samples - start) for start in range(0, samples, step)]
        found = np.concatenate([_figures(returns[_places(rng, size, n, length)]) for size in sizes])
    edges = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    intervals = {
        name: Interval(finite(float(values[k])), *(_quantile(found[:, k], edge) for edge in edges))
        for k, name in enumerate(FIGURES)
    }
    return Bootstrap(intervals, n, samples, length, level)


def _returns(source: Traded | Sequence[float] | Floats) -> Floats:
    if not isinstance(source, (Sequence, np.ndarray)):
        return trade_returns(source.closed_trades, source.capital)
    returns = np.asarray(source, np.float64)
    if returns.ndim != 1 or not np.isfinite(returns).all():
        hint = "give a backtest, or returns of trades such as trade_returns(trades, capital)"
        raise ConfigError("type", "these are no returns of trades", value=repr(source)[:80], hint=hint)
    return returns


def _places(rng: np.random.Generator, rows: int, n: int, length: float) -> Ints:
    """Return (rows, n) positions: in each row blocks of geometric length that go on around the circle."""
    begins = rng.random((rows, n)) < 1.0 / length
    begins[:, 0] = True
    starts = rng.integers(n, size=(rows, n))
    since = np.maximum.accumulate(np.where(begins, np.arange(n), 0), axis=1)
    places: Ints = (np.take_along_axis(starts, since, axis=1) + np.arange(n) - since) % n
    return places


def _figures(returns: Floats) -> Floats:
    """Return the figures of rows of returns, (rows, figures); infinite without losses, NaN where not defined."""
    grown = np.cumprod(1.0 + returns, axis=1)
    peaks = np.maximum.accumulate(np.maximum(grown, 1.0), axis=1)
    gains, losses = np.maximum(returns, 0.0).sum(axis=1), -np.minimum(returns, 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = gains / losses
    falls = (1.0 - grown / peaks).max(axis=1)
    return np.column_stack([returns.mean(axis=1), grown[:, -1] - 1.0, (returns > 0).mean(axis=1), factor, falls])


def _quantile(values: Floats, edge: float) -> float | None:
    """Return one of the values, so that an infinite one never mixes with others; None without any, or if infinite."""
    known = values[~np.isnan(values)]
    return finite(float(np.quantile(known, edge, method="inverted_cdf"))) if len(known) else None


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.6g}"
