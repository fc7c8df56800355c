"""What a strategy saw at a candle: the candle itself and every indicator that it computes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.strategy.plan import Plan

__all__ = ["inputs", "label"]

Floats = npt.NDArray[np.float64]

CANDLE = {"Open": at.R_OPEN, "High": at.R_HIGH, "Low": at.R_LOW, "Close": at.R_CLOSE, "Volume": at.R_VOLUME}


def inputs(plan: Plan, columns: Floats) -> tuple[tuple[str, float | None], ...]:
    """Return (name, value) of the primary candle and the indicators; None while one is not ready."""
    found: dict[str, float] = {name: columns[k] for name, k in CANDLE.items()}
    for node in plan.nodes:
        if node.block.role != "indicator" or not node.block.kind:
            continue
        where = "" if node.role == "primary" else f", {getattr(plan.config.timeframes, node.role, node.role)}"
        for k, output in enumerate(node.block.outputs):
            found.setdefault(label(node.block, output) + where, columns[node.out + k])
    return tuple((name, float(value) if math.isfinite(value) else None) for name, value in found.items())


def label(block: object, output: str) -> str:
    """Return a short name for a column of a block, such as "EMA 21"."""
    kind = str(getattr(block, "kind", ""))
    period = getattr(block, "period", "")
    name = f"{kind.upper() if len(kind) <= 3 else kind.capitalize()} {period}".strip()
    return name if output == "value" else f"{name} {output}"
