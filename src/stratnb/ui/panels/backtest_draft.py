"""What the fields of a run say, as texts, and the numbers and times that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from stratnb.errors import ConfigError
from stratnb.market_data.archive import Series
from stratnb.ui.format import to_number

__all__ = ["DAY_MS", "Draft", "parse_number", "parse_time"]

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Draft:
    """What the fields say, as texts; `source` is Feed, File, Archive or Synthetic, `loaded` a loaded strategy's id.

    `many` candles of a `seed` are made for the synthetic source; `detail` is a file of finer candles inside the range.
    """

    strategy: str
    loaded: str
    title: str
    source: str
    path: str
    symbol: str
    series: Series | None
    timeframe: str
    repair: bool
    start: str
    end: str
    cash: str
    taker: str
    maker: str
    slippage: str
    many: str = ""
    seed: str = ""
    detail: str = ""


def parse_time(text: str, what: str, *, last: bool = False) -> int | None:
    """Return UTC milliseconds of an ISO date or time, None for an empty text; `last` takes a date's whole day in.

    >>> parse_time("2018-01-01", "From"), parse_time("2018-01-01", "To", last=True)
    (1514764800000, 1514851199999)
    """
    text = text.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        start = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            "time", f"{what} {text!r} is not a time", value=text, hint="write 2026-01-31 or 2026-01-31 14:05"
        ) from error
    return start + DAY_MS - 1 if last and len(text) == len("2026-01-31") else start


def parse_number(text: str, what: str, low: float, high: float) -> float | None:
    """Return a number within its bounds, None for an empty text."""
    if not text.strip():
        return None
    try:
        value = to_number(text)
    except ValueError as error:
        meant = text.replace(",", ".")
        hint = f"did you mean {meant}?" if _is_number(meant) else f"give {low:,.15g} to {high:,.15g}"
        raise ConfigError("type", f"{what} {text!r} is not a number", value=text, hint=hint) from error
    if not low <= value <= high:
        fit = f"did you mean {value / 100:g}?" if low <= value / 100 <= high else f"give {low:,.15g} to {high:,.15g}"
        raise ConfigError(
            "range", f"{what} {value:,.15g} is outside {low:,.15g} to {high:,.15g}", value=value, hint=fit
        )
    return value


def _is_number(text: str) -> bool:
    try:
        to_number(text)
    except ValueError:
        return False
    return True
