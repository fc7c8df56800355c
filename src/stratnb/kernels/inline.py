"""A block's `step` as source with its arrays turned into locals, to be written into a generated loop.

The one definition stays the step: its statements are taken from its syntax tree in their order. Cells with a constant
index become local variables, so that the compiler keeps them in registers; an array that is indexed by a variable, or
handed to a helper, stays an array.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stratnb.kernels.folding import folded, whole

__all__ = ["ARRAYS", "Inlined", "Uninlinable", "inline"]

ARRAYS = ("state", "x", "out", "p")
JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
REFUSED = (
    *(ast.Return, ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Try, ast.With, ast.Yield, ast.Await, ast.NamedExpr),
)


class Uninlinable(Exception):
    """A step cannot be written into a loop; the strategy then runs by the shared driver."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """The statements of a step.

    `cells` holds, by array, the constant indices in use; None for an array that stays one. `names` are the objects
    from outside that the statements refer to, by the alias they have there.
    """

    lines: tuple[str, ...]
    cells: Mapping[str, frozenset[int] | None]
    names: Mapping[str, Any]
    reads_number: bool


def inline(
    step: Callable[..., None],
    tag: int,
    cell: Callable[[str, int], str],
    alias: Callable[[Any], str],
    chosen: Mapping[int, float] | None = None,
) -> Inlined:
    """Return a step's statements with its locals tagged; `cell(array, index)` names a cell, `alias` an outside object.

    Parameters that are `chosen` stand in the text as numbers. Raises `Uninlinable` for a step without source, with a
    return, a closure or a nested function.
    """
    function, arguments = _definition(step)
    refused = next((node for node in ast.walk(function) if isinstance(node, REFUSED) and node is not function), None)
    if refused is not None or step.__code__.co_freevars:
        raise Uninlinable(f"{step.__qualname__} has a {type(refused).__name__ if refused else 'closure'}")
    statements = [node for node in function.body if not _is_text(node)]
    own = {
        node.id
        for part in statements
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del))
    }
    if own & set(arguments):
        raise Uninlinable(f"{step.__qualname__} binds its argument {min(own & set(arguments))} anew")
    known = {name: value for name, value in step.__globals__.items() if name not in own and name not in arguments}
    statements = folded(statements, arguments[-1], chosen or {}, known)
    cells = {name: _cells(statements, arg, known) for name, arg in zip(ARRAYS, arguments[1:], strict=True)}
    rewriter = _Rewriter(step, tag, arguments, cells, cell, alias, known)
    rewriter.own = own
    lines: list[str] = []
    for statement in statements:
        written = ast.fix_missing_locations(rewriter.visit(statement))
        lines += ast.unparse(written).splitlines()
    return Inlined(tuple(lines or ["pass"]), cells, rewriter.names, rewriter.reads_number)


def _definition(step: Callable[..., None]) -> tuple[ast.FunctionDef, list[str]]:
    """Return the syntax tree of a step and the names of its five arguments."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(step)))
    except (OSError, TypeError, SyntaxError) as error:
        raise Uninlinable(f"{step.__qualname__} has no source: {error}") from error
    found = next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)), None)
    if found is None or len(found.args.args) != 1 + len(ARRAYS):
        raise Uninlinable(f"{step.__qualname__} is no plain function of five arguments")
    if not _is_loaded(tree, step):
        raise Uninlinable(f"the source of {step.__qualname__} is not what was loaded; load its module again")
    return found, [argument.arg for argument in found.args.args]


def _is_loaded(tree: ast.Module, step: Callable[..., None]) -> bool:
    """Tell whether a source compiles to the code of a step: its file may have been edited since."""
    waiting: list[Any] = [compile(tree, "<step>", "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        if code.co_name == step.__code__.co_name:
            return _words(code) == _words(step.__code__)
        waiting += [each for each in code.co_consts if inspect.iscode(each)]
    return False


def _words(code: Any) -> list[tuple[str, object]]:
    """Return what a function's instructions do, without how the compiler calls an attribute of a module."""
    return [
        (each.opname.replace("LOAD_METHOD", "LOAD_ATTR"), None if each.opcode in JUMPS else each.argval)
        for each in dis.get_instructions(code)
        if each.opname not in ("PUSH_NULL", "PRECALL", "EXTENDED_ARG", "COPY_FREE_VARS", "CACHE")
    ]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _cells(statements: Sequence[ast.stmt], argument: str, known: Mapping[str, Any]) -> frozenset[int] | None:
    """Return the constant indices of an array, None when it must stay an array."""
    found, used = set(), 0
    for node in (node for part in statements for node in ast.walk(part)):
        if isinstance(node, ast.Name) and node.id == argument:
            used += 1
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == argument:
            index = whole(node.slice, known)
            if index is None or index < 0:
                return None
            found.add(index)
            used -= 1
    return None if used else frozenset(found)


class _Rewriter(ast.NodeTransformer):
    """Turns cells into locals, tags the locals of a step and gives outside names an alias."""

    def __init__(
        self,
        step: Callable[..., None],
        tag: int,
        arguments: Sequence[str],
        cells: Mapping[str, frozenset[int] | None],
        cell: Callable[[str, int], str],
        alias: Callable[[Any], str],
        known: Mapping[str, Any],
    ) -> None:
        self.step, self.tag, self.known = step, tag, known
        self.number, self.arrays = arguments[0], dict(zip(arguments[1:], ARRAYS, strict=True))
        self.cells, self.cell, self.alias = cells, cell, alias
        self.own: set[str] = set()
        self.names: dict[str, Any] = {}
        self.reads_number = False

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Turn a cell with a constant index into its local."""
        array = self.arrays.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if array is not None and self.cells[array] is not None:
            index = whole(node.slice, self.known)
            assert index is not None, "the array has constant indices alone"
            if array in ("x", "p") and not isinstance(node.ctx, ast.Load):
                raise Uninlinable(f"{self.step.__qualname__} writes its {array}")
            return ast.copy_location(ast.Name(id=self.cell(array, index), ctx=node.ctx), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Tag a local, keep a builtin, alias anything else."""
        name = node.id
        if name == self.number:
            self.reads_number, name = True, f"i{self.tag}"
        elif name in self.arrays:
            name = f"{self.arrays[name]}{self.tag}"
        elif name in self.own:
            name = f"own_{name}_{self.tag}"
        elif name in self.step.__globals__:
            value = self.step.__globals__[name]
            name = self.alias(value)
            self.names[name] = value
        elif not hasattr(builtins, name):
            raise Uninlinable(f"{self.step.__qualname__} reads {name}, which is not known")
        return ast.copy_location(ast.Name(id=name, ctx=node.ctx), node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Keep cells numbers: what is stored in an array becomes a float there, and so it does here."""
        is_cell = [self._is_cell(target) for target in node.targets]
        spread = [target for target in node.targets if isinstance(target, ast.Tuple)]
        if spread and not isinstance(node.value, ast.Tuple) and any(map(self._is_cell, spread[0].elts)):
            raise Uninlinable(f"{self.step.__qualname__} stores what a call returns in several cells at once")
        pairs = isinstance(node.value, ast.Tuple) and all(isinstance(target, ast.Tuple) for target in node.targets)
        if pairs and isinstance(node.value, ast.Tuple):
            flags = [self._is_cell(part) for part in node.targets[0].elts]  # type: ignore[attr-defined]
            node.value.elts = [_float(v) if flag else v for v, flag in zip(node.value.elts, flags, strict=True)]
        elif any(is_cell):
            node.value = _float(node.value)
        return self.generic_visit(node)

    def _is_cell(self, node: ast.expr) -> bool:
        """Tell whether a target is a cell that becomes a local."""
        if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)):
            return False
        return self.cells.get(self.arrays.get(node.value.id, "")) is not None


def _float(node: ast.expr) -> ast.expr:
    """Return an expression as a float; true is 1."""
    return ast.BinOp(left=ast.Constant(value=1.0), op=ast.Mult(), right=node)
