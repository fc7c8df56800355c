"""What the live chart draws of a board: everything once, then only what is new; nothing drawn is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stratnb.model import timeframe_ms
from stratnb.ui.chart import Ops, Update, attr, patch, put, stream
from stratnb.ui.figures import DECIDED, LEVELS, LINES
from stratnb.ui.marks import (
    Deal,
    deals,
    late_entries,
    late_ops,
    order_ops,
    order_tags,
    position_ops,
    position_tags,
    trade_marks,
    trade_words,
)
from stratnb.ui.window import LIMIT, Window, gaps, price_columns, sampled
from stratnb.view import Board, OrderView, PositionView, StrategyView

__all__ = ["PriceFeed"]

Floats = npt.NDArray[np.float64]
Named = tuple[tuple[str, str], ...]

TAIL: Final = 256
SHOWN: Final = 130  # candles that a new chart shows
ROOM: Final = 0.13  # free part of the range right of the newest candle
GAP: Final = 1.5  # candles apart from which there is a gap
LISTED: Final = 100  # trades to choose from
LEVEL_ENDS: Final = (".support", ".resistance")


class PriceFeed:
    """Reads a strategy's candles, columns, decisions, fills, order and position as updates of the price figure.

    `feed` is the timeframe in which candles arrive. It keeps the newest times it has sent and what is switched on, no
    candles.
    """

    def __init__(self, board: Board, row: StrategyView, feed: str = "") -> None:
        base = timeframe_ms(row.timeframe)
        self.board = board
        self.drawn: Named = tuple(board.lines(row.strategy_id))
        self.levels: Named = tuple(line for line in self.drawn if line[0].endswith(LEVEL_ENDS))[:LEVELS]
        self.lines: Named = tuple(line for line in self.drawn if not line[0].endswith(LEVEL_ENDS))[: len(LINES)]
        names = tuple(name for name, _ in (*self.lines, *self.levels))
        self.window = Window(row.symbol, row.strategy_id, row.timeframe, base, base, names, feed=feed)
        self.span_ms = float(SHOWN * base)
        self.follow = True
        self.visible: Sequence[bool] = [True] * len(self.lines)
        self.levels_on = True
        self._target: tuple[float, float] | None = None
        self._seen = (0.0, 0.0)
        self._last_ms = self._end_ms = 0.0
        self._newest: tuple[float, ...] = ()
        self.fills = -1
        self._decided_ms = 0.0
        self._tallest = 0.0
        self._held: tuple[Any, ...] = ()
        self._prices: list[float] = []

    def is_current(self) -> bool:
        """Return whether the strategy still draws the same columns."""
        return tuple(self.board.lines(self.window.strategy_id)) == self.drawn

    @property
    def seen(self) -> tuple[float, float]:
        """Return the visible range, (0, 0) before anything was drawn."""
        return self._seen

    def go_to(self, time_ms: float, *, center: bool = False) -> None:
        """Move to a time that is out of view with the next whole update, and stop following."""
        if not center and self._seen[0] <= time_ms <= self._seen[1]:
            return
        half = self.span_ms / 2.0
        self.page(time_ms - half, time_ms + half, self.window.step_ms)
        self.follow = False
        self._target = (time_ms - half, time_ms + half)

    def stay(self) -> None:
        """Keep what is seen with the next whole update, whose figure is a new one."""
        if self._seen[1] > self._seen[0]:
            self._target = self._seen

    def zoom(self, span_ms: float, step_ms: int) -> None:
        """Show the newest `span_ms` in candles of `step_ms`, or of longer ones if they would be too many."""
        self.span_ms, self.follow = span_ms, True
        self.window = replace(self.window, step_ms=step_ms, end_ms=None).widened(span_ms)

    def page(self, start_ms: float, end_ms: float, step_ms: int) -> bool:
        """Take the range a person looks at; return whether other candles must be drawn for it."""
        before, newest = self.window, self._newest_ms()
        self._seen = (start_ms, end_ms)
        self.span_ms = max(end_ms - start_ms, 5.0 * before.step_ms)
        wider = replace(before, step_ms=step_ms, end_ms=None).widened(self.span_ms)
        spare = (LIMIT * wider.step_ms - self.span_ms) / 2.0
        end = None if end_ms >= newest - spare else int((end_ms + spare) // wider.step_ms * wider.step_ms)
        self.follow = start_ms <= newest <= end_ms
        first = self._last_ms - (LIMIT - 1) * before.step_ms
        inside = start_ms >= first and end_ms <= self._last_ms + self.span_ms and wider.step_ms == before.step_ms
        if inside and (end is None) == (before.end_ms is None):
            return False
        self.window, self._target = replace(wider, end_ms=end), (start_ms, end_ms)
        return True

    def whole(self, position: PositionView | None, order: OrderView | None = None) -> Update | None:
        """Return everything, or None while there is no candle."""
        rows = self.window.candles(self.board)
        if not len(rows):
            return None
        self._last_ms, self._newest = float(rows[-1, 5]), tuple(rows[-1])
        self._end_ms = self._last_ms + ROOM * self.span_ms
        decided = self.board.decisions(self.window.strategy_id)
        self._decided_ms = float(decided[-1, 0]) if len(decided) else 0.0
        lines = self.window.lines(self.board, rows[:, 5])
        left, right = gaps(rows[:, 5], self.window.step_ms)
        ops = [*self._look(rows), put("src", {**price_columns(rows), **self._columns(lines), **self.decisions(rows)})]
        ops += [put("gaps", {"x0": left, "x1": right}), *self._position_ops(position, order)]
        ops += late_ops(self.window.shifted(late_entries(decided)), rows, self.window.step_ms)
        trades, notes = self._trades(rows, decided)
        self._held, self._prices = _signature(position, order), self._level_prices(lines)
        moved = self._target or (self._range() if self.follow else None)
        self._target = None
        return Update([*ops, *trades], moved, True, self._tags(rows, position, order), notes)

    def advance(self, position: PositionView | None, order: OrderView | None = None) -> Update | None:
        """Return what came since the last update (which may be nothing), or None when a whole one is needed."""
        fills, held = len(self.board.fills(self.window.strategy_id)), _signature(position, order)
        decided = self.board.decisions(self.window.strategy_id, last=1)
        decided_ms = float(decided[-1, 0]) if len(decided) else 0.0
        if fills != self.fills or (decided_ms > self._decided_ms and self._caught_up()):
            return None
        if self.window.end_ms is not None:
            ops = [] if held == self._held else self._position_ops(position, order)
            self._held, self._decided_ms = held, decided_ms
            return Update(ops)
        rows = self.window.candles(self.board, TAIL)
        if not (rows[:, 5] == self._last_ms).any():
            return None
        if (tuple(rows[-1]), held, decided_ms) == (self._newest, self._held, self._decided_ms):
            return Update()
        self._decided_ms = decided_ms
        fresh = rows[rows[:, 5] > self._last_ms]
        if len(fresh) and np.diff(np.r_[self._last_ms, fresh[:, 5]]).max() > GAP * self.window.step_ms:
            return None
        return self._news(rows, len(fresh), position, order)

    def _caught_up(self) -> bool:
        """Return whether entries were decided in a catch-up since the last update; too many to tell count as such."""
        rows = self.board.decisions(self.window.strategy_id, last=TAIL)
        fresh = rows[rows[:, 0] > self._decided_ms]
        return len(fresh) == TAIL or len(late_entries(fresh)) > 0

    def _news(self, rows: Floats, fresh: int, position: PositionView | None, order: OrderView | None) -> Update:
        """Return the update for `fresh` candles at the end, for the one before, which may have grown, and the rest."""
        lines = self.window.lines(self.board, rows[:, 5], TAIL)
        since = len(rows) - fresh - 1
        news = {**price_columns(rows[since:]), **self._columns(lines[since:]), **self.decisions(rows[since:])}
        ops = [patch("src", {name: [(-1, float(values[0]))] for name, values in news.items() if name != "t"})]
        ops += self._volume(rows)
        if fresh:
            ops.append(stream("src", {name: values[1:] for name, values in news.items()}, LIMIT))
            self._last_ms = float(rows[-1, 5])
            self._end_ms = self._last_ms + ROOM * self.span_ms
        held = _signature(position, order)
        if fresh or held != self._held:
            ops += self._position_ops(position, order)
        self._newest, self._held, self._prices = tuple(rows[-1]), held, self._level_prices(lines)
        moved = self._range() if self.follow and fresh else None
        return Update(ops, moved, tags=self._tags(rows, position, order))

    def _range(self) -> tuple[float, float]:
        """Return the range that ends at the newest candle, which is then what is seen."""
        self._seen = (self._end_ms - self.span_ms, self._end_ms)
        return self._seen

    def _newest_ms(self) -> float:
        """Return the open time of the newest candle of the market as it is drawn."""
        window = self.window
        rows = self.board.candles(window.symbol, window.feed or window.primary, last=1)
        return float(rows[-1, 5] // window.step_ms * window.step_ms) if len(rows) else 0.0

    def _position_ops(self, position: PositionView | None, order: OrderView | None) -> Ops:
        """Return the operations for the levels of the position and the slot of the waiting order."""
        return [*position_ops(position, self._end_ms), *order_ops(order, self.window.step_ms)]

    def decisions(self, rows: Floats) -> dict[str, Floats]:
        """Return the newest decision inside each of the newest drawn candles, NaN where there is none."""
        most = (len(rows) + 1) * self.window.factor if self.window.end_ms is None else None
        decided = self.window.shifted(self.board.decisions(self.window.strategy_id, last=most))
        found = sampled(rows[:, 5], self.window.step_ms, decided[:, [0, 1, 2, 3, 4, 6]])
        return dict(zip(DECIDED, found.T, strict=True))

    def _columns(self, lines: Floats) -> dict[str, Floats]:
        """Return every line and level column of the source, NaN where nothing is drawn."""
        blank, count = np.full(len(lines), np.nan), len(self.lines)
        made = {f"k{i}": blank for i in range(len(LINES))} | {f"v{i}": blank for i in range(LEVELS)}
        made |= {f"k{i}": lines[:, i] for i in range(count)}
        return made | {f"v{i}": lines[:, count + i] for i in range(len(self.levels))}

    def _look(self, rows: Floats) -> Ops:
        """Return the operations for widths, volume scale and what is switched on."""
        width, self._tallest = 0.62 * self.window.step_ms, 0.0
        ops = [attr(name, width={"value": width}) for name in ("g_body", "g_vol")]
        ops += self._volume(rows)
        ops += [attr(f"r_k{i}", visible=bool(on)) for i, on in enumerate(self.visible)]
        return ops + [attr(f"r_v{i}", visible=self.levels_on) for i in range(LEVELS)]

    def _volume(self, rows: Floats) -> Ops:
        """Return the operation that fits the volume scale to the newest candles, when they have outgrown it."""
        tallest = float(rows[-TAIL:, 4].max()) or 1.0
        if self._tallest / 4.0 < tallest <= self._tallest:
            return []
        self._tallest = tallest
        return [attr("vol", start=0.0, end=tallest * 7.0)]

    def _trades(self, rows: Floats, decided: Floats) -> tuple[Ops, list[dict[str, Any]]]:
        """Return the marks of the trades inside the drawn candles."""
        fills = self.board.fills(self.window.strategy_id)
        self.fills = len(fills)
        stop_of = partial(_stop_of, decided, self.window.base_ms)
        return trade_marks(deals(fills), rows, self.window.step_ms, stop_of)

    def trades(self) -> list[tuple[str, int]]:
        """Return the newest trades as (words, entry time), newest first."""
        decided = self.board.decisions(self.window.strategy_id)
        trips = deals(self.board.fills(self.window.strategy_id))[: -LISTED - 1 : -1]
        return [(trade_words(trip, _stop_of(decided, self.window.base_ms, trip)), trip.entry_ms) for trip in trips]

    def _level_prices(self, lines: Floats) -> list[float]:
        """Return the newest level prices; none while older candles are shown."""
        return lines[-1, len(self.lines) :].tolist() if self.window.end_ms is None and len(lines) else []

    def _tags(self, rows: Floats, position: PositionView | None, order: OrderView | None) -> list[dict[str, Any]]:
        """Return the tags of the last price, the waiting order, the position and the levels."""
        newest = rows if self.window.end_ms is None else replace(self.window, end_ms=None).candles(self.board, 1)
        rising = newest[-1, 3] >= newest[-1, 0]
        last: dict[str, Any] = {"y": float(newest[-1, 3]), "t": "", "tone": "up" if rising else "down", "axis": True}
        levels = zip(self.levels, self._prices, strict=False) if self.levels_on else ()
        named = [{"y": y, "t": label, "tone": "mute", "axis": False} for (_, label), y in levels if np.isfinite(y)]
        return [last, *order_tags(order, last["y"]), *position_tags(position), *named]


def _stop_of(decided: Floats, base_ms: int, deal: Deal) -> float | None:
    """Return the stop that a trade's entry was decided with, at the candle before its first fill."""
    at = int(np.searchsorted(decided[:, 0], deal.entry_ms - base_ms))
    known = at < len(decided) and decided[at, 0] == deal.entry_ms - base_ms and np.isfinite(decided[at, 5])
    return float(decided[at, 5]) if known else None


def _signature(position: PositionView | None, order: OrderView | None) -> tuple[Any, ...]:
    """Return what decides whether the lines of position and order must be drawn again."""
    waiting = () if order is None else (order.order_id,)
    if position is None:
        return waiting
    lines = (position.opened_ms, position.entry_price, position.stop, position.targets)
    return (*waiting, *lines, position.stop_history, position.pending_exit)
