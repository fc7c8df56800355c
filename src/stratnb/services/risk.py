"""The risk manager: feeds the risk kernels, keeps the account's state and publishes what they decided."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from stratnb.events import EventBus
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.services.positions import Book, PositionManager

__all__ = ["ACCOUNT_FIRED", "RiskManager", "RiskState"]

Floats = npt.NDArray[np.float64]
RiskState = Literal["ACTIVE", "REDUCING", "HALTED"]
STATES: tuple[RiskState, ...] = ("ACTIVE", "REDUCING", "HALTED")
ACCOUNT_FIRED = 2
LINEAR_FACTOR = 3.0


class RiskManager:
    """Evaluates the protections at each instant and remembers why something was refused.

    The rules themselves are kernels; this service never decides a second time.
    """

    def __init__(self, positions: PositionManager, events: EventBus) -> None:
        self._positions = positions
        self._events = events
        self._published: dict[str, float] = {}
        self.denials: dict[str, dict[str, int]] = {}

    def __repr__(self) -> str:
        """Return the account's state."""
        return f"<RiskManager {self.state}>"

    @property
    def state(self) -> RiskState:
        """Return the account's risk state."""
        return STATES[int(self._positions.account[at.A_STATE])]

    @property
    def reason(self) -> str:
        """Return why the account is not ACTIVE, in the code of the rule."""
        code = int(self._positions.account[at.A_STATE_REASON])
        return at.DECISION_REASONS[code] if code else ""

    def settle(self, candles: Floats, fresh: Floats, now_ms: float) -> int:
        """Mark the books to an instant and evaluate the protections; return the kernel's bits."""
        positions = self._positions
        fired = int(loop.settle_all(positions.books, positions.account, candles, fresh, now_ms))
        if fired or self._published:
            self._publish_changes()
        return fired

    def kill(self, author: str) -> None:
        """Latch the account as HALTED until `release`."""
        account = self._positions.account
        if account[at.A_STATE_REASON] == at.Z_KILL:
            return
        account[at.A_STATE] = at.HALTED
        account[at.A_STATE_REASON] = at.Z_KILL
        account[at.A_UNTIL] = math.inf
        self._events.publish("RISK_LATCHED", source="risk", payload={"rule": "kill_switch", "author": author})
        self._publish_changes()

    def release(self, author: str, reason: str) -> None:
        """Set the account back to ACTIVE, its day starting anew; who and why are announced."""
        account = self._positions.account
        account[at.A_DAY_START] = account[at.A_EQUITY]
        account[at.A_STATE] = at.ACTIVE
        account[at.A_STATE_REASON] = 0.0
        self._events.publish("RISK_RELEASED", source="risk", payload={"author": author, "reason": reason})
        self._publish_changes()

    def deny(self, book: Book, decision: Floats, code: str, correlation: str) -> None:
        """Count a refused entry and publish it with the measured value and its limit."""
        counts = self.denials.setdefault(book.strategy_id, {})
        counts[code] = counts.get(code, 0) + 1
        value, limit = self._measured(book, decision, code)
        payload = {"code": code, "value": _finite(value), "limit": _finite(limit)}
        book.events.publish("RISK_DENIED", correlation_id=correlation, source="risk", payload=payload)

    def _measured(self, book: Book, decision: Floats, code: str) -> tuple[float, float]:
        """Return what a rule compared: exposures and losses as fractions, money in quote units."""
        account, row, settings = self._positions.account, book.row, book.settings
        linear = bool(row[at.B_LINEAR])
        factor = LINEAR_FACTOR if linear else 1.0
        net = (decision[at.D_MARKET_NET], account[at.A_MARKET_NET] * factor)
        gross = (decision[at.D_MARKET_GROSS], account[at.A_MARKET_GROSS] * factor)
        halted, day = account[at.A_STATE] != at.ACTIVE, account[at.A_DAY_START]
        small = decision[at.D_QUANTITY] < settings[at.S_MIN_QUANTITY]
        cost = decision[at.D_QUANTITY] * decision[at.D_CLOSE] * (1.0 / settings[at.S_LEVERAGE] + settings[at.S_TAKER])
        pairs = {
            "below_minimum": (decision[at.D_QUANTITY], settings[at.S_MIN_QUANTITY])
            if small
            else (decision[at.D_QUANTITY] * decision[at.D_CLOSE], settings[at.S_MIN_NOTIONAL]),
            "insufficient_funds": (cost, decision[at.D_FREE] * 0.98),
            "max_open_positions": self._crowd(row, decision),
            "exposure_strategy": (decision[at.D_STRATEGY_EXPOSURE], row[at.B_MAX_EXPOSURE] * row[at.B_LEVERAGE]),
            "exposure_market": net if net[0] > net[1] else gross,
            "exposure_account": (decision[at.D_GROSS], account[at.A_GROSS_LINEAR if linear else at.A_GROSS_SPOT]),
            "daily_loss": (1.0 - account[at.A_EQUITY] / day, account[at.A_MAX_DAILY_LOSS])
            if halted
            else (1.0 - row[at.B_EQUITY] / row[at.B_DAY_START], row[at.B_MAX_DAILY_LOSS]),
        }
        value, limit = pairs.get(code, (math.nan, math.nan))
        return float(value), float(limit)

    def _crowd(self, row: Floats, decision: Floats) -> tuple[float, float]:
        """Return the open positions with this one and their limit: of the account, else of the market."""
        account, books = self._positions.account, self._positions.books
        if decision[at.D_OPEN] + 1.0 > account[at.A_MAX_OPEN]:
            return float(decision[at.D_OPEN]) + 1.0, float(account[at.A_MAX_OPEN])
        here = (books[:, at.B_USED] != 0.0) & (books[:, at.B_MARKET] == row[at.B_MARKET])
        held = (books[:, at.B_QUANTITY] != 0.0) | (books[:, at.B_ORDER] == at.ORDER_ENTRY)
        return float(np.count_nonzero(here & held)) + 1.0, float(account[at.A_MAX_PER_MARKET])

    def forget(self, strategy_id: str) -> None:
        """Drop what is remembered of a removed strategy."""
        self.denials.pop(strategy_id, None)
        self._published.pop(strategy_id, None)

    def _publish_changes(self) -> None:
        """Publish the states that differ from the last published ones."""
        account = self._positions.account
        self._publish_state("", float(account[at.A_STATE]), self.reason, None)
        for book in self._positions.all():
            code = int(book.row[at.B_STATE_REASON])
            self._publish_state(book.strategy_id, float(book.row[at.B_STATE]), at.DECISION_REASONS[code], book)

    def _publish_state(self, key: str, state: float, reason: str, book: Book | None) -> None:
        if self._published.get(key, at.ACTIVE) == state:
            return
        if state == at.ACTIVE:
            self._published.pop(key, None)
        else:
            self._published[key] = state
        payload = {"state": STATES[int(state)], "rule": reason if state else ""}
        if book is None:
            self._events.publish("RISK_STATE", source="risk", payload=payload)
        else:
            book.events.publish("RISK_STATE", source="risk", payload=payload)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
