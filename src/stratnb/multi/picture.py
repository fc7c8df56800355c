"""Makes the picture of the desk that viewers see."""

from __future__ import annotations

import os
import socket
from typing import Any, Literal

import numpy as np

from stratnb.kernels import layout as at
from stratnb.model import Market, Order, installed_version
from stratnb.multi.description import journal_bytes
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane, Working
from stratnb.services.risk_rules import STATES
from stratnb.view import (
    CacheEntryView,
    CacheView,
    EngineView,
    FeedView,
    OrderView,
    PositionView,
    RiskView,
    StrategyView,
)

__all__ = ["EngineState", "cache_view", "picture", "strategy_view"]

EngineState = Literal["stopped", "running", "paused", "stopping"]


def picture(
    desk: Desk,
    *,
    seq: int,
    name: str,
    state: EngineState,
    lag_ms: float,
    age_s: float | None,
    risk: RiskView | None = None,
) -> EngineView:
    """Return the present state of a desk as frozen values."""
    feed, lanes, stats = desk.feed, desk.lanes(), desk.bus.stats()
    day_ms = desk.now_ms() // int(at.DAY_MS) * int(at.DAY_MS)
    return EngineView(
        seq=seq,
        name=name,
        state=state,
        mode=desk.registry.mode,
        trade="paper",
        account="paper",
        quote=desk.exchange.market(feed.symbols[0]).quote,
        now_ms=desk.now_ms(),
        **_account(desk),
        data_age_s=age_s,
        loop_lag_p95_ms=lag_ms,
        feed=FeedView(
            feed.label, feed.symbols, feed.timeframe, feed.speed, feed.position, len(feed), feed.done, feed.synthetic
        ),
        strategies=tuple(strategy_view(desk, lane) for lane in lanes),
        positions=tuple(_position(desk, lane) for lane in desk.everyone() if lane.context.book.quantity),
        cache=cache_view(desk),
        orders=tuple(_order(work) for work in desk.orders.live()),
        trades_today=tuple(trade for lane in lanes for trade in lane.context.book.trades_since(day_ms)),
        events_by_type=tuple(stats["by_type"].items()),
        markets={symbol: price_decimals(desk.exchange.market(symbol)) for symbol in feed.symbols},
        fees=_fees(desk),
        events_seq=desk.bus.seq,
        events_dropped=int(stats["dropped"]),
        version=installed_version(),
        host=socket.gethostname(),
        pid=os.getpid(),
        notes=()
        if desk.store.persistent
        else ("State is kept in memory: it survives eviction, not the end of the kernel.",),
        generation=desk.orders.generation,
        unknown_orders=len(desk.orders.unknown()),
        journal_bytes=None if desk.settings.journal is None else journal_bytes(desk.settings.journal),
        risk=risk,
        notifies=desk.services.notifier is not None,
    )


def _account(desk: Desk) -> dict[str, Any]:
    """Return what the account holds, may hold, and may do."""
    positions, risk, lanes = desk.services.positions, desk.services.risk, desk.lanes()
    account, limits = positions.account, positions.limits
    equity = float(account[at.A_EQUITY])
    linear = any(lane.context.book.row[at.B_LINEAR] for lane in lanes)
    return {
        "equity": equity,
        "start_equity": positions.cash,
        "day_pnl": equity - float(account[at.A_DAY_START]),
        "gross_exposure": float(account[at.A_GROSS]) / equity if equity > 0 else 0.0,
        "net_exposure": float(account[at.A_NET]) / equity if equity > 0 else 0.0,
        "exposure_limit": limits.gross_linear if linear else limits.gross_spot,
        "open_positions": sum(lane.context.book.quantity != 0.0 for lane in desk.everyone()),
        "max_open_positions": limits.max_open_positions,
        "risk_state": risk.state,
        "risk_reason": risk.reason,
    }


def _fees(desk: Desk) -> dict[str, float]:
    """Return the taker's fee of each market: of its first strategy, else the market's own."""
    fees = {symbol: desk.exchange.market(symbol).taker_fee for symbol in desk.feed.symbols}
    return fees | {lane.context.symbol: lane.context.book.settings[at.S_TAKER] for lane in reversed(desk.lanes())}


def strategy_view(desk: Desk, lane: Lane) -> StrategyView:
    """Return one row of the strategy table."""
    context, row = lane.context, lane.context.book.row
    key, record = context.strategy_id, desk.registry.get(context.strategy_id)
    last = desk.store.decisions(key).rows(1)
    decided = last[0] if len(last) and last.shape[1] == context.plan.decision_width else None
    trades, wins = int(row[at.B_TRADES]), int(row[at.B_WINS])
    realized = float(row[at.B_REALIZED] - row[at.B_COSTS])
    equity = float(row[at.B_EQUITY])
    pnl = equity - float(row[at.B_CAPITAL])
    held = float(row[at.B_QUANTITY])
    newest_ms = desk.services.candles.newest_ms(record.symbol)
    return StrategyView(
        strategy_id=key,
        name=record.name,
        title=context.config.title,
        symbol=record.symbol,
        label=record.label,
        timeframe=context.config.timeframes.primary,
        state=record.state,
        cached=desk.cache.contains(key),
        pinned=bool(desk.pins(key)),
        side=int(np.sign(held)),
        quantity=abs(held),
        open_pnl=pnl - realized if held else 0.0,
        realized_pnl=realized,
        total_pnl=pnl,
        trades=trades,
        wins=wins,
        win_rate=wins / trades if trades else None,
        profit_factor=float(row[at.B_GAINS] / row[at.B_LOSSES]) if row[at.B_LOSSES] > 0 else None,
        max_drawdown=float(row[at.B_DRAWDOWN]),
        equity=equity,
        exposure=abs(held) * float(row[at.B_MARK]) / equity if equity > 0 else 0.0,
        last_candle_ms=None if newest_ms is None else newest_ms + desk.services.candles.step_ms,
        last_decision_ms=None if decided is None else int(decided[at.D_TIME]) + context.plan.primary_ms,
        last_decision="" if decided is None else at.ACTIONS[int(decided[at.D_ACTION])],
        last_reason="" if decided is None else context.plan.reason(decided[at.D_REASON]),
        last_score=0.0
        if decided is None or np.isnan(decided[at.D_SCORE])
        else float(decided[at.D_SCORE] * decided[at.D_DIRECTION]),
        warmup_done=0 if decided is None else min(int(decided[at.D_SEEN]), context.plan.warmup),
        warmup_needed=context.plan.warmup,
        loaded_ms=record.loaded_ms,
        activated_ms=_since(desk, record.activated_ms),
        overrides=tuple((name, str(value)) for name, value in record.overrides.items()),
        config_version=max((version.number for version in desk.store.versions(key)[-1:]), default=1),
        **_blocked(desk, lane),
        **_judged(lane),
    )


def _since(desk: Desk, time_ms: int | None) -> int | None:
    """Return a time of the feed's clock, the first candle's for one before it."""
    return None if time_ms is None else max(time_ms, desk.services.candles.first_ms() or time_ms)


def _judged(lane: Lane) -> dict[str, Any]:
    """Return how a strategy is, as it was judged last."""
    health, breaker = lane.health, lane.breaker.metrics()
    told = () if health is None else (health.reasons, health.recommendations)
    return {
        "paused": lane.paused,
        "error": lane.error,
        "health": "UNKNOWN" if health is None else health.status,
        **dict(zip(("health_reasons", "health_advice"), told, strict=False)),
        "breaker": breaker["state"],
        "breaker_failures": breaker["failures"],
        "next_probe_ms": breaker["next_probe_ms"],
        "sharpe": lane.sharpe[0],
        "sharpe_days": lane.sharpe[1],
    }


def _blocked(desk: Desk, lane: Lane) -> dict[str, Any]:
    """Return what a strategy may not do, what it was denied, and its working order."""
    row, denied = lane.context.book.row, desk.services.risk.denials.get(lane.context.strategy_id, {})
    until, pause, pause_until = row[[at.B_UNTIL, at.B_RISK + at.K_PAUSE, at.B_RISK + at.K_PAUSE_UNTIL]]
    return {
        "risk_state": STATES[int(row[at.B_STATE])],
        "risk_reason": at.DECISION_REASONS[int(row[at.B_STATE_REASON])] if row[at.B_STATE] else "",
        "risk_until_ms": int(until) if row[at.B_STATE] and np.isfinite(until) else None,
        "risk_pause": at.DECISION_REASONS[int(pause)] if pause else "",
        "risk_pause_until_ms": int(pause_until) if pause and np.isfinite(pause_until) else None,
        "denials": sum(denied.values()),
        "denials_by_code": tuple(denied.items()),
        "order": {at.ORDER_ENTRY: "entry", at.ORDER_EXIT: "exit"}.get(float(row[at.B_ORDER]), ""),
    }


def _position(desk: Desk, lane: Lane) -> PositionView:
    book = lane.context.book
    held = book.position()
    assert held is not None, "only open positions are pictured"
    side, risk = (1 if held.quantity > 0 else -1), held.initial_risk
    row = book.row
    return PositionView(
        strategy_id=book.strategy_id,
        symbol=book.symbol,
        side=side,
        quantity=abs(held.quantity),
        entry_price=held.entry_price,
        mark_price=held.mark_price,
        notional=held.notional,
        unrealized_pnl=held.unrealized_pnl,
        r_multiple=side * (held.mark_price - held.entry_price) / risk if risk else None,
        stop=held.stop,
        stop_reason=book.reason(row[at.B_STOP_REASON]) if held.stop is not None else "",
        targets=held.targets,
        opened_ms=held.opened_ms,
        stop_history=tuple(book.stops),
        pending_exit=book.reason(row[at.B_ORDER_REASON]) if row[at.B_ORDER] == at.ORDER_EXIT else "",
        decimals=price_decimals(desk.exchange.market(book.symbol)),
        initial_stop=held.initial_stop,
        tick=desk.exchange.market(book.symbol).tick,
    )


def _order(work: Working) -> OrderView:
    """Return a working order."""
    told = {name: getattr(work.order, name) for name in OrderView.__slots__ if name in Order.__slots__}
    return OrderView(**told, filled=work.filled, state=work.state)


def cache_view(desk: Desk) -> CacheView:
    """Return the statistics of the cache."""
    stats = desk.cache.stats()
    entries = tuple(
        CacheEntryView(**{name: entry[name] for name in CacheEntryView.__slots__}) for entry in stats.pop("entries")
    )
    times = np.array(desk.switch_ms)
    known = {"p50": float(np.percentile(times, 50)), "p95": float(np.percentile(times, 95))} if len(times) else {}
    return CacheView(
        **stats,
        switch_ms={"count": len(times), "p50": None, "p95": None, **known},
        entries=entries,
        creation_recent_ms=desk.cache.recent_ms,
        switch_recent_ms=tuple(desk.switch_ms),
    )


def price_decimals(market: Market) -> int:
    """Return the decimals that prices of a market are shown with."""
    return max(0, min(12, round(-np.log10(market.tick)))) if market.tick < 1 else 0
