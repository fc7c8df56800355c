"""The fewest trades that a best may have, and the most memory that a sweep may take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.research.honesty import verdict
from stratnb.research.measure import LOWER
from stratnb.research.sweep import Sweep, sweep
from stratnb.research.sweep_memory import MB, memory_of
from sweep_cases import EMA, GRID, MARKET, STOP, same, walk
from trading_cases import registered

CANDLES = walk(3_000)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def swept(**options: object) -> Sweep:
    return sweep(EMA, CANDLES, GRID, market=MARKET, threads=1, ledger=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def free(test_blocks: None) -> Sweep:
    return swept()


@pytest.mark.parametrize("objective", ["total_return", "max_drawdown"])
def test_the_best_is_the_best_of_those_with_trades_enough(free: Sweep, objective: str) -> None:
    frame = free.frame
    for least in np.nanquantile(frame["trades"], [0.3, 0.8]).astype(int).tolist():
        found = swept(objective=objective, min_trades=least)
        assert same(found.frame, frame), "every trial is kept"
        allowed = frame[frame["trades"] >= least][objective]
        best = allowed.idxmin() if objective in LOWER else allowed.idxmax()
        assert found.best_row is not None and found.best_row["trial"] == frame["trial"][best]


def test_without_trades_enough_nothing_is_best() -> None:
    found = swept(min_trades=10**6)
    assert found.best is None and found.stability() is None
    assert "1,000,000 trades" in verdict(found).against[0]
    with pytest.raises(ConfigError, match="1,000,000 trades"):
        found.backtest()


def test_optuna_learns_nothing_from_trials_with_few_trades() -> None:
    pytest.importorskip("optuna")
    one, other = (swept(method="optuna", trials=24, seed=3, min_trades=least) for least in (0, 10**6))
    assert not same(one.frame, other.frame)
    again = swept(method="optuna", trials=24, seed=3, min_trades=10**6)
    assert same(again.frame, other.frame)


def test_the_memory_that_is_told_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.research.tiers.WORTH_COMPILING", 10**15)  # a compiler's memory is no part of it
    swept()  # what is loaded once is no part of it
    tracemalloc.start()
    try:
        found = sweep(EMA, CANDLES, {STOP: np.linspace(0.001, 0.1, 400).tolist()}, threads=1, ledger=False)
        assert found.best_row
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= memory_of(400, len(CANDLES))


def test_a_sweep_beyond_its_memory_is_refused_and_the_hint_fits() -> None:
    need = memory_of(16, len(CANDLES)) / MB
    assert swept(memory_mb=need).complete
    with pytest.raises(ConfigError) as caught:
        swept(memory_mb=need - 0.05)
    (finding,) = caught.value.findings
    assert finding.code == "memory" and "16 trials on 3,000 candles take about" in finding.message
    assert "try 7 trials" in finding.hint
    for wrong in ({"memory_mb": 0}, {"memory_mb": True}, {"min_trades": -1}, {"min_trades": 2.5}):
        with pytest.raises(ConfigError) as caught:
            swept(**wrong)
        assert [found.path for found in caught.value.findings] == list(wrong)
