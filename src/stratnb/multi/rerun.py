"""Stepping a plan over the history apart from what trades: the row of a candle, and decisions judged again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.strategy.plan import Plan

__all__ = ["HEAD", "Rerun"]

Floats = npt.NDArray[np.float64]

CHUNK = 4_096
HEAD = at.D_SHORT + 1  # time, action, reason, direction, scores and counts: what `judge` decides


class Rerun:
    """A plan that was stepped from the first candle on, with the heads of the last `keep` decisions.

    `last` is the newest decision row. It steps forward only; the kernel is that of the engine, entries are off.
    """

    def __init__(self, plan: Plan, *, keep: int = 0) -> None:
        self.plan = plan
        self.memory = plan.memory()
        self.seen = 0
        self.last: Floats | None = None
        self._keep = keep
        self._heads: list[Floats] = []
        self._books, self._account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
        self._books[0, at.B_EQUITY] = self._books[0, at.B_LEVERAGE] = 1.0

    def advance(self, candles: Floats, stop: int) -> None:
        """Step through the candles from those seen to `stop`."""
        columns, nothing = np.empty(0, np.int64), np.empty((0, 0))
        while self.seen < stop:
            end = min(self.seen + CHUNK, stop)
            rows = np.empty((2 * (end - self.seen), self.plan.decision_width))
            made = loop.scan(
                loop.parts(), self.plan.code, self.plan.params, self.memory, self._books, self._account,
                candles, self.seen, end, columns, nothing, rows,
            )  # fmt: skip
            self.seen = end
            if made:
                self.last = rows[made - 1].copy()
                self._remember(rows[:made, :HEAD])

    def _remember(self, heads: Floats) -> None:
        if not self._keep:
            return
        self._heads.append(heads.copy())
        while sum(map(len, self._heads[1:])) >= self._keep:
            del self._heads[0]

    def heads(self) -> Floats:
        """Return the kept heads, oldest first."""
        if len(self._heads) > 1:
            self._heads = [np.concatenate(self._heads)]
        return self._heads[0] if self._heads else np.empty((0, HEAD))

    def stop_at(self, candles: Floats, open_time_ms: int) -> bool:
        """Step to where the primary candle that opened then has closed; False when that is behind, or never was.

        A candle that ended in a gap closes with the next one.
        """
        close_ms = open_time_ms + self.plan.primary_ms
        end = int(np.searchsorted(candles[:, at.C_TIME] + self.plan.base_ms, close_ms, side="right"))
        if end < self.seen:
            return False
        self.advance(candles, end)
        if self.memory[at.R_TIME] != open_time_ms and end < len(candles):
            self.advance(candles, end + 1)
        return bool(self.memory[at.R_TIME] == open_time_ms)
