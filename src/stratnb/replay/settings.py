"""What to replay: files, strategies and how, checked before anything runs; and the markets of the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stratnb.errors import ConfigError, nearest
from stratnb.market_data import Candles, QualityReport, load_candles
from stratnb.market_data.candles import market_from
from stratnb.market_data.markets import load_markets
from stratnb.model import Market
from stratnb.multi.records import POLICIES, Policy
from stratnb.strategy.documents import build_config

__all__ = ["ReplaySettings", "load_series", "markets_of"]


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What to replay and how.

    `strategies` are names or paths of documents; every one runs on every file. `switch_every` counts instants, None
    never switches; `speed` is a multiple of real time, `math.inf` as fast as possible; `symbols` name the files in
    their order, none: from their names; `market_file` fixes ticks, lots and fees, what it leaves open is inferred;
    `overrides` change every strategy, by path.
    """

    files: tuple[Path, ...]
    strategies: tuple[str, ...]
    mode: Literal["exclusive", "parallel"] = "exclusive"
    switch_every: int | None = None
    policy: Policy = "keep"
    speed: float = math.inf
    cash: float = 10_000.0
    capacity: int = 10
    symbols: tuple[str, ...] = ()
    timeframe: str | None = None
    market_file: Path | None = None
    repair: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    parity: bool = True

    def __post_init__(self) -> None:
        """Check everything that needs no file."""
        _check_choice("mode", self.mode, ("exclusive", "parallel"))
        _check_choice("policy", self.policy, tuple(each for each in POLICIES if each != "wait_flat"))
        if not self.files:
            raise ConfigError("no_candles", "no candle files are given", hint="name them after --candles")
        if not self.strategies:
            hint = "name at least one, several with a comma between"
            raise ConfigError("no_strategies", "no strategies are given", hint=hint)
        if twice := sorted({name for name in self.strategies if self.strategies.count(name) > 1}):
            raise ConfigError(
                "duplicate_strategy", f"named twice: {', '.join(twice)}", value=twice, hint="name each once"
            )
        if self.switch_every is not None and self.switch_every < 1:
            raise ConfigError("range", f"switch_every is 1 or more, not {self.switch_every}", value=self.switch_every)
        if not self.speed > 0:
            raise ConfigError("speed", f"speed {self.speed!r} is not above 0", value=self.speed, hint="a number or max")
        if not (self.cash > 0 and math.isfinite(self.cash)):
            raise ConfigError("range", f"cash {self.cash!r} is not above 0", value=self.cash)
        if self.symbols and len(self.symbols) != len(self.files):
            text = f"{len(self.symbols)} symbols are given for {len(self.files)} files"
            raise ConfigError("symbols", text, value=self.symbols, hint="give one a file, separated by commas")


def load_series(settings: ReplaySettings) -> tuple[tuple[Candles, ...], tuple[QualityReport, ...]]:
    """Return the candles of the files in their order, with the reports of their quality."""
    found = []
    names = settings.symbols or (None,) * len(settings.files)
    for path, symbol in zip(settings.files, names, strict=True):
        found.append(load_candles(path, symbol=symbol, timeframe=settings.timeframe, repair=settings.repair))
    first: dict[str, str] = {}
    for path, (candles, _) in zip(settings.files, found, strict=True):
        if candles.symbol in first:
            text = f"{path.name} and {first[candles.symbol]} are both {candles.symbol}"
            raise ConfigError(
                "duplicate_symbol", text, value=candles.symbol, hint="name the files with --symbol A/B,C/D"
            )
        first[candles.symbol] = path.name
    return tuple(candles for candles, _ in found), tuple(report for _, report in found)


def markets_of(settings: ReplaySettings, series: Sequence[Candles]) -> tuple[Market, ...]:
    """Return the market of each series: what the market file does not say is inferred from the candles."""
    rows = load_markets(settings.market_file) if settings.market_file else {}
    symbols = [candles.symbol for candles in series]
    for symbol in sorted(set(rows) - set(symbols)):
        close = nearest(symbol, symbols) or tuple(symbols[:10])
        raise ConfigError(
            "market_unknown", f"no candles of {symbol!r}", value=symbol, hint=f"files hold {', '.join(close)}"
        )
    kinds = {
        build_config(name, overrides=settings.overrides, symbol=symbols[0]).config.market.kind
        for name in settings.strategies
    }
    kind = kinds.pop() if len(kinds) == 1 else "spot"
    known = [{"kind": kind} | (rows[candles.symbol].known if candles.symbol in rows else {}) for candles in series]
    markets = [market_from(candles, **values) for candles, values in zip(series, known, strict=True)]
    quotes = sorted({market.quote for market in markets})
    if len(quotes) > 1:
        held = "; ".join(f"{quote}: {', '.join(m.symbol for m in markets if m.quote == quote)}" for quote in quotes)
        hint = "replay the markets of one quote currency together"
        raise ConfigError("quote_mixed", f"one account has one quote currency, not {held}", value=quotes, hint=hint)
    return tuple(markets)


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        close = nearest(value, known, limit=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"
        raise ConfigError("enum", f"{name} {value!r} is not known", value=value, hint=hint)
