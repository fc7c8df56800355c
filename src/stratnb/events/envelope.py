"""The envelope of an event and the closed set of types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from stratnb.errors import ConfigError, nearest

__all__ = ["EVENT_TYPES", "Event", "unknown_type"]

_STRATEGY = (
    "LOADED ACTIVATED DEACTIVATED REMOVED SWITCHED SWITCH_FAILED CONFIG_UPDATED CONFIG_REJECTED STATE_SAVED "
    "STATE_RESTORED ERROR HEALTH"
)
_OTHERS = (
    "ENGINE_STARTED ENGINE_STOPPED ENGINE_STATE LEASE_ACQUIRED LEASE_LOST "
    "CANDLE_ROUTED CANDLE_GAP DATA_STALE "
    "DECISION SIGNAL_NEW ENTRY_PENDING ENTRY_EXPIRED ENTRY_DENIED "
    "ORDER_INTENT ORDER_SENT ORDER_UPDATED ORDER_UNKNOWN ORDER_RESOLVED FILL "
    "POSITION_OPENED POSITION_CHANGED POSITION_CLOSED POSITION_TRANSFERRED TARGET_HIT STOP_MOVED EXIT_SIGNAL "
    "RISK_DENIED RISK_STATE RISK_LATCHED RISK_RELEASED BREAKER_STATE "
    "CACHE_HIT CACHE_MISS CACHE_CREATED CACHE_EVICTED COMMAND COMMAND_REFUSED RECONCILED RECONCILE_DIFF"
)

EVENT_TYPES: frozenset[str] = frozenset([*_OTHERS.split(), *(f"STRATEGY_{word}" for word in _STRATEGY.split())])


class Event(NamedTuple):
    """Something that happened; `seq` is its id, `ts_ns` the time on the bus's clock, `payload` is JSON-safe.

    `strategy_id` is None for events of the whole engine; the events of one decision share a `correlation_id`.
    """

    seq: int
    ts_ns: int
    type: str
    strategy_id: str | None
    symbol: str | None
    correlation_id: str | None
    source: str
    payload: Mapping[str, Any]
    version: int = 1

    def to_json(self) -> str:
        """Return the event as one JSON object; a payload with other values is ConfigError("payload_not_json").

        >>> Event(1, 5, "FILL", "a@BTC/USDT#main", None, None, "", {"price": 2.5}).to_json()[:31]
        '{"seq": 1, "ts_ns": 5, "type": '
        """
        try:
            return json.dumps({**self._asdict(), "payload": dict(self.payload)}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                "payload_not_json",
                f"event {self.seq} {self.type}: {error}",
                value=self.payload,
                hint="use text, finite numbers, bool, None, lists and mappings with text keys",
            ) from error


def unknown_type(type_: str) -> ConfigError:
    """Return the error for a type that is not in the closed set."""
    close = nearest(type_, EVENT_TYPES, limit=1)
    hint = f"did you mean {close[0]!r}?" if close else "the types are in stratnb.events.EVENT_TYPES"
    return ConfigError("unknown_event_type", f"event type {type_!r} is not known", value=type_, hint=hint)
