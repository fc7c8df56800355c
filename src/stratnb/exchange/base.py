"""What the engine asks of an exchange and of a feed; paper and replay are one answer each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.model import Market, Order

__all__ = ["Exchange", "Feed", "Instant"]

Floats = npt.NDArray[np.float64]


class Instant(NamedTuple):
    """The candles that closed at `close_ms`: market number and row (open, high, low, close, volume, open time)."""

    close_ms: int
    candles: Sequence[tuple[int, Floats]]


class Feed(Protocol):
    """A source of finished candles, instant by instant."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols; a market number is the place in here."""
        ...

    @property
    def timeframe(self) -> str:
        """Return the timeframe of the candles."""
        ...

    def next(self) -> Instant | None:
        """Return the next instant, None at the end."""
        ...


class Exchange(Protocol):
    """Where orders go. Rows are those of `stratnb.kernels.layout`."""

    def market(self, symbol: str) -> Market:
        """Return a market, or raise `ConfigError` (`market_unknown`)."""
        ...

    def submit(self, order: Order) -> None:
        """Take an order; it is filled by `advance` or `execute`."""
        ...

    def cancel(self, strategy_id: str) -> bool:
        """Drop the strategy's working order; return whether there was one."""
        ...

    def open_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fills of the working order at the candle's open."""
        ...

    def touch_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fills of stop and targets within the candle."""
        ...
