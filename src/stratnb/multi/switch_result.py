"""What a switch has done, while it runs and once it has ended."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stratnb.errors import ConfigError, StratnbError
from stratnb.multi.records import Policy, SwitchRow

__all__ = ["Attempt", "SwitchResult", "check_times", "payload_of", "told"]

Phase = Literal["noop", "prepare", "drain", "commit", "retire"]


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """How a switch ended; `error` is (code, message) when it did not succeed. A dry run changes nothing.

    `orders` are those it sent, or would send, in words; times are of the engine's clock, the duration of the machine's.
    """

    success: bool
    from_id: str | None
    to_id: str
    policy: Policy
    phase: Phase
    started_ms: int
    finished_ms: int
    duration_ms: float
    caught_up_candles: int = 0
    snapshot_seq: int | None = None
    position_action: str = "none"
    canceled_orders: int = 0
    orders: tuple[str, ...] = ()
    dry_run: bool = False
    error: tuple[str, str] | None = None


@dataclass(slots=True)
class Attempt:
    """What a running switch has done so far; its row in the journal has the number `seq`."""

    from_id: str | None
    to_id: str
    policy: Policy
    started_ms: int
    began: float
    seq: int = 0
    phase: Phase = "prepare"
    committed: bool = False
    caught_up: int = 0
    canceled: int = 0
    action: str = "none"
    orders: tuple[str, ...] = ()

    def row(self, now_ms: int, *, success: bool | None, error: str) -> SwitchRow:
        """Return its row in the journal as it stands; `success` is None until it has ended."""
        return SwitchRow(
            seq=self.seq,
            from_id=self.from_id,
            to_id=self.to_id,
            policy=self.policy,
            phase=self.phase,
            started_ms=self.started_ms,
            finished_ms=None if success is None else now_ms,
            success=success,
            error=error,
        )

    def result(
        self, now_ms: int, snapshots: int | None, *, success: bool, error: tuple[str, str] | None, dry_run: bool
    ) -> SwitchResult:
        """Return how it ended."""
        return SwitchResult(
            success=success,
            from_id=self.from_id,
            to_id=self.to_id,
            policy=self.policy,
            phase=self.phase,
            started_ms=self.started_ms,
            finished_ms=now_ms,
            duration_ms=(time.perf_counter() - self.began) * 1000.0,
            caught_up_candles=self.caught_up,
            snapshot_seq=snapshots,
            position_action=self.action,
            canceled_orders=self.canceled,
            orders=self.orders,
            dry_run=dry_run,
            error=error,
        )


def check_times(**times_s: float) -> None:
    """Raise `ConfigError` for a time that is not a number above zero."""
    for name, value in times_s.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
            hint = "give seconds"
            raise ConfigError("range", f"{name} is a number above 0, not {value!r}", value=value, hint=hint)


def told(error: BaseException) -> tuple[str, str]:
    """Return what a result says of an error: code and message."""
    if isinstance(error, StratnbError):
        code = "capacity" if error.code == "cache_pinned" else error.code
        return code, f"{error.message}; {error.hint}" if error.hint else error.message
    if isinstance(error, TimeoutError):
        return "timeout", "the target was not ready in time; the old strategy stays active"
    return ("canceled" if isinstance(error, asyncio.CancelledError) else "exception"), repr(error)


def payload_of(result: SwitchResult) -> Mapping[str, object]:
    """Return what an event says of a switch."""
    names = (
        "from_id",
        "to_id",
        "policy",
        "phase",
        "duration_ms",
        "caught_up_candles",
        "position_action",
        "canceled_orders",
    )
    told = {name: getattr(result, name) for name in names}
    return told | ({"error": list(result.error)} if result.error else {})
