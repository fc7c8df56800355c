"""The performance of a range as one HTML file that opens offline: BokehJS from the installed wheel, texts escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stratnb.ui.assets import bokeh_script
from stratnb.ui.chart import Update
from stratnb.ui.curve import equity_figure
from stratnb.ui.format import escape, stamp
from stratnb.ui.panels import performance_breakdown as breakdown
from stratnb.ui.panels import performance_rows as rows
from stratnb.ui.panels.performance_curve import Look, curve_update, legend
from stratnb.ui.panels.performance_data import Sample
from stratnb.ui.panels.performance_figures import (
    excursion_figure,
    excursion_update,
    hours_figure,
    hours_update,
    rolling_figure,
    rolling_update,
)
from stratnb.ui.plots import Theme

__all__ = ["page"]

HEIGHTS: Final = {"Equity and drawdown": 460, "Rolling Sharpe": 180, "Hours": 240, "Excursions": 320}
COLOURS: Final = {
    "--sn-text": "#1f1f1f",
    "--sn-text-2": "#525252",
    "--sn-text-3": "#666666",
    "--sn-line": "#e0e0e0",
    "--sn-line-2x": "#c7c7c7",
    "--sn-grid": "#f0f0f0",
    "--sn-up": "#1758c4",
    "--sn-down": "#b04300",
    "--sn-ok": "#0b6b52",
    "--sn-warn": "#815300",
    "--sn-info": "#3f5470",
    "--sn-accent": "#5146c4",
    "--sn-line-1": "#7a4fb5",
}
POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">"
)
STYLE: Final = """
body { margin: 24px auto; max-width: 1180px; padding: 0 16px; font: 13px/18px "Segoe UI", Roboto, Arial, sans-serif;
  color: #1f1f1f; background: #fff; font-variant-numeric: tabular-nums; }
h1 { font-size: 15px; margin: 0 0 4px; } h2 { font-size: 13px; margin: 24px 0 6px; } p { margin: 0; color: #525252; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #e0e0e0; padding: 4px 8px; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { text-align: left; } thead th { color: #525252; } small, tr.group th { color: #525252; }
tr.group th { font-weight: 600; padding-top: 12px; }
.sn-key { display: inline-flex; align-items: center; gap: 6px; margin-right: 16px; font-size: 12px; color: #525252; }
"""
KEYS: Final = {
    "": "2px solid #5146c4",
    "is-bh": "2px dashed #666666",
    "is-dd": "6px solid #b0430080",
    "is-open": "6px solid #81530080",
    **{f"is-c{n}": f"2px solid {COLOURS[name]}" for n, name in enumerate(("--sn-ok", "--sn-warn", "--sn-info"), 1)},
    "is-c4": "2px solid #7a4fb5",
    **{f"is-c{n + 4}": f"2px dashed {COLOURS[f'--sn-{w}']}" for n, w in enumerate(("ok", "warn", "info", "line-1"), 1)},
}


def page(sample: Sample, known: Mapping[str, rows.Known], look: Look, *, title: str) -> str:
    """Return the page of a sample: curve, rolling Sharpe, months, hours, correlation, excursions and figures."""
    from bokeh.embed import components

    traded = sample.trading()
    rolled, _ = rolling_update(sample, look.window, sample.span)
    drawn = {
        "Equity and drawdown": _filled(
            *equity_figure(HEIGHTS["Equity and drawdown"], log=look.log), curve_update(sample, look)
        ),
        "Rolling Sharpe": _filled(*rolling_figure(), rolled),
        "Hours": _filled(*hours_figure(), hours_update(traded)),
        "Excursions": _filled(*excursion_figure(), excursion_update(traded)),
    }
    for name, root in drawn.items():
        root.sizing_mode, root.height = "stretch_width", HEIGHTS[name]
    script, boxes = components(drawn)
    tables = {
        "Figures": rows.figures_table(sample, known),
        "Months": breakdown.months_table(breakdown.months_frame(sample)),
        "Correlation of daily returns": breakdown.correlation_table(sample),
        "Weekdays, UTC": breakdown.weekday_table(traded),
        "Excursions, means": breakdown.excursion_table(breakdown.excursion_frame(traded)),
    }
    whose = ", ".join(line.label for line in traded)
    notes = {
        "Equity and drawdown": legend(sample),
        "Rolling Sharpe": f"<p>Window {look.window} days of daily returns; empty while there are fewer.</p>",
        "Hours": f"<p>PnL of trades by weekday and hour of exit, UTC: {escape(whose)}</p>",
        "Excursions": f"<p>MAE and MFE before costs; the candle of the exit counts with its fill: {escape(whose)}</p>",
    }
    body = [f"<h2>{escape(name)}</h2>{notes[name]}{box}" for name, box in boxes.items()]
    body += [f"<h2>{escape(name)}</h2>{_table(*made)}" for name, made in tables.items()]
    return _document(title, sample, "".join(body), script)


def _document(title: str, sample: Sample, body: str, script: str) -> str:
    """Return the whole HTML document."""
    first, end = sample.lines[0].rows[0, 0], sample.lines[0].rows[-1, 0]
    keys = "".join(_key(name, line) for name, line in KEYS.items())
    code = bokeh_script().replace("</script", "<\\/script")
    when = f"{stamp(first)} to {stamp(end)} UTC, money in {sample.quote}. ⚑ fewer than 30 days or trades."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{POLICY}<title>{escape(title)}</title>'
        f"<style>{STYLE}{keys}</style><script>{code}</script></head><body><h1>{escape(title)}</h1>"
        f"<p>{escape(when)}</p>{body}{script}</body></html>"
    )


def _key(name: str, line: str) -> str:
    """Return the style of one key of the legend."""
    own = f".sn-key.{name}" if name else ".sn-key:not(.is-none)"
    return f'{own}::before {{ content: ""; width: 14px; border-top: {line}; }}\n'


def _filled(figure: Any, theme: Theme, update: Update) -> Any:
    """Return a figure with its data, its range and light colours."""
    for name, key, spec in theme:
        found = figure.select_one({"name": name})
        setattr(found, key, [_colour(one) for one in spec] if isinstance(spec, list) else _colour(spec))
    for op in update.ops:
        figure.select_one({"name": op["model"]}).data = dict(op["data"])
    span = figure.select_one({"name": "xr"})
    if span is not None and update.range is not None:
        span.start, span.end = update.range
    return figure


def _colour(spec: str) -> str:
    """Return a colour variable (with an alpha after a slash) as a fixed colour."""
    name, _, alpha = spec.partition("/")
    return COLOURS[name] + (f"{round(float(alpha) * 255):02x}" if alpha else "")


def _table(cols: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of escaped cells with their conventions as tooltips."""
    head = "".join(f'<th scope="col">{escape(col["label"])}</th>' for col in cols)
    lines = []
    for row in cells:
        if "span" in row:
            lines.append(f'<tr class="group"><th colspan="{len(cols)}">{escape(row["span"])}</th></tr>')
            continue
        first, *rest = (_cell(row.get(col["key"], "")) for col in cols)
        lines.append(f'<tr><th scope="row"{first}</th>' + "".join(f"<td{one}</td>" for one in rest) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(cell: Any) -> str:
    """Return the inside of a cell, from its tooltip on."""
    if not isinstance(cell, Mapping):
        return f">{escape(cell)}"
    sub = f" <small>{escape(cell['sub'])}</small>" if cell.get("sub") else ""
    return f' title="{escape(cell.get("title", ""))}">{escape(cell.get("t", ""))}{sub}'
