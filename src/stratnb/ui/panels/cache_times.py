"""How long creations and switches took, as a histogram whose bars stand beside their counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stratnb.ui.format import count, num

__all__ = ["COLUMNS", "EDGES_MS", "histogram"]

EDGES_MS: Final = tuple(digit * 10.0**power for power in range(-1, 4) for digit in (1.0, 2.0, 5.0))
COLUMNS: Final = (
    {"key": "bin", "label": "Took", "align": "r", "sort": False},
    {"key": "made", "label": "Creations", "align": "r", "cls": "is-fix", "sort": False},
    {"key": "madebar", "label": "Share of creations", "cls": "is-barcol", "hide": True, "sort": False},
    {"key": "switched", "label": "Switches", "align": "r", "cls": "is-fix", "sort": False},
    {"key": "switchbar", "label": "Share of switches", "cls": "is-barcol", "hide": True, "sort": False},
)


def histogram(creations_ms: Sequence[float], switches_ms: Sequence[float]) -> list[dict[str, Any]]:
    """Return one row per bin, from the first to the last with a value; bins are 1, 2, 5 in each decade of ms."""
    made, switched = _counts(creations_ms), _counts(switches_ms)
    used = np.flatnonzero(made + switched)
    if not len(used):
        return []
    return [_row(k, int(made[k]), int(switched[k]), made, switched) for k in range(used[0], used[-1] + 1)]


def _counts(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return how many values lie in each bin; bin k starts at edge k - 1."""
    return np.bincount(np.searchsorted(EDGES_MS, values, side="right"), minlength=len(EDGES_MS) + 1)


def _row(k: int, made: int, switched: int, all_made: Any, all_switched: Any) -> dict[str, Any]:
    return {
        "id": f"bin{k}",
        "bin": _label(k),
        "made": {"t": count(made), "n": made},
        "madebar": {"bar": made / max(int(all_made.max()), 1)},
        "switched": {"t": count(switched), "n": switched},
        "switchbar": {"bar": switched / max(int(all_switched.max()), 1), "btone": "info"},
    }


def _label(k: int) -> str:
    """Return the range of a bin in words."""
    if k == 0:
        return f"below {_edge(0)} ms"
    return f"from {_edge(k - 1)} ms" if k == len(EDGES_MS) else f"{_edge(k - 1)} to {_edge(k)} ms"


def _edge(k: int) -> str:
    return num(EDGES_MS[k], 1 if EDGES_MS[k] < 1.0 else 0)
