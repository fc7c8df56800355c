"""The result of a walk-forward: its windows, the equity of all tests joined, and how far the choices moved."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stratnb.market_data.candles import VALUES, Candles
from stratnb.model import Trade
from stratnb.research.backtest import Backtest
from stratnb.research.bootstrap import trade_returns
from stratnb.research.figures import all_figures
from stratnb.research.frames import equity_frame, trades_frame
from stratnb.research.windows import Mode, Window

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WalkForward", "WindowResult"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class WindowResult:
    """One window: what its training chose out of how many trials, and how that did inside and outside.

    `inside` and `outside` are the objective, `growth_` the yearly growth; `ranges` tells how wide each number was
    searched. `overfitting` is the probability that the choice overfits its training, None under two trials or 16 days
    of it. Without a defined objective nothing is chosen and nothing traded: `chosen` and `result` are None.
    """

    window: Window
    chosen: Mapping[str, object] | None
    trials: int
    inside: float | None
    outside: float | None
    growth_inside: float | None
    growth_outside: float | None
    result: Backtest | None = field(repr=False)
    ranges: Mapping[str, float | None] = field(repr=False)
    overfitting: float | None = None

    @property
    def efficiency(self) -> float | None:
        """Return the yearly growth outside over that inside; None unless the latter is above 0."""
        inside, outside = self.growth_inside, self.growth_outside
        return outside / inside if inside is not None and outside is not None and inside > 0 else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WalkForward:
    """The windows of a walk-forward that were run, of those planned, and what their tests make together.

    Each test starts with the equity that the one before it left: the joined curve starts at `capital` and its growth is
    the product of the windows' own. It has one value at the close of each tested candle; between tests that do not
    follow each other nothing is held.
    """

    windows: tuple[WindowResult, ...]
    planned: tuple[Window, ...]
    candles: Candles
    objective: str
    mode: Mode
    capital: float

    @property
    def complete(self) -> bool:
        """Return whether every window was run."""
        return len(self.windows) == len(self.planned)

    @property
    def tested(self) -> Candles:
        """Return the candles of all tests that were run."""
        places = self._places
        if not len(places) or len(places) == places[-1] + 1 - places[0]:
            return self.candles[int(places[0]) : int(places[-1]) + 1] if len(places) else self.candles[:0]
        columns = {name: getattr(self.candles, name)[places] for name in ("open_time_ms", *VALUES, "flags")}
        return Candles(self.candles.symbol, self.candles.timeframe, **columns)

    @property
    def _places(self) -> Ints:
        """Return the positions of the tested candles."""
        return np.concatenate([np.empty(0, np.int64), *(np.arange(*each.window.test) for each in self.windows)])

    @property
    def close_ms(self) -> Ints:
        """Return the closing times of the tested candles."""
        closed: Ints = self.candles.close_time_ms[self._places]
        return closed

    @property
    def equity_curve(self) -> Floats:
        """Return the equity of all tests joined, in quote units; what is lost is lost."""
        parts, last = [], self.capital
        for each in self.windows:
            first, stop = each.window.test
            own = np.ones(stop - first) if each.result is None else each.result.equity_curve / each.result.capital
            parts.append(last * np.maximum(own, 0.0))
            last = float(parts[-1][-1])
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def equity(self) -> pd.DataFrame:
        """Return equity and drawdown (fraction) at each tested candle's close, indexed by closing time (UTC)."""
        return equity_frame(self.close_ms, self.equity_curve, self.capital)

    @property
    def closed_trades(self) -> list[Trade]:
        """Return the round trips of all tests, oldest first; each window's money is that of its own account."""
        return [trade for each in self.windows if each.result is not None for trade in each.result.closed_trades]

    @property
    def trades(self) -> pd.DataFrame:
        """Return one row per round trip of the tests."""
        return trades_frame(self.closed_trades)

    @property
    def trade_returns(self) -> Floats:
        """Return each trade's result as a fraction of the equity before it, for `bootstrap`."""
        runs = [each.result for each in self.windows if each.result is not None]
        return np.concatenate([np.empty(0), *(trade_returns(run.closed_trades, run.capital) for run in runs)])

    @property
    def figures(self) -> dict[str, float | None]:
        """Return every figure of the joined curve and of the trades of all tests; empty before the first window.

        `psr` needs no deflation: the tested candles had no part in any choice.
        """
        if not self.windows:
            return {}
        start, equity = int(self.candles.open_time_ms[self._places[0]]), self.equity_curve
        return all_figures(self.close_ms, equity, self.capital, start_ms=start, trades=self.closed_trades)

    @property
    def efficiency(self) -> float | None:
        """Return the mean yearly growth of the tests over that of the trainings; None unless the latter is above 0."""
        pairs = [(each.growth_inside, each.growth_outside) for each in self.windows]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        inside, outside = sum(a for a, _ in known), sum(b for _, b in known)
        return outside / inside if inside > 0 else None

    @property
    def overfitting(self) -> float | None:
        """Return the mean probability over the windows that the choice overfits its training; None without any.

        Each is that of `probability_of_overfitting` on the trials of one training; the trainings of rolling windows
        share candles, so their trials are not put together.
        """
        known = [each.overfitting for each in self.windows if each.overfitting is not None]
        return sum(known) / len(known) if known else None

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per window: its times (UTC), objective inside and outside, growth, efficiency and choice."""
        import pandas as pd

        opened, closed = self.candles.open_time_ms, self.candles.close_time_ms
        rows: list[dict[str, object]] = []
        for each in self.windows:
            (a, b), (c, d) = each.window.train, each.window.test
            times = {"train_start": opened[a], "train_end": closed[b - 1], "test_start": opened[c]}
            times["test_end"] = closed[d - 1]
            figures = {"inside": each.inside, "outside": each.outside, "growth_inside": each.growth_inside}
            figures |= {"growth_outside": each.growth_outside, "efficiency": each.efficiency}
            figures["overfitting"] = each.overfitting
            row: dict[str, object] = {name: pd.Timestamp(int(ms), unit="ms", tz="UTC") for name, ms in times.items()}
            row |= {name: math.nan if value is None else value for name, value in figures.items()}
            row |= {"trials": each.trials, "trades": len(each.result.closed_trades) if each.result else 0}
            rows.append(row | dict(each.chosen or {}))
        return pd.DataFrame(rows)

    @property
    def drift(self) -> dict[str, tuple[float, float | None]]:
        """Return by path how the choice moved from window to window: the share of changes, and the mean step.

        The step is a share of the width that was searched; None for what is no number, or not searched.
        """
        chosen = [each for each in self.windows if each.chosen is not None]
        found: dict[str, tuple[float, float | None]] = {}
        for path in dict.fromkeys(path for each in chosen for path in each.chosen or {}):
            values = [(each.chosen or {}).get(path) for each in chosen]
            moves = list(pairwise(values))
            changes = sum(a != b for a, b in moves) / len(moves) if moves else 0.0
            found[path] = (changes, _step(moves, [each.ranges.get(path) for each in chosen]))
        return found

    def __repr__(self) -> str:
        """Return windows, objective and result on one line."""
        curve = self.equity_curve
        grown = f"{curve[-1] / self.capital - 1.0:+.4g}" if len(curve) else "n/a"
        end = "" if self.complete else ", canceled"
        return (
            f"WalkForward({len(self.windows)} of {len(self.planned)} {self.mode} windows, {self.objective}, "
            f"total return outside {grown}{end})"
        )

    def _repr_html_(self) -> str:
        """Return the windows as a table under one line."""
        table = self.frame.to_html(escape=True, na_rep="n/a") if self.windows else ""
        return f"<p>{html.escape(repr(self))}</p>{table}"


def _step(moves: list[tuple[object, object]], ranges: list[float | None]) -> float | None:
    """Return the mean absolute step as a share of the widest range."""
    widths = [width for width in ranges if width]
    numbers = [
        abs(float(a) - float(b)) for a, b in moves if isinstance(a, (int, float)) and isinstance(b, (int, float))
    ]
    if not widths or not moves or len(numbers) < len(moves):
        return None
    return sum(numbers) / len(numbers) / max(widths)
