"""Hand-made candles, scripted strategies and a candle loop in plain steps, shared by the tests of the core.

`scripted` signals by the volume of a candle, `dice` by a hash of its time, `fussy` refuses a price; they are
registered only while the fixture `test_blocks` is in use, so that the laws over the registry do not see them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from stratnb.blocks import base
from stratnb.blocks.base import Analyzer, Exit, Filter, Input
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.jit import kernel
from stratnb.market_data.candles import Candles
from stratnb.model import Market, timeframe_ms
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.strategy.plan import Plan

Floats = npt.NDArray[np.float64]

START_MS = 1_600_041_600_000  # 2020-09-14 00:00 UTC, a Monday
MINUTE, DAY = 60_000, 86_400_000
SYMBOL = "AAA/USDT"
LONG, SHORT, BOOM, IDLE = 7.0, 6.0, 0.5, 1.0
FREE = AccountLimits(
    **{name: None for name in AccountLimits.model_fields if name not in ("flatten", "require_stop")}  # type: ignore[arg-type]
)
QUIET: dict[str, Any] = {
    "max_drawdown": None,
    "max_consecutive_losses": None,
    "stop_loss_guard": None,
    "streak_factors": None,
    "max_trades_per_day": None,
    "health_factor": False,
    "drawdown_factor": False,
}


class Messages:
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def notify(self, level: str, text: str, strategy_id: str | None = None) -> None:
        self.told.append((level, text))


class Scripted(Analyzer, kind="scripted"):
    """Goes long at a volume of 7, short at 6, and raises at a half."""

    def inputs(self) -> tuple[Input, ...]:
        return ("volume",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        if x[0] == 0.5:
            raise ValueError("the script says so")
        out[0], out[1] = 0.0, 0.0
        if x[0] == 7.0:
            out[0], out[1] = 1.0, 0.9
        elif x[0] == 6.0:
            out[0], out[1] = -1.0, 0.9


class Dice(Analyzer, kind="dice"):
    """Throws a direction and one of eight confidences for each candle, the same ones each time."""

    side: int = Field(1, ge=1, le=99)

    def inputs(self) -> tuple[Input, ...]:
        return ("open_time_ms",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        throw = (math.floor(x[0] / 60000.0) * 7919.0 + p[2] * 104729.0) * 0.6180339887498949
        throw -= math.floor(throw)
        face = math.floor(throw * 40.0)
        out[0] = face % 5.0 - 2.0
        out[0] = min(1.0, max(-1.0, out[0]))
        out[1] = 0.0
        if out[0] != 0.0:
            out[1] = (0.2, 0.3, 0.45, 0.5, 0.6, 0.75, 0.9, 1.0)[int(face // 5.0)]
        if throw > 0.97:
            out[0], out[1] = math.nan, math.nan


class DiceFilter(Filter, kind="dice"):
    """Throws allow, factor and need for each candle; sometimes it has no answer."""

    order: ClassVar[int] = 50
    side: int = Field(1, ge=1, le=99)

    def inputs(self) -> tuple[Input, ...]:
        return ("open_time_ms",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        throw = (math.floor(x[0] / 60000.0) * 6553.0 + p[0] * 15485863.0) * 0.7548776662466927
        throw -= math.floor(throw)
        if throw < 0.9:
            out[0] = 1.0 if throw > 0.2 else 0.0
            out[1] = 0.8 if throw > 0.5 else 1.0
            out[2] = 0.6 if throw > 0.7 else 0.0


class Fussy(Exit, kind="fussy"):
    """Raises when a position was entered above 100."""

    def inputs(self) -> tuple[Input, ...]:
        return ("position.entry_price",)

    @staticmethod
    @kernel
    def step(i: int, state: Floats, x: Floats, out: Floats, p: Floats) -> None:
        if x[0] > 100.0 and x[0] < 101.0:
            raise ValueError("too dear")
        out[1] = 0.0


def _leave() -> None:
    base._REGISTRY["exit"].pop("fussy", None)
    base._REGISTRY["analyzer"].pop("scripted", None)
    base._REGISTRY["analyzer"].pop("dice", None)
    base._REGISTRY["filter"].pop("dice", None)


@contextmanager
def registered() -> Iterator[None]:
    """Register the blocks of the tests for as long as needed."""
    base._REGISTRY["analyzer"].update({"scripted": Scripted, "dice": Dice})
    base._REGISTRY["filter"]["dice"] = DiceFilter
    base._REGISTRY["exit"]["fussy"] = Fussy
    try:
        yield
    finally:
        _leave()


_leave()


def market(symbol: str = SYMBOL, **fields: Any) -> Market:
    """Return a market with a tick of 0.01, a lot of 0.001 and fees of 0.001 and 0.0005."""
    known = {"kind": "spot", "tick": 0.01, "lot": 0.001, "maker_fee": 0.0005, "taker_fee": 0.001}
    return Market(symbol=symbol, **{**known, **fields})  # type: ignore[arg-type]


def series(
    rows: Sequence[Sequence[float]], symbol: str = SYMBOL, timeframe: str = "1m", start_ms: int = START_MS
) -> Candles:
    """Return candles from rows (open, high, low, close[, volume]), one after the other."""
    full = np.array([[*row, IDLE][:5] for row in rows], float)
    times = start_ms + timeframe_ms(timeframe) * np.arange(len(full))
    return Candles(symbol, timeframe, times, *full.T)


def flat(n: int, price: float = 100.0, volume: float = IDLE) -> list[tuple[float, ...]]:
    """Return n candles that do not move."""
    return [(price, price, price, price, volume)] * n


def wander(
    n: int,
    seed: int,
    *,
    symbol: str = SYMBOL,
    timeframe: str = "1m",
    gaps: int = 0,
    start_ms: int = START_MS,
    move: float = 0.002,
) -> Candles:
    """Return a random walk on a tick of 0.01 with signals of `scripted` in the volumes, and some gaps."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, move, n)))
    open_ = np.concatenate(([100.0], close[:-1])) * (1.0 + rng.normal(0.0, move / 6, n))
    high = np.maximum(open_, close) * (1.0 + np.abs(rng.normal(0.0, move / 2, n)))
    low = np.minimum(open_, close) * (1.0 - np.abs(rng.normal(0.0, move / 2, n)))
    prices = np.round(np.stack((open_, high, low, close)), 2)
    prices[1], prices[2] = prices.max(axis=0), prices.min(axis=0)
    volume = rng.choice([IDLE, 2.0, 3.0, LONG, SHORT], n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    length = timeframe_ms(timeframe)
    times = start_ms + length * np.arange(n)
    for place in rng.choice(np.arange(1, n), gaps, replace=False):
        times[place:] += length * int(rng.integers(1, 40))
    return Candles(symbol, timeframe, times, *prices, volume)


def document(name: str = "case", **sections: Any) -> dict[str, Any]:
    """Return a document that trades one unit on every script signal, all of its capital the account's.

    Rules of its risk that act on the outcome of trades are off but for those that are given.
    """
    plain: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "title": "Case",
        "timeframes": {"primary": "1m"},
        "analyzers": [{"kind": "scripted"}],
        "entry": {"mode": "vote", "min_candles": 1},
        "sizing": {"kind": "fixed_quantity", "quantity": 1.0},
        "exits": {"stop_loss": {"fraction": 0.02}},
        "capital": {"amount": 1.0},
        "execution": {"simulation": {"slippage": 0.001}},
    }
    return {**plain, **sections, "risk": {**QUIET, **sections.get("risk", {})}}


class Steps:
    """One strategy on one account, driven kernel by kernel as paper does it."""

    def __init__(self, plan: Plan, *, cash: float = 1_000_000.0, limits: AccountLimits | None = FREE) -> None:
        self.plan = plan
        self.memory = plan.memory()
        self.books, self.account = np.zeros((1, at.W_BOOK)), new_account(cash, limits)
        open_book(self.books[0], plan, cash=cash)
        self.book = self.books[0]
        self.book[at.B_ENTRIES] = at.ENTRIES_ON
        self.decision = np.zeros(plan.decision_width)
        self.decisions: list[Floats] = []
        self.fills: list[Floats] = []
        self._buffer = np.zeros((at.MAX_FILLS, at.W_FILL))
        self._before = math.nan

    def take(self, row: Floats) -> None:
        """Process one closed candle."""
        if not math.isnan(self._before) and row[at.C_TIME] != self._before + self.plan.base_ms:
            self._close(row, late=True)
        self._before = row[at.C_TIME]
        self._book(loop.open_fills(self.plan.params, self.book, row, self._buffer, 0))
        self._book(loop.touch_fills(self.plan.params, self.book, row, self._buffer, 0))
        now = row[at.C_TIME] + self.plan.base_ms
        loop.settle_all(self.books, self.account, row.reshape(1, -1), np.ones(1), now)
        self._close(row, late=False)

    def _book(self, count: int) -> None:
        for fill in self._buffer[:count]:
            entered = self.book[at.B_QUANTITY] == 0.0
            loop.apply(self.book, fill)
            self.fills.append(fill.copy())
            if entered:
                loop.arm_position(self.plan.code, self.plan.params, self.memory, self.book)

    def _close(self, row: Floats, *, late: bool) -> None:
        plan, tables = self.plan, (self.books, 0, self.account)
        if loop.close_candle(plan.code, plan.params, self.memory, *tables, row, late, self.decision):
            self.decisions.append(self.decision.copy())


def fills_of(rows: Floats, plan: Plan) -> list[tuple[str, float, float]]:
    """Return (reason, price, quantity) of fill rows."""
    return [(plan.fill_reason(r[at.F_REASON]), float(r[at.F_PRICE]), float(r[at.F_QUANTITY])) for r in rows]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts as one mapping."""
    return {key: value for part in parts for key, value in part.items()}
