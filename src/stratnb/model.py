"""The frozen values that layers exchange: markets, orders, fills, positions and trades."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from stratnb.errors import ConfigError, nearest

__all__ = [
    "FINAL_STATES",
    "PURPOSES",
    "TIMEFRAMES",
    "Fill",
    "Market",
    "MarketKind",
    "Order",
    "OrderState",
    "Position",
    "Purpose",
    "Side",
    "Trade",
    "installed_version",
    "timeframe_ms",
]

Side = Literal["buy", "sell"]
OrderState = Literal[
    "INTENT", "DENIED", "SENT", "UNKNOWN", "OPEN", "PARTIAL", "FILLED", "CANCELED", "EXPIRED", "REJECTED", "ABSENT"
]
FINAL_STATES: frozenset[str] = frozenset({"DENIED", "FILLED", "CANCELED", "EXPIRED", "REJECTED"})
Purpose = Literal["e", "x", "s", "t", "c", "m"]
PURPOSES: dict[str, str] = {"e": "entry", "x": "exit", "s": "stop", "t": "target", "c": "close", "m": "manual"}
MarketKind = Literal["spot", "linear"]

TIMEFRAMES: dict[str, int] = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}


@cache
def installed_version() -> str:
    """Return the installed version of stratnb, "" in a source tree that is not installed."""
    try:
        return version("stratnb")
    except PackageNotFoundError:
        return ""


def timeframe_ms(timeframe: str) -> int:
    """Return the length of a timeframe in milliseconds.

    >>> timeframe_ms("5m")
    300000
    """
    if timeframe not in TIMEFRAMES:
        close = nearest(timeframe, TIMEFRAMES, limit=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(TIMEFRAMES)}"
        raise ConfigError("timeframe_unsupported", f"timeframe {timeframe!r} is not known", value=timeframe, hint=hint)
    return TIMEFRAMES[timeframe]


@dataclass(frozen=True, slots=True)
class Market:
    """A tradable market: precision, minimums and fees (fractions of the notional).

    `tick` and `lot` are the steps of price and quantity; `inferred` names what was guessed from data; `max_quantity` is
    the most that one market order takes, None when it is not known. One that is not `active` is halted or delisted:
    every entry is denied (`market_unusable`), exits go on where it still trades.
    """

    symbol: str
    kind: MarketKind = "spot"
    tick: float = 0.01
    lot: float = 1e-6
    min_quantity: float = 0.0
    min_notional: float = 0.0
    maker_fee: float = 0.001
    taker_fee: float = 0.001
    max_leverage: float = 1.0
    inferred: tuple[str, ...] = ()
    max_quantity: float | None = None
    active: bool = True

    @property
    def base(self) -> str:
        """Return the currency that is bought and sold."""
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        """Return the currency that prices and money are counted in."""
        return self.symbol.split("/")[-1].split(":")[0]


@dataclass(frozen=True, slots=True)
class Order:
    """An instruction to the exchange; `reduces` says that it only closes, `purpose` (`PURPOSES`) what it is for.

    `order_id` is ours and unique for ever: it is how an order is asked for when its answer was lost. An order at market
    has no `limit`; one with it rests until `until_ms`, for ever without it.
    """

    order_id: str
    strategy_id: str
    symbol: str
    side: Side
    quantity: float
    reduces: bool
    reason: str
    created_ms: int
    purpose: Purpose = "x"
    limit: float | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """An executed part of an order, or of the stop or a target of a position.

    `realized_pnl` is in quote units before `fee`; `funding` is what the position paid since its fill before, negative
    when it got some; `position_after` is the signed quantity left; `trade_no` counts the round trips of the instance
    from 1.
    """

    strategy_id: str
    symbol: str
    side: Side
    quantity: float
    price: float
    fee: float
    time_ms: int
    reason: str
    realized_pnl: float
    position_after: float
    trade_no: int
    funding: float = 0.0


@dataclass(frozen=True, slots=True)
class Position:
    """A strategy's open quantity in one market (signed), with its levels."""

    strategy_id: str
    symbol: str
    quantity: float
    entry_price: float
    mark_price: float
    opened_ms: int
    stop: float | None
    initial_stop: float | None
    targets: tuple[tuple[float, float, bool], ...]
    unrealized_pnl: float
    realized_pnl: float
    fees: float
    funding: float = 0.0

    @property
    def notional(self) -> float:
        """Return the absolute value in quote units."""
        return abs(self.quantity) * self.mark_price

    @property
    def initial_risk(self) -> float | None:
        """Return the distance from entry to the first stop, in price."""
        return None if self.initial_stop is None else abs(self.entry_price - self.initial_stop)


@dataclass(frozen=True, slots=True)
class Trade:
    """A round trip of one strategy on one market, from flat to flat; money after all costs."""

    strategy_id: str
    symbol: str
    trade_no: int
    direction: int
    quantity: float
    entry_ms: int
    entry_price: float
    exit_ms: int
    exit_price: float
    pnl: float
    fees: float
    return_fraction: float
    reason: str
    fills: int
    funding: float = 0.0

    def r_multiple(self, stop: float | None) -> float | None:
        """Return the result before costs in multiples of the risk at entry, None without a first stop."""
        if stop is None or stop == self.entry_price:
            return None
        return (self.pnl + self.fees + self.funding) / (abs(self.entry_price - stop) * self.quantity)
