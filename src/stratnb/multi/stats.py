"""Figures of one strategy and of the whole desk, from what is counted while it works (multi_strategy 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.services.daily import daily_series, returns_of, sharpe

__all__ = [
    "StrategyStats",
    "SystemStats",
    "daily_sharpe",
    "fold_stats",
    "lane_sharpe",
    "stats_of",
    "strategy_stats",
    "system_of",
    "system_stats",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
UNTRADED = (at.REASON_TRANSFER, at.REASON_ADOPTED)
STATES = ("active", "managing", "suspended", "dormant", "failed")


@dataclass(frozen=True, slots=True)
class StrategyStats:
    """One strategy's figures; undefined ratios are None, money in quote units, times of the feed's clock.

    `decisions` are those taken live; `slippage_mean` is the mean loss of orders at market against the price that they
    met, a fraction.
    """

    strategy_id: str
    name: str
    symbol: str
    label: str
    state: str
    loaded_ms: int
    uptime_s: float
    open_positions: int
    closed_positions: int
    total_trades: int
    wins: int
    losses: int
    realized_pnl: float
    unrealized_pnl: float
    total_pnl: float
    fees: float
    funding: float
    win_rate: float | None
    profit_factor: float | None
    max_drawdown: float
    sharpe: float | None
    avg_hold_s: float | None
    best_trade: float | None
    worst_trade: float | None
    last_trade_ms: int | None
    candles: int
    decisions: int
    entries: int
    denials_by_code: Mapping[str, int]
    slippage_mean: float | None


@dataclass(frozen=True, slots=True)
class SystemStats:
    """The figures of all strategies together; `by_pnl` from the best to the worst result, ties by id."""

    mode: str
    total_strategies: int
    active: int
    managing: int
    suspended: int
    dormant: int
    failed: int
    open_positions: int
    closed_positions: int
    total_trades: int
    combined_pnl: float
    overall_win_rate: float | None
    overall_max_drawdown: float
    by_pnl: tuple[StrategyStats, ...]
    memory_bytes: int | None
    uptime_s: float
    updated_ms: int


def stats_of(desk: Desk, lane: Lane) -> StrategyStats:
    """Return one strategy's figures from its counters."""
    context, row, tally = lane.context, lane.context.book.row, lane.tally
    record, closed, now_ms = desk.registry.get(context.strategy_id), lane.context.book.trades(), desk.now_ms()
    trades, wins = int(row[at.B_TRADES]), int(row[at.B_WINS])
    pnls = [trade.pnl for trade in closed]
    holds = [(trade.exit_ms - trade.entry_ms) / 1000.0 for trade in closed]
    realized = float(row[at.B_REALIZED] - row[at.B_COSTS])
    total = float(row[at.B_EQUITY] - row[at.B_CAPITAL])
    fills = [fill for fill in context.book.fill_rows if fill[at.F_REASON] not in UNTRADED]
    return StrategyStats(
        strategy_id=context.strategy_id,
        name=record.name,
        symbol=record.symbol,
        label=record.label,
        state=record.state,
        loaded_ms=record.loaded_ms,
        uptime_s=tally.uptime_s(now_ms, first_ms(desk)),
        open_positions=int(row[at.B_QUANTITY] != 0.0),
        closed_positions=trades,
        total_trades=trades,
        wins=wins,
        losses=sum(pnl < 0 for pnl in pnls),
        realized_pnl=realized,
        unrealized_pnl=total - realized if row[at.B_QUANTITY] else 0.0,
        total_pnl=total,
        fees=float(row[at.B_COSTS] - row[at.B_FUNDING]),
        funding=float(row[at.B_FUNDING]),
        win_rate=wins / trades if trades else None,
        profit_factor=float(row[at.B_GAINS] / row[at.B_LOSSES]) if row[at.B_LOSSES] > 0 else None,
        max_drawdown=float(row[at.B_DRAWDOWN]),
        sharpe=lane_sharpe(desk, lane)[0],
        avg_hold_s=float(np.mean(holds)) if holds else None,
        best_trade=max(pnls, default=None),
        worst_trade=min(pnls, default=None),
        last_trade_ms=int(fills[-1][at.F_TIME]) if fills else None,
        candles=_candles(desk, lane),
        decisions=tally.decisions,
        entries=sum(fill[at.F_REASON] == at.REASON_ENTRY for fill in fills),
        denials_by_code=dict(desk.services.risk.denials.get(context.strategy_id, {})),
        slippage_mean=tally.slippage_mean,
    )


def _candles(desk: Desk, lane: Lane) -> int:
    """Return the candles that a strategy has seen since its anchor."""
    key = lane.context.strategy_id
    orchestrator = desk.cache.peek(key)
    if orchestrator is not None:
        return orchestrator.candles
    return next((snapshot.candles for snapshot in desk.store.snapshots(key)), 0)


def lane_sharpe(desk: Desk, lane: Lane) -> tuple[float | None, int]:
    """Return the Sharpe ratio of a strategy's days since it was loaded, and the number of daily returns."""
    row = lane.context.book.row
    begin_ms = max(desk.registry.get(lane.context.strategy_id).loaded_ms, first_ms(desk))
    return daily_sharpe(
        *lane.tally.days(),
        capital=float(row[at.B_CAPITAL]),
        begin_ms=begin_ms,
        now_ms=desk.now_ms(),
        equity=float(row[at.B_EQUITY]),
    )


def first_ms(desk: Desk) -> int:
    """Return when the first candle opened that the desk has."""
    found = desk.services.candles.first_ms()
    return desk.now_ms() if found is None else found


def daily_sharpe(
    time_ms: Ints, values: Floats, *, capital: float, begin_ms: int, now_ms: int, equity: float
) -> tuple[float | None, int]:
    """Return the Sharpe ratio of an equity that begins as a capital and is known at some times and now, and N."""
    if now_ms <= begin_ms:
        return None, 0
    times = np.concatenate(([begin_ms + 1], time_ms, [now_ms]))
    _, daily = daily_series(times, np.concatenate(([capital], values, [equity])), capital)
    returns = returns_of(daily)
    return sharpe(returns), len(returns)


def fold_stats(
    rows: Sequence[StrategyStats],
    *,
    mode: str,
    drawdown: float,
    memory_bytes: int | None,
    uptime_s: float,
    updated_ms: int,
) -> SystemStats:
    """Fold the figures of strategies; `drawdown` is that of the summed equity, which no sum of theirs tells."""
    states = [row.state for row in rows]
    trades, wins = sum(row.total_trades for row in rows), sum(row.wins for row in rows)
    return SystemStats(
        mode=mode,
        total_strategies=len(rows),
        **{state: states.count(state) for state in STATES},
        open_positions=sum(row.open_positions for row in rows),
        closed_positions=trades,
        total_trades=trades,
        combined_pnl=sum(row.total_pnl for row in rows),
        overall_win_rate=wins / trades if trades else None,
        overall_max_drawdown=drawdown,
        by_pnl=tuple(sorted(rows, key=lambda row: (-row.total_pnl, row.strategy_id))),
        memory_bytes=memory_bytes,
        uptime_s=uptime_s,
        updated_ms=updated_ms,
    )


def system_of(desk: Desk) -> SystemStats:
    """Return the figures of a desk: the fold of its strategies'."""
    return fold_stats(
        [stats_of(desk, lane) for lane in desk.lanes()],
        mode=desk.registry.mode,
        drawdown=float(desk.services.positions.account[at.A_DRAWDOWN]),
        memory_bytes=desk.cache.stats()["resident_bytes"],
        uptime_s=max(0, desk.now_ms() - first_ms(desk)) / 1000.0,
        updated_ms=desk.now_ms(),
    )


def strategy_stats(desk: Desk, lane: Lane) -> dict[str, Any]:
    """Return the fields of `StrategyStats`, and the error of a strategy that fails."""
    return {**asdict(stats_of(desk, lane)), "error": lane.error or None}


def system_stats(desk: Desk) -> dict[str, Any]:
    """Return the fields of `SystemStats`, those of the account and the feed, and `strategies` by id.

    equity = start_equity + combined_pnl + removed_pnl, the results of strategies that were removed.
    """
    positions = desk.services.positions
    return {
        **asdict(system_of(desk)),
        "removed_pnl": positions.removed_pnl,
        "start_equity": positions.cash,
        "equity": float(positions.account[at.A_EQUITY]),
        "candles": desk.router.candles,
        "unrouted": desk.router.unrouted,
        "dropped": desk.router.dropped,
        "gaps": desk.router.gaps,
        "strategies": {lane.context.strategy_id: strategy_stats(desk, lane) for lane in desk.lanes()},
    }
