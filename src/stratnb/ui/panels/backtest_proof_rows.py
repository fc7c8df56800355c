"""The rows of the checks in P10: what looked ahead and where, and the causes of a difference to a recorded run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from stratnb.parity_explain import Difference, ParityReport
from stratnb.research.lookahead import HOW, Leak, Lookahead
from stratnb.ui.format import Cell, cents, count, delta, num, share, side, time_cell

__all__ = [
    "CAUSE_COLUMNS",
    "DIFFERENCE_COLUMNS",
    "LEAK_COLUMNS",
    "cause_rows",
    "difference_rows",
    "leak_rows",
    "lookahead_words",
    "report_words",
]

SHOWN_MOST: Final = 1_000
LEAK_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "candle", "label": "Candle", "align": "r"},
    {"key": "time", "label": "Opens, UTC"},
    {"key": "what", "label": "What leaked", "cls": "is-wide"},
    {"key": "whole", "label": "On all candles", "align": "r"},
    {"key": "replayed", "label": "Replayed", "align": "r"},
    {"key": "apart", "label": "Apart", "align": "r", "cls": "is-p2"},
    {"key": "how", "label": "Replayed as", "cls": "is-p2"},
]
CAUSE_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "name", "label": "Cause", "cls": "is-wide"},
    {"key": "amount", "label": "PnL", "align": "r", "title": "What the cause added to the recorded run"},
    {"key": "share", "label": "Share", "align": "r", "cls": "is-barcol", "title": "Of all amounts, without their sign"},
    {"key": "trades", "label": "Trades", "align": "r"},
]
DIFFERENCE_COLUMNS: Final[list[dict[str, Any]]] = [
    {"key": "entry", "label": "Entry, UTC"},
    {"key": "side", "label": "Side"},
    {"key": "what", "label": "Trade"},
    {"key": "cause", "label": "Cause"},
    {"key": "model", "label": "In this run", "align": "r", "cls": "is-p2"},
    {"key": "recorded", "label": "Recorded", "align": "r", "cls": "is-p2"},
    {"key": "amount", "label": "PnL", "align": "r"},
]


def lookahead_words(found: Lookahead) -> str:
    """Return the verdict on look-ahead as a sentence."""
    size = f"{count(found.cuts)} cuts of {count(found.candles)} candles, {count(found.replays)} replays compared"
    more = "".join(f"; {note}" for note in found.notes)
    if found.ok:
        return f"nothing it showed at a candle depends on later ones; {size}{more}"
    beside = f"it reads {', '.join(found.outside)} beside its inputs; " if found.outside else ""
    first = f"first at candle {count(found.first.candle)}; " if found.first else ""
    return f"{first}{beside}{size}{more}"


def leak_rows(leaks: Sequence[Leak]) -> list[dict[str, Any]]:
    """Return one row per column, decision, fill or event that leaked, the earliest candle first."""
    return [_leak(i, leak) for i, leak in enumerate(leaks[:SHOWN_MOST])]


def _leak(i: int, leak: Leak) -> dict[str, Any]:
    return {
        "id": str(i),
        "candle": {"t": count(leak.candle), "n": leak.candle},
        "time": time_cell(leak.time_ms, date=True),
        "what": leak.what,
        "whole": _value(leak.whole),
        "replayed": _value(leak.replayed),
        "apart": "–" if math.isinf(leak.amount) else _value(leak.amount),
        "how": {"t": HOW[leak.how], "sub": f"of the first {count(leak.cut)} candles"},
    }


def _value(value: float) -> Cell:
    """Return a number as it is in a column, as many digits as tell two apart."""
    if math.isnan(value):
        return {"t": "nothing", "tone": "mute", "n": -math.inf}
    return {"t": f"{value:.9g}".replace("-", "−"), "n": value}


def report_words(found: ParityReport) -> str:
    """Return the verdict on a recorded run as a sentence."""
    of = f"{count(found.candles)} candles of {found.symbol} compared"
    if found.identical:
        return f"every fill is that of this run; {of}"
    total = f"{num(abs(found.total), cents(found.quote))} {found.quote} {'more' if found.total >= 0 else 'less'}"
    known = found.explained
    part = "" if known is None else f"; {share(known)} of it has a cause"
    return f"the recorded run made {total} than this one{part}; {of}"


def cause_rows(found: ParityReport) -> list[dict[str, Any]]:
    """Return the amount of each cause, the largest first, with its share of all as a bar."""
    whole = sum(map(abs, found.causes.values())) or 1.0
    decimals = cents(found.quote)
    return [
        {
            "id": name,
            "name": name[:1].upper() + name[1:],
            "amount": delta(amount, decimals),
            "share": {"t": share(abs(amount) / whole), "bar": abs(amount) / whole, "n": abs(amount)}
            | {"btone": "warn" if name == "unexplained" else "mute"},
            "trades": count(sum(row.cause == name for row in found.differences)),
        }
        for name, amount in sorted(found.causes.items(), key=lambda pair: -abs(pair[1]))
    ]


def difference_rows(found: ParityReport) -> list[dict[str, Any]]:
    """Return the trades that differ, the largest amounts first."""
    ordered = sorted(found.differences, key=lambda row: -abs(row.amount))[:SHOWN_MOST]
    return [_difference(i, row, cents(found.quote)) for i, row in enumerate(ordered)]


def _difference(i: int, row: Difference, decimals: int) -> dict[str, Any]:
    return {
        "id": str(i),
        "entry": time_cell(row.entry_ms, date=True),
        "side": side({"long": 1.0, "short": -1.0}.get(row.side, 0.0)),
        "what": row.what.capitalize(),
        "cause": row.cause.capitalize(),
        "model": {"t": num(row.model, decimals), "n": row.model},
        "recorded": {"t": num(row.recorded, decimals), "n": row.recorded},
        "amount": delta(row.amount, decimals),
    }
