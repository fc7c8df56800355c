"""The end of a backtest: an open position is marked to the last close, or closed there with its costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.strategy.plan import Plan

__all__ = ["close_at_end"]

Floats = npt.NDArray[np.float64]


def close_at_end(
    plan: Plan, books: Floats, slot: int, account: Floats, last: Floats, reason: int = at.REASON_END
) -> Floats:
    """Close a book's position at the close of the last candle and return the fill rows (0 or 1, W_FILL).

    `last` is that candle's row (W_CANDLE). An order that waits for the next open is dropped. The fill has slippage and
    the taker's fee, and the time of the close, for a `reason` (REASON_ code); book and account are settled after it.
    """
    book, fills = books[slot], np.zeros((at.MAX_FILLS, at.W_FILL))
    if book[at.B_ORDER] == at.ORDER_ENTRY or book[at.B_ORDER_REASON] != at.REASON_LIQUIDATION:
        book[[at.B_ORDER, at.B_RESERVED]] = 0.0
    if book[at.B_QUANTITY] == 0.0:
        return fills[:0]
    close, close_ms = last[at.C_CLOSE], last[at.C_TIME] + plan.base_ms
    candle = np.array([close, close, close, close, last[at.C_VOLUME], close_ms])
    settings = plan.params.copy()
    settings[at.S_PARTICIPATION] = 0.0
    loop.close_position(book, float(reason))
    count = loop.open_fills(settings, book, candle, fills, 0)
    for fill in fills[:count]:
        loop.apply(book, fill)
    rows = np.zeros((int(books[:, at.B_MARKET].max()) + 1, at.W_CANDLE))
    fresh = np.zeros(len(rows))
    rows[int(book[at.B_MARKET])], fresh[int(book[at.B_MARKET])] = candle, 1.0
    loop.settle_all(books, account, rows, fresh, close_ms)
    return fills[:count]
