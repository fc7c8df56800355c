"""The login of an observer's page: from a typed token to a role that ends by itself."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from pathlib import Path

from stratnb.errors import ConfigError, Refused
from stratnb.journal.clocks import boot_s
from stratnb.journal.reader import JournalReader
from stratnb.journal.roles import Role
from stratnb.journal.tokens import HOLDERS, LONGEST, Secret, Stored, meta_name

__all__ = ["Login"]

ATTEMPTS = 5
PAUSE_S = 60.0
IDLE_S = 15 * 60.0
AUTHOR_LENGTH = 80


class Login(Secret):
    """What one page may do: nothing, until a token is entered; it keeps a key in memory and forgets it in time.

    `author` names the page in journal and log. `clock` counts seconds and is never set back.
    """

    def __init__(self, target: str | Path, *, author: str = "dashboard", clock: Callable[[], float] = boot_s) -> None:
        if not (author.isprintable() and author.strip() and len(author) <= AUTHOR_LENGTH):
            hint = f"give 1 to {AUTHOR_LENGTH} printable characters"
            raise ConfigError("login_author", f"{author[:AUTHOR_LENGTH]!r} is no author", value=author, hint=hint)
        self.author = author
        self._target = target
        self._clock = clock
        self._lock = threading.Lock()
        self._role: Role = "viewer"
        self._key = b""
        self._acted_s = 0.0
        self._failures = 0
        self._paused_until_s = float("-inf")

    def __repr__(self) -> str:
        """Return author and role."""
        return f"Login({self.author!r}, {self.role})"

    @property
    def role(self) -> Role:
        """Return the role at this moment."""
        with self._lock:
            self._forget_when_idle()
            return self._role

    @property
    def left_s(self) -> float:
        """Return the seconds until the login ends without an action, 0 for a viewer."""
        with self._lock:
            self._forget_when_idle()
            return 0.0 if self._role == "viewer" else self._acted_s + IDLE_S - self._clock()

    @property
    def paused_s(self) -> float:
        """Return the seconds for which no token is looked at."""
        return max(0.0, self._paused_until_s - self._clock())

    def enter(self, token: str) -> Role:
        """Check a token against the journal's hashes and return the role that it gives.

        Raises `Refused`: `login_failed`, `login_paused` after five failures, `login_unavailable` before an engine ran.
        """
        with self._lock:
            wait_s = self.paused_s
            if wait_s:
                hint = f"try again in {wait_s:.0f} s"
                raise Refused("login_paused", f"{ATTEMPTS} tokens in a row were wrong", value=wait_s, hint=hint)
            found = self._matching(token.strip() if len(token) <= LONGEST else "")
            if found is None:
                raise self._failed()
            self._role, self._key = found
            self._failures, self._acted_s = 0, self._clock()
            return self._role

    def _matching(self, token: str) -> tuple[Role, bytes] | None:
        """Return the role of a token and its key; every hash is compared, whichever fits."""
        with JournalReader.open(self._target) as reader:
            texts = {role: reader.meta(meta_name(role)) for role in HOLDERS}
        stored = {role: found for role, text in texts.items() if (found := Stored.read(text)) is not None}
        if not stored:
            hint = "start the engine of this journal once; it makes the tokens"
            raise Refused("login_unavailable", "the journal knows no token yet", hint=hint)
        fitting = [role for role, hashed in stored.items() if hashed.fits(token)]
        return (fitting[-1], stored[fitting[-1]].key(token)) if fitting else None

    def _failed(self) -> Refused:
        self._failures += 1
        left = ATTEMPTS - self._failures
        if left:
            return Refused("login_failed", "this is no token of this engine", hint=f"{left} attempts left")
        self._failures, self._paused_until_s = 0, self._clock() + PAUSE_S
        return Refused("login_failed", "this is no token of this engine", hint=f"wait {PAUSE_S:.0f} s")

    def leave(self) -> None:
        """Forget the role and the key."""
        with self._lock:
            self._role, self._key = "viewer", b""

    def sign(self, message: bytes) -> str:
        """Return the signature of a message, an action that prolongs the login.

        Raises `Refused("login_needed")` for a viewer.
        """
        with self._lock:
            self._forget_when_idle()
            if self._role == "viewer":
                raise Refused("login_needed", "nobody is logged in", hint="log in with the operator token")
            self._acted_s = self._clock()
            return hmac.digest(self._key, message, "sha256").hex()

    def _forget_when_idle(self) -> None:
        if self._role != "viewer" and self._clock() - self._acted_s >= IDLE_S:
            self._role, self._key = "viewer", b""
