"""A hash of the code of blocks, so that memory is never used with a kernel that has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from stratnb.blocks.base import Block
from stratnb.kernels.jit import cache_folder

__all__ = ["code_hash"]

OURS = ("stratnb.", "pydantic.", "numpy.", "numba.", "builtins", "typing", "math")
PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, frozenset, set, type(None))


def code_hash(blocks: Sequence[Block]) -> str:
    """Return a hash of the kernels and of the compiled code of blocks defined outside the package.

    It covers methods, fields, class values, and the constants and functions they read; comments and layout are free.
    Sources are not read: after a second definition of a class they may be those of the first.
    """
    digest = hashlib.sha256(cache_folder().rsplit("/", 1)[-1].encode())
    own = {type(block) for block in blocks if not _is_ours(type(block))}
    for cls in sorted(own, key=lambda c: c.__qualname__):
        for part in _class_parts(cls):
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _is_ours(item: Any) -> bool:
    return f"{item.__module__}.".startswith(OURS)


def _class_parts(cls: type[Block]) -> Iterator[str]:
    """Yield what makes a class behave as it does, its own bases included."""
    seen: set[int] = set()
    for base in (each for each in cls.__mro__ if not _is_ours(each)):
        yield base.__qualname__
        for name, value in sorted(vars(base).items()):
            if not name.startswith(("__", "_abc", "model_")):
                yield from _value_parts(name, value, seen)
    for name, info in cls.model_fields.items():
        yield f"{name}: {info.annotation!r} {info.default!r} {info.metadata!r}"
        yield from _value_parts(name, info.default_factory, seen)


def _value_parts(name: str, value: Any, seen: set[int]) -> Iterator[str]:
    """Yield a value that code reads under a name: numbers and texts themselves, functions by their code."""
    if isinstance(value, PLAIN):
        yield f"{name} = {_constant(value)}"
    elif isinstance(value, np.ndarray):
        yield f"{name} = {value.tolist()!r}"
    elif (function := _function(value)) is not None and id(function) not in seen and not _is_ours(function):
        seen.add(id(function))
        yield name
        yield from _code_parts(function.__code__)
        for read, found in _read_by(function):
            yield from _value_parts(read, found, seen)


def _function(value: Any) -> FunctionType | None:
    """Return the Python function in a method, a property, a kernel or a compiled helper."""
    for wrapped in ("__func__", "fget", "function", "py_func"):
        value = value if isinstance(value, FunctionType) else getattr(value, wrapped, value)
    return value if isinstance(value, FunctionType) else None


def _code_parts(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _code_parts(value)
        else:
            yield _constant(value)


def _constant(value: Any) -> str:
    """Return a constant's text, that of a set in an order that does not change between processes."""
    return repr(sorted(map(repr, value)) if isinstance(value, (set, frozenset)) else value)


def _read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the globals, the enclosed variables and the defaults that a function reads."""
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            yield name, cell.cell_contents
    yield "defaults", function.__defaults__
    yield "keyword defaults", function.__kwdefaults__
