"""The account as the sum of its books."""

from __future__ import annotations

from stratnb.kernels.jit import Row, helper
from stratnb.kernels.layout import (
    A_DRAWDOWN,
    A_EQUITY,
    A_EQUITY_LOW,
    A_FREE,
    A_GROSS,
    A_NET,
    A_OPEN,
    A_PEAK,
    A_RESERVED,
    A_START,
    B_AVERAGE,
    B_CAPITAL,
    B_COSTS,
    B_EQUITY,
    B_EQUITY_LOW,
    B_LEVERAGE,
    B_LINEAR,
    B_MARK,
    B_ORDER,
    B_QUANTITY,
    B_REALIZED,
    B_RESERVED,
    B_USED,
    ORDER_ENTRY,
)
from stratnb.kernels.trade import unrealized

__all__ = ["fixed_terms", "marked_terms", "note_account_fall", "note_sums", "sum_account"]


@helper
def note_account_fall(account: Row, equity: float) -> None:
    """Keep the account's deepest drawdown."""
    if account[A_PEAK] > 0.0:
        account[A_DRAWDOWN] = max(account[A_DRAWDOWN], 1.0 - equity / account[A_PEAK])


@helper
def marked_terms(book: Row) -> tuple[float, float, float, float, float]:
    """Return what of a book's part of the account moves with its mark: of equity, its low, free, gross, net."""
    return (
        book[B_EQUITY] - book[B_CAPITAL],
        book[B_EQUITY_LOW] - book[B_CAPITAL],
        unrealized(book, book[B_MARK]) if book[B_LINEAR] != 0.0 else 0.0,
        abs(book[B_QUANTITY]) * book[B_MARK],
        book[B_QUANTITY] * book[B_MARK],
    )


@helper
def fixed_terms(book: Row) -> tuple[float, float, float]:
    """Return what of a book's part of the account does not: of free, reserved, open positions."""
    pnl = book[B_REALIZED] - book[B_COSTS]
    return (
        pnl - abs(book[B_QUANTITY]) * book[B_AVERAGE] / book[B_LEVERAGE] - book[B_RESERVED],
        book[B_RESERVED],
        1.0 if book[B_QUANTITY] != 0.0 or book[B_ORDER] == ORDER_ENTRY else 0.0,
    )


@helper
def note_sums(
    account: Row, equity: float, low: float, free: float, gross: float, net: float, reserved: float, opened: float
) -> None:
    """Write the sums over the books into the account; peak and drawdown follow."""
    account[A_EQUITY] = equity
    account[A_EQUITY_LOW] = low
    account[A_FREE] = free
    account[A_GROSS] = gross
    account[A_NET] = net
    account[A_OPEN] = opened
    account[A_RESERVED] = reserved
    account[A_PEAK] = max(account[A_PEAK], equity)
    note_account_fall(account, equity)


@helper
def sum_account(books: Row, account: Row) -> None:
    """Fold the books into the account: equity, free balance, exposures, open positions; in slot order."""
    equity, low, free = account[A_START], account[A_START], account[A_START]
    gross, net, opened, reserved = 0.0, 0.0, 0.0, 0.0
    for s in range(books.shape[0]):
        if books[s, B_USED] == 0.0:
            continue
        (a, b, d, e, f), (c, g, h) = marked_terms(books[s]), fixed_terms(books[s])
        equity, low, free = equity + a, low + b, free + c + d
        gross, net, reserved, opened = gross + e, net + f, reserved + g, opened + h
    note_sums(account, equity, low, free, gross, net, reserved, opened)
