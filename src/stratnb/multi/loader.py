"""Reads strategies for a desk: document, base and overrides on one of its markets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stratnb.errors import ConfigError
from stratnb.exchange.base import Exchange
from stratnb.model import Market
from stratnb.multi.records import StrategyRecord
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import LoadedStrategy, beneath, build_config, load_base
from stratnb.strategy.funding import funding_missing

__all__ = ["Loader"]

Source = str | Path | Mapping[str, Any]


class Loader:
    """Finds documents in the workspace's `strategies` first, then in the library, over the workspace's `base.json`."""

    def __init__(self, exchange: Exchange, symbols: tuple[str, ...], workspace: Path | None) -> None:
        self._exchange = exchange
        self._symbols = symbols
        self._workspace = workspace

    def load(
        self, document: Source, symbol: str | None, overrides: Mapping[str, Any] | None
    ) -> tuple[LoadedStrategy, Market]:
        """Return a strategy and its market: `symbol`, else the document's own, else the only one there is."""
        symbol = symbol or (self._symbols[0] if len(self._symbols) == 1 else None)
        loaded = self._read(document, symbol, overrides)
        market = self.market(loaded.config)
        made = loaded if market.inferred else self._read(document, market.symbol, overrides, market)
        told = funding_missing(made.config, market, "write the rate to count with")
        return replace(made, findings=(*made.findings, *told)), market

    def reload(self, record: StrategyRecord) -> tuple[LoadedStrategy, Market]:
        """Return a strategy of an earlier run from what it was loaded with then."""
        market = self._exchange.market(record.symbol)
        loaded = build_config(
            record.sources["document"],
            base=record.sources["base"],
            overrides=record.overrides,
            symbol=record.symbol,
            market=None if market.inferred else market,
            folder=self._folder,
        )
        return loaded, self.market(loaded.config)

    def beneath(self, record: StrategyRecord) -> dict[str, Any]:
        """Return what lies under the overrides of a loaded strategy."""
        market = self._exchange.market(record.symbol)
        return beneath(
            record.sources["document"],
            base=record.sources["base"],
            symbol=record.symbol,
            market=None if market.inferred else market,
            folder=self._folder,
        )

    @property
    def _folder(self) -> Path | None:
        return None if self._workspace is None else self._workspace / "strategies"

    def base(self) -> Mapping[str, Any]:
        """Return what lies under every document."""
        return {} if self._workspace is None else load_base(self._workspace / "base.json") or {}

    def market(self, config: StrategyConfig) -> Market:
        """Return the market that a configuration names."""
        if config.market.symbol is None:
            raise ConfigError(
                "symbol_missing",
                f"{config.name} does not say which of the {len(self._symbols)} markets it trades",
                hint=f"give symbol=, such as {self._symbols[0]!r}",
            )
        market = self._exchange.market(config.market.symbol)
        # Candles do not tell the kind of their market, so one that was inferred from them takes the document's.
        return replace(market, kind=config.market.kind) if market.inferred else market

    def _read(
        self,
        document: Source,
        symbol: str | None,
        overrides: Mapping[str, Any] | None,
        market: Market | None = None,
    ) -> LoadedStrategy:
        return build_config(
            document, base=self.base(), overrides=overrides, symbol=symbol, market=market, folder=self._folder
        )
