"""A headless run: strategies on files of candles through the engine, and all that came of it as plain values."""

from stratnb.replay.report import table
from stratnb.replay.run import replay
from stratnb.replay.settings import ReplaySettings

__all__ = ["ReplaySettings", "replay", "table"]
