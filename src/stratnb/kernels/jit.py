"""Compilation: lazy, disk-cached and never stale; long calls run without the interpreter lock.

Four decorators: `helper` (a function that other kernels call), `kernel` (the `step` of a block, reached by its
address), `python` (a `step` that is not compiled, reached through a compiled bridge) and `entry` (a function that
Python calls). Nothing compiles at import; the first use does.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

import numba
import numpy as np
import platformdirs
from numba import njit, objmode, types

__all__ = [
    "F8",
    "F8X2",
    "I8",
    "STEP",
    "Ints",
    "Kernel",
    "PythonKernel",
    "Row",
    "entry",
    "helper",
    "inlined",
    "kernel",
    "python",
]

Row: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

P = ParamSpec("P")
R = TypeVar("R")

F8 = types.float64[::1]
F8X2 = types.float64[:, ::1]
I8 = types.int64[::1]
STEP = types.void(types.int64, F8, F8, F8, F8)
OPTIONS: dict[str, Any] = {"error_model": "numpy"}
PACKAGE = Path(__file__).parent.parent


@cache
def cache_folder() -> str:
    """Return a folder named after every kernel source and the compiler, so a changed callee is never missed."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for folder in ("kernels", "blocks"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    root = os.environ.get("STRATNB_CACHE") or platformdirs.user_cache_dir("stratnb", appauthor=False)
    return str(Path(root) / "kernels" / digest.hexdigest()[:16])


@contextmanager
def _own_cache() -> Iterator[None]:
    """Point numba at our cache folder and leave out garbage collection while a function is prepared."""
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, cache_folder()
    collecting = gc.isenabled()
    gc.disable()  # the compiler makes millions of small objects; collecting among them costs a tenth of its time
    try:
        yield
    finally:
        config.CACHE_DIR = before
        if collecting:
            gc.enable()


def _on_disk(function: Callable[..., Any]) -> bool:
    """Tell whether the function stands in a file, so that numba can cache it."""
    return Path(function.__code__.co_filename).is_file()


def helper(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function callable from kernels; it is compiled into each caller.

    Those of the package make no arrays, and so need not count references to views, which costs more than most do.
    """
    options: dict[str, Any] = OPTIONS | {"_nrt": not function.__module__.startswith("stratnb.")}
    return njit(**options)(function)  # type: ignore[no-any-return]


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Make a helper that is always compiled into its caller: tables that are handed on as tuples then cost nothing."""
    options: dict[str, Any] = OPTIONS | {"_nrt": False, "forceinline": True}
    return njit(**options)(function)  # type: ignore[no-any-return]


class Kernel(Generic[P, R]):
    """A function compiled for one signature on first use; calling it runs the compiled code."""

    def __init__(
        self, function: Callable[P, R], signature: Any, *, is_long: bool = False, allocates: bool = True
    ) -> None:
        self.function = function
        self.signature = signature
        self._options = OPTIONS | {"nogil": is_long, "_nrt": allocates}
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._compiled: Any = None

    def compiled(self) -> Any:
        """Return the dispatcher, compiled for the signature."""
        if self._compiled is None:
            with _own_cache():
                self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> Any:
        cached = _on_disk(self.function)
        try:
            return njit(self.signature, cache=cached, **self._options)(self.function)
        except (OSError, RuntimeError):
            if not cached:
                raise
            return njit(self.signature, **self._options)(self.function)  # the cache folder cannot be used

    @property
    def is_ready(self) -> bool:
        """Return whether it was compiled, or loaded from disk, in this process."""
        return self._compiled is not None

    def address(self) -> int:
        """Return the address of the compiled code, for `call_step`."""
        result = self.compiled().overloads[self.signature.args]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled code."""
        return (self._compiled or self.compiled())(*args, **kwargs)  # type: ignore[no-any-return]


class PythonKernel(Kernel[P, R]):
    """A block's step that stays plain Python: compiled code calls it by the address of a bridge that takes the lock.

    It works on copies of its slices, so that what it keeps of them never outlives the memory they lie in.
    """

    def _compile(self) -> Any:
        function: Callable[..., Any] = self.function

        def _on_copies(i: int, state: Row, x: Row, out: Row, p: Row) -> None:
            own, made = state.copy(), out.copy()
            function(i, own, x.copy(), made, p.copy())
            state[:], out[:] = own, made

        def _bridge(i: int, state: Row, x: Row, out: Row, p: Row) -> None:
            with objmode():
                _on_copies(i, state, x, out, p)

        return njit(self.signature, **self._options)(_bridge)


def entry(
    signature: Any, *, is_long: bool = False, allocates: bool = False
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Compile the function for one signature when it is first called from Python; say when it makes arrays.

    Only a long one releases the interpreter lock: a short one would wait for it many times its own duration whenever
    another thread runs Python code.
    """
    return lambda function: Kernel(function, signature, is_long=is_long, allocates=allocates)


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Mark a block's `step(i, state, x, out, p)`."""
    return Kernel(function, STEP, allocates=not function.__module__.startswith("stratnb."))


def python(function: Callable[P, R]) -> Kernel[P, R]:
    """Mark a block's `step` that cannot be compiled; its strategy is stepped in a worker thread with a time limit."""
    return PythonKernel(function, STEP)
