"""What waits for the next commit, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import ClauseElement, Connection, Dialect, Table, and_, bindparam, delete, insert

from stratnb.errors import ConfigError
from stratnb.journal.database import upsert
from stratnb.journal.encoding import RowEncoder
from stratnb.journal.schema import key_names

__all__ = ["Action", "PendingRows"]

Action = Literal["delete", "insert", "upsert"]
Row = tuple[Any, ...]


class PendingRows:
    """What one table has to be told: the last word for each key, in the order in which they were said."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._encode = RowEncoder(table)
        self.stamps = self._encode.stamps
        self._words: dict[Row, tuple[Action, Row]] = {}
        keys = and_(*(table.c[name] == bindparam(f"key_{name}") for name in key_names(table)))
        statements: dict[Action, ClauseElement] = {
            "delete": delete(table).where(keys),
            "insert": insert(table),
            "upsert": upsert(table),
        }
        # Compiled once and run with tuples: SQLAlchemy's own way of many rows takes as long again as the database.
        self._sql = {action: str(statement.compile(dialect=dialect)) for action, statement in statements.items()}

    def __len__(self) -> int:
        """Return how many rows wait."""
        return len(self._words)

    def put(self, action: Action, row: Mapping[str, Any]) -> None:
        """Take a whole row to insert or to upsert; raises `ConfigError("journal_row")` for a second new row."""
        full = self._encode(row)
        key = self._encode.key_of(full)
        before = self._words.pop(key, None)
        if before is not None:
            if action == "insert" and before[0] != "delete":
                self._words[key] = before
                text = f"table {self._encode.table.name!r} gets {key!r:.80} twice"
                raise ConfigError("journal_row", text, value=key, hint="use upsert to replace a row")
            action = "insert" if before[0] == "insert" else "upsert"
        self._words[key] = (action, full)

    def remove(self, key: Mapping[str, Any]) -> None:
        """Take the primary key of a row that has to go."""
        found = self._encode.key(key)
        self._words.pop(found, None)
        self._words[found] = ("delete", found)

    def write(self, connection: Connection) -> int:
        """Say it in at most three statements (deletions, new rows, replaced rows) and return how many rows."""
        rows: dict[Action, list[Row]] = {"delete": [], "insert": [], "upsert": []}
        for action, row in self._words.values():
            rows[action].append(row)
        for action, batch in rows.items():
            if batch:
                connection.exec_driver_sql(self._sql[action], batch)
        return len(self._words)

    def clear(self) -> None:
        """Forget what was written."""
        self._words.clear()
