"""The machine's time, for what cannot wait for candles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that never go back, and a way to wait."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
