"""Switching: who is active, changed in two phases with a rollback before the commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stratnb.errors import ConfigError, Refused, StratnbError, positive
from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.records import POLICIES, Policy, State, SwitchRow
from stratnb.multi.router import Lane

__all__ = ["SwitchResult", "Switcher"]

Phase = Literal["noop", "prepare", "drain", "commit", "retire"]

log = logging.getLogger(__name__)


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
class _Attempt:
    """What a running switch has done so far."""

    from_id: str | None
    to_id: str
    policy: Policy
    started_ms: int
    began: float
    phase: Phase = "prepare"
    caught_up: int = 0
    canceled: int = 0
    action: str = "none"
    orders: tuple[str, ...] = ()


class Switcher:
    """Runs switches one at a time on the engine's loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._busy = False
        self._count = 0

    @property
    def is_busy(self) -> bool:
        """Return whether a switch is running."""
        return self._busy

    async def switch(
        self,
        to_id: str,
        *,
        policy: Policy = "keep",
        from_id: str | None = None,
        timeout_s: float = 5.0,
        dry_run: bool = False,
    ) -> SwitchResult:
        """Make `to_id` the active one; see `SwitchResult`. Raises unknown_strategy, switch_in_progress, bad policy."""
        desk = self._desk
        if policy not in POLICIES:
            raise ConfigError(
                "enum", f"policy {policy!r} is not known", value=policy, hint=f"one of {', '.join(POLICIES)}"
            )
        if not positive(timeout_s):
            hint = "give a number such as 5.0"
            raise ConfigError("range", f"timeout_s {timeout_s!r} is not above 0 seconds", value=timeout_s, hint=hint)
        record = desk.registry.get(to_id)
        old = self._leaving(to_id, from_id)
        attempt = _Attempt(old, to_id, policy, desk.now_ms(), time.perf_counter())
        if self._busy:
            raise Refused("switch_in_progress", "another switch is running", value=to_id, hint="wait for its result")
        desk.check_stays(to_id)
        if record.state == "active":
            attempt.phase = "noop"
            return self._result(attempt, success=True)
        if dry_run:
            return self._preview(attempt)
        self._busy = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._prepare(attempt)
            self._drain(attempt)
            self._commit(attempt)
        except (StratnbError, TimeoutError) as error:
            return self._rolled_back(attempt, error)
        except BaseException as error:
            self._rolled_back(attempt, error)
            raise
        finally:
            self._busy = False
        await self._retire(attempt)
        result = self._result(attempt, success=True)
        if old is not None:
            desk.bus.publish("STRATEGY_SWITCHED", strategy_id=to_id, source="switch", payload=_payload(result))
        desk.switch_ms.append(result.duration_ms)
        return result

    async def activate(self, strategy_id: str, *, timeout_s: float = 5.0) -> SwitchResult:
        """Make one more strategy active; in exclusive mode this needs that none is."""
        active = self._desk.registry.active_ids()
        if self._desk.registry.mode == "exclusive" and active and strategy_id not in active:
            raise Refused(
                "mode_conflict",
                f"{active[0]} is active",
                value=active[0],
                hint="switch to the other one, or use parallel mode",
            )
        return await self.switch(strategy_id, timeout_s=timeout_s)

    async def deactivate(self, strategy_id: str, *, policy: Policy = "keep") -> State:
        """Take a strategy out of the active ones and return its new state: managing with a position, else dormant."""
        desk = self._desk
        if policy not in POLICIES:
            raise ConfigError(
                "enum", f"policy {policy!r} is not known", value=policy, hint=f"one of {', '.join(POLICIES)}"
            )
        record = desk.registry.get(strategy_id)
        desk.check_stays(strategy_id)
        if record.state not in ("active", "suspended"):
            raise Refused(
                "illegal_transition", f"{strategy_id} is {record.state}", value=record.state, hint="only active ones"
            )
        lane = desk.lane(strategy_id)
        self._check_policy(lane, policy)
        desk.router.drop_entry(lane)
        if policy == "close":
            desk.close_now(lane, at.REASON_SWITCH)
        state = self._resting(lane)
        desk.set_state(strategy_id, state)
        desk.bus.publish("STRATEGY_DEACTIVATED", strategy_id=strategy_id, source="switch", payload={"state": state})
        await desk.settle_cache(strategy_id)
        return state

    def _leaving(self, to_id: str, from_id: str | None) -> str | None:
        """Return the id that the switch replaces, if any."""
        registry = self._desk.registry
        if from_id is not None:
            if registry.get(from_id).state not in ("active", "suspended"):
                raise Refused("not_active", f"{from_id} is not active", value=from_id, hint="name an active strategy")
            return from_id
        if registry.mode == "parallel":
            return None
        running = [
            r.strategy_id for r in registry.list() if r.state in ("active", "suspended") and r.strategy_id != to_id
        ]
        return running[0] if running else None

    async def _prepare(self, attempt: _Attempt) -> None:
        """Create or wake the target and bring it up to the newest candle; the old one goes on trading."""
        self._check(attempt)
        desk = self._desk
        if desk.registry.get(attempt.to_id).state == "dormant":
            desk.set_state(attempt.to_id, "preparing")
        orchestrator = await desk.orchestrator(attempt.to_id)
        attempt.caught_up = desk.caught_up(attempt.to_id) + desk.catch_up(orchestrator)

    def _check(self, attempt: _Attempt) -> None:
        """Raise Refused when the switch could not go through as things are: for a preview and for the switch itself."""
        desk, record = self._desk, self._desk.registry.get(attempt.to_id)
        if record.state == "failed":
            lane = desk.lane(attempt.to_id)
            raise Refused(
                "strategy_failed",
                f"{attempt.to_id} has failed: {lane.error}",
                hint="remove it, or mend it and add it again",
            )
        if record.state == "suspended":
            error = desk.lane(attempt.to_id).error
            text = f"{attempt.to_id} was halted: {error}" if error else f"{attempt.to_id} is paused"
            hint = "mend the block and define it again, then resume the strategy" if error else "resume it first"
            raise Refused("strategy_suspended", text, hint=hint)
        if attempt.from_id is not None:
            self._check_policy(desk.lane(attempt.from_id), attempt.policy)
        desk.cache.check_room(attempt.to_id)

    def _drain(self, attempt: _Attempt) -> None:
        """Finish the old one: no await from here to the commit, so no candle comes between."""
        attempt.phase = "drain"
        desk = self._desk
        attempt.caught_up += desk.catch_up(desk.resident(attempt.to_id))
        if attempt.from_id is None:
            return
        lane = desk.lane(attempt.from_id)
        self._check_policy(lane, attempt.policy)
        attempt.canceled = int(desk.router.drop_entry(lane))
        if attempt.policy == "close" and lane.context.book.quantity:
            attempt.orders = (_close_words(lane),)
            desk.close_now(lane, at.REASON_SWITCH)
            attempt.action = "closed"
        elif lane.context.book.quantity:
            attempt.action = "kept"

    def _commit(self, attempt: _Attempt) -> None:
        """Write switch row and states in one step: before it the old one is active, after it the new one."""
        attempt.phase = "commit"
        desk = self._desk
        self._count += 1
        row = SwitchRow(
            seq=self._count,
            from_id=attempt.from_id,
            to_id=attempt.to_id,
            policy=attempt.policy,
            phase="commit",
            started_ms=attempt.started_ms,
            finished_ms=desk.now_ms(),
            success=True,
        )
        states: dict[str, State] = {attempt.to_id: "active"}
        if attempt.from_id is not None:
            states[attempt.from_id] = self._resting(desk.lane(attempt.from_id))
        desk.commit(row, states)

    async def _retire(self, attempt: _Attempt) -> None:
        """Snapshot and announce the old one; the switch itself is done."""
        attempt.phase = "retire"
        desk = self._desk
        desk.bus.publish("STRATEGY_ACTIVATED", strategy_id=attempt.to_id, source="switch")
        if attempt.from_id is not None:
            payload = {"state": desk.registry.get(attempt.from_id).state}
            desk.bus.publish("STRATEGY_DEACTIVATED", strategy_id=attempt.from_id, source="switch", payload=payload)
            try:
                await desk.settle_cache(attempt.from_id)
            except Exception as error:
                log.exception("%s could not be put to rest", attempt.from_id)
                told = {"code": "retire", "message": f"{type(error).__name__}: {error}"}
                desk.bus.publish("STRATEGY_ERROR", strategy_id=attempt.from_id, source="switch", payload=told)

    def _rolled_back(self, attempt: _Attempt, error: BaseException) -> SwitchResult:
        """Put the target back into its former state and report."""
        desk = self._desk
        if desk.registry.get(attempt.to_id).state == "preparing":
            failed = isinstance(error, StratnbError) and error.code == "strategy_failed"
            desk.set_state(attempt.to_id, "failed" if failed else "dormant")
        if isinstance(error, StratnbError):
            told = _told(error)
        elif isinstance(error, TimeoutError):
            told = ("timeout", "the target was not ready in time; the old strategy stays active")
        else:
            told = ("canceled" if isinstance(error, asyncio.CancelledError) else "exception", repr(error))
        result = self._result(attempt, success=False, error=told)
        desk.bus.publish("STRATEGY_SWITCH_FAILED", strategy_id=attempt.to_id, source="switch", payload=_payload(result))
        return result

    def _preview(self, attempt: _Attempt) -> SwitchResult:
        """Return what the switch would do."""
        attempt.phase = "prepare"
        try:
            self._check(attempt)
        except Refused as error:
            return self._result(attempt, success=False, error=_told(error), dry_run=True)
        if attempt.from_id is not None:
            lane = self._desk.lane(attempt.from_id)
            attempt.canceled = int(lane.context.book.row[at.B_ORDER] == at.ORDER_ENTRY)
            if lane.context.book.quantity:
                attempt.action = "closed" if attempt.policy == "close" else "kept"
                attempt.orders = (_close_words(lane),) if attempt.policy == "close" else ()
        return self._result(attempt, success=True, dry_run=True)

    @staticmethod
    def _check_policy(lane: Lane, policy: Policy) -> None:
        book = lane.context.book
        if policy == "refuse" and not book.is_flat:
            raise Refused(
                "position_open",
                f"{book.strategy_id} holds {book.quantity:g} {book.symbol} or has a working order",
                value=book.quantity,
                hint="use policy keep or close",
            )

    @staticmethod
    def _resting(lane: Lane) -> State:
        return "dormant" if lane.context.book.is_flat else "managing"

    def _result(
        self, attempt: _Attempt, *, success: bool, error: tuple[str, str] | None = None, dry_run: bool = False
    ) -> SwitchResult:
        return SwitchResult(
            success=success,
            from_id=attempt.from_id,
            to_id=attempt.to_id,
            policy=attempt.policy,
            phase=attempt.phase,
            started_ms=attempt.started_ms,
            finished_ms=self._desk.now_ms(),
            duration_ms=(time.perf_counter() - attempt.began) * 1000.0,
            caught_up_candles=attempt.caught_up,
            snapshot_seq=self._desk.snapshots_taken if success and not dry_run else None,
            position_action=attempt.action,
            canceled_orders=attempt.canceled,
            orders=attempt.orders,
            dry_run=dry_run,
            error=error,
        )


def _told(error: StratnbError) -> tuple[str, str]:
    """Return what a result says of an error: code and message."""
    code = "capacity" if error.code == "cache_pinned" else error.code
    return code, f"{error.message}; {error.hint}" if error.hint else error.message


def _close_words(lane: Lane) -> str:
    """Return the closing order of a position in words."""
    book = lane.context.book
    verb = "sell" if book.quantity > 0 else "buy"
    return f"{verb} {abs(book.quantity):g} {book.symbol} at market"


def _payload(result: SwitchResult) -> Mapping[str, object]:
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
