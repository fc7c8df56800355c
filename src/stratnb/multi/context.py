"""Everything that belongs to one instance: identity, configuration, plan, book and event view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stratnb.errors import ConfigError
from stratnb.events import EventBus, StrategyBus
from stratnb.model import Market
from stratnb.services.positions import Book
from stratnb.services.shared import SharedServices
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import LoadedStrategy
from stratnb.strategy.plan import Plan

__all__ = ["StrategyContext", "open_context"]


@dataclass(frozen=True, slots=True, eq=False)
class StrategyContext:
    """One instance in isolation; nothing mutable in it is shared with another."""

    strategy_id: str
    symbol: str
    loaded: LoadedStrategy
    plan: Plan
    book: Book
    events: StrategyBus
    state: Callable[[], str]
    now_ms: Callable[[], int]

    @property
    def config(self) -> StrategyConfig:
        """Return the merged and frozen configuration."""
        return self.loaded.config

    @property
    def document(self) -> Mapping[str, Any]:
        """Return the document that was loaded."""
        return self.loaded.document

    @property
    def name(self) -> str:
        """Return the strategy's name."""
        return self.config.name

    def close(self) -> None:
        """Detach the listeners made through this context."""
        self.events.close()


def open_context(
    loaded: LoadedStrategy,
    market: Market,
    *,
    strategy_id: str,
    number: int,
    services: SharedServices,
    bus: EventBus,
    state: Callable[[], str],
    now_ms: Callable[[], int],
) -> StrategyContext:
    """Build the plan, open the book and return the context; nothing stays behind when a step fails.

    Raises `ConfigError`: `market_kind`, `timeframe_divides`, `unknown_column`, `cycle`.
    """
    config = loaded.config
    if config.market.kind != market.kind:
        raise ConfigError(
            "market_kind",
            f"{config.name} is written for {config.market.kind} markets, {market.symbol} is {market.kind}",
            value=config.market.kind,
            hint="override market.kind, or choose another market",
        )
    plan = build_plan(config, market, base=services.candles.timeframe)
    events = StrategyBus(bus, strategy_id, market.symbol)
    book = services.positions.open(strategy_id, plan, market=number, events=events)
    return StrategyContext(
        strategy_id=strategy_id,
        symbol=market.symbol,
        loaded=loaded,
        plan=plan,
        book=book,
        events=events,
        state=state,
        now_ms=now_ms,
    )
