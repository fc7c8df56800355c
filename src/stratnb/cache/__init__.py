"""The cache of orchestrators: least recently used, pinned, created once, counted exactly."""

from __future__ import annotations

from stratnb.cache.entry import MAX_CAPACITY, Cacheable, Publish, Reason
from stratnb.cache.lru import Cache

__all__ = ["MAX_CAPACITY", "Cache", "Cacheable", "Publish", "Reason"]
