"""The orchestrator: runs one strategy on one market, candle in, decision out."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.context import StrategyContext
from stratnb.multi.store import SNAPSHOT_SCHEMA, DecisionLog, Snapshot
from stratnb.multi.trial import Scan, Trial
from stratnb.multi.worker import Worker
from stratnb.services.shared import SharedServices

__all__ = ["TradingOrchestrator"]

Floats = npt.NDArray[np.float64]
SCAN_S = 0.01


class TradingOrchestrator:
    """Steps a strategy's plan with closed candles; its order requests lie in the strategy's book.

    `watermark_ms` is the opening time of the newest candle seen; `candles` counts them since the anchor.
    """

    def __init__(
        self, context: StrategyContext, services: SharedServices, log: DecisionLog, *, step_timeout_s: float = 5.0
    ) -> None:
        self.context = context
        self.plan = context.plan
        self.in_python = self.plan.in_python
        self.memory = self.plan.memory()
        self.decision = np.zeros(self.plan.decision_width)
        self.log = log
        self.watermark_ms = -1
        self.candles = 0
        self.closed = False
        self.worker = Worker(f"stratnb-step-{context.strategy_id}", step_timeout_s)
        self._limit_s = step_timeout_s
        self._services = services
        self._backup = np.empty_like(self.memory)
        self._book_backup = np.empty(at.W_BOOK)
        self._close_candle = loop.close_candle.compiled()  # the compiled function itself: one call less a candle

    def __repr__(self) -> str:
        """Return id and number of candles."""
        return f"<TradingOrchestrator {self.context.strategy_id}, {self.candles} candles>"

    def adopt(self, context: StrategyContext) -> None:
        """Go on with other numbers in the same structure, from the next candle on."""
        self.context, self.plan = context, context.plan

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
            decided = self._close_candle(
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
        return self._stepped(row, late=late, decided=bool(decided))

    def on_candle_beside(self, row: Floats, *, late: bool = False) -> Generator[None, None, bool | None]:
        """Step like `on_candle`, but in the worker's thread; yields while it computes.

        What another changes meanwhile in book or account makes it compute again from there. None when this
        orchestrator was closed meanwhile: its strategy was removed, or another took its place.
        """
        positions, slot = self._services.positions, self.context.book.slot
        while True:
            trial = Trial(self.plan, self.memory, positions.books, slot, positions.account, row.copy(), late)
            future = self.worker.start(trial.run)
            yield from self.worker.awaited(future)
            if self.closed:
                return None
            decided = future.result()
            if trial.is_of(positions.books, positions.account):
                break
        self.memory[:], self.decision[:] = trial.memory, trial.decision
        self.context.book.row[:], positions.account[:] = trial.books[slot], trial.account
        return self._stepped(row, late=late, decided=decided)

    def _stepped(self, row: Floats, *, late: bool, decided: bool) -> bool:
        """Count a candle and keep its decision."""
        if not late:
            self.watermark_ms = int(row[at.C_TIME])
            self.candles += 1
        if decided:
            self.log.append(self.decision)
        return decided

    @property
    def is_busy(self) -> bool:
        """Return whether a step in plain Python that was given up still runs."""
        return self.worker.is_busy

    def catch_up(self, rows: Floats) -> int:
        """Step through the candles newer than the watermark without trading; return how many there were.

        When a block raises, the memory is as before. With blocks in plain Python it waits for the worker: at most the
        limit of a step, and 10 ms more a candle.
        """
        scan = self._scan(rows)
        if not scan.count:
            return 0
        if self.in_python:
            self.log.extend(self.worker.result(self.worker.start(scan.whole), self._limit_s + SCAN_S * scan.count))
        else:
            for decisions in scan.parts():
                self.log.extend(decisions)
        return self._caught_up(scan)

    def catch_up_beside(self, rows: Floats) -> Generator[None, None, int | None]:
        """Catch up in the worker's thread; yields while it computes, and returns None when closed meanwhile."""
        scan = self._scan(rows)
        future = self.worker.start(scan.whole)
        yield from self.worker.awaited(future)
        if self.closed:
            return None
        self.log.extend(future.result())
        return self._caught_up(scan)

    def _scan(self, rows: Floats) -> Scan:
        """Return the step through the candles newer than the watermark."""
        start = int(np.searchsorted(rows[:, at.C_TIME], self.watermark_ms, side="right"))
        missed, first = (rows[start - 1 :], 1) if start else (rows, 0)
        return Scan(self.plan, self.memory, missed, first, float(self.context.book.row[at.B_EQUITY]))

    def _caught_up(self, scan: Scan) -> int:
        """Take over what was stepped."""
        self.memory[:] = scan.memory
        self.watermark_ms = scan.last_ms
        self.candles += scan.count
        return scan.count

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
        self.worker.close()
        self.memory = self._backup = self.decision = np.empty(0)
