"""The journal's reader: what observers, panels and a restart see; it never writes and never holds up the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Table, func, select

from stratnb.errors import ConfigError
from stratnb.journal.database import Database, reading
from stratnb.journal.encoding import decoder, table_named
from stratnb.journal.migration import check_readable
from stratnb.journal.schema import METADATA

__all__ = ["JournalReader"]

META = METADATA.tables["meta"]
Row = dict[str, Any]


class JournalReader:
    """A read-only connection of its own; any thread may call it, one at a time is let through.

    Each call sees the newest committed transactions; within `together()` all calls see the same ones.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decoders: dict[str, Callable[[Mapping[Any, Any]], Row]] = {}

    @classmethod
    def open(cls, target: str | Path) -> JournalReader:
        """Open a journal read-only.

        Raises `ConfigError`: `journal_missing`, `journal_schema`; `RetryLater("journal_starting")` before its tables
        exist; `Halt("journal_damaged")`.
        """
        database = reading(target)
        try:
            check_readable(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def __repr__(self) -> str:
        """Return the file on one line."""
        return f"JournalReader({str(self.path)!r})"

    def __enter__(self) -> JournalReader:
        """Return the reader, which is closed when the block ends."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self.close()

    @property
    def path(self) -> Path:
        """Return the file."""
        return self._database.path

    @property
    def database(self) -> Database:
        """Return the connection."""
        return self._database

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all calls of the block see the same state; keep the block short, the log grows as long as it lasts."""
        with self._database.transaction():
            yield

    def rows(
        self,
        table: str,
        *,
        where: Mapping[str, Any] | None = None,
        since: int | None = None,
        after: Mapping[str, Any] | None = None,
        order: str | None = None,
        newest: bool = False,
        limit: int | None = None,
    ) -> list[Row]:
        """Return rows as dicts, JSON columns read.

        `where`: columns equal to values; `since`: seq > since; `after`: columns greater than values. They come in the
        order of column `order` (default seq, else the primary key), ascending; `newest` turns it round, so that
        `limit` keeps the last ones.
        """
        found = table_named(table)
        query = _matching(select(found), found, where)
        for name, value in (after or {}).items():
            query = query.where(_column(found, name) > value)
        if since is not None:
            query = query.where(_column(found, "seq") > since)
        first = [_column(found, order)] if order else [found.c.seq] if "seq" in found.c else []
        by = list(dict.fromkeys([*first, *found.primary_key]))
        query = query.order_by(*(column.desc() if newest else column for column in by)).limit(limit)
        decode = self._decoder(found)
        with self._database.transaction() as connection:
            result = connection.execute(query)
            names = tuple(result.keys())
            return [decode(dict(zip(names, row, strict=True))) for row in result]

    def batches(self, table: str, *, size: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in the order of the primary key, at most `size` at a time, as one transaction sees them.

        JSON columns stay text.
        """
        found = table_named(table)
        with self._database.transaction() as connection:
            result = connection.execute(select(found).order_by(*found.primary_key)).mappings()
            for part in result.partitions(size):
                yield [dict(row) for row in part]

    def one(self, table: str, where: Mapping[str, Any]) -> Row | None:
        """Return the first row that matches, None when there is none."""
        return next(iter(self.rows(table, where=where, limit=1)), None)

    def count(self, table: str, where: Mapping[str, Any] | None = None) -> int:
        """Return how many rows match."""
        found = table_named(table)
        query = _matching(select(func.count()).select_from(found), found, where)
        with self._database.transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def meta(self, key: str) -> str | None:
        """Return a value of the table `meta`."""
        query = select(META.c.value).where(META.c.key == key)
        with self._database.transaction() as connection:
            return connection.execute(query).scalar()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._database.close()

    def _decoder(self, table: Table) -> Callable[[Mapping[Any, Any]], Row]:
        if table.name not in self._decoders:
            self._decoders[table.name] = decoder(table)
        return self._decoders[table.name]


def _column(table: Table, name: str) -> Any:
    if name not in table.c:
        hint = f"columns: {', '.join(table.c.keys())}"
        raise ConfigError("journal_row", f"table {table.name!r} has no column {name!r}", value=name, hint=hint)
    return table.c[name]


def _matching(query: Select[Any], table: Table, where: Mapping[str, Any] | None) -> Select[Any]:
    """Return the query with equalities; None means no value."""
    return query.where(*(_column(table, name) == value for name, value in (where or {}).items()))
