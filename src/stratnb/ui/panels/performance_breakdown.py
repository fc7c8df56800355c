"""The breakdowns of the performance panel: months, correlations, weekdays and excursions, as frames and as tables."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.research.conventions import FEW
from stratnb.research.daily import correlation, monthly
from stratnb.research.results import hour_weekday
from stratnb.ui.format import Cell, cents, count, delta, na, num, pct, tone
from stratnb.ui.panels.performance_data import DAYS_NEEDED, Line, Sample
from stratnb.ui.panels.performance_figures import WEEKDAYS
from stratnb.ui.panels.performance_rows import TableRows

__all__ = [
    "correlation_frame",
    "correlation_table",
    "excursion_frame",
    "excursion_table",
    "hours_frame",
    "months_frame",
    "months_table",
    "weekday_table",
]

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def months_frame(sample: Sample) -> pd.DataFrame:
    """Return the return of each calendar month (UTC) of each line: curve, year, Jan..Dec and the whole year."""
    rows = []
    for line in sample.lines:
        numbers, returns = monthly(*line.daily())
        for year in np.unique(numbers // 12):
            of = {int(m % 12): float(r) for m, r in zip(numbers, returns, strict=True) if m // 12 == year}
            whole = float(np.prod([1.0 + r for r in of.values()]) - 1.0)
            months = {name: of.get(i) for i, name in enumerate(MONTHS)}
            rows.append({"curve": line.label, "year": int(year) + 1970, **months, "whole": whole})
    return pd.DataFrame(rows, columns=["curve", "year", *MONTHS, "whole"])


def months_table(frame: pd.DataFrame) -> TableRows:
    """Return columns and rows of the monthly table."""
    cols: list[dict[str, Any]] = [
        {"key": "curve", "label": "Curve"},
        {"key": "year", "label": "Year", "align": "r"},
        *({"key": name, "label": name, "align": "r"} for name in MONTHS),
        {"key": "whole", "label": "Year", "align": "r", "title": "Return over the months of the year"},
    ]
    rows = []
    for at, row in enumerate(frame.to_dict("records")):
        cells: dict[str, Any] = {name: _toned(row[name]) for name in (*MONTHS, "whole")}
        rows.append({"id": str(at), "curve": row["curve"], "year": {"t": str(row["year"]), "n": row["year"]}, **cells})
    return cols, rows


def _toned(value: float | None) -> Cell:
    """Return the cell of a return; a month without days is a dash."""
    if value is None or np.isnan(value):
        return {"t": "–", "tone": "mute", "n": -1e308, "title": "no day of this month is in the range"}
    return {"t": pct(value), "tone": tone(value), "n": value}


def _matrix(sample: Sample) -> list[list[tuple[float | None, int]]]:
    series = [line.returns() for line in sample.lines]
    return [[correlation(a, b) for b in series] for a in series]


def correlation_frame(sample: Sample) -> pd.DataFrame:
    """Return the correlations of daily returns with the number of common days: curve, other, correlation, days."""
    rows = [
        [a.label, b.label, *pair]
        for a, line in zip(sample.lines, _matrix(sample), strict=True)
        for b, pair in zip(sample.lines, line, strict=True)
    ]
    return pd.DataFrame(rows, columns=["curve", "other", "correlation", "days"])


def correlation_table(sample: Sample) -> TableRows:
    """Return columns and rows of the correlations between the lines."""
    lines = sample.lines
    cols: list[dict[str, Any]] = [{"key": "name", "label": "Daily returns", "sort": False}]
    cols += [{"key": line.key, "label": line.label, "align": "r", "sort": False} for line in lines]
    rows = []
    for own, found in zip(lines, _matrix(sample), strict=True):
        cells = {other.key: _related(value, n, own, other) for other, (value, n) in zip(lines, found, strict=True)}
        rows.append({"id": own.key, "name": own.label, **cells})
    return cols, rows


def _related(value: float | None, n: int, own: Line, other: Line) -> Cell:
    """Return the cell of one correlation with N and a bar from the middle."""
    told = "Pearson's correlation of daily returns on the days that both have; other tools take prices or trades"
    if not (own.has_ratios and other.has_ratios):
        return {**na(f"needs {DAYS_NEEDED} days"), "title": told}
    if value is None:
        return {**na("no spread"), "title": told}
    sub = f"N {n}" + (" ⚑" if n < FEW else "")
    return {"t": num(value), "sub": sub, "div": value, "n": value, "title": told}


def hours_frame(lines: tuple[Line, ...]) -> pd.DataFrame:
    """Return results and numbers of trades by weekday and hour of exit (UTC), those with trades only."""
    sums, counts = hour_weekday([trade for line in lines for trade in line.trades])
    days, hours = np.nonzero(counts)
    names = [WEEKDAYS[day] for day in days]
    return pd.DataFrame({"weekday": names, "hour": hours, "pnl": sums[days, hours], "trades": counts[days, hours]})


def weekday_table(lines: tuple[Line, ...]) -> TableRows:
    """Return columns and rows of results and trades by weekday, with the best and the worst hour of each."""
    sums, counts = hour_weekday([trade for line in lines for trade in line.trades])
    cols: list[dict[str, Any]] = [
        {"key": "day", "label": "Weekday", "sort": False},
        {"key": "n", "label": "Trades", "align": "r"},
        {"key": "pnl", "label": "PnL", "align": "r"},
        {"key": "best", "label": "Best hour, UTC", "align": "r", "sort": False},
        {"key": "worst", "label": "Worst hour, UTC", "align": "r", "sort": False},
    ]
    money = cents(next((trade.symbol for line in lines for trade in line.trades), ""))
    rows = []
    for name, pnl, n in zip(WEEKDAYS, sums, counts, strict=True):
        total = int(n.sum())
        cells: dict[str, Cell] = {"pnl": delta(float(pnl.sum()), money) if total else na("no trade")}
        cells |= {"best": _hour(pnl, n, 1.0, money), "worst": _hour(pnl, n, -1.0, money)}
        few = " ⚑" if total < FEW else ""
        rows.append({"id": name, "day": name, "n": {"t": f"{count(total)}{few}", "n": total}, **cells})
    return cols, rows


def _hour(pnl: npt.NDArray[np.float64], n: npt.NDArray[np.int64], way: float, money: int) -> Cell:
    """Return the hour with the largest (way 1) or smallest (-1) sum."""
    held = np.flatnonzero(n)
    if not len(held):
        return "–"
    hour = int(held[np.argmax(way * pnl[held])])
    return {**delta(float(pnl[hour]), money), "sub": f"{hour:02d}:00, n {int(n[hour])}"}


def excursion_frame(lines: tuple[Line, ...]) -> pd.DataFrame:
    """Return each closed trade with worst and best unrealized return (fractions); NaN where no candles are kept."""
    rows = [
        [line.label, trade.strategy_id, trade.trade_no, trade.exit_ms, trade.pnl, trade.return_fraction, *path]
        for line in lines
        for trade, path in zip(line.trades, line.paths, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["curve", "strategy_id", "trade_no", "exit", "pnl", "return", "mae", "mfe"])
    frame["exit"] = pd.to_datetime(frame["exit"], unit="ms", utc=True)
    return frame


def excursion_table(frame: pd.DataFrame) -> TableRows:
    """Return columns and rows of the means of the excursions, won and lost trades apart."""
    cols: list[dict[str, Any]] = [{"key": "name", "label": "Trades", "sort": False}]
    heads = {"n": "n", "mae": "MAE, mean", "worst": "MAE, worst", "mfe": "MFE, mean", "ret": "Return, mean"}
    cols += [{"key": key, "label": label, "align": "r", "sort": False} for key, label in heads.items()]
    known = frame.dropna(subset=["mae", "mfe"])
    rows = []
    for name, part in (("Won", known[known["pnl"] > 0]), ("Lost or even", known[known["pnl"] <= 0]), ("All", known)):
        cells: dict[str, Any] = dict.fromkeys(heads, "–")
        if len(part):
            cells |= {"mae": pct(part["mae"].mean()), "worst": pct(part["mae"].min()), "mfe": pct(part["mfe"].mean())}
            cells["ret"] = pct(part["return"].mean())
        cells["n"] = f"{count(len(part))}" + (" ⚑" if len(part) < FEW else "")
        rows.append({"id": name, "name": name, **cells})
    return cols, rows
