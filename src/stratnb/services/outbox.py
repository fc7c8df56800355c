"""Messages on their way to one chat: bounded, paced, and quiet when people sleep."""

from __future__ import annotations

import math
from collections import Counter, deque
from datetime import datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, field_validator

from stratnb.services.notify import Level

__all__ = ["Message", "Outbox", "QuietHours"]

MOST, GAP_S = 200, 1.0
PER_MINUTE, MINUTE_S = 20, 60.0
RANKS: dict[Level, int] = {"info": 0, "warning": 1, "critical": 2}


class Message(NamedTuple):
    """What is said, and how much it matters."""

    level: Level
    text: str


class QuietHours(BaseModel):
    """A time of each day when messages of level `info` are held back; it may go over midnight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: time
    end: time
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{zone!r} is no time zone; use a name such as Europe/Paris") from error
        return zone

    def holds(self, now: datetime) -> bool:
        """Return whether a moment is within them."""
        clock = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


class Outbox:
    """At most 200 messages wait, one a second and 20 a minute go out; critical ones first, else the oldest.

    When it is full the oldest of the lowest level are counted instead of kept; the count is told with the next ones.
    `take` hands a message out; `sent` or `failed` says what became of it before the next is taken.
    """

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._left_out: Counter[Level] = Counter()
        self._times: deque[float] = deque(maxlen=PER_MINUTE)
        self._not_before_s = -math.inf

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._waiting)

    def add(self, message: Message) -> None:
        """Let a message wait, or count the least important one when there is no room."""
        self._waiting.append(message)
        self._make_room()

    def wait_s(self, now_s: float, *, quiet: bool) -> float:
        """Return in how many seconds a message may go out, inf when none may."""
        if self._next(quiet) is None:
            return math.inf
        at_s = self._not_before_s
        if self._times:
            at_s = max(at_s, self._times[-1] + GAP_S)
        if len(self._times) == PER_MINUTE:
            at_s = max(at_s, self._times[0] + MINUTE_S)
        return max(0.0, at_s - now_s)

    def take(self, *, quiet: bool) -> Message:
        """Hand out what comes next; `wait_s` is 0 then."""
        found = self._next(quiet)
        assert found is not None, "there is something to take when wait_s is finite"
        if self._left_out and found.level != "critical":
            counts = ", ".join(f"{count} {level}" for level, count in self._left_out.items())
            found = Message("warning", f"{self._left_out.total()} messages were too many and left out: {counts}")
            self._left_out.clear()
        else:
            self._waiting.remove(found)
        return found

    def sent(self, now_s: float) -> None:
        """Note that a message went out, or never will."""
        self._times.append(now_s)

    def failed(self, message: Message, now_s: float, retry_s: float) -> None:
        """Put a message back in front, and try nothing for a while."""
        self._waiting.appendleft(message)
        self._make_room()
        self._not_before_s = now_s + retry_s

    def _make_room(self) -> None:
        """Count the oldest of the lowest level instead of keeping it, where more wait than may."""
        if len(self._waiting) > MOST:
            least = min(self._waiting, key=lambda each: RANKS[each.level])
            self._waiting.remove(least)
            self._left_out[least.level] += 1

    def _next(self, quiet: bool) -> Message | None:
        loud = [each for each in self._waiting if not (quiet and each.level == "info")]
        return next((each for each in loud if each.level == "critical"), loud[0] if loud else None)
