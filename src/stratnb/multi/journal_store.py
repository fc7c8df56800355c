"""The store that outlives the process: registry, switches, snapshots and decisions in the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from stratnb.journal import Journal, JournalReader
from stratnb.multi.records import StrategyRecord, SwitchRow
from stratnb.multi.store import DecisionLog, Snapshot, shaped_ms
from stratnb.view import ConfigVersion

__all__ = ["JournalStore", "record_of", "snapshot_row", "version_of"]

SNAPSHOTS_KEPT = 5
SWITCHES_KEPT = 1_000
RESTORED_DECISIONS = 2_000


class JournalStore:
    """Reads what an earlier run left and buffers what changes; the recorder commits it.

    Within an instant (`inside`) rows are staged, so that a commit of intents does not take half an instant with it.
    """

    persistent = True

    def __init__(self, journal: Journal, reader: JournalReader, *, decisions_kept: int = 20_000) -> None:
        self.journal = journal
        self.reader = reader
        self.inside = False
        self._staged: list[tuple[Callable[[str, Mapping[str, Any]], None], str, Mapping[str, Any]]] = []
        self._decisions_kept = decisions_kept
        self._records: dict[str, StrategyRecord] = {}
        self._places: dict[str, int] = {}
        for row in reader.rows("strategies", order="place"):
            record = record_of(row)
            self._records[record.strategy_id] = record
            self._places[record.strategy_id] = row["place"]
        kept = reader.rows("switches", order="number", newest=True, limit=SWITCHES_KEPT)
        self._switches = deque((_switch(row) for row in reversed(kept)), maxlen=SWITCHES_KEPT)
        mark = reader.one("watermarks", {"strategy_id": ""})
        self._mark_ms = 0 if mark is None else int(mark["open_time_ms"])
        self._snapshots: dict[str, deque[tuple[int, Snapshot]]] = {}
        self._decisions: dict[str, DecisionLog] = {}
        self._versions: dict[str, list[ConfigVersion]] = {}
        for row in reader.rows("config_versions", order="number"):
            self._versions.setdefault(row["strategy_id"], []).append(version_of(row))

    def __repr__(self) -> str:
        """Return the counts."""
        return f"<JournalStore records={len(self._records)} switches={len(self._switches)}>"

    def put(self, table: str, row: Mapping[str, Any]) -> None:
        """Buffer a row that replaces the one with its key."""
        self._do(self.journal.upsert, table, row)

    def drop(self, table: str, key: Mapping[str, Any]) -> None:
        """Buffer the removal of the row with a key."""
        self._do(self.journal.delete, table, key)

    def _do(self, action: Callable[[str, Mapping[str, Any]], None], table: str, row: Mapping[str, Any]) -> None:
        if self.inside:
            self._staged.append((action, table, row))
        else:
            action(table, row)

    def unstage(self) -> None:
        """Hand what was staged to the journal: the instant is whole."""
        self.inside = False
        staged, self._staged = self._staged, []
        for action, table, row in staged:
            action(table, row)

    def save_record(self, record: StrategyRecord) -> None:
        """Save a record under its id, in place of an older one."""
        key = record.strategy_id
        before = self._records.pop(key, None)
        if before is None or before.state == "removed":
            self._places[key] = max(self._places.values(), default=0) + 1
            self._records[key] = record
        else:
            self._records[key] = before
        self._records[key] = record
        if record.state == "removed":
            for number, _ in self._kept(key):
                self.drop("snapshots", {"seq": number})
            self.drop("states", {"strategy_id": key})
            self._snapshots[key] = deque()
            self._decisions.pop(key, None)
        row = {name: value for name, value in asdict(record).items() if name != "sources"}
        self.put("strategies", {**row, "place": self._places[key], "document": dict(record.sources), "anchor_ms": None})

    def records(self) -> tuple[StrategyRecord, ...]:
        """Return the newest record of each id in the order of registration, removed ones too."""
        return tuple(sorted(self._records.values(), key=lambda record: self._places[record.strategy_id]))

    def save_switch(self, row: SwitchRow, records: Iterable[StrategyRecord] = ()) -> None:
        """Save a switch under its number together with the records it changes."""
        if self._switches and self._switches[-1].seq == row.seq:
            self._switches.pop()
        self._switches.append(row)
        values = asdict(row)
        self.put("switches", {"number": values.pop("seq"), **values})
        for record in records:
            self.save_record(record)

    def switches(self) -> tuple[SwitchRow, ...]:
        """Return the newest 1000 switches, newest last."""
        return tuple(self._switches)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Save a snapshot; the newest 5 of an id are kept."""
        kept = self._kept(snapshot.strategy_id)
        number = self.journal.next_seq()
        if len(kept) == SNAPSHOTS_KEPT:
            self.drop("snapshots", {"seq": kept.pop()[0]})
        kept.appendleft((number, snapshot))
        self.put("snapshots", {**snapshot_row(snapshot), "seq": number})

    def snapshots(self, strategy_id: str) -> tuple[Snapshot, ...]:
        """Return the kept snapshots of an id and its newest saved state, newest first."""
        kept = [snapshot for _, snapshot in self._kept(strategy_id)]
        state = self.reader.one("states", {"strategy_id": strategy_id})
        record = self._records.get(strategy_id)
        if state is not None and record is not None and state["taken_ms"] >= record.loaded_ms:
            kept.append(_snapshot(state))
        return tuple(sorted(kept, key=lambda snapshot: -snapshot.watermark_ms))

    def decisions(self, strategy_id: str, width: int | None = None) -> DecisionLog:
        """Return the log of an id; with a width it is made if missing and emptied if its rows are of another width.

        The newest 2,000 of an earlier run are in it, as far as their columns still mean the same.
        """
        known = self._decisions.get(strategy_id)
        if known is not None and width in (None, known.width):
            return known
        if width is None:
            return DecisionLog(1, 1)
        made = self._decisions[strategy_id] = DecisionLog(width, self._decisions_kept)
        rows = self.reader.rows(
            "decisions",
            where={"strategy_id": strategy_id},
            after={"open_time_ms": shaped_ms(self.versions(strategy_id)) - 1},
            order="open_time_ms",
            newest=True,
            limit=min(RESTORED_DECISIONS, made.capacity),
        )
        record = self._records.get(strategy_id)
        loaded_ns = 0 if record is None else record.loaded_ms * 1_000_000
        cells = [np.frombuffer(row["row"]) for row in reversed(rows) if row["ts_ns"] > loaded_ns]
        usable = [row for row in cells if row.size == width]
        if usable:
            made.extend(np.array(usable))
        return made

    def save_decisions(self, strategy_id: str, log: DecisionLog) -> None:
        """Put a log in place of the one of an id, whose rows mean something else."""
        self._decisions[strategy_id] = log

    def save_version(self, version: ConfigVersion) -> None:
        """Save a configuration under its number."""
        self._versions.setdefault(version.strategy_id, []).append(version)
        stamp = {"seq": self.journal.next_seq(), "ts_ns": version.created_ms * 1_000_000}
        row = {**asdict(version), "patch": dict(version.patch), "document": dict(version.document)}
        self.put("config_versions", {**row, **stamp})

    def versions(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the configurations of an id, newest last."""
        return tuple(self._versions.get(strategy_id, ()))

    def _kept(self, strategy_id: str) -> deque[tuple[int, Snapshot]]:
        if strategy_id not in self._snapshots:
            where = {"strategy_id": strategy_id}
            rows = self.reader.rows("snapshots", where=where, newest=True, limit=SNAPSHOTS_KEPT)
            # One that was taken after the newest whole instant knows candles that are going to come again.
            usable = [row for row in rows if row["taken_ms"] <= self._mark_ms]
            self._snapshots[strategy_id] = deque((row["seq"], _snapshot(row)) for row in usable)
        return self._snapshots[strategy_id]


def snapshot_row(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as the columns of a table."""
    return asdict(snapshot)


def version_of(row: Mapping[str, Any]) -> ConfigVersion:
    """Return a row of `config_versions` as it was saved."""
    values = {name: row[name] for name in ConfigVersion.__slots__}
    texts = {name: values[name] or "" for name in ("author", "reason")}
    return ConfigVersion(**{**values, **texts, "patch": row["patch"] or {}, "document": row["document"] or {}})


def _snapshot(row: Mapping[str, Any]) -> Snapshot:
    return Snapshot(**{name: row[name] for name in Snapshot.__slots__})


def record_of(row: Mapping[str, Any]) -> StrategyRecord:
    """Return the record that a row of the table `strategies` holds."""
    values = {name: row[name] for name in StrategyRecord.__slots__ if name in row}
    values |= {"sources": row["document"] or {}, "flags": row["flags"] or {}, "overrides": row["overrides"] or {}}
    return StrategyRecord(**values)


def _switch(row: Mapping[str, Any]) -> SwitchRow:
    values = {name: row[name] for name in SwitchRow.__slots__ if name in row}
    return SwitchRow(**{**values, "seq": row["number"], "error": row["error"] or ""})
