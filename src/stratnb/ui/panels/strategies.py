"""P2, the strategy table: every loaded strategy with its state, position and result, and all that one can do to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import ipywidgets as w
import pandas as pd

from stratnb.ui.controls import Confirm, btn, chip, dropdown, field, show, styled
from stratnb.ui.panels.acting import ActingPanel
from stratnb.ui.panels.add_strategy import AddStrategy
from stratnb.ui.panels.download import download
from stratnb.ui.panels.strategy_drawer import StrategyDrawer
from stratnb.ui.panels.strategy_more import StrategyMore
from stratnb.ui.panels.strategy_rows import STATES, columns, rows
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.view import EngineView, StrategyView

__all__ = ["StrategyTable", "matching"]

_EMPTY = {
    "t": "No strategy loaded",
    "sub": "Pick a shipped strategy below and press Add. Nothing trades until you activate it.",
}
_NONE = {"t": "No strategy matches", "sub": "Reset the filters to see all of them."}
_BULK = {"pause": ("active", "managing"), "resume": ("suspended",)}


def matching(
    strategies: Sequence[StrategyView], words: str = "", state: str = "", symbol: str = ""
) -> list[StrategyView]:
    """Return the strategies of a state and a symbol (empty: any) that have the words in a text of theirs."""
    wanted = words.strip().lower()

    def _has(s: StrategyView) -> bool:
        texts = (s.strategy_id, s.title, s.timeframe, STATES.get(s.state, ("", s.state))[1], s.last_decision)
        reasons = (s.last_reason.replace("_", " "), s.error, *(f"{name} {value}" for name, value in s.overrides))
        return any(wanted in text.lower() for text in (*texts, *reasons))

    return [s for s in strategies if state in ("", s.state) and symbol in ("", s.symbol) and (not wanted or _has(s))]


class StrategyTable(ActingPanel):
    """All loaded strategies in one table; opening a row selects it in the other panels of the board."""

    title: ClassVar[str] = "Strategies"

    def body(self) -> list[w.Widget]:
        """Make the drawers, the table and the line that adds strategies."""
        self.view: EngineView | None = None
        self.selection = selection(self.board)
        self.selection.listen(self._selected)
        self.table = Table(caption="Strategies", cols=columns(), page=20, selectable=True, empty=_EMPTY)
        self.table.on_act = self._acted
        self.drawer = StrategyDrawer(self)
        self.more = StrategyMore(self)
        self.confirm = Confirm("Confirm", "primary")
        self.bulk = styled(w.HBox([self.confirm]), "sn-drawer", "sn-off")
        self.add = styled(AddStrategy(self), "sn-acts")
        return [self.bulk, self.drawer, self.more, self.table, self.add]

    def tools(self) -> list[w.Widget]:
        """Make the filters, the bulk buttons and the export."""
        self.filter = field("Filter strategies", "Filter", hide_label=True)
        self.state = dropdown("Show state", [("Any state", "")], hide_label=True)
        self.symbol = dropdown("Show market", [("Any symbol", "")], hide_label=True)
        for control in (self.filter, self.state, self.symbol):
            control.observe(lambda _: self._refilter(), "value")
        self.reset = styled(btn("Reset", "quiet", tip="Reset the filters", do=self._reset), "sn-off")
        self.pause = styled(btn("Pause all…", do=lambda: self._ask_all("pause")), "sn-acts")
        self.resume = styled(btn("Resume all…", do=lambda: self._ask_all("resume")), "sn-acts")
        self.every = chip("All columns", False, "Show every column; the table then scrolls sideways")
        self.every.observe(lambda change: setattr(self.table, "cols", columns(every=change["new"])), "value")
        self.export = btn("CSV", "quiet", tip="Export the shown strategies as CSV", do=self._export)
        self.link = styled(w.HTML(), "sn-off")
        filters = [self.filter, self.state, self.symbol, self.reset]
        return [*filters, self.pause, self.resume, self.every, self.export, self.link]

    def paint(self, view: EngineView) -> None:
        """Write what changed."""
        self.view = view
        self._offer(view)
        self._show()
        self.selection.settle(view)
        self._selected()
        self.add.paint(view)
        self.more.paint()

    def _offer(self, view: EngineView) -> None:
        """Offer the states and symbols that are there; with fewer than two strategies there is nothing to filter."""
        states = dict.fromkeys(s.state for s in view.strategies)
        named = [(STATES.get(state, ("", state))[1], state) for state in sorted(states)]
        symbols = [(symbol, symbol) for symbol in sorted({s.symbol for s in view.strategies})]
        for box, options in ((self.state, [("Any state", ""), *named]), (self.symbol, [("Any symbol", ""), *symbols])):
            if tuple(box.options) != tuple(options):
                kept = box.value if box.value in dict(options).values() else ""
                box.options = options
                box.value = kept
        many = len(view.strategies) > 1
        for widget in (self.filter, self.state, self.symbol, self.pause, self.resume, self.every, self.export):
            show(widget, many or (widget in (self.every, self.export) and bool(view.strategies)))

    def _offer_bulk(self, op: str, button: w.Button) -> None:
        """Name a bulk button after what it acts on, and say why it is off."""
        ready = bool(self._bulk(op))
        fit = {"pause": "active", "resume": "paused"}[op]
        tip = "Asks first" if ready else f"None of the shown strategies is {fit}"
        label = f"{op.capitalize()} {'shown' if self._is_filtered() else 'all'}…"
        for trait, value in (("disabled", not ready), ("tooltip", tip), ("description", label)):
            if getattr(button, trait) != value:
                setattr(button, trait, value)

    def _is_filtered(self) -> bool:
        return bool(self.filter.value or self.state.value or self.symbol.value)

    def found(self) -> list[StrategyView]:
        """Return the strategies that the filters let through."""
        known = self.view.strategies if self.view else ()
        return matching(known, self.filter.value, self.state.value or "", self.symbol.value or "")

    def _show(self) -> None:
        view = self.view
        if view is None:
            return
        found, n = self.found(), len(view.strategies)
        empty = _NONE if n else _EMPTY
        if self.table.empty != empty:
            self.table.empty = empty
        self.table.show(rows(view, found))
        show(self.reset, self._is_filtered())
        self._offer_bulk("pause", self.pause)
        self._offer_bulk("resume", self.resume)
        active = sum(s.state == "active" for s in view.strategies)
        part = f"{len(found)} of {n} shown" if len(found) < n else f"{n} loaded"
        self.frame.note(f"{part}, {active} active · {view.mode} mode" if n else "0 loaded")

    def _refilter(self) -> None:
        self._show()
        self.repaint()

    def _reset(self) -> None:
        self.filter.value = self.state.value = self.symbol.value = ""

    def find(self, strategy_id: str) -> StrategyView | None:
        """Return the newest picture of one strategy."""
        known = self.view.strategies if self.view else ()
        return next((s for s in known if s.strategy_id == strategy_id), None)

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
            show(self.more, False)
            self.drawer.begin(action, strategy_id)
        elif action == "more":
            self.drawer.close_drawer()
            self.more.begin(strategy_id)

    def _bulk(self, op: str) -> list[str]:
        """Return the shown strategies that a bulk operation changes."""
        return [s.strategy_id for s in self.found() if s.state in _BULK[op]]

    def _ask_all(self, op: str) -> None:
        """Ask once for all shown strategies."""
        ids = self._bulk(op)
        effect = {
            "pause": f"Pauses {len(ids)} strategies: their working entries are canceled, stops and targets go on.",
            "resume": f"Resumes {len(ids)} strategies: they may enter again.",
        }[op]
        show(self.bulk, True)
        said = {"pause": "paused", "resume": "resumed"}[op]
        self.confirm.ask(effect, lambda: self.act_each(op, ids, said=said), lambda: show(self.bulk, False))

    def _export(self) -> None:
        self.link.value = download("strategies.csv", self.to_csv(), "text/csv")
        show(self.link, True)

    def to_csv(self) -> str:
        """Return the shown strategies as CSV."""
        return str(self.to_frame().to_csv(index=False))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per shown strategy with every figure of its picture."""
        self.view = self.board.view()
        names = list(StrategyView.__slots__)
        return pd.DataFrame([{name: getattr(s, name) for name in names} for s in self.found()], columns=names)
