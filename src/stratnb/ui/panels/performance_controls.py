"""The controls of the performance panel: which strategies, which range, which pair, and how the curve is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import ipywidgets as w

from stratnb.ui import controls
from stratnb.ui.format import escape
from stratnb.ui.panels.performance_data import Scope, named
from stratnb.view import EngineView

__all__ = ["CURVES_MAX", "RANGES", "CurveControls", "ScopeControls"]

CURVES_MAX: Final = 8
HOUR_MS: Final = 3_600_000
RANGES: Final = (("All", 0), ("1 d", 1), ("1 w", 7), ("1 mo", 30), ("3 mo", 91), ("1 y", 365))
STEPS: Final = (("Every point", 0), ("Hour", HOUR_MS), ("Day", 24 * HOUR_MS))
WINDOWS: Final = (("7 days", 7), ("14 days", 14), ("30 days", 30), ("90 days", 90))


class ScopeControls:
    """Chips of at most eight strategies, the others in a list, the range, the market to hold and the pair A and B."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.ids: tuple[str, ...] = ()
        self._titles: dict[str, str] = {}
        self._offered: tuple[object, ...] = ()
        self.chips = controls.row()
        self.more = controls.dropdown("Add curve", [("Add curve…", "")], "", hide_label=True)
        self.range = controls.segment(list(RANGES), 0)
        self.market = controls.dropdown("Buy and hold", [("Off", "")], "")
        self.a = controls.dropdown("A", [("–", "")], "")
        self.b = controls.dropdown("B", [("–", "")], "")
        self.said = controls.styled(w.HTML(), "sn-muted", "sn-off")
        self.none = controls.styled(w.HTML(), "sn-legend", "sn-off")
        for box in (self.range, self.market, self.a, self.b):
            box.observe(lambda _: self._changed(), "value")
        self.more.observe(lambda change: self._add(str(change["new"] or "")), "value")
        self._market_chosen = False

    def rows(self) -> list[w.Widget]:
        """Return the controls in two rows."""
        choice = controls.row(self.chips, self.more, cls="sn-switches")
        rest = controls.row(self.range, self.market, self.a, self.b, self.said)
        return [choice, controls.row(rest, cls="sn-switches"), self.none]

    @property
    def scope(self) -> Scope:
        """Return what is chosen."""
        on = frozenset(i for i, chip in zip(self.ids, self.chips.children, strict=True) if chip.value)
        a, b = str(self.a.value or ""), str(self.b.value or "")
        pair = (a, b) if a and b and a != b else None
        keys = {f"s{k}": i for k, i in enumerate(self.ids)}
        on |= {keys[key] for key in pair or () if key in keys}
        return Scope(self.ids, on, int(self.range.value), str(self.market.value or ""), pair)

    def offer(self, view: EngineView) -> None:
        """Follow the loaded strategies and markets; what was chosen stays chosen."""
        titles, markets = named(view), tuple(view.markets)
        if (offered := (tuple(titles.items()), markets)) == self._offered:
            return
        self._offered, self._titles = offered, titles
        self._keep(tuple(i for i in self.ids if i in titles))
        self._fill(tuple(titles))
        self._refill(self.market, [("Off", ""), *((name, name) for name in markets)])
        if not self._market_chosen and view.strategies and view.strategies[0].symbol in markets:
            self._market_chosen = True
            self.market.value = view.strategies[0].symbol

    def tell(self, view: EngineView, drawn: Iterable[str]) -> None:
        """Say which chosen strategies have no curve, and why; `drawn` are the keys of the lines."""
        keys, states = set(drawn), {row.strategy_id: row.state for row in view.strategies}
        on = zip(self.ids, self.chips.children, strict=True)
        lost = [i for k, (i, chip) in enumerate(on) if chip.value and f"s{k}" not in keys and i in states]
        said = [f"{self._titles[i]} has no curve in this range: it is {states[i]}" for i in lost]
        text = f"<span role='status'>{escape('; '.join(said))}.</span>" if said else ""
        if self.none.value != text:
            self.none.value = text
            controls.show(self.none, bool(text))

    def _fill(self, known: tuple[str, ...]) -> None:
        """Fill the free places with the first strategies that have none."""
        free = CURVES_MAX - len(self.ids)
        self._keep((*self.ids, *[i for i in known if i not in self.ids][:free]))

    def _keep(self, ids: tuple[str, ...]) -> None:
        """Show the chips of these strategies; old ones keep their state."""
        states = {i: chip.value for i, chip in zip(self.ids, self.chips.children, strict=True)}
        before = self.chips.children
        made = [controls.chip(self._titles[i], states.get(i, True), "Show or hide this curve") for i in ids]
        for chip in made:
            chip.observe(lambda _: self._changed(), "value")
        self.ids, self.chips.children = ids, made
        for old in before:
            controls.discard(old)
        self._lists()

    def _lists(self) -> None:
        """Write the lists of further strategies and of the pair."""
        rest = [(name, i) for i, name in self._titles.items() if i not in self.ids]
        self._refill(self.more, [("Add curve…", ""), *rest])
        controls.show(self.more, bool(rest))
        pair = [("–", ""), ("Account", "account"), ("Buy and hold", "hold")]
        pair += [(self._titles[i], f"s{k}") for k, i in enumerate(self.ids)]
        for box in (self.a, self.b):
            self._refill(box, pair)
            controls.show(box, bool(self.ids))

    def _refill(self, box: w.Dropdown, options: list[tuple[str, str]]) -> None:
        """Write other options and keep the choice when it is still among them."""
        if list(box.options) == options:
            return
        before = box.value
        box.options = options
        box.value = before if before in [value for _, value in options] else ""

    def _add(self, strategy_id: str) -> None:
        """Give a strategy of the list a place: a free one, or that of the first curve that is off."""
        if not strategy_id:
            return
        off = [i for i, chip in zip(self.ids, self.chips.children, strict=True) if not chip.value]
        is_full = len(self.ids) >= CURVES_MAX and not off
        controls.show(self.said, is_full)
        self.said.value = f"<span role='status'>{CURVES_MAX} curves at most; hide one first.</span>" if is_full else ""
        if is_full:
            self.more.value = ""
            return
        kept = self.ids if len(self.ids) < CURVES_MAX else tuple(i for i in self.ids if i != off[0])
        self._keep((*kept, strategy_id))
        self._changed()


class CurveControls:
    """How the curve is drawn: relative or absolute, logarithmic, resolution, and the window of the rolling Sharpe."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.relative = controls.chip("Relative", True, "Every curve starts at 100; off: money")
        self.log = controls.chip("Log", False, "Logarithmic axis of the curves")
        self.step = controls.dropdown("Resolution", list(STEPS), 0)
        self.window = controls.dropdown("Rolling Sharpe", list(WINDOWS), 30)
        self.row = controls.row(controls.row(self.relative, self.log, self.step, self.window), cls="sn-switches")
        for box in (self.relative, self.log, self.step, self.window):
            box.observe(lambda _: changed(), "value")
