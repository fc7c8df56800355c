"""The research commands say what the calls of the same names give, and every fault at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stratnb import backtest, load_candles, portfolio, sweep
from stratnb.cli import app
from stratnb.market_data import load_funding, synthetic_market
from stratnb.market_data.candles import market_from
from stratnb.research import run_sweep
from stratnb.research.runs import load_run
from stratnb.research.space import Range
from stratnb.research.walk_forward import walk_forward

runner = CliRunner()
FAST, SLOW = "analyzers[0].params.fast", "analyzers[0].params.slow"
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "averages",
    "market": {"direction": "both", "kind": "linear"},
    "timeframes": {"primary": "1h"},
    "analyzers": [{"kind": "ema", "params": {"fast": 5, "slow": 20, "mode": "state"}}],
    "entry": {"min_score": 0.0, "min_confidence": 0.0},
    "exits": {"stop_loss": {"fraction": 0.1}, "signal_exit": {"min_confidence": 0.0}},
}
GRID = ["--grid", f"{FAST}=4:8:2", "--grid", f"{SLOW}=20,30", "--threads", "1"]
SPACE = {FAST: Range(4, 8, step=2), SLOW: [20, 30]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep a strategy and two files of candles."""
    folder = tmp_path_factory.mktemp("research")
    (folder / "averages.json").write_text(json.dumps(DOCUMENT))
    for candles in synthetic_market(["BTC/USDT", "ETH/USDT"], "1h", candles=1_200, seed=4):
        names = ("open_time_ms", "open", "high", "low", "close", "volume")
        rows = zip(*(getattr(candles, name).tolist() for name in names), strict=True)
        lines = [",".join(names), *(",".join(map(repr, row)) for row in rows)]
        (folder / f"{candles.symbol.replace('/', '')}_1h.csv").write_text("\n".join(lines))
    yield folder


@pytest.fixture(scope="module")
def strategy(folder: Path) -> str:
    return str(folder / "averages.json")


@pytest.fixture(scope="module")
def file(folder: Path) -> str:
    return str(folder / "BTCUSDT_1h.csv")


def told(*words: str, code: int = 0) -> Any:
    result = runner.invoke(app, [*words, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def refused(*words: str) -> str:
    result = runner.invoke(app, list(words))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_backtest_is_that_of_the_call(strategy: str, file: str, folder: Path, tmp_path: Path) -> None:
    known = {"tick": 0.5, "lot": 1e-5, "taker_fee": 0.002}
    (tmp_path / "market.json").write_text(json.dumps({"BTC/USDT": known}))
    page, kept = tmp_path / "report.html", tmp_path / "run.json"
    options = ["--market", str(tmp_path / "market.json"), "--cash", "5000", "--override", f"{SLOW}=30"]
    found = told("backtest", strategy, file, *options, "--report", str(page), "--save", str(kept))
    candles, _ = load_candles(file)
    market = market_from(candles, kind="linear", **known)
    test = backtest(strategy, candles, market=market, cash=5_000.0, overrides={SLOW: 30})
    assert found["figures"] == test.figures
    assert found["reasons"] == dict(test.reasons)
    assert found["figures"]["trades"] > 0
    assert load_run(kept).figures == load_run(test.save(tmp_path / "own.json")).figures
    assert "<html" in page.read_text()[:500].lower()
    again = refused("backtest", strategy, file, "--report", str(page), "--save", str(tmp_path / "no" / "run.txt"))
    assert all(code in again for code in ("exists already", "does not end in", "does not exist"))


def test_a_table_is_for_people(strategy: str, file: str) -> None:
    shown = runner.invoke(app, ["backtest", strategy, file, "--tier", "scan"])
    assert shown.exit_code == 0
    assert repr(backtest(strategy, load_candles(file)[0])) in shown.stdout
    assert "max_drawdown" in shown.stdout


def test_several_files_are_a_portfolio(strategy: str, file: str, folder: Path, tmp_path: Path) -> None:
    files = [file, str(folder / "ETHUSDT_1h.csv")]
    found = told("backtest", strategy, *files)
    made = portfolio([strategy], [load_candles(path)[0] for path in files])
    assert found["figures"] == made.figures
    assert found["strategies"] == list(made.labels)
    assert {label: part["figures"] for label, part in found["parts"].items()} == {x: made[x].figures for x in made}
    page = tmp_path / "several.html"
    assert told("backtest", strategy, *files, "--report", str(page))["written"] == [str(page)]
    assert "Attribution" in page.read_text("utf-8")
    wrong = refused("backtest", strategy, *files, "--report", str(page))
    assert "exists already" in wrong
    rates = tmp_path / "funding.csv"
    times = [f"2024-01-{day:02}T{hour:02}:00:00Z" for day in range(1, 31) for hour in (0, 8, 16)]
    rows = [f"{symbol},{time},0.0005" for symbol in ("BTC/USDT", "ETH/USDT") for time in times]
    rates.write_text("\n".join(["symbol,time,rate", *rows]))
    paid = told("backtest", strategy, *files, "--funding", str(rates))
    assert paid["figures"]["funding"] != 0.0 == found["figures"]["funding"]
    rates.write_text("\n".join(["symbol,time,rate", rows[1], rows[0], "ETC/USDT,2024-01-01,1"]))
    wrong = refused("backtest", strategy, *files, "--funding", str(rates))
    assert "the times do not rise at row 1" in wrong and "there are candles of " in wrong
    wrong = refused("backtest", strategy, *files, "--tier", "fused", "--detail", file)
    assert "--tier" in wrong and "--detail" in wrong


def test_a_sweep_is_that_of_the_call(strategy: str, file: str, tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    found = told("sweep", strategy, file, *GRID, "--objective", "total_return", "--out", str(table), "--no-ledger")
    own = sweep(strategy, load_candles(file)[0], SPACE, objective="total_return", threads=1, ledger=False)
    judged = own.verdict(random=0)
    assert (found["trials"], found["of"], found["complete"]) == (6, 6, True)
    assert (found["best"], found["best_row"]) == (own.best, own.best_row)
    assert found["verdict"]["deflated"] == judged.deflated
    assert found["verdict"]["overfitting"] == judged.overfitting
    assert found["verdict"]["significant"] is judged.significant
    assert table.exists()
    shown = runner.invoke(app, ["sweep", strategy, file, *GRID, "--no-ledger"])
    assert shown.exit_code == 0
    assert "probability of overfitting" in shown.stdout


def test_sweep_and_walk_pay_the_rates_of_a_file(strategy: str, file: str, tmp_path: Path) -> None:
    rates = tmp_path / "funding.csv"
    times = [
        f"2024-{month:02}-{day:02}T{hour:02}:00:00Z" for month in (1, 2) for day in range(1, 29) for hour in (0, 8)
    ]
    rates.write_text("\n".join(["symbol,time,rate", *(f"BTC/USDT,{time},0.0005" for time in times)]))
    candles, words = load_candles(file)[0], [*GRID, "--funding", str(rates), "--no-ledger"]
    options: dict[str, Any] = {"funding": load_funding(rates, ["BTC/USDT"])["BTC/USDT"], "ledger": False, "threads": 1}
    found = told("sweep", strategy, file, *words)
    assert found["best_row"] == sweep(strategy, candles, SPACE, **options).best_row
    assert found["best_row"] != told("sweep", strategy, file, *GRID, "--no-ledger")["best_row"]
    walked = told("walk-forward", strategy, file, *words, "--train", "600", "--test", "300")
    own = walk_forward(strategy, candles, SPACE, train=600, test=300, **options)
    assert walked["figures"]["total_return"] == own.figures["total_return"]
    rates.write_text("symbol,time,rate\nETC/USDT,2024-01-01,0.1")
    for name, more in (("sweep", []), ("walk-forward", ["--train", "600", "--test", "300"])):
        assert "there are candles of BTC/USDT" in refused(name, strategy, file, *words, *more)


def test_random_trials_are_those_of_the_call(strategy: str, file: str) -> None:
    words = ["--grid", f"{FAST}=3:12", "--method", "random", "--trials", "4", "--seed", "7", "--no-ledger"]
    found = told("sweep", strategy, file, *words)
    space = {FAST: Range(3, 12)}
    own = sweep(strategy, load_candles(file)[0], space, method="random", trials=4, seed=7, ledger=False)
    assert found["best_row"] == own.best_row


def test_an_interrupt_keeps_what_is_done(
    strategy: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, real = tmp_path / "table.parquet", run_sweep._rows

    def _interrupted(*given: Any) -> Iterator[Any]:
        yield next(iter(real(*given)))
        raise KeyboardInterrupt

    monkeypatch.setattr(run_sweep, "_rows", _interrupted)
    words = ["sweep", strategy, file, *GRID, "--out", str(table), "--no-ledger"]
    found = told(*words, code=130)
    assert 0 < found["trials"] < found["of"] == 6
    assert found["complete"] is False
    monkeypatch.setattr(run_sweep, "_rows", real)
    assert told(*words)["trials"] == 6


def test_a_walk_is_that_of_the_call(strategy: str, file: str) -> None:
    spans = ["--train", "20d", "--test", "240", "--purge", "1d", "--mode", "anchored"]
    found = told("walk-forward", strategy, file, *GRID, *spans, "--no-ledger")
    options: dict[str, Any] = {"train": "20d", "test": 240, "purge": "1d", "mode": "anchored", "threads": 1}
    own = walk_forward(strategy, load_candles(file)[0], SPACE, ledger=False, **options)
    assert found["figures"] == own.figures
    assert found["complete"] is True
    assert [row[FAST] for row in found["windows"]] == own.frame[FAST].tolist()
    assert found["windows"][0]["test_start"] == own.frame["test_start"][0].isoformat()
    shown = runner.invoke(app, ["walk-forward", strategy, file, *GRID, *spans, "--no-ledger"])
    assert repr(own) in shown.stdout


WRONG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "words that are no grid": (
        ("--grid", "fast", "--grid", f"{FAST}=1:2:3:4", "--grid", f"{SLOW}=20", "--grid", f"{SLOW}=30"),
        ("'fast' gives no values", "start:stop:step", "given twice"),
    ),
    "an unknown path and a reversed range": (
        ("--grid", "analyzers[0].params.fats=1,2", "--grid", f"{SLOW}=30:20:5"),
        (f"did you mean '{FAST}'", SLOW),
    ),
    "a grid that is too large": (("--grid", f"{FAST}=1:90:1", "--max-trials", "50"), ("90 trials", "50 are allowed")),
    "an unknown objective": (("--grid", f"{FAST}=4,5", "--objective", "sharp"), ("did you mean 'sharpe'",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_are_told(name: str, strategy: str, file: str) -> None:
    words, texts = WRONG[name]
    for command in (("sweep",), ("walk-forward", "--train", "20d", "--test", "10d")):
        output = refused(*command, strategy, file, *words, "--no-ledger")
        assert all(text in output for text in texts), output


def test_a_length_that_is_none_is_told(strategy: str, file: str) -> None:
    output = refused("walk-forward", strategy, file, *GRID, "--train", "long", "--test", "0", "--no-ledger")
    assert "'long' is no length" in output and "test" in output


def test_trials_that_could_not_run_are_told_with_the_reason(strategy: str, file: str) -> None:
    words = ["--grid", f"{FAST}=5,25,30", "--threads", "1", "--no-ledger"]
    found = told("sweep", strategy, file, *words)
    reasons = ("analyzers[0]: fast 25 must be below slow 20", "analyzers[0]: fast 30 must be below slow 20")
    assert found["failed"] == dict.fromkeys(reasons, 1)
    shown = runner.invoke(app, ["sweep", strategy, file, *words]).stdout
    assert "2 could not run" in shown and "1 of 3 trials could not run: analyzers[0]: fast 25" in shown


def test_wrong_words_get_the_remedy(strategy: str, file: str, folder: Path) -> None:
    other = str(folder / "ETHUSDT_1h.csv")
    cases = {
        ("backtest", strategy, file, "--on-gap", "stopp"): "did you mean 'stop'?",
        ("backtest", strategy, file, "--detail", other): "the finer candles are those of ETH/USDT, not of BTC/USDT",
        ("backtest", "", file): "name at least one, several with a comma between",
        ("sweep", strategy, file, "--grid", f"{FAST}=9:3"): "Range(9, 3) ends before it starts; write Range(3, 9)",
        ("sweep", strategy, file, "--grid", f"{FAST}=3,4", "--out", "x.csv"): "name it x.parquet",
        ("sweep", strategy, file, "--grid", f"{FAST}=3,4", "--method", "random"): "number of trials is not said",
        ("walk-forward", strategy, file, "--grid", f"{FAST}=3,4", "--train", "9x", "--test", "2"): "'9x' is no length",
    }
    for words, remedy in cases.items():
        assert remedy in " ".join(refused(*words).split()), words
