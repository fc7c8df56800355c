"""The widgets drawn by our own script: the base class and `Table`, which also draws key figures and logs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import anywidget
import traitlets

from stratnb.errors import ConfigError, nearest

__all__ = ["BrowserWidget", "Table", "stub"]

LOG: Final = logging.getLogger("stratnb.ui")

_STUB: Final = """
const lib = () => new Promise(ok => {
  const go = () => window.stratnb ? ok(window.stratnb) : setTimeout(go, 10);
  go();
});
export default {
  async initialize(context) { const { %(name)sInit } = await lib(); return %(name)sInit?.(context); },
  async render(context) { return (await lib()).%(name)s(context); },
};
"""


def stub(name: str) -> str:
    """Return the small script of a widget that waits for the shared code and calls `name` of it."""
    return _STUB % {"name": name}


class BrowserWidget(anywidget.AnyWidget):
    """An anywidget that refuses unknown keywords and reports errors of the browser to `on_error`."""

    def __init__(self, **kwargs: Any) -> None:
        for key in kwargs.keys() - set(self.trait_names()):
            close = nearest(key, self._own_traits(), limit=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self._own_traits())}"
            raise ConfigError("unknown_field", f"{type(self).__name__} has no {key!r}", value=key, hint=hint)
        self.on_error: Callable[[str, str], None] = lambda where, text: None
        super().__init__(**kwargs)
        self.on_msg(self._message)

    @classmethod
    def _own_traits(cls) -> list[str]:
        """Return the names a caller may set."""
        return sorted(name for name in cls.class_trait_names(sync=True) if not name.startswith("_"))

    def _message(self, _widget: object, content: Any, _buffers: object) -> None:
        """Route a message of the browser: errors are logged and reported, the rest goes to `received`."""
        if not isinstance(content, dict):
            return
        if "error" in content:
            where, text = str(content.get("where", "view")), str(content["error"])
            LOG.error("browser: %s in %s: %s", type(self).__name__, where, text)
            self.on_error(where, text)
            return
        self.received(content)

    def received(self, message: dict[str, Any]) -> None:
        """Take a message of a view; the base class ignores it."""


class Table(BrowserWidget):
    """Rows of cells, drawn by the browser from texts.

    `cols` are mappings with `key`, `label` and optionally `align` ("r"), `cls`, `title`, `sort`, `hide`, `head`; `rows`
    have an `id`, one cell per key, and optionally `cls` and `f` (what `only` filters by). `kind` "kpi" draws key
    figures (`id`, `label`, `v`, `pri`). `patch` sends the changed cells only; row buttons call `on_act(action, id)`.
    """

    _esm = stub("table")

    kind = traitlets.Enum(("table", "kpi", "log"), default_value="table").tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    cols = traitlets.List(traitlets.Dict()).tag(sync=True)
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    page = traitlets.Int(0, min=0).tag(sync=True)
    query = traitlets.Unicode().tag(sync=True)
    only = traitlets.Dict().tag(sync=True)
    empty = traitlets.Dict().tag(sync=True)
    current = traitlets.Unicode().tag(sync=True)
    selectable = traitlets.Bool(False).tag(sync=True)
    frozen = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_act: Callable[[str, str], None] = lambda action, row: None
        _share_assets()

    @traitlets.validate("cols")
    def _check_cols(self, proposal: traitlets.Bunch) -> Any:
        """Refuse a column without key or label."""
        for col in proposal["value"]:
            if "key" not in col or "label" not in col:
                raise traitlets.TraitError(f"a column needs 'key' and 'label', not {col!r}")
        return proposal["value"]

    @traitlets.validate("rows")
    def _check_rows(self, proposal: traitlets.Bunch) -> Any:
        """Refuse rows without an id and rows with the same one."""
        ids = [row.get("id") for row in proposal["value"]]
        if None in ids or len(set(ids)) < len(ids):
            raise traitlets.TraitError(f"each row of {self.caption or 'a table'} needs its own 'id'")
        return proposal["value"]

    def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change the named cells of the named rows with one message; nothing is sent without a change."""
        known = {row["id"]: row for row in self.rows}
        sent = {
            key: fresh
            for key, cells in changes.items()
            if key in known and (fresh := {name: cell for name, cell in cells.items() if known[key].get(name) != cell})
        }
        if not sent:
            return
        for key, cells in sent.items():
            known[key].update(cells)
        self._trait_values["seq"] = self.seq + 1  # new views read it from the state; no message of its own
        self.send({"patch": sent, "seq": self.seq, "ts": time.time()})

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Show these rows: as a patch while their ids stay the same, as a new list otherwise."""
        if [row["id"] for row in rows] == [row["id"] for row in self.rows]:
            gone = {old["id"]: dict.fromkeys(old.keys() - new.keys()) for old, new in zip(self.rows, rows, strict=True)}
            self.patch({row["id"]: {**gone[row["id"]], **row} for row in rows})
        else:
            self.rows = rows

    def received(self, message: dict[str, Any]) -> None:
        """Pass a row's action on, or send the whole state to a browser that missed a patch."""
        if "act" in message:
            self.on_act(str(message["act"]), str(message.get("id", "")))
        elif "need" in message:
            self.send_state(["rows", "seq"])


def _share_assets() -> None:
    """Make sure that the kernel's `Assets` exists, so that pages can draw the widgets."""
    from stratnb.ui.assets import assets

    assets()
