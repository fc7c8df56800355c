"""Which causes tell a recorded run from its backtest: runs of the model with one more cause switched on each.

Each round tries every cause that is left and keeps the one after which most of the recorded fills are the model's. The
amounts are the changes of the pnl from run to run, so that they add up to the whole difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stratnb.errors import ConfigError, Refused
from stratnb.market_data.candles import VALUES, Candles, market_from
from stratnb.model import Fill, Market
from stratnb.parity_explain.course import NOISE, Course, Run, Told, booked, told_of
from stratnb.parity_explain.recorded import Recorded, recorded_of
from stratnb.parity_explain.report import CAUSES, Difference, ParityReport, changes, pnl_of
from stratnb.research.runs import fingerprint
from stratnb.services.ledger import AccountLimits
from stratnb.services.trades import fill_of
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import build_config
from stratnb.strategy.plan import Plan

__all__ = ["explain"]

Strategy = str | Path | Mapping[str, Any] | StrategyConfig
TRIED = (
    "missed candle",
    "data revision",
    "fee",
    "rounding",
    "slippage",
    "latency",
    "partial fill",
    "risk denial",
    "manual action",
)
FEES, ROUNDINGS = ("maker_fee", "taker_fee"), ("tick", "lot", "min_quantity", "min_notional", "max_quantity")
ALONE = 4  # a fill without a counterpart weighs as much as one with all of its fields wrong
SETTINGS = frozenset({"fee", "rounding", "slippage", "risk denial", "partial fill"})


def explain(
    recorded: Any,
    candles: Candles,
    strategy: Strategy | None = None,
    *,
    strategy_id: str | None = None,
    recorded_candles: Candles | None = None,
    market: Market | None = None,
    cash: float | None = None,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ParityReport:
    """Explain the difference between a recorded run and the backtest of a strategy on the same candles.

    `recorded` is a backtest, a saved run, an engine or a journal (reader or path; `strategy_id` chooses), or a
    `Recorded`; `recorded_candles` are the candles it saw, where it does not keep them. Strategy, market, cash and
    limits are those of the record unless they are given. Causes are those of `CAUSES`: each difference in the trades
    has one, and the amounts add up to the difference in pnl. `cancelled()` is asked between runs of the model, which
    ends it with `Refused("canceled")`. Raises `ConfigError` for what neither record nor call say.
    """
    record = recorded_of(recorded, strategy_id, candles=recorded_candles)
    case = _case(record, candles, strategy, market=market, cash=cash, limits=limits, overrides=overrides)
    stages = [("", frozenset[str](), case.run(frozenset()))]
    distance = case.distance(stages[0][2])
    left = sorted((cause for cause in TRIED if case.has(cause)), key=lambda cause: not case.is_set(cause))
    tried = 0
    while distance > 0 and left:
        found = []
        for place, cause in enumerate(left):
            if cancelled is not None and cancelled():
                raise Refused("canceled", f"the explanation ended after {tried} runs of the model")
            on = stages[-1][1] | {cause}
            run = case.run(on)
            found.append((case.distance(run), place, cause, on, run))
            tried += 1
            if progress is not None:
                progress(tried, len(TRIED) ** 2)
            if found[-1][0] == 0:  # nothing is left to explain
                break
        nearest = min(found, key=lambda each: each[:2])
        if nearest[0] >= distance:
            break
        distance, cause = nearest[0], nearest[2]
        stages.append((cause, nearest[3], nearest[4]))
        left.remove(cause)
    return _report(case, stages, distance)


@dataclass(frozen=True, slots=True)
class _Case:
    """A record and what its model is made of: two configurations and markets, of which runs take parts."""

    record: Recorded
    candles: Candles
    config: StrategyConfig
    market: Market
    cash: float
    limits: AccountLimits
    other: StrategyConfig
    told: tuple[Told, ...]
    plans: dict[frozenset[str], Plan]
    unseen: bool

    def has(self, cause: str) -> bool:
        """Tell whether the record can have the cause at all."""
        if cause in ("missed candle", "data revision"):
            changed = self.series(frozenset({cause}))
            return len(changed) != len(self.candles) or not np.array_equal(changed.rows(), self.candles.rows())
        return not self.unseen or cause in SETTINGS

    def is_set(self, cause: str) -> bool:
        """Tell whether the record is known to have had other candles or settings that make the cause."""
        if cause not in SETTINGS:
            return cause in ("missed candle", "data revision")
        mine, theirs = self.plan(frozenset()).params, self.plan(frozenset({cause})).params
        return not np.array_equal(mine, theirs, equal_nan=True)

    def series(self, on: frozenset[str]) -> Candles:
        """Return the candles: those given, less what the record missed, changed as it saw them."""
        seen, given = self.record.candles, self.candles
        times = given.open_time_ms
        if "missed candle" in on:
            known = _seen(self.record, given)
            if known is not None:
                kept = np.isin(times, known) | (times < known.min(initial=times[-1]))
                given = _rows(given, kept)
        if "data revision" not in on or seen is None:
            return given
        common = np.searchsorted(seen.open_time_ms, given.open_time_ms)
        there = np.isin(given.open_time_ms, seen.open_time_ms)
        columns = {}
        for name in VALUES:
            column = getattr(given, name).copy()
            column[there] = getattr(seen, name)[common[there]]
            columns[name] = column
        revised = Candles(given.symbol, given.timeframe, given.open_time_ms, **columns)
        extra = ~np.isin(seen.open_time_ms, self.candles.open_time_ms)
        return _merged(revised, _rows(seen, extra)) if extra.any() else revised

    def plan(self, on: frozenset[str]) -> Plan:
        """Return the plan with the recorded settings of the causes that are on."""
        key = on & SETTINGS
        if key not in self.plans:
            mine, theirs = self.config.execution.simulation, self.other.execution.simulation
            taken = {name: getattr(theirs, name) for name in type(mine).model_fields if _cause_of(name) in on}
            execution = self.config.execution.model_copy(update={"simulation": mine.model_copy(update=taken)})
            update: dict[str, Any] = {"execution": execution}
            if "risk denial" in on:
                most = self.other.execution.max_slippage
                update = {"execution": execution.model_copy(update={"max_slippage": most}), "risk": self.other.risk}
            config = self.config.model_copy(update=update)
            self.plans[key] = build_plan(config, self._market(on), base=self.candles.timeframe)
        return self.plans[key]

    def _market(self, on: frozenset[str]) -> Market:
        known = self.record.market
        if known is None:
            return self.market
        names = (FEES if "fee" in on else ()) + (ROUNDINGS if "rounding" in on else ())
        return replace(self.market, **{name: getattr(known, name) for name in names})

    def run(self, on: frozenset[str]) -> Run:
        """Return the model's run with the causes that are on."""
        limits = self.record.limits if "risk denial" in on and self.record.limits is not None else self.limits
        lot = max(self.market.lot, self.record.market.lot if self.record.market else 0.0)
        taken = frozenset[str]() if self.unseen else on  # other values of the candles would pass for prices
        told = self.told if taken else ()
        options: dict[str, Any] = {"cash": self.cash, "limits": limits, "lot": lot, "on": taken}
        return Course(self.plan(on), self.series(on), told, self.record, **options).run()

    def distance(self, run: Run) -> int:
        """Return how far a run is from the record: fields of its fills that differ, and fills that stand alone."""
        step = self.candles.timeframe_ms
        mine = {each.key: each for each in told_of(_fills(run), step)}
        theirs = {each.key: each for each in self.told}
        alone = len(mine.keys() ^ theirs.keys())
        return ALONE * alone + sum(_differ(mine[key], theirs[key]) for key in mine.keys() & theirs.keys())


def _case(
    record: Recorded, candles: Candles, strategy: Strategy | None, *, overrides: Mapping[str, Any] | None, **given: Any
) -> _Case:
    """Return what is compared; raise for what neither the record nor the caller says."""
    if not isinstance(candles, Candles) or not len(candles):
        raise ConfigError(
            "no_candles", "there are no candles to compare with", hint="give those of the recorded period"
        )
    if candles.symbol != record.symbol:
        text = f"the record is of {record.symbol}, the candles are of {candles.symbol}"
        raise ConfigError("symbol_mismatch", text, value=candles.symbol, hint=f"give candles of {record.symbol}")
    wanted = strategy if strategy is not None else record.document
    if wanted is None:
        text = f"the record of {record.name} has no strategy"
        raise ConfigError("strategy_missing", text, value=record.name, hint="give strategy=")
    other = None if record.document is None else _config(record.document, candles, record.overrides, record.base)
    same = strategy is None and overrides is None and other is not None
    config = other if same and other is not None else _config(wanted, candles, overrides, record.base)
    market = given["market"] or record.market or market_from(candles, kind=config.market.kind)
    part = _within(record, candles)
    cash = given["cash"] if given["cash"] is not None else record.cash if record.cash is not None else 10_000.0
    limits = given["limits"] or record.limits or AccountLimits()
    told = tuple(told_of(record.fills, candles.timeframe_ms))
    case = _Case(record, part, config, market, float(cash), limits, other or config, told, {}, unseen=False)
    return replace(case, unseen=_unseen(case))


def _config(
    strategy: Strategy, candles: Candles, overrides: Mapping[str, Any] | None, base: Mapping[str, Any] | None
) -> StrategyConfig:
    document = strategy.to_document() if isinstance(strategy, StrategyConfig) else strategy
    return build_config(document, base=base, overrides=overrides, symbol=candles.symbol).config


def _within(record: Recorded, candles: Candles) -> Candles:
    """Return the candles up to the last one that the record saw."""
    known = _seen(record, candles)
    return candles if known is None or not len(known) else candles.between(None, int(known[-1]) + 1)


def _seen(record: Recorded, candles: Candles) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return the opening times of the candles that the record saw, None when it does not tell."""
    if record.candles is not None:
        return record.candles.open_time_ms
    return None if record.close_ms is None else record.close_ms - candles.timeframe_ms


def _unseen(case: _Case) -> bool:
    """Tell whether the record saw other values, and only their hash is known."""
    if case.record.fingerprint is None or case.record.candles is not None:
        return False
    return fingerprint(case.series(frozenset({"missed candle"}))) != dict(case.record.fingerprint)


def _cause_of(name: str) -> str:
    """Return the cause that a setting of the simulation belongs to."""
    if name.endswith("_fee"):
        return "fee"
    if name.startswith("funding"):
        return "funding"
    return {"latency_ms": "latency", "max_participation": "partial fill"}.get(name, "slippage")


def _rows(candles: Candles, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> Candles:
    columns = {name: getattr(candles, name)[kept] for name in VALUES}
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms[kept], **columns)


def _merged(one: Candles, other: Candles) -> Candles:
    times = np.concatenate((one.open_time_ms, other.open_time_ms))
    order = np.argsort(times, kind="stable")
    columns = {name: np.concatenate((getattr(one, name), getattr(other, name)))[order] for name in VALUES}
    return Candles(one.symbol, one.timeframe, times[order], **columns)


def _fills(run: Run) -> list[Fill]:
    """Return the rows of a run as fills."""
    told = zip(run.fills, run.reasons, strict=True)
    return [replace(fill_of(row, strategy_id="", symbol="", reason=str), reason=reason) for row, reason in told]


def _differ(mine: Told, theirs: Told) -> int:
    pairs = ((mine.quantity, theirs.quantity), (mine.price, theirs.price), (mine.rate, theirs.rate))
    return sum(not math.isclose(a, b, rel_tol=NOISE, abs_tol=1e-15) for a, b in pairs)


def _report(case: _Case, stages: list[tuple[str, frozenset[str], Run]], distance: int) -> ParityReport:
    """Return the amounts: from run to run, then to the record itself."""
    record, step = case.record, case.candles.timeframe_ms
    mark = float(record.candles.close[-1]) if record.candles is not None else stages[-1][2].mark
    theirs = pnl_of(booked(record.fills, mark), step)
    known = [pnl_of(run, step) for _, _, run in stages]
    rows: list[Difference] = []
    for (cause, _, _), before, after in zip(stages[1:], known, known[1:], strict=False):
        rows += changes(cause, before, after)
    other = "data revision" if case.unseen else "unexplained"
    rest = changes(other, known[-1], theirs)
    if distance == 0:  # every fill is the record's: what is left is the rounding of sums
        name = stages[-1][0]
        rest = [replace(row, cause=name) for row in rest] if name else []
    rows += rest
    if record.funding != 0.0:
        rows.append(
            Difference(int(case.candles.open_time_ms[-1]), "", "paid or received", "funding", 0.0, record.funding)
        )
    sums: dict[str, list[float]] = {cause: [] for cause, _, _ in stages[1:]}
    if distance > 0:
        sums[other] = []
    for row in rows:
        sums.setdefault(row.cause, []).append(row.amount)
    first = known[0]
    total = math.fsum([*(theirs.get(key, 0.0) - first.get(key, 0.0) for key in {*first, *theirs}), record.funding])
    found = {cause: math.fsum(sums[cause]) for cause in CAUSES if cause in sums}
    notes = ("the record saw other values of its candles, which it did not keep",) if case.unseen else ()
    names = (record.name, record.symbol, case.market.quote, len(case.candles))
    pnl = (sum(theirs.values()) + record.funding, sum(first.values()))
    return ParityReport(*names, *pnl, total if found else 0.0, found, tuple(rows), (*record.notes, *notes))
