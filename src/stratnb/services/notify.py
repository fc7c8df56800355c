"""What tells people about events outside the notebook; the engine works without one."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

__all__ = ["Level", "Notifier"]

Level = Literal["info", "warning", "critical"]


@runtime_checkable
class Notifier(Protocol):
    """Sends short messages; a failure of its own must never raise."""

    def notify(self, level: Level, text: str, strategy_id: str | None = None) -> None:
        """Queue one message."""
        ...
