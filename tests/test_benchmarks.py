"""The benchmarks run and print what they promise; how fast they are is not tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import runtime
from benchmarks.figure import at_least, at_most, noted

from stratnb.blocks import base

TINY: dict[str, dict[str, Any]] = {
    "replay": {"candles": 200},
    "switch": {"near": 2, "far": 1, "cold": 2},
    "size": {"count": 6},
    "churn": {"cycles": 10},
    "heartbeat": {"seconds": 0.02},
    "journal": {
        **{"intents": 5, "candles": 50, "events": 50, "strategies": 3, "seconds": 0.1, "instants": 3},
        "cycles": 10,
    },
}


def test_the_parts_print_figures_beside_targets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {name: (runtime.PARTS[name][0], sizes) for name, sizes in TINY.items()}
    monkeypatch.setattr(runtime, "PARTS", parts)
    runtime.main(["--quick"])
    found = json.loads(capsys.readouterr().out)
    assert found["quick"] is True
    assert len(found["figures"]) == 21
    for figure in found["figures"].values():
        assert {"value", "unit", "target", "ok"} <= figure.keys()
        assert isinstance(figure["ok"], bool)
        assert figure["value"] >= 0 or figure["unit"] in ("bytes", "tasks", "threads", "handles")


def test_every_figure_of_a_full_run_has_a_part() -> None:
    assert set(runtime.PARTS) == {*TINY, "startup", "chart", "observer"}


def test_a_figure_knows_whether_it_holds() -> None:
    assert at_most(3.0, "ms", 5.0)["ok"] is True
    assert at_least(3.0, "x", 5.0)["ok"] is False
    assert noted("no Chromium", "ms", "<= 50")["ok"] is None


@pytest.fixture(scope="module")
def work() -> Iterator[Any]:
    """Give the works of research; their analyzer is known to these tests only."""
    from benchmarks import research

    base._REGISTRY["analyzer"].setdefault("cross", research.work.Cross)
    yield research
    base._REGISTRY["analyzer"].pop("cross", None)


@pytest.fixture(scope="module")
def candles(work: Any) -> Any:
    return work.work.random_walk(3_000)


def reckoned(candles: Any, fast: int, slow: int) -> tuple[int, float]:
    """Return trades and pnl of two averages that cross, worked out candle by candle."""
    fee, trades, money, held, wish, last = 0.001, 0, 0.0, 0.0, 0, 0
    quick = lazy = float(candles.close[0])
    for i in range(len(candles)):
        opened, high, low, close = (float(each[i]) for each in (candles.open, candles.high, candles.low, candles.close))
        leave = None
        if wish > 0 and not held:
            held, money = opened, money - opened * (1 + fee)
        elif wish < 0 and held:
            leave = opened
        if held and leave is None and low <= held * 0.98:
            leave = min(opened, held * 0.98)
        elif held and leave is None and high >= held * 1.04:
            leave = max(opened, held * 1.04)
        if leave is not None:
            money, trades, held = money + leave * (1 - fee), trades + 1, 0.0
        quick += (close - quick) * 2 / (fast + 1)
        lazy += (close - lazy) * 2 / (slow + 1)
        side = int(quick > lazy) - int(quick < lazy)
        wish = side if i > 1 and side and last * side <= 0 else 0
        last = side
    return trades, money + (float(candles.close[-1]) if held else 0.0)


def test_the_walk_is_the_same_in_every_tier_and_that_of_an_independent_sum(work: Any, candles: Any) -> None:
    scan, fused = (work.walk(candles, tier) for tier in ("scan", "fused"))
    assert np.array_equal(scan.fill_rows, fused.fill_rows)
    assert np.array_equal(scan.equity_curve, fused.equity_curve)
    trades, pnl = reckoned(candles, work.work.FAST, work.work.SLOW)
    assert len(scan.closed_trades) == trades > 20
    assert scan.equity_curve[-1] - scan.capital == pytest.approx(pnl, abs=1e-5)
    for whole in (True, False):
        times, made, gained = work.candle_by_candle(candles, whole=whole)
        assert (len(times), made) == (3_000, trades)
        assert gained == pytest.approx(pnl, abs=1e-5)


def test_a_sweep_and_an_account_of_ten_agree_with_single_runs(work: Any, candles: Any) -> None:
    from stratnb.research.space import Range

    frame = work.thousand(candles, Range(5, 7), Range(60, 80, step=10)).frame
    for row in frame.to_dict("records"):
        trades, pnl = reckoned(candles, row["indicators.fast.period"], row["indicators.slow.period"])
        assert row["trades"] == trades
        assert row["pnl"] == pytest.approx(pnl, abs=1e-5)
    made = work.ten(candles)
    assert not made.denials
    for (fast, slow), own in zip(work.work.TEN, made.values(), strict=True):
        trades, pnl = reckoned(candles, fast, slow)
        assert len(own.closed_trades) == trades
        assert own.equity_curve[-1] - own.capital == pytest.approx(pnl, abs=1e-5)


def test_a_cell_is_a_line_of_json(
    work: Any, candles: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_OUT", str(tmp_path / "lines.jsonl"))
    path = work._written(1_000, tmp_path / "walk.npz")
    assert work.main(["--here", "--data", str(path), "--n", "1000", "w4"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert {"engine", "workload", "n", "trades", "pnl", "us_p50", "us_p99", "calib_s", "load1"} <= lines[0].keys()
    assert {line["engine"] for line in lines} == {"stratnb", "stratnb plan and decide"}
