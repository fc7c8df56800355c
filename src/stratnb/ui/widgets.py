"""`Table`, drawn by our own script: tables, key figures and logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from stratnb.ui.assets import assets
from stratnb.ui.browser import BrowserWidget, stub

__all__ = ["Table"]


class Table(BrowserWidget):
    """Rows of cells, drawn by the browser from texts.

    `cols` are mappings with `key`, `label` and optionally `align` ("r"), `cls`, `title`, `sort`, `hide`, `head`; `rows`
    have an `id`, one cell per key, and optionally `cls` and `f` (what `only` filters by); a
    row with `span` is one text across all columns. `kind` "kpi" draws key
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
        assets()  # pages need it to draw the widget

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
