"""The two clocks of the lease and of commands: one that other machines know, one that nobody can set."""

from __future__ import annotations

import time

__all__ = ["boot_s", "wall_ms"]

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def boot_s() -> float:
    """Return seconds since the machine started; they run on while it sleeps, where the system has such a clock."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


def wall_ms() -> int:
    """Return UTC milliseconds."""
    return time.time_ns() // 1_000_000
