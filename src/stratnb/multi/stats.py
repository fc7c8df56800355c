"""Figures of one strategy and of the whole desk, from the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.router import Lane

__all__ = ["strategy_stats", "system_stats"]


def strategy_stats(desk: Desk, lane: Lane) -> dict[str, Any]:
    """Return one strategy's figures; undefined ratios are None, money in quote units."""
    context, row = lane.context, lane.context.book.row
    record = desk.registry.get(context.strategy_id)
    trades, wins = int(row[at.B_TRADES]), int(row[at.B_WINS])
    closed = context.book.trades()
    pnls = [trade.pnl for trade in closed]
    holds = [(trade.exit_ms - trade.entry_ms) / 1000.0 for trade in closed]
    realized = float(row[at.B_REALIZED] - row[at.B_COSTS])
    total = float(row[at.B_EQUITY] - row[at.B_CAPITAL])
    log = desk.store.decisions(context.strategy_id)
    return {
        "strategy_id": context.strategy_id,
        "name": record.name,
        "symbol": record.symbol,
        "label": record.label,
        "state": record.state,
        "loaded_ms": record.loaded_ms,
        "open_positions": int(row[at.B_QUANTITY] != 0.0),
        "closed_positions": trades,
        "total_trades": trades,
        "wins": wins,
        "losses": sum(pnl < 0 for pnl in pnls),
        "realized_pnl": realized,
        "unrealized_pnl": total - realized if row[at.B_QUANTITY] else 0.0,
        "total_pnl": total,
        "fees": float(row[at.B_COSTS]),
        "win_rate": wins / trades if trades else None,
        "profit_factor": float(row[at.B_GAINS] / row[at.B_LOSSES]) if row[at.B_LOSSES] > 0 else None,
        "max_drawdown": float(row[at.B_DRAWDOWN]),
        "avg_hold_s": float(np.mean(holds)) if holds else None,
        "best_trade": max(pnls) if pnls else None,
        "worst_trade": min(pnls) if pnls else None,
        "last_trade_ms": int(context.book.fill_rows[-1][at.F_TIME]) if context.book.fill_rows else None,
        "decisions": len(log),
        "entries": sum(fill.reason == "entry" for fill in context.book.fills()),
        "denials_by_code": dict(desk.services.risk.denials.get(context.strategy_id, {})),
        "error": lane.error or None,
    }


def system_stats(desk: Desk) -> dict[str, Any]:
    """Return the desk's figures with `strategies` by id; sums are folds of the strategies'.

    equity = start_equity + combined_pnl + removed_pnl, the results of strategies that were removed.
    """
    each = {lane.context.strategy_id: strategy_stats(desk, lane) for lane in desk.lanes()}
    rows, counts = list(each.values()), desk.registry.stats()
    trades, wins = sum(r["total_trades"] for r in rows), sum(r["wins"] for r in rows)
    ranked = sorted(rows, key=lambda r: (-r["total_pnl"], r["strategy_id"]))
    return {
        "mode": desk.registry.mode,
        "total_strategies": counts["total"],
        **{state: counts[state] for state in ("active", "managing", "suspended", "dormant", "failed")},
        "open_positions": sum(r["open_positions"] for r in rows),
        "closed_positions": trades,
        "total_trades": trades,
        "combined_pnl": sum(r["total_pnl"] for r in rows),
        "removed_pnl": desk.services.positions.removed_pnl,
        "start_equity": desk.services.positions.cash,
        "overall_win_rate": wins / trades if trades else None,
        "overall_max_drawdown": float(desk.services.positions.account[at.A_DRAWDOWN]),
        "equity": float(desk.services.positions.account[at.A_EQUITY]),
        "by_pnl": [r["strategy_id"] for r in ranked],
        "candles": desk.router.candles,
        "unrouted": desk.router.unrouted,
        "dropped": desk.router.dropped,
        "gaps": desk.router.gaps,
        "memory_bytes": desk.cache.stats()["resident_bytes"],
        "updated_ms": desk.now_ms(),
        "strategies": each,
    }
