"""The drawer of the strategy table: switch, deactivate and remove, each with policy, effect and a second step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import ipywidgets as w

from stratnb.errors import Refused
from stratnb.ui.controls import Confirm, btn, dropdown, show, styled
from stratnb.ui.format import escape, quantity
from stratnb.view import EngineView, StrategyView

__all__ = ["StrategyDrawer", "preview_words"]

_POLICIES = {
    "keep": "Keep the position; the old strategy manages it until flat",
    "adopt": "Hand the position over without an order; same market, the tighter of both stops stays",
    "close": "Close the position at market first",
    "wait_flat": "The old strategy only exits; the switch comes by itself when it is flat, within an hour",
    "refuse": "Refuse while a position is open",
}
_TIMEOUTS = [("2 s", 2.0), ("5 s", 5.0), ("15 s", 15.0), ("60 s", 60.0)]
_SHORT = {
    "keep": "Keep position",
    "adopt": "Hand over position",
    "close": "Close position",
    "wait_flat": "Wait until flat",
    "refuse": "Refuse if open",
}
_KEYS = {"switch": tuple(_SHORT), "deactivate": ("keep", "close", "refuse"), "remove": ("refuse", "close")}


class Owner(Protocol):
    """What the drawer needs of its panel."""

    view: EngineView | None

    def act(self, op: str, /, **arguments: Any) -> None:
        """Submit an operation once."""
        ...

    def find(self, strategy_id: str) -> StrategyView | None:
        """Return the newest picture of one strategy."""
        ...

    def refuse(self, error: BaseException) -> None:
        """Show a refusal."""
        ...

    def tell(self, words: str) -> None:
        """Show a result."""
        ...


def _part(result: Any, name: str) -> Any:
    """Return a part of a result, which is a mapping or an object."""
    return result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)


def preview_words(result: Any) -> str:
    """Return what a dry run of a switch says: the orders it would send and cancel, and what happens to the position."""
    sent = [str(order) for order in _part(result, "orders") or ()]
    canceled = _part(result, "canceled_orders") or 0
    number = canceled if isinstance(canceled, int) else len(canceled)
    parts = [f"Sends {len(sent)} orders: {', '.join(sent)}" if sent else "Sends no order"]
    parts += [f"cancels {number}"] if number else []
    action = _part(result, "position_action")
    kept = f". Position: {action}." if action not in (None, "none") else "."
    return ", ".join(parts) + kept


class StrategyDrawer(w.HBox):  # type: ignore[misc]
    """One drawer for all rows: fields of the operation, a preview for switches, and the confirm line."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.op = ""
        self.strategy_id = ""
        self.heading = w.HTML()
        self.source = dropdown("From", [])
        self.target = dropdown("Switch to", [])
        self.policy = dropdown("Policy", [(words, key) for key, words in _SHORT.items()])
        self.policy.observe(lambda _: self._explain(), "value")
        self.timeout = dropdown("Give up after", _TIMEOUTS, 5.0)
        self.preview = btn("Preview orders", tip="Show what the switch would send; nothing is sent", do=self.ask)
        self.confirm = Confirm("Confirm", "primary")
        self.hint = styled(w.HTML(), "sn-muted")
        self.fields = w.HBox([self.source, self.target, self.policy, self.timeout, self.preview])
        super().__init__(
            [self.heading, self.fields, self.confirm, self.hint, btn("Close", "quiet", do=self.close_drawer)]
        )
        styled(self, "sn-drawer", "sn-off")

    def begin(self, op: str, strategy_id: str) -> None:
        """Open the drawer for an operation on one row."""
        row = self.owner.find(strategy_id)
        if row is None:
            return
        self.op, self.strategy_id = op, strategy_id
        self.confirm.no.click()
        verb = {"switch": "Switch", "remove": "Remove", "deactivate": "Deactivate"}[op]
        self.heading.value = f"<strong>{verb} {escape(row.title or row.name)}</strong>"
        self._fill(row)
        self.preview.description = "Preview orders" if op == "switch" else "Continue"
        for widget in (self.source, self.target, self.timeout):
            show(widget, op == "switch")
        keys = _KEYS[op]
        self.policy.options = [(_SHORT[key], key) for key in keys]
        self.policy.value = keys[0]
        self._explain()
        show(self, True)

    def close_drawer(self) -> None:
        """Close the drawer and its question."""
        self.confirm.no.click()
        show(self, False)

    def _fill(self, row: StrategyView) -> None:
        """Preset from and to: an active or paused row is left, any other row is the target."""
        rows = self.owner.view.strategies if self.owner.view else ()
        running = [s for s in rows if s.state in ("active", "suspended")]
        self.source.options = [(_name(s), s.strategy_id) for s in running] or [("None", "")]
        self.source.value = self.source.options[0][1]
        ready = [s for s in rows if s.state in ("dormant", "managing")]
        self.target.options = [(_name(s), s.strategy_id) for s in ready] or [("None is free", "")]
        self.target.value = row.strategy_id if row in ready else self.target.options[0][1]
        if row in running:
            self.source.value = row.strategy_id

    def _explain(self) -> None:
        self.confirm.no.click()  # what was previewed was another policy
        words = _POLICIES.get(self.policy.value or "", "")
        self.hint.value = f"<span>{escape(words)}</span>"

    def ask(self) -> None:
        """Ask for the second step; a switch is tried out first and says which orders it would send."""
        if self.op == "switch" and not self.target.value:
            hint = "add another strategy, or deactivate one; then switch to it"
            self.owner.refuse(Refused("no_target", "every other strategy is active already", hint=hint))
        elif self.op == "switch":
            self.owner.act("switch", dry_run=True, then=self._previewed, **self._switch())
        if self.op == "switch":
            return
        row = self.owner.find(self.strategy_id)
        held = (
            f"Position {quantity(row.quantity)} {row.symbol}: {_SHORT[self.policy.value].lower()}. "
            if row and row.side
            else ""
        )
        tail = "Frees its slot; its results leave the table."
        if self.op == "deactivate":
            stays = bool(row and row.side and self.policy.value == "keep")
            tail = (
                "It takes no entry and manages the position until it is flat." if stays else "It rests until activated."
            )
        self.confirm.ask(held + tail, self._go)

    def _previewed(self, result: Any) -> None:
        error = _part(result, "error")
        if error:
            self.owner.refuse(Refused(*error))
            return
        self.confirm.ask(preview_words(result), self._go)

    def _switch(self) -> dict[str, Any]:
        source = {"from_id": self.source.value} if self.source.value and self._parallel() else {}
        patience = {"timeout_s": self.timeout.value} if self.timeout.value != _TIMEOUTS[1][1] else {}
        return {"to_id": self.target.value, "policy": self.policy.value, **source, **patience}

    def _parallel(self) -> bool:
        return self.owner.view is not None and self.owner.view.mode == "parallel"

    def _go(self) -> None:
        if self.op == "switch":
            self.owner.act("switch", then=self._switched, **self._switch())
            if self.policy.value == "wait_flat":
                self.owner.tell("The switch waits until the old strategy is flat.")
            return
        done = {"remove": "Removed.", "deactivate": "Deactivated."}[self.op]
        self.owner.act(self.op, strategy_id=self.strategy_id, policy=self.policy.value, done=done)
        show(self, False)

    def _switched(self, result: Any) -> None:
        """Close the drawer after a switch; one that was rolled back says why and leaves it open."""
        error = _part(result, "error")
        if error:
            self.owner.refuse(Refused(*error))
            return
        self.owner.tell("Switched.")
        show(self, False)


def _name(s: StrategyView) -> str:
    return f"{s.title or s.name} · {s.symbol}" + (f" · {s.label}" if s.label not in ("", "main") else "")
