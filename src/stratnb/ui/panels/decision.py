"""P5, the decision inspector: one candle of one strategy, from the analyzers to the risk checks, explained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

import ipywidgets as w
import numpy as np
import pandas as pd

from stratnb.kernels.layout import ACTIONS, DENIALS
from stratnb.ui.controls import btn, chip, field, show, styled, text
from stratnb.ui.format import dot, escape, num, quantity, side, signed, stamp
from stratnb.ui.panel import Panel
from stratnb.ui.selection import selection
from stratnb.ui.widgets import Table
from stratnb.view import AnalyzerView, CheckView, DecisionView, EngineView, StrategyView

__all__ = ["DecisionPanel", "analyzer_rows", "check_rows", "verdict"]

_ANALYZERS = [
    {"key": "n", "label": "Analyzer", "cls": "is-wide", "sort": False},
    {"key": "d", "label": "Direction", "sort": False},
    {"key": "c", "label": "Confidence", "cls": "is-barcol", "align": "r", "sort": False},
    {"key": "g", "label": "Weight", "align": "r", "sort": False},
    {"key": "k", "label": "Contribution", "cls": "is-barcol", "align": "r", "sort": False},
]
_CHECKS = [
    {"key": "s", "label": "Result", "cls": "is-fix", "sort": False},
    {"key": "n", "label": "Check", "sort": False},
    {"key": "v", "label": "Value", "align": "r", "sort": False},
    {"key": "l", "label": "Limit", "align": "r", "cls": "is-fix", "sort": False},
]


def analyzer_rows(decision: DecisionView) -> list[dict[str, Any]]:
    """Return one row per analyzer and the sum row; contributions are drawn on a common scale."""
    widest = max((abs(a.contribution) for a in decision.analyzers), default=0.0) or 1.0
    rows = [line for i, a in enumerate(decision.analyzers) for line in _lines(f"{i}", a, widest)]
    if rows:
        score, _, need = signed_score(decision)
        total = {"t": signed(score, 3), "tone": side(score)["tone"], "div": score}
        need_cell = {"t": need, "title": "The score that an entry needs"}
        weight = num(sum(a.weight for a in decision.analyzers))
        rows.append(
            {
                "id": "sum",
                "cls": "is-sum",
                "n": "Score",
                "d": side(score),
                "c": need_cell,
                "g": weight,
                "k": total,
            }
        )
    return rows


def signed_score(decision: DecisionView) -> tuple[float, bool, str]:
    """Return the score with the sign of the side it speaks for, whether it suffices, and the bound in words.

    The side is that of the decision, else that of the summed contributions.
    """
    leaning = float(decision.direction) or sum(a.contribution for a in decision.analyzers)
    way = -1 if leaning < 0 else 1
    enough = decision.score >= decision.score_needed
    return way * decision.score, enough, f"{'≥' if way > 0 else '≤'} {num(way * decision.score_needed, 3)}"


def _lines(key: str, a: AnalyzerView, widest: float) -> list[dict[str, Any]]:
    """Return the row of an analyzer and, below it, its explanation."""
    told = a.ready and a.explanation
    row = {**_analyzer(key, a, widest), **({"cls": "has-note"} if told else {})}
    return [row, {"id": f"{key}-why", "cls": "is-note", "span": a.explanation}] if told else [row]


def _analyzer(key: str, a: AnalyzerView, widest: float) -> dict[str, Any]:
    name = {"t": a.name, **({"sub": a.kind} if a.kind != a.name else {})}
    if not a.ready:
        waiting = {"t": "n/a", "sub": "warming up", "tone": "mute"}
        return {"id": key, "n": name, "d": waiting, "c": "n/a", "g": num(a.weight), "k": "n/a"}
    return {
        "id": key,
        "n": name,
        "d": side(a.direction),
        "c": {"t": num(a.confidence), "bar": a.confidence, "btone": "mute"},
        "g": num(a.weight),
        "k": {"t": signed(a.contribution, 3), "tone": side(a.contribution)["tone"], "div": a.contribution / widest},
    }


def check_rows(checks: Sequence[CheckView]) -> list[dict[str, Any]]:
    """Return one row per filter, sizing step or risk check, in order."""
    return [
        {
            "id": str(i),
            "s": dot("ok", "Pass") if c.passed else dot("err", "Fail"),
            "n": {"t": c.name, **({"title": c.note} if c.note else {})},
            "v": c.value or "n/a",
            "l": c.limit or "–",
        }
        for i, c in enumerate(checks)
    ]


def verdict(decision: DecisionView | None, *, decimals: int = 2) -> tuple[str, str, str, str]:
    """Return the tone of the verdict and its three lines: what, with which levels, and why."""
    if decision is None:
        return "", "No decision", "Nothing was decided at this candle.", "Choose another candle, or start the engine."
    if decision.action == "WARMING":
        done = f"Warming up: {decision.warmup_done} of {decision.warmup_needed} candles seen"
        return "", "◐ WARMING UP", done, "Decisions start when every enabled block has its candles."
    way = {1: ("up", "▲ ", " LONG"), -1: ("down", "▼ ", " SHORT")}.get(decision.direction, ("", "", ""))
    entering = decision.action == "ENTER"
    head = way[1] + decision.action + way[2]
    caught = "caught up later, never traded" if decision.catchup else ""
    total, enough, need = signed_score(decision)
    score = f"Score {signed(total, 3)}" + (f" {need}" if enough else f", needs {need}")
    sure = f"confidence {num(decision.confidence)} of {num(decision.confidence_needed)}"
    why = " · ".join(part for part in (score, sure, f"mode {decision.mode}", caught) if part)
    return (way[0] if entering else ""), head, _levels(decision, decimals), why


def _levels(decision: DecisionView, decimals: int) -> str:
    """Return the second line: the plan of an entry, or the reason why there is none."""
    if decision.action != "ENTER":
        return decision.reason_text or decision.reason or "No reason was given"
    parts = [f"{quantity(decision.quantity)} at {num(decision.close, decimals)}"] if decision.quantity else []
    if decision.stop is not None:
        parts.append(f"stop {num(decision.stop, decimals)}")
    if decision.targets:
        parts.append("targets " + " and ".join(num(target, decimals) for target in decision.targets))
    if decision.notional is not None:
        parts.append(f"notional {num(decision.notional)}")
    return " · ".join(parts) or decision.reason_text


def no_decision(strategy: StrategyView) -> str:
    """Return why a strategy has no decision to show."""
    if strategy.state == "failed":
        return f"The strategy failed: {strategy.error or 'no reason given'}."
    if strategy.warmup_done < strategy.warmup_needed:
        return f"Warming up: {strategy.warmup_done} of {strategy.warmup_needed} candles seen."
    if strategy.state == "dormant":
        return "The strategy is dormant: it receives no candles and decides nothing."
    return "Nothing was decided at this candle: it lies in a gap, before the start, or is no longer kept."


def _plain(value: Any) -> Any:
    """Return what JSON can hold: the Python value of a numpy scalar, else the text."""
    return value.item() if isinstance(value, np.generic) else str(value)


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
        self._decimals = 2
        self.verdict = styled(w.HTML(), "sn-verdict")
        self.analyzers = Table(caption="Analyzers", cols=_ANALYZERS)
        self.filters = Table(caption="Filters", cols=_CHECKS, empty={"t": "No filter", "sub": "The document has none."})
        self.sizing = Table(caption="Sizing", cols=_CHECKS, empty={"t": "Not sized", "sub": "Only entries are sized."})
        self.risk = Table(
            caption="Risk checks", cols=_CHECKS, empty={"t": "Not checked", "sub": "Only entries are checked."}
        )
        first = w.VBox([text("1 Analyzers", "h3"), self.analyzers])
        parts = [("2 Filters", self.filters), ("3 Sizing", self.sizing), ("4 Risk", self.risk)]
        self.tables = w.VBox([part for title, table in parts for part in (text(title, "h3"), table)])
        self.details = styled(w.HTML(), "sn-detailbox")
        return [self._make_jumps(), self.verdict, first, self.tables]

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

    def _make_jumps(self) -> w.Widget:
        self.entry = btn("Next entry", do=lambda: self.seek("entry"))
        self.denial = btn("Next denial", do=lambda: self.seek("denial"))
        copy = styled(btn("Copy JSON", "quiet", tip="Copy this decision as JSON"), "sn-copy")
        return styled(w.HBox([self.entry, self.denial, styled(w.HBox([copy, self.details]), "sn-copybox")]), "sn-jumps")

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
        decision = self.board.decision(chosen, self.selection.open_time_ms)
        if (decision or self._strategy) == self._shown:
            return
        self._shown = decision or self._strategy
        self.frame.note(self._strategy.title or self._strategy.name)
        self._write(decision)

    def _write(self, decision: DecisionView | None) -> None:
        assert self._strategy is not None
        tone, head, levels, why = verdict(decision, decimals=self._decimals)
        if decision is None:
            levels = no_decision(self._strategy)
        for name in ("up", "down"):
            (self.verdict.add_class if tone == name else self.verdict.remove_class)(f"is-{name}")
        colour = f' class="sn-t-{tone}"' if tone else ""
        reasons = f'<span class="sn-muted">{escape(why)}</span>'
        self.verdict.value = f"<strong{colour}>{escape(head)}</strong><span>{escape(levels)}</span>{reasons}"
        self.analyzers.show(analyzer_rows(decision) if decision else [])
        for table, checks in ((self.filters, "filters"), (self.sizing, "sizing"), (self.risk, "risk")):
            table.show(check_rows(getattr(decision, checks) if decision else ()))
        show(self.tables, decision is not None and decision.action != "WARMING")
        written = json.dumps(asdict(decision), ensure_ascii=False, indent=1, default=_plain) if decision else "null"
        self.details.value = f'<span class="sn-details sn-vh">{escape(written)}</span>'
        self._echo = True
        self.when.value = stamp(decision.open_time_ms) if decision else ""
        self._echo = False

    def go(self, steps: int) -> None:
        """Move by candles from the one on screen."""
        times = self._decided()[:, 0]
        if len(times):
            at = int(np.searchsorted(times, self._at(times))) + steps
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
        return self.board.decisions(self._strategy.strategy_id) if self._strategy else np.empty((0, 4))

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
            wanted = datetime.fromisoformat(change["new"].strip()).replace(tzinfo=UTC).timestamp() * 1000
        except ValueError:
            self.frame.note(f"{change['new']!r} is not a time; write 2026-01-31 14:05")
            return
        times = self._decided()[:, 0]
        if len(times):
            self._choose(float(times[int(np.argmin(np.abs(times - wanted)))]))

    def to_frame(self) -> pd.DataFrame:
        """Return the analyzers of the decision on screen."""
        chosen = self.selection.settle(self.board.view())
        decision = self.board.decision(chosen, self.selection.open_time_ms) if chosen else None
        names = list(AnalyzerView.__slots__)
        return pd.DataFrame([asdict(a) for a in decision.analyzers] if decision else [], columns=names)
