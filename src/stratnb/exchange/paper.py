"""The paper exchange: orders are filled from candles by the same kernels as in a backtest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, RetryLater, nearest
from stratnb.exchange.base import Execution, OrderReport
from stratnb.exchange.book import PaperBook
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.model import Market, Order, OrderState

__all__ = ["Line", "PaperExchange", "unreliable"]

Floats = npt.NDArray[np.float64]
Line = Callable[[Literal["ask", "answer"], str], None]


class PaperExchange:
    """Keeps the markets, and orders and executions in a durable book of its own; nothing leaves the machine.

    The open of a candle fills a resting order, its range the stop and the targets. A price that arrives alone is a
    candle with open, high, low and close equal. `line(leg, call)` is called before a request arrives ("ask") and before
    its answer leaves ("answer"): what it raises, the client gets, as from a broken line (see `unreliable`).
    """

    def __init__(self, markets: Iterable[Market] = (), *, book: Path | None = None, line: Line | None = None) -> None:
        self._markets = {market.symbol: market for market in markets}
        self._fills = np.zeros((at.MAX_FILLS, at.W_FILL))
        self.book = PaperBook(book)
        self.line = line

    def __repr__(self) -> str:
        """Return the number of markets and where the book is."""
        return f"<PaperExchange {len(self._markets)} markets, book {self.book.path or 'in memory'}>"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the markets' symbols."""
        return tuple(self._markets)

    def close(self) -> None:
        """Close the book."""
        self.book.close()

    def market(self, symbol: str) -> Market:
        """Return a market, or raise `ConfigError` (`market_unknown`) with near symbols."""
        if symbol not in self._markets:
            close = nearest(symbol, self._markets)
            known = ", ".join(list(self._markets)[:12]) or "none: open a feed first"
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"markets: {known}"
            raise ConfigError("market_unknown", f"market {symbol!r} is not listed", value=symbol, hint=hint)
        return self._markets[symbol]

    def submit(self, order: Order, row: Floats | None = None) -> OrderState:
        """Take an order; with a fill row it executes at once, else it fills at the next open."""
        self._over("ask", "submit")
        state = self.book.accept(order, row)
        self._over("answer", "submit")
        return state

    def cancel(self, order_id: str, now_ms: int) -> OrderState:
        """Cancel a working order and return its state."""
        self._over("ask", "cancel")
        state = self.book.cancel(order_id, now_ms)
        self._over("answer", "cancel")
        return state

    def query(self, order_id: str, until_ms: int) -> OrderReport | None:
        """Return what is known of an order, None when it never arrived."""
        self._over("ask", "query")
        return self.book.report(order_id, until_ms)

    def working(self, until_ms: int) -> tuple[OrderReport, ...]:
        """Return all resting orders."""
        self._over("ask", "working")
        return self.book.working(until_ms)

    def executions(self, after: int, until_ms: int) -> tuple[Execution, ...]:
        """Return the executions with a larger number, oldest first."""
        self._over("ask", "executions")
        return self.book.executions(after, until_ms)

    def position(self, symbol: str, until_ms: int) -> float:
        """Return the account's signed quantity in a market."""
        return self.book.position(symbol, until_ms)

    def open_fills(self, order_id: str, settings: Floats, book: Floats, candle: Floats, now_ms: int) -> Floats:
        """Execute a resting order against a candle and return the fill rows, which are not applied yet.

        Whether it rests on, the book's row tells.
        """
        count = loop.open_fills(settings, book, candle, self._fills, 0)
        rests = book[at.B_ORDER] != at.ORDER_NONE
        return (self.book.execute_part if rests else self.book.execute)(order_id, self._fills[:count], now_ms)

    def touch_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fill rows of the book's stop and targets within the candle; nothing is executed by asking."""
        return self._fills[: loop.touch_fills(settings, book, candle, self._fills, 0)]

    def _over(self, leg: Literal["ask", "answer"], call: str) -> None:
        if self.line is not None:
            self.line(leg, call)


def unreliable(seed: int, *, lost: float = 0.05) -> Line:
    """Return a line that loses a share of the requests and of the answers, at random but repeatable."""
    chance = Random(seed)

    def line(leg: Literal["ask", "answer"], call: str) -> None:
        """Raise now and then."""
        if chance.random() < lost:
            what = "request" if leg == "ask" else "answer"
            raise RetryLater("answer_lost", f"the {what} of {call} was lost", hint="query the order")

    return line
