"""Hold the code to its sizes: small modules and functions, all typed, every public name documented.

    python scripts/size_gate.py [ROOT]

A line of code is a line that is not blank, not a comment and not part of a docstring. Prints one JSON object with the
figures, then every fault; leaves with 1 when there is one.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Part", "faults", "figures", "main", "measure"]

FUNCTION_LIMIT, MODULE_LIMIT, ASSET_LIMIT = 50, 400, 400
AIMS = {"module_median": 120, "module_p95": 250, "function_p95": 25}
ASSETS = (".css", ".js")
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Part:
    """A module, class, function or asset: its size in lines of code and what it lacks."""

    kind: str
    place: str
    size: int
    public: bool = True
    documented: bool = True
    untyped: tuple[str, ...] = ()
    slots: int = 0


def measure(root: Path) -> list[Part]:
    """Return every part below a folder, in the order of the files."""
    parts: list[Part] = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".py":
            parts += _module(path)
        elif path.suffix in ASSETS:
            lines = path.read_text(encoding="utf-8").splitlines()
            parts.append(Part("asset", str(path), sum(1 for line in lines if line.strip())))
    return parts


def _module(path: Path) -> Iterator[Part]:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    code = _code_lines(source, tree)
    if code:
        yield Part("module", str(path), len(code), documented=bool(ast.get_docstring(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield _definition(node, path, code)


def _definition(node: ast.ClassDef | FunctionNode, path: Path, code: set[int]) -> Part:
    size = sum(1 for line in range(node.lineno, (node.end_lineno or node.lineno) + 1) if line in code)
    place, public = f"{path}:{node.lineno} {node.name}", not node.name.startswith("_")
    documented = bool(ast.get_docstring(node)) or _is_repeated(node)
    if isinstance(node, ast.ClassDef):
        return Part("class", place, size, public, documented)
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    named = [argument for argument in named if argument.arg not in ("self", "cls")]
    untyped = [argument.arg for argument in named if argument.annotation is None]
    untyped += ["return"] if node.returns is None else []
    return Part("function", place, size, public, documented, tuple(untyped), len(named) + 1)


def _is_repeated(node: ast.ClassDef | FunctionNode) -> bool:
    """Tell whether a definition only adds to a documented one (an overload or a setter)."""
    names = [ast.unparse(decorator).rsplit(".", 1)[-1] for decorator in node.decorator_list]
    return any(name in ("overload", "setter", "deleter") for name in names)


def _code_lines(source: str, tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def _rank(values: Sequence[int], fraction: float) -> int:
    """Return the nearest-rank percentile, 0 for no values."""
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * fraction)] if ordered else 0


def figures(parts: Sequence[Part]) -> dict[str, float]:
    """Return the figures: counts, medians, 95th percentiles, largest, and the typed and documented shares."""
    modules = [part.size for part in parts if part.kind == "module"]
    functions = [part.size for part in parts if part.kind == "function"]
    slots = sum(part.slots for part in parts)
    public = [part for part in parts if part.public and part.kind in ("class", "function")]
    return {
        "modules": len(modules),
        "loc": sum(modules),
        "module_median": _rank(modules, 0.5),
        "module_p95": _rank(modules, 0.95),
        "module_max": max(modules, default=0),
        "functions": len(functions),
        "function_median": _rank(functions, 0.5),
        "function_p95": _rank(functions, 0.95),
        "function_max": max(functions, default=0),
        "asset_max": max((part.size for part in parts if part.kind == "asset"), default=0),
        "typed": round(1 - sum(len(part.untyped) for part in parts) / max(slots, 1), 4),
        "public_documented": round(sum(part.documented for part in public) / max(len(public), 1), 4),
    }


def faults(parts: Sequence[Part]) -> list[str]:
    """Return what breaks a limit, one sentence each, with the place."""
    limits = {"function": FUNCTION_LIMIT, "module": MODULE_LIMIT, "asset": ASSET_LIMIT}
    found: list[str] = []
    for part in parts:
        if part.size > limits.get(part.kind, part.size):
            found.append(f"{part.place}: {part.size} lines of code, at most {limits[part.kind]} per {part.kind}")
        if part.public and not part.documented:
            found.append(f"{part.place}: a public {part.kind} needs a docstring")
        if part.untyped:
            found.append(f"{part.place}: no type for {', '.join(part.untyped)}")
    values = figures(parts)
    found += [f"{name} is {values[name]:g}, at most {limit}" for name, limit in AIMS.items() if values[name] > limit]
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the figures and the faults of a tree and return the exit code."""
    root = Path(arguments[0] if arguments else "src/stratnb")
    if not root.is_dir():
        print(f"{str(root)!r} is not a folder; give the root of a Python tree", file=sys.stderr)
        return 2
    parts = measure(root)
    print(json.dumps(figures(parts)))
    found = faults(parts)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
