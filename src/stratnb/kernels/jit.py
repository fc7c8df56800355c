"""Compilation: lazy, disk-cached, without the interpreter lock, and never stale.

Three decorators: `helper` (a function that other kernels call), `kernel` (the `step` of a block, reached by its
address) and `entry` (a function that Python calls). Nothing compiles at import; the first use does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import numba
import platformdirs
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

__all__ = ["F8", "F8X2", "I8", "STEP", "Kernel", "call_step", "caller", "entry", "helper", "kernel"]

P = ParamSpec("P")
R = TypeVar("R")

F8 = types.float64[::1]
F8X2 = types.float64[:, ::1]
I8 = types.int64[::1]
STEP = types.void(types.int64, F8, F8, F8, F8)
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
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
    """Point numba at our cache folder while a function is prepared."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, cache_folder()
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _on_disk(function: Callable[..., Any]) -> bool:
    """Tell whether the function stands in a file, so that numba can cache it."""
    return os.path.isfile(function.__code__.co_filename)


def helper(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function callable from kernels; it is compiled into each caller."""
    return njit(**OPTIONS)(function)  # type: ignore[no-any-return]


class Kernel(Generic[P, R]):
    """A function compiled for one signature on first use; calling it runs the compiled code."""

    def __init__(self, function: Callable[P, R], signature: Any) -> None:
        self.function = function
        self.signature = signature
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
            return njit(self.signature, cache=cached, **OPTIONS)(self.function)
        except (OSError, RuntimeError):
            if not cached:
                raise
            return njit(self.signature, **OPTIONS)(self.function)  # the cache folder cannot be used

    def address(self) -> int:
        """Return the address of the compiled code, for `call_step`."""
        result = self.compiled().overloads[self.signature.args]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled code."""
        return self.compiled()(*args, **kwargs)  # type: ignore[no-any-return]


def entry(signature: Any) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Compile the function for one signature when it is first called from Python."""
    return lambda function: Kernel(function, signature)


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Mark a block's `step(i, state, x, out, p)`."""
    return Kernel(function, STEP)


def _view(context: Any, builder: Any, array: Any, start: Any, size: Any) -> Any:
    """Build a borrowed one-dimensional view, without reference counting."""
    source = arrayobj.make_array(F8)(context, builder, array)
    view = arrayobj.make_array(F8)(context, builder)
    eight = context.get_constant(types.intp, 8)
    arrayobj.populate_array(
        view,
        data=builder.gep(source.data, [start]),
        shape=cgutils.pack_array(builder, [size]),
        strides=cgutils.pack_array(builder, [eight]),
        itemsize=eight,
        meminfo=None,
    )
    return view._getvalue()


@intrinsic  # type: ignore[untyped-decorator]
def call_step(  # type: ignore[no-untyped-def]
    typing, address, i, memory, state, state_n, x, x_n, out, out_n, params, p, p_n
):
    """Call a step by its address on slices of `memory` and `params`, given as starts and lengths.

    One compiled driver thus runs any composition of blocks: nothing is compiled again for a new strategy.
    """
    whole = types.int64
    signature = types.void(whole, whole, F8, whole, whole, whole, whole, whole, whole, F8, whole, whole)

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address, i, memory, state, state_n, x, x_n, out, out_n, params, p, p_n = args
        values = [
            i,
            _view(context, builder, memory, state, state_n),
            _view(context, builder, memory, x, x_n),
            _view(context, builder, memory, out, out_n),
            _view(context, builder, params, p, p_n),
        ]
        return _call(context, builder, address, STEP, values)

    return signature, generate


def _call(context: Any, builder: Any, address: Any, signature: Any, values: Any) -> Any:
    """Emit a call of compiled code at an address; an exception in it goes on to the caller."""
    shape = context.call_conv.get_function_type(signature.return_type, signature.args)
    pointer = builder.inttoptr(address, shape.as_pointer())
    status, result = context.call_conv.call_function(builder, pointer, signature.return_type, signature.args, values)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value() if signature.return_type == types.void else result


def caller(target: Kernel[..., Any]) -> Any:
    """Return a compiled `call(address, *args)` for kernels with the target's signature.

    A loop that calls its parts by address shares their one machine code with the calls from Python.
    """
    inner = target.signature
    outer = inner.return_type(types.int64, *inner.args)

    def typed(typing: Any, address: Any, *args: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            first, rest = values[0], values[1]
            count = len(inner.args)
            return _call(context, builder, first, inner, [builder.extract_value(rest, k) for k in range(count)])

        return outer.return_type(types.int64, types.Tuple(inner.args)), generate

    return intrinsic(typed)
