"""What can be cached, what is known of each entry and of the cache as a whole."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

__all__ = ["MAX_CAPACITY", "Cacheable", "Entry", "Figures", "Publish", "Reason"]

MAX_CAPACITY = 500
Reason = Literal["capacity", "resize", "idle", "manual", "config", "removed", "clear"]


class Cacheable(Protocol):
    """What can be cached: it knows its size and state, can be snapshotted and closed."""

    @property
    def nbytes(self) -> int:
        """Return the memory held, in bytes."""
        ...

    @property
    def state(self) -> str:
        """Return the lifecycle state."""
        ...

    def snapshot(self) -> object:
        """Return what is needed to resume; it is given to the cache's `keep`."""
        ...

    async def close(self) -> None:
        """Cancel tasks, end subscriptions and drop arrays; it must not call the cache."""
        ...


class Publish(Protocol):
    """Announces an event; `EventBus.publish` is one."""

    def __call__(
        self, type: str, /, *, strategy_id: str | None = ..., source: str = ..., payload: Mapping[str, Any] | None = ...
    ) -> object:
        """Publish one event."""
        ...


V = TypeVar("V", bound=Cacheable)


class Entry(Generic[V]):
    """A cached value; `leaving` is set while it is being evicted and fires when that has ended."""

    __slots__ = ("accesses", "created_ns", "key", "leaving", "used_ns", "value")

    def __init__(self, key: str, value: V, now_ns: int) -> None:
        self.key = key
        self.value = value
        self.created_ns = self.used_ns = now_ns
        self.accesses = 0
        self.leaving: asyncio.Event | None = None

    def row(self, now_ns: int, reasons: Iterable[str]) -> dict[str, Any]:
        """Return what the statistics say of the entry."""
        pins = tuple(sorted(reasons))
        return {
            "strategy_id": self.key,
            "created_ms": self.created_ns // 1_000_000,
            "age_s": max(0, now_ns - self.created_ns) / 1e9,
            "idle_s": max(0, now_ns - self.used_ns) / 1e9,
            "accesses": self.accesses,
            "pinned": bool(pins),
            "pin_reasons": pins,
            "bytes": self.value.nbytes,
            "state": self.value.state,
        }


class Figures:
    """The counts of a cache: hits + misses + joins = lookups, creations - evictions = size."""

    def __init__(self) -> None:
        self.hits = self.misses = self.joins = 0
        self.creations = self.creation_failures = 0
        self.evictions: dict[str, int] = dict.fromkeys(get_args(Reason), 0)
        self._recent_ms: deque[float] = deque(maxlen=1000)
        self._timed, self._total_ms, self._max_ms = 0, 0.0, 0.0

    def created(self, creation_ms: float | None) -> None:
        """Count a creation and its time, if that is known."""
        self.creations += 1
        if creation_ms is not None:
            self._recent_ms.append(creation_ms)
            self._timed += 1
            self._total_ms += creation_ms
            self._max_ms = max(self._max_ms, creation_ms)

    @property
    def recent_ms(self) -> tuple[float, ...]:
        """Return the newest 1000 creation times, oldest first."""
        return tuple(self._recent_ms)

    def creation_ms(self) -> dict[str, float | None]:
        """Return count, mean and max of all timed creations, p50 and p95 of the newest 1000."""
        if not self._timed:
            return {"count": 0, "mean": None, "p50": None, "p95": None, "max": None}
        p50, p95 = (float(value) for value in np.percentile(list(self._recent_ms), (50, 95)))
        return {"count": self._timed, "mean": self._total_ms / self._timed, "p50": p50, "p95": p95, "max": self._max_ms}

    def stats(self, capacity: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the statistics of a cache with these rows of entries, least recent first."""
        found = self.hits + self.misses
        return {
            "capacity": capacity,
            "size": len(entries),
            "pinned": sum(row["pinned"] for row in entries),
            "over_capacity": max(0, len(entries) - capacity),
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hits / found if found else None,
            "joins": self.joins,
            "creations": self.creations,
            "creation_failures": self.creation_failures,
            "evictions": sum(self.evictions.values()),
            "evictions_by_reason": dict(self.evictions),
            "creation_ms": self.creation_ms(),
            "resident_bytes": sum(row["bytes"] for row in entries),
            "entries": entries,
        }
