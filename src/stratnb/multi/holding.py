"""Holding an account: the lease that lets one engine send, and the commands that others send to it."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from stratnb.errors import Halt, Refused
from stratnb.events import EventBus
from stratnb.journal.lease import Lease, LeaseSettings
from stratnb.journal.receiver import CommandReceiver, Refusal, Sender
from stratnb.journal.tokens import Tokens
from stratnb.multi.settings import EngineSettings

__all__ = ["Holding", "take_lease"]

ACCOUNT = "paper"
POLL_S = 0.25


def take_lease(settings: EngineSettings, *, name: str, on_lost: Callable[[Halt], None]) -> Lease:
    """Return the lease of the journal's account, taken; `Refused("not_lease_holder")` when another engine has it."""
    assert settings.journal is not None, "only a journal has a lease"
    times = LeaseSettings(**settings.lease.model_dump())
    who = f"{name or 'engine'} ({os.getpid()})"
    lease = Lease(settings.journal, ACCOUNT, who=who, settings=times, on_lost=on_lost)
    holder = lease.acquire()
    if holder is not None:
        raise Refused(
            "not_lease_holder",
            f"another engine trades this account: {holder}",
            value=str(holder),
            hint="watch it with stratnb.observe(journal), or end it first",
        )
    return lease


class Holding:
    """Takes signed commands four times a second and runs them as operations of this engine."""

    def __init__(
        self,
        settings: EngineSettings,
        lease: Lease,
        bus: EventBus,
        run: Callable[[str, dict[str, Any], Sender], Awaitable[object]],
    ) -> None:
        assert settings.journal is not None, "only a journal has commands"
        self.tokens = Tokens.open(settings.tokens or Path(settings.journal).parent)
        self._bus = bus
        self._run = run
        self._receiver = CommandReceiver(
            settings.journal, self.tokens, self._told, lease=lease, on_refused=self._refused
        )

    async def _told(self, command: str, args: dict[str, Any], sender: Sender) -> object:
        payload = {"command": command, "author": sender.author, "role": sender.role, "number": sender.number}
        self._bus.publish("COMMAND", source="commands", payload=payload)
        if command == "set_speed" and args.get("speed") == "max":
            args = {**args, "speed": math.inf}  # JSON has no infinity
        return await self._run(command, args, sender)

    def _refused(self, refusal: Refusal) -> None:
        payload = {name: getattr(refusal, name) for name in ("number", "author", "command", "code")}
        self._bus.publish("COMMAND_REFUSED", source="commands", payload=payload)

    async def poll(self) -> None:
        """Take commands until it is cancelled."""
        while True:
            await self._receiver.poll()
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Answer what is running and stop."""
        await self._receiver.close()
