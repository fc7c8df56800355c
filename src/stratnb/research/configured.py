"""The plan of a strategy on candles; the plans of the documents asked for last are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from stratnb.blocks.base import redefinitions
from stratnb.errors import ConfigError, Finding
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Market
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.build import build_plan
from stratnb.strategy.config import StrategyConfig
from stratnb.strategy.documents import build_config
from stratnb.strategy.plan import Plan

__all__ = ["Strategy", "check_kinds", "configure"]

Strategy: TypeAlias = str | Path | Mapping[str, Any] | StrategyConfig

LIMITS_HINT: Final = "AccountLimits(max_open_positions=5) of stratnb.services.ledger"
PLANS_KEPT: Final = 16
_plans: dict[tuple[object, ...] | None, tuple[Plan, tuple[Finding, ...]]] = {}


def configure(
    strategy: Strategy,
    candles: Candles,
    *,
    market: Market | None = None,
    overrides: Mapping[str, Any] | None = None,
    guess: Callable[..., Market] = market_from,
) -> tuple[Plan, tuple[Finding, ...]]:
    """Return the plan of a strategy on these candles, and the warnings of its document.

    A market that is not given is what `guess(candles, kind=...)` returns.
    """
    check_kinds(market)
    key = _key(strategy, overrides, candles, market)
    if key not in _plans:
        document = strategy.to_document() if isinstance(strategy, StrategyConfig) else strategy
        loaded = build_config(document, overrides=overrides, symbol=candles.symbol, market=market)
        known = market or guess(candles, kind=loaded.config.market.kind)
        made = build_plan(loaded.config, known, base=candles.timeframe), loaded.findings
        if key is None:
            return made
        while len(_plans) >= PLANS_KEPT:
            _plans.pop(next(iter(_plans)))
        _plans[key] = made
    return _plans[key]


def _key(
    strategy: Strategy, overrides: Mapping[str, Any] | None, candles: Candles, market: Market | None
) -> tuple[object, ...] | None:
    """Return what tells plans apart, None for one that may be another the next time: of a file, of guessed terms."""
    if market is None or not isinstance(strategy, dict) or "extends" in strategy:
        return None
    try:
        words = json.dumps([strategy, overrides and dict(overrides)], allow_nan=False)
    except (TypeError, ValueError):
        return None
    return words, candles.symbol, candles.timeframe, repr(market), redefinitions()


def check_kinds(market: object, limits: object = None, decisions: object = False) -> None:
    """Raise for what is no market, no limits of an account, or no choice of the decisions to keep."""
    for given, kind, hint in ((market, Market, "Market('BTC/USDT', tick=0.01)"), (limits, AccountLimits, LIMITS_HINT)):
        if given is not None and not isinstance(given, kind):
            text = f"{repr(given)[:80]} is not {'a market' if kind is Market else 'limits of an account'}"
            raise ConfigError("type", text, value=given, hint=f"write {hint}")
    if not isinstance(decisions, bool) and decisions != "entries":
        hint = "True, False or 'entries'"
        raise ConfigError("enum", f"decisions {decisions!r} is not known", value=decisions, hint=hint)
