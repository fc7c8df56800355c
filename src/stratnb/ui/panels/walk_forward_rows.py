"""The rows of P12: key figures, windows inside and outside, and the drift of the choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stratnb.research.conventions import explained
from stratnb.research.walked import WalkForward, WindowResult
from stratnb.ui.format import Cell, count, na, num, pct, share, sized, stamp, tone
from stratnb.ui.panels.backtest_rows import figure, title_of
from stratnb.ui.panels.sweep_rows import short, value_text

__all__ = ["chosen_of", "drift_rows", "key_rows", "window_table"]

SHORT: Final = {"psr": "Sharpe > 0"}  # the probability of it


def key_rows(found: WalkForward, figures: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Return the key figures of the joined tests."""
    outside = [each.outside for each in found.windows if each.outside is not None]
    good = sum(value > 0 for value in outside)
    rows: list[tuple[str, str, Cell, str]] = [
        ("windows", "Windows", f"{len(found.windows)} of {len(found.planned)}", "Trained and tested, of those planned"),
        (
            "efficiency",
            "Efficiency",
            na("nothing to keep") if found.efficiency is None else num(found.efficiency),
            "Yearly growth of the tests over that of the trainings; 1 is as good outside as inside",
        ),
        (
            "overfitting",
            "Overfitting, mean",
            share(found.overfitting) if found.overfitting is not None else na("under 2 trials or 16 days"),
            "Mean over the trainings of the probability that the choice is not above the median of all trials outside",
        ),
        (
            "positive",
            "Tests above 0",
            f"{good} of {len(outside)}",
            f"Tests whose {title_of(found.objective).lower()} is above 0",
        ),
    ]
    rows += [
        (name, f"{SHORT.get(name) or title_of(name)}, outside", _joined(name, figures.get(name)), "Of the joined tests")
        for name in ("total_return", "sharpe", "psr", "max_drawdown", "trades", "win_rate", "profit_factor")
    ]
    return [{"id": name, "label": label, "v": cell, "pri": 1, "title": told} for name, label, cell, told in rows]


def _joined(name: str, value: float | None) -> Cell:
    return share(value, 2) if name == "psr" and value is not None else figure(name, value)


def window_table(found: WalkForward) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return columns and rows of the windows: times, trials, objective inside and outside, their ratio, the choice."""
    paths = list(chosen_of(found))
    objective = title_of(found.objective)
    cols: list[dict[str, Any]] = [
        {"key": "no", "label": "#", "align": "r"},
        {"key": "train", "label": "Training, UTC", "cls": "is-p2"},
        {"key": "test", "label": "Test, UTC"},
        {"key": "trials", "label": "Trials", "align": "r", "cls": "is-p2"},
        {"key": "inside", "label": f"{objective}, inside", "align": "r"},
        {"key": "outside", "label": f"{objective}, outside", "align": "r"},
        {"key": "grown", "label": "Growth a year, inside", "align": "r", "cls": "is-p2"},
        {"key": "growth", "label": "Growth a year, outside", "align": "r", "cls": "is-p2"},
        {"key": "ratio", "label": "Efficiency", "align": "r", "title": "Yearly growth outside over that inside"},
        {"key": "pbo", "label": "Overfitting", "align": "r", "cls": "is-p2", "title": explained("overfitting")},
        {"key": "trades", "label": "Trades", "align": "r"},
        *({"key": f"p{i}", "label": short(path, paths), "align": "r", "title": path} for i, path in enumerate(paths)),
    ]
    return cols, [_window(found, n, each, paths) for n, each in enumerate(found.windows, 1)]


def _window(found: WalkForward, n: int, each: WindowResult, paths: list[str]) -> dict[str, Any]:
    chosen = each.chosen or {}
    cells = {f"p{i}": value_text(chosen[path]) if path in chosen else na() for i, path in enumerate(paths)}
    return {
        "id": str(n),
        "no": {"t": str(n), "n": n},
        "train": _period(found, each.window.train),
        "test": _period(found, each.window.test),
        "trials": {"t": count(each.trials), "n": each.trials},
        "inside": _objective(found.objective, each.inside),
        "outside": _objective(found.objective, each.outside),
        "grown": _growth(each.growth_inside),
        "growth": _growth(each.growth_outside),
        "ratio": sized(each.efficiency, num(each.efficiency), reason="no growth inside"),
        "pbo": sized(each.overfitting, share(each.overfitting), reason="under 2 trials or 16 days"),
        "trades": count(len(each.result.closed_trades)) if each.result is not None else na("nothing chosen"),
        **cells,
    }


def _growth(value: float | None) -> Cell:
    return na("under a day") if value is None else {"t": pct(value), "n": value, "tone": tone(value)}


def _objective(name: str, value: float | None) -> Cell:
    cell = figure(name, value)
    made = {"t": cell} if isinstance(cell, str) else cell
    return made if value is None else {**made, "n": value, "tone": tone(value)}


def _period(found: WalkForward, place: tuple[int, int]) -> Cell:
    first, stop = place
    start, end = float(found.candles.open_time_ms[first]), float(found.candles.close_time_ms[stop - 1])
    return {
        "t": f"{stamp(start)[:10]} to {stamp(end)[:10]}",
        "n": start,
        "title": f"{stamp(start)} to {stamp(end)} UTC",
    }


def chosen_of(found: WalkForward) -> dict[str, list[Any]]:
    """Return what each window chose, by path; None where nothing was chosen."""
    paths = dict.fromkeys(path for each in found.windows for path in each.chosen or {})
    return {path: [(each.chosen or {}).get(path) for each in found.windows] for path in paths}


def drift_rows(found: WalkForward) -> list[dict[str, Any]]:
    """Return how the choice moved: the share of windows that changed it, and the mean step."""
    chosen = chosen_of(found)
    rows = []
    for path, (changes, step) in found.drift.items():
        values = [value_text(value) for value in chosen[path] if value is not None]
        moved = {"t": share(changes), "bar": changes, "btone": "mute", "n": changes}
        width = sized(step, share(step), reason="no number")
        known = [value for value in values if value]
        most = max(set(known), key=known.count) if known else "n/a"
        rows.append({"id": path, "name": path, "most": most, "moved": moved, "step": width})
    return rows
