"""A thread for the steps of blocks in plain Python: one call at a time, and one that takes too long is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from queue import SimpleQueue
from typing import Any, TypeVar

from stratnb.errors import RetryLater

__all__ = ["Worker"]

T = TypeVar("T")
TURN_S = 0.005


class Worker:
    """Runs calls in a daemon thread of its own, which is made on first use.

    A call that takes longer than `limit_s` is `RetryLater` (`step_timeout`) for who waits; nobody takes its result,
    and the worker is busy until it ends.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Future[Any] | None = None

    def __repr__(self) -> str:
        """Return the name and whether a call runs."""
        return f"<Worker {self._name}{', busy' if self.is_busy else ''}>"

    @property
    def is_busy(self) -> bool:
        """Return whether a call still runs."""
        return self._last is not None and not self._last.done()

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Start a call; while another runs it is `RetryLater` (`step_running`)."""
        if self.is_busy:
            raise RetryLater("step_running", f"{self._name} still computes an earlier candle", after_s=self._limit_s)
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._queue,), name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._last = future
        self._queue.put((future, call))
        return future

    def result(self, future: Future[T], limit_s: float | None = None) -> T:
        """Return what a call returns, or raise what it raises; waits in this thread."""
        limit = self._limit_s if limit_s is None else limit_s
        try:
            return future.result(limit)
        except LateError:
            if future.done():
                raise
            raise self._late(limit) from None

    def awaited(self, future: Future[T]) -> Iterator[None]:
        """Yield until a call has ended."""
        until = time.monotonic() + self._limit_s
        while not _ends(future):
            if time.monotonic() > until:
                raise self._late(self._limit_s)
            yield

    def close(self) -> None:
        """Let the thread end after the present call."""
        if self._thread is not None:
            self._queue.put(None)

    def _late(self, limit_s: float) -> RetryLater:
        return RetryLater(
            "step_timeout",
            f"a step in plain Python of {self._name} took more than {limit_s:g} s",
            hint="make it faster, compile it with @kernel, or raise step_timeout_s",
        )


def _ends(future: Future[Any]) -> bool:
    """Wait a few milliseconds for a call; return whether it has ended."""
    try:
        future.exception(TURN_S)
    except LateError:
        return future.done()
    return True


def _serve(queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    """Run what comes until None comes."""
    while (task := queue.get()) is not None:
        future, call = task
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
