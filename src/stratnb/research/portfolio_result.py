"""The result of a portfolio backtest: the account's curves and trades, and what each strategy did to them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import Finding
from stratnb.kernels import layout as at
from stratnb.kernels.portfolio import CURVES
from stratnb.model import Fill, Trade
from stratnb.research.backtest import Backtest
from stratnb.research.daily import correlation, daily_series, returns_of
from stratnb.research.figures import equity_figures, trade_figures
from stratnb.research.frames import equity_frame, fills_frame, time_index, trades_frame
from stratnb.research.results import buy_and_hold, exposure
from stratnb.services.ledger import AccountLimits
from stratnb.services.trades import fill_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Portfolio"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Portfolio(Mapping[str, Backtest]):
    """The result of a portfolio backtest: a mapping of labels to `Backtest`; frames are built when asked for.

    `close_ms` are the instants; `curves` (instants, 4) holds the account's equity, gross and net notional in quote
    units and the number of open positions and waiting entries at each of them. `fill_rows` are the kernel's rows in
    the order in which they happened, `fill_owners` the numbers of their strategies. `complete` is False after a cancel.
    """

    backtests: Mapping[str, Backtest]
    cash: float
    close_ms: Ints
    curves: Floats
    fill_rows: Floats
    fill_owners: Ints
    account: Floats
    findings: tuple[Finding, ...]
    complete: bool
    limits: AccountLimits | None = None

    def __getitem__(self, label: str) -> Backtest:
        """Return what one strategy did."""
        return self.backtests[label]

    def __iter__(self) -> Iterator[str]:
        """Yield the labels in the order of registration."""
        return iter(self.backtests)

    def __len__(self) -> int:
        """Return the number of strategies."""
        return len(self.backtests)

    def report(self) -> Any:
        """Return the report: a live page in a notebook, `save("report.html")` writes it to one file."""
        return import_module("stratnb.ui").report(self)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels in the order of registration."""
        return tuple(self.backtests)

    @property
    def quote(self) -> str:
        """Return the currency of the account."""
        return next(iter(self.values())).plan.market.quote

    @property
    def equity_curve(self) -> Floats:
        """Return the account's equity in quote units at each instant."""
        return self.curves[:, CURVES.index("equity")]

    @property
    def equity(self) -> pd.DataFrame:
        """Return the account's equity and drawdown (fraction) at each instant (UTC)."""
        return equity_frame(self.close_ms, self.equity_curve, self.cash)

    @property
    def drawdown(self) -> pd.Series[float]:
        """Return the fall of the account from its highest equity so far at each instant, a fraction."""
        return self.equity["drawdown"]

    @property
    def exposure(self) -> pd.DataFrame:
        """Return gross and net notional, their shares of equity, and open positions at each instant (UTC)."""
        import pandas as pd

        frame = pd.DataFrame(self.curves, columns=list(CURVES), index=time_index(self.close_ms))
        equity = frame.pop("equity").where(lambda x: x > 0)
        return frame.assign(gross_share=frame["gross"] / equity, net_share=frame["net"] / equity)

    @property
    def results(self) -> pd.DataFrame:
        """Return each strategy's result so far at each instant, quote units; their sum is the account's."""
        import pandas as pd

        columns = {label: equity_at(own, self.close_ms) - own.capital for label, own in self.items()}
        return pd.DataFrame(columns, index=time_index(self.close_ms))

    @property
    def closed_trades(self) -> list[tuple[str, Trade]]:
        """Return the closed round trips of all with their labels, by exit, then by registration."""
        found = [(label, trade) for label, own in self.items() for trade in own.closed_trades]
        return sorted(found, key=lambda item: item[1].exit_ms)

    @property
    def trades(self) -> pd.DataFrame:
        """Return one row per closed round trip of all; money in quote units after costs."""
        found = self.closed_trades
        return _marked(trades_frame([x for _, x in found]), [(label, x.symbol) for label, x in found])

    @property
    def all_fills(self) -> list[tuple[str, Fill]]:
        """Return every fill with its label, in the order in which they happened."""
        own = list(self.items())
        return [
            (
                own[s][0],
                fill_of(
                    row,
                    strategy_id=own[s][1].name,
                    symbol=own[s][1].candles.symbol,
                    reason=own[s][1].plan.fill_reason,
                ),
            )
            for row, s in zip(self.fill_rows, self.fill_owners, strict=True)
        ]

    @property
    def fills(self) -> pd.DataFrame:
        """Return one row per fill of all, in the order in which they happened."""
        found = self.all_fills
        return _marked(fills_frame([x for _, x in found]), [(label, x.symbol) for label, x in found])

    @property
    def orders(self) -> pd.DataFrame:
        """Return one row per order of all that was filled, by time, and those that still wait at the end."""
        import pandas as pd

        parts = [own.orders.assign(strategy=label) for label, own in self.items()]
        parts = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)

    @property
    def reasons(self) -> dict[str, int]:
        """Return how often decisions of all ended for each reason."""
        return _sums(own.reasons for own in self.values())

    @property
    def denials(self) -> dict[str, dict[str, int]]:
        """Return how often each check turned down an entry, by its code, then by label."""
        codes = sorted({code for own in self.values() for code in own.denials})
        return {
            code: {label: own.denials[code] for label, own in self.items() if code in own.denials} for code in codes
        }

    @property
    def attribution(self) -> pd.DataFrame:
        """Return what each strategy added, by label: money in quote units, the rest fractions, NaN where undefined.

        `pnl` is the result with what is open, so that its sum is the account's; `share` is its part of that sum,
        `contribution` pnl over the account's start, `total_return` pnl over the strategy's own capital.
        """
        import pandas as pd

        total, rows = float(self.account[at.A_EQUITY]) - self.cash, {}
        for label, own in self.items():
            pnl, figures = float(own.book[at.B_EQUITY]) - own.capital, own.figures
            rows[label] = {
                "symbol": own.candles.symbol,
                "capital": own.capital,
                "pnl": pnl,
                "share": pnl / total if total else None,
                "contribution": pnl / self.cash,
                "fees": float(own.book[at.B_COSTS]),
                **{name: figures[name] for name in ATTRIBUTED},
                "denials": float(sum(own.denials.values())),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")

    @property
    def correlation(self) -> pd.DataFrame:
        """Return Pearson's correlation of the strategies' daily returns on common days; NaN where undefined."""
        import pandas as pd

        series = {}
        for label, own in self.items():
            days, daily = daily_series(own.close_ms, own.equity_curve, own.capital)
            series[label] = (days, returns_of(daily))
        rows = [[correlation(a, b)[0] for b in series.values()] for a in series.values()]
        return pd.DataFrame(rows, index=list(series), columns=list(series), dtype=float)

    @property
    def figures(self) -> dict[str, float | None]:
        """Return the account's figures by name (`research.figures.CONVENTIONS`); None where undefined.

        `buy_and_hold` is the mean over the markets, as if each was bought with an equal part of the account.
        """
        start_ms = min(int(own.candles.open_time_ms[0]) for own in self.values())
        figures = equity_figures(self.close_ms, self.equity_curve, self.cash, start_ms=start_ms)
        figures |= trade_figures([trade for _, trade in self.closed_trades])
        held = {own.candles.symbol: _held(own) for own in self.values() if len(own.equity_curve)}
        return figures | {
            "exposure_time": exposure([own.all_fills for own in self.values()], self.close_ms),
            "buy_and_hold": float(np.mean(list(held.values()))) if held else None,
            "ambiguous_candles": float(sum(own.ambiguous_candles for own in self.values())),
            "final_equity": float(self.account[at.A_EQUITY]),
        }

    def __repr__(self) -> str:
        """Return strategies, markets, trades and result on one line."""
        markets = len({own.candles.symbol for own in self.values()})
        trades = sum(int(own.book[at.B_TRADES]) for own in self.values())
        end = "" if self.complete else ", canceled"
        return (
            f"Portfolio({len(self)} strateg{'y' if len(self) == 1 else 'ies'} "
            f"on {markets} market{'s' if markets > 1 else ''}, "
            f"{len(self.close_ms)} candles, {trades} trades, "
            f"pnl {self.account[at.A_EQUITY] - self.cash:+.6g} {self.quote}{end})"
        )

    def _repr_html_(self) -> str:
        """Return the account's figures and the attribution as small escaped tables."""
        rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{_text(x)}</td></tr>" for name, x in self.figures.items())
        frame = self.attribution
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("strategy", *frame.columns))
        parts = "".join(
            f"<tr><th>{html.escape(str(label))}</th>{''.join(f'<td>{_text(x)}</td>' for x in row)}</tr>"
            for label, row in zip(frame.index, frame.itertuples(index=False), strict=True)
        )
        caption = f"<caption>{html.escape(repr(self))}</caption>"
        return f"<table>{caption}{rows}</table><table><tr>{head}</tr>{parts}</table>"


ATTRIBUTED = ("total_return", "trades", "win_rate", "profit_factor", "max_drawdown", "sharpe", "exposure_time")


def equity_at(own: Backtest, close_ms: Ints) -> Floats:
    """Return a strategy's equity at some instants: that of its newest close, its capital before the first."""
    whole = np.concatenate(([own.capital], own.equity_curve))
    return whole[np.searchsorted(own.close_ms, close_ms, side="right")]


def _held(own: Backtest) -> float:
    """Return the gain of buying at the first open and selling at the last close that was run, after fees."""
    n, fee = len(own.equity_curve), float(own.plan.params[at.S_TAKER])
    return float(buy_and_hold(float(own.candles.open[0]), own.candles.close[n - 1 : n], fee)[0])


def _marked(frame: pd.DataFrame, marks: list[tuple[str, str]]) -> pd.DataFrame:
    """Return a frame with label and symbol of each row in front."""
    frame.insert(0, "strategy", [label for label, _ in marks])
    frame.insert(1, "symbol", [symbol for _, symbol in marks])
    return frame


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of counts by word."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _text(value: object) -> str:
    """Return a cell's text: n/a for what is undefined."""
    if isinstance(value, str):
        return html.escape(value)
    return f"{value:,.6g}" if isinstance(value, float | int) and value == value else "n/a"
