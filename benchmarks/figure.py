"""One measured figure beside its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Figures", "at_least", "at_most", "noted", "p95"]

Figures = dict[str, dict[str, Any]]


def at_most(value: float, unit: str, target: float, **detail: Any) -> dict[str, Any]:
    """Return a figure that should not be above its target."""
    return _figure(value, unit, f"<= {target:g}", value <= target, detail)


def at_least(value: float, unit: str, target: float, **detail: Any) -> dict[str, Any]:
    """Return a figure that should not be below its target."""
    return _figure(value, unit, f">= {target:g}", value >= target, detail)


def noted(why: str, unit: str, target: str) -> dict[str, Any]:
    """Return a figure that could not be measured, and why."""
    return {"value": None, "unit": unit, "target": target, "ok": None, "note": why}


def p95(times: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return float(np.percentile(times, 95))


def _figure(value: float, unit: str, target: str, ok: bool, detail: Mapping[str, Any]) -> dict[str, Any]:
    shown = float(f"{value:.4g}") if isinstance(value, float) else value
    return {"value": shown, "unit": unit, "target": target, "ok": bool(ok), **detail}
