"""P10 with real backtests: checks before a run, progress and cancel, what a result shows, stored runs and exports."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sample_board import INJECTION, SampleBoard
from stratnb.errors import ConfigError, Refused
from stratnb.market_data import Archive, synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.market_data.resample import resample
from stratnb.research.backtest import backtest, load_run
from stratnb.ui.panels.backtest import BacktestPanel
from stratnb.ui.panels.backtest_checks import Examiner
from stratnb.ui.panels.backtest_curves import CompareCurve
from stratnb.ui.panels.backtest_draft import parse_number, parse_time
from stratnb.ui.panels.backtest_files import export, file_name
from stratnb.ui.panels.backtest_rows import TRADES_SHOWN, figure, gap_rows, trade_rows
from stratnb.ui.panels.backtest_runs import COMPARED_MOST, STORED_MOST
from stratnb.ui.panels.backtest_trade import DRAWN_MOST, around
from stratnb.ui.pump import pump
from stratnb.ui.work import Work


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], candles=6_000, seed=3)[0]


@pytest.fixture(scope="module")
def csv(candles: Candles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("candles") / "btc_usdt_1m.csv"
    candles.to_frame().drop(columns="flags").to_csv(path)
    return path


@pytest.fixture
def panel(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BacktestPanel]:
    """Return a panel on a file, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    made = BacktestPanel(SampleBoard(1, candles=300))
    made.setup.data.value, made.setup.path.value = "File", str(csv)
    yield made
    made.close()


def finish(panel: BacktestPanel) -> None:
    """Wait for the worker and take its result."""
    assert panel._work is not None
    panel._work.join(30)
    pump().paint_now()


def run(panel: BacktestPanel) -> None:
    """Press Run and wait."""
    panel.start.click()
    finish(panel)


def content(link: str) -> bytes:
    """Return what a link saves."""
    found = re.search(r"base64,([^\"]*)", link)
    assert found is not None
    data = base64.b64decode(found[1])
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def test_a_run_shows_what_python_gives(panel: BacktestPanel, candles: Candles) -> None:
    panel.setup.taker.value, panel.setup.cash.value = "0.002", "5000"
    run(panel)
    costs = {"execution.simulation.taker_fee": 0.002}
    expected = backtest("simple-levels", candles, cash=5_000.0, overrides=costs)
    view, result = panel.result, panel.runs[0].result
    assert np.array_equal(result.equity_curve, expected.equity_curve)
    assert panel.to_frame().loc[0, "total_return"] == expected.figures["total_return"]
    assert [row["id"] for row in view.figures.rows] == list(expected.figures)
    assert [row["id"] for row in view.trades.rows] == [str(n) for n in range(len(expected.trades), 0, -1)]
    assert {row["id"]: row["n"]["n"] for row in view.reasons.rows} == dict(expected.reasons)
    assert {row["id"]: row["n"]["n"] for row in view.denials.rows} == expected.denials
    assert f"target: {expected.ambiguous_candles}" in view.ambiguous.value
    assert "no gaps" in view.gaps_head.value
    assert "● Ready" in panel.setup.findings.value and "6,000 candles" in panel.frame.heading.value


def test_everything_wrong_is_told_at_once_and_nothing_runs(csv: Path, tmp_path: Path) -> None:
    started: list[Any] = []
    panel = BacktestPanel(SampleBoard(1, candles=300), run=lambda *a, **k: started.append(a))
    s = panel.setup
    s.cash.value, s.taker.value, s.slippage.value = "-5", "2", "much"
    s.start.value, s.end.value = "2030-01-01", "soon"
    run(panel)
    told = s.findings.value
    assert told.count("■ Error") == 5 and 'role="alert"' in told
    for words in ("Capital -5", "did you mean 0.02?", "Slippage", "is not a time", "it covers 2026-01-01"):
        assert words in told
    assert started == [] == panel.runs
    s.cash.value, s.taker.value, s.slippage.value, s.start.value, s.end.value = "", "", "", "2026-01-02", "2026-01-01"
    run(panel)
    assert "To is not after From" in s.findings.value
    s.start.value = s.end.value = ""
    s.data.value, s.path.value = "File", str(tmp_path / "none.csv")
    run(panel)
    assert "none.csv" in s.findings.value and started == []
    s.path.value = str(csv)
    s.end.value = "2024-01-01 02:00"
    run(panel)
    assert "the warm-up needs 50 candles of 5m, the range has 25" in s.findings.value and started == []


def test_fields_are_checked_while_they_are_edited(panel: BacktestPanel) -> None:
    panel.setup.taker.value = "7"
    checks = [job for job, _ in pump()._jobs]
    pump().paint_now()
    for job, _ in pump()._jobs:
        if job not in checks and isinstance(job, Work):
            job.join(30)
    pump().paint_now()
    assert "did you mean 0.07" not in panel.setup.findings.value
    assert "Taker fee 7 is outside 0 to 0.05" in panel.setup.findings.value and panel.runs == []


def test_gaps_and_guesses_are_noted_but_do_not_forbid_a_run(candles: Candles, tmp_path: Path) -> None:
    frame = candles.to_frame().drop(columns="flags")
    path = tmp_path / "btc_usdt_1m.csv"
    frame.drop(frame.index[2_000:2_040]).drop(frame.index[3_000:3_003]).to_csv(path)
    panel = BacktestPanel(SampleBoard(1, candles=300))
    panel.setup.data.value, panel.setup.path.value = "File", str(path)
    panel.setup.end.value = "2031-01-01"
    run(panel)
    for words in ("2 gaps, 43 candles missing", "guessed from the candles", "reaches beyond the candles"):
        assert words in panel.setup.findings.value
    assert [row["missing"]["n"] for row in panel.result.gaps.rows] == [40, 3]
    assert gap_rows(panel.runs[0].result.gaps, 60_000)[0]["time"]["t"] == "40 m"


def test_finer_candles_give_what_python_gives_and_are_checked(candles: Candles, csv: Path, tmp_path: Path) -> None:
    coarse = resample(candles, "5m")
    path = tmp_path / "btc_usdt_5m.csv"
    coarse.to_frame().drop(columns="flags").to_csv(path)
    panel = BacktestPanel(SampleBoard(1, candles=300))
    s = panel.setup
    s.data.value, s.path.value, s.detail.value = "File", str(path), str(csv)
    run(panel)
    result = panel.runs[0].result
    assert result.timeframe == "1m" and "6,000 candles" in s.findings.value
    assert np.array_equal(result.equity_curve, backtest("simple-levels", coarse, detail=candles).equity_curve)
    s.path.value, s.detail.value = str(csv), str(path)
    run(panel)
    assert "do not lie within" in s.findings.value and len(panel.runs) == 1
    s.detail.value = str(tmp_path / "none.csv")
    run(panel)
    assert "none.csv" in s.findings.value and len(panel.runs) == 1


def test_an_archive_is_a_source(candles: Candles, tmp_path: Path) -> None:
    Archive(tmp_path).write(candles, "test")
    panel = BacktestPanel(SampleBoard(0))
    panel.setup.data.value, panel.setup.path.value = "Archive", str(tmp_path)
    run(panel)
    assert [label for label, _ in panel.setup.series.options] == ["test BTC/USDT 1m"]
    assert len(panel.runs[0].result.close_ms) == len(candles)
    panel.setup.path.value = str(tmp_path / "none")
    run(panel)
    assert "is not a folder" in panel.setup.findings.value


def test_a_loaded_strategy_brings_its_symbol_and_document() -> None:
    board = SampleBoard(3, candles=3_000)
    panel = BacktestPanel(board)
    panel.setup.strategy.value = ("loaded", "s1@ETH/USDT")
    assert panel.setup.symbol.value == "ETH/USDT"
    run(panel)
    result = panel.runs[0].result
    assert result.candles.symbol == "ETH/USDT" and len(result.close_ms) == 3_000  # type: ignore[union-attr]


def test_a_file_is_read_again_only_when_it_has_changed(csv: Path, candles: Candles, tmp_path: Path) -> None:
    path = tmp_path / csv.name
    path.write_bytes(csv.read_bytes())
    panel = BacktestPanel(SampleBoard(0))
    panel.setup.data.value, panel.setup.path.value = "File", str(path)
    examine, draft = Examiner(panel.board), panel.setup.draft(panel.board.view())
    first, again = examine(draft).candles, examine(draft).candles
    assert first is not None and again is not None and first.close.base is again.close.base
    candles[:5_000].to_frame().drop(columns="flags").to_csv(path)
    shorter = examine(draft).candles
    assert shorter is not None and len(shorter) == 5_000


def test_a_trade_is_shown_on_its_candles(panel: BacktestPanel, candles: Candles) -> None:
    run(panel)
    picture, trades = panel.result.picture, panel.runs[0].result.closed_trades
    panel.result.trades.on_act("open", "4")
    ops = {op["model"]: op["data"] for op in picture._picture.ops if op["op"] == "set"}
    trade = trades[3]
    assert ops["entry"]["y"].tolist() == [trade.entry_price]
    assert ops["stop"]["y"].tolist() == [panel.runs[0].result.planned_stops[3]] * 2
    assert ops["src"]["t"][0] <= trade.entry_ms <= trade.exit_ms <= ops["src"]["t"][-1]
    entries = np.nan_to_num(ops["fills"]["long"]) + np.nan_to_num(ops["fills"]["short"])
    drawn = set(ops["fills"]["x"][entries > 0.0].tolist())
    assert float(trade.entry_ms) in drawn <= {float(t.entry_ms) for t in trades}
    assert panel.result.trades.current == "4"
    picture.after.click()
    assert panel.result.trades.current == "5"
    picture.look(panel.runs[0], len(trades) - 1)
    assert picture.after.disabled and not picture.before.disabled
    picture.clear()
    assert panel.result.trades.current == ""


def test_long_trades_are_drawn_in_longer_candles(candles: Candles) -> None:
    start, end = int(candles.open_time_ms[100]), int(candles.open_time_ms[5_000])
    rows, step = around(candles, start, end)
    assert step > 60_000 and len(rows) <= DRAWN_MOST
    assert rows[0, 5] <= start and rows[-1, 5] + step > end
    assert rows[:, 1].max() == candles.high[(candles.open_time_ms >= rows[0, 5])][: 60 * len(rows)].max()


def test_runs_are_kept_shown_compared_and_removed(panel: BacktestPanel) -> None:
    for _ in range(2):
        run(panel)
    panel.setup.taker.value = "0.003"
    run(panel)
    runs = panel.list
    for number in "123":
        runs.table.on_act("compare", number)
    assert [col["label"][:1] for col in runs.compared.cols[1:]] == ["1", "2", "3"]
    total = next(row for row in runs.compared.rows if row["id"] == "total_return")
    assert total["r0"] == total["r1"] != total["r2"]
    ops = {op["model"]: op["data"] for op in runs.curve._picture.ops}
    assert len(ops["s2"]["t"]) > 0 == len(ops["s3"]["t"])
    assert ops["s0"]["y"][0] == pytest.approx(100.0, rel=0.01)
    runs.table.on_act("open", "1")
    assert panel.result.run is panel.runs[0] and runs.table.current == "1"
    runs.table.on_act("remove", "1")
    assert [r.number for r in panel.runs] == [2, 3] and panel.result.run is panel.runs[-1] and runs.chosen == [2, 3]
    for number in "32":
        runs.table.on_act("remove", number)
    assert panel.runs == [] and panel.to_frame().empty and panel.result.run is None


def test_the_newest_twenty_runs_are_kept_and_four_compared(panel: BacktestPanel) -> None:
    run(panel)
    for _ in range(STORED_MOST + 3):
        panel.list.add(panel.runs[0])
    assert [r.number for r in panel.runs] == list(range(5, STORED_MOST + 5))
    for number in range(10, 10 + COMPARED_MOST + 1):
        panel.list.table.on_act("compare", str(number))
    assert panel.list.chosen == [10, 11, 12, 13] and "At most 4" in panel.outcome.value


def test_a_run_is_saved_refused_twice_and_opened_again(panel: BacktestPanel, tmp_path: Path) -> None:
    run(panel)
    panel.result.save.click()
    finish(panel)
    name = file_name("simple-levels on btc_usdt_1m.csv", 1)
    saved = load_run(tmp_path / name)
    assert name in panel.outcome.value and saved.trades.equals(panel.runs[0].result.trades)
    panel.result.save.click()
    finish(panel)
    assert "file_exists" in panel._said.value
    panel.file.value = name
    panel.reopen.click()
    finish(panel)
    opened = panel.runs[-1]
    assert opened.candles is not None and panel.result.run is opened and not panel.proofs.parity.disabled
    assert [row["pnl"] for row in panel.result.trades.rows] == [
        row["pnl"] for row in trade_rows(saved.trades, saved.planned_stops)
    ]
    panel.setup.end.value = "2024-01-03"
    panel.reopen.click()
    finish(panel)
    assert panel.runs[-1].candles is None and panel.proofs.parity.disabled
    panel.result.trades.on_act("open", "1")
    assert "holds no candles" in panel.result.picture.words.value
    panel.file.value = "nothing.json"
    panel.reopen.click()
    finish(panel)
    assert "file_missing" in panel._said.value


@pytest.mark.parametrize("what", ["trades.csv", "fills.csv", "equity.csv", "run.json"])
def test_exports_hold_the_whole_run(candles: Candles, what: str) -> None:
    result = backtest("simple-levels", candles, decisions="entries")
    data = content(export(result, what))
    if what == "run.json":
        assert data.decode() == result.saved().to_json()
        return
    frame = pd.read_csv(io.BytesIO(data))
    whole = getattr(result, what.removesuffix(".csv"))
    assert len(frame) == len(whole)
    number = {"trades.csv": "pnl", "fills.csv": "price", "equity.csv": "equity"}[what]
    assert np.array_equal(frame[number].to_numpy(), whole[number].to_numpy())


def test_large_exports_are_compressed_and_too_large_ones_refused(
    candles: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stratnb.ui.panels import backtest_files

    result = backtest("simple-levels", candles)
    plain = content(export(result, "equity.csv"))
    monkeypatch.setattr(backtest_files, "PLAIN_MOST", 1_000)
    link = export(result, "equity.csv")
    assert 'equity.csv.gz"' in link and content(link) == plain
    monkeypatch.setattr(backtest_files, "LINK_MOST", 1_000)
    with pytest.raises(Refused) as caught:
        export(result, "equity.csv")
    assert caught.value.code == "too_large"


def test_a_running_backtest_can_be_canceled_and_is_not_started_twice() -> None:
    waiting, begun, started = threading.Event(), threading.Event(), []

    def slow(strategy: Any, candles: Any, *, progress: Any, cancelled: Any, **options: Any) -> Any:
        started.append(strategy)
        progress(0, 400)
        progress(100, 400)
        begun.set()
        waiting.wait(5)
        return backtest(strategy, candles, progress=progress, cancelled=cancelled, **options)

    panel = BacktestPanel(SampleBoard(1), run=slow)
    for _ in range(2):
        panel.start.click()
    assert begun.wait(5)
    panel.cancel.click()
    pump().paint_now()
    assert "Canceling" in panel.status.value and panel.start.disabled
    waiting.set()
    finish(panel)
    assert "Canceled" in panel.outcome.value and len(panel.runs) == 1 == len(started)
    assert len(panel.runs[0].result.close_ms) == 0 and not panel.start.disabled


def test_progress_tells_rate_and_rest() -> None:
    told, go = threading.Event(), threading.Event()

    def call(progress: Any, **_: Any) -> None:
        progress(0, 1_000)
        progress(250, 1_000)
        told.set()
        go.wait(5)

    work = Work(call)
    assert told.wait(5)
    assert work.fraction == 0.25
    assert work.rate is not None and work.rate > 0.0 and work.remaining_s == pytest.approx(750 / work.rate)
    go.set()
    work.join(5)
    assert Work(lambda **_: None).rate is None


def test_a_failed_run_is_refused_in_the_panel() -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ConfigError("no_room", f"there is none {INJECTION}", hint="make some")

    panel = BacktestPanel(SampleBoard(1), run=broken)
    run(panel)
    assert "no_room" in panel._said.value and INJECTION not in panel._said.value and panel.runs == []


def test_the_report_of_parity_is_shown_and_can_be_canceled(panel: BacktestPanel) -> None:
    run(panel)
    panel.proofs.parity.click()
    finish(panel)
    trades = len(panel.runs[0].result.trades)
    assert "● Parity" in panel.proofs.told["parity"].value
    assert f"6,000 candles, {trades:,} trades" in panel.proofs.told["parity"].value
    go, parity = threading.Event(), panel._parity_of

    def held(*args: Any, **options: Any) -> Any:
        assert go.wait(5)
        return parity(*args, **options)

    panel._parity_of = held
    before = panel.proofs.told["parity"].value
    panel.proofs.parity.click()
    panel.cancel.click()
    go.set()
    finish(panel)
    assert "Canceled:" in panel.outcome.value and panel.proofs.told["parity"].value == before
    assert not panel.proofs.parity.disabled


def test_text_of_others_stays_text(candles: Candles, tmp_path: Path) -> None:
    document = backtest("simple-levels", candles).plan.config.to_document()
    result = backtest({**document, "title": INJECTION, "notes": INJECTION}, candles[:2_000])
    path = result.save(tmp_path / "run.json")
    whole = json.loads(path.read_text())
    del whole["sha256"]
    text = json.dumps(whole | {"name": INJECTION})
    (tmp_path / "bad.json").write_text(f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}')
    panel = BacktestPanel(SampleBoard(1, candles=300))
    panel.file.value = str(tmp_path / "bad.json")
    panel.reopen.click()
    finish(panel)
    for box in (panel.result.heading, panel.frame.heading, panel.list.curve.legend, panel.result.trades_head):
        assert INJECTION not in box.value
    assert "&lt;img" in panel.result.heading.value
    assert "<img" not in export(panel.runs[0].result, "trades.csv")


def test_comparing_nothing_draws_nothing() -> None:
    curve = CompareCurve()
    curve.draw([("empty", [], [])])
    assert curve._picture.ops == []


def test_many_trades_are_cut_to_the_newest(candles: Candles) -> None:
    trades = backtest("simple-levels", candles).trades
    many = pd.concat([trades] * (TRADES_SHOWN // len(trades) + 1), ignore_index=True)
    rows = trade_rows(many)
    assert len(rows) == TRADES_SHOWN and rows[0]["id"] == str(len(many)) and rows[0]["r"]["t"] == "n/a"


def test_a_percent_gets_its_fraction_as_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_number("5", "Fee", 0.0, 0.05)
    assert caught.value.hint == "did you mean 0.05?"


@pytest.mark.parametrize(
    ("text", "last", "ms"),
    [
        ("", False, None),
        ("2018-01-01", False, 1514764800000),
        ("2018-01-01", True, 1514851199999),
        ("2018-01-01 14:05", True, 1514815500000),
        ("2018-01-01T14:05+02:00", False, 1514808300000),
    ],
)
def test_times_are_utc_and_a_last_day_is_whole(text: str, last: bool, ms: int | None) -> None:
    assert parse_time(text, "To", last=last) == ms


def test_the_panel_shows_itself_in_a_notebook(panel: BacktestPanel) -> None:
    run(panel)
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "simple-levels" in bundle["text/html"]
    for part in (panel.setup, panel.result, panel.list, panel.result.picture):
        assert type(part).__name__ in repr(part)


def faulty(candles: Candles, path: Path, kind: str) -> Path:
    """Write candles with a fault of a kind to a file."""
    frame = candles[:50].to_frame().drop(columns="flags").reset_index()
    if kind == "twice":
        frame = pd.concat([frame, frame.iloc[-3:]])
    else:
        frame.loc[7:9, "close"] = {"nan": np.nan, "infinite": np.inf, "negative": -1.0}[kind]
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["twice", "nan", "infinite", "negative"])
def test_a_fault_in_a_file_is_a_finding_with_a_remedy(
    panel: BacktestPanel, candles: Candles, tmp_path: Path, kind: str
) -> None:
    panel.setup.path.value = str(faulty(candles, tmp_path / "btc_usdt_1m.csv", kind))
    run(panel)
    assert "■ Error" in panel.setup.findings.value and panel.runs == []
    assert "sn-off" in panel.refusal._dom_classes


@pytest.mark.parametrize("path", ["~nouser-here/x.csv", "x" * 5_000, "a\0b.csv", "x/" * 3_000, "", "/proc/self/mem"])
@pytest.mark.parametrize("source", ["File", "Archive"])
def test_any_typed_path_ends_in_a_finding(panel: BacktestPanel, source: str, path: str) -> None:
    panel.setup.data.value, panel.setup.path.value = source, path
    run(panel)
    assert "■ Error" in panel.setup.findings.value and panel.runs == []
    assert "sn-off" in panel.refusal._dom_classes


@pytest.mark.parametrize("text", ["1,5", "10,00", "1,00,000", "1_000", "1,000,00"])
def test_a_comma_that_parts_no_thousands_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number"):
        parse_number(text, "Capital", 1.0, 1e12)


@pytest.mark.parametrize("value", [1.0, 1_000.0, 1_234_567.5, 12_345.0])
def test_a_number_with_commas_between_thousands_is_that_number(value: float) -> None:
    assert parse_number(f"{value:,}", "Capital", 1.0, 1e12) == value


def test_strategies_of_one_name_are_told_apart_in_the_list() -> None:
    board = SampleBoard(2, candles=300)
    plain = board.view()
    first, second = plain.strategies
    twin = replace(second, title=first.title, name=first.name, symbol=first.symbol, label="second")
    panel = BacktestPanel(board)
    panel.setup.paint(replace(plain, strategies=(first, twin)))
    labels = [label for label, _ in panel.setup.strategy.options]
    assert len(labels) == len(set(labels))


def test_money_of_a_coin_has_the_digits_of_a_coin() -> None:
    row = figure("best_trade", 0.000123, quote="BTC")
    assert isinstance(row, dict) and row["t"] == "▲ +0.000123"
    assert figure("final_equity", 9.001234, quote="BTC") == "9.001234"
    whole = figure("open_quantity", 0.0184)
    assert isinstance(whole, dict) and whole["t"] == "0.0184"
