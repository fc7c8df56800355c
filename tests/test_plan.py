"""A plan lays out blocks once, names their columns, and the compiled driver equals each block on its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks_harness import walk
from stratnb.blocks.base import Block
from stratnb.blocks.indicators import Atr, Ema
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data import resample, synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import backtest
from stratnb.research.configured import configure
from stratnb.strategy.build import build_plan
from stratnb.strategy.documents import build_config, library
from stratnb.strategy.plan import Node, Plan
from trading_cases import FREE, SYMBOL, Floats, Steps, document, market, merged, registered, wander

FINE = {"timeframes": {"primary": "1m", "trend": "15m", "entry": None}}
NAMES = ("open", "high", "low", "close", "volume", "open_time_ms")


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def plan_of(base: str = "1m", **sections: Any) -> Plan:
    config = build_config(document(**{"market": {"kind": "linear"}, **sections}), symbol=SYMBOL).config
    return build_plan(config, market(kind="linear"), base=base)


def count(plan: Plan, cls: type[Block]) -> int:
    return sum(isinstance(node.block, cls) for node in plan.nodes)


# Layout.


def test_equal_blocks_are_computed_once() -> None:
    plan = plan_of(
        timeframes={"primary": "1m", "trend": "5m"},
        indicators={
            "a": {"kind": "ema", "period": 9},
            "b": {"kind": "ema", "period": 9},
            "c": {"kind": "ema", "period": 9, "timeframe": "trend"},
            "d": {"kind": "ema", "period": 9, "on": ["ind.a"]},
        },
        analyzers=[
            {"kind": "ema", "name": "one", "weight": 0.5, "params": {"fast": 9, "slow": 21}},
            {"kind": "ema", "name": "two", "weight": 0.5, "params": {"fast": 9, "slow": 30}},
        ],
        exits={"stop_loss": {"basis": "atr"}, "trailing": {"basis": "atr"}},
    )
    assert plan.column("ind.a") == plan.column("ind.b") != plan.column("ind.c")
    assert plan.column("ind.d") not in (plan.column("ind.a"), plan.column("ind.c"))
    assert sorted(node.block.period for node in plan.nodes if isinstance(node.block, Ema)) == [9, 9, 9, 21, 30]
    assert count(plan, Atr) == 1


def test_two_analyzers_alike_are_not_one_common_rule() -> None:
    plan = plan_of(analyzers=[{"kind": "dice", "name": n, "weight": 0.5, "hold": h} for n, h in (("a", 1), ("b", 5))])
    assert plan.column("an.a.direction") != plan.column("an.b.direction")


@pytest.mark.parametrize(
    ("on", "near"),
    [
        ("clos", "close"),
        ("ind.fst", "fast"),
        ("ind.fast.valu", "value"),
        ("trend.clos", "trend.close"),
        ("rubbish", ""),
    ],
)
def test_unknown_columns_are_named(on: str, near: str) -> None:
    indicators = {"fast": {"kind": "ema", "period": 3}, "slow": {"kind": "sma", "period": 5, "on": [on]}}
    with pytest.raises(ConfigError) as caught:
        plan_of(timeframes={"primary": "1m", "trend": "5m"}, indicators=indicators)
    assert near in str(caught.value)
    assert on in str(caught.value) or near == "value"


def test_asking_a_plan_for_an_unknown_column() -> None:
    plan = plan_of(indicators={"fast": {"kind": "ema", "period": 3}})
    with pytest.raises(ConfigError, match=r"ind\.fast") as caught:
        plan.column("ind.fsat")
    assert caught.value.code == "unknown_column"


def test_a_cycle_is_named() -> None:
    indicators = {
        "a": {"kind": "ema", "on": ["ind.b"]},
        "b": {"kind": "ema", "on": ["ind.c"]},
        "c": {"kind": "ema", "on": ["ind.a"]},
    }
    with pytest.raises(ConfigError, match=r"a.*b|b.*c|c.*a"):
        plan_of(indicators=indicators)


def test_order_of_indicators_does_not_matter() -> None:
    chain = {
        "a": {"kind": "ema", "period": 3},
        "b": {"kind": "sma", "period": 4, "on": ["ind.a"]},
        "c": {"kind": "rma", "period": 5, "on": ["ind.b"]},
    }
    candles = wander(200, 1)
    values = []
    for order in (list(chain), list(chain)[::-1]):
        plan = plan_of(indicators={name: chain[name] for name in order})
        values.append(scanned(plan, candles, np.array([plan.column(f"ind.{name}") for name in "abc"])))
    assert np.array_equal(*values, equal_nan=True)
    assert np.isfinite(values[0][3 + 4 + 5 :]).all()


def test_candles_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(base="3m", timeframes={"primary": "5m"})
    assert caught.value.code == "timeframe_divides"


def test_warm_up_counts_the_chain() -> None:
    chain = {"a": {"kind": "ema", "period": 10}, "b": {"kind": "sma", "period": 20, "on": ["ind.a"]}}
    plan = plan_of(indicators=chain, entry={"min_candles": 1})
    column = scanned(plan, wander(100, 1), np.array([plan.column("ind.b")]))[:, 0]
    node = next(node for node in plan.nodes if node.out == plan.column("ind.b"))
    assert np.flatnonzero(np.isfinite(column))[0] == node.warmup - 1 == 28


def test_decisions_wait_for_the_warm_up() -> None:
    doc = document(entry={"min_candles": 33})
    result = backtest(doc, wander(200, 1), market=market(), limits=FREE, decisions=True)
    assert result.reasons["warming_up"] == 32
    assert (result.decision_rows[:32, at.D_ACTION] == at.WARMING).all()
    assert (result.decision_rows[32:, at.D_ACTION] != at.WARMING).all()


# The driver.


def scanned(plan: Plan, candles: Candles, columns: Any) -> Floats:
    """Return recorded columns at each primary close."""
    out = np.empty((2 * len(candles), len(columns)))
    books, account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
    tables = (loop.parts(), plan.code, plan.params, plan.memory(), books, account, candles.rows())
    return out[
        : loop.scan(
            *tables, 0, len(candles), np.ascontiguousarray(columns, np.int64), out, np.empty((0, plan.decision_width))
        )
    ]


def one_by_one(plan: Plan, candles: Candles) -> Iterator[tuple[Node, Floats, Floats]]:
    """Yield each block of a role with its outputs on its role's candles, and which row each primary close sees."""
    times, found = plan.config.timeframes, {}
    series_of: dict[str, Candles] = {}
    known: dict[str, Floats] = {}
    for role in ("context", "trend2", "trend", "primary"):
        if (length := getattr(times, role)) is not None:
            series_of[role] = longer = resample(candles, length)
            ends = longer.close_time_ms - candles.timeframe_ms
            by = candles.open_time_ms[np.searchsorted(candles.open_time_ms, ends)]
            known[role] = 2 * by + (by == ends)
    columns: dict[tuple[str, int], Floats] = {}
    for role, each in series_of.items():
        start = 0 if role == "primary" else plan.column(f"{role}.open")
        for k, name in enumerate(NAMES):
            columns[role, start + k] = getattr(each, name).astype(float)
    for node in plan.nodes:
        if node.role not in series_of or any(not source(columns, node.role, c, known) for c in node.inputs):
            continue
        x = np.stack([seen(columns, node.role, c, known) for c in node.inputs], axis=1) if node.inputs else None
        assert x is not None
        out = walk(node.block, np.ascontiguousarray(x))
        if type(node.block).__name__ == "SignalRule":
            out = np.where(np.isnan(out), 0.0, out)
        for k in range(out.shape[1]):
            columns[node.role, node.out + k] = out[:, k]
        visible = np.searchsorted(known[node.role], known["primary"], side="right") - 1
        found[node.out] = node
        yield node, out, visible


def source(columns: dict[tuple[str, int], Floats], role: str, column: int, known: dict[str, Floats]) -> str:
    return next((r for r in (role, *known) if (r, column) in columns), "")


def seen(columns: dict[tuple[str, int], Floats], role: str, column: int, known: dict[str, Floats]) -> Floats:
    """Return a column on the candles of a role, as of each of their closes."""
    origin = source(columns, role, column, known)
    values = columns[origin, column]
    if origin == role:
        return values
    visible = np.searchsorted(known[origin], known[role], side="right") - 1
    return np.where(visible >= 0, values[np.maximum(visible, 0)], np.nan)


def holed(candles: Candles, seed: int) -> Candles:
    rng, kept = np.random.default_rng(seed), np.ones(len(candles), bool)
    for start in rng.integers(1, len(candles) - 1, 9):
        kept[start : start + int(rng.integers(1, 40))] = False
    return Candles(candles.symbol, "1m", candles.open_time_ms[kept], *(getattr(candles, n)[kept] for n in NAMES[:5]))


MINUTES = holed(synthetic_market(["SOL/USDT"], candles=1800, seed=4)[0], 3)
ROLES = document(
    market={"kind": "linear"},
    timeframes={"primary": "3m", "trend": "15m", "trend2": "30m"},
    indicators={
        "slow": {"kind": "ema", "period": 4, "timeframe": "trend"},
        "mix": {"kind": "sma", "period": 3, "on": ["trend.close"]},
        "band": {"kind": "bollinger", "period": 10},
        "over": {"kind": "ema", "period": 5, "on": ["ind.band.upper"]},
    },
    analyzers=[
        {"kind": "ema", "name": "near", "weight": 0.4, "hold": 3},
        {"kind": "rsi", "name": "far", "weight": 0.3, "timeframe": "trend"},
        {"kind": "trend_detector", "weight": 0.3, "min_confidence": 0.6, "max_confidence": 0.9},
    ],
    filters={"trend_alignment": {}},
    entry={"mode": "coverage"},
)


@pytest.mark.parametrize("strategy", [*library(), ROLES], ids=lambda s: s if isinstance(s, str) else "roles")
def test_the_driver_equals_each_block_alone(strategy: Any) -> None:
    overrides = FINE if isinstance(strategy, str) else None
    known = market(MINUTES.symbol, kind="linear")
    plan, _ = configure(strategy, MINUTES, overrides=overrides, market=known if overrides is None else None)
    checked = 0
    for node, out, visible in one_by_one(plan, MINUTES):
        rows = scanned(plan, MINUTES, np.arange(node.out, node.out + out.shape[1]))
        assert len(rows) == len(visible)
        wanted = out[np.maximum(visible, 0)]
        first = visible >= 0
        assert np.array_equal(rows[first], wanted[first], equal_nan=True), type(node.block).__name__
        checked += 1
    roles = sum(node.role in ("primary", "trend", "trend2") for node in plan.nodes)
    assert checked >= roles - len(plan.filters) - len(plan.exits) - 1
    assert checked >= 5


BUSY = merged(
    ROLES,
    {
        "analyzers": [*ROLES["analyzers"][:2], {"kind": "scripted", "weight": 0.3}],
        "entry": {"mode": "coverage", "min_score": 0.1},
        "filters": {},
        "exits": {
            "stop_loss": {"basis": "atr"},
            "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
            "trailing": {"distance": 0.004},
            "signal_exit": {},
        },
    },
)


def run_steps(plan: Plan, candles: Candles, cut: int | None = None) -> Steps:
    """Step through candles; at the cut everything is saved as bytes and taken up by fresh objects."""
    steps, rows = Steps(plan, cash=10_000.0), candles.rows()
    for k, row in enumerate(rows):
        if k == cut:
            saved = steps.memory.tobytes(), steps.books.tobytes(), steps.account.tobytes()
            former, steps = steps, Steps(plan, cash=10_000.0)
            steps.memory[:], steps.account[:] = np.frombuffer(saved[0]), np.frombuffer(saved[2])
            steps.books[:] = np.frombuffer(saved[1]).reshape(1, -1)
            steps.fills, steps.decisions, steps._before = former.fills, former.decisions, former._before
        steps.take(row)
    return steps


@given(seed=st.integers(0, 10**6), cut=st.integers(1, 500))
@settings(max_examples=8)
def test_steps_scan_and_run_are_the_same_bits(seed: int, cut: int) -> None:
    candles = wander(501, seed, gaps=8)
    known = market(kind="linear")
    result = backtest(BUSY, candles, market=known, limits=FREE, decisions=True)
    for steps in (run_steps(result.plan, candles), run_steps(result.plan, candles, cut)):
        assert np.array_equal(np.array(steps.fills).reshape(-1, at.W_FILL), result.fill_rows)
        assert np.array_equal(np.array(steps.decisions), result.decision_rows, equal_nan=True)
        assert np.array_equal(steps.book, result.book, equal_nan=True)
    width = at.W_DECISION
    blocks = [
        result.plan.columns[f"an.{e.name}.{w}"]
        for e, _ in result.plan.analyzers
        for w in ("direction", "confidence", "ready")
    ]
    assert np.array_equal(
        scanned(result.plan, candles, blocks), result.decision_rows[:, width : width + len(blocks)], equal_nan=True
    )
    assert len(result.fill_rows) > 0


def test_the_overrides_of_the_hint_make_a_plan() -> None:
    frames = {"primary": "5m", "trend": "15m", "context": "1h"}
    with pytest.raises(ConfigError) as caught:
        plan_of(base="15m", timeframes=frames)
    changes = dict(re.findall(r"timeframes\.(\w+) with '(\w+)'", caught.value.hint))
    assert changes == {"primary": "15m", "trend": "30m"}
    assert plan_of(base="15m", timeframes=frames | changes).base_ms == 900_000
