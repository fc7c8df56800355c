"""What a viewer sees of an engine: immutable pictures, swapped at most ten times a second.

The engine thread makes an `EngineView`; panels read it and never touch the engine's own state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.errors import Finding
from stratnb.events import Event
from stratnb.model import Trade

__all__ = [
    "AnalyzerView",
    "Board",
    "CacheEntryView",
    "CacheView",
    "CheckView",
    "ConfigVersion",
    "ConfigView",
    "DecisionView",
    "EngineView",
    "FeedView",
    "LinkView",
    "MarketRiskView",
    "OrderView",
    "PositionView",
    "Preview",
    "RiskScopeView",
    "RiskView",
    "RuleView",
    "StrategyView",
    "WhatIfView",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeedView:
    """The replay feed: where it stands and how fast it runs. `speed` is a multiple of real time, inf for max."""

    label: str
    symbols: tuple[str, ...]
    timeframe: str
    speed: float
    position: int
    length: int
    done: bool
    synthetic: bool


@dataclass(frozen=True, slots=True)
class StrategyView:
    """One row of the strategy table. Ratios are None while undefined; money in quote units.

    `last_candle_ms` is when the newest candle of the market closed; overrides and denials are name and value. A breaker
    that is open is asked again at `next_probe_ms`; `sharpe` is of so many days.
    """

    strategy_id: str
    name: str
    title: str
    symbol: str
    label: str
    timeframe: str
    state: str
    paused: bool
    cached: bool
    pinned: bool
    side: int
    quantity: float
    open_pnl: float
    realized_pnl: float
    total_pnl: float
    trades: int
    wins: int
    win_rate: float | None
    profit_factor: float | None
    max_drawdown: float
    equity: float
    exposure: float
    denials: int
    last_candle_ms: int | None
    last_decision_ms: int | None
    last_decision: str
    last_reason: str
    last_score: float
    warmup_done: int
    warmup_needed: int
    error: str
    loaded_ms: int = 0
    activated_ms: int | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    risk_state: str = "ACTIVE"
    risk_reason: str = ""
    risk_until_ms: int | None = None
    risk_pause: str = ""
    risk_pause_until_ms: int | None = None
    denials_by_code: tuple[tuple[str, int], ...] = ()
    order: str = ""
    config_version: int = 1
    health: str = "UNKNOWN"
    health_reasons: tuple[str, ...] = ()
    health_advice: tuple[str, ...] = ()
    breaker: str = "closed"
    breaker_failures: int = 0
    next_probe_ms: int | None = None
    sharpe: float | None = None
    sharpe_days: int = 0


@dataclass(frozen=True, slots=True)
class OrderView:
    """One working order: at market it fills at the open of the next candle, with a `limit` until `until_ms`.

    `filled` of `quantity` is filled already; `state` is that of the order's life, such as OPEN, PARTIAL or UNKNOWN.
    """

    order_id: str
    strategy_id: str
    symbol: str
    side: str
    quantity: float
    reduces: bool
    reason: str
    created_ms: int
    limit: float | None = None
    until_ms: int | None = None
    filled: float = 0.0
    state: str = "SENT"


@dataclass(frozen=True, slots=True)
class PositionView:
    """One open position with its levels; targets are (price, share of the original quantity, done)."""

    strategy_id: str
    symbol: str
    side: int
    quantity: float
    entry_price: float
    mark_price: float
    notional: float
    unrealized_pnl: float
    r_multiple: float | None
    stop: float | None
    stop_reason: str
    targets: tuple[tuple[float, float, bool], ...]
    opened_ms: int
    stop_history: tuple[tuple[int, float], ...]
    pending_exit: str
    decimals: int
    initial_stop: float | None = None
    tick: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheEntryView:
    """One cache entry, in LRU order (least recent first)."""

    strategy_id: str
    age_s: float
    idle_s: float
    accesses: int
    bytes: int
    pinned: bool
    pin_reasons: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True)
class CacheView:
    """The statistics of the orchestrator cache; the recent times are the newest 1000, oldest first."""

    capacity: int
    size: int
    pinned: int
    over_capacity: int
    hits: int
    misses: int
    joins: int
    hit_rate: float | None
    creations: int
    creation_failures: int
    evictions: int
    evictions_by_reason: Mapping[str, int]
    creation_ms: Mapping[str, float | None]
    switch_ms: Mapping[str, float | None]
    resident_bytes: int
    entries: tuple[CacheEntryView, ...]
    creation_recent_ms: tuple[float, ...] = ()
    switch_recent_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleView:
    """One risk rule: what it measures now, its limit (None: off) and what it did.

    `used` is the share of the limit. `effect` is none, pause, reduce, halt or deny (asked at each entry); a rule in
    force ends at `until_ms`, None while it is latched. `tripped_ms` is when it last fired. Fractions, counts, seconds.
    """

    rule: str
    unit: Literal["fraction", "count", "seconds"]
    value: float | None
    limit: float | None
    used: float | None
    effect: str
    in_force: bool = False
    until_ms: int | None = None
    tripped_ms: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RiskScopeView:
    """The risk of the account (scope "") or of a strategy; `limits` are those that may be changed by hand.

    `pause` is the rule that lets no entry pass until `pause_until_ms`, `block` a code of the engine's own.
    """

    scope: str
    state: Literal["ACTIVE", "REDUCING", "HALTED"]
    reason: str
    until_ms: int | None
    pause: str
    pause_until_ms: int | None
    block: str
    equity: float
    peak: float
    day_start: float
    rules: tuple[RuleView, ...]
    limits: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MarketRiskView:
    """Notional held and waiting in one market, in quote units; limits as fractions of the account's equity."""

    symbol: str
    net: float
    gross: float
    net_limit: float | None
    gross_limit: float | None
    strategies: int


@dataclass(frozen=True, slots=True)
class RiskView:
    """Account first, then the strategies. `open_risk` is lost when every stop fills, in quote units.

    `denials` are (code, last hour, last day, since the start); `unstopped` positions have no stop.
    """

    scopes: tuple[RiskScopeView, ...]
    markets: tuple[MarketRiskView, ...]
    open_risk: float
    unstopped: int
    denials: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class EngineView:
    """Everything that changes on screen, at one moment. Times are of the feed's clock.

    `fees` are what a taker pays of the notional, by market: as its first strategy simulates them, else the market's.
    `notifies` says whether the engine has a notifier.
    """

    seq: int
    name: str
    state: Literal["stopped", "running", "paused", "stopping"]
    mode: Literal["exclusive", "parallel"]
    trade: str
    account: str
    quote: str
    now_ms: int
    equity: float
    start_equity: float
    day_pnl: float
    gross_exposure: float
    net_exposure: float
    exposure_limit: float | None
    open_positions: int
    max_open_positions: int | None
    risk_state: Literal["ACTIVE", "REDUCING", "HALTED"]
    risk_reason: str
    data_age_s: float | None
    loop_lag_p95_ms: float
    feed: FeedView | None
    strategies: tuple[StrategyView, ...]
    positions: tuple[PositionView, ...]
    cache: CacheView
    markets: Mapping[str, int]
    events_seq: int
    events_dropped: int
    version: str
    host: str = ""
    pid: int = 0
    notes: tuple[str, ...] = ()
    role: Literal["holder", "observer"] = "holder"
    generation: int = 0
    rights: Literal["viewer", "operator", "owner"] = "owner"
    offline_since_ms: int | None = None
    unknown_orders: int = 0
    journal_bytes: int | None = None
    orders: tuple[OrderView, ...] = ()
    trades_today: tuple[Trade, ...] = ()
    events_by_type: tuple[tuple[str, int], ...] = ()
    risk: RiskView | None = None
    fees: Mapping[str, float] = field(default_factory=dict)
    notifies: bool = False


@dataclass(frozen=True, slots=True)
class AnalyzerView:
    """One analyzer at one candle; `contribution` is signed direction times confidence times weight share."""

    name: str
    kind: str
    ready: bool
    direction: int
    confidence: float
    weight: float
    contribution: float
    explanation: str


@dataclass(frozen=True, slots=True)
class CheckView:
    """One filter, step of the arithmetic or risk check at one candle.

    `result` is the word to show where passed or failed does not say it, such as "Weakened ×0.85" or "Not reached".
    """

    name: str
    passed: bool
    value: str
    limit: str
    note: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class LinkView:
    """An order, fill or trade that came of a decision, or the trade it was made in; money in quote units.

    `time_ms` is where it is on the chart; `pnl` is None while it is not known.
    """

    kind: Literal["order", "fill", "trade"]
    ident: str
    state: str
    side: int
    quantity: float
    price: float | None
    pnl: float | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class DecisionView:
    """The whole decision of one strategy at one candle, explained. `action` is ENTER, SKIP, WAIT, HOLD or WARMING."""

    strategy_id: str
    open_time_ms: int
    close_time_ms: int
    action: str
    direction: int
    reason: str
    reason_text: str
    score: float
    score_needed: float
    confidence: float
    confidence_needed: float
    mode: str
    catchup: bool
    close: float
    stop: float | None
    targets: tuple[float, ...]
    quantity: float | None
    notional: float | None
    analyzers: tuple[AnalyzerView, ...]
    filters: tuple[CheckView, ...]
    sizing: tuple[CheckView, ...]
    risk: tuple[CheckView, ...]
    warmup_done: int
    warmup_needed: int
    inputs: tuple[tuple[str, float | None], ...] = ()
    arithmetic: tuple[CheckView, ...] = ()
    correlation_id: str = ""
    links: tuple[LinkView, ...] = ()


@dataclass(frozen=True, slots=True)
class WhatIfView:
    """The kept decisions of a strategy judged again under other thresholds, from the same candles; never traded.

    `decision` is the one of the asked candle. `signals` counts what passes analyzers, filters and thresholds, as
    (as configured, with the changes); `gained` and `lost` are their differences. `entered` of the kept decisions
    became entries; `unlike` of them do not come out the same when judged again without changes. `reasons` are
    (reason, as configured, with the changes).
    """

    changes: Mapping[str, Any]
    decision: DecisionView | None
    kept: int
    first_ms: int
    last_ms: int
    signals: tuple[int, int]
    gained: int
    lost: int
    entered: int
    unlike: int
    reasons: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One configuration that a strategy ran with, from `created_ms` of the feed's clock on.

    `patch` is what was changed (paths to values), `document` the merged document before the blocks fill in defaults.
    """

    strategy_id: str
    number: int
    patch: Mapping[str, Any]
    document: Mapping[str, Any]
    config_hash: str
    author: str
    reason: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class ConfigView:
    """The running configuration: complete, with the source of every value by path, and its versions, newest last.

    `number` is that of the running version. Sources are default, base, strategy, override.
    """

    strategy_id: str
    number: int
    document: Mapping[str, Any]
    sources: Mapping[str, str]
    versions: tuple[ConfigVersion, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a patch would do: (path, before, after) of every value, and whether it may be applied now.

    `needs_rebuild`: a second orchestrator takes over at a candle boundary. `needs_flat`: it waits for the end of the
    present position or order.
    """

    diff: tuple[tuple[str, Any, Any], ...]
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    needs_rebuild: bool
    needs_flat: bool


class Board(Protocol):
    """What a panel binds to. Reading never blocks on the engine; acting only submits."""

    def view(self) -> EngineView:
        """Return the newest picture."""
        ...

    def events_since(self, seq: int, limit: int = 1000) -> Sequence[Event]:
        """Return buffered events with a larger sequence number, oldest first."""
        ...

    def submit(self, op: str, /, **arguments: Any) -> Any:
        """Queue an operation of the engine and return its `Job`."""
        ...

    def document(self, strategy_id: str) -> dict[str, Any]:
        """Return the whole document of a loaded strategy, merged with its overrides."""
        ...

    def configuration(self, strategy_id: str) -> ConfigView:
        """Return the running configuration of a strategy with its sources and versions."""
        ...

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch (paths to values, None removes) would do; it takes some 10 ms and changes nothing."""
        ...

    def candles(self, symbol: str, timeframe: str, *, last: int = 2000, before_ms: int | None = None) -> Floats:
        """Return up to `last` closed candles as rows (open, high, low, close, volume, open_time_ms), oldest first."""
        ...

    def lines(self, strategy_id: str) -> tuple[tuple[str, str], ...]:
        """Return the drawable columns of a strategy as (column, label), all on the price axis."""
        ...

    def columns(
        self, strategy_id: str, names: Sequence[str], *, last: int = 2000, before_ms: int | None = None
    ) -> Floats:
        """Return rows of primary candles: open_time_ms, then the named columns (NaN while warming up)."""
        ...

    def decisions(self, strategy_id: str, *, last: int | None = None) -> Floats:
        """Return the kept decisions (the newest `last`), oldest first, shape (n, 7).

        Columns: open_time_ms, action code, direction, reason code, score, stop (NaN without one), 1 if in catch-up.
        """
        ...

    def reasons(self, strategy_id: str) -> dict[int, tuple[str, str]]:
        """Return the word and the sentence of every reason code that a strategy's decisions may carry."""
        ...

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> DecisionView | None:
        """Return one decision explained, the newest by default, or None when nothing was decided there."""
        ...

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return in a sentence why there is no decision at a candle, or none at all."""
        ...

    def what_if(
        self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None
    ) -> WhatIfView | None:
        """Return the kept decisions judged again with changes (document paths to values); None without decisions."""
        ...

    def fills(self, strategy_id: str | None = None) -> Sequence[Any]:
        """Return the kept fills (`model.Fill`), oldest first."""
        ...

    def equity(self, strategy_id: str | None = None) -> Floats:
        """Return rows (time_ms, equity) of a strategy or of the account, thinned to at most 5,000."""
        ...
