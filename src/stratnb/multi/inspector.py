"""The decision inspector's reading: one decision explained, what came of it, and the kept ones judged again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import retell
from stratnb.multi.desk import Desk
from stratnb.multi.explain import explain
from stratnb.multi.lane import Lane
from stratnb.multi.links import correlation, links
from stratnb.multi.rerun import HEAD, Rerun
from stratnb.multi.undecided import why_undecided
from stratnb.services.ledger import allocated
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config
from stratnb.strategy.paths import assign
from stratnb.strategy.plan import Plan
from stratnb.view import DecisionView, WhatIfView

__all__ = ["Inspector"]

Floats = npt.NDArray[np.float64]
Key = tuple[str, str, str]

KEPT = 8
# From this reason on the signal had passed analyzers, filters and thresholds.
PASSED = (at.Z_ENTER, *range(at.Z_IN_POSITION, at.Z_REDUCING + 1))


class Inspector:
    """Explains decisions of a desk for any thread; it steps plans of its own and never those that trade."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reruns: dict[Key, Rerun] = {}
        self._lock = Lock()

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return why there is no decision at a candle, or none at all."""
        return why_undecided(self._desk, self._desk.lane(strategy_id), open_time_ms)

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> DecisionView | None:
        """Return one decision explained, the newest by default, or None when nothing was decided there."""
        lane = self._desk.lane(strategy_id)
        row = self._row(lane, open_time_ms)
        if row is None:
            return None
        plan = lane.context.plan
        with self._lock:
            columns = self._columns(lane, plan, int(row[at.D_TIME]))
        return self._explained(lane, plan, row, columns)

    def what_if(
        self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None
    ) -> WhatIfView | None:
        """Return the kept decisions judged again with changes, from the same candles and by the same kernels.

        Changes map paths of the document, such as `entry.min_score`, to values. None without decisions; changes that
        make no valid strategy are `ConfigError`.
        """
        lane = self._desk.lane(strategy_id)
        plan, stored = lane.context.plan, self._row(lane, open_time_ms)
        if stored is None:
            return None
        trial, time_ms = self._changed(lane, changes), int(stored[at.D_TIME])
        kept = self._desk.store.decisions(strategy_id).rows()
        log, entered = kept[:, :HEAD], kept[:, at.D_ACTION] == at.ENTER
        entered &= (kept[:, at.D_FLAGS].astype(int) & int(at.FLAG_CATCHUP)) == 0
        candles = self._desk.services.candles.rows(lane.context.symbol)
        with self._lock:
            row, columns = self._at(lane, trial, candles, time_ms)
            before = self._heads(lane, plan, candles, log)
            after = self._heads(lane, trial, candles, log)
            original, _ = self._at(lane, plan, candles, time_ms)
        decision = None
        if row is not None and original is not None:
            self._carry_on(row, original, stored)
            decision = self._explained(lane, trial, row, columns)
        return _compared(changes, decision, (plan, before), (trial, after), log, int(entered.sum()))

    def _row(self, lane: Lane, open_time_ms: int | None) -> Floats | None:
        """Return the kept row of a candle, the newest by default."""
        log = self._desk.store.decisions(lane.context.strategy_id)
        rows = log.rows(1)
        row = (rows[0] if len(rows) else None) if open_time_ms is None else log.find(open_time_ms)
        return row if row is not None and row.size == lane.context.plan.decision_width else None

    def _explained(self, lane: Lane, plan: Plan, row: Floats, columns: Floats | None) -> DecisionView:
        """Return a row explained, with what came of it."""
        settings, limits = self._desk.settings, self._desk.services.positions.limits
        key, capital = lane.context.strategy_id, allocated(plan, settings.cash)
        made = explain(plan, row, columns, limits, strategy_id=key, capital=capital)
        if plan is not lane.context.plan:
            return made
        return replace(made, correlation_id=correlation(lane, row), links=links(self._desk, lane, row))

    def _changed(self, lane: Lane, changes: Mapping[str, Any]) -> Plan:
        """Return the plan of a strategy with changes to its document, or its own without any."""
        plan = lane.context.plan
        if not changes:
            return plan
        document = plan.config.to_document()
        for path, value in changes.items():
            assign(document, path, value)
        config = build_config(document, symbol=plan.market.symbol).config
        if config.config_hash == plan.config.config_hash:
            return plan
        return build_plan(config, plan.market, base=self._desk.feed.timeframe)

    def _rerun(self, lane: Lane, plan: Plan) -> Rerun:
        """Return the kept rerun of a plan, the least recently used one giving way."""
        key = (lane.context.strategy_id, plan.config.config_hash, plan.code_hash)
        found = self._reruns.pop(key, None) or Rerun(plan, keep=self._desk.settings.decisions_kept)
        self._reruns[key] = found
        while len(self._reruns) > KEPT:
            del self._reruns[next(iter(self._reruns))]
        return found

    def _at(self, lane: Lane, plan: Plan, candles: Floats, time_ms: int) -> tuple[Floats | None, Floats | None]:
        """Return the decision row and the plan's row of a candle as a plan makes them, or None."""
        for made in (self._rerun(lane, plan), Rerun(plan)):
            if made.stop_at(candles, time_ms):
                row = made.last
                return (None if row is None else row.copy()), made.memory.copy()
        return None, None

    def _columns(self, lane: Lane, plan: Plan, time_ms: int) -> Floats | None:
        """Return the plan's row at the close of a primary candle."""
        return self._at(lane, plan, self._desk.services.candles.rows(lane.context.symbol), time_ms)[1]

    def _heads(self, lane: Lane, plan: Plan, candles: Floats, log: Floats) -> Floats:
        """Return the heads that a plan makes of the kept decisions, NaN where it makes none."""
        made = self._rerun(lane, plan)
        made.advance(candles, len(candles))
        heads, out = made.heads(), np.full(log.shape, np.nan)
        if len(heads):
            places = np.minimum(np.searchsorted(heads[:, at.D_TIME], log[:, at.D_TIME]), len(heads) - 1)
            same = heads[places, at.D_TIME] == log[:, at.D_TIME]
            out[same] = heads[places[same]]
        return out

    @staticmethod
    def _carry_on(row: Floats, original: Floats, stored: Floats) -> None:
        """Give a row that was judged again what position and account said of the same signal, as far as it is known."""
        held = bool(stored[at.D_POSITION] != 0.0)
        same = original[at.D_REASON] == at.Z_ENTER and original[at.D_DIRECTION] == row[at.D_DIRECTION]
        if row[at.D_REASON] == at.Z_ENTER:
            if held:
                row[at.D_REASON] = at.Z_IN_POSITION
            elif same:
                row[at.D_REASON] = stored[at.D_REASON]
                row[at.D_STOP : at.D_QUANTITY + 1] = stored[at.D_STOP : at.D_QUANTITY + 1]
                row[at.D_EQUITY : at.D_FREE + 1] = stored[at.D_EQUITY : at.D_FREE + 1]
        row[at.D_ACTION] = retell.outcome(row[at.D_REASON], held)
        row[at.D_POSITION] = stored[at.D_POSITION]


def _compared(
    changes: Mapping[str, Any],
    decision: DecisionView | None,
    before: tuple[Plan, Floats],
    after: tuple[Plan, Floats],
    log: Floats,
    entered: int,
) -> WhatIfView:
    """Count what passes before and after the changes, and how many kept decisions are not made again the same."""
    judged = slice(at.D_DIRECTION, at.D_SHORT + 1)
    old, new = (heads[:, at.D_REASON] == at.Z_ENTER for _, heads in (before, after))
    unlike = ~np.isclose(before[1][:, judged], log[:, judged], rtol=0.0, atol=0.0, equal_nan=True).all(axis=1)
    unlike |= old != np.isin(log[:, at.D_REASON], PASSED)
    counts = [Counter(_words(plan, heads)) for plan, heads in (before, after)]
    return WhatIfView(
        changes=dict(changes),
        decision=decision,
        kept=len(log),
        first_ms=int(log[0, at.D_TIME]),
        last_ms=int(log[-1, at.D_TIME]),
        signals=(int(old.sum()), int(new.sum())),
        gained=int((new & ~old).sum()),
        lost=int((old & ~new).sum()),
        entered=entered,
        unlike=int(unlike.sum()),
        reasons=tuple((word, counts[0][word], counts[1][word]) for word in counts[0] | counts[1]),
    )


def _words(plan: Plan, heads: Floats) -> dict[str, int]:
    """Return how often each reason ends a decision."""
    codes, numbers = np.unique(heads[:, at.D_REASON], return_counts=True)
    return {plan.reason(code): int(n) for code, n in zip(codes, numbers, strict=True) if code == code}
