"""How far a journal had come, kept in a small file beside it: a journal that went back to an older place is noticed.

SQLite takes a write-ahead log that was cut off for one that ends there, and an older copy for the journal itself. The
file holds the journal-wide number of the newest commit that was waited for; it is written after that commit, so it is
never ahead of a journal that lost nothing.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Mark"]

WIDTH = 20
log = logging.getLogger(__name__)


class Mark:
    """The file beside a journal; only the journal's writer writes it."""

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(f"{journal.name}-mark")
        self._file: int | None = None
        self._warned = False

    def __repr__(self) -> str:
        """Return where it is."""
        return f"Mark({str(self.path)!r})"

    def read(self) -> int:
        """Return the number, 0 when there is none."""
        try:
            return int(self.path.read_bytes())
        except (OSError, ValueError):
            return 0

    def write(self, number: int) -> None:
        """Put a number in place of the last one; a file that cannot be written is told of once and else ignored."""
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            os.pwrite(self._file, str(number).zfill(WIDTH).encode("ascii"), 0)
        except OSError as error:
            if not self._warned:
                log.warning("%s cannot be written: %s", self.path, error)
            self._warned = True

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)
