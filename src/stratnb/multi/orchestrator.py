"""The orchestrator: runs one strategy on one market, candle in, decision out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.context import StrategyContext
from stratnb.multi.store import SNAPSHOT_SCHEMA, DecisionLog, Snapshot
from stratnb.services.shared import SharedServices

__all__ = ["TradingOrchestrator"]

Floats = npt.NDArray[np.float64]
CATCHUP_CHUNK = 20_000


class TradingOrchestrator:
    """Steps a strategy's plan with closed candles; its order requests lie in the strategy's book.

    `watermark_ms` is the opening time of the newest candle seen; `candles` counts them since the anchor.
    """

    def __init__(self, context: StrategyContext, services: SharedServices, log: DecisionLog) -> None:
        self.context = context
        self.plan = context.plan
        self.memory = self.plan.memory()
        self.decision = np.zeros(self.plan.decision_width)
        self.log = log
        self.watermark_ms = -1
        self.candles = 0
        self.closed = False
        self._services = services
        self._backup = np.empty_like(self.memory)
        self._book_backup = np.empty(at.W_BOOK)

    def __repr__(self) -> str:
        """Return id and number of candles."""
        return f"<TradingOrchestrator {self.context.strategy_id}, {self.candles} candles>"

    @property
    def nbytes(self) -> int:
        """Return the memory held, in bytes."""
        tables = self.plan.code.nbytes + self.plan.params.nbytes
        return 2 * self.memory.nbytes + self.decision.nbytes + self._book_backup.nbytes + tables

    @property
    def state(self) -> str:
        """Return the lifecycle state of its strategy."""
        return self.context.state()

    def on_candle(self, row: Floats, *, late: bool = False) -> bool:
        """Step with a closed candle; return whether a decision was made (in `decision`, and in the log).

        With `late` only timeframes that ended in the gap before it are closed. When a block raises, memory and book
        are as before the candle.
        """
        book, positions = self.context.book, self._services.positions
        self._backup[:] = self.memory
        self._book_backup[:] = book.row
        try:
            decided = loop.close_candle(
                self.plan.code,
                self.plan.params,
                self.memory,
                positions.books,
                book.slot,
                positions.account,
                row,
                late,
                self.decision,
            )
        except BaseException:
            self.memory[:] = self._backup
            book.row[:] = self._book_backup
            raise
        if not late:
            self.watermark_ms = int(row[at.C_TIME])
            self.candles += 1
        if decided:
            self.log.append(self.decision)
        return bool(decided)

    def catch_up(self, rows: Floats) -> int:
        """Step through the candles newer than the watermark without trading; return how many there were.

        When a block raises, the memory is as before.
        """
        start = int(np.searchsorted(rows[:, at.C_TIME], self.watermark_ms, side="right"))
        missed = rows[start - 1 :] if start else rows
        first = 1 if start else 0
        books, account, before = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT), self.memory.copy()
        books[0, at.B_EQUITY], books[0, at.B_LEVERAGE] = self.context.book.row[at.B_EQUITY], 1.0
        nothing = np.empty((0, 0))
        try:
            while first < len(missed):
                stop = min(len(missed), first + CATCHUP_CHUNK)
                decisions = np.empty((2 * (stop - first), self.plan.decision_width))
                made = loop.scan(
                    loop.parts(), self.plan.code, self.plan.params, self.memory, books, account, missed, first, stop,
                    np.empty(0, np.int64), nothing, decisions,
                )  # fmt: skip
                self.log.extend(decisions[:made])
                first = stop
        except BaseException:
            self.memory[:] = before
            raise
        if len(rows) > start:
            self.watermark_ms = int(rows[-1, at.C_TIME])
            self.candles += len(rows) - start
        return len(rows) - start

    def snapshot(self) -> Snapshot:
        """Return memory and watermark, sealed with a digest."""
        context = self.context
        return Snapshot(
            schema=SNAPSHOT_SCHEMA,
            strategy_id=context.strategy_id,
            config_hash=context.plan.config.config_hash,
            code_hash=context.plan.code_hash,
            taken_ms=context.now_ms(),
            watermark_ms=self.watermark_ms,
            candles=self.candles,
            memory=self.memory.tobytes(),
        ).sealed()

    def restore(self, snapshot: Snapshot) -> bool:
        """Take over a snapshot of the same configuration and code; return False when it cannot be used."""
        same = (snapshot.config_hash, snapshot.code_hash) == (self.plan.config.config_hash, self.plan.code_hash)
        memory = np.frombuffer(snapshot.memory)
        if snapshot.schema != SNAPSHOT_SCHEMA or not same or not snapshot.verify() or memory.size != self.memory.size:
            return False
        self.memory[:] = memory
        self.watermark_ms, self.candles = snapshot.watermark_ms, snapshot.candles
        return True

    async def close(self) -> None:
        """Drop the arrays; the shared services are not touched."""
        if self.closed:
            return
        self.closed = True
        self.memory = self._backup = self.decision = np.empty(0)
