"""What the commands of the command line share: how an error of ours is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from stratnb.errors import StratnbError

__all__ = ["reported"]


@contextmanager
def reported() -> Iterator[None]:
    """Print an error of ours in words and leave with code 2."""
    try:
        yield
    except StratnbError as error:
        typer.echo(f"error {error}", err=True)
        raise typer.Exit(2) from error
