"""Month files: Parquet that carries its own checksum, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.market_data.candles import VALUES, Candles

__all__ = [
    "COLUMNS",
    "Columns",
    "checksum",
    "columns_of",
    "month_of",
    "read_month",
    "replace_file",
    "stored_checksum",
    "write_month",
]

COLUMNS = ("open_time_ms", *VALUES, "flags")
TYPES: dict[str, npt.DTypeLike] = {"open_time_ms": np.int64, "flags": np.uint8}
CHECKSUM = b"stratnb.sha256"

Columns = dict[str, npt.NDArray[Any]]


def month_of(open_time_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """Return the month (UTC) of each open time."""
    return open_time_ms.astype("datetime64[ms]").astype("datetime64[M]")


def checksum(columns: Columns) -> str:
    """Return the SHA-256 of the values, column after column."""
    digest = hashlib.sha256()
    for name in COLUMNS:
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return digest.hexdigest()


def write_month(path: Path, columns: Columns) -> str:
    """Write a month file through a temporary one and return its checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sha256 = checksum(columns)
    table = pa.table({name: columns[name] for name in COLUMNS}).replace_schema_metadata({CHECKSUM: sha256})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    replace_file(path, sink.getvalue().to_pybytes())
    return sha256


def read_month(path: Path) -> Columns:
    """Return the columns of a month file; raises `ConfigError` naming a file that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One look at the file: by its path Arrow opens it twice, and a writer may replace it in between.
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        columns = {name: table[name].to_numpy().astype(TYPES.get(name, np.float64), copy=False) for name in COLUMNS}
        expected = (table.schema.metadata or {}).get(CHECKSUM, b"").decode()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if checksum(columns) != expected:
        raise _damaged(path, "its checksum does not match its candles")
    return columns


def stored_checksum(path: Path) -> str:
    """Return the checksum that a month file carries, without reading its candles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        return metadata.get(CHECKSUM, b"").decode()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside `path`, flush it to the disk and rename it, so that readers see the old or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def columns_of(candles: Candles) -> Columns:
    """Return the columns of candles by name."""
    return {name: getattr(candles, name) for name in COLUMNS}


def _damaged(path: Path, why: str) -> ConfigError:
    hint = "delete the file and write its month again"
    return ConfigError("archive_damaged", f"{path} is damaged: {why}", value=str(path), hint=hint)
