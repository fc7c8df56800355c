"""A restart: the desk as an earlier run left it, its orders asked for, its sums proved."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Halt, RetryLater
from stratnb.events import Event
from stratnb.exchange.base import Execution
from stratnb.journal import JournalReader, risk_digest
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.stored import fill_from, put_row
from stratnb.model import Order
from stratnb.multi.desk import ROUTED, Desk
from stratnb.multi.journal_rows import candle_row
from stratnb.multi.journaling import KILLED, SEQUENCE
from stratnb.multi.lane import Lane, Working, resting
from stratnb.multi.limits import LIMITS_KEY, restore_limits
from stratnb.multi.owners import book_difference, book_foreign, is_foreign, may_have, owner_lane
from stratnb.multi.records import StrategyRecord
from stratnb.multi.settling import settle_switch
from stratnb.multi.stats_fold import load_tallies
from stratnb.multi.store import next_version
from stratnb.services.positions import Book
from stratnb.services.reasons import word_fills
from stratnb.services.reserved import is_reserved
from stratnb.services.transfers import booked, repeat

__all__ = ["restore"]

Floats = npt.NDArray[np.float64]
T = TypeVar("T")
RISK_EVENTS = 5_000
REASONS = {"transfer": at.REASON_TRANSFER, "adjust": at.REASON_MANUAL}
CURVE_POINTS = 20_000
log = logging.getLogger(__name__)


async def restore(desk: Desk, reader: JournalReader, *, lost: int = 0) -> None:
    """Bring a fresh desk to the newest finished instant of a journal; an empty one changes nothing.

    A journal that lost what it had kept last (`lost` rows) is gone on with, but the account is HALTED until a person
    releases it: a kill, a close or a limit may be among what is lost.

    Raises `Halt`: `ledger_mismatch` when the books do not add up to what the exchange holds, `journal_lost` when the
    exchange knows orders of a journal that knows nothing.
    """
    desk.orders.ended = partial(_ended, desk, reader)
    mark = reader.one("watermarks", {"strategy_id": ""})
    if mark is None:
        _check_lost(desk)
        if lost:
            _halt_lost(desk, reader, lost)
        return
    now_ms = int(mark["open_time_ms"])
    desk.exchange.book.rewind(now_ms)
    for symbol, rows in desk.feed.seek(now_ms).items():
        _check_candles(reader, symbol, rows)
        desk.services.candles.open(symbol, rows)
    desk.router.resume(now_ms, int(mark["candles"]))
    _sequences(desk, reader)
    for record in desk.registry.list():
        if record.state == "preparing":
            desk.registry.set_state(record.strategy_id, "dormant")
    desk.trouble.restoring = True
    damaged = [*_books(desk, reader), *_owners(desk, reader)]
    restore_limits(desk, reader.meta(LIMITS_KEY))
    load_tallies(desk, reader)
    _orders(desk, reader)
    for record in desk.registry.list():
        desk.reroute(record.strategy_id)
    for lane in desk.lanes():
        if desk.registry.get(lane.context.strategy_id).state in ROUTED:
            orchestrator = await desk.orchestrator(lane.context.strategy_id)
            if lane.steps:
                desk.catch_up(orchestrator)
    for key in damaged:
        _protect(desk, key)
    await _late_fills(desk, reader, now_ms)
    desk.services.positions.refresh()
    _rules(desk, reader, damaged)
    await settle_switch(desk)
    _prove(desk, now_ms)
    if lost:
        _halt_lost(desk, reader, lost)
    desk.trouble.restored()
    desk.router.enforce()
    desk.router.done()


def _halt_lost(desk: Desk, reader: JournalReader, lost: int) -> None:
    """Say loudly that the journal went back, and let nothing enter until somebody has looked."""
    reason = f"the journal went back to an older place: the newest {lost} rows are lost"
    log.error("%s: %s", reader.path, reason)
    desk.services.risk.trip("halted", author="journal", reason=reason)
    hint = "look at positions, limits and the kill switch, then release the account"
    desk.notify("critical", f"{reason}; {hint}", None)


def _check_lost(desk: Desk) -> None:
    """Raise when a journal is new, or lost its place, while strategies or orders are there."""
    if desk.registry.list() or not desk.exchange.book.is_empty:
        raise Halt(
            "journal_lost",
            "the journal does not know where it stopped, but there are strategies or orders of an earlier run",
            value=str(desk.exchange.book.path),
            hint="put the journal back from a copy; to begin anew move journal and paper book away, both",
        )


def _sequences(desk: Desk, reader: JournalReader) -> None:
    """Go on counting orders after the newest one."""
    rows = reader.rows("orders", order="seq", newest=True, limit=200)
    newest = max((int(row["client_id"][-8:], 36) for row in rows), default=0)
    desk.orders.sequence = max(newest, int(reader.meta(SEQUENCE) or 0))


def _check_candles(reader: JournalReader, symbol: str, rows: Floats) -> None:
    """Raise `ConfigError` (`journal_candles`) when a feed's newest past candle is not the one that was traded on."""
    if not len(rows) or not reader.rows("candles", where={"symbol": symbol}, limit=1):
        return
    told = candle_row(symbol, rows[-1])
    found = reader.one("candles", {"symbol": symbol, "open_time_ms": told["open_time_ms"]})
    if found != told:
        had = "there is none" if found is None else f"it is {list(found.values())[2:]}"
        raise ConfigError(
            "journal_candles",
            f"{symbol}: the feed's candle {told['open_time_ms']} is {list(told.values())[2:]}, in the journal {had}",
            value=told["open_time_ms"],
            hint="give the same candles as before, or another journal",
        )


def _books(desk: Desk, reader: JournalReader) -> list[str]:
    """Reopen the strategies and put their books back; return the scopes whose row is missing or damaged."""
    damaged = []
    for record in desk.registry.list():
        key = record.strategy_id
        _reopen(desk, record)
        lane = desk.lane(key)
        if not desk.store.versions(key):
            merged = lane.context.loaded.merged
            desk.store.save_version(next_version(desk.store, record, merged, now_ms=record.loaded_ms, reason="loaded"))
        number = lane.context.book.row[at.B_MARKET]
        if not _restored(reader, key, lane.context.book.row):
            damaged.append(key)
        lane.context.book.row[at.B_MARKET] = number
        desk.services.risk.block(None, key)
        lane.funded = float(lane.context.book.row[at.B_FUNDING])
        _history(lane, reader, record.loaded_ms)
        if key in damaged:
            _rebuilt(lane)
        desk.services.risk.denials[key] = {
            row["code"]: row["count"]
            for row in reader.rows("denials", where={"strategy_id": key})
            if row["last_ms"] > record.loaded_ms
        }
        lane.load_flags(record.flags)
        if record.pinned:
            desk.cache.pin(key)
    if not _restored(reader, "", desk.services.positions.account):
        damaged.append("")
    desk.services.positions.account[at.A_RISK + at.K_BLOCK] = 0.0
    for time_ms, equity in _curve(reader, ""):
        desk.services.positions.curve.append(time_ms, equity)
    return damaged


def _owners(desk: Desk, reader: JournalReader) -> list[str]:
    """Put the books of owners that are no strategy back; return the ids of those whose row is damaged."""
    damaged = []
    for scope in (row["scope"] for row in reader.rows("risk_state") if is_reserved(row["scope"])):
        owner, symbol = scope[1:].split("@", 1)
        if symbol not in desk.feed.symbols:
            continue
        lane = owner_lane(desk, f"@{owner}", symbol)
        number = lane.context.book.row[at.B_MARKET]
        if not _restored(reader, scope, lane.context.book.row):
            damaged.append(scope)
        lane.context.book.row[at.B_MARKET] = number
        _changes(lane.context.book, reader, -1)
    desk.reroute_owners()
    return damaged


def _reopen(desk: Desk, record: StrategyRecord) -> None:
    """Open a strategy again, or say which one cannot be and what it takes: without it its position has no rules."""
    try:
        desk.reopen(record)
    except ConfigError as error:
        raise ConfigError(
            "strategy_unreadable",
            f"{record.strategy_id} of this journal cannot be opened: {error.message}",
            value=record.strategy_id,
            hint="define its blocks first: run their cell, or name their module under `modules`",
            findings=error.findings,
        ) from error


def _restored(reader: JournalReader, scope: str, row: Floats) -> bool:
    """Copy a kept row over a fresh one; return whether it was there and whole."""
    found = reader.one("risk_state", {"scope": scope})
    if found is None or found["digest"] != risk_digest(scope, found["row"]):
        return False
    return put_row(found["row"], row, at.W_BOOK_FIRST if scope else at.W_ACCOUNT)


def _history(lane: Lane, reader: JournalReader, since_ms: int) -> None:
    """Put fills and equity curve of a strategy back, as far as they are of the life that began at a time."""
    book = lane.context.book
    word_fills(book, lane.context.plan, _changes(book, reader, since_ms))
    for time_ms, equity in _curve(reader, book.strategy_id):
        if time_ms > since_ms:
            book.curve.append(time_ms, equity)
    book.correlation = _correlation(lane, reader)
    if book.row[at.B_QUANTITY] != 0.0 and not math.isnan(book.row[at.B_STOP]):
        book.stops.append((int(book.row[at.B_OPENED_MS]), float(book.row[at.B_STOP])))


def _changes(book: Book, reader: JournalReader, since_ms: int) -> list[str]:
    """Put fills and transfers of a book back, of the life that began at a time, and return their reasons.

    At that very time it begins with a transfer to it, or not at all.
    """
    where = {"strategy_id": book.strategy_id}
    known = reader.rows("fills", where=where)
    for kind in REASONS:
        known += reader.rows("ledger", where={**where, "kind": kind})
    born_ns = since_ms * 1_000_000
    late = sorted((row for row in known if row["ts_ns"] >= born_ns), key=lambda row: int(row["seq"]))
    known = list(itertools.dropwhile(lambda row: row["ts_ns"] == born_ns and not row.get("position_after"), late))
    for row in known:
        book.fill_rows.append(fill_from(row["row"]) if "row" in row else _moved(book, row))
    return [row["reason"] or "" for row in known]


def _correlation(lane: Lane, reader: JournalReader) -> str:
    """Return the id of the newest entry's decision, which the orders of the whole trade carry."""
    where = {"strategy_id": lane.context.strategy_id, "purpose": "e"}
    rows = reader.rows("orders", where=where, after={"created_ms": -1}, order="created_ms", newest=True, limit=5)
    return next((row["correlation"] or "" for row in rows if row["created_ms"] <= lane.context.now_ms()), "")


def _rebuilt(lane: Lane) -> None:
    """Put position and results of a book whose row is lost together again from its fills."""
    book = lane.context.book
    for row in book.fill_rows:
        if row[at.F_REASON] == at.REASON_TRANSFER:
            repeat(book.row, row)
        else:
            _paid(book.row, float(row[at.F_FUNDING]))
            loop.apply(book.row, row)


def _paid(row: Floats, funding: float) -> None:
    """Book what a position paid before its next fill."""
    row[[at.B_FUNDING, at.B_FUNDING_OPEN, at.B_COSTS, at.B_TRADE_COSTS]] += funding


def _protect(desk: Desk, key: str) -> None:
    """Fix the levels of a position whose book was put together again; they are gone with the row."""
    orchestrator = desk.cache.peek(key) if key else None
    if orchestrator is not None and desk.lane(key).context.book.quantity:
        context = orchestrator.context
        opened_ms = int(context.book.row[at.B_OPENED_MS])
        desk.services.exits.arm(context.plan, orchestrator.memory, context.book, opened_ms)


def _moved(book: Book, row: Mapping[str, Any]) -> Floats:
    """Return a transfer of the ledger as the book took it."""
    told = {"quantity": row["quantity"], "price": row["price"], "after": row["position_after"]}
    return booked(book.fill_rows, **told, time_ms=row["time_ms"], reason=REASONS[row["kind"]])


def _curve(reader: JournalReader, scope: str) -> list[tuple[int, float]]:
    rows = reader.rows("equity", where={"scope": scope}, order="time_ms", newest=True, limit=CURVE_POINTS)
    return [(row["time_ms"], row["equity"]) for row in reversed(rows) if row["equity"] is not None]


def _orders(desk: Desk, reader: JournalReader) -> None:
    """Take the orders that were on their way over."""
    works = []
    for state in ("INTENT", "SENT", "UNKNOWN", "ABSENT", "OPEN", "PARTIAL"):
        for row in reader.rows("orders", where={"state": state}):
            if desk.knows(row["strategy_id"]):
                works.append(_work(desk, reader, row))
    works.sort(key=lambda work: work.order_id[-8:])
    for work in works:
        book = work.lane.context.book.row
        rests = book[at.B_ORDER] != at.ORDER_NONE and work.row is None
        if rests and work.order.created_ms <= desk.now_ms() and not work.is_final:
            work.lane.order = work
            work.order = replace(work.order, **resting(book))  # an older journal does not say it
    desk.orders.adopt(works)


def _work(desk: Desk, reader: JournalReader, row: Mapping[str, Any]) -> Working:
    order = Order(
        order_id=row["client_id"],
        strategy_id=row["strategy_id"],
        symbol=row["symbol"],
        side=row["side"],
        quantity=row["quantity"],
        reduces=row["reduces"],
        reason=row["reason"] or "",
        created_ms=row["created_ms"],
        purpose=row["purpose"],
        limit=row["limit_price"],
        until_ms=row["until_ms"],
    )
    planned = None if row["row"] is None else fill_from(row["row"])
    work = Working(order, desk.lane(row["strategy_id"]), row["correlation"] or "", planned, state=row["state"])
    work.filled = row["filled"]
    if work.filled:
        work.fill_ids = [each["fill_id"] for each in reader.rows("fills", where={"client_id": order.order_id})]
        work.booked = len(work.fill_ids)
    return work


def _ended(desk: Desk, reader: JournalReader, order_id: str) -> Working | None:
    """Return an order of the journal with its fills as far as they are booked, None when it has none of that id."""
    row = reader.one("orders", {"client_id": order_id})
    return None if row is None or not desk.knows(row["strategy_id"]) else _work(desk, reader, row)


async def _asked(desk: Desk, ask: Callable[[], T]) -> T:
    """Return an answer of the exchange; a restart waits for it, a failed query proves nothing."""
    for delay_s in itertools.chain(desk.settings.orders.query_delays_s, itertools.repeat(30.0)):
        try:
            return ask()
        except RetryLater as error:
            log.warning("the exchange does not answer: %s", error)
            await desk.orders.clock.sleep(delay_s)
    raise AssertionError("it asks for ever")


async def _late_fills(desk: Desk, reader: JournalReader, now_ms: int) -> None:
    """Book executions that the exchange knows and the journal does not, in the exchange's order."""
    known = {row["fill_id"] for row in reader.rows("fills")}
    waiting = {work.order_id for work in desk.orders.unknown()}
    live = {work.order_id: work for work in desk.orders.live()}
    executions = await _asked(desk, lambda: desk.exchange.executions(0, now_ms))
    late: dict[str, list[Execution]] = {}
    for each in executions:
        if each.fill_id not in known and each.order_id not in waiting:
            late.setdefault(each.order_id, []).append(each)
    for order_id, parts in late.items():
        found = reader.one("orders", {"client_id": order_id})
        if found is None and not is_foreign(order_id):
            continue
        report = await _asked(desk, partial(desk.exchange.query, order_id, now_ms))
        if report is None:
            continue
        if found is None and report.symbol in desk.feed.symbols:
            book_foreign(desk, parts, report.symbol)
        elif found is not None and desk.knows(found["strategy_id"]):
            desk.orders.take(live.get(order_id) or _work(desk, reader, found), report)


def _rules(desk: Desk, reader: JournalReader, damaged: list[str]) -> None:
    """Take the rules that are in force as known; halt the scopes without a sound row: nobody knows what they may do."""
    found = [
        row
        for type_ in ("RISK_STATE", "RISK_DENIED")
        for row in reader.rows("events", where={"type": type_}, order="seq", newest=True, limit=RISK_EVENTS)
    ]
    names = Event._fields
    desk.services.risk.restored(Event(**{name: row[name] for name in names}) for row in reversed(found))
    if reader.meta(KILLED) is not None:
        desk.services.risk.kill("restart")
    for scope in damaged:
        log.error("the risk row of %s is missing or damaged", scope or "the account")
        desk.services.risk.trip("risk_row_damaged", scope)


def _prove(desk: Desk, now_ms: int) -> None:
    """Compare the sum of the books of each market with what the exchange holds; what it holds beyond is an orphan's."""
    for symbol in desk.feed.symbols:
        held = sum(lane.context.book.quantity for lane in desk.everyone() if lane.context.symbol == symbol)
        unsure = sum(work.order.quantity for work in desk.orders.unknown() if work.order.symbol == symbol)
        theirs, lot = desk.exchange.position(symbol, now_ms), desk.exchange.market(symbol).lot
        if abs(theirs - held) <= unsure + lot * (1.0 + 1e-9):
            continue
        log.error("%s: the books hold %g, the exchange says %g", symbol, held, theirs)
        if abs(theirs) > abs(held) and held * theirs >= 0.0 and may_have(desk, symbol, theirs - held):
            book_difference(desk, symbol, theirs - held)
        else:
            raise Halt(
                "ledger_mismatch",
                f"{symbol}: the strategies hold {held:g}, the exchange says {theirs:g}",
                value=theirs - held,
                hint="look at `stratnb journal check` and at the exchange's fills",
            )
