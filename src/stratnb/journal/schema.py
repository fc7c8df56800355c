"""The journal's tables and the steps that bring an older file forward (trading_rules 1.0).

Every row carries `seq` (journal-wide number) and `ts_ns` (engine's clock), except in `meta` and `candles`. JSON columns
are text, blobs are bytes: a `row` holds float64 cells laid out as `stratnb.kernels.layout` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

__all__ = ["METADATA", "MIGRATIONS", "TABLES", "Migration", "is_json", "key_names", "schema_version"]

METADATA = MetaData()
# SQLite makes a key its row number only when the type reads INTEGER; elsewhere 64 bits must be asked for.
INT = BigInteger().with_variant(Integer, "sqlite")
Migration = Callable[[Connection], None]


def _limits_of_orders(connection: Connection) -> None:
    """Add what an order rests at and until when; what was written before did not say it."""
    connection.execute(text("ALTER TABLE orders ADD COLUMN limit_price DOUBLE PRECISION"))
    connection.execute(text("ALTER TABLE orders ADD COLUMN until_ms BIGINT"))


# Step k brings schema k + 1 to k + 2; it runs in the transaction that writes the new version.
MIGRATIONS: list[Migration] = [_limits_of_orders]


def schema_version() -> int:
    """Return the schema version that this code reads and writes."""
    return 1 + len(MIGRATIONS)


def is_json(column: Column[Any]) -> bool:
    """Tell whether a text column holds JSON that writer and reader translate."""
    return bool(column.info.get("json"))


def key_names(table: Table) -> tuple[str, ...]:
    """Return the columns by which a row is replaced and deleted: the primary key, unless the table names others."""
    return tuple(table.info.get("key") or (column.name for column in table.primary_key))


def _key(name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]] = Text) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _columns(kind: TypeEngine[Any] | type[TypeEngine[Any]], names: str, *, null: bool = False) -> list[Column[Any]]:
    return [Column(name, kind, nullable=null) for name in names.split()]


def _text(names: str) -> list[Column[Any]]:
    return _columns(Text, names)


def _optional(names: str) -> list[Column[Any]]:
    return _columns(Text, names, null=True)


def _int(names: str, *, null: bool = False) -> list[Column[Any]]:
    return _columns(INT, names, null=null)


def _real(names: str, *, null: bool = False) -> list[Column[Any]]:
    return _columns(Double, names, null=null)


def _json(names: str, *, null: bool = False) -> list[Column[Any]]:
    return [Column(name, Text, nullable=null, info={"json": True}) for name in names.split()]


def _table(name: str, *columns: Column[Any] | UniqueConstraint, index: str = "", **options: Any) -> Table:
    """Declare a table; it gets `seq` and `ts_ns` unless a column has that name."""
    given = {column.name for column in columns}
    stamps = [column for column in _int("seq ts_ns") if column.name not in given]
    table = Table(name, METADATA, *columns, *stamps, **options)
    for word in index.split():
        Index(f"{name}_{word.replace('+', '_')}", *(table.c[part] for part in word.split("+")))
    return table


def _state_columns() -> list[Column[Any]]:
    return [
        *_int("schema"),
        *_text("config_hash code_hash"),
        *_int("taken_ms watermark_ms candles"),
        *_columns(LargeBinary, "memory"),
        *_text("sha256"),
    ]


def _unnumbered() -> list[Column[Any]]:
    """Return the stamps of what others than the engine write (the lease, commands): it has no journal-wide number."""
    return [Column("seq", INT, nullable=False, default=0, server_default="0"), *_int("ts_ns")]


Table("meta", METADATA, _key("key"), *_text("value"))
_table(
    "lease",
    _key("account"),
    *_text("holder host"),
    *_int("pid"),
    *_optional("process_start"),
    *_int("generation expires_ms"),
    *_unnumbered(),
)
_table(
    "commands",
    Column("id", INT, primary_key=True, autoincrement=True),
    *_int("created_ms"),
    *_text("author"),
    *_optional("role"),
    *_text("command"),
    *_json("args"),
    Column("nonce", Text, nullable=False, unique=True),
    *_optional("mac"),
    Column("state", Text, nullable=False, default="new", server_default="new"),
    *_json("result", null=True),
    *_int("done_ms", null=True),
    *_unnumbered(),
    index="state",
    sqlite_autoincrement=True,
)
_table(
    "strategies",
    _key("strategy_id"),
    *_int("place"),
    Column("code", Text, nullable=False, unique=True),
    *_text("name"),
    *_optional("version"),
    *_text("symbol"),
    *_optional("label"),
    *_text("state"),
    *_int("loaded_ms"),
    *_int("activated_ms", null=True),
    *_text("config_hash"),
    *_json("overrides", null=True),
    *_json("document"),
    *_json("flags", null=True),
    Column("pinned", Boolean, nullable=False, default=False),
    *_int("anchor_ms", null=True),
)
_table(
    "config_versions",
    _key("strategy_id"),
    _key("number", INT),
    *_json("patch", null=True),
    *_json("document", null=True),
    *_text("config_hash"),
    *_optional("author reason"),
    *_int("created_ms"),
)
_table(
    "switches",
    _key("number", INT),
    *_optional("from_id to_id"),
    *_text("policy phase"),
    *_int("started_ms"),
    *_int("finished_ms", null=True),
    Column("success", Boolean),
    *_optional("error"),
    index="seq",
)
_table("snapshots", _key("seq", INT), *_text("strategy_id"), *_state_columns(), index="strategy_id+seq")
_table("states", _key("strategy_id"), *_state_columns())
_table("watermarks", _key("strategy_id"), _key("timeframe"), *_int("open_time_ms resolved_ms candles"))
# Stored in the order of arrival, dense and without overflow pages; found by strategy and candle.
_table(
    "decisions",
    _key("seq", INT),
    *_text("strategy_id"),
    *_int("open_time_ms"),
    *_columns(LargeBinary, "row"),
    UniqueConstraint("strategy_id", "open_time_ms"),
    info={"key": ("strategy_id", "open_time_ms")},
)
_table(
    "orders",
    _key("client_id"),
    *_text("strategy_id symbol side"),
    *_real("quantity"),
    *_text("purpose"),
    Column("reduces", Boolean, nullable=False, default=False),
    *_optional("reason correlation"),
    *_int("generation"),
    *_text("state"),
    *_optional("code"),
    Column("filled", Double, nullable=False, default=0.0),
    *_optional("exchange_id"),
    *_columns(LargeBinary, "row", null=True),
    *_int("created_ms"),
    *_int("sent_ms", null=True),
    *_int("updated_ms"),
    *_real("limit_price", null=True),
    *_int("until_ms", null=True),
    index="strategy_id state seq",
)
_table(
    "fills",
    _key("fill_id"),
    *_text("client_id strategy_id symbol side"),
    *_real("quantity price fee"),
    *_optional("fee_currency"),
    *_int("time_ms"),
    *_optional("reason"),
    *_columns(LargeBinary, "row", null=True),
    *_optional("raw"),
    index="client_id strategy_id seq",
)
_table(
    "ledger",
    _key("seq", INT),
    *_text("strategy_id symbol kind"),
    *_real("quantity"),
    *_real("price", null=True),
    *_real("realized fee position_after"),
    *_optional("reference author reason"),
    *_int("time_ms"),
    index="strategy_id reference",
)
_table(
    "trades",
    _key("strategy_id"),
    _key("trade_no", INT),
    *_text("symbol"),
    *_int("direction"),
    *_real("quantity"),
    *_int("entry_ms"),
    *_real("entry_price"),
    *_int("exit_ms"),
    *_real("exit_price pnl fees"),
    *_optional("reason"),
    *_int("fills"),
    index="seq",
)
_table("equity", _key("scope"), _key("time_ms", INT), *_real("equity", null=True), index="seq")
_table("risk_state", _key("scope"), *_columns(LargeBinary, "row"), *_text("digest"))
_table("denials", _key("strategy_id"), _key("code"), *_int("count last_ms"))
_table(
    "events",
    _key("seq", INT),
    *_text("type"),
    *_optional("strategy_id symbol correlation_id source"),
    *_json("payload"),
    Column("version", INT, nullable=False, default=1),
    index="type strategy_id",
)
_table("live_state", _key("id", INT), *_int("written_ms"), *_json("payload"))
Table(
    "candles",
    METADATA,
    _key("symbol"),
    _key("open_time_ms", INT),
    *_real("open high low close volume"),
    sqlite_with_rowid=False,
)

TABLES: tuple[str, ...] = tuple(METADATA.tables)
