"""The commands `stratnb journal ...`: prove a journal's invariants, hand its tables out as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stratnb.console import reported

__all__ = ["app", "check", "export"]

app = typer.Typer(help="Look after a journal.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="The journal's file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def check(file: File, as_json: AsJson = False) -> None:
    """Prove a journal's invariants and print every fault; leaves with 1 when there is one."""
    from stratnb.journal.check import check_journal

    with reported():
        report = check_journal(file)
    faults = [{"place": fault.path, "code": fault.code, "message": fault.message} for fault in report.faults]
    if as_json:
        typer.echo(json.dumps({"file": str(file), "rows": report.rows, "faults": faults}, indent=2))
    else:
        counted = ", ".join(f"{count:,} {table}" for table, count in report.rows.items() if count)
        lines = [f"fault [{fault.code}] {fault}" for fault in report.faults]
        verdict = f"{len(faults)} faults" if faults else "no fault"
        typer.echo("\n".join([*lines, f"{file}: {verdict}; {counted or 'no rows'}"]))
    if faults:
        raise typer.Exit(1)


@app.command()
def export(
    file: File,
    folder: Annotated[Path, typer.Argument(help="The folder for the files; none of them may be there.")],
    as_json: AsJson = False,
) -> None:
    """Write one Parquet file per table, all as of one moment; the engine may go on meanwhile."""
    from stratnb.journal.export import export_journal

    with reported():
        written = export_journal(file, folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "rows": written}, indent=2))
    else:
        typer.echo("\n".join([*(f"{table:<16} {count:>12,}" for table, count in written.items()), f"in {folder}"]))
