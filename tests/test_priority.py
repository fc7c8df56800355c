"""Of equal votes the inspector names that of the first priority, then the one declared first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stratnb.engine import Engine
from trading_cases import FREE, LONG, document, flat, market, registered, series


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@pytest.mark.parametrize(
    ("first", "second", "third", "named"),
    [
        ({}, {}, {}, "one"),
        ({"priority": 2}, {"priority": 1}, {"priority": 1}, "two"),
        ({"priority": 9}, {"priority": 7}, {"priority": 3}, "three"),
        ({"priority": 1, "max_confidence": 0.7}, {"priority": 9}, {"priority": 9}, "two"),
    ],
)
def test_equal_votes_are_told_apart_by_priority(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any], named: str
) -> None:
    names = zip(("one", "two", "three"), (first, second, third), strict=True)
    doc = document(analyzers=[{"kind": "scripted", "name": name, **fields} for name, fields in names])
    candles = series([*flat(2), *flat(1, volume=LONG), *flat(1)])
    with Engine("case", candles=candles, markets=[market()], limits=FREE) as engine:
        key = engine.add(doc)
        engine.activate(key)
        engine.step(3)
        decision = engine.board.decision(key)
        assert decision is not None
        (confidence,) = (step for step in decision.arithmetic if step.name == "Confidence")
        assert f"of {named}, the highest" in confidence.note
