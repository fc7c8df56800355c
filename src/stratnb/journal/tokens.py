"""The operator's and the owner's token: what proves on another page that somebody may give commands.

The tokens lie in two files that only the engine's account can read. The journal holds salted hashes of them (scrypt),
so that a page can tell whether a typed token is right. Commands are signed with a key made from token and salt; the
engine makes it from its own files and believes the journal nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sqlalchemy import select

from stratnb.errors import ConfigError
from stratnb.journal.database import Database, upsert
from stratnb.journal.roles import Role
from stratnb.journal.schema import METADATA

__all__ = ["HOLDERS", "Keys", "Secret", "Stored", "Tokens", "meta_name"]

META = METADATA.tables["meta"]
HOLDERS: tuple[Role, ...] = ("operator", "owner")
SCHEME = "scrypt-14-8-1"
SALT_BYTES = 16
SHORTEST, LONGEST = 32, 1024
PURPOSE = b"stratnb command key\0"


def meta_name(role: Role) -> str:
    """Return the key of `meta` under which a role's hash lies."""
    return f"token_{role}"


class Stored:
    """A salted hash as the journal keeps it, and the way from a token to the key that signs."""

    def __init__(self, salt: bytes, digest: bytes) -> None:
        self._salt = salt
        self._digest = digest

    @classmethod
    def made(cls, token: str) -> Stored:
        """Return a hash of a token with a new salt."""
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(salt, _hashed(token, salt))

    @classmethod
    def read(cls, text: str | None) -> Stored | None:
        """Return what a text from `meta` means, None for anything that `str` did not write."""
        parts = (text or "").split("$")
        if len(parts) != 3 or parts[0] != SCHEME:
            return None
        try:
            salt, digest = bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
        except ValueError:
            return None
        return cls(salt, digest) if len(salt) == SALT_BYTES else None

    def __str__(self) -> str:
        """Return scheme, salt and hash."""
        return f"{SCHEME}${self._salt.hex()}${self._digest.hex()}"

    def __repr__(self) -> str:
        """Return no more than what it is."""
        return "Stored(...)"

    def fits(self, token: str) -> bool:
        """Tell, in constant time, whether a token is the one."""
        return hmac.compare_digest(_hashed(token, self._salt), self._digest)

    def key(self, token: str) -> bytes:
        """Return the key that signs commands to this journal."""
        return hmac.digest(_raw(token), PURPOSE + self._salt, "sha256")


def _raw(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")


def _hashed(token: str, salt: bytes) -> bytes:
    return hashlib.scrypt(_raw(token), salt=salt, n=2**14, r=8, p=1, dklen=32)


class Secret:
    """Keeps its content out of what is printed, copied to another process or written to a file."""

    def __repr__(self) -> str:
        """Return the kind only."""
        return f"{type(self).__name__}(...)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(f"{type(self).__name__} holds secrets and stays in this process")


class Keys(Secret):
    """The keys by role against which signatures are checked."""

    def __init__(self, keys: Mapping[Role, bytes]) -> None:
        self._keys = dict(keys)

    def role_of(self, role: object, message: bytes, mac: object) -> Role | None:
        """Return the role whose signature this is, None when it is not the one that is claimed."""
        found: Role | None = None
        for name, key in self._keys.items():
            expected = hmac.digest(key, message, "sha256").hex()
            given = mac if isinstance(mac, str) and mac.isascii() else ""
            if hmac.compare_digest(expected, given) and role == name:
                found = name
        return found


class Tokens(Secret):
    """The tokens of one engine; `open` makes them on first use."""

    def __init__(self, folder: Path, tokens: Mapping[Role, str]) -> None:
        self.folder = folder
        self._tokens = dict(tokens)

    @classmethod
    def open(cls, folder: str | Path) -> Tokens:
        """Read `operator.token` and `owner.token` in a folder, made (mode 0600) when absent or readable by others.

        Raises `ConfigError`: `token_folder` when the folder cannot be used, `token_invalid` for a token that is short.
        """
        found = Path(folder).expanduser().absolute()
        try:
            found.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(found, {role: _token_in(found / f"{role}.token") for role in HOLDERS})
        except OSError as error:
            hint = "give a folder that the engine's account may write"
            text = f"tokens cannot be kept in {found} ({error.strerror})"
            raise ConfigError("token_folder", text, value=str(found), hint=hint) from None

    def path(self, role: Role) -> Path:
        """Return the file that holds a role's token."""
        return self.folder / f"{role}.token"

    def publish(self, database: Database) -> Keys:
        """Keep the hashes in a journal, new ones only for new tokens, and return the keys of that journal."""
        query = select(META.c.key, META.c.value).where(META.c.key.in_(map(meta_name, HOLDERS)))
        with database.transaction() as connection:
            kept: dict[str, str] = {row.key: row.value for row in connection.execute(query)}
        keys: dict[Role, bytes] = {}
        fresh: list[dict[str, str]] = []
        for role, token in self._tokens.items():
            stored = Stored.read(kept.get(meta_name(role)))
            if stored is None or not stored.fits(token):
                stored = Stored.made(token)
                fresh.append({"key": meta_name(role), "value": str(stored)})
            keys[role] = stored.key(token)
        if fresh:
            with database.transaction(durable=True) as connection:
                connection.execute(upsert(META), fresh)
        return Keys(keys)


def _token_in(path: Path) -> str:
    """Return the token of a file; what others could have read or changed is replaced."""
    if os.path.lexists(path) and not _is_private(path):
        path.unlink()
    if not path.exists():
        _make(path)
    token = path.read_text("utf-8", "replace").strip()
    if not SHORTEST <= len(token) <= LONGEST:
        hint = "delete the file; the next start makes a new token"
        text = f"{path} holds no token of {SHORTEST} to {LONGEST} characters"
        raise ConfigError("token_invalid", text, value=str(path), hint=hint)
    return token


def _is_private(path: Path) -> bool:
    """Tell whether it is a file of ours, closed to others."""
    status = path.lstat()
    is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
    return is_ours and not stat.S_IMODE(status.st_mode) & 0o077


def _make(path: Path) -> None:
    """Write a new token under a name of its own first: a file with the right name is whole, whoever looks."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
