"""The figures of the performance panel as cells, key figures and a table: each with N, a flag and its convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from stratnb.research.conventions import FEW, OF_TRADES, explained
from stratnb.research.falls import largest_in_money
from stratnb.ui.format import Cell, age, cents, count, delta, na, num, pct, share, signed, stamp, tone
from stratnb.ui.panels.performance_data import DAYS_NEEDED, Line, Sample

__all__ = [
    "FIGURES",
    "KEY_FIGURES",
    "TITLES",
    "Known",
    "TableRows",
    "counted",
    "figure_cell",
    "figures_frame",
    "figures_of",
    "figures_table",
    "judged",
    "key_rows",
    "missing",
    "noted",
]

Kind = Literal["pct", "share", "money", "gain", "num", "age", "count", "chance"]
Known = Mapping[str, float | None]
TableRows = tuple[list[dict[str, Any]], list[dict[str, Any]]]

FLAG: Final = "⚑"
FIGURES: Final[Mapping[str, tuple[tuple[str, str, Kind], ...]]] = {
    "Return": (
        ("days", "Daily returns, N", "count"),
        ("total_return", "Total return", "pct"),
        ("cagr", "CAGR", "pct"),
        ("best_day", "Best day", "pct"),
        ("worst_day", "Worst day", "pct"),
        ("best_month", "Best month", "pct"),
        ("worst_month", "Worst month", "pct"),
        ("buy_and_hold", "Buy and hold", "pct"),
        ("alpha", "Alpha, yearly", "pct"),
        ("beta", "Beta", "num"),
    ),
    "Risk": (
        ("volatility", "Volatility, yearly", "share"),
        ("sharpe", "Sharpe", "num"),
        ("psr", "Sharpe above 0, probability", "share"),
        ("sortino", "Sortino", "num"),
        ("omega", "Omega", "num"),
        ("var_95", "Value at risk 95 %, a day", "share"),
        ("cvar_95", "Mean loss beyond it", "share"),
        ("tail_ratio", "Tail ratio", "num"),
        ("skew", "Skewness", "num"),
        ("kurtosis", "Kurtosis, excess", "num"),
        ("exposure_time", "Exposure time", "share"),
        ("turnover", "Turnover, yearly", "num"),
    ),
    "Drawdown": (
        ("max_drawdown", "Max drawdown", "share"),
        ("max_drawdown_daily", "Max drawdown, daily", "share"),
        ("max_drawdown_money", "Max drawdown, money", "money"),
        ("average_drawdown", "Average drawdown", "share"),
        ("longest_drawdown_s", "Longest drawdown", "age"),
        ("open_drawdown", "Open drawdown", "share"),
        ("open_drawdown_s", "Open for", "age"),
        ("ulcer_index", "Ulcer index", "share"),
        ("calmar", "Calmar", "num"),
        ("recovery_factor", "Recovery factor", "num"),
    ),
    "Trades": (
        ("trades", "Trades, n", "count"),
        ("win_rate", "Win rate", "share"),
        ("profit_factor", "Profit factor", "num"),
        ("payoff", "Payoff", "num"),
        ("expectancy", "Expectancy", "gain"),
        ("p_value", "p-value of it", "chance"),
        ("sqn", "SQN", "num"),
        ("kelly", "Kelly", "pct"),
        ("best_trade", "Best trade", "gain"),
        ("worst_trade", "Worst trade", "gain"),
        ("wins_in_a_row", "Wins in a row", "count"),
        ("losses_in_a_row", "Losses in a row", "count"),
        ("average_hold_s", "Time held, mean", "age"),
        ("median_hold_s", "Time held, median", "age"),
        ("longest_hold_s", "Time held, longest", "age"),
        ("winner_hold_s", "Winners held, mean", "age"),
        ("loser_hold_s", "Losers held, mean", "age"),
        ("average_mae", "MAE, mean", "pct"),
        ("average_mfe", "MFE, mean", "pct"),
        ("fees", "Fees", "money"),
        ("fees_rate", "Fees of gross PnL", "share"),
        ("funding", "Funding", "money"),
    ),
}
KEY_FIGURES: Final = (
    *("total_return", "max_drawdown", "open_drawdown", "cagr", "volatility", "sharpe", "sortino", "calmar"),
    *("trades", "win_rate", "profit_factor", "expectancy"),
)
PLAIN: Final = frozenset(
    {"days", "trades", "total_return", "buy_and_hold", "exposure_time", "max_drawdown", "max_drawdown_money"}
    | {"open_drawdown", "open_drawdown_s", "longest_drawdown_s", "average_drawdown"}
)
MISSING: Final = {
    "sharpe": "no spread",
    "sortino": "no negative day",
    "omega": "no negative day",
    "var_95": "needs 20 days",
    "cvar_95": "needs 20 days",
    "skew": "needs 4 days",
    "kurtosis": "needs 4 days",
    "alpha": f"needs {FEW} days of it",
    "beta": f"needs {FEW} days of it",
    "exposure_time": "no fills",
    "turnover": "no fills",
    "profit_factor": "no losses",
    "payoff": "needs both",
    "kelly": "needs both",
    "sqn": "needs 2 that differ",
    "p_value": "needs 2 that differ",
    "winner_hold_s": "none won",
    "loser_hold_s": "none lost",
    "open_drawdown": "at the peak",
    "open_drawdown_s": "at the peak",
    "longest_drawdown_s": "no fall",
    "average_drawdown": "no fall",
    "recovery_factor": "no fall",
    "calmar": "no fall",
}
_KINDS: Final = {name: kind for group in FIGURES.values() for name, _, kind in group}
TITLES: Final = {name: title for group in FIGURES.values() for name, title, _ in group}


def figures_of(line: Line, held: Line | None) -> dict[str, float | None]:
    """Return the figures of a line; under two days those that need days are None."""
    return judged(line.figures(held), line.elapsed_days)


def judged(figures: Known, elapsed_days: float) -> dict[str, float | None]:
    """Return figures with those that need days as None while there are too few."""
    few = elapsed_days < DAYS_NEEDED
    return {name: None if few and _needs_days(name) else value for name, value in figures.items()}


def _needs_days(name: str) -> bool:
    return name in _KINDS and name not in PLAIN and name not in OF_TRADES


def figure_cell(name: str, known: Known, line: Line, quote: str = "") -> Cell:
    """Return the cell of a figure with N or n, a flag under 30 of them, and the convention in its tooltip."""
    value, told = known.get(name), explained(name)
    if name == "max_drawdown_money" and value:
        _, peak, trough = largest_in_money(line.rows[:, 0].astype(np.int64), line.rows[:, 1])
        told += f". From {stamp(peak)} to {stamp(trough)} UTC"
    if value is None:
        return {**na(_why(name, known, line)), "title": told}
    cell, sub = _valued(_KINDS[name], value, cents(quote)), counted(name, known)
    return {**cell, **noted(name, told, sub, line.elapsed_days)}


def noted(name: str, told: str, sub: str, elapsed_days: float) -> dict[str, str]:
    """Return the tooltip of a figure, which explains a flag, and what stands beside it."""
    if name == "days" and np.isfinite(elapsed_days):
        sub = f"over {elapsed_days:.1f} days{f', {sub}' if sub else ''}"
        told += ". A day that the range has only in part counts"
    told += f". {FLAG} under {FEW} {'trades' if name in OF_TRADES else 'days'}: it says little" if FLAG in sub else ""
    return {"title": told} | ({"sub": sub} if sub else {})


def counted(name: str, known: Known) -> str:
    """Return how many days or trades a figure is of, flagged when they are few; a count has its flag only."""
    sign, of = ("n", "trades") if name in OF_TRADES else ("N", "days")
    many = int(known[of] or 0)
    if name == of:
        return f"{FLAG} under {FEW}" if many < FEW else ""
    return f"{sign} {count(many)}" + (f" {FLAG}" if many < FEW else "")


def _why(name: str, known: Known, line: Line) -> str:
    """Return why a figure is not defined."""
    if name in ("buy_and_hold", "alpha", "beta") and known["buy_and_hold"] is None:
        return "itself" if line.key == "hold" else "none chosen"
    return missing(name, known, line.elapsed_days)


def missing(name: str, known: Known, elapsed_days: float) -> str:
    """Return why a figure is not defined, as far as days and trades tell."""
    if name in OF_TRADES:
        return MISSING.get(name, "no trade") if known.get("trades") else "no trade"
    if _needs_days(name) and elapsed_days < DAYS_NEEDED:
        return f"needs {DAYS_NEEDED} days, has {elapsed_days:.1f}"
    return MISSING.get(name, "undefined")


def _valued(kind: Kind, value: float, money: int) -> dict[str, Any]:
    """Return the cell of a number of a kind."""
    if kind in ("pct", "gain"):
        text = pct(value) if kind == "pct" else signed(value, money)
        return {"t": text, "n": value, "tone": tone(value)}
    texts = {"share": share(value, 2), "age": age(value), "count": count(int(value)), "chance": num(value, 4)}
    texts["money"] = num(value, money)
    return {"t": texts.get(kind, num(value)), "n": value}


def key_rows(line: Line, known: Known, quote: str) -> list[dict[str, Any]]:
    """Return the key figures of a line above the curve."""
    pnl = float(line.rows[-1, 1] - line.rows[0, 1])
    rows: list[tuple[str, str, Cell]] = [
        ("equity", f"Equity, {quote}", num(float(line.rows[-1, 1]), cents(quote))),
        ("pnl", f"PnL, {quote}", delta(pnl, cents(quote))),
    ]
    rows += [(name, TITLES[name], figure_cell(name, known, line, quote)) for name in KEY_FIGURES]
    return [{"id": name, "label": label, "v": cell, "pri": 1, "title": explained(name)} for name, label, cell in rows]


def figures_table(sample: Sample, known: Mapping[str, Known]) -> TableRows:
    """Return columns and rows of all figures, one column per line; a pair gets the difference A - B."""
    cols = [{"key": "name", "label": "Figure", "sort": False}]
    cols += [{"key": line.key, "label": line.label, "align": "r", "sort": False} for line in sample.lines]
    pair = sample.lines if sample.is_pair else ()
    if pair:
        cols.append({"key": "difference", "label": "A − B", "align": "r", "sort": False})
    rows: list[dict[str, Any]] = []
    for group, figures in FIGURES.items():
        rows.append({"id": group, "span": group, "cls": "is-group"})
        for name, title, kind in figures:
            cells = {line.key: figure_cell(name, known[line.key], line, sample.quote) for line in sample.lines}
            if pair:
                a, b = (known[line.key].get(name) for line in pair)
                cells["difference"] = _difference(kind, a, b, cents(sample.quote))
            rows.append({"id": name, "name": {"t": title, "title": explained(name)}, **cells})
    return cols, rows


def _difference(kind: Kind, a: float | None, b: float | None, money: int) -> Cell:
    """Return the cell of A - B."""
    if a is None or b is None:
        return na()
    apart = a - b
    texts = {"pct": pct(apart), "share": pct(apart), "count": signed(apart, 0), "chance": signed(apart, 4)}
    texts |= dict.fromkeys(("money", "gain"), signed(apart, money))
    texts["age"] = ("−" if apart < 0 else "+") + age(abs(apart))
    return {"t": texts.get(kind, signed(apart)), "n": apart}


def figures_frame(sample: Sample, known: Mapping[str, Known]) -> pd.DataFrame:
    """Return all figures, one column per line, with the convention of each."""
    rows = [
        {
            "figure": name,
            **{line.label: known[line.key].get(name) for line in sample.lines},
            "convention": explained(name),
        }
        for group in FIGURES.values()
        for name, _, _ in group
    ]
    return pd.DataFrame(rows)
