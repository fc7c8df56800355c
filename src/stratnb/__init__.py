"""Trading strategies made of blocks: the same code backtests, replays, trades on paper and draws itself.

The names below load on first use, so that `import stratnb` is quick and brings in neither compiler nor charts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratnb.engine import Engine, get_engine
    from stratnb.errors import ConfigError, Halt, Refused, RetryLater, StratnbError
    from stratnb.market_data import Archive, Candles, load_candles, resample, synthetic_market
    from stratnb.model import Market
    from stratnb.observer import ObserverBoard, observe
    from stratnb.parity import parity
    from stratnb.parity_explain import explain
    from stratnb.research.backtest import Backtest, backtest
    from stratnb.research.lookahead import lookahead
    from stratnb.research.portfolio import portfolio
    from stratnb.research.space import Range
    from stratnb.research.sweep import sweep
    from stratnb.strategy.documents import build_config, library

__all__ = [
    "Archive",
    "Backtest",
    "Candles",
    "ConfigError",
    "Engine",
    "Halt",
    "Market",
    "ObserverBoard",
    "Range",
    "Refused",
    "RetryLater",
    "StratnbError",
    "backtest",
    "build_config",
    "explain",
    "get_engine",
    "library",
    "load_candles",
    "lookahead",
    "observe",
    "parity",
    "portfolio",
    "resample",
    "sweep",
    "synthetic_market",
]

_HOMES = {
    "engine": ("Engine", "get_engine"),
    "errors": ("ConfigError", "Halt", "Refused", "RetryLater", "StratnbError"),
    "market_data": ("Archive", "Candles", "load_candles", "resample", "synthetic_market"),
    "model": ("Market",),
    "observer": ("ObserverBoard", "observe"),
    "parity": ("parity",),
    "parity_explain": ("explain",),
    "research.backtest": ("Backtest", "backtest"),
    "research.lookahead": ("lookahead",),
    "research.portfolio": ("portfolio",),
    "research.space": ("Range",),
    "research.sweep": ("sweep",),
    "strategy.documents": ("build_config", "library"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__


class _Front(ModuleType):
    """The package; a public name that a module shares (`parity`) stays the function when that module is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Front
