"""The board of a journal: what any other kernel sees of the engine that writes it, and how it asks for something."""

from __future__ import annotations

import concurrent.futures
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from stratnb.errors import Refused, RetryLater, StratnbError
from stratnb.events import Event
from stratnb.journal import JournalReader
from stratnb.journal.commands import CommandSender
from stratnb.journal.login import Login
from stratnb.multi.description import journal_bytes
from stratnb.multi.jobs import Job
from stratnb.multi.limits import limits_of
from stratnb.multi.mirror import Mirror
from stratnb.multi.picture import picture
from stratnb.multi.reading import Reader, Reading
from stratnb.multi.switch import SwitchResult
from stratnb.services.risk_view import RiskPicture
from stratnb.view import CacheEntryView, CacheView, EngineView

__all__ = ["ObserverBoard", "observe"]

POLL_S = 0.2
OFFLINE_S = 10.0
FIRST_S = 2.0
log = logging.getLogger(__name__)

_BOARDS: dict[tuple[str, str], ObserverBoard] = {}
_BOARDS_LOCK = threading.Lock()


class ObserverBoard(Reading):
    """Follows a journal five times a second and shows it as an engine's own board does; it owns no engine.

    Commands need a login with a token of the engine: `board.login.enter(token)`.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        author: str = "observer",
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__(lambda: self._shown)
        self._target = target
        self._wall_ms = wall_ms
        self.login = Login(target, author=author)
        self._sender = CommandSender(target, self.login)
        self._waiting: dict[int, concurrent.futures.Future[Any]] = {}
        self._ended = threading.Event()
        self._seq = 0
        self._journal = JournalReader.open(target)
        try:
            self._follow(Mirror(self._journal))
            self._look_first()
        except BaseException:
            self._journal.close()
            raise
        self._view = self._picture()
        self._thread = threading.Thread(target=self._poll, name="stratnb-observer", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Return what is observed."""
        return f"<ObserverBoard {self._mirror.description.name!r}, {len(self._view.strategies)} strategies>"

    def __enter__(self) -> Self:
        """Return the board."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the board."""
        self.close()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the live panels in a notebook."""
        from importlib import import_module

        return import_module("stratnb.ui").engine_panel(self)._repr_mimebundle_(include=include, exclude=exclude)

    @property
    def closed(self) -> bool:
        """Return whether the board was closed."""
        return self._ended.is_set()

    def view(self) -> EngineView:
        """Return the newest picture."""
        return self._view

    def events_since(self, seq: int, limit: int = 1000) -> Sequence[Event]:
        """Return kept events with a larger sequence number, oldest first."""
        return self._mirror.desk.bus.since(seq, limit)

    def submit(self, op: str, /, **arguments: Any) -> Job:
        """Send a signed command to the engine and return its job; without a login it is `Refused`."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            if self._view.offline_since_ms is not None:
                raise Refused("engine_offline", "no engine runs on this journal", hint="start it with `stratnb run`")
            self._waiting[self._sender.send(op, _plain(op, arguments))] = future
        except StratnbError as error:
            future.set_exception(error)
        return Job(op, future)

    def close(self) -> None:
        """Stop following; the engine does not notice."""
        self._ended.set()
        self._thread.join(5.0)
        self._sender.close()
        self._journal.close()

    def _look_first(self) -> None:
        """Read what is there; an engine that has just started is given a moment to say how it is."""
        end_s = time.monotonic() + FIRST_S
        self._mirror.follow()
        while not self._mirror.written_ms:
            if time.monotonic() > end_s:
                hint = "try again when it has started"
                raise RetryLater("journal_starting", "the engine has not said anything yet", hint=hint)
            time.sleep(POLL_S / 4)
            self._mirror.follow()

    def _follow(self, mirror: Mirror) -> None:
        """Show another mirror from now on."""
        desk = mirror.desk
        self._mirror, self._shown = mirror, Reader(desk)
        self._risk = RiskPicture(desk.services.positions, desk.services.risk, partial(limits_of, desk))

    def _poll(self) -> None:
        """Follow the journal until the board is closed; a fault is told and tried again."""
        while not self._ended.wait(POLL_S):
            try:
                if self._mirror.is_stale:
                    self._follow(Mirror(self._journal))
                self._mirror.follow()
                self._view = self._picture()
                self._answers()
            except Exception as error:
                log.exception("the journal could not be followed")
                self._view = replace(self._view, notes=(f"The journal cannot be read: {error}",))

    def _answers(self) -> None:
        """Hand the engine's answers to those who wait for them."""
        for number, future in list(self._waiting.items()):
            found = self._sender.result(number)
            if not found.is_over:
                continue
            del self._waiting[number]
            if not future.set_running_or_notify_cancel():
                continue
            if found.error is not None:
                future.set_exception(found.error)
            else:
                future.set_result(_result(found.command, found.value))

    def _picture(self) -> EngineView:
        """Return the holder's desk as the journal tells it."""
        mirror, live = self._mirror, self._mirror.live
        self._seq += 1
        offline = self._wall_ms() - mirror.written_ms > OFFLINE_S * 1000
        view = picture(
            mirror.desk,
            seq=self._seq,
            name=mirror.description.name,
            state="stopped" if offline else live.get("state", "stopped"),
            lag_ms=live.get("lag_ms", 0.0),
            age_s=(self._wall_ms() - mirror.written_ms) / 1000.0 + (live.get("age_s") or 0.0),
            risk=self._risk.view(),
        )
        kept = _cache(live["cache"]) if "cache" in live else view.cache
        cached = {entry.strategy_id for entry in kept.entries}
        return replace(
            view,
            cache=kept,
            strategies=tuple(replace(each, cached=each.strategy_id in cached) for each in view.strategies),
            mode=live.get("mode", view.mode),
            host=live.get("host", ""),
            pid=live.get("pid", 0),
            notes=(live["error"],) if live.get("error") else (),
            role="observer",
            rights=self.login.role,
            generation=mirror.generation,
            offline_since_ms=mirror.written_ms if offline else None,
            journal_bytes=journal_bytes(self._journal.path),
            notifies=bool(live.get("notifies")) and not offline,
        )


def _plain(op: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as JSON knows them: the greatest speed is a word there."""
    if op == "set_speed" and arguments.get("speed") == math.inf:
        return {**arguments, "speed": "max"}
    return arguments


def _result(op: str, value: Any) -> Any:
    """Return what an engine's own operation would have given back."""
    if op in ("switch", "activate") and isinstance(value, Mapping):
        tuples = {name: tuple(found) for name, found in value.items() if isinstance(found, list)}
        return SwitchResult(**{**value, **tuples})
    return tuple(value) if op in ("remove_all", "list") and isinstance(value, list) else value


def _cache(values: Mapping[str, Any]) -> CacheView:
    entries = tuple(
        CacheEntryView(**{**entry, "pin_reasons": tuple(entry["pin_reasons"])}) for entry in values["entries"]
    )
    recent = {name: tuple(values[name]) for name in ("creation_recent_ms", "switch_recent_ms")}
    return CacheView(**{**values, **recent, "entries": entries})


def observe(target: str | Path, *, author: str = "observer") -> ObserverBoard:
    """Return the kernel's board of a journal, made on the first call; display it to see the panels.

    Raises `ConfigError("journal_missing")`, `RetryLater("journal_starting")` before an engine has written to it.
    """
    with _BOARDS_LOCK:
        key = (str(target), author)
        board = _BOARDS.get(key)
        if board is None or board.closed:
            board = _BOARDS[key] = ObserverBoard(target, author=author)
        return board
