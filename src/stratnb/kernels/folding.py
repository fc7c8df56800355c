"""Statements of a step with what is known beforehand written into them: choices, short loops, tests on constants.

Only what cannot change a bit is done: whole numbers are calculated, numbers are compared, branches that are never taken
are left out. Everything else is left to the compiler.
"""

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["LONGEST", "aged", "folded", "whole", "without"]

LONGEST = 128  # how many statements a loop may become that is written out
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
KEEPING = frozenset({"abs", "bool", "float", "int", "max", "min", "range"})  # they do the same with a constant
POWERS = frozenset({"float_power", "pow", "power"})
WHOLE: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def whole(node: ast.expr, known: Mapping[str, Any]) -> int | None:
    """Return the whole number that an expression always is, None when it varies."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and type(known.get(node.id)) is int:
        return int(known[node.id])
    if isinstance(node, ast.BinOp) and type(node.op) in WHOLE:
        left, right = whole(node.left, known), whole(node.right, known)
        if left is not None and right is not None:
            return WHOLE[type(node.op)](left, right)
    return None


def folded(
    statements: Sequence[ast.stmt], parameter: str, chosen: Mapping[int, float], known: Mapping[str, Any]
) -> list[ast.stmt]:
    """Return statements in which `parameter[j]` is `chosen[j]`, and short loops over constants are written out.

    `known` are the objects that names stand for. With a power in them they stay as they are: the compiler comes to one
    of a constant in another way, and to other bits.
    """
    copies = [copy.deepcopy(node) for node in statements]
    if _has_power(statements):
        return copies
    folder = _Folder(parameter, chosen, known, _loose(statements))
    return _flat([folder.visit(node) for node in copies])


def without(values: Mapping[str, float], lines: Sequence[str]) -> list[str]:
    """Return lines in which names are known numbers; what tests them is left out where that is decided.

    With a power in them the names are given their numbers, and the lines stay as they are.
    """
    statements = ast.parse("\n".join(lines)).body
    if _has_power(statements):
        return [*(f"{name} = {value!r}" for name, value in values.items()), *lines]
    folder, put = _Folder("", {}, {}, _loose(statements)), _Put(values)
    return _written(folder.visit(put.visit(node)) for node in statements)


def aged(counter: str, age: int, lines: Sequence[str]) -> list[str]:
    """Return lines in which a counter is known to have reached an age: comparisons with less are decided."""
    statements = ast.parse("\n".join(lines)).body
    if _has_power(statements):
        return list(lines)
    folder, decided = _Folder("", {}, {}, _loose(statements)), _Decided(counter, age)
    return _written(folder.visit(decided.visit(node)) for node in statements)


def _written(parts: Iterable[ast.stmt | list[ast.stmt]]) -> list[str]:
    """Return statements as lines."""
    return [line for node in _flat(parts) for line in ast.unparse(ast.fix_missing_locations(node)).splitlines()]


def _has_power(statements: Sequence[ast.stmt]) -> bool:
    """Tell whether there is a power."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return any(isinstance(node, ast.Pow) or getattr(node, "attr", getattr(node, "id", "")) in POWERS for node in nodes)


def _loose(statements: Sequence[ast.stmt]) -> set[str]:
    """Return the names that are read outside the loops that bind them."""
    found: set[str] = set()

    def _walk(node: ast.AST, bound: frozenset[str]) -> None:
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            bound |= {node.target.id}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in bound:
            found.add(node.id)
        for child in ast.iter_child_nodes(node):
            _walk(child, bound)

    for statement in statements:
        _walk(statement, frozenset())
    return found


def _flat(parts: Iterable[ast.stmt | list[ast.stmt]]) -> list[ast.stmt]:
    return [node for part in parts for node in (part if isinstance(part, list) else [part])]


class _Folder(ast.NodeTransformer):
    """Writes constants into statements from the inside out."""

    def __init__(
        self, parameter: str, chosen: Mapping[int, float], known: Mapping[str, Any], loose: Collection[str]
    ) -> None:
        self.parameter, self.chosen, self.known, self.loose = parameter, chosen, known, loose

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Put a choice in place of its cell."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.Subscript)
        if isinstance(made.value, ast.Name) and made.value.id == self.parameter and isinstance(made.ctx, ast.Load):
            index = whole(made.slice, self.known)
            if index is not None and index in self.chosen:
                return ast.copy_location(ast.Constant(value=self.chosen[index]), node)
        return made

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Take the whole part of a constant; what another function does with one is not known."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        chosen, self.chosen = self.chosen, self.chosen if name in KEEPING else {}
        made = self.generic_visit(node)
        self.chosen = chosen
        assert isinstance(made, ast.Call)
        if name == "int" and "int" not in self.known and len(made.args) == 1 and not made.keywords:
            value = _constant(made.args[0])
            if value is not None:
                return ast.copy_location(ast.Constant(value=int(value)), node)
        return made

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Compare two constants."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.Compare)
        if len(made.ops) == 1 and type(made.ops[0]) in COMPARED:
            left, right = _constant(made.left), _constant(made.comparators[0])
            if left is not None and right is not None:
                value = COMPARED[type(made.ops[0])](left, right)
                return ast.copy_location(ast.Constant(value=value), node)
            if right == 0.0 and isinstance(made.ops[0], (ast.Lt, ast.Gt)) and _is_nothing(made.left):
                return ast.copy_location(ast.Constant(value=False), node)
        return made

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Turn a constant around."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.UnaryOp)
        known = _truth(made.operand)
        if isinstance(made.op, ast.Not) and known is not None:
            return ast.copy_location(ast.Constant(value=not known), node)
        return made

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Leave out what decides nothing before the last part, and what comes after a decision."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.BoolOp)
        ends, kept = isinstance(made.op, ast.Or), []
        for value in made.values:
            known = _truth(value)
            if known is None or known is ends or value is made.values[-1]:
                kept.append(value)
            if known is ends:
                break
        made.values = kept
        return kept[0] if len(kept) == 1 else made

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Take the branch that is always taken."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.IfExp)
        known = _truth(made.test)
        return made if known is None else made.body if known else made.orelse

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Take the branch that is always taken."""
        made = self.generic_visit(node)
        assert isinstance(made, ast.If)
        known = _truth(made.test)
        return made if known is None else (made.body if known else made.orelse) or [ast.Pass()]

    def visit_For(self, node: ast.For) -> ast.AST | list[ast.stmt]:
        """Write a short loop out, one copy of its body for each number."""
        numbers = self._numbers(node)
        if numbers is None:
            return self.generic_visit(node)
        name = node.target.id if isinstance(node.target, ast.Name) else ""
        copies = [_Put({name: number}).visit(copy.deepcopy(each)) for number in numbers for each in node.body]
        return _flat([self.visit(each) for each in copies]) or [ast.Pass()]

    def _numbers(self, node: ast.For) -> range | None:
        """Return the numbers of a loop that may be written out."""
        call = node.iter
        ranged = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"
        if not ranged or node.orelse or not isinstance(node.target, ast.Name) or "range" in self.known:
            return None
        assert isinstance(call, ast.Call)
        ends = [whole(self.visit(argument), self.known) for argument in call.args]
        if None in ends or call.keywords:
            return None
        numbers = range(*[end for end in ends if end is not None])
        inside = [each for part in node.body for each in ast.walk(part)]
        jumps = any(isinstance(each, (ast.Break, ast.Continue)) for each in inside)
        binds = any(
            isinstance(each, ast.Name) and each.id == node.target.id and not isinstance(each.ctx, ast.Load)
            for each in inside
        )
        size = len(numbers) * sum(isinstance(each, ast.stmt) for each in inside)
        if jumps or binds or size > LONGEST or node.target.id in self.loose:
            return None
        return numbers


class _Put(ast.NodeTransformer):
    """Puts numbers in place of names."""

    def __init__(self, values: Mapping[str, float | int]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Put the number."""
        if node.id not in self.values or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.Constant(value=self.values[node.id]), node)


class _Decided(ast.NodeTransformer):
    """Decides comparisons of a counter that has reached an age."""

    def __init__(self, counter: str, age: int) -> None:
        self.counter, self.age = counter, age

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Compare with the age, where that decides."""
        least = _constant(node.comparators[0])
        own = isinstance(node.left, ast.Name) and node.left.id == self.counter and len(node.ops) == 1
        if not own or least is None or least >= self.age or type(node.ops[0]) not in COMPARED:
            return self.generic_visit(node)
        return ast.copy_location(ast.Constant(value=COMPARED[type(node.ops[0])](self.age, least)), node)


def _is_nothing(node: ast.expr) -> bool:
    """Tell whether a product has a factor 0: it is 0 or NaN, and so neither above 0 nor below."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
        return False
    return any(_constant(side) == 0.0 or _is_nothing(side) for side in (node.left, node.right))


def _constant(node: ast.expr) -> float | int | None:
    """Return a number that stands in the text."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    return None


def _truth(node: ast.expr) -> bool | None:
    """Return whether a constant is true, None for what varies."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, bool) else None
