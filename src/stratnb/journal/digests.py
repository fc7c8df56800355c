"""Digests that tell a damaged row from a good one: SHA-256, in hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

__all__ = ["risk_digest", "state_digest"]

_HEAD = ("schema", "strategy_id", "config_hash", "code_hash", "taken_ms", "watermark_ms", "candles")


def risk_digest(scope: str, row: bytes) -> str:
    """Return the digest of a risk row: scope ("" for the account), then the cells' bytes."""
    return sha256(scope.encode() + row).hexdigest()


def state_digest(row: Mapping[str, Any]) -> str:
    """Return the digest of a row of `states` or `snapshots`: every column that says what it is, then the memory."""
    head = repr([row[name] for name in _HEAD])
    return sha256(head.encode() + b"\0" + bytes(row["memory"])).hexdigest()
