"""Secrets: from the environment or the keyring only, in an object that shows them to nobody."""

from __future__ import annotations

import importlib.util
import os
from typing import NoReturn

from stratnb.errors import ConfigError

__all__ = ["Secret", "read_secret"]

SERVICE = "stratnb"


class Secret:
    """A text that is neither printed nor written anywhere; `reveal` is for the one call that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        """Return that it is set."""
        return "<Secret set>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a secret is not written anywhere")

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def hide(self, text: str) -> str:
        """Return a text without the secret, if it is in it."""
        return text.replace(self._text, "***")


def read_secret(variable: str) -> Secret | None:
    """Return what an environment variable holds, else what the keyring has under that name; None without either.

    A keyring that does not answer is `ConfigError` (`keyring`).
    """
    text = os.environ.get(variable, "").strip()
    if not text and importlib.util.find_spec("keyring") is not None:
        text = _from_keyring(variable).strip()
    return Secret(text) if text else None


def _from_keyring(name: str) -> str:
    import keyring

    try:
        return keyring.get_password(SERVICE, name) or ""
    except Exception as error:
        text = f"the keyring does not answer: {type(error).__name__}"
        raise ConfigError("keyring", text, value=name, hint=f"unlock it, or set {name} in the environment") from error
