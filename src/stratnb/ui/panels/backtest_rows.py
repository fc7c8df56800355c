"""The rows of P10: figures, trades and counts of a backtest, and stored runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratnb.market_data.candles import Gaps
from stratnb.model import timeframe_ms
from stratnb.research.conventions import explained
from stratnb.research.daily import DAY_MS
from stratnb.ui.format import Cell, age, cents, count, delta, na, num, pct, quantity, share, side, signed, time_cell
from stratnb.ui.panels.performance_rows import TITLES, counted, judged, missing, noted

__all__ = [
    "COUNT_COLUMNS",
    "GAP_COLUMNS",
    "TRADES_SHOWN",
    "compare_columns",
    "compare_rows",
    "count_rows",
    "elapsed_days",
    "figure",
    "figure_rows",
    "gap_rows",
    "price_decimals",
    "run_columns",
    "run_rows",
    "title_of",
    "trade_columns",
    "trade_rows",
]

TRADES_SHOWN = 1_000
GAPS_SHOWN = 200
_FRACTIONS = ("return", "drawdown", "rate", "fraction", "exposure", "volatility", "cagr", "hold")
_MONEY = ("pnl", "profit", "loss", "expectancy", "best", "worst")
COUNT_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "name", "label": "Reason", "cls": "is-wide"},
    {"key": "n", "label": "Decisions", "align": "r"},
    {"key": "bar", "label": "Share", "align": "r", "cls": "is-barcol"},
]
GAP_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "after", "label": "After, UTC"},
    {"key": "missing", "label": "Missing candles", "align": "r"},
    {"key": "time", "label": "Time", "align": "r"},
]


def title_of(name: str) -> str:
    """Return the screen name of a figure.

    >>> title_of("max_drawdown"), title_of("cagr")
    ('Max drawdown', 'CAGR')
    """
    return TITLES.get(name) or name.removesuffix("_s").replace("_", " ").capitalize()


def figure(name: str, value: Any, reason: str = "undefined", *, quote: str = "") -> Cell:
    """Return the cell of a figure by what its name says it is, money in a quote currency; undefined is n/a."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return na(reason)
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
        return delta(float(value), cents(quote))
    if "quantity" in words:
        return {"t": ("−" if value < 0 else "") + quantity(float(value)), "n": float(value)}
    if words & {"fees", "equity"}:
        return num(float(value), cents(quote))
    return count(int(value)) if float(value).is_integer() and abs(value) < 1e12 else num(float(value))


def elapsed_days(result: Any) -> float:
    """Return the days from the open of a run's first candle to the close of its last."""
    times = result.close_ms
    return float(times[-1] - times[0] + timeframe_ms(result.timeframe)) / DAY_MS if len(times) else 0.0


def figure_rows(figures: Mapping[str, Any], quote: str = "", *, days: float = math.inf) -> list[dict[str, Any]]:
    """Return the key figures of a run of so many days in their order, named and judged as in the performance panel."""
    known = judged(figures, days)
    return [
        {"id": name, "label": title_of(name), "pri": 1, "v": _explained(name, known, quote, days)} for name in known
    ]


def _explained(name: str, known: Mapping[str, Any], quote: str, days: float = math.inf) -> Cell:
    """Return the cell of a figure with N or n, its flag and its convention; a figure of no convention is plain."""
    cell = figure(name, known[name], missing(name, known, days), quote=quote)
    if name not in TITLES:
        return cell
    made = {"t": cell} if isinstance(cell, str) else cell
    sub = counted(name, known) if known[name] is not None and {"days", "trades"} <= set(known) else ""
    return {**made, **noted(name, explained(name), sub, days)}


def trade_columns(funding: Iterable[float] = (), *, several: bool = False) -> list[dict[str, Any]]:
    """Return the columns of trades; that of the funding only when any trade has some, with `several` whose they are."""
    paid = {"key": "funding", "label": "Funding", "align": "r", "cls": "is-p2", "title": "Paid; negative when received"}
    return [
        {"key": "no", "label": "#", "align": "r"},
        *([{"key": "strategy", "label": "Strategy"}, {"key": "symbol", "label": "Market"}] if several else []),
        {"key": "side", "label": "Side"},
        {"key": "opened", "label": "Entry, UTC"},
        {"key": "entry", "label": "Entry price", "align": "r"},
        {"key": "closed", "label": "Exit, UTC"},
        {"key": "exit", "label": "Exit price", "align": "r"},
        {"key": "qty", "label": "Quantity", "align": "r", "cls": "is-p2"},
        {"key": "pnl", "label": "PnL", "align": "r"},
        {"key": "fees", "label": "Fees", "align": "r", "cls": "is-p2"},
        *([paid] if any(funding) else []),
        {"key": "ret", "label": "Return", "align": "r", "cls": "is-p2"},
        {
            "key": "r",
            "label": "R",
            "align": "r",
            "cls": "is-p2",
            "title": "PnL before fees and funding by the risk to the planned stop",
        },
        {"key": "held", "label": "Held", "align": "r", "cls": "is-p2"},
        {"key": "reason", "label": "Exit by"},
    ]


def trade_rows(trades: pd.DataFrame, stops: npt.ArrayLike | None = None, quote: str = "") -> list[dict[str, Any]]:
    """Return the newest trades first, at most `TRADES_SHOWN`; `stops` are the planned ones, NaN where unknown.

    Trades of several have the columns `strategy` and `symbol`; prices have the decimals of their market.
    """
    newest, last = trades.iloc[::-1].head(TRADES_SHOWN), len(trades)
    rows = newest.itertuples(index=False)
    markets = newest["symbol"] if "symbol" in newest else np.full(len(newest), "")
    decimals = newest["entry_price"].groupby(np.asarray(markets)).max().map(price_decimals).to_dict()
    money = cents(quote)
    known = np.full(last, math.nan) if stops is None else np.asarray(stops, np.float64)
    found = (dict(zip(newest.columns, values, strict=True)) for values in rows)
    return [
        _trade(last - i, trade | {"stop": float(known[last - i - 1])}, (int(decimals[trade.get("symbol", "")]), money))
        for i, trade in enumerate(found)
    ]


def price_decimals(price: float) -> int:
    """Return the decimals that show six digits of a price."""
    return min(max(5 - math.floor(math.log10(price)), 0), 8) if price > 0 else 2


def _trade(i: int, t: Mapping[str, Any], digits: tuple[int, int]) -> dict[str, Any]:
    """Return the row of a trade; `digits` are the decimals of prices and of money."""
    decimals, money = digits
    start, end = _ms(t["entry"]), _ms(t["exit"])
    held = None if start is None or end is None else (end - start) / 1000.0
    return {
        "id": str(i),
        "no": {"t": str(i), "n": i},
        "side": side(float(t["direction"])),
        "opened": time_cell(start, date=True),
        "entry": _price(t["entry_price"], decimals),
        "closed": time_cell(end, date=True),
        "exit": _price(t["exit_price"], decimals),
        "qty": {"t": quantity(t["quantity"]), "n": t["quantity"]},
        "pnl": delta(t["pnl"], money),
        "fees": {"t": num(t["fees"], money), "n": t["fees"]},
        "funding": {"t": num(t["funding"], money), "n": t["funding"]},
        "ret": delta_percent(t["return_fraction"]),
        "r": _risks(t),
        "held": {"t": age(held), "n": held or 0.0},
        "reason": str(t["reason"] or "–").replace("_", " "),
        **{name: str(t[name]) for name in ("strategy", "symbol") if name in t},
    }


def _risks(t: Mapping[str, Any]) -> Cell:
    """Return the result before fees and funding in multiples of the risk to the planned stop."""
    risk = abs(t["entry_price"] - t["stop"]) * t["quantity"]
    if not risk > 0.0:
        return na()
    r = (t["pnl"] + t["fees"] + t["funding"]) / risk
    return {**delta(r), "t": signed(r, 2)}


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


def count_rows(reasons: Mapping[str, int], decisions: int | None = None) -> list[dict[str, Any]]:
    """Return how often each reason ended a decision, the most frequent first, with its share of all as a bar."""
    total = (sum(reasons.values()) if decisions is None else decisions) or 1
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


def gap_rows(gaps: Gaps, step_ms: int) -> list[dict[str, Any]]:
    """Return the longest stretches without candles, at most `GAPS_SHOWN`, the longest first."""
    pairs = sorted(
        zip(gaps.missing.tolist(), gaps.after_ms.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1])
    )
    return [
        {
            "id": str(after),
            "after": time_cell(after, date=True),
            "missing": {"t": count(missing), "n": missing},
            "time": {"t": age(missing * step_ms / 1000), "n": missing},
        }
        for missing, after in pairs[:GAPS_SHOWN]
    ]


def run_columns() -> list[dict[str, Any]]:
    """Return the columns of the stored runs."""
    return [
        {"key": "no", "label": "#", "align": "r"},
        {"key": "name", "label": "Strategy and candles", "cls": "is-wide"},
        {"key": "period", "label": "First candle, UTC", "cls": "is-p2"},
        {"key": "candles", "label": "Candles", "align": "r", "cls": "is-p2"},
        {"key": "ret", "label": "Return", "align": "r"},
        {"key": "dd", "label": "Max drawdown", "align": "r"},
        {"key": "trades", "label": "Trades", "align": "r"},
        {"key": "rate", "label": "Candles/s", "align": "r", "cls": "is-p2"},
        {"key": "acts", "label": "Actions", "cls": "is-acts", "sort": False, "hide": True},
    ]


def run_rows(runs: Sequence[Any], compared: Sequence[int]) -> list[dict[str, Any]]:
    """Return one row per run with its buttons."""
    return [_run(run, run.number in compared) for run in runs]


def _run(run: Any, compared: bool) -> dict[str, Any]:
    f, n = run.figures, len(run.result.close_ms)
    first = int(run.result.close_ms[0]) if n else None
    word, kind = ("Compared", "primary") if compared else ("Compare", "")
    acts = [
        {"a": "open", "t": "Show", "label": f"Show run {run.number}"},
        {"a": "compare", "t": word, "kind": kind, "label": f"Compare run {run.number}"},
        {"a": "remove", "t": "Remove", "kind": "quiet", "label": f"Remove run {run.number}"},
    ]
    return {
        "id": str(run.number),
        "no": {"t": str(run.number), "n": run.number},
        "name": {"t": run.plan.title, "sub": "" if run.result.complete else "canceled"},
        "period": time_cell(first, date=True),
        "candles": {"t": count(n), "n": n},
        "ret": delta_percent(f.get("total_return")),
        "dd": figure("max_drawdown", f.get("max_drawdown")),
        "trades": figure("trades", f.get("trades")),
        "rate": "–" if run.rate is None else {"t": count(int(run.rate)), "n": run.rate},
        "acts": {"acts": acts},
    }


def compare_columns(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one column per stored run."""
    runs = [{"key": f"r{i}", "label": name, "align": "r", "sort": False} for i, name in enumerate(names)]
    return [{"key": "name", "label": "Figure", "cls": "is-wide", "sort": False}, *runs]


def compare_rows(
    runs: Sequence[Mapping[str, Any]], quotes: Sequence[str] = (), days: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Return one row per figure that any of the runs has, money in the quote currency of each, days its length."""
    names = dict.fromkeys(name for run in runs for name in run)
    length = days or [math.inf] * len(runs)
    known = [judged({**names, **run}, most) for run, most in zip(runs, length, strict=True)]
    columns = list(zip(known, quotes or [""] * len(runs), length, strict=True))
    return [
        {"id": name, "name": title_of(name)} | {f"r{i}": _explained(name, *column) for i, column in enumerate(columns)}
        for name in names
    ]
