"""The model's run over candles in which some of its differences from a recorded run are switched on.

It is the backtest, by the same kernels: between the candles of recorded fills the compiled loop runs; at these the
pending order, its fills and the touched levels are taken one by one, so that a recorded price, fee, quantity, delay,
denial or a person's fill can stand in for the model's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles
from stratnb.model import Fill
from stratnb.parity_explain.recorded import Floats, Recorded
from stratnb.research.looping import FILL_BUFFER, REASON_CELLS
from stratnb.services.ledger import AccountLimits, new_account, open_book
from stratnb.strategy.plan import Plan

__all__ = ["NOISE", "Course", "Run", "Told", "booked", "told_of"]

MANUAL = frozenset({"manual", "kill_switch", "switch_close", "transfer", "adopted_stop"})
PERSONS = frozenset({"paused", "managing", "operator", "kill_switch"})
LATE_MS = 1_000
LONGEST_DELAY = 240
WATCHED = 64  # candles that are run again at most when a fill in them may not be so
NOISE = 1e-9


@dataclass(frozen=True, slots=True)
class Told:
    """Recorded fills of one order or level in one candle as one: sign, quantity, mean price, fee rate, first time."""

    open_ms: int
    sign: float
    quantity: float
    price: float
    rate: float
    time_ms: int
    reason: str
    after: float

    @property
    def key(self) -> tuple[int, float, str]:
        """Return candle, side and reason."""
        return self.open_ms, self.sign, self.reason


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a course: fill rows, their reasons, and the last close that an open position is marked at."""

    fills: Floats
    reasons: tuple[str, ...]
    mark: float
    denials: int = 0


def told_of(fills: Iterable[Fill], step_ms: int) -> list[Told]:
    """Return recorded fills by candle, side and reason, oldest first."""
    groups: dict[tuple[int, float, str], list[Fill]] = defaultdict(list)
    for fill in sorted(fills, key=lambda fill: fill.time_ms):
        sign = 1.0 if fill.side == "buy" else -1.0
        groups[fill.time_ms // step_ms * step_ms, sign, fill.reason].append(fill)
    found = []
    for (open_ms, sign, reason), rows in groups.items():
        quantity = sum(row.quantity for row in rows)
        notional = sum(row.quantity * row.price for row in rows)
        price = rows[0].price if len(rows) == 1 else notional / quantity
        rate = sum(row.fee for row in rows) / notional
        found.append(Told(open_ms, sign, quantity, price, rate, rows[0].time_ms, reason, rows[-1].position_after))
    return found


class Course:
    """One run of a plan in which the causes in `on` are taken from the record."""

    def __init__(
        self,
        plan: Plan,
        candles: Candles,
        told: Iterable[Told],
        record: Recorded,
        *,
        on: frozenset[str],
        cash: float,
        limits: AccountLimits,
        lot: float,
    ) -> None:
        self.plan, self.candles, self.record, self.on, self.lot = plan, candles, record, on, lot
        self.rows, self.memory = candles.rows(), plan.memory()
        self.books, self.account = np.zeros((1, at.W_BOOK)), new_account(cash, limits)
        open_book(self.books[0], plan, cash=cash)
        self.book = self.books[0]
        self.buffer, self.decision = np.empty((at.MAX_FILLS, at.W_FILL)), np.empty(plan.decision_width)
        self.equity, self.counts = np.empty(len(candles)), np.zeros(REASON_CELLS)
        self.fills: list[Floats] = []
        self.reasons: list[str] = []
        self.told: dict[int, list[Told]] = defaultdict(list)
        self.order: list[tuple[int, Told]] = []
        for each in told:
            k = int(np.searchsorted(candles.open_time_ms, each.open_ms, side="right")) - 1
            self.told[max(k, 0)].append(each)
            self.order.append((max(k, 0), each))
        self.places = [place for place, _ in self.order]
        self._waiting: int | None = None

    def run(self) -> Run:
        """Run over all the candles."""
        n, k = len(self.rows), 0
        since = self.record.since_ms
        if since is not None:
            k = self._bulk(0, int(np.searchsorted(self.candles.close_time_ms, since, side="right")), watch=False)
        self.book[at.B_ENTRIES] = at.ENTRIES_ON
        for stop in [*(place for place in sorted(self.told) if place < n), n]:
            while k < stop:
                k = self._step(k) if self._waiting is not None else self._bulk(k, stop, watch=True)
            if stop < n:
                k = self._step(stop)
        rows = np.array(self.fills) if self.fills else np.empty((0, at.W_FILL))
        denials = sum(self.counts[list(at.DENIALS)])
        return Run(rows, tuple(self.reasons), float(self.rows[-1, at.C_CLOSE]) if n else 0.0, int(denials))

    def _bulk(self, start: int, stop: int, *, watch: bool) -> int:
        """Run compiled to `stop`, or to before the first fill that may not be so; return the next candle."""
        watch = watch and bool(self.on & {"latency", "risk denial", "manual action"})
        stop = min(stop, start + WATCHED) if watch else stop
        kept = [x.copy() for x in (self.memory, self.books, self.account, self.counts)] if watch else []
        k, found = start, []
        while k < stop:
            k, rows = self._compiled(k, stop)
            found.append(rows)
            if watch and len(rows):
                break
        rows = np.concatenate(found) if found else np.empty((0, at.W_FILL))
        if watch and len(rows):
            for now, before in zip((self.memory, self.books, self.account, self.counts), kept, strict=True):
                now[:] = before
            first = int(np.searchsorted(self.candles.open_time_ms, int(rows[0, at.F_TIME])))
            if first > start:
                self._compiled(start, first)
            return self._step(first)
        for row in rows:
            self._keep(row)
        return k

    def _compiled(self, start: int, stop: int) -> tuple[int, Floats]:
        fills, none = np.empty((FILL_BUFFER, at.W_FILL)), np.empty((0, self.plan.decision_width))
        k, f, _ = loop.run(
            loop.parts(), self.plan.code, self.plan.params, self.memory, self.books, self.account,
            self.rows, start, stop, self.equity, fills, none, self.counts,
        )  # fmt: skip
        return k, fills[:f].copy()

    def _step(self, k: int) -> int:
        """Take one candle part by part; return the next one."""
        row, told = self.rows[k], list(self.told.get(k, ()))
        if k and row[at.C_TIME] != self.rows[k - 1, at.C_TIME] + self.plan.base_ms:
            self._close(row, late=True)
        persons = [each for each in told if each.reason in MANUAL]
        told = [each for each in told if each.reason not in MANUAL]
        if "manual action" in self.on:
            self._inject([each for each in persons if each.time_ms <= row[at.C_TIME]])
        self._open(k, row, told)
        count = loop.touch_fills(self.plan.params, self.book, row, self.buffer, 0)
        for fill in self.buffer[:count].copy():
            self._apply(self._stands_in(fill, self._match(fill, told), row, at_open=False))
        if "manual action" in self.on:
            self._inject([each for each in persons if each.time_ms > row[at.C_TIME]])
        loop.settle_all(self.books, self.account, row.reshape(1, -1), np.ones(1), row[at.C_TIME] + self.plan.base_ms)
        self._close(row, late=False)
        return k + 1

    def _open(self, k: int, row: Floats, told: list[Told]) -> None:
        """Fill the pending order as the model or the record does, hold it back, or drop it."""
        if self.book[at.B_ORDER] != at.ORDER_NONE:
            sign, reason = self.book[at.B_ORDER_SIGN], self.plan.fill_reason(self.book[at.B_ORDER_REASON])
            match = next((each for each in told if each.sign == sign and each.reason == reason), None)
            if match is None and self._drops():
                self.book[[at.B_ORDER, at.B_RESERVED]] = at.ORDER_NONE
            elif match is None and self._holds(k, sign, reason):
                return
            self._waiting = None
            count = loop.open_fills(self.plan.params, self.book, row, self.buffer, 0)
            for fill in self.buffer[:count].copy():
                self._apply(self._stands_in(fill, match, row, at_open=True))
            told[:] = [each for each in told if each is not match]
        if "partial fill" in self.on:
            self._add([each for each in told if each.reason == "entry"], row)

    def _drops(self) -> bool:
        """Tell whether the record denied the entry that is pending."""
        if self.book[at.B_ORDER] != at.ORDER_ENTRY:
            return False
        decided = int(self.book[at.B_ORDER_MS]) - self.plan.primary_ms
        code = (self.record.denied or {}).get(decided)
        if code in PERSONS:
            return "manual action" in self.on
        unknown = self.record.denied is None and self.record.denials > 0
        return "risk denial" in self.on and (code is not None or unknown)

    def _holds(self, k: int, sign: float, reason: str) -> bool:
        """Tell whether the record filled the pending order later, before anything else happened to the position."""
        if "latency" not in self.on:
            return False
        after = bisect_right(self.places, k)
        if after == len(self.order):
            return False
        place, each = self.order[after]
        if each.sign == sign and each.reason == reason and place - k <= LONGEST_DELAY:
            self._waiting = place
            return True
        return False

    def _match(self, fill: Floats, told: list[Told]) -> Told | None:
        reason = self.plan.fill_reason(fill[at.F_REASON])
        return next((each for each in told if each.sign == fill[at.F_SIGN] and each.reason == reason), None)

    def _stands_in(self, fill: Floats, match: Told | None, row: Floats, *, at_open: bool) -> Floats:
        """Return the fill with what is taken from the record."""
        if match is None:
            return fill
        rate = fill[at.F_FEE] / (fill[at.F_QUANTITY] * fill[at.F_PRICE])
        if self._cause_of_quantity(fill, match) in self.on:
            fill[at.F_QUANTITY] = match.quantity
        if self._cause_of_price(fill, match, row, at_open) in self.on:
            fill[at.F_PRICE] = match.price
        if "fee" in self.on and abs(match.rate - rate) > NOISE * max(abs(rate), NOISE):
            rate = match.rate
        fill[at.F_FEE] = rate * fill[at.F_QUANTITY] * fill[at.F_PRICE]
        return fill

    def _cause_of_quantity(self, fill: Floats, match: Told) -> str:
        """Return what made the quantity another one, "" when it follows from the position."""
        gap = match.quantity - fill[at.F_QUANTITY]
        reduces = self.book[at.B_QUANTITY] * fill[at.F_SIGN] < 0.0
        if abs(gap) <= NOISE * fill[at.F_QUANTITY] or (reduces and match.after == 0.0):
            return ""
        if reduces and match.quantity > abs(self.book[at.B_QUANTITY]):
            return ""
        if abs(gap) <= self.lot * (1.0 + 1e-6):
            return "rounding"
        return "partial fill" if gap < 0.0 else ""

    def _cause_of_price(self, fill: Floats, match: Told, row: Floats, at_open: bool) -> str:
        price, tick = fill[at.F_PRICE], self.plan.params[at.S_TICK]
        if abs(match.price - price) <= 1e-12 * price:
            return ""
        if at_open and match.time_ms - row[at.C_TIME] >= LATE_MS:
            return "latency"
        whole = tick > 0.0 and abs(round(match.price / tick) * tick - match.price) <= 1e-6 * tick
        near = abs(match.price - price) <= tick * (0.5 + 1e-6)
        return "rounding" if whole and near else "slippage"

    def _inject(self, persons: Iterable[Told]) -> None:
        """Apply what persons did, as far as the position allows it."""
        for each in persons:
            held = self.book[at.B_QUANTITY]
            reduces = held * each.sign < 0.0
            if not reduces and (each.after == 0.0 or held != 0.0):
                continue
            quantity = abs(held) if reduces and each.after == 0.0 else each.quantity
            quantity = min(quantity, abs(held)) if reduces else quantity
            self.book[[at.B_ORDER, at.B_RESERVED]] = at.ORDER_NONE
            self._apply(self._fill(each, quantity, each.price, _code(each.reason)))

    def _add(self, rest: Iterable[Told], row: Floats) -> None:
        """Apply the parts of an entry that were filled in later candles."""
        for each in rest:
            if self.book[at.B_QUANTITY] * each.sign > 0.0:
                price = row[at.C_OPEN] * (1.0 + each.sign * self.plan.params[at.S_SLIPPAGE])
                price = each.price if "slippage" in self.on else price
                self._apply(self._fill(each, each.quantity, price, at.REASON_ENTRY))

    def _fill(self, each: Told, quantity: float, price: float, reason: float) -> Floats:
        row = np.zeros(at.W_FILL)
        row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_REASON]] = each.sign, quantity, price, reason
        row[[at.F_TIME, at.F_FEE]] = each.time_ms, each.rate * quantity * price
        return row

    def _apply(self, fill: Floats) -> None:
        if fill[at.F_QUANTITY] <= 0.0:
            return
        entered = self.book[at.B_QUANTITY] == 0.0
        loop.apply(self.book, fill)
        self._keep(fill)
        if entered:
            loop.arm_position(self.plan.code, self.plan.params, self.memory, self.book)

    def _keep(self, fill: Floats) -> None:
        self.fills.append(fill.copy())
        self.reasons.append(self.plan.fill_reason(fill[at.F_REASON]))

    def _close(self, row: Floats, *, late: bool) -> None:
        tables = (self.books, 0, self.account)
        if loop.close_candle(self.plan.code, self.plan.params, self.memory, *tables, row, late, self.decision):
            self.counts[int(self.decision[at.D_REASON])] += 1.0


def _code(reason: str) -> float:
    codes: Mapping[str, Any] = {
        "kill_switch": at.REASON_KILL,
        "switch_close": at.REASON_SWITCH,
        "transfer": at.REASON_TRANSFER,
        "adopted_stop": at.REASON_ADOPTED,
    }
    return float(codes.get(reason, at.REASON_MANUAL))


def booked(fills: Iterable[Fill], mark: float) -> Run:
    """Return recorded fills as a run: their ledger is kept anew by the kernel that keeps all ledgers."""
    book, rows, reasons = np.zeros(at.W_BOOK), [], []
    for fill in sorted(fills, key=lambda fill: fill.time_ms):
        row = np.zeros(at.W_FILL)
        row[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]] = (1.0 if fill.side == "buy" else -1.0), fill.quantity, fill.price
        row[[at.F_FEE, at.F_TIME, at.F_REASON]] = fill.fee, fill.time_ms, at.REASON_MANUAL
        loop.apply(book, row)
        if abs(row[at.F_AFTER]) <= NOISE * fill.quantity:
            book[at.B_QUANTITY] = row[at.F_AFTER] = 0.0
        rows.append(row)
        reasons.append(fill.reason)
    return Run(np.array(rows) if rows else np.empty((0, at.W_FILL)), tuple(reasons), mark)
