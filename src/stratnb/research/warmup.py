"""How many candles a strategy, a block or a function needs until it no longer matters where it began."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stratnb.blocks.base import Block
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.research.lookahead_calls import CallSubject, Given
from stratnb.research.lookahead_plan import PlanSubject, column_names, plan_subject, scanned
from stratnb.research.traces import Floats, Ints, bits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Warmup", "WarmupRow", "warmup"]

CLOSE = 1e-9
STARTS = 3
LEAST = 16


@dataclass(frozen=True, slots=True)
class WarmupRow:
    """One block or column: candles until two starts agree, to the last bit and within 1e-9 (None: not in this range).

    Candles are those of the block's own timeframe; `declared` is None where nothing is declared.
    """

    name: str
    timeframe_ms: int
    declared: int | None
    identical: int | None
    close: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Warmup:
    """The result: one row per block (or per column of a function), the worst of several starts."""

    name: str
    symbol: str
    candles: int
    starts: tuple[int, ...]
    rows: tuple[WarmupRow, ...]

    @property
    def longest(self) -> int | None:
        """Return the most candles until two starts agree within 1e-9, None where one does not in this range."""
        found = [row.close for row in self.rows]
        return None if None in found else max((n for n in found if n is not None), default=0)

    def __repr__(self) -> str:
        """Return the longest warm-up on one line."""
        longest = "more than there are" if self.longest is None else str(self.longest)
        size = f"{self.candles} candles, {len(self.starts)} starts"
        return f"{self.name} on {self.symbol}, {size}: two starts agree within 1e-9 after {longest} candles"

    def _repr_html_(self) -> str:
        """Return one escaped row per block."""
        names = ("block", "declared", "identical after", "within 1e-9 after")
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr><td>{html.escape(row.name)}</td>"
            + "".join(f"<td>{'n/a' if n is None else n}</td>" for n in (row.declared, row.identical, row.close))
            + "</tr>"
            for row in self.rows
        )
        return f"<table><caption>{html.escape(repr(self))}</caption><tr>{head}</tr>{body}</table>"

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per block; a number that was not reached in this range is missing."""
        import pandas as pd

        names = ("name", "timeframe_ms", "declared", "identical", "close")
        frame = pd.DataFrame([[getattr(row, name) for name in names] for row in self.rows], columns=list(names))
        return frame.astype(dict.fromkeys(names[1:], "Int64"))


def warmup(
    candidate: Any,
    candles: Candles,
    *,
    given: Given | None = None,
    market: Market | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 7,
) -> Warmup:
    """Run a strategy, a block or a function of candles from several starts and count until they agree.

    A window agrees when it is full; a recursive indicator, such as an exponential average, only forgets its start:
    its number within 1e-9 is what to feed it before its values are to be trusted, its declared warm-up is when it
    first gives one. `candidate` and options are those of `lookahead`.
    """
    if not isinstance(candles, Candles) or len(candles) < LEAST:
        text = f"a warm-up needs at least {LEAST} candles"
        raise ConfigError("no_candles", text, value=repr(candles)[:80], hint="load some first")
    is_block = isinstance(candidate, type) and issubclass(candidate, Block)
    if callable(candidate) and not is_block and not isinstance(candidate, Mapping):
        subject = CallSubject(candidate, given, market)
        starts = _starts(candles, (candles.timeframe_ms,), seed)
        rows = _of_call(subject, candles, starts)
        return Warmup(subject.name, candles.symbol, len(candles), starts, rows)
    plan = plan_subject(candidate, candles, market=market, overrides=overrides)
    starts = _starts(candles, (plan.plan.primary_ms, *plan.lengths), seed)
    only = candidate if isinstance(candidate, Block) else candidate() if is_block else None
    rows = _of_plan(plan, candles, starts, only)
    name = f"{only.role} {only.kind or type(only).__name__!r}" if only is not None else plan.name
    return Warmup(name, candles.symbol, len(candles), starts, rows)


def _starts(candles: Candles, lengths: Sequence[int], seed: int) -> tuple[int, ...]:
    """Return seeded starts in the first fifth where every timeframe begins, else anywhere in it."""
    n = len(candles)
    early = np.arange(1, max(2, n // 5))
    whole = early[(candles.open_time_ms[early] % max(lengths)) == 0]
    found = whole if len(whole) else early
    chosen = np.random.default_rng(seed).permutation(found)[:STARTS]
    return tuple(int(start) for start in np.sort(chosen))


def _of_plan(
    subject: PlanSubject, candles: Candles, starts: Sequence[int], only: Block | None
) -> tuple[WarmupRow, ...]:
    """Return one row per block of the plan, or only those of one class."""
    plan, rows = subject.plan, candles.table()
    whole = scanned(plan, rows)
    parts = [scanned(plan, rows[start:]) for start in starts]
    names, primary = column_names(plan), plan.primary_ms
    roles = {
        role: int(plan.code[at.H_TIMEFRAMES + k]) for k, role in enumerate(("context", "trend2", "trend", "primary"))
    }
    found = []
    for node in plan.nodes:
        block = node.block
        if (only is not None and block != only) or block.role in ("exit", "sizing"):
            continue
        columns = slice(node.out, node.out + len(block.outputs))
        length = roles.get(node.role, primary) or primary
        ends = [_agreed(whole, part, columns, at.R_TIME) for part in parts]
        counted = [
            tuple(_in_role(n, part, primary, length) for n in pair) for pair, part in zip(ends, parts, strict=True)
        ]
        name = names[node.out].removesuffix(f".{block.outputs[0]}")
        declared = None if node.warmup < 1 else node.warmup
        found.append(
            WarmupRow(name, length, declared, _worst([a for a, _ in counted]), _worst([b for _, b in counted]))
        )
    return tuple(found)


def _agreed(whole: Floats, part: Floats, columns: slice, clock: int) -> tuple[int | None, int | None]:
    """Return after how many rows of the part all later ones are those of the whole: identical, and within 1e-9."""
    same = whole[np.searchsorted(whole[:, clock], part[:, clock])]
    return _after(same[:, columns], part[:, columns])


def _after(a: Floats, b: Floats) -> tuple[int | None, int | None]:
    identical = (bits(np.ascontiguousarray(a)) == bits(np.ascontiguousarray(b))).all(axis=1)
    close = np.isclose(a, b, rtol=CLOSE, atol=0.0, equal_nan=True).all(axis=1)
    return _last(identical), _last(identical | close)


def _last(same: np.ndarray[Any, np.dtype[np.bool_]]) -> int | None:
    """Return how many rows it takes until all later ones are the same, None when the last one differs."""
    differ = np.flatnonzero(~same)
    count = int(differ[-1]) + 2 if len(differ) else 1
    return None if count > len(same) else count


def _in_role(count: int | None, part: Floats, primary: int, length: int) -> int | None:
    """Return rows of the primary timeframe as candles of another one."""
    if count is None or length == primary:
        return count
    elapsed = part[count - 1, at.R_TIME] + primary - part[0, at.R_TIME]
    return max(1, int(elapsed // length))


def _worst(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else max(n for n in counts if n is not None)


def _of_call(subject: CallSubject, candles: Candles, starts: Sequence[int]) -> tuple[WarmupRow, ...]:
    """Return one row per column that a function returns."""
    traces = subject.trace(candles)
    whole = traces.get("value") or traces.get("column")
    if whole is None:
        text = f"{subject.name} returns events, which have no warm-up"
        raise ConfigError("warmup_events", text, value=subject.name, hint="return one value per candle")
    parts = []
    for start in starts:
        made = subject.trace(candles[start:])
        part = made.get("value") or made["column"]
        parts.append((_lined(whole.values, whole.known, part.known + start), part.values))
    found = []
    for k, name in enumerate(whole.columns):
        ends = [_after(a[:, k : k + 1], b[:, k : k + 1]) for a, b in parts]
        label = f"{subject.name} {name}".strip()
        found.append(
            WarmupRow(label, candles.timeframe_ms, None, _worst([x for x, _ in ends]), _worst([y for _, y in ends]))
        )
    return tuple(found)


def _lined(values: Floats, known: Ints, wanted: Ints) -> Floats:
    """Return the rows of the whole at the candles of a part."""
    return values[np.clip(np.searchsorted(known, wanted), 0, len(known) - 1)]
