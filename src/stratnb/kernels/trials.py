"""Many strategies of one structure over the same candles, each alone on its account, day by day.

A stretch of candles (a day) is small enough to stay in the processor's cache while all strategies go over it; columns
that several of them read are computed once a stretch.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from numba import types

from stratnb.kernels.address import caller
from stratnb.kernels.fused import COLUMN, SIGNATURE
from stratnb.kernels.jit import F8, F8X2, I8, Ints, Row, entry
from stratnb.kernels.layout import B_EQUITY

__all__ = ["run_trials"]

WHOLE = types.int64
I8X2, F8X3 = types.int64[:, ::1], types.float64[:, :, ::1]

call_run: Any = caller(SimpleNamespace(signature=SIGNATURE))  # type: ignore[arg-type]
call_maker: Any = caller(SimpleNamespace(signature=COLUMN))  # type: ignore[arg-type]


@entry(
    types.void(
        *(I8X2, F8, F8, I8, F8X2, WHOLE, I8, I8X2, F8X2, F8X2, F8X3, F8X2),
        *(F8X2, I8, WHOLE, WHOLE, F8X2, F8X2, F8X2, F8X2, F8),
    ),
    is_long=True,
)
def run_trials(
    makers: Ints, maker_params: Row, maker_memory: Row, places: Ints, columns: Row,
    run: int, calls: Ints, codes: Ints, params: Row, memories: Row, books: Row, accounts: Row,
    candles: Row, ends: Ints, first: int, last: int, daily: Row, counts: Row, works: Row, fills: Row, equity: Row,
) -> None:  # fmt: skip
    """Run m trials over the stretches first..last, which end before the rows `ends`; all state is in the arrays.

    `makers` (k, 2), addresses and where the `places` of each begin, fill `columns` (rows, longest stretch + 1); `run`
    is the address of the generated loop; `codes`, `params`, `memories`, `accounts`, `counts`, `works` have a row a
    trial, `books` (m, 1, W_BOOK); `daily` (m, n + 1) gets the equity at the end of stretch d in column d + 1. `fills`
    holds none (MAX_FILLS rows), `equity` is empty.
    """
    for d in range(first, last):
        start, stop = ends[d - 1] if d > 0 else 0, ends[d]
        for k in range(makers.shape[0]):
            own = places[makers[k, 1] :]
            call_maker(makers[k, 0], maker_params, maker_memory, candles, start, stop, own, columns)
        for j in range(codes.shape[0]):
            call_run(
                run,
                calls,
                codes[j],
                params[j],
                memories[j],
                books[j],
                accounts[j],
                candles,
                start,
                stop,
                equity,
                fills,
                columns,
                counts[j],
                works[j],
            )
            daily[j, d + 1] = books[j, 0, B_EQUITY]
