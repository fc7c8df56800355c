"""A sweep is one table: the same however it is run, ended or gone on with, and its rows are backtests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.research import run_sweep
from stratnb.research.honesty import verdict
from stratnb.research.ledger import Ledger
from stratnb.research.measure import BLOCKS, FIGURES
from stratnb.research.space import Range
from stratnb.research.sweep import Sweep, sweep
from sweep_cases import EMA, FAST, GRID, MARKET, SCORE, SLOW, STOP, same, walk
from trading_cases import FREE, document, registered

CANDLES = walk()
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def run(space: Any = None, **options: Any) -> Sweep:
    return sweep(EMA, CANDLES, space or GRID, **{"market": MARKET, "limits": FREE, "ledger": False, **options})


@pytest.fixture(scope="module")
def whole() -> Sweep:
    return run()


def _mended(monkeypatch: pytest.MonkeyPatch, size: int = 3) -> None:
    """Let shares be small, so that a short sweep has several."""
    monkeypatch.setattr(run_sweep, "MOST", size)
    monkeypatch.setattr(run_sweep._Missing, "adapt", lambda self, took_s, ran: setattr(self, "size", size))


def test_the_table_has_a_row_a_trial(whole: Sweep) -> None:
    frame = whole.frame
    assert whole.complete and whole.count == len(frame) == 16
    assert list(frame.columns) == ["trial", *GRID, *FIGURES, "error"]
    assert frame["trial"].tolist() == list(range(16))
    given = [tuple(row) for row in frame[list(GRID)].itertuples(index=False, name=None)]
    assert given == list(product([3, 5, 7, 9], [8, 20], [0.005, 0.02]))
    refused = frame[frame[FAST] >= frame[SLOW]]
    assert len(refused) == 2 and refused["error"].str.contains("fast 9 must be below slow 8").all()
    assert refused[list(FIGURES)].isna().all(axis=None) and (frame.drop(refused.index)["error"] == "").all()
    assert whole.blocks.shape == (16, BLOCKS, 3) and whole.sharpes.shape == (16,)


@pytest.mark.parametrize("trial", [None, 0, 5])
def test_a_row_is_a_backtest(whole: Sweep, trial: int | None) -> None:
    result = whole.backtest(trial)
    row = whole.best_row if trial is None else whole.frame.iloc[trial].to_dict()
    assert row is not None
    for name in FIGURES:
        expected = (result.figures | {"pnl": float(result.equity_curve[-1]) - result.capital})[name]
        if expected is None:
            assert row[name] is None or np.isnan(row[name]), name
        else:
            assert row[name] == pytest.approx(expected, rel=1e-12), name
    with pytest.raises(ConfigError, match="trial 99 is not in the sweep"):
        whole.backtest(99)


def test_the_best_is_the_first_of_the_highest_or_lowest(whole: Sweep) -> None:
    frame = whole.frame
    assert whole.best_row is not None and whole.best == {path: whole.best_row[path] for path in GRID}
    assert whole.best_row["trial"] == frame["sharpe"].idxmax()
    low = run(objective="max_drawdown")
    assert low.best_row is not None and low.best_row["trial"] == frame["max_drawdown"].idxmin()
    none = run({SCORE: [0.999, 1.0]})
    assert none.best is none.best_row is none.stability() is None and "n/a" in repr(none)
    assert none.frame["trades"].tolist() == [0.0, 0.0] and none.frame["sharpe"].isna().all()
    with pytest.raises(ConfigError, match="no trial has a sharpe"):
        none.backtest()


def test_threads_and_shares_do_not_show(whole: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, size in ((1, 1), (3, 5)):
        _mended(monkeypatch, size)
        other = run(threads=threads)
        assert same(whole.frame, other.frame) and np.array_equal(whole.blocks, other.blocks)


def test_progress_cancel_and_resume(whole: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _mended(monkeypatch)
    told: list[tuple[int, int]] = []
    for path in (None, tmp_path / "table.parquet"):
        told.clear()
        part = run(path=path, progress=lambda *now: told.append(now), cancelled=lambda: bool(told and told[-1][0] >= 9))
        assert not part.complete and 9 <= part.count < 16 and "canceled" in repr(part)
        assert same(part.frame, whole.frame.iloc[: part.count])
        assert told[0] == (0, 16) and told[-1] == (part.count, 16) and told == sorted(told)
        assert same(part.resume().frame, whole.frame)
    again = run(path=path, cancelled=lambda: True)
    assert again.complete and same(again.frame, whole.frame) and np.array_equal(again.blocks, whole.blocks)


def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch, whole: Sweep) -> None:
    _mended(monkeypatch)

    def _press(done: int, _all: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    part = run(progress=_press)
    assert not part.complete and same(part.frame, whole.frame.iloc[: part.count]) and part.count


CHILD = """
import sys
sys.path[:0] = [{tests!r}]
import test_sweep as t
class M:
    def setattr(self, place, name, value): setattr(place, name, value)
t._mended(M(), 1)
with t.registered():
    t.run(path=sys.argv[1], threads=1, progress=lambda done, all: print(done, flush=True))
"""


def test_kill_and_resume_give_the_same_table(whole: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "killed.parquet"
    command = [sys.executable, "-c", CHILD.format(tests=str(TESTS)), str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while int(child.stdout.readline() or 99) < 4:
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = len(list(path.with_name("killed.parquet.parts").glob("[0-9]*.parquet")))
    assert not path.exists() and 4 <= kept < 16
    told: list[int] = []
    resumed = run(path=path, progress=lambda done, _all: told.append(done))
    assert told[0] == kept and same(resumed.frame, whole.frame) and np.array_equal(resumed.sharpes, whole.sharpes, True)
    assert [each.name for each in tmp_path.iterdir()] == ["killed.parquet"]


def test_a_file_of_another_sweep_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    run({STOP: [0.01, 0.02]}, path=path)
    before = path.read_bytes()
    for change in ({"space": {STOP: [0.01]}}, {"cash": 5.0}, {"overrides": {FAST: 4}}, {"limits": None}):
        with pytest.raises(ConfigError, match="holds another sweep") as error:
            run(**{"space": {STOP: [0.01, 0.02]}, "path": path, **change})
        assert error.value.code == "sweep_other"
    assert path.read_bytes() == before
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    for name, code in (("no.parquet", "sweep_file"), ("x.csv", "file_ending"), ("no/x.parquet", "folder_missing")):
        with pytest.raises(ConfigError) as error:
            run(path=tmp_path / name)
        assert error.value.code == code


def test_values_of_every_kind_are_kept_in_the_file(tmp_path: Path) -> None:
    space = {
        "exits.trailing": [None, {"basis": "percent", "distance": 0.01}],
        "entry.mode": ["vote", "coverage"],
        "risk.drawdown_factor": [True, False],
        STOP: [0.01, 0.5],
    }
    held = run(space, path=tmp_path / "kinds.parquet").frame
    assert same(held, run(space).frame) and held["error"].ne("").sum() < len(held) == 16
    assert held["exits.trailing"].tolist()[0] is None and held["risk.drawdown_factor"].dtype == bool


@pytest.mark.parametrize("method", ["random", "optuna"])
def test_searches_depend_on_the_seed_only(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {
        FAST: Range(3, 30),
        SLOW: [20, 30, 40],
        STOP: Range(0.002, 0.05, log=True),
        "entry.mode": ["vote", "coverage"],
    }
    options = {"method": method, "trials": 20, "seed": 4}
    once = run(space, **options)
    assert once.count == 20 and once.frame[STOP].between(0.002, 0.05).all() and once.frame[STOP].nunique() == 20
    _mended(monkeypatch)
    path, told = tmp_path / "s.parquet", [0]
    part = run(
        space, path=path, threads=1, cancelled=lambda: told[-1] >= 10, progress=lambda d, _a: told.append(d), **options
    )
    assert not part.complete and part.count >= 10
    assert same(run(space, path=path, **options).frame, once.frame)
    assert not same(run(space, **{**options, "seed": 5}).frame, once.frame)
    assert once.stability() is not None and once.stability().count == 0  # type: ignore[union-attr]


def test_optuna_learns() -> None:
    told = run({STOP: Range(0.001, 0.1)}, method="optuna", trials=40, objective="fees", seed=1)
    halves = told.frame["fees"].to_numpy().reshape(2, 20)
    assert halves[1].mean() < halves[0].mean()


def test_pivot_and_stability(whole: Sweep) -> None:
    table = whole.pivot(FAST, SLOW)
    frame = whole.frame
    assert table.loc[20, 5] == pytest.approx(frame[(frame[FAST] == 5) & (frame[SLOW] == 20)]["sharpe"].mean())
    assert np.isnan(table.loc[8, 9]) and whole.pivot(FAST, SLOW, "trades", "max").shape == (2, 4)
    with pytest.raises(ConfigError, match=r"did you mean 'analyzers\[0\]"):
        whole.pivot("analyzers[0].params.fst", SLOW)
    around = whole.stability()
    assert around is not None and whole.best_row is not None
    place = np.unravel_index(whole.best_row["trial"], whole.space.shape)
    every = np.array(list(np.ndindex(*whole.space.shape)))
    near = np.flatnonzero((np.abs(every - place).max(axis=1) == 1) & frame["sharpe"].notna().to_numpy())
    assert around.count == len(near) and sorted(around.values) == sorted(frame["sharpe"].to_numpy()[near])
    assert around.mean == pytest.approx(frame["sharpe"].to_numpy()[near].mean()) and around.least == min(around.values)


def test_every_fault_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stratnb.research.trials.run_batch", lambda *_a, **_o: pytest.fail("it ran"))
    with pytest.raises(ConfigError) as error:
        sweep(
            {**EMA, "capital": {"amount": -1}},
            CANDLES,
            {FAST: Range(9, 3), "nowhere": []},
            method="gird",  # type: ignore[arg-type]
            objective="sharp",
            cash=-1.0,
            max_trials=0,
        )
    codes = {finding.path or finding.code: finding.code for finding in error.value.findings}
    assert codes == {
        "method": "enum", "objective": "enum", "max_trials": "range", FAST: "range_reversed", "nowhere": "range_empty",
        "range": "range", "capital.amount": "range", "trials": "range",
    }  # fmt: skip
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"space": {"exits.stop_los.fraction": [1]}}, "unknown_path", "did you mean 'exits.stop_loss.fraction'"),
        ({"space": {FAST: Range(1, 2_000), SLOW: Range(1, 3_000)}}, "grid_too_large", "6,000,000 trials (2000 x 3000)"),
        ({"space": {STOP: Range(0.1, 0.2)}}, "range_continuous", "has no steps"),
        ({"space": {FAST: [5]}, "method": "random"}, "range", "the number of trials is not said"),
        ({"candles": CANDLES[:60], "space": {FAST: [5], SLOW: [10, 100]}}, "candles_short", "there are 60 with"),
        (
            {"space": {FAST: [5]}, "overrides": {"timeframes.primary": "3m", "analyzers[0].kind": "ems"}},
            "unknown_kind",
            "ems",
        ),
        ({"space": [1, 2]}, "type", "not a mapping"),
    ]
    for options, code, text in cases:
        given = {"candles": CANDLES[:3_000], "space": GRID, **options}
        with pytest.raises(ConfigError) as error:
            sweep(EMA, market=MARKET, ledger=False, **given)
        assert code in {finding.code for finding in error.value.findings} and text in str(error.value)
    with pytest.raises(ConfigError, match="list is not a series of candles"):
        sweep(EMA, [CANDLES, CANDLES], GRID)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be built from 5m candles"):
        from stratnb.market_data import resample

        sweep(EMA, resample(CANDLES, "5m"), GRID, market=MARKET)
    with pytest.raises(ConfigError, match="the first after"):
        sweep(EMA, walk(gaps=2), GRID, market=MARKET, on_gap="stop")


def test_a_trial_that_cannot_run_is_a_row() -> None:
    frame = run({"timeframes.primary": ["1m", "5m"], "timeframes.trend": [None, "3m"]}).frame
    assert (frame["error"] == "").tolist() == [True, True, True, False]
    assert frame["sharpe"].isna().tolist()[3] and "3m" in frame["error"].tolist()[3]
    boom = sweep(document(), CANDLES, {"capital.amount": [0.5, 1.0]}, market=MARKET, ledger=False).frame
    assert (boom["error"] == "").all()


def test_the_ledger_counts_each_trial_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    first = run(ledger=ledger)
    assert first.study is not None and ledger.count(first.study) == 14  # two documents were refused
    run(ledger=ledger)
    assert ledger.count(first.study) == 14
    run({**GRID, STOP: [0.005, 0.02, 0.03]}, ledger=ledger)
    assert ledger.count(first.study) == 21
    assert first.ledger is ledger
    assert (run().study, run().ledger) == (None, None)


def test_more_candles_are_no_more_trials(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    options: dict[str, Any] = {"market": MARKET, "limits": FREE, "ledger": ledger}
    whole = sweep(EMA, CANDLES, GRID, **options)
    sweep(EMA, CANDLES[: len(CANDLES) - 60], GRID, **options)
    assert whole.study is not None
    assert ledger.count(whole.study) == 14


def test_a_sweep_judges_its_best_by_its_own_ledger(tmp_path: Path) -> None:
    found = run(ledger=Ledger(tmp_path / "l.sqlite"))
    judged = found.verdict(random=0, samples=50)
    assert repr(judged) == repr(verdict(found, ledger=found.ledger, random=0, samples=50))
    assert judged.counted == max(14, found.count)
    run({**GRID, STOP: [0.005, 0.02, 0.03]}, ledger=found.ledger)
    assert found.verdict(random=0, samples=50).counted == 21
    assert run().verdict(random=0, samples=50).counted == found.count


def test_the_table_says_what_it_is(whole: Sweep, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    run(path=path)
    held = json.loads((pq.read_schema(path).metadata or {})[b"stratnb.sweep"])
    assert held["space"]["method"] == "grid" and held["candles"]["count"] == len(CANDLES)
    assert pq.read_table(path).num_rows == 16
    assert repr(whole).startswith("Sweep(16 of 16 trials, best sharpe")
    assert "<table" in whole._repr_html_() and "n/a" in run({SCORE: [0.9, 1.0]})._repr_html_()
