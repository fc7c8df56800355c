"""Several strategies on several markets of one account and its risk rules, over history."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.exchange.replay import ReplayFeed
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.beside import prepare
from stratnb.kernels.portfolio import CURVES, LANE_COLUMNS, run_many
from stratnb.market_data.candles import Candles
from stratnb.market_data.funding import Funding, FundingRates, funding_tables
from stratnb.model import Market
from stratnb.research.backtest import Backtest, check_length, check_run
from stratnb.research.configured import check_kinds
from stratnb.research.ending import close_at_end
from stratnb.research.failing import told_of
from stratnb.research.funding import missing, rates_at
from stratnb.research.instances import Instance, Strategies, instances
from stratnb.research.kept_rows import Rows
from stratnb.research.looping import CHUNK, FILL_BUFFER, REASON_CELLS
from stratnb.research.portfolio_result import Portfolio
from stratnb.research.tiers import Tier, check_tier, closes
from stratnb.services.ledger import AccountLimits, new_account, open_book

__all__ = ["Portfolio", "portfolio"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DONE = LANE_COLUMNS.index("done")


class _Run:
    """The tables of a run: what the kernel reads, what it changes, and what it collected so far."""

    def __init__(
        self,
        made: Sequence[Instance],
        feed: ReplayFeed,
        cash: float,
        limits: AccountLimits | None,
        funding: Mapping[str, FundingRates],
        keep: bool,
        tier: Tier,
    ) -> None:
        n, sizes, widths = len(made), _sizes(feed.series), _sizes([each.width for each in made])
        self.made, self.feed, self.limits, self.done = made, feed, limits, 0
        self.books, self.account = np.zeros((n, at.W_BOOK)), new_account(cash, limits)
        for book, each in zip(self.books, made, strict=True):
            open_book(book, each.plan, cash=cash, market=each.number)
            book[at.B_ENTRIES] = at.ENTRIES_ON
        self.rates = _rates(made, self.books, feed, funding)
        flat = [_flat([table(each) for each in made]) for table in TABLES]
        numbers = np.array([each.number for each in made])
        self.equity_at = _starts(sizes[numbers])
        places = [column for _, starts, lengths in flat for column in (starts, lengths)]
        calls = np.tile(loop.parts(), (n, 1))
        own = closes([each.plan for each in made], len(feed), "scan" if keep else tier)
        calls[:, loop.CLOSE], *ahead = np.array(own, np.int64).T
        columns = [numbers, *places, widths, self.equity_at, np.zeros(n, np.int64)]
        columns += [*ahead, _starts(sizes)[numbers], np.full(n, -1)]
        self.lanes = np.ascontiguousarray(np.stack(columns, axis=1), np.int64)
        assert self.lanes.shape[1] == len(LANE_COLUMNS)
        self.tables = (calls, self.lanes, *(table for table, _, _ in flat))
        memory, starts, lengths = flat[2]
        self.memories = [memory[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        tables = [each.table() for each in feed.series]
        rows = np.concatenate(tables) if len(tables) > 1 else tables[0]
        self.rows = (rows, _starts(sizes), *feed.merged())
        self.equity, self.curves = np.empty(sizes[numbers].sum()), np.empty((len(feed), len(CURVES)))
        self.fills = Rows(at.W_FILL, max(FILL_BUFFER, 2 * at.MAX_FILLS * n))
        self.decisions = Rows(int(widths.max()), max(CHUNK, 2 * n) if keep else 0)
        self.counts, self.at_work = np.zeros((n, REASON_CELLS)), np.zeros(1, np.int64)
        flags, widest = np.zeros(n), np.empty(int(widths.max()))
        self.work = (np.full(len(sizes), -1), flags, widest, np.zeros(len(sizes), np.int64))

    def advance(self, decisions: bool | Literal["entries"]) -> None:
        """Run some instants more."""
        fills, log = self.fills, self.decisions
        stop = min(self._hold_rates(), self.done + max(1, CHUNK // len(self.made)))
        kept = (*fills.room(), *log.room(), self.counts, self.at_work)
        state = (self.books, self.account, self.rows, self.done, stop, self.equity, self.curves)
        with told_of([each.plan for each in self.made], self.memories, self.at_work):
            self.done, f, d = run_many(self.tables, *state, kept, self.work)
        fills.keep(f)
        log.keep(d, only=decisions == "entries")

    def _hold_rates(self) -> int:
        """Set the funding rates of the next instant and return until which one, exclusive, they hold."""
        until = len(self.feed)
        for s, rates in enumerate(self.rates):
            while rates[0][0] <= self.done:
                rates.popleft()
            stop, self.books[s, at.B_FUNDING_RATE] = rates[0]
            until = min(until, stop)
        return until

    def close(self) -> None:
        """Close what the strategies hold at the end that shall be closed there, each at its own last close."""
        for s, each in enumerate(self.made):
            if each.plan.config.execution.simulation.end == "close":
                rows = close_at_end(each.plan, self.books, s, self.account, each.candles.table()[-1])
                self.fills.add(rows, s)
                self.equity[self.equity_at[s] + self.lanes[s, DONE] - 1] = self.books[s, at.B_EQUITY]
        self.curves[-1] = self.account[[at.A_EQUITY, at.A_GROSS, at.A_NET, at.A_OPEN]]

    def results(self) -> dict[str, Backtest]:
        """Return what each strategy did, by label."""
        fills, decisions = self.fills.by_owner(len(self.made)), self.decisions.by_owner(len(self.made))
        return {each.label: self._result(s, each, fills[s], decisions[s]) for s, each in enumerate(self.made)}

    def _result(self, s: int, each: Instance, fills: Floats, decisions: Floats) -> Backtest:
        start, done = int(self.equity_at[s]), int(self.lanes[s, DONE])
        return Backtest(
            plan=each.plan,
            candles=each.candles,
            capital=float(self.books[s, at.B_CAPITAL]),
            equity_curve=self.equity[start : start + done],
            fill_rows=fills,
            decision_rows=np.ascontiguousarray(decisions[:, : each.width]),
            reasons=each.plan.counts(list(self.counts[s])),
            book=self.books[s],
            account=self.account,
            findings=each.findings,
            complete=done == len(each.candles),
            limits=self.limits,
        )


TABLES: tuple[Callable[[Instance], Any], ...] = (
    lambda each: each.plan.code,
    lambda each: each.plan.params,
    lambda each: each.plan.memory(),
)


def _rates(
    made: Sequence[Instance], books: Floats, feed: ReplayFeed, funding: Mapping[str, FundingRates]
) -> list[deque[tuple[int, float]]]:
    """Set the funding times of the books; return until which instant each rate of each strategy holds."""
    closes = feed.opens_ms + feed.step_ms
    tables = [funding.get(each.candles.symbol) for each in made]
    return [
        deque(rates_at(each.plan, book, each.candles, table, closes))
        for each, book, table in zip(made, books, tables, strict=True)
    ]


def _sizes(items: Iterable[Any]) -> Ints:
    """Return lengths, or numbers, as an array."""
    return np.array([item if isinstance(item, int) else len(item) for item in items], np.int64)


def _starts(sizes: Ints) -> Ints:
    """Return where each stretch begins when they lie one after the other."""
    return np.concatenate(([0], np.cumsum(sizes)))[:-1].astype(np.int64)


def _flat(tables: Sequence[Any]) -> tuple[Any, Ints, Ints]:
    """Return tables as one, where each begins, and how long each is."""
    sizes = _sizes(tables)
    return np.concatenate(tables), _starts(sizes), sizes


def portfolio(
    strategies: Strategies,
    candles: Candles | Iterable[Candles],
    *,
    market: Market | Mapping[str, Market] | None = None,
    cash: float = 10_000.0,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    funding: Funding | None = None,
    decisions: bool | Literal["entries"] = False,
    tier: Tier = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Portfolio:
    """Run several strategies on several markets of one account, with its risk rules, and return the result.

    `strategies` is one strategy or a sequence (names, paths, documents, configurations), each run on every series of
    `candles`; a pair (strategy, symbol) runs on that market alone; a mapping gives the labels: `{"slow": "trend-rider",
    "fast": ("simple-levels", "BTC/USDT")}`. Without one the label is the strategy's name, with "@" and the symbol when
    there are several series. Their order is the order of registration: at each instant the one before has the first
    claim on the account's room. `market` is the only series' market, or a mapping by symbol; what is not given is
    inferred. All series have one timeframe; they may have gaps and start and end at different times.

    `cash` is the account's start in quote units, of which each strategy gets its `capital`; `limits` are the account's;
    `overrides` change every strategy; `funding` has the rates of linear markets, as `funding_tables` takes them
    (`execution.simulation.funding_rate` without); `decisions`, `tier`, `progress(done, all)` in instants, and
    `cancelled()` are as in `backtest`. Raises `ConfigError` before anything runs.
    """
    series = _series(candles)
    check_run(series[0], cash)
    check_kinds(None, limits, decisions)
    check_tier(tier)
    feed = ReplayFeed(series)
    tables = funding_tables(funding, feed.symbols)
    made = instances(strategies, series, markets=_markets(market, series), overrides=overrides)
    short = _short(made)
    prepare([run_many])
    given, hooks = (made, feed, cash, limits, tables, bool(decisions)), (decisions, progress, cancelled)
    try:
        run = _ran(_Run(*given, tier), *hooks)
    except ConfigError:  # a block raised: the shared code tells which, and where
        if tier == "scan":
            raise
        run = _ran(_Run(*given, "scan"), *hooks)
    fills, owners = run.fills.whole()
    return Portfolio(
        backtests=run.results(),
        cash=float(cash),
        close_ms=feed.opens_ms[: run.done] + feed.step_ms,
        curves=run.curves[: run.done],
        fill_rows=fills,
        fill_owners=owners,
        account=run.account,
        findings=(*_told(run, cash, tables), *short),
        complete=run.done == len(feed),
        limits=limits,
    )


def _ran(
    run: _Run,
    decisions: bool | Literal["entries"],
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> _Run:
    """Run to the end, or until it is cancelled."""
    total = len(run.feed)
    if progress is not None:
        progress(0, total)
    while run.done < total and not (cancelled is not None and cancelled()):
        run.advance(decisions)
        if progress is not None:
            progress(run.done, total)
    if run.done == total:
        run.close()
    return run


def _series(candles: Any) -> tuple[Candles, ...]:
    """Return the series, or raise when there is none, or one is empty or no series."""
    series = (candles,) if isinstance(candles, Candles) or not isinstance(candles, Iterable) else tuple(candles)
    if not series:
        raise ConfigError("no_candles", "there are no candles", hint="give at least one series")
    for each in series:
        check_run(each, 1.0)
    return series


def _short(made: Sequence[Instance]) -> list[Finding]:
    """Return a warning for each strategy whose candles end before it could decide once; raise when all do."""
    found = []
    for each in made:
        try:
            check_length(each.plan, len(each.candles))
        except ConfigError as error:
            found.append(Finding(each.label, error.code, error.message, error.value, error.hint, severity="warning"))
    if len(found) == len(made):
        text = "no strategy has candles enough to decide once; nothing was run"
        raise ConfigError("candles_short", text, value=len(found), hint="load more", findings=found)
    return found


def _markets(given: Any, series: Sequence[Candles]) -> dict[str, Market]:
    """Return the markets that were given, by symbol."""
    symbols = [each.symbol for each in series]
    if isinstance(given, Market):
        check_kinds(given)
        if len(series) > 1:
            hint = "give a mapping of symbols to markets"
            raise ConfigError("market_unknown", f"one market for {len(series)} series", value=given.symbol, hint=hint)
        return {symbols[0]: given}
    if given is not None and not isinstance(given, Mapping):
        check_kinds(given)
    found = dict(given or {})
    for symbol, market in found.items():
        check_kinds(market)
        if symbol not in symbols:
            close = nearest(str(symbol), symbols) or tuple(symbols[:10])
            hint = f"there are candles of {', '.join(close)}"
            raise ConfigError("market_unknown", f"there are no candles of {symbol!r}", value=symbol, hint=hint)
    return found


def _told(run: _Run, cash: float, funding: Mapping[str, FundingRates]) -> tuple[Finding, ...]:
    """Return the warnings of the documents and of missing costs by label, and one of more capital than the account."""
    found = [
        Finding(f"{each.label} {x.path}".strip(), x.code, x.message, x.value, x.hint, x.source, x.severity)
        for each in run.made
        for x in (*each.findings, *missing(each.plan, funding.get(each.candles.symbol), each.candles))
    ]
    share = float(run.books[:, at.B_CAPITAL].sum()) / cash
    if share > 1.0 + 1e-9:
        text = (
            f"the strategies are allotted {share:.4g} times the account; its free balance denies what it cannot carry"
        )
        found.append(Finding("capital", "capital_over", text, share, "lower capital.amount", severity="warning"))
    return tuple(found)
