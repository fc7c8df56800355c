"""P2, the strategy table: every loaded strategy with its state, position and result, and all that one can do to it."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.ui.controls import field
from stratnb.ui.format import age, clock, count, delta, dot, na, num, quantity, share, signed, sized, tag
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.add_strategy import AddStrategy
from stratnb.ui.panels.strategy_drawer import StrategyDrawer
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.view import EngineView, StrategyView

__all__ = ["StrategyTable", "columns", "row"]

_STATES = {
    "active": ("ok", "Active"),
    "managing": ("info", "Managing"),
    "dormant": ("mute", "Dormant"),
    "preparing": ("info", "Preparing"),
    "suspended": ("warn", "Paused"),
    "failed": ("err", "Failed"),
    "removed": ("mute", "Removed"),
}

_BUSY = ("active", "managing", "suspended", "preparing")


def columns() -> list[dict[str, Any]]:
    """Return the columns of the table."""
    return [
        {"key": "name", "label": "Strategy", "cls": "is-wide"},
        {"key": "state", "label": "State"},
        {"key": "pos", "label": "Position", "align": "r"},
        {"key": "open", "label": "Open PnL", "align": "r"},
        {"key": "pnl", "label": "PnL total", "align": "r", "title": "Realized and open since the start, after fees"},
        {"key": "trades", "label": "Trades", "align": "r", "cls": "is-p2"},
        {"key": "win", "label": "Won", "align": "r", "cls": "is-p2", "title": "Share of trades with a gain"},
        {"key": "factor", "label": "Factor", "align": "r", "cls": "is-p3", "title": "Profit factor: gains over losses"},
        {"key": "drawdown", "label": "Drawdown", "align": "r", "cls": "is-p3", "title": "Largest fall from a peak"},
        {"key": "last", "label": "Last decision", "cls": "is-last"},
        {"key": "slot", "label": "Slot", "cls": "is-p2", "title": "Where its orchestrator is"},
        {"key": "act", "label": "Actions", "sort": False, "cls": "is-acts"},
    ]


def row(s: StrategyView, *, now_ms: int) -> dict[str, Any]:
    """Return the row of one strategy."""
    held = s.side != 0
    word = {1: "Long", -1: "Short"}.get(s.side, "Flat")
    position = {"t": f"{word} {quantity(s.quantity)}", "sub": s.symbol.split("/")[0], "n": s.side * s.quantity}
    flat = {"t": "Flat", "tone": "mute", "n": 0.0}
    return {
        "id": s.strategy_id,
        "cls": "is-err" if s.state == "failed" else "",
        "f": {"state": s.state, "symbol": s.symbol},
        "name": {"t": s.title or s.name, "sub": _whereabouts(s), "title": s.strategy_id},
        "state": _state(s),
        "pos": {**position, "title": f"Exposure {share(s.exposure)} of equity"} if held else flat,
        "open": delta(s.open_pnl) if held else {"t": "–", "tone": "mute", "n": 0.0},
        "pnl": {**delta(s.total_pnl), "title": f"Realized {signed(s.realized_pnl)}, equity {num(s.equity)}"},
        "trades": {"t": count(s.trades), "n": s.trades, "title": f"{s.wins} won; entries denied: {s.denials}"},
        "win": sized(s.win_rate, share(s.win_rate), reason="no trade"),
        "factor": sized(s.profit_factor, num(s.profit_factor), reason="no loss"),
        "drawdown": {"t": share(s.max_drawdown), "n": s.max_drawdown},
        "last": _last(s, now_ms),
        "slot": {"chips": [_slot(s)]},
        "act": {"acts": _actions(s)},
    }


def _whereabouts(s: StrategyView) -> str:
    return " · ".join([s.symbol, s.timeframe, *([s.label] if s.label not in ("", "main") else [])])


def _state(s: StrategyView) -> dict[str, Any]:
    if s.state == "failed":
        return {**dot("err", "Failed", sub=s.error.split(":")[0] if s.error else ""), "title": s.error}
    if s.paused:
        return dot("warn", "Paused")
    if s.state in ("active", "preparing") and s.warmup_done < s.warmup_needed:
        return dot("info", f"Warming {s.warmup_done}/{s.warmup_needed}")
    return {**dot(*_STATES.get(s.state, ("mute", s.state.capitalize()))), **({"title": s.error} if s.error else {})}


def _last(s: StrategyView, now_ms: int) -> dict[str, Any]:
    """Return the last decision with its score or reason; the age of the last candle is in the tooltip."""
    if not s.last_decision:
        return na(f"{s.warmup_done} of {s.warmup_needed} candles" if s.warmup_needed else "no candle yet")
    if s.last_decision == "WARMING":
        return {"t": f"WARMING {clock(s.last_decision_ms)[:5]}", "sub": f"{s.warmup_done} of {s.warmup_needed}"}
    old = "" if s.last_candle_ms is None else f"Last candle {age(max(now_ms - s.last_candle_ms, 0) / 1000)} ago"
    why = s.last_reason.replace("_", " ") if s.last_reason else f"score {signed(s.last_score)}"
    return {
        "t": f"{s.last_decision} {clock(s.last_decision_ms)[:5]}",
        "sub": why,
        "title": old,
        "n": s.last_decision_ms or 0,
    }


def _slot(s: StrategyView) -> dict[str, Any]:
    if s.pinned:
        return tag("Pinned", "accent", title="Held in the cache: active, holding a position or pinned by you")
    if s.cached:
        return tag("Cached", title="In the cache, ready at once")
    if s.last_decision_ms is None:
        return tag("Not cached", title="Created when it is first activated")
    return tag("Evicted", title="Comes back from its snapshot")


def _actions(s: StrategyView) -> list[dict[str, Any]]:
    """Return the buttons of the row; a button that asks first ends with an ellipsis."""
    name = s.title or s.name
    if s.state == "failed":
        first = {"a": "activate", "t": "Retry", "label": f"Retry {name}"}
    elif s.state == "dormant":
        first = {"a": "activate", "t": "Activate", "kind": "primary", "label": f"Activate {name}"}
    elif s.paused:
        first = {"a": "resume", "t": "Resume", "kind": "primary", "label": f"Resume {name}"}
    else:
        first = {"a": "pause", "t": "Pause", "label": f"Pause {name}: no new entries"}
    swap = {"a": "switch", "t": "Switch…", "label": f"Switch {name} to another strategy"}
    if s.state == "failed":
        swap["off"] = "Failed: nothing to switch from"
    drop = {"a": "remove", "t": "Remove…", "kind": "quiet", "label": f"Remove {name}"}
    rest = {"a": "deactivate", "t": "Deactivate…", "kind": "quiet", "label": f"Deactivate {name}"}
    return [first, swap, drop if s.state == "managing" or s.state not in _BUSY else rest]


class StrategyTable(ActingPanel):
    """All loaded strategies in one table; opening a row selects it in the other panels of the board."""

    title: ClassVar[str] = "Strategies"

    def body(self) -> list[w.Widget]:
        """Make the drawer, the table and the line that adds strategies."""
        self.view: EngineView | None = None
        self.selection = selection(self.board)
        self.selection.listen(self._selected)
        empty = {
            "t": "No strategy loaded",
            "sub": "Pick a shipped strategy below and press Add. Nothing trades until you activate it.",
        }
        self.table = Table(caption="Strategies", cols=columns(), page=20, selectable=True, empty=empty)
        self.table.on_act = self._acted
        self.drawer = StrategyDrawer(self)
        self.add = AddStrategy(self)
        return [self.drawer, self.table, self.add]

    def tools(self) -> list[w.Widget]:
        """Make the filter box."""
        self.filter = field("Filter strategies", "Filter", hide_label=True)
        self.filter.observe(lambda change: setattr(self.table, "query", change["new"]), "value")
        return [self.filter]

    def paint(self, view: EngineView) -> None:
        """Write what changed."""
        self.view = view
        self.table.show([row(s, now_ms=view.now_ms) for s in view.strategies])
        self.selection.settle(view)
        self._selected()
        active = sum(s.state == "active" for s in view.strategies)
        n = len(view.strategies)
        self.frame.note(f"{n} loaded, {active} active · {view.mode} mode" if n else "0 loaded")
        self.add.paint(view)

    def find(self, strategy_id: str) -> StrategyView | None:
        """Return the newest picture of one strategy."""
        rows = self.view.strategies if self.view else ()
        return next((s for s in rows if s.strategy_id == strategy_id), None)

    def _selected(self) -> None:
        if self.table.current != self.selection.strategy_id:
            self.table.current = self.selection.strategy_id

    def _acted(self, action: str, strategy_id: str) -> None:
        """Answer a button of a row; those that ask first open the drawer."""
        if self.find(strategy_id) is None:
            return
        if action == "open":
            self.selection.choose(strategy_id)
        elif action in ("activate", "pause", "resume"):
            self.act(action, strategy_id=strategy_id)
        elif action in ("switch", "remove", "deactivate"):
            self.drawer.begin(action, strategy_id)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per strategy with every figure of its picture."""
        names = list(StrategyView.__slots__)
        rows = [{name: getattr(s, name) for name in names} for s in self.board.view().strategies]
        return pd.DataFrame(rows, columns=names)
