"""Symbols and timeframes, read from the names of files."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from stratnb.errors import ConfigError
from stratnb.model import TIMEFRAMES

__all__ = ["check_symbol", "split_pair", "symbol_from", "timeframe_from"]

QUOTES = (
    *("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "DAI", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "NZD"),
    *("TRY", "BRL", "KRW", "BTC", "XBT", "ETH", "BNB"),
)
UNSURE = ("TUSD", "USD")
VENUES = frozenset(
    (
        *("binance", "binanceus", "bitfinex", "bitget", "bitmex", "bitstamp", "bybit", "coinbase", "deribit", "ftx"),
        *("dukascopy", "gate", "gateio", "gemini", "histdata", "huobi", "htx", "hyperliquid", "kraken", "kucoin"),
        *("mexc", "oanda", "okex", "okx", "poloniex", "yahoo"),
    )
)
WORDS = frozenset(
    (
        *(
            "bars",
            "candle",
            "candles",
            "clean",
            "copy",
            "csv",
            "d",
            "data",
            "day",
            "daily",
            "export",
            "feed",
            "futures",
        ),
        *("h", "history", "hour", "hourly", "kline", "klines", "linear", "m", "min", "minute", "ohlc", "ohlcv", "perp"),
        *("perpetual", "prices", "raw", "sample", "spot", "swap", "test", "train"),
    )
)


def timeframe_from(name: str) -> str | None:
    """Return the timeframe that a file name mentions, or None.

    >>> timeframe_from("eth_btc_5m_2018.parquet")
    '5m'
    """
    found = [word for word in _words(name) if word in TIMEFRAMES]
    return found[0] if found else None


def symbol_from(name: str) -> tuple[str, str] | None:
    """Return the symbol that a file name mentions, with a note when its quote currency was assumed, or None.

    >>> symbol_from("BTCUSDT-1m-2018-01.csv")
    ('BTC/USDT', '')
    """
    words = [word.upper() for word in _words(name) if not _is_noise(word)]
    for base, quote in pairwise(words):
        if quote in QUOTES:
            return f"{base}/{quote}", ""
    found = [(word, pair) for word in words if (pair := split_pair(word))]
    if found:
        word, pair = found[0]
        others = (f"{word[: -len(quote)]}/{quote}" for quote in UNSURE if word.endswith(UNSURE[0]))
        other = next((text for text in others if text != pair), "")
        return pair, f"the name {name!r} may also mean {other}: {pair} is assumed" if other else ""
    if words and re.search("[A-Z]", words[0]):
        return f"{words[0]}/USD", f"the name {name!r} has no quote currency: {words[0]}/USD is assumed"
    return None


def split_pair(word: str) -> str | None:
    """Return "BTC/USDT" for "BTCUSDT", or None when no known quote currency ends the word.

    >>> split_pair("XBTUSD"), split_pair("BTCTUSD")
    ('XBT/USD', 'BTC/TUSD')
    """
    for quote in QUOTES:
        if quote == UNSURE[0] and (len(word) <= len("XBTUSD") or word.upper().endswith("USDTUSD")):
            continue  # the T ends the base: XBT, DOT, USDT
        if word.upper().endswith(quote) and len(word) > len(quote) + 1:
            return f"{word[: -len(quote)].upper()}/{quote}"
    return None


def check_symbol(symbol: str) -> str:
    """Return the symbol, or raise `ConfigError` when it is not "BASE/QUOTE"."""
    if re.fullmatch(r"[^\s/]+/[^\s/]+", symbol):
        return symbol
    meant = split_pair(symbol)
    hint = f"did you mean {meant!r}?" if meant else "write base and quote, such as 'BTC/USDT'"
    raise ConfigError("symbol_format", f"symbol {symbol!r} is not base/quote", value=symbol, hint=hint)


def _words(name: str) -> list[str]:
    stem = re.sub(r"\.(csv|txt|tsv|parquet|pq)$", "", Path(name).name, flags=re.IGNORECASE)
    return [word for word in re.split(r"[^0-9a-z]+", stem.lower()) if word]


def _is_noise(word: str) -> bool:
    """Tell whether a word names a venue, a period, a date or the kind of file."""
    return word in VENUES or word in WORDS or bool(re.fullmatch(r"\d+[a-z]{0,3}", word))
