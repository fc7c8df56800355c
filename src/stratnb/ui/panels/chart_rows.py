"""What the live chart says in words and rows: its table, its timeframes, how old its newest candle is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from stratnb.kernels.layout import ACTIONS
from stratnb.model import TIMEFRAMES, timeframe_ms
from stratnb.ui.figures import DECIDED
from stratnb.ui.format import age
from stratnb.ui.price_feed import PriceFeed
from stratnb.ui.window import CLOSED
from stratnb.view import Board, EngineView, StrategyView

__all__ = ["stale", "strategy_label", "table", "timeframes"]

ROLES: Final = ("5m", "15m", "1h", "4h", "1d")
ROLES_MAX: Final = 3
STALE_S: Final = 10.0
STALE_CANDLES: Final = 3.0


def table(board: Board, feed: PriceFeed) -> pd.DataFrame:
    """Return the drawn candles, lines and decisions; `open_time` is UTC, a provisional candle has not closed."""
    window = feed.window
    rows = window.candles(board)
    frame = pd.DataFrame(rows[:, :5], columns=["open", "high", "low", "close", "volume"])
    frame.insert(0, "open_time", pd.to_datetime(rows[:, 5], unit="ms", utc=True))
    frame["provisional"] = rows[:, CLOSED] == 0.0
    lines = window.lines(board, rows[:, 5])
    for i, (name, label) in enumerate((*feed.lines, *feed.levels)):
        frame[label if label not in frame else f"{label} {name}"] = lines[:, i]
    codes, made = board.reasons(window.strategy_id), feed.decisions(rows)
    action, direction, reason, score, late = (made[name] for name in DECIDED)
    frame["decision"] = ["" if np.isnan(code) else ACTIONS[int(code)] for code in action]
    frame["direction"], frame["score"] = direction, score
    frame["reason"] = ["" if np.isnan(code) else codes[int(code)][0] for code in reason]
    frame["catch_up"] = late == 1.0
    return frame


def timeframes(primary: str, feed: str, document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the timeframes that can be drawn, shortest first, and what each is to the strategy."""
    roles = {str(name): role for role, name in document.get("timeframes", {}).items() if name in TIMEFRAMES}
    base, least = TIMEFRAMES[primary], TIMEFRAMES.get(feed, TIMEFRAMES[primary])
    shorter = {feed} if least < base and base % least == 0 else set()
    longer = {t for t in roles if TIMEFRAMES[t] > base and TIMEFRAMES[t] % base == 0}
    longer |= set([t for t in ROLES if TIMEFRAMES[t] > base and TIMEFRAMES[t] % base == 0][:ROLES_MAX])
    names = sorted({primary, *shorter, *longer}, key=lambda t: TIMEFRAMES[t])
    return names, [_role(name, roles.get(name, "primary" if name == primary else ""), feed) for name in names]


def _role(name: str, role: str, feed: str) -> str:
    """Return what a timeframe is to the strategy, in words."""
    if role:
        return f"{name}: {role} timeframe of the strategy"
    return f"{name}: candles of the feed" if name == feed else f"{name}: built from the candles below it"


def stale(view: EngineView) -> str:
    """Return how old the newest candle is while a running feed brings none, else nothing."""
    feed, waited = view.feed, view.data_age_s
    if feed is None or feed.done or view.state != "running" or waited is None:
        return ""
    late = max(STALE_S, STALE_CANDLES * timeframe_ms(feed.timeframe) / 1000.0 / max(feed.speed, 1e-9))
    return f"no candle for {age(waited)}" if waited > late else ""


def strategy_label(row: StrategyView) -> str:
    """Return how the selector names a strategy."""
    return f"{row.title or row.name} · {row.symbol}" + (f" · {row.label}" if row.label else "")
