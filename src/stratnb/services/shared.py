"""The six shared services as one frozen record, checked when an engine is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from stratnb.errors import ConfigError
from stratnb.services.candles import CandleProvider, TimeframeProvider
from stratnb.services.exits import PositionExiting
from stratnb.services.notify import Notifier
from stratnb.services.positions import PositionManager
from stratnb.services.risk import RiskManager

__all__ = ["SharedServices"]


@dataclass(frozen=True, slots=True)
class SharedServices:
    """Single objects used by every orchestrator; the notifier may be None. A wrong member is `ConfigError`."""

    candles: CandleProvider
    timeframes: TimeframeProvider
    positions: PositionManager
    risk: RiskManager
    exits: PositionExiting
    notifier: Notifier | None = None

    def __post_init__(self) -> None:
        """Check every member's type, so that a fault shows now and not at the first candle."""
        for item in fields(self):
            value, wanted = getattr(self, item.name), MEMBERS[item.name]
            if not isinstance(value, wanted) and not (item.name == "notifier" and value is None):
                raise ConfigError(
                    "shared_service",
                    f"service {item.name!r} is {type(value).__name__}, not {wanted.__name__}",
                    value=item.name,
                    hint=f"give a {wanted.__name__}",
                )


MEMBERS: Mapping[str, type] = MappingProxyType(
    {
        "candles": CandleProvider,
        "timeframes": TimeframeProvider,
        "positions": PositionManager,
        "risk": RiskManager,
        "exits": PositionExiting,
        "notifier": Notifier,
    }
)
