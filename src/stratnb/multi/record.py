"""A desk with a journal: opened, restored, flushed and closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from stratnb.errors import Halt
from stratnb.exchange.paper import PaperExchange
from stratnb.multi.description import Description
from stratnb.multi.desk import Desk
from stratnb.multi.registry import Mode
from stratnb.multi.settings import EngineSettings
from stratnb.services.notify import Notifier

__all__ = ["Record", "open_record"]

FLUSH_S = 0.1
ENGINE, MODE = "engine", "mode"
EVENTS_SHOWN = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """The desk that is recorded, with journal, reader and recorder."""

    desk: Desk
    journal: Any
    reader: Any
    recorder: Any
    lease: Any
    holding: Any

    async def restore(self) -> tuple[str, ...]:
        """Bring the desk to where an earlier run stopped; return whose positions a kill had still to close."""
        from stratnb.multi.journaling import CLOSES
        from stratnb.multi.restoring import restore

        await restore(self.desk, self.reader, lost=self.journal.lost)
        self.journal.accept_loss()
        return tuple(json.loads(self.reader.meta(CLOSES) or "[]"))

    @property
    def tasks(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Return what runs as long as the engine."""
        return self.flush, self.holding.poll

    async def flush(self) -> None:
        """Write what waits ten times a second; runs until it is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self.recorder.flush()

    def abandon(self) -> None:
        """Close the files and give the lease back without writing anything."""
        with ExitStack() as last:
            last.callback(self.journal.close)
            last.callback(self.reader.close)
            last.callback(self.lease.release)

    async def close(self) -> None:
        """Write the rest, give the lease back and close the files, whatever of it fails."""
        with ExitStack() as last:
            last.callback(self.journal.close)
            last.callback(self.reader.close)
            last.callback(self.lease.release)
            await self.holding.close()
            if self.lease.is_held and self.recorder.failure is None:
                self.recorder.farewell()


def open_record(
    settings: EngineSettings,
    bare: Desk,
    *,
    notifier: Notifier | None,
    run: Callable[..., Awaitable[object]],
    on_lost: Callable[[Halt], None],
    on_failure: Callable[[Halt], None] = lambda error: None,
    name: str = "",
    picture: Callable[[], Mapping[str, Any]] | None = None,
) -> Record:
    """Return a desk like a bare one that writes to the settings' journal; the file is made when it is missing.

    Raises `ConfigError` (`journal_other`) for the journal of another account; on any error nothing stays taken.
    """
    from stratnb.journal import Journal
    from stratnb.multi.history import relay_events
    from stratnb.multi.holding import Holding, take_lease
    from stratnb.multi.journal_store import JournalStore
    from stratnb.multi.journaling import JournalRecorder

    assert settings.journal is not None, "only a desk with a journal is recorded"
    with ExitStack() as undo:
        journal = Journal.open(settings.journal)
        undo.callback(journal.close)
        lease = take_lease(settings, name=name, on_lost=on_lost)
        undo.callback(lease.release)
        journal.take_up()
        reader = journal.reader()
        undo.callback(reader.close)
        told, mode = _goes_on(settings, bare, name, reader)
        store = JournalStore(journal, reader, decisions_kept=settings.decisions_kept)
        recorder = JournalRecorder(store, lease, picture=picture, on_failure=on_failure)
        relay_events(bare.bus, reader, newest=EVENTS_SHOWN)
        book = settings.paper_book or settings.journal.with_suffix(".paper.sqlite")
        desk = Desk(
            settings.model_copy(update={"mode": mode}),
            bare.feed,
            {market.symbol: market for market in told.markets},
            notifier=notifier,
            store=store,
            recorder=recorder,
            exchange=PaperExchange(told.markets, book=book),
            bus=bare.bus,
        )
        desk.orders.generation = lease.fence[1]
        recorder.bind(desk)
        journal.upsert("meta", {"key": ENGINE, "value": told.to_json()})
        journal.commit(durable=True)
        record = Record(desk, journal, reader, recorder, lease, Holding(settings, lease, desk.bus, run))
        undo.pop_all()
    return record


def _goes_on(settings: EngineSettings, bare: Desk, name: str, reader: Any) -> tuple[Description, Mode]:
    """Return the description of an engine that goes on with a journal, and its mode.

    A mode that was chosen while an earlier engine ran stays, unless the settings ask for another one than before.
    """
    feed = bare.feed
    told = Description(
        name=name,
        settings=settings,
        markets=tuple(bare.exchange.market(symbol) for symbol in bare.exchange.symbols),
        symbols=feed.symbols,
        timeframe=feed.timeframe,
        label=feed.label,
        synthetic=feed.synthetic,
    )
    text = reader.meta(ENGINE)
    if text is None:
        return told, settings.mode
    earlier = Description.from_json(text)
    told.check_goes_on(earlier)
    kept: Mode | None = reader.meta(MODE)
    return told, kept if kept is not None and earlier.settings.mode == settings.mode else settings.mode
