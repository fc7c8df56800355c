"""What the panels of one board look at together: the chosen strategy and the chosen candle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from stratnb.view import EngineView

__all__ = ["Selection", "selection"]


class Selection:
    """The chosen strategy and candle (None: the newest); those who listen hear of each change once.

    `turn(page)` opens a page of the dashboard that shows the board; without one it does nothing.
    """

    def __init__(self, board: Any = None) -> None:
        self.board = board
        self.strategy_id = ""
        self.open_time_ms: int | None = None
        self.turn: Callable[[str], None] = lambda page: None
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        """Return the choice on one line."""
        return f"<Selection {self.strategy_id or 'nothing'} at {self.open_time_ms or 'the newest candle'}>"

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener after each change."""
        self._listeners.append(listener)

    def choose(self, strategy_id: str, open_time_ms: int | None = None) -> None:
        """Choose a strategy and a candle of it."""
        if (strategy_id, open_time_ms) == (self.strategy_id, self.open_time_ms):
            return
        self.strategy_id, self.open_time_ms = strategy_id, open_time_ms
        for listener in list(self._listeners):
            listener()

    def settle(self, view: EngineView) -> str:
        """Return the choice; without a valid one, choose the first active strategy, else the first."""
        known = {s.strategy_id for s in view.strategies}
        if self.strategy_id not in known:
            order = sorted(view.strategies, key=lambda s: s.state != "active")
            self.choose(order[0].strategy_id if order else "")
        return self.strategy_id


_shared: WeakValueDictionary[int, Selection] = WeakValueDictionary()  # a selection holds its board, so ids stay its own


def selection(board: Any) -> Selection:
    """Return the one selection of a board; it lives as long as a panel or the caller holds it."""
    found = _shared.get(id(board))
    if found is None:
        found = _shared[id(board)] = Selection(board)
    return found
