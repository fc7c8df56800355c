"""A function of candles under proof: what it returns (columns, fills, trades, a block, a strategy) as traces."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from stratnb.blocks.base import Block
from stratnb.errors import ConfigError
from stratnb.market_data.candles import Candles, market_from
from stratnb.model import Fill, Market, Trade
from stratnb.research.lookahead_plan import plan_subject
from stratnb.research.traces import Floats, Ints, Trace
from stratnb.strategy.config import StrategyConfig

__all__ = ["CallSubject", "Given"]

Given = Literal["candles", "frame"]
SIDES = {"buy": 1.0, "long": 1.0, "sell": -1.0, "short": -1.0}
ENTRY, EXIT, TIME = ("entry", "entry_ms", "entry_time"), ("exit", "exit_ms", "exit_time"), ("time_ms", "time")
EVENT_FIELDS = ("price", "quantity", "side", "direction", "entry_price", "exit_price", "fee", "pnl", "reason")
_WRONG_INPUT = (AttributeError, TypeError, KeyError, IndexError, ConfigError)


@dataclass(slots=True)
class CallSubject:
    """A function that is given candles, or their frame, and returns one row per candle or a list of events."""

    call: Callable[[Any], Any]
    given: Given | None = None
    market: Market | None = None
    lengths: tuple[int, ...] = field(default=(), init=False)

    @property
    def name(self) -> str:
        """Return the function's name."""
        return str(getattr(self.call, "__name__", type(self.call).__name__))

    def trace(self, candles: Candles) -> dict[str, Trace]:
        """Return what the function makes of the candles as traces."""
        made = self.result(candles)
        if _is_strategy(made):
            self.market = self.market or market_from(candles, kind="linear")
            return plan_subject(made, candles, market=self.market).trace(candles)
        found = _events(made, candles)
        return found if found is not None else {"value": _columns(made, candles)}

    def result(self, candles: Candles) -> Any:
        """Return what the function returns; the first call finds out whether it takes candles or their frame."""
        if self.given is None:
            self.given = _asked(self.call)
        if self.given is not None:
            return self.call(candles.to_frame() if self.given == "frame" else candles)
        try:
            made = self.call(candles)
            self.given = "candles"
        except _WRONG_INPUT as first:
            try:
                made = self.call(candles.to_frame())
            except Exception as second:
                text = f"{self.name} takes neither candles ({first}) nor their frame ({second})"
                raise ConfigError(
                    "lookahead_call", text, value=self.name, hint="give a function of candles"
                ) from second
            self.given = "frame"
        return made


def _asked(call: Callable[[Any], Any]) -> Given | None:
    """Return what the annotation of the first argument asks for, None without one that says it."""
    try:
        first = next(iter(inspect.signature(call).parameters.values()))
    except (TypeError, ValueError, StopIteration):
        return None
    text = str(first.annotation)
    if "DataFrame" in text:
        return "frame"
    return "candles" if "Candles" in text else None


def _is_strategy(made: object) -> bool:
    """Tell whether a function built a block or a strategy from the candles."""
    if isinstance(made, Mapping):
        return "schema" in made
    return isinstance(made, Block | StrategyConfig | str) or (isinstance(made, type) and issubclass(made, Block))


def _columns(made: Any, candles: Candles) -> Trace:
    """Return one row per candle, or per label of an index of times."""
    if isinstance(made, Candles):
        made = made.to_frame()
    if hasattr(made, "columns") and hasattr(made, "index"):
        parts = {str(name): made[name].to_numpy() for name in made.columns}
        return _trace(parts, _places(made.index, candles))
    if hasattr(made, "index") and hasattr(made, "to_numpy"):
        return _trace({str(made.name or ""): made.to_numpy()}, _places(made.index, candles))
    if isinstance(made, Mapping):
        parts = {str(name): np.asarray(column) for name, column in made.items()}
    elif isinstance(made, tuple | list) and len(made) and np.ndim(made[0]) == 1 and len(made) != len(candles):
        parts = {str(k): np.asarray(column) for k, column in enumerate(made)}
    else:
        array = np.asarray(made)
        parts = {"": array} if array.ndim == 1 else {str(k): array[:, k] for k in range(array.shape[-1])}
    wrong = {name: column.shape for name, column in parts.items() if column.shape != (len(candles),)}
    if wrong or not parts:
        text = f"the function returned {wrong or 'nothing'} for {len(candles)} candles"
        hint = "return one value per candle, or a Series or DataFrame with times as its index"
        raise ConfigError("lookahead_shape", text, value=str(wrong), hint=hint)
    return _trace(parts, np.arange(len(candles), dtype=np.int64))


def _trace(parts: Mapping[str, Any], known: Ints) -> Trace:
    order = np.argsort(known, kind="stable")
    values = np.column_stack([_numbers(column)[order] for column in parts.values()]) if parts else np.empty((0, 0))
    return Trace("", tuple(parts), known[order], values)


def _places(index: Any, candles: Candles) -> Ints:
    """Return the candle of each label: times by the candle that they fall into, whole numbers as positions."""
    if hasattr(index, "tz"):
        utc = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
        return _stamped(utc.as_unit("ms").asi8, candles)
    labels = np.asarray(index)
    if labels.dtype.kind in "iu" and (not len(labels) or (labels.min() >= 0 and labels.max() < len(candles))):
        return labels.astype(np.int64)
    hint = "keep the index of the candles' frame"
    raise ConfigError(
        "lookahead_shape", f"the index {str(index)[:60]} tells no candles", value=str(index)[:80], hint=hint
    )


def _stamped(times: Any, candles: Candles) -> Ints:
    """Return the candle that each time in ms falls into; one before all of them belongs to the first."""
    found: Ints = np.maximum(np.searchsorted(candles.open_time_ms, times, side="right") - 1, 0).astype(np.int64)
    return found


def _numbers(column: Any) -> Floats:
    """Return a column as numbers: times in ms, words as a number of their text."""
    array = np.asarray(column)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64)
    if array.dtype.kind == "M":
        return array.astype("datetime64[ms]").astype(np.int64).astype(np.float64)
    return np.array([_number(value) for value in array.tolist()])


def _number(value: object) -> float:
    if value is None or value != value or str(value) in ("NaT", "<NA>"):
        return float("nan")
    if isinstance(value, bool | int | float):
        return float(value)
    if hasattr(value, "timestamp"):
        return float(round(value.timestamp() * 1000.0))
    return SIDES.get(str(value).lower(), float(zlib.crc32(repr(value).encode())))


def _events(made: Any, candles: Candles) -> dict[str, Trace] | None:
    """Return fills or trades as traces; None when the result is neither."""
    if hasattr(made, "all_fills"):
        made = made.all_fills
    rows = _event_rows(made)
    if rows is None:
        return None
    if rows and any(name in rows[0] for name in ENTRY):
        return _trades(rows, candles)
    return {"fill": _event_trace("fill", rows, TIME, candles)}


def _event_rows(made: Any) -> list[Mapping[str, Any]] | None:
    """Return events as mappings; None when they are none."""
    if hasattr(made, "columns") and hasattr(made, "to_dict"):
        names = set(map(str, made.columns))
        timed = names & {*ENTRY, *TIME} and names & set(EVENT_FIELDS)
        return made.to_dict("records") if timed else None
    if isinstance(made, Iterable) and not isinstance(made, str | Mapping | np.ndarray) and not hasattr(made, "index"):
        made = list(made)
    if not isinstance(made, list | tuple) or not all(isinstance(item, Fill | Trade | Mapping) for item in made):
        return None
    return [item if isinstance(item, Mapping) else _fields(item) for item in made]


def _fields(item: Fill | Trade) -> dict[str, Any]:
    return {name: getattr(item, name) for name in type(item).__slots__}


def _trades(rows: Sequence[Mapping[str, Any]], candles: Candles) -> dict[str, Trace]:
    """Return trades twice: as they were entered, and when they were closed."""
    entered = [
        {name: value for name, value in row.items() if name in (*ENTRY, "entry_price", "direction", "side")}
        for row in rows
    ]
    entries = _event_trace("entry", entered, ENTRY, candles, missing_last=True)
    return {"entry": entries, "trade": _event_trace("trade", rows, EXIT, candles)}


def _event_trace(
    kind: str, rows: Sequence[Mapping[str, Any]], clock: Sequence[str], candles: Candles, *, missing_last: bool = False
) -> Trace:
    """Return events by the candle in which they are stamped; one stamped after all of them belongs to the last."""
    names = tuple(dict.fromkeys(name for row in rows for name in row if name not in ("strategy_id", "symbol")))
    stamp = next((name for name in clock if name in names), None)
    if rows and stamp is None:
        hint = f"name the time {' or '.join(map(repr, clock))}"
        raise ConfigError("lookahead_shape", f"an event of {names} tells no time", value=names, hint=hint)
    values = np.array([[_number(row.get(name)) for name in names] for row in rows]).reshape(len(rows), len(names))
    times = values[:, names.index(stamp)] if stamp is not None else np.empty(0)
    closed = np.isfinite(times)
    times, values = times[closed], values[closed]
    known = _stamped(times, candles)
    order = np.argsort(known, kind="stable")
    return Trace(kind, names, known[order], values[order], missing_last=missing_last, drops_end=True)
