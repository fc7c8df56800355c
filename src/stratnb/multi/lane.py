"""One strategy's place in the routing order, and its orders on their way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import FINAL_STATES, Order, OrderState
from stratnb.multi.breaker import Breaker
from stratnb.multi.context import StrategyContext
from stratnb.multi.judgment import Health
from stratnb.multi.tally import Tally

__all__ = ["Lane", "Working", "resting"]

Floats = npt.NDArray[np.float64]


class Lane:
    """One strategy's place in the routing order; `code` is its mark in order and correlation ids.

    `order` is the market order that rests in its book. `steps` is False from an error, at `failed_ms`, until it has
    recovered, `managed` True when it was managing before it was suspended, `changed` when its memory must be saved
    with the next commit. `funded` is the funding that was told. `waits` is called once it is flat, or at `until_ms`,
    while a switch waits for that. `health` is the newest judgment, `sharpe` the newest ratio with its number of days,
    `config_error` why a definition was rejected.
    """

    __slots__ = (
        *("breaker", "changed", "code", "config_error", "context", "error", "failed_ms", "funded", "health", "managed"),
        "market",
        *("order", "paused", "sharpe", "steps", "tally", "until_ms", "waits"),
    )

    def __init__(self, context: StrategyContext, market: int, code: str, breaker: Breaker) -> None:
        self.context = context
        self.code = code
        self.market = market
        self.breaker = breaker
        self.tally = Tally()
        self.health: Health | None = None
        self.steps = True
        self.paused = False
        self.managed = False
        self.changed = False
        self.order: Working | None = None
        self.error = ""
        self.config_error = ""
        self.sharpe: tuple[float | None, int] = (None, 0)
        self.failed_ms = -1
        self.funded = float(context.book.row[at.B_FUNDING])
        self.waits: Callable[[], None] | None = None
        self.until_ms = math.inf

    def is_over(self, now_ms: int) -> bool:
        """Return whether a strategy that may only exit is flat, or has waited for that long enough."""
        book = self.context.book
        managing = book.row[at.B_ENTRIES] == at.ENTRIES_MANAGING or (self.managed and not self.paused)
        leaves = self.waits is not None or managing
        return bool(leaves) and (book.is_flat or now_ms >= self.until_ms)

    def told_health(self) -> dict[str, Any] | None:
        """Return the newest judgment with the Sharpe ratio, JSON-safe, for those who look from elsewhere."""
        return None if self.health is None else {**asdict(self.health), "sharpe": list(self.sharpe)}

    def take_health(self, told: Mapping[str, Any]) -> None:
        """Take over what another engine tells of the strategy."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}
        self.sharpe = values.pop("sharpe")
        self.health = Health(**values)

    def flags(self) -> dict[str, Any]:
        """Return what a restart needs, JSON-safe: how it was paused or suspended, its breaker, its time of work."""
        told = {"paused": self.paused, "managed": self.managed, "steps": self.steps, "error": self.error}
        return {**told, "breaker": self.breaker.dump(), "up": self.tally.dump_up()}

    def load_flags(self, flags: Mapping[str, Any]) -> None:
        """Take over what an earlier run kept."""
        self.steps, self.error = flags.get("steps", True), flags.get("error", "")
        self.paused, self.managed = flags.get("paused", False), flags.get("managed", False)
        self.breaker.load(flags.get("breaker", {}))
        self.tally.load_up(flags.get("up", {}))


@dataclass(slots=True, eq=False)
class Working:
    """One order on its way; `row` is the fill row of an order that executes at once.

    `booked` counts its executions that are in the book, `filled` is their quantity; `fill_ids` are the exchange's ids
    of its executions as far as it told them. `excess` is how much its newest fills have filled too much.
    """

    order: Order
    lane: Lane
    correlation: str
    row: Floats | None = None
    state: OrderState = "INTENT"
    cancels: bool = False
    error: str = ""
    unknown_s: float = 0.0
    next_s: float = 0.0
    queries: int = 0
    warned: int = 0
    booked: int = 0
    filled: float = 0.0
    excess: float = 0.0
    absences: list[float] = field(default_factory=list)
    fill_ids: list[str] = field(default_factory=list)

    def fill_id(self, number: int) -> str:
        """Return the id of its `number`th execution: the exchange's, or one made of ours."""
        return self.fill_ids[number] if number < len(self.fill_ids) else f"{self.order.order_id}.{number}"

    @property
    def order_id(self) -> str:
        """Return our id of the order."""
        return self.order.order_id

    @property
    def is_final(self) -> bool:
        """Return whether nothing more can happen to it."""
        return self.state in FINAL_STATES


def resting(row: Floats) -> dict[str, Any]:
    """Return limit and `until_ms` of the entry that waits in a book's row, empty when none waits at a limit."""
    if row[at.B_ORDER] != at.ORDER_ENTRY or not row[at.B_ORDER_PRICE] > 0.0:
        return {}
    until = float(row[at.B_ORDER_UNTIL])
    return {"limit": float(row[at.B_ORDER_PRICE]), "until_ms": int(until) if math.isfinite(until) else None}
