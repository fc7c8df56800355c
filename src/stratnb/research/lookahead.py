"""The proof that a strategy, a block or a function of candles never sees a candle before its time.

It is run again on the first k candles, for many k, and on all candles with those from k on made wild; what was known
when k candles were must be equal to the last bit. A causal computation cannot tell the three apart.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stratnb.blocks.base import Block
from stratnb.errors import ConfigError, Refused
from stratnb.kernels.jit import Kernel
from stratnb.market_data.candles import Candles, utc_text
from stratnb.model import Market
from stratnb.research.lookahead_calls import CallSubject, Given
from stratnb.research.lookahead_candle import open_departure, suspects
from stratnb.research.lookahead_outside import blinded, outside
from stratnb.research.lookahead_plan import PlanSubject, plan_subject, with_addresses
from stratnb.research.traces import Departure, Trace, Traces, altered, cut_points, first_departure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Leak", "Lookahead", "lookahead"]

STEPS = 1_600_000
CALLS = 128
LEAST_CUTS = 48
CANDLES_WITHIN = 16
CUTS_BESIDE = 3  # each compiles a bridge to the blinded step
HOW = {
    "repeat": "a second run on the same candles",
    "prefix": "a run that ends there",
    "altered": "a run with other candles from there on",
    "candle": "a run with another high, low, close and volume of that candle",
    "outside": "a run with other values behind it in what the step reads beside its inputs",
}


@dataclass(frozen=True, slots=True)
class Leak:
    """One way in which what was shown at a candle depended on what came later.

    `candle` is its position, `time_ms` its open time, `what` the column, decision, fill or event; `whole` its value in
    the run on all candles, `replayed` in the run that `how` names, which knew the first `cut` candles.
    """

    candle: int
    time_ms: int
    what: str
    whole: float
    replayed: float
    how: str
    cut: int

    @property
    def amount(self) -> float:
        """Return the absolute difference, infinite where only one of the runs has a value."""
        gap = abs(self.replayed - self.whole)
        return math.inf if math.isnan(gap) else gap

    def __str__(self) -> str:
        """Return the leak as a sentence."""
        values = f"{self.whole:.12g} on all candles, {self.replayed:.12g} in {HOW[self.how]}"
        by = "" if math.isinf(self.amount) else f", {self.amount:.3g} apart"
        return f"{self.what} at candle {self.candle} ({utc_text(self.time_ms)} UTC): {values} (candle {self.cut}){by}"


@dataclass(frozen=True, slots=True, repr=False)
class Lookahead:
    """The verdict: `ok` when no replay differed; `leaks` has the first departure of each column or event, by candle.

    `outside` names series that a block reads beside its inputs, one value per candle, which no live run could have;
    they alone make a verdict of not ok. `cuts` is how many points were replayed, of `candles` - 1 possible ones.
    """

    name: str
    symbol: str
    candles: int
    cuts: int
    replays: int
    columns: int
    leaks: tuple[Leak, ...]
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether nothing looked ahead."""
        return not self.leaks and not self.outside

    @property
    def first(self) -> Leak | None:
        """Return the leak at the earliest candle, None without any."""
        return self.leaks[0] if self.leaks else None

    def __bool__(self) -> bool:
        """Return whether nothing looked ahead."""
        return self.ok

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        size = f"{self.candles} candles, {self.cuts} cuts, {self.columns} columns"
        if self.ok:
            return f"{self.name} on {self.symbol}, {size}: no look-ahead"
        why = str(self.first) if self.first else f"reads {', '.join(self.outside)} beside its inputs"
        return f"{self.name} on {self.symbol}, {size}: LOOKS AHEAD: {why}"

    def _repr_html_(self) -> str:
        """Return the verdict and its leaks as a small escaped table."""
        names = ("candle", "time (UTC)", "what", "on all candles", "replayed", "apart", "replayed as")
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(leak))}</tr>" for leak in self.leaks
        )
        more = "".join(f"<li>{html.escape(line)}</li>" for line in (*_told(self.outside), *self.notes))
        table = f"<table><tr>{head}</tr>{body}</table>" if self.leaks else ""
        return f"<p>{html.escape(repr(self))}</p>{table}{f'<ul>{more}</ul>' if more else ''}"

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per leak."""
        import pandas as pd

        names = ("candle", "time", "what", "whole", "replayed", "amount", "how", "cut")
        rows = [(x.candle, x.time_ms, x.what, x.whole, x.replayed, x.amount, x.how, x.cut) for x in self.leaks]
        frame = pd.DataFrame(rows, columns=list(names))
        frame["time"] = pd.to_datetime(frame["time"], unit="ms", utc=True)
        return frame


def lookahead(
    candidate: Any,
    candles: Candles,
    *,
    cuts: int | None = None,
    given: Given | None = None,
    market: Market | None = None,
    overrides: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Lookahead:
    """Prove that a strategy, a block or a function of candles does not look ahead, or say where it does.

    `candidate` is a strategy (name, path, document, configuration), a block (class or instance), or a function that is
    given candles, or their DataFrame (`given` "candles" or "frame"; found out when None), and returns one value per
    candle (array, Series, DataFrame, mapping), fills or trades, a block, or a strategy. `cuts` is the number of points
    to replay: all of them when that is cheap, else a seeded choice; `tolerance` a relative difference that counts as
    none. A number that was computed from all candles beforehand cannot be told from a parameter: give a function that
    builds the block from candles instead. `progress(done, all)` counts cuts; `cancelled()` is asked between them, which
    ends it with `Refused("canceled")`. Raises `ConfigError` for what cannot be run on all the candles.
    """
    _check(candles, cuts)
    subject = _subject(candidate, candles, given=given, market=market, overrides=overrides)
    proof = _Proof(subject, candles, tolerance, np.random.default_rng(seed))
    proof.repeat()
    points = proof.points(cuts)
    for done, cut in enumerate(points):
        if cancelled is not None and cancelled():
            raise Refused("canceled", f"the proof ended after {done} of {len(points)} cuts")
        if progress is not None:
            progress(done, len(points))
        proof.replay(int(cut))
    beside = proof.read_beside(points) if isinstance(subject, PlanSubject) else ()
    if isinstance(subject, CallSubject):
        proof.look_within()
    return proof.verdict(len(points), beside)


class _Proof:
    """The replays of one subject and the leaks found so far, the earliest of each column."""

    def __init__(
        self, subject: PlanSubject | CallSubject, candles: Candles, tolerance: float, rng: np.random.Generator
    ) -> None:
        self.subject, self.candles, self.tolerance, self.rng = subject, candles, tolerance, rng
        self.whole: Traces = subject.trace(candles)
        self.leaks: dict[str, Leak] = {}
        self.replays, self.refused = 0, 0

    def repeat(self) -> None:
        """Run again on the same candles: what differs then is not even repeatable."""
        self._judge(self.subject.trace(self.candles), len(self.candles), "repeat", same_length=True)

    def points(self, wanted: int | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the points to replay."""
        n = len(self.candles)
        if wanted is None:
            affordable = STEPS // (4 * n) if isinstance(self.subject, PlanSubject) else CALLS
            wanted = max(LEAST_CUTS, affordable)
        return cut_points(self.candles, self.whole, self.rng, wanted=wanted, lengths=self.subject.lengths)

    def replay(self, cut: int) -> None:
        """Compare with the run on the first `cut` candles, and with the one on others behind them."""
        for how, candles in (("prefix", self.candles[:cut]), ("altered", altered(self.candles, cut, self.rng))):
            try:
                traces = self.subject.trace(candles)
            except Exception:
                if isinstance(self.subject, PlanSubject):
                    raise
                self.refused += 1  # a function may ask for more candles than these
                continue
            self._judge(traces, cut, how, same_length=how == "altered")

    def read_beside(self, points: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[str, ...]:
        """Return the series that blocks read beside their inputs; where that shows, it is a leak with its candle."""
        assert isinstance(self.subject, PlanSubject)
        plan, n = self.subject.plan, len(self.candles)
        counts = {plan.base_ms: n} | {length: _count(self.candles, length) for length in self.subject.lengths}
        lengths = frozenset(counts.values())
        found = {k: outside(node.block, lengths) for k, node in enumerate(plan.nodes)}
        readers = {k: series for k, series in found.items() if series}
        chosen = points[:: max(1, len(points) // CUTS_BESIDE)]
        for cut in chosen if readers else ():
            keep = {count: _count(self.candles[: int(cut)], length) for length, count in counts.items()}
            steps = {k: blinded(plan.nodes[k].block, lengths, keep) for k in readers}
            parameters = {k: _kept(plan.nodes[k].block, keep) for k in readers}
            self._blind({k: step.address() for k, step in steps.items()}, parameters, int(cut))
            if self.leaks:
                break
        return tuple(
            f"{x.name} ({x.count} values) in {plan.nodes[k].block.role} {plan.nodes[k].block.kind!r}"
            for k, series in readers.items()
            for x in series
        )

    def _blind(self, addresses: Mapping[int, int], parameters: Mapping[int, Any], cut: int) -> None:
        """Run with blinded steps and compare what was known at the cut."""
        assert isinstance(self.subject, PlanSubject)
        other = replace(self.subject, plan=with_addresses(self.subject.plan, addresses, parameters))
        try:
            traces = other.trace(self.candles)
        except Exception:
            return  # the wild values broke the step; that it reads them is told anyway
        self._judge(traces, cut, "outside", same_length=True)

    def look_within(self) -> None:
        """Change single candles behind their open: what is executed at an open may not depend on it."""
        if not {"fill", "entry", "trade"} & self.whole.keys():
            return
        for k in suspects(self.whole, len(self.candles), self.rng, wanted=CANDLES_WITHIN):
            found = open_departure(self.subject.trace, self.candles, int(k))
            self.replays += 4
            if found is not None:
                self._note(found, int(k), "candle")

    def _judge(self, traces: Traces, cut: int, how: str, *, same_length: bool) -> None:
        self.replays += 1
        for name, whole in self.whole.items():
            part = traces.get(
                name, Trace(name, whole.columns, np.empty(0, np.int64), np.empty((0, len(whole.columns))))
            )
            if part.columns != whole.columns and len(part.known) and len(whole.known):
                found: Departure | None = Departure(0, f"columns of {name}", len(whole.columns), len(part.columns))
            else:
                found = first_departure(whole, part, cut, same_length=same_length, tolerance=self.tolerance)
            if found is not None:
                self._note(found, cut, how)

    def _note(self, found: Departure, cut: int, how: str) -> None:
        known = self.leaks.get(found.what)
        if known is None or found.candle < known.candle:
            time_ms = int(self.candles.open_time_ms[found.candle])
            values = (found.what, found.whole, found.part)
            self.leaks[found.what] = Leak(found.candle, time_ms, *values, how, cut)

    def verdict(self, cuts: int, beside: tuple[str, ...]) -> Lookahead:
        """Return what was found."""
        leaks = tuple(sorted(self.leaks.values(), key=lambda leak: (leak.candle, leak.what)))
        notes = []
        if self.refused:
            notes.append(f"{self.refused} of {self.replays + self.refused} replays raised and tell nothing")
        worst = max((leak.amount / max(abs(leak.whole), 1e-300) for leak in leaks), default=0.0)
        if leaks and worst < 1e-9:
            notes.append(f"all differences are below {worst:.1g} of their values: rounding? try tolerance=1e-9")
        columns = sum(len(trace.columns) for trace in self.whole.values())
        who = (self.subject.name, self.candles.symbol, len(self.candles))
        return Lookahead(*who, cuts, self.replays, columns, leaks, beside, tuple(notes))


def _subject(candidate: Any, candles: Candles, *, given: Given | None, **options: Any) -> PlanSubject | CallSubject:
    is_block = isinstance(candidate, type) and issubclass(candidate, Block)
    if callable(candidate) and not is_block and not isinstance(candidate, Mapping | Kernel):
        return CallSubject(candidate, given, options["market"])
    subject = plan_subject(candidate, candles, **options)
    if isinstance(candidate, Block) or is_block:
        block: type[Block] = candidate if isinstance(candidate, type) else type(candidate)
        return replace(subject, label=f"{block.role} {block.kind or block.__name__!r}")
    return subject


def _count(candles: Candles, length: int) -> int:
    """Return how many candles of a timeframe have begun."""
    return len(np.unique(candles.open_time_ms // length))


def _kept(block: Block, keep: Mapping[int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the parameters of a block, wild behind what was known when they are one per candle."""
    values = np.array(block.p())
    if len(values) in keep:
        values[keep[len(values)] :] = values[keep[len(values)] :] * -3.0 - 7.0
    return values


def _cells(leak: Leak) -> tuple[str, ...]:
    apart = "" if math.isinf(leak.amount) else f"{leak.amount:.3g}"
    numbers = (f"{leak.whole:.9g}", f"{leak.replayed:.9g}", apart)
    return str(leak.candle), utc_text(leak.time_ms), leak.what, *numbers, HOW[leak.how]


def _told(outside: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"reads {name} beside its inputs, one value per candle: no live run has it" for name in outside)


def _check(candles: Candles, cuts: object) -> None:
    if not isinstance(candles, Candles):
        hint = "load them with load_candles, one series at a time"
        raise ConfigError(
            "type", f"{type(candles).__name__} is not a series of candles", value=repr(candles)[:80], hint=hint
        )
    if len(candles) < 2:
        raise ConfigError("no_candles", f"{len(candles)} candles cannot be cut", value=len(candles), hint="give more")
    if cuts is not None and (isinstance(cuts, bool) or not isinstance(cuts, int) or cuts < 1):
        raise ConfigError("range", f"cuts {cuts!r} is not a whole number above 0", value=cuts, hint="None chooses")
