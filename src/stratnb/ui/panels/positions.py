"""P6, positions and orders: levels, result in initial risks, working orders, today's trades, and acting on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.errors import ConfigError
from stratnb.model import Trade
from stratnb.ui.controls import Confirm, btn, dropdown, field, segment, show, styled
from stratnb.ui.format import cents, escape, num, quantity, signed, to_number, words
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.position_rows import (
    ORDERS,
    POSITIONS,
    TRADES,
    net_rows,
    order_row,
    row,
    stop_effect,
    trade_columns,
    trade_rows,
)
from stratnb.ui.widgets import Table
from stratnb.view import EngineView, OrderView, PositionView

__all__ = ["Positions"]

TRADES_MOST = 200
_PARTS = [("All of it", 1.0), ("75%", 0.75), ("Half", 0.5), ("25%", 0.25)]


class Positions(ActingPanel):
    """The open positions of all strategies; closing one asks first and names the effect, a stop is only tightened."""

    title: ClassVar[str] = "Positions"
    hz: ClassVar[float] = 2.0
    span: ClassVar[str] = "8"

    def body(self) -> list[w.Widget]:
        """Make the tables and the drawers of closing and of the stop."""
        self._view: EngineView | None = None
        self._chosen = ""
        flat = {"t": "Flat", "sub": "No open position. Entries appear here with their stop."}
        none = {"t": "No working order", "sub": "An order is here from its decision until the open of the next candle."}
        quiet = {"t": "No trade today", "sub": "Round trips that closed since 00:00 UTC of the feed appear here."}
        self.table = Table(caption="Positions", cols=POSITIONS, empty=flat)
        self.orders = Table(caption="Working orders", cols=ORDERS, empty=none)
        self.trades = Table(caption="Trades of today", cols=trade_columns(TRADES, ()), empty=quiet, page=20)
        tables = {"Positions": self.table, "Orders": self.orders, "Trades today": self.trades}
        self.pages = {name: w.VBox([table]) for name, table in tables.items()}
        for table in (self.table, self.orders):
            table.on_act = self._acted
        self.part = dropdown("Close", _PARTS, 1.0)
        self.part.observe(self._parted, "value")
        self.confirm = Confirm("Close position", extra=[self.part])
        self.drawer = styled(w.HBox([self.confirm]), "sn-drawer", "sn-off")
        self._turn("Positions")
        return [self.drawer, self._make_stop(), *self.pages.values()]

    def _make_stop(self) -> w.Widget:
        self.heading = w.HTML()
        self.price = field("New stop", "price")
        self.price.observe(lambda _: self._say_stop(), "value")
        self.effect = styled(w.HTML(), "sn-muted")
        move = btn("Move stop", "primary", tip="Only a tighter stop is taken", do=self._move)
        even = btn("Breakeven", tip="Where the position closes without a loss after costs", do=self._even)
        styled(even, "sn-acts")
        shut = btn("Close", "quiet", do=lambda: show(self.stop, False))
        line = w.HBox([self.price, move, even])
        self.stop = styled(w.HBox([self.heading, line, self.effect, shut]), "sn-drawer", "sn-off")
        return self.stop

    def tools(self) -> list[w.Widget]:
        """Make the choice between positions, orders and trades."""
        self.what = segment(list(self.pages), "Positions")
        self.what.observe(lambda change: self._turn(change["new"]), "value")
        return [self.what]

    def paint(self, view: EngineView) -> None:
        """Write what changed in the table that is shown."""
        self._view = view
        if self.what.value == "Positions":
            self.table.show([row(p, now_ms=view.now_ms) for p in view.positions] + net_rows(view.positions))
        elif self.what.value == "Orders":
            digits = view.markets
            self.orders.show([order_row(o, now_ms=view.now_ms, decimals=digits.get(o.symbol, 8)) for o in view.orders])
        else:
            self.trades.cols = trade_columns(TRADES, (trade.funding for trade in view.trades_today))
            self.trades.show(trade_rows(view.trades_today, TRADES_MOST, view.markets))
        if self._find() is None:
            show(self.stop, False)
        gross = sum(p.notional for p in view.positions)
        trades = len(view.trades_today)
        held = f"{len(view.positions)} open"
        if view.positions:
            held += f", gross {num(gross, cents(view.quote) - 2)} {view.quote}"
        self.frame.note(words((held, _counted(len(view.orders), "order"), f"{_counted(trades, 'trade')} today")))

    def _turn(self, chosen: str) -> None:
        """Show the chosen table."""
        for name, page in self.pages.items():
            show(page, name == chosen)
        if self._view is not None:
            self.paint(self._view)

    def _find(self) -> PositionView | None:
        """Return the position that a drawer is about."""
        held = self._view.positions if self._view else ()
        return next((p for p in held if p.strategy_id == self._chosen), None)

    def _acted(self, action: str, key: str) -> None:
        """Answer a button of a row."""
        if action == "cancel":
            self._cancel(key)
            return
        self._chosen = key
        if self._find() is None:
            return
        show(self.stop, False)
        self.confirm.no.click()
        if action == "close":
            self._ask_close()
        elif action == "stop":
            self._open_stop()

    def _ask_close(self) -> None:
        show(self.drawer, True)
        self.part.value = 1.0
        self.confirm.ask(self._close_effect(), self._close, lambda: show(self.drawer, False))

    def _parted(self, _change: Mapping[str, Any]) -> None:
        """Say the effect of another part."""
        self.confirm.say(self._close_effect())

    def _close_effect(self) -> str:
        p = self._find()
        if p is None:
            return ""
        part = self.part.value
        effect = f"{'Sells' if p.side > 0 else 'Buys'} {'about ' if part < 1 else ''}{quantity(part * p.quantity)}"
        rest = "Its stop and targets end." if part == 1.0 else "Stop and targets go on for the rest."
        result = f"about {signed(part * p.unrealized_pnl, cents(p.symbol))} before costs"
        return f"{effect} {p.symbol} of {p.strategy_id} at market, {result}. {rest}"

    def _close(self) -> None:
        p, part = self._find(), {} if self.part.value == 1.0 else {"fraction": self.part.value}
        if p is not None:
            done = f"{'A part of ' if part else ''}{p.symbol} was closed."
            self.act("close_position", strategy_id=p.strategy_id, done=done, **part)

    def _open_stop(self) -> None:
        p = self._find()
        if p is None:
            return
        self.heading.value = f"<strong>Stop of {escape(p.symbol)} · {escape(p.strategy_id.split('@')[0])}</strong>"
        self.price.value = "" if p.stop is None else f"{p.stop:.{p.decimals}f}"
        self._say_stop()
        show(self.stop, True)
        self.price.focus()

    def _say_stop(self) -> None:
        p = self._find()
        if p is not None:
            self.effect.value = f"<span>{escape(stop_effect(p, _number(self.price.value)))}</span>"

    def _move(self) -> None:
        p, price = self._find(), _number(self.price.value)
        if p is None:
            return
        if price is None:
            text, hint = self.price.value, "write a price, such as " + f"{p.mark_price:.{p.decimals}f}"
            self.refuse(ConfigError("number", f"{text!r} is no price", value=text, hint=hint))
            return
        self.act("move_stop", then=self._moved, strategy_id=p.strategy_id, price=price)

    def _even(self) -> None:
        p = self._find()
        if p is not None:
            self.act("breakeven", then=self._moved, strategy_id=p.strategy_id)

    def _moved(self, stop: Any) -> None:
        """Say where the stop is now and close the drawer."""
        self.tell(f"The stop is at {stop:,.8g}." if isinstance(stop, float) else "The stop was moved.")
        show(self.stop, False)

    def _cancel(self, order_id: str) -> None:
        orders = self._view.orders if self._view else ()
        found = next((order for order in orders if order.order_id == order_id), None)
        if found is not None:
            self.act("cancel_order", strategy_id=found.strategy_id, done="The entry was canceled.")

    def to_frame(self) -> pd.DataFrame:
        """Return what is shown: open positions, working orders, or today's trades."""
        view = self.board.view()
        shown: dict[str, tuple[Any, type]] = {
            "Positions": (view.positions, PositionView),
            "Orders": (view.orders, OrderView),
            "Trades today": (view.trades_today, Trade),
        }
        items, kind = shown[self.what.value]
        names = [name for name in kind.__slots__ if name not in ("targets", "stop_history")]  # type: ignore[attr-defined]
        return pd.DataFrame([{name: getattr(item, name) for name in names} for item in items], columns=names)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _number(text: str) -> float | None:
    """Return the finite number that a text is, with or without commas, else None."""
    try:
        value = to_number(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
