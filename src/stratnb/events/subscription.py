"""One subscriber: its filter, its bounded queue and the running of its handler."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from types import TracebackType

import numpy as np

from stratnb.events.envelope import Event

__all__ = ["Handler", "Subscription"]

Handler = Callable[[Event], object]

_SLICE_S = 0.002

log = logging.getLogger(__name__)


class Subscription:
    """A bounded queue of matching events, delivered to a handler or polled by `take` and by iteration.

    The counts `delivered`, `dropped` and `errors` start with the subscription.
    """

    def __init__(
        self,
        handler: Handler | None,
        *,
        name: str,
        strategy: str,
        types: tuple[str, ...],
        limit: int,
        lock: AbstractContextManager[object],
        on_close: Callable[[Subscription], None],
    ) -> None:
        """Made by `EventBus.subscribe`, whose `lock` guards the queue of up to `limit` events."""
        self.handler = handler
        self.name = name
        self.strategy = strategy
        self.types = types
        self.limit = limit
        self.delivered = 0
        self.dropped = 0
        self.errors = 0
        self.closed = False
        self._lock = lock
        self._on_close = on_close
        self._queue: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._recent_ms: deque[float] = deque(maxlen=512)
        self._runs, self._total_ms, self._max_ms = 0, 0.0, 0.0

    def __repr__(self) -> str:
        """Return the filter and the queue's length."""
        return f"<Subscription {self.name} strategy={self.strategy!r} types={self.types} queued={len(self._queue)}>"

    def __len__(self) -> int:
        """Return the number of queued events."""
        return len(self._queue)

    def __enter__(self) -> Subscription:
        """Return the subscription itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the subscription."""
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Take queued events, oldest first, until the queue is empty; it does not wait for more."""
        while taken := self.take(1):
            yield taken[0]

    def __bool__(self) -> bool:
        """Return True: an empty queue is still a subscription."""
        return True

    def wants(self, type_: str) -> bool:
        """Return whether a glob of the filter matches the type."""
        return any(fnmatchcase(type_, glob) for glob in self.types)

    def hears(self, strategy_id: str | None) -> bool:
        """Return whether events tagged so get through; "*" hears all, untagged ones too."""
        return self.strategy == "*" or self.strategy == strategy_id

    def offer(self, event: Event) -> None:
        """Queue an event and drop the oldest beyond the limit; the bus calls it and holds the lock."""
        queue = self._queue
        queue.append(event)
        if len(queue) > self.limit:
            queue.popleft()
            self.dropped += 1

    def take(self, n: int | None = None) -> list[Event]:
        """Remove and return up to `n` queued events (all by default), oldest first."""
        with self._lock:
            count = len(self._queue) if n is None else max(min(n, len(self._queue)), 0)
            self.delivered += count
            return [self._queue.popleft() for _ in range(count)]

    def work(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
        """Start the handler's task on `loop` if events wait for it; return the task at work there, else None.

        The loop's own thread calls it.
        """
        task = self._task
        if task is not None and (task.done() or task.get_loop().is_closed()):
            task = self._task = None
        if task is None and self.handler is not None and self._queue:
            task = self._task = loop.create_task(self._run_all(self.handler), name=f"events:{self.name}")
        return task if task is not None and task.get_loop() is loop else None

    def close(self) -> None:
        """End delivery, forget what is queued and stop a handler that is waiting; closing twice is harmless."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._queue.clear()
            self._on_close(self)
        task = self._task
        if task is None or task.done() or task.get_loop().is_closed():
            return
        try:
            inside = asyncio.current_task() is task
        except RuntimeError:
            inside = False
        if not inside:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def handler_ms(self) -> dict[str, float | None]:
        """Return mean and max of all handler times and p95 of the newest 512; None before the first."""
        recent = list(self._recent_ms)
        if not recent:
            return {"mean": None, "p95": None, "max": None}
        return {
            "mean": self._total_ms / self._runs,
            "p95": float(np.percentile(recent, 95)),
            "max": self._max_ms,
        }

    def _next(self) -> Event | None:
        """Remove and return the oldest queued event."""
        with self._lock:
            if not self._queue:
                return None
            self.delivered += 1
            return self._queue.popleft()

    async def _run_all(self, handler: Handler) -> None:
        """Run the handler over the queue in order; give way to the loop every 2 ms.

        Its error is logged and counted here and goes no further.
        """
        pause_at = time.perf_counter() + _SLICE_S
        while not self.closed and (event := self._next()) is not None:
            began = time.perf_counter()
            try:
                result = handler(event)
                if result is not None and inspect.isawaitable(result):
                    await result
            except BaseException as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    raise
                self.errors += 1
                log.error("handler %s failed on event %d %s", self.name, event.seq, event.type, exc_info=error)
            finally:
                ended = time.perf_counter()
                took_ms = (ended - began) * 1000.0
                self._recent_ms.append(took_ms)
                self._runs += 1
                self._total_ms += took_ms
                if took_ms > self._max_ms:
                    self._max_ms = took_ms
            if ended > pause_at:
                await asyncio.sleep(0)
                pause_at = time.perf_counter() + _SLICE_S
