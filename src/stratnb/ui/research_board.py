"""A board without an engine, for pages that work on files alone: nothing runs, nothing can be submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Refused
from stratnb.model import installed_version
from stratnb.view import CacheView, EngineView

__all__ = ["ResearchBoard"]

Floats = npt.NDArray[np.float64]
V = TypeVar("V", EngineView, CacheView)

EMPTY: Final[Mapping[str, Callable[[], Any]]] = {
    "int": int,
    "float": float,
    "str": str,
    "tuple": tuple,
    "Mapping": dict,
}
NO_ENGINE: Final = "this page has no engine"
HINT: Final = "open the trader's page: stratnb dashboard"


class ResearchBoard:
    """The board of a kernel that researches: an empty picture, no account, no exchange, no keys."""

    closed = False

    def __init__(self) -> None:
        self._view = _empty_view()

    def view(self) -> EngineView:
        """Return the picture of no engine."""
        return self._view

    def submit(self, op: str, /, **arguments: Any) -> Any:
        """Refuse every operation."""
        raise Refused("no_engine", f"{NO_ENGINE}: {op} does nothing", value=op, hint=HINT)

    def events_since(self, seq: int, limit: int = 1000) -> Sequence[Any]:
        """Return no event."""
        return ()

    def candles(self, symbol: str, timeframe: str, *, last: int = 2000, before_ms: int | None = None) -> Floats:
        """Return no candle."""
        return np.empty((0, 6))

    def document(self, strategy_id: str) -> dict[str, Any]:
        """Refuse: nothing is loaded."""
        raise ConfigError(
            "unknown_strategy", f"{NO_ENGINE}: {strategy_id!r} is not loaded", value=strategy_id, hint=HINT
        )

    def configuration(self, strategy_id: str) -> Any:
        """Refuse: nothing is loaded."""
        return self.document(strategy_id)

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Any:
        """Refuse: nothing is loaded."""
        return self.document(strategy_id)

    def lines(self, strategy_id: str) -> tuple[tuple[str, str], ...]:
        """Return no column."""
        return ()

    def columns(
        self, strategy_id: str, names: Sequence[str], *, last: int = 2000, before_ms: int | None = None
    ) -> Floats:
        """Return no row."""
        return np.empty((0, 1 + len(names)))

    def decisions(self, strategy_id: str, *, last: int | None = None) -> Floats:
        """Return no decision."""
        return np.empty((0, 7))

    def reasons(self, strategy_id: str) -> dict[int, tuple[str, str]]:
        """Return no reason."""
        return {}

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> None:
        """Return that there is no decision."""

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return why there is no decision."""
        return NO_ENGINE

    def what_if(self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None) -> None:
        """Return that there is nothing to judge again."""

    def fills(self, strategy_id: str | None = None) -> Sequence[Any]:
        """Return no fill."""
        return ()

    def equity(self, strategy_id: str | None = None) -> Floats:
        """Return no point."""
        return np.empty((0, 2))


def _empty_view() -> EngineView:
    """Return the picture of nothing."""
    times: dict[str, float | None] = {"p50": None, "p95": None}
    return _blank(
        EngineView,
        name="research",
        state="stopped",
        mode="parallel",
        trade="paper",
        quote="USDT",
        risk_state="ACTIVE",
        cache=_blank(CacheView, creation_ms=times, switch_ms=times),
        version=installed_version(),
    )


def _blank(kind: type[V], **given: Any) -> V:
    """Return a view with nothing in it: what may be unknown is None, numbers are 0, texts and collections empty."""
    for each in fields(kind):
        if each.name not in given and each.default is MISSING and each.default_factory is MISSING:
            kinds = str(each.type)
            given[each.name] = None if "None" in kinds else EMPTY[kinds.partition("[")[0]]()
    return kind(**given)
