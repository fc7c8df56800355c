"""The draft of a configuration: what was edited on top of a running version, as a patch of paths and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stratnb.errors import ConfigError, Finding
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import validate
from stratnb.strategy.merge import diff, merge_layers
from stratnb.strategy.overrides import override_of
from stratnb.strategy.parsing import parse
from stratnb.strategy.paths import lookup
from stratnb.view import ConfigVersion, ConfigView

__all__ = ["Draft", "complete", "shown"]

SHOWN_MOST = 60
_ABSENT = object()


class Draft:
    """An edited configuration and the running version it was made from; it is always valid by itself."""

    def __init__(self, view: ConfigView) -> None:
        self.strategy_id = view.strategy_id
        self.based_on = view.number
        self.running: dict[str, Any] = dict(view.document)
        self.sources = view.sources
        self.config: StrategyConfig = validate(self.running)

    @property
    def document(self) -> dict[str, Any]:
        """Return the edited document with every default."""
        return self.config.to_document()

    @property
    def patch(self) -> dict[str, Any]:
        """Return what was edited: paths to values, None removes."""
        return override_of(self.running, self.document)

    def read(self, text: str) -> tuple[Finding, ...]:
        """Take over a document written as JSON; return its faults, with which the draft stays as it was."""
        mapping, found = parse(text)
        if found:
            return tuple(found)
        try:
            self.config = validate(mapping)
        except ConfigError as error:
            return error.findings or (Finding("", error.code, error.message, error.value, error.hint),)
        return ()

    def revert(self, path: str) -> None:
        """Put one path of the patch back to what runs; the rest stays."""
        rest = {name: value for name, value in self.patch.items() if name != path}
        self._lay(rest)

    def rebase(self, view: ConfigView) -> None:
        """Lay the same edits over a newer version; edits that it cannot hold raise `ConfigError`."""
        mine, before = self.patch, (self.running, self.based_on, self.sources)
        self.running, self.based_on, self.sources = dict(view.document), view.number, view.sources
        try:
            self._lay(mine)
        except ConfigError:
            self.running, self.based_on, self.sources = before
            raise

    def against(self, view: ConfigView) -> list[tuple[str, Any, Any, Any]]:
        """Return (path, value it was made from, newer running value, own value) of all that either changed."""
        theirs = {path: (old, new) for path, old, new in diff(self.running, view.document)}
        mine = {path: (old, new) for path, old, new in diff(self.running, self.document)}
        rows = []
        for path in [*mine, *(path for path in theirs if path not in mine)]:
            before = (mine.get(path) or theirs[path])[0]
            rows.append((path, before, theirs.get(path, (None, before))[1], mine.get(path, (None, before))[1]))
        return rows

    def source(self, path: str) -> str:
        """Return where a value comes from: edited, or the layer of the running version."""
        now, then = lookup(self.document, path, _ABSENT), lookup(self.running, path, _ABSENT)
        if now != then:
            return "edited"
        if path in self.sources:
            return self.sources[path]
        inside = (word for at, word in self.sources.items() if at.startswith((f"{path}.", f"{path}[")))
        return next(inside, "default")

    def _lay(self, patch: Mapping[str, Any]) -> None:
        merged, _ = merge_layers([("strategy", self.running), ("override", patch)])
        self.config = validate(merged)


def complete(version: ConfigVersion) -> dict[str, Any]:
    """Return the whole document of a version; one that is not valid any more as it was written."""
    try:
        return validate(version.document).to_document()
    except ConfigError:
        return dict(version.document)


def shown(value: Any) -> str:
    """Return a value in few characters; a missing one is a dash.

    >>> shown(0.25), shown(None), shown({"kind": "atr"})
    ('0.25', '–', '{"kind": "atr"}')
    """
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_MOST else f"{text[: SHOWN_MOST - 1]}…"
