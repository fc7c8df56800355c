"""One strategy over history: the candle loop of live, run by the compiler."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding, positive
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles, Gaps
from stratnb.model import Fill, Market, Trade, installed_version
from stratnb.research.configured import Strategy, check_kinds, configure
from stratnb.research.detail import inside
from stratnb.research.ending import close_at_end
from stratnb.research.figures import equity_figures, trade_figures
from stratnb.research.frames import (
    equity_frame,
    exposure_frame,
    fills_frame,
    held_at,
    orders_frame,
    trades_frame,
    waiting_order,
)
from stratnb.research.funding import FundingRates, check_funding, missing, rates_of
from stratnb.research.gaps import OnGap, stretches_of
from stratnb.research.looping import Course, run
from stratnb.research.results import buy_and_hold, exposure
from stratnb.research.runs import SavedRun, fingerprint, load_run
from stratnb.research.tiers import Tier, check_tier, generated_loop
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.services.trades import fill_of, trades_of
from stratnb.strategy.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Backtest", "backtest", "check_length", "check_run", "load_run", "open_account"]

Floats = npt.NDArray[np.float64]

DENIAL_NAMES = frozenset(at.DECISION_REASONS[code] for code in at.DENIALS)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Backtest:
    """The result of a backtest; frames are built when asked for.

    `equity_curve` is the strategy's equity in quote units at each candle's close; `fill_rows` are the kernel's rows;
    `reasons` counts why each decision ended as it did, `denials` those that a check of risk or size turned down;
    `complete` is False after a cancel.
    """

    plan: Plan
    candles: Candles
    capital: float
    equity_curve: Floats
    fill_rows: Floats
    decision_rows: Floats
    reasons: Mapping[str, int]
    book: Floats
    account: Floats
    findings: tuple[Finding, ...]
    complete: bool
    limits: AccountLimits | None = None
    funding: FundingRates | None = None

    @property
    def name(self) -> str:
        """Return the strategy's name."""
        return self.plan.config.name

    @property
    def timeframe(self) -> str:
        """Return the timeframe of the candles."""
        return self.candles.timeframe

    @property
    def closed_trades(self) -> list[Trade]:
        """Return the closed round trips, oldest first."""
        return trades_of(
            self.fill_rows, strategy_id=self.name, symbol=self.candles.symbol, reason=self.plan.fill_reason
        )

    @property
    def trades(self) -> pd.DataFrame:
        """Return one row per closed round trip; money in quote units after costs."""
        return trades_frame(self.closed_trades)

    @property
    def all_fills(self) -> list[Fill]:
        """Return every fill, oldest first."""
        options = {"strategy_id": self.name, "symbol": self.candles.symbol, "reason": self.plan.fill_reason}
        return [fill_of(row, **options) for row in self.fill_rows]  # type: ignore[arg-type]

    @property
    def fills(self) -> pd.DataFrame:
        """Return one row per fill."""
        return fills_frame(self.all_fills)

    @property
    def equity(self) -> pd.DataFrame:
        """Return equity and drawdown (fraction) at each candle's close, indexed by closing time (UTC)."""
        return equity_frame(self.close_ms, self.equity_curve, self.capital)

    @property
    def orders(self) -> pd.DataFrame:
        """Return one row per order that was filled, and the one that still waits at the end."""
        waiting = waiting_order(self.book, self.plan.fill_reason)
        return orders_frame(self.all_fills, waiting, name=self.name, symbol=self.candles.symbol)

    @property
    def drawdown(self) -> pd.Series[float]:
        """Return the fall from the highest equity so far at each candle's close, a fraction."""
        return self.equity["drawdown"]

    @property
    def exposure(self) -> pd.DataFrame:
        """Return what was held at each candle's close: quantity, notional (signed, quote units) and share of equity."""
        close = self.candles.close[: len(self.equity_curve)]
        return exposure_frame(self.close_ms, held_at(self.fill_rows, self.close_ms), close, self.equity_curve)

    @property
    def denials(self) -> dict[str, int]:
        """Return how often each check of risk or size turned an entry down, by its code."""
        return {name: n for name, n in self.reasons.items() if name in DENIAL_NAMES}

    @property
    def ambiguous_candles(self) -> int:
        """Return how many candles touched stop and target, of which the stop was taken."""
        return int(self.book[at.B_AMBIGUOUS])

    @property
    def gaps(self) -> Gaps:
        """Return where candles are missing in the range that was run."""
        return self.candles[: len(self.equity_curve)].gaps()

    @property
    def planned_stops(self) -> Floats:
        """Return the stop that each closed trade was decided with; NaN without one or without kept decisions."""
        rows, trades = self.decision_rows, self.closed_trades
        rows = rows[rows[:, at.D_ACTION] == at.ENTER]
        place = np.searchsorted(rows[:, at.D_TIME], [trade.entry_ms for trade in trades]) - 1
        stops = np.append(rows[:, at.D_STOP], math.nan)  # -1 finds no decision
        return stops[place]

    def saved(self) -> SavedRun:
        """Return what `save` writes: the result without its candles."""
        limits = AccountLimits() if self.limits is None else self.limits
        figures = {name: None if value is None else float(value) for name, value in self.figures.items()}
        return SavedRun(
            name=self.name,
            symbol=self.candles.symbol,
            timeframe=self.candles.timeframe,
            quote=self.plan.market.quote,
            cash=float(self.account[at.A_START]),
            capital=self.capital,
            complete=self.complete,
            code_hash=self.plan.code_hash,
            version=installed_version(),
            document=self.plan.config.to_document(),
            market=asdict(self.plan.market),
            limits=limits.model_dump(),
            candles=fingerprint(self.candles),
            reasons=dict(self.reasons),
            denials=self.denials,
            figures=figures,
            findings=tuple(map(str, self.findings)),
            gaps=self.gaps,
            close_ms=self.close_ms,
            equity_curve=self.equity_curve,
            closed_trades=tuple(self.closed_trades),
            all_fills=tuple(self.all_fills),
            planned_stops=self.planned_stops,
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write configuration, figures, trades, fills and equity to a .json or .json.gz file; `load_run` reads it."""
        return self.saved().save(path, overwrite=overwrite)

    def report(self) -> Any:
        """Return the report: a live page in a notebook, `save("report.html")` writes it to one file."""
        return import_module("stratnb.ui").report(self)

    @property
    def close_ms(self) -> npt.NDArray[np.int64]:
        """Return the closing times of the candles that were run."""
        return self.candles.open_time_ms[: len(self.equity_curve)] + self.plan.base_ms

    @property
    def figures(self) -> dict[str, float | None]:
        """Return the performance figures by name (`research.figures.CONVENTIONS`); None where undefined."""
        start_ms = int(self.candles.open_time_ms[0])
        figures = equity_figures(self.close_ms, self.equity_curve, self.capital, start_ms=start_ms)
        figures |= trade_figures(self.closed_trades)
        n, fee = len(self.equity_curve), float(self.plan.params[at.S_TAKER])
        held = buy_and_hold(float(self.candles.open[0]), self.candles.close[n - 1 : n] if n else np.empty(0), fee)
        return figures | {
            "exposure_time": exposure([self.all_fills], self.close_ms),
            "buy_and_hold": float(held[0]) if n else None,
            "ambiguous_candles": float(self.book[at.B_AMBIGUOUS]),
            "final_equity": float(self.book[at.B_EQUITY]),
            "open_quantity": float(self.book[at.B_QUANTITY]),
        }

    def __repr__(self) -> str:
        """Return name, market, trades and result on one line."""
        profit = self.book[at.B_EQUITY] - self.capital
        end = "" if self.complete else ", canceled"
        return (
            f"Backtest({self.name!r}, {self.candles.symbol}, {len(self.equity_curve)} candles, "
            f"{int(self.book[at.B_TRADES])} trades, pnl {profit:+.6g} {self.plan.market.quote}{end})"
        )

    def _repr_html_(self) -> str:
        """Return the figures as a small escaped table."""
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{'n/a' if value is None else f'{value:,.6g}'}</td></tr>"
            for name, value in self.figures.items()
        )
        return f"<table><caption>{html.escape(repr(self))}</caption>{rows}</table>"


def backtest(
    strategy: Strategy,
    candles: Candles,
    *,
    market: Market | None = None,
    cash: float = 10_000.0,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    funding: FundingRates | None = None,
    detail: Candles | None = None,
    decisions: bool | Literal["entries"] = False,
    tier: Tier = "auto",
    on_gap: OnGap = "hold",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Backtest:
    """Run one strategy alone on an account over candles and return the result.

    `strategy` is a shipped name, a path, a document or a configuration; `cash` the account's start in quote units, of
    which the strategy gets its `capital`; `progress(done, all)` is called before and after each chunk of candles, and
    `cancelled()` asked. `funding` are the rates of a linear market (`execution.simulation.funding_rate` without),
    `detail` finer candles inside these (`research.detail.inside`): the result is then that of a run on them. With
    `decisions` every decision row is kept, with "entries" those that entered, which is what tells the stop of each
    trade. `tier` says whether the shared loop runs ("scan"), the one that is generated for the structure ("fused"), or
    what is sooner done; the result is the same to the last bit, and with decisions it is always the shared one. Candles
    missing inside the range are held through, or `on_gap` is "stop" (an error) or "split" (the position is closed at
    the last close before a gap and the blocks start anew after it). Raises `ConfigError` before anything runs.
    """
    check_run(candles, cash)
    check_kinds(market, limits, decisions)
    check_tier(tier)
    check_funding(funding, candles)
    if detail is not None:
        candles = inside(candles, detail)
    stretches = stretches_of(candles, on_gap)
    plan, findings = configure(strategy, candles, market=market, overrides=overrides)
    check_length(plan, len(candles))
    books, account = open_account(plan, cash, limits)
    course = Course(candles.table(), stretches, rates_of(plan, books[0], candles.close_time_ms, funding))
    own = None if decisions else generated_loop(plan, len(candles), tier)
    made = run(plan, books, account, course, decisions, progress, cancelled, own=own)
    n, done = len(candles), len(made.equity)
    if done == n and plan.config.execution.simulation.end == "close":
        made.fills.add(close_at_end(plan, books, 0, account, course.rows[-1]), 0)
        made.equity[-1] = books[0, at.B_EQUITY]
    return Backtest(
        plan=plan,
        candles=candles,
        capital=float(books[0, at.B_CAPITAL]),
        equity_curve=made.equity,
        fill_rows=made.fills.whole()[0],
        decision_rows=np.concatenate([np.empty((0, plan.decision_width)), *made.decisions]),
        reasons=plan.counts(list(made.counts)),
        book=books[0],
        account=account,
        findings=(*findings, *missing(plan, funding, candles)),
        complete=done == n,
        limits=limits,
        funding=funding,
    )


def open_account(plan: Plan, cash: float, limits: AccountLimits | None) -> tuple[Floats, Floats]:
    """Return the book of a plan that may enter, as a table of one row, and its account."""
    books, account = np.zeros((1, at.W_BOOK)), new_account(cash, limits)
    open_book(books[0], plan, cash=cash)
    books[0, at.B_ENTRIES] = at.ENTRIES_ON
    return books, account


def check_length(plan: Plan, have: int) -> None:
    """Raise `ConfigError` when so many candles end before the strategy could decide once."""
    need = plan.warmup * (plan.primary_ms // plan.base_ms)
    if need >= have:
        text = f"the strategy needs {need} candles before its first decision, and there are {have}"
        raise ConfigError("candles_short", text, value=have, hint="load more, or choose shorter look-backs")


def check_run(candles: Candles, cash: float) -> None:
    """Raise for what is not a series of candles, an empty one, or an unusable start of the account."""
    if not isinstance(candles, Candles):
        what, hint = type(candles).__name__, "load them with load_candles, one series at a time"
        raise ConfigError("type", f"{what} is not a series of candles", value=repr(candles)[:80], hint=hint)
    if not len(candles):
        raise ConfigError("no_candles", f"there are no candles of {candles.symbol}", hint="load some first")
    if not positive(cash):
        hint = "give the account a positive start"
        raise ConfigError("range", f"cash {cash!r} is not a number above 0", value=cash, hint=hint)
