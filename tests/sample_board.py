"""A board with seeded synthetic data for tests of the panels: no engine, no threads, nothing that waits.

`SampleBoard(strategies=3)` has closed one-minute candles; `advance(n)` closes n more. Operations are recorded in
`submitted` and end at once, or when `finish` is called with `slow=True`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import Refused
from stratnb.events import Event
from stratnb.kernels.layout import DECISION_REASONS, ENTER, SKIP, Z_ENTER, Z_LOW_SCORE
from stratnb.model import Fill
from stratnb.multi.explain import REASON_TEXTS
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import build_config
from stratnb.strategy.sections import Risk
from stratnb.view import (
    AnalyzerView,
    CacheEntryView,
    CacheView,
    CheckView,
    ConfigVersion,
    ConfigView,
    DecisionView,
    EngineView,
    FeedView,
    MarketRiskView,
    OrderView,
    PositionView,
    Preview,
    RiskScopeView,
    RiskView,
    RuleView,
    StrategyView,
    WhatIfView,
)

Floats = npt.NDArray[np.float64]

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
INJECTION = "<img src=x onerror=alert(1)>"


class SampleJob:
    """A submitted operation that ends when told to."""

    def __init__(self, op: str, arguments: dict[str, Any]) -> None:
        self.op = op
        self.arguments = arguments
        self.done = False
        self.error: Exception | None = None
        self._result: Any = None

    def finish(self, result: Any = None, error: Exception | None = None) -> None:
        """End the job."""
        self._result, self.error, self.done = result, error, True

    def result(self) -> Any:
        """Return the result or raise the error."""
        if self.error is not None:
            raise self.error
        return self._result


class SampleBoard:
    """A `Board` over seeded candles; see the module."""

    def __init__(
        self,
        strategies: int = 3,
        *,
        candles: int = 3_000,
        seed: int = 7,
        title: str = "Level breakout",
        slow: bool = False,
    ) -> None:
        self.seed = seed
        self.title = title
        self.slow = slow
        self.step_ms = MINUTE_MS
        self.symbols = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
        self.market = {symbol: _candles(20_000, seed + i, 64_000.0 / 10**i) for i, symbol in enumerate(self.symbols)}
        self.newest = candles
        self.count = strategies
        self.state = "running"
        self.refused: dict[str, str] = {}
        self.submitted: list[tuple[str, dict[str, Any]]] = []
        self.jobs: list[SampleJob] = []
        self.broken: Exception | None = None
        self.late_ms = 0.0
        self.timeframe = "1m"
        self.orders: tuple[OrderView, ...] = ()
        self.account_risk: RiskScopeView | None = None
        self.notifies = False
        self._seq = 0
        self._fills = {self.strategy_id(i): _fills(self.strategy_id(i), self._rows(i)) for i in range(strategies)}

    def strategy_id(self, i: int) -> str:
        """Return the id of the i-th strategy."""
        return f"s{i}@{self.symbol(i)}"

    def symbol(self, i: int) -> str:
        """Return the symbol of the i-th strategy."""
        return self.symbols[i % len(self.symbols)]

    def advance(self, n: int = 1) -> None:
        """Close n more candles."""
        self.newest = min(self.newest + n, 20_000)
        self._seq += n

    def view(self) -> EngineView:
        """Return the newest picture; raises `broken` when that is set."""
        if self.broken is not None:
            raise self.broken
        rows = tuple(self._strategy(i) for i in range(self.count))
        positions = tuple(self._position(i) for i in range(min(self.count, 2)))
        gross = sum(p.notional for p in positions)
        pnl = sum(p.unrealized_pnl for p in positions)
        return EngineView(
            seq=self._seq,
            name="sample",
            state=self.state,  # type: ignore[arg-type]
            mode="parallel",
            trade="paper",
            account="paper",
            quote="USDT",
            now_ms=self._now_ms(),
            equity=100_000.0 + pnl,
            start_equity=100_000.0,
            day_pnl=pnl,
            gross_exposure=gross / 100_000.0,
            net_exposure=gross / 200_000.0,
            exposure_limit=0.6,
            open_positions=len(positions),
            max_open_positions=5,
            risk_state="ACTIVE",
            risk_reason="",
            data_age_s=0.4,
            loop_lag_p95_ms=4.0,
            feed=FeedView("Synthetic, seed 7", self.symbols, "1m", 60.0, self.newest, 20_000, False, True),
            strategies=rows,
            positions=positions,
            cache=self._cache(),
            markets=dict.fromkeys(self.symbols, 2),
            events_seq=self._seq,
            events_dropped=0,
            version="0.1.0",
            orders=self.orders,
            risk=self._risk(positions),
            notifies=self.notifies,
        )

    def events_since(self, seq: int, limit: int = 1000) -> Sequence[Event]:
        """Return no events; tests of the log set their own."""
        return [event for event in getattr(self, "events", []) if event.seq > seq][:limit]

    def submit(self, op: str, /, **arguments: Any) -> SampleJob:
        """Record the operation and return its job."""
        job = SampleJob(op, arguments)
        self.submitted.append((op, arguments))
        self.jobs.append(job)
        if op in self.refused:
            job.finish(error=Refused(self.refused[op], f"{op} was refused", hint="try again later"))
        elif not self.slow:
            if op in ("pause", "resume", "start", "stop") and not arguments.get("strategy_id"):
                self.state = {"pause": "paused", "stop": "stopped"}.get(op, "running")
            job.finish(result={})
        return job

    def candles(self, symbol: str, timeframe: str, *, last: int = 2000, before_ms: int | None = None) -> Floats:
        """Return closed candles of the symbol; a higher timeframe is grouped from the minutes."""
        rows = self.market[symbol][: self.newest]
        factor = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}[timeframe]
        if factor > 1:
            whole = rows[: len(rows) // factor * factor].reshape(-1, factor, 6)
            rows = np.column_stack(
                [
                    whole[:, 0, 0],
                    whole[:, :, 1].max(1),
                    whole[:, :, 2].min(1),
                    whole[:, -1, 3],
                    whole[:, :, 4].sum(1),
                    whole[:, 0, 5],
                ]
            )
        if before_ms is not None:
            rows = rows[rows[:, 5] < before_ms]
        return rows[-last:].copy()

    def document(self, strategy_id: str) -> dict[str, Any]:
        """Return a shipped document under the strategy's own title."""
        return build_config("simple-levels").config.to_document()

    def configuration(self, strategy_id: str) -> ConfigView:
        """Return a shipped document as the first version."""
        loaded = build_config("simple-levels")
        first = ConfigVersion(
            strategy_id, 1, {}, dict(loaded.merged), loaded.config.config_hash, "", INJECTION, START_MS
        )
        return ConfigView(strategy_id, 1, loaded.config.to_document(), dict(loaded.provenance), (first,))

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return the patch as a valid difference."""
        return Preview(tuple((path, None, value) for path, value in patch.items()), (), (), False, False)

    def lines(self, strategy_id: str) -> tuple[tuple[str, str], ...]:
        """Return two averages and a level pair."""
        return (
            ("ema21", "EMA 21"),
            ("ema55", "EMA 55"),
            ("an.level.support", "Support"),
            ("an.level.resistance", "Resistance"),
        )

    def columns(
        self, strategy_id: str, names: Sequence[str], *, last: int = 2000, before_ms: int | None = None
    ) -> Floats:
        """Return times and the named columns of the strategy's minutes."""
        rows = self._rows(self._index(strategy_id))
        made = {"ema21": _ema(rows[:, 3], 21), "ema55": _ema(rows[:, 3], 55)}
        made["an.level.support"] = _levels(rows[:, 2], np.min)
        made["an.level.resistance"] = _levels(rows[:, 1], np.max)
        out = self._closes(np.column_stack([rows[:, 5], *(made[name] for name in names)]))
        if before_ms is not None:
            out = out[out[:, 0] < before_ms]
        return out[-last:]

    def decisions(self, strategy_id: str, *, last: int | None = None) -> Floats:
        """Return a decision a closed candle: SKIP, and ENTER before each entry; in catch-up before `late_ms`."""
        times = self._rows(self._index(strategy_id))[:, 5]
        entries = [fill.time_ms - self.step_ms for fill in self._fills[strategy_id] if fill.realized_pnl == 0.0]
        enter = np.isin(times, entries)
        action, reason = np.where(enter, ENTER, SKIP), np.where(enter, Z_ENTER, Z_LOW_SCORE)
        stop = np.where(enter, 0.995 * self._rows(self._index(strategy_id))[:, 3], np.nan)
        rows = np.column_stack([times, action, enter, reason, np.full(len(times), 0.29), stop, times < self.late_ms])
        rows = self._closes(rows)
        return rows if last is None else rows[-last:]

    def reasons(self, strategy_id: str) -> dict[int, tuple[str, str]]:
        """Return the words of the reasons."""
        return {code: (word, REASON_TEXTS[word]) for code, word in enumerate(DECISION_REASONS)}

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> DecisionView | None:
        """Return a decision explained, or None outside the candles."""
        rows = self._rows(self._index(strategy_id))
        at = len(rows) - 1 if open_time_ms is None else int(np.searchsorted(rows[:, 5], open_time_ms))
        if at >= len(rows) or (open_time_ms is not None and rows[at, 5] != open_time_ms):
            return None
        close, when = float(rows[at, 3]), int(rows[at, 5])
        return DecisionView(
            strategy_id=strategy_id,
            open_time_ms=when,
            close_time_ms=when + self.step_ms,
            action="ENTER",
            direction=1,
            reason="enter",
            reason_text="all filters and risk checks passed",
            score=0.466,
            score_needed=0.35,
            confidence=0.62,
            confidence_needed=0.5,
            mode="weighted",
            catchup=False,
            close=close,
            stop=close * 0.995,
            targets=(close * 1.01, close * 1.02),
            quantity=0.606,
            notional=0.606 * close,
            analyzers=(
                AnalyzerView("breakout", "breakout", True, 1, 0.82, 0.6, 0.287, "R0 broken by 0.31 ATR"),
                AnalyzerView("ema", "ema", True, 1, 0.64, 0.3, 0.160, "fast above slow for 9 candles"),
                AnalyzerView("wick", "wick", False, 0, 0.0, 0.1, 0.0, "n/a: warming up"),
            ),
            filters=(
                CheckView("atr_range", True, "0.24%", "0.15-1.20%"),
                CheckView("blind_zone", False, "0.1", ">= 0.2"),
            ),
            sizing=(CheckView("risk", True, "0.606", "0.5%"),),
            risk=(CheckView("exposure_account", True, "40.9%", "<= 60.0%"),),
            warmup_done=55,
            warmup_needed=55,
        )

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return a reason."""
        return "Gap: 3 candles are missing."

    def what_if(
        self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None
    ) -> WhatIfView | None:
        """Return counts that grow with the number of changes; the decision itself stays."""
        rows, made = self.decisions(strategy_id), self.decision(strategy_id, open_time_ms)
        old = int((rows[:, 1] == ENTER).sum())
        new, n = old + 10 * len(changes), len(rows)
        reasons = (("enter", old, new), ("low_score", n - old, n - new))
        return WhatIfView(
            changes, made, n, int(rows[0, 0]), int(rows[-1, 0]), (old, new), new - old, 0, old, 0, reasons
        )

    def fills(self, strategy_id: str | None = None) -> Sequence[Fill]:
        """Return the fills up to now."""
        now = self._now_ms()
        wanted = self._fills if strategy_id is None else {strategy_id: self._fills.get(strategy_id, [])}
        return sorted((f for fills in wanted.values() for f in fills if f.time_ms <= now), key=lambda f: f.time_ms)

    def equity(self, strategy_id: str | None = None) -> Floats:
        """Return a seeded equity curve with a point per hour of candles."""
        rows = self.market[self.symbols[0]][: self.newest : 10]
        r = np.random.default_rng(self.seed + (0 if strategy_id is None else 1 + self._index(strategy_id)))
        return np.column_stack([rows[:, 5], 100_000.0 + np.cumsum(r.normal(6.0, 40.0, len(rows)))])

    def _closes(self, rows: Floats) -> Floats:
        """Return the rows of the minutes with which the strategy's candles close, at those candles' open times."""
        factor = {"1m": 1, "5m": 5}[self.timeframe]
        closes = rows[factor - 1 :: factor].copy()
        closes[:, 0] -= (factor - 1) * MINUTE_MS
        return closes

    def _index(self, strategy_id: str) -> int:
        return int(strategy_id.split("@", maxsplit=1)[0][1:])

    def _rows(self, i: int) -> Floats:
        return self.market[self.symbol(i)][: self.newest]

    def _now_ms(self) -> int:
        return int(self.market[self.symbols[0]][self.newest - 1, 5]) + self.step_ms

    def _strategy(self, i: int) -> StrategyView:
        held = i < 2
        position = self._position(i) if held else None
        pnl = position.unrealized_pnl if position else 0.0
        return StrategyView(
            strategy_id=self.strategy_id(i),
            name="simple-levels",
            title=self.title,
            symbol=self.symbol(i),
            label="",
            timeframe=self.timeframe,
            state="active" if held else "dormant",
            paused=False,
            cached=True,
            pinned=held,
            side=1 if held else 0,
            quantity=position.quantity if position else 0.0,
            open_pnl=pnl,
            realized_pnl=12.5 * i,
            total_pnl=pnl + 12.5 * i,
            trades=4 + i,
            wins=2,
            win_rate=2 / (4 + i),
            profit_factor=1.2,
            max_drawdown=0.03,
            equity=10_000.0 + pnl,
            exposure=0.2 if held else 0.0,
            denials=1,
            last_candle_ms=self._now_ms(),
            last_decision_ms=self._now_ms(),
            last_decision="HOLD" if held else "WAIT",
            last_reason="no signal",
            last_score=0.29,
            warmup_done=55,
            warmup_needed=55,
            error="",
        )

    def _position(self, i: int) -> PositionView:
        fills = self._fills[self.strategy_id(i)]
        entry = fills[-1]
        mark, risk = float(self._rows(i)[-1, 3]), entry.price * 0.004
        opened = entry.time_ms
        return PositionView(
            strategy_id=self.strategy_id(i),
            symbol=self.symbol(i),
            side=1,
            quantity=entry.quantity,
            entry_price=entry.price,
            mark_price=mark,
            notional=entry.quantity * mark,
            unrealized_pnl=entry.quantity * (mark - entry.price),
            r_multiple=(mark - entry.price) / risk,
            stop=entry.price - 0.5 * risk,
            stop_reason="trailing",
            targets=((entry.price + risk, 0.5, True), (entry.price + 2 * risk, 0.5, False)),
            opened_ms=opened,
            stop_history=((opened, entry.price - risk), (opened + 120 * MINUTE_MS, entry.price - 0.5 * risk)),
            pending_exit="",
            decimals=2,
        )

    def _risk(self, positions: Sequence[PositionView]) -> RiskView:
        """Return an account near its drawdown and, with a strategy, one that is latched and paused."""
        now = self._now_ms()
        midnight = (now // 86_400_000 + 1) * 86_400_000
        limits = AccountLimits().model_dump()
        shared = (
            RuleView("daily_loss", "fraction", 0.012, 0.05, 0.24, "halt"),
            RuleView("max_drawdown", "fraction", 0.17, 0.2, 0.85, "halt"),
            RuleView("profit_lock", "fraction", 0.0, None, None, "pause"),
            RuleView("feed_loss", "seconds", None, 300.0, None, "reduce"),
            RuleView("max_open_positions", "count", 2.0, 10.0, 0.2, "deny"),
        )
        latched = (
            RuleView("max_drawdown", "fraction", 0.16, 0.15, 0.16 / 0.15, "reduce", True, None, now - 3_600_000),
            RuleView("consecutive_losses", "count", 5.0, 5.0, 1.0, "pause", True, midnight, now - 60_000),
        )
        account = ("", "ACTIVE", "", None, "", None, "", 99_000.0, 119_000.0, 100_200.0, shared, limits)
        scopes = [self.account_risk or RiskScopeView(*account)]  # type: ignore[arg-type]
        for i in range(self.count):
            own = latched if i == 0 else shared[:2]
            state: Any = ("REDUCING", "max_drawdown", None, "consecutive_losses", midnight) if i == 0 else (
                "ACTIVE", "", None, "", None)  # fmt: skip
            values = (9_000.0, 10_700.0, 9_100.0, own, Risk().model_dump())
            scopes.append(RiskScopeView(self.strategy_id(i), *state, "", *values))
        markets = tuple(MarketRiskView(p.symbol, p.notional, p.notional, 0.5, 1.0, 1) for p in positions)
        return RiskView(tuple(scopes), markets, 120.0, 0, (("max_drawdown", 1, 3, 9), ("risk_per_trade", 0, 1, 1)))

    def _cache(self) -> CacheView:
        entries = tuple(
            CacheEntryView(
                self.strategy_id(i), 4.0 * i, 2.0, 100 + i, 1_500_000, i < 2, ("position",) if i < 2 else (), "active"
            )
            for i in range(min(self.count, 10))
        )
        times = {"p50": 0.9, "p95": 3.1}
        return CacheView(
            10, len(entries), 2, 0, 900, 40, 2, 0.957, 12, 1, 3, {"lru": 3}, times, times, 15_000_000, entries
        )


def with_text(board: SampleBoard, words: str = INJECTION) -> SampleBoard:
    """Return the board with words of an attacker in its titles."""
    board.title = words
    return board


def renamed(view: EngineView, title: str) -> EngineView:
    """Return the picture with another title on every strategy."""
    return replace(view, strategies=tuple(replace(row, title=title) for row in view.strategies))


def _candles(n: int, seed: int, price: float) -> Floats:
    """Return n minutes of a seeded walk with swings; rows as in `Board.candles`."""
    r = np.random.default_rng(seed)
    drift = 0.00035 * np.sin(np.arange(n) / 60.0) + r.normal(0.0, 0.0006, n)
    close = np.round(price * np.exp(np.cumsum(drift)), 2)
    start = np.r_[price, close[:-1]]
    high = np.maximum(start, close) + np.abs(r.normal(0.0, 0.0004, n)) * price
    low = np.minimum(start, close) - np.abs(r.normal(0.0, 0.0004, n)) * price
    volume = np.abs(close - start) * 0.4 + r.gamma(4.0, 9.0, n)
    times = START_MS + MINUTE_MS * np.arange(n, dtype=np.float64)
    return np.column_stack([start, high.round(2), low.round(2), close, volume.round(1), times])


def _ema(x: Floats, period: int) -> Floats:
    a, out = 2.0 / (period + 1.0), np.empty_like(x)
    out[0] = x[0]
    for i in range(1, len(x)):
        out[i] = a * x[i] + (1.0 - a) * out[i - 1]
    out[: period - 1] = np.nan
    return out


def _levels(x: Floats, pick: Any) -> Floats:
    """Return the extreme of the 240 candles before each block of 120, NaN in the first."""
    out = np.full(len(x), np.nan)
    for at in range(240, len(x), 120):
        out[at : at + 120] = pick(x[at - 240 : at])
    return out


def _fills(strategy_id: str, rows: Floats) -> list[Fill]:
    """Return a long trade every 150 candles, entry to exit 60 candles later; the last one stays open."""
    symbol, out = strategy_id.split("@")[1], []
    starts = list(range(100, len(rows) - 60, 150))
    for number, at in enumerate(starts, 1):
        when, price, quantity = int(rows[at, 5]), float(rows[at, 0]), 0.4
        out.append(Fill(strategy_id, symbol, "buy", quantity, price, 1.0, when, "entry", 0.0, quantity, number))
        if at != starts[-1]:
            end = float(rows[at + 60, 0])
            pnl = quantity * (end - price)
            out.append(
                Fill(
                    strategy_id, symbol, "sell", quantity, end, 1.0, int(rows[at + 60, 5]), "target_1", pnl, 0.0, number
                )
            )
    return out
