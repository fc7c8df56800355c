"""Limit entries: their price, and what becomes of one that has expired (trading_rules 8)."""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.checks import check_entry
from stratnb.kernels.jit import Ints, Row, helper
from stratnb.kernels.layout import (
    A_NOW,
    B_ENTRIES,
    B_EXPIRED,
    B_NATR,
    B_ORDER_MS,
    B_QUANTITY,
    C_CLOSE,
    ENTRIES_ON,
    H_FIRST_STOP,
    S_FALLBACK,
    S_LEVERAGE,
    S_LIMIT_OFFSET,
    S_TAKER,
    S_TICK,
    W_DECISION,
    Z_ENTER,
)
from stratnb.kernels.levels import call_first_stop
from stratnb.kernels.measures import loss_at_stop
from stratnb.kernels.orders import place_entry
from stratnb.kernels.protections import note_order
from stratnb.kernels.rounding import round_down, round_nearest
from stratnb.kernels.sums import sum_account

__all__ = ["fall_back", "limit_price"]


@helper
def limit_price(params: Row, sign: float, close: float) -> float:
    """Return the price of a limit entry: the close, moved in the passive direction and on to a whole tick there."""
    price, tick = close * (1.0 - sign * params[S_LIMIT_OFFSET]), params[S_TICK]
    down = round_down(price, tick)
    return down if sign > 0.0 or down >= price * (1.0 - 1e-12) else round_nearest(down + tick, tick)


@helper
def fall_back(
    code: Ints, params: Row, memory: Row, books: Row, slot: int, account: Row, candle: Row, seen: Row
) -> None:
    """Put what is left of a limit entry that has expired to market, where that is chosen and the checks still pass.

    The account is summed then, so that strategies after this one see it. `seen` is a decision row to write on.
    """
    book, price = books[slot], candle[C_CLOSE]
    sign, quantity = 1.0 if book[B_EXPIRED] > 0.0 else -1.0, abs(book[B_EXPIRED])
    book[B_EXPIRED] = 0.0
    if params[S_FALLBACK] == 0.0 or book[B_QUANTITY] != 0.0 or book[B_ENTRIES] != ENTRIES_ON:
        return
    for j in range(W_DECISION):
        seen[j] = np.nan
    stop, _ = call_first_stop(code[H_FIRST_STOP], code, params, memory, sign, price)
    if check_entry(params, books, slot, account, sign, quantity, price, stop, seen, False) == Z_ENTER:
        cost = quantity * price * (1.0 / params[S_LEVERAGE] + params[S_TAKER])
        risk = loss_at_stop(params, book[B_NATR], quantity, price, stop)
        place_entry(book, sign, quantity, 0.0, math.inf, cost, risk)
        book[B_ORDER_MS] = account[A_NOW]
        note_order(book, account[A_NOW])
        sum_account(books, account)
