"""The router: takes one instant of candles to every strategy that is due, in the order of registration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from stratnb.cache import Cache
from stratnb.events import EventBus
from stratnb.exchange.base import Exchange, Instant
from stratnb.kernels import layout as at
from stratnb.multi.lane import Lane, Working
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.orders import Orders
from stratnb.multi.recorder import Recorder
from stratnb.services.shared import SharedServices

__all__ = ["Router"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


class Router:
    """Advances time by instants: what was pending is resolved first, then the account is marked, then they decide."""

    def __init__(
        self,
        services: SharedServices,
        exchange: Exchange,
        cache: Cache[TradingOrchestrator],
        bus: EventBus,
        orders: Orders,
        recorder: Recorder,
        *,
        on_error: Callable[[Lane, Exception], None],
        on_probe: Callable[[Lane], Iterator[None]],
        on_flat: Callable[[Lane], None],
    ) -> None:
        self._services = services
        self._exchange = exchange
        self._orders = orders
        self._recorder = recorder
        self._cache = cache
        self._bus = bus
        self._on_error = on_error
        self._on_probe = on_probe
        self._on_flat = on_flat
        self._symbols: tuple[str, ...] = ()
        self._rows = np.zeros((0, at.W_CANDLE))
        self._fresh = np.zeros(0)
        self._last_ms = np.zeros(0)
        self._gap = np.zeros(0, bool)
        self.lanes: tuple[Lane, ...] = ()
        self.now_ms = 0
        self._funding_time = -1.0
        self.candles = 0
        self.unrouted = 0
        self.dropped = 0
        self.gaps = 0

    def open(self, symbols: tuple[str, ...]) -> None:
        """Forget the former markets and take these; their numbers are the places in here."""
        self._symbols = symbols
        self._rows = np.zeros((len(symbols), at.W_CANDLE))
        self._fresh = np.zeros(len(symbols))
        self._last_ms = np.full(len(symbols), np.nan)
        self._gap = np.zeros(len(symbols), bool)

    def resume(self, now_ms: int, candles: int) -> None:
        """Go on where an earlier run stopped; the history is there already."""
        self.now_ms, self.candles = now_ms, candles
        for market, symbol in enumerate(self._symbols):
            rows = self._services.candles.rows(symbol)
            if len(rows):
                self._rows[market] = rows[-1]
                self._last_ms[market] = rows[-1, at.C_TIME]

    def number(self, symbol: str) -> int:
        """Return the number of a symbol."""
        return self._symbols.index(symbol)

    def take(self, instant: Instant) -> Iterator[None]:
        """Process one instant: fills, protections, then decisions; never raises for a strategy's fault.

        Yields while the outcome of an order is not known; nothing later happens before it is.
        """
        while self._orders.unresolved or self._services.risk.stirred:
            if self._orders.unresolved:
                yield
            else:
                self.done()
        services, fresh, late = self._services, self._fresh, False
        self.now_ms = instant.close_ms
        self._recorder.begin()
        for market, row in instant.candles:
            if row[at.C_TIME] <= self._last_ms[market]:
                self.dropped += 1
                continue
            self._rows[market] = row
            fresh[market] = 1.0
            services.candles.append(self._symbols[market], row)
            self._recorder.candle(self._symbols[market], row)
            late |= self._is_late(market, row)
        self.candles += len(instant.candles)
        due = [lane for lane in self.lanes if fresh[lane.market]]
        if len(due) == 0:
            self.unrouted += len(instant.candles)
        for lane in due:
            if late and self._gap[lane.market]:
                yield from self._step(lane, late=True)
                if self._orders.waiting:
                    self._orders.flush()
                while self._orders.unresolved:
                    yield
            touched = self._resolve(lane)
            if touched is not None:
                yield from self._execute(lane, touched)
        self._settle(float(instant.close_ms))
        for lane in due:
            book = lane.context.book
            book.curve.append(instant.close_ms, book.row[at.B_EQUITY])
            lane.tally.close(instant.close_ms, book.row[at.B_EQUITY])
            yield from self._step(lane, late=False)
            if lane.is_over(instant.close_ms):
                self._on_flat(lane)
        services.positions.curve.append(instant.close_ms, services.positions.account[at.A_EQUITY])
        np.copyto(self._last_ms, self._rows[:, at.C_TIME], where=fresh != 0.0)
        fresh[:] = 0.0
        self._recorder.finish(sending=self._orders.waiting)
        self._orders.flush()

    def _settle(self, now_ms: float) -> None:
        """Mark and protect; no entry goes on waiting where a state does not allow it any more."""
        fired = self._services.risk.settle(self._rows, self._fresh, now_ms)
        if now_ms // at.FUNDING_MS != self._funding_time:
            self._funding_time = now_ms // at.FUNDING_MS
            self._tell_funding(int(now_ms))
        if not fired:
            return
        for lane in self.lanes:
            self._tidy(lane)
        self.enforce()
        for lane in self.lanes:
            self._announce(lane, "")

    def _tell_funding(self, now_ms: int) -> None:
        """Keep and announce what the positions paid at a funding time."""
        for lane in self.lanes:
            book = lane.context.book
            paid = float(book.row[at.B_FUNDING]) - lane.funded
            if paid:
                lane.funded, lane.changed = float(book.row[at.B_FUNDING]), True
                self._recorder.funding(book, paid, now_ms)
                told = {
                    "quantity": book.quantity,
                    "price": float(book.row[at.B_MARK]),
                    "reason": "funding",
                    "paid": paid,
                }
                publish = book.events.publish
                publish("POSITION_CHANGED", correlation_id=book.correlation or None, source="router", payload=told)

    def enforce(self) -> int:
        """Cancel the waiting entries of strategies whose state allows none; return how many there were.

        The cancels are sent by `done`, or at the end of the instant.
        """
        risk = self._services.risk
        risk.stirred = False
        stopped = [lane for lane in self.lanes if risk.state_of(lane.context.strategy_id) != "ACTIVE"]
        return sum(self.drop_entry(lane) for lane in stopped)

    def _is_late(self, market: int, row: Floats) -> bool:
        """Note whether candles of a market are missing before this one."""
        step, before = self._services.candles.step_ms, self._last_ms[market]
        gap = bool(before == before and row[at.C_TIME] != before + step)
        if gap:
            self.gaps += 1
            missing = int((row[at.C_TIME] - before) / step) - 1
            self._bus.publish("CANDLE_GAP", symbol=self._symbols[market], source="router", payload={"missing": missing})
        self._gap[market] = gap
        return gap

    def _resolve(self, lane: Lane) -> Floats | None:
        """Fill the working order at the open, arm what it opened; return the fills of stop and targets if any."""
        book = lane.context.book
        row = book.row
        if row[at.B_ORDER] != at.ORDER_NONE:
            self._fill_order(lane, self._rows[lane.market])
        if row[at.B_QUANTITY] != 0.0:
            touched = self._exchange.touch_fills(book.settings, row, self._rows[lane.market])
            if len(touched):
                return touched.copy()
        return None

    def _execute(self, lane: Lane, touched: Floats) -> Iterator[None]:
        """Send the orders of stop and targets one after the other; each is booked when its outcome is known."""
        if lane.context.book.row[at.B_ORDER] == at.ORDER_ENTRY:  # the rest of an entry that was filled in part
            self._orders.withdraw(lane)
            self._orders.flush()
            while self._orders.unresolved:
                yield
        for work in self._orders.touch(lane, touched):
            self._orders.send(work)
            while self._orders.unresolved:
                yield
        self._tidy(lane)

    def book_fills(self, work: Working, fills: Floats) -> None:
        """Book what an order executed."""
        lane = work.lane
        for fill in fills:
            lane.changed, number, work.booked = True, work.booked, work.booked + 1
            if work.row is None:
                lane.tally.slip(fill[at.F_SIGN] * (fill[at.F_PRICE] / self._met(lane, fill) - 1.0))
            opened = self._services.positions.apply(lane.context.book, fill)
            self._recorder.fill(work, number, fill)
            if not work.order.reduces:
                self._arm(lane, int(fill[at.F_TIME]), grown=not opened)

    def _met(self, lane: Lane, fill: Floats) -> float:
        """Return the price that an order at market met: the open of its candle, the mark between two candles."""
        rows = self._services.candles.rows(lane.context.symbol)
        number = int(np.searchsorted(rows[:, at.C_TIME], fill[at.F_TIME]))
        return float(rows[number, at.C_OPEN] if number < len(rows) else rows[-1, at.C_CLOSE])

    def _arm(self, lane: Lane, time_ms: int, *, grown: bool = False) -> None:
        """Fix the levels of a new position; when a block raises there, the position is closed at the next open.

        A position that has `grown` by a further fill of its entry gets them anew.
        """
        context = lane.context
        orchestrator = self._cache.hit(context.strategy_id)
        assert orchestrator is not None, "an instance with an order is pinned"
        try:
            arm = self._services.exits.arm_again if grown else self._services.exits.arm
            arm(context.plan, orchestrator.memory, context.book, time_ms)
        except Exception as error:
            lane.tally.outcomes.append(False)
            self._on_error(lane, error)
            self._services.exits.request_close(context.book, at.REASON_RISK)

    def _fill_order(self, lane: Lane, candle: Floats) -> None:
        """Fill the working order at the candle's open; it is then done."""
        book, work = lane.context.book, lane.order
        assert work is not None, "an order in a book was announced"
        fills = self._exchange.open_fills(work.order_id, book.settings, book.row, candle, self.now_ms)
        rests = bool(book.row[at.B_ORDER] != at.ORDER_NONE)
        if rests:
            self._orders.partly(work, fills)
        else:
            self._orders.finish(work, fills)
        if not rests and not len(fills) and not work.order.reduces:
            self._expired(lane, work)
        self.book_fills(work, fills)
        self._announce(lane, "")

    def _tidy(self, lane: Lane) -> None:
        """Cancel an entry at the exchange that the kernel took out of the book: expired, not allowed, or left."""
        work = lane.order
        if work is not None and lane.context.book.row[at.B_ORDER] == at.ORDER_NONE and not work.order.reduces:
            self._orders.supersede(lane)
            self._expired(lane, work)

    def _expired(self, lane: Lane, work: Working) -> None:
        """Tell that an entry, or the rest of it, will not be filled any more."""
        told = {"order_id": work.order_id, "filled": work.filled}
        lane.context.events.publish(
            "ENTRY_EXPIRED", correlation_id=work.correlation or None, source="router", payload=told
        )

    def drop_entry(self, lane: Lane) -> bool:
        """Cancel a working entry order; return whether there was one."""
        if not self._orders.withdraw(lane):
            return False
        self._services.positions.refresh()
        return True

    def execute_now(self, lane: Lane) -> bool:
        """Fill the working order at the newest price: an order that a person gave between two candles.

        Returns False when its outcome is not known yet.
        """
        book = lane.context.book
        price, time_ms = book.row[at.B_MARK], float(self.now_ms)
        candle = np.array([price, price, price, price, np.nan, time_ms])
        self._announce(lane, "")
        self._orders.flush()
        if lane.order is None or lane.order.state != "OPEN":
            return False
        self._fill_order(lane, candle)
        before, self._rows[lane.market] = self._rows[lane.market].copy(), candle
        self._fresh[lane.market] = 1.0
        self._settle(time_ms)
        self._fresh[lane.market] = 0.0
        self._rows[lane.market] = before
        lane.tally.close(self.now_ms, book.row[at.B_EQUITY])
        self.done()
        return True

    def done(self) -> None:
        """Keep what was changed between two instants, and send what it asks for."""
        if self._services.risk.stirred:
            self.enforce()
        self._recorder.changed()
        self._orders.flush()

    def _step(self, lane: Lane, *, late: bool) -> Iterator[None]:
        """Give the candle to the strategy; what it raises suspends it and nobody else. One that failed is tried again.

        Yields while a block in plain Python computes beside the loop.
        """
        if not lane.steps:
            if not late:
                yield from self._on_probe(lane)
            return
        context, row = lane.context, self._rows[lane.market]
        try:
            orchestrator = self._cache.hit(context.strategy_id)
            assert orchestrator is not None, "a routed instance is pinned"
            if not late:
                context.events.publish("CANDLE_ROUTED", source="router", payload={"open_time_ms": int(row[at.C_TIME])})
            decided: bool | None
            if orchestrator.in_python:
                decided = yield from orchestrator.on_candle_beside(row, late=late)
            else:
                decided = orchestrator.on_candle(row, late=late)
            if decided is None:
                return
            if decided:
                lane.tally.decisions += 1
                self._decided(lane, orchestrator)
            elif context.book.row[at.B_ORDER] != at.ORDER_NONE:
                self._announce(lane, context.book.correlation)
            self._recorder.stepped(lane, orchestrator.decision if decided else None)
            lane.tally.outcomes.append(True)
            lane.breaker.success()
        except Exception as error:
            lane.tally.outcomes.append(False)
            self._on_error(lane, error)

    def _decided(self, lane: Lane, orchestrator: TradingOrchestrator) -> None:
        """Publish a decision and hand the order it placed to the exchange."""
        context, row = lane.context, orchestrator.decision
        head = row[: at.W_DECISION].tolist()
        reason, open_ms = int(head[at.D_REASON]), int(head[at.D_TIME])
        word = orchestrator.plan.reason(reason)
        payload = {
            "open_time_ms": open_ms,
            "action": at.ACTIONS[int(head[at.D_ACTION])],
            "reason": word,
            "direction": int(head[at.D_DIRECTION]),
            "score": head[at.D_SCORE],
            "confidence": head[at.D_CONFIDENCE],
        }
        correlation = f"{lane.code}-{open_ms}"
        context.events.publish("DECISION", correlation_id=correlation, source="orchestrator", payload=payload)
        book = context.book
        if reason in at.DENIALS:
            lane.changed = True
            self._services.risk.deny(book, row, word, correlation)
        if book.row[at.B_QUANTITY] != 0.0:
            self._services.exits.watch(book, self.now_ms)
        self._announce(lane, correlation)

    def flatten(self, lane: Lane, quantity: float) -> None:
        """Close what an order filled too much, at once."""
        book = lane.context.book
        self._orders.supersede(lane)
        self._services.exits.flatten(book, quantity)
        self._announce(lane, book.correlation)
        self.done()

    def _announce(self, lane: Lane, correlation: str) -> None:
        """Make the intent of an order that a kernel placed; it is sent when the instant is done."""
        book = lane.context.book
        if lane.order is not None and book.row[at.B_ORDER] == at.ORDER_EXIT and not lane.order.order.reduces:
            self._orders.supersede(lane)
        if book.row[at.B_ORDER] == at.ORDER_NONE or lane.order is not None:
            return
        lane.changed = True
        if book.row[at.B_ORDER] == at.ORDER_EXIT:
            correlation = book.correlation or correlation  # a whole trade carries the id of its entry's decision
            told = {"reason": book.reason(book.row[at.B_ORDER_REASON])}
            book.events.publish("EXIT_SIGNAL", correlation_id=correlation, source="exits", payload=told)
        else:
            book.correlation = correlation
        self._orders.place(lane, correlation)
