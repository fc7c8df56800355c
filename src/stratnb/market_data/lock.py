"""A writer's lock: a file that holds the number of its process, taken over when that process is dead."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stratnb.errors import RetryLater

__all__ = ["file_lock"]

POLL_S = 0.02
EMPTY_S = 10.0


@contextmanager
def file_lock(path: Path, *, wait_s: float = 5.0) -> Iterator[None]:
    """Hold the lock file while the block runs; raises `RetryLater` when a living process keeps it for `wait_s`."""
    give_up = time.monotonic() + wait_s
    while not _taken(path):
        owner = _owner(path)
        if owner is not None and _is_dead(owner, path):
            _remove_stale(path, owner)
        elif time.monotonic() >= give_up:
            hint = "wait until it has finished writing"
            raise RetryLater("archive_locked", f"{path} is held by process {owner}", value=owner, hint=hint)
        else:
            time.sleep(POLL_S)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _taken(path: Path) -> bool:
    """Create the lock file with our process number, unless it exists."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(str(os.getpid()))
    return True


def _owner(path: Path) -> int | None:
    """Return the process number in the lock, 0 when it holds none, None when the lock is gone."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else 0


def _is_dead(owner: int, path: Path) -> bool:
    if owner == 0:
        with suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime > EMPTY_S
        return False
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _remove_stale(path: Path, owner: int) -> None:
    """Remove the lock of a dead process; of several that try, the rename lets only one go on."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    with suppress(FileNotFoundError):
        path.replace(aside)
        if _owner(aside) != owner:
            # Another writer took over in between: its lock goes back.
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()
