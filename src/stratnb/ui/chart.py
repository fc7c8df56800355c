"""A bokeh figure drawn by the BokehJS that our own widget carries, fed with at most one message per tick.

Messages count up by one; a view that is new or missed one asks for a snapshot, which comes from `snapshot()`. The
kernel keeps no copy of what is drawn.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import traitlets

from stratnb.ui.assets import assets
from stratnb.ui.browser import BrowserWidget, stub

__all__ = ["Chart", "Ops", "Update", "attr", "figure_json", "levels", "packed", "patch", "put", "stream"]

Ops = list[dict[str, Any]]
Columns = Mapping[str, npt.ArrayLike]
Range = tuple[float, float]

ROLLOVER: Final = 2_000


def _plain(values: npt.ArrayLike) -> list[float | None]:
    """Return numbers for JSON: what is not finite becomes None, which the browser reads as missing."""
    return [float(x) if math.isfinite(x) else None for x in np.asarray(values, dtype=np.float64).tolist()]


def stream(model: str, columns: Columns, rollover: int = ROLLOVER) -> dict[str, Any]:
    """Return the operation that appends rows to a source and keeps its last `rollover` rows."""
    data = {name: _plain(values) for name, values in columns.items()}
    return {"op": "stream", "model": model, "data": data, "rollover": rollover}


def patch(model: str, cells: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Any]:
    """Return the operation that changes single cells of a source; index -1 is the last row."""
    data = {name: [(i, x if math.isfinite(x) else None) for i, x in pairs] for name, pairs in cells.items()}
    return {"op": "patch", "model": model, "data": data}


def put(model: str, columns: Columns) -> dict[str, Any]:
    """Return the operation that replaces all columns of a source; they travel as binary."""
    return {"op": "set", "model": model, "data": {k: np.ascontiguousarray(v, np.float64) for k, v in columns.items()}}


def levels(
    model: str, key: str, most: int, parts: Sequence[Columns], attrs: Sequence[Sequence[Any]] = ()
) -> dict[str, Any]:
    """Return the operation that keeps several versions of a source, the coarsest first, each in the order of `key`.

    The browser draws the finest one of which the view holds at most `most` rows, and sets its `attrs`, pairs of model
    and properties.
    """
    made = [put(model, part)["data"] for part in parts]
    return {"op": "levels", "model": model, "key": key, "most": most, "parts": made, "attrs": [*map(list, attrs)]}


def attr(model: str, **properties: Any) -> dict[str, Any]:
    """Return the operation that sets properties of a named model."""
    return {"op": "attr", "model": model, "data": properties}


@dataclass(slots=True)
class Update:
    """What one tick changes: operations, the visible x range (ms), price tags and notes; None leaves as it is.

    `force` moves the range although a person has panned away from it.
    """

    ops: Ops = field(default_factory=list)
    range: Range | None = None
    force: bool = False
    tags: list[dict[str, Any]] | None = None
    notes: list[dict[str, Any]] | None = None


class Chart(BrowserWidget):
    """A figure with named models. `theme` binds (model name, property, CSS variable[/alpha]) to the page's colours.

    `snapshot` returns everything that is drawn; `on_ready`, `on_range(start_ms, end_ms)` and `on_pick(time_ms)` run
    in a callback and only enqueue. Without `on_ready` a snapshot is sent at once.
    """

    _esm = stub("chart")

    item = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    height = traitlets.Unicode("320px").tag(sync=True)
    theme: traitlets.List[Any] = traitlets.List().tag(sync=True)
    cfg = traitlets.Dict().tag(sync=True)
    tags = traitlets.List(traitlets.Dict()).tag(sync=True)
    notes = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, figure: Any, **kwargs: Any) -> None:
        super().__init__(item=figure_json(figure), **kwargs)
        self.seq = 0
        self.sent = 0
        self.snapshot: Callable[[], Update] = Update
        self.on_ready: Callable[[], None] = self.send_snapshot
        self.on_range: Callable[[float, float], None] = lambda start, end: None
        self.on_pick: Callable[[float], None] = lambda time_ms: None
        assets()

    def redraw(self, figure: Any, theme: Sequence[Any]) -> None:
        """Show another figure in the same views; each asks for a snapshot."""
        with self.hold_sync():
            self.theme = list(theme)
            self.item = figure_json(figure)

    def push(self, update: Update) -> None:
        """Send what changed as the next message of the sequence."""
        if update.ops or update.range is not None:
            self.seq += 1
            self._emit(update, {})
        self._label(update)

    def send_snapshot(self) -> None:
        """Send everything, which a new view needs; views that are up to date take it as well."""
        update = self.snapshot()
        self._emit(update, {"snapshot": True})
        self._label(update)

    def save_png(self, name: str) -> None:
        """Let the page offer the drawing as a file."""
        self.send({"png": name})

    def save_text(self, name: str, content: str) -> None:
        """Let the page offer a text as a file."""
        self.send({"file": name, "text": content})

    def _label(self, update: Update) -> None:
        """Set tags and notes if they changed, in one message."""
        with self.hold_sync():
            if update.tags is not None and update.tags != self.tags:
                self.tags = update.tags
            if update.notes is not None and update.notes != self.notes:
                self.notes = update.notes

    def _emit(self, update: Update, more: Mapping[str, Literal[True]]) -> None:
        """Send the operations; binary columns become numbered buffers."""
        buffers: list[memoryview] = []
        ops = [packed(op, buffers) for op in update.ops]
        message = {"seq": self.seq, "ops": ops, "range": update.range, "force": update.force, "ts": time.time(), **more}
        self.sent += 1
        self.send(message, buffers)

    def received(self, message: dict[str, Any]) -> None:
        """Take a view's wish: a snapshot, another range, or a candle."""
        if "ready" in message:
            self.on_ready()
        elif "range" in message:
            start, end = message["range"]
            self.on_range(float(start), float(end))
        elif "pick" in message:
            self.on_pick(float(message["pick"]))


def figure_json(figure: Any) -> str:
    """Return a figure as the JSON that BokehJS embeds."""
    from bokeh.embed import json_item

    return json.dumps(json_item(figure))


def packed(op: dict[str, Any], buffers: list[memoryview]) -> dict[str, Any]:
    """Return an operation whose binary columns are indices into `buffers`, which it extends."""

    def _indexed(columns: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        found = {}
        for name, values in columns.items():
            found[name] = {"buffer": len(buffers)}
            buffers.append(memoryview(values))
        return found

    if op["op"] == "set":
        return {**op, "data": _indexed(op["data"])}
    if op["op"] == "levels":
        return {**op, "parts": [_indexed(part) for part in op["parts"]]}
    return op
