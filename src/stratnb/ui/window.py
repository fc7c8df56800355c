"""The stretch of candles that a chart shows: at most 2,000, grouped when the range or the timeframe asks for it.

Everything is read from the board when it is drawn and dropped afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stratnb.model import timeframe_ms
from stratnb.view import Board

__all__ = ["LIMIT", "Window", "gaps", "grouped", "price_columns", "sampled"]

Floats = npt.NDArray[np.float64]

LIMIT: Final = 2_000
CLOSED: Final = 6  # column of a drawn candle: 1 once it has closed
FORMING: Final = 0.45  # opacity of a candle that is being built
MINUTE_MS: Final = 60_000
MINUTES: Final = (2, 3, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 5760, 10080)  # lengths to fall back to


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


def sampled(times: Floats, step_ms: int, columns: Floats, hold_ms: int = 0) -> Floats:
    """Return, for each candle of `step_ms`, the newest row of `columns` (time first) inside it; NaN without one.

    A row stays in force for `hold_ms` before the candle.
    """
    out = np.full((len(times), max(columns.shape[1] - 1, 0)), np.nan)
    if not len(columns) or not len(times):
        return out
    at = np.searchsorted(columns[:, 0], times + step_ms, side="left") - 1
    inside = (at >= 0) & (columns[np.maximum(at, 0), 0] >= times - hold_ms)
    out[inside] = columns[at[inside], 1:]
    return out


def price_columns(rows: Floats) -> dict[str, Floats]:
    """Return the columns of the price source: candles, the middles and heights of rectangles, and the opacity `a`."""
    o, h, low, c, v, t = rows.T[:6] if len(rows) else np.empty((6, 0))
    made = {"t": t, "o": o, "h": h, "l": low, "c": c, "v": v, "up": (c >= o).astype(np.float64)}
    made["a"] = np.where(rows[:, CLOSED] > 0.0, 1.0, FORMING) if rows.shape[1] > CLOSED else np.ones(len(t))
    return made | {"m": (o + c) / 2.0, "s": np.abs(c - o), "vm": v / 2.0}


def gaps(times: Floats, step_ms: int) -> tuple[Floats, Floats]:
    """Return starts and ends (ms) of the stretches without candles."""
    at = np.flatnonzero(np.diff(times) > 1.5 * step_ms)
    return times[at] + step_ms / 2.0, times[at + 1] - step_ms / 2.0


@dataclass(frozen=True, slots=True)
class Window:
    """What is drawn: a strategy's market in candles of `step_ms`, up to `end_ms` or, if that is None, to the newest.

    `base_ms` is the strategy's own timeframe, `primary` its name; `names` are its drawn columns; `feed` is the
    timeframe that candles arrive in, empty for the strategy's own.
    """

    symbol: str
    strategy_id: str
    primary: str
    base_ms: int
    step_ms: int
    names: tuple[str, ...] = ()
    end_ms: int | None = None
    feed: str = ""

    @property
    def feed_ms(self) -> int:
        """Return the length of an arriving candle."""
        return timeframe_ms(self.feed) if self.feed else self.base_ms

    @property
    def factor(self) -> int:
        """Return how many of the strategy's candles one drawn candle holds, 1 when it is shorter."""
        return max(1, self.step_ms // self.base_ms)

    def widened(self, span_ms: float) -> Window:
        """Return the window with candles so long that the span holds at most 2,000 of them."""
        step, base = self.step_ms, self.base_ms
        longer = (m * MINUTE_MS for m in MINUTES if m * MINUTE_MS > step and m * MINUTE_MS % step == 0)
        fit = (step, *(ms for ms in longer if ms % base == 0 or base % ms == 0))
        return replace(self, step_ms=next((ms for ms in fit if span_ms / ms <= LIMIT), fit[-1]))

    def candles(self, board: Board, last: int = LIMIT) -> Floats:
        """Return at most `last` drawn candles, read from the board, and whether each has closed: (n, 7).

        The one that is being built comes from the closed candles of the feed; no strategy ever sees it.
        """
        finer = self.step_ms < self.base_ms
        source, length = (self.feed, self.feed_ms) if finer else (self.primary, self.base_ms)
        forming, seen_ms = self._forming(board)  # read first: a candle that closes meanwhile is then among the rows
        rows = board.candles(self.symbol, source, last=last * (self.step_ms // length), before_ms=self.end_ms)
        until = float(rows[-1, 5]) + length if len(rows) else 0.0
        drawn = (rows if self.step_ms == length else grouped(rows, self.step_ms))[-last:]
        if seen_ms > until and len(forming):
            drawn = np.concatenate([drawn[drawn[:, 5] < forming[0, 5]], forming])[-last:]
        ends = max(until, seen_ms) if self.end_ms is None else np.inf
        return np.column_stack([drawn, drawn[:, 5] + self.step_ms <= ends])

    def _forming(self, board: Board) -> tuple[Floats, float]:
        """Return the unfinished candle that the newest candles of the feed make, and up to when they reach."""
        if self.end_ms is not None or self.feed_ms >= self.step_ms:
            return np.empty((0, 6)), 0.0
        rows = board.candles(self.symbol, self.feed or self.primary, last=self.step_ms // self.feed_ms)
        made = grouped(rows, self.step_ms)[-1:]
        seen_ms = float(rows[-1, 5]) + self.feed_ms if len(rows) else 0.0
        return (made, seen_ms) if len(made) and seen_ms < made[0, 5] + self.step_ms else (made[:0], seen_ms)

    def lines(self, board: Board, times: Floats, last: int = LIMIT) -> Floats:
        """Return the strategy's columns at the drawn candles, shape (len(times), len(names)).

        Candles shorter than the strategy's own show a value from the close on that made it known.
        """
        if not self.names:
            return np.empty((len(times), 0))
        rows = board.columns(self.strategy_id, self.names, last=last * self.factor, before_ms=self.end_ms)
        return sampled(times, self.step_ms, self.shifted(rows), max(0, self.base_ms - self.step_ms))

    def shifted(self, rows: Floats) -> Floats:
        """Return rows of the strategy's candles (time first) at the drawn candle with which each closed."""
        if self.step_ms >= self.base_ms or not len(rows):
            return rows
        return np.column_stack([rows[:, 0] + self.base_ms - self.step_ms, rows[:, 1:]])
