"""The "what if" of the decision inspector: other thresholds, judged again on the same candles, never traded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets as w
from pydantic import BaseModel

from stratnb.errors import StratnbError
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import build_config
from stratnb.ui.controls import btn, chip, discard, show, styled, text
from stratnb.ui.fields import Editor, Spec
from stratnb.ui.form import Form, editor_for
from stratnb.ui.format import count, escape, num, stamp
from stratnb.ui.panels.decision_rows import verdict
from stratnb.ui.widgets import Table
from stratnb.view import Board, DecisionView, WhatIfView

__all__ = ["WhatIf", "difference"]

THRESHOLDS = {
    "coverage": ("min_score", "opposition", "min_confidence", "min_agreeing"),
    "weighted": ("min_score", "max_conflict", "min_confidence", "min_agreeing"),
    "vote": ("signal_min", "max_conflict", "min_confidence", "min_agreeing"),
}
_RESULT = [
    {"key": "n", "label": "This candle", "cls": "is-wide", "sort": False},
    {"key": "o", "label": "Decided", "align": "r", "sort": False},
    {"key": "w", "label": "What if", "align": "r", "sort": False},
]
_REASONS = [
    {"key": "n", "label": "Kept decisions", "cls": "is-wide", "sort": False},
    {"key": "o", "label": "As configured", "align": "r", "sort": False},
    {"key": "w", "label": "What if", "align": "r", "sort": False},
    {"key": "d", "label": "Change", "align": "r", "sort": False},
]
_WORDS = "Judged again from the same candles by the kernels that decide. Nothing is traded and nothing is saved."


def difference(old: BaseModel, new: BaseModel) -> dict[str, Any]:
    """Return the fields of `new` that differ from `old`, as JSON values."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {name: value for name, value in after.items() if before.get(name) != value}


class WhatIf:
    """The controls of thresholds, weights and filters, and what they would have changed; `changed()` asks to paint."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._config: StrategyConfig | None = None
        self._made: tuple[str, str] | None = None
        self._shown: Any = None
        self.editors: dict[str, Editor] = {}
        self.controls = styled(w.VBox([]), "sn-form")
        self.fault = styled(w.HTML(), "sn-fault", "sn-off")
        self.result = Table(caption="What if: this candle", cols=_RESULT)
        self.summary = styled(w.HTML(), "sn-muted")
        self.reasons = Table(caption="What if: kept decisions", cols=_REASONS)
        self.reset = btn("Reset", tip="Back to the running thresholds", do=self.clear)
        copy = styled(btn("Copy changes", "quiet", tip="Copy the changes as JSON, for overrides"), "sn-copy")
        self.details = styled(w.HTML(), "sn-detailbox")
        copies = styled(w.HBox([copy, self.details]), "sn-copybox")
        head = styled(w.HBox([self.reset, copies]), "sn-jumps")
        said = styled(w.VBox([text(_WORDS, cls="sn-muted"), self.summary, self.fault]), "sn-whatifbody")
        asked = styled(w.VBox([self.controls]), "sn-whatifbody")
        parts = [text("What if", "h3"), head, said, self.result, asked, self.reasons]
        self.box = styled(w.VBox(parts), "sn-whatif", "sn-off")

    @property
    def is_open(self) -> bool:
        """Return whether it is on screen."""
        return "sn-off" not in self.box._dom_classes

    def changes(self) -> dict[str, Any]:
        """Return the changed values by their path in the document."""
        if self._config is None:
            return {}
        return dict(self._each(self._config))

    def _each(self, config: StrategyConfig) -> Iterator[tuple[str, Any]]:
        for name, value in difference(config.entry, self.editors["entry"].value).items():
            yield f"entry.{name}", value
        for k, entry in enumerate(config.analyzers):
            editor = self.editors.get(f"analyzers[{k}]")
            if editor is not None and editor.value != entry.weight:
                yield f"analyzers[{k}].weight", editor.value
        for name, block in config.filters.items():
            for field, value in difference(block, self.editors[f"filters.{name}"].value).items():
                yield f"filters.{name}.{field}", value

    def clear(self) -> None:
        """Put every control back to the running thresholds."""
        self._made = None
        self._changed()

    def paint(self, board: Board, strategy_id: str, decision: DecisionView | None) -> None:
        """Show what the changes would have done; the controls are made anew for another strategy or document."""
        document = board.document(strategy_id)
        key = (strategy_id, json.dumps(document, sort_keys=True, default=str))
        if key != self._made:
            self._made, self._shown = key, None
            self._build(build_config(document).config)
        changes = self.changes()
        newest = None if decision is None else decision.open_time_ms
        faults = tuple(fault for editor in self.editors.values() for fault in editor.faults())
        asked = (key, json.dumps(changes, sort_keys=True), newest, decision, faults)
        if asked == self._shown:
            return
        self._shown = asked
        try:
            found = board.what_if(strategy_id, changes, newest)
        except StratnbError as error:
            self._complain("; ".join(map(str, getattr(error, "findings", ()) or (error.message,))))
            return
        self._complain(f"{faults[0]}. The results are those of the last valid values." if faults else "")
        self._write(found, decision, changes)
        self.reset.disabled = not (changes or faults)

    def _complain(self, fault: str) -> None:
        self.fault.value = f'<span role="alert">{escape(fault)}</span>' if fault else ""
        show(self.fault, bool(fault))

    def _build(self, config: StrategyConfig) -> None:
        """Make the controls: the thresholds of the mode, the weights, and every filter of the document."""
        self._config = config
        entry = Form(Spec("entry", "Entry"), config.entry)
        self.editors = {"entry": entry}
        shown: list[w.Widget] = [entry.fields[name].widget for name in THRESHOLDS[config.entry.mode]]
        for k, each in enumerate(config.analyzers):
            if each.enabled:
                info = type(each).model_fields["weight"]
                editor = editor_for(Spec("weight", f"Weight of {each.name}"), float, each.weight, info.metadata)
                self.editors[f"analyzers[{k}]"] = editor
                shown.append(editor.widget)
        for name, block in config.filters.items():
            form = Form(Spec(name, name), block)
            self.editors[f"filters.{name}"] = form
            shown.append(_folded(name, form))
        for editor in self.editors.values():
            editor.judge = self._judge
        before, self.controls.children = self.controls.children, shown
        for old in before:
            discard(old)

    def _judge(self, _value: Any) -> str:
        self._changed()
        return ""

    def _write(self, found: WhatIfView | None, decision: DecisionView | None, changes: Mapping[str, Any]) -> None:
        written = json.dumps(changes, ensure_ascii=False, indent=1)
        self.details.value = f'<span class="sn-details sn-vh">{escape(written)}</span>'
        show(self.result, found is not None and found.decision is not None)
        show(self.reasons, found is not None)
        if found is None:
            self.summary.value = escape("No decision is kept yet; there is nothing to judge again.")
            return
        self.summary.value = escape(_summary(found))
        self.result.show(_result_rows(decision, found.decision))
        self.reasons.show(_reason_rows(found))


def _folded(name: str, form: Form) -> w.Widget:
    """Return the fields of a filter below a chip that shows them."""
    head = chip(f"Filter {name}", False, f"Show the values of {name}")
    body = styled(w.VBox([field.widget for field in form.fields.values()]), "sn-off")
    head.observe(lambda change: show(body, change["new"]), "value")
    return styled(w.VBox([head, body]), "sn-formsection")


def _summary(found: WhatIfView) -> str:
    """Return in words how many kept decisions pass, and what that does not say."""
    old, new = found.signals
    words = [
        f"Of {count(found.kept)} kept decisions ({stamp(found.first_ms)} to {stamp(found.last_ms)}) {count(old)} "
        f"are an entry signal as configured and {count(new)} would be: {count(found.gained)} new, "
        f"{count(found.lost)} gone.",
        f"{count(found.entered)} became entries; position, size and limits of the account are not asked again.",
    ]
    if found.unlike:
        words.append(f"{count(found.unlike)} decisions do not come out as they were made, so these counts are near.")
    return " ".join(words)


def _result_rows(old: DecisionView | None, new: DecisionView | None) -> list[dict[str, Any]]:
    """Return the decision of the candle beside the one that the changes make."""
    if old is None or new is None:
        return []
    pairs = {
        "Decision": [verdict(each)[1] for each in (old, new)],
        "Reason": [each.reason.replace("_", " ") for each in (old, new)],
        "Score": [f"{num(each.score, 3)} of {num(each.score_needed, 3)}" for each in (old, new)],
        "Confidence": [f"{num(each.confidence, 3)} of {num(each.confidence_needed, 3)}" for each in (old, new)],
    }
    return [
        {"id": name, "n": name, "o": before, "w": {"t": after, **({"tone": "accent"} if after != before else {})}}
        for name, (before, after) in pairs.items()
    ]


def _reason_rows(found: WhatIfView) -> list[dict[str, Any]]:
    """Return how often each reason ends a kept decision, before and after the changes."""
    rows = []
    for reason, old, new in sorted(found.reasons, key=lambda row: -max(row[1:])):
        change = "–" if old == new else f"{'+' if new > old else '−'}{count(abs(new - old))}"
        name = "entry signal" if reason == "enter" else reason.replace("_", " ")
        rows.append({"id": reason, "n": name, "o": count(old), "w": count(new), "d": change})
    return rows
