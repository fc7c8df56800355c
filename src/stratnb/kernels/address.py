"""Calls of compiled code by its address: one driver runs any composition of blocks, and loops share their parts.

This is the only module that relies on numba's calling convention.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from stratnb.kernels.jit import F8, STEP, Kernel

__all__ = ["call_step", "caller", "cell", "lent", "part", "put"]

WHOLE = types.int64


def _view(context: Any, builder: Any, array: Any, start: Any, size: Any, of: Any = F8, to: Any = F8) -> Any:
    """Build a borrowed one-dimensional view of a contiguous array, without reference counting."""
    source = arrayobj.make_array(of)(context, builder, array)
    view = arrayobj.make_array(to)(context, builder)
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


def _emit_part(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Emit a borrowed view of a stretch of an array's memory."""
    array, start, size = values
    return _view(context, builder, array, start, size, of=signature.args[0], to=signature.return_type)


def _typed_part(typing: Any, array: Any, start: Any, size: Any) -> Any:
    """Borrow `size` cells of a contiguous array of 8-byte numbers, from its flat place `start` on; counts nothing."""
    return types.Array(array.dtype, 1, "C")(array, WHOLE, WHOLE), _emit_part


part: Any = intrinsic(_typed_part)


def _emit_lent(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Emit the same array without its owner."""
    kind = signature.return_type
    source = arrayobj.make_array(kind)(context, builder, values[0])
    lent_ = arrayobj.make_array(kind)(context, builder)
    arrayobj.populate_array(
        lent_,
        data=source.data,
        shape=source.shape,
        strides=source.strides,
        itemsize=source.itemsize,
        meminfo=None,
    )
    return lent_._getvalue()


def _typed_lent(typing: Any, array: Any) -> Any:
    """Borrow an array that the caller keeps alive: what is done with it counts no references."""
    return array(array), _emit_lent


lent: Any = intrinsic(_typed_lent)


def _place(context: Any, builder: Any, array: Any, index: Any, of: Any) -> Any:
    """Emit the address of a number of an array."""
    return builder.gep(arrayobj.make_array(of)(context, builder, array).data, [index])


def _emit_cell(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Emit the load of a number."""
    array, index = values
    return builder.load(_place(context, builder, array, index, signature.args[0]))


def _typed_cell(typing: Any, array: Any, index: Any) -> Any:
    """Return the number at a flat place, from 0 on, of a contiguous array: no place counts from the end."""
    return array.dtype(array, WHOLE), _emit_cell


def _emit_put(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Emit the store of a number."""
    array, index, value = values
    builder.store(value, _place(context, builder, array, index, signature.args[0]))
    return context.get_dummy_value()


def _typed_put(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a number to a flat place, from 0 on, of a contiguous array."""
    return types.void(array, WHOLE, array.dtype), _emit_put


cell: Any = intrinsic(_typed_cell)
put: Any = intrinsic(_typed_put)


def _call(context: Any, builder: Any, address: Any, signature: Any, values: Any) -> Any:
    """Emit a call of compiled code at an address; an exception in it goes on to the caller."""
    shape = context.call_conv.get_function_type(signature.return_type, signature.args)
    pointer = builder.inttoptr(address, shape.as_pointer())
    status, result = context.call_conv.call_function(builder, pointer, signature.return_type, signature.args, values)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value() if signature.return_type == types.void else result


def _emit_step(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    """Emit the call of a block's step on views of its slices."""
    address, i, memory, state, state_n, x, x_n, out, out_n, params, p, p_n = values
    slices = ((memory, state, state_n), (memory, x, x_n), (memory, out, out_n), (params, p, p_n))
    views = [_view(context, builder, array, start, size) for array, start, size in slices]
    return _call(context, builder, address, STEP, [i, *views])


def _typed_step(
    typing: Any, address: Any, i: Any, memory: Any, state: Any, state_n: Any, x: Any, x_n: Any, out: Any, out_n: Any,
    params: Any, p: Any, p_n: Any,
) -> Any:  # fmt: skip
    """Call a step by its address on slices of `memory` and `params`, given as starts and lengths."""
    return types.void(WHOLE, WHOLE, F8, *[WHOLE] * 6, F8, WHOLE, WHOLE), _emit_step


call_step: Any = intrinsic(_typed_step)


def caller(target: Kernel[..., Any]) -> Any:
    """Return a compiled `call(address, *args)` for kernels with the target's signature.

    A loop that calls its parts by address shares their one machine code with the calls from Python.
    """
    inner = target.signature

    def _emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        address, rest = values
        return _call(context, builder, address, inner, [builder.extract_value(rest, k) for k in range(len(inner.args))])

    def _typed(typing: Any, address: Any, *args: Any) -> Any:
        return inner.return_type(WHOLE, types.Tuple(inner.args)), _emit

    return intrinsic(_typed)
