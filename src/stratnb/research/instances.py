"""Which strategies run on which candles: what a person writes, resolved to labeled plans, all faults at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from stratnb.errors import ConfigError, Finding, nearest
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.research.configured import Strategy, configure
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.plan import Plan

__all__ = ["Instance", "Item", "Strategies", "instances"]

Item: TypeAlias = Strategy | tuple[Strategy, str]
Strategies: TypeAlias = Item | Sequence[Item] | Mapping[str, Item]

OF_DOCUMENT = ("schema", "extends", "analyzers")


@dataclass(frozen=True, slots=True)
class Instance:
    """One strategy on one market; `number` is the place of its candles among the series."""

    label: str
    plan: Plan
    candles: Candles
    number: int
    findings: tuple[Finding, ...]

    @property
    def width(self) -> int:
        """Return the length of its decision rows."""
        return self.plan.decision_width


def instances(
    strategies: Strategies,
    series: Sequence[Candles],
    *,
    markets: Mapping[str, Market],
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Instance, ...]:
    """Return the instances in the order of registration: strategy by strategy, market by market.

    Raises `ConfigError`: that of the strategy when one fails, `portfolio_invalid` with all of them when several do;
    `no_strategies`, `market_unknown`, `duplicate_label`, `market_kind`, `quote_mixed`.
    """
    made, errors = [], []
    guess = cache(market_from)
    for label, strategy, number in _places(strategies, series):
        candles = series[number]
        known = markets.get(candles.symbol)
        try:
            plan, found = configure(strategy, candles, market=known, overrides=overrides, guess=guess)
        except ConfigError as error:
            errors.append((label or _told(strategy), candles.symbol, error))
            continue
        several = f"@{candles.symbol}" if len(series) > 1 else ""
        name = plan.config.name + several if label is None else label
        made.append(Instance(name, plan, candles, number, found))
    _raise(errors)
    _check(made)
    return tuple(made)


def _places(strategies: Strategies, series: Sequence[Candles]) -> Iterator[tuple[str | None, Strategy, int]]:
    """Yield label (None: to be named after the document), strategy and number of its candles."""
    symbols = [candles.symbol for candles in series]
    for label, item in _items(strategies):
        strategy, symbol = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if isinstance(strategy, tuple) or not isinstance(strategy, str | Path | Mapping | StrategyConfig):
            hint = "give names, paths, documents or configurations, or pairs of one and a symbol"
            raise ConfigError("type", f"{repr(item)[:80]} is not a strategy", value=repr(item)[:80], hint=hint)
        if symbol is not None and symbol not in symbols:
            close = nearest(str(symbol), symbols) or tuple(symbols[:10])
            hint = f"there are candles of {', '.join(close)}"
            raise ConfigError("market_unknown", f"there are no candles of {symbol!r}", value=symbol, hint=hint)
        for number, own in enumerate(symbols):
            if symbol is None:
                yield f"{label}@{own}" if label is not None and len(symbols) > 1 else label, strategy, number
            elif own == symbol:
                yield label, strategy, number


def _items(strategies: Strategies) -> Iterator[tuple[str | None, Any]]:
    """Yield what was given with its label, None without one; a single strategy is one item."""
    if isinstance(strategies, Mapping) and not any(name in strategies for name in OF_DOCUMENT):
        found: list[tuple[str | None, Any]] = [(str(label), item) for label, item in strategies.items()]
    elif isinstance(strategies, str | Path | Mapping | StrategyConfig) or not isinstance(strategies, Iterable):
        found = [(None, strategies)]
    else:
        found = [(None, item) for item in strategies]
    if not found:
        raise ConfigError("no_strategies", "no strategies are given", hint="give at least one")
    yield from found


def _told(strategy: Strategy) -> str:
    """Return how a strategy that could not be read is called."""
    name = strategy.get("name", "document") if isinstance(strategy, Mapping) else strategy
    return str(name)[:60]


def _raise(errors: Sequence[tuple[str, str, ConfigError]]) -> None:
    """Raise the fault of one strategy, or all faults of several."""
    if len(errors) == 1:
        raise errors[0][2]
    if errors:
        found = []
        for label, symbol, error in errors:
            own = error.findings or (Finding("", error.code, error.message, error.value, error.hint),)
            found += [Finding(f"{label} on {symbol} {x.path}".strip(), x.code, x.message, x.value, x.hint) for x in own]
        message = f"{len(errors)} strategies cannot run"
        raise ConfigError("portfolio_invalid", message, value=len(errors), hint="correct them all", findings=found)


def _check(made: Sequence[Instance]) -> None:
    """Raise for labels given twice, for a market of two kinds, and for markets of two quote currencies."""
    labels = [each.label for each in made]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        hint = "give a mapping of labels to strategies"
        raise ConfigError("duplicate_label", f"more than one {', '.join(twice)}", value=twice, hint=hint)
    kinds: dict[str, set[str]] = {}
    for each in made:
        kinds.setdefault(each.candles.symbol, set()).add(each.plan.market.kind)
    if mixed := sorted(symbol for symbol, found in kinds.items() if len(found) > 1):
        text = f"strategies take {', '.join(mixed)} for a market of different kinds"
        raise ConfigError("market_kind", text, value=mixed, hint="say what it is with market=Market(symbol, kind=...)")
    quotes = sorted({each.plan.market.quote for each in made})
    if len(quotes) > 1:
        text = f"one account has one quote currency, not {', '.join(quotes)}"
        raise ConfigError("quote_mixed", text, value=quotes, hint="run the markets of one quote currency together")
