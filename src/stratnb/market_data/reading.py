"""Files into frames: CSV and Parquet, with an error that says what is wrong with the file."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from stratnb.errors import ConfigError, nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROLES", "find_columns", "read_frame"]

TIME_NAMES = (
    *("open_time_ms", "open_time", "opentime", "timestamp", "unix", "ts", "time", "datetime", "date_time", "date"),
    *("gmt_time", "local_time"),
)
ROLES: dict[str, tuple[str, ...]] = {
    "time": TIME_NAMES,
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume", "volume_base"),
}
TEXT_TYPES, PARQUET_TYPES = (".csv", ".txt", ".tsv"), (".parquet", ".pq")
HEAD_BYTES = 65_536


def read_frame(path: Path, heads: Collection[str] = ()) -> tuple[pd.DataFrame, int | None, tuple[str, ...]]:
    """Return the frame of a file, the line of its first row (None unless it is text) and notes.

    The header of a text is the first of its lines with a column of `heads`; without these, with a price.
    """
    _check_path(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    is_parquet = head[:4] == b"PAR1"
    if path.suffix.lower() in PARQUET_TYPES:
        if not is_parquet:
            raise _wrong_content(path, "Parquet", hint=_content_hint(head))
        return _read_parquet(path), None, ()
    if is_parquet:
        raise _wrong_content(path, "text", hint="it is a Parquet file: rename it to .parquet")
    return _read_csv(path, head, heads)


def find_columns(frame: pd.DataFrame, source: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the column of each role and notes; "time" may be the index, then None. Raises for missing ones."""
    names = [_plain(name) for name in frame.columns]
    found: dict[str, object] = {}
    notes: list[str] = []
    for role, known in ROLES.items():
        here = [i for word in known for i, name in enumerate(names) if name == word]
        if role == "volume" and not here:
            here = [i for i, name in enumerate(names) if name.startswith("volume")]
            notes += [f"column {frame.columns[i]!r} is taken as the volume" for i in here[:1]]
        if len({names[i] for i in here}) < len(here):
            twice = [str(frame.columns[i]) for i in here]
            hint = "keep one of them"
            raise ConfigError("columns_twice", f"{source} has {role} twice: {twice}", value=twice, hint=hint)
        if here:
            found[role] = frame.columns[here[0]]
    if "time" not in found and _is_time_index(frame):
        found["time"] = None
    missing = [role for role in ROLES if role not in found]
    if missing:
        raise _missing(source, missing, names)
    return found, tuple(notes)


def _missing(source: str, missing: list[str], names: list[str]) -> ConfigError:
    close = [f"{role}: {near[0]!r}?" for role in missing if (near := nearest(role, names, limit=1))]
    hint = f"did you mean {', '.join(close)} Rename them" if close else "needed: " + ", ".join(ROLES)
    if "time" in missing and {"<date>", "<time>"} <= set(map(_plain, names)):
        hint = "join <DATE> and <TIME> into one column open_time, and write the other names without brackets"
    elif "time" in missing:
        hint += f"; the time column is called one of {', '.join(TIME_NAMES)}"
    text = (
        f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(names) or 'none'}"
    )
    return ConfigError("columns_missing", text, value=missing, hint=hint)


def _plain(name: object) -> str:
    return "_".join(str(name).strip().lower().split())


def _is_time_index(frame: pd.DataFrame) -> bool:
    import pandas as pd

    return isinstance(frame.index, pd.DatetimeIndex) or _plain(frame.index.name) in TIME_NAMES


def _check_path(path: Path) -> None:
    if path.is_dir():
        inside = sorted(item.name for item in path.iterdir() if item.suffix.lower() in (*TEXT_TYPES, *PARQUET_TYPES))
        hint = f"name a file in it, such as {inside[0]!r}" if inside else "it has no CSV or Parquet file"
        raise ConfigError("file_is_folder", f"{path} is a folder", value=str(path), hint=hint)
    if not path.exists():
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "check the path"
        if not path.parent.is_dir():
            hint = f"the folder {path.parent} does not exist either"
        raise ConfigError("file_missing", f"{path} does not exist", value=str(path), hint=hint)
    if path.suffix.lower() not in (*TEXT_TYPES, *PARQUET_TYPES):
        hint = f"known: {', '.join((*TEXT_TYPES, *PARQUET_TYPES))}; other formats go through a DataFrame"
        raise ConfigError("file_type", f"{path} ends in {path.suffix!r}", value=path.suffix, hint=hint)
    if not path.stat().st_size:
        raise ConfigError("file_empty", f"{path} is empty", value=str(path), hint="export it again")


def _wrong_content(path: Path, kind: str, *, hint: str) -> ConfigError:
    code = "not_parquet" if kind == "Parquet" else "not_text"
    return ConfigError(code, f"{path} is not a {kind} file", value=str(path), hint=hint)


def _content_hint(head: bytes) -> str:
    is_text = b"\0" not in head and (b"," in head or b";" in head)
    return "it looks like text: rename it to .csv" if is_text else "export it again"


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame: pd.DataFrame = pq.read_table(path, partitioning=None).to_pandas()
    except (pa.ArrowException, OSError) as error:
        hint = "export it again: it is cut off or damaged"
        raise ConfigError("not_parquet", f"{path} cannot be read: {error}", value=str(path), hint=hint) from error
    return frame


def _read_csv(path: Path, head: bytes, heads: Collection[str]) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Read text by Arrow, which parses decimals to the nearest double; columns with any text stay text."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    skipped, names, has_header, mark = _header(path, head, heads)
    notes = () if has_header else (f"no header line: the columns are taken as {', '.join(list(ROLES))}",)
    times = {name: pa.string() for name in names if _plain(name) in TIME_NAMES}
    read = arrow.ReadOptions(column_names=names, skip_rows=skipped + has_header)
    convert = arrow.ConvertOptions(column_types=times)
    try:
        table = arrow.read_csv(path, read, arrow.ParseOptions(delimiter=mark), convert)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ConfigError(
            "csv_rows",
            f"{path} cannot be read: {error}",
            value=str(path),
            hint="each line needs as many values as the header",
        ) from error
    return table.to_pandas(), skipped + has_header + 1, notes


def _header(path: Path, head: bytes, heads: Collection[str]) -> tuple[int, list[str], bool, str]:
    """Return the lines before the header, the column names, whether a header exists, and the separator."""
    try:
        lines = head.decode("utf-8-sig", errors="ignore" if len(head) == HEAD_BYTES else "strict").splitlines()
    except UnicodeDecodeError as error:
        raise _wrong_content(path, "text", hint="save it as UTF-8 CSV") from error
    for at, line in enumerate(lines[:5]):
        mark = max(",;\t|", key=line.count)
        names = next(csv.reader([line], delimiter=mark), [])
        if {_plain(name) for name in names} & set(heads or ROLES["open"] + ROLES["close"]):
            return at, [name.strip() or f"column_{i}" for i, name in enumerate(names)], True, mark
    mark = max(",;\t|", key=lines[0].count)
    first = next(csv.reader([lines[0]], delimiter=mark), [])
    if heads:
        return 0, [name.strip() or f"column_{i}" for i, name in enumerate(first)], True, mark
    if len(first) >= len(ROLES) and all(map(_is_number, first[1:6])):
        return 0, [*ROLES, *(f"column_{i}" for i in range(len(ROLES), len(first)))], False, mark
    raise _missing(str(path), list(ROLES), [name.strip() for name in first])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
