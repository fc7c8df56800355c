"""Trials: what a sweep runs, as plain data that another process takes, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.research.backtest import check_length
from stratnb.research.batch import run_batch, track_of
from stratnb.research.funding import FundingRates
from stratnb.research.gaps import OnGap
from stratnb.research.measure import BLOCKS, FIGURES, blocks_of, daily_sharpes, measure
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import LoadedStrategy
from stratnb.strategy.plan import Plan
from stratnb.strategy.variants import Variants, reasons

__all__ = ["Job", "Rows", "Runner", "joined"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """What is the same for all trials of a sweep; `document` says everything but the overrides and the values.

    `count` is the number of trials of the whole sweep.
    """

    document: Mapping[str, Any]
    paths: tuple[str, ...]
    candles: Candles
    market: Market | None
    cash: float
    limits: AccountLimits | None
    overrides: Mapping[str, Any]
    on_gap: OnGap
    count: int = 0
    funding: FundingRates | None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a sweep's table: numbers of trials, their values, figures, per-day Sharpe ratios, blocks and errors."""

    trials: Ints
    values: list[tuple[Any, ...]]
    figures: Mapping[str, Floats]
    sharpes: Floats
    blocks: Floats
    errors: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.trials)

    def scores(self, objective: str, min_trades: int = 0) -> Floats:
        """Return the objective of each row, NaN where it is undefined or the trial has fewer trades than `min_trades`.

        The best is chosen by these.
        """
        found, trades = self.figures[objective], self.figures["trades"]
        return np.where(np.isfinite(found) & (trades >= min_trades), found, np.nan) if min_trades else found

    def taken(self, places: Ints) -> Rows:
        """Return the rows at some places."""
        return Rows(
            trials=self.trials[places],
            values=[self.values[k] for k in places],
            figures={name: column[places] for name, column in self.figures.items()},
            sharpes=self.sharpes[places],
            blocks=self.blocks[places],
            errors=[self.errors[k] for k in places],
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """Return rows together, in the order of their trials."""
    if not parts:
        none = np.empty(0)
        return Rows(np.empty(0, np.int64), [], dict.fromkeys(FIGURES, none), none, np.empty((0, BLOCKS, 3)), [])
    whole = Rows(
        trials=np.concatenate([part.trials for part in parts]),
        values=[value for part in parts for value in part.values],
        figures={name: np.concatenate([part.figures[name] for part in parts]) for name in FIGURES},
        sharpes=np.concatenate([part.sharpes for part in parts]),
        blocks=np.concatenate([part.blocks for part in parts]),
        errors=[error for part in parts for error in part.errors],
    )
    return whole.taken(np.argsort(whole.trials, kind="stable"))


class Runner:
    """Runs trials of a job in this process; what it prepares is kept between calls.

    `loaded` is the strategy of the job's document and overrides, if it was read before.
    """

    def __init__(self, job: Job, loaded: LoadedStrategy | None = None) -> None:
        self.job = job
        self.track = track_of(job.candles, job.on_gap, funding=job.funding)
        self.variants = Variants(
            job.document,
            job.paths,
            symbol=job.candles.symbol,
            base=job.candles.timeframe,
            market=job.market,
            market_for=lambda kind: market_from(job.candles, kind=kind),
            overrides=job.overrides,
            loaded=loaded,
        )

    def run(self, trials: Sequence[int], values: Sequence[tuple[Any, ...]], *, threads: int = 1) -> Rows:
        """Return the rows of trials with their values; a refused document or a failing block is a row's error."""
        plans: list[Plan] = []
        errors = [""] * len(trials)
        good: list[int] = []
        for k, own in enumerate(values):
            try:
                plan = self.variants.plan(own)
                self.check_length(plan)
            except ConfigError as error:
                errors[k] = reasons(error)
            else:
                plans.append(plan)
                good.append(k)
        job = self.job
        batch = run_batch(plans, self.track, cash=job.cash, limits=job.limits, threads=threads, whole=job.count)
        for k, failed in zip(good, batch.errors, strict=True):
            errors[k] = failed
        figures = measure(batch, days=self.track.days)
        return Rows(
            trials=np.array(trials, np.int64),
            values=list(values),
            figures={name: _placed(figures[name], good, len(trials), np.nan) for name in FIGURES},
            sharpes=_placed(daily_sharpes(batch), good, len(trials), np.nan),
            blocks=_placed(blocks_of(batch), good, len(trials), 0.0),
            errors=errors,
        )

    def check_length(self, plan: Plan) -> None:
        """Raise `ConfigError` when the candles end before the strategy could decide once."""
        check_length(plan, len(self.track.rows))


def _placed(values: Floats, places: Sequence[int], count: int, blank: float) -> Floats:
    """Return values at their places among a number of rows."""
    out = np.full((count, *values.shape[1:]), blank)
    out[list(places)] = values
    return out
