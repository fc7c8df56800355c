"""The paper exchange: orders are filled from candles by the same kernels as in a backtest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, nearest
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.model import Market, Order

__all__ = ["PaperExchange"]

Floats = npt.NDArray[np.float64]


class PaperExchange:
    """Keeps the markets and the working orders (one per strategy); nothing leaves the process.

    The open of a candle fills the working order, its range the stop and the targets. A price that arrives alone is a
    candle with open, high, low and close equal.
    """

    def __init__(self, markets: Iterable[Market] = ()) -> None:
        self._markets = {market.symbol: market for market in markets}
        self._orders: dict[str, Order] = {}
        self._fills = np.zeros((at.MAX_FILLS, at.W_FILL))

    def __repr__(self) -> str:
        """Return the numbers of markets and working orders."""
        return f"<PaperExchange {len(self._markets)} markets, {len(self._orders)} orders>"

    def market(self, symbol: str) -> Market:
        """Return a market, or raise `ConfigError` (`market_unknown`) with near symbols."""
        if symbol not in self._markets:
            close = nearest(symbol, self._markets)
            known = ", ".join(list(self._markets)[:12]) or "none: open a feed first"
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"markets: {known}"
            raise ConfigError("market_unknown", f"market {symbol!r} is not listed", value=symbol, hint=hint)
        return self._markets[symbol]

    def submit(self, order: Order) -> None:
        """Take a market order; it fills at the next open."""
        self._orders[order.strategy_id] = order

    def working(self, strategy_id: str) -> Order | None:
        """Return the strategy's working order."""
        return self._orders.get(strategy_id)

    def orders(self) -> tuple[Order, ...]:
        """Return every working order, oldest first."""
        return tuple(self._orders.values())

    def cancel(self, strategy_id: str) -> bool:
        """Drop the strategy's working order; return whether there was one."""
        return self._orders.pop(strategy_id, None) is not None

    def open_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fill rows of the order in the book at the candle's open; they are not applied yet."""
        return self._fills[: loop.open_fills(settings, book, candle, self._fills, 0)]

    def touch_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fill rows of the book's stop and targets within the candle; they are not applied yet."""
        return self._fills[: loop.touch_fills(settings, book, candle, self._fills, 0)]
