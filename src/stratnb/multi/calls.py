"""What the plain calls of an engine rest on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Calls"]


class Calls(ABC):
    """Runs operations by their names and waits for them."""

    @abstractmethod
    def _call(self, op: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation and wait for it."""
