"""The command line: `stratnb COMMAND`; each command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from stratnb.errors import StratnbError

__all__ = ["app", "dashboard", "lab", "version"]

app = typer.Typer(
    help="Trading strategies made of blocks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@contextmanager
def _reported() -> Iterator[None]:
    """Print an error of ours in words and leave with code 2."""
    try:
        yield
    except StratnbError as error:
        typer.echo(f"error {error}", err=True)
        raise typer.Exit(2) from error


@app.command()
def dashboard(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Candle files (CSV or Parquet); none: a synthetic market.")
    ] = None,
    notebook: Annotated[Path, typer.Option(help="The notebook to serve.")] = Path("dashboards/trader.ipynb"),
    port: Annotated[int, typer.Option(help="The port to use if it is free.", min=1, max=65535)] = 8866,
) -> None:
    """Serve the trader's dashboard by Voila on this machine and print the address that opens it."""
    from stratnb.ui.serve import dashboard_server, serve

    with _reported():
        raise typer.Exit(serve(dashboard_server(notebook, data=data or [], port=port)))


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="The folder to open.")] = Path("notebooks"),
    port: Annotated[int, typer.Option(help="The port to use if it is free.", min=1, max=65535)] = 8888,
) -> None:
    """Open JupyterLab on a folder of notebooks and print the address that opens it."""
    from stratnb.ui.serve import lab_server, serve

    with _reported():
        raise typer.Exit(serve(lab_server(folder, port=port)))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("stratnb"))
