"""What lies above the candles: trades with their R, decisions of a catch-up, a waiting order, the open position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stratnb.kernels.layout import ENTER
from stratnb.model import Fill
from stratnb.ui.chart import Ops, put
from stratnb.ui.format import cents, quantity, signed, stamp, tone, words
from stratnb.view import OrderView, PositionView

__all__ = [
    "TRADES",
    "Deal",
    "deals",
    "late_entries",
    "late_ops",
    "order_ops",
    "order_tags",
    "position_ops",
    "position_tags",
    "trade_marks",
    "trade_words",
]

Floats = npt.NDArray[np.float64]

TRADES: Final = 200


@dataclass(slots=True)
class Deal:
    """The fills of one round trip so far: entry, exits, and the money it realized."""

    number: int
    direction: int
    entry_ms: int
    entry: float
    quantity: float
    exits: list[Fill] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Return whether it is flat again."""
        return bool(self.exits) and self.exits[-1].position_after == 0.0

    @property
    def pnl(self) -> float:
        """Return the money it realized so far, before fees."""
        return sum(fill.realized_pnl for fill in self.exits)

    def r_multiple(self, stop: float | None) -> float | None:
        """Return the realized pnl in multiples of the risk at entry, or None without a stop."""
        if stop is None or stop == self.entry:
            return None
        return self.pnl / (abs(self.entry - stop) * self.quantity)


def deals(fills: Iterable[Fill]) -> list[Deal]:
    """Return the newest round trips in the fills of one strategy, oldest first."""
    found: dict[int, Deal] = {}
    for fill in fills:
        signed_quantity = fill.quantity if fill.side == "buy" else -fill.quantity
        deal = found.get(fill.trade_no)
        if deal is None:
            way = 1 if signed_quantity > 0 else -1
            found[fill.trade_no] = Deal(fill.trade_no, way, fill.time_ms, fill.price, fill.quantity)
        elif signed_quantity * deal.direction > 0:
            total = deal.quantity + fill.quantity
            deal.entry = (deal.entry * deal.quantity + fill.price * fill.quantity) / total
            deal.quantity = total
        else:
            deal.exits.append(fill)
    return list(found.values())[-TRADES:]


def trade_marks(
    trips: Sequence[Deal], rows: Floats, step_ms: int, stop_of: Callable[[Deal], float | None]
) -> tuple[Ops, list[dict[str, Any]]]:
    """Return the operations and notes of entries and exits inside the drawn candles `rows`."""
    marks: list[tuple[float, float, float, float]] = []
    legs: list[tuple[float, float, float, float, float]] = []
    notes: list[dict[str, Any]] = []
    away = 0.8 * float(np.mean(rows[:, 1] - rows[:, 2])) if len(rows) else 0.0
    first = float(rows[0, 5]) if len(rows) else np.inf
    for deal in trips:
        long = deal.direction > 0
        if deal.entry_ms >= first:
            x, low, high = _candle(rows, deal.entry_ms, step_ms, deal.entry)
            y = low - away if long else high + away
            marks.append((x, y if long else np.nan, np.nan if long else y, np.nan))
            if not deal.closed:
                word, where = ("Long", "below") if long else ("Short", "above")
                notes.append({"x": x, "y": y, "t": word, "tone": "up" if long else "down", "at": where})
        for fill in (fill for fill in deal.exits if fill.time_ms >= first):
            x, low, high = _candle(rows, fill.time_ms, step_ms, fill.price)
            y = high + away if long else low - away
            marks.append((x, np.nan, np.nan, y))
            if fill is deal.exits[-1] and deal.closed:
                start = float(deal.entry_ms // step_ms * step_ms)
                legs.append((start, deal.entry, x, fill.price, float(long)))
                notes.append(_result(deal, x, y, stop_of(deal)))
    columns = np.array(marks, dtype=np.float64).reshape(-1, 4).T
    lines = np.array(legs, dtype=np.float64).reshape(-1, 5).T
    ops = [put("fills", dict(zip(("x", "long", "short", "out"), columns, strict=True)))]
    ops.append(put("legs", dict(zip(("x0", "y0", "x1", "y1", "up"), lines, strict=True))))
    return ops, notes


def _result(deal: Deal, x: float, y: float, stop: float | None) -> dict[str, Any]:
    """Return the note at the last exit: R, or the money when the first stop is not known."""
    r, where = deal.r_multiple(stop), "above" if deal.direction > 0 else "below"
    text = signed(deal.pnl, cents(deal.exits[-1].symbol)) if r is None else f"{signed(r, 1)} R"
    return {"x": x, "y": y, "t": text, "tone": tone(deal.pnl) or "mute", "at": where}


def trade_words(deal: Deal, stop: float | None) -> str:
    """Return a trade on one line: number, direction, entry time, and what it made or that it is open."""
    r = deal.r_multiple(stop)
    made: tuple[str, ...] = ("open",)
    if deal.closed:
        made = (signed(deal.pnl, cents(deal.exits[-1].symbol)), "" if r is None else f"{signed(r, 1)} R")
    way = "▲ Long" if deal.direction > 0 else "▼ Short"
    return words([f"#{deal.number} {way}", stamp(deal.entry_ms), *made])


def late_entries(decisions: Floats) -> Floats:
    """Return the decisions to enter that were made while catching up, and so placed no order."""
    found: Floats = decisions[(decisions[:, 1] == ENTER) & (decisions[:, 6] > 0.0)]
    return found[-TRADES:]


def late_ops(decisions: Floats, rows: Floats, step_ms: int) -> Ops:
    """Return the operation that draws decisions of a catch-up, hollow, at the drawn candles `rows` they belong to."""
    shown = decisions[decisions[:, 0] >= rows[0, 5]] if len(rows) else decisions[:0]
    away = 0.8 * float(np.mean(rows[:, 1] - rows[:, 2])) if len(rows) else 0.0
    at = np.searchsorted(rows[:, 5], shown[:, 0] // step_ms * step_ms, side="right") - 1
    long = shown[:, 2] > 0.0
    data = {"x": rows[at, 5], "long": np.where(long, rows[at, 2] - away, np.nan)}
    return [put("ghosts", {**data, "short": np.where(long, np.nan, rows[at, 1] + away)})]


def order_ops(order: OrderView | None, step_ms: int) -> Ops:
    """Return the operation that draws the slots in which a waiting order may fill: the next, of a limit to its end."""
    if order is None:
        return [put("pending", {"x0": [], "x1": []})]
    first = last = order.created_ms // step_ms * step_ms
    if order.until_ms is not None:
        last = max(first, (order.until_ms - 1) // step_ms * step_ms)
    return [put("pending", {"x0": [first - step_ms / 2.0], "x1": [last + step_ms / 2.0]})]


def order_tags(order: OrderView | None, price: float) -> list[dict[str, Any]]:
    """Return the tag of a waiting order, at its limit or else the newest price: what it does, why, and until when."""
    if order is None:
        return []
    what = "Exit" if order.reduces else "Long entry" if order.side == "buy" else "Short entry"
    why = f" ({order.reason})" if order.reduces else ""
    end = "the next open" if order.until_ms is None else f"{stamp(order.until_ms)} UTC"
    at = "" if order.limit is None else f" at {order.limit:,.8g}"
    text = f"{what}{why} pending · {order.side} {quantity(order.quantity)}{at} · until {end}"
    return [{"y": price if order.limit is None else order.limit, "t": text, "tone": "warn", "axis": False}]


def _candle(rows: Floats, time_ms: int, step_ms: int, price: float) -> tuple[float, float, float]:
    """Return time, low and high of the drawn candle at a time; the price itself where there is none."""
    start = time_ms // step_ms * step_ms
    at = int(np.searchsorted(rows[:, 5], start))
    if at < len(rows) and rows[at, 5] == start:
        return float(start), float(rows[at, 2]), float(rows[at, 1])
    return float(start), price, price


def position_ops(position: PositionView | None, end_ms: float) -> Ops:
    """Return the operations that draw stop with history, entry and targets up to `end_ms`."""
    if position is None:
        nothing: list[float] = []
        return [
            put("stop", {"x": nothing, "y": nothing}),
            put("entry", {"x0": nothing, "x1": nothing, "y": nothing}),
            put("targets", {"x0": nothing, "x1": nothing, "y": nothing}),
        ]
    history = position.stop_history or (((position.opened_ms, position.stop),) if position.stop is not None else ())
    x: list[float] = []
    y: list[float] = []
    for i, (when, price) in enumerate(history):
        until = history[i + 1][0] if i + 1 < len(history) else end_ms
        x += [when, until]
        y += [price, price]
    prices = [price for price, _, done in position.targets if not done]
    starts = [float(position.opened_ms)] * len(prices)
    return [
        put("stop", {"x": x, "y": y}),
        put("entry", {"x0": [position.opened_ms], "x1": [end_ms], "y": [position.entry_price]}),
        put("targets", {"x0": starts, "x1": [end_ms] * len(prices), "y": prices}),
    ]


def position_tags(position: PositionView | None) -> list[dict[str, Any]]:
    """Return the price tags of entry, stop and open targets."""
    if position is None:
        return []
    r = position.r_multiple
    entry = "Entry" if r is None else f"Entry · {signed(r, 1)} R"
    if position.pending_exit:
        entry += f" · exit pending: {position.pending_exit}"
    tags = [{"y": position.entry_price, "t": entry, "tone": "text", "axis": True}]
    if position.stop is not None:
        tags.append({"y": position.stop, "t": "Stop", "tone": "err", "axis": True})
    targets = [(n, price) for n, (price, _, done) in enumerate(position.targets, 1) if not done]
    return tags + [{"y": price, "t": f"Target {n}", "tone": "ok", "axis": True} for n, price in targets]
