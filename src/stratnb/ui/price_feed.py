"""What the live chart draws of a board: everything once, then only what is new; nothing drawn is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stratnb.model import timeframe_ms
from stratnb.ui.chart import Ops, Update, attr, patch, put, stream
from stratnb.ui.figures import LEVELS, LINES
from stratnb.ui.marks import Deal, deals, position_ops, position_tags, trade_marks
from stratnb.ui.window import LIMIT, Window, gaps, price_columns
from stratnb.view import Board, PositionView, StrategyView

__all__ = ["PriceFeed"]

Floats = npt.NDArray[np.float64]
Named = tuple[tuple[str, str], ...]

TAIL: Final = 256
SHOWN: Final = 130  # candles that a new chart shows
ROOM: Final = 0.13  # free part of the range right of the newest candle
GAP: Final = 1.5  # candles apart from which there is a gap
LEVEL_ENDS: Final = (".support", ".resistance")


class PriceFeed:
    """Reads a strategy's candles, columns, fills and position as updates of the price figure.

    It keeps the newest times it has sent, the first stops of the drawn trades and what is switched on, no candles.
    """

    def __init__(self, board: Board, row: StrategyView) -> None:
        base = timeframe_ms(row.timeframe)
        self.board = board
        self.drawn: Named = tuple(board.lines(row.strategy_id))
        self.levels: Named = tuple(line for line in self.drawn if line[0].endswith(LEVEL_ENDS))[:LEVELS]
        self.lines: Named = tuple(line for line in self.drawn if not line[0].endswith(LEVEL_ENDS))[: len(LINES)]
        names = tuple(name for name, _ in (*self.lines, *self.levels))
        self.window = Window(row.symbol, row.strategy_id, row.timeframe, base, base, names)
        self.span_ms = float(SHOWN * base)
        self.follow = True
        self.visible: Sequence[bool] = [True] * len(self.lines)
        self.levels_on = True
        self._target: tuple[float, float] | None = None
        self._seen = (0.0, 0.0)
        self._last_ms = self._end_ms = 0.0
        self._newest: tuple[float, ...] = ()
        self._fills = -1
        self._held: tuple[Any, ...] = ()
        self._stops: dict[int, float | None] = {}
        self._prices: list[float] = []

    def is_current(self) -> bool:
        """Return whether the strategy still draws the same columns."""
        return tuple(self.board.lines(self.window.strategy_id)) == self.drawn

    def go_to(self, time_ms: float) -> None:
        """Move to a time that is out of view with the next whole update, and stop following."""
        if self._seen[0] <= time_ms <= self._seen[1]:
            return
        half = self.span_ms / 2.0
        self.follow = False
        self.page(time_ms - half, time_ms + half, self.window.step_ms)
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
        end = None if end_ms >= newest - spare else int(end_ms + spare)
        self.follow = start_ms <= newest <= end_ms
        first = self._last_ms - (LIMIT - 1) * before.step_ms
        inside = start_ms >= first and end_ms <= self._last_ms + self.span_ms and wider.step_ms == before.step_ms
        if inside and (end is None) == (before.end_ms is None):
            return False
        self.window, self._target = replace(wider, end_ms=end), (start_ms, end_ms)
        return True

    def whole(self, position: PositionView | None) -> Update | None:
        """Return everything, or None while there is no candle."""
        rows = self.window.candles(self.board)
        if not len(rows):
            return None
        self._last_ms, self._newest = float(rows[-1, 5]), tuple(rows[-1])
        self._end_ms = self._last_ms + ROOM * self.span_ms
        lines = self.window.lines(self.board, rows[:, 5])
        left, right = gaps(rows[:, 5], self.window.step_ms)
        ops = [*self._look(rows), put("src", {**price_columns(rows), **self._columns(lines)})]
        ops += [put("gaps", {"x0": left, "x1": right}), *position_ops(position, self._end_ms)]
        trades, notes = self._trades(rows)
        self._held, self._prices = _signature(position), self._level_prices(lines)
        moved = self._target or (self._range() if self.follow else None)
        self._target = None
        return Update([*ops, *trades], moved, True, self._tags(rows, position), notes)

    def advance(self, position: PositionView | None) -> Update | None:
        """Return what came since the last update (which may be nothing), or None when a whole one is needed."""
        fills = len(self.board.fills(self.window.strategy_id))
        if self.window.end_ms is not None:
            return Update() if fills == self._fills else None
        rows = self.window.candles(self.board, TAIL)
        if not len(rows) or rows[0, 5] > self._last_ms or fills != self._fills:
            return None
        held = _signature(position)
        if tuple(rows[-1]) == self._newest and held == self._held:
            return Update()
        fresh = rows[rows[:, 5] > self._last_ms]
        if len(fresh) and np.diff(np.r_[self._last_ms, fresh[:, 5]]).max() > GAP * self.window.step_ms:
            return None
        return self._news(rows, fresh, position)

    def _news(self, rows: Floats, fresh: Floats, position: PositionView | None) -> Update:
        """Return the update for fresh candles, a grown one, or another position."""
        lines = self.window.lines(self.board, rows[:, 5], TAIL)
        ops = self._grown(rows, lines) if self.window.factor > 1 else []
        if len(fresh):
            ops.append(stream("src", {**price_columns(fresh), **self._columns(lines[-len(fresh) :])}, LIMIT))
            self._last_ms = float(fresh[-1, 5])
            self._end_ms = self._last_ms + ROOM * self.span_ms
        held = _signature(position)
        if len(fresh) or held != self._held:
            ops += position_ops(position, self._end_ms)
        self._newest, self._held, self._prices = tuple(rows[-1]), held, self._level_prices(lines)
        moved = self._range() if self.follow and len(fresh) else None
        return Update(ops, moved, tags=self._tags(rows, position))

    def _range(self) -> tuple[float, float]:
        """Return the range that ends at the newest candle, which is then what is seen."""
        self._seen = (self._end_ms - self.span_ms, self._end_ms)
        return self._seen

    def _newest_ms(self) -> float:
        """Return the open time of the newest candle of the market."""
        rows = self.board.candles(self.window.symbol, self.window.primary, last=1)
        return float(rows[-1, 5]) if len(rows) else 0.0

    def _grown(self, rows: Floats, lines: Floats) -> Ops:
        """Return the patch of the newest drawn candle, which grows while candles are grouped."""
        at = rows[:, 5] == self._last_ms
        if not at.any():
            return []
        columns = {**price_columns(rows[at]), **self._columns(lines[at])}
        return [patch("src", {name: [(-1, float(values[0]))] for name, values in columns.items() if name != "t"})]

    def _columns(self, lines: Floats) -> dict[str, Floats]:
        """Return every line and level column of the source, NaN where nothing is drawn."""
        blank, count = np.full(len(lines), np.nan), len(self.lines)
        made = {f"k{i}": blank for i in range(len(LINES))} | {f"v{i}": blank for i in range(LEVELS)}
        made |= {f"k{i}": lines[:, i] for i in range(count)}
        return made | {f"v{i}": lines[:, count + i] for i in range(len(self.levels))}

    def _look(self, rows: Floats) -> Ops:
        """Return the operations for widths, volume scale and what is switched on."""
        width, tallest = 0.62 * self.window.step_ms, float(rows[-TAIL:, 4].max())
        ops = [attr(name, width={"value": width}) for name in ("g_body", "g_vol")]
        ops.append(attr("vol", start=0.0, end=(tallest or 1.0) * 7.0))
        ops += [attr(f"r_k{i}", visible=bool(on)) for i, on in enumerate(self.visible)]
        return ops + [attr(f"r_v{i}", visible=self.levels_on) for i in range(LEVELS)]

    def _trades(self, rows: Floats) -> tuple[Ops, list[dict[str, Any]]]:
        """Return the marks of the trades inside the drawn candles."""
        fills = self.board.fills(self.window.strategy_id)
        self._fills = len(fills)
        trips = deals(fills)
        self._stops = {deal.number: self._stops[deal.number] for deal in trips if deal.number in self._stops}
        return trade_marks(trips, rows, self.window.step_ms, self._stop_of)

    def _stop_of(self, deal: Deal) -> float | None:
        """Return the stop that the entry was decided with: the candle before the fill's."""
        if deal.number not in self._stops:
            decision = self.board.decision(self.window.strategy_id, deal.entry_ms - self.window.base_ms)
            self._stops[deal.number] = None if decision is None else decision.stop
        return self._stops[deal.number]

    def _level_prices(self, lines: Floats) -> list[float]:
        """Return the newest level prices; none while older candles are shown."""
        return lines[-1, len(self.lines) :].tolist() if self.window.end_ms is None and len(lines) else []

    def _tags(self, rows: Floats, position: PositionView | None) -> list[dict[str, Any]]:
        """Return the tags of the last price, the position and the levels."""
        newest = rows if self.window.end_ms is None else replace(self.window, end_ms=None).candles(self.board, 1)
        rising = newest[-1, 3] >= newest[-1, 0]
        last = {"y": float(newest[-1, 3]), "t": "", "tone": "up" if rising else "down", "axis": True}
        levels = zip(self.levels, self._prices, strict=False) if self.levels_on else ()
        named = [{"y": y, "t": label, "tone": "mute", "axis": False} for (_, label), y in levels if np.isfinite(y)]
        return [last, *position_tags(position), *named]


def _signature(position: PositionView | None) -> tuple[Any, ...]:
    """Return what decides whether the position's lines must be drawn again."""
    if position is None:
        return ()
    lines = (position.opened_ms, position.entry_price, position.stop, position.targets)
    return (*lines, position.stop_history, position.pending_exit)
