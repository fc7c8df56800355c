"""Paths that people type, as paths that the system takes."""

from __future__ import annotations

from pathlib import Path

from stratnb.errors import ConfigError

__all__ = ["typed_path"]


def typed_path(text: str | Path) -> Path:
    """Return the path with `~` resolved; it need not exist.

    Raises `ConfigError` for an unknown user, a name that is longer than the system takes and a zero character.

    >>> typed_path("btc.csv").name
    'btc.csv'
    """
    if not isinstance(text, str | Path):
        raise ConfigError("type", f"a path is text, not {repr(text)[:80]}", value=text, hint="such as 'run.json'")
    try:
        path = Path(text).expanduser()
        path.lstat()
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            return path
        shown = str(text) if len(str(text)) <= 80 else f"{str(text)[:77]}..."
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError("path", f"{shown!r} is no path: {why}", value=shown, hint="check the path") from error
    return path
