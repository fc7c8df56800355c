"""The risk manager: feeds the risk kernels, takes what only the engine sees, and publishes what was decided."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stratnb.errors import ConfigError, Refused, nearest
from stratnb.events import Event, EventBus
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.kernels.multipliers import position_health
from stratnb.kernels.rules import release_rules, trip_external
from stratnb.services.denials import DenialCounts
from stratnb.services.ledger import AccountLimits, limit_account
from stratnb.services.measured import measure_denial, scope_cells
from stratnb.services.positions import Book, PositionManager
from stratnb.services.risk_rules import (
    BLOCKS,
    CODES,
    OUTER,
    STATES,
    Health,
    RiskState,
    RuleState,
    finite,
    rule_state,
    whole,
)

__all__ = ["RiskManager", "RiskState", "RuleState"]

Floats = npt.NDArray[np.float64]


class RiskManager:
    """Evaluates the protections at each instant and remembers why something was refused.

    The rules themselves are kernels; this service never decides a second time. A scope is "" for the account or the
    id of a strategy. `trips` holds when a rule of a scope last fired (feed's clock), `revision` grows with every change
    but those of the figures. `stirred` is set while a state that was changed from outside has not canceled entries yet.
    """

    def __init__(self, positions: PositionManager, events: EventBus) -> None:
        self._positions = positions
        self._events = events
        self._seen = np.zeros((1 + len(positions.books), at.RULES))
        self._any = False
        self._failures: deque[float] = deque(maxlen=1_000)
        self.denials: dict[str, dict[str, int]] = {}
        self.recent = DenialCounts()
        self.trips: dict[tuple[str, str], int] = {}
        self.revision = 0
        self.stirred = False
        self._standing: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return the account's state."""
        return f"<RiskManager {self.state}>"

    @property
    def state(self) -> RiskState:
        """Return the account's risk state."""
        return STATES[int(self._positions.account[at.A_STATE])]

    @property
    def reason(self) -> str:
        """Return why the account is not ACTIVE, in the code of the rule."""
        code = int(self._positions.account[at.A_STATE_REASON])
        return at.DECISION_REASONS[code] if code else ""

    def state_of(self, strategy_id: str) -> RiskState:
        """Return the effective state of a strategy: the stricter of its own and the account's."""
        own = self._row(strategy_id)[at.B_STATE]
        return STATES[int(max(own, self._positions.account[at.A_STATE]))]

    def in_force(self, scope: str = "") -> tuple[RuleState, ...]:
        """Return the rules in force on the account or a strategy, cooldown included."""
        row = self._row(scope)
        _, k = scope_cells(row)
        ends = row[k + at.K_RULES : k + at.K_RULES + at.RULES]
        return tuple(self._rule_state(row, int(rule)) for rule in np.flatnonzero(ends))

    def position_health(
        self, strategy_id: str, *, depth: float = math.nan, natr: float = math.nan, mean_natr: float = math.nan
    ) -> tuple[float, Health] | None:
        """Return score and word of a strategy's position, None when it is flat; a part that is NaN is left out."""
        book, now_ms = self._row(strategy_id), self._positions.account[at.A_NOW]
        score = float(position_health(book, now_ms, depth, natr, mean_natr))
        if math.isnan(score):
            return None
        return score, "SAFE" if score >= 0.7 else "WARNING" if score >= 0.3 else "CRITICAL"

    def settle(self, candles: Floats, fresh: Floats, now_ms: float) -> int:
        """Mark the books to an instant and evaluate the protections; return the kernel's bits."""
        positions = self._positions
        fired = int(loop.settle_all(positions.books, positions.account, candles, fresh, now_ms))
        if fired or self._any:
            self.publish_changes()
        return fired

    def kill(self, author: str) -> None:
        """Latch the account as HALTED until `release`."""
        account = self._positions.account
        if account[at.A_RISK + at.K_RULES + at.RULE_KILL] == math.inf:
            return
        trip_external(account, at.RULE_KILL, CODES["kill_switch"], math.inf, account[at.A_NOW])
        self.stirred = True
        self.publish_changes(author)

    def trip(
        self, rule: str, scope: str = "", *, until_ms: float = math.inf, author: str = "engine", reason: str = ""
    ) -> None:
        """Put a rule in force that only the engine sees, or a person; without `until_ms` it is latched.

        REDUCING: `error_storm`, `feed_loss`, `unprotected`, `order_unresolved`, `operator`, `reducing`. HALTED:
        `ledger_mismatch`, `risk_row_damaged`, `halted`. Of a scope's outer rules with one effect the last is named.
        """
        if rule not in OUTER:
            close = nearest(rule, OUTER)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"rules: {', '.join(OUTER)}"
            raise ConfigError("unknown_rule", f"rule {rule!r} is not one that the engine trips", value=rule, hint=hint)
        trip_external(self._row(scope), OUTER[rule], CODES[rule], float(until_ms), self._positions.account[at.A_NOW])
        self.stirred = True
        self.publish_changes(author, reason)

    def reduce(self, scope: str, author: str, reason: str) -> bool:
        """Let a scope only reduce until `activate`; return False when an outer rule does that already."""
        row = self._row(scope)
        if row[scope_cells(row)[1] + at.K_RULES + at.RULE_REDUCE] != 0.0:
            return False
        self.trip("operator", scope, author=author, reason=reason)
        return True

    def activate(self, scope: str, author: str, reason: str) -> bool:
        """End what `reduce` did; return False when nothing did.

        Other rules are ended by `release` only: while one keeps the scope from being ACTIVE it is `Refused`
        (`risk_in_force`).
        """
        row = self._row(scope)
        p, k = scope_cells(row)
        cell, code = k + at.K_RULES + at.RULE_REDUCE, row[k + at.K_OUTER_REDUCE]
        ours = row[cell] != 0.0 and code == CODES["operator"]
        others = [each.rule for each in self.in_force(scope) if each.effect in ("reduce", "halt")]
        others = [rule for rule in others if not (ours and rule == "operator")]
        if others:
            raise Refused(
                "risk_in_force",
                f"{', '.join(others)} keeps {scope or 'the account'} {STATES[int(row[p + at.P_STATE])]}",
                value=others,
                hint="end it with release(author, reason, scope)",
            )
        if not ours:
            return False
        row[cell] = 0.0
        trip_external(row, at.RULE_REDUCE, 0.0, 0.0, self._positions.account[at.A_NOW])
        self._publish(scope, "RISK_RELEASED", {"author": author, "reason": reason, "rules": ["operator"]})
        self.publish_changes(author)
        return True

    def limit(self, limits: AccountLimits) -> None:
        """Take other limits of the account; state, peak and day stay."""
        self._positions.limits = limits
        limit_account(self._positions.account, limits)
        self.revision += 1

    def tell_limits(self, scope: str, author: str, changes: Mapping[str, Any], loosened: Iterable[str]) -> None:
        """Announce limits that a person changed."""
        self.revision += 1
        told = {"author": author, "limits": dict(changes), "loosened": list(loosened)}
        self._publish(scope, "RISK_STATE", {"state": STATES[int(self._state(scope))], **told})

    def block(self, code: str | None, scope: str = "") -> None:
        """Deny entries of a scope with a code that only the engine can know (one of `BLOCKS`); None lifts it."""
        if code is not None and code not in BLOCKS:
            raise ConfigError("enum", f"{code!r} cannot block entries", value=code, hint=f"use {', '.join(BLOCKS)}")
        row, code = self._row(scope), self._standing.get(scope, code)
        row[scope_cells(row)[1] + at.K_BLOCK] = 0.0 if code is None else CODES[code]
        self.revision += 1

    def stand(self, scope: str, code: str) -> None:
        """Deny entries of a scope with a code that stays until the scope is forgotten, whatever comes and goes."""
        self._standing[scope] = code
        self.block(code, scope)

    def failures(self, now_ms: float) -> int:
        """Return how many order calls failed within the window of the error storm."""
        storm = self._positions.limits.error_storm
        return 0 if storm is None else sum(time > now_ms - storm.window_s * 1_000 for time in self._failures)

    def order_failed(self, now_ms: float) -> None:
        """Count a failed order call; too many within the window reduce the account for a while."""
        storm = self._positions.limits.error_storm
        self._failures.append(now_ms)
        if storm and self.failures(now_ms) >= storm.count:
            self.trip("error_storm", until_ms=now_ms + storm.pause_s * 1_000)

    def feed_silent(self, silent_s: float) -> None:
        """Take how long all price sources of an open position are silent; 0 when they are heard."""
        limit, account = self._positions.limits.feed_loss_s, self._positions.account
        lost, cell = limit is not None and silent_s > limit, at.A_RISK + at.K_RULES + at.RULE_FEED
        if lost != (account[cell] != 0.0):
            account[cell] = 0.0
            trip_external(account, at.RULE_FEED, 0.0, math.inf if lost else 0.0, account[at.A_NOW])
            self.stirred = True
            self.publish_changes("engine")

    def count_order(self, strategy_id: str, time_ms: float) -> None:
        """Count an order that no kernel saw: a cancel, a stop that was moved at the exchange."""
        loop.count_sent(self._row(strategy_id), time_ms)

    def release(self, author: str, reason: str, *, scope: str = "", reset_peak: bool = False) -> tuple[str, ...]:
        """Set the account or a strategy back to ACTIVE, its day starting anew; return the rules that were in force.

        With a peak that is kept the drawdown rule fires again while the drawdown lasts. Who and why are announced.
        """
        row = self._row(scope)
        ended = tuple(each.rule for each in self.in_force(scope))
        release_rules(row, reset_peak)
        self.revision += 1
        told = {"author": author, "reason": reason, "rules": list(ended), "reset_peak": reset_peak}
        self._publish(scope, "RISK_RELEASED", told)
        self.publish_changes(author)
        return ended

    def deny(self, book: Book, decision: Floats, code: str, correlation: str) -> None:
        """Count a refused entry and publish it with the measured value and its limit.

        An entry that a person's pause holds back is no denial.
        """
        rule = decision[at.D_RULE]
        if code == "paused" and not math.isfinite(rule):
            return
        positions = self._positions
        value, limit = measure_denial(positions.books, book.row, positions.account, book.settings, decision, code)
        why: dict[str, object] = {}
        if math.isfinite(rule) and rule:
            why = {"rule": at.DECISION_REASONS[int(rule)], "until_ms": whole(decision[at.D_UNTIL])}
        self.refuse(book, code, value, limit, correlation, why)

    def refuse(
        self,
        book: Book,
        code: str,
        value: float,
        limit: float,
        correlation: str,
        why: Mapping[str, object] | None = None,
    ) -> None:
        """Count a refused order and publish it with the measured value and its limit."""
        counts = self.denials.setdefault(book.strategy_id, {})
        counts[code] = counts.get(code, 0) + 1
        self.recent.add(code, int(self._positions.account[at.A_NOW]))
        self.revision += 1
        payload = {"code": code, "value": finite(value), "limit": finite(limit), **(why or {})}
        book.events.publish("RISK_DENIED", correlation_id=correlation or None, source="risk", payload=payload)

    def forget(self, strategy_id: str) -> None:
        """Drop what is remembered of a removed strategy."""
        self.denials.pop(strategy_id, None)
        self._standing.pop(strategy_id, None)
        self.trips = {key: time_ms for key, time_ms in self.trips.items() if key[0] != strategy_id}
        self.revision += 1

    def restored(self, events: Iterable[Event] = ()) -> None:
        """Take the rules in the rows as told: they were restored, not fired.

        `events` of an earlier run, oldest first, say when rules fired and what was denied.
        """
        self._seen = self._ends()
        self._any = bool(self._seen.any())
        for event in events:
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Take when a rule fired, or an entry was denied, from an event that another engine published."""
        time_ms, payload = event.ts_ns // 1_000_000, event.payload
        if event.type == "RISK_DENIED":
            self.recent.add(str(payload.get("code")), time_ms)
        elif event.type == "RISK_STATE" and payload.get("effect"):
            self.trips[event.strategy_id or "", str(payload.get("rule"))] = time_ms

    def publish_changes(self, author: str = "", reason: str = "") -> None:
        """Publish the rules that fired and the states that ended since the last call."""
        ends, seen = self._ends(), self._seen
        if np.array_equal(ends, seen):
            return
        self._seen, self._any = ends, bool(ends.any())
        self.revision += 1
        if not np.array_equal(ends[0], seen[0]):
            self._publish_scope("", self._positions.account, seen[0], author, reason)
        for book in self._positions.all():
            if not np.array_equal(ends[1 + book.slot], seen[1 + book.slot]):
                self._publish_scope(book.strategy_id, book.row, seen[1 + book.slot], author, reason)

    def _publish_scope(self, scope: str, row: Floats, seen: Floats, author: str, reason: str) -> None:
        p, k = scope_cells(row)
        ends = row[k + at.K_RULES : k + at.K_RULES + at.RULES]
        told = [rule for rule in range(at.RULES) if rule != at.RULE_COOLDOWN]
        state: dict[str, object] = {"state": STATES[int(row[p + at.P_STATE])]}
        fired = [rule for rule in told if ends[rule] > seen[rule]]
        for rule in fired:
            rules = self._rule_state(row, rule)
            figures: dict[str, object] = {"rule": rules.rule, "value": rules.value, "limit": rules.limit}
            self.trips[scope, rules.rule] = int(self._positions.account[at.A_NOW])
            if rules.until_ms is None:
                why = {"reason": reason} if reason else {}
                self._publish(scope, "RISK_LATCHED", {**figures, "author": author or "engine", **why})
            self._publish(scope, "RISK_STATE", {**state, **figures, "effect": rules.effect, "until_ms": rules.until_ms})
        if not fired and any(ends[rule] < seen[rule] for rule in told):
            code = int(row[p + at.P_REASON])
            self._publish(scope, "RISK_STATE", {**state, "rule": at.DECISION_REASONS[code] if code else ""})

    def _publish(self, scope: str, kind: str, payload: dict[str, object]) -> None:
        bus = self._positions.book(scope).events if scope else self._events
        bus.publish(kind, source="risk", payload=payload)

    def _rule_state(self, row: Floats, rule: int) -> RuleState:
        return rule_state(row, rule, self._positions.account)

    def _ends(self) -> Floats:
        """Return when each rule ends: the account's in the first row, then slot by slot."""
        positions, a, b = self._positions, at.A_RISK + at.K_RULES, at.B_RISK + at.K_RULES
        return np.vstack((positions.account[a : a + at.RULES], positions.books[:, b : b + at.RULES]))

    def _state(self, scope: str) -> float:
        row = self._row(scope)
        return float(row[scope_cells(row)[0] + at.P_STATE])

    def _row(self, scope: str) -> Floats:
        return self._positions.book(scope).row if scope else self._positions.account
