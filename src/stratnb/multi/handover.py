"""What becomes of the position of the strategy that a switch leaves: conditions, words and work of each policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Refused
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.multi.records import POLICIES, Policy, State
from stratnb.services.transfers import opened, tighter

__all__ = ["ACTIONS", "Transfer", "check_leaving", "check_named", "intended", "prepared", "resting"]

Floats = npt.NDArray[np.float64]
ACTIONS = {"keep": "kept", "adopt": "transferred", "close": "closed", "wait_flat": "waited"}


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """A position that is ready to move: `row` is the new owner's book with it, `memory` that of its exit blocks.

    `gained` is what the old owner realizes when the entry price is set anew, 0 otherwise.
    """

    old: Lane
    new: Lane
    row: Floats
    memory: Floats
    gained: float = 0.0

    def book(self, desk: Desk, *, reference: str, author: str, reason: str) -> None:
        """Move the lots and keep both sides of it; the caller commits them."""
        old, new, memory = self.old.context.book, self.new.context.book, desk.resident(self.new.context.strategy_id)
        memory.memory[:] = self.memory
        old.row[at.B_AVERAGE] = self.row[at.B_AVERAGE]
        old.row[at.B_REALIZED] += self.gained
        rows = desk.services.positions.transfer(old, new, self.row, reference=reference, time_ms=desk.now_ms())
        rows[0][at.F_REALIZED] = self.gained
        for book, row in zip((old, new), rows, strict=True):
            desk.recorder.moved(book, row, reference=reference, author=author, reason=reason)
        self.old.changed = self.new.changed = True


def check_named(policy: str, known: tuple[Policy, ...] = POLICIES) -> None:
    """Raise `ConfigError` for a policy that is not known here."""
    if policy not in known:
        raise ConfigError("enum", f"policy {policy!r} is not known", value=policy, hint=f"one of {', '.join(known)}")


def check_leaving(desk: Desk, old: Lane, new: Lane | None, policy: Policy) -> None:
    """Raise Refused when a strategy cannot be left with this policy as things are."""
    book = old.context.book
    desk.orders.check_resolved(book.strategy_id)
    if policy == "refuse" and not book.is_flat:
        raise Refused(
            "position_open",
            f"{book.strategy_id} holds {book.quantity:g} {book.symbol} or has a working order",
            value=book.quantity,
            hint="use policy keep, adopt, close or wait_flat",
        )
    if policy == "adopt" and new is not None and book.quantity:
        _check_adopts(old, new)


def _check_adopts(old: Lane, new: Lane) -> None:
    """Raise Refused when a strategy cannot take over another's position."""
    book, plan, key = old.context.book, new.context.plan, new.context.strategy_id
    long, hint = book.quantity > 0.0, "use policy keep, close or wait_flat"
    if new.context.symbol != book.symbol:
        raise Refused("adopt_market", f"{key} does not trade {book.symbol}", value=new.context.symbol, hint=hint)
    if not plan.exits:
        raise Refused("adopt_exits", f"{key} has no exits that could manage a position", value=key, hint=hint)
    if not plan.params[at.S_LONG if long else at.S_SHORT]:
        side = "long" if long else "short"
        raise Refused("adopt_direction", f"{key} takes no {side} positions", value=side, hint=hint)
    if not new.context.book.is_flat:
        raise Refused("adopt_not_flat", f"{key} has a position or an order of its own", value=key, hint=hint)
    if book.row[at.B_ORDER] == at.ORDER_EXIT:
        raise Refused("close_in_progress", f"{book.strategy_id} is being closed", hint="wait for the fill")


def prepared(desk: Desk, old: Lane, new: Lane, giver: Floats | None = None) -> Transfer:
    """Return the transfer of a whole position with the new owner's levels: its targets, the tighter of both stops.

    `giver` is the old one's row, if it is not as it stands. Nothing is changed.
    Exit blocks that raise are Refused("adopt_levels").
    """
    memory = desk.resident(new.context.strategy_id).memory.copy()
    giver = old.context.book.row if giver is None else giver
    row = opened(new.context.book.row, giver, float(desk.now_ms()))
    try:
        loop.arm_position(new.context.plan.code, new.context.plan.params, memory, row)
    except Exception as error:
        raise Refused(
            "adopt_levels",
            f"the exits of {new.context.strategy_id} raise {type(error).__name__}: {error}",
            hint="mend the block, or use another policy",
        ) from error
    tighter(row, giver)
    return Transfer(old, new, row, memory)


def intended(old: Lane, to_id: str, policy: Policy) -> tuple[str, int, tuple[str, ...]]:
    """Return what happens to a position by a policy, how many entries are canceled, and all orders in words."""
    book, words = old.context.book, []
    row, canceled = book.row, int(book.row[at.B_ORDER] == at.ORDER_ENTRY)
    if canceled:
        verb = "buy" if row[at.B_ORDER_SIGN] > 0 else "sell"
        words.append(f"cancel {verb} {row[at.B_ORDER_QUANTITY]:g} {book.symbol} at market")
    if not book.quantity:
        return "none", canceled, tuple(words)
    if policy == "close":
        verb = "sell" if book.quantity > 0 else "buy"
        words.append(f"{verb} {abs(book.quantity):g} {book.symbol} at market")
    if policy == "adopt":
        price = row[at.B_AVERAGE]
        words.append(f"transfer {book.quantity:g} {book.symbol} at {price:g} to {to_id}, without an order")
    return ACTIONS[policy], canceled, tuple(words)


def resting(lane: Lane) -> State:
    """Return the state of a strategy that is left: managing while it has a position, else dormant."""
    return "dormant" if lane.context.book.is_flat else "managing"
