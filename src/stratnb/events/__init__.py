"""Events: the envelope, the bus that tags, keeps and delivers them, and its view for one strategy."""

from __future__ import annotations

from stratnb.events.bus import EventBus, StrategyBus
from stratnb.events.envelope import EVENT_TYPES, Event
from stratnb.events.subscription import Handler, Subscription

__all__ = ["EVENT_TYPES", "Event", "EventBus", "Handler", "StrategyBus", "Subscription"]
