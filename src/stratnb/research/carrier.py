"""A strategy around one block: it trades often and has the block in the place of its role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stratnb.blocks.base import Analyzer, Block, Exit, Filter, Indicator, Sizing
from stratnb.errors import ConfigError
from stratnb.model import TIMEFRAMES
from stratnb.strategy.config import AnalyzerEntry, FrozenMap, IndicatorEntry, StrategyConfig
from stratnb.strategy.documents import build_config

__all__ = ["block_config"]


def block_config(block: Block | type[Block], timeframe: str) -> StrategyConfig:
    """Return a strategy that trades often and has the block in the place of its role."""
    made = _made(block)
    config = build_config(_carrier(timeframe)).config
    if isinstance(made, Indicator):
        return config.model_copy(update={"indicators": FrozenMap({"candidate": IndicatorEntry(block=made)})})
    if isinstance(made, Analyzer):
        entry = AnalyzerEntry(kind=made.kind or "candidate", name="candidate", weight=1.0, params=made)
        return config.model_copy(update={"analyzers": (*config.analyzers, entry)})
    if isinstance(made, Filter):
        return config.model_copy(update={"filters": FrozenMap({"candidate": made})})
    if isinstance(made, Sizing):
        return config.model_copy(update={"sizing": made})
    if isinstance(made, Exit):
        exits = {"stop_loss": config.exits["stop_loss"], made.kind or "candidate": made}
        return config.model_copy(update={"exits": FrozenMap(exits)})
    raise ConfigError("type", f"{type(made).__name__} has no role", value=repr(made)[:80], hint="subclass Indicator")


def _made(block: Block | type[Block]) -> Block:
    """Return the block itself, or one of the class with its defaults."""
    if isinstance(block, Block):
        return block
    try:
        return block()
    except ValueError as error:
        text = f"{block.role} {block.__name__} has parameters without defaults"
        raise ConfigError("block_parameters", text, value=block.__name__, hint="give a block, not its class") from error


def _carrier(timeframe: str) -> dict[str, Any]:
    """Return the document that carries a block under proof: it enters whenever it is flat."""
    off = ("max_drawdown", "max_consecutive_losses", "stop_loss_guard", "streak_factors", "max_trades_per_day")
    longer = _longer(timeframe)
    return {
        "schema": 1,
        "name": "carrier",
        "title": "Carrier",
        "market": {"kind": "linear"},
        "timeframes": {"primary": timeframe, **({"trend": longer[0]} if longer else {})},
        "analyzers": [{"kind": "ema", "params": {"fast": 3, "slow": 8}}],
        "entry": {"mode": "coverage", "min_candles": 1, "min_score": 0.0, "min_confidence": 0.0},
        "sizing": {"kind": "fixed_fraction", "fraction": 0.2},
        "exits": {
            "stop_loss": {"fraction": 0.004},
            "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
            "time_exit": {"max_candles": 20},
        },
        "risk": {**dict.fromkeys(off), "max_daily_loss": None, "drawdown_factor": False},
    }


def _longer(timeframe: str) -> Sequence[str]:
    """Return the timeframes that a few candles of this one fill, the shortest first."""
    length = TIMEFRAMES[timeframe]
    return [name for name, ms in TIMEFRAMES.items() if ms >= 3 * length and ms % length == 0]
