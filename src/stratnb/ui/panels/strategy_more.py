"""The drawer with what else can be done with a strategy, and the facts that its row has no room for."""

from __future__ import annotations

from typing import Any, Protocol

import ipywidgets as w

from stratnb.ui.controls import Confirm, btn, show, styled
from stratnb.ui.format import age, cents, escape, quantity, signed, stamp, words
from stratnb.ui.panels.strategy_rows import uptime_s
from stratnb.view import EngineView, StrategyView

__all__ = ["StrategyMore", "facts"]


class Owner(Protocol):
    """What the drawer needs of its panel."""

    view: EngineView | None
    selection: Any
    drawer: Any

    def act(self, op: str, /, **arguments: Any) -> None:
        """Submit an operation once."""
        ...

    def find(self, strategy_id: str) -> StrategyView | None:
        """Return the newest picture of one strategy."""
        ...


def facts(s: StrategyView, now_ms: int) -> str:
    """Return id, times, overrides and denials of a strategy in one line."""
    up = uptime_s(s, now_ms)
    return words(
        (
            s.strategy_id,
            f"loaded {stamp(s.loaded_ms)} UTC" if s.loaded_ms else "",
            f"active for {age(up)}" if up is not None else "not active",
            "changed: " + ", ".join(f"{name} = {value}" for name, value in s.overrides) if s.overrides else "",
            "denied: " + ", ".join(f"{code.replace('_', ' ')} {n}" for code, n in s.denials_by_code)
            if s.denials_by_code
            else "nothing denied",
            f"error: {s.error}" if s.error else "",
        )
    )


class StrategyMore(w.HBox):  # type: ignore[misc]
    """Chart, pin, close position and the facts of one strategy; one drawer for all rows."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.strategy_id = ""
        self.heading = w.HTML()
        self.look = btn("Chart and decision", tip="Show it on the Chart page", do=self._look)
        self.pin = btn("Pin", tip="Keep it in the cache", do=self._pin)
        self.close_now = btn("Close position…", do=self._ask)
        self.rest = btn("Deactivate…", tip="No more entries; asks first", do=lambda: self._pass("deactivate"))
        self.drop = btn("Remove…", tip="Unload it; asks first", do=lambda: self._pass("remove"))
        for acting in (self.pin, self.close_now, self.rest, self.drop):
            styled(acting, "sn-acts")
        self.confirm = Confirm("Close position")
        self.facts = styled(w.HTML(), "sn-muted", "sn-wholeline")
        shut = btn("Close", "quiet", do=lambda: show(self, False))
        buttons = [self.look, self.pin, self.close_now, self.rest, self.drop]
        super().__init__([self.heading, w.HBox(buttons), self.confirm, shut, self.facts])
        styled(self, "sn-drawer", "sn-off")

    def begin(self, strategy_id: str) -> None:
        """Open the drawer for one row."""
        self.strategy_id = strategy_id
        self.confirm.no.click()
        show(self, True)
        self.paint()
        self.look.focus()

    def paint(self) -> None:
        """Write what changed of the strategy; without it, close."""
        if "sn-off" in self._dom_classes:
            return
        s = self.owner.find(self.strategy_id)
        if s is None or self.owner.view is None:
            self.confirm.no.click()
            show(self, False)
            return
        own = any(e.strategy_id == s.strategy_id and "user" in e.pin_reasons for e in self.owner.view.cache.entries)
        values = (
            (self.heading, "value", f"<strong>{escape(s.title or s.name)} · {escape(s.symbol)}</strong>"),
            (self.facts, "value", f"<span>{escape(facts(s, self.owner.view.now_ms))}</span>"),
            (self.pin, "description", "Unpin" if own else "Pin"),
            (self.rest, "disabled", s.state not in ("active", "suspended")),
            (self.close_now, "disabled", not s.side),
            (self.close_now, "tooltip", "Close the position at market; asks first" if s.side else "It is flat"),
        )
        for widget, trait, value in values:
            if getattr(widget, trait) != value:
                setattr(widget, trait, value)

    def _look(self) -> None:
        self.owner.selection.choose(self.strategy_id)
        self.owner.selection.turn("Chart")

    def _pass(self, op: str) -> None:
        """Go on in the drawer that asks for policy and a second step."""
        show(self, False)
        self.owner.drawer.begin(op, self.strategy_id)

    def _pin(self) -> None:
        self.owner.act(self.pin.description.lower(), strategy_id=self.strategy_id)

    def _ask(self) -> None:
        s = self.owner.find(self.strategy_id)
        if s is None or not s.side:
            return
        effect = f"{'Sells' if s.side > 0 else 'Buys'} {quantity(s.quantity)} {s.symbol} at market"
        result = f"about {signed(s.open_pnl, cents(s.symbol))}. Its stop and targets end."
        done = f"{s.symbol} is being closed."
        self.confirm.ask(
            f"{effect}, {result}",
            lambda: self.owner.act("close_position", strategy_id=s.strategy_id, done=done),
        )
