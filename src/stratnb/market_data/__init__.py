"""Candles: history, import, archive, resampling, calendar and a synthetic market."""

from stratnb.market_data.archive import Archive
from stratnb.market_data.calendar import minute_of_week
from stratnb.market_data.candles import Candles, market_from
from stratnb.market_data.compare import difference_report
from stratnb.market_data.funding import FundingRates, funding_tables, load_funding
from stratnb.market_data.load import QualityReport, load_candles
from stratnb.market_data.resample import resample
from stratnb.market_data.synthetic import synthetic_market
from stratnb.market_data.tail import ArchiveTail

__all__ = [
    "Archive",
    "ArchiveTail",
    "Candles",
    "FundingRates",
    "QualityReport",
    "difference_report",
    "funding_tables",
    "load_candles",
    "load_funding",
    "market_from",
    "minute_of_week",
    "resample",
    "synthetic_market",
]
