"""Whether a process that left its name somewhere still exists, answered with yes only when that is proven.

The name is boot, process-id namespace and start time (/proc/<pid>/stat, field 22), since a number is given again and
means another process in another container.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["is_gone", "process_start"]

PROC = Path("/proc")
BOOT = PROC / "sys/kernel/random/boot_id"


class _Stat(NamedTuple):
    state: str
    threads: int
    start: str


def process_start(pid: int | None = None) -> str | None:
    """Return when and where a process (default: this one) started, None where the system does not tell."""
    place, stat = _place(), _stat(os.getpid() if pid is None else pid)
    return None if place is None or stat is None else f"{place}/{stat.start}"


def is_gone(pid: int, start: str | None) -> bool:
    """Tell whether it is certain that a process of this host ended; `start` is what `process_start` said in it."""
    place, _, ticks = (start or "").rpartition("/")
    if pid <= 0 or (_place() or "") != place:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    stat = _stat(pid)
    if stat is None or not ticks:
        return False
    # A zombie runs no more, unless it is only the first of several threads.
    return stat.start != ticks or (stat.state in "ZX" and stat.threads <= 1)


def _place() -> str | None:
    """Return this boot and this namespace of process ids."""
    try:
        return f"{BOOT.read_text('ascii').strip()}/{(PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def _stat(pid: int) -> _Stat | None:
    try:
        # The command in brackets may hold anything, even brackets.
        fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return _Stat(fields[0], int(fields[17]), fields[19])
    except (OSError, IndexError, ValueError):
        return None
