"""What a decision was made of, told again for a reader by the same functions that decided."""

from __future__ import annotations

import numpy as np
from numba import types

from stratnb.kernels.close import action_of, ask_size, room
from stratnb.kernels.decide import all_weights, tally
from stratnb.kernels.jit import F8, I8, Ints, Row, entry
from stratnb.kernels.layout import A_FREE, MODE_VOTE, S_MODE, S_SIGNAL_MIN, W_ACCOUNT

__all__ = ["W_SIZES", "W_SUMS", "outcome", "sizes", "sums"]

W_SUMS = 9
W_SIZES = 3


@entry(types.void(I8, F8, F8, F8))
def sums(code: Ints, params: Row, memory: Row, out: Row) -> None:
    """Write number, weights, weighted and highest confidence of longs (0..3) and shorts (4..7), and all weights (8)."""
    least = params[S_SIGNAL_MIN] if params[S_MODE] == MODE_VOTE else -1.0
    out[0], out[1], out[2], out[3] = tally(code, params, memory, 1.0, least)
    out[4], out[5], out[6], out[7] = tally(code, params, memory, -1.0, least)
    out[8] = all_weights(code, params)


@entry(types.void(I8, F8, F8, types.float64, types.float64, types.float64, types.float64, F8), allocates=True)
def sizes(
    code: Ints, params: Row, memory: Row, price: float, stop: float, equity: float, free: float, out: Row
) -> None:
    """Write the notional that the sizing block asks for, the most by the cap, and the most by the free balance."""
    out[0] = ask_size(code, params, memory, price, stop, equity, free)
    account = np.zeros(W_ACCOUNT)
    account[A_FREE] = np.inf
    out[1] = room(params, account, equity)
    account[A_FREE] = free
    out[2] = room(params, account, np.inf)


@entry(types.float64(types.float64, types.boolean))
def outcome(reason: float, held: bool) -> float:
    """Return the action that a reason code stands for."""
    return action_of(reason, held)
