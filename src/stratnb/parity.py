"""The proof that the engine on paper and the backtest do the same: equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.engine import Engine
from stratnb.errors import Refused
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.configured import configure
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.config import StrategyConfig

__all__ = ["Parity", "parity"]

Floats = npt.NDArray[np.float64]
STEPS = 2_000
COLUMNS = (
    "side",
    "quantity",
    "price",
    "fee",
    "time_ms",
    "reason",
    "realized_pnl",
    "position_after",
    "trade_no",
    "average",
)


@dataclass(frozen=True, slots=True)
class Parity:
    """Whether a replay through the engine equals the backtest; `difference` says where they part."""

    identical: bool
    name: str
    symbol: str
    candles: int
    trades: int
    fills: int
    difference: str

    def __bool__(self) -> bool:
        """Return whether they are identical."""
        return self.identical

    def __str__(self) -> str:
        """Return the verdict on one line."""
        verdict = "identical" if self.identical else f"different: {self.difference}"
        return (
            f"{self.name} on {self.symbol}, {self.candles} candles, {self.trades} trades, {self.fills} fills: {verdict}"
        )


def parity(
    strategy: str | Path | Mapping[str, Any] | StrategyConfig,
    candles: Candles,
    *,
    market: Market | None = None,
    cash: float = 10_000.0,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Parity:
    """Replay candles through an engine with this one strategy and compare with the backtest, bit for bit.

    Compared are every fill (time, side, quantity, price, fee, reason, realized pnl, position), the equity at every
    candle and every decision row. `progress(done, all)` is called between parts of the replay, and `cancelled()`
    asked, which ends it with `Refused("canceled")`.
    """
    known = market or market_from(candles, kind=configure(strategy, candles, overrides=overrides)[0].config.market.kind)
    test = backtest(strategy, candles, market=known, cash=cash, limits=limits, overrides=overrides, decisions=True)
    document = strategy.to_document() if isinstance(strategy, StrategyConfig) else strategy
    engine = Engine(
        f"parity-{candles.symbol}",
        candles=candles,
        markets=[known],
        cash=cash,
        limits=limits or AccountLimits(),
        curve_points=None,
        decisions_kept=2 * len(candles) + 1,
    )
    with engine:
        key = engine.add(document, candles.symbol, overrides=overrides)
        engine.activate(key)
        for done in range(0, len(candles), STEPS):
            if cancelled is not None and cancelled():
                raise Refused("canceled", f"the replay ended after {done} of {len(candles)} candles")
            if progress is not None:
                progress(done, len(candles))
            engine.step(min(STEPS, len(candles) - done))
        desk = engine.desk
        book = desk.lane(key).context.book
        fills = np.array(book.fill_rows) if book.fill_rows else np.empty((0, at.W_FILL))
        found = _difference(test, fills, book.curve.rows()[:, 1], desk.store.decisions(key).rows())
    return Parity(
        identical=not found,
        name=test.name,
        symbol=candles.symbol,
        candles=len(candles),
        trades=int(test.book[at.B_TRADES]),
        fills=len(test.fill_rows),
        difference=found,
    )


def _difference(test: Backtest, fills: Floats, equity: Floats, decisions: Floats) -> str:
    """Return where the two runs part first, "" when nowhere."""
    if where := _first(test.fill_rows, fills):
        row, column = where
        return f"fill {row}, {COLUMNS[column]}: backtest {_at(test.fill_rows, where)}, engine {_at(fills, where)}"
    pairs = (("equity", test.equity_curve[:, None], equity[:, None]), ("decision", test.decision_rows, decisions))
    for name, ours, theirs in pairs:
        if where := _first(ours, theirs):
            place = f"{name} {where[0]}, column {where[1]}"
            return f"{place}: backtest {_at(ours, where)}, engine {_at(theirs, where)}"
    return ""


def _first(a: Floats, b: Floats) -> tuple[int, int] | None:
    """Return the first place whose bits differ, also where one has more rows."""
    n = min(len(a), len(b))
    x, y = np.ascontiguousarray(a[:n]).view(np.int64), np.ascontiguousarray(b[:n]).view(np.int64)
    nan = np.isnan(a[:n]) & np.isnan(b[:n])
    places = np.argwhere((x != y) & ~nan)
    if len(places):
        return int(places[0][0]), int(places[0][1])
    return (n, 0) if len(a) != len(b) else None


def _at(rows: Floats, where: tuple[int, int]) -> str:
    return repr(float(rows[where])) if where[0] < len(rows) else "nothing"
