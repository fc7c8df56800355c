"""Jobs: operations that were handed to the engine's loop from another thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Generator
from typing import Any

from stratnb.errors import Refused, RetryLater

__all__ = ["Job", "start_job"]


class Job:
    """A submitted operation; wait for it with `result()`, await it, or look at `done` and `error`."""

    def __init__(self, op: str, future: concurrent.futures.Future[Any]) -> None:
        self.op = op
        self._future = future

    def __repr__(self) -> str:
        """Return the operation and whether it is done."""
        return f"<Job {self.op} {'done' if self.done else 'running'}>"

    @property
    def done(self) -> bool:
        """Return whether the operation has ended."""
        return self._future.done()

    @property
    def error(self) -> BaseException | None:
        """Return what the operation raised, None while it runs or when it succeeded."""
        if not self.done:
            return None
        if self._future.cancelled():
            return Refused("canceled", f"{self.op} was canceled, or its engine was closed")
        return self._future.exception()

    def result(self, timeout_s: float | None = 30.0) -> Any:
        """Return the result or raise the operation's error; after the timeout raise `RetryLater`."""
        try:
            return self._future.result(timeout_s)
        except concurrent.futures.CancelledError:
            raise Refused("canceled", f"{self.op} was canceled, or its engine was closed") from None
        except TimeoutError:
            if self._future.done():
                raise
            raise RetryLater(
                "engine_busy",
                f"{self.op} takes longer than {timeout_s:g} s",
                hint="it goes on; use submit() and look again",
            ) from None

    def cancel(self) -> bool:
        """Ask the operation to stop; return whether it was still running."""
        return self._future.cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result on the caller's own loop."""
        return asyncio.wrap_future(self._future).__await__()


def start_job(op: str, work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Job:
    """Run a coroutine on a loop of another thread and return its job."""
    try:
        return Job(op, asyncio.run_coroutine_threadsafe(work, loop))
    except RuntimeError as error:  # the loop was closed by another thread just now
        work.close()
        raise Refused("engine_closed", f"{op} came while the engine was closing", hint="make a new one") from error
