"""A strategy beside the market itself: bought at the first open and held."""

from __future__ import annotations

from stratnb.kernels import layout as at
from stratnb.research.backtest import Backtest
from stratnb.research.daily import DAY_MS, against, daily_figures, daily_series, returns_of
from stratnb.research.results import buy_and_hold

__all__ = ["against_buy_and_hold"]


def against_buy_and_hold(result: Backtest) -> dict[str, float | None]:
    """Return the figures of a backtest and of buy and hold over the same candles, and alpha and beta between them.

    Buy and hold spends the strategy's capital at the first open and pays one round trip of fees. `excess` is the
    difference of the total returns.
    """
    times, n = result.close_ms, len(result.equity_curve)
    start = int(result.candles.open_time_ms[0])
    fee = float(result.plan.params[at.S_TAKER])
    held = result.capital * (1.0 + buy_and_hold(float(result.candles.open[0]), result.candles.close[:n], fee))
    found: dict[str, float | None] = {}
    series = []
    for name, equity in (("", result.equity_curve), ("held_", held)):
        days, daily = daily_series(times, equity, result.capital)
        figures = daily_figures(daily, days=(int(times[-1]) - start) / DAY_MS if n else 0.0)
        found |= {f"{name}{word}": figures[word] for word in ("total_return", "sharpe", "max_drawdown_daily")}
        series.append((days, returns_of(daily)))
    own, other = found["total_return"], found["held_total_return"]
    return found | {"excess": own - other if own is not None and other is not None else None} | against(*series)
