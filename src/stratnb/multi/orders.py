"""Orders on their way: the intent is kept before anything is sent, and an unknown outcome is a state.

States and their order are those of trading_rules 2.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import Halt, Refused, RetryLater, StratnbError
from stratnb.exchange.base import Exchange, OrderReport
from stratnb.kernels import layout as at
from stratnb.model import FINAL_STATES, Order, OrderState, Purpose, Side
from stratnb.multi.clock import Clock
from stratnb.multi.lane import Lane, Working, resting
from stratnb.multi.order_ids import order_id, purpose_of
from stratnb.multi.recorder import Recorder
from stratnb.multi.reports import is_same, new_fills, overfill, shrink_order, unowned
from stratnb.multi.settings import OrderSettings

__all__ = ["Orders", "Working"]

Floats = npt.NDArray[np.float64]
ENDED_KEPT = 100


class Orders:
    """Carries orders from the books to the exchange and finds out what became of those without an answer.

    `sequence` is the number of the newest order id. `on_fills` books what an order executed. `on_trouble` is told
    "failed" (a call), "lost" (the outcome is unknown), "notice" and "reduce" (it still is), "resolved", "denied" (it
    would close more than its strategy has) and "overfill" (more was filled than should have been). `ended` finds an
    order that ended long ago, or in an earlier run, by its id.
    """

    def __init__(
        self,
        exchange: Exchange,
        recorder: Recorder,
        *,
        settings: OrderSettings,
        now_ms: Callable[[], int],
        on_fills: Callable[[Working, Floats], None],
        on_trouble: Callable[[Working, str], None],
        clock: Clock | None = None,
    ) -> None:
        self._exchange = exchange
        self._recorder = recorder
        self._settings = settings
        self._now_ms = now_ms
        self._on_fills = on_fills
        self._on_trouble = on_trouble
        self.clock = clock or Clock()
        self._outgoing: list[Working] = []
        self._live: dict[str, Working] = {}
        self._planned: dict[tuple[str, int, Purpose, str], Working] = {}
        self._unknown: dict[str, Working] = {}
        self._partial: dict[str, Working] = {}
        self._ended: dict[str, Working] = {}
        self._trouble = asyncio.Event()
        self.ended: Callable[[str], Working | None] = lambda order_id: None
        self.generation = 0
        self.sequence = 0

    def __repr__(self) -> str:
        """Return the number of the newest order and of those without an answer."""
        return f"<Orders {self.sequence} made, {len(self._unknown)} unknown>"

    @property
    def unresolved(self) -> bool:
        """Return whether the outcome of any order is unknown."""
        return bool(self._unknown)

    def unknown(self, strategy_id: str | None = None) -> tuple[Working, ...]:
        """Return the orders without an answer, of one strategy or of all."""
        return tuple(w for w in self._unknown.values() if strategy_id in (None, w.order.strategy_id))

    def live(self) -> tuple[Working, ...]:
        """Return the orders that are on their way or rest at the exchange, oldest first."""
        return tuple(self._live.values())

    def show(self, works: Iterable[Working]) -> None:
        """Show the orders of the journal's holder."""
        self._live = {work.order_id: work for work in works}

    def check_resolved(self, strategy_id: str) -> None:
        """Raise while an order of a strategy has no answer."""
        if waiting := self.unknown(strategy_id):
            raise Refused(
                "order_unresolved",
                f"the outcome of order {waiting[0].order_id} of {strategy_id} is not known yet",
                value=[work.order_id for work in waiting],
                hint="the exchange is being asked; try again when it has answered",
            )

    def place(self, lane: Lane, correlation: str) -> None:
        """Make the intent of the market order that a kernel put into a book; `flush` sends it."""
        book = lane.context.book
        row = book.row
        reduces = bool(row[at.B_ORDER] == at.ORDER_EXIT)
        purpose = purpose_of(int(row[at.B_ORDER_REASON]), reduces)
        sign, quantity = row[at.B_ORDER_SIGN], float(row[at.B_ORDER_QUANTITY])
        work = self._made(lane, purpose, sign, quantity, book.reason(row[at.B_ORDER_REASON]), correlation)
        lane.order = work
        if self._is_denied(work):
            return
        self._intend(work)

    def touch(self, lane: Lane, rows: Floats) -> list[Working]:
        """Make the intents of the stop and the targets that a candle touched, keep them on disk and return them."""
        book, works = lane.context.book, []
        for row in rows:
            targets = at.REASON_TARGET < row[at.F_REASON] <= at.REASON_TARGET + at.MAX_TARGETS
            reason, quantity = book.reason(row[at.F_REASON]), float(row[at.F_QUANTITY])
            work = self._made(lane, "t" if targets else "s", row[at.F_SIGN], quantity, reason, book.correlation, row)
            if self._is_denied(work):
                continue
            self._intend(work, queued=False)
            works.append(work)
        self._recorder.commit(durable=True)
        return works

    def _made(
        self,
        lane: Lane,
        purpose: Purpose,
        sign: float,
        quantity: float,
        reason: str,
        correlation: str,
        row: Floats | None = None,
    ) -> Working:
        """Return a new order, or the very same one that was made at this moment before a crash."""
        key = (lane.context.strategy_id, self._now_ms(), purpose, reason)
        side: Side = "buy" if sign > 0 else "sell"
        planned = self._planned.get(key)
        if planned and (planned.order.side, planned.order.quantity) == (side, quantity) and is_same(planned.row, row):
            return self._planned.pop(key)
        self.sequence += 1
        order = Order(
            order_id=order_id(lane.code, self.generation, purpose, self.sequence),
            strategy_id=lane.context.strategy_id,
            symbol=lane.context.symbol,
            side=side,
            quantity=quantity,
            reduces=purpose != "e",
            reason=reason,
            created_ms=self._now_ms(),
            purpose=purpose,
            **(resting(lane.context.book.row) if purpose == "e" and row is None else {}),
        )
        return Working(order, lane, correlation, None if row is None else row.copy())

    def _intend(self, work: Working, *, queued: bool = True) -> None:
        order = work.order
        told = {"order_id": order.order_id, "side": order.side, "quantity": order.quantity, "reason": order.reason}
        told |= {} if order.limit is None else {"limit": order.limit}
        self._publish(work, "ORDER_INTENT", told, source="orchestrator")
        self._live[work.order_id] = work
        self._recorder.order(work)
        if queued:
            self._outgoing.append(work)

    def _is_denied(self, work: Working) -> bool:
        """Deny an order that would close more than its strategy has; nothing of it is sent."""
        excess = unowned(work)
        if excess:
            work.error = f"insufficient_own_quantity: {excess:g} more than its strategy holds"
            self._settle(work, "DENIED")
            self._on_trouble(work, "denied")
        return excess > 0.0

    def withdraw(self, lane: Lane) -> bool:
        """Cancel the entry order that rests in a book; return whether there was one. `flush` tells the exchange."""
        row = lane.context.book.row
        if row[at.B_ORDER] != at.ORDER_ENTRY:
            return False
        row[at.B_ORDER], row[at.B_RESERVED] = at.ORDER_NONE, 0.0
        self.supersede(lane)
        return True

    def supersede(self, lane: Lane) -> None:
        """Cancel the order that works for a lane, if any; the order in its book, a newer one maybe, stays."""
        work, lane.order, lane.changed = lane.order, None, True
        if work is None:
            return
        work.cancels = True
        if work in self._outgoing:
            self._outgoing.remove(work)
            self._settle(work, "CANCELED")
        elif work.state != "UNKNOWN":
            self._outgoing.append(work)

    def flush(self) -> None:
        """Commit what is kept, durably when there is anything to send, then send and cancel."""
        if self._planned:
            self._ask_for_strays()
        outgoing, self._outgoing = self._outgoing, []
        if not outgoing:
            return
        self._recorder.commit(durable=True)
        for work in outgoing:
            self.send(work)
        self._recorder.commit(durable=False)

    @property
    def waiting(self) -> bool:
        """Return whether `flush` has anything to do."""
        return bool(self._outgoing)

    def send(self, work: Working) -> None:
        """Send or cancel an order whose intent is on disk; afterwards its state says what is known."""
        try:
            self._recorder.check_sending()
            if work.cancels:
                state = self._exchange.cancel(work.order_id, self._now_ms())
            else:
                state = self._exchange.submit(work.order, work.row)
                self._publish(work, "ORDER_SENT", {"order_id": work.order_id})
        except (RetryLater, Halt) as error:
            self._lost(work, error)
            self._on_trouble(work, "failed")
        except Refused as error:
            self._on_trouble(work, "failed")
            if error.code in ("duplicate_order", "order_not_found"):
                self._lost(work, error)
            else:
                work.error = str(error)
                self._settle(work, "REJECTED")
        except Exception as error:  # an answer that nobody can read says nothing about what it did
            self._lost(work, RetryLater("answer_unreadable", repr(error), hint="query the order"))
            self._on_trouble(work, "failed")
        else:
            self._answered(work, state)

    def _answered(self, work: Working, state: OrderState) -> None:
        """Take over the state that the exchange told."""
        if state == "FILLED" and work.row is not None and not work.cancels:
            self.executed(work, work.row[None])
        elif state == "FILLED" or (state == "CANCELED" and work.state == "PARTIAL"):
            self._ended_there(work, state)
        elif state in FINAL_STATES:
            self._settle(work, state)
        else:
            self._works(work, state, np.zeros((0, at.W_FILL)))

    def _ended_there(self, work: Working, state: OrderState) -> None:
        """Ask at once what an order filled until it ended; without an answer its outcome is not known."""
        report = None
        with contextlib.suppress(StratnbError):
            report = self._exchange.query(work.order_id, self._now_ms())
        if report is not None and report.state in FINAL_STATES:
            self.take(work, report)
        else:
            self._lost(work, RetryLater("ended", f"{work.order_id} is {state}, its fills are not known", hint="query"))

    def executed(self, work: Working, rows: Floats) -> None:
        """Book what an order executed, whoever told it; nothing more comes of it."""
        work.state = "FILLED"
        work.filled += float(rows[:, at.F_QUANTITY].sum())
        self._end(work)
        self._recorder.order(work)
        if work.lane.order is work:
            work.lane.order = None
            book = work.lane.context.book.row
            book[at.B_ORDER], book[at.B_RESERVED] = at.ORDER_NONE, 0.0
        self._booked(work, rows)

    def _booked(self, work: Working, rows: Floats) -> None:
        """Book fills, and tell of what they have filled too much."""
        self._on_fills(work, rows)
        work.excess = overfill(work, float(rows[:, at.F_QUANTITY].sum()))
        if work.excess:
            told = {"order_id": work.order_id, "state": work.state, "overfill": work.excess}
            self._publish(work, "ORDER_UPDATED", told)
            self._on_trouble(work, "overfill")

    def _end(self, work: Working) -> None:
        """Note that nothing is waited for any more; the newest of such orders are known in case a fill comes late."""
        for kept in (self._live, self._partial, self._ended):
            kept.pop(work.order_id, None)
        self._ended[work.order_id] = work
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    def hear(self, report: OrderReport) -> bool:
        """Take what the exchange tells of an order unasked; return whether the order is known here.

        Fills are booked as they come, once each and in whatever order, also those of an order that has ended.
        """
        if report.order_id in self._unknown:
            self._found(self._unknown[report.order_id], report)
            return True
        key = report.order_id
        work = self._live.get(key) or self._ended.get(key) or self.ended(key)
        if work is not None:
            self.take(work, report)
            self._recorder.changed()
        return work is not None

    def take(self, work: Working, report: OrderReport) -> None:
        """Book what is new of a report, then go over to its state; an order that has ended stays so."""
        rows, state = new_fills(work, report), work.state
        if work.is_final:
            if len(rows):
                self.executed(work, rows)
                work.state = state
                self._recorder.order(work)
        elif report.state == "FILLED":
            self.executed(work, rows)
        elif report.state in FINAL_STATES:
            if len(rows):
                self.executed(work, rows)
            self._settle(work, report.state)
        else:
            self._works(work, report.state, rows)
            if work.cancels or (work.row is None and work.lane.order is not work):
                work.cancels = True
                self.send(work)

    def _works(self, work: Working, state: OrderState, rows: Floats) -> None:
        """Note that an order works, and book the part that was filled; what fills at once is asked for again."""
        quantity = float(rows[:, at.F_QUANTITY].sum())
        shrink_order(work, quantity)
        work.filled += quantity
        work.state = "PARTIAL" if work.filled else state
        self._recorder.order(work)
        if len(rows):
            told = {"order_id": work.order_id, "state": work.state, "filled": work.filled}
            self._publish(work, "ORDER_UPDATED", told)
            self._booked(work, rows)
        if work.state == "PARTIAL" or work.row is not None:
            self._poll(work)

    def _poll(self, work: Working) -> None:
        """Ask for an order now and then until it has ended; meanwhile nothing waits for it."""
        if work.order_id not in self._partial:
            self._partial[work.order_id] = work
            work.queries, work.next_s = 0, self.clock.now_s() + self._settings.query_delays_s[0]
            self._trouble.set()

    def partly(self, work: Working, rows: Floats) -> None:
        """Note that a resting order was filled in part, and rests on."""
        if len(rows):
            work.state = "PARTIAL"
            work.filled += float(rows[:, at.F_QUANTITY].sum())
            self._recorder.order(work)

    def finish(self, work: Working, rows: Floats) -> None:
        """Note that a resting order was filled at the open; without fills there was nothing left to trade."""
        work.state = "FILLED" if len(rows) else "CANCELED"
        work.filled += float(rows[:, at.F_QUANTITY].sum())
        work.lane.order = None
        self._end(work)
        self._recorder.order(work)

    def _settle(self, work: Working, state: OrderState) -> None:
        """End an order without an execution."""
        work.state = state
        self._end(work)
        self._recorder.order(work)
        lane = work.lane
        if lane.order is work:
            row = lane.context.book.row
            row[at.B_ORDER], row[at.B_RESERVED] = at.ORDER_NONE, 0.0
            lane.order, lane.changed = None, True
        told = {"order_id": work.order_id, "state": state, "error": work.error}
        self._publish(work, "ORDER_UPDATED", told if work.error else {"order_id": work.order_id, "state": state})

    def _lost(self, work: Working, error: StratnbError) -> None:
        """Note that the outcome is not known; `resolve` finds it out."""
        work.state, work.error = "UNKNOWN", str(error)
        now_s = self.clock.now_s()
        work.unknown_s, work.queries = now_s, 0
        work.next_s = now_s + self._settings.query_delays_s[0]
        work.absences.clear()
        self._partial.pop(work.order_id, None)
        self._unknown[work.order_id] = work
        self._recorder.order(work)
        self._recorder.commit(durable=True)
        self._publish(work, "ORDER_UNKNOWN", {"order_id": work.order_id, "error": error.code})
        self._on_trouble(work, "lost")
        self._trouble.set()

    def adopt(self, works: Iterable[Working]) -> None:
        """Take over orders of an earlier run: those without an answer are unknown.

        Intents of an instant that was not finished wait until it is taken again: it makes the same ones. One that
        rests at the exchange while no book waits for it has lost its cancel; it is asked for, and canceled again.
        """
        for work in works:
            order = work.order
            self._live[order.order_id] = work
            if order.created_ms > self._now_ms():
                self._planned[order.strategy_id, order.created_ms, order.purpose, order.reason] = work
            elif work.state in ("INTENT", "SENT", "UNKNOWN", "ABSENT") or work.lane.order is not work:
                self._lost(work, RetryLater("restart", "its answer was lost with an earlier run"))
            elif work.state == "PARTIAL":
                self._poll(work)

    def _ask_for_strays(self) -> None:
        """Ask for intents of an instant that was taken again and did not make them: a person came between."""
        now_ms = self._now_ms()
        for key in [key for key in self._planned if key[1] < now_ms]:
            work = self._planned.pop(key)
            work.cancels = True
            self._lost(work, RetryLater("restart", "the instant that made it went another way"))

    async def resolve(self) -> None:
        """Ask for orders without an answer until each is resolved; runs until it is cancelled."""
        while True:
            await self._trouble.wait()
            while asked := {**self._unknown, **self._partial}:
                now_s = self.clock.now_s()
                due = [work for work in asked.values() if work.next_s <= now_s]
                for work in due:
                    self._ask(work)
                if asked := {**self._unknown, **self._partial}:
                    wait_s = min(work.next_s for work in asked.values()) - self.clock.now_s()
                    await self.clock.sleep(min(max(0.0, wait_s), self._settings.query_delays_s[0]))
            self._trouble.clear()

    def _ask(self, work: Working) -> None:
        """Query one order and draw the conclusion that the answer allows."""
        delays = self._settings.query_delays_s
        work.queries += 1
        work.next_s = self.clock.now_s() + delays[min(work.queries, len(delays) - 1)]
        try:
            self._recorder.check_sending()
            report = self._exchange.query(work.order_id, self._now_ms())
        except StratnbError as error:
            work.error = str(error)
            if work.order_id in self._unknown:
                self._warn(work)
            return
        if report is not None:
            self._found(work, report)
        elif work.order_id in self._partial:
            self._lost(work, RetryLater("order_missing", f"the exchange does not know {work.order_id} any more"))
        elif self._is_absent(work):
            self._absent(work)
        else:
            self._warn(work)

    def _found(self, work: Working, report: OrderReport) -> None:
        """Adopt the state of an order that the exchange knows."""
        if self._unknown.pop(work.order_id, None) is None:
            self.take(work, report)
            self._recorder.changed()
            return
        self._publish(work, "ORDER_RESOLVED", {"order_id": work.order_id, "state": report.state})
        self.take(work, report)
        self._recorder.changed()
        self._on_trouble(work, "resolved")

    def _is_absent(self, work: Working) -> bool:
        """Count a "not found"; return whether there are enough of them, far enough apart, long enough after."""
        now_s, settings = self.clock.now_s(), self._settings
        if not work.absences or now_s - work.absences[-1] >= settings.absence_spacing_s:
            work.absences.append(now_s)
        return len(work.absences) >= settings.absences and now_s - work.unknown_s >= settings.unknown_grace_s

    def _absent(self, work: Working) -> None:
        """Send an order that never arrived again, under the same id, or give it up when nobody wants it any more.

        One that filled a part did arrive; what is left of it is given up.
        """
        del self._unknown[work.order_id]
        work.state = "ABSENT"
        self._publish(work, "ORDER_RESOLVED", {"order_id": work.order_id, "state": "ABSENT"})
        self._recorder.order(work)
        wanted = work.row is not None or work.lane.order is work
        if wanted and not work.cancels and not work.filled:
            self._recorder.commit(durable=True)
            self.send(work)
        else:
            self._settle(work, "CANCELED")
        self._recorder.changed()
        self._on_trouble(work, "resolved")

    def _warn(self, work: Working) -> None:
        """Tell when an order has been unknown for long."""
        age_s = self.clock.now_s() - work.unknown_s
        limits_s = (self._settings.unknown_notice_s, self._settings.unknown_reduce_s)
        while work.warned < len(limits_s) and age_s >= limits_s[work.warned]:
            self._on_trouble(work, ("notice", "reduce")[work.warned])
            work.warned += 1

    @staticmethod
    def _publish(work: Working, type_: str, payload: dict[str, Any], source: str = "exchange") -> None:
        publish = work.lane.context.events.publish
        publish(type_, correlation_id=work.correlation or None, source=source, payload=payload)
