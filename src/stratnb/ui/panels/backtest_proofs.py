"""What can be proved of a run in P10: parity with the paper engine, no look-ahead, and why a recorded run differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import StratnbError
from stratnb.parity_explain import ParityReport
from stratnb.research.lookahead import Lookahead
from stratnb.ui.controls import btn, dropdown, field, show, styled
from stratnb.ui.format import count, escape
from stratnb.ui.panels import backtest_proof_rows as rows
from stratnb.ui.widgets import Table

__all__ = ["FILE", "Proofs"]

FILE: Final = ""  # the recorded run is in a file, not of a loaded strategy
TIPS: Final = {
    "parity": "Replay the same candles through the paper engine and compare bit for bit",
    "lookahead": "Run the strategy on beginnings of the candles, and with others behind them, and compare",
    "explain": "Find why a recorded run of this strategy differs from this one, cause by cause",
}
UNTOLD: Final = {
    "parity": "Not checked. The paper engine replays these candles; every fill, equity and decision is compared.",
    "lookahead": "Not checked. What it decided at a candle may not change when the candles behind it do.",
    "explain": "Not compared. A live or saved run against this one: each difference gets one cause and its money.",
}


class Proofs(w.VBox):  # type: ignore[misc]
    """Three checks of the shown run, each with its answer beside it; `on_parity()` and the like start them.

    `on_explain(strategy_id, path, strategy)` is given a loaded strategy, or `FILE` with a path and an id in it.
    """

    def __init__(self) -> None:
        self.on_parity: Callable[[], None] = lambda: None
        self.on_lookahead: Callable[[], None] = lambda: None
        self.on_explain: Callable[[str, str, str], None] = lambda strategy_id, path, strategy: None
        self.parity = btn("Check parity", tip=TIPS["parity"])
        self.lookahead = btn("Check look-ahead", tip=TIPS["lookahead"])
        self.parity.on_click(lambda _: self.on_parity())
        self.lookahead.on_click(lambda _: self.on_lookahead())
        self.explain = btn("Explain", tip=TIPS["explain"], do=self._explain)
        self.told = {name: styled(w.HTML(), "sn-muted") for name in UNTOLD}
        self._before: tuple[str, str] | None = None
        self.source = dropdown("Recorded run", [("A file", FILE)], FILE)
        self.path = styled(field("Record", "journal (.sqlite) or saved run (.json)"), "sn-longfield")
        self.strategy = field("Id", "if several")
        self.strategy.tooltip = "Which strategy of the journal, when it has several"
        self.source.observe(lambda _: self._lay(), "value")
        self.leaks = Table(caption="What looked ahead", cols=rows.LEAK_COLUMNS, page=8)
        self.causes = Table(caption="Causes of the difference", cols=rows.CAUSE_COLUMNS)
        self.differences = Table(caption="Trades that differ", cols=rows.DIFFERENCE_COLUMNS, page=8)
        self.notes = styled(w.HTML(), "sn-findings")
        self.compared = styled(w.HBox([self.causes, self.differences]), "sn-halves")
        self.place = styled(w.HBox([]), "sn-row", "sn-off")
        chosen = styled(w.HBox([self.source, self.path, self.strategy, self.explain]), "sn-chips")
        lines = [
            styled(w.HBox(part), "sn-row", "sn-proof")
            for part in (
                [self.parity, self.told["parity"]],
                [self.lookahead, self.told["lookahead"]],
                [chosen, self.told["explain"]],
            )
        ]
        head = w.HTML("<h3>Checks of this run</h3>")
        super().__init__([head, *lines[:2], self.leaks, lines[2], self.place, self.notes, self.compared])
        self._lay()
        self.clear()

    @property
    def buttons(self) -> tuple[w.Button, ...]:
        """Return the buttons that run the strategy again."""
        return self.parity, self.lookahead, self.explain

    def clear(self) -> None:
        """Forget the answers: another run is shown."""
        for name, words in UNTOLD.items():
            self._say(name, f"<span>{escape(words)}</span>")
        self.notes.value = ""
        for part in (self.leaks, self.notes, self.compared):
            show(part, False)

    def offer(self, loaded: Sequence[tuple[str, str]]) -> None:
        """Offer loaded strategies (title, id) before the file."""
        options = [*loaded, ("A file", FILE)]
        if list(self.source.options) != options:
            chosen, known = self.source.value, [value for _, value in options]
            self.source.options = options
            self.source.value = chosen if chosen in known and chosen != FILE else known[0]

    def begin(self, name: str, progress: w.Widget) -> None:
        """Show the progress of a check."""
        self._before = (name, self.told[name].value)
        self._say(name, "<span>Running</span>")
        self.place.children = (progress,)
        show(self.place, True)

    def end(self) -> None:
        """Take the progress away; without an answer the one before stands."""
        if self._before is not None:
            self._say(*self._before)
        self._before = None
        self.place.children = ()
        show(self.place, False)

    def judge_parity(self, found: Any) -> None:
        """Show the report of a parity check."""
        words = "replay and backtest agree bit for bit" if found.identical else found.difference
        compared = f"{count(found.candles)} candles, {count(found.trades)} trades, {count(found.fills)} fills compared"
        self._answer("parity", bool(found.identical), "Parity", "No parity", f"{words}; {compared}")

    def judge_lookahead(self, found: Lookahead) -> None:
        """Show what looked ahead."""
        self._answer("lookahead", found.ok, "No look-ahead", "Looks ahead", rows.lookahead_words(found))
        self.leaks.rows = rows.leak_rows(found.leaks)
        show(self.leaks, bool(found.leaks))

    def judge_record(self, found: ParityReport) -> None:
        """Show why a recorded run differs."""
        self._answer("explain", found.identical, "Identical", "Different", rows.report_words(found))
        self.causes.rows, self.differences.rows = rows.cause_rows(found), rows.difference_rows(found)
        self.notes.value = "".join(f"<div>{escape(note)}</div>" for note in found.notes)
        show(self.compared, not found.identical)
        show(self.notes, bool(found.notes))

    def refuse(self, name: str, error: BaseException) -> None:
        """Say beside its button why a check could not be made."""
        words = str(error.message) if isinstance(error, StratnbError) else "it failed; the log has the details"
        hint = f"; {error.hint}" if isinstance(error, StratnbError) and error.hint else ""
        self._say(name, f'<span role="alert"><span class="sn-t-err">■ Not done</span> {escape(words + hint)}</span>')

    def _answer(self, name: str, good: bool, yes: str, no: str, words: str) -> None:
        mark = f'<span class="sn-t-ok">● {yes}</span>' if good else f'<span class="sn-t-err">■ {no}</span>'
        self._say(name, f'<span role="status">{mark} {escape(words)}</span>')

    def _say(self, name: str, markup: str) -> None:
        self.told[name].value = markup

    def _explain(self) -> None:
        self.on_explain(self.source.value or FILE, self.path.value, self.strategy.value)

    def _lay(self) -> None:
        for box in (self.path, self.strategy):
            show(box, self.source.value == FILE)
