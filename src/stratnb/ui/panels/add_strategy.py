"""The line that adds a strategy: a shipped one, a document, a file, or the form made from the schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any, Protocol

import ipywidgets as w

from stratnb.errors import ConfigError, StratnbError
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import build_config, names, validate
from stratnb.ui.controls import btn, dropdown, field, segment, show, styled, text
from stratnb.ui.form import Form, form
from stratnb.ui.pump import pump
from stratnb.view import EngineView

__all__ = ["AddStrategy", "parse_json"]

MAIN = "main"
REST_S = 0.7


class Owner(Protocol):
    """What the line needs of its panel."""

    def act(self, op: str, /, **arguments: Any) -> None:
        """Submit an operation once."""
        ...

    def refuse(self, error: BaseException) -> None:
        """Show a refusal."""
        ...


def parse_json(words: str, what: str) -> Any:
    """Return the parsed JSON object, or raise `ConfigError` with line and column."""
    try:
        value = json.loads(words)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(
            "json_syntax", f"{what}: {error.msg} at {where}", value=words[:80], hint="check commas and quotes"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            "type", f"{what} must be a JSON object", value=words[:80], hint='for example {"entry.min_score": 0.3}'
        )
    return value


class AddStrategy(w.VBox):  # type: ignore[misc]
    """Four ways to add a strategy; it comes in dormant and trades only after it is activated."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.form: Form | None = None
        self._view: EngineView | None = None
        self.source = segment(["Library", "Document", "File", "Form"], "Library")
        self.source.observe(lambda _: self._lay(), "value")
        self.pick = dropdown("Strategy", names(), hide_label=True)
        self.pick.observe(lambda _: self._pick(), "value")
        self.symbol = dropdown("Symbol", [("as in the document", None)], hide_label=True)
        self.label = field("Label", "Label (optional)", hide_label=True)
        self.overrides = field("Overrides", 'Overrides, e.g. {"entry.min_score": 0.3}', hide_label=True)
        self.path = field("Document file", "path to a .json document", hide_label=True)
        self.paste = styled(
            w.Textarea(placeholder="Paste a strategy document (JSON)", description="Document"),
            "sn-field",
            "sn-nolabel",
            "sn-paste",
        )
        self.upload = styled(
            w.FileUpload(icon="", accept=".json", description="Upload", tooltip="Upload a document"),
            "sn-btn",
            "sn-upload",
        )
        self.upload.observe(self._uploaded, "value")
        self.add = btn(
            "Add", "primary", "plus", "Add as dormant: it does not trade until you activate it", do=self.submit
        )
        line = [self.source, self.pick, self.path, self.symbol, self.label, self.overrides, self.add]
        self.line = styled(w.HBox([text("Add strategy", cls="sn-muted"), *line]), "sn-addrow")
        self.document = styled(w.HBox([self.paste, self.upload]), "sn-addmore")
        self.formbox = styled(w.VBox([]), "sn-addmore")
        super().__init__([self.line, self.document, self.formbox])
        self._lay()

    def paint(self, view: EngineView) -> None:
        """Offer the symbols of the feed."""
        self._view = view
        options = [(symbol, symbol) for symbol in view.markets] + [("as in the document", None)]
        if tuple(self.symbol.options) != tuple(options):
            chosen = self.symbol.value
            self.symbol.options = options
            self.symbol.value = chosen if chosen in dict(options).values() and chosen is not None else options[0][1]

    def submit(self) -> None:
        """Add what the fields say; a fault in them is shown at once."""
        try:
            what = self._what()
            overrides = parse_json(self.overrides.value, "overrides") if self.overrides.value.strip() else None
        except StratnbError as error:
            self.owner.refuse(error)
            return
        optional = {"overrides": overrides} if overrides else {}
        label = self.label.value.strip() or self._free_label(what["document"])
        done = f"Added as dormant{f' under the label {label}' if label != MAIN else ''}. Activate it to trade."

        def _added(_: Any) -> None:
            self.label.value = ""  # the next one needs another label

        self.add.disabled = True  # a double click adds one
        pump().later(REST_S, lambda: setattr(self.add, "disabled", False))
        self.owner.act("add", done=done, then=_added, symbol=self.symbol.value, label=label, **what, **optional)

    def _free_label(self, document: Any) -> str:
        """Return the first label that no loaded strategy of that name has on the chosen symbol."""
        name = document.get("name") if isinstance(document, Mapping) else Path(str(document)).stem
        symbol = self.symbol.value
        if symbol is None and isinstance(document, Mapping):
            market = document.get("market")
            symbol = market.get("symbol") if isinstance(market, Mapping) else None
        rows = self._view.strategies if self._view else ()
        taken = {s.label for s in rows if s.name == name and symbol in (None, s.symbol)}
        return next(label for label in chain([MAIN], map(str, count(2))) if label not in taken)

    def _what(self) -> dict[str, Any]:
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "Library": lambda: {"document": self._given(self.pick.value, "a strategy")},
            "Document": lambda: {"document": parse_json(self._given(self.paste.value, "a document"), "document")},
            "File": lambda: {"document": Path(self._given(self.path.value, "the path of a document")).expanduser()},
            "Form": lambda: {"document": self._from_form()},
        }
        return ways[self.source.value]()

    def _given(self, value: str | None, what: str) -> str:
        if not value or not value.strip():
            raise ConfigError("missing", f"{what} is missing", hint=f"give {what} first")
        return value.strip()

    def _from_form(self) -> dict[str, Any]:
        if self.form is None:
            raise ConfigError("missing", "the form is empty", hint="pick a strategy to start from")
        faults = list(self.form.faults())
        if faults:
            raise ConfigError("form_invalid", faults[0], hint="correct the marked fields, then add it")
        document: dict[str, Any] = self.form.value.to_document()
        return document

    def _lay(self) -> None:
        """Show the fields of the chosen way."""
        way = self.source.value
        show(self.pick, way in ("Library", "Form"))
        show(self.path, way == "File")
        show(self.document, way == "Document")
        show(self.formbox, way == "Form")
        show(self.overrides, way in ("Library", "File"))
        if way == "Form" and self.form is None:
            self._pick()

    def _pick(self) -> None:
        """Fill the form from the chosen strategy."""
        if self.source.value != "Form" or not self.pick.value:
            return
        try:
            self.form = form(build_config(self.pick.value).config)
        except StratnbError as error:
            self.owner.refuse(error)
            return
        self.form.judge = _fault
        again = btn("Add this strategy", "primary", "plus", "Add as dormant", do=self.submit)
        self.formbox.children = [self.form.widget, again]

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        for file in change["new"] or ():
            self.paste.value = bytes(file["content"]).decode("utf-8", errors="replace")
        if change["new"]:
            self.upload.value = ()


def _fault(config: StrategyConfig) -> str:
    """Return the first fault of a whole configuration, nothing when it is valid."""
    try:
        validate(config.to_document())
    except ConfigError as error:
        return str(error.findings[0]) if error.findings else error.message
    return ""
