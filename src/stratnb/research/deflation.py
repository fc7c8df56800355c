"""The Sharpe ratio of the best of many trials, beside what the best of as many trials without any skill would show."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.research.daily import probable_sharpe

__all__ = ["deflated_sharpe", "expected_maximum", "spread_of"]

Floats = npt.NDArray[np.float64]

EULER = 0.5772156649015329


def spread_of(sharpes: Floats) -> float:
    """Return the standard deviation (ddof 1) of the defined Sharpe ratios of some trials; NaN under two."""
    known = sharpes[np.isfinite(sharpes)]
    return float(known.std(ddof=1)) if len(known) >= 2 else math.nan


def expected_maximum(trials: int, spread: float) -> float | None:
    """Return the largest per-day Sharpe ratio to expect of so many trials without skill; None under two.

    `spread` is that of the trials' per-day Sharpe ratios (`spread_of`). The formula is that of Bailey and Lopez de
    Prado (2014): spread x ((1 - g) Q(1 - 1 / T) + g Q(1 - 1 / (T e))), g = 0.5772 and Q the normal quantile.

    >>> round(expected_maximum(100, 0.1), 4)
    0.2531
    """
    if trials < 2 or not math.isfinite(spread):
        return None
    if spread < 0.0:
        raise ConfigError("range", f"spread {spread!r} is below 0", value=spread, hint="give a standard deviation")
    above = NormalDist().inv_cdf
    # The upper tail is given as such: 1 - 1 / T rounds to 1 for very many trials.
    return spread * -((1.0 - EULER) * above(1.0 / trials) + EULER * above(1.0 / (trials * math.e)))


def deflated_sharpe(returns: Floats, trials: int, spread: float) -> float | None:
    """Return the probability that the best of `trials` has skill: its Sharpe ratio against the expected maximum.

    `returns` are the daily returns of the best; None where the expected maximum or the probability is not defined.
    """
    beside = expected_maximum(trials, spread)
    return None if beside is None else probable_sharpe(np.asarray(returns, np.float64), beside)
