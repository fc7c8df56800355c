"""What people hear of an engine: its events become messages, on the engine's loop, after each instant.

Nothing here changes what is traded: a message that cannot be made is logged, one that cannot be sent is the notifier's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from stratnb.events import Event, Subscription
from stratnb.kernels import layout as at
from stratnb.model import Trade, installed_version
from stratnb.multi.desk import Desk
from stratnb.multi.watch import prices_are_live
from stratnb.services import messages
from stratnb.services.positions import Book
from stratnb.services.trades import round_trips

__all__ = ["Notices"]

EVERY_S = 0.2
HOUR_NS: Final = 3_600_000_000_000
DAY_MS, SUMMARY_MS = int(at.DAY_MS), 5 * 60_000
log = logging.getLogger(__name__)


class Notices:
    """Listens to the events of a desk and sends the messages of trading_rules 9 that are made of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._desk: Desk | None = None
        self._heard: Subscription | None = None
        self._running = False
        self._hear: Mapping[str, Callable[[Desk, Event], None]] = {
            "ENGINE_STARTED": self._started,
            "ENGINE_STOPPED": self._stopped,
            "ENGINE_STATE": self._failed,
            "LEASE_LOST": self._lost,
            "STRATEGY_ACTIVATED": self._activated,
            "STRATEGY_SWITCHED": self._switched,
            "STRATEGY_SWITCH_FAILED": self._not_switched,
            "STRATEGY_CONFIG_REJECTED": self._rejected,
            "POSITION_OPENED": self._opened,
            "POSITION_CLOSED": self._closed,
            "TARGET_HIT": self._target,
            "STOP_MOVED": self._stop,
            "RISK_DENIED": self._denied,
            "RISK_LATCHED": self._latch,
            "RISK_RELEASED": self._released,
            "RISK_STATE": self._risk,
        }

    def listen(self, desk: Desk) -> None:
        """Hear a desk from now on, and no other one."""
        if self._heard is not None:
            self._heard.close()
        self._desk, self._heard = desk, desk.bus.subscribe(types=tuple(self._hear))
        self._moved: set[tuple[str, str]] = set()
        self._denied_ns: dict[tuple[str, str, str], int] = {}
        self._latched: dict[tuple[str | None, str], Mapping[str, Any]] = {}
        self._eased: set[str | None] = set()
        self._day, self._day_start = -1, 0.0
        self._over: tuple[int, float] | None = None

    async def run(self) -> None:
        """Tell what happens between two instants; runs until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.tell()

    def tell(self) -> None:
        """Send what was heard since the last time, and the day's summary once it is due; never raises."""
        heard, desk = self._heard, self._desk
        if heard is None or desk is None:
            return
        events = heard.take() if len(heard) else []
        if not desk.is_heard:
            return
        for event in events:
            self._try(self._hear[event.type], desk, event)
        self._eased.clear()
        self._try(self._look_at_day, desk)

    def close(self) -> None:
        """Tell what is left, and that a running engine ends."""
        self.tell()
        desk = self._desk
        if self._running and desk is not None:
            self._running = False
            self._try(self._ended, desk, "it was closed")

    def _try(self, make: Callable[..., None], *given: Any) -> None:
        try:
            make(*given)
        except Exception:
            log.exception("a message could not be made")

    def _started(self, desk: Desk, event: Event) -> None:
        self._running = True
        lanes = desk.lanes()
        frames = dict.fromkeys(str(lane.context.config.timeframes.primary) for lane in lanes)
        text = messages.engine_started(
            self.name,
            mode=desk.registry.mode,
            instances=len(lanes),
            timeframes=list(frames) or [desk.feed.timeframe],
            version=installed_version(),
        )
        desk.notify("info", text, None)

    def _stopped(self, desk: Desk, event: Event) -> None:
        self._running = False
        self._ended(desk, "every position was closed" if event.payload.get("flatten") else "positions stay as they are")

    def _ended(self, desk: Desk, reason: str) -> None:
        desk.notify("info", messages.engine_stopped(self.name, reason), None)

    def _failed(self, desk: Desk, event: Event) -> None:
        if error := event.payload.get("error"):
            self._running = False
            desk.notify("critical", messages.engine_stopped(self.name, str(error)), None)

    def _lost(self, desk: Desk, event: Event) -> None:
        desk.notify("critical", messages.lease_lost(self.name, str(event.payload["message"])), None)

    def _activated(self, desk: Desk, event: Event) -> None:
        """Tell an activation; that of a switch is told as the switch."""
        key = str(event.strategy_id)
        if not event.payload.get("from_id") and desk.registry.has(key):
            desk.notify("info", messages.activated(desk.registry.get(key).symbol), key)

    def _switched(self, desk: Desk, event: Event) -> None:
        told = event.payload
        if not told["from_id"]:  # a restart finished an activation
            self._activated(desk, event)
            return
        text = messages.switched(told["from_id"], policy=told["policy"], took_ms=told.get("duration_ms"))
        desk.notify("info", text, event.strategy_id)

    def _not_switched(self, desk: Desk, event: Event) -> None:
        told = event.payload
        reason = ": ".join(told.get("error") or ("unknown",))
        text = messages.switch_failed(told.get("from_id"), policy=told["policy"], reason=reason)
        desk.notify("info", text, event.strategy_id)

    def _rejected(self, desk: Desk, event: Event) -> None:
        desk.notify("info", messages.config_rejected(str(event.payload["message"])), event.strategy_id)

    def _opened(self, desk: Desk, event: Event) -> None:
        key = str(event.strategy_id)
        self._moved = {each for each in self._moved if each[0] != key}
        if not desk.knows(key):
            return
        book = desk.lane(key).context.book
        held = book.position()
        if held is None or book.row[at.B_TRADE_NO] != event.payload["trade_no"]:
            return  # it is closed already, which is told by itself
        leverage, quote = float(book.row[at.B_LEVERAGE]), desk.exchange.market(held.symbol).quote
        spoken = _spoken(desk, key, event.correlation_id or "")
        desk.notify("info", messages.position_opened(held, leverage=leverage, quote=quote, spoken=spoken), key)

    def _closed(self, desk: Desk, event: Event) -> None:
        key, told = str(event.strategy_id), event.payload
        quote = desk.exchange.market(str(event.symbol)).quote
        if not desk.knows(key):  # it was removed since
            words = {name: told[name] for name in ("price", "reason", "pnl")}
            desk.notify("info", messages.position_gone(str(event.symbol), **words, quote=quote), key)
            return
        book = desk.lane(key).context.book
        fills = book.fills_of(int(told["trade_no"]))
        targets = sum(fill.reason.startswith("target_") for fill in fills)
        for trade in round_trips(fills):
            multiple = trade.r_multiple(_first_stop(book, trade))
            text = messages.position_closed(trade, r_multiple=multiple, targets=targets, quote=quote)
            desk.notify("info", text, key)

    def _target(self, desk: Desk, event: Event) -> None:
        told = event.payload
        words = {name: told[name] for name in ("price", "quantity", "pnl")}
        quote = desk.exchange.market(str(event.symbol)).quote
        desk.notify("info", messages.target_hit(told["reason"], **words, quote=quote), event.strategy_id)

    def _stop(self, desk: Desk, event: Event) -> None:
        """Tell the first move of a trade's stop by each of its reasons."""
        key, told = str(event.strategy_id), event.payload
        if (key, told["reason"]) not in self._moved:
            self._moved.add((key, told["reason"]))
            text = messages.stop_moved(told["reason"], before=told["from"], after=told["to"])
            desk.notify("info", text, key)

    def _denied(self, desk: Desk, event: Event) -> None:
        """Tell the first denial of a kind within an hour of the feed's clock."""
        code, rule = str(event.payload["code"]), str(event.payload.get("rule") or "")
        rule = "" if rule == code else rule
        kind = str(event.strategy_id), code, rule
        before = self._denied_ns.get(kind)
        if before is None or not 0 <= event.ts_ns - before < HOUR_NS:
            self._denied_ns[kind] = event.ts_ns
            measured = {name: event.payload[name] for name in ("value", "limit")}
            desk.notify("info", messages.entry_denied(code, rule=rule, **measured), event.strategy_id)

    def _latch(self, desk: Desk, event: Event) -> None:
        """Keep who latched a rule and why for the change of state that comes with it."""
        self._latched[event.strategy_id, str(event.payload["rule"])] = event.payload

    def _released(self, desk: Desk, event: Event) -> None:
        self._eased.add(event.strategy_id)
        desk.notify("critical", messages.risk_released(_scope(event), event.payload), event.strategy_id)

    def _risk(self, desk: Desk, event: Event) -> None:
        """Tell a change; that a release ended rules is told as the release."""
        told, key = event.payload, event.strategy_id
        if "limits" in told:
            desk.notify("warning", messages.limits_changed(_scope(event), told), key)
        elif told.get("effect") or key not in self._eased:
            latched = self._latched.pop((key, str(told.get("rule"))), None)
            desk.notify("critical", messages.risk_changed(_scope(event), told, latched), key)

    def _look_at_day(self, desk: Desk) -> None:
        """Keep what an account started each day with; tell a day that is over five minutes later."""
        account = desk.services.positions.account
        day, start = int(account[at.A_DAY]), float(account[at.A_DAY_START])
        if day != self._day:
            self._over = (self._day, self._day_start) if 0 <= self._day < day else None
            self._day, self._day_start = day, start
        if self._over is not None and _now_ms(desk) >= day * DAY_MS + SUMMARY_MS:
            (over, began), self._over = self._over, None
            self._summary(desk, over * DAY_MS, began)

    def _summary(self, desk: Desk, day_ms: int, began: float) -> None:
        account, end_ms = desk.services.positions.account, day_ms + DAY_MS
        traded: dict[str, tuple[int, float]] = {}
        for lane in desk.everyone():
            closed = [each for each in lane.context.book.trades_since(day_ms) if day_ms < each.exit_ms <= end_ms]
            if closed:
                traded[lane.context.strategy_id] = len(closed), sum(each.pnl for each in closed)
        denied = desk.services.risk.recent.recent(desk.now_ms())
        text = messages.daily_summary(
            day_ms,
            equity=self._day_start,
            day_pnl=self._day_start - began,
            quote=desk.exchange.market(desk.feed.symbols[0]).quote,
            drawdown=max(0.0, 1.0 - float(account[at.A_EQUITY] / account[at.A_PEAK])),
            strategies=traded,
            denials={code: of_day for code, (_, of_day) in denied.items() if of_day},
        )
        desk.notify("info", text, None)


def _first_stop(book: Book, trade: Trade) -> float | None:
    """Return the stop that a round trip began with; another trade that opened since has its own."""
    first = book.stops[0] if book.stops else None
    return first[1] if first is not None and trade.entry_ms <= first[0] <= trade.exit_ms else None


def _scope(event: Event) -> str:
    return "the account" if event.strategy_id is None else "the strategy"


def _now_ms(desk: Desk) -> int:
    """Return the time by which days end: the machine's where prices are live, else the feed's."""
    return int(time.time() * 1_000) if prices_are_live(desk) else desk.now_ms()


def _spoken(desk: Desk, key: str, correlation: str) -> tuple[float, Sequence[str]] | None:
    """Return the confidence of the decision that opened a position, and the analyzers that agreed with it."""
    plan = getattr(desk.lane(key).context, "plan", None)
    open_ms = correlation.rpartition("-")[2]
    if plan is None or not open_ms.isdecimal():
        return None
    row = desk.store.decisions(key).find(int(open_ms))
    if row is None or row.size != plan.decision_width:
        return None
    votes = row[at.W_DECISION : at.W_DECISION + 3 * len(plan.analyzers) : 3]
    names = [entry.name for (entry, _), vote in zip(plan.analyzers, votes, strict=True) if vote == row[at.D_DIRECTION]]
    return float(row[at.D_CONFIDENCE]), names
