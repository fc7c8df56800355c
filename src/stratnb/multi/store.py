"""Where registry, switches, snapshots and decisions are kept; here in memory, for as long as the process lives."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.journal import state_digest
from stratnb.multi.records import StrategyRecord, SwitchRow
from stratnb.view import ConfigVersion

__all__ = [
    "SNAPSHOT_SCHEMA",
    "ConfigVersion",
    "DecisionLog",
    "MemoryStore",
    "Snapshot",
    "Store",
    "next_version",
    "shape",
]

SNAPSHOT_SCHEMA = 1
_SNAPSHOTS_KEPT = 5
_SWITCHES_KEPT = 1000
_REMOVED_KEPT = 50
_FIRST_ROWS = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The memory of an instance after `candles` primary candles, the last opened at `watermark_ms`, with its digest."""

    schema: int
    strategy_id: str
    config_hash: str
    code_hash: str
    taken_ms: int
    watermark_ms: int
    candles: int
    memory: bytes
    sha256: str = ""

    def digest(self) -> str:
        """Return the sha-256 of all fields but the digest itself."""
        return state_digest({name: getattr(self, name) for name in self.__slots__})

    def sealed(self) -> Snapshot:
        """Return a copy that carries its digest."""
        return replace(self, sha256=self.digest())

    def verify(self) -> bool:
        """Return whether nothing changed since it was sealed."""
        return self.sha256 == self.digest()


def shape(document: Mapping[str, Any]) -> tuple[object, object]:
    """Return what the columns of a document's decisions depend on: its analyzers and filters in use, in order."""
    analyzers = tuple((a.get("name", ""), a["kind"]) for a in document["analyzers"] if a.get("enabled", True))
    filters = document.get("filters", {}).items()
    return analyzers, tuple((name, f.get("kind", name)) for name, f in filters if f.get("enabled", True))


def shaped_ms(versions: Sequence[ConfigVersion]) -> int:
    """Return since when the decisions of an id have had their present columns; `versions` are all, newest last."""
    start = len(versions) - 1
    while start > 0 and shape(versions[start - 1].document) == shape(versions[-1].document):
        start -= 1
    return versions[start].created_ms if start > 0 else 0


class DecisionLog:
    """The newest `capacity` decisions of one instance as packed float64 rows; column 0 is the candle's open_time_ms.

    One thread appends, any thread reads; readers get copies.
    """

    def __init__(self, width: int, capacity: int = 20_000) -> None:
        """Start empty; memory doubles up to the capacity as rows arrive."""
        if width < 1 or capacity < 1:
            raise ConfigError("decision_log", "width and capacity are at least 1", value=(width, capacity))
        self.width = width
        self.capacity = capacity
        self._rows: Floats = np.empty((min(_FIRST_ROWS, capacity), width))
        self._count = 0
        self._newest_ms = -math.inf
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of kept rows."""
        return min(self._count, self.capacity)

    @property
    def total(self) -> int:
        """Return how many rows were ever kept."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Return the memory held, in bytes."""
        return self._rows.nbytes

    def append(self, row: Floats) -> bool:
        """Keep a copy of a row of `width` numbers; False when its candle is not newer than the last one kept.

        So a replay over known candles stores nothing twice. Another length or a NaN time is ConfigError.
        """
        time_ms = float(row[0]) if row.shape == (self.width,) else math.nan
        if math.isnan(time_ms):
            _check_rows(row[None], self.width)
        if time_ms <= self._newest_ms:
            return False
        with self._lock:
            if self._count == len(self._rows):
                self._reserve(1)
            self._rows[self._count % len(self._rows)] = row
            self._count += 1
            self._newest_ms = time_ms
        return True

    def extend(self, rows: Floats) -> int:
        """Keep several rows, oldest first; return how many were newer than those kept before."""
        if not len(rows):
            return 0
        _check_rows(rows, self.width)
        times = rows[:, 0]
        before = np.maximum.accumulate(np.append(self._newest_ms, times))[:-1]
        fresh = rows[times > before]
        with self._lock:
            self._reserve(len(fresh))
            size = len(self._rows)
            places = np.arange(self._count, self._count + len(fresh)) % size
            self._rows[places[-size:]] = fresh[-size:]
            self._count += len(fresh)
            self._newest_ms = max(self._newest_ms, float(times.max()))
        return len(fresh)

    def _reserve(self, more: int) -> None:
        """Grow, up to the capacity, until that many further rows fit."""
        held, wanted = len(self._rows), min(self._count + more, self.capacity)
        if wanted > held:
            grown: Floats = np.empty((min(max(2 * held, wanted), self.capacity), self.width))
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown

    def rows(self, last: int | None = None) -> Floats:
        """Return the newest `last` rows (all by default) as a copy of shape (n, width), oldest first."""
        with self._lock:
            n = len(self) if last is None else min(max(last, 0), len(self))
            stop = self._count % len(self._rows) or min(self._count, len(self._rows))
            if n <= stop:
                return self._rows[stop - n : stop].copy()
            return np.concatenate((self._rows[stop - n :], self._rows[:stop]))

    def find(self, open_time_ms: int) -> Floats | None:
        """Return a copy of the row of one candle, or None when it is not kept."""
        with self._lock:
            size = len(self._rows)
            oldest = self._count - len(self)
            numbers = range(oldest, self._count)
            number = oldest + bisect_left(numbers, open_time_ms, key=lambda at: int(self._rows[at % size, 0]))
            row: Floats = self._rows[number % size].copy()
        return row if number < oldest + len(numbers) and row[0] == open_time_ms else None


def _check_rows(rows: Floats, width: int) -> None:
    """Raise when rows have another width or one has no time."""
    if rows.ndim != 2 or rows.shape[1] != width or np.isnan(rows[:, 0]).any():
        raise ConfigError(
            "decision_row",
            f"a decision row has {width} numbers, the first an open time; got shape {rows.shape[1:]}",
            value=rows.shape[1:],
        )


class Store(Protocol):
    """Keeps what must outlive an evicted orchestrator; `persistent` says whether it outlives the process too."""

    @property
    def persistent(self) -> bool:
        """Return whether another process finds what was saved."""
        ...

    def save_record(self, record: StrategyRecord) -> None:
        """Save a record under its id, in place of an older one."""
        ...

    def records(self) -> tuple[StrategyRecord, ...]:
        """Return the newest record of each id in the order of their first saving, removed ones too."""
        ...

    def save_switch(self, row: SwitchRow, records: Iterable[StrategyRecord] = ()) -> None:
        """Save a switch under its number together with the records it changes, all or nothing."""
        ...

    def switches(self) -> tuple[SwitchRow, ...]:
        """Return the switches, newest last."""
        ...

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Save a snapshot; the newest 5 of an id are kept."""
        ...

    def snapshots(self, strategy_id: str) -> tuple[Snapshot, ...]:
        """Return the kept snapshots of an id, newest first."""
        ...

    def decisions(self, strategy_id: str, width: int | None = None) -> DecisionLog:
        """Return the log of an id; with a width it is made if missing and emptied if its rows are of another width."""
        ...

    def save_decisions(self, strategy_id: str, log: DecisionLog) -> None:
        """Put a log in place of the one of an id, whose rows mean something else."""
        ...

    def save_version(self, version: ConfigVersion) -> None:
        """Save a configuration under its number; it never changes."""
        ...

    def versions(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the configurations of an id, newest last."""
        ...


def next_version(
    store: Store, record: StrategyRecord, merged: Mapping[str, Any], *, now_ms: int, reason: str = ""
) -> ConfigVersion:
    """Return the version after the newest one of a strategy, which runs with `merged` from now on."""
    known = store.versions(record.strategy_id)
    return ConfigVersion(
        strategy_id=record.strategy_id,
        number=known[-1].number + 1 if known else 1,
        patch=dict(record.overrides),
        document=dict(merged),
        config_hash=record.config_hash,
        author="",
        reason=reason,
        created_ms=now_ms,
    )


class MemoryStore:
    """A store that survives eviction but not the process.

    Snapshots and decisions go with a removed strategy; the newest 50 such records stay.
    """

    persistent = False

    def __init__(self, *, decisions_kept: int = 20_000) -> None:
        """Start empty; each instance keeps up to `decisions_kept` decisions."""
        self._decisions_kept = decisions_kept
        self._records: dict[str, StrategyRecord] = {}
        self._removed: dict[str, None] = {}
        self._switches: dict[int, SwitchRow] = {}
        self._snapshots: dict[str, deque[Snapshot]] = {}
        self._decisions: dict[str, DecisionLog] = {}
        self._versions: dict[str, list[ConfigVersion]] = {}

    def __repr__(self) -> str:
        """Return the counts."""
        return f"<MemoryStore records={len(self._records)} switches={len(self._switches)}>"

    def save_record(self, record: StrategyRecord) -> None:
        """Save a record under its id, in place of an older one."""
        key = record.strategy_id
        self._removed.pop(key, None)
        if record.state == "removed":
            self._removed[key] = None
            self._snapshots.pop(key, None)
            self._decisions.pop(key, None)
        elif key in self._records and self._records[key].state == "removed":
            del self._records[key]  # loaded again: it comes last in the order
        self._records[key] = record
        while len(self._removed) > _REMOVED_KEPT:
            oldest = next(iter(self._removed))
            del self._removed[oldest], self._records[oldest]
            self._versions.pop(oldest, None)

    def records(self) -> tuple[StrategyRecord, ...]:
        """Return the newest record of each id in the order of registration, removed ones too."""
        return tuple(self._records.values())

    def save_switch(self, row: SwitchRow, records: Iterable[StrategyRecord] = ()) -> None:
        """Save a switch under its number together with the records it changes."""
        changed = tuple(records)
        self._switches[row.seq] = row
        while len(self._switches) > _SWITCHES_KEPT:
            del self._switches[next(iter(self._switches))]
        for record in changed:
            self.save_record(record)

    def switches(self) -> tuple[SwitchRow, ...]:
        """Return the newest 1000 switches, newest last."""
        return tuple(self._switches.values())

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Save a snapshot; the newest 5 of an id are kept."""
        self._snapshots.setdefault(snapshot.strategy_id, deque(maxlen=_SNAPSHOTS_KEPT)).appendleft(snapshot)

    def snapshots(self, strategy_id: str) -> tuple[Snapshot, ...]:
        """Return the kept snapshots of an id, newest first."""
        return tuple(self._snapshots.get(strategy_id, ()))

    def decisions(self, strategy_id: str, width: int | None = None) -> DecisionLog:
        """Return the log of an id; with a width it is made if missing and emptied if its rows are of another width."""
        known = self._decisions.get(strategy_id)
        if known is not None and width in (None, known.width):
            return known
        if width is None:
            return DecisionLog(1, 1)
        made = self._decisions[strategy_id] = DecisionLog(width, self._decisions_kept)
        return made

    def save_decisions(self, strategy_id: str, log: DecisionLog) -> None:
        """Put a log in place of the one of an id, whose rows mean something else."""
        self._decisions[strategy_id] = log

    def save_version(self, version: ConfigVersion) -> None:
        """Save a configuration under its number."""
        self._versions.setdefault(version.strategy_id, []).append(version)

    def versions(self, strategy_id: str) -> tuple[ConfigVersion, ...]:
        """Return the configurations of an id, newest last."""
        return tuple(self._versions.get(strategy_id, ()))
