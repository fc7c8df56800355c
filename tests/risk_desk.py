"""Three books on one account and an entry to ask for, shared by the tests of risk."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blocks_harness import plain
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.checks import check_entry
from stratnb.services.ledger import AccountLimits, new_account
from trading_cases import MINUTE, Floats

CHECK = plain(check_entry.py_func)
TINY = 1e-6


class Desk:
    """Three books on one account of 10 000, and the settings of an entry."""

    def __init__(self, *, linear: bool = False, cash: float = 10_000.0, **limits: Any) -> None:
        self.settings = np.zeros(at.W_SETTINGS)
        self.settings[[at.S_LEVERAGE, at.S_TAKER, at.S_LINEAR, at.S_MAINTENANCE]] = 1.0, 0.0, float(linear), 0.005
        self.settings[[at.S_MAX_SLIPPAGE, at.S_MAX_QUANTITY, at.S_MAX_ORDERS, at.S_MAX_TRADES]] = math.nan
        self.books = np.zeros((3, at.W_BOOK))
        self.books[:, [at.B_CAPITAL, at.B_EQUITY, at.B_EQUITY_LOW, at.B_DAY_START]] = cash
        self.books[:, at.B_USED], self.books[:, at.B_LEVERAGE], self.books[:, at.B_MARK] = 1.0, 1.0, 100.0
        self.books[:, [at.B_MAX_EXPOSURE, at.B_MAX_DAILY_LOSS]] = math.nan
        self.books[:, at.B_MAX_HOLDING : at.B_RISK] = math.nan
        self.books[:, at.B_RISK + at.K_DAY_HIGH : at.B_RISK + at.K_PEAK + 1] = cash
        self.books[:, at.B_RISK + at.K_MAX_DRAWDOWN : at.B_RISK + at.K_TARGET + 1] = math.nan
        self.books[:, at.B_LINEAR] = float(linear)
        none = {name: None for name in AccountLimits.model_fields if name not in ("flatten", "require_stop")}
        self.account = new_account(cash, AccountLimits(**{**none, **limits}))
        loop.update_account(self.books, self.account)
        self.decision = np.zeros(at.W_DECISION)

    def hold(self, slot: int, quantity: float, market: float = 0.0) -> None:
        self.books[slot, [at.B_QUANTITY, at.B_AVERAGE, at.B_MARKET]] = quantity, 100.0, market
        loop.update_account(self.books, self.account)

    def wait(self, slot: int, sign: float, quantity: float, market: float = 0.0) -> None:
        self.books[slot, [at.B_ORDER, at.B_ORDER_SIGN, at.B_ORDER_QUANTITY]] = at.ORDER_ENTRY, sign, quantity
        self.books[slot, [at.B_RESERVED, at.B_MARKET]] = quantity * 100.0, market
        loop.update_account(self.books, self.account)

    def ask(
        self, quantity: float, *, sign: float = 1.0, slot: int = 0, stop: float = 95.0, price: float = 100.0
    ) -> str:
        """Return the reason code of an entry, which is the same whether all is measured or what a limit asks for."""
        args = (self.settings, self.books, slot, self.account, sign, quantity, price, stop)
        with np.errstate(all="ignore"):
            code = CHECK(*args, self.decision, True)
            assert CHECK(*args, np.full(at.W_DECISION, math.nan), False) == code
        return at.DECISION_REASONS[int(code)]


def edge(desk: Desk, limit: float, code: str, **options: Any) -> None:
    """Assert that a quantity below and at the limit passes and one above is denied."""
    assert desk.ask(limit * (1 - TINY), **options) == "enter"
    assert desk.ask(limit, **options) == "enter"
    assert desk.ask(limit * (1 + TINY), **options) == code


def candle(open_ms: float, low: float, close: float) -> Floats:
    return np.array([[100.0, max(100.0, close), low, close, 1.0, open_ms]])


def settle(desk: Desk, open_ms: float, low: float, close: float, length: int = MINUTE) -> int:
    return loop.settle_all(desk.books, desk.account, candle(open_ms, low, close), np.ones(1), open_ms + length)


def one_book(**limits: Any) -> Desk:
    desk = Desk(**limits)
    desk.books[1:, at.B_USED] = 0.0
    desk.books[0, at.B_DAY] = -1.0
    desk.hold(0, 10.0)
    return desk
