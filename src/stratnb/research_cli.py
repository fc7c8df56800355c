"""The commands `stratnb backtest`, `sweep` and `walk-forward`: what the calls of the same names give, in a shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stratnb.console import json_of, overrides_of, reported, value_of, words_of
from stratnb.errors import ConfigError, Finding

if TYPE_CHECKING:
    from stratnb.market_data.candles import Candles
    from stratnb.market_data.funding import FundingRates
    from stratnb.model import Market
    from stratnb.research.portfolio import Portfolio
    from stratnb.research.sweep import Sweep
    from stratnb.research.walk_forward import WalkForward

__all__ = ["app", "backtest", "sweep", "walk_forward"]

app = typer.Typer()
CANCELED = 130
REASONS_SHOWN = 3

Strategy = Annotated[str, typer.Argument(help="Name or path of a strategy.")]
File = Annotated[Path, typer.Argument(help="Candle file (CSV or Parquet).")]
Symbol = Annotated[str, typer.Option(help="Symbols of the files, separated by commas, when their names do not say.")]
Timeframe = Annotated[str | None, typer.Option(help="Timeframe, when the file's name does not say it.")]
Repair = Annotated[str, typer.Option(help="Repairs of the file's faults, separated by commas, or all.")]
MarketFile = Annotated[Path | None, typer.Option(help="JSON file with ticks, lots and fees by symbol.")]
Cash = Annotated[float, typer.Option(help="Start of the account, quote units.")]
Change = Annotated[
    list[str] | None,
    typer.Option("--override", "--set", metavar="PATH=VALUE", help="Change the strategy: timeframes.primary=1h."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Grid = Annotated[
    list[str],
    typer.Option(metavar="PATH=VALUES", help="Values of a parameter: start:stop, start:stop:step, or a,b,c."),
]
Method = Annotated[str, typer.Option(help="grid, random or optuna.")]
Trials = Annotated[int | None, typer.Option(help="Number of trials (random and optuna).")]
Objective = Annotated[str, typer.Option(help="The figure that the best is chosen by.")]
Seed = Annotated[int, typer.Option(help="Seed of random and optuna.")]
Threads = Annotated[int | None, typer.Option(help="Threads; one a processor without it.")]
Rates = Annotated[Path | None, typer.Option("--funding", help="Table of time, rate (and symbol) of linear markets.")]
OnGap = Annotated[str, typer.Option(help="At a gap: hold, stop or split.")]
MaxTrials = Annotated[int, typer.Option(help="Most trials that a grid may have.")]
MinTrades = Annotated[int, typer.Option(help="Fewest trades that the best may have.")]
Memory = Annotated[float | None, typer.Option("--memory-mb", help="Refuse what takes more memory than this.")]
Counted = Annotated[bool, typer.Option("--ledger/--no-ledger", help="Count the trials in your ledger.")]


@app.command()
def backtest(
    strategy: Annotated[str, typer.Argument(help="Names or paths of strategies, separated by commas.")],
    candles: Annotated[list[Path], typer.Argument(help="Candle files (CSV or Parquet), one a market.")],
    market: MarketFile = None,
    symbol: Symbol = "",
    timeframe: Timeframe = None,
    repair: Repair = "",
    cash: Cash = 10_000.0,
    change: Change = None,
    detail: Annotated[Path | None, typer.Option(help="File of finer candles inside these (one strategy).")] = None,
    tier: Annotated[str, typer.Option(help="auto, scan or fused; the result is the same (one strategy).")] = "auto",
    on_gap: OnGap = "hold",
    funding: Rates = None,
    report: Annotated[Path | None, typer.Option(help="Write the report to an .html file.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the run to a .json or .json.gz file (one strategy).")] = None,
    as_json: AsJson = False,
) -> None:
    """Backtest a strategy on a file, or several on one account, and print the figures."""
    with reported():
        names, overrides = words_of(strategy), overrides_of(change or ())
        several = len(names) != 1 or len(candles) != 1
        _check_backtest(several, detail=detail, tier=tier, on_gap=on_gap, report=report, save=save)
        series, markets = _loaded(names, candles, market, _read_as(symbol, timeframe, repair), overrides)
        options: dict[str, Any] = {"cash": cash, "overrides": overrides}
        tables = _funding(funding, series)
        if several:
            from stratnb.research.portfolio import portfolio

            options |= {"market": markets, "funding": tables, "decisions": "entries" if report else False}
            made = portfolio(names, series, **options)
            kept = [] if report is None else [str(made.report().save(report))]
            typer.echo(_portfolio_text(made, as_json, kept))
            return
        from stratnb.market_data import load_candles
        from stratnb.market_data.naming import symbol_from
        from stratnb.research.backtest import backtest as run

        one = series[0]
        if detail is not None:
            said = one.symbol if symbol or not symbol_from(detail.name) else None
            options["detail"], _ = load_candles(detail, symbol=said, repair=words_of(repair))
        options |= {"market": markets[one.symbol] if markets else None, "tier": tier, "on_gap": on_gap}
        options["funding"] = tables.get(one.symbol)
        test = run(names[0], one, **options)
        kept = [str(test.save(save))] if save is not None else []
        kept += [str(test.report().save(report))] if report is not None else []
    found = {"strategy": test.name, "symbol": one.symbol, "timeframe": test.timeframe, "candles": len(test.candles)}
    found |= {"figures": test.figures, "reasons": dict(test.reasons), "written": kept}
    _say(found, as_json, [repr(test), *map(str, test.findings), *_table(test.figures), *(f"Wrote {x}" for x in kept)])


@app.command()
def sweep(
    strategy: Strategy,
    candles: File,
    grid: Grid,
    market: MarketFile = None,
    symbol: Symbol = "",
    timeframe: Timeframe = None,
    repair: Repair = "",
    cash: Cash = 10_000.0,
    change: Change = None,
    funding: Rates = None,
    method: Method = "grid",
    trials: Trials = None,
    objective: Objective = "sharpe",
    seed: Seed = 0,
    threads: Threads = None,
    on_gap: OnGap = "hold",
    max_trials: MaxTrials = 100_000,
    min_trades: MinTrades = 0,
    memory_mb: Memory = None,
    out: Annotated[Path | None, typer.Option(help="Keep the rows in a .parquet file; again: go on with it.")] = None,
    counted: Counted = True,
    random: Annotated[int, typer.Option(help="Runs with random entries beside the best.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Run a strategy with every combination of a grid; print the best, and what it is worth among so many.

    Ctrl-C keeps what is done and leaves with 130; with --out the same command goes on.
    """
    from stratnb.research.sweep import sweep as run

    with reported():
        read_as, overrides = _read_as(symbol, timeframe, repair), overrides_of(change or ())
        space = _space(grid)
        (one,), markets = _loaded((strategy,), (candles,), market, read_as, overrides)
        options: dict[str, Any] = {"method": method, "trials": trials, "objective": objective, "seed": seed}
        options |= {"threads": threads, "on_gap": on_gap, "max_trials": max_trials, "path": out, "cash": cash}
        options |= {"min_trades": min_trades, "memory_mb": memory_mb}
        options |= {"market": markets[one.symbol] if markets else None, "overrides": overrides}
        options["funding"] = _funding(funding, (one,)).get(one.symbol)
        found = run(strategy, one, space, ledger=None if counted else False, **options)
        typer.echo(_sweep_text(found, as_json, out=out, random=random))
    if not found.complete:
        raise typer.Exit(CANCELED)


@app.command("walk-forward")
def walk_forward(
    strategy: Strategy,
    candles: File,
    grid: Grid,
    train: Annotated[str, typer.Option(help="Length of a training: candles, or a time such as 90d.")],
    test: Annotated[str, typer.Option(help="Length of a test: candles, or a time such as 30d.")],
    mode: Annotated[str, typer.Option(help="rolling or anchored.")] = "rolling",
    purge: Annotated[str, typer.Option(help="Left out at the end of each training.")] = "0",
    embargo: Annotated[str, typer.Option(help="Left out between training and test.")] = "0",
    step: Annotated[str, typer.Option(help="From test to test; the length of a test without it.")] = "",
    market: MarketFile = None,
    symbol: Symbol = "",
    timeframe: Timeframe = None,
    repair: Repair = "",
    cash: Cash = 10_000.0,
    change: Change = None,
    funding: Rates = None,
    method: Method = "grid",
    trials: Trials = None,
    objective: Objective = "sharpe",
    seed: Seed = 0,
    threads: Threads = None,
    on_gap: OnGap = "hold",
    max_trials: MaxTrials = 100_000,
    min_trades: MinTrades = 0,
    memory_mb: Memory = None,
    counted: Counted = True,
    as_json: AsJson = False,
) -> None:
    """Choose parameters on one window, trade them on the next, and print what the tests made together."""
    from stratnb.research.walk_forward import walk_forward as run

    with reported():
        read_as, overrides = _read_as(symbol, timeframe, repair), overrides_of(change or ())
        space = _space(grid)
        (one,), markets = _loaded((strategy,), (candles,), market, read_as, overrides)
        spans: dict[str, Any] = {"train": train, "test": test, "purge": purge, "embargo": embargo}
        spans |= {"step": step} if step else {}
        options: dict[str, Any] = {name: int(span) if span.isdecimal() else span for name, span in spans.items()}
        options |= {"mode": mode, "method": method, "trials": trials, "objective": objective, "seed": seed}
        options |= {"threads": threads, "on_gap": on_gap, "max_trials": max_trials, "cash": cash}
        options |= {"min_trades": min_trades, "memory_mb": memory_mb}
        options |= {"market": markets[one.symbol] if markets else None, "overrides": overrides}
        options["funding"] = _funding(funding, (one,)).get(one.symbol)
        with _line() as progress:
            found = run(strategy, one, space, ledger=None if counted else False, progress=progress, **options)
    typer.echo(_walk_text(found, as_json))
    if not found.complete:
        raise typer.Exit(CANCELED)


def _read_as(symbol: str, timeframe: str | None, repair: str) -> dict[str, Any]:
    return {"symbols": words_of(symbol), "timeframe": timeframe, "repair": words_of(repair)}


def _loaded(
    strategies: Sequence[str],
    files: Sequence[Path],
    market: Path | None,
    read_as: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> tuple[tuple[Candles, ...], dict[str, Market] | None]:
    """Return the candles of the files, and their markets where a file says them."""
    from stratnb.replay.settings import ReplaySettings, load_series, markets_of

    given = dict(read_as, market_file=market, overrides=dict(overrides))
    settings = ReplaySettings(files=tuple(files), strategies=tuple(strategies), **given)
    series, _ = load_series(settings)
    if market is None:
        return series, None
    return series, {each.symbol: each for each in markets_of(settings, series)}


def _funding(path: Path | None, series: Sequence[Candles]) -> dict[str, FundingRates]:
    """Return the funding rates of a file by symbol."""
    from stratnb.market_data import load_funding

    return {} if path is None else load_funding(path, [each.symbol for each in series])


def _check_backtest(several: bool, **given: Any) -> None:
    """Raise for options that one strategy alone has, and for files that could not be written, before anything runs."""
    usual = {"detail": None, "tier": "auto", "on_gap": "hold", "save": None}
    faults = []
    for name, value in given.items():
        if several and value != usual.get(name, value):
            option, hint = f"--{name.replace('_', '-')}", "run one strategy on one file"
            faults.append(Finding(option, "one_strategy", "is for one strategy on one file", str(value), hint))
    for name, endings in (("report", (".html", ".htm")), ("save", (".json", ".json.gz"))):
        path: Path | None = given[name]
        if path is None:
            continue
        if not path.name.lower().endswith(endings):
            text = f"{path.name!r} does not end in {' or '.join(endings)}"
            faults.append(Finding(f"--{name}", "file_ending", text, str(path), f"name it {path.stem}{endings[0]}"))
        if not path.parent.is_dir():
            text = f"the folder {str(path.parent)!r} does not exist"
            faults.append(Finding(f"--{name}", "folder_missing", text, str(path), "make it, or choose another one"))
        if path.exists():
            faults.append(
                Finding(f"--{name}", "file_exists", f"{path.name!r} exists already", str(path), "choose another")
            )
    if faults:
        raise ConfigError(
            "options", "the options do not fit; nothing was run", hint="correct them all", findings=faults
        )


def _space(grid: Sequence[str]) -> dict[str, Any]:
    """Return the values or ranges by path; every word that is none is told."""
    space: dict[str, Any] = {}
    faults = []
    for given in grid:
        path, equals, text = (part.strip() for part in given.partition("="))
        hint = "write it like analyzers[0].params.fast=5:50:5, or capital.amount=0.5,1"
        if not (path and equals and text):
            faults.append(Finding("--grid", "grid", f"{given!r} gives no values", given, hint))
        elif path in space:
            faults.append(Finding("--grid", "duplicate_path", f"{path} is given twice", given, "give each path once"))
        else:
            try:
                space[path] = _values(text)
            except ValueError as error:
                faults.append(Finding("--grid", "grid", f"{given!r}: {error}", given, hint))
    if faults:
        raise ConfigError("grid", "the grid cannot be read; nothing was run", hint="correct it all", findings=faults)
    return space


def _values(text: str) -> Any:
    """Return start:stop or start:stop:step as a range, a JSON list as it is, and else what lies between commas."""
    from stratnb.research.space import Range

    listed = value_of(text)
    if isinstance(listed, list):
        return listed
    if ":" not in text or text.startswith(("{", '"')):
        return [value_of(word) for word in text.split(",")]
    numbers = [value_of(word) for word in text.split(":")]
    if not 2 <= len(numbers) <= 3 or any(isinstance(x, bool) or not isinstance(x, int | float) for x in numbers):
        raise ValueError("a range is start:stop or start:stop:step, all numbers")
    return Range(*numbers)


@contextmanager
def _line() -> Iterator[Callable[[int, int], None]]:
    """Give what draws one line of progress on a terminal, with rate and remaining time."""
    from tqdm import tqdm

    with tqdm(unit="trial", desc="Walk-forward", leave=False, disable=not sys.stderr.isatty()) as bar:

        def _tell(done: int, count: int) -> None:
            bar.total = count
            bar.update(done - bar.n)

        yield _tell


def _portfolio_text(made: Portfolio, as_json: bool, kept: Sequence[str]) -> str:
    """Return a portfolio in words or as JSON; `kept` are the files that were written."""
    if as_json:
        parts = {label: {"symbol": own.candles.symbol, "figures": own.figures} for label, own in made.items()}
        figures = {"strategies": list(made.labels), "candles": len(made.close_ms), "figures": made.figures}
        return json_of(figures | {"reasons": made.reasons, "denials": made.denials, "parts": parts, "written": kept})
    table = made.attribution[["symbol", "capital", "pnl", "share", "trades", "fees"]]
    told = [repr(made), *map(str, made.findings), *_table(made.figures), "", table.to_string(na_rep="n/a")]
    return "\n".join([*told, *(f"Wrote {path}" for path in kept)])


def _sweep_text(found: Sweep, as_json: bool, *, out: Path | None, random: int) -> str:
    """Return the best of a sweep and the verdict on it, in words or as JSON."""
    judged = found.verdict(random=random) if found.count else None
    if as_json:
        names = ("significant", "against", "trials", "counted", "sharpe", "psr", "deflated", "overfitting", "rule")
        said = {name: getattr(judged, name) for name in names} if judged else None
        done = {"trials": found.count, "of": found.space.count, "complete": found.complete, "failed": found.failed}
        best = {"objective": found.objective, "best": found.best, "best_row": found.best_row, "verdict": said}
        return json_of(done | best | {"table": None if out is None else str(out)})
    row = _table({name: value for name, value in (found.best_row or {}).items() if name != "trial"})
    told = [f"{name:<30} {text}" for name, text in judged.rows] if judged else []
    lost = [f"{n:,} of {found.count:,} trials could not run: {reason}" for reason, n in found.failed.items()]
    lost = [*lost[:REASONS_SHOWN], *([f"and {len(lost) - REASONS_SHOWN} more reasons"] if lost[REASONS_SHOWN:] else [])]
    kept = [] if out is None else [f"Table {out}"]
    return "\n".join([repr(found), *lost, *row, "", *told, *kept])


def _walk_text(found: WalkForward, as_json: bool) -> str:
    """Return the windows of a walk-forward and their figures, in words or as JSON."""
    frame = found.frame
    if as_json:
        times = frame.select_dtypes("datetimetz").columns
        rows = frame.assign(**{name: [each.isoformat() for each in frame[name]] for name in times}).to_dict("records")
        whole = {"windows": rows, "planned": len(found.planned), "complete": found.complete, "mode": found.mode}
        result = {"objective": found.objective, "figures": found.figures, "efficiency": found.efficiency}
        return json_of(whole | result | {"overfitting": found.overfitting, "drift": found.drift})
    table = frame.drop(columns=["train_start", "train_end"], errors="ignore").to_string(index=False, na_rep="n/a")
    more = {"efficiency": found.efficiency, "overfitting": found.overfitting}
    return "\n".join([repr(found), table, "", *_table(found.figures | more)])


def _table(values: Mapping[str, Any]) -> list[str]:
    """Return names and values under each other."""
    width = max(map(len, values), default=0)
    return [f"{name:<{max(20, width)}} {_shown(value)}" for name, value in values.items()]


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _say(found: Mapping[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    typer.echo(json_of(found) if as_json else "\n".join(lines))
