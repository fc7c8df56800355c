"""From what the engine hands in to what a column takes: checked when the row comes in, not when it is committed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

from sqlalchemy import Boolean, Column, Double, LargeBinary, Table, Text

from stratnb.errors import ConfigError, Halt, nearest
from stratnb.journal.schema import METADATA, is_json, key_names

__all__ = ["RowEncoder", "decoder", "table_named"]

LIMIT = 2**63
Encode = Callable[[Any], Any]
Row = tuple[Any, ...]
FAULTS = (TypeError, ValueError, OverflowError, RecursionError)


def table_named(name: str) -> Table:
    """Return a table of the journal; raises `ConfigError("journal_table")` for an unknown name."""
    table = METADATA.tables.get(name)
    if table is None:
        close = nearest(name, METADATA.tables)
        hint = f"did you mean {close[0]!r}?" if close else f"tables: {', '.join(METADATA.tables)}"
        raise ConfigError("journal_table", f"the journal has no table {name!r}", value=name, hint=hint)
    return table


def _integer(value: Any) -> int:
    whole = index(value)
    if not -LIMIT <= whole < LIMIT:
        raise ValueError("more than 64 bits")
    return whole


def _real(value: Any) -> float | None:
    """Return a float; what is not finite is stored as no value."""
    number = float(value)
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    """Return text that every database takes: NUL and lone surrogates become U+FFFD."""
    if not isinstance(value, str):
        raise TypeError("not text")
    if value.isascii() and "\0" not in value:
        return str(value)
    return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bytes(value: Any) -> bytes:
    return value if type(value) is bytes else memoryview(value).tobytes()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _bool(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError("neither true nor false")
    return bool(value)


def _encoder(column: Column[Any]) -> Encode:
    kinds = {Boolean: _bool, Double: _real, LargeBinary: _bytes, Text: _json if is_json(column) else _text}
    return next((encode for kind, encode in kinds.items() if isinstance(column.type, kind)), _integer)


def _default(column: Column[Any]) -> Any:
    return getattr(column.default, "arg", None)


class RowEncoder:
    """Turns mappings into whole rows of one table and says at once what a row lacks."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = tuple(column.name for column in table.columns)
        self.keys = key_names(table)
        self.stamps = tuple(name for name in ("seq", "ts_ns") if name in self.names and name not in self.keys)
        self._places = [self.names.index(name) for name in self.keys]
        self._known = frozenset(self.names)
        self._columns = [(column.name, _encoder(column), _default(column)) for column in table.columns]
        self._needed = [k for k, column in enumerate(table.columns) if not column.nullable]

    def __call__(self, row: Mapping[str, Any]) -> Row:
        """Return every column's value; raises `ConfigError("journal_row")` for what the table cannot take."""
        if not row.keys() <= self._known:
            raise self._fault(f"has no column {', '.join(sorted(map(repr, row.keys() - self._known)))}", None)
        get = row.get
        try:
            full = tuple(
                [
                    None if (value := get(name, default)) is None else encode(value)
                    for name, encode, default in self._columns
                ]
            )
        except FAULTS:
            full = tuple([self._encoded(name, encode, get(name, default)) for name, encode, default in self._columns])
        if None in full:
            for k in self._needed:
                if full[k] is None:
                    raise self._fault(f"needs a value for {self.names[k]!r}", get(self.names[k]))
        return full

    def key_of(self, full: Row) -> Row:
        """Return the primary key's values of an encoded row."""
        return tuple([full[k] for k in self._places])

    def key(self, row: Mapping[str, Any]) -> Row:
        """Return the values of a primary key; raises `ConfigError("journal_row")` unless just they are given."""
        if row.keys() != set(self.keys):
            raise self._fault(f"is deleted from by {', '.join(self.keys)}, not by {', '.join(row)}", None)
        return tuple(
            self._encoded(*self._columns[k][:2], row[name]) for k, name in zip(self._places, self.keys, strict=True)
        )

    def _encoded(self, name: str, encode: Encode, value: Any) -> Any:
        try:
            return None if value is None else encode(value)
        except FAULTS as error:
            raise self._fault(f"cannot hold {value!r:.80} in {name!r} ({error})", value) from error

    def _fault(self, text: str, value: object) -> ConfigError:
        hint = f"columns: {', '.join(self.names)}"
        return ConfigError("journal_row", f"table {self.table.name!r} {text}", value=value, hint=hint)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = "look at `stratnb journal check`"
        raise Halt("journal_damaged", f"{place} holds {text!r:.60}, which is no JSON", value=text, hint=hint) from error


def decoder(table: Table) -> Callable[[Mapping[Any, Any]], dict[str, Any]]:
    """Return the way back: a row as a dict with its JSON columns read."""
    packed = [column.name for column in table.columns if is_json(column)]

    def _decode(row: Mapping[Any, Any]) -> dict[str, Any]:
        found = dict(row)
        for name in packed:
            if found[name] is not None:
                found[name] = _parsed(found[name], f"{table.name}.{name}")
        return found

    return _decode
