"""P6, the open positions: levels, result in initial risks, targets done, and closing in two steps."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.ui.controls import Confirm, show, styled
from stratnb.ui.format import age, delta, na, num, quantity, side, signed, sized, stamp
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.widgets import Table
from stratnb.view import EngineView, PositionView

__all__ = ["Positions", "columns", "row"]


def columns() -> list[dict[str, Any]]:
    """Return the columns of the table; few rows, so no sort buttons in the Tab order."""
    return [
        {"key": "name", "label": "Position", "cls": "is-wide", "sort": False},
        {"key": "side", "label": "Side", "sort": False},
        {"key": "qty", "label": "Quantity", "align": "r", "sort": False},
        {"key": "entry", "label": "Entry", "align": "r", "sort": False},
        {"key": "mark", "label": "Mark", "align": "r", "sort": False},
        {"key": "pnl", "label": "Open PnL", "align": "r", "sort": False},
        {"key": "r", "label": "R", "align": "r", "sort": False, "title": "Open PnL in initial risks"},
        {"key": "stop", "label": "Stop", "align": "r", "sort": False},
        {"key": "targets", "label": "Targets", "align": "r", "cls": "is-p2", "sort": False},
        {"key": "age", "label": "Age", "align": "r", "cls": "is-p2", "sort": False},
        {"key": "act", "label": "Actions", "sort": False, "hide": True, "cls": "is-acts"},
    ]


def row(p: PositionView, *, now_ms: int) -> dict[str, Any]:
    """Return the row of one position."""
    held = (now_ms - p.opened_ms) / 1000
    return {
        "id": p.strategy_id,
        "name": {"t": p.symbol, "sub": p.strategy_id.split("@")[0], "title": p.strategy_id},
        "side": side(p.side),
        "qty": {"t": quantity(p.quantity), "title": f"Notional {num(p.notional)}"},
        "entry": num(p.entry_price, p.decimals),
        "mark": num(p.mark_price, p.decimals),
        "pnl": delta(p.unrealized_pnl),
        "r": sized(p.r_multiple, signed(p.r_multiple), reason="no stop"),
        "stop": _stop(p),
        "targets": _targets(p),
        "age": {"t": age(max(held, 0.0)), "title": f"Opened {stamp(p.opened_ms, seconds=True)} UTC"},
        "act": {"acts": [_close(p)]},
    }


def _stop(p: PositionView) -> dict[str, Any]:
    """Return the stop with why it is there and how often it was moved."""
    if p.stop is None:
        return na("no stop")
    moves = max(len(p.stop_history) - 1, 0)
    note = f"{p.stop_reason or 'stop'}, moved {moves} times" if moves else p.stop_reason
    return {"t": num(p.stop, p.decimals), **({"title": note} if note else {})}


def _targets(p: PositionView) -> dict[str, Any]:
    """Return the next target and a mark per target: filled when done."""
    if not p.targets:
        return {"t": "–", "title": "No target"}
    ahead = next((price for price, _, done in p.targets if not done), None)
    marks = "".join("●" if done else "○" for _, _, done in p.targets)
    every = ", ".join(
        f"{num(price, p.decimals)} closes {share:.0%}{' (done)' if done else ''}" for price, share, done in p.targets
    )
    return {"t": "all done" if ahead is None else num(ahead, p.decimals), "sub": marks, "title": every}


def _close(p: PositionView) -> dict[str, Any]:
    label = f"Close the {p.symbol} position of {p.strategy_id}"
    return {
        "a": "close",
        "t": "Close…",
        "label": label,
        **({"off": f"Closing: {p.pending_exit}"} if p.pending_exit else {}),
    }


class Positions(ActingPanel):
    """The open positions of all strategies; closing one asks first and names the effect."""

    title: ClassVar[str] = "Positions"
    hz: ClassVar[float] = 4.0
    span: ClassVar[str] = "8"

    def body(self) -> list[w.Widget]:
        """Make the table and its confirm line."""
        self._view: EngineView | None = None
        empty = {"t": "Flat", "sub": "No open position. Entries appear here with their stop."}
        self.table = Table(caption="Positions", cols=columns(), empty=empty)
        self.table.on_act = self._acted
        self.confirm = Confirm("Close position")
        self.drawer = styled(w.HBox([self.confirm]), "sn-drawer", "sn-off")
        return [self.drawer, self.table]

    def paint(self, view: EngineView) -> None:
        """Write what changed."""
        self._view = view
        self.table.show([row(p, now_ms=view.now_ms) for p in view.positions])
        gross = sum(p.notional for p in view.positions)
        n = len(view.positions)
        self.frame.note(f"{n} open · gross {num(gross, 0)} {view.quote}" if n else "0 open")

    def _acted(self, action: str, strategy_id: str) -> None:
        held = {p.strategy_id: p for p in self._view.positions} if self._view else {}
        if action != "close" or strategy_id not in held:
            return
        p = held[strategy_id]
        effect = f"Sells {quantity(p.quantity)}" if p.side > 0 else f"Buys {quantity(p.quantity)}"
        result = f"about {signed(p.unrealized_pnl)} before costs"
        show(self.drawer, True)
        self.confirm.ask(
            f"{effect} {p.symbol} of {strategy_id} at market, {result}. Its stop and targets end.",
            lambda: self.act("close_position", strategy_id=strategy_id, done=f"{p.symbol} is being closed."),
            lambda: show(self.drawer, False),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per open position."""
        names = [name for name in PositionView.__slots__ if name not in ("targets", "stop_history")]
        rows = [{name: getattr(p, name) for name in names} for p in self.board.view().positions]
        return pd.DataFrame(rows, columns=names)
