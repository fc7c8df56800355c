"""The operations that tell figures and judgments of strategies."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stratnb.multi.desk import Desk
from stratnb.multi.health import HealthWatch
from stratnb.multi.stats import strategy_stats, system_stats

__all__ = ["FIGURE_OPERATIONS", "FigureOperations"]

FIGURE_OPERATIONS = ("stats", "health")


class FigureOperations:
    """Part of `Operations`; every public coroutine is an operation."""

    desk: Desk
    health_watch: HealthWatch

    async def stats(self, strategy_id: str | None = None) -> dict[str, Any]:
        """Return the figures of one strategy or of all."""
        if strategy_id is not None:
            return strategy_stats(self.desk, self.desk.lane(strategy_id))
        return system_stats(self.desk)

    async def health(self, strategy_id: str | None = None) -> dict[str, Any]:
        """Return the judgment of one strategy, or of all by id."""
        if strategy_id is not None:
            return asdict(self.health_watch.judge(self.desk.lane(strategy_id)))
        judged = [self.health_watch.judge(lane) for lane in self.desk.lanes()]
        return {each.strategy_id: asdict(each) for each in judged}

    def told_health(self) -> dict[str, Any]:
        """Return the newest judgments by id, JSON-safe."""
        told = {lane.context.strategy_id: lane.told_health() for lane in self.desk.lanes()}
        return {key: each for key, each in told.items() if each is not None}
