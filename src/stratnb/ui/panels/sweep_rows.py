"""The rows of P11: trials with their parameters and figures, and what stands beside the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from stratnb.research.measure import LOWER
from stratnb.research.swept import Stability
from stratnb.ui.format import MINUS, Cell, count, na, share, tone
from stratnb.ui.panels.backtest_rows import figure, title_of

__all__ = ["COLUMNS", "SHOWN_MOST", "short", "stability_rows", "trial_table", "value_text", "written"]

SHOWN_MOST: Final = 1_000
LESS: Final = ("win_rate", "profit_factor")  # left out where there is little room
COLUMNS: Final = ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor")


def value_text(value: Any) -> str:
    """Return a parameter's value as it stands in a document.

    >>> value_text(0.30000000000000004), value_text(np.int64(5)), value_text(True)
    ('0.3', '5', 'true')
    """
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    return f"{float(value):.6g}".replace("-", MINUS) if isinstance(value, (int, float, np.number)) else str(value)


def short(path: str, paths: Sequence[str]) -> str:
    """Return the end of a path, as long as it takes to tell it from the others.

    >>> short("analyzers[0].params.fast", ["analyzers[0].params.fast", "analyzers[1].params.fast"])
    'analyzers[0].params.fast'
    >>> short("exits.stop_loss.multiple", ["exits.stop_loss.multiple"])
    'multiple'
    """
    steps = path.split(".")
    others = [other for other in paths if other != path]
    for n in range(1, len(steps)):
        end = ".".join(steps[-n:])
        if not any(other == end or other.endswith(f".{end}") for other in others):
            return end
    return path


def trial_table(
    frame: pd.DataFrame,
    paths: Sequence[str],
    objective: str,
    best: int | None,
    *,
    failed: bool = False,
    least: int = 0,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return columns and rows of the trials, the best first, failed ones last with their reason, or these alone.

    Trials with fewer than `least` trades say that they are none of the best.
    """
    frame = frame[frame["error"] != ""] if failed else frame
    shown = [name for name in dict.fromkeys((objective, *COLUMNS)) if name in frame.columns]
    cols: list[dict[str, Any]] = [{"key": "no", "label": "Trial", "align": "r"}]
    cols += [{"key": f"p{i}", "label": short(p, paths), "align": "r", "title": p} for i, p in enumerate(paths)]
    cols += [
        {"key": name, "label": title_of(name), "align": "r", **({"cls": "is-p2"} if name in LESS else {})}
        for name in shown
    ]
    cols.append({"key": "error", "label": "Note"})
    order = _ordered(frame, objective)[:SHOWN_MOST]
    rows = []
    for place in order:
        row = frame.iloc[place]
        trial = int(frame.index[place])
        cells: dict[str, Any] = {f"p{i}": _parameter(row[path]) for i, path in enumerate(paths)}
        cells |= {name: _figure(name, row[name]) for name in shown}
        words = str(row["error"])
        few = f"under {count(least)} trades" if row["trades"] < least else ""
        note = {"t": words, "tone": "warn"} if words else "Best" if trial == best else few
        rows.append({"id": str(trial), "no": {"t": str(trial), "n": trial}, **cells, "error": note})
    return cols, rows


def _ordered(frame: pd.DataFrame, objective: str) -> list[int]:
    """Return the places of the rows, the best objective first, undefined ones last."""
    values = pd.to_numeric(frame[objective], errors="coerce").to_numpy(np.float64)
    if objective not in LOWER:
        values = -values
    return [int(i) for i in np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")]


def written(name: str, value: float) -> str:
    """Return a figure's value as it is written into a cell of a map."""
    if math.isnan(value):
        return "n/a"
    cell = figure(name, float(value))
    return cell if isinstance(cell, str) else str(cell["t"]).removeprefix("▲ ").removeprefix("▼ ")


def _parameter(value: Any) -> Cell:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return {"t": value_text(value), "n": float(value)} if number else value_text(value)


def _figure(name: str, value: Any) -> Cell:
    known = float(value) if isinstance(value, (int, float, np.number)) else math.nan
    if math.isnan(known):
        return na()
    cell = figure(name, known)
    made: dict[str, Any] = {"t": cell} if isinstance(cell, str) else dict(cell)
    made["n"] = known
    return made if "tone" in made else {**made, "tone": tone(known)} if name in ("sharpe", "sortino") else made


def stability_rows(found: Stability | None, objective: str) -> list[dict[str, Any]]:
    """Return what lies around the best: its neighbours, their mean and least, and how many keep half of it."""
    if found is None:
        return []
    name = title_of(objective)
    cells: list[tuple[str, Cell]] = [
        (f"{name} of the best", _figure(objective, found.best)),
        ("Neighbors in the grid", count(found.count)),
        (f"{name} of them, mean", _figure(objective, found.mean)),
        (f"{name} of them, least good", _figure(objective, found.least)),
        (
            f"Neighbors that keep {share(found.keep, 0)} of it",
            na("no neighbor") if found.share is None else {"t": share(found.share), "bar": found.share},
        ),
    ]
    return [{"id": words, "name": words, "value": cell} for words, cell in cells]
