"""The settings of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.services.ledger import AccountLimits

__all__ = ["EngineSettings", "engine_settings"]


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
    known = AccountLimits.model_fields if "." in path else EngineSettings.model_fields
    close = nearest(path.rpartition(".")[2], known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"settings: {', '.join(known)}"
    return Finding(path, "unknown_key", "no such setting", value=fault["input"], hint=hint)
