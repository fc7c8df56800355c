"""Lots that change their owner by book transfer: at the average entry price, without an order, without a result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at

__all__ = ["booked", "give", "opened", "receive", "repeat", "tighter", "transfer_row"]

Floats = npt.NDArray[np.float64]
SHIFTED = (at.B_DAY_START, at.B_PEAK_EQUITY, at.B_RISK + at.K_DAY_HIGH, at.B_RISK + at.K_PEAK)
MOVED = (at.B_QUANTITY, at.B_AVERAGE, at.B_PEAK, at.B_TROUGH, at.B_MARK)


def booked(
    rows: Sequence[Floats], *, quantity: float, price: float, after: float, time_ms: float, reason: float
) -> Floats:
    """Return a transfer in the form of a fill row (W_FILL) that follows an owner's other rows; it costs nothing.

    Its trade is the one that the lots leave, or the next one when they come to a flat owner.
    """
    row = np.zeros(at.W_FILL)
    number, held = (rows[-1][at.F_TRADE], rows[-1][at.F_AFTER]) if rows else (0.0, 0.0)
    row[at.F_SIGN], row[at.F_QUANTITY] = math.copysign(1.0, quantity), abs(quantity)
    row[at.F_PRICE], row[at.F_AVERAGE] = price, price
    row[at.F_TIME], row[at.F_REASON], row[at.F_AFTER] = time_ms, reason, after
    row[at.F_TRADE] = number + (1.0 if held == 0.0 else 0.0)
    return row


def transfer_row(giver: Floats, rows: Sequence[Floats], way: float, time_ms: float) -> Floats:
    """Return the row of a giver's whole position for an owner with the given rows: way -1 it leaves, 1 it comes."""
    quantity = float(giver[at.B_QUANTITY])
    after = quantity if way > 0.0 else 0.0
    price = float(giver[at.B_AVERAGE])
    return booked(rows, quantity=way * quantity, price=price, after=after, time_ms=time_ms, reason=at.REASON_TRANSFER)


def opened(row: Floats, giver: Floats, time_ms: float) -> Floats:
    """Return a flat owner's row with a giver's position in it, a new trade without levels that begins now.

    Highest and lowest price since the entry come along; times count from now on.
    """
    made = row.copy()
    made[list(MOVED)] = giver[list(MOVED)]
    made[at.B_TRADE_NO] += 1.0
    made[at.B_OPENED_MS], made[at.B_ORIGINAL] = time_ms, abs(giver[at.B_QUANTITY])
    made[[at.B_HELD, at.B_TRADE_REALIZED, at.B_TRADE_COSTS, at.B_STOP_REASON, at.B_TARGETS, at.B_DONE]] = 0.0
    made[[at.B_STOP, at.B_FIRST_STOP]] = math.nan
    every_ms = row[at.B_FUNDING_MS]
    made[at.B_FUNDING_AT] = (time_ms // every_ms + 1.0) * every_ms if every_ms > 0.0 else math.inf
    return made


def tighter(row: Floats, giver: Floats) -> None:
    """Keep the giver's stop in an owner's armed row where it is the tighter one."""
    side, stop = math.copysign(1.0, row[at.B_QUANTITY]), giver[at.B_STOP]
    if not math.isnan(stop) and not side * (row[at.B_STOP] - stop) >= 0.0:
        row[at.B_STOP], row[at.B_STOP_REASON] = stop, at.REASON_ADOPTED
    if math.isnan(row[at.B_FIRST_STOP]):
        row[at.B_FIRST_STOP] = giver[at.B_FIRST_STOP]


def receive(row: Floats, made: Floats, giver: Floats) -> None:
    """Put the position into the new owner's row; its open result is no gain of the new owner's day."""
    row[:] = made
    _shift(row, float(giver[at.B_QUANTITY] * (giver[at.B_MARK] - giver[at.B_AVERAGE])))


def give(row: Floats) -> None:
    """Take the position out of the old owner's row: it is flat, its realized result stays, no trade is counted."""
    open_pnl = float(row[at.B_QUANTITY] * (row[at.B_MARK] - row[at.B_AVERAGE]))
    row[[at.B_QUANTITY, at.B_TARGETS, at.B_FUNDING_OPEN]] = 0.0
    row[at.B_STOP] = math.nan
    _shift(row, -open_pnl)


def repeat(row: Floats, change: Floats) -> None:
    """Book a transfer again into a row that is put together from an owner's changes; it has no levels then."""
    if change[at.F_AFTER] == 0.0:
        give(row)
        return
    source = row.copy()
    source[[at.B_QUANTITY, at.B_AVERAGE]] = change[at.F_AFTER], change[at.F_PRICE]
    source[[at.B_PEAK, at.B_TROUGH, at.B_MARK]] = change[at.F_PRICE]
    row[:] = opened(row, source, change[at.F_TIME])


def _shift(row: Floats, amount: float) -> None:
    """Move the levels that losses and gains are measured from together with the open result."""
    row[list(SHIFTED)] += amount
    held = row[at.B_QUANTITY]
    open_pnl = held * (row[at.B_MARK] - row[at.B_AVERAGE]) if held else 0.0
    equity = row[at.B_CAPITAL] + row[at.B_REALIZED] + open_pnl - row[at.B_COSTS]
    row[[at.B_EQUITY, at.B_EQUITY_LOW]] = equity
