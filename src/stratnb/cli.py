"""The command line: `stratnb COMMAND`; each command imports what it needs when it runs."""

from __future__ import annotations

import math
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from stratnb.console import json_of, overrides_of, reported, words_of
from stratnb.errors import ConfigError
from stratnb.journal_cli import app as journal_app
from stratnb.research_cli import app as research_app

__all__ = ["app", "archive", "dashboard", "lab", "replay", "version"]

app = typer.Typer(
    help="Trading strategies made of blocks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(journal_app, name="journal")
app.add_typer(research_app)


@app.command()
def dashboard(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Candle files (CSV or Parquet); none: a synthetic market.")
    ] = None,
    notebook: Annotated[Path, typer.Option(help="The notebook to serve.")] = Path("dashboards/trader.ipynb"),
    port: Annotated[int, typer.Option(help="The port to use if it is free.", min=1, max=65535)] = 8866,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move the account's history aside and start a new one.")
    ] = False,
    engine: Annotated[bool, typer.Option(help="Host a paper engine; the research page needs none.")] = True,
) -> None:
    """Host a paper engine, serve a dashboard that follows it by Voila on this machine, and print its address.

    The engine has a journal for each set of candle files and goes on where it was; it ends with this command, unless
    it was running before. `--notebook dashboards/research.ipynb --no-engine` serves the researcher's page.
    """
    from stratnb.hosted import account_of, hosted
    from stratnb.ui.serve import dashboard_server, serve

    with reported():
        if not engine:
            raise typer.Exit(serve(dashboard_server(notebook, data=data or (), port=port)))
        account = account_of(data or ())
        server = dashboard_server(notebook, data=data or (), journal=account.journal, port=port)
        if fresh and (kept := account.set_aside()) is not None:
            typer.echo(f"  Kept  {kept}")
        with hosted(account) as host:
            more = f"  Token {account.operator_token} (log in with what is in it)\n"
            if host.attached is not None:
                more += f"  Engine pid {host.pid} was running already; it goes on when this ends\n"
            raise typer.Exit(serve(server, more=more, check=host.check))


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="TOML file: journal, candles, speed, strategies.")],
) -> None:
    """Host an engine on its journal until Ctrl-C or SIGTERM; dashboards attach to the journal."""
    from stratnb.hosting import host, load_host_config

    with reported():
        told = load_host_config(config)
        typer.echo(f"Journal  {told.journal}\nTokens   {told.tokens}/operator.token, owner.token")
        if told.notifier is not None:
            typer.echo(f"Messages {told.notifier.kind}, chats: {', '.join(told.notifier.chats)}")
        raise typer.Exit(host(told, ready=lambda engine: typer.echo(f"Running  {engine!r}")))


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="The folder to open.")] = Path("notebooks"),
    port: Annotated[int, typer.Option(help="The port to use if it is free.", min=1, max=65535)] = 8888,
) -> None:
    """Open JupyterLab on a folder of notebooks and print the address that opens it."""
    from stratnb.ui.serve import lab_server, serve

    with reported():
        raise typer.Exit(serve(lab_server(folder, port=port)))


@app.command()
def replay(
    candles: Annotated[list[Path], typer.Option(help="Candle files (CSV or Parquet), several after one flag.")],
    strategies: Annotated[str, typer.Option(help="Names or paths of strategies, separated by commas.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further candle files.")] = None,
    mode: Annotated[str, typer.Option(help="exclusive (one active at a time) or parallel (all).")] = "exclusive",
    switch_every: Annotated[int | None, typer.Option(help="Instants between two switches (exclusive).")] = None,
    policy: Annotated[str, typer.Option(help="A switch's way with positions: keep, adopt, close or refuse.")] = "keep",
    speed: Annotated[str, typer.Option(help="max, or a multiple of real time.")] = "max",
    cash: Annotated[float, typer.Option(help="Start of the paper account, quote units.")] = 10_000.0,
    capacity: Annotated[int, typer.Option(help="Orchestrators kept in the cache.")] = 10,
    symbol: Annotated[str, typer.Option(help="Symbols of the files, separated by commas.")] = "",
    timeframe: Annotated[str | None, typer.Option(help="Timeframe of the files, when their names do not say.")] = None,
    market: Annotated[Path | None, typer.Option(help="JSON file with ticks, lots and fees by symbol.")] = None,
    repair: Annotated[str, typer.Option(help="Repairs of the files' faults, separated by commas, or all.")] = "",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the strategies: timeframes.primary=1h."),
    ] = None,
    parity: Annotated[bool, typer.Option(help="Compare every instance with its backtest.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay candle files through the engine on paper; leaves with 1 when engine and backtest differ."""
    from stratnb.replay import ReplaySettings, table
    from stratnb.replay import replay as run

    with reported():
        settings = ReplaySettings(
            files=(*candles, *(more or ())),
            strategies=words_of(strategies),
            mode=mode,  # type: ignore[arg-type]
            switch_every=switch_every,
            policy=policy,  # type: ignore[arg-type]
            speed=_speed(speed),
            cash=cash,
            capacity=capacity,
            symbols=words_of(symbol),
            timeframe=timeframe,
            market_file=market,
            repair=words_of(repair),
            overrides=overrides_of(change or ()),
            parity=parity,
        )
        result = run(settings)
    typer.echo(json_of(result) if as_json else table(result))
    if result["parity"]["verdict"] is False:
        raise typer.Exit(1)


@app.command()
def archive(
    candles: Annotated[list[Path], typer.Argument(help="Candle files (CSV or Parquet).")],
    to: Annotated[Path, typer.Option(help="Folder of the archive; made when it is missing.")],
    exchange: Annotated[str, typer.Option(help="Name of the venue that the candles come from.")] = "import",
    symbol: Annotated[str | None, typer.Option(help="Symbol, when a file's name does not say it.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Timeframe, when a file's name does not say it.")] = None,
    repair: Annotated[str, typer.Option(help="Repairs of the files' faults, separated by commas, or all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge candle files into a Parquet archive; tell what is missing and where built candles differ from filed ones.

    All files are read and checked before anything is written.
    """
    from stratnb.market_data import Archive, load_candles
    from stratnb.market_data.filing import file_candles, filing_text

    with reported():
        folder = Archive(to)
        read = [load_candles(path, symbol=symbol, timeframe=timeframe, repair=words_of(repair)) for path in candles]
        rows = file_candles(folder, [series for series, _ in read], exchange)
    typer.echo(json_of({"archive": str(to), "series": rows}) if as_json else filing_text(rows))


def _speed(text: str) -> float:
    """Return "max" or a number as a multiple of real time."""
    try:
        return math.inf if text.lower() == "max" else float(text)
    except ValueError as error:
        hint = "write max, or a number such as 60"
        raise ConfigError("speed", f"speed {text!r} is neither a number nor max", value=text, hint=hint) from error


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("stratnb"))
