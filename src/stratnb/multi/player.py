"""Plays the feed into the router: at the feed's speed, in steps, paused; and watches the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from stratnb.errors import Refused
from stratnb.exchange.replay import ReplayFeed
from stratnb.multi.router import Router

__all__ = ["Player"]

SLICE_S = 0.005
BEAT_S = 0.05
LONGEST_WAIT_S = 0.25
WAIT_S = 0.01


async def _nothing() -> None:
    """Do nothing."""


class Player:
    """Drives one feed on the engine's loop; gives way to other work every few milliseconds.

    While `changed()` holds no instant is taken; `renew()` is awaited first; `after()` is called after each. `beside`
    are further tasks that run as long; one that fails stops the feed.
    """

    def __init__(
        self,
        feed: ReplayFeed,
        router: Router,
        *,
        on_error: Callable[[BaseException], None],
        beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        after: Callable[[], None] = lambda: None,
        changed: Callable[[], bool] = lambda: False,
        renew: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._feed = feed
        self._router = router
        self._beside = beside
        self._on_error = on_error
        self._after = after
        self._changed = changed
        self._renew = renew
        self._closed = False
        self._wake = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._lags_ms: deque[float] = deque(maxlen=400)
        self._tasks: list[asyncio.Task[None]] = []
        self._due = 0.0
        self.running = False
        self.longest_gap_s = 0.0
        self.advanced_at: float | None = None

    def open(self) -> None:
        """Start the tasks; the feed stays paused."""
        for work in (self._play, self._beat, *self._beside):
            task = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def close(self) -> None:
        """Stop the tasks; a step in progress is refused after its present slice."""
        self.running, self._closed = False, True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def resume(self) -> None:
        """Play from here on."""
        self.running = True
        self._due = time.monotonic()
        self._wake.set()

    def pause(self) -> None:
        """Stop after the present instant."""
        self.running = False
        self._wake.clear()

    def hold(self) -> asyncio.Lock:
        """Return the lock that keeps instants from coming, for `async with`."""
        return self._stepping

    async def step(self, count: int) -> int:
        """Process up to `count` instants as fast as possible; return how many there were."""
        done = 0
        while done < count:
            made = await self._turn(count - done)
            done += made
            if not made:
                break
            await asyncio.sleep(0)
        return done

    async def _turn(self, most: int) -> int:
        """Process instants for some milliseconds once nothing holds them back; return how many."""
        made, again = 0, True
        async with self._stepping:
            while again:
                if self._closed:
                    raise Refused("feed_closed", "the feed was closed or started anew meanwhile", hint="step again")
                if self._changed():
                    await self._renew()
                made = await self._slice(most)
                again = not made and self._changed()
        return made

    @property
    def lag_p95_ms(self) -> float:
        """Return the 95th percentile of the loop's delay over the newest beats."""
        return float(np.percentile(list(self._lags_ms), 95)) if self._lags_ms else 0.0

    async def _slice(self, most: int) -> int:
        """Process instants for some milliseconds, at most `most`; return how many.

        While the outcome of an order is not known the instant waits for it.
        """
        until, done = time.monotonic() + SLICE_S, 0
        while done < most and not self._changed():
            instant = self._feed.next()
            if instant is None:
                break
            for _ in self._router.take(instant):
                await asyncio.sleep(WAIT_S)
            self._after()
            done += 1
            if time.monotonic() > until:
                break
        if done:
            self.advanced_at = time.monotonic()
        return done

    async def _play(self) -> None:
        while True:
            await self._wake.wait()
            if self._feed.done:
                self.pause()
                continue
            wait_s = self._feed.pause_s()
            if wait_s == 0.0:
                await self._turn(1_000_000)
                await asyncio.sleep(0)
                continue
            behind = time.monotonic() - self._due
            if behind < 0.0:
                await asyncio.sleep(min(-behind, LONGEST_WAIT_S))
                continue
            made = await self._turn(max(1, int(behind / wait_s)))
            self._due = max(self._due + made * wait_s, time.monotonic() - 1.0)

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            gap = now - last
            self.longest_gap_s = max(self.longest_gap_s, gap)
            self._lags_ms.append(max(0.0, gap - BEAT_S) * 1000.0)
            last = now

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.running = False
            self._on_error(error)
