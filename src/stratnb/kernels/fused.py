"""The generated loop: the candle loop of one structure of strategy with its blocks written into it.

Everything but the blocks is the helpers and compiled parts that the shared loop is made of (`loop`), called in the
same order and skipped where nothing can change (`quiet`); so the bits are the same. Parameters are arrays: another
number never compiles anew. A file a structure lies in the cache folder, named by a hash of all it was made of.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import types

from stratnb.kernels import close, decide, drive, layout, levels, limits, orders, protections, quiet, sums, trade
from stratnb.kernels.address import cell, put
from stratnb.kernels.ahead_close import AheadClose
from stratnb.kernels.ahead_text import AheadText
from stratnb.kernels.choices import all_chosen, choice_places, shared_table
from stratnb.kernels.close_text import CloseText
from stratnb.kernels.column_text import column_text
from stratnb.kernels.digest import digest_of
from stratnb.kernels.inline import Uninlinable
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Kernel, PythonKernel, Row, cache_folder
from stratnb.kernels.loop import FALL, SETTLE, call_fall, call_settle
from stratnb.kernels.loop_frame import CLEAR, INSIDE, KNOWN, WORK
from stratnb.kernels.loop_text import LoopText
from stratnb.kernels.plan_table import PlanTable

__all__ = [
    "AHEAD",
    "COLUMN",
    "FILL",
    "SEEK",
    "SIGNATURE",
    "Uninlinable",
    "ahead_closer",
    "closer",
    "column_maker",
    "fused",
    "is_fused",
    "is_usable",
    "source_of",
    "structure_key",
    "structure_keys",
]

WHOLE = types.int64
PAIR: Any = types.UniTuple(WHOLE, 2)  # type: ignore[no-untyped-call]
SIGNATURE = PAIR(I8, I8, F8, F8, F8X2, F8, F8X2, WHOLE, WHOLE, F8, F8X2, F8X2, F8, F8)
SEEK = PAIR(I8, F8, F8, F8X2, WHOLE, WHOLE, WHOLE)
AHEAD = close.close_candle.signature
FILL = WHOLE(I8, F8, F8, F8, F8, F8X2, WHOLE)
COLUMN = types.void(F8, F8, F8X2, WHOLE, WHOLE, I8, F8X2)
PARTS: dict[str, Any] = {
    "aggregate": decide.aggregate,
    "apply_fill": trade.apply_fill,
    "call_decide": close.call_decide,
    "call_fall": call_fall,
    "call_settle": call_settle,
    "catch_up": quiet.catch_up,
    "cell": cell,
    "close_group": drive.close_group,
    "enter_sized": close.enter_sized,
    "entry_terms": close.entry_terms,
    "fall_back": limits.fall_back,
    "fill_open": orders.fill_open,
    "fill_touch": trade.fill_touch,
    "fix_levels": levels.fix_levels,
    "group_is_late": drive.group_is_late,
    "grow_group": drive.grow_group,
    "halt_volatile": protections.halt_volatile,
    "heed": levels.heed,
    "judge": decide.judge,
    "load_candle": drive.load_candle,
    "may_enter": close.may_enter,
    "minute_of_week": drive.minute_of_week,
    "minutes_since": levels.minutes_since,
    "note_answer": close.note_answer,
    "place_exit": orders.place_exit,
    "position_until": quiet.position_until,
    "put": put,
    "quiet_equity": quiet.quiet_equity,
    "quiet_prices": quiet.quiet_prices,
    "return_of": levels.return_of,
    "rules_until": quiet.rules_until,
    "show_position": levels.show_position,
    "show_terms": close.show_terms,
    "sized_equity": close.sized_equity,
    "sum_account": sums.sum_account,
    "takes_news": quiet.takes_news,
    "tightened": levels.tightened,
    "undisturbed": quiet.undisturbed,
    "untouched": trade.untouched,
    "worth": trade.worth,
    "CLEAR": CLEAR,
    "FALL": FALL,
    "INSIDE": INSIDE,
    "KNOWN": KNOWN,
    "SETTLE": SETTLE,
    "WORK": WORK,
    "np": np,
    "isfinite": math.isfinite,
    "nan": math.nan,
    "inf": math.inf,
}
log = logging.getLogger(__name__)
_loops: dict[str, Kernel[..., Any]] = {}
_refused: set[Kernel[..., Any]] = set()
_by_structure: dict[tuple[object, ...], Kernel[..., Any]] = {}
_ahead: dict[tuple[object, ...], tuple[Kernel[..., Any], ...]] = {}
_closers: dict[tuple[object, ...], Kernel[..., Any]] = {}
_makers: dict[tuple[object, ...], Kernel[..., Any]] = {}


def source_of(
    code: Ints, params: Row, kernels: Sequence[Kernel[..., Any]], given: frozenset[int] = frozenset()
) -> tuple[str, dict[str, Any]]:
    """Return the source of a structure's loop and the objects that it names; raises `Uninlinable`."""
    if any(isinstance(kernel, PythonKernel) for kernel in kernels):
        raise Uninlinable("a block is stepped in plain Python")
    kind = AheadText if PlanTable(code).runs_ahead() else LoopText
    text = kind(code, params, [kernel.function for kernel in kernels], given)
    return text.text(), text.names


def fused(
    code: Ints, params: Row, kernels: Sequence[Kernel[..., Any]], given: frozenset[int] = frozenset()
) -> Kernel[..., Any]:
    """Return the loop of a structure; its `run` gives back the next candle and the number of fills.

    It takes (calls, code, params, memory, books, account, candles, start, stop, equity, fills, columns, counts, work).
    `code`, `params` and `kernels` are those of a plan. `equity` may be empty (none is kept), `fills` of the least
    length (none are kept), `columns` empty without `given` nodes. It compiles, or is read from disk, when it is first
    called. Raises `Uninlinable`.
    """
    key = (structure_key(code, params, kernels), given)
    if key not in _by_structure:
        source, names = source_of(code, params, kernels, given)
        _by_structure[key] = _kernel(source, names, SIGNATURE)
    return _by_structure[key]


def closer(code: Ints, params: Row, kernels: Sequence[Kernel[..., Any]]) -> Kernel[..., Any]:
    """Return what a structure does at the close of a candle: `close_candle`, of whose decision the reason is kept.

    Raises `Uninlinable`.
    """
    key = structure_key(code, params, kernels)
    if key not in _closers:
        if any(isinstance(kernel, PythonKernel) for kernel in kernels):
            raise Uninlinable("a block is stepped in plain Python")
        text = CloseText(code, params, [kernel.function for kernel in kernels])
        _closers[key] = _kernel(text.text(), text.names, close.close_candle.signature)
    return _closers[key]


def ahead_closer(code: Ints, params: Row, kernels: Sequence[Kernel[..., Any]]) -> tuple[Kernel[..., Any], ...]:
    """Return search, fills and close of a structure whose blocks run ahead (see `AheadClose`); raises `Uninlinable`."""
    key = structure_key(code, params, kernels)
    if key not in _ahead:
        if any(isinstance(kernel, PythonKernel) for kernel in kernels) or not PlanTable(code).runs_ahead():
            raise Uninlinable("its blocks go with the account")
        text = AheadClose(code, params, [kernel.function for kernel in kernels])
        sources = {text.seek(): SEEK, text.fill(): FILL, text.close(): AHEAD}
        _ahead[key] = tuple(_kernel(source, text.names, signature) for source, signature in sources.items())
    return _ahead[key]


def structure_key(code: Ints, params: Row, kernels: Sequence[Kernel[..., Any]]) -> tuple[object, ...]:
    """Return what the tables of plans with the same generated loop have in common."""
    return structure_keys([(code, params, kernels)])[0]


def structure_keys(
    plans: Sequence[tuple[Ints, Row, Sequence[Kernel[..., Any]]]],
) -> list[tuple[object, ...]]:
    """Return the key of each of several plans; a table that is one object in many of them is read once."""
    known: dict[int, tuple[bytes, Ints]] = {}
    keys: list[tuple[object, ...]] = []
    for code, params, kernels in plans:
        if id(code) not in known:
            known[id(code)] = shared_table(code, len(kernels)).tobytes(), choice_places(code, len(kernels))
        table, places = known[id(code)]
        keys.append((tuple(kernels), table, all_chosen(params, places)))
    return keys


def column_maker(
    kernel: Kernel[..., Any], inputs: Sequence[int], required: int, outs: int, chosen: Mapping[int, float], lanes: int
) -> Kernel[..., Any]:
    """Return a loop that fills columns of one block over a stretch of candles, for many strategies to read.

    `inputs`, `required`, `outs`, `chosen` and `lanes` are those of `column_text`. It takes (params, memory, candles,
    start, stop, places, columns). Raises `Uninlinable`.
    """
    key = (kernel, tuple(inputs), required, outs, tuple(chosen.items()), lanes)
    if key not in _makers:
        if isinstance(kernel, PythonKernel):
            raise Uninlinable("a block is stepped in plain Python")
        source, names = column_text(kernel.function, inputs, required, outs, chosen, lanes)
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
    if kernel.is_ready:
        return True
    path = Path(kernel.function.__code__.co_filename)
    return any(path.parent.glob(f"**/{path.stem}.run-*.nbc")) or any(
        Path(cache_folder()).glob(f"*/{path.stem}.run-*.nbc")
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
