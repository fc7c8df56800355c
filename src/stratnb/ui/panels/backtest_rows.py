"""The rows of P10: figures, trades and counts of a backtest, and stored runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stratnb.research.figures import CONVENTIONS
from stratnb.ui.format import Cell, age, count, delta, na, num, pct, quantity, share, side, time_cell

__all__ = [
    "TRADES_SHOWN",
    "compare_columns",
    "compare_rows",
    "count_rows",
    "figure",
    "figure_rows",
    "title_of",
    "trade_columns",
    "trade_rows",
]

TRADES_SHOWN = 500
_FRACTIONS = ("return", "drawdown", "rate", "fraction", "exposure", "volatility", "cagr", "hold")
_MONEY = ("pnl", "profit", "loss", "expectancy", "best", "worst")
_WORDS = {"cagr": "Yearly return", "n": "Trades", "pnl": "PnL", "sqn": "SQN"}


def title_of(name: str) -> str:
    """Return the screen name of a figure.

    >>> title_of("max_drawdown"), title_of("cagr")
    ('Max drawdown', 'Yearly return')
    """
    return _WORDS.get(
        name, name.removesuffix("_s").replace("_", " ").capitalize().replace("pnl", "PnL").replace("Pnl", "PnL")
    )


def figure(name: str, value: Any, missing: str = "undefined") -> Cell:
    """Return the cell of a figure by what its name says it is; undefined is n/a."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return na(missing)
    if isinstance(value, (str, bool)):
        return str(value)
    words = set(name.split("_"))
    if name.endswith("_s"):
        return age(float(value))
    if words & {"drawdown", "exposure", "rate", "volatility"}:
        return share(float(value), 2)
    if words & set(_FRACTIONS) and not name.endswith("_s"):
        return pct(float(value))
    if words & set(_MONEY) and "factor" not in words:
        return delta(float(value))
    return count(int(value)) if float(value).is_integer() and abs(value) < 1e12 else num(float(value))


def figure_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the key figures in their order, each with its convention in the tooltip."""
    missing = "no trade" if figures.get("trades") == 0 else "too little data"
    return [
        {"id": name, "label": title_of(name), "pri": 1, "v": _explained(name, figure(name, value, missing))}
        for name, value in figures.items()
    ]


def _explained(name: str, cell: Cell) -> Cell:
    known = CONVENTIONS.get(name, "")
    return {**({"t": cell} if isinstance(cell, str) else cell), "title": known} if known else cell


def trade_columns() -> list[dict[str, Any]]:
    """Return the columns of the trades."""
    return [
        {"key": "no", "label": "#", "align": "r"},
        {"key": "side", "label": "Side"},
        {"key": "opened", "label": "Entry, UTC"},
        {"key": "entry", "label": "Entry price", "align": "r"},
        {"key": "closed", "label": "Exit, UTC"},
        {"key": "exit", "label": "Exit price", "align": "r"},
        {"key": "qty", "label": "Quantity", "align": "r", "cls": "is-p2"},
        {"key": "pnl", "label": "PnL", "align": "r"},
        {"key": "fees", "label": "Fees", "align": "r", "cls": "is-p2"},
        {"key": "ret", "label": "Return", "align": "r", "cls": "is-p2"},
        {"key": "reason", "label": "Exit"},
    ]


def trade_rows(trades: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the newest trades first, at most `TRADES_SHOWN`."""
    newest, last = trades.iloc[::-1].head(TRADES_SHOWN), len(trades)
    rows = newest.itertuples(index=False)
    decimals = _decimals(newest)
    return [_trade(last - i, dict(zip(newest.columns, values, strict=True)), decimals) for i, values in enumerate(rows)]


def _decimals(trades: pd.DataFrame) -> int:
    """Return the decimals that show six digits of the trades' prices."""
    highest = float(trades["entry_price"].max()) if len(trades) else 1.0
    return min(max(5 - math.floor(math.log10(highest)), 0), 8) if highest > 0 else 2


def _trade(i: int, t: Mapping[str, Any], decimals: int) -> dict[str, Any]:
    def _of(*names: str) -> Any:
        return next((t[name] for name in names if name in t), None)

    return {
        "id": str(i),
        "no": {"t": str(i), "n": i},
        "side": side(float(_of("direction") or 0)),
        "opened": time_cell(_ms(_of("entry_ms", "entry")), date=True),
        "entry": _price(_of("entry_price"), decimals),
        "closed": time_cell(_ms(_of("exit_ms", "exit")), date=True),
        "exit": _price(_of("exit_price"), decimals),
        "qty": quantity(_of("quantity")),
        "pnl": delta(_of("pnl")),
        "fees": num(_of("fees", "fee")),
        "ret": delta_percent(_of("return_fraction")),
        "reason": str(_of("reason") or "–").replace("_", " "),
    }


def delta_percent(fraction: float | None) -> Cell:
    """Return the cell of a return."""
    if fraction is None:
        return na()
    return {**delta(fraction), "t": pct(fraction)}


def _price(value: Any, decimals: int) -> Cell:
    return na() if value is None else {"t": num(float(value), decimals), "n": float(value)}


def _ms(value: Any) -> float | None:
    if value is None or value is pd.NaT:
        return None
    return value.timestamp() * 1000 if isinstance(value, pd.Timestamp) else float(value)


def count_rows(reasons: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return how often each reason ended a decision, the most frequent first, with its share as a bar."""
    total = sum(reasons.values()) or 1
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return [
        {
            "id": name,
            "name": name.replace("_", " "),
            "n": {"t": count(n), "n": n},
            "bar": {"t": share(n / total), "bar": n / total, "btone": "mute", "n": n},
        }
        for name, n in ordered
    ]


def compare_columns(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one column per stored run."""
    runs = [{"key": f"r{i}", "label": name, "align": "r", "sort": False} for i, name in enumerate(names)]
    return [{"key": "name", "label": "Figure", "cls": "is-wide", "sort": False}, *runs]


def compare_rows(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per figure that any of the runs has."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    return [
        {"id": name, "name": title_of(name), **{f"r{i}": figure(name, run.get(name)) for i, run in enumerate(runs)}}
        for name in names
    ]
