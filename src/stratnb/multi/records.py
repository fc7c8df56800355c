"""What is known of a loaded strategy and of a switch, and the legal changes of state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from stratnb.errors import ConfigError

__all__ = ["POLICIES", "TRANSITIONS", "Policy", "Removal", "State", "StrategyRecord", "SwitchRow", "strategy_id"]

State = Literal["dormant", "preparing", "active", "managing", "suspended", "failed", "removed"]

Policy = Literal["keep", "adopt", "close", "wait_flat", "refuse"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
Removal = Literal[Policy, "keep_orphan"]

TRANSITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "dormant": frozenset({"preparing", "removed"}),
        "preparing": frozenset({"active", "dormant", "failed"}),
        "active": frozenset({"managing", "dormant", "suspended", "failed"}),
        "managing": frozenset({"dormant", "active", "suspended"}),
        "suspended": frozenset({"active", "managing", "dormant", "failed"}),
        "failed": frozenset({"preparing", "removed"}),
        "removed": frozenset(),
    }
)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """One loaded instance; `code` is its mark in order ids, `overrides` what was changed when it was added.

    `sources` holds the document and the base it was loaded from, `flags` how it was paused or halted.
    """

    strategy_id: str
    code: str
    name: str
    version: str
    symbol: str
    label: str
    state: State
    loaded_ms: int
    activated_ms: int | None = None
    config_hash: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False
    sources: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """One switch and how far it came; `phase` "commit" is the point after which the new instance owns the market."""

    seq: int
    from_id: str | None
    to_id: str
    policy: str
    phase: Literal["noop", "prepare", "drain", "commit", "retire"]
    started_ms: int
    finished_ms: int | None = None
    success: bool | None = None
    error: str = ""


def strategy_id(name: str, symbol: str, label: str = "main") -> str:
    """Return the id of an instance; a malformed part is ConfigError.

    >>> strategy_id("simple-levels", "BTC/USDT")
    'simple-levels@BTC/USDT#main'
    """
    if not all(isinstance(part, str) for part in (name, symbol, label)):
        raise ConfigError("type", f"name, symbol and label are text, not {(name, symbol, label)!r}", value=label)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "name_invalid",
            f"strategy name {name!r} is not allowed",
            value=name,
            hint="lower-case letters, digits and '-', at most 48, starting with a letter or digit",
        )
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            "label_invalid",
            f"label {label!r} is not allowed",
            value=label,
            hint="lower-case letters, digits, '-' and '_', at most 32, starting with a letter or digit",
        )
    if not symbol or any(mark.isspace() or mark in "@#" for mark in symbol):
        raise ConfigError(
            "symbol_invalid", f"symbol {symbol!r} is not allowed", value=symbol, hint="write it like 'BTC/USDT'"
        )
    return f"{name}@{symbol}#{label}"
