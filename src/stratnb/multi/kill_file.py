"""The file `KILL` in the workspace: the kill switch for who has nothing but a shell."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from stratnb.multi.clock import Clock

__all__ = ["KillFile"]

EVERY_S = 1.0
log = logging.getLogger(__name__)


class KillFile:
    """Looks for the file every second; when it is there all is killed and closed, then it is renamed `KILL.done`."""

    def __init__(self, folder: Path, kill: Callable[[], Awaitable[Any]], clock: Clock) -> None:
        self.path = folder / "KILL"
        self._kill = kill
        self._clock = clock
        self._told = False

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> bool:
        """Kill if the file is there; return whether it was."""
        if not self.path.exists():
            self._told = False
            return False
        await self._kill()
        try:
            self.path.replace(self.path.with_name("KILL.done"))
        except OSError as error:
            if not self._told:
                log.error("%s cannot be renamed and goes on killing: %s", self.path, error)
            self._told = True
        return True
