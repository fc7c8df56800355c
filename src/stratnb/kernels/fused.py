"""The generated loop: the candle loop of one structure of strategy with its blocks written into it.

Everything but the blocks is the helpers and compiled parts that the shared loop is made of (`loop`), called in the
same order and skipped where nothing can change (`quiet`); so the bits are the same. Parameters are arrays: another
number never compiles anew. A file a structure lies in the cache folder, named by a hash of all it was made of.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import types

from stratnb.kernels import close, drive, layout, levels, orders, protections, quiet, trade
from stratnb.kernels.column_text import column_text
from stratnb.kernels.digest import digest_of
from stratnb.kernels.inline import Uninlinable
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Kernel, PythonKernel, cache_folder
from stratnb.kernels.loop import (
    ANSWER,
    FALL,
    JUDGE,
    SETTLE,
    WEIGH,
    call_answer,
    call_fall,
    call_judge,
    call_settle,
    call_weigh,
    resolve,
)
from stratnb.kernels.loop_frame import INSIDE, WORK
from stratnb.kernels.loop_text import LoopText

__all__ = [
    "COLUMN",
    "SIGNATURE",
    "Uninlinable",
    "column_maker",
    "fused",
    "is_fused",
    "is_usable",
    "source_of",
    "structure_key",
]

WHOLE = types.int64
PAIR: Any = types.UniTuple(WHOLE, 2)  # type: ignore[no-untyped-call]
SIGNATURE = PAIR(I8, I8, F8, F8, F8X2, F8, F8X2, WHOLE, WHOLE, F8, F8X2, F8X2, F8, F8)
COLUMN = types.void(F8, F8, F8X2, WHOLE, WHOLE, I8, F8X2, WHOLE)
PARTS: dict[str, Any] = {
    "resolve": resolve,
    "call_settle": call_settle,
    "call_weigh": call_weigh,
    "call_judge": call_judge,
    "call_answer": call_answer,
    "call_fall": call_fall,
    "FALL": FALL,
    "SETTLE": SETTLE,
    "WEIGH": WEIGH,
    "JUDGE": JUDGE,
    "ANSWER": ANSWER,
    "INSIDE": INSIDE,
    "WORK": WORK,
    "may_enter": close.may_enter,
    "place_exit": orders.place_exit,
    "untouched": trade.untouched,
    "worth": trade.worth,
    "heed": levels.heed,
    "return_of": levels.return_of,
    "show_position": levels.show_position,
    "minutes_since": levels.minutes_since,
    "grow_group": drive.grow_group,
    "close_group": drive.close_group,
    "group_is_late": drive.group_is_late,
    "load_candle": drive.load_candle,
    "minute_of_week": drive.minute_of_week,
    "halt_volatile": protections.halt_volatile,
    "quiet_until": quiet.quiet_until,
    "quiet_equity": quiet.quiet_equity,
    "catch_up": quiet.catch_up,
    "note_falls": quiet.note_falls,
    "np": np,
    "isfinite": math.isfinite,
    "nan": math.nan,
    "inf": math.inf,
}
log = logging.getLogger(__name__)
VARIABLE = (layout.N_ADDRESS, layout.N_STATE, layout.N_STATES, layout.N_P, layout.N_PS)
_loops: dict[str, Kernel[..., Any]] = {}
_refused: set[Kernel[..., Any]] = set()
_by_structure: dict[tuple[object, ...], Kernel[..., Any]] = {}
_makers: dict[tuple[object, ...], Kernel[..., Any]] = {}


def source_of(
    code: Ints, kernels: Sequence[Kernel[..., Any]], given: frozenset[int] = frozenset()
) -> tuple[str, dict[str, Any]]:
    """Return the source of a structure's loop and the objects that it names; raises `Uninlinable`."""
    if any(isinstance(kernel, PythonKernel) for kernel in kernels):
        raise Uninlinable("a block is stepped in plain Python")
    text = LoopText(code, [kernel.function for kernel in kernels], given)
    return text.text(), text.names


def fused(code: Ints, kernels: Sequence[Kernel[..., Any]], given: frozenset[int] = frozenset()) -> Kernel[..., Any]:
    """Return the loop of a structure; its `run` gives back the next candle and the number of fills.

    It takes (calls, code, params, memory, books, account, candles, start, stop, equity, fills, columns, counts, work).
    `code` and `kernels` are those of a plan. `equity` may be empty (none is kept), `fills` of the least length (none
    are kept), `columns` empty without `given` nodes. It compiles, or is read from disk, when it is first called.
    Raises `Uninlinable`.
    """
    key = (structure_key(code, kernels), given)
    if key not in _by_structure:
        source, names = source_of(code, kernels, given)
        _by_structure[key] = _kernel(source, names, SIGNATURE)
    return _by_structure[key]


def structure_key(code: Ints, kernels: Sequence[Kernel[..., Any]]) -> tuple[object, ...]:
    """Return what the tables of plans with the same generated loop have in common."""
    table = code.copy()
    first, count = int(table[layout.H_NODES]), len(kernels)
    nodes = table[first : first + count * layout.W_NODE].reshape(count, layout.W_NODE)
    nodes[:, VARIABLE] = 0
    table[[layout.H_STEP, layout.H_FIRST_STOP, layout.H_ENTER]] = 0
    return (tuple(kernels), table.tobytes())


def column_maker(kernel: Kernel[..., Any], inputs: Sequence[int], required: int, outs: int) -> Kernel[..., Any]:
    """Return a loop that fills the columns of one block over a stretch of candles, for many strategies to read.

    `inputs` are columns of a candle, or -1 for a row of `columns`, of which the first `required` must be finite. It
    takes (p, state, candles, start, stop, rows, columns, out): the block's parameters, its memory and one cell more
    for the counter, which row each input is, and the first row to fill. Raises `Uninlinable`.
    """
    key = (kernel, tuple(inputs), required, outs)
    if key not in _makers:
        if isinstance(kernel, PythonKernel):
            raise Uninlinable("a block is stepped in plain Python")
        source, names = column_text(kernel.function, inputs, required, outs)
        _makers[key] = _kernel(source, names, COLUMN)
    return _makers[key]


def _kernel(source: str, names: dict[str, Any], signature: Any) -> Kernel[..., Any]:
    """Return the loop of a source, the same one for the same source."""
    digest = digest_of(source, names)
    if digest not in _loops:
        _loops[digest] = Kernel(_function(source, names, digest), signature, is_long=True, allocates=False)
    return _loops[digest]


def is_fused(kernel: Kernel[..., Any]) -> bool:
    """Tell whether a loop is compiled in this process or on disk, so that its first call does not compile."""
    path = Path(kernel.function.__code__.co_filename)
    return (
        kernel.is_ready
        or any(path.parent.glob(f"**/{path.stem}.run-*.nbc"))
        or any(Path(cache_folder()).glob(f"*/{path.stem}.run-*.nbc"))
    )


def is_usable(kernel: Kernel[..., Any]) -> bool:
    """Compile a loop if need be; tell whether that goes. What the shared loop takes, the compiler may refuse here."""
    if kernel in _refused:
        return False
    try:
        kernel.compiled()
    except Exception as error:
        log.info("a generated loop is not used: %s", error)
        _refused.add(kernel)
        return False
    return True


def _function(source: str, names: dict[str, Any], digest: str) -> Callable[..., Any]:
    """Write the file of a loop, if it is not there, and return its function."""
    path = _file(source, digest)
    space = {"__name__": f"loop_{digest}", **vars(layout), **PARTS, **names}
    exec(compile(source, str(path), "exec"), space)
    made: Callable[..., Any] = space["run"]
    return made


def _file(source: str, digest: str) -> Path:
    """Return where the source lies; without a folder to write to it is compiled anew in each process."""
    folder = Path(cache_folder()) / "loops"
    path = folder / f"loop_{digest}.py"
    try:
        if not path.is_file() or path.read_text() != source:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as own:
                written = Path(own) / path.name
                written.write_text(source)
                written.replace(path)
    except OSError as error:
        hint = "set STRATNB_CACHE to a folder that can be written"
        warnings.warn(f"{folder} cannot keep generated loops ({error}); {hint}", RuntimeWarning, stacklevel=4)
    return path
