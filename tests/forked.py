"""Forked children that are always ended and reaped."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator


def fork(run: Callable[[], None]) -> int:
    """Fork a process that runs a function and ends; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def end(pid: int) -> None:
    """Kill and reap a child that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


@contextlib.contextmanager
def forked(run: Callable[[Callable[[str], object]], None]) -> Iterator[tuple[int, Callable[[], str]]]:
    """Fork a process that may tell lines; give its pid and a way to hear the next one ("" when it has ended)."""
    hear_end, tell_end = os.pipe()

    def _run() -> None:
        os.close(hear_end)
        run(lambda line: os.write(tell_end, f"{line}\n".encode()))

    pid = fork(_run)
    os.close(tell_end)
    with os.fdopen(hear_end, encoding="utf-8") as heard:
        try:
            yield pid, lambda: heard.readline().strip()
        finally:
            end(pid)


def until(is_true: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)
