"""A sweep: many backtests of one strategy over values of its parameters, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stratnb.market_data.candles import Candles
from stratnb.model import Market, installed_version
from stratnb.research.backtest import Strategy, check_kinds, check_run, configure
from stratnb.research.batch import cores
from stratnb.research.cluster import Cluster, modules_of
from stratnb.research.gaps import OnGap, stretches_of
from stratnb.research.ledger import Ledger, study_of
from stratnb.research.run_sweep import Course, Study, run_course
from stratnb.research.runs import fingerprint
from stratnb.research.search import check_optuna
from stratnb.research.space import Given, Method, Space, axes_of, path_faults
from stratnb.research.store import store_at
from stratnb.research.sweep_checks import (
    check_lengths,
    collected,
    continuous_faults,
    count_faults,
    offered,
    option_faults,
    raise_all,
    written,
)
from stratnb.research.swept import Sweep
from stratnb.research.trials import Job, Runner
from stratnb.research.value_checks import value_faults
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.plan import Plan

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Sweep", "sweep"]


def sweep(
    strategy: Strategy,
    candles: Candles,
    space: Mapping[str, Given],
    *,
    method: Method = "grid",
    trials: int | None = None,
    objective: str = "sharpe",
    seed: int = 0,
    market: Market | None = None,
    cash: float = 10_000.0,
    limits: AccountLimits | None = None,
    overrides: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: Client | None = None,
    path: str | Path | None = None,
    max_trials: int = 100_000,
    on_gap: OnGap = "hold",
    ledger: Ledger | Literal[False] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Sweep:
    """Run a strategy alone with every combination of a space and return one table.

    `space` maps paths of the document to a `Range` or a list of values; `method` is "grid", "random" or "optuna" (the
    last two with `trials`). The trials run in `threads` of this process, or on the Dask cluster of `client`. With
    `path`, a .parquet file, rows are kept as they come; the same call goes on with what is missing. `progress(done,
    all)` is told, else a line shows rate and remaining time; `cancelled()` and an interrupt keep what is done. Every
    trial that ran is counted in `ledger`: None is the user's, False none. Raises `ConfigError("sweep_invalid")` with
    all faults before anything runs.
    """
    findings = option_faults(
        method=method, trials=trials, objective=objective, seed=seed, threads=threads, max_trials=max_trials
    )
    axes, faults = axes_of(space)
    chosen, found = Space(axes, method, trials, seed), list[Plan]()
    findings += faults + continuous_faults(chosen) + (collected(check_optuna) if method == "optuna" else [])
    findings += collected(lambda: check_run(candles, cash)) + collected(lambda: check_kinds(market, limits))
    if isinstance(candles, Candles) and len(candles):
        findings += collected(lambda: stretches_of(candles, on_gap))
        findings += collected(lambda: configure(strategy, candles, market=market, overrides=overrides)[0], found)
    if axes and not any(finding.path in (*space, "method", "trials", "max_trials") for finding in findings):
        findings += count_faults(chosen, max_trials)
    document = written(strategy, market) if found else {}
    if found and isinstance(space, Mapping):
        lost = path_faults(map(str, space), found[0].config.to_document(), document, offered(found[0].config))
        known = [axis for axis in axes if axis.path not in {finding.path for finding in lost}]
        findings += lost
        findings += value_faults(document, known, symbol=candles.symbol, market=market, overrides=overrides)
    raise_all(findings)
    plan = found[0]
    job = Job(document, chosen.paths, candles, market, float(cash), limits, dict(overrides or {}), on_gap)
    runner = Runner(job)
    raise_all(check_lengths(runner, axes))
    store = store_at(path, axes, {} if path is None else _identity(plan, job, chosen, objective))
    cluster = None if client is None else Cluster(client, job, modules_of([type(node.block) for node in plan.nodes]))
    study = None if ledger is False else Study(ledger or Ledger(), study_of(plan.config, candles), plan)
    course = Course(runner, chosen, objective, store, threads or cores(), cluster, study)
    return Sweep(course, complete=run_course(course, progress, cancelled))


def _identity(plan: Plan, job: Job, space: Space, objective: str) -> dict[str, Any]:
    """Return what tells one sweep from another."""
    return {
        "strategy": plan.config.config_hash,
        "code": plan.code_hash,
        "version": installed_version(),
        "candles": fingerprint(job.candles),
        "market": None if job.market is None else asdict(job.market),
        "cash": job.cash,
        "limits": None if job.limits is None else job.limits.model_dump(),
        "on_gap": job.on_gap,
        "space": space.described(),
        "objective": objective if space.method == "optuna" else "",
    }
