"""The blocks that strategies are made of: indicators, analyzers, filters, sizing and exits."""

from functools import cache
from importlib import import_module

__all__ = ["load"]

_MODULES = ("indicators", "analyzers", "filters", "sizing", "exits")


@cache
def load() -> None:
    """Import the shipped blocks once, which registers them."""
    for name in _MODULES:
        import_module(f"stratnb.blocks.{name}")
