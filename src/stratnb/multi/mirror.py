"""A desk that follows a journal: the same books, decisions and events as its holder's, and nothing that trades."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import RetryLater
from stratnb.events import Event
from stratnb.journal import JournalReader
from stratnb.journal.holder import lease_holder
from stratnb.kernels import layout as at
from stratnb.kernels.stored import fill_from, put_row
from stratnb.model import Market, Order, timeframe_ms
from stratnb.multi.description import Description
from stratnb.multi.desk import Desk
from stratnb.multi.history import event_of, relay_events
from stratnb.multi.holding import ACCOUNT
from stratnb.multi.journal_store import record_of, version_of
from stratnb.multi.lane import Working
from stratnb.multi.limits import LIMITS_KEY, restore_limits
from stratnb.multi.stop_history import begin_stops, take_stop
from stratnb.multi.store import shaped_ms
from stratnb.services.reasons import word_fills

__all__ = ["Mirror"]

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]
CANDLES = 50_000
DECISIONS = 2_000
EVENTS = 5_000


@dataclass(slots=True)
class MirrorFeed:
    """The holder's feed as its last picture told of it."""

    symbols: tuple[str, ...]
    timeframe: str
    label: str
    synthetic: bool
    speed: float = 1.0
    position: int = 0
    length: int = 0
    done: bool = False

    def __len__(self) -> int:
        """Return the number of instants."""
        return self.length

    def next(self) -> None:
        """Return nothing: candles come from the journal."""

    def seek(self, close_ms: int) -> Mapping[str, Floats]:
        """Return nothing: there is no history but the journal's."""
        return {}

    @property
    def step_ms(self) -> int:
        """Return the length of a candle."""
        return timeframe_ms(self.timeframe)


class Mirror:
    """Applies what a journal got since the last time; one thread follows, any thread reads the desk.

    `live` is what the holder says of itself a few times a second: state, cache, feed, loop; `written_ms` is when.
    `generation` is that of its lease.
    """

    def __init__(self, reader: JournalReader) -> None:
        text = reader.meta("engine")
        if text is None:
            raise RetryLater("journal_starting", "the journal has no engine yet", hint="start one with `stratnb run`")
        self.description = told = Description.from_json(text)
        self._reader = reader
        self._seen: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._opened: dict[tuple[str, str], int] = {}
        self._text = text
        self._limits_text: str | None = None
        self.feed = MirrorFeed(told.symbols, told.timeframe, told.label, told.synthetic)
        markets: Mapping[str, Market] = {market.symbol: market for market in told.markets}
        self.desk = Desk(told.settings, self.feed, markets)
        self.live: Mapping[str, Any] = {}
        self.written_ms = 0
        self.generation = 0

    def follow(self) -> bool:
        """Apply what is new, in one consistent look; return whether there was anything."""
        with self._reader.together():
            news = [step() for step in self._steps()]
        return any(news)

    @property
    def is_stale(self) -> bool:
        """Return whether another engine writes here by now, so that a new mirror must be made."""
        return self._reader.meta("engine") != self._text

    def _steps(self) -> tuple[Callable[[], bool], ...]:
        return (
            *(
                self._live,
                self._versions,
                self._strategies,
                self._limits,
                self._candles,
                self._decisions,
                self._fills,
                self._risk,
            ),
            *(self._orders, self._denials, self._curves, self._clock, self._events),
        )

    def _fresh(self, table: str, **options: Any) -> list[Row]:
        """Return the rows of a table that came since the last time."""
        rows = self._reader.rows(table, since=self._seen.get(table, -1), **options)
        if rows:
            self._seen[table] = max(row["seq"] for row in rows)
        return rows

    def _live(self) -> bool:
        found = self._reader.one("live_state", {"id": 1})
        if found is None or found["written_ms"] == self.written_ms:
            return False
        self.live, self.written_ms = found["payload"], found["written_ms"]
        holder = lease_holder(self._reader, ACCOUNT)
        self.generation = 0 if holder is None else holder.generation
        for key, judged in self.live.get("health", {}).items():
            if self.desk.registry.has(key):
                self.desk.lane(key).take_health(judged)
        for name, value in self.live.get("feed", {}).items():
            setattr(self.feed, name, float("inf") if name == "speed" and value is None else value)
        return True

    def _strategies(self) -> bool:
        rows, before = self._fresh("strategies", order="place"), len(self.desk.lanes())
        for row in rows:
            record = record_of(row)
            key, known = record.strategy_id, self.desk.registry.has(record.strategy_id)
            changed = (
                known and record.state != "removed" and self.desk.registry.get(key).config_hash != record.config_hash
            )
            if changed or (known and record.state == "removed"):
                self.desk.forget(key, stays=changed)
            self.desk.registry.adopt(record)
            if record.state == "removed":
                continue
            if not known or changed:
                self.desk.reopen(record)
                self._forget_seen(key)
            self.desk.reroute(key)
            lane = self.desk.lane(key)
            lane.load_flags(record.flags)
        if before and (account := self._reader.one("risk_state", {"scope": ""})):
            self._put_risk(account)  # what left the books of those that were closed is in it already
        return bool(rows)

    def _limits(self) -> bool:
        text = self._reader.meta(LIMITS_KEY)
        if text == self._limits_text:
            return False
        self._limits_text = text
        restore_limits(self.desk, text)
        return True

    def _versions(self) -> bool:
        rows = self._fresh("config_versions", order="number")
        for row in rows:
            self.desk.store.save_version(version_of(row))
        return bool(rows)

    def _forget_seen(self, key: str) -> None:
        """Read the history of a strategy that has just been opened."""
        lane = self.desk.lane(key)
        log = self.desk.store.decisions(key, lane.context.plan.decision_width)
        where = {"strategy_id": key}
        shaped = {"open_time_ms": shaped_ms(self.desk.store.versions(key)) - 1}
        options: dict[str, Any] = {"order": "open_time_ms", "newest": True, "limit": DECISIONS}
        decided = self._reader.rows("decisions", where=where, after=shaped, **options)[::-1]
        kept = log.rows(1)
        newest_ms = kept[0][at.D_TIME] if len(kept) and kept.shape[1] == log.width else -np.inf
        for row in decided:
            if np.frombuffer(row["row"])[at.D_TIME] > newest_ms:  # the log outlives a change of configuration
                _append(log, row)
        fills = self._reader.rows("fills", where=where, order="seq")
        for table, rows in (("decisions", decided), ("fills", fills)):
            self._opened[table, key] = max((row["seq"] for row in rows), default=-1)
        lane.context.book.fill_rows[:] = [fill_from(row["row"]) for row in fills]
        word_fills(lane.context.book, lane.context.plan, [row["reason"] or "" for row in fills])
        found = self._reader.one("risk_state", {"scope": key})
        if found is not None:
            self._put_risk(found)
        for row in self._reader.rows("equity", where={"scope": key}, order="time_ms"):
            lane.context.book.curve.append(row["time_ms"], row["equity"])

    def _candles(self) -> bool:
        made = False
        for symbol in self.feed.symbols:
            newest = self._newest.get(symbol)
            rows = self._reader.rows(
                "candles",
                where={"symbol": symbol},
                after=None if newest is None else {"open_time_ms": newest},
                newest=newest is None,
                limit=CANDLES if newest is None else None,
            )
            if not rows:
                continue
            cells = np.array(
                [[r["open"], r["high"], r["low"], r["close"], r["volume"], r["open_time_ms"]] for r in rows]
            )
            cells = cells[np.argsort(cells[:, at.C_TIME], kind="stable")]
            if newest is None:
                self.desk.services.candles.open(symbol, cells)
            else:
                for row in cells:
                    self.desk.services.candles.append(symbol, row)
            self._newest[symbol] = int(cells[-1, at.C_TIME])
            made = True
        return made

    def _is_new(self, table: str, row: Row) -> bool:
        """Return whether a row is of a loaded strategy and was not read when that was opened."""
        key = row["strategy_id"]
        return self.desk.registry.has(key) and row["seq"] > self._opened.get((table, key), -1)

    def _decisions(self) -> bool:
        if "decisions" not in self._seen:  # the history was read as the strategies were opened
            newest = self._reader.rows("decisions", newest=True, limit=1)
            self._seen["decisions"] = newest[0]["seq"] if newest else -1
            return False
        rows = self._fresh("decisions")
        for row in rows:
            if self._is_new("decisions", row):
                _append(self.desk.store.decisions(row["strategy_id"]), row)
        return bool(rows)

    def _fills(self) -> bool:
        if "fills" not in self._seen:
            newest = self._reader.rows("fills", newest=True, limit=1)
            self._seen["fills"] = newest[0]["seq"] if newest else -1
            return False
        rows = self._fresh("fills", order="seq")
        for row in rows:
            if self._is_new("fills", row):
                book = self.desk.lane(row["strategy_id"]).context.book
                book.fill_rows.append(fill_from(row["row"]))
        return bool(rows)

    def _risk(self) -> bool:
        rows = self._fresh("risk_state")
        for row in rows:
            self._put_risk(row)
        return bool(rows)

    def _put_risk(self, row: Row) -> None:
        scope = row["scope"]
        if scope == "":
            target = self.desk.services.positions.account
        elif self.desk.registry.has(scope):
            target = self.desk.lane(scope).context.book.row
        else:
            return
        number = target[at.B_MARKET]
        if put_row(row["row"], target, at.W_BOOK_FIRST if scope else at.W_ACCOUNT) and scope:
            target[at.B_MARKET] = number
            begin_stops(self.desk.lane(scope).context.book)

    def _orders(self) -> bool:
        live = {work.order_id: (work.state, work.filled) for work in self.desk.orders.live()}
        found = [row for state in ("INTENT", "SENT", "OPEN", "PARTIAL", "UNKNOWN") for row in self._state(state)]
        if {row["client_id"]: (row["state"], row["filled"]) for row in found} == live:
            return False
        works = [self._work(row) for row in found if self.desk.registry.has(row["strategy_id"])]
        self.desk.orders.show(works)
        return True

    def _state(self, state: str) -> list[Row]:
        return self._reader.rows("orders", where={"state": state}, order="seq")

    def _work(self, row: Row) -> Working:
        shared = [name for name in Order.__slots__ if name in row]
        told = {name: row[name] for name in shared} | {"order_id": row["client_id"], "reason": row["reason"] or ""}
        order = Order(**told, limit=row["limit_price"])
        told = {"state": row["state"], "filled": row["filled"]}
        return Working(order, self.desk.lane(row["strategy_id"]), row["correlation"] or "", **told)

    def _denials(self) -> bool:
        rows = self._fresh("denials")
        for row in rows:
            if self.desk.registry.has(row["strategy_id"]):
                self.desk.services.risk.denials.setdefault(row["strategy_id"], {})[row["code"]] = row["count"]
        return bool(rows)

    def _curves(self) -> bool:
        rows = self._fresh("equity", order="time_ms")
        for row in rows:
            if row["scope"] == "":
                self.desk.services.positions.curve.append(row["time_ms"], row["equity"])
            elif self.desk.registry.has(row["scope"]):
                curve = self.desk.lane(row["scope"]).context.book.curve
                if row["time_ms"] > curve.newest_ms:
                    curve.append(row["time_ms"], row["equity"])
        return bool(rows)

    def _clock(self) -> bool:
        mark = self._reader.one("watermarks", {"strategy_id": ""})
        if mark is None or mark["open_time_ms"] == self.desk.router.now_ms:
            return False
        self.desk.router.resume(mark["open_time_ms"], mark["candles"])
        return True

    def _events(self) -> bool:
        if "events" not in self._seen:
            self._seen["events"] = relay_events(self.desk.bus, self._reader, newest=EVENTS)
            kept = self.desk.bus.since(0, EVENTS)
            self.desk.services.risk.restored(kept)
            for event in kept:
                self._hear(event)
            return True
        rows = self._fresh("events")
        for row in rows:
            event = event_of(row)
            self.desk.bus.relay(event)
            self.desk.services.risk.hear(event)
            self._hear(event)
        return bool(rows)

    def _hear(self, event: Event) -> None:
        """Take a stop that moved."""
        if event.type == "STOP_MOVED" and event.strategy_id and self.desk.registry.has(event.strategy_id):
            take_stop(self.desk.lane(event.strategy_id).context.book, event)


def _append(log: Any, row: Row) -> None:
    cells = np.frombuffer(row["row"])
    if cells.size == log.width:
        log.append(cells)
