"""Where the rows of a sweep are kept: in memory, or in a Parquet file that a killed run leaves readable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError
from stratnb.market_data.months import replace_file
from stratnb.market_data.paths import typed_path
from stratnb.research.measure import BLOCKS, FIGURES
from stratnb.research.space import Axis
from stratnb.research.trials import Rows, joined

__all__ = ["FileStore", "MemoryStore", "Store", "store_at"]

Ints = npt.NDArray[np.int64]

META = b"stratnb.sweep"
ENDING = ".parquet"


class Store(Protocol):
    """Takes rows as they come and gives them back in the order of their trials."""

    def done(self) -> Ints:
        """Return the trials that are kept, rising."""

    def append(self, rows: Rows) -> None:
        """Keep rows of consecutive trials."""

    def finish(self) -> None:
        """End the writing; more rows may still be appended after it."""

    def rows(self) -> Rows:
        """Return all rows."""


class MemoryStore:
    """Keeps rows in memory: about 600 bytes each."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []

    def done(self) -> Ints:
        """Return the trials that are kept, rising."""
        return joined(self._parts).trials

    def append(self, rows: Rows) -> None:
        """Keep rows."""
        self._parts.append(rows)

    def finish(self) -> None:
        """Join what was kept."""
        self._parts = [joined(self._parts)] if self._parts else []

    def rows(self) -> Rows:
        """Return all rows."""
        return joined(self._parts)


class FileStore:
    """Keeps rows in one Parquet file, a row a trial; while a sweep runs they are small files in a folder beside it.

    Each of these is written whole or not at all, so a killed run loses only what it was at work on. `identity` says
    which sweep the rows belong to.
    """

    def __init__(self, path: Path, axes: Sequence[Axis], identity: Mapping[str, Any]) -> None:
        self.path, self.axes, self.identity = path, tuple(axes), dict(identity)
        self.folder = path.with_name(f"{path.name}.parts")
        self._check()

    def done(self) -> Ints:
        """Return the trials that are kept, rising."""
        import pyarrow.parquet as pq

        found = [pq.read_table(file, columns=["trial"])["trial"].to_numpy() for file in self._files()]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))

    def append(self, rows: Rows) -> None:
        """Write rows of consecutive trials to a file of their own."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not len(rows):
            return
        self.folder.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(self._table(rows), sink, compression="zstd")
        name = f"{int(rows.trials[0]):012d}-{int(rows.trials[-1]):012d}{ENDING}"
        replace_file(self.folder / name, sink.getvalue().to_pybytes())

    def finish(self) -> None:
        """Put all rows into the one file, in the order of their trials, a piece at a time."""
        import pyarrow.parquet as pq

        if not self.folder.is_dir():
            return
        part = self.path.with_name(f".{self.path.name}.part")
        pieces = sorted(self._pieces())
        with pq.ParquetWriter(part, self._table(joined([])).schema, compression="zstd") as writer:
            before = -1
            for first, last, file, group in pieces:
                if first > before:
                    writer.write_table(pq.ParquetFile(file).read_row_group(group))
                    before = last
        part.replace(self.path)
        shutil.rmtree(self.folder)

    def rows(self) -> Rows:
        """Return all rows."""
        import pyarrow.parquet as pq

        whole = joined([self._rows(pq.read_table(file)) for file in self._files()])
        return whole.taken(np.unique(whole.trials, return_index=True)[1])

    def _files(self) -> list[Path]:
        parts = sorted(self.folder.glob(f"[0-9]*{ENDING}")) if self.folder.is_dir() else []
        return [*([self.path] if self.path.is_file() else []), *parts]

    def _pieces(self) -> Iterator[tuple[int, int, Path, int]]:
        """Yield the pieces of consecutive trials: the first and last one, the file, and the group of rows in it."""
        import pyarrow.parquet as pq

        for file in self._files():
            opened = pq.ParquetFile(file)
            for group in range(opened.num_row_groups):
                trials = opened.read_row_group(group, columns=["trial"])["trial"].to_pylist()
                yield trials[0], trials[-1], file, group

    def _check(self) -> None:
        """Raise `ConfigError` for a file that cannot be written, is none of ours, or holds another sweep."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.path.name.endswith(ENDING):
            hint = f"name it {self.path.stem}{ENDING}"
            raise ConfigError("file_ending", f"{self.path.name!r} does not end in .parquet", value=self.path, hint=hint)
        if not self.path.parent.is_dir():
            text = f"the folder {str(self.path.parent)!r} does not exist"
            raise ConfigError(
                "folder_missing", text, value=str(self.path.parent), hint="make it, or choose another one"
            )
        for file in self._files():
            try:
                held = json.loads((pq.read_schema(file).metadata or {})[META])
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                hint = "choose another file, or delete it"
                raise ConfigError("sweep_file", f"{file.name!r} is not a sweep", value=str(file), hint=hint) from error
            known = json.loads(json.dumps(self.identity))
            unlike = [name for name in {**known, **held} if known.get(name) != held.get(name)]
            if unlike:
                text = f"{self.path.name!r} holds another sweep: it differs in {', '.join(unlike)}"
                hint = "choose another file, or delete it and its folder of parts"
                raise ConfigError("sweep_other", text, value=unlike, hint=hint)

    def _table(self, rows: Rows) -> Any:
        """Return rows as an Arrow table that says which sweep it is of."""
        import pyarrow as pa

        types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string(), "json": pa.string()}
        columns = [("trial", pa.array(rows.trials, pa.int64()))]
        for k, axis in enumerate(self.axes):
            values = [own[k] for own in rows.values]
            if axis.kind == "json":
                values = [json.dumps(value) for value in values]
            columns.append((axis.path, pa.array(values, types[axis.kind])))
        columns += [(name, pa.array(rows.figures[name], pa.float64())) for name in FIGURES]
        flat = pa.array(rows.blocks.reshape(-1), pa.float64())
        columns += [
            ("error", pa.array(rows.errors, pa.string())),
            ("daily_sharpe", pa.array(rows.sharpes, pa.float64())),
            ("blocks", pa.FixedSizeListArray.from_arrays(flat, BLOCKS * 3)),
        ]
        table = pa.Table.from_arrays([column for _, column in columns], names=[name for name, _ in columns])
        return table.replace_schema_metadata({META: json.dumps(self.identity)})

    def _rows(self, table: Any) -> Rows:
        columns = []
        for axis in self.axes:
            values = table[axis.path].to_pylist()
            columns.append([json.loads(value) for value in values] if axis.kind == "json" else values)
        blocks = table["blocks"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return Rows(
            trials=table["trial"].to_numpy(),
            values=list(zip(*columns, strict=True)),
            figures={name: table[name].to_numpy() for name in FIGURES},
            sharpes=table["daily_sharpe"].to_numpy(),
            blocks=np.asarray(blocks, np.float64).reshape(-1, BLOCKS, 3),
            errors=table["error"].to_pylist(),
        )


def store_at(path: str | Path | None, axes: Sequence[Axis], identity: Mapping[str, Any]) -> Store:
    """Return the store of a path, or one in memory."""
    return MemoryStore() if path is None else FileStore(typed_path(path), axes, identity)
