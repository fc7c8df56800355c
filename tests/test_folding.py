"""What is written into the statements of a step changes no outcome: choices, short loops, constants."""

from __future__ import annotations

import ast
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from stratnb.blocks.base import find, kinds
from stratnb.kernels.folding import aged, folded, without

STEPS = {
    "choice": """
        if p[0] == 1.0:
            out[0] = x[0]
        elif p[0] == 2.0:
            out[0] = x[1]
        else:
            out[0] = -x[0]
    """,
    "loop": """
        total = 0.0
        for k in range(4):
            total += p[1 + k] * x[k]
        out[0] = total
    """,
    "loop_by_choice": """
        for k in range(int(p[0])):
            out[k] = x[k] + k
    """,
    "last_number": """
        for k in range(3):
            out[k] = x[k]
        out[3] = float(k)
    """,
    "nested": """
        for k in range(2):
            for m in range(2):
                out[2 * k + m] = x[k] * m
    """,
    "left_early": """
        for k in range(4):
            if x[k] > 1.0:
                out[0] = float(k)
                break
    """,
    "and_or": """
        a = p[0] == 1.0 and x[0] > 0.0
        b = p[0] == 1.0 or x[0] > 0.0
        c = x[0] > 0.0 and p[0] == 2.0
        out[0] = 1.0 if a else 0.0
        out[1] = 1.0 if b else 0.0
        out[2] = 1.0 if not c else 0.0
    """,
    "bound_again": """
        for k in range(3):
            k = k + 1
            out[k] = x[0]
    """,
}


def run(statements: list[ast.stmt], p: np.ndarray[Any, Any], x: np.ndarray[Any, Any]) -> list[float]:
    """Run statements on arrays and return the outputs."""
    out = np.full(6, np.nan)
    tree = ast.fix_missing_locations(ast.Module(body=statements, type_ignores=[]))
    exec(compile(tree, "<step>", "exec"), {"math": math, "out": out, "x": x, "p": p})
    return out.tolist()


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("choice", [0.0, 1.0, 2.0])
def test_folded_statements_do_the_same(name: str, choice: float) -> None:
    body = ast.parse(textwrap.dedent(STEPS[name])).body
    p, x = np.array([choice, 2.0, -1.0, 0.5, 3.0]), np.array([1.5, -2.0, 0.25, 4.0])
    made = folded(body, "p", {0: choice}, {})
    np.testing.assert_array_equal(run(made, p, x), run(body, p, x))


def test_a_choice_leaves_out_the_other_branches() -> None:
    body = ast.parse(textwrap.dedent(STEPS["choice"])).body
    assert [ast.unparse(node) for node in folded(body, "p", {0: 2.0}, {})] == ["out[0] = x[1]"]


@pytest.mark.parametrize("name", ["last_number", "left_early", "bound_again"])
def test_a_loop_whose_variable_matters_stays(name: str) -> None:
    made = folded(ast.parse(textwrap.dedent(STEPS[name])).body, "p", {}, {})
    assert any(isinstance(node, ast.For) for part in made for node in ast.walk(part))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a = c7 * side < 0.0 and held > 3.0", "a = False"),
        ("a = side * c7 > 0.0", "a = False"),
        ("a = c7 + side < 0.0", "a = 0.0 + side < 0.0"),
        ("a = c7 * side <= 0.0", "a = 0.0 * side <= 0.0"),
        ("c7 = side", "c7 = side"),
    ],
)
def test_a_product_with_nothing_is_neither_above_nor_below(line: str, kept: str) -> None:
    assert without({"c7": 0.0}, [line]) == [kept]


@pytest.mark.parametrize("line", ["out[0] = x[0] ** p[0]", "out[0] = math.pow(x[0], p[0])", "out[0] = p[0] ** 2"])
def test_a_step_with_a_power_stays(line: str) -> None:
    body = [*ast.parse(line).body, *ast.parse("out[1] = p[0]").body]
    assert [ast.unparse(node) for node in folded(body, "p", {0: -1.0}, {})] == [line, "out[1] = p[0]"]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("out[0] = lean(p[0]) + max(p[0], x[0])", "out[0] = lean(p[0]) + max(2.0, x[0])"),
        ("out[0] = x[int(p[0])]", "out[0] = x[2]"),
    ],
)
def test_a_choice_is_put_where_it_is_known_what_becomes_of_it(line: str, kept: str) -> None:
    assert [ast.unparse(node) for node in folded(ast.parse(line).body, "p", {0: 2.0}, {})] == [kept]


COUNTING = {
    "first": "out[0] = 1.0 if i == 0 else -1.0",
    "young": """
        if i < 3:
            out[0] = x[0]
        elif i <= 15 or x[0] > 9.0:
            out[0] = x[1]
        else:
            out[0] = x[2] + float(i)
    """,
    "beyond": "out[0] = 1.0 if i > 20 else 0.0\nout[1] = 1.0 if not i < 16 else 0.0\nout[2] = 1.0 if i >= 17 else 0.0",
    "both_sides": "out[0] = 1.0 if 17 <= i <= 18 or 3 > i else 0.0\nout[1] = 1.0 if i != 5.5 and i > -1 else 0.0",
    "remainder": "out[0] = 1.0 if i % 7 == 0 else 0.0\nout[1] = 1.0 if i - 14 < 3 else 0.0",
    "number_kept": """
        for k in range(int(p[1])):
            out[1] = float(k)
        for k in range(3):
            out[2 + k] = x[k] if i > 2 else 0.0
        out[0] = float(k)
    """,
    "power": "out[0] = x[0] ** 2 if i > 2 else x[1]",
}


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("i", [16, 17, 18, 20, 21, 28, 1_000])
def test_what_is_known_of_a_counter_changes_no_outcome(name: str, i: int) -> None:
    lines = textwrap.dedent(COUNTING[name]).strip().splitlines()
    p, x = np.array([0.0, 2.0]), np.array([1.5, -2.0, 0.25, 4.0])
    made = run(ast.parse("\n".join([f"i = {i}", *aged("i", 16, lines)])).body, p, x)
    np.testing.assert_array_equal(made, run(ast.parse("\n".join([f"i = {i}", *lines])).body, p, x))


def test_an_age_leaves_out_what_is_only_for_the_first_candles() -> None:
    lines = textwrap.dedent(COUNTING["young"]).strip().splitlines()
    assert aged("i", 16, lines) == ["if x[0] > 9.0:", "    out[0] = x[1]", "else:", "    out[0] = x[2] + float(i)"]
    assert aged("i7", 16, lines) == lines
    assert aged("i", 15, ["a = i == 15", "b = i < 15", "c = i < 14"]) == ["a = i == 15", "b = i < 15", "c = False"]


@pytest.mark.parametrize("name", ["last_number", "left_early", "bound_again", "nested", "loop"])
def test_lines_with_known_names_do_the_same(name: str) -> None:
    lines = textwrap.dedent(STEPS[name]).strip().splitlines()
    p, x = np.array([1.0, 2.0, -1.0, 0.5, 3.0]), np.array([1.5, -2.0, 0.25, 4.0])
    made = run(ast.parse("\n".join(without({"c7": 0.0}, lines))).body, p, x)
    np.testing.assert_array_equal(made, run(ast.parse("\n".join(lines)).body, p, x))


def test_a_power_keeps_its_loop_and_its_names() -> None:
    lines = ["for k in range(3):", "    out[0] += x[0] ** k + c7 * x[1]"]
    assert without({"c7": 0.0}, lines) == ["c7 = 0.0", *lines]
    assert aged("i", 16, ["a = x[0] ** 2 if i > 2 else 0.0"]) == ["a = x[0] ** 2 if i > 2 else 0.0"]


def choices_of(cls: Any) -> Mapping[int, object]:
    """Return the choices of a block with its defaults."""
    numbers = cls().p()
    return {j: numbers[j] for j in cls.choices()}


@pytest.mark.parametrize("role", ["indicator", "analyzer", "filter", "sizing", "exit"])
def test_choices_are_whole_numbers_of_the_parameters(role: Any) -> None:
    for kind in kinds(role):
        try:
            found = choices_of(find(role, kind))
        except ValueError:
            continue  # a block without defaults
        assert all(float(str(value)).is_integer() for value in found.values()), kind
