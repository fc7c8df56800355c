"""The settings of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.services.ledger import AccountLimits

__all__ = ["BreakerSettings", "EngineSettings", "LeaseTimes", "OrderSettings", "engine_settings"]


class LeaseTimes(BaseModel):
    """How long the right to send orders lives without being renewed (multi_strategy 14); seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    life_s: float = Field(20.0, gt=0, title="Life of the lease")
    renew_s: float = Field(5.0, gt=0, title="Renewed every")
    margin_s: float = Field(2.0, ge=0, title="Nothing is sent this long before its end")


class OrderSettings(BaseModel):
    """How the outcome of an order without an answer is found out (trading_rules 2); seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    query_delays_s: tuple[float, ...] = Field(
        (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0), min_length=1, title="Queries after"
    )
    absences: int = Field(3, ge=1, title="Times not found until it counts as absent")
    absence_spacing_s: float = Field(2.0, ge=0, title="Time between two of them")
    unknown_grace_s: float = Field(15.0, ge=0, title="Earliest time it counts as absent")
    unknown_notice_s: float = Field(60.0, gt=0, title="Notice when unknown for")
    unknown_reduce_s: float = Field(600.0, gt=0, title="Reduce only when unknown for")


class BreakerSettings(BaseModel):
    """When a strategy that fails is tried again (multi_strategy 10); seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    failure_threshold: int = Field(5, ge=1, le=100, title="Failures in a row that open it")
    open_s: float = Field(30.0, ge=1, le=3600, title="First delay")
    backoff: float = Field(2.0, ge=1, le=10, title="Factor of the next delay")
    max_open_s: float = Field(300.0, ge=1, title="Longest delay")
    probes: int = Field(3, ge=1, le=20, title="Good probes that close it")

    @model_validator(mode="after")
    def _longest_last(self) -> Self:
        if self.max_open_s < self.open_s:
            raise ValueError("order_violation: max_open_s must not be below open_s")
        return self


class EngineSettings(BaseModel):
    """Mode, money, limits and sizes; unknown settings are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Literal["exclusive", "parallel"] = Field("exclusive", title="Mode")
    cash: float = Field(10_000.0, gt=0, title="Start of the paper account", json_schema_extra={"x-unit": "quote"})
    limits: AccountLimits = Field(AccountLimits(), title="Limits of the account")
    cache_capacity: int = Field(10, title="Orchestrators kept")
    max_strategies: int = Field(50, title="Strategies")
    history_size: int = Field(1_000, title="History of the registry")
    allowed: tuple[str, ...] = Field((), title="Allowed names (empty: all)")
    one_per_symbol: bool = Field(False, title="One strategy per market")
    event_buffer: int = Field(10_000, ge=1, title="Events kept")
    decisions_kept: int = Field(20_000, ge=1, title="Decisions kept per strategy")
    curve_points: int | None = Field(100_000, ge=256, title="Points of an equity curve (None: all)")
    orders: OrderSettings = Field(OrderSettings(), title="Orders without an answer")
    breaker: BreakerSettings = Field(BreakerSettings(), title="Strategies that fail")
    step_timeout_s: float = Field(5.0, gt=0, title="Longest step of a block in plain Python")
    health_s: float = Field(5.0, gt=0, title="Health is judged every")
    journal: Path | None = Field(None, title="Journal file (None: nothing outlives the process)")
    lease: LeaseTimes = Field(LeaseTimes(), title="The right to send orders")
    tokens: Path | None = Field(None, title="Folder of the operator's tokens (None: beside the journal)")
    paper_book: Path | None = Field(None, title="The paper exchange's own file (None: beside the journal)")
    paper_loss: float = Field(0.0, ge=0, lt=1, title="Share of lost requests and answers of the paper exchange")
    seed: int = Field(0, title="Seed of what is random")
    synthetic_history: int = Field(0, ge=0, title="Candles that a synthetic market has behind it at the start")
    workspace: Path | None = Field(None, title="Folder of own documents")


def engine_settings(given: dict[str, Any]) -> EngineSettings:
    """Return checked settings; all faults at once are `ConfigError("settings_invalid")` with near names."""
    try:
        return EngineSettings(**given)
    except ValidationError as error:
        findings = [_finding(fault) for fault in error.errors()]
        message = f"{len(findings)} settings of the engine are not usable"
        raise ConfigError("settings_invalid", message, findings=findings) from error


def _finding(fault: Any) -> Finding:
    """Return one fault of the settings with its place and remedy."""
    path = ".".join(map(str, fault["loc"]))
    if fault["type"] != "extra_forbidden":
        return Finding(path, fault["type"], f"{fault['input']!r}: {fault['msg']}", value=fault["input"])
    group: Any = EngineSettings.model_fields[str(fault["loc"][0])].annotation if "." in path else EngineSettings
    known = getattr(group, "model_fields", AccountLimits.model_fields)
    close = nearest(path.rpartition(".")[2], known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"settings: {', '.join(known)}"
    return Finding(path, "unknown_key", "no such setting", value=fault["input"], hint=hint)
