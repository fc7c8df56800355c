"""Reading a desk from another thread: candles, block columns, decisions, fills, curves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.model import Fill
from stratnb.multi.desk import Desk
from stratnb.multi.explain import reason_text
from stratnb.multi.explain_inputs import label
from stratnb.multi.inspector import Inspector
from stratnb.multi.revision import preview
from stratnb.strategy.plan import Plan
from stratnb.view import ConfigView, DecisionView, Preview, WhatIfView

__all__ = ["Reader", "Reading"]

Floats = npt.NDArray[np.float64]
TAPS_KEPT = 12
LINE_KINDS = frozenset({"sma", "ema", "wma", "rma", "bollinger", "donchian"})
OSCILLATORS = frozenset({"percent_b", "width"})
DECIDED = [at.D_TIME, at.D_ACTION, at.D_DIRECTION, at.D_REASON, at.D_SCORE, at.D_STOP]


class _Tap:
    """Columns of a plan over the history, stepped on as candles arrive, apart from the orchestrator that trades."""

    def __init__(self, plan: Plan, columns: Sequence[int]) -> None:
        self.plan = plan
        self.columns = np.array([at.R_TIME, *columns], np.int64)
        self.memory = plan.memory()
        self.seen = 0
        self.rows = np.empty((256, len(self.columns)))
        self.count = 0
        self._books, self._account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
        self._books[0, at.B_EQUITY] = self._books[0, at.B_LEVERAGE] = 1.0
        self._none = np.empty((0, plan.decision_width))

    def advance(self, candles: Floats) -> None:
        """Step through the candles after those already seen."""
        fresh = len(candles) - self.seen
        if fresh <= 0:
            return
        out = np.empty((2 * fresh, len(self.columns)))
        made = loop.scan(
            loop.parts(), self.plan.code, self.plan.params, self.memory, self._books, self._account,
            candles, self.seen, len(candles), self.columns, out, self._none,
        )  # fmt: skip
        self.seen = len(candles)
        while self.count + made > len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
        self.rows[self.count : self.count + made] = out[:made]
        self.count += made


class Reader:
    """The reading half of a `Board` over a desk; safe from any thread, never blocks the engine."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._inspector = Inspector(desk)
        self._taps: OrderedDict[tuple[str, ...], _Tap] = OrderedDict()
        self._lock = Lock()

    def document(self, strategy_id: str) -> dict[str, Any]:
        """Return the whole document of a loaded strategy, merged with its overrides."""
        return self._desk.lane(strategy_id).context.config.to_document()

    def configuration(self, strategy_id: str) -> ConfigView:
        """Return the running configuration of a strategy with its sources and versions."""
        loaded = self._desk.lane(strategy_id).context.loaded
        versions = self._desk.store.versions(strategy_id)
        number = versions[-1].number if versions else 1
        return ConfigView(strategy_id, number, loaded.config.to_document(), dict(loaded.provenance), versions)

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch (paths to values, None removes) would do; it changes nothing."""
        return preview(self._desk, strategy_id, patch)

    def candles(self, symbol: str, timeframe: str, *, last: int = 2000, before_ms: int | None = None) -> Floats:
        """Return up to `last` closed candles as rows (open, high, low, close, volume, open_time_ms), oldest first."""
        return self._desk.services.timeframes.frames(symbol, timeframe, last, before_ms)

    def lines(self, strategy_id: str) -> tuple[tuple[str, str], ...]:
        """Return the drawable columns of a strategy on the price axis, as (column, label)."""
        plan = self._desk.lane(strategy_id).context.plan
        found: dict[str, str] = {}
        for node in plan.nodes:
            block = node.block
            drawn = block.role == "indicator" and block.kind in LINE_KINDS and node.role == "primary"
            if drawn and getattr(block, "on", ("close",)) == ("close",):
                for k, output in enumerate(block.outputs):
                    if output not in OSCILLATORS:
                        found[f"#{node.out + k}"] = label(block, output)
        for entry, node in plan.analyzers:
            if "levels" in node.block.overlays:
                found |= {f"an.{entry.name}.{side}": side.capitalize() for side in ("support", "resistance")}
        return tuple(found.items())

    def columns(
        self, strategy_id: str, names: Sequence[str], *, last: int = 2000, before_ms: int | None = None
    ) -> Floats:
        """Return rows of primary candles: open_time_ms, then the named columns (NaN while warming up)."""
        context = self._desk.lane(strategy_id).context
        plan, rows = context.plan, self._desk.services.candles.rows(context.symbol)
        with self._lock:
            key = (strategy_id, plan.config.config_hash, plan.code_hash, *names)
            if key not in self._taps:
                numbers = [int(name[1:]) if name.startswith("#") else plan.column(name) for name in names]
                self._taps[key] = _Tap(plan, numbers)
            tap = self._taps[key]
            self._taps.move_to_end(key)
            while len(self._taps) > TAPS_KEPT:
                self._taps.popitem(last=False)
            tap.advance(rows)
            end = tap.count if before_ms is None else int(np.searchsorted(tap.rows[: tap.count, 0], before_ms))
            return tap.rows[max(0, end - last) : end].copy()

    def decisions(self, strategy_id: str, *, last: int | None = None) -> Floats:
        """Return the kept decisions (the newest `last`), oldest first, shape (n, 7).

        Columns: open_time_ms, action code, direction, reason code, score, stop (NaN without one), 1 if in catch-up.
        """
        self._desk.lane(strategy_id)
        rows = self._desk.store.decisions(strategy_id).rows(last)
        if rows.shape[1] < at.W_DECISION:
            return np.empty((0, len(DECIDED) + 1))
        late = rows[:, at.D_FLAGS].astype(np.int64) & int(at.FLAG_CATCHUP)
        return np.column_stack([rows[:, DECIDED], late > 0])

    def reasons(self, strategy_id: str) -> dict[int, tuple[str, str]]:
        """Return the word and the sentence of every reason code that a strategy's decisions may carry."""
        plan = self._desk.lane(strategy_id).context.plan
        codes = [*range(len(at.DECISION_REASONS)), *(at.Z_FILTER + k for k in range(len(plan.filters)))]
        return {code: (plan.reason(code), reason_text(plan.reason(code))) for code in codes}

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> DecisionView | None:
        """Return one decision explained, the newest by default, or None when nothing was decided there."""
        return self._inspector.decision(strategy_id, open_time_ms)

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return in a sentence why there is no decision at a candle, or none at all."""
        return self._inspector.undecided(strategy_id, open_time_ms)

    def what_if(
        self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None
    ) -> WhatIfView | None:
        """Return the kept decisions judged again with changes (document paths to values); None without decisions."""
        return self._inspector.what_if(strategy_id, changes, open_time_ms)

    def fills(self, strategy_id: str | None = None) -> Sequence[Fill]:
        """Return the kept fills of one strategy or of all, oldest first."""
        if strategy_id is not None:
            return self._desk.lane(strategy_id).context.book.fills()
        every = [fill for lane in self._desk.lanes() for fill in lane.context.book.fills()]
        return sorted(every, key=lambda fill: fill.time_ms)

    def equity(self, strategy_id: str | None = None) -> Floats:
        """Return rows (time_ms, equity) of a strategy or of the account, thinned to about 5,000.

        The first row is what there was at the open of the first candle, the others are at closes.
        """
        positions = self._desk.services.positions
        book = None if strategy_id is None else self._desk.lane(strategy_id).context.book
        rows = (positions.curve if book is None else book.curve).rows(5_000)
        start = positions.cash if book is None else float(book.row[at.B_CAPITAL])
        first = [(rows[0, 0] - self._desk.services.candles.step_ms, start)] if len(rows) else []
        return np.vstack([np.reshape(first, (-1, 2)), rows])


class Reading:
    """Forwards the reading half of a `Board` to the present reader, which changes with the feed."""

    def __init__(self, reader: Callable[[], Reader]) -> None:
        self._reader = reader

    def document(self, strategy_id: str) -> dict[str, Any]:
        """Return the whole document of a loaded strategy, merged with its overrides."""
        return self._reader().document(strategy_id)

    def configuration(self, strategy_id: str) -> ConfigView:
        """Return the running configuration of a strategy with its sources and versions."""
        return self._reader().configuration(strategy_id)

    def preview(self, strategy_id: str, patch: Mapping[str, Any]) -> Preview:
        """Return what a patch (paths to values, None removes) would do; it changes nothing."""
        return self._reader().preview(strategy_id, patch)

    def candles(self, symbol: str, timeframe: str, *, last: int = 2000, before_ms: int | None = None) -> Floats:
        """Return up to `last` closed candles as rows (open, high, low, close, volume, open_time_ms), oldest first."""
        return self._reader().candles(symbol, timeframe, last=last, before_ms=before_ms)

    def lines(self, strategy_id: str) -> tuple[tuple[str, str], ...]:
        """Return the drawable columns of a strategy on the price axis, as (column, label)."""
        return self._reader().lines(strategy_id)

    def columns(
        self, strategy_id: str, names: Sequence[str], *, last: int = 2000, before_ms: int | None = None
    ) -> Floats:
        """Return rows of primary candles: open_time_ms, then the named columns (NaN while warming up)."""
        return self._reader().columns(strategy_id, names, last=last, before_ms=before_ms)

    def decisions(self, strategy_id: str, *, last: int | None = None) -> Floats:
        """Return the kept decisions (the newest `last`), oldest first, shape (n, 7).

        Columns: open_time_ms, action code, direction, reason code, score, stop (NaN without one), 1 if in catch-up.
        """
        return self._reader().decisions(strategy_id, last=last)

    def reasons(self, strategy_id: str) -> dict[int, tuple[str, str]]:
        """Return the word and the sentence of every reason code that a strategy's decisions may carry."""
        return self._reader().reasons(strategy_id)

    def decision(self, strategy_id: str, open_time_ms: int | None = None) -> DecisionView | None:
        """Return one decision explained, the newest by default, or None when nothing was decided there."""
        return self._reader().decision(strategy_id, open_time_ms)

    def undecided(self, strategy_id: str, open_time_ms: int | None = None) -> str:
        """Return in a sentence why there is no decision at a candle, or none at all."""
        return self._reader().undecided(strategy_id, open_time_ms)

    def what_if(
        self, strategy_id: str, changes: Mapping[str, Any], open_time_ms: int | None = None
    ) -> WhatIfView | None:
        """Return the kept decisions judged again with changes (document paths to values); None without decisions."""
        return self._reader().what_if(strategy_id, changes, open_time_ms)

    def fills(self, strategy_id: str | None = None) -> Sequence[Fill]:
        """Return the kept fills of one strategy or of all, oldest first."""
        return self._reader().fills(strategy_id)

    def equity(self, strategy_id: str | None = None) -> Floats:
        """Return rows (time_ms, equity) of a strategy or of the account, thinned to at most 5,000."""
        return self._reader().equity(strategy_id)
