"""Trials that optuna proposes, asked for in rounds of one size so that the table depends on nothing but the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stratnb.errors import ConfigError
from stratnb.research.measure import LOWER
from stratnb.research.space import Axis, Range, Space
from stratnb.research.trials import Rows

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["ROUND", "check_optuna", "searched"]

ROUND = 8
Run = Callable[[Sequence[int], Sequence[tuple[Any, ...]]], Iterator[Rows]]


def check_optuna() -> None:
    """Raise `ConfigError("extra_missing")` where optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        hint = "pip install 'stratnb[search]', or choose method='random'"
        raise ConfigError("extra_missing", "method 'optuna' needs optuna", value="optuna", hint=hint) from error


def searched(space: Space, objective: str, run: Run, known: Rows, *, min_trades: int = 0) -> Iterator[Rows]:
    """Ask optuna (TPE) for all trials of a space, run those that are not known, and give their rows.

    Trials are asked in rounds of `ROUND`; what is known already is told to the study again, so that a resumed search
    goes on as if it had never stopped. A trial without objective, or with fewer trades, is told as failed.
    """
    have = {int(trial): k for k, trial in enumerate(known.trials)}
    before = known.scores(objective, min_trades)
    scores = {trial: float(before[k]) for trial, k in have.items()}
    with _quiet():
        study = _study(space, objective)
        for first in range(0, space.count, ROUND):
            numbers = range(first, min(first + ROUND, space.count))
            asked = [study.ask() for _ in numbers]
            values = [tuple(_proposed(trial, axis) for axis in space.axes) for trial in asked]
            wanted = [k for k, number in enumerate(numbers) if number not in have]
            for rows in run([numbers[k] for k in wanted], [values[k] for k in wanted]) if wanted else ():
                scores |= dict(zip(rows.trials.tolist(), rows.scores(objective, min_trades).tolist(), strict=True))
                yield rows
            if not all(number in scores for number in numbers):
                return  # it was cancelled
            _tell(study, asked, [scores[number] for number in numbers])


def _tell(study: Study, asked: Sequence[Trial], scores: Sequence[float]) -> None:
    from optuna.trial import TrialState

    for trial, score in zip(asked, scores, strict=True):
        if math.isfinite(score):
            study.tell(trial, score)
        else:
            study.tell(trial, state=TrialState.FAIL)


def _study(space: Space, objective: str) -> Study:
    import optuna

    sampler = optuna.samplers.TPESampler(seed=space.seed)
    return optuna.create_study(sampler=sampler, direction="minimize" if objective in LOWER else "maximize")


def _proposed(trial: Trial, axis: Axis) -> Any:
    """Return the value that optuna proposes for an axis."""
    if isinstance(axis.values, Range) and axis.is_continuous:
        return trial.suggest_float(axis.path, float(axis.values.start), float(axis.values.stop), log=axis.values.log)
    if axis.is_ordered:
        return axis.value(trial.suggest_int(axis.path, 0, len(axis) - 1))
    return axis.value(int(trial.suggest_categorical(axis.path, list(range(len(axis))))))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep optuna's lines about every trial off the error stream."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
