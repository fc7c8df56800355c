"""Killed at any point and started again, an engine ends as its twin that was never stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crash_harness import Trial, cases, torment
from trading_cases import registered

KILLS, LEAST, SECONDS = 220, 60, 85.0


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_a_killed_engine_ends_as_its_twin_that_was_never_stopped(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    tally = torment(tmp_path, kills=KILLS, least=LEAST, seconds=SECONDS)
    for name in ("kills", "runs", "seconds"):
        record_property(name, getattr(tally, name))
    assert tally.faults == []
    assert tally.kills >= LEAST
    assert tally.runs >= len(cases())


def test_every_case_trades_and_what_a_person_does_shows(tmp_path: Path) -> None:
    for case in cases():
        trial = Trial(case, tmp_path, 1)
        assert trial.trades > 20
        assert all(trial.twin.fills.values())
        assert trial.acted == {act for _, act, _ in case.acts}
