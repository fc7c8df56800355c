"""How numbers, times and words look on screen, and the one function that makes a text safe for HTML.

Values stay fractions, milliseconds and quote units everywhere else; percent and arrows exist only here and in
`services.messages`. A cell is a text or a mapping with `t` (text), `sub`, `tone`, `dot`, `bar`, `div`, `chips`, `acts`,
`title` and `n` (sort key), which the browser draws with `textContent`.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

__all__ = [
    "Cell",
    "age",
    "cents",
    "changed",
    "clock",
    "count",
    "delta",
    "dot",
    "escape",
    "is_known",
    "megabytes",
    "millis",
    "na",
    "num",
    "pct",
    "quantity",
    "share",
    "side",
    "signed",
    "sized",
    "stamp",
    "tag",
    "time_cell",
    "to_number",
    "tone",
    "words",
]

Cell: TypeAlias = "str | dict[str, Any]"

MINUS = "\N{MINUS SIGN}"
_CENTS = dict.fromkeys(("BTC", "XBT", "ETH", "BNB"), 6)
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_SHORTEST_S = 10.0  # below this an age keeps one decimal


def escape(text: object) -> str:
    """Return the text with every character that HTML would interpret replaced.

    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(str(text), quote=True)


def is_known(value: float | None) -> bool:
    """Return whether the value is a finite number."""
    return value is not None and math.isfinite(value)


def num(value: float | None, decimals: int = 2) -> str:
    """Return a number with thousands commas and a real minus; missing is "n/a", there is no negative zero.

    >>> num(-1234.5), num(-0.001), num(None)
    ('−1,234.50', '0.00', 'n/a')
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return f"{round(float(value), decimals) + 0.0:,.{decimals}f}".replace("-", MINUS)


def cents(currency: str) -> int:
    """Return the decimals of money in a currency, or in the quote currency of a symbol.

    >>> cents("ETH/BTC"), cents("USDT")
    (6, 2)
    """
    return _CENTS.get(currency.rpartition("/")[2].upper(), 2)


def count(value: int | None) -> str:
    """Return a whole number with thousands commas."""
    return num(value, 0)


def signed(value: float | None, decimals: int = 2) -> str:
    """Return a number with its sign; zero has none.

    >>> signed(0.466, 3), signed(0.0001), signed(-2)
    ('+0.466', '0.00', '−2.00')
    """
    text = num(value, decimals)
    return f"+{text}" if _direction(value, decimals) > 0 else text


def pct(fraction: float | None, decimals: int = 2) -> str:
    """Return a signed percentage of a fraction.

    >>> pct(0.0072)
    '+0.72%'
    """
    return "n/a" if fraction is None or not is_known(fraction) else signed(fraction * 100, decimals) + "%"


def share(fraction: float | None, decimals: int = 1) -> str:
    """Return a percentage without a plus, for shares and exposures.

    >>> share(0.409)
    '40.9%'
    """
    return "n/a" if fraction is None or not is_known(fraction) else num(fraction * 100, decimals) + "%"


def tone(value: float | None) -> str:
    """Return the direction tone of a value: "up", "down" or nothing."""
    return {1: "up", -1: "down", 0: ""}[_direction(value, 12)]


def delta(value: float | None, decimals: int = 2, *, sub: str = "") -> dict[str, Any]:
    """Return the cell of a gain or loss: arrow, sign and tone; rounded zero has neither.

    >>> delta(506.361)["t"], delta(-39.06)["t"], delta(0.0)["t"]
    ('▲ +506.36', '▼ −39.06', '0.00')
    """
    if not is_known(value):
        return na(sub)
    way = _direction(value, decimals)
    arrow = {1: "▲ ", -1: "▼ ", 0: ""}[way]
    cell: dict[str, Any] = {"t": arrow + signed(value, decimals), "tone": {1: "up", -1: "down", 0: ""}[way], "n": value}
    return {**cell, "sub": sub} if sub else cell


def na(reason: str = "") -> dict[str, Any]:
    """Return the cell of a missing number, with the reason beside it."""
    return {"t": "n/a", "tone": "mute", "n": -1e308, **({"sub": reason} if reason else {})}


def sized(value: float | None, text: str, *, sub: str = "", reason: str = "") -> dict[str, Any]:
    """Return a cell that sorts by its value, or n/a with the reason."""
    if not is_known(value):
        return na(reason)
    return {"t": text, "n": value, **({"sub": sub} if sub else {})}


def dot(kind: str, word: str, *, sub: str = "") -> dict[str, Any]:
    """Return a state cell: a dot that is always beside its word; kinds are ok, mute, warn, err, info, accent."""
    return {"dot": kind, "t": word, **({"sub": sub} if sub else {})}


def tag(text: str, kind: str = "mute", *, title: str = "") -> dict[str, Any]:
    """Return one chip of a cell's `chips`."""
    return {"t": text, "tone": kind, **({"title": title} if title else {})}


def side(direction: float) -> dict[str, Any]:
    """Return the cell of a direction: Long, Short or None with arrow and tone.

    >>> side(-1)["t"]
    '▼ Short'
    """
    if direction > 0:
        return {"t": "▲ Long", "tone": "up", "n": 1}
    return {"t": "▼ Short", "tone": "down", "n": -1} if direction < 0 else {"t": "– None", "tone": "mute", "n": 0}


def quantity(value: float | None) -> str:
    """Return an unsigned quantity without trailing zeros, to eight digits after the point and ten of a large one.

    >>> quantity(0.40600000), quantity(1250.0), quantity(442002661.60434997)
    ('0.406', '1,250', '442,002,661.6')
    """
    if value is None or not is_known(value):
        return "n/a"
    whole = len(str(int(abs(value))))
    text = f"{abs(value):,.{min(max(10 - whole, 0), 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def age(seconds: float | None) -> str:
    """Return a duration in its two largest units.

    >>> age(0.42), age(48), age(2280), age(60300), age(97200)
    ('0.4 s', '48 s', '38 m', '16 h 45 m', '1 d 3 h')
    """
    if seconds is None or not is_known(seconds):
        return "n/a"
    if seconds < _SHORTEST_S:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if not minutes:
        return f"{int(seconds)} s"
    if not hours:
        return f"{minutes} m"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60:02d} m"


def millis(value: float | None) -> str:
    """Return milliseconds, with one decimal below ten."""
    return "n/a" if value is None or not is_known(value) else f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def megabytes(size: float | None) -> str:
    """Return a size in megabytes of 1,000,000 bytes, or in kilobytes below a tenth of one.

    >>> megabytes(18_800_000), megabytes(4_200)
    ('18.8 MB', '4.2 kB')
    """
    if size is None or not is_known(size):
        return "n/a"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def clock(time_ms: float | None) -> str:
    """Return the UTC time of day, HH:MM:SS."""
    return _written(time_ms, "%H:%M:%S")


def stamp(time_ms: float | None, *, seconds: bool = False) -> str:
    """Return the UTC date and minute (or second).

    >>> stamp(1514764800000)
    '2018-01-01 00:00'
    """
    return _written(time_ms, "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def time_cell(time_ms: float | None, *, date: bool = False) -> dict[str, Any]:
    """Return the cell of a UTC time with date and milliseconds in the tooltip."""
    if time_ms is None or not is_known(time_ms):
        return na()
    full = f"{stamp(time_ms, seconds=True)}.{int(time_ms) % 1000:03d} UTC"
    return {"t": stamp(time_ms) if date else clock(time_ms), "title": full, "n": time_ms}


def words(parts: Iterable[str]) -> str:
    """Return the non-empty parts joined by a middle dot."""
    return " · ".join(part for part in parts if part)


def to_number(text: str) -> float:
    """Return the number that a person wrote, with or without commas between thousands; else raise ValueError.

    >>> to_number("1,234.5")
    1234.5
    """
    if "_" in text or ("," in text and not _GROUPED.fullmatch(text.strip())):
        raise ValueError(f"{text!r} is not a number")
    return float(text.replace(",", ""))


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of `new` that differ from `old`."""
    return {key: value for key, value in new.items() if key not in old or old[key] != value}


def _direction(value: float | None, decimals: int) -> int:
    """Return the sign of the value after rounding."""
    if value is None or math.isnan(value):
        return 0
    rounded = value if math.isinf(value) else round(float(value), decimals)
    return (rounded > 0) - (rounded < 0)


def _written(time_ms: float | None, pattern: str) -> str:
    if time_ms is None or not is_known(time_ms):
        return "n/a"
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return "n/a"  # before the year 1 or after 9999
