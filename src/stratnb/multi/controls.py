"""Small handles on an engine: its feed, its cache, its operations as coroutines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from stratnb.multi.jobs import Job
from stratnb.multi.operations import OPERATIONS, Operations

__all__ = ["AsyncOperations", "CacheControl", "FeedControl"]

Call = Callable[..., Any]


class FeedControl:
    """The replay: pause, resume, step, speed (a multiple of real time, inf for max), position."""

    def __init__(self, operations: Operations, call: Call) -> None:
        self._operations = operations
        self._call = call

    def __repr__(self) -> str:
        """Return the feed's own description."""
        return repr(self._operations.desk.feed)

    @property
    def position(self) -> int:
        """Return how many instants were replayed."""
        return self._operations.desk.feed.position

    @property
    def length(self) -> int:
        """Return the number of instants."""
        return len(self._operations.desk.feed)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols."""
        return self._operations.desk.feed.symbols

    @property
    def done(self) -> bool:
        """Return whether everything was replayed."""
        return self._operations.desk.feed.done

    @property
    def speed(self) -> float:
        """Return the speed."""
        return self._operations.desk.feed.speed

    @speed.setter
    def speed(self, value: float) -> None:
        """Change the speed."""
        self._call("set_speed", value)

    def pause(self) -> None:
        """Stop the replay after the present instant."""
        self._call("pause")

    def resume(self) -> None:
        """Let it go on."""
        self._call("resume")

    def step(self, n: int = 1) -> int:
        """Process up to n instants and return how many there were."""
        return int(self._call("step", n))

    def restart(self) -> None:
        """Start the same candles again with a fresh account; strategies stay loaded, active ones are active again."""
        self._call("restart_feed")


class CacheControl:
    """The orchestrator cache: statistics, capacity, pins."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def stats(self) -> dict[str, Any]:
        """Return every count and one row per entry, least recent first."""
        found: dict[str, Any] = self._call("cache_stats")
        return found

    def resize(self, capacity: int) -> None:
        """Set the capacity; what is over it and not pinned leaves at once."""
        self._call("resize_cache", capacity)

    def evict(self, strategy_id: str) -> bool:
        """Evict one entry; return whether it was resident."""
        return bool(self._call("evict", strategy_id))

    def pin(self, strategy_id: str) -> None:
        """Protect an entry."""
        self._call("pin", strategy_id)

    def unpin(self, strategy_id: str) -> None:
        """Take the protection away."""
        self._call("unpin", strategy_id)

    def clear(self) -> None:
        """Evict everything that is not pinned."""
        self._call("clear_cache")


class AsyncOperations:
    """The engine's operations as coroutines: `await engine.aio.switch(id)`."""

    def __init__(self, submit: Callable[..., Job]) -> None:
        self._submit = submit

    def __getattr__(self, op: str) -> Callable[..., Awaitable[Any]]:
        """Return an operation as a function whose result is awaited."""
        if op not in OPERATIONS:
            raise AttributeError(op)

        return partial(self._await, op)

    async def _await(self, op: str, *args: Any, **kwargs: Any) -> Any:
        return await self._submit(op, *args, **kwargs)

    def __dir__(self) -> list[str]:
        """Return the operations."""
        return list(OPERATIONS)
