"""The bus that numbers, keeps and delivers events, and its view for one strategy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from stratnb.errors import ConfigError
from stratnb.events.envelope import EVENT_TYPES, Event, unknown_type
from stratnb.events.subscription import Handler, Subscription

__all__ = ["EventBus", "StrategyBus"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
BURST_S = 0.005
_BLANK = Event(0, 0, "", None, None, None, "", _NOTHING)


class _Route:
    """One event type: how often it was published and who wants it."""

    __slots__ = ("published", "subscriptions")

    def __init__(self, subscriptions: tuple[Subscription, ...]) -> None:
        self.published = 0
        self.subscriptions = subscriptions


class EventBus:
    """Numbers, keeps and delivers events; any thread may publish and read.

    Handlers run on the attached loop, one task per subscription with waiting events, never inside `publish`.
    """

    def __init__(
        self, now_ns: Callable[[], int], *, capacity: int = 10_000, queue: int = 1000, last_seq: int = 0
    ) -> None:
        """Keep the newest `capacity` events; each subscription queues up to `queue`; numbers go on after `last_seq`."""
        if capacity < 1 or queue < 1:
            raise ConfigError("event_capacity", "ring and queue hold at least one event", value=(capacity, queue))
        self._now_ns = now_ns
        self._capacity = capacity
        self._queue = queue
        self._first = self._seq = last_seq
        self._ring = [_BLANK] * capacity
        self._lock = threading.RLock()
        self._routes: dict[str, _Route] = {}
        self._by_strategy: dict[str, int] = {}
        self._subscriptions: list[Subscription] = []
        self._subscribed = 0
        self._past = {"delivered": 0, "dropped": 0, "errors": 0}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False
        self._keep: Callable[[Event], object] | None = None

    def __repr__(self) -> str:
        """Return the counts."""
        return f"<EventBus published={self._seq - self._first} subscribers={len(self._subscriptions)}>"

    @property
    def seq(self) -> int:
        """Return the number of the newest event."""
        return self._seq

    def go_on(self, seq: int) -> None:
        """Number the first event after one of an earlier run; only before anything was published."""
        with self._lock:
            if self._seq == self._first:
                self._first = self._seq = max(self._seq, seq)

    def keep(self, keep: Callable[[Event], object] | None) -> None:
        """Hand every event over as it is published, by its thread and under the lock: `keep` only stores it."""
        with self._lock:
            self._keep = keep

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on this loop from now on; without it the first loop that publishes is taken."""
        with self._lock:
            self._loop = loop
            self._woken = False
            self._wake()

    def publish(
        self,
        type: str,
        *,
        strategy_id: str | None = None,
        symbol: str | None = None,
        correlation_id: str | None = None,
        source: str = "",
        payload: Mapping[str, Any] | None = None,
    ) -> Event:
        """Number, keep and queue an event; return it. The payload belongs to the bus afterwards.

        An unknown type is ConfigError("unknown_event_type").
        """
        return self._publish(type, strategy_id, symbol, correlation_id, source, payload or _NOTHING)

    def _publish(
        self,
        type_: str,
        strategy_id: str | None,
        symbol: str | None,
        correlation_id: str | None,
        source: str,
        payload: Mapping[str, Any],
    ) -> Event:
        """Publish, with the arguments in their order: one call less for each of many thousand events a second."""
        with self._lock:
            route = self._routes.get(type_) or self._route(type_)
            seq = self._seq + 1
            event = tuple.__new__(
                Event,
                (seq, self._now_ns(), type_, strategy_id, symbol, correlation_id, source, payload, 1),
            )
            self._ring[seq % self._capacity] = event
            self._seq = seq
            route.published += 1
            if strategy_id is not None:
                self._by_strategy[strategy_id] = self._by_strategy.get(strategy_id, 0) + 1
            if self._keep is not None:
                self._keep(event)
            if route.subscriptions:
                self._queue_for(route.subscriptions, event)
        return event

    def relay(self, event: Event) -> None:
        """Keep and queue an event that was published elsewhere, under its own number; an older one is dropped.

        Numbers that are missing between two events stay blank.
        """
        with self._lock:
            if event.seq <= self._seq:
                return
            route = self._routes.get(event.type) or self._route(event.type)
            for seq in range(max(self._seq + 1, event.seq - self._capacity), event.seq):
                self._ring[seq % self._capacity] = _BLANK
            self._ring[event.seq % self._capacity] = event
            self._seq = event.seq
            route.published += 1
            if route.subscriptions:
                self._queue_for(route.subscriptions, event)

    def broadcast(self, event: Event) -> int:
        """Queue a copy of a published event for the subscribers of every single strategy; return how many got it.

        The copy's payload says `target_strategy_id`. Whoever received the event itself gets no copy.
        """
        with self._lock:
            targets = [
                each
                for each in self._subscriptions
                if each.strategy not in ("*", event.strategy_id) and each.wants(event.type)
            ]
            for each in targets:
                copy = event._replace(payload={**event.payload, "target_strategy_id": each.strategy})
                self._queue_for((each,), copy, copied=True)
        return len(targets)

    def subscribe(
        self,
        handler: Handler | None = None,
        *,
        strategy: str = "*",
        types: Sequence[str] = ("*",),
        replay: int = 0,
    ) -> Subscription:
        """Deliver matching events to `handler` (sync or async), or keep them to be polled when it is None.

        `strategy` is an id (its events only) or "*" (all, untagged ones too); `types` are globs such as "ORDER_*";
        the newest `replay` buffered matches come first. A glob that no type matches is ConfigError.
        """
        globs = (types,) if isinstance(types, str) else tuple(types)
        for glob in globs:
            if not any(fnmatchcase(known, glob) for known in EVENT_TYPES):
                raise unknown_type(glob)
        with self._lock:
            self._subscribed += 1
            made = Subscription(
                handler,
                name=f"{getattr(handler, '__qualname__', 'handler' if handler else 'poll')}#{self._subscribed}",
                strategy=strategy,
                types=globs,
                limit=self._queue,
                lock=self._lock,
                on_close=self._detach,
            )
            kept = self.since(self._first, self._capacity)
            backlog = [event for event in kept if made.hears(event.strategy_id) and made.wants(event.type)]
            newest = backlog[len(backlog) - min(max(replay, 0), len(backlog)) :]
            made.limit += len(newest)
            for event in newest:
                made.offer(event)
            self._subscriptions.append(made)
            self._reroute()
            if len(made) and handler is not None:
                self._wake()
        return made

    def since(self, seq: int, limit: int = 1000) -> list[Event]:
        """Return up to `limit` buffered events with a larger number, oldest first; safe from any thread."""
        with self._lock:
            start = max(seq, self._first, self._seq - self._capacity) + 1
            stop = min(start + max(limit, 0), self._seq + 1)
            if start >= stop:
                return []
            left, right = start % self._capacity, stop % self._capacity
            found = self._ring[left:right] if left < right else self._ring[left:] + self._ring[:right]
            return [event for event in found if event is not _BLANK]

    def stats(self) -> dict[str, Any]:
        """Return counts since the start; `handler_ms` holds mean, p95 and max per subscription with a handler.

        `delivered`, `dropped` and `errors` include closed subscriptions; untagged events are not in `by_strategy`.
        """
        with self._lock:
            live = list(self._subscriptions)
            counts = {name: past + sum(getattr(each, name) for each in live) for name, past in self._past.items()}
            return {
                "published": self._seq - self._first,
                **counts,
                "by_type": {name: route.published for name, route in sorted(self._routes.items()) if route.published},
                "by_strategy": dict(self._by_strategy),
                "subscribers": len(live),
                "handler_ms": {each.name: each.handler_ms() for each in live if each.handler is not None},
            }

    def forget(self, strategy_id: str) -> None:
        """Drop the counter of a strategy that was removed."""
        with self._lock:
            self._by_strategy.pop(strategy_id, None)

    async def drain(self) -> None:
        """Return when no handler has anything left to do."""
        while tasks := self._start(asyncio.get_running_loop()):
            await asyncio.wait(tasks)

    def pump(self) -> None:
        """Deliver everything queued now, from a thread without a running loop."""
        asyncio.run(self.drain())

    def close(self) -> None:
        """Close every subscription; the ring stays readable."""
        for each in list(self._subscriptions):
            each.close()

    def _route(self, type_: str) -> _Route:
        """Add a type to the table of routes."""
        if type_ not in EVENT_TYPES:
            raise unknown_type(type_)
        route = self._routes[type_] = _Route(tuple(each for each in self._subscriptions if each.wants(type_)))
        return route

    def _reroute(self) -> None:
        """Work out again who wants each type seen so far."""
        for type_, route in self._routes.items():
            route.subscriptions = tuple(each for each in self._subscriptions if each.wants(type_))

    def _queue_for(self, subscriptions: tuple[Subscription, ...], event: Event, *, copied: bool = False) -> None:
        """Offer an event to those whose strategy matches and wake the loop once per burst."""
        wake = False
        for each in subscriptions:
            if copied or each.hears(event.strategy_id):
                each.offer(event)
                wake = wake or each.handler is not None
        if wake and (not self._woken or self._loop is None or self._loop.is_closed()):
            self._wake()

    def _wake(self) -> None:
        """Schedule delivery; without an open loop the events stay queued."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is None or self._loop.is_closed():
            self._loop = running
        if self._loop is None:
            return
        with suppress(RuntimeError):  # the loop was closed by its own thread just now
            if self._loop is running:
                self._loop.call_soon(self._start, self._loop)
            else:  # a little later, so that a burst wakes the other thread once
                self._loop.call_soon_threadsafe(self._loop.call_later, BURST_S, self._start, self._loop)
            self._woken = True

    def _start(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
        """Start a task per handler with waiting events; return those at work on this loop but the caller's own."""
        with self._lock:
            self._woken = False
            tasks = [task for each in self._subscriptions if (task := each.work(loop)) is not None]
        return [task for task in tasks if task is not asyncio.current_task(loop)]

    def _detach(self, subscription: Subscription) -> None:
        """Take out a subscription that is being closed and keep its counts; it holds the lock."""
        self._subscriptions.remove(subscription)
        self._reroute()
        for name in self._past:
            self._past[name] += getattr(subscription, name)


class StrategyBus:
    """The bus as one strategy sees it: everything it publishes carries its id and symbol; it hears its own events."""

    __slots__ = ("_bus", "_strategy_id", "_subscriptions", "_symbol")

    def __init__(self, bus: EventBus, strategy_id: str, symbol: str) -> None:
        """Bind a bus to a strategy and its market."""
        if not strategy_id or strategy_id == "*":
            raise ConfigError("strategy_id", f"a strategy's bus needs its id, not {strategy_id!r}", value=strategy_id)
        self._bus = bus
        self._strategy_id = strategy_id
        self._symbol = symbol
        self._subscriptions: list[Subscription] = []

    @property
    def strategy_id(self) -> str:
        """Return the id that every event gets."""
        return self._strategy_id

    @property
    def symbol(self) -> str:
        """Return the symbol that every event gets."""
        return self._symbol

    def publish(
        self,
        type: str,
        *,
        correlation_id: str | None = None,
        source: str = "",
        payload: Mapping[str, Any] | None = None,
    ) -> Event:
        """Publish under this strategy's id and symbol."""
        return self._bus._publish(type, self._strategy_id, self._symbol, correlation_id, source, payload or _NOTHING)

    def subscribe(
        self, handler: Handler | None = None, *, types: Sequence[str] = ("*",), replay: int = 0
    ) -> Subscription:
        """Subscribe to this strategy's own events; `close` ends it."""
        self._subscriptions = [each for each in self._subscriptions if not each.closed]
        made = self._bus.subscribe(handler, strategy=self._strategy_id, types=types, replay=replay)
        self._subscriptions.append(made)
        return made

    def close(self) -> None:
        """Close the subscriptions made here."""
        for each in self._subscriptions:
            each.close()
        self._subscriptions = []
