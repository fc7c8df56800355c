"""The table of loaded strategies and the only source of truth for who is active."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

from stratnb.errors import ConfigError, Refused, nearest
from stratnb.multi.records import TRANSITIONS, State, StrategyRecord, SwitchRow, strategy_id
from stratnb.multi.store import Store

__all__ = ["HistoryRow", "Mode", "Registry", "StrategyRecord", "strategy_id"]

Mode = Literal["exclusive", "parallel"]
_SHOWN = 5


class HistoryRow(NamedTuple):
    """One change of the registry."""

    ts_ns: int
    action: str
    strategy_id: str
    detail: str


class Registry:
    """Holds the records in registration order, guards the changes of state and writes them through the store.

    It belongs to the engine's loop. Records are frozen; a change puts a new one in the old one's place.
    """

    def __init__(
        self,
        store: Store,
        now_ns: Callable[[], int],
        *,
        mode: Mode = "exclusive",
        max_strategies: int = 50,
        history_size: int = 1000,
        allowed: Collection[str] = (),
        one_per_symbol: bool = False,
    ) -> None:
        """Take over the stored records; `allowed` names may be registered (empty: all), `history_size` 0 is off."""
        if not 1 <= max_strategies <= 1000:
            raise ConfigError(
                "max_strategies", f"max_strategies is 1 to 1000, not {max_strategies!r}", value=max_strategies
            )
        if history_size < 0:
            raise ConfigError("history_size", f"history_size is 0 or more, not {history_size!r}", value=history_size)
        self._store = store
        self._now_ns = now_ns
        self._mode: Mode = "parallel"
        self._max_strategies = max_strategies
        self._allowed = frozenset(allowed)
        self._one_per_symbol = one_per_symbol
        self._history: deque[HistoryRow] = deque(maxlen=history_size)
        stored = store.records()
        self._records = {record.strategy_id: record for record in stored if record.state != "removed"}
        active = sorted((r for r in self._records.values() if r.state == "active"), key=lambda r: r.activated_ms or 0)
        self._active = dict.fromkeys(record.strategy_id for record in active)
        self.set_mode(mode)

    def __repr__(self) -> str:
        """Return the counts."""
        return f"<Registry {len(self._records)}/{self._max_strategies} active={len(self._active)} mode={self._mode}>"

    @property
    def mode(self) -> Mode:
        """Return whether one instance is active at a time or any number."""
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Change the mode; with several active instances it is Refused("mode_conflict")."""
        if mode not in get_args(Mode):
            hint = f"one of {', '.join(get_args(Mode))}"
            raise ConfigError("enum", f"mode {mode!r} is not known", value=mode, hint=hint)
        if mode == "exclusive" and len(self._active) > 1:
            raise Refused(
                "mode_conflict",
                f"{len(self._active)} strategies are active: {', '.join(self._active)}",
                value=tuple(self._active),
                hint="deactivate all but one first",
            )
        self._mode = mode

    def register(self, record: StrategyRecord) -> StrategyRecord:
        """Store a record as dormant under a unique code and return it as stored.

        Raises Refused: duplicate_strategy, registry_full, name_not_allowed, symbol_conflict.
        """
        key = strategy_id(record.name, record.symbol, record.label)
        if record.strategy_id != key:
            raise ConfigError("strategy_id", f"{record.strategy_id!r} should be {key!r}", value=record.strategy_id)
        self._check_new(record)
        stored = replace(record, state="dormant", activated_ms=None, code=self._code(key))
        self._store.save_record(stored)
        self._records[key] = stored
        self._note("register", key, f"code {stored.code}")
        return stored

    def get(self, strategy_id: str) -> StrategyRecord:
        """Return the record; an unknown id is ConfigError("unknown_strategy") with the nearest one."""
        if not isinstance(strategy_id, str):
            raise ConfigError("type", f"a strategy id is text, not {strategy_id!r}", value=strategy_id)
        record = self._records.get(strategy_id)
        if record is None:
            close = nearest(strategy_id, self._records, limit=1)
            hint = f"did you mean {close[0]!r}?" if close else f"loaded: {', '.join(self._records) or 'none'}"
            message = f"strategy {strategy_id!r} is not loaded"
            raise ConfigError("unknown_strategy", message, value=strategy_id, hint=hint)
        return record

    def has(self, strategy_id: str) -> bool:
        """Return whether the id is loaded."""
        return strategy_id in self._records

    def list(self, state: State | None = None) -> tuple[StrategyRecord, ...]:
        """Return the records in registration order, of one state if given; an unknown state is ConfigError("enum")."""
        states = get_args(State)
        if state is not None and state not in states:
            message, hint = f"state {state!r} is not known", f"one of {', '.join(states)}"
            raise ConfigError("enum", message, value=state, hint=hint)
        return tuple(record for record in self._records.values() if state in (None, record.state))

    def active_ids(self) -> tuple[str, ...]:
        """Return the active ids in the order of activation."""
        return tuple(self._active)

    def set_state(self, strategy_id: str, state: State, *, detail: str = "") -> StrategyRecord:
        """Change one state along a legal transition; anything else is Refused("illegal_transition")."""
        changed = self._changed({strategy_id: state})
        self._store.save_record(changed[0])
        self._take_over(changed, detail)
        return changed[0]

    def commit_switch(self, row: SwitchRow, states: Mapping[str, State]) -> tuple[StrategyRecord, ...]:
        """Change several states and save the switch row in one transaction: all of it happens or nothing."""
        changed = self._changed(states)
        self._store.save_switch(row, changed)
        self._take_over(changed, f"switch {row.seq}")
        return changed

    def update(
        self,
        strategy_id: str,
        *,
        overrides: Mapping[str, Any] | None = None,
        config_hash: str | None = None,
        pinned: bool | None = None,
        flags: Mapping[str, Any] | None = None,
        **fixed: object,
    ) -> StrategyRecord:
        """Change overrides, hash, flags or the user's pin; every other field is ConfigError("immutable_field")."""
        record = self.get(strategy_id)
        if fixed:
            raise ConfigError(
                "immutable_field",
                f"{', '.join(sorted(fixed))} of {strategy_id!r} cannot change",
                value=tuple(sorted(fixed)),
                hint="add another strategy with the wanted values and remove this one",
            )
        given = {"overrides": overrides, "config_hash": config_hash, "pinned": pinned, "flags": flags}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        record = replace(record, **changes)
        self._store.save_record(record)
        self._records[strategy_id] = record
        self._note("update", strategy_id, ", ".join(changes))
        return record

    def unregister(self, strategy_id: str) -> StrategyRecord:
        """Take a dormant or failed record out; any other state is Refused("strategy_in_use")."""
        record = self.get(strategy_id)
        if record.state not in ("dormant", "failed"):
            raise Refused(
                "strategy_in_use",
                f"{strategy_id!r} is {record.state}",
                value=record.state,
                hint="deactivate it and wait until it is flat",
            )
        gone = replace(record, state="removed")
        self._store.save_record(gone)
        del self._records[strategy_id]
        self._note("unregister", strategy_id, f"was {record.state}")
        return gone

    def adopt(self, record: StrategyRecord) -> None:
        """Take over a record that the holder of the journal wrote; nothing is checked or saved."""
        key = record.strategy_id
        self._active.pop(key, None)
        if record.state == "removed":
            self._records.pop(key, None)
            return
        self._records[key] = record
        if record.state == "active":
            self._active[key] = None

    def conflicts(self, strategy_id: str) -> tuple[str, ...]:
        """Return the other ids on the same symbol that are not dormant."""
        symbol = self.get(strategy_id).symbol
        others = (record for record in self._records.values() if record.strategy_id != strategy_id)
        return tuple(other.strategy_id for other in others if other.symbol == symbol and other.state != "dormant")

    def history(self, strategy_id: str | None = None) -> tuple[HistoryRow, ...]:
        """Return the kept rows, newest last, of one id if given (also one that was removed)."""
        return tuple(row for row in self._history if strategy_id in (None, row.strategy_id))

    def stats(self) -> dict[str, int]:
        """Return the counts by state and the capacity; those being prepared are in `total` only."""
        states: list[str] = [record.state for record in self._records.values()]
        counted = ("active", "managing", "suspended", "dormant", "failed")
        counts = {state: states.count(state) for state in counted}
        return {"total": len(states), **counts, "capacity": self._max_strategies}

    def _check_new(self, record: StrategyRecord) -> None:
        """Raise when a record may not be registered."""
        key, name = record.strategy_id, record.name
        if key in self._records:
            hint = "give it another label, or remove the first"
            raise Refused("duplicate_strategy", f"{key!r} is already loaded", value=key, hint=hint)
        if self._allowed and name not in self._allowed:
            hint = f"allowed: {', '.join(sorted(self._allowed))}"
            raise Refused("name_not_allowed", f"strategy {name!r} is not allowed here", value=name, hint=hint)
        rival = next((each.strategy_id for each in self._records.values() if each.symbol == record.symbol), None)
        if self._one_per_symbol and rival is not None:
            message = f"{record.symbol} already belongs to {rival!r}"
            raise Refused("symbol_conflict", message, value=record.symbol, hint="remove it or allow several per symbol")
        if len(self._records) >= self._max_strategies:
            message = f"{len(self._records)} strategies are loaded, the limit"
            hint = "remove one or raise max_strategies"
            raise Refused("registry_full", message, value=self._max_strategies, hint=hint)

    def _changed(self, states: Mapping[str, State]) -> tuple[StrategyRecord, ...]:
        """Return the records as they become, having checked every transition and the mode; nothing is changed."""
        now_ms = self._now_ns() // 1_000_000
        changed = []
        for key, state in states.items():
            record = self.get(key)
            if state == "removed" or state not in TRANSITIONS[record.state]:
                legal = ", ".join(sorted(TRANSITIONS[record.state] - {"removed"}))
                raise self._illegal(
                    key, f"{key!r} is {record.state} and cannot become {state}", f"it can become {legal}"
                )
            activated_ms = now_ms if state == "active" else record.activated_ms
            changed.append(replace(record, state=state, activated_ms=activated_ms))
        active = dict.fromkeys(key for key in self._active if key not in states)
        active.update(dict.fromkeys(key for key, state in states.items() if state == "active"))
        if self._mode == "exclusive" and len(active) > 1:
            *others, last = active
            message = f"{last!r} cannot become active: {others[0]!r} is, and the mode is exclusive"
            raise self._illegal(last, message, "switch instead, or use parallel mode")
        return tuple(changed)

    def _illegal(self, key: str, message: str, hint: str) -> Refused:
        """Return the error of a transition with the record's last history rows as value."""
        return Refused("illegal_transition", message, value=self.history(key)[-_SHOWN:], hint=hint)

    def _take_over(self, changed: tuple[StrategyRecord, ...], detail: str) -> None:
        """Make checked and saved changes the current ones."""
        for record in changed:
            key, before = record.strategy_id, self._records[record.strategy_id].state
            self._records[key] = record
            self._active.pop(key, None)
            if record.state == "active":
                self._active[key] = None
            self._note("state", key, f"{before} -> {record.state}" + (f" ({detail})" if detail else ""))

    def _code(self, key: str) -> str:
        """Return the stored code of an id, else 6 base-32 characters of its hash, salted until nobody else has them."""
        codes = {record.strategy_id: record.code for record in self._store.records()}
        if key in codes:
            return codes[key]
        taken = set(codes.values())
        for salt in itertools.count():
            digest = hashlib.sha256(f"{key}{f'~{salt}' if salt else ''}".encode()).digest()
            code = base64.b32encode(digest)[:6].decode().lower()
            if code not in taken:
                break
        return code

    def _note(self, action: str, key: str, detail: str) -> None:
        """Add a row to the history."""
        self._history.append(HistoryRow(self._now_ns(), action, key, detail))
