"""Rows as bytes of an earlier version: cells that came later are filled in."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratnb.kernels.jit import Row
from stratnb.kernels.layout import W_FILL

__all__ = ["fill_from", "put_row", "widened"]


def widened(blob: bytes, width: int) -> Row:
    """Return the floats of a row with zeros for cells that it did not have yet; a row that is wider stays."""
    cells: Row = np.frombuffer(blob, np.float64)
    return np.concatenate((cells, np.zeros(max(0, width - cells.size))))


def fill_from(blob: bytes) -> Row:
    """Return a fill row (W_FILL) from its bytes."""
    return widened(blob, W_FILL)


def put_row(blob: bytes, row: Row, first: int) -> bool:
    """Copy a kept row over the first cells of a fresh one; False for a width that never was (less than `first`)."""
    if len(blob) % 8 or not 8 * first <= len(blob) <= row.nbytes:
        return False
    cells: Any = np.frombuffer(blob, np.float64)
    row[: cells.size] = cells
    return True
