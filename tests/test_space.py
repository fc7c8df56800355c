"""Axes, ranges and the numbering of trials."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratnb.research.space import Axis, Range, Space, axes_of, path_faults, place_of

WRONG: list[tuple[Any, str]] = [
    (Range(5, 3), "range_reversed"),
    (Range(5.0, 3.0, count=2), "range_reversed"),
    (Range(1, 5, step=0), "range_empty"),
    (Range(1, 5, step=-1), "range_empty"),
    (Range(1, 5, count=0), "range_empty"),
    (Range(1, 5, step=1, count=2), "range_ambiguous"),
    (Range(0.0, 5.0, count=3, log=True), "range_log"),
    (Range(1, 5, log=True), "range_log"),
    (Range(float("nan"), 5), "type"),
    (Range(True, 5), "type"),
    ([], "range_empty"),
    ([1, 1], "duplicate_value"),
    ("abc", "type"),
    (7, "type"),
    ({"a": 1}, "type"),
    ([float("inf")], "range"),
    ([object()], "type"),
]


@pytest.mark.parametrize(("values", "code"), WRONG)
def test_a_range_that_is_none_is_told(values: Any, code: str) -> None:
    _, findings = axes_of({"a.b": values})
    assert code in {finding.code for finding in findings} and {finding.path for finding in findings} == {"a.b"}


def test_all_faults_are_told_together() -> None:
    _, findings = axes_of({"a": Range(2, 1), "b": [], "c": [1, 2]})
    assert [finding.path for finding in findings] == ["a", "b"]
    assert axes_of({})[1] and axes_of([1])[1]  # type: ignore[arg-type]


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(1, 9))
def test_steps_reach_as_far_as_they_can(start: int, length: int, step: int) -> None:
    values = list(Range(start, start + length, step=step))
    assert values == list(range(start, start + length + 1, step))
    assert all(type(value) is int for value in values)


def test_values_are_written_as_people_do() -> None:
    assert list(Range(0.1, 0.7, step=0.1)) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert list(Range(1.0, 2.0, count=5)) == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert list(Range(0.001, 1.0, count=4, log=True)) == [0.001, 0.01, 0.1, 1.0]
    assert list(Range(np.int64(2), np.int64(4))) == [2, 3, 4]
    axes, _ = axes_of({"a": [np.float64(0.5), 1], "b": (True, False), "c": ["x"], "d": [None, {"k": 1}], "e": [3]})
    assert [axis.kind for axis in axes] == ["float", "bool", "text", "json", "int"]
    assert [axis.is_ordered for axis in axes] == [True, False, False, False, True]


def test_a_grid_counts_like_an_odometer_and_makes_nothing() -> None:
    space = Space((Axis("a", (1, 2)), Axis("b", Range(5, 7)), Axis("c", ("x", "y"))))
    assert [space.values(k) for k in range(space.count)] == list(product((1, 2), (5, 6, 7), ("x", "y")))
    huge = Space(tuple(Axis(f"p{k}", Range(1, 1_000_000)) for k in range(6)))
    assert huge.count == 10**36 and huge.values(10**36 - 1) == (1_000_000,) * 6
    assert place_of(huge.count - 1, huge.shape) == (999_999,) * 6


def test_random_trials_are_different_cells_and_depend_on_the_seed_only() -> None:
    axes = (Axis("a", Range(1, 1_000)), Axis("b", Range(1, 1_000)))
    one, again, other = (Space(axes, "random", 200, seed) for seed in (1, 1, 2))
    drawn = [one.values(k) for k in range(one.count)]
    assert drawn == [again.values(k) for k in range(200)] != [other.values(k) for k in range(200)]
    assert len(set(drawn)) == 200
    few = Space((Axis("a", (1, 2, 3)),), "random", 50, 0)
    assert few.count == 3 and {few.values(k) for k in range(3)} == {(1,), (2,), (3,)}


def test_between_the_ends_any_number_is_drawn_each_for_itself() -> None:
    space = Space((Axis("a", Range(0.01, 1.0, log=True)), Axis("b", ("x", "y"))), "random", 400, 5)
    drawn = [space.values(k) for k in range(400)]
    assert drawn[7] == space.values(7) and len({a for a, _ in drawn}) == 400
    assert all(0.01 <= a <= 1.0 for a, _ in drawn) and {b for _, b in drawn} == {"x", "y"}
    assert 120 < sum(a < 0.1 for a, _ in drawn) < 280


def test_unknown_paths_are_told_with_the_nearest() -> None:
    known = {"analyzers": [{"params": {"fast": 1}}], "exits": {"stop_loss": {"fraction": 0.1}}}
    found = path_faults(["exits.stop_los.fraction", "fast", "fasst", "exits.stop_loss", "zzzzzz"], known)
    assert [finding.path for finding in found] == ["exits.stop_los.fraction", "fast", "fasst", "zzzzzz"]
    assert "'exits.stop_loss.fraction'" in found[0].hint
    assert all("'analyzers[0].params.fast'" in finding.hint for finding in found[1:3])
    assert "to_document" in found[3].hint
