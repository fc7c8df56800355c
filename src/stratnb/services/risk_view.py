"""The picture of all risk rules: what each measures, its limit, what it did; read from the rows, decided nowhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stratnb.kernels import layout as at
from stratnb.services.measured import (
    LINEAR_FACTOR,
    RULE_NAMES,
    losing_stops,
    measure_rule,
    open_loss,
    orders_since,
    scope_cells,
)
from stratnb.services.positions import Book, PositionManager
from stratnb.services.risk import RiskManager
from stratnb.services.risk_rules import STATES, RuleState, finite, whole
from stratnb.view import MarketRiskView, RiskScopeView, RiskView, RuleView

__all__ = ["RiskPicture"]

Floats = npt.NDArray[np.float64]
Unit = Literal["fraction", "count", "seconds"]
LEAST_S = 0.5
RATE_MS = 10_000.0
SHARED: tuple[tuple[int, Unit, str], ...] = (
    (at.RULE_DAILY, "fraction", ""),
    (at.RULE_DRAWDOWN, "fraction", ""),
    (at.RULE_GUARD, "count", "pause"),
    (at.RULE_LOCK, "fraction", "pause"),
    (at.RULE_TARGET, "fraction", "pause"),
)
OWN: tuple[tuple[int, Unit, str], ...] = (
    (at.RULE_LOSSES, "count", "pause"),
    (at.RULE_LOW, "fraction", "pause"),
    (at.RULE_COOLDOWN, "seconds", "none"),
    (at.RULE_VOLATILITY, "fraction", "pause"),
)
OUTER = (at.RULE_KILL, at.RULE_HALT, at.RULE_REDUCE)


class RiskPicture:
    """Makes the picture at most twice a second, at once when a rule or a limit changed.

    `limits(scope)` gives the limits of a scope that may be changed by hand, by name.
    """

    def __init__(
        self,
        positions: PositionManager,
        risk: RiskManager,
        limits: Callable[[str], Mapping[str, Any]],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._positions = positions
        self._risk = risk
        self._limits = limits
        self._now_s = now_s
        self._made: RiskView | None = None
        self._revision = -1
        self._made_s = 0.0

    def view(self) -> RiskView:
        """Return the newest picture."""
        revision, now_s = self._risk.revision, self._now_s()
        made = self._made
        if made is None or revision != self._revision or now_s - self._made_s >= LEAST_S:
            made = self._made = self._view()
            self._revision, self._made_s = revision, now_s
        return made

    def _view(self) -> RiskView:
        positions = self._positions
        loss, unstopped = open_loss(positions.books)
        return RiskView(
            scopes=(self._account(loss), *(self._strategy(book) for book in positions.all())),
            markets=self._markets(),
            open_risk=loss,
            unstopped=unstopped,
            denials=self._denials(),
        )

    def _account(self, loss: float) -> RiskScopeView:
        books, account, limits = self._positions.books, self._positions.account, self._positions.limits
        now_ms, equity = account[at.A_NOW], account[at.A_EQUITY]
        linear = bool((books[books[:, at.B_USED] != 0.0, at.B_LINEAR] != 0.0).any())
        gross = account[at.A_GROSS_LINEAR if linear else at.A_GROSS_SPOT]
        orders = orders_since(books, now_ms - RATE_MS)
        storm = limits.error_storm.count if limits.error_storm else None
        rules = [
            *self._rules("", account, SHARED),
            self._rule("", "error_storm", "count", "reduce", self._risk.failures(now_ms), storm),
            self._rule("", "feed_loss", "seconds", "reduce", None, limits.feed_loss_s),
            *self._outer("", account),
            self._rule("", "exposure_account", "fraction", "deny", _over(account[at.A_GROSS], equity), gross),
            self._rule("", "risk_open", "fraction", "deny", _over(loss, equity), account[at.A_RISK_OPEN]),
            self._rule("", "max_open_positions", "count", "deny", account[at.A_OPEN], account[at.A_MAX_OPEN]),
            self._rule("", "rate_limit", "count", "deny", orders, account[at.A_RATE_ACCOUNT]),
        ]
        return self._scope("", account, equity, rules)

    def _strategy(self, book: Book) -> RiskScopeView:
        row, key, account = book.row, book.strategy_id, self._positions.account
        now_ms, held = account[at.A_NOW], row[at.B_QUANTITY] != 0.0
        today = row[at.B_TRADE_DAY] == math.floor(now_ms / at.DAY_MS)
        age_s = (now_ms - row[at.B_OPENED_MS]) / 1_000.0 if held else None
        exposure = _over(abs(row[at.B_QUANTITY]) * row[at.B_MARK], row[at.B_EQUITY])
        trades = row[at.B_DAY_TRADES] if today else 0.0
        orders = orders_since(row[None], now_ms - RATE_MS)
        most = row[at.B_MAX_EXPOSURE] * row[at.B_LEVERAGE]
        rules = [
            *self._rules(key, row, (*SHARED, *OWN)),
            self._rule(key, "max_holding", "seconds", "close", age_s, row[at.B_MAX_HOLDING] / 1_000.0),
            *self._outer(key, row),
            self._rule(key, "exposure_strategy", "fraction", "deny", exposure, most),
            self._rule(key, "max_trades_per_day", "count", "deny", trades, book.settings[at.S_MAX_TRADES]),
            self._rule(key, "rate_limit", "count", "deny", orders, account[at.A_RATE_STRATEGY]),
        ]
        return self._scope(key, row, row[at.B_EQUITY], rules)

    def _scope(self, scope: str, row: Floats, equity: float, rules: list[RuleView]) -> RiskScopeView:
        p, k = scope_cells(row)
        cells = row[k:]
        return RiskScopeView(
            scope=scope,
            state=STATES[int(row[p + at.P_STATE])],
            reason=_word(row[p + at.P_REASON]) if row[p + at.P_STATE] else "",
            until_ms=whole(row[p + at.P_UNTIL]) if row[p + at.P_STATE] else None,
            pause=_word(cells[at.K_PAUSE]),
            pause_until_ms=whole(cells[at.K_PAUSE_UNTIL]) if cells[at.K_PAUSE] else None,
            block=_word(cells[at.K_BLOCK]),
            equity=float(equity),
            peak=float(cells[at.K_PEAK]),
            day_start=float(row[p + at.P_DAY_START]),
            rules=tuple(rules),
            limits=self._limits(scope),
        )

    def _rules(self, scope: str, row: Floats, which: tuple[tuple[int, Unit, str], ...]) -> list[RuleView]:
        """Return the protections of a scope, evaluated as the kernels do."""
        found, acting = [], {each.rule: each for each in self._risk.in_force(scope)}
        _, k = scope_cells(row)
        for rule, unit, effect in which:
            value, limit = measure_rule(row, rule)
            name = RULE_NAMES[rule]
            if rule in (at.RULE_DAILY, at.RULE_DRAWDOWN):
                value = max(value, 0.0)
            if rule == at.RULE_GUARD:
                books = row[None] if scope else self._positions.books
                value = losing_stops(books, self._positions.account[at.A_NOW] - row[k + at.K_GUARD_MS])
            if rule == at.RULE_VOLATILITY:
                limit = float(self._positions.account[at.A_MAX_NATR])
            note = ""
            if rule == at.RULE_LOCK and row[k + at.K_LOCK_ARM] > 0.0:
                note = f"acts once the day gained {row[k + at.K_LOCK_ARM]:.2%}"
            word = effect or ("reduce" if scope or rule not in (at.RULE_DAILY, at.RULE_DRAWDOWN) else "halt")
            found.append(self._rule(scope, name, unit, word, value, limit, acting.get(name), note))
        return found

    def _outer(self, scope: str, row: Floats) -> list[RuleView]:
        """Return the rules that only the engine or a person puts in force, while they are."""
        acting = {each.rule: each for each in self._risk.in_force(scope)}
        names = {"error_storm", "feed_loss", *RULE_NAMES[: at.RULE_REDUCE]}
        return [
            self._rule(scope, name, "count", state.effect, None, None, state)
            for name, state in acting.items()
            if name not in names
        ]

    def _rule(
        self,
        scope: str,
        name: str,
        unit: Unit,
        effect: str,
        value: float | None,
        limit: float | None,
        state: RuleState | None = None,
        note: str = "",
    ) -> RuleView:
        acting = state or next((each for each in self._risk.in_force(scope) if each.rule == name), None)
        shown, most = finite(value), finite(limit)
        if name == RULE_NAMES[at.RULE_COOLDOWN] and not most:
            most = None
        return RuleView(
            rule=name,
            unit=unit,
            value=shown,
            limit=most,
            used=None if shown is None or not most or most < 0.0 else max(0.0, shown / most),
            effect=effect,
            in_force=acting is not None,
            until_ms=None if acting is None else acting.until_ms,
            tripped_ms=self._risk.trips.get((scope, name)),
            note=note,
        )

    def _markets(self) -> tuple[MarketRiskView, ...]:
        account, found = self._positions.account, []
        groups: dict[str, list[Book]] = {}
        for book in self._positions.all():
            groups.setdefault(book.symbol, []).append(book)
        for symbol, books in groups.items():
            signed = [_exposed(book.row) for book in books]
            factor = LINEAR_FACTOR if books[0].row[at.B_LINEAR] else 1.0
            found.append(
                MarketRiskView(
                    symbol,
                    float(sum(signed)),
                    float(sum(map(abs, signed))),
                    finite(account[at.A_MARKET_NET] * factor),
                    finite(account[at.A_MARKET_GROSS] * factor),
                    sum(value != 0.0 for value in signed),
                )
            )
        return tuple(found)

    def _denials(self) -> tuple[tuple[str, int, int, int], ...]:
        totals: dict[str, int] = {}
        for counts in list(self._risk.denials.values()):
            for code, count in counts.items():
                totals[code] = totals.get(code, 0) + count
        recent = self._risk.recent.recent(int(self._positions.account[at.A_NOW]))
        return tuple(
            (code, *recent.get(code, (0, 0)), total)
            for code, total in sorted(totals.items(), key=lambda pair: -pair[1])
        )


def _exposed(row: Floats) -> float:
    """Return the signed notional that a book holds, or that its waiting entry would."""
    quantity = row[at.B_QUANTITY]
    if quantity == 0.0 and row[at.B_ORDER] == at.ORDER_ENTRY:
        quantity = row[at.B_ORDER_SIGN] * row[at.B_ORDER_QUANTITY]
    return float(quantity * row[at.B_MARK])


def _over(value: float, base: float) -> float:
    return float(value / base) if base > 0.0 else math.nan


def _word(code: float) -> str:
    return at.DECISION_REASONS[int(code)] if code else ""
