"""Commands of observers: signed rows that the engine on the same journal checks, executes and answers.

A signature covers command, arguments, author, role, nonce and time; `stratnb.journal.tokens` tells of its key.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import insert

from stratnb.errors import ConfigError, Refused, StratnbError
from stratnb.journal.clocks import wall_ms
from stratnb.journal.database import Database
from stratnb.journal.joining import joined
from stratnb.journal.login import Login
from stratnb.journal.reader import JournalReader
from stratnb.journal.results import error_of
from stratnb.journal.roles import check_role
from stratnb.journal.schema import METADATA

__all__ = ["LARGEST_ARGS", "SIGNED", "CommandResult", "CommandSender", "message_of"]

COMMANDS = METADATA.tables["commands"]
SIGNED = ("command", "args", "author", "role", "nonce", "created_ms")
PROTOCOL = "stratnb command 1"
LARGEST_ARGS = 65_536


def message_of(row: Mapping[str, Any]) -> bytes:
    """Return what is signed: the values of `SIGNED` as one JSON list, which no other values give.

    `args` is the text in the row, not what it means. Raises `TypeError` for what is no text or number.
    """
    return json.dumps([PROTOCOL, *(row[name] for name in SIGNED)]).encode("ascii")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How far a command is: `value` when it is done, `error` with its parts when it was refused or failed."""

    number: int
    command: str
    state: Literal["new", "taken", "done", "refused", "failed"]
    value: Any = None
    code: str = ""
    message: str = ""
    hint: str = ""
    done_ms: int | None = None
    error: StratnbError | None = field(default=None, compare=False)

    @property
    def is_over(self) -> bool:
        """Tell whether the engine has answered."""
        return self.state not in ("new", "taken")


class CommandSender:
    """Writes an observer's commands and reads the answers; any thread may call it."""

    def __init__(self, target: str | Path, login: Login, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self.login = login
        self._target = target
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._reader: JournalReader | None = None

    def __repr__(self) -> str:
        """Return whose commands it sends."""
        return f"CommandSender({self.login!r})"

    def send(self, command: str, args: Mapping[str, Any] | None = None) -> int:
        """Write a signed command and return its number.

        Raises `Refused` (`login_needed`, `role_needed`, `command_unknown`, `command_local`), `ConfigError
        ("command_args")` for arguments that are too long or not JSON, and what opening the journal raises. The engine
        checks everything again.
        """
        role = self.login.role
        if role == "viewer":
            raise Refused("login_needed", f"{command[:40]!r} needs a login", hint="log in with the operator token")
        check_role(command, role, args or {})
        row: dict[str, Any] = {"command": command, "args": _text(args or {}), "author": self.login.author, "role": role}
        with self._lock:
            self._database = self._database or joined(self._target)
            now_ms = self._now_ms()
            row |= {"nonce": secrets.token_urlsafe(16), "created_ms": now_ms, "ts_ns": now_ms * 1_000_000, "seq": 0}
            row["mac"] = self.login.sign(message_of(row))
            with self._database.transaction() as connection:
                key = connection.execute(insert(COMMANDS).values(**row)).inserted_primary_key
        assert key is not None, "one row has one key"
        return int(key[0])

    def result(self, number: int) -> CommandResult:
        """Return how far a command is; `Refused("command_missing")` for a number that was never given."""
        with self._lock:
            self._reader = self._reader or JournalReader.open(self._target)
            row = self._reader.one("commands", {"id": number})
        if row is None:
            raise Refused("command_missing", f"there is no command {number}", value=number, hint="send it again")
        told = row["result"] if isinstance(row["result"], dict) else {}
        known = {name: told[name] for name in ("value", "code", "message", "hint") if name in told}
        failed = error_of(told) if row["state"] in ("refused", "failed") else None
        return CommandResult(number, row["command"], row["state"], done_ms=row["done_ms"], error=failed, **known)

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        with self._lock:
            for connection in (self._database, self._reader):
                if connection is not None:
                    connection.close()
            self._database = self._reader = None


def _text(args: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(args), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "use numbers, text, lists and mappings"
        raise ConfigError("command_args", f"the arguments cannot be sent ({error})", hint=hint) from error
    if len(text) > LARGEST_ARGS:
        raise ConfigError("command_args", f"the arguments are longer than {LARGEST_ARGS} characters", value=len(text))
    return text
