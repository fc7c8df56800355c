"""The stretch of candles that a chart shows: at most 2,000, grouped when the range or the timeframe asks for it.

Everything is read from the board when it is drawn and dropped afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stratnb.view import Board

__all__ = ["LIMIT", "Window", "gaps", "grouped", "price_columns", "sampled"]

Floats = npt.NDArray[np.float64]

LIMIT: Final = 2_000
FACTORS: Final = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 480, 960, 1440, 2880, 5760, 10080)


def grouped(rows: Floats, step_ms: int) -> Floats:
    """Return candles of `step_ms` from finer ones, rows as in `Board.candles`; the last one may still grow."""
    if not len(rows):
        return rows
    start = rows[:, 5] // step_ms * step_ms
    first = np.flatnonzero(np.r_[True, np.diff(start) > 0])
    last = np.r_[first[1:], len(rows)] - 1
    return np.column_stack(
        [
            rows[first, 0],
            np.maximum.reduceat(rows[:, 1], first),
            np.minimum.reduceat(rows[:, 2], first),
            rows[last, 3],
            np.add.reduceat(rows[:, 4], first),
            start[first],
        ]
    )


def sampled(times: Floats, step_ms: int, columns: Floats) -> Floats:
    """Return, for each candle of `step_ms`, the newest row of `columns` (time first) inside it; NaN without one."""
    out = np.full((len(times), max(columns.shape[1] - 1, 0)), np.nan)
    if not len(columns) or not len(times):
        return out
    at = np.searchsorted(columns[:, 0], times + step_ms, side="left") - 1
    inside = (at >= 0) & (columns[np.maximum(at, 0), 0] >= times)
    out[inside] = columns[at[inside], 1:]
    return out


def price_columns(rows: Floats) -> dict[str, Floats]:
    """Return the columns of the price source: candles, and the middles and heights that rectangles need."""
    o, h, low, c, v, t = rows.T if len(rows) else np.empty((6, 0))
    made = {"t": t, "o": o, "h": h, "l": low, "c": c, "v": v, "up": (c >= o).astype(np.float64)}
    return made | {"m": (o + c) / 2.0, "s": np.abs(c - o), "vm": v / 2.0}


def gaps(times: Floats, step_ms: int) -> tuple[Floats, Floats]:
    """Return starts and ends (ms) of the stretches without candles."""
    at = np.flatnonzero(np.diff(times) > 1.5 * step_ms)
    return times[at] + step_ms / 2.0, times[at + 1] - step_ms / 2.0


@dataclass(frozen=True, slots=True)
class Window:
    """What is drawn: a strategy's market in candles of `step_ms`, up to `end_ms` or, if that is None, to the newest.

    `base_ms` is the strategy's own timeframe, `primary` its name; `names` are its drawn columns.
    """

    symbol: str
    strategy_id: str
    primary: str
    base_ms: int
    step_ms: int
    names: tuple[str, ...] = ()
    end_ms: int | None = None

    @property
    def factor(self) -> int:
        """Return how many of the strategy's candles one drawn candle holds."""
        return self.step_ms // self.base_ms

    def widened(self, span_ms: float) -> Window:
        """Return the window with candles so long that the span holds at most 2,000 of them."""
        fit = (f * self.base_ms for f in FACTORS if f * self.base_ms % self.step_ms == 0)
        return replace(self, step_ms=next((step for step in fit if span_ms / step <= LIMIT), self.step_ms))

    def candles(self, board: Board, last: int = LIMIT) -> Floats:
        """Return at most `last` drawn candles, read from the board."""
        rows = board.candles(self.symbol, self.primary, last=last * self.factor, before_ms=self.end_ms)
        return rows if self.factor == 1 else grouped(rows, self.step_ms)[-last:]

    def lines(self, board: Board, times: Floats, last: int = LIMIT) -> Floats:
        """Return the strategy's columns at the drawn candles, shape (len(times), len(names))."""
        if not self.names:
            return np.empty((len(times), 0))
        rows = board.columns(self.strategy_id, self.names, last=last * self.factor, before_ms=self.end_ms)
        return sampled(times, self.step_ms, rows)
