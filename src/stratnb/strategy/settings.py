"""The numbers of a configuration that are not blocks, in the order in which the kernels read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stratnb.kernels import layout as at
from stratnb.model import Market
from stratnb.strategy.config import StrategyConfig

__all__ = ["settings_row"]

MODES = {"vote": at.MODE_VOTE, "weighted": at.MODE_WEIGHTED, "coverage": at.MODE_COVERAGE}


def settings_row(config: StrategyConfig, market: Market, *, warmup: int, weights: Sequence[float]) -> list[float]:
    """Return the settings of a plan, followed by the weights of its enabled analyzers.

    Fees are those of the configuration's simulation, else of the market; a limit of None is NaN, which is off.
    """
    entry, costs = config.entry, config.execution.simulation
    row = [0.0] * at.W_SETTINGS
    row[at.S_MODE] = MODES[entry.mode]
    row[at.S_MIN_CONFIDENCE] = entry.min_confidence
    row[at.S_SIGNAL_MIN] = entry.signal_min
    row[at.S_MAX_CONFLICT] = entry.max_conflict
    row[at.S_MIN_SCORE] = entry.min_score
    row[at.S_OPPOSITION] = entry.opposition
    row[at.S_MIN_AGREEING] = entry.min_agreeing
    row[at.S_CONFLICT_FACTOR] = entry.conflict_factor
    row[at.S_MIN_CANDLES] = warmup
    row[at.S_LONG] = float(config.market.direction in ("long", "both"))
    row[at.S_SHORT] = float(config.market.direction in ("short", "both"))
    row[at.S_CAP] = config.sizing.cap
    row[at.S_LEVERAGE] = config.execution.leverage
    row[at.S_TAKER] = market.taker_fee if costs.taker_fee is None else costs.taker_fee
    row[at.S_MAKER] = market.maker_fee if costs.maker_fee is None else costs.maker_fee
    row[at.S_SLIPPAGE] = costs.slippage
    row[at.S_TICK] = market.tick
    row[at.S_LOT] = market.lot
    row[at.S_MIN_QUANTITY] = market.min_quantity
    row[at.S_MIN_NOTIONAL] = market.min_notional
    row[at.S_LINEAR] = float(market.kind == "linear")
    row[at.S_MAX_EXPOSURE] = math.nan if config.risk.max_exposure is None else config.risk.max_exposure
    row[at.S_WEIGHTS] = float(at.W_SETTINGS)
    row[at.S_COMPOUND] = float(config.capital.compound)
    return [*map(float, row), *map(float, weights)]
