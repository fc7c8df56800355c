"""`stratnb journal check`: prove what a journal promises and report every fault, not only the first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Double, LargeBinary, Table, Text, inspect

from stratnb.errors import Finding, Halt, StratnbError
from stratnb.journal.database import file_of
from stratnb.journal.mark import Mark
from stratnb.journal.proofs import PROOFS, Evidence
from stratnb.journal.reader import JournalReader
from stratnb.journal.schema import METADATA, TABLES, is_json, key_names
from stratnb.journal.sums import summed_faults
from stratnb.journal.wal import lost_commits

__all__ = ["Report", "check_journal"]

UNNUMBERED = ("commands", "events", "lease")
KINDS: tuple[tuple[type, type], ...] = ((LargeBinary, bytes), (Double, float), (Text, str))
ORDER = (*PROOFS, *(table for table in TABLES if table not in PROOFS))


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: rows by table, and the faults with place ("orders/ID"), code and message."""

    rows: Mapping[str, int]
    faults: tuple[Finding, ...]


def check_journal(target: str | Path) -> Report:
    """Read a whole journal as of one moment and return every fault; the engine may go on writing meanwhile.

    Raises `ConfigError`: `journal_missing`, `journal_schema`, `journal_target`; `RetryLater("journal_starting")`.
    """
    path = file_of(target)
    faults = list(_log_faults(path)) if path.exists() else []
    try:
        reader = JournalReader.open(path)
    except Halt as error:
        return Report({}, (*faults, Finding(str(path), error.code, error.message)))
    rows: dict[str, int] = {}
    reached = Mark(path).read()
    try:
        with reader.together():
            faults += _file_faults(reader)
            faults += _place_faults(reader, reached)
            faults += _table_faults(reader, rows)
    except Halt as error:
        faults.append(Finding(str(path), error.code, error.message))
    finally:
        reader.close()
    return Report(rows, tuple(faults))


def _log_faults(path: Path) -> Iterator[Finding]:
    lost = lost_commits(path)
    if lost:
        yield Finding(
            f"{path}-wal", "log_damaged", f"the write-ahead log is damaged; {lost} commits behind it are lost"
        )


def _place_faults(reader: JournalReader, reached: int) -> Iterator[Finding]:
    """Tell of a journal that went back: `reached` is how far it had come before it was looked at."""
    mark = int(reader.meta("seq") or 0)
    if mark < reached:
        text = f"it is at number {mark} and had come to {reached}: what was written in between is lost"
        yield Finding(str(reader.path), "journal_went_back", text)


def _file_faults(reader: JournalReader) -> Iterator[Finding]:
    for (text,) in reader.database.pragma("integrity_check(100)"):
        if text != "ok":
            yield Finding(str(reader.path), "file_damaged", str(text))
    seen = inspect(reader.database.connection)
    for name in TABLES:
        found = {column["name"] for column in seen.get_columns(name)} if seen.has_table(name) else set()
        missing = set(METADATA.tables[name].columns.keys()) - found
        if missing:
            yield Finding(name, "table_missing", f"there is no column {', '.join(sorted(missing))}")


def _table_faults(reader: JournalReader, rows: dict[str, int]) -> Iterator[Finding]:
    seen, mark = Evidence(), int(reader.meta("seq") or 0)
    for name in ORDER:
        rows[name] = 0
        try:
            for batch in reader.batches(name):
                rows[name] += len(batch)
                for row in batch:
                    yield from _row_faults(METADATA.tables[name], row, seen, mark)
        except (StratnbError, TypeError, ValueError) as error:
            yield Finding(name, "table_unreadable", f"row {rows[name]} and those after it cannot be read ({error})")
    yield from (Finding(*fault) for fault in summed_faults(seen))


def _row_faults(table: Table, row: Mapping[str, Any], seen: Evidence, mark: int) -> Iterator[Finding]:
    place = "/".join([table.name, *(str(row[name]) for name in key_names(table))])
    wrong = [text for column in table.columns if (text := _value_fault(column, row[column.name]))]
    yield from (Finding(place, "value_type", text) for text in wrong)
    if wrong:
        return
    if table.name not in UNNUMBERED and row.get("seq", 0) > mark:
        text = f"its number {row['seq']} is above the mark {mark}; it would be given twice"
        yield Finding(place, "seq_mark", text)
    if table.name in PROOFS:
        for inner, code, message in PROOFS[table.name](row, seen):
            yield Finding(inner or place, code, message)


def _value_fault(column: Column[Any], value: Any) -> str:
    """Return what is wrong with a value's kind, "" for nothing; a file takes any kind in any column."""
    if value is None:
        return "" if column.nullable else f"{column.name} has no value"
    kind = next((python for sql, python in KINDS if isinstance(column.type, sql)), int)
    if not isinstance(value, kind):
        return f"{column.name} holds {value!r:.40}, not {kind.__name__}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{column.name} is {value}"
    return _json_fault(column, value) if is_json(column) else ""


def _json_fault(column: Column[Any], text: Any) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"{column.name} is no JSON ({error})"
    return ""
