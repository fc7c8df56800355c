"""Analyzers: blocks that give a direction and a confidence."""

from stratnb.blocks.analyzers.averages import EmaCross
from stratnb.blocks.analyzers.bands import BollingerZone
from stratnb.blocks.analyzers.breakouts import Breakout
from stratnb.blocks.analyzers.candlesticks import Wick
from stratnb.blocks.analyzers.levels import Level
from stratnb.blocks.analyzers.momentum import PriceMomentum
from stratnb.blocks.analyzers.oscillators import RsiZone
from stratnb.blocks.analyzers.trends import TrendDetector
from stratnb.blocks.analyzers.volumes import VolumeSpike

__all__ = [
    "BollingerZone",
    "Breakout",
    "EmaCross",
    "Level",
    "PriceMomentum",
    "RsiZone",
    "TrendDetector",
    "VolumeSpike",
    "Wick",
]
