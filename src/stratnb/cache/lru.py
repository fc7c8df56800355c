"""A least-recently-used map with pins, single-flight creation and evictions that snapshot and close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from stratnb.cache.entry import MAX_CAPACITY, Entry, Figures, Publish, Reason, V
from stratnb.errors import ConfigError, Refused, RetryLater

__all__ = ["Cache"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Cache(Generic[V]):
    """Holds up to `capacity` values by id, least recent first, on one event loop.

    An id is pinned while `pin_reasons(id)` is not empty or the user pinned it; pinned entries leave only by `replace`,
    `remove` and `close`. An operation that was started goes on when its caller is cancelled.
    """

    def __init__(
        self,
        create: Callable[[str], Awaitable[V]],
        *,
        capacity: int = 10,
        pin_reasons: Callable[[str], frozenset[str]] = lambda _: frozenset(),
        keep: Callable[[Any], object] = lambda _: None,
        publish: Publish = lambda _, **__: None,
        idle_ttl_s: float | None = None,
        close_limit_s: float = 10.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Create misses with `create`, store snapshots with `keep`; a capacity outside 1..500 is ConfigError."""
        self._capacity = _checked(capacity)
        self._create = create
        self._pin_reasons = pin_reasons
        self._keep = keep
        self._publish = publish
        self._idle_ttl_s = idle_ttl_s
        self._close_limit_s = close_limit_s
        self._now_ns = now_ns
        self._entries: OrderedDict[str, Entry[V]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[V]] = {}
        self._waiting: Counter[str] = Counter()
        self._running: set[asyncio.Task[Any]] = set()
        self._user_pins: set[str] = set()
        self._turn = asyncio.Lock()
        self._closed = False
        self._figures = Figures()

    def __repr__(self) -> str:
        """Return the fill and the counts."""
        return f"<Cache {len(self._entries)}/{self._capacity} hits={self._figures.hits} misses={self._figures.misses}>"

    @property
    def capacity(self) -> int:
        """Return the number of entries allowed."""
        return self._capacity

    def hit(self, key: str) -> V | None:
        """Return the value if it is resident, counting a hit and making it most recent; None counts nothing.

        No event is published here, so that a routed candle costs less than a microsecond.
        """
        entry = self._entries.get(key)
        if entry is None or entry.leaving is not None:
            return None
        self._entries.move_to_end(key)
        entry.accesses += 1
        entry.used_ns = self._now_ns()
        self._figures.hits += 1
        return entry.value

    def peek(self, key: str) -> V | None:
        """Return the value if it is resident, without touching it."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    async def get_or_create(self, key: str) -> V:
        """Return the resident value or create it once for all concurrent callers.

        The error of a creation reaches every caller and nothing is cached. When every entry is pinned and there is no
        room it is Refused("cache_pinned"). A lookup during the eviction of the same id waits and creates again.
        """
        while (entry := self._entries.get(key)) is not None and entry.leaving is not None:
            await entry.leaving.wait()
        self._check_open()
        if (value := self.hit(key)) is not None:
            self._publish("CACHE_HIT", strategy_id=key, source="cache")
            return value
        flight = self._flights.get(key)
        if flight is not None:
            self._figures.joins += 1
        else:
            self._figures.misses += 1
            self._publish("CACHE_MISS", strategy_id=key, source="cache")
            self.check_room(key)
            flight = self._flights[key] = asyncio.create_task(self._fly(key), name=f"cache:create:{key}")
        self._waiting[key] += 1
        try:
            return await self._joined(flight)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    async def resize(self, capacity: int) -> None:
        """Set the capacity and evict at once what is over it, oldest first; pins leave an excess for `trim`."""
        self._capacity = _checked(capacity)
        await self.trim()

    async def trim(self) -> None:
        """Evict what is over capacity and what has been idle too long, as far as pins allow."""
        if len(self._entries) > self._capacity or self._idle():
            await self._finish(self._trim())

    async def evict(self, key: str) -> bool:
        """Evict one id; return whether it was resident. Pinned is Refused("pinned")."""
        return await self._finish(self._evict_one(key))

    async def clear(self) -> None:
        """Evict everything that is not pinned, oldest first."""
        await self._finish(self._clear("clear", forced=False))

    async def remove(self, key: str, reason: Reason = "removed") -> bool:
        """Evict one id whatever its pins and even when its snapshot fails; return whether it was resident."""
        return await self._finish(self._remove(key, reason))

    async def replace(
        self, key: str, value: V, *, creation_ms: float | None = None, ready: Callable[[V], object] = lambda _: None
    ) -> None:
        """Swap the value of a resident id in place (reason config): recency and pins stay, then the old one closes.

        `ready(old)` runs right before the swap, nothing comes between; what it raises stops the swap. An id that is
        not resident is Refused("not_cached"); the new value is then still the caller's.
        """
        await self._finish(self._replace(key, value, creation_ms, ready))

    async def close(self) -> None:
        """Stop creations, snapshot and close every entry, pinned or not, and refuse lookups from then on."""
        self._closed = True
        for flight in list(self._flights.values()):
            flight.cancel()
        if self._flights:
            await asyncio.wait(list(self._flights.values()))
        self._flights.clear()
        await self._finish(self._clear("clear", forced=True))

    def pin(self, key: str) -> None:
        """Protect an id, resident or not, until `unpin` or `remove`."""
        self._user_pins.add(key)

    def unpin(self, key: str) -> None:
        """Take the user's protection away; call `trim` afterwards."""
        self._user_pins.discard(key)

    def check_room(self, key: str) -> None:
        """Raise Refused("cache_pinned") when the id is not resident and nothing may leave for it."""
        if key not in self._entries and sum(map(self._is_pinned, self._entries)) >= self._capacity:
            raise self._pinned_full(key)

    @property
    def recent_ms(self) -> tuple[float, ...]:
        """Return the newest 1000 creation times in milliseconds, oldest first."""
        return self._figures.recent_ms

    def contains(self, key: str) -> bool:
        """Return whether the id is resident, without touching it."""
        return key in self._entries

    def ids(self) -> tuple[str, ...]:
        """Return the resident ids, least recent first, without touching them."""
        return tuple(self._entries)

    def stats(self) -> dict[str, Any]:
        """Return every count and one row per entry, least recent first; hits + misses + joins = lookups."""
        now_ns = self._now_ns()
        rows = [entry.row(now_ns, self._reasons(entry.key)) for entry in self._entries.values()]
        return self._figures.stats(self._capacity, rows)

    def _reasons(self, key: str) -> frozenset[str]:
        """Return why an id is pinned."""
        derived = self._pin_reasons(key)
        return derived | {"user"} if key in self._user_pins else derived

    def _is_pinned(self, key: str) -> bool:
        """Return whether an id has any reason to stay."""
        return key in self._user_pins or bool(self._pin_reasons(key))

    def _check_open(self) -> None:
        """Raise after `close`."""
        if self._closed:
            raise Refused("engine_closed", "the cache is closed", hint="start a new engine")

    def _pinned_full(self, key: str) -> Refused:
        """Return the error for a full cache in which nothing may leave."""
        pins = {entry: sorted(self._reasons(entry)) for entry in self._entries}
        return Refused(
            "cache_pinned",
            f"no room for {key!r}: none of the {len(pins)} cached strategies (capacity {self._capacity}) may leave",
            value=pins,
            hint="raise the capacity, unpin one, or deactivate one that is flat",
        )

    async def _finish(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation to its end even when the caller is cancelled."""
        task = asyncio.ensure_future(operation)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _joined(self, flight: asyncio.Task[V]) -> V:
        """Wait for a creation; one that `close` cancelled is an error, not a cancellation of the caller."""
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not flight.cancelled() or (caller is not None and caller.cancelling()):
                raise
            self._check_open()
            raise RetryLater("creation_canceled", "the creation was canceled", hint="look it up again") from None

    async def _fly(self, key: str) -> V:
        """Create a value, make room and insert it; on any failure nothing is cached."""
        try:
            started = time.perf_counter()
            value = await self._create(key)
            took_ms = (time.perf_counter() - started) * 1000.0
            try:
                async with self._turn:
                    await self._make_room(key)
                    self._insert(Entry(key, value, self._now_ns()), took_ms)
            except BaseException:
                await self._shut(key, value)
                raise
            return value
        except BaseException:
            self._figures.creation_failures += 1
            raise
        finally:
            del self._flights[key]

    def _insert(self, entry: Entry[V], creation_ms: float | None) -> None:
        """Put an entry in (a resident one is replaced in place), count and announce it."""
        self._entries[entry.key] = entry
        self._figures.created(creation_ms)
        payload = {"creation_ms": creation_ms, "bytes": entry.value.nbytes}
        self._publish("CACHE_CREATED", strategy_id=entry.key, source="cache", payload=payload)

    async def _make_room(self, key: str) -> None:
        """Evict least recent entries until one more fits; Refused when none may leave."""
        kept: set[str] = set()
        while len(self._entries) >= self._capacity:
            victim = self._victim(kept)
            if victim is None:
                raise self._pinned_full(key)
            if not await self._leave(victim, "capacity"):
                kept.add(victim.key)

    def _victim(self, kept: set[str]) -> Entry[V] | None:
        """Return the least recent entry that may leave and is not in `kept`."""
        candidates = (entry for key, entry in self._entries.items() if key not in kept and not self._is_pinned(key))
        return next(candidates, None)

    async def _leave(self, entry: Entry[V], reason: Reason, *, forced: bool = False) -> bool:
        """Snapshot, close and take out one entry; return False when it stays (pinned meanwhile, or no snapshot).

        Callers that have just been given the value run first. The caller of this holds `_turn`.
        """
        while self._waiting.get(entry.key):
            await asyncio.sleep(0)
        if not forced and self._is_pinned(entry.key):
            return False
        entry.leaving = asyncio.Event()
        try:
            if not self._save(entry) and not forced:
                return False
            await self._shut(entry.key, entry.value)
            del self._entries[entry.key]
            self._evicted(entry.key, reason)
            return True
        finally:
            entry.leaving.set()
            entry.leaving = None

    def _evicted(self, key: str, reason: Reason) -> None:
        """Count and announce an eviction."""
        self._figures.evictions[reason] += 1
        self._publish("CACHE_EVICTED", strategy_id=key, source="cache", payload={"reason": reason})

    def _save(self, entry: Entry[V]) -> bool:
        """Take and keep a snapshot, trying twice; return whether it worked."""
        for attempt in (1, 2):
            try:
                self._keep(entry.value.snapshot())
            except Exception:
                log.exception("snapshot of %s failed (attempt %d)", entry.key, attempt)
            else:
                return True
        return False

    async def _shut(self, key: str, value: V) -> None:
        """Close a value within the limit, then cancel the rest of its closing; its errors are logged."""
        closing = asyncio.ensure_future(value.close())
        _, late = await asyncio.wait({closing}, timeout=self._close_limit_s)
        if late:
            log.error("closing %s took more than %g s; forced", key, self._close_limit_s)
            closing.cancel()
            closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            log.error("closing %s failed", key, exc_info=error)

    def _idle(self) -> list[Entry[V]]:
        """Return the unpinned entries that nobody used for `idle_ttl_s`."""
        if self._idle_ttl_s is None:
            return []
        oldest_ns = self._now_ns() - int(self._idle_ttl_s * 1e9)
        return [each for each in self._entries.values() if each.used_ns < oldest_ns and not self._is_pinned(each.key)]

    async def _trim(self) -> None:
        """Evict the excess, then the idle."""
        async with self._turn:
            kept: set[str] = set()
            while len(self._entries) > self._capacity and (victim := self._victim(kept)) is not None:
                if not await self._leave(victim, "resize"):
                    kept.add(victim.key)
            for entry in self._idle():
                if entry in self._idle():
                    await self._leave(entry, "idle")

    async def _evict_one(self, key: str) -> bool:
        """Evict one id by hand."""
        async with self._turn:
            entry = self._entries.get(key)
            if entry is None:
                return False
            if not await self._leave(entry, "manual"):
                if reasons := sorted(self._reasons(key)):
                    hint = "unpin it" if reasons == ["user"] else "deactivate it and wait until it is flat"
                    raise Refused("pinned", f"{key!r} is pinned: {', '.join(reasons)}", value=reasons, hint=hint)
                raise RetryLater("snapshot_failed", f"{key!r} stays: its snapshot failed twice", value=key)
            return True

    async def _clear(self, reason: Reason, *, forced: bool) -> None:
        """Evict all entries, oldest first; `forced` includes the pinned."""
        async with self._turn:
            for entry in list(self._entries.values()):
                await self._leave(entry, reason, forced=forced)

    async def _remove(self, key: str, reason: Reason) -> bool:
        """Wait for a creation of the id, then take it out."""
        if (flight := self._flights.get(key)) is not None:
            await asyncio.wait({flight})
        async with self._turn:
            self._user_pins.discard(key)
            entry = self._entries.get(key)
            return entry is not None and await self._leave(entry, reason, forced=True)

    async def _replace(self, key: str, value: V, creation_ms: float | None, ready: Callable[[V], object]) -> None:
        """Swap first, so that there is always a value, then snapshot and close the old one."""
        async with self._turn:
            old = self._entries.get(key)
            if old is None:
                raise Refused("not_cached", f"{key!r} is not in the cache", value=key, hint="get_or_create it")
            ready(old.value)
            self._insert(Entry(key, value, self._now_ns()), creation_ms)
            self._evicted(key, "config")
            self._save(old)
            await self._shut(key, old.value)


def _checked(capacity: int) -> int:
    """Return the capacity if it is allowed."""
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= MAX_CAPACITY:
        raise ConfigError(
            "cache_capacity",
            f"the cache holds 1 to {MAX_CAPACITY} strategies, not {capacity!r}",
            value=capacity,
            hint=f"give a whole number from 1 to {MAX_CAPACITY}",
        )
    return capacity
