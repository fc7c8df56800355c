"""What the performance panel compares: equity, trades and their excursions of account, strategies and buy and hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from stratnb.model import TIMEFRAMES, Fill, Trade
from stratnb.research.daily import DAY_MS, against, daily_series, returns_of
from stratnb.research.figures import all_figures
from stratnb.research.results import activity_figures, buy_and_hold, excursions, round_trips
from stratnb.ui.figures import CURVES
from stratnb.view import Board, EngineView, StrategyView

__all__ = ["DAYS_NEEDED", "Line", "Sample", "Sampler", "Scope", "hold", "named", "spaced"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Traded: TypeAlias = tuple[tuple[Fill, ...], list[Trade], Floats]

DAYS_NEEDED: Final = 2
NO_ROWS: Final = np.empty((0, 2))


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: strategies, the newest `days` (0: all), the market of buy and hold, and a pair of lines."""

    ids: tuple[str, ...] = ()
    on: frozenset[str] = frozenset()
    days: int = 0
    market: str = ""
    pair: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One compared curve in the range: `rows` (time_ms, equity), its first row being the start.

    `trades` are those closed in the range, `paths` their (MAE, MFE), `fills` the fills of each of its strategies.
    `worst` is the max drawdown that the engine saw on every candle, where the range is the whole run. `closes` are
    the closing times of its candles, `candles` those that buy and hold is bought in, and `fee` that of one side.
    """

    key: str
    label: str
    look: str
    rows: Floats
    trades: tuple[Trade, ...] = ()
    paths: Floats = field(default_factory=lambda: NO_ROWS)
    fills: tuple[tuple[Fill, ...], ...] = ()
    fee: float | None = None
    worst: float = 0.0
    closes: Floats = field(default_factory=lambda: np.empty(0))
    candles: Floats = field(default_factory=lambda: np.empty((0, 6)))

    @property
    def elapsed_days(self) -> float:
        """Return the days from the first to the last point."""
        return float(self.rows[-1, 0] - self.rows[0, 0]) / DAY_MS if len(self.rows) else 0.0

    @property
    def has_ratios(self) -> bool:
        """Return whether there is enough for ratios."""
        return self.elapsed_days >= DAYS_NEEDED

    def daily(self) -> tuple[Ints, Floats]:
        """Return the days and the equity before the first and at the end of each."""
        if not len(self.rows):
            return np.empty(0, np.int64), np.zeros(1)
        return daily_series(self.rows[1:, 0].astype(np.int64), self.rows[1:, 1], float(self.rows[0, 1]))

    def returns(self) -> tuple[Ints, Floats]:
        """Return the days and their returns."""
        days, daily = self.daily()
        return days, returns_of(daily)

    def figures(self, held: Line | None = None) -> dict[str, float | None]:
        """Return every figure of the line, with alpha and beta against a line of buy and hold."""
        times, equity = self.rows[:, 0].astype(np.int64), self.rows[:, 1]
        start_ms = int(times[0])
        found = all_figures(times[1:], equity[1:], float(equity[0]), start_ms=start_ms, trades=self.trades)
        if (whole := found["total_return"]) is not None and self.worst > (found["max_drawdown"] or 0.0):
            found |= {"max_drawdown": self.worst, "recovery_factor": whole / self.worst}
        known = self.paths[np.isfinite(self.paths).all(axis=1)] if len(self.paths) else NO_ROWS
        found |= {name: float(known[:, k].mean()) if len(known) else None for k, name in enumerate(_PATHS)}
        closes = self.closes if len(self.closes) else self.rows[1:, 0]
        closes = closes[(closes > start_ms) & (closes <= times[-1])]
        mean = float(equity.mean()) if self.fills else 0.0
        found |= activity_figures(self.fills, start_ms=float(start_ms), close_ms=closes, mean_equity=mean)
        found |= {"buy_and_hold": None, "alpha": None, "beta": None}
        if held is not None and held.key != self.key:
            beside = held.beside(self.rows)
            if len(beside.rows):
                found["buy_and_hold"] = float(beside.rows[-1, 1] / beside.rows[0, 1] - 1.0)
            found |= against(self.returns(), beside.returns())
        return found

    def beside(self, rows: Floats) -> Line:
        """Return buy and hold over the time of other points, bought at the first open from their start on."""
        candles = self.candles[self.candles[:, 5] >= rows[0, 0]]
        return replace(self, rows=hold(candles, rows[1:, 0], float(rows[0, 1]), self.fee or 0.0))


_PATHS: Final = ("average_mae", "average_mfe")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One reading of the board: the drawn lines, account and buy and hold first; `held` is the latter, drawn or not."""

    lines: tuple[Line, ...]
    quote: str
    step_ms: float
    held: Line | None

    @property
    def is_pair(self) -> bool:
        """Return whether these are A and B."""
        return len(self.lines) == 2 and self.lines[0].label.startswith("A: ")

    @property
    def span(self) -> tuple[float, float]:
        """Return the drawn range of time, with room at its end."""
        first = min(float(line.rows[0, 0]) for line in self.lines)
        end = max(float(line.rows[-1, 0]) for line in self.lines)
        return first, end + 0.02 * max(end - first, 1.0)

    def trading(self) -> tuple[Line, ...]:
        """Return the lines with trades of their own: the strategies, or the account when none is chosen."""
        own = tuple(line for line in self.lines if line.key not in ("account", "hold"))
        return own or tuple(line for line in self.lines if line.key == "account")


def named(view: EngineView) -> dict[str, str]:
    """Return the screen name of each strategy; equal ones are told apart by label or id."""
    plain = {row.strategy_id: f"{row.title or row.name} {row.symbol}" for row in view.strategies}
    seen = list(plain.values())
    labels = {row.strategy_id: row.label or row.strategy_id for row in view.strategies}
    return {key: name if seen.count(name) == 1 else f"{name} {labels[key]}" for key, name in plain.items()}


def hold(rows: Floats, at: Floats, start: float, fee: float = 0.0) -> Floats:
    """Return (time, worth) of `start` put into a market at its first open, at the times `at` of closed candles.

    It is what selling would leave, after the `fee` of both sides. `rows` are candles as of `Board.candles` from the
    first time on; times before the first close are left out.
    """
    if len(rows) < 2 or not len(at) or rows[0, 0] <= 0:
        return NO_ROWS
    closed = rows[:, 5] + np.diff(rows[:, 5]).min()
    index = np.searchsorted(closed, at, side="right") - 1
    inside = index >= 0
    worth = start * (1.0 + buy_and_hold(float(rows[0, 0]), rows[index[inside], 3], fee))
    first = np.array([[rows[0, 5], start]])
    return np.vstack([first, np.column_stack([at[inside], worth])])


def spaced(rows: Floats, step_ms: int) -> Floats:
    """Return the last point of each step of time, the first and the newest among them; 0 keeps every point.

    >>> spaced(np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]), 2)[:, 1].tolist()
    [1.0, 3.0, 4.0]
    """
    if not step_ms or len(rows) < 2:
        return rows
    part = np.ceil(rows[:, 0] / step_ms)
    keep = np.r_[np.diff(part) > 0, True]
    keep[0] = True
    return rows[keep]


class Sampler:
    """Reads the board for a scope; the trades and excursions of before are kept, only new ones are worked out."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: dict[str, tuple[tuple[float, ...], Traded]] = {}
        self._opened: tuple[tuple[float, float], dict[str, Floats]] = ((0.0, 0.0), {})

    def sample(self, view: EngineView, scope: Scope) -> Sample | None:
        """Return the lines of a scope, or None while the account has no curve."""
        whole = self._board.equity()
        if len(whole) < 2:
            return None
        start = float(whole[-1, 0] - scope.days * DAY_MS) if scope.days else float(whole[0, 0])
        first = max(int(np.searchsorted(whole[:, 0], start, side="right")) - 1, 0)
        rows = whole[first:]
        if len(rows) < 2:
            rows = whole[-2:]
        start = float(rows[0, 0])
        lines = [self._account(view, rows, start)]
        if scope.market:
            lines += self._held(view, scope.market, rows)
        names, loaded = named(view), {row.strategy_id: row for row in view.strategies}
        for i, strategy_id in enumerate(scope.ids):
            if strategy_id in scope.on and strategy_id in loaded:
                own = self._strategy(view, loaded[strategy_id], i, start)
                whole_run = 0.0 if scope.days else loaded[strategy_id].max_drawdown
                lines += [replace(line, label=names[strategy_id], worst=whole_run) for line in own]
        gap = float(np.median(np.diff(whole[:, 0])))
        held = next((line for line in lines if line.key == "hold"), None)
        return Sample(_paired(lines, scope.pair), view.quote, gap, held)

    def _account(self, view: EngineView, rows: Floats, start: float) -> Line:
        each = [self._trades(view, row) for row in view.strategies]
        fills = tuple(own for own, _, _ in each)
        made = [pair for _, trades, paths in each for pair in zip(trades, paths, strict=True)]
        made = sorted((pair for pair in made if pair[0].exit_ms >= start), key=lambda pair: pair[0].exit_ms)
        paths = np.array([path for _, path in made]).reshape(-1, 2)
        closes = self._closes(view, {row.symbol for row in view.strategies}, start)
        return Line("account", "Account", "", rows, tuple(trade for trade, _ in made), paths, fills, closes=closes)

    def _strategy(self, view: EngineView, row: StrategyView, i: int, start: float) -> list[Line]:
        rows = self._board.equity(row.strategy_id)
        first = max(int(np.searchsorted(rows[:, 0], start, side="right")) - 1, 0) if len(rows) else 0
        if len(rows) - first < 2:
            return []
        fills, trades, paths = self._trades(view, row)
        inside = [k for k, trade in enumerate(trades) if trade.exit_ms >= start]
        kept = tuple(trades[k] for k in inside)
        closes = self._closes(view, {row.symbol}, start)
        own = (kept, paths[inside], (fills,))
        return [Line(f"s{i}", row.strategy_id, CURVES[i][2], rows[first:], *own, closes=closes)]

    def _closes(self, view: EngineView, symbols: set[str], start: float) -> Floats:
        """Return the closing times of the feed's candles of some markets from a time on."""
        timeframe = _timeframe(view)
        step, many = TIMEFRAMES[timeframe], int((view.now_ms - start) / TIMEFRAMES[timeframe]) + 2
        if self._opened[0] != (view.now_ms, start):
            self._opened = ((view.now_ms, start), {})
        opens = self._opened[1]
        for symbol in symbols - opens.keys():
            opens[symbol] = self._board.candles(symbol, timeframe, last=many)[:, 5]
        return np.unique(np.concatenate([opens[symbol] for symbol in symbols])) + step if symbols else np.empty(0)

    def _held(self, view: EngineView, market: str, rows: Floats) -> list[Line]:
        """Return buy and hold of a market from the start of the range, bought with the equity of the account."""
        timeframe, first, end = _timeframe(view), float(rows[0, 0]), float(rows[-1, 0])
        many = int((end - first) / TIMEFRAMES[timeframe]) + 2
        candles = self._board.candles(market, timeframe, last=many, before_ms=int(end))
        fee = view.fees.get(market, 0.0)
        line = Line("hold", f"Buy and hold {market}", "is-bh", rows, fee=fee, candles=candles).beside(rows)
        return [line] if len(line.rows) >= 2 else []

    def _trades(self, view: EngineView, row: StrategyView) -> Traded:
        """Return fills, closed trades and their excursions of a strategy; they are read when it has traded."""
        key = (row.trades, row.quantity, row.realized_pnl)
        before = self._known.get(row.strategy_id)
        if before is not None and before[0] == key:
            return before[1]
        known, trades, paths = before[1] if before else ((), [], NO_ROWS)
        fills = tuple(self._board.fills(row.strategy_id))
        if known and (len(fills) < len(known) or fills[len(known) - 1] != known[-1]):
            trades, paths = [], NO_ROWS  # another feed: a fresh account
        closed = trades[-1].trade_no if trades else -1
        fresh = round_trips(fill for fill in fills if fill.trade_no > closed)
        made = (fills, [*trades, *fresh], np.vstack([paths, self._paths(view, fresh)]))
        self._known[row.strategy_id] = (key, made)
        return made

    def _paths(self, view: EngineView, trades: Sequence[Trade]) -> Floats:
        """Return the excursions of trades of one market from the candles of the feed."""
        if not trades:
            return NO_ROWS
        timeframe = _timeframe(view)
        span = view.now_ms - min(trade.entry_ms for trade in trades)
        rows = self._board.candles(trades[0].symbol, timeframe, last=int(span / TIMEFRAMES[timeframe]) + 2)
        return excursions(trades, rows[:, 5], rows[:, 1], rows[:, 2])


def _timeframe(view: EngineView) -> str:
    """Return the timeframe of the feed's candles."""
    if view.feed is not None and view.feed.timeframe in TIMEFRAMES:
        return view.feed.timeframe
    return min((row.timeframe for row in view.strategies), key=lambda name: TIMEFRAMES[name], default="1m")


def _paired(lines: Sequence[Line], pair: tuple[str, str] | None) -> tuple[Line, ...]:
    """Return the two lines of a pair as A and B when both are there, else all lines."""
    by_key = {line.key: line for line in lines}
    if pair is None or not set(pair) <= set(by_key):
        return tuple(lines)
    return tuple(
        replace(by_key[key], label=f"{name}: {by_key[key].label}") for name, key in zip("AB", pair, strict=True)
    )
