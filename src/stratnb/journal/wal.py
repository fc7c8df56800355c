"""Damage in the write-ahead log, which SQLite itself would take for the log's end and silently cut off.

Format: https://www.sqlite.org/fileformat2.html section 4. A header of 32 bytes, then frames: 24 bytes (page number,
pages after a commit or 0, two salts, two checksums) and one page. A killed writer leaves a torn or uncommitted end,
which is no damage; a commit of the same generation behind a frame whose checksum is wrong is.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

__all__ = ["lost_commits"]

HEAD, FRAME = 32, 24
MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
ATTEMPTS, PAUSE_S = 3, 0.02
WORD = 0xFFFFFFFF


def lost_commits(database: Path) -> int:
    """Return how many commits of a database's log lie behind a damaged frame, 0 when there is no log.

    A log that is being written meanwhile may look damaged for a moment, so a finding has to come up again.
    """
    log = database.with_name(f"{database.name}-wal")
    found = 0
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)
        found = _commits_behind_damage(log.read_bytes()) if log.exists() else 0
        if not found:
            break
    return found


def _commits_behind_damage(log: bytes) -> int:
    order = MAGIC.get(int.from_bytes(log[:4], "big")) if len(log) >= HEAD else None
    if order is None:
        # Without a valid header nothing tells old frames from new ones, except that a fresh log has no frame at all.
        return 1 if len(log) > HEAD else 0
    size = int.from_bytes(log[8:12], "big")
    salts = log[16:24]
    sums = _add(log[:24], order, (0, 0))
    if sums != struct.unpack(">II", log[24:32]):
        return 1
    places = range(HEAD, len(log) - size - FRAME + 1, size + FRAME)
    for number, place in enumerate(places):
        head = log[place : place + FRAME]
        after = _add(head[:8] + log[place + FRAME : place + FRAME + size], order, sums)
        if head[8:16] != salts or after != struct.unpack(">II", head[16:24]):
            return sum(_is_commit(log, each, size, salts, order) for each in places[number + 1 :])
        sums = after
    return 0


def _is_commit(log: bytes, place: int, size: int, salts: bytes, order: str) -> bool:
    """Tell whether a frame ends a commit of this generation and goes on from the frame before it.

    A commit that was torn by a kill, and then partly written over by the next one, does not.
    """
    head, before = log[place : place + FRAME], log[place - size - FRAME : place - size]
    if head[8:16] != salts or head[4:8] == bytes(4) or before[8:16] != salts:
        return False
    sums = struct.unpack(">II", before[16:24])
    page = log[place + FRAME : place + FRAME + size]
    return _add(head[:8] + page, order, sums) == struct.unpack(">II", head[16:24])


def _add(part: bytes, order: str, sums: tuple[int, ...]) -> tuple[int, int]:
    """Return the running checksums after a part (a multiple of 8 bytes)."""
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(part) // 4}I", part))
    for word in words:
        first = (first + word + second) & WORD
        second = (second + next(words) + first) & WORD
    return first, second
