"""Rows of owners that are no strategy: their lots count in the account, and only a stop or a person closes them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import Market

__all__ = ["MANUAL", "ORPHAN", "is_reserved", "reserved_id", "reserved_reason", "reserved_row", "reserved_settings"]

Floats = npt.NDArray[np.float64]
ORPHAN, MANUAL = "@orphan", "@manual"
SLIPPAGE = 0.0005
WORDS = {
    at.REASON_MANUAL: "manual",
    at.REASON_KILL: "kill_switch",
    at.REASON_RISK: "risk",
    at.REASON_TRANSFER: "transfer",
    at.REASON_ADOPTED: "kept_stop",
    at.REASON_OVERFILL: "overfill",
}


def reserved_id(owner: str, symbol: str) -> str:
    """Return the id of a reserved owner in one market.

    >>> reserved_id(ORPHAN, "BTC/USDT")
    '@orphan@BTC/USDT'
    """
    return f"{owner}@{symbol}"


def is_reserved(key: str) -> bool:
    """Return whether an id is that of a reserved owner; strategies' names begin with a letter or digit."""
    return key.startswith("@")


def reserved_reason(code: float) -> str:
    """Return the word for the reason of a reserved owner's fill."""
    return WORDS.get(int(code), "exit")


def reserved_row(number: int, market: Market) -> Floats:
    """Return the flat row of a reserved owner: without capital, entries and limits."""
    row = np.zeros(at.W_BOOK)
    limits = (at.B_MAX_EXPOSURE, at.B_MAX_DAILY_LOSS, at.B_MAX_LOSSES, at.B_MAX_HOLDING, at.B_COOLDOWN)
    row[[*limits, at.B_LOW_TRADES, at.B_LOW_MS, at.B_LOW_RETURN, at.B_LOW_PAUSE]] = math.nan
    row[[at.B_STOP, at.B_FIRST_STOP, at.B_NATR]] = math.nan
    row[at.B_RISK + at.K_MAX_DRAWDOWN : at.B_RISK + at.K_TARGET + 1] = math.nan
    row[at.B_RISK + at.K_NEXT] = math.inf
    row[[at.B_USED, at.B_LEVERAGE]] = 1.0
    row[at.B_MARKET], row[at.B_LINEAR], row[at.B_DAY] = number, float(market.kind == "linear"), -1.0
    return row


def reserved_settings(market: Market) -> Floats:
    """Return what a reserved owner's fills cost: the market's fees and the default slippage."""
    row = np.zeros(at.W_SETTINGS)
    row[at.S_TAKER], row[at.S_MAKER], row[at.S_SLIPPAGE] = market.taker_fee, market.maker_fee, SLIPPAGE
    row[at.S_TICK], row[at.S_LOT], row[at.S_LEVERAGE] = market.tick, market.lot, 1.0
    row[at.S_MIN_QUANTITY], row[at.S_MIN_NOTIONAL] = market.min_quantity, market.min_notional
    row[at.S_LINEAR] = float(market.kind == "linear")
    row[at.S_THROUGH] = market.tick * at.THROUGH
    return row
