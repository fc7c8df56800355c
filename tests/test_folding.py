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
from stratnb.kernels.folding import folded, without

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
