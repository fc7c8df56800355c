"""A real cluster of two worker processes gives the same table to the last bit, also when one of them ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError
from stratnb.market_data import FundingRates
from stratnb.research import cluster
from stratnb.research.cluster import LOST, modules_of
from stratnb.research.measure import FIGURES
from stratnb.research.sweep import Sweep, sweep
from sweep_cases import EMA, FAST, GRID, MARKET, STOP, same, walk
from trading_cases import FREE

distributed = pytest.importorskip("distributed")
CANDLES = walk()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Give a client of two worker processes on this machine, without a dashboard."""
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(host="127.0.0.1", worker_dashboard_address=None, silence_logs=50, **options) as made,
        distributed.Client(made) as opened,
    ):
        yield opened


def run(client: Any = None, space: Any = None, **options: Any) -> Sweep:
    return sweep(EMA, CANDLES, space or GRID, client=client, market=MARKET, limits=FREE, ledger=False, **options)


@pytest.fixture(scope="module")
def whole() -> Sweep:
    return run()


def _pids(client: Any) -> list[int]:
    return sorted(client.run(os.getpid).values())


def test_the_table_is_the_same(client: Any, whole: Sweep, tmp_path: Path) -> None:
    path, told = tmp_path / "far.parquet", [-1]
    part = run(client, path=path, progress=lambda done, _all: told.append(done), cancelled=lambda: told[-1] >= 4)
    assert not part.complete and 4 <= part.count < 16
    far = run(client, path=path)
    assert far.complete and same(far.frame, whole.frame)
    assert np.array_equal(far.blocks, whole.blocks) and np.array_equal(far.sharpes, whole.sharpes, equal_nan=True)


def test_the_table_is_the_same_with_funding_rates(client: Any) -> None:
    times = CANDLES.open_time_ms[0] // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(1, 90)
    rates = FundingRates(CANDLES.symbol, times, np.random.default_rng(1).uniform(-0.01, 0.01, len(times)))
    given: dict[str, Any] = {"market": replace(MARKET, kind="linear"), "limits": FREE, "ledger": False}
    doc = {**EMA, "market": {"kind": "linear"}}
    far = sweep(doc, CANDLES, GRID, client=client, funding=rates, **given)
    assert same(far.frame, sweep(doc, CANDLES, GRID, funding=rates, **given).frame)
    assert not same(far.frame, sweep(doc, CANDLES, GRID, **given).frame)


def test_a_search_is_the_same(client: Any) -> None:
    pytest.importorskip("optuna")
    options: dict[str, Any] = {"space": {FAST: [3, 4, 5, 6], STOP: [0.01, 0.02]}, "method": "optuna", "trials": 10}
    assert same(run(client, **options).frame, run(**options).frame)


def _end_once(flag: str, name: str, *rest: Any) -> Any:
    """End the first worker process that comes here, as a machine that is switched off."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        from stratnb.research.cluster import _on_worker

        return _on_worker(name, *rest)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_always(bad: int, name: str, job: Any, modules: Any, trials: Any, values: Any) -> Any:
    from stratnb.research.cluster import _on_worker

    if bad in trials:
        os.kill(os.getpid(), signal.SIGKILL)
    return _on_worker(name, job, modules, trials, values)


class _Sent:
    """A function with its first argument, that workers can be sent without this module."""

    def __init__(self, run: Any, first: Any) -> None:
        import cloudpickle

        self.code, self.first = cloudpickle.dumps(run), first

    def __call__(self, *rest: Any) -> Any:
        import cloudpickle

        return cloudpickle.loads(self.code)(self.first, *rest)


def _by_value() -> None:
    """Let functions of this module travel whole: workers do not import tests."""
    import sys

    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_the_trials_of_a_worker_that_ends_are_run_again(
    client: Any, whole: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _by_value()
    before = _pids(client)
    allowed = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
    monkeypatch.setattr(cluster, "_on_worker", _Sent(_end_once, str(tmp_path / "ended")))
    far = run(client)
    assert (tmp_path / "ended").exists()
    assert far.complete and same(far.frame, whole.frame)
    client.wait_for_workers(2, timeout=30)
    assert _pids(client) != before
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == allowed


def test_a_trial_that_ends_every_worker_is_given_up(client: Any, whole: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    _by_value()
    client.wait_for_workers(2, timeout=30)
    monkeypatch.setattr(cluster, "_on_worker", _Sent(_end_always, 6))
    far = run(client)
    lost = far.frame[far.frame["error"] == LOST]
    assert far.complete and 6 in lost["trial"].tolist() and len(lost) <= 3
    assert lost[list(FIGURES)].isna().all(axis=None)
    assert same(far.frame.drop(lost.index), whole.frame.drop(lost.index))


def test_what_is_no_cluster_is_refused(client: Any) -> None:
    with pytest.raises(ConfigError, match="is not a client of a cluster"):
        run("tcp://127.0.0.1:1")
    here = type("Mine", (), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match="cannot see what this notebook defines: Mine") as error:
        modules_of([here, Sweep])
    assert error.value.code == "block_not_shared"
    with pytest.raises(ConfigError, match="No module named 'nowhere_to_be_found'"):
        cluster._check_workers(client, ["nowhere_to_be_found"])
    assert modules_of([Sweep]) == []
