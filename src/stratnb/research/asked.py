"""What a sweep is asked for, and everything that is wrong with it, before its first trial runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stratnb.errors import Finding
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.research.backtest import check_run
from stratnb.research.batch import cores
from stratnb.research.configured import Strategy, check_kinds, configure
from stratnb.research.funding import FundingRates, check_funding
from stratnb.research.gaps import OnGap, stretches_of
from stratnb.research.search import check_optuna
from stratnb.research.space import Given, Method, Space, axes_of, path_faults
from stratnb.research.sweep_checks import (
    check_lengths,
    collected,
    continuous_faults,
    count_faults,
    idle_faults,
    offered,
    option_faults,
    written,
)
from stratnb.research.sweep_memory import memory_faults
from stratnb.research.trials import Job, Runner
from stratnb.research.value_checks import value_faults
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import LoadedStrategy, build_config
from stratnb.strategy.plan import Plan

__all__ = ["Asked", "Ready"]


class Ready(NamedTuple):
    """What runs: the strategy's own plan, the numbered trials, and who runs them."""

    plan: Plan
    space: Space
    runner: Runner


@dataclass(frozen=True)
class Asked:
    """The arguments of `sweep` that decide what a trial is."""

    strategy: Strategy
    candles: Candles
    space: Mapping[str, Given]
    method: Method = "grid"
    trials: int | None = None
    objective: str = "sharpe"
    seed: int = 0
    market: Market | None = None
    cash: float = 10_000.0
    limits: AccountLimits | None = None
    overrides: Mapping[str, Any] | None = None
    threads: int | None = None
    max_trials: int = 100_000
    on_gap: OnGap = "hold"
    min_trades: int = 0
    memory_mb: float | None = None
    funding: FundingRates | None = None

    def ready(self, findings: list[Finding]) -> Ready | None:
        """Return what runs, or None with all faults added to `findings`; no trial is run."""
        before = len(findings)
        names = ("method", "trials", "objective", "seed", "threads", "max_trials", "min_trades", "memory_mb")
        findings += option_faults(**{name: getattr(self, name) for name in names})
        axes, faults = axes_of(self.space)
        chosen, found = Space(axes, self.method, self.trials, self.seed), list[Plan]()
        findings += faults + continuous_faults(chosen) + (collected(check_optuna) if self.method == "optuna" else [])
        findings += self._account_faults(found)
        countable = ("method", "trials", "max_trials", *(self.space if isinstance(self.space, Mapping) else ()))
        if axes and not any(finding.path in countable for finding in findings[before:]):
            findings += count_faults(chosen, self.max_trials)
        document, loaded = self._read() if found else ({}, None)
        if loaded is not None and isinstance(self.space, Mapping):
            findings += self._space_faults(loaded, document, chosen, {finding.path for finding in faults})
        if len(findings) == before:
            findings += memory_faults(chosen.count, len(self.candles), self.threads or cores(), self.memory_mb)
        if len(findings) > before:
            return None
        given = (self.candles, self.market, float(self.cash), self.limits, dict(self.overrides or {}), self.on_gap)
        runner = Runner(Job(document, chosen.paths, *given, chosen.count, self.funding), loaded)
        findings += check_lengths(runner, axes)
        return Ready(found[0], chosen, runner) if len(findings) == before else None

    def _account_faults(self, found: list[Plan]) -> list[Finding]:
        """Return what is wrong with candles, account and strategy; its own plan goes into `found`."""
        findings = collected(lambda: check_run(self.candles, self.cash))
        findings += collected(lambda: check_kinds(self.market, self.limits))
        if isinstance(self.candles, Candles) and len(self.candles):
            options: dict[str, Any] = {"market": self.market, "overrides": self.overrides}
            findings += collected(lambda: check_funding(self.funding, self.candles))
            findings += collected(lambda: stretches_of(self.candles, self.on_gap))
            findings += collected(lambda: configure(self.strategy, self.candles, **options)[0], found)
        return findings

    def _read(self) -> tuple[dict[str, Any], LoadedStrategy]:
        """Return the document of a valid strategy with what it extends in it, and what it is for these candles."""
        document = written(self.strategy, self.market)
        symbol, overrides = self.candles.symbol, dict(self.overrides or {})
        return document, build_config(document, overrides=overrides, symbol=symbol, market=self.market)

    def _space_faults(
        self, loaded: LoadedStrategy, document: Mapping[str, Any], chosen: Space, told: set[str]
    ) -> list[Finding]:
        """Return paths that lead nowhere or change nothing, and values that what stands there does not accept."""
        paths, places = [str(path) for path in self.space], (loaded.complete, document)
        lost = path_faults(paths, *places) and path_faults(paths, *places, offered(loaded.config))
        lost += idle_faults(paths)
        known = [axis for axis in chosen.axes if axis.path not in {*told, *(finding.path for finding in lost)}]
        options: dict[str, Any] = {"market": self.market, "overrides": self.overrides, "loaded": loaded}
        return lost + value_faults(document, known, symbol=self.candles.symbol, **options)
