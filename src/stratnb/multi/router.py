"""The router: takes one instant of candles to every strategy that is due, in the order of registration."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stratnb.cache import Cache
from stratnb.events import EventBus
from stratnb.exchange.base import Exchange, Instant
from stratnb.kernels import layout as at
from stratnb.model import Order
from stratnb.multi.context import StrategyContext
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.services.risk import ACCOUNT_FIRED
from stratnb.services.shared import SharedServices

__all__ = ["Lane", "Router"]

Floats = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


class Lane:
    """One strategy's place in the routing order; `code` is its mark in order and correlation ids.

    `steps` is False while it was halted by an error, `managed` True when it was managing before it was suspended.
    """

    __slots__ = ("announced", "code", "context", "error", "managed", "market", "paused", "sequence", "steps")

    def __init__(self, context: StrategyContext, market: int, code: str) -> None:
        self.context = context
        self.code = code
        self.market = market
        self.steps = True
        self.paused = False
        self.managed = False
        self.announced = False
        self.error = ""
        self.sequence = 0


class Router:
    """Advances time by instants: what was pending is resolved first, then the account is marked, then they decide."""

    def __init__(
        self,
        services: SharedServices,
        exchange: Exchange,
        cache: Cache[TradingOrchestrator],
        bus: EventBus,
        *,
        on_halt: Callable[[Lane, Exception], None],
        on_flat: Callable[[Lane], None],
    ) -> None:
        self._services = services
        self._exchange = exchange
        self._cache = cache
        self._bus = bus
        self._on_halt = on_halt
        self._on_flat = on_flat
        self._symbols: tuple[str, ...] = ()
        self._rows = np.zeros((0, at.W_CANDLE))
        self._fresh = np.zeros(0)
        self._last_ms = np.zeros(0)
        self._gap = np.zeros(0, bool)
        self.lanes: tuple[Lane, ...] = ()
        self.now_ms = 0
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

    def number(self, symbol: str) -> int:
        """Return the number of a symbol."""
        return self._symbols.index(symbol)

    def take(self, instant: Instant) -> None:
        """Process one instant: fills, protections, then decisions; never raises for a strategy's fault."""
        services, fresh, late = self._services, self._fresh, False
        self.now_ms = instant.close_ms
        for market, row in instant.candles:
            if row[at.C_TIME] <= self._last_ms[market]:
                self.dropped += 1
                continue
            self._rows[market] = row
            fresh[market] = 1.0
            services.candles.append(self._symbols[market], row)
            late |= self._is_late(market, row)
        self.candles += len(instant.candles)
        due = [lane for lane in self.lanes if fresh[lane.market]]
        if len(due) == 0:
            self.unrouted += len(instant.candles)
        for lane in due:
            if late and self._gap[lane.market]:
                self._step(lane, late=True)
            self._resolve(lane)
        self._settle(float(instant.close_ms))
        for lane in due:
            book = lane.context.book
            book.curve.append(instant.close_ms, book.row[at.B_EQUITY])
            self._step(lane, late=False)
            if book.row[at.B_ENTRIES] == at.ENTRIES_MANAGING and book.is_flat:
                self._on_flat(lane)
        services.positions.curve.append(instant.close_ms, services.positions.account[at.A_EQUITY])
        np.copyto(self._last_ms, self._rows[:, at.C_TIME], where=fresh != 0.0)
        fresh[:] = 0.0

    def _settle(self, now_ms: float) -> None:
        """Mark and protect; when the account is halted no entry goes on waiting."""
        fired = self._services.risk.settle(self._rows, self._fresh, now_ms)
        for lane in self.lanes if fired else ():
            if fired & ACCOUNT_FIRED:
                self.drop_entry(lane)
            self._announce(lane, "")

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

    def _resolve(self, lane: Lane) -> None:
        """Fill the working order at the open, arm what it opened, resolve stop and targets."""
        book = lane.context.book
        row = book.row
        if row[at.B_ORDER] != at.ORDER_NONE:
            self._fill_order(lane, self._rows[lane.market])
        if row[at.B_QUANTITY] != 0.0:
            fills = self._exchange.touch_fills(book.settings, row, self._rows[lane.market])
            if len(fills):
                self._book_fills(lane, fills)

    def _book_fills(self, lane: Lane, fills: Floats) -> None:
        context = lane.context
        for fill in fills:
            if self._services.positions.apply(context.book, fill):
                self._arm(lane, int(fill[at.F_TIME]))

    def _arm(self, lane: Lane, time_ms: int) -> None:
        """Fix the levels of a new position; when a block raises there, the position is closed at the next open."""
        context = lane.context
        orchestrator = self._cache.hit(context.strategy_id)
        assert orchestrator is not None, "an instance with an order is pinned"
        try:
            self._services.exits.arm(context.plan, orchestrator.memory, context.book, time_ms)
        except Exception as error:
            self._on_halt(lane, error)
            self._services.exits.request_close(context.book, at.REASON_RISK)

    def _fill_order(self, lane: Lane, candle: Floats) -> None:
        """Fill the working order at the candle's open; it is then done."""
        book = lane.context.book
        self._book_fills(lane, self._exchange.open_fills(book.settings, book.row, candle))
        self._exchange.cancel(book.strategy_id)
        lane.announced = False
        self._announce(lane, "")

    def drop_entry(self, lane: Lane) -> bool:
        """Cancel a working entry order; return whether there was one."""
        row = lane.context.book.row
        if row[at.B_ORDER] != at.ORDER_ENTRY:
            return False
        row[at.B_ORDER], row[at.B_RESERVED] = at.ORDER_NONE, 0.0
        self._exchange.cancel(lane.context.strategy_id)
        lane.announced = False
        lane.context.events.publish("ORDER_UPDATED", source="exchange", payload={"state": "CANCELED"})
        self._services.positions.refresh()
        return True

    def execute_now(self, lane: Lane) -> None:
        """Fill the working order at the newest price: an order that a person gave between two candles."""
        book = lane.context.book
        price, time_ms = book.row[at.B_MARK], float(self.now_ms)
        candle = np.array([price, price, price, price, 0.0, time_ms])
        self._announce(lane, "")
        self._fill_order(lane, candle)
        before, self._rows[lane.market] = self._rows[lane.market].copy(), candle
        self._fresh[lane.market] = 1.0
        self._settle(time_ms)
        self._fresh[lane.market] = 0.0
        self._rows[lane.market] = before

    def _step(self, lane: Lane, *, late: bool) -> None:
        """Give the candle to the strategy; what it raises halts it and nobody else."""
        if not lane.steps:
            return
        context, row = lane.context, self._rows[lane.market]
        try:
            orchestrator = self._cache.hit(context.strategy_id)
            assert orchestrator is not None, "a routed instance is pinned"
            if not late:
                context.events.publish("CANDLE_ROUTED", source="router", payload={"open_time_ms": int(row[at.C_TIME])})
            if orchestrator.on_candle(row, late=late):
                self._decided(lane, orchestrator)
        except Exception as error:
            self._on_halt(lane, error)

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
            self._services.risk.deny(book, row, word, correlation)
        if book.row[at.B_QUANTITY] != 0.0:
            self._services.exits.watch(book, self.now_ms)
        self._announce(lane, correlation)

    def _announce(self, lane: Lane, correlation: str) -> None:
        """Publish the intent of an order that a kernel placed, then give it to the exchange."""
        book = lane.context.book
        if book.row[at.B_ORDER] == at.ORDER_NONE or lane.announced:
            return
        lane.announced = True
        lane.sequence += 1
        reduces = bool(book.row[at.B_ORDER] == at.ORDER_EXIT)
        if reduces:
            correlation = book.correlation or correlation  # a whole trade carries the id of its entry's decision
        else:
            book.correlation = correlation
        order = Order(
            order_id=f"{lane.code}-{lane.sequence}",
            strategy_id=book.strategy_id,
            symbol=book.symbol,
            side="buy" if book.row[at.B_ORDER_SIGN] > 0 else "sell",
            quantity=float(book.row[at.B_ORDER_QUANTITY]),
            reduces=reduces,
            reason=book.reason(book.row[at.B_ORDER_REASON]),
            created_ms=self.now_ms,
        )
        publish = book.events.publish
        if reduces:
            publish("EXIT_SIGNAL", correlation_id=correlation, source="exits", payload={"reason": order.reason})
        sent = {"order_id": order.order_id, "side": order.side, "quantity": order.quantity, "reason": order.reason}
        publish("ORDER_INTENT", correlation_id=correlation, source="orchestrator", payload=sent)
        self._exchange.submit(order)
        publish("ORDER_SENT", correlation_id=correlation, source="exchange", payload={"order_id": order.order_id})
