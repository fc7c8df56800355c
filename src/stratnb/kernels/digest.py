"""What a generated loop was made of, as a hash: its text and every object from outside that it names."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stratnb.kernels.inline import Uninlinable

__all__ = ["digest_of"]


def digest_of(source: str, names: dict[str, Any]) -> str:
    """Return a hash of the text and of what it names outside the package (the package names the folder)."""
    digest = hashlib.sha256(source.encode())
    for name, value in sorted(names.items()):
        for text in _texts(value, set()):
            digest.update(f"{name}={text}".encode())
    return digest.hexdigest()[:20]


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield what tells one object that a loop names from another: source, value, and what a helper uses itself.

    Raises `Uninlinable` for what cannot be told: a loop on disk must never be another's.
    """
    function: Callable[..., Any] | None = getattr(value, "py_func", value if inspect.isfunction(value) else None)
    if function is not None:
        yield from _texts_of(function, seen)
    elif inspect.ismodule(value):
        if value.__name__ not in ("numpy", "math") and not value.__name__.startswith("stratnb."):
            raise Uninlinable(f"what is read of the module {value.__name__} is not known")
        yield value.__name__
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    elif isinstance(value, tuple):
        for part in value:
            yield from _texts(part, seen)
    elif value is None or isinstance(value, (bool, int, float, str, np.generic)):
        yield f"{type(value).__name__} {value!r}"
    elif inspect.isbuiltin(value) or isinstance(value, (np.ufunc, type)):
        yield f"{value!r}"
    else:
        raise Uninlinable(f"a {type(value).__name__} that a block reads cannot be told from another")


def _texts_of(function: Callable[..., Any], seen: set[int]) -> Iterator[str]:
    """Yield the source of a helper and what it uses; those of the package are known by the name of the folder."""
    if id(function) in seen:
        return
    seen.add(id(function))
    yield f"{function.__module__}.{function.__qualname__}"
    if function.__module__.startswith("stratnb."):
        return
    yield hashlib.sha256(function.__code__.co_code).hexdigest()
    yield repr([each for each in function.__code__.co_consts if not inspect.iscode(each)])
    for cell in function.__closure__ or ():
        yield from _texts(cell.cell_contents, seen)
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name
            yield from _texts(function.__globals__[name], seen)
