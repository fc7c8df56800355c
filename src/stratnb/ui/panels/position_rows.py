"""The rows of positions, working orders and the trades of today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stratnb.model import Trade
from stratnb.ui.format import (
    age,
    cents,
    clock,
    count,
    delta,
    na,
    num,
    pct,
    quantity,
    share,
    side,
    signed,
    sized,
    stamp,
    time_cell,
)
from stratnb.view import OrderView, PositionView

__all__ = [
    "ORDERS",
    "POSITIONS",
    "TRADES",
    "net_rows",
    "order_row",
    "row",
    "stop_effect",
    "trade_columns",
    "trade_rows",
]

STATES = {"INTENT": "Sending", "PARTIAL": "Partly filled"}

POSITIONS = [
    {"key": "name", "label": "Position", "cls": "is-wide", "sort": False},
    {"key": "side", "label": "Side", "sort": False},
    {"key": "qty", "label": "Quantity", "align": "r", "sort": False},
    {"key": "entry", "label": "Entry", "align": "r", "sort": False},
    {"key": "mark", "label": "Mark", "align": "r", "sort": False},
    {"key": "value", "label": "Notional", "align": "r", "cls": "is-p2", "sort": False},
    {"key": "pnl", "label": "Open PnL", "align": "r", "sort": False},
    {"key": "r", "label": "R", "align": "r", "sort": False, "title": "Open PnL in initial risks"},
    {"key": "stop", "label": "Stop", "align": "r", "sort": False, "title": "With its distance from the mark"},
    {"key": "targets", "label": "Targets", "align": "r", "cls": "is-p2", "sort": False},
    {"key": "age", "label": "Age", "align": "r", "cls": "is-p2", "sort": False},
    {"key": "act", "label": "Actions", "sort": False, "hide": True, "cls": "is-acts"},
]
ORDERS = [
    {"key": "id", "label": "Order"},
    {"key": "name", "label": "Strategy", "cls": "is-wide"},
    {"key": "kind", "label": "Kind"},
    {"key": "side", "label": "Side"},
    {"key": "qty", "label": "Quantity", "align": "r"},
    {"key": "price", "label": "Price", "align": "r", "title": "The limit, and until when it rests"},
    {"key": "why", "label": "Reason"},
    {"key": "state", "label": "State"},
    {"key": "age", "label": "Age", "align": "r"},
    {"key": "act", "label": "Actions", "sort": False, "hide": True, "cls": "is-acts"},
]
TRADES = [
    {"key": "t", "label": "Closed, UTC"},
    {"key": "name", "label": "Strategy", "cls": "is-wide"},
    {"key": "side", "label": "Side"},
    {"key": "qty", "label": "Quantity", "align": "r"},
    {"key": "entry", "label": "Entry", "align": "r"},
    {"key": "exit", "label": "Exit", "align": "r"},
    {"key": "pnl", "label": "PnL", "align": "r"},
    {"key": "part", "label": "Return", "align": "r", "cls": "is-p2"},
    {"key": "fees", "label": "Fees", "align": "r", "cls": "is-p2"},
    {"key": "funding", "label": "Funding", "align": "r", "cls": "is-p2", "title": "Paid; negative when received"},
    {"key": "held", "label": "Held", "align": "r", "cls": "is-p2"},
    {"key": "why", "label": "Reason"},
]


def row(p: PositionView, *, now_ms: int) -> dict[str, Any]:
    """Return the row of one position."""
    held, money = (now_ms - p.opened_ms) / 1000, cents(p.symbol)
    return {
        "id": p.strategy_id,
        "name": _name(p.strategy_id, p.symbol),
        "side": side(p.side),
        "qty": quantity(p.quantity),
        "entry": num(p.entry_price, p.decimals),
        "mark": num(p.mark_price, p.decimals),
        "value": num(p.notional, money),
        "pnl": delta(p.unrealized_pnl, money),
        "r": sized(p.r_multiple, signed(p.r_multiple), reason="no stop"),
        "stop": _stop(p),
        "targets": _targets(p),
        "age": {"t": age(max(held, 0.0)), "title": f"Opened {stamp(p.opened_ms, seconds=True)} UTC"},
        "act": {"acts": _actions(p)},
    }


def net_rows(positions: Sequence[PositionView]) -> list[dict[str, Any]]:
    """Return one sum row for each market on which several strategies hold a position."""
    markets: dict[str, list[PositionView]] = {}
    for p in positions:
        markets.setdefault(p.symbol, []).append(p)
    return [_net(symbol, group) for symbol, group in markets.items() if len(group) > 1]


def _net(symbol: str, group: list[PositionView]) -> dict[str, Any]:
    held = sum(p.side * p.quantity for p in group)
    value = sum(p.side * p.notional for p in group)
    gross, money = sum(p.notional for p in group), cents(symbol)
    return {
        "id": f"net {symbol}",
        "cls": "is-sum",
        "name": {"t": f"{symbol} net", "sub": f"{len(group)} positions"},
        "side": side(held),
        "qty": quantity(held),
        "entry": "–",
        "mark": num(group[0].mark_price, group[0].decimals),
        "value": {"t": num(abs(value), money), "title": f"Gross {num(gross, money)}"},
        "pnl": delta(sum(p.unrealized_pnl for p in group), money),
        "r": "–",
        "stop": "–",
        "targets": "–",
        "age": "–",
        "act": "",
    }


def _name(strategy_id: str, symbol: str) -> dict[str, Any]:
    """Return the market with the strategy's name and its label, when it has one of its own."""
    name, _, label = strategy_id.partition("#")
    short = name.split("@")[0] + (f" · {label}" if label not in ("", "main") else "")
    return {"t": symbol, "sub": short, "title": strategy_id}


def _stop(p: PositionView) -> dict[str, Any]:
    """Return the stop with its distance from the mark, why it is there and how often it was moved."""
    if p.stop is None:
        return na("no stop")
    moves = max(len(p.stop_history) - 1, 0)
    risk = p.side * (p.mark_price - p.stop) * p.quantity
    cost = f"from here it costs {num(max(risk, 0.0), cents(p.symbol))}"
    notes = [p.stop_reason, f"moved {moves} times" if moves else "", cost]
    first = "" if p.initial_stop is None or not moves else f"first at {num(p.initial_stop, p.decimals)}"
    away = p.side * (p.mark_price - p.stop) / p.mark_price if p.mark_price else 0.0
    told = ", ".join(note for note in (*notes, first) if note)
    return {"t": num(p.stop, p.decimals), "sub": share(away, 2), "title": told}


def _targets(p: PositionView) -> dict[str, Any]:
    """Return the next target and a mark per target: filled when done."""
    if not p.targets:
        return {"t": "–", "title": "No target"}
    ahead = next((price for price, _, done in p.targets if not done), None)
    marks = "".join("●" if done else "○" for _, _, done in p.targets)
    every = ", ".join(
        f"{num(price, p.decimals)} closes {part:.0%}{' (done)' if done else ''}" for price, part, done in p.targets
    )
    return {"t": "all done" if ahead is None else num(ahead, p.decimals), "sub": marks, "title": every}


def _actions(p: PositionView) -> list[dict[str, Any]]:
    what = f"the {p.symbol} position of {p.strategy_id}"
    off = {"off": f"Closing: {p.pending_exit}"} if p.pending_exit else {}
    stop = {"a": "stop", "t": "Stop…", "kind": "quiet", "label": f"Move the stop of {what}"}
    return [{**stop, **off}, {"a": "close", "t": "Close…", "label": f"Close {what}", **off}]


def stop_effect(p: PositionView, price: float | None) -> str:
    """Return in words what a stop at a price would mean, without judging whether it is allowed."""
    now = f"Now {num(p.stop, p.decimals)}" if p.stop is not None else "No stop now"
    if price is None:
        return f"{now}, mark {num(p.mark_price, p.decimals)}. A stop can only be tightened."
    result = p.side * (price - p.entry_price) * p.quantity
    away = pct(p.side * (p.mark_price - price) / p.mark_price) if p.mark_price else "n/a"
    there = f"result there {signed(result, cents(p.symbol))} before costs"
    return f"{now}. At {num(price, p.decimals)}: {away} from the mark, {there}."


def order_row(order: OrderView, *, now_ms: int, decimals: int = 2) -> dict[str, Any]:
    """Return the row of a working order; `decimals` of its market's prices."""
    cancel = {"a": "cancel", "t": "Cancel", "label": f"Cancel the entry of {order.strategy_id}"}
    if order.reduces:
        cancel["off"] = "An exit is not canceled: it fills at the next open"
    waited = max(now_ms - order.created_ms, 0) / 1000
    return {
        "id": order.order_id,
        "name": _name(order.strategy_id, order.symbol),
        "kind": "Exit" if order.reduces else "Entry",
        "side": side(1 if order.side == "buy" else -1) | {"t": "▲ Buy" if order.side == "buy" else "▼ Sell"},
        "qty": {"t": quantity(order.quantity), "n": order.quantity, **_filled(order)},
        "price": _order_price(order, decimals),
        "why": order.reason.replace("_", " "),
        "state": {"t": STATES.get(order.state, order.state.capitalize()), **_unknown(order)},
        "age": {"t": age(waited), "n": waited, "title": f"Sent {stamp(order.created_ms, seconds=True)} UTC"},
        "act": {"acts": [cancel]},
    }


def _filled(order: OrderView) -> dict[str, Any]:
    return {"sub": f"{quantity(order.filled)} filled"} if order.filled else {}


def _unknown(order: OrderView) -> dict[str, Any]:
    if order.state != "UNKNOWN":
        return {}
    return {"tone": "warn", "title": "The exchange is asked for the outcome; nothing is sent meanwhile"}


def _order_price(order: OrderView, decimals: int) -> dict[str, Any]:
    """Return the limit of an order with its end, or that it takes the next open."""
    if order.limit is None:
        return {
            "t": "Market",
            "n": 0.0,
            "title": "It fills at the open of the next candle, as far as its volume lets it",
        }
    until = {} if order.until_ms is None else {"sub": f"until {clock(order.until_ms)[:5]}"}
    return {"t": num(order.limit, decimals), "n": order.limit, "title": "A limit", **until}


def trade_columns(columns: list[dict[str, Any]], funding: Iterable[float]) -> list[dict[str, Any]]:
    """Return the columns of trades: that of the funding only when any trade has some."""
    return columns if any(funding) else [column for column in columns if column["key"] != "funding"]


def trade_rows(trades: Sequence[Trade], most: int, decimals: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return up to `most` trades, newest first, and the sum of all; `decimals` of the prices by symbol."""
    ranked = sorted(trades, key=lambda trade: trade.exit_ms, reverse=True)
    made = [_trade(trade, decimals.get(trade.symbol, 8)) for trade in ranked[:most]]
    if not made:
        return []
    won, money = sum(trade.pnl > 0 for trade in trades), cents(trades[0].symbol)
    sums = {"pnl": delta(sum(t.pnl for t in trades), money), "fees": num(sum(t.fees for t in trades), money)}
    sums["funding"] = num(sum(t.funding for t in trades), money)
    total = {"t": "All", "n": 0}
    name = {"t": f"{count(len(trades))} trades", "sub": f"{won} won"}
    blank = dict.fromkeys(("side", "qty", "entry", "exit", "part", "held", "why"), "")
    return [*made, {"id": "sum", "cls": "is-sum", "t": total, "name": name, **blank, **sums}]


def _trade(trade: Trade, decimals: int) -> dict[str, Any]:
    held, money = (trade.exit_ms - trade.entry_ms) / 1000, cents(trade.symbol)
    return {
        "id": f"{trade.strategy_id} {trade.trade_no}",
        "t": time_cell(trade.exit_ms),
        "name": _name(trade.strategy_id, trade.symbol),
        "side": side(trade.direction),
        "qty": {"t": quantity(trade.quantity), "n": trade.quantity},
        "entry": {"t": num(trade.entry_price, decimals), "n": trade.entry_price},
        "exit": {"t": num(trade.exit_price, decimals), "n": trade.exit_price},
        "pnl": delta(trade.pnl, money),
        "part": {"t": pct(trade.return_fraction), "n": trade.return_fraction},
        "fees": {"t": num(trade.fees, money), "n": trade.fees},
        "funding": {"t": num(trade.funding, money), "n": trade.funding},
        "held": {"t": age(held), "n": held},
        "why": trade.reason.replace("_", " "),
    }
