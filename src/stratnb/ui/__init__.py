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
    "Report",
    "RiskPanel",
    "StrategyTable",
    "SweepPanel",
    "WalkForwardPanel",
    "build",
    "engine_panel",
    "observer",
    "report",
    "research",
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
    "Report": "panels.report_view",
    "RiskPanel": "panels.risk",
    "StrategyTable": "panels.strategies",
    "SweepPanel": "panels.sweep",
    "WalkForwardPanel": "panels.walk_forward",
    "build": "dashboards",
    "engine_panel": "dashboards",
    "observer": "attach",
    "report": "panels.report_view",
    "research": "research_page",
    "trader": "start",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
