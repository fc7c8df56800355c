"""What P10 runs: the strategy, the candles, the range and the costs, read from fields and checked before a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ipywidgets as w
import numpy as np

from stratnb.errors import ConfigError
from stratnb.market_data.candles import Candles
from stratnb.strategy.documents import names
from stratnb.ui.controls import dropdown, field, segment, show, styled
from stratnb.ui.format import stamp
from stratnb.view import Board, EngineView

__all__ = ["BacktestSetup", "Plan", "engine_candles", "parse_number", "parse_time"]

CANDLES_MOST = 1_000_000


@dataclass(frozen=True)
class Plan:
    """One run: a strategy (name or document), where its candles come from, and the numbers of the account."""

    title: str
    strategy: str | Mapping[str, Any]
    path: str
    symbol: str
    start_ms: int | None
    end_ms: int | None
    cash: float
    overrides: Mapping[str, Any]

    def candles(self, board: Board, timeframe: str) -> Candles:
        """Return the candles of the plan: a file, or what the board's feed has closed."""
        if self.path:
            from stratnb.market_data.load import load_candles

            found, _ = load_candles(self.path)
        else:
            found = engine_candles(board, self.symbol, timeframe)
        start = 0 if self.start_ms is None else int(np.searchsorted(found.open_time_ms, self.start_ms))
        end = len(found) if self.end_ms is None else int(np.searchsorted(found.open_time_ms, self.end_ms, side="right"))
        part = found[start:end]
        if not len(part):
            period = f"{stamp(found.open_time_ms[0])} to {stamp(found.open_time_ms[-1])}" if len(found) else "empty"
            raise ConfigError(
                "range_empty", f"{found.symbol} has no candles in this range", value=period, hint=f"it covers {period}"
            )
        return part


def engine_candles(board: Board, symbol: str, timeframe: str) -> Candles:
    """Return the closed candles of the board's feed for a symbol."""
    rows = board.candles(symbol, timeframe, last=CANDLES_MOST)
    if not len(rows):
        raise ConfigError(
            "no_candles", f"{symbol} has no closed candle yet", value=symbol, hint="start the engine or choose a file"
        )
    return Candles(symbol, timeframe, rows[:, 5].astype(np.int64), *rows[:, :5].T)


def parse_time(text: str, what: str) -> int | None:
    """Return UTC milliseconds of an ISO date or time, None for an empty text.

    >>> parse_time("2018-01-01", "From")
    1514764800000
    """
    if not text.strip():
        return None
    try:
        return int(datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise ConfigError(
            "time", f"{what} {text!r} is not a time", value=text, hint="write 2026-01-31 or 2026-01-31 14:05"
        ) from error


def parse_number(text: str, what: str, low: float, high: float) -> float | None:
    """Return a number within its bounds, None for an empty text."""
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError as error:
        raise ConfigError(
            "type", f"{what} {text!r} is not a number", value=text, hint=f"give {low:g} to {high:g}"
        ) from error
    if not low <= value <= high:
        fit = f"did you mean {value / 100:g}?" if low <= value / 100 <= high else f"give {low:g} to {high:g}"
        raise ConfigError("range", f"{what} {value:g} is outside {low:g} to {high:g}", value=value, hint=fit)
    return value


class BacktestSetup(w.VBox):  # type: ignore[misc]
    """The fields of a run."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.strategy = dropdown("Strategy", [(name, ("library", name)) for name in names()])
        if "simple-levels" in names():
            self.strategy.value = ("library", "simple-levels")
        self.data = segment(["Feed", "File"], "Feed")
        self.data.observe(lambda _: self._lay(), "value")
        self.symbol = dropdown("Symbol", [])
        self.path = field("File", "path to CSV or Parquet")
        self.start = field("From", "first candle")
        self.end = field("To", "last candle")
        self.cash = field("Cash", value="10000")
        self.fee = field("Fee", "market's own")
        self.slippage = field("Slippage", "0.0005")
        rows = [
            [self.strategy, self.data, self.symbol, self.path],
            [self.start, self.end, self.cash, self.fee, self.slippage],
        ]
        super().__init__([styled(w.HBox(row), "sn-addrow") for row in rows])
        self._lay()

    def paint(self, view: EngineView) -> None:
        """Offer the loaded strategies before the shipped ones, and the symbols of the feed."""
        loaded = [(f"{s.title or s.name} · {s.symbol} (loaded)", ("loaded", s.strategy_id)) for s in view.strategies]
        _offer(self.strategy, [*loaded, *((name, ("library", name)) for name in names())])
        _offer(self.symbol, [(symbol, symbol) for symbol in view.markets])

    def plan(self, view: EngineView) -> Plan:
        """Return the run that the fields describe, or raise `ConfigError` for the first fault."""
        where, name = self.strategy.value
        row = next((s for s in view.strategies if where == "loaded" and s.strategy_id == name), None)
        path = self.path.value.strip() if self.data.value == "File" else ""
        if self.data.value == "File" and not path:
            raise ConfigError("missing", "the candle file is missing", hint="give a path, or use the feed")
        start, end = parse_time(self.start.value, "From"), parse_time(self.end.value, "To")
        if start is not None and end is not None and end <= start:
            raise ConfigError("range", "To is not after From", value=self.end.value, hint="exchange them")
        symbol = row.symbol if row else (self.symbol.value or "")
        title = f"{row.title or row.name if row else name} on {path.rsplit('/', 1)[-1] or symbol}"
        cash = parse_number(self.cash.value, "Cash", 1.0, 1e12) or 10_000.0
        strategy = self.board.document(name) if row else name
        return Plan(title, strategy, path, symbol, start, end, cash, self._costs())

    def _costs(self) -> dict[str, Any]:
        fee = parse_number(self.fee.value, "Fee", 0.0, 0.05)
        slippage = parse_number(self.slippage.value, "Slippage", 0.0, 0.05)
        costs = {} if fee is None else {"execution.simulation.taker_fee": fee, "execution.simulation.maker_fee": fee}
        return costs if slippage is None else costs | {"execution.simulation.slippage": slippage}

    def _lay(self) -> None:
        show(self.symbol, self.data.value == "Feed")
        show(self.path, self.data.value == "File")


def _offer(box: w.Dropdown, options: list[tuple[str, Any]]) -> None:
    """Change the options of a dropdown and keep what was chosen."""
    if list(box.options) == options:
        return
    chosen = box.value
    box.options = options
    known = [value for _, value in options]
    box.value = chosen if chosen in known else known[0] if known else None
