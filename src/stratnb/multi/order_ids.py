"""The ids of orders: whose they are, of which generation of the engine, and what they are for."""

from __future__ import annotations

from stratnb.kernels import layout as at
from stratnb.model import Purpose

__all__ = ["order_id", "purpose_of"]

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
CLOSES = frozenset({at.REASON_KILL, at.REASON_RISK, at.REASON_SWITCH, at.REASON_LIQUIDATION, at.REASON_OVERFILL})


def order_id(code: str, generation: int, purpose: Purpose, sequence: int) -> str:
    """Return an order's id: 25 characters that exchanges take.

    >>> order_id("abc234", 3, "e", 36)
    'snb-abc234-0003-e00000010'
    """
    return f"snb-{code}-{_base36(generation, 4)}-{purpose}{_base36(sequence, 8)}"


def _base36(number: int, width: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return text.rjust(width, "0")


def purpose_of(reason: int, reduces: bool) -> Purpose:
    """Return what a market order is for."""
    if not reduces:
        return "e"
    return "m" if reason == at.REASON_MANUAL else "c" if reason in CLOSES else "x"
