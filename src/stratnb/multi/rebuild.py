"""Rebuilding strategies whose blocks or configuration changed: beside the old orchestrator, then in its place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from stratnb.blocks.base import Block, Exit, kinds, redefinitions
from stratnb.errors import Refused, StratnbError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.context import StrategyContext
from stratnb.multi.desk import Desk
from stratnb.multi.lane import Lane
from stratnb.multi.limits import put_limits
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.store import DecisionLog, shape
from stratnb.services.ledger import move_capital
from stratnb.services.positions import Book
from stratnb.services.reasons import recode
from stratnb.strategy.build import build_plan
from stratnb.strategy.plan import Plan

__all__ = ["Rebuilder", "reject"]

log = logging.getLogger(__name__)


def _nothing() -> None:
    """Do nothing."""


class Rebuilder:
    """Takes over blocks that were defined again, as in a notebook cell, and new configurations, between two candles.

    The new plan is built and stepped from the first candle, beside the old one. The position, its stop and its targets
    stay: only the exit blocks' own memory is armed anew where their code or numbers have changed. What cannot be built
    leaves the old one in place and is told by `STRATEGY_CONFIG_REJECTED`.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seen = redefinitions()
        self.lock = asyncio.Lock()

    def is_due(self) -> bool:
        """Return whether a block was defined again since the last time."""
        return redefinitions() != self._seen

    async def run(self) -> None:
        """Rebuild every strategy that uses such a block; never raises for a strategy's fault."""
        async with self.lock:
            while self.is_due():
                seen = redefinitions()
                for lane in self._desk.lanes():
                    if _uses_old(lane.context.plan):
                        await self._tried(lane)
                self._seen = seen

    async def _tried(self, lane: Lane) -> None:
        key = lane.context.strategy_id
        try:
            await self._rebuild(key, lane)
        except Exception as error:
            if not self._is_there(key, lane):
                return
            log.warning("%s keeps its former blocks", key, exc_info=error)
            reject(lane, error, source="rebuild", kept="the former blocks go on")

    async def _rebuild(self, key: str, lane: Lane) -> None:
        before, context = (
            lane.context.plan,
            await asyncio.to_thread(_read_again, lane.context, self._desk.feed.timeframe),
        )
        after = context.plan
        if (before.code_hash, before.config.config_hash) == (after.code_hash, after.config.config_hash):
            return
        await self.install(key, lane, context, await self.beside(key, context))
        if self._is_there(key, lane):
            self._desk.recovery.mended(lane)
            kinds_changed = sorted({f"{type(b).role} {type(b).kind}" for b in _old_blocks(before)})
            payload = {"reason": "block_redefined", "blocks": kinds_changed, "code_hash": after.code_hash}
            context.events.publish("STRATEGY_CONFIG_UPDATED", source="rebuild", payload=payload)

    async def beside(self, key: str, context: StrategyContext) -> tuple[TradingOrchestrator, float] | None:
        """Return a second orchestrator that has stepped all candles, and the milliseconds that took.

        None when there is no first one: the next one that is created will be of this context.
        """
        desk, began = self._desk, time.perf_counter()
        if not desk.cache.contains(key):
            return None
        kept = DecisionLog(context.plan.decision_width, desk.settings.decisions_kept)
        limit_s = desk.settings.step_timeout_s
        made = TradingOrchestrator(context, desk.services, kept, step_timeout_s=limit_s)
        await asyncio.to_thread(made.catch_up, desk.services.candles.rows(context.symbol))
        return made, (time.perf_counter() - began) * 1000.0

    async def install(
        self,
        key: str,
        lane: Lane,
        context: StrategyContext,
        made: tuple[TradingOrchestrator, float] | None,
        keep: Callable[[], None] = _nothing,
    ) -> None:
        """Let a strategy go on with another context, in one step with `keep`; the resident entry is replaced in place.

        Raises `Refused` when it was removed or is taking part in a switch; nothing is changed then.
        """
        desk = self._desk
        while desk.cache.contains(key):
            found = made or await self.beside(key, context)
            if found is None:
                break

            def _ready(old: TradingOrchestrator, new: TradingOrchestrator = found[0]) -> None:
                self._swap(key, lane, old, new)
                keep()

            try:
                await desk.cache.replace(key, found[0], creation_ms=found[1], ready=_ready)
            except Refused as error:
                if error.code != "not_cached":
                    raise
                continue  # it was evicted while this waited
            self._revive(key)
            return
        if self._is_there(key, lane):
            self._adopt(key, lane, context)
            keep()
            self._revive(key)

    def _is_there(self, key: str, lane: Lane) -> bool:
        desk = self._desk
        return desk.registry.has(key) and key not in desk.leaving and desk.lane(key) is lane

    def _swap(self, key: str, lane: Lane, old: TradingOrchestrator, made: TradingOrchestrator) -> None:
        """Bring the new one to the newest candle and make it the one that trades; nothing comes between."""
        if not self._is_there(key, lane):
            raise Refused("unknown_strategy", f"{key} was removed", value=key)
        made.catch_up(self._desk.services.candles.rows(made.context.symbol))
        if lane.context.book.quantity:
            _arm_exits(old, made, lane.context.book)
        store, merged = self._desk.store, made.context.loaded.merged
        if shape(merged) == shape(lane.context.loaded.merged):
            known = store.decisions(key, made.plan.decision_width)
            known.extend(made.log.rows())
            made.log = known
        else:
            store.save_decisions(key, made.log)
        self._adopt(key, lane, made.context)

    def change(self, key: str, lane: Lane, context: StrategyContext) -> None:
        """Let a strategy go on with other numbers in the same structure; its memory stays."""
        found = self._desk.cache.peek(key)
        if found is not None:
            found.adopt(context)
        self._adopt(key, lane, context)

    def _adopt(self, key: str, lane: Lane, context: StrategyContext) -> None:
        """Let a strategy go by its new context; the next commit keeps its memory with it."""
        desk, book, before = self._desk, lane.context.book, lane.context.plan
        lane.context, lane.config_error = context, ""
        book.settings = context.plan.params
        if _exit_words(before) != _exit_words(context.plan):
            recode(book, context.plan)
        move_capital(book.row, context.plan, cash=desk.services.positions.cash)
        put_limits(desk, lane)
        desk.services.positions.refresh()
        desk.registry.update(key, config_hash=context.config.config_hash)
        lane.changed = True
        desk.recorder.stepped(lane, None)

    def _revive(self, key: str) -> None:
        """Let a strategy that had failed be tried again."""
        desk = self._desk
        if desk.registry.get(key).state == "failed":
            desk.set_state(key, "preparing")
            desk.set_state(key, "dormant")


def reject(lane: Lane, error: Exception, *, source: str, kept: str) -> None:
    """Tell by `STRATEGY_CONFIG_REJECTED` why a strategy does not change, and what goes on."""
    code = error.code if isinstance(error, StratnbError) else "exception"
    words = error.message if isinstance(error, StratnbError) else f"{type(error).__name__}: {error}"
    findings = [str(finding) for finding in getattr(error, "findings", ())]
    lane.config_error = words
    payload = {"code": code, "message": f"{words}; {kept}", "findings": findings}
    lane.context.events.publish("STRATEGY_CONFIG_REJECTED", source=source, payload=payload)


def _old_blocks(plan: Plan) -> list[Block]:
    """Return the blocks of a plan whose class another one has replaced."""
    blocks = [node.block for node in plan.nodes if type(node.block).kind]
    return [block for block in blocks if kinds(block.role).get(block.kind, type(block)) is not type(block)]


def _uses_old(plan: Plan) -> bool:
    return bool(_old_blocks(plan))


def _exit_words(plan: Plan) -> list[str]:
    return [type(block).reason or name for name, block in plan.exits]


def _read_again(context: StrategyContext, base: str) -> StrategyContext:
    """Return the context of the same document with the blocks as they are defined now."""
    loaded = context.loaded.again()
    return replace(context, loaded=loaded, plan=build_plan(loaded.config, context.plan.market, base=base))


def _arm_exits(old: TradingOrchestrator, made: TradingOrchestrator, book: Book) -> None:
    """Give the exit blocks the memory of the open position: the old one of an equal block, else armed anew.

    The levels of the book are not touched.
    """
    loop.arm_position(made.plan.code, made.plan.params, made.memory, book.row.copy())
    for j, after in _exits(made.plan):
        for k, before in _exits(old.plan):
            if type(before) is type(after) and before == after:
                (start, size), (to, _) = _state(old.plan, k), _state(made.plan, j)
                made.memory[to : to + size] = old.memory[start : start + size]
                made.memory[made.plan.code[at.H_COUNTERS] + j] = old.memory[old.plan.code[at.H_COUNTERS] + k]


def _exits(plan: Plan) -> list[tuple[int, Block]]:
    return [(k, node.block) for k, node in enumerate(plan.nodes) if isinstance(node.block, Exit)]


def _state(plan: Plan, k: int) -> tuple[int, int]:
    """Return start and size of a node's own memory."""
    node = int(plan.code[at.H_NODES]) + k * at.W_NODE
    return int(plan.code[node + at.N_STATE]), int(plan.code[node + at.N_STATES])
