"""`stratnb journal export`: one Parquet file per table, for pandas, DuckDB and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Boolean, Column, Double, LargeBinary, Table, Text

from stratnb.errors import ConfigError, Halt
from stratnb.journal.reader import JournalReader
from stratnb.journal.schema import METADATA

__all__ = ["export_journal"]

FLOATS = "row"


def export_journal(target: str | Path, folder: str | Path) -> dict[str, int]:
    """Write every table as of one moment to FOLDER/TABLE.parquet and return the rows by table.

    Columns `row` become lists of float64, JSON stays text, other blobs stay bytes. A file is written beside its place
    and then renamed. Raises `ConfigError("export_exists")` when one is there already, before anything is written,
    `Halt("export_failed")` when the folder cannot be written.
    """
    reader = JournalReader.open(target)
    try:
        home = Path(folder).expanduser()
        there = [name for name in METADATA.tables if (home / f"{name}.parquet").exists()]
        if there:
            text = f"{home} holds {there[0]}.parquet already"
            raise ConfigError("export_exists", text, value=str(home), hint="name a new folder")
        home.mkdir(parents=True, exist_ok=True)
        with reader.together():
            return {name: _write(reader, table, home) for name, table in METADATA.tables.items()}
    except OSError as error:
        hint = "name a folder that can be written, on a disk with room"
        raise Halt("export_failed", f"{folder} cannot be written ({error})", value=str(folder), hint=hint) from error
    finally:
        reader.close()


def _write(reader: JournalReader, table: Table, home: Path) -> int:
    schema = pa.schema([pa.field(column.name, _type(column), nullable=column.nullable) for column in table.columns])
    path, written = home / f"{table.name}.parquet", 0
    aside = path.with_suffix(".parquet.part")
    try:
        with pq.ParquetWriter(aside, schema, compression="zstd") as file:
            for batch in reader.batches(table.name):
                file.write_table(_arrow(batch, schema))
                written += len(batch)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return written


def _arrow(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        columns.append(_lists(values, field.type) if pa.types.is_list(field.type) else pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _lists(blobs: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Return float64 cells as lists; the bytes are not copied cell by cell."""
    ends = [0]
    for blob in blobs:
        ends.append(ends[-1] + len(blob or b"") // 8)
    cells = pa.Array.from_buffers(pa.float64(), ends[-1], [None, pa.py_buffer(b"".join(blob or b"" for blob in blobs))])
    mask = pa.array([blob is None for blob in blobs])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), cells, kind, mask=mask)


def _type(column: Column[Any]) -> pa.DataType:
    if column.name == FLOATS:
        return pa.list_(pa.float64())
    kinds = {Boolean: pa.bool_(), Double: pa.float64(), LargeBinary: pa.binary(), Text: pa.string()}
    return next((arrow for sql, arrow in kinds.items() if isinstance(column.type, sql)), pa.int64())
