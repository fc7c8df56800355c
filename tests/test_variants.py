"""A variant is the plan that its whole document gives: code, numbers, warm-up, configuration and errors."""

from __future__ import annotations

import random
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

from stratnb.blocks import base
from stratnb.blocks.base import Analyzer, Input, Ref, find
from stratnb.errors import ConfigError
from stratnb.kernels.jit import python
from stratnb.model import Market
from stratnb.strategy import checks
from stratnb.strategy.build import build_plan
from stratnb.strategy.checks import RULES, check
from stratnb.strategy.config import Header
from stratnb.strategy.documents import build_config, library
from stratnb.strategy.memo import Memo
from stratnb.strategy.paths import leaves
from stratnb.strategy.plan import Plan
from stratnb.strategy.reading import Parts, read
from stratnb.strategy.variants import Variants, reasons
from trading_cases import document

SYMBOL = "AAA/USDT"
PAIR = document(
    name="pair",
    indicators={"one": {"kind": "ema", "period": 9}, "two": {"kind": "ema", "period": 12, "on": ["ind.one"]}},
    analyzers=[
        {"kind": "ema", "params": {"fast": 5, "slow": 20}, "weight": 0.5},
        {"kind": "ema", "name": "other", "fast": 6, "slow": 30, "weight": 0.5},
    ],
    entry={"mode": "coverage", "min_candles": 1},
    sizing={"kind": "fixed_fraction", "fraction": 0.5},
    exits={
        "stop_loss": {"basis": "atr", "multiple": 2.0},
        "take_profit": {"levels": [{"at": 0.01, "close": 0.5, "on_hit": ["breakeven"]}, {"at": 0.02, "close": 0.5}]},
        "breakeven": {},
    },
)
A, B = "analyzers[0].params.fast", "analyzers[0].params.slow"
CASES: list[tuple[Any, dict[str, list[Any]]]] = [
    (PAIR, {A: [3, 5, 6, 25], B: [5, 20, 30], "analyzers[0].weight": [0.5, 0.6]}),
    (PAIR, {A: [5, 6], B: [20, 30], "analyzers[1].params.fast": [5, 6], "analyzers[1].params.slow": [20, 30]}),
    (
        PAIR,
        {"indicators.one.period": [9, 12, 400], "indicators.two.period": [9, 12], "indicators.two.on[0]": ["close"]},
    ),
    (PAIR, {"exits.stop_loss.multiple": [1.0, 2, -1.0], "exits.take_profit.levels[0].at": [0.01, 0.03]}),
    (PAIR, {"exits.take_profit.levels[0].close": [0.5, 0.7], "exits.breakeven.offset": [0.0, 0.5]}),
    (
        PAIR,
        {"entry.mode": ["vote", "coverage", "sideways"], "entry.min_candles": [1, 90], "risk.max_drawdown": [0.1, 2]},
    ),
    (PAIR, {"analyzers[1].enabled": [True, False], "analyzers[0].enabled": [True, False]}),
    (
        PAIR,
        {"analyzers[0].hold": [1, 4], "analyzers[0].min_confidence": [0.1, 0.9], "analyzers[0].max_confidence": [0.5]},
    ),
    (PAIR, {"exits.trailing": [None, {"basis": "fraction", "distance": 0.01}], "exits.stop_loss.multiple": [1.0, 3.0]}),
    (PAIR, {"sizing": [{"kind": "fixed_fraction", "fraction": 0.1}, {"kind": "fixed_quantity", "quantity": 2.0}]}),
    (PAIR, {"execution.leverage": [1, 2], "execution.simulation.slippage": [0.0, 0.001], "capital.amount": [0.5, 1.5]}),
    (
        PAIR,
        {"risk.daily_target": [None, 0.1], "risk.streak_factors": [[1.0], None], "market.direction": ["long", "both"]},
    ),
    (PAIR, {"timeframes.trend": [None, "5m", "7m"], "analyzers[0].timeframe": ["primary", "trend"]}),
    (
        "trend-rider",
        {"analyzers[0].weight": [0.1, 0.3], "exits.stop_loss.multiple": [1.0, 2.0], "entry.min_score": [0.2]},
    ),
    (
        PAIR,
        {"execution.simulation.slippage_model": ["fixed", "volatility", "volume"], B: [20, 30]},
    ),
    (
        PAIR,
        {"execution.simulation.latency_ms": [0, 500], "timeframes.primary": ["1m", "5m"], A: [5, 6]},
    ),
    (
        "level-trading-v3",
        {"analyzers[1].params.fast": [3, 12, 30], "analyzers[2].params.period": [7, 14], "extends": ["x"]},
    ),
]


def _equal(one: Plan, other: Plan) -> bool:
    names = (
        "config",
        "nodes",
        "analyzers",
        "filters",
        "exits",
        "sizing",
        "columns",
        "warmup",
        "memory_size",
        "code_hash",
    )
    numbers = np.array_equal(one.params, other.params, equal_nan=True) and np.array_equal(one.code, other.code)
    hashes = one.config.config_hash == other.config.config_hash and one.kernels == other.kernels
    return numbers and hashes and all(getattr(one, name) == getattr(other, name) for name in names)


def _same_as_documents(given: Any, axes: dict[str, list[Any]], base: str | None = None) -> int:
    """Compare every combination with the plan of its own document; return how many are plans."""
    loaded = build_config(given, symbol=SYMBOL)
    market = Market(SYMBOL, tick=0.01, kind=loaded.config.market.kind)
    base = base or loaded.config.timeframes.primary
    variants = Variants(given, list(axes), symbol=SYMBOL, base=base, market=market)
    built = 0
    for values in product(*axes.values()):
        found: Plan | str
        try:
            found = variants.plan(values)
            found.config.config_hash  # noqa: B018 - it is kept, and must not be handed on
        except ConfigError as error:
            found = reasons(error)
        try:
            whole = build_config(given, overrides=variants.patch(values), symbol=SYMBOL, market=market)
            expected = build_plan(whole.config, market, base=base)
        except ConfigError as error:
            assert found == reasons(error), values
        else:
            assert isinstance(found, Plan) and _equal(found, expected), values
            built += 1
    return built


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_variant_is_what_its_document_gives(case: int) -> None:
    given, axes = CASES[case]
    assert _same_as_documents(given, axes, "1m" if given is PAIR else None) or "extends" in axes


def _others(value: Any, words: list[str]) -> list[Any]:
    """Return values that may stand in the place of one, and such as may not."""
    if isinstance(value, bool):
        return [value, not value]
    if isinstance(value, int):
        return [value, value + 1, max(1, value // 2), 3 * value, 4_000, -1]
    if isinstance(value, float):
        return [value, value * 0.5, value * 1.25, 1, 1.5, -0.5]
    return [value, *words, "sideways"] if isinstance(value, str) else [value, None]


@pytest.mark.parametrize("name", library())
def test_every_kind_of_path_of_the_library(name: str) -> None:
    rng = random.Random(name)
    complete = build_config(name, symbol=SYMBOL).config.to_document()
    every = {path: value for path, value in leaves(complete) if path.split(".")[0] not in Header.model_fields}
    named = sorted({path.rsplit(".", 1)[-1] for path in every})
    words = {end: sorted({v for p, v in every.items() if p.endswith(end) and isinstance(v, str)}) for end in named}
    blocks = [f"{section}.{key}" for section in ("filters", "exits") for key in complete[section]]
    built = 0
    for _ in range(12):
        axes: dict[str, list[Any]] = {}
        for path in rng.sample(sorted(every), 3):
            others = _others(every[path], words[path.rsplit(".", 1)[-1]])
            axes[path] = rng.sample(others, min(3, len(others)))
        if rng.random() < 0.3:
            axes[rng.choice(blocks)] = [None]
        built += _same_as_documents(name, axes)
    assert built > 12


class Twofold(Analyzer):
    """Reads two averages, which may be one, or the close; its memory is as long as it is told."""

    kind: ClassVar[str] = "twofold"
    short: int = Field(5, ge=1, le=500)
    long: int = Field(9, ge=1, le=500)
    cells: int = Field(1, ge=1, le=50)
    plain: bool = False
    side: Literal["up", "down"] = "up"

    def inputs(self) -> tuple[Input, ...]:
        average = find("indicator", "ema")
        if self.plain:
            return ("close", "close")
        return Ref(average(period=self.short)), Ref(average(period=self.long))  # type: ignore[call-arg, arg-type]

    def state_size(self) -> int:
        return self.cells

    @staticmethod
    @python
    def step(i: int, state: Any, x: Any, out: Any, p: Any) -> None:
        out[0], out[1] = float(x[0] > x[1]), 0.9


OWN = document(
    indicators={"one": {"kind": "ema", "period": 9}},
    analyzers=[
        {"kind": "twofold", "name": "a", "weight": 0.5, "short": 5, "long": 9, "cells": 1, "plain": False},
        {"kind": "twofold", "name": "b", "weight": 0.5, "params": {"short": 5, "long": 12, "side": "up"}},
    ],
    entry={"mode": "coverage", "min_candles": 1},
    exits={"stop_loss": {"basis": "fixed", "fraction": 0.02}},
)
OWN_CASES: list[dict[str, list[Any]]] = [
    {"analyzers[0].params.short": [5, 9, 12], "analyzers[1].params.long": [12, 9, 5], "indicators.one.period": [9, 5]},
    {"analyzers[0].params.short": [5, 6], "analyzers[1].params.short": [5, 6]},
    {"analyzers[0].params.cells": [1, 7], "analyzers[0].params.plain": [True, False, 1], "analyzers[1].weight": [0.5]},
    {"analyzers[1].params.side": ["up", "down", "left"], "analyzers[0].kind": ["twofold", "ema"]},
    {"analyzers[0].params.long": [9, 400, 500], "exits.stop_loss.fraction": [0.01, 0.7], "capital.amount": [0.5, 1]},
]


@pytest.fixture
def own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base._REGISTRY["analyzer"], "twofold", Twofold)


@pytest.mark.usefixtures("own_blocks")
@pytest.mark.parametrize("case", range(len(OWN_CASES)))
def test_blocks_of_users_whose_inputs_and_memory_follow_their_values(case: int) -> None:
    assert _same_as_documents(OWN, OWN_CASES[case])


@pytest.mark.usefixtures("own_blocks")
def test_a_block_that_is_defined_again_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def _plan() -> Plan:
        market = Market(SYMBOL, tick=0.01)
        return Variants(OWN, ["analyzers[0].params.short"], symbol=SYMBOL, base="1m", market=market).plan((7,))

    before = _plan()

    class Again(Twofold):
        """The same kind with other numbers."""

        def p(self) -> list[float]:
            return [number + 1.0 for number in super().p()]

    monkeypatch.setitem(base._REGISTRY["analyzer"], "twofold", Again)
    after = _plan()
    assert type(after.analyzers[0][0].params) is Again and not np.array_equal(before.params, after.params)
    assert _same_as_documents(OWN, OWN_CASES[0])


def test_variants_over_overrides_and_without_a_market() -> None:
    variants = Variants(
        PAIR,
        [A],
        symbol=SYMBOL,
        base="1m",
        market_for=lambda kind: Market(SYMBOL, tick=0.5, kind=kind),
        overrides={B: 40, "analyzers[1].fast": 7},
    )
    for fast in (4, 39, 40):
        patch = variants.patch((fast,))
        if fast < 40:
            expected = build_config(PAIR, overrides=patch, symbol=SYMBOL).config
            assert variants.plan((fast,)).config == expected and expected.analyzers[0].params.model_dump()["slow"] == 40
        else:
            with pytest.raises(ConfigError, match="fast 40 must be below slow 40"):
                variants.plan((fast,))


def test_a_memo_shares_what_is_equal_and_nothing_else() -> None:
    memo = Memo()
    ema = find("indicator", "ema")
    one, two, three = ema(period=9), ema(period=9), ema(period=10)  # type: ignore[call-arg]
    assert memo.facts(one) is memo.facts(two) is not memo.facts(three)
    assert memo.facts(one).p != memo.facts(three).p


class _Watched(Parts):
    """Parts that note which sections are read."""

    def __getattribute__(self, name: str) -> Any:
        seen = object.__getattribute__(self, "__dict__").setdefault("seen", set())
        if name in Parts.__dataclass_fields__:
            seen.add(name)
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("given", [PAIR, "trend-rider", "level-trading-v3", "simple-levels"])
def test_every_rule_names_the_sections_it_reads(given: Any) -> None:
    merged = dict(build_config(given, symbol=SYMBOL).merged)
    watched = _Watched(**vars(read(merged)))
    for rule, sections in RULES:
        watched.__dict__["seen"].clear()
        list(rule(watched))
        assert watched.__dict__["seen"] - {"findings"} <= sections, rule
    assert [rule for rule, _ in RULES] == list(dict.fromkeys(rule for rule, _ in RULES)) and checks.RULES
    assert list(check(watched)) == [f for rule, _ in RULES for f in rule(watched)]
