"""A report as one HTML page that opens without a network: BokehJS, our scripts, the look and all numbers are in it.

The page's policy (CSP) forbids every request. Tables and charts are drawn by the same scripts as in a notebook; each
gets a stand-in for its model that holds the state and answers the chart's wish for its columns.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import numpy as np

from stratnb.ui.assets import bokeh_script, script, style
from stratnb.ui.chart import figure_json, packed
from stratnb.ui.format import escape
from stratnb.ui.panels.report_parts import Drawing, Item, Listing, Part, Words

__all__ = ["page", "words_html"]

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_THEME: Final = """
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
document.body.dataset.jpThemeLight = String(!dark);
"""


def page(title: str, note: str, parts: Sequence[Part], foot: str) -> str:
    """Return the page of a report; every text is escaped, or set as text by the scripts."""
    states: list[dict[str, Any]] = []
    body = "\n".join(_section(part, states) for part in parts)
    numbers = json.dumps(states, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    folder = files("stratnb.ui") / "static"
    own_style, own_script = ((folder / name).read_text("utf-8") for name in ("report.css", "report.js"))
    head = (
        f'<header class="sn-reporthead"><div><h1>{escape(title)}</h1><p>{escape(note)}</p></div>'
        '<div class="sn-reporttools"><button type="button" id="sn-theme" class="sn-act">Dark</button>'
        '<button type="button" id="sn-print" class="sn-act">Print</button></div></header>'
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{style()}\n{own_style}</style>\n</head>",
            f'<body class="sn-report">\n<script>{_THEME}</script>\n<div class="sn-root">{head}',
            f'<main class="sn-page"><div class="sn-grid">{body}</div></main>',
            f'<footer class="sn-foot sn-muted">{escape(foot)}</footer></div>',
            f'<script type="application/json" id="sn-states">{numbers}</script>',
            *(f"<script>{_embedded(code)}</script>" for code in (bokeh_script(), script(), own_script)),
            "</body>\n</html>\n",
        ]
    )


def _embedded(code: str) -> str:
    """Return a script that can stand in a page: nothing in it ends the element."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _section(part: Part, states: list[dict[str, Any]]) -> str:
    """Return a framed part; what its charts and tables show is added to `states`."""
    note = f"<span>{escape(part.note)}</span>" if part.note else ""
    head = f'<div class="sn-head"><div class="sn-title"><h2>{escape(part.title)}</h2>{note}</div></div>'
    items = "".join(_item(item, states) for item in part.items)
    body = f'<div class="sn-body"><div class="sn-inner">{items}</div></div>'
    return f'<section class="sn-panel sn-c{part.span}">{head}{body}</section>'


def _item(item: Item, states: list[dict[str, Any]]) -> str:
    if isinstance(item, Words):
        return words_html(item)
    states.append(_chart_state(item) if isinstance(item, Drawing) else _table_state(item))
    return f'<div data-state="{len(states) - 1}"></div>'


def words_html(item: Words) -> str:
    """Return a sentence with its keys, its heading or its code as safe HTML."""
    if item.code:
        return f'<pre class="sn-code" tabindex="0">{escape(item.text)}</pre>'
    if item.heading:
        return f"<h3>{escape(item.heading)}</h3>"
    keys = "".join(f'<span class="sn-key {escape(look)}">{escape(label)}</span>' for look, label in item.keys)
    text = f'<span class="sn-key is-none">{escape(item.text)}</span>' if item.text else ""
    return f'<div class="sn-legend">{text}{keys}</div>'


def _table_state(item: Listing) -> dict[str, Any]:
    state = {"kind": item.kind, "caption": item.caption, "cols": [*item.cols], "rows": [*item.rows]}
    more = {"page": item.page, "empty": dict(item.empty), "query": "", "only": {}, "current": "", "seq": 0}
    return {"draw": "table", "state": _plain(state | more | {"selectable": False, "frozen": False})}


def _chart_state(item: Drawing) -> dict[str, Any]:
    buffers: list[memoryview] = []
    update = item.update
    ops = [packed(op, buffers) for op in update.ops]
    state = {"item": figure_json(item.figure), "caption": item.caption, "height": f"{item.height}px"}
    more = {"theme": list(item.theme), "cfg": dict(item.cfg), "tags": update.tags or [], "notes": update.notes or []}
    message = {"seq": 0, "ops": ops, "range": update.range, "force": True, "snapshot": True}
    return {
        "draw": "chart",
        "state": _plain(state | more),
        "message": message,
        "buffers": [_number(b) for b in buffers],
    }


def _number(buffer: memoryview) -> Any:
    """Return a column: one number for a constant one (null is missing), else its bytes as base64."""
    values = np.frombuffer(buffer, np.float64)
    if len(values) and (np.isnan(values).all() or (values == values[0]).all()):
        return {"n": len(values), "fill": None if np.isnan(values[0]) else float(values[0])}
    return base64.b64encode(values.astype("<f8").tobytes()).decode("ascii")


def _plain(value: Any) -> Any:
    """Return a value for JSON: what is not finite is missing, numpy's numbers are Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
