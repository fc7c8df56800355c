"""What the commands of the command line share: how an error of ours is said, words that are read, JSON that is said."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from stratnb.errors import ConfigError, StratnbError

__all__ = ["json_of", "overrides_of", "reported", "value_of", "words_of"]


@contextmanager
def reported() -> Iterator[None]:
    """Print an error of ours in words and leave with code 2."""
    try:
        yield
    except StratnbError as error:
        typer.echo(f"error {error}", err=True)
        raise typer.Exit(2) from error


def words_of(text: str) -> tuple[str, ...]:
    """Return the words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def value_of(text: str) -> Any:
    """Return what a text says as JSON; what is not JSON is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def overrides_of(changes: Iterable[str]) -> dict[str, Any]:
    """Return the values by path of texts like timeframes.primary=1h."""
    found: dict[str, Any] = {}
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            hint = "write it like timeframes.primary=1h"
            raise ConfigError("override", f"{change!r} sets nothing", value=change, hint=hint)
        found[path.strip()] = value_of(text)
    return found


def json_of(result: Mapping[str, Any]) -> str:
    """Return an object as JSON; a number that is not defined is null."""
    return json.dumps(_plain(result), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value without numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
