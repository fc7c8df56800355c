"""Rows that a portfolio's kernel makes, such as fills, with the strategy of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at

__all__ = ["Rows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Rows:
    """A buffer that the kernel fills, and copies of what it held, with the number of the strategy of each row."""

    buffer: Floats
    owners: Ints
    parts: list[Floats] = field(default_factory=list)
    parts_owners: list[Ints] = field(default_factory=list)

    def keep(self, count: int, *, only: bool = False) -> None:
        """Copy the first rows; with `only` those of decisions that entered."""
        rows, owners = self.buffer[:count], self.owners[:count]
        chosen = rows[:, at.D_ACTION] == at.ENTER if only else slice(None)
        self.parts.append(rows[chosen].copy())
        self.parts_owners.append(owners[chosen].copy())

    def whole(self) -> tuple[Floats, Ints]:
        """Return all rows in the order in which they happened, and their strategies."""
        rows, owners = [self.buffer[:0], *self.parts], [self.owners[:0], *self.parts_owners]
        return np.concatenate(rows), np.concatenate(owners)

    def by_owner(self, count: int) -> list[Floats]:
        """Return the rows of each strategy in the order in which they happened."""
        rows, owners = self.whole()
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=count))
        return np.split(rows[order], ends[:-1])
