"""P5, the decision inspector: one candle of one strategy, from the analyzers to the risk checks, explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import ipywidgets as w
import numpy as np
import pandas as pd

from stratnb.errors import ConfigError
from stratnb.kernels.layout import ACTIONS, DENIALS
from stratnb.model import timeframe_ms
from stratnb.ui.controls import btn, chip, dropdown, field, show, styled, text
from stratnb.ui.format import cents, count, escape, stamp
from stratnb.ui.panel import Panel
from stratnb.ui.panels.backtest_draft import parse_time
from stratnb.ui.panels.decision_rows import (
    ANALYZERS,
    CHECKS,
    INPUTS,
    LINKS,
    analyzer_rows,
    check_rows,
    input_rows,
    link_rows,
    plain,
    verdict,
)
from stratnb.ui.panels.what_if import WhatIf
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.view import AnalyzerView, DecisionView, EngineView, StrategyView

__all__ = ["DecisionPanel"]

ANY = -1
MINUTE_MS = 60_000
_COLUMNS = {"action": 1, "reason": 3}  # of `Board.decisions`


class DecisionPanel(Panel):
    """Why the strategy did what it did at one candle; follows the newest one until a candle is chosen."""

    title: ClassVar[str] = "Decision"
    hz: ClassVar[float] = 1.0
    span: ClassVar[str] = "4"

    def body(self) -> list[w.Widget]:
        """Make the verdict and the tables."""
        self.selection = selection(self.board)
        self.selection.listen(self._chosen)
        self._shown: Any = None
        self._strategy: StrategyView | None = None
        self._echo = False
        self._decimals, self._money = 2, 2
        self.verdict = styled(w.HTML(), "sn-verdict")
        unscored = {"t": "No score", "sub": "It is added up once every analyzer is ready."}
        self.analyzers = Table(caption="Analyzers", cols=ANALYZERS)
        self.score = Table(caption="Score and confidence", cols=CHECKS, empty=unscored)
        self.filters = Table(caption="Filters", cols=CHECKS, empty={"t": "No filter", "sub": "The document has none."})
        self.sizing = Table(caption="Sizing", cols=CHECKS, empty={"t": "Not sized", "sub": "Only entries are sized."})
        self.risk = Table(
            caption="Risk checks", cols=CHECKS, empty={"t": "Not checked", "sub": "Only entries are checked."}
        )
        nothing = {"t": "No order", "sub": "Only entries place one."}
        self.links = Table(caption="Order, fills and trade", cols=LINKS, empty=nothing)
        self.links.on_act = self._go_to
        self.inputs = Table(caption="Inputs", cols=INPUTS)
        self.what_if = WhatIf(self.repaint)
        first = w.VBox([text("1 Analyzers", "h3"), self.analyzers, text("2 Score and confidence", "h3"), self.score])
        parts = [("3 Filters", self.filters), ("4 Sizing", self.sizing), ("5 Risk", self.risk)]
        parts += [("6 Order, fills and trade", self.links)]
        seen = chip("Inputs", False, "Show the candle and the indicators that the strategy saw")
        seen.observe(lambda change: show(self.inputs, change["new"]), "value")
        show(self.inputs, False)
        lists = [part for title, table in parts for part in (text(title, "h3"), table)]
        self.tables = w.VBox([*lists, styled(w.HBox([seen]), "sn-jumps"), self.inputs])
        self.first = first
        self.details = styled(w.HTML(), "sn-detailbox")
        return [self._make_choice(), self._make_jumps(), self.verdict, self.what_if.box, first, self.tables]

    def tools(self) -> list[w.Widget]:
        """Make the navigation."""
        self.older = btn("‹", tip="Previous candle", do=lambda: self.go(-1))
        self.newer = btn("›", tip="Next candle", do=lambda: self.go(1))
        self.when = field("Candle (UTC)", "YYYY-MM-DD HH:MM", hide_label=True)
        self.when.continuous_update = False
        self.when.observe(self._typed, "value")
        self.follow = chip("Follow", True, "Always show the newest decision")
        self.follow.observe(self._followed, "value")
        return [self.older, self.when, self.newer, self.follow]

    def _make_choice(self) -> w.Widget:
        """Make the selectors of strategy and reason."""
        self.strategy = dropdown("Strategy", [], hide_label=True)
        self.strategy.observe(self._strategy_chosen, "value")
        self.reason = dropdown("Reason", [("Any reason", ANY)], ANY, hide_label=True)
        self.reason.tooltip = "‹ and › go to decisions with this reason"
        self.reason.observe(lambda change: self._tell_reason(), "value")
        return styled(w.HBox([self.strategy, self.reason]), "sn-jumps")

    def _make_jumps(self) -> w.Widget:
        self.entry = btn("Next entry", do=lambda: self.seek("entry"))
        self.denial = btn("Next denial", do=lambda: self.seek("denial"))
        self.ask = chip("What if", False, "Judge again with other thresholds; nothing is traded")
        self.ask.observe(self._asked, "value")
        copy = styled(btn("Copy JSON", "quiet", tip="Copy this decision as JSON"), "sn-copy")
        copies = styled(w.HBox([copy, self.details]), "sn-copybox")
        return styled(w.HBox([self.entry, self.denial, self.ask, copies]), "sn-jumps")

    def _build(self) -> None:
        """Give the frame the look of the inspector."""
        super()._build()
        self.frame.add_class("sn-insp")

    def paint(self, view: EngineView) -> None:
        """Show the decision if it is another one than on screen."""
        chosen = self.selection.settle(view)
        self._strategy = next((s for s in view.strategies if s.strategy_id == chosen), None)
        if self._strategy is None:
            self.show_empty("No strategy loaded", "Add one on the Overview tab; its decisions are explained here.")
            return
        self.show_empty()
        self._decimals = view.markets.get(self._strategy.symbol, 2)
        self._money = cents(self._strategy.symbol)
        self._offer(view)
        decision = self.board.decision(chosen, self.selection.open_time_ms)
        missing = "" if decision else self.board.undecided(chosen, self.selection.open_time_ms)
        if (decision or (self._strategy.strategy_id, missing)) != self._shown:
            self._shown = decision or (self._strategy.strategy_id, missing)
            self.frame.note(self._strategy.title or self._strategy.name)
            self._write(decision, missing)
        if self.what_if.is_open:
            self.what_if.paint(self.board, chosen, decision)

    def _offer(self, view: EngineView) -> None:
        """Keep the selectors in step with the strategies and with the reasons among the kept decisions."""
        assert self._strategy is not None
        chosen = self._strategy.strategy_id
        options = [(s.strategy_id.removesuffix("#main"), s.strategy_id) for s in view.strategies]
        found = np.unique(self._decided()[:, _COLUMNS["reason"]]).astype(int).tolist()
        words = self.board.reasons(chosen)
        reasons = [("Any reason", ANY), *((words[code][0].replace("_", " "), code) for code in found if code in words)]
        self._echo = True
        if tuple(self.strategy.options) != tuple(options):
            self.strategy.options = options
            show(self.strategy, len(options) > 1)
        self.strategy.value = chosen
        if tuple(self.reason.options) != tuple(reasons):
            kept = self.reason.value
            self.reason.options = reasons
            self.reason.value = kept if kept in found else ANY
        self._echo = False

    def _write(self, decision: DecisionView | None, missing: str) -> None:
        tone, head, levels, why = verdict(decision, decimals=self._decimals)
        for name in ("up", "down"):
            (self.verdict.add_class if tone == name else self.verdict.remove_class)(f"is-{name}")
        colour = f' class="sn-t-{tone}"' if tone else ""
        reasons = f'<span class="sn-muted">{escape(why)}</span>'
        words = escape(missing or levels)
        self.verdict.value = f"<strong{colour}>{escape(head)}</strong><span>{words}</span>{reasons}"
        self.analyzers.show(analyzer_rows(decision) if decision else [])
        self.score.show(check_rows(decision.arithmetic, told=True) if decision else [])
        self.filters.show(check_rows(decision.filters) if decision else [])
        self.sizing.show(check_rows(decision.sizing, told=True) if decision else [])
        self.risk.show(check_rows(decision.risk) if decision else [])
        self.inputs.show(input_rows(decision, self._decimals) if decision else [])
        step = decision.close_time_ms - decision.open_time_ms if decision else MINUTE_MS
        self.links.show(link_rows(decision.links, self._decimals, step, money=self._money) if decision else [])
        decided = decision is not None and decision.action != "WARMING"
        show(self.tables, decided)
        show(self.first, decision is not None)
        written = json.dumps(asdict(decision), ensure_ascii=False, indent=1, default=plain) if decision else "null"
        self.details.value = f'<span class="sn-details sn-vh">{escape(written)}</span>'
        self._echo = True
        at = decision.open_time_ms if decision else self.selection.open_time_ms
        self.when.value = "" if at is None else stamp(at)
        self._echo = False

    def go(self, steps: int) -> None:
        """Move by candles from the one on screen, or by those whose decision has the chosen reason."""
        rows = self._decided()
        if self.reason.value != ANY:
            rows = rows[rows[:, _COLUMNS["reason"]] == self.reason.value]
        times = rows[:, 0]
        if len(times):
            here = self._at(self._decided()[:, 0])
            behind = int((times < here).sum()) if steps < 0 else int((times <= here).sum()) - 1
            at = behind + steps
            if not 0 <= at < len(times):
                self.frame.note(f"No {'later' if steps > 0 else 'earlier'} decision of this kind is kept")
            self._choose(float(times[min(max(at, 0), len(times) - 1)]))

    def seek(self, what: str) -> None:
        """Move to the next entry or denial after the candle on screen; after the last one, to the first."""
        rows = self._decided()
        codes = {"entry": (1, [float(ACTIONS.index("ENTER"))]), "denial": (3, [float(code) for code in DENIALS])}[what]
        found = rows[np.isin(rows[:, codes[0]], codes[1]), 0] if len(rows) else np.empty(0)
        if not len(found):
            self.frame.note(f"No {what} is among the kept decisions")
            return
        later = found[found > self._at(rows[:, 0])]
        self._choose(float(later[0] if len(later) else found[0]))

    def _decided(self) -> Any:
        return self.board.decisions(self._strategy.strategy_id) if self._strategy else np.empty((0, 7))

    def _at(self, times: Any) -> float:
        chosen = self.selection.open_time_ms
        return float(times[-1]) if chosen is None else float(chosen)

    def _choose(self, time_ms: float | None) -> None:
        if self._strategy is not None:
            self.selection.choose(self._strategy.strategy_id, None if time_ms is None else int(time_ms))

    def _chosen(self) -> None:
        self._echo = True
        self.follow.value = self.selection.open_time_ms is None
        self._echo = False
        self.repaint()

    def _followed(self, change: Mapping[str, Any]) -> None:
        if self._echo:
            return
        times = self._decided()[:, 0]
        self._choose(None if change["new"] or not len(times) else float(times[-1]))

    def _typed(self, change: Mapping[str, Any]) -> None:
        if self._echo:
            return
        try:
            wanted = parse_time(change["new"], "Candle")
        except ConfigError as error:
            self.frame.note(f"{error.message}; {error.hint}")
            return
        if wanted is None:
            self._choose(None)
            return
        step = self._step_ms()
        self._choose(max(wanted // step * step, 0))

    def _step_ms(self) -> int:
        """Return the length of the strategy's candles."""
        return timeframe_ms(self._strategy.timeframe) if self._strategy else MINUTE_MS

    def _go_to(self, _action: str, row: str) -> None:
        """Show the candle of an order, a fill or a trade, here and in the chart."""
        self._choose(float(row.rpartition(":")[2]))

    def _strategy_chosen(self, change: Mapping[str, Any]) -> None:
        if not self._echo and change["new"]:
            self.selection.choose(change["new"])

    def _tell_reason(self) -> None:
        """Say how many decisions the chosen reason has."""
        if self._echo or self.reason.value == ANY:
            return
        n = int((self._decided()[:, _COLUMNS["reason"]] == self.reason.value).sum())
        self.frame.note(f"{count(n)} decisions with this reason; ‹ and › go through them")

    def _asked(self, change: Mapping[str, Any]) -> None:
        show(self.what_if.box, change["new"])
        self.repaint()

    def to_frame(self) -> pd.DataFrame:
        """Return the analyzers of the decision on screen."""
        chosen = self.selection.settle(self.board.view())
        decision = self.board.decision(chosen, self.selection.open_time_ms) if chosen else None
        names = list(AnalyzerView.__slots__)
        return pd.DataFrame([asdict(a) for a in decision.analyzers] if decision else [], columns=names)
