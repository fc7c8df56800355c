"""The sheet on which a configuration is edited: the form made from the schema, or its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from stratnb.errors import Finding
from stratnb.strategy.config import StrategyConfig
from stratnb.ui.controls import discard, segment, show, styled
from stratnb.ui.form import Form
from stratnb.ui.format import escape
from stratnb.ui.panels.config_draft import Draft
from stratnb.ui.panels.config_form import config_form, mark

__all__ = ["ConfigSheet", "findings_html"]

FINDINGS_MOST = 20


def findings_html(findings: tuple[Finding, ...] | list[Finding], words: str = "") -> str:
    """Return findings as a list: where, what, and the remedy."""
    lines = "".join(
        f'<li class="sn-t-{"err" if each.severity == "error" else "warn"}"><strong>{escape(each.path or "document")}'
        f"</strong> {escape(each.message)}"
        + (f'; <span class="sn-hint">{escape(each.hint)}</span>' if each.hint else "")
        + "</li>"
        for each in findings[:FINDINGS_MOST]
    )
    more = f"<li>and {len(findings) - FINDINGS_MOST} more</li>" if len(findings) > FINDINGS_MOST else ""
    return f'<span role="alert">{escape(words)}<ul>{lines}{more}</ul></span>' if lines else ""


class ConfigSheet(w.VBox):  # type: ignore[misc]
    """Form and JSON of one draft; an edit in either is an edit of the draft. `changed()` is called after each."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._echo = False
        self.draft: Draft | None = None
        self.form: Form | None = None
        self.faults: tuple[Finding, ...] = ()
        self.way = segment(["Form", "JSON"], "Form", "How to edit it")
        self.way.observe(lambda _: self._turn(), "value")
        self.formbox = styled(w.VBox([]), "sn-confform")
        self.text = w.Textarea(description="Document as JSON", continuous_update=False)
        styled(self.text, "sn-field", "sn-nolabel", "sn-paste", "sn-confjson", "sn-off")
        self.text.observe(lambda change: self._typed(change["new"]), "value")
        self.said = styled(w.HTML(), "sn-findings", "sn-off")
        super().__init__([self.said, self.formbox, self.text])
        styled(self, "sn-confsheet")

    def take(self, draft: Draft, *, anew: bool = True) -> None:
        """Show a draft; not `anew` when the form shows its values already."""
        self.draft = draft
        if anew:
            self.refresh()
        else:
            self.remark()

    def refresh(self) -> None:
        """Make form and text anew from the draft."""
        if self.draft is None:
            return
        self._complain(())
        old = self.formbox.children
        self.form = config_form(self.draft.config, self._edited)
        self.formbox.children = [self.form.widget]
        self.remark()
        for widget in old:
            discard(widget)
        self._write()

    def remark(self) -> None:
        """Write the sources of the values anew."""
        if self.form is not None and self.draft is not None:
            mark(self.form, self.draft)

    def read(self, words: str) -> bool:
        """Take over a document written as JSON; return whether it is valid."""
        if self.draft is None:
            return False
        self._complain(self.draft.read(words))
        return not self.faults

    def wrong(self) -> list[str]:
        """Return the faults of the fields that keep another value than they show."""
        return list(self.form.faults()) if self.form is not None and self.way.value == "Form" else []

    def _edited(self, config: StrategyConfig) -> None:
        assert self.draft is not None, "its form is open"
        self.draft.config = config
        self._write()
        self._changed()

    def _typed(self, words: str) -> None:
        if self._echo:
            return
        self.read(words)
        self._changed()

    def _turn(self) -> None:
        """Show the other way; the form cannot show a document with faults."""
        to_json = self.way.value == "JSON"
        if not to_json and self.faults:
            self.way.value = "JSON"
            return
        show(self.formbox, not to_json)
        show(self.text, to_json)
        if not to_json:
            self.refresh()

    def _write(self) -> None:
        assert self.draft is not None, "it is open"
        self._echo = True
        self.text.value = json.dumps(self.draft.document, indent=1, ensure_ascii=False)
        self._echo = False

    def _complain(self, faults: tuple[Finding, ...]) -> None:
        self.faults = faults
        self.said.value = findings_html(faults, "The text has faults; the last valid state is kept.")
        show(self.said, bool(faults))

    def load(self, words: Any) -> None:
        """Show an imported document; one with faults is shown as text."""
        self._echo = True
        self.text.value = str(words)
        self._echo = False
        if self.read(str(words)):
            self.refresh()
        else:
            self.way.value = "JSON"
        self._changed()
