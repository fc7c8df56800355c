"""What the desk writes down while it trades; without a journal nothing is."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stratnb.services.positions import Book

if TYPE_CHECKING:
    from stratnb.multi.lane import Lane, Working

__all__ = ["Recorder"]

Floats = npt.NDArray[np.float64]


class Recorder:
    """Called by the router and the orders at the moments that must be kept; this one writes nothing.

    What happens within an instant is kept whole when it is finished; only intents are written before.
    """

    def begin(self) -> None:
        """Note that an instant begins."""

    def candle(self, symbol: str, row: Floats) -> None:
        """Keep a candle."""

    def stepped(self, lane: Lane, decision: Floats | None) -> None:
        """Note that a strategy took a candle, and what it decided if its primary closed."""

    def fill(self, work: Working, number: int, row: Floats) -> None:
        """Keep a booked fill, the order's `number`th."""

    def moved(self, book: Book, row: Floats, *, reference: str, author: str, reason: str) -> None:
        """Keep one side of a transfer of lots; `row` (W_FILL) is how the book took it."""

    def funding(self, book: Book, amount: float, time_ms: int) -> None:
        """Keep what a position paid at a funding time."""

    def order(self, work: Working) -> None:
        """Keep the present state of an order."""

    def latch(self) -> None:
        """Write the account's row at once, even within an instant: what it forbids outlives a crash."""

    def closes(self, keys: Collection[str], *, begins: bool = False) -> None:
        """Keep whose positions a kill switch has still to close; where it `begins`, with what `latch` writes."""

    def keep(self, key: str, value: str) -> None:
        """Keep a text under a key, in place of an older one."""

    def finish(self, *, sending: bool) -> None:
        """End the instant; when nothing is going to be sent, write when that is due."""

    def changed(self) -> None:
        """Write what an operation changed between two instants; it is on disk when this returns."""

    def commit(self, *, durable: bool) -> None:
        """Write what is kept; a durable commit is on disk when it returns."""

    def check_sending(self) -> None:
        """Raise `Halt` when this engine may not send orders any more."""
