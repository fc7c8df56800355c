"""Steps of a plan on copies: what was computed is taken over when it is whole, or forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.strategy.plan import Plan

__all__ = ["Scan", "Trial"]

Floats = npt.NDArray[np.float64]
CHUNK = 20_000


class Trial:
    """One candle of one strategy on copies of its memory, all books and the account; any thread may run it."""

    def __init__(
        self, plan: Plan, memory: Floats, books: Floats, slot: int, account: Floats, row: Floats, late: bool
    ) -> None:
        self.memory, self.books, self.account = memory.copy(), books.copy(), account.copy()
        self.decision = np.zeros(plan.decision_width)
        self._plan, self._slot, self._row, self._late = plan, slot, row, late
        self._before = books.tobytes(), account.tobytes()

    def run(self) -> bool:
        """Step; return whether a decision was made."""
        plan = self._plan
        tables = self.memory, self.books, self._slot, self.account
        return bool(loop.close_candle(plan.code, plan.params, *tables, self._row, self._late, self.decision))

    def is_of(self, books: Floats, account: Floats) -> bool:
        """Return whether books and account are still those that it started from."""
        return self._before == (books.tobytes(), account.tobytes())


class Scan:
    """Candles from `first` on without trading, on a copy of the memory, with an equity that stays."""

    def __init__(self, plan: Plan, memory: Floats, candles: Floats, first: int, equity: float) -> None:
        self.memory = memory.copy()
        self._plan, self._candles, self._first = plan, candles, first
        self._books, self._account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
        self._books[0, at.B_EQUITY], self._books[0, at.B_LEVERAGE] = equity, 1.0

    @property
    def count(self) -> int:
        """Return the number of candles to step."""
        return len(self._candles) - self._first

    @property
    def last_ms(self) -> int:
        """Return when the last candle opened."""
        return int(self._candles[-1, at.C_TIME])

    def parts(self) -> Iterator[Floats]:
        """Step and yield the decision rows, some thousands at a time."""
        plan, first, nothing = self._plan, self._first, np.empty((0, 0))
        while first < len(self._candles):
            stop = min(len(self._candles), first + CHUNK)
            decisions = np.empty((2 * (stop - first), plan.decision_width))
            made = loop.scan(
                loop.parts(), plan.code, plan.params, self.memory, self._books, self._account, self._candles,
                first, stop, np.empty(0, np.int64), nothing, decisions,
            )  # fmt: skip
            yield decisions[:made]
            first = stop

    def whole(self) -> Floats:
        """Step and return all decision rows."""
        return np.concatenate([np.empty((0, self._plan.decision_width)), *self.parts()])
