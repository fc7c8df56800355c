"""Rows that a kernel makes call by call, such as fills, one after the other in one table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at

__all__ = ["Rows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CALLS = 8  # for how many calls there is room at first; what is not written on takes no memory


class Rows:
    """A table that grows, with the number of the strategy of each row; a call gets `least` rows to write on."""

    def __init__(self, width: int, least: int) -> None:
        self._least, self._count = least, 0
        self._rows, self._owners = np.empty((CALLS * least, width)), np.empty(CALLS * least, np.int64)

    def room(self) -> tuple[Floats, Ints]:
        """Return the rows, and their owners, that the next call writes on."""
        stop = self._count + self._least
        if stop > len(self._rows):
            rows, owners = self._rows, self._owners
            self._rows, self._owners = np.empty((2 * stop, rows.shape[1])), np.empty(2 * stop, np.int64)
            self._rows[: self._count], self._owners[: self._count] = rows[: self._count], owners[: self._count]
        return self._rows[self._count : stop], self._owners[self._count : stop]

    def keep(self, count: int, *, only: bool = False) -> None:
        """Keep the first rows of the room; with `only` those of decisions that entered."""
        rows, owners = self._rows[self._count :], self._owners[self._count :]
        if only:
            chosen = np.flatnonzero(rows[:count, at.D_ACTION] == at.ENTER)
            count = len(chosen)
            rows[:count], owners[:count] = rows[chosen], owners[chosen]
        self._count += count

    def add(self, rows: Floats, owner: int) -> None:
        """Keep rows that were made elsewhere, not more than a call gets."""
        room, owners = self.room()
        room[: len(rows)], owners[: len(rows)] = rows, owner
        self.keep(len(rows))

    def whole(self) -> tuple[Floats, Ints]:
        """Return all rows in the order in which they happened, and their strategies."""
        return self._rows[: self._count], self._owners[: self._count]

    def by_owner(self, count: int) -> list[Floats]:
        """Return the rows of each strategy in the order in which they happened."""
        rows, owners = self.whole()
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=count))
        return np.split(rows[order], ends[:-1])
