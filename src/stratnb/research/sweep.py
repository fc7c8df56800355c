"""A sweep: many backtests of one strategy over values of its parameters, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stratnb.errors import Finding
from stratnb.market_data.candles import Candles
from stratnb.model import Market, installed_version
from stratnb.research.asked import Asked
from stratnb.research.batch import cores
from stratnb.research.cluster import Cluster, modules_of
from stratnb.research.configured import Strategy
from stratnb.research.funding import FundingRates
from stratnb.research.gaps import OnGap
from stratnb.research.ledger import Ledger, study_of
from stratnb.research.run_sweep import Course, Study, run_course
from stratnb.research.runs import fingerprint, rates_fingerprint
from stratnb.research.space import Given, Method, Space
from stratnb.research.store import store_at
from stratnb.research.sweep_checks import raise_all
from stratnb.research.swept import Sweep
from stratnb.research.trials import Job
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
    funding: FundingRates | None = None,
    threads: int | None = None,
    client: Client | None = None,
    path: str | Path | None = None,
    max_trials: int = 100_000,
    min_trades: int = 0,
    memory_mb: float | None = None,
    on_gap: OnGap = "hold",
    ledger: Ledger | Literal[False] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Sweep:
    """Run a strategy alone with every combination of a space and return one table.

    `space` maps paths of the document to a `Range` or a list of values; `method` is "grid", "random" or "optuna" (the
    last two with `trials`). Each trial is the backtest of its document, with the same `funding` rates of a linear
    market. The trials run in `threads` of this process, or on the Dask cluster of `client`. With
    `path`, a .parquet file, rows are kept as they come; the same call goes on with what is missing. `progress(done,
    all)` is told, else a line shows rate and remaining time; `cancelled()` and an interrupt keep what is done. A trial
    with fewer than `min_trades` trades is kept and never the best; a sweep that takes more than `memory_mb` (10^6
    bytes, `sweep_memory`) is refused. Every trial that ran is counted in `ledger`: None is the user's, False none.
    Raises `ConfigError("sweep_invalid")` with all faults before anything runs.
    """
    findings: list[Finding] = []
    account = (market, cash, limits, overrides)
    how = (method, trials, objective, seed)
    limited: dict[str, Any] = {"max_trials": max_trials, "min_trades": min_trades, "memory_mb": memory_mb}
    asked = Asked(strategy, candles, space, *how, *account, threads=threads, on_gap=on_gap, funding=funding, **limited)
    ready = asked.ready(findings)
    raise_all(findings)
    assert ready is not None, "what is not ready has a fault"
    plan, chosen, runner = ready
    job, axes = runner.job, chosen.axes
    store = store_at(path, axes, {} if path is None else _identity(plan, job, chosen, _aim(objective, min_trades)))
    cluster = None if client is None else Cluster(client, job, modules_of([type(node.block) for node in plan.nodes]))
    study = None if ledger is False else Study(ledger or Ledger(), study_of(plan.config, candles), plan)
    course = Course(runner, chosen, objective, store, threads or cores(), cluster, study, min_trades)
    return Sweep(course, complete=run_course(course, progress, cancelled))


def _aim(objective: str, min_trades: int) -> str:
    """Return what optuna searches for, in words."""
    return f"{objective} of {min_trades} trades" if min_trades else objective


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
        "funding": None if job.funding is None else rates_fingerprint(job.funding),
        "space": space.described(),
        "objective": objective if space.method == "optuna" else "",
    }
