"""The journal: everything that happened, in one file that survives a crash; one writer, many readers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stratnb.journal.digests import risk_digest, state_digest

if TYPE_CHECKING:
    from stratnb.journal.journal import Journal
    from stratnb.journal.reader import JournalReader

__all__ = ["Journal", "JournalReader", "risk_digest", "state_digest"]

_LATER = {"Journal": "stratnb.journal.journal", "JournalReader": "stratnb.journal.reader"}


def __getattr__(name: str) -> Any:
    """Import what needs the database when it is first asked for: an engine without a journal does not."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
