"""The history of a position's stop, as its book and the events tell it to who did not see it move."""

from __future__ import annotations

from stratnb.events import Event
from stratnb.kernels import layout as at
from stratnb.services.positions import Book

__all__ = ["begin_stops", "take_stop"]


def begin_stops(book: Book) -> None:
    """Start the history of a book's position with its first stop; a flat book has none."""
    row = book.row
    opened_ms, first = int(row[at.B_OPENED_MS]), float(row[at.B_FIRST_STOP])
    if row[at.B_QUANTITY] == 0.0:
        book.stops.clear()
    elif first == first and (not book.stops or book.stops[0] != (opened_ms, first)):
        book.stops[:] = [(opened_ms, first)]


def take_stop(book: Book, event: Event) -> None:
    """Add a move that an event `STOP_MOVED` tells of, when it is of the present position and newer than the last."""
    to, time_ms = event.payload.get("to"), event.ts_ns // 1_000_000
    if isinstance(to, float) and book.stops and time_ms >= book.stops[-1][0] and to != book.stops[-1][1]:
        book.stops.append((time_ms, to))
