"""Growing series of (time, value) that stay small: when full, every second point is dropped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Curve"]

Floats = npt.NDArray[np.float64]
FIRST_ROWS = 256


class Curve:
    """Points of a curve, thinned to at most `capacity` (None: all are kept); one writer, many readers."""

    def __init__(self, capacity: int | None = 100_000) -> None:
        self.capacity = capacity
        self._rows: Floats = np.empty((FIRST_ROWS, 2))
        self._count = 0
        self._stride = 1
        self._skipped = 0
        self._newest = (np.nan, np.nan)

    def __len__(self) -> int:
        """Return the number of kept points."""
        return self._count

    @property
    def newest_ms(self) -> float:
        """Return the time of the newest point, -inf without any."""
        return self._newest[0] if np.isfinite(self._newest[0]) else -np.inf

    def append(self, time_ms: float, value: float) -> None:
        """Add a point."""
        self._newest = (time_ms, value)
        self._skipped += 1
        if self._skipped < self._stride:
            return
        self._skipped = 0
        if self._count == len(self._rows):
            self._grow()
        rows, count = self._rows, self._count
        rows[count, 0], rows[count, 1] = time_ms, value
        self._count = count + 1

    def rows(self, most: int | None = None) -> Floats:
        """Return a copy of the points (n, 2), thinned to about `most`, the newest always among them."""
        rows = self._rows[: self._count]
        step = 1 if most is None else max(1, -(-len(rows) // most))
        kept = rows[::step].copy()
        if np.isfinite(self._newest[0]) and (not len(kept) or kept[-1, 0] != self._newest[0]):
            kept = np.vstack([kept, self._newest])
        return kept

    def _grow(self) -> None:
        if self.capacity is not None and self._count >= self.capacity:
            half = self._rows[: self._count : 2].copy()
            grown = np.empty((self.capacity, 2))
            grown[: len(half)] = half
            self._rows, self._count, self._stride = grown, len(half), self._stride * 2
            return
        size = 2 * len(self._rows) if self.capacity is None else min(2 * len(self._rows), self.capacity)
        grown = np.empty((size, 2))
        grown[: self._count] = self._rows[: self._count]
        self._rows = grown
