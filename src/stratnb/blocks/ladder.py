"""What exits are configured with: the rungs of a target ladder, and when a trailing stop starts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MAX_TARGETS", "Level", "TrailingStart"]

MAX_TARGETS = 8


class Level(BaseModel):
    """One rung of a target ladder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float = Field(gt=0, title="Distance", json_schema_extra={"x-unit": "fraction"})
    close: float = Field(gt=0, le=1, title="Share of the original quantity", json_schema_extra={"x-unit": "fraction"})
    on_hit: tuple[Literal["breakeven", "trail", "none"], ...] = Field((), title="When hit")


class TrailingStart(BaseModel):
    """When a trailing stop begins: exactly one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    immediately: bool | None = Field(None, title="Immediately")
    targets: int | None = Field(None, ge=1, le=MAX_TARGETS, title="After this many targets")
    profit: float | None = Field(None, gt=0, le=10, title="At this return", json_schema_extra={"x-unit": "fraction"})

    @model_validator(mode="after")
    def _one(self) -> TrailingStart:
        if sum(bool(v) for v in (self.immediately, self.targets, self.profit)) != 1:
            raise ValueError("start_ambiguous: give exactly one of immediately, targets, profit")
        return self
