"""The plain sections of a strategy document: market, timeframes, entry, risk, execution, capital and the rest."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

__all__ = [
    "ENTRY_DEFAULTS",
    "ROLES",
    "Capital",
    "Entry",
    "Evidence",
    "Execution",
    "LowProfit",
    "MarketSection",
    "ProfitLock",
    "Refine",
    "Risk",
    "Role",
    "Section",
    "Simulation",
    "State",
    "StopLossGuard",
    "Timeframe",
    "Timeframes",
]

Role = Literal["primary", "trend", "trend2", "context"]
ROLES: tuple[Role, ...] = ("primary", "trend", "trend2", "context")
Timeframe = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
Name = Annotated[str, Field(pattern=r"^[^\s/:<>&\"']{1,32}/[^\s/:<>&\"']{1,32}(:[^\s/:<>&\"']{1,64})?$")]

FRACTION: JsonDict = {"x-unit": "fraction"}
SECONDS: JsonDict = {"x-unit": "s"}
CANDLES: JsonDict = {"x-unit": "candles"}

ENTRY_DEFAULTS: dict[str, dict[str, float]] = {
    "vote": {"min_confidence": 0.6},
    "weighted": {"min_confidence": 0.75, "min_score": 0.45},
    "coverage": {"min_confidence": 0.5, "min_score": 0.25},
}


class Section(BaseModel):
    """A frozen part of a configuration that takes no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class MarketSection(Section):
    """Which market is traded, and in which direction; shorting needs a linear market."""

    symbol: Name | None = Field(None, title="Symbol")
    kind: Literal["spot", "linear"] = Field("spot", title="Market kind")
    direction: Literal["both", "long", "short"] = Field("long", title="Direction")
    reference: Name = Field("BTC/USDT", title="Reference market")

    @model_validator(mode="before")
    @classmethod
    def _direction(cls, given: Any) -> Any:
        """Take both directions on a linear market unless one is written."""
        if isinstance(given, dict) and given.get("kind") == "linear":
            return {"direction": "both", **given}
        return given


class Timeframes(Section):
    """The candle lengths by role; only `primary` decides, the higher roles lend their columns."""

    primary: Timeframe = Field("5m", title="Decisions")
    entry: Timeframe | None = Field(None, title="Entry refinement")
    trend: Timeframe | None = Field(None, title="Trend")
    trend2: Timeframe | None = Field(None, title="Second trend")
    context: Timeframe | None = Field(None, title="Context")
    detail: Timeframe | None = Field(None, title="Detail in simulation")

    def of(self, role: Role) -> Timeframe | None:
        """Return the timeframe of a role that blocks may read, None when it is not set."""
        value: Timeframe | None = getattr(self, role)
        return value

    def higher(self) -> dict[Role, Timeframe]:
        """Return the higher roles that are set, in rising order."""
        return {role: length for role in ROLES[1:] if (length := self.of(role)) is not None}


class Entry(Section):
    """How the signals of the analyzers become one decision; unset thresholds follow the mode."""

    mode: Literal["coverage", "weighted", "vote"] = Field("coverage", title="Mode")
    min_confidence: float = Field(0.5, ge=0, le=1, title="Least confidence", json_schema_extra=FRACTION)
    signal_min: float = Field(0.6, ge=0, le=1, title="Least confidence of a vote", json_schema_extra=FRACTION)
    max_conflict: float = Field(0.4, ge=0, le=0.5, title="Most conflict", json_schema_extra=FRACTION)
    min_score: float = Field(0.25, ge=0, le=1, title="Least score", json_schema_extra=FRACTION)
    opposition: float = Field(0.5, ge=0, le=1, title="Weight of opposition", json_schema_extra=FRACTION)
    min_agreeing: int = Field(1, ge=1, le=28, title="Least agreeing analyzers")
    conflict_factor: float = Field(0.8, ge=0, le=1, title="Factor in a trend conflict", json_schema_extra=FRACTION)
    min_candles: int = Field(20, ge=1, le=5000, title="Candles before the first decision", json_schema_extra=CANDLES)
    pyramiding: int = Field(0, ge=0, le=0, title="Additional entries (none in this version)")

    @model_validator(mode="before")
    @classmethod
    def _by_mode(cls, given: Any) -> Any:
        """Fill the thresholds that depend on the mode."""
        if not isinstance(given, dict):
            return given
        mode = given.get("mode", "coverage")
        return {**(ENTRY_DEFAULTS.get(mode, {}) if isinstance(mode, str) else {}), **given}


class Refine(Section):
    """The two-stage entry; this version keeps it switched off."""

    enabled: Literal[False] = Field(False, title="Enabled (off in this version)")
    trigger: Literal["momentum", "retest", "immediate"] = Field("momentum", title="Trigger")
    expiry_s: float = Field(120, ge=1, le=86400, title="Expiry", json_schema_extra=SECONDS)
    body_factor: float = Field(0.3, gt=0, title="Body factor")
    window: int = Field(50, ge=5, le=500, title="Window", json_schema_extra=CANDLES)
    min_window: int = Field(5, ge=2, title="Least window", json_schema_extra=CANDLES)
    tolerance: float = Field(0.0005, ge=0, le=0.05, title="Tolerance", json_schema_extra=FRACTION)


class StopLossGuard(Section):
    """A pause after several losing stops within a window."""

    count: int = Field(3, ge=1, le=12, title="Stops")
    window_s: float = Field(86400, gt=0, title="Window", json_schema_extra=SECONDS)
    pause_s: float = Field(21600, ge=0, title="Pause", json_schema_extra=SECONDS)


class LowProfit(Section):
    """A pause when the newest trades of the window, up to 12, together returned too little."""

    trades: int = Field(10, ge=1, le=12, title="Trades")
    window_s: float = Field(604800, gt=0, title="Window", json_schema_extra=SECONDS)
    min_return: float = Field(0, ge=-1, le=1, title="Least return", json_schema_extra=FRACTION)
    pause_s: float = Field(86400, ge=0, title="Pause", json_schema_extra=SECONDS)


class ProfitLock(Section):
    """A pause for the day when a gain of it is given back."""

    arm: float = Field(0.05, gt=0, le=10, title="Gain from which it acts", json_schema_extra=FRACTION)
    give_back: float = Field(0.5, gt=0, le=1, title="Share of it given back", json_schema_extra=FRACTION)


Factor = Annotated[float, Field(ge=0, le=1, json_schema_extra=FRACTION)]


class Risk(Section):
    """The limits of one strategy; None switches a rule off.

    Rules named in `carried` are checked and kept, and act in a later version.
    """

    carried: ClassVar[tuple[str, ...]] = ()

    max_daily_loss: float | None = Field(0.03, gt=0, le=1, title="Most loss of a day", json_schema_extra=FRACTION)
    max_exposure: float | None = Field(
        1.0, gt=0, le=10, title="Most exposure (share of equity x leverage)", json_schema_extra=FRACTION
    )
    max_drawdown: float | None = Field(0.15, gt=0, le=1, title="Most drawdown", json_schema_extra=FRACTION)
    max_consecutive_losses: int | None = Field(5, ge=1, title="Most losses in a row")
    cooldown_s: float | None = Field(0, ge=0, title="Cooldown after a close", json_schema_extra=SECONDS)
    max_open_orders: int | None = Field(5, ge=1, title="Most open orders")
    max_trades_per_day: int | None = Field(200, ge=1, title="Most trades of a day")
    stop_loss_guard: StopLossGuard | None = Field(StopLossGuard(), title="Stop-loss guard")
    low_profit: LowProfit | None = Field(None, title="Low profit pause")
    profit_lock: ProfitLock | None = Field(None, title="Profit lock")
    daily_target: float | None = Field(None, gt=0, le=10, title="Gain of a day to stop at", json_schema_extra=FRACTION)
    streak_factors: tuple[Factor, ...] | None = Field(
        (1.0, 1.0, 0.75, 0.5, 0.25), min_length=1, max_length=20, title="Size by losses in a row"
    )
    health_factor: bool = Field(False, title="Size by the health of the newest trades")
    drawdown_factor: bool = Field(True, title="Size by the drawdown")
    max_holding_s: float | None = Field(None, gt=0, title="Longest holding time", json_schema_extra=SECONDS)


class Simulation(Section):
    """The costs in simulation; fees of None are those of the market."""

    taker_fee: float | None = Field(None, ge=0, le=0.1, title="Taker fee", json_schema_extra=FRACTION)
    maker_fee: float | None = Field(None, ge=-0.01, le=0.1, title="Maker fee", json_schema_extra=FRACTION)
    slippage_model: Literal["fixed", "spread", "volatility", "volume"] = Field("fixed", title="Slippage model")
    slippage: float = Field(0.0005, ge=0, le=0.1, title="Slippage", json_schema_extra=FRACTION)
    half_spread: float = Field(0.0002, ge=0, le=0.1, title="Half the spread", json_schema_extra=FRACTION)
    slippage_factor: float = Field(0.1, ge=0, le=10, title="Slippage per NATR, or per root of the share of volume")
    max_participation: float | None = Field(
        None, gt=0, le=1, title="Most of a candle's volume that an order at market takes", json_schema_extra=FRACTION
    )
    touch: bool = Field(False, title="Targets fill when touched")
    fee_currency: Literal["quote", "base"] = Field("quote", title="Currency of the fee of a spot buy")
    latency_ms: float = Field(0, ge=0, le=3_600_000, title="Latency of an order (with finer candles)")
    maintenance_margin: float = Field(0.005, ge=0, le=0.1, title="Maintenance margin", json_schema_extra=FRACTION)
    liquidation_fee: float = Field(0.0, ge=0, le=0.1, title="Fee of a liquidation", json_schema_extra=FRACTION)
    funding: bool = Field(True, title="Funding (linear markets)")
    funding_rate: float = Field(
        0.0, ge=-0.05, le=0.05, title="Funding rate where none is given", json_schema_extra=FRACTION
    )
    end: Literal["mark", "close"] = Field("mark", title="Open position at the end of a backtest")


class Execution(Section):
    """How orders are placed and what they cost in simulation."""

    entry_order: Literal["market", "limit"] = Field("market", title="Entry order")
    limit_offset: float = Field(
        0, ge=0, le=0.05, title="Distance of a limit from the close", json_schema_extra=FRACTION
    )
    limit_timeout_s: float | None = Field(
        None, ge=1, le=86400, title="Longest rest of a limit (one primary candle without)", json_schema_extra=SECONDS
    )
    post_only: bool = Field(False, title="A limit never takes")
    limit_fallback: bool = Field(False, title="An expired limit goes to market")
    max_slippage: float | None = Field(
        0.005, ge=0, le=0.1, title="Most slippage of an entry", json_schema_extra=FRACTION
    )
    leverage: float = Field(1, ge=1, le=125, title="Leverage (linear markets)")
    margin_mode: Literal["isolated", "cross"] = Field("isolated", title="Margin mode")
    simulation: Simulation = Field(Simulation(), title="Simulation")


class Capital(Section):
    """The share of the account that the strategy is given."""

    unit: Literal["fraction", "quote"] = Field("fraction", title="Unit")
    amount: float = Field(0.1, gt=0, title="Amount")
    compound: bool = Field(True, title="Size on own equity")


class State(Section):
    """What happens to block states after missed candles."""

    gap_policy: Literal["hold", "reset"] = Field("hold", title="After a gap")
    max_catchup: int = Field(100_000, ge=1, le=10_000_000, title="Most candles to catch up", json_schema_extra=CANDLES)


class Evidence(Section):
    """Claims of the author; shown as claimed, never as measured."""

    trades: int | None = Field(None, ge=0, title="Trades")
    win_rate: float | None = Field(None, ge=0, le=1, title="Win rate", json_schema_extra=FRACTION)
    profit_factor: float | None = Field(None, ge=0, title="Profit factor")
    period: str | None = Field(None, max_length=400, title="Period")
    source: str | None = Field(None, max_length=400, title="Source")
