"""Indicators: columns computed from candles or other columns, with the conventions of TA-Lib."""

from __future__ import annotations

from stratnb.blocks.indicators.averages import Ema, Rma, Sma, Wma
from stratnb.blocks.indicators.channels import Donchian, Pivots
from stratnb.blocks.indicators.momentum import Macd, Rsi, Stochastic
from stratnb.blocks.indicators.trend import Adx
from stratnb.blocks.indicators.volatility import Atr, Bollinger, Natr, TrueRange
from stratnb.blocks.indicators.volume import VolumeStats

__all__ = [
    "Adx",
    "Atr",
    "Bollinger",
    "Donchian",
    "Ema",
    "Macd",
    "Natr",
    "Pivots",
    "Rma",
    "Rsi",
    "Sma",
    "Stochastic",
    "TrueRange",
    "VolumeStats",
    "Wma",
]
