"""The result of a sweep: its table, its best trial, and what lies around it."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, nearest
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.ledger import Ledger
from stratnb.research.measure import FIGURES, LOWER
from stratnb.research.run_sweep import Course, run_course
from stratnb.research.space import Space
from stratnb.research.trials import Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stability", "Sweep"]

Floats = npt.NDArray[np.float64]
Reduce = Literal["mean", "median", "min", "max"]
MANY_AXES = 6


@dataclass(frozen=True, slots=True)
class Stability:
    """The objective around the best trial: at `count` neighbours of the grid, with `mean` and the least good one.

    `share` is the share of neighbours that keep at least `keep` of the best's objective; None where undefined.
    """

    best: float
    values: tuple[float, ...]
    keep: float
    mean: float | None
    least: float | None
    share: float | None

    @property
    def count(self) -> int:
        """Return how many neighbours have the objective."""
        return len(self.values)


class Sweep:
    """What a sweep came to; frames are built when asked for. `complete` is False after a cancel, `resume` goes on."""

    def __init__(self, course: Course, *, complete: bool) -> None:
        self._course = course
        self.complete = complete

    @property
    def objective(self) -> str:
        """Return the figure that the best trial is chosen by."""
        return self._course.objective

    @property
    def min_trades(self) -> int:
        """Return how many trades a trial needs to be the best."""
        return self._course.min_trades

    @property
    def space(self) -> Space:
        """Return the axes and the way the trials were chosen."""
        return self._course.space

    @property
    def study(self) -> str | None:
        """Return the name under which the ledger counts the trials, None without a ledger."""
        return None if self._course.study is None else self._course.study.name

    @property
    def ledger(self) -> Ledger | None:
        """Return where the trials are counted, None without a ledger."""
        return None if self._course.study is None else self._course.study.ledger

    @property
    def count(self) -> int:
        """Return how many trials are done."""
        return len(self._rows)

    @cached_property
    def _rows(self) -> Rows:
        return self._course.store.rows()

    @property
    def failed(self) -> dict[str, int]:
        """Return how many trials could not run, by the reason, the most frequent first."""
        return dict(Counter(error for error in self._rows.errors if error).most_common())

    @property
    def blocks(self) -> Floats:
        """Return count, sum and sum of squares of the daily returns in 16 consecutive blocks: (trials, 16, 3)."""
        return self._rows.blocks

    @property
    def sharpes(self) -> Floats:
        """Return the per-day Sharpe ratio of every trial, NaN where undefined."""
        return self._rows.sharpes

    @property
    def frame(self) -> pd.DataFrame:
        """Return a row per trial: its number, a column per path, the figures (NaN: n/a), and `error`."""
        import pandas as pd

        rows = self._rows
        columns: dict[str, Any] = {"trial": rows.trials}
        types = {"int": np.int64, "float": np.float64, "bool": np.bool_}
        for k, axis in enumerate(self.space.axes):
            values = [own[k] for own in rows.values]
            columns[axis.path] = pd.Series(values, dtype=types.get(axis.kind, object))
        return pd.DataFrame({**columns, **rows.figures, "error": pd.Series(rows.errors, dtype=object)})

    @cached_property
    def _scores(self) -> Floats:
        return self._rows.scores(self.objective, self.min_trades)

    @cached_property
    def _best(self) -> int | None:
        """Return the place of the best row; the first of equals, None where no trial may be it."""
        scores = self._scores
        known = np.flatnonzero(np.isfinite(scores))
        if not len(known):
            return None
        sign = -1.0 if self.objective in LOWER else 1.0
        return int(known[np.argmax(sign * scores[known])])

    @property
    def best(self) -> dict[str, Any] | None:
        """Return the values of the best trial by path, None where no trial has the objective and trades enough."""
        if self._best is None:
            return None
        return dict(zip(self.space.paths, self._rows.values[self._best], strict=True))

    @property
    def best_row(self) -> dict[str, Any] | None:
        """Return the row of the best trial: number, values and figures (None: n/a)."""
        if self._best is None:
            return None
        rows, k = self._rows, self._best
        figures = {name: float(rows.figures[name][k]) for name in FIGURES}
        known = {name: None if math.isnan(value) else value for name, value in figures.items()}
        return {"trial": int(rows.trials[k]), **dict(zip(self.space.paths, rows.values[k], strict=True)), **known}

    def backtest(self, trial: int | None = None) -> Backtest:
        """Run one trial again, the best unless its number is given, and return the whole backtest."""
        place = self._best if trial is None else self._place(trial)
        if place is None:
            hint = "give the number of a trial"
            least = f" and {self.min_trades:,} trades" if self.min_trades else ""
            raise ConfigError("no_best", f"no trial has a {self.objective}{least}", value=self.objective, hint=hint)
        job = self._course.runner.job
        patch = self._course.runner.variants.patch(self._rows.values[place])
        options: dict[str, Any] = {"market": job.market, "cash": job.cash, "limits": job.limits, "on_gap": job.on_gap}
        options["funding"] = job.funding
        return backtest(job.document, job.candles, overrides=patch, **options)

    def verdict(self, **options: Any) -> Any:
        """Return the `Verdict` on the best by the sweep's own ledger; options are those of `honesty.verdict`."""
        return import_module("stratnb.research.honesty").verdict(self, **options)

    def resume(
        self,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Sweep:
        """Run the trials that are missing and return the whole sweep."""
        return Sweep(self._course, complete=run_course(self._course, progress, cancelled))

    def pivot(self, x: str, y: str, figure: str | None = None, reduce: Reduce = "mean") -> pd.DataFrame:
        """Return a figure by the values of two paths, `x` along the columns; over other axes it is reduced."""
        figure = figure or self.objective
        for path, known in ((x, self.space.paths), (y, self.space.paths), (figure, FIGURES)):
            if path not in known:
                close = nearest(path, known) or tuple(known)
                hint = f"did you mean {' or '.join(map(repr, close[:3]))}?"
                raise ConfigError("unknown_path", f"the sweep has no {path!r}", value=path, hint=hint)
        frame = self.frame
        for axis in self.space.axes:
            if axis.kind == "json" and axis.path in (x, y):
                frame[axis.path] = frame[axis.path].map(repr)
        return frame.pivot_table(index=y, columns=x, values=figure, aggfunc=reduce, dropna=False, sort=True)

    def stability(self, keep: float = 0.5) -> Stability | None:
        """Return the objective at the grid neighbours of the best trial: one step along any ordered axes.

        None where no trial has the objective; without a grid, or beyond its edges, there are fewer neighbours.
        """
        if self._best is None:
            return None
        rows, sign = self._rows, -1.0 if self.objective in LOWER else 1.0
        scores = self._scores
        best = float(scores[self._best])
        wanted = {repr(values) for values in self._neighbours(rows.values[self._best])}
        found = [k for k, values in enumerate(rows.values) if repr(values) in wanted] if wanted else []
        near = [float(scores[k]) for k in found if math.isfinite(scores[k])]
        good = best * keep if sign * best > 0 else best / keep
        return Stability(
            best=best,
            values=tuple(near),
            keep=keep,
            mean=float(np.mean(near)) if near else None,
            least=float(sign * np.min(sign * np.array(near))) if near else None,
            share=float(np.mean([sign * value >= sign * good for value in near])) if near else None,
        )

    def _neighbours(self, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return the values one step away; with many axes along one axis at a time."""
        axes = self.space.axes
        if self.space.is_continuous:
            return []
        places = [next(k for k in range(len(axis)) if axis.value(k) == v) for axis, v in zip(axes, values, strict=True)]
        moves = [(-1, 0, 1) if axis.is_ordered else (0,) for axis in axes]
        steps = [step for step in product(*moves) if any(step)] if len(axes) <= MANY_AXES else _single(moves)
        shifted = [[p + s for p, s in zip(places, step, strict=True)] for step in steps]
        inside = [at for at in shifted if all(0 <= p < len(axis) for p, axis in zip(at, axes, strict=True))]
        return [tuple(axis.value(p) for axis, p in zip(axes, at, strict=True)) for at in inside]

    def _place(self, trial: int) -> int:
        found = np.flatnonzero(self._rows.trials == trial)
        if not len(found):
            hint = f"the trials are 0 to {self.space.count - 1}; those of a canceled sweep are not all done"
            raise ConfigError("unknown_trial", f"trial {trial!r} is not in the sweep", value=trial, hint=hint)
        return int(found[0])

    def __repr__(self) -> str:
        """Return the number of trials and the best on one line."""
        row = self.best_row
        best = "n/a" if row is None else f"{row[self.objective]:.6g} with {self.best}"
        lost = sum(self.failed.values())
        end = (f", {lost:,} could not run" if lost else "") + ("" if self.complete else ", canceled")
        return f"Sweep({self.count:,} of {self.space.count:,} trials, best {self.objective} {best}{end})"

    def _repr_html_(self) -> str:
        """Return the best trials as a small escaped table."""
        ascending = self.objective in LOWER
        head = self.frame.sort_values(self.objective, ascending=ascending, na_position="last", kind="stable").head(10)
        return f"<p>{html.escape(repr(self))}</p>{head.to_html(index=False, na_rep='n/a', escape=True)}"


def _single(moves: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the steps along one axis at a time."""
    count = len(moves)
    return [
        tuple(step if k == axis else 0 for k in range(count)) for axis in range(count) for step in moves[axis] if step
    ]
