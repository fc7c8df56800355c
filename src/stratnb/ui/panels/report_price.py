"""The price of a report with its trades: candles in several lengths, so that a long run can be zoomed into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stratnb.market_data.candles import Candles
from stratnb.model import TIMEFRAMES, Fill, Trade
from stratnb.ui.chart import Update, levels, put
from stratnb.ui.figures import price_figure
from stratnb.ui.format import age, count
from stratnb.ui.panels.backtest_rows import price_decimals
from stratnb.ui.panels.report_parts import Drawing, Part, Words
from stratnb.ui.panels.report_source import Priced
from stratnb.ui.window import gaps, grouped, price_columns

__all__ = ["candle_levels", "price_part", "trade_levels"]

Floats = npt.NDArray[np.float64]

COARSE: Final = 2_000  # candles in view at most, and of the longest length
FINE: Final = 20_000  # candles of the shortest length that a page carries
MARKED: Final = (400, 4_000)  # trades with the largest results, drawn while the view holds more
MARKED_MOST: Final = 10_000
GROUPS: Final = tuple(sorted({*TIMEFRAMES.values(), *(86_400_000 * n for n in (2, 7, 14, 28, 91, 364))}))


def candle_levels(candles: Candles, fine: int = FINE) -> list[tuple[int, Floats]]:
    """Return candles as (length in ms, rows), the longest first: one to see whole, one of `fine` to zoom into."""
    rows, base = candles.rows(), candles.timeframe_ms
    found: list[tuple[int, Floats]] = []
    for most in (COARSE, fine):
        step, drawn = _fitting(rows, base, most)
        if not found or step < found[-1][0]:
            found.append((step, drawn))
    return found


def _fitting(rows: Floats, base: int, most: int) -> tuple[int, Floats]:
    """Return the shortest length, and its candles, of which there are at most so many."""
    if len(rows) <= most:
        return base, rows
    span = float(rows[-1, 5] - rows[0, 5]) + base
    whole = [step for step in GROUPS if step > base and step % base == 0]
    step = next((step for step in whole if span / step <= most), base * math.ceil(span / base / most))
    return step, grouped(rows, step)


def trade_levels(
    trades: Sequence[Trade], fills: Sequence[Sequence[Fill]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the marks of entries and exits, and the lines between them: the largest results first, then all.

    `fills` are those of each strategy.
    """
    table = np.array(
        [(t.entry_ms, t.entry_price, t.exit_ms, t.exit_price, t.direction, t.pnl) for t in trades], np.float64
    ).reshape(-1, 6)
    order = np.argsort(-np.abs(table[:, 5]), kind="stable")
    sizes = sorted({min(most, len(table)) for most in (*MARKED, MARKED_MOST)})
    marks, legs = [], []
    still = np.vstack([np.empty((0, 3)), *map(_open_entries, fills)])
    for most in sizes:
        part = table[order[:most]]
        part = part[np.argsort(part[:, 0], kind="stable")]
        marks.append(_marks(part, still))
        legs.append({"x0": part[:, 0], "y0": part[:, 1], "x1": part[:, 2], "y1": part[:, 3], "up": part[:, 4] > 0})
    return marks, legs


def _open_entries(fills: Sequence[Fill]) -> Floats:
    """Return (time, price, direction) of the fills of a position that is still open."""
    if not fills or fills[-1].position_after == 0.0:
        return np.empty((0, 3))
    last = fills[-1].trade_no
    own = [fill for fill in fills if fill.trade_no == last]
    way = 1.0 if own[0].side == "buy" else -1.0
    entries = [fill for fill in own if (fill.side == "buy") == (way > 0)]
    return np.array([(fill.time_ms, fill.price, way) for fill in entries], np.float64)


def _marks(trades: Floats, still: Floats) -> dict[str, Any]:
    """Return the columns of the marks, in the order of time."""
    x = np.concatenate([trades[:, 0], trades[:, 2], still[:, 0]])
    y = np.concatenate([trades[:, 1], trades[:, 3], still[:, 1]])
    way = np.concatenate([trades[:, 4], np.zeros(len(trades)), still[:, 2]])
    at = np.argsort(x, kind="stable")
    x, y, way = x[at], y[at], way[at]
    kinds = {"long": way > 0, "short": way < 0, "out": way == 0}
    return {"x": x, **{name: np.where(chosen, y, np.nan) for name, chosen in kinds.items()}}


def price_part(market: Priced, fine: int = FINE) -> Part:
    """Return the candles of a market with its trades; to zoom into there are at most `fine` candles."""
    candles = market.candles
    found = candle_levels(candles, fine)
    decimals = price_decimals(float(candles.high.max(initial=0.0)))
    figure, theme = price_figure(decimals)
    step, drawn = found[0]
    marks, legs = trade_levels(market.trades, market.fills)
    left, right = gaps(candles.open_time_ms.astype(np.float64), candles.timeframe_ms)
    top = float(drawn[:, 4].max(initial=0.0)) or 1.0
    ops = [
        put("gaps", {"x0": left, "x1": right}),
        levels("src", "t", COARSE, [price_columns(rows) for _, rows in found], [_widths(each) for each in found]),
        levels("fills", "x", 2 * MARKED[0], marks),
        levels("legs", "x0", MARKED[0], legs),
    ]
    first, last = float(candles.open_time_ms[0]), float(candles.open_time_ms[-1])
    room = max(0.01 * (last - first), float(step))
    cfg = {"cross": True, "decimals": decimals, "lines": [], "live": False, "volume": top}
    update = Update(ops, (first - room, last + room), True)
    caption = f"Candles of {market.symbol} with entries and exits"
    keys = (("is-up", "▲ Long entry"), ("is-down", "▼ Short entry"), ("is-exit", "✕ Exit"))
    words = Words(_told(candles, found, len(market.trades)), keys)
    return Part("Price and trades", (words, Drawing(figure, theme, update, caption, 420, cfg)), market.symbol)


def _widths(level: tuple[int, Floats]) -> list[tuple[str, dict[str, Any]]]:
    """Return the attributes of a length: the width of bodies and volumes, and the height of the volume's axis."""
    step, rows = level
    width = {"width": {"value": 0.62 * step}}
    top = (float(rows[:, 4].max(initial=0.0)) or 1.0) * 7.0
    return [("g_body", width), ("g_vol", width), ("vol", {"start": 0.0, "end": top})]


def _told(candles: Candles, found: Sequence[tuple[int, Floats]], trades: int) -> str:
    """Return in words what is drawn of how much."""
    whole, fine = found[0][0], found[-1][0]
    words = f"{count(len(candles))} candles of {candles.timeframe}"
    if whole != candles.timeframe_ms:
        words += f", drawn as candles of {_length(whole)}"
        words += f", of {_length(fine)} when you zoom in" if fine != whole else ""
        words += "; the figures are of all candles" if fine != candles.timeframe_ms else ""
    if trades > MARKED[0]:
        words += f". While the view holds more than {count(MARKED[0])} trades, the largest results are drawn"
    return f"{words}. Drag to move, turn the wheel to zoom."


def _length(step: int) -> str:
    """Return the length of a candle as a timeframe, or in words."""
    return next((name for name, ms in TIMEFRAMES.items() if ms == step), age(step / 1000))
