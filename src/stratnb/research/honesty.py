"""What the best of a sweep is worth once it is said how many were tried, and what chance and the market would give."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from stratnb.research.backtest import Backtest
from stratnb.research.bootstrap import Bootstrap, Interval, bootstrap
from stratnb.research.conventions import FEW, explained
from stratnb.research.daily import daily_series, probable_sharpe, returns_of
from stratnb.research.deflation import deflated_sharpe, expected_maximum, spread_of
from stratnb.research.holding import against_buy_and_hold
from stratnb.research.ledger import Ledger, study_of
from stratnb.research.overfitting import probability_of_overfitting
from stratnb.research.random_entries import RandomEntries, random_entries
from stratnb.services.daily import sharpe

if TYPE_CHECKING:
    import pandas as pd

    from stratnb.research.sweep import Sweep

__all__ = [
    "LEVEL",
    "RULE",
    "Bootstrap",
    "Interval",
    "Ledger",
    "RandomEntries",
    "Verdict",
    "against_buy_and_hold",
    "bootstrap",
    "deflated_sharpe",
    "expected_maximum",
    "probability_of_overfitting",
    "random_entries",
    "study_of",
    "verdict",
]

LEVEL: Final = 0.95
RULE: Final = (
    f"significant: deflated Sharpe ratio >= {LEVEL:.0%} against all trials that the ledger counts for this idea on "
    f"this market, the {LEVEL:.0%} interval of the mean trade above 0, at least {FEW} days and {FEW} trades"
)

EXPLAINED: Final = {
    "Sharpe ratio": "sharpe",
    "probabilistic Sharpe ratio": "psr",
    "deflated Sharpe ratio": "deflated_sharpe",
    "probability of overfitting": "overfitting",
    "buy and hold": "buy_and_hold",
}

MINUS: Final = "\N{MINUS SIGN}"
_HYPHEN = re.compile(r"-(?=\d)")


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """What stands beside the best of a sweep; None where a figure is not defined.

    `trials` are those of the sweep, `counted` those that the ledger knows of the same idea on the same market; `spread`
    is the standard deviation of their per-day Sharpe ratios. `against` says what the rule misses.
    """

    significant: bool
    against: tuple[str, ...]
    best: Mapping[str, object] | None
    trials: int
    counted: int
    spread: float
    days: int = 0
    trades: int = 0
    sharpe: float | None = None
    psr: float | None = None
    deflated: float | None = None
    overfitting: float | None = None
    intervals: Bootstrap | None = None
    held: Mapping[str, float | None] = field(default_factory=dict)
    random: RandomEntries | None = None

    @property
    def rule(self) -> str:
        """Return the rule by which a best is called significant."""
        return RULE

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Return what is shown, as names and texts."""
        total = self.intervals["total"] if self.intervals else Interval(None, None, None)
        within = f" ({LEVEL:.0%}: {_gain(total.low)} to {_gain(total.high)})" if total.low is not None else ""
        chance = self.random.p_value if self.random else None
        return [
            ("significant", "yes" if self.significant else f"no: {'; '.join(self.against)}"),
            ("trials", f"{self.trials:,} in this sweep, {self.counted:,} in the ledger"),
            ("Sharpe ratio", f"{_shown(self.sharpe, '.2f')} over {self.days:,} days"),
            ("probabilistic Sharpe ratio", _shown(self.psr)),
            ("deflated Sharpe ratio", _shown(self.deflated)),
            ("probability of overfitting", _shown(self.overfitting)),
            (f"total return of {self.trades:,} trades", _gain(total.value) + within),
            ("buy and hold", f"{_gain(self.held.get('held_total_return'))}, alpha {_gain(self.held.get('alpha'))}"),
            ("as good by random entries", _shown(chance) if self.random else "not run"),
        ]

    @property
    def frame(self) -> pd.DataFrame:
        """Return what is shown as one column."""
        import pandas as pd

        return pd.DataFrame(dict(self.rows), index=["value"]).T

    def __repr__(self) -> str:
        """Return the answer with its two numbers and the trials on one line."""
        said = "significant" if self.significant else "not significant"
        figures = f"deflated Sharpe {_shown(self.deflated)}, overfitting {_shown(self.overfitting)}"
        return f"Verdict({said}: {figures}, {self.counted:,} trials counted)"

    def _repr_html_(self) -> str:
        """Return a small escaped table with the rule below it."""
        left = "text-align: left"
        rows = "".join(
            f'<tr><th style="{left}; white-space: nowrap" title="{html.escape(explained(EXPLAINED.get(name, "")))}">'
            f'{html.escape(name)}</th><td style="{left}">{html.escape(_HYPHEN.sub(MINUS, text))}</td></tr>'
            for name, text in self.rows
        )
        return f"<table>{rows}</table><p>{html.escape(RULE)}</p>"


def verdict(
    sweep: Sweep,
    *,
    ledger: Ledger | None = None,
    random: int = 200,
    samples: int = 2_000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Verdict:
    """Return what the best of a sweep is worth: `RULE` and the figures beside it.

    The best is run once more. `ledger` (that of the sweep unless another is given) says how many trials its Sharpe
    ratio is deflated for, never fewer than the sweep has; their spread is that of the ledger or of
    the sweep, whichever is larger. `random` runs enter by chance (0 leaves them out), reported by `progress`. The rule
    asks for two things that fail apart: what so many trials would show without skill, and trades that earn (trials that
    are much alike deflate little, and are one test of 5 %). The probability of overfitting is shown beside: it judges
    the choice among the trials, and is high as well where all are equally good.
    """
    if sweep.best is None:
        least = f" and {sweep.min_trades:,} trades" if sweep.min_trades else ""
        why = (f"no trial has a defined objective{least}",)
        return Verdict(False, why, None, sweep.count, sweep.count, spread_of(sweep.sharpes))
    result = sweep.backtest()
    counted, spread = _counted(sweep, result, ledger)
    returns, trades = _returns(result), len(result.closed_trades)
    psr = probable_sharpe(returns)
    deflated = psr if counted < 2 else deflated_sharpe(returns, counted, spread)
    intervals = bootstrap(result, samples=samples, seed=seed, level=LEVEL)
    found = _against(deflated, intervals["mean"], days=len(returns), trades=trades)
    beside = random_entries(result, n=random, seed=seed, progress=progress, cancelled=cancelled) if random else None
    return Verdict(
        significant=not found,
        against=found,
        best=dict(sweep.best),
        trials=sweep.count,
        counted=counted,
        spread=spread,
        days=len(returns),
        trades=trades,
        sharpe=sharpe(returns),
        psr=psr,
        deflated=deflated,
        overfitting=probability_of_overfitting(sweep.blocks),
        intervals=intervals,
        held=against_buy_and_hold(result),
        random=beside,
    )


def _counted(sweep: Sweep, result: Backtest, ledger: Ledger | None) -> tuple[int, float]:
    """Return how many trials count for a sweep, and their spread; a sweep without a ledger has its own only."""
    spread, ledger = spread_of(sweep.sharpes), sweep.ledger if ledger is None else ledger
    if ledger is None:
        return sweep.count, spread
    study = sweep.study or study_of(result.plan.config, result.candles)
    known = [each for each in (spread, ledger.spread(study)) if math.isfinite(each)]
    return max(sweep.count, ledger.count(study)), max(known, default=math.nan)


def _against(deflated: float | None, mean: Interval, *, days: int, trades: int) -> tuple[str, ...]:
    """Return what a best misses of the rule."""
    found = []
    if deflated is None or not deflated >= LEVEL:
        known = "under 0.01%" if deflated is not None and deflated < 0.0001 else _shown(deflated)
        found.append(f"deflated Sharpe ratio {known} is not {LEVEL:.0%} or more")
    if mean.low is None or mean.low <= 0.0:
        found.append(f"the interval of the mean trade starts at {_shown(mean.low, '.3%')}")
    found += [f"{n} {what} are under {FEW}" for n, what in ((days, "days"), (trades, "trades")) if n < FEW]
    return tuple(found)


def _returns(result: Backtest) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the daily returns of a backtest."""
    _, daily = daily_series(result.close_ms, result.equity_curve, result.capital)
    return returns_of(daily)


def _shown(value: float | None, form: str = ".2%") -> str:
    """Return a figure in a form, a percentage unless another is given."""
    return "n/a" if value is None else format(value, form)


def _gain(value: float | None) -> str:
    """Return a return as a percentage with its sign."""
    return _shown(value, "+z,.2%")
