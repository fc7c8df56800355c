"""Position exiting: owns the level row (stop, targets) of each open position and places closing orders."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Refused
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.costs import expected_slippage
from stratnb.services.positions import Book
from stratnb.strategy.plan import Plan

__all__ = ["PositionExiting"]

Floats = npt.NDArray[np.float64]


class PositionExiting:
    """Arms the levels of a new position and watches how they move; works while a strategy is paused or has failed."""

    def arm(self, plan: Plan, memory: Floats, book: Book, time_ms: int) -> None:
        """Fix stop and targets of a position that was just entered, at its average price."""
        loop.arm_position(plan.code, plan.params, memory, book.row)
        stop = float(book.row[at.B_STOP])
        book.stops.clear()
        if not math.isnan(stop):
            book.stops.append((time_ms, stop))

    def arm_again(self, plan: Plan, memory: Floats, book: Book, time_ms: int) -> None:
        """Fix the levels of a position that a further fill of its entry made larger.

        Its targets are shares of the whole, at the new average price; once one was hit they stay. The stop never
        loosens.
        """
        row = book.row
        row[at.B_ORIGINAL] = max(float(row[at.B_ORIGINAL]), abs(book.quantity))
        if row[at.B_DONE] != 0.0:
            return
        before = row[[at.B_STOP, at.B_FIRST_STOP, at.B_STOP_REASON]]
        loop.arm_position(plan.code, plan.params, memory, row)
        if not math.isnan(before[0]) and not _side(book) * (row[at.B_STOP] - before[0]) > 0.0:
            row[[at.B_STOP, at.B_FIRST_STOP, at.B_STOP_REASON]] = before
        self.watch(book, time_ms)

    def flatten(self, book: Book, quantity: float) -> None:
        """Place a market order for a part of the position that should not be there, whatever its size."""
        book.row[at.B_ORDER] = at.ORDER_NONE
        loop.close_position(book.row, float(at.REASON_OVERFILL))
        book.row[at.B_ORDER_QUANTITY] = min(quantity, abs(book.quantity))

    def watch(self, book: Book, time_ms: int) -> None:
        """Record and announce a stop that moved at a close."""
        stop = float(book.row[at.B_STOP])
        before = book.stops[-1][1] if book.stops else math.nan
        if stop != before and not math.isnan(stop):
            book.stops.append((time_ms, stop))
            payload = {
                "from": None if math.isnan(before) else before,
                "to": stop,
                "reason": book.reason(book.row[at.B_STOP_REASON]),
            }
            book.events.publish("STOP_MOVED", source="exits", payload=payload)

    def move_stop(self, book: Book, price: float, time_ms: int) -> float:
        """Tighten the stop of an open position by hand and return it, in whole ticks.

        Raises Refused: no_position, stop_not_tighter (loosening, too), stop_beyond_mark; ConfigError: number.
        """
        row, side = book.row, _side(book)
        if isinstance(price, bool) or not isinstance(price, int | float) or not (0.0 < price < math.inf):
            raise ConfigError("number", f"a stop is a price above 0, not {price!r}", value=price, hint="give a price")
        stop = _whole(price, float(book.settings[at.S_TICK]), ROUND_HALF_UP)
        if side * (row[at.B_MARK] - stop) <= 0.0:
            raise Refused(
                "stop_beyond_mark",
                f"a stop at {stop:g} lies beyond the mark {row[at.B_MARK]:g} of {book.symbol}",
                value=stop,
                hint="choose a price on the losing side of the mark, or close the position",
            )
        if side * (stop - row[at.B_STOP]) <= 0.0:
            raise Refused(
                "stop_not_tighter",
                f"the stop stays at {row[at.B_STOP]:g}: {stop:g} is no tighter",
                value=stop,
                hint=f"choose a price {'above' if side > 0 else 'below'} the present stop",
            )
        row[at.B_STOP], row[at.B_STOP_REASON] = stop, at.REASON_MANUAL
        self.watch(book, time_ms)
        return stop

    def breakeven(self, book: Book, time_ms: int) -> float:
        """Move the stop to where what is left of the position closes without a loss after fees and slippage.

        A long of average price a needs p with p (1 - slippage) (1 - fee) = a (1 + fee), rounded to its gaining side.
        """
        side, settings = _side(book), book.settings
        fee, slip = float(settings[at.S_TAKER]), float(expected_slippage(settings, book.row[at.B_NATR]))
        even = float(book.row[at.B_AVERAGE]) * (1.0 + side * fee) / ((1.0 - side * fee) * (1.0 - side * slip))
        way = ROUND_CEILING if side > 0 else ROUND_FLOOR
        return self.move_stop(book, _whole(even, float(settings[at.S_TICK]), way), time_ms)

    def request_close(self, book: Book, reason: int, fraction: float = 1.0) -> None:
        """Place a market order for a fraction of the position, in whole lots; a second one while it works is refused.

        A fraction below the market's minimum is Refused("below_minimum"); a rest below it is closed as well.
        """
        if book.row[at.B_QUANTITY] == 0.0:
            return
        if book.row[at.B_ORDER] == at.ORDER_EXIT:
            raise Refused(
                "close_in_progress",
                f"{book.strategy_id} is being closed already",
                value=book.strategy_id,
                hint="wait for its fill",
            )
        quantity = _part(book, fraction)
        loop.close_position(book.row, float(reason))
        book.row[at.B_ORDER_QUANTITY] = quantity


def _side(book: Book) -> float:
    """Return the sign of an open position."""
    if book.quantity == 0.0:
        raise Refused("no_position", f"{book.strategy_id} is flat", value=book.strategy_id, hint="there is no stop")
    return math.copysign(1.0, book.quantity)


def _whole(value: float, step: float, rounding: str) -> float:
    """Return the value in whole steps, exact for decimal ones."""
    if step <= 0.0:
        return value
    size = Decimal(repr(step))
    return float((Decimal(repr(float(value))) / size).quantize(Decimal(1), rounding) * size)


def _part(book: Book, fraction: float) -> float:
    """Return how much of a position a fraction of it closes."""
    held, settings = abs(book.quantity), book.settings
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not (0.0 < fraction <= 1.0):
        hint = "0.5 closes half of it"
        raise ConfigError("range", f"a fraction is above 0 and at most 1, not {fraction!r}", value=fraction, hint=hint)
    if fraction == 1.0:
        return held
    quantity = _whole(held * fraction, float(settings[at.S_LOT]), ROUND_FLOOR)
    if _too_small(book, quantity):
        raise Refused(
            "below_minimum",
            f"{quantity:g} {book.symbol} is less than the market takes as one order",
            value=quantity,
            hint="close a larger part, or all of it",
        )
    return held if _too_small(book, held - quantity) else quantity


def _too_small(book: Book, quantity: float) -> bool:
    edge, settings = 1.0 - 1e-9, book.settings
    least = max(settings[at.S_MIN_QUANTITY] * edge, settings[at.S_LOT] * 0.5)
    return bool(quantity < least or quantity * book.row[at.B_MARK] < settings[at.S_MIN_NOTIONAL] * edge)
