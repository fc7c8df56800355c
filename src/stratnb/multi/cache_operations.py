"""The operations on the cache of orchestrators."""

from __future__ import annotations

from typing import Any

from stratnb.multi.desk import Desk

__all__ = ["CACHE_OPERATIONS", "CacheOperations"]

CACHE_OPERATIONS = ("cache_stats", "resize_cache", "evict", "pin", "unpin", "clear_cache")


class CacheOperations:
    """The part of the operations that looks at the cache, sizes it and lets entries go or stay."""

    desk: Desk

    async def cache_stats(self) -> dict[str, Any]:
        """Return the cache's statistics."""
        return self.desk.cache.stats()

    async def resize_cache(self, capacity: int) -> None:
        """Set the cache's capacity."""
        await self.desk.cache.resize(capacity)

    async def evict(self, strategy_id: str) -> bool:
        """Evict one cache entry."""
        self.desk.registry.get(strategy_id)
        return await self.desk.cache.evict(strategy_id)

    async def pin(self, strategy_id: str) -> None:
        """Protect a cache entry."""
        self.desk.registry.update(strategy_id, pinned=True)
        self.desk.cache.pin(strategy_id)

    async def unpin(self, strategy_id: str) -> None:
        """Take the protection away."""
        self.desk.registry.update(strategy_id, pinned=False)
        self.desk.cache.unpin(strategy_id)
        await self.desk.cache.trim()

    async def clear_cache(self) -> None:
        """Evict what is not pinned."""
        await self.desk.cache.clear()
