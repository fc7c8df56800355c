"""Joining a journal that exists: for those who write a row of their own beside its writer (the lease, commands)."""

from __future__ import annotations

from pathlib import Path

from stratnb.journal.database import Database, writing
from stratnb.journal.reader import JournalReader

__all__ = ["joined"]


def joined(target: str | Path) -> Database:
    """Open a journal for writing that `Journal.open` made and examined; it makes and migrates nothing.

    Raises what `JournalReader.open` raises: `journal_missing`, `journal_schema`, `journal_starting`, `journal_damaged`.
    """
    JournalReader.open(target).close()
    return writing(target)
