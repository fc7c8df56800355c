"""Steps that a generated loop must not get wrong: each runs as in the shared loop, or is left to it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stratnb import Candles, ConfigError, synthetic_market
from stratnb.kernels import fused as made
from stratnb.kernels.digest import digest_of
from stratnb.kernels.inline import Uninlinable, inline
from stratnb.research.backtest import backtest
from stratnb.research.configured import configure

HEAD = """
import math
import numpy as np
from stratnb.blocks.base import Analyzer
from stratnb.kernels.jit import helper, kernel

j = 0
i = 3
TABLE = np.array([0.0, 1.0])

@helper
def both(a, b):
    return a > b, 0.9

class Odd(Analyzer, kind="odd_{name}"):
    def inputs(self):
        return ("open", "high", "low", "close")

    def state_size(self):
        return 4

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        turn = 0.0
{body}
        out[0], out[1] = turn, 0.9
"""
BODIES = {
    "cell_names": """s0_0 = x[3] - x[0]
        c7 = s0_0 * 2.0
        p0_0 = c7
        turn = 1.0 if p0_0 > 40.0 else (-1.0 if p0_0 < -40.0 else 0.0)""",
    "short_names": """s = x[3] - x[0]
        o = s
        r = o
        p1 = r
        turn = 1.0 if p1 > 20.0 else (-1.0 if p1 < -20.0 else 0.0)""",
    "loop_name": """total = 0.0
        for j in range(4):
            total += x[j]
        turn = 1.0 if total > 4.0 * x[3] + 20.0 else 0.0""",
    "truth": """state[0] = x[3] > x[0]
        turn = 1.0 if state[0] == 1.0 and x[3] - x[0] > 30.0 else 0.0""",
    "counted": """n = 0
        while n < 3 and x[3] > x[0] + 10.0 * n:
            n += 1
        turn = 1.0 if n == 3 else 0.0""",
    "array_of_module": """k = int(TABLE[1])
        turn = 1.0 if x[3] - x[0] > 30.0 * k else 0.0""",
}
REFUSED = {
    "number_bound": ("for i in range(3):\n            turn += x[3] - x[0]", "argument i"),
    "array_bound": ("x = x[1:]\n        turn = x[0]", "argument x"),
    "spread": ("state[0], state[1] = both(x[3], x[0])", "several cells"),
}


def module(tmp_path: Path, name: str, body: str) -> ModuleType:
    """Write a module with one analyzer and import it."""
    path = tmp_path / f"odd_{name}.py"
    path.write_text(HEAD.replace("{name}", name).replace("{body}", "        " + body))
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


def document(name: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "odd",
        "timeframes": {"primary": "5m"},
        "analyzers": [{"kind": f"odd_{name}"}],
        "entry": {"min_confidence": 0.1, "min_score": 0.0, "min_candles": 2},
        "sizing": {"kind": "fixed_fraction", "fraction": 0.3},
        "exits": {"stop_loss": {"fraction": 0.01}, "time_exit": {"max_candles": 9}},
    }


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], "5m", candles=3_000, seed=3)[0]


@pytest.mark.parametrize("name", BODIES)
def test_an_odd_step_has_the_same_bits(name: str, tmp_path: Path, candles: Candles) -> None:
    module(tmp_path, name, BODIES[name])
    shared, own = (backtest(document(name), candles, tier=tier) for tier in ("scan", "fused"))
    assert len(shared.fill_rows) > 4
    for cells in ("fill_rows", "equity_curve", "book", "account"):
        np.testing.assert_array_equal(getattr(shared, cells), getattr(own, cells), err_msg=cells)
    plan, _ = configure(document(name), candles)
    assert made.is_usable(made.fused(plan.code, plan.params, plan.kernels))


READERS = """
from stratnb.blocks.base import Exit, Filter, Sizing
from stratnb.kernels.jit import kernel

class Dear(Filter, kind="dear_for_test"):
    def inputs(self):
        return ("signal.price", "high")

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        out[0] = 1.0 if x[0] < x[1] else 0.0
        out[1], out[2] = 1.0, 0.0

class Gain(Exit, kind="gain_for_test"):
    def inputs(self):
        return ("signal.price", "position.entry_price", "position.quantity", "signal.score")

    def required(self):
        return 2

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        out[0] = x[1] * (0.99 - 0.001 * x[3] - 0.0001 * abs(x[2]))
        out[1] = 1.0 if x[0] > 1.003 * x[1] else 0.0

class Once(Sizing, kind="once_for_test"):
    def inputs(self):
        return ("position.quantity", "signal.price")

    @staticmethod
    @kernel
    def step(i, state, x, out, p):
        out[0] = 500.0 if x[0] == 0.0 else 0.0
"""


@pytest.mark.parametrize("order", ["market", "limit", "share"])
def test_blocks_that_read_signal_and_position_have_the_same_bits(
    order: str, tmp_path: Path, candles: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stratnb.research.looping.CHUNK", 7)  # many positions are entered as a call begins
    module(tmp_path, f"reader_{order}", BODIES["truth"])
    path = tmp_path / "readers.py"
    path.write_text(READERS)
    found = importlib.util.spec_from_file_location("readers", path)
    assert found is not None and found.loader is not None
    found.loader.exec_module(importlib.util.module_from_spec(found))
    execution: dict[str, Any] = {
        "market": {},
        "limit": {"entry_order": "limit", "limit_timeout_s": 3600},
        "share": {"simulation": {"max_participation": 0.0002}},
    }[order]
    given = {
        **document(f"reader_{order}"),
        "filters": {"dear_for_test": {}},
        "sizing": {"kind": "once_for_test"},
        "exits": {"gain": {"kind": "gain_for_test"}, "time_exit": {"max_candles": 9}},
        "execution": execution,
    }
    shared, own = (backtest(given, candles, tier=tier) for tier in ("scan", "fused"))
    assert len(shared.fill_rows) > 4
    for cells in ("fill_rows", "equity_curve", "book", "account"):
        np.testing.assert_array_equal(getattr(shared, cells), getattr(own, cells), err_msg=cells)
    assert dict(shared.reasons) == dict(own.reasons)
    plan, _ = configure(given, candles)
    assert made.is_usable(made.fused(plan.code, plan.params, plan.kernels))


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_that_cannot_be_written_out_is_left_to_the_shared_loop(
    name: str, tmp_path: Path, candles: Candles
) -> None:
    body, why = REFUSED[name]
    step = module(tmp_path, name, body).Odd.step
    with pytest.raises(Uninlinable, match=why):
        inline(step.function, 0, lambda array, index: f"{array}{index}", str)
    shared, own = (backtest(document(name), candles, tier=tier) for tier in ("scan", "fused"))
    np.testing.assert_array_equal(shared.equity_curve, own.equity_curve)


def test_an_argument_is_not_the_number_of_the_module_with_its_name(tmp_path: Path) -> None:
    step = module(tmp_path, "named", "for k in range(i):\n            turn += x[0]").Odd.step
    made = inline(step.function, 0, lambda array, index: f"{array}{index}", str)
    assert any("range(i0)" in line for line in made.lines)


def test_a_file_that_was_edited_after_it_was_loaded_is_not_taken(tmp_path: Path) -> None:
    step = module(tmp_path, "edited", "turn = 1.0 if x[3] > x[0] else 0.0").Odd.step
    path = tmp_path / "odd_edited.py"
    path.write_text(path.read_text().replace("x[3] > x[0]", "x[3] < x[0]"))
    with pytest.raises(Uninlinable, match="not what was loaded"):
        inline(step.function, 0, lambda array, index: f"{array}{index}", str)


def test_what_a_loop_names_is_part_of_its_hash() -> None:
    def over(limit: float) -> Any:
        return lambda value: value > limit

    long = np.zeros(5_000)
    other = long.copy()
    other[4_000] = 1e-12
    assert digest_of("", {"a": long}) != digest_of("", {"a": other})
    assert digest_of("", {"a": over(0.5)}) != digest_of("", {"a": over(0.1)})
    with pytest.raises(Uninlinable, match="module"):
        digest_of("", {"a": pytest})


def test_a_block_that_raises_is_told_as_the_shared_loop_tells_it(tmp_path: Path, candles: Candles) -> None:
    name = "raises"
    module(tmp_path, name, 'if i == 700:\n            raise ValueError("no")')
    told = []
    for tier in ("scan", "fused"):
        with pytest.raises(ConfigError) as caught:
            backtest(document(name), candles, tier=tier)
        told.append(str(caught.value))
    assert told[0] == told[1] and f"odd_{name}" in told[0]
