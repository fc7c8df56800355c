"""Messages wait in bounded number, go out in bounded pace, the important ones first."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stratnb.services.outbox import MOST, Message, Outbox, QuietHours

LEVELS = st.sampled_from(["info", "warning", "critical"])


def drained(box: Outbox, *, quiet: bool = False) -> list[tuple[float, Message]]:
    """Take everything that may go out, each as soon as it may, with its time."""
    now_s, found = 0.0, []
    while (wait_s := box.wait_s(now_s, quiet=quiet)) < math.inf:
        now_s += wait_s
        found.append((now_s, box.take(quiet=quiet)))
        box.sent(now_s)
    return found


@given(st.lists(LEVELS, max_size=260))
def test_nothing_is_lost_unsaid_and_the_pace_is_kept(levels: list[Any]) -> None:
    box = Outbox()
    for number, level in enumerate(levels):
        box.add(Message(level, f"{number}"))
        assert len(box) <= MOST
    found = drained(box)
    times = [time_s for time_s, _ in found]
    assert all(later - before >= 1.0 for before, later in pairwise(times))
    assert all(later - before >= 60.0 for before, later in zip(times, times[20:], strict=False))
    told = [message for _, message in found if message.text.isdigit()]
    assert len(told) == min(len(levels), MOST)
    left_out = len(levels) - len(told)
    words = [message.text for _, message in found if "left out" in message.text]
    assert [text.split()[0] for text in words] == ([str(left_out)] if left_out else [])
    ranks = [message.level == "critical" for message in told]
    assert ranks == sorted(ranks, reverse=True)
    for level in ("info", "warning", "critical"):
        numbers = [int(message.text) for message in told if message.level == level]
        assert numbers == sorted(numbers)


def test_when_it_is_full_the_least_important_goes_first() -> None:
    box = Outbox()
    for number in range(MOST):
        box.add(Message("info" if number % 2 else "warning", f"{number}"))
    for number in range(MOST // 2 + 5):
        box.add(Message("critical", f"c{number}"))
    levels = [message.level for _, message in drained(box) if "left out" not in message.text]
    assert {level: levels.count(level) for level in levels} == {"critical": MOST // 2 + 5, "warning": MOST // 2 - 5}


def test_a_message_that_failed_is_first_again_after_the_time() -> None:
    box = Outbox()
    box.add(Message("info", "one"))
    box.add(Message("info", "two"))
    taken = box.take(quiet=False)
    box.failed(taken, 0.0, 30.0)
    assert box.wait_s(10.0, quiet=False) == 20.0
    assert box.take(quiet=False) == taken


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [("22:00", "07:00", (23, 6, 22), (7, 12, 21)), ("01:00", "05:00", (1, 4), (0, 5, 23))],
)
def test_quiet_hours_hold_back_what_is_only_news(start: str, end: str, inside: Any, outside: Any) -> None:
    hours = QuietHours(start=time.fromisoformat(start), end=time.fromisoformat(end))
    for hour in (*inside, *outside):
        assert hours.holds(datetime(2026, 3, 1, hour, tzinfo=UTC)) is (hour in inside)
    box = Outbox()
    for level in ("info", "warning", "info", "critical"):
        box.add(Message(level, level))  # type: ignore[arg-type]
    assert [message.level for _, message in drained(box, quiet=True)] == ["critical", "warning"]
    assert [message.level for _, message in drained(box)] == ["info", "info"]


def test_quiet_hours_are_those_of_their_zone() -> None:
    hours = QuietHours(start=time(22), end=time(7), zone="Asia/Tokyo")
    assert hours.holds(datetime(2026, 3, 1, 14, tzinfo=UTC))
    assert not hours.holds(datetime(2026, 3, 1, 23, tzinfo=UTC))
    with pytest.raises(ValidationError, match="time zone"):
        QuietHours(start=time(22), end=time(7), zone="Nowhere/At-all")
