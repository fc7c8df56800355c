"""What must hold before the first trial of a sweep runs; every fault is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel

from stratnb.blocks.base import Role, kinds
from stratnb.errors import ConfigError, Finding, nearest, positive
from stratnb.model import Market
from stratnb.research.configured import Strategy
from stratnb.research.measure import FIGURES
from stratnb.research.space import Axis, Method, Space
from stratnb.research.trials import Runner
from stratnb.strategy.config import Header, StrategyConfig
from stratnb.strategy.documents import beneath
from stratnb.strategy.faults import fault

__all__ = [
    "check_lengths",
    "collected",
    "continuous_faults",
    "count_faults",
    "idle_faults",
    "offered",
    "option_faults",
    "raise_all",
    "written",
]

METHODS: tuple[Method, ...] = get_args(Method)


def option_faults(
    *,
    method: Any,
    trials: object,
    objective: Any,
    seed: object,
    threads: object,
    max_trials: object,
    min_trades: object = 0,
    memory_mb: object = None,
) -> list[Finding]:
    """Return the options that are no choice."""
    found = []
    if isinstance(min_trades, bool) or not isinstance(min_trades, int) or min_trades < 0:
        text = f"{min_trades!r} is not a whole number from 0 on"
        found.append(fault("min_trades", "range", text, min_trades, "write min_trades=30"))
    if memory_mb is not None and not positive(memory_mb):
        text = f"{memory_mb!r} is not a number above 0"
        found.append(fault("memory_mb", "range", text, memory_mb, "write memory_mb=1000, or None for no limit"))
    for name, value, known in (("method", method, METHODS), ("objective", objective, FIGURES)):
        if value not in known:
            close = nearest(str(value), known)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"allowed: {', '.join(known)}"
            found.append(fault(name, "enum", f"{value!r} is not known", value, hint))
    if method != "grid" and not _is_count(trials):
        said = "the number of trials is not said" if trials is None else f"{trials!r} is no number of trials"
        found.append(fault("trials", "range", said, trials, "give one, such as 200"))
    if method == "grid" and trials is not None:
        hint = "leave it out, or choose method='random'"
        found.append(fault("trials", "range", "a grid runs all its combinations", trials, hint))
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        found.append(fault("seed", "range", f"{seed!r} is not a whole number from 0 on", seed, "write seed=0"))
    for name, number in (("threads", 1 if threads is None else threads), ("max_trials", max_trials)):
        if not _is_count(number):
            found.append(fault(name, "range", f"{number!r} is not a whole number above 0", number, f"write {name}=2"))
    return found


def continuous_faults(space: Space) -> list[Finding]:
    """Return the axes of a grid whose values cannot be counted."""
    return [
        fault(axis.path, "range_continuous", f"{axis.values!r} has no steps", None, "give it a step or a count")
        for axis in space.axes
        if space.method == "grid" and axis.is_continuous
    ]


def idle_faults(paths: Iterable[str]) -> list[Finding]:
    """Return the paths whose values change no trade: all trials would be one, and be counted as many."""
    found = []
    for path in paths:
        if path == "market.symbol":
            hint = "sweep the candles of each market by themselves, or use portfolio"
            found.append(fault(path, "no_effect", "the candles say which market is traded", path, hint))
        elif path.split(".")[0].split("[")[0] in (*Header.model_fields, "schema", "evidence"):
            found.append(fault(path, "no_effect", "its values change no trade", path, "take it out of the space"))
    return found


def count_faults(space: Space, max_trials: int) -> list[Finding]:
    """Return that there are more trials than are allowed, and how many; nothing is made for it."""
    if space.count <= max_trials:
        return []
    sizes = f" ({' x '.join(str(size) for size in space.shape)})" if space.method == "grid" else ""
    text = f"there are {space.count:,} trials{sizes}, {max_trials:,} are allowed"
    hint = "take fewer values, choose method='random' with trials=, or raise max_trials"
    return [fault("space", "grid_too_large", text, space.count, hint)]


def check_lengths(runner: Runner, axes: Sequence[Axis]) -> list[Finding]:
    """Return the faults of the outermost combinations whose warm-up is as long as the candles."""
    ends = [(axis.values[0], axis.values[len(axis) - 1]) for axis in axes if not axis.is_continuous]
    if len(ends) < len(axes):
        return []
    found = []
    for own in (0, 1):
        values = tuple(pair[own] for pair in ends)
        try:
            plan = runner.variants.plan(values)
        except ConfigError:
            continue
        told = collected(lambda plan=plan: runner.check_length(plan))  # type: ignore[misc]
        where = ", ".join(f"{axis.path} = {value!r}" for axis, value in zip(axes, values, strict=True))
        found += [Finding("space", f.code, f"{f.message} with {where}", f.value, f.hint) for f in told]
    return found[:1]


def collected(run: Callable[[], Any], into: list[Any] | None = None) -> list[Finding]:
    """Return the faults of a call as findings; its result goes into a list."""
    try:
        result = run()
    except ConfigError as error:
        faults = [finding for finding in error.findings if finding.severity == "error"]
        return faults or [fault("", error.code, error.message, error.value, error.hint)]
    if into is not None:
        into.append(result)
    return []


def raise_all(findings: Sequence[Finding]) -> None:
    """Raise all faults in one `ConfigError("sweep_invalid")`."""
    if findings:
        text = f"the sweep has {len(findings)} fault{'s' if len(findings) > 1 else ''}; nothing was run"
        raise ConfigError("sweep_invalid", text, hint="correct them all", findings=findings)


def written(strategy: Strategy, market: Market | None) -> dict[str, Any]:
    """Return the document of a strategy with what it extends in it, so that it says everything by itself."""
    document: Any = strategy.to_document() if isinstance(strategy, StrategyConfig) else strategy
    return beneath(document, base={}, market=market)


def offered(config: StrategyConfig) -> dict[str, Any]:
    """Return what a document of the strategy may have beside what is written: parameters at None, further blocks."""
    names = ("market", "timeframes", "entry", "risk", "execution", "capital", "state", "sizing")
    sections = {name: _fields(type(getattr(config, name))) for name in names}
    sections["execution"]["simulation"] = _fields(type(config.execution.simulation))
    further: dict[Literal["filters", "exits"], Role] = {"filters": "filter", "exits": "exit"}
    named: dict[str, Any] = {
        section: {kind: _fields(block) for kind, block in kinds(role).items()}
        | {name: _fields(type(block)) for name, block in getattr(config, section).items()}
        for section, role in further.items()
    }
    analyzers = [_fields(type(one.params)) | {"params": _fields(type(one.params))} for one in config.analyzers]
    indicators = {name: _fields(type(one.block)) for name, one in config.indicators.items()}
    return {**sections, **named, "analyzers": analyzers, "indicators": indicators}


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return dict.fromkeys(model.model_fields)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
