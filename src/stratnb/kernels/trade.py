"""Orders, fills and levels: what a candle does to one strategy's position (trading_rules 1, 2.1 and 8).

Conventions: the position is signed; a fill of sign s and quantity f at price p changes (q, average) as a netted
ledger does; money is in quote units; slippage and fees are fractions. Intrabar order: the open, then the stop, then
the targets from the nearest on.
"""

from __future__ import annotations

import math

import numpy as np

from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    B_AMBIGUOUS,
    B_AVERAGE,
    B_CAPITAL,
    B_COSTS,
    B_DAY_TRADES,
    B_DONE,
    B_FIRST_STOP,
    B_GAINS,
    B_HELD,
    B_LEVELS,
    B_LOSSES,
    B_OPENED_MS,
    B_ORDER,
    B_ORDER_QUANTITY,
    B_ORDER_REASON,
    B_ORDER_RISK,
    B_ORDER_SIGN,
    B_ORIGINAL,
    B_PEAK,
    B_QUANTITY,
    B_REALIZED,
    B_RESERVED,
    B_STOP,
    B_STOP_REASON,
    B_TARGETS,
    B_TRADE_COSTS,
    B_TRADE_DAY,
    B_TRADE_NO,
    B_TRADE_REALIZED,
    B_TRADES,
    B_TROUGH,
    B_WHOLE,
    B_WINS,
    C_HIGH,
    C_LOW,
    C_OPEN,
    C_TIME,
    DAY_MS,
    F_AFTER,
    F_AVERAGE,
    F_FEE,
    F_PRICE,
    F_QUANTITY,
    F_REALIZED,
    F_REASON,
    F_SIGN,
    F_TIME,
    F_TRADE,
    MAX_TARGETS,
    ORDER_ENTRY,
    ORDER_EXIT,
    ORDER_NONE,
    REASON_ENTRY,
    REASON_TARGET,
    S_LOT,
    S_MAKER,
    S_MIN_NOTIONAL,
    S_MIN_QUANTITY,
    S_SLIPPAGE,
    S_TAKER,
    S_TICK,
    W_LEVEL,
)
from stratnb.kernels.protections import count_trade, note_order

__all__ = [
    "apply_fill",
    "equity_at",
    "fill_open",
    "fill_touch",
    "place_exit",
    "round_down",
    "round_nearest",
    "untouched",
    "worth",
]


@helper
def steps_to(count: float, step: float) -> float:
    """Return count steps as a float, exact for decimal steps."""
    inverse = math.floor(1.0 / step + 0.5)
    if inverse >= 1.0 and abs(inverse * step - 1.0) < 1e-12:
        return count / inverse
    return count * step


@helper
def round_down(value: float, step: float) -> float:
    """Return the value cut down to whole steps.

    A value counts as whole within 1e-9 steps, or within the rounding of the division where that is more.
    """
    if step <= 0.0:
        return value
    count = value / step
    return steps_to(math.floor(count + max(1e-9, 4.5e-16 * count)), step)


@helper
def round_nearest(value: float, step: float) -> float:
    """Return the nearest whole number of steps (half away from zero)."""
    if step <= 0.0:
        return value
    return steps_to(math.floor(value / step + 0.5), step)


@helper
def write_fill(
    fills: Row, n: int, sign: float, quantity: float, price: float, fee: float, time: float, reason: float
) -> int:
    """Append a fill row that has not been applied yet and return the new count."""
    row = fills[n]
    row[F_SIGN] = sign
    row[F_QUANTITY] = quantity
    row[F_PRICE] = price
    row[F_FEE] = fee
    row[F_TIME] = time
    row[F_REASON] = reason
    return n + 1


@helper
def open_trade(book: Row, fill: Row, quantity: float) -> None:
    """Start a round trip."""
    book[B_TRADE_NO] += 1.0
    book[B_QUANTITY] = quantity
    book[B_AVERAGE] = fill[F_PRICE]
    book[B_OPENED_MS] = fill[F_TIME]
    book[B_ORIGINAL] = abs(quantity)
    book[B_PEAK] = fill[F_PRICE]
    book[B_TROUGH] = fill[F_PRICE]
    book[B_HELD] = 0.0
    book[B_TRADE_REALIZED] = 0.0
    book[B_TRADE_COSTS] = 0.0
    book[B_STOP] = np.nan
    book[B_FIRST_STOP] = np.nan
    book[B_STOP_REASON] = 0.0
    book[B_TARGETS] = 0.0
    book[B_DONE] = 0.0
    day = math.floor(fill[F_TIME] / DAY_MS)
    book[B_DAY_TRADES] = book[B_DAY_TRADES] + 1.0 if day == book[B_TRADE_DAY] else 1.0
    book[B_TRADE_DAY] = day


@helper
def close_trade(book: Row, fill: Row) -> None:
    """Count the round trip that a fill just ended, apply the rules over trades and drop its levels."""
    pnl = book[B_TRADE_REALIZED] - book[B_TRADE_COSTS]
    book[B_TRADES] += 1.0
    if pnl > 0.0:
        book[B_WINS] += 1.0
        book[B_GAINS] += pnl
    else:
        book[B_LOSSES] -= pnl
    count_trade(book, fill, pnl)
    book[B_QUANTITY] = 0.0
    book[B_STOP] = np.nan
    book[B_TARGETS] = 0.0


@helper
def apply_fill(book: Row, fill: Row) -> None:
    """Change the ledger by one fill and complete the fill row (realized, position after, trade number)."""
    held, price = book[B_QUANTITY], fill[F_PRICE]
    signed = fill[F_SIGN] * fill[F_QUANTITY]
    realized = 0.0
    if held == 0.0:
        open_trade(book, fill, signed)
    elif held * signed > 0.0:
        book[B_AVERAGE] = (book[B_AVERAGE] * held + price * signed) / (held + signed)
        book[B_QUANTITY] = held + signed
    else:
        closing = min(abs(held), abs(signed))
        realized = (price - book[B_AVERAGE]) * closing * (1.0 if held > 0.0 else -1.0)
        book[B_QUANTITY] = held + signed if closing < abs(held) else 0.0
    average = book[B_AVERAGE]
    book[B_REALIZED] += realized
    book[B_TRADE_REALIZED] += realized
    book[B_COSTS] += fill[F_FEE]
    book[B_TRADE_COSTS] += fill[F_FEE]
    reason = fill[F_REASON]
    if reason > REASON_TARGET and reason <= REASON_TARGET + MAX_TARGETS:
        book[B_LEVELS + int(reason - REASON_TARGET - 1.0) * W_LEVEL + 2] = 1.0
        book[B_DONE] = max(book[B_DONE], reason - REASON_TARGET)
    if reason != REASON_ENTRY:
        note_order(book, fill[F_TIME])
    fill[F_REALIZED] = realized
    fill[F_AFTER] = book[B_QUANTITY]
    fill[F_TRADE] = book[B_TRADE_NO]
    fill[F_AVERAGE] = average
    if held != 0.0 and book[B_QUANTITY] == 0.0:
        close_trade(book, fill)
        rest = abs(signed) - abs(held)
        if rest > 0.0:  # the fill crossed zero: the rest opens the next trade
            open_trade(book, fill, rest if signed > 0.0 else -rest)
            fill[F_AFTER] = book[B_QUANTITY]


@helper
def fill_open(settings: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Fill the pending order at the open with slippage; return the new number of fills."""
    kind, sign = book[B_ORDER], book[B_ORDER_SIGN]
    if kind != ORDER_NONE:
        quantity = book[B_ORDER_QUANTITY]
        if kind == ORDER_EXIT:
            quantity = min(quantity, abs(book[B_QUANTITY]))
        price = candle[C_OPEN] * (1.0 + sign * settings[S_SLIPPAGE])
        if quantity > 0.0:
            fee = settings[S_TAKER] * quantity * price
            n = write_fill(fills, n, sign, quantity, price, fee, candle[C_TIME], book[B_ORDER_REASON])
        book[B_ORDER] = ORDER_NONE
        book[B_RESERVED] = 0.0
    return n


@helper
def too_small(settings: Row, quantity: float, price: float) -> bool:
    """Tell whether a quantity is below what the market takes as one order."""
    edge = 1.0 - 1e-9
    least = max(settings[S_MIN_QUANTITY] * edge, settings[S_LOT] * 0.5)
    return bool(quantity < least or quantity * price < settings[S_MIN_NOTIONAL] * edge)


@helper
def target_quantity(settings: Row, book: Row, k: int, left: float, price: float) -> float:
    """Return what target k closes of what is left: all of it when the rest could not be sold alone.

    A share that could not be sold alone while the rest could closes nothing.
    """
    quantity = min(book[B_LEVELS + k * W_LEVEL + 1], left)
    if book[B_WHOLE] != 0.0 and k == int(book[B_TARGETS]) - 1:
        return left
    if too_small(settings, left - quantity, price):
        return left
    return 0.0 if too_small(settings, quantity, price) else quantity


@helper
def fill_touch(settings: Row, book: Row, candle: Row, fills: Row, n: int) -> int:
    """Resolve stop and targets of the open position against one candle; return the new number of fills."""
    held = book[B_QUANTITY]
    if held == 0.0:
        return n
    side = 1.0 if held > 0.0 else -1.0
    left, stop, slip = abs(held), book[B_STOP], settings[S_SLIPPAGE]
    first, best = candle[C_OPEN], candle[C_HIGH] if side > 0.0 else candle[C_LOW]
    worst = candle[C_LOW] if side > 0.0 else candle[C_HIGH]
    gap = side * (first - stop) <= 0.0
    touched = side * (worst - stop) <= 0.0
    for k in range(int(book[B_TARGETS])):
        level = book[B_LEVELS + k * W_LEVEL]
        if gap or left <= 0.0 or k < book[B_DONE] or book[B_LEVELS + k * W_LEVEL + 2] != 0.0:
            continue
        through = side * (best - level) >= settings[S_TICK] * (1.0 - 1e-6)
        at_open = side * (first - level) > 0.0
        price = first if at_open else level
        quantity = target_quantity(settings, book, k, left, price)
        if quantity > 0.0 and through and touched and not at_open:
            book[B_AMBIGUOUS] += 1.0
            break
        if quantity > 0.0 and (through or at_open):
            fee = settings[S_MAKER] * quantity * price
            n = write_fill(fills, n, -side, quantity, price, fee, candle[C_TIME], REASON_TARGET + k + 1.0)
            left = 0.0 if quantity >= left else left - quantity
    if left > 0.0 and (gap or touched):
        base = first if gap else stop
        price = base * (1.0 - side * slip)
        if not gap:
            price = max(price, worst) if side > 0.0 else min(price, worst)
        fee = settings[S_TAKER] * left * price
        n = write_fill(fills, n, -side, left, price, fee, candle[C_TIME], book[B_STOP_REASON])
    return n


@helper
def place_exit(book: Row, reason: float) -> None:
    """Put a market order that closes the whole position; an earlier exit order keeps its reason."""
    if book[B_QUANTITY] != 0.0 and book[B_ORDER] != ORDER_EXIT:
        book[B_ORDER] = ORDER_EXIT
        book[B_ORDER_SIGN] = -1.0 if book[B_QUANTITY] > 0.0 else 1.0
        book[B_ORDER_QUANTITY] = abs(book[B_QUANTITY])
        book[B_ORDER_REASON] = reason
        book[B_RESERVED] = 0.0


@helper
def place_entry(book: Row, sign: float, quantity: float, reserved: float, risk: float) -> None:
    """Put a market order that opens a position, and reserve its margin and fee, and what it may lose at its stop."""
    book[B_ORDER] = ORDER_ENTRY
    book[B_ORDER_SIGN] = sign
    book[B_ORDER_QUANTITY] = quantity
    book[B_ORDER_REASON] = REASON_ENTRY
    book[B_RESERVED] = reserved
    book[B_ORDER_RISK] = risk


@helper
def unrealized(book: Row, price: float) -> float:
    """Return the open profit at a price."""
    return book[B_QUANTITY] * (price - book[B_AVERAGE]) if book[B_QUANTITY] != 0.0 else 0.0


@helper
def worth(funds: float, quantity: float, average: float, costs: float, price: float) -> float:
    """Return what a strategy with a position is worth at a price; `funds` are its capital and what it realized."""
    return funds + quantity * (price - average) - costs


@helper
def equity_at(book: Row, price: float) -> float:
    """Return capital + realized + unrealized - costs at a price."""
    funds = book[B_CAPITAL] + book[B_REALIZED]
    if book[B_QUANTITY] == 0.0:
        return float(funds - book[B_COSTS])
    return float(worth(funds, book[B_QUANTITY], book[B_AVERAGE], book[B_COSTS], price))


@helper
def untouched(book: Row) -> tuple[float, float]:
    """Return the prices between which a candle touches neither stop nor targets of the open position."""
    stop, nearest, is_long = book[B_STOP], np.nan, book[B_QUANTITY] > 0.0
    for k in range(int(book[B_DONE]), int(book[B_TARGETS])):
        if book[B_LEVELS + k * W_LEVEL + 2] == 0.0:
            level = book[B_LEVELS + k * W_LEVEL]
            is_nearer = level < nearest if is_long else level > nearest
            nearest = level if is_nearer or nearest != nearest else nearest
    low, high = (stop, nearest) if is_long else (nearest, stop)
    return low if low == low else -np.inf, high if high == high else np.inf
