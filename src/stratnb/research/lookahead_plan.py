"""A strategy or a block under proof: one plan whose columns, decisions, fills and equity are traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stratnb.blocks.base import Block
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.research.backtest import open_account
from stratnb.research.carrier import block_config
from stratnb.research.configured import configure
from stratnb.research.failing import told
from stratnb.research.looping import Course, run
from stratnb.research.traces import Floats, Ints, Trace
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.plan import Plan

__all__ = ["PlanSubject", "column_names", "plan_subject", "scanned", "with_addresses"]

FREE = AccountLimits(
    **{name: None for name in AccountLimits.model_fields if name not in ("flatten", "require_stop")}  # type: ignore[arg-type]
)
FILL_COLUMNS = ("side", "quantity", "price", "fee", "time", "reason", "realized_pnl", "position_after")
CASH = 10_000.0


@dataclass(frozen=True, slots=True)
class PlanSubject:
    """A plan with its account; `trace` runs it over candles from the start."""

    plan: Plan
    limits: AccountLimits | None = None
    cash: float = CASH
    label: str = ""

    @property
    def name(self) -> str:
        """Return the strategy's name, or role and kind of the block."""
        return self.label or self.plan.config.name

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the lengths in ms of the timeframes that are longer than a candle."""
        lengths = (int(self.plan.code[at.H_TIMEFRAMES + role]) for role in range(at.PRIMARY + 1))
        return tuple(length for length in lengths if length > self.plan.base_ms)

    def trace(self, candles: Candles) -> dict[str, Trace]:
        """Return the columns and decisions at each primary close, the fills, and the equity at each candle."""
        rows = candles.rows()
        columns = scanned(self.plan, rows)
        fills, decisions, equity = self._run(rows)
        seen = _known(self.plan, candles, columns[:, at.R_TIME])
        names = column_names(self.plan)
        at_fill = np.searchsorted(candles.open_time_ms, fills[:, at.F_TIME].astype(np.int64), side="right") - 1
        width = len(FILL_COLUMNS)
        fields = tuple(f"cell {k}" for k in range(decisions.shape[1]))
        return {
            "column": Trace("column", names, seen, columns),
            "decision": Trace("decision", fields, _known(self.plan, candles, decisions[:, at.D_TIME]), decisions),
            "fill": Trace("fill", FILL_COLUMNS, at_fill.astype(np.int64), fills[:, :width]),
            "equity": Trace("equity", ("",), np.arange(len(equity), dtype=np.int64), equity[:, None]),
        }

    def _run(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Return fill rows, decision rows and the equity of a run alone on a fresh account."""
        plan, n = self.plan, len(rows)
        books, account = open_account(plan, self.cash, self.limits)
        course = Course(rows, [(0, n)], [(n, plan.config.execution.simulation.funding_rate)])
        made = run(plan, books, account, course, True, None, None)
        return made.fills.whole()[0], np.concatenate(made.decisions), made.equity


def scanned(plan: Plan, rows: Floats) -> Floats:
    """Return all columns of a plan at each primary close of the candles (n, 6), without trading."""
    width = int(plan.code[at.H_ROW])
    out, memory = np.empty((2 * len(rows) + 2, width)), plan.memory()
    books, account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
    books[0, at.B_EQUITY] = books[0, at.B_LEVERAGE] = 1.0
    none = np.empty((0, plan.decision_width))
    columns = np.arange(width, dtype=np.int64)
    with told(plan, memory):
        made = loop.scan(
            loop.parts(), plan.code, plan.params, memory, books, account, rows, 0, len(rows), columns, out, none
        )
    return out[:made]


def column_names(plan: Plan) -> tuple[str, ...]:
    """Return a name for each column of the row: the document's, else kind and output of the block that writes it."""
    names = [f"column {k}" for k in range(int(plan.code[at.H_ROW]))]
    for node in plan.nodes:
        for k, output in enumerate(node.block.outputs):
            names[node.out + k] = f"{node.block.role} {node.block.kind}.{output}"
    for name, column in plan.columns.items():
        names[column] = name
    return tuple(names)


def _known(plan: Plan, candles: Candles, open_ms: Floats) -> Ints:
    """Return the candle whose close told of each primary candle; one that ends in a gap is told of by the next."""
    return np.searchsorted(candles.close_time_ms, open_ms.astype(np.int64) + plan.primary_ms, side="left")


def plan_subject(
    candidate: Any, candles: Candles, *, market: Market | None = None, overrides: Mapping[str, Any] | None = None
) -> PlanSubject:
    """Return the subject of a strategy (name, path, document, configuration) or of a block (class or instance).

    What is inferred of the market is inferred once, from all candles.
    """
    if isinstance(candidate, Block) or (isinstance(candidate, type) and issubclass(candidate, Block)):
        known = market or market_from(candles, kind="linear")
        config = block_config(candidate, candles.timeframe)
        return PlanSubject(build_plan(config, known, base=candles.timeframe), limits=FREE, cash=100.0 * CASH)
    if not isinstance(candidate, str | Path | Mapping | StrategyConfig):
        text = f"{type(candidate).__name__} is neither a strategy nor a block nor a function of candles"
        hint = "give a name, a document, a configuration, a block, or a function that takes candles"
        raise ConfigError("type", text, value=repr(candidate)[:80], hint=hint)
    plan, _ = configure(candidate, candles, market=market, overrides=overrides)
    return PlanSubject(plan)


def with_addresses(plan: Plan, addresses: Mapping[int, int], parameters: Mapping[int, Floats]) -> Plan:
    """Return the plan with other steps (address by node) and other parameters of its blocks."""
    code, params = plan.code.copy(), plan.params.copy()
    for k, address in addresses.items():
        code[at.W_HEADER + k * at.W_NODE + at.N_ADDRESS] = address
    for k, values in parameters.items():
        node = at.W_HEADER + k * at.W_NODE
        params[code[node + at.N_P] : code[node + at.N_P] + code[node + at.N_PS]] = values
    return replace(plan, code=code, params=params)
