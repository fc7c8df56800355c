"""Writes the desk into the journal: whole instants in one transaction, intents before anything is sent."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.errors import Halt
from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.multi import journal_rows as rows
from stratnb.multi.journal_store import JournalStore, snapshot_row
from stratnb.multi.lane import Lane, Working
from stratnb.multi.recorder import Recorder
from stratnb.services.positions import Book
from stratnb.services.trades import trades_of

if TYPE_CHECKING:
    from stratnb.multi.desk import Desk

__all__ = ["CLOSES", "KILLED", "SEQUENCE", "Guard", "JournalRecorder"]

Floats = npt.NDArray[np.float64]
FLUSH_S = 0.1
LIVE_S = 0.2
EQUITY_MS = 60_000
ROWS = 4_000
KILLED, CLOSES = "killed", "kill_closes"
SEQUENCE = "order_sequence"
STATE_CANDLES = 2_000
UNKEPT = frozenset({"CACHE_HIT", "CACHE_MISS", "CANDLE_ROUTED", "DECISION"})


class Guard(Protocol):
    """Says whether this engine may send orders."""

    @property
    def fence(self) -> tuple[str, int]:
        """Return account and generation, which every commit checks."""
        ...

    def check(self) -> None:
        """Raise `Halt` when the right to send has run out."""
        ...


class JournalRecorder(Recorder):
    """Keeps what the desk does.

    Commits are durable when they hold intents, fills, switches or a change of risk; other instants are written together
    every 0.1 s. `picture` gives what observers are shown. Once the journal cannot be written (`failure`) nothing is
    written or sent any more: what it holds is where the next engine goes on. `on_failure` is told.
    """

    def __init__(
        self,
        store: JournalStore,
        guard: Guard | None = None,
        *,
        picture: Callable[[], Mapping[str, Any]] | None = None,
        on_failure: Callable[[Halt], None] = lambda error: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._journal = store.journal
        self._guard = guard
        self._picture = picture
        self._on_failure = on_failure
        self._now_s = now_s
        self._desk: Desk | None = None
        self._heard: deque[Event] = deque()
        self._touched: dict[str, Lane] = {}
        self._denied: dict[str, dict[str, int]] = {}
        self._saved: dict[str, int] = {}
        self._cells: dict[str, bytes] = {}
        self._trades_before: dict[str, int] = {}
        self._mode = ""
        self._killed = store.reader.meta(KILLED) is not None
        self._durable = False
        self._committed_s = self._live_s = now_s()
        self._equity_ms = 0
        self.failure: Halt | None = None

    def bind(self, desk: Desk) -> None:
        """Record this desk from now on."""
        self._desk = desk
        desk.bus.keep(self._hear)

    def _hear(self, event: Event) -> None:
        if event.type not in UNKEPT:
            self._heard.append(event)

    @property
    def desk(self) -> Desk:
        """Return the desk that is recorded."""
        assert self._desk is not None, "bind comes first"
        return self._desk

    def begin(self) -> None:
        """Stage from here on."""
        self._store.inside = True

    def candle(self, symbol: str, row: Floats) -> None:
        """Keep a candle."""
        self._store.put("candles", rows.candle_row(symbol, row))

    def stepped(self, lane: Lane, decision: Floats | None) -> None:
        """Note a step, and keep the decision."""
        key = lane.context.strategy_id
        self._touched[key] = lane
        if decision is not None:
            row = {"strategy_id": key, "open_time_ms": int(decision[at.D_TIME]), "row": decision.tobytes()}
            self._put("decisions", row)

    def fill(self, work: Working, number: int, row: Floats) -> None:
        """Keep a fill with its ledger entry, and the trade when it closed one."""
        fill, booked, entry = rows.fill_rows(work.lane.context.book, work, number, row)
        self._put("fills", booked)
        self._put("ledger", entry)
        if fill.position_after == 0.0 and self.desk.registry.has(work.order.strategy_id):
            self._trade(work.lane)
        self._touched[work.order.strategy_id] = work.lane
        self._durable = True

    def moved(self, book: Book, row: Floats, *, reference: str, author: str, reason: str) -> None:
        """Keep one side of a transfer of lots; the other side has the same reference."""
        self._put("ledger", rows.moved_row(book, row, reference=reference, author=author, reason=reason))
        self._durable = True

    def funding(self, book: Book, amount: float, time_ms: int) -> None:
        """Keep what a position paid at a funding time."""
        self._put("ledger", rows.funding_row(book, amount, time_ms))
        self._durable = True

    def _trade(self, lane: Lane) -> None:
        book, number = lane.context.book, lane.context.book.fill_rows[-1][at.F_TRADE]
        first = len(book.fill_rows) - 1
        while first and book.fill_rows[first - 1][at.F_TRADE] == number:
            first -= 1
        fills = np.array(book.fill_rows[first:])
        for trade in trades_of(fills, strategy_id=book.strategy_id, symbol=book.symbol, reason=book.reason):
            values = asdict(trade)
            del values["return_fraction"], values["funding"]
            values["trade_no"] += self._earlier_trades(book.strategy_id)
            self._put("trades", values)

    def _earlier_trades(self, key: str) -> int:
        """Return how many trades an id had before it was removed and added again."""
        if key not in self._trades_before:
            loaded_ns = self.desk.registry.get(key).loaded_ms * 1_000_000
            found = self._store.reader.rows("trades", where={"strategy_id": key})
            before = [row["trade_no"] for row in found if row["ts_ns"] <= loaded_ns]
            self._trades_before[key] = max(before, default=0)
        return self._trades_before[key]

    def order(self, work: Working) -> None:
        """Keep an order; an intent goes past the stage, for it must be on disk before the instant is over."""
        row = rows.order_row(work, self.desk.now_ms()) | self._stamp()
        if work.state == "INTENT":
            self._journal.upsert("orders", row)
            self._journal.upsert("meta", {"key": SEQUENCE, "value": str(self.desk.orders.sequence)})
        else:
            self._store.put("orders", row)

    def latch(self) -> None:
        """Write the account's row at once, past an instant that waits for the outcome of an order.

        Its books are older then; all that follows from them is computed again at the end of the instant.
        """
        cells = self.desk.services.positions.account.tobytes()
        self._journal.upsert("risk_state", rows.risk_row("", cells) | self._stamp())
        self.commit(durable=True)

    def closes(self, keys: Collection[str], *, begins: bool = False) -> None:
        """Keep the ids in `meta`; while an instant waits, what has been closed is known as late as its fills."""
        row = {"key": CLOSES, "value": json.dumps(sorted(keys))}
        if begins:
            self._journal.upsert("meta", row)
        elif keys:
            self._store.put("meta", row)
        else:
            self._store.drop("meta", {"key": CLOSES})

    def keep(self, key: str, value: str) -> None:
        """Keep a fact of the whole account under a key."""
        self._store.put("meta", {"key": key, "value": value})

    def finish(self, *, sending: bool) -> None:
        """End the instant: it is whole now, and written when that is due."""
        self._equity()
        self._store.unstage()
        if sending:
            return
        if self._durable or self._now_s() - self._committed_s >= FLUSH_S or len(self._heard) > ROWS:
            self.commit(durable=False)

    def changed(self) -> None:
        """Write what an operation changed; within an instant that waits for its end, but for the kill switch."""
        self._durable = True
        if not self._store.inside:
            self._touched.update({lane.context.strategy_id: lane for lane in self.desk.lanes()})
            self.commit(durable=True)
        elif not self._killed and self._account()[at.A_RISK + at.K_RULES + at.RULE_KILL] == math.inf:
            self._killed = True
            self._journal.upsert("meta", {"key": KILLED, "value": str(self.desk.now_ms())})
            self.commit(durable=True)

    def commit(self, *, durable: bool) -> None:
        """Write one transaction; within an instant only what was whole before, and intents."""
        if self.failure is not None:
            raise self.failure
        if not self._store.inside:
            self._collect()
            durable, self._durable = durable or self._durable, False
        try:
            self._journal.commit(durable=durable, fence=None if self._guard is None else self._guard.fence)
        except Halt as error:
            self.failure = error
            self.desk.bus.keep(None)
            self._on_failure(error)
            raise
        self._committed_s = self._now_s()

    def check_sending(self) -> None:
        """Raise `Halt` when this engine may not send orders any more."""
        if self.failure is not None:
            raise self.failure
        if self._guard is not None:
            self._guard.check()

    def farewell(self) -> None:
        """Write everything, and that the engine has stopped."""
        self._live_s = -LIVE_S
        self.flush()

    def flush(self) -> None:
        """Write what waits, for observers and for the day of a crash."""
        if not self._store.inside:
            self.commit(durable=False)

    def _account(self) -> Floats:
        return self.desk.services.positions.account

    def _stamp(self) -> dict[str, int]:
        return {"seq": self._journal.next_seq(), "ts_ns": self.desk.now_ms() * 1_000_000}

    def _put(self, table: str, values: Mapping[str, Any]) -> None:
        self._store.put(table, {**values, **self._stamp()})

    def _equity(self) -> None:
        """Keep a point of the curves once a minute: of the account, and of those that had a candle."""
        desk, now_ms = self.desk, self.desk.now_ms()
        if now_ms - self._equity_ms < EQUITY_MS:
            return
        self._equity_ms = now_ms
        for lane in desk.router.lanes:
            book = lane.context.book
            if book.curve.newest_ms == now_ms:
                self._put(
                    "equity", {"scope": book.strategy_id, "time_ms": now_ms, "equity": float(book.row[at.B_EQUITY])}
                )
        self._put("equity", {"scope": "", "time_ms": now_ms, "equity": float(self._account()[at.A_EQUITY])})

    def _collect(self) -> None:
        """Buffer the rows that are kept in place: books, memories, watermarks; events, the picture."""
        desk, now_ms = self.desk, self.desk.now_ms()
        for key, lane in self._touched.items():
            if desk.registry.has(key):
                self._collect_lane(key, lane)
        self._touched.clear()
        for lane in desk.everyone():
            self._risk(lane.context.strategy_id, lane.context.book.row)
        self._risk("", self._account())
        for key in self._cells.keys() - {"", *(lane.context.strategy_id for lane in desk.everyone())}:
            self._forget(key)
        if self._killed:
            self._killed = False
            self._journal.delete("meta", {"key": KILLED})
        if desk.registry.mode != self._mode:
            self._mode = desk.registry.mode
            self._journal.upsert("meta", {"key": "mode", "value": self._mode})
        mark = {"strategy_id": "", "timeframe": desk.feed.timeframe, "open_time_ms": now_ms, "resolved_ms": now_ms}
        self._put("watermarks", {**mark, "candles": desk.router.candles})
        while self._heard:
            self._journal.upsert("events", rows.event_row(self._heard.popleft()))
        if self._picture is not None and self._now_s() - self._live_s >= LIVE_S:
            self._live_s = self._now_s()
            self._put("live_state", {"id": 1, "written_ms": time.time_ns() // 1_000_000, "payload": self._picture()})

    def _collect_lane(self, key: str, lane: Lane) -> None:
        desk, row = self.desk, lane.context.book.row
        orchestrator = desk.cache.peek(key)
        held = bool(row[at.B_QUANTITY] != 0.0 or row[at.B_ORDER] != at.ORDER_NONE)
        if orchestrator is not None:
            mark = {"strategy_id": key, "timeframe": desk.feed.timeframe, "open_time_ms": orchestrator.watermark_ms}
            self._put("watermarks", {**mark, "resolved_ms": desk.now_ms(), "candles": orchestrator.candles})
            saved = self._saved.get(key, 0)
            if held or lane.changed or orchestrator.candles - saved >= STATE_CANDLES:
                self._put("states", snapshot_row(orchestrator.snapshot()))
                self._saved[key] = orchestrator.candles
                lane.changed = held
        counts = desk.services.risk.denials.get(key, {})
        if counts != self._denied.get(key):
            for code, count in counts.items():
                self._put("denials", {"strategy_id": key, "code": code, "count": count, "last_ms": desk.now_ms()})
            self._denied[key] = dict(counts)

    def _forget(self, key: str) -> None:
        """Forget a strategy that was removed: under its id another life may begin."""
        for known in (self._cells, self._saved, self._denied, self._trades_before):
            known.pop(key, None)

    def _risk(self, scope: str, row: Floats) -> None:
        """Buffer a row of money and risk when it is not as it was written last."""
        cells = row.tobytes()
        if cells != self._cells.get(scope):
            self._cells[scope] = cells
            self._put("risk_state", rows.risk_row(scope, cells))
