"""Checks of input columns: they exist, do not run in circles, are read by something, and warm up in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stratnb.blocks.base import CANDLE_COLUMNS, Block, Exit, Indicator, Ref
from stratnb.errors import Finding, nearest
from stratnb.strategy.config import IndicatorEntry
from stratnb.strategy.faults import fault, shown, warning
from stratnb.strategy.paths import join
from stratnb.strategy.reading import Parts
from stratnb.strategy.sections import ROLES, Role

__all__ = ["check_columns", "check_warmups"]

MAX_WARMUP = 5000


def check_columns(parts: Parts) -> Iterator[Finding]:
    """Yield columns that do not exist, indicators in a circle, and indicators that nothing reads."""
    read = {column for _, block in _readers(parts) for column in _inputs(block)}
    for name, entry in parts.indicators.items():
        for k, column in enumerate(getattr(entry.block, "on", ())):
            yield from _column(join("indicators", name, "on", k), column, entry.timeframe, parts)
    yield from _brought(parts)
    yield from _circles(parts.indicators)
    for name in parts.indicators:
        if not any(column == f"ind.{name}" or column.startswith(f"ind.{name}.") for column in read):
            path, hint = join("indicators", name), "remove it if the chart does not need it"
            yield warning(path, "unused_indicator", "no block reads it; the chart shows it", name, hint)


def check_warmups(parts: Parts) -> Iterator[Finding]:
    """Yield the blocks that need too many candles before their first value."""
    for path, block in _readers(parts):
        if isinstance(block, Exit):
            continue
        candles = _warmup(block, parts.indicators)
        if candles > MAX_WARMUP:
            message = f"it needs {candles} candles before its first value"
            yield fault(path, "warmup_too_long", message, candles, f"choose look-backs that need at most {MAX_WARMUP}")


def _inputs(block: Block) -> Iterator[str]:
    """Yield the columns that a block and the blocks it brings along read."""
    for item in block.inputs():
        if isinstance(item, Ref):
            yield from _inputs(item.block)
        else:
            yield item


def _readers(parts: Parts) -> Iterator[tuple[str, Block]]:
    """Yield the enabled blocks with their paths, in document order."""
    yield from ((join("indicators", name), entry.block) for name, entry in parts.indicators.items())
    yield from ((join("analyzers", n), entry.params) for n, entry in parts.analyzers.items() if entry.enabled)
    yield from ((join("filters", name), block) for name, block in parts.filters.items() if block.enabled)
    if parts.sizing:
        yield "sizing", parts.sizing
    yield from ((join("exits", name), block) for name, block in parts.exits.items())


def _column(path: str, column: str, role: Role, parts: Parts) -> Iterator[Finding]:
    """Yield what is wrong with one written input column of an indicator."""
    first, _, rest = column.partition(".")
    if column in CANDLE_COLUMNS:
        return
    if first == "ind":
        yield from _indicator_column(path, column, rest, role, parts)
    elif first in ROLES and rest in CANDLE_COLUMNS:
        missing = parts.timeframes is not None and getattr(parts.timeframes, first) is None
        if missing:
            yield fault(
                path, "timeframe_missing", f"timeframes.{first} is not set", column, f'add "{first}" to timeframes'
            )
        elif role not in ("primary", first):
            yield fault(
                path,
                "unknown_column",
                f"{column!r} cannot be read by role {role!r}",
                column,
                "only primary reads other roles",
            )
    elif first in ("trades", "book", "funding", "reference"):
        yield fault(
            path,
            "input_missing",
            f"the input set {first!r} is not supplied in this version",
            column,
            "use candle columns",
        )
    else:
        yield _no_column(path, column, parts)


def _brought(parts: Parts) -> Iterator[Finding]:
    """Yield the columns that users' own blocks ask for and that do not exist."""
    roles: dict[str, Role] = {join("indicators", name): entry.timeframe for name, entry in parts.indicators.items()}
    roles |= {join("analyzers", n): entry.timeframe for n, entry in parts.analyzers.items()}
    for path, block in _readers(parts):
        if type(block).__module__.startswith("stratnb.") or hasattr(block, "on"):
            continue
        for column in dict.fromkeys(_inputs(block)):
            first, dot, rest = column.partition(".")
            if first in ("ind", "book", "funding", "reference", *ROLES[1:]) and rest not in ("bias", "strength"):
                yield from _column(path, column, roles.get(path, "primary"), parts)
            elif not dot and column not in (*CANDLE_COLUMNS, "minute_of_week"):
                yield _no_column(path, column, parts)


def _indicator_column(path: str, column: str, rest: str, role: Role, parts: Parts) -> Iterator[Finding]:
    name, _, output = rest.partition(".")
    entry = parts.indicators.get(name)
    if entry is None:
        if parts.whole(f"indicators.{name}"):
            yield _no_column(path, column, parts)
        return
    outputs = type(entry.block).outputs
    if output and output not in outputs:
        close = nearest(output, outputs) or outputs
        hint = f"did you mean {' or '.join(repr(f'ind.{name}.{word}') for word in close)}?"
        yield fault(path, "unknown_column", f"{name!r} has no output {output!r}", column, hint)
    elif not output and len(outputs) > 1:
        hint = f"name one: {', '.join(f'ind.{name}.{word}' for word in outputs)}"
        yield fault(path, "unknown_column", f"{name!r} has several outputs", column, hint)
    elif role not in ("primary", entry.timeframe):
        message = f"{column!r} is of role {entry.timeframe!r} and cannot be read by role {role!r}"
        yield fault(path, "unknown_column", message, column, "give both the same timeframe")


def _no_column(path: str, column: str, parts: Parts) -> Finding:
    own = [f"ind.{name}.{output}" for name, entry in parts.indicators.items() for output in type(entry.block).outputs]
    higher = parts.timeframes.higher() if parts.timeframes else {}
    lent = [f"{role}.{name}" for role in higher for name in CANDLE_COLUMNS]
    names = [*CANDLE_COLUMNS, *parts.indicators, *(f"ind.{name}" for name in parts.indicators), *own, *lent]
    close = nearest(column, names)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(names[:12])}"
    return fault(path, "unknown_column", f"column {shown(column)} is not known", column, hint)


def _circles(indicators: Mapping[str, IndicatorEntry]) -> Iterator[Finding]:
    """Yield each circle of indicators once, at its first member."""
    told: set[str] = set()
    for start in indicators:
        way, name = [start], start
        while (name := _upstream(indicators[name].block)) in indicators and name not in way:
            way.append(name)
        if name == start and not told.intersection(way):
            told.update(way)
            circle = " -> ".join([*way, start])
            hint = "let one of them read a candle column"
            yield fault(
                join("indicators", start, "on"), "cycle", f"the indicators read each other: {circle}", circle, hint
            )


def _upstream(block: Indicator) -> str:
    """Return the name of the indicator that the first written column names, or an empty text."""
    named = [column.split(".")[1] for column in getattr(block, "on", ()) if column.startswith("ind.")]
    return named[0] if named else ""


def _warmup(block: Block, indicators: Mapping[str, IndicatorEntry], depth: int = 0) -> int:
    """Return the candles until the first output, with those of its inputs."""
    before = 0
    required = block.inputs()[: block.required()]
    for item in required if depth < 32 else ():
        source = item.block if isinstance(item, Ref) else None
        if isinstance(item, str) and item.startswith("ind.") and item.split(".")[1] in indicators:
            source = indicators[item.split(".")[1]].block
        if source is not None:
            before = max(before, _warmup(source, indicators, depth + 1) - 1)
    return before + block.warmup()
