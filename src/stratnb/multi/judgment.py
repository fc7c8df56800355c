"""How a strategy is judged to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Health", "HealthStatus"]

HealthStatus = Literal["HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Health:
    """The judgment of one strategy; each reason has its recommendation at the same place.

    `last_candle_age_s` is the age of the newest primary candle on the feed's clock, `error_rate` the share of the
    newest 100 steps that failed.
    """

    strategy_id: str
    status: HealthStatus
    ts_ms: int
    reasons: tuple[str, ...]
    recommendations: tuple[str, ...]
    last_candle_age_s: float | None
    error_rate: float
    loop_lag_p95_s: float
    memory_bytes: int
    open_position: bool
    breaker: str
