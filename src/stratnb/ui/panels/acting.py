"""Panels that act: an operation is sent once, and a refusal appears inside the panel with its code and remedy."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import ipywidgets as w

from stratnb.errors import ConfigError, StratnbError
from stratnb.ui.controls import btn, show, styled
from stratnb.ui.format import escape
from stratnb.ui.panel import Panel

__all__ = ["ActingPanel", "followable", "refusal_html"]

LOG: Final = logging.getLogger("stratnb.ui")

_FINDINGS_MOST = 8


def refusal_html(error: BaseException) -> str:
    """Return what was refused, why and the remedy, with every finding of a document, as safe HTML."""
    if not isinstance(error, StratnbError):
        name = escape(type(error).__name__)
        return f"<strong>{name}</strong><span>The operation failed; the log has the details.</span>"
    words = f"<strong>{escape(error.code)}</strong><span>{escape(error.message)}</span>"
    if error.hint:
        words += f'<span class="sn-hint">{escape(error.hint)}</span>'
    found = error.findings if isinstance(error, ConfigError) else ()
    lines = "".join(f"<li>{escape(finding)}</li>" for finding in found[:_FINDINGS_MOST])
    more = f"<li>and {len(found) - _FINDINGS_MOST} more</li>" if len(found) > _FINDINGS_MOST else ""
    return words + (f"<ul>{lines}{more}</ul>" if lines else "")


def followable(error: StratnbError, hints: Mapping[str, str], paths: str = "") -> StratnbError:
    """Return the error with a remedy that the place of its fields has, and one for typed paths apart by spaces."""
    hint = hints.get(error.code, error.hint)
    several = len(re.findall(r"\.(?:csv|txt|tsv|parquet|pq)\b", paths, flags=re.IGNORECASE)) > 1 and ";" not in paths
    if several and error.code.startswith(("file", "folder", "path")):
        hint = "separate the paths with ;"
    if hint == error.hint:
        return error
    given = error.findings if isinstance(error, ConfigError) else ()
    found = [replace(each, hint=re.sub(r"^repair='\w+' to", "Repair rows would", each.hint)) for each in given]
    return ConfigError(error.code, error.message, value=error.value, hint=hint, findings=found)


def _mark_acting(box: w.Widget) -> None:
    """Mark the main and the dangerous buttons below a box: they are off while the engine is gone."""
    for child in getattr(box, "children", ()):
        if isinstance(child, w.Button) and {"is-primary", "is-danger"} & set(child._dom_classes):
            styled(child, "sn-acts")
        _mark_acting(child)


class ActingPanel(Panel):
    """A panel with operations: `act` submits one, ignores a second click while it runs, and shows a refusal."""

    def _build(self) -> None:
        """Add the line of the last refusal or result below the strip."""
        self._running: set[str] = set()
        self._said = styled(w.HTML(), "sn-msg")
        self.refusal = styled(w.HBox([self._said, btn("Dismiss", "quiet", do=self.dismiss)]), "sn-strip", "sn-off")
        self.outcome = styled(w.HTML(), "sn-outcome", "sn-off")
        super()._build()
        self.frame.body.children = (self.refusal, self.outcome, *self.frame.body.children)
        _mark_acting(self.frame)

    def act(
        self,
        op: str,
        /,
        *,
        done: str = "",
        then: Callable[[Any], None] | None = None,
        failed: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> None:
        """Submit an operation once; `done` is said and `then(result)` called after success, `failed()` otherwise."""
        key = f"{op} {sorted(arguments.items(), key=str)!r}"
        if key in self._running:
            return
        self._running.add(key)
        self.dismiss()
        self.tell("")

        def _ended(job: Any) -> None:
            self._running.discard(key)
            if job.error is not None:
                self.refuse(job.error)
                if failed is not None:
                    failed()
            else:
                self.tell(done)
                if then is not None:
                    then(job.result())
            self.repaint()

        try:
            self.submit(op, _ended, **arguments)
        except StratnbError as error:
            self._running.discard(key)
            self.refuse(error)

    def act_each(self, op: str, strategy_ids: Sequence[str], *, said: str) -> None:
        """Submit an operation for each strategy; then tell for how many it worked and show the last refusal."""
        left, errors = list(strategy_ids), []
        self.dismiss()
        self.tell(f"0 of {len(left)} {said}" if left else "")

        def _ended(job: Any) -> None:
            left.pop()
            if job.error is not None:
                errors.append(job.error)
                self.refuse(job.error)
            self.tell(f"{len(strategy_ids) - len(left) - len(errors)} of {len(strategy_ids)} {said}")
            self.repaint()

        for strategy_id in strategy_ids:
            try:
                self.submit(op, _ended, strategy_id=strategy_id)
            except StratnbError as error:
                _ended(SimpleNamespace(error=error))

    def refuse(self, error: BaseException) -> None:
        """Show a refusal inside the panel; an unexpected error goes to the log with its traceback."""
        if not isinstance(error, StratnbError):
            LOG.error("%s: an operation failed", self.title, exc_info=error)
        self._said.value = f'<span role="alert">{refusal_html(error)}</span>'
        show(self.refusal, True)

    def tell(self, words: str) -> None:
        """Show the result of an operation in words, or hide the line."""
        self.outcome.value = f'<span role="status">{escape(words)}</span>' if words else ""
        show(self.outcome, bool(words))

    def dismiss(self) -> None:
        """Hide the last refusal."""
        show(self.refusal, False)
