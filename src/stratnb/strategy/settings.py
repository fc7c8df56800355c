"""The numbers of a configuration that are not blocks, in the order in which the kernels read them."""

from __future__ import annotations

import math
from collections.abc import MutableSequence, Sequence

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.model import Market, timeframe_ms
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.sections import Risk

__all__ = ["limit", "limit_settings", "settings_row"]

MODELS = {"volatility": at.SLIPPAGE_VOLATILITY, "volume": at.SLIPPAGE_VOLUME}
MARGINS = {"isolated": at.MARGIN_ISOLATED, "cross": at.MARGIN_CROSS}
MODES = {"vote": at.MODE_VOTE, "weighted": at.MODE_WEIGHTED, "coverage": at.MODE_COVERAGE}


def settings_row(
    config: StrategyConfig, market: Market, *, base_ms: int, warmup: int, weights: Sequence[float]
) -> list[float]:
    """Return the settings of a plan, followed by the weights of its enabled analyzers.

    Fees are those of the configuration's simulation, else of the market; a limit of None is NaN, which is off. The
    latency of orders counts where candles of `base_ms` are finer than the primary ones.
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
    row[at.S_SLIPPAGE] = costs.half_spread if costs.slippage_model == "spread" else costs.slippage
    row[at.S_SLIPPAGE_MODEL] = MODELS.get(costs.slippage_model, at.SLIPPAGE_FIXED)
    row[at.S_SLIPPAGE_FACTOR] = costs.slippage_factor
    row[at.S_THROUGH] = market.tick * (at.TOUCH if costs.touch else at.THROUGH)
    row[at.S_TICK] = market.tick
    row[at.S_LOT] = market.lot
    row[at.S_MIN_QUANTITY] = market.min_quantity
    row[at.S_MIN_NOTIONAL] = market.min_notional
    row[at.S_LINEAR] = float(market.kind == "linear")
    row[at.S_WEIGHTS] = float(at.W_SETTINGS)
    row[at.S_COMPOUND] = float(config.capital.compound)
    row[at.S_MAX_SLIPPAGE] = limit(config.execution.max_slippage)
    row[at.S_MAX_QUANTITY] = limit(market.max_quantity)
    row[at.S_MARGIN] = MARGINS[config.execution.margin_mode] if market.kind == "linear" else at.MARGIN_NONE
    row[at.S_MAINTENANCE] = costs.maintenance_margin
    row[at.S_LIQUIDATION_FEE] = costs.liquidation_fee
    _order_settings(row, config, base_ms)
    limit_settings(row, config.risk)
    return [*map(float, row), *map(float, weights)]


def _order_settings(row: MutableSequence[float], config: StrategyConfig, base_ms: int) -> None:
    """Write how entries are placed and how much of a candle's volume an order takes."""
    execution, timeout_s = config.execution, config.execution.limit_timeout_s
    row[at.S_PARTICIPATION] = execution.simulation.max_participation or 0.0
    row[at.S_LIMIT] = float(execution.entry_order == "limit")
    row[at.S_LIMIT_OFFSET] = execution.limit_offset
    primary_ms = timeframe_ms(config.timeframes.primary)
    row[at.S_LATENCY] = execution.simulation.latency_ms if base_ms < primary_ms else 0.0
    row[at.S_LIMIT_MS] = float(primary_ms) if timeout_s is None else timeout_s * 1_000.0
    row[at.S_BASE_FEE] = float(config.market.kind == "spot" and execution.simulation.fee_currency == "base")
    row[at.S_POST_ONLY] = float(execution.post_only)
    row[at.S_FALLBACK] = float(execution.limit_fallback)


def limit_settings(row: MutableSequence[float] | npt.NDArray[np.float64], risk: Risk) -> None:
    """Write the limits that are compared before an entry, and the factors of its size, into settings of a plan."""
    row[at.S_MAX_EXPOSURE] = limit(risk.max_exposure)
    row[at.S_MAX_ORDERS] = limit(risk.max_open_orders)
    row[at.S_MAX_TRADES] = limit(risk.max_trades_per_day)
    row[at.S_HEALTH] = float(risk.health_factor)
    row[at.S_DRAWDOWN] = float(risk.drawdown_factor)
    factors = risk.streak_factors or ()
    row[at.S_FACTORS] = len(factors)
    row[at.S_STREAK : at.S_STREAK + len(factors)] = factors


def limit(value: float | None) -> float:
    """Return a limit as the kernels read it: NaN is off."""
    return math.nan if value is None else float(value)
