"""Switching: who is active, changed in two phases with a rollback before the commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from stratnb.errors import Refused, StratnbError
from stratnb.kernels import layout as at
from stratnb.multi.desk import Desk
from stratnb.multi.handover import ACTIONS, check_leaving, check_named, intended, prepared, resting
from stratnb.multi.records import Policy, State, SwitchRow
from stratnb.multi.switch_result import Attempt, SwitchResult, check_times, payload_of, told

__all__ = ["SwitchResult", "Switcher"]

Hold = Callable[[], AbstractAsyncContextManager[object]]

log = logging.getLogger(__name__)


class Switcher:
    """Runs switches one at a time on the engine's loop; `hold` keeps instants from coming.

    A switch prepares the new strategy while the old one trades, then drains the old one and commits between two
    instants. With policy "wait_flat" the commit comes with the instant that leaves the old one flat.
    """

    def __init__(self, desk: Desk, hold: Hold = nullcontext) -> None:
        self._desk = desk
        self._hold = hold
        self._busy = False
        self._ends: Callable[[StratnbError], None] | None = None
        self._count = max((row.seq for row in desk.store.switches()), default=0)

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
        wait_s: float = 3600.0,
        dry_run: bool = False,
    ) -> SwitchResult:
        """Make `to_id` the active one in place of `from_id` (exclusive: of the active one); see `SwitchResult`.

        `timeout_s` is of the machine's clock, `wait_s` (policy "wait_flat") of the feed's. Raises `unknown_strategy`,
        `switch_in_progress`, and `ConfigError` for a policy or a time that is none; all else is a result.
        """
        desk = self._desk
        check_named(policy)
        check_times(timeout_s=timeout_s, wait_s=wait_s)
        record = desk.registry.get(to_id)
        if from_id is not None:
            desk.registry.get(from_id)
        self._check_free(to_id)
        attempt = Attempt(from_id, to_id, policy, desk.now_ms(), time.perf_counter())
        if record.state == "active":
            attempt.from_id, attempt.phase = from_id or to_id, "noop"
            return self._result(attempt, success=True)
        return await self._run(attempt, replaces=True, times_s=(timeout_s, wait_s), dry_run=dry_run)

    async def activate(self, strategy_id: str, *, timeout_s: float = 5.0) -> SwitchResult:
        """Make one more strategy active; in exclusive mode this needs that none is."""
        registry = self._desk.registry
        active = registry.active_ids()
        if registry.mode == "exclusive" and active and strategy_id not in active:
            raise Refused(
                "mode_conflict",
                f"{active[0]} is active",
                value=active[0],
                hint="switch to the other one, or use parallel mode",
            )
        if registry.mode == "exclusive" or registry.get(strategy_id).state == "active":
            return await self.switch(strategy_id, timeout_s=timeout_s)
        self._check_free(strategy_id)
        attempt = Attempt(None, strategy_id, "keep", self._desk.now_ms(), time.perf_counter())
        return await self._run(attempt, replaces=False, times_s=(timeout_s, 0.0), dry_run=False)

    async def deactivate(self, strategy_id: str, *, policy: Policy = "keep") -> State:
        """Take a strategy out of the active ones and return its new state: managing with a position, else dormant."""
        desk = self._desk
        check_named(policy, ("keep", "close", "refuse"))
        record = desk.registry.get(strategy_id)
        self._check_free(strategy_id)
        if record.state not in ("active", "suspended"):
            raise Refused(
                "illegal_transition", f"{strategy_id} is {record.state}", value=record.state, hint="only active ones"
            )
        async with self._hold():
            self._check_free(strategy_id)
            lane = desk.lane(strategy_id)
            check_leaving(desk, lane, None, policy)
            desk.router.drop_entry(lane)
            desk.router.done()
            if policy == "close":
                desk.close_now(lane, at.REASON_SWITCH)
            state = resting(lane)
            desk.set_state(strategy_id, state)
        desk.bus.publish("STRATEGY_DEACTIVATED", strategy_id=strategy_id, source="switch", payload={"state": state})
        await desk.settle_cache(strategy_id)
        return state

    def end_waiting(self) -> None:
        """Roll a switch back that waits for a strategy to be flat, as when the engine ends."""
        if self._ends is not None:
            self._ends(Refused("engine_closed", "the engine ended while the switch was waiting"))

    def _check_free(self, strategy_id: str) -> None:
        """Raise while a switch runs, or while the strategy is being removed."""
        if self._busy:
            hint = "wait for its result, or cancel it"
            raise Refused("switch_in_progress", "another switch is running", value=strategy_id, hint=hint)
        self._desk.check_stays(strategy_id)

    async def _run(
        self, attempt: Attempt, *, replaces: bool, times_s: tuple[float, float], dry_run: bool
    ) -> SwitchResult:
        """Prepare, drain, commit and retire; what fails before the commit is rolled back."""
        if dry_run:
            return self._preview(attempt)
        self._busy = True
        try:
            self._note(attempt)
            if replaces:
                self._find_leaving(attempt)
            refused = await self._committed(attempt, *times_s)
            if refused is not None:
                return refused
        except (StratnbError, TimeoutError) as error:
            return self._rolled_back(attempt, error)
        except BaseException as error:
            if not attempt.committed:
                self._rolled_back(attempt, error)
            raise
        finally:
            self._busy = False
        await self._retire(attempt)
        result = self._result(attempt, success=True)
        if attempt.from_id is not None:
            self._desk.bus.publish(
                "STRATEGY_SWITCHED", strategy_id=attempt.to_id, source="switch", payload=payload_of(result)
            )
        self._desk.switch_ms.append(result.duration_ms)
        return result

    async def _committed(self, attempt: Attempt, timeout_s: float, wait_s: float) -> SwitchResult | None:
        """Bring a switch up to its commit; return a result only when waiting for it ended otherwise."""
        waiting: asyncio.Future[SwitchResult | None] | None = None
        async with asyncio.timeout(timeout_s):
            await self._prepare(attempt)
            async with self._hold():
                self._drain(attempt)
                if attempt.policy == "wait_flat" and attempt.action != "none":
                    waiting = self._wait(attempt, wait_s)
                else:
                    self._commit(attempt)
        return None if waiting is None else await waiting

    def _find_leaving(self, attempt: Attempt) -> None:
        """Find the id that the switch replaces, if any."""
        registry, named = self._desk.registry, attempt.from_id
        running = [
            r.strategy_id
            for r in registry.list()
            if r.state in ("active", "suspended") and r.strategy_id != attempt.to_id
        ]
        if named is not None:
            if named not in running:
                raise Refused("not_active", f"{named} is not active", value=named, hint="name an active strategy")
        elif registry.mode == "exclusive":
            attempt.from_id = running[0] if running else None
        elif running:
            raise Refused(
                "from_id_missing",
                f"{len(running)} strategies are active",
                value=running,
                hint="name the one to leave with from_id, or activate the other one beside them",
            )

    async def _prepare(self, attempt: Attempt) -> None:
        """Create or wake the target and bring it up to the newest candle; the old one goes on trading."""
        self._check(attempt)
        desk = self._desk
        if desk.registry.get(attempt.to_id).state == "dormant":
            desk.set_state(attempt.to_id, "preparing")
        orchestrator = await desk.orchestrator(attempt.to_id)
        attempt.caught_up = desk.caught_up(attempt.to_id) + desk.catch_up(orchestrator)

    def _check(self, attempt: Attempt) -> None:
        """Raise Refused when the switch could not go through as things are: for a preview and for the switch itself."""
        desk, record = self._desk, self._desk.registry.get(attempt.to_id)
        target = desk.lane(attempt.to_id)
        if record.state == "failed":
            raise Refused(
                "strategy_failed",
                f"{attempt.to_id} has failed: {target.error}",
                hint="remove it, or mend it and add it again",
            )
        if record.state == "suspended":
            text = f"{attempt.to_id} was halted: {target.error}" if target.error else f"{attempt.to_id} is paused"
            hint = "mend the block and define it again, then resume it" if target.error else "resume it first"
            raise Refused("strategy_suspended", text, hint=hint)
        desk.orders.check_resolved(attempt.to_id)
        if attempt.from_id is not None:
            check_leaving(desk, desk.lane(attempt.from_id), target, attempt.policy)
        desk.cache.check_room(attempt.to_id)

    def _drain(self, attempt: Attempt) -> None:
        """Finish the old one: no await from here to the commit, so no candle comes between."""
        attempt.phase = "drain"
        desk = self._desk
        attempt.caught_up += desk.catch_up(desk.resident(attempt.to_id))
        if attempt.from_id is None:
            return
        lane = desk.lane(attempt.from_id)
        check_leaving(desk, lane, desk.lane(attempt.to_id), attempt.policy)
        attempt.action, _, attempt.orders = intended(lane, attempt.to_id, attempt.policy)
        attempt.canceled = int(desk.router.drop_entry(lane))
        desk.router.done()
        desk.orders.check_resolved(attempt.from_id)
        if attempt.action == ACTIONS["close"]:
            desk.close_now(lane, at.REASON_SWITCH)
            if lane.context.book.quantity:
                raise Refused("close_incomplete", f"{attempt.from_id} still holds {lane.context.book.quantity:g}")

    def _wait(self, attempt: Attempt, wait_s: float) -> asyncio.Future[SwitchResult | None]:
        """Let the old one only exit; the future has None once the switch is committed, else how it was rolled back."""
        desk, lane = self._desk, self._desk.lane(str(attempt.from_id))
        done: asyncio.Future[SwitchResult | None] = asyncio.get_running_loop().create_future()

        def end(error: StratnbError) -> None:
            """Roll back, once."""
            if not done.done():
                done.set_result(self._rolled_back(attempt, error))

        def turn() -> None:
            """Commit when the old one is flat, else give up."""
            if not lane.context.book.is_flat:
                end(Refused("wait_over", f"{attempt.from_id} was not flat after {wait_s:g} s"))
                return
            try:
                attempt.caught_up += desk.catch_up(desk.resident(attempt.to_id))
                self._commit(attempt)
                done.set_result(None)
            except StratnbError as error:
                end(error)

        self._ends = end
        desk.wait_for(lane, turn, desk.now_ms() + wait_s * 1000.0)
        return done

    def _stop_waiting(self, attempt: Attempt) -> None:
        """Give the old one its entries back, if the switch has taken them."""
        if self._ends is not None and attempt.from_id is not None:
            self._ends = None
            self._desk.wait_for(self._desk.lane(attempt.from_id), None)

    def _commit(self, attempt: Attempt) -> None:
        """Write switch row, states and lots in one step: before it the old one is active, after it the new one."""
        desk = self._desk
        states: dict[str, State] = {attempt.to_id: "active"}
        move = None
        if attempt.from_id is not None:
            old = desk.lane(attempt.from_id)
            states[attempt.from_id] = resting(old)
            if attempt.action == ACTIONS["adopt"]:
                ready = prepared(desk, old, desk.lane(attempt.to_id))
                states[attempt.from_id] = "dormant"

                def move() -> None:
                    """Book the transfer."""
                    ready.book(desk, reference=f"switch-{attempt.seq}", author="engine", reason="switch, policy adopt")

            old.waits, self._ends = None, None
        attempt.phase = "commit"
        desk.commit(self._row(attempt, success=True), states, move)
        attempt.committed = True

    async def _retire(self, attempt: Attempt) -> None:
        """Snapshot and announce the old one; the switch itself is done."""
        attempt.phase = "retire"
        desk = self._desk
        told = {"from_id": attempt.from_id}
        desk.bus.publish("STRATEGY_ACTIVATED", strategy_id=attempt.to_id, source="switch", payload=told)
        if attempt.from_id is not None:
            payload = {"state": desk.registry.get(attempt.from_id).state}
            desk.bus.publish("STRATEGY_DEACTIVATED", strategy_id=attempt.from_id, source="switch", payload=payload)
            try:
                await desk.settle_cache(attempt.from_id)
            except Exception as error:
                log.exception("%s could not be put to rest", attempt.from_id)
                failed = {"code": "retire", "message": f"{type(error).__name__}: {error}"}
                desk.bus.publish("STRATEGY_ERROR", strategy_id=attempt.from_id, source="switch", payload=failed)
        desk.store.save_switch(self._row(attempt, success=True))

    def _rolled_back(self, attempt: Attempt, error: BaseException) -> SwitchResult:
        """Put old and target back into their former states and report; entries that were canceled stay canceled."""
        desk = self._desk
        words = told(error)
        desk.store.save_switch(self._row(attempt, success=False, error=": ".join(words)))
        self._stop_waiting(attempt)
        if desk.registry.get(attempt.to_id).state == "preparing":
            failed = isinstance(error, StratnbError) and error.code == "strategy_failed"
            desk.set_state(attempt.to_id, "failed" if failed else "dormant")
        result = self._result(attempt, success=False, error=words)
        desk.bus.publish(
            "STRATEGY_SWITCH_FAILED", strategy_id=attempt.to_id, source="switch", payload=payload_of(result)
        )
        return result

    def _preview(self, attempt: Attempt) -> SwitchResult:
        """Return what the switch would do."""
        try:
            self._find_leaving(attempt)
            self._check(attempt)
        except Refused as error:
            return self._result(attempt, success=False, error=told(error), dry_run=True)
        if attempt.from_id is not None:
            lane = self._desk.lane(attempt.from_id)
            attempt.action, attempt.canceled, attempt.orders = intended(lane, attempt.to_id, attempt.policy)
        return self._result(attempt, success=True, dry_run=True)

    def _note(self, attempt: Attempt) -> None:
        """Write that the switch has begun, under the next number; the next commit takes it to the disk."""
        self._count += 1
        attempt.seq = self._count
        self._desk.store.save_switch(self._row(attempt, success=None))

    def _row(self, attempt: Attempt, *, success: bool | None, error: str = "") -> SwitchRow:
        return attempt.row(self._desk.now_ms(), success=success, error=error)

    def _result(
        self, attempt: Attempt, *, success: bool, error: tuple[str, str] | None = None, dry_run: bool = False
    ) -> SwitchResult:
        taken = self._desk.snapshots_taken if success and not dry_run else None
        return attempt.result(self._desk.now_ms(), taken, success=success, error=error, dry_run=dry_run)
