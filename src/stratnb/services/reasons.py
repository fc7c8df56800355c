"""The words of a book's fills and stops, which outlive the exits of an earlier configuration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.services.positions import Book
from stratnb.strategy.plan import Plan

__all__ = ["Reasons", "recode", "word_fills"]

Floats = npt.NDArray[np.float64]


class Reasons:
    """Turns reason codes into words: first those of the plan, then those of exits that it no longer has."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._own = [plan.fill_reason(at.REASON_EXIT + k) for k in range(len(plan.exits))]
        self.former: list[str] = []

    def __call__(self, code: float) -> str:
        """Return the word of a code."""
        place = int(code) - at.REASON_EXIT - len(self._own)
        return self._plan.fill_reason(code) if place < 0 else self.former[place]

    def code(self, word: str) -> float:
        """Return the code of an exit's word; a word that the plan does not have gets one of its own."""
        if word not in self._own and word not in self.former:
            self.former.append(word)
        return float(at.REASON_EXIT + [*self._own, *self.former].index(word))

    def stop_code(self, word: str) -> float:
        """Return the code of a stop's word; a stop of an exit that is gone goes over to the one that limits losses."""
        if word in self._own:
            return self.code(word)
        places = (k for k, (_, block) in enumerate(self._plan.exits) if type(block).limits_loss)
        found = next(places, None)
        return float(at.REASON_MANUAL if found is None else at.REASON_EXIT + found)


def recode(book: Book, plan: Plan) -> None:
    """Let a book go by a plan with other exits: its fills keep their words, its stop passes to the new ones."""
    words, reasons = book.reason, Reasons(plan)
    for cell in (at.B_STOP_REASON, at.B_ORDER_REASON):
        if book.row[cell] >= at.REASON_EXIT:
            book.row[cell] = reasons.stop_code(words(book.row[cell]))
    told = [words(row[at.F_REASON]) if row[at.F_REASON] >= at.REASON_EXIT else "" for row in book.fill_rows]
    word_fills(book, plan, told)


def word_fills(book: Book, plan: Plan, words: Sequence[str]) -> None:
    """Give the fills of a book, in their order, the codes that a plan and those before it have for their words."""
    reasons = Reasons(plan)
    book.fill_rows = [_worded(row, word, reasons) for row, word in zip(book.fill_rows, words, strict=True)]
    book.reason = reasons


def _worded(row: Floats, word: str, reasons: Reasons) -> Floats:
    """Return a fill's row with the present code of its word."""
    if row[at.F_REASON] < at.REASON_EXIT:
        return row
    fresh = row.copy()
    fresh[at.F_REASON] = reasons.code(word)
    return fresh
