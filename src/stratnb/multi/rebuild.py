"""Rebuilding strategies whose blocks were defined again: beside the old orchestrator, then in its place."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from stratnb.blocks.base import Block, Exit, kinds, redefinitions
from stratnb.errors import Refused, StratnbError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.multi.context import StrategyContext
from stratnb.multi.desk import Desk
from stratnb.multi.orchestrator import TradingOrchestrator
from stratnb.multi.router import Lane
from stratnb.multi.store import DecisionLog
from stratnb.services.positions import Book
from stratnb.strategy.build import build_plan
from stratnb.strategy.plan import Plan

__all__ = ["Rebuilder"]

log = logging.getLogger(__name__)


class Rebuilder:
    """Takes over blocks that were defined again, as in a notebook cell, at the boundary of two candles.

    The new plan is built and stepped from the first candle, beside the old one. The position, its stop and its targets
    stay: only the exit blocks' own memory is armed anew where their code has changed. What cannot be built leaves the
    old one in place and is told by `STRATEGY_CONFIG_REJECTED`.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seen = redefinitions()
        self._lock = asyncio.Lock()

    def is_due(self) -> bool:
        """Return whether a block was defined again since the last time."""
        return redefinitions() != self._seen

    async def run(self) -> None:
        """Rebuild every strategy that uses such a block; never raises for a strategy's fault."""
        async with self._lock:
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
            code = error.code if isinstance(error, StratnbError) else "exception"
            words = error.message if isinstance(error, StratnbError) else f"{type(error).__name__}: {error}"
            findings = [str(finding) for finding in getattr(error, "findings", ())]
            payload = {"code": code, "message": f"{words}; the former blocks go on", "findings": findings}
            lane.context.events.publish("STRATEGY_CONFIG_REJECTED", source="rebuild", payload=payload)

    async def _rebuild(self, key: str, lane: Lane) -> None:
        began, desk = time.perf_counter(), self._desk
        context = await asyncio.to_thread(_read_again, lane.context, desk.feed.timeframe)
        before, after = lane.context.plan, context.plan
        if (before.code_hash, before.config.config_hash) == (after.code_hash, after.config.config_hash):
            return
        if desk.cache.contains(key):
            made = TradingOrchestrator(
                context, desk.services, DecisionLog(after.decision_width, desk.settings.decisions_kept)
            )
            await asyncio.to_thread(made.catch_up, desk.services.candles.rows(context.symbol))
            took_ms = (time.perf_counter() - began) * 1000.0
            await desk.cache.replace(key, made, creation_ms=took_ms, ready=lambda old: self._swap(key, lane, old, made))
        elif self._is_there(key, lane):
            self._adopt(key, lane, context)
        if self._is_there(key, lane):
            kinds_changed = sorted({f"{type(b).role} {type(b).kind}" for b in _old_blocks(before)})
            payload = {"reason": "block_redefined", "blocks": kinds_changed, "code_hash": after.code_hash}
            context.events.publish("STRATEGY_CONFIG_UPDATED", source="rebuild", payload=payload)

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
        known = self._desk.store.decisions(key, made.plan.decision_width)
        known.extend(made.log.rows())
        made.log = known
        self._adopt(key, lane, made.context)

    def _adopt(self, key: str, lane: Lane, context: StrategyContext) -> None:
        """Let a strategy go by its new context; one that had failed may be tried again."""
        desk, book = self._desk, lane.context.book
        lane.context = context
        book.settings, book.reason = context.plan.params, context.plan.fill_reason
        desk.registry.update(key, config_hash=context.config.config_hash)
        if desk.registry.get(key).state == "failed":
            desk.set_state(key, "preparing")
            desk.set_state(key, "dormant")


def _old_blocks(plan: Plan) -> list[Block]:
    """Return the blocks of a plan whose class another one has replaced."""
    blocks = [node.block for node in plan.nodes if type(node.block).kind]
    return [block for block in blocks if kinds(block.role).get(block.kind, type(block)) is not type(block)]


def _uses_old(plan: Plan) -> bool:
    return bool(_old_blocks(plan))


def _read_again(context: StrategyContext, base: str) -> StrategyContext:
    """Return the context of the same document with the blocks as they are defined now."""
    loaded = context.loaded.again()
    return replace(context, loaded=loaded, plan=build_plan(loaded.config, context.plan.market, base=base))


def _arm_exits(old: TradingOrchestrator, made: TradingOrchestrator, book: Book) -> None:
    """Give the exit blocks the memory of the open position: the old one where the code is the same, else armed anew.

    The levels of the book are not touched.
    """
    loop.arm_position(made.plan.code, made.plan.params, made.memory, book.row.copy())
    for (k, before), (j, after) in zip(_exits(old.plan), _exits(made.plan), strict=True):
        if before != after or type(before) is not type(after):
            continue
        (start, size), (to, _) = _state(old.plan, k), _state(made.plan, j)
        made.memory[to : to + size] = old.memory[start : start + size]
        made.memory[made.plan.code[at.H_COUNTERS] + j] = old.memory[old.plan.code[at.H_COUNTERS] + k]


def _exits(plan: Plan) -> list[tuple[int, Block]]:
    return [(k, node.block) for k, node in enumerate(plan.nodes) if isinstance(node.block, Exit)]


def _state(plan: Plan, k: int) -> tuple[int, int]:
    """Return start and size of a node's own memory."""
    node = int(plan.code[at.H_NODES]) + k * at.W_NODE
    return int(plan.code[node + at.N_STATE]), int(plan.code[node + at.N_STATES])
