"""Panels and dashboards for notebooks; the widget libraries are imported when a name is first used."""

from importlib import import_module
from typing import Any

__all__ = [
    "BacktestPanel",
    "CachePanel",
    "Dashboard",
    "DecisionPanel",
    "EngineBar",
    "EquityPanel",
    "EventLog",
    "Positions",
    "PriceChart",
    "RiskPanel",
    "StrategyTable",
    "build",
    "engine_panel",
    "observer",
    "trader",
]

_HOMES = {
    "BacktestPanel": "panels.backtest",
    "CachePanel": "panels.cache",
    "Dashboard": "dashboards",
    "DecisionPanel": "panels.decision",
    "EngineBar": "panels.engine_bar",
    "EquityPanel": "panels.equity",
    "EventLog": "panels.events",
    "Positions": "panels.positions",
    "PriceChart": "panels.chart",
    "RiskPanel": "panels.risk",
    "StrategyTable": "panels.strategies",
    "build": "dashboards",
    "engine_panel": "dashboards",
    "observer": "attach",
    "trader": "start",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
