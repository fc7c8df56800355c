"""What the engine asks of an exchange and of a feed; paper and replay are one answer each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.model import Market, Order, OrderState

__all__ = ["Exchange", "Execution", "Feed", "Instant", "OrderReport"]

Floats = npt.NDArray[np.float64]


class Instant(NamedTuple):
    """The candles that closed at `close_ms`: market number and row (open, high, low, close, volume, open time)."""

    close_ms: int
    candles: Sequence[tuple[int, Floats]]


class Execution(NamedTuple):
    """One execution as the exchange knows it: its number and id, the order's id, and the kernel's fill row."""

    seq: int
    fill_id: str
    order_id: str
    row: Floats


class OrderReport(NamedTuple):
    """What the exchange says of one order."""

    order_id: str
    symbol: str
    state: OrderState
    executions: tuple[Execution, ...]


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

    @property
    def label(self) -> str:
        """Return what the feed is called on screen."""
        ...

    @property
    def synthetic(self) -> bool:
        """Return whether the candles were made up."""
        ...

    @property
    def speed(self) -> float:
        """Return the speed as a multiple of real time, inf for as fast as possible."""
        ...

    @property
    def position(self) -> int:
        """Return how many instants were taken."""
        ...

    @property
    def done(self) -> bool:
        """Return whether everything was taken."""
        ...

    def __len__(self) -> int:
        """Return the number of instants."""
        ...

    def next(self) -> Instant | None:
        """Return the next instant, None at the end."""
        ...

    def seek(self, close_ms: int) -> Mapping[str, Floats]:
        """Go on after the instant that closed at a time; return the candles up to it by symbol."""
        ...


class Exchange(Protocol):
    """Where orders go. Rows are those of `stratnb.kernels.layout`.

    Every call may raise `RetryLater` (`answer_lost`): it is then not known whether it had its effect. An answer is as
    of `until_ms`, the engine's clock, so that a replay that is repeated after a crash finds what it found before.
    """

    def market(self, symbol: str) -> Market:
        """Return a market, or raise `ConfigError` (`market_unknown`)."""
        ...

    def submit(self, order: Order, row: Floats | None = None) -> OrderState:
        """Take an order; with a fill row it executes at once as the row says, else it rests until a candle opens.

        The same id twice is `Refused` (`duplicate_order`).
        """
        ...

    def cancel(self, order_id: str, now_ms: int) -> OrderState:
        """Cancel a working order and return its state, whatever that is by now; `now_ms` is the engine's clock."""
        ...

    def query(self, order_id: str, until_ms: int) -> OrderReport | None:
        """Return what is known of an order, None when it never arrived."""
        ...

    def working(self, until_ms: int) -> tuple[OrderReport, ...]:
        """Return all orders that rest at the exchange."""
        ...

    def executions(self, after: int, until_ms: int) -> tuple[Execution, ...]:
        """Return the executions with a larger number, oldest first."""
        ...

    def position(self, symbol: str, until_ms: int) -> float:
        """Return the account's signed quantity in a market."""
        ...

    def open_fills(self, order_id: str, settings: Floats, book: Floats, candle: Floats, now_ms: int) -> Floats:
        """Execute a resting order at the candle's open, or at its limit, and return the fill rows.

        Asked twice, the same rows. What is left of it rests on when the book's row still holds the order.
        `now_ms` is when the engine hears of it: the close of that candle, or now for a price that arrived alone.
        """
        ...

    def touch_fills(self, settings: Floats, book: Floats, candle: Floats) -> Floats:
        """Return the fill rows that stop and targets have within the candle; nothing is executed by asking."""
        ...
