"""A strategy or a block under proof: one plan whose columns, decisions, fills and equity are traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stratnb.blocks.base import Analyzer, Block, Exit, Filter, Indicator, Sizing
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import TIMEFRAMES, Market
from stratnb.research.backtest import configure
from stratnb.research.failing import told
from stratnb.research.traces import Floats, Ints, Trace
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import AnalyzerEntry, FrozenMap, IndicatorEntry, StrategyConfig
from stratnb.strategy.documents import build_config
from stratnb.strategy.plan import Plan

__all__ = ["PlanSubject", "block_config", "column_names", "plan_subject", "scanned", "with_addresses"]

FREE = AccountLimits(
    **{name: None for name in AccountLimits.model_fields if name not in ("flatten", "require_stop")}  # type: ignore[arg-type]
)
FILL_COLUMNS = ("side", "quantity", "price", "fee", "time", "reason", "realized_pnl", "position_after")
FILL_BUFFER = 4_096
REASON_CELLS = 128
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
        books, account, memory = np.zeros((1, at.W_BOOK)), new_account(self.cash, self.limits), plan.memory()
        open_book(books[0], plan, cash=self.cash)
        books[0, at.B_ENTRIES] = at.ENTRIES_ON
        equity, counts = np.empty(n), np.zeros(REASON_CELLS)
        fills, log = np.empty((FILL_BUFFER, at.W_FILL)), np.empty((2 * n + 2, plan.decision_width))
        kept_fills, kept_log, done = [np.empty((0, at.W_FILL))], [np.empty((0, plan.decision_width))], 0
        with told(plan, memory):
            while done < n:
                done, f, d = loop.run(
                    loop.parts(),
                    plan.code,
                    plan.params,
                    memory,
                    books,
                    account,
                    rows,
                    done,
                    n,
                    equity,
                    fills,
                    log,
                    counts,
                )
                kept_fills.append(fills[:f].copy())
                kept_log.append(log[:d].copy())
        return np.concatenate(kept_fills), np.concatenate(kept_log), equity


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


def block_config(block: Block | type[Block], timeframe: str) -> StrategyConfig:
    """Return a strategy that trades often and has the block in the place of its role."""
    made = _made(block)
    config = build_config(_carrier(timeframe)).config
    if isinstance(made, Indicator):
        return config.model_copy(update={"indicators": FrozenMap({"candidate": IndicatorEntry(block=made)})})
    if isinstance(made, Analyzer):
        entry = AnalyzerEntry(kind=made.kind or "candidate", name="candidate", weight=1.0, params=made)
        return config.model_copy(update={"analyzers": (*config.analyzers, entry)})
    if isinstance(made, Filter):
        return config.model_copy(update={"filters": FrozenMap({"candidate": made})})
    if isinstance(made, Sizing):
        return config.model_copy(update={"sizing": made})
    if isinstance(made, Exit):
        exits = {"stop_loss": config.exits["stop_loss"], made.kind or "candidate": made}
        return config.model_copy(update={"exits": FrozenMap(exits)})
    raise ConfigError("type", f"{type(made).__name__} has no role", value=repr(made)[:80], hint="subclass Indicator")


def _made(block: Block | type[Block]) -> Block:
    """Return the block itself, or one of the class with its defaults."""
    if isinstance(block, Block):
        return block
    try:
        return block()
    except ValueError as error:
        text = f"{block.role} {block.__name__} has parameters without defaults"
        raise ConfigError("block_parameters", text, value=block.__name__, hint="give a block, not its class") from error


def _carrier(timeframe: str) -> dict[str, Any]:
    """Return the document that carries a block under proof: it enters whenever it is flat."""
    off = ("max_drawdown", "max_consecutive_losses", "stop_loss_guard", "streak_factors", "max_trades_per_day")
    longer = _longer(timeframe)
    return {
        "schema": 1,
        "name": "carrier",
        "title": "Carrier",
        "market": {"kind": "linear"},
        "timeframes": {"primary": timeframe, **({"trend": longer[0]} if longer else {})},
        "analyzers": [{"kind": "ema", "params": {"fast": 3, "slow": 8}}],
        "entry": {"mode": "coverage", "min_candles": 1, "min_score": 0.0, "min_confidence": 0.0},
        "sizing": {"kind": "fixed_fraction", "fraction": 0.2},
        "exits": {
            "stop_loss": {"fraction": 0.004},
            "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
            "time_exit": {"max_candles": 20},
        },
        "risk": {**dict.fromkeys(off), "max_daily_loss": None, "drawdown_factor": False},
    }


def _longer(timeframe: str) -> Sequence[str]:
    """Return the timeframes that a few candles of this one fill, the shortest first."""
    length = TIMEFRAMES[timeframe]
    return [name for name, ms in TIMEFRAMES.items() if ms >= 3 * length and ms % length == 0]


def with_addresses(plan: Plan, addresses: Mapping[int, int], parameters: Mapping[int, Floats]) -> Plan:
    """Return the plan with other steps (address by node) and other parameters of its blocks."""
    code, params = plan.code.copy(), plan.params.copy()
    for k, address in addresses.items():
        code[at.W_HEADER + k * at.W_NODE + at.N_ADDRESS] = address
    for k, values in parameters.items():
        node = at.W_HEADER + k * at.W_NODE
        params[code[node + at.N_P] : code[node + at.N_P] + code[node + at.N_PS]] = values
    return replace(plan, code=code, params=params)
