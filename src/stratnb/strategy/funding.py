"""What is told when a linear market has no funding rates (trading_rules 8)."""

from __future__ import annotations

from stratnb.errors import Finding
from stratnb.model import Market
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.faults import warning

__all__ = ["funding_missing"]


def funding_missing(config: StrategyConfig, market: Market, hint: str) -> tuple[Finding, ...]:
    """Return the warning `funding_missing` where funding is paid and the document writes no rate, else nothing."""
    costs = config.execution.simulation
    if market.kind != "linear" or not costs.funding or "funding_rate" in costs.model_fields_set:
        return ()
    path = "execution.simulation.funding_rate"
    return (warning(path, "funding_missing", f"no funding rates are given; {costs.funding_rate:g} is paid", 0.0, hint),)
