"""What each performance figure means here, and why other tools give another number (trading_rules 10)."""

from __future__ import annotations

from typing import Final

__all__ = ["CONVENTIONS", "FEW", "OF_TRADES", "OTHER_TOOLS", "explained"]

FEW: Final = 30  # under so many days or trades a figure is flagged

CONVENTIONS: Final[dict[str, str]] = {
    "total_return": "last equity / first equity - 1",
    "cagr": "total return to the power of 365 / elapsed days; from 1 day on",
    "volatility": "standard deviation of daily returns (ddof 1) x sqrt(365)",
    "sharpe": "mean / standard deviation (ddof 1) of daily returns x sqrt(365), risk-free 0",
    "sortino": "mean of daily returns / root mean square of the negative ones over all days x sqrt(365)",
    "max_drawdown": "largest fall from a peak as a fraction, on every candle",
    "max_drawdown_daily": "the same on daily equity",
    "max_drawdown_money": "largest fall from a peak in quote units; it may be another fall than the largest fraction",
    "longest_drawdown_s": "longest time from a peak until it is reached again; an open one counts to the end",
    "open_drawdown": "fall from the last peak that is not yet recovered, as a fraction",
    "open_drawdown_s": "time since that peak",
    "average_drawdown": "mean over all falls of their depth, an open one included",
    "calmar": "cagr / daily max drawdown",
    "omega": "sum of positive daily returns / sum of negative ones, threshold 0",
    "ulcer_index": "root mean square of the daily drawdown",
    "recovery_factor": "total return / max drawdown",
    "var_95": "minus the 5 % quantile of daily returns, linear interpolation; from 20 days on",
    "cvar_95": "minus the mean of the daily returns at or below that quantile; from 20 days on",
    "tail_ratio": "95 % quantile of daily returns / 5 % quantile, unsigned",
    "skew": "sample skewness of daily returns, bias-corrected; from 4 days on",
    "kurtosis": "sample excess kurtosis of daily returns, bias-corrected; from 4 days on",
    "psr": "probability that the true Sharpe ratio is above 0, from the daily one with skewness and kurtosis",
    "deflated_sharpe": "the same against the largest Sharpe ratio to expect of as many trials without skill",
    "overfitting": "how often the best trial of 8 of 16 blocks of days is not above the median in the other 8",
    "best_day": "largest daily return",
    "worst_day": "smallest daily return",
    "best_month": "largest return of a calendar month (UTC), a begun one as it stands",
    "worst_month": "smallest return of a calendar month (UTC), a begun one as it stands",
    "days": "number of daily returns; under 30 the yearly figures say little",
    "alpha": "intercept of the daily returns regressed on those of buy and hold x 365; from 30 days on",
    "beta": "slope of the daily returns regressed on those of buy and hold; from 30 days on",
    "trades": "closed round trips; under 30 the figures say little",
    "win_rate": "trades with a profit after costs / all trades",
    "profit_factor": "sum of profits / sum of losses",
    "payoff": "mean profit / mean loss",
    "expectancy": "mean result of a trade after costs, quote units",
    "sqn": "sqrt(n) x mean / standard deviation (ddof 1) of trade results",
    "kelly": "win rate - (1 - win rate) / payoff; the share of money that would grow fastest, not an advice",
    "p_value": "two-sided t-test that the mean result of a trade is 0",
    "best_trade": "largest result of a trade after costs",
    "worst_trade": "smallest result of a trade after costs",
    "wins_in_a_row": "longest run of trades with a profit; a result of 0 breaks it",
    "losses_in_a_row": "longest run of trades with a loss; a result of 0 breaks it",
    "average_hold_s": "mean time from entry to flat",
    "median_hold_s": "median time from entry to flat",
    "longest_hold_s": "longest time from entry to flat",
    "winner_hold_s": "mean time from entry to flat of trades with a profit",
    "loser_hold_s": "mean time from entry to flat of trades with a loss",
    "average_mae": "mean over trades of the worst unrealized return on the way; the exit candle counts with its fill",
    "average_mfe": "mean over trades of the best unrealized return on the way; the exit candle counts with its fill",
    "fees": "fees of the closed trades, quote units",
    "fees_rate": "fees of the closed trades / their result before fees and funding, unsigned",
    "funding": "funding that the closed trades paid, quote units; negative when they got more",
    "exposure_time": "share of candles with a position",
    "turnover": "sum of the notionals of all fills / mean equity, per 365 days",
    "buy_and_hold": "last close / first open - 1 after one round-trip fee",
    "ambiguous_candles": "candles that touched stop and target; the stop was taken",
}

OF_TRADES: Final = frozenset(
    {"win_rate", "profit_factor", "payoff", "expectancy", "sqn", "kelly", "p_value", "best_trade", "worst_trade"}
    | {"wins_in_a_row", "losses_in_a_row", "average_hold_s", "median_hold_s", "longest_hold_s", "winner_hold_s"}
    | {"loser_hold_s", "average_mae", "average_mfe", "fees", "fees_rate", "funding", "trades"}
)

_YEAR = "tools for stocks take 252 days a year"
_DDOF = "some take the deviation with ddof 0"
_PER_TRADE = "some take the returns of trades instead of days"

OTHER_TOOLS: Final[dict[str, str]] = {
    "cagr": f"{_YEAR}, or count the days with a trade only",
    "volatility": f"{_YEAR}; {_DDOF}; some annualize the steps of candles",
    "sharpe": f"{_YEAR}; {_DDOF}; {_PER_TRADE}; some subtract a risk-free rate",
    "sortino": f"{_YEAR}; some take the mean over the negative days only; {_PER_TRADE}",
    "max_drawdown": "many take daily closes or closed trades only, which hides what happened in between",
    "max_drawdown_daily": "some start from the first trade instead of the start equity",
    "average_drawdown": "some leave an open fall out, or average over days instead of falls",
    "calmar": "some take the last 36 months, or the full-resolution drawdown",
    "omega": "some take another threshold than 0",
    "recovery_factor": "some divide money by money: net profit / largest fall in money",
    "var_95": "some assume normal returns",
    "cvar_95": "some assume normal returns, or leave the quantile itself out",
    "skew": "some do not correct the bias",
    "kurtosis": "some give the plain one, which is higher by 3",
    "win_rate": "some count a result of 0 as won, or look at prices before costs",
    "profit_factor": "some give infinity without a loss, or look at prices before costs",
    "payoff": "some take prices before costs",
    "expectancy": "some give it as a fraction of the entry value, or before costs",
    "sqn": f"{_DDOF}; some cap n at 100, or take R multiples",
    "exposure_time": "some count days with a position",
    "buy_and_hold": "some leave the fee out, or start at the first close",
    "alpha": f"{_YEAR}; some subtract a risk-free rate",
}


def explained(name: str) -> str:
    """Return the convention of a figure and why other tools differ, or nothing for an unknown one.

    >>> explained("omega")
    'sum of positive daily returns / sum of negative ones, threshold 0. Other tools: some take another threshold than 0'
    """
    other = OTHER_TOOLS.get(name)
    return CONVENTIONS.get(name, "") + (f". Other tools: {other}" if other else "")
