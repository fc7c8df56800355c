"""The report of a run: every part is there, the file is whole and closed to the network, foreign strings stay text."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.errors import ConfigError, Refused
from stratnb.market_data import synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.daily import rolling_return, rolling_volatility
from stratnb.ui import Report, report
from stratnb.ui.chart import levels, packed
from stratnb.ui.panels.report_page import page
from stratnb.ui.panels.report_parts import Listing, Part, Words
from stratnb.ui.panels.report_price import COARSE, FINE, candle_levels, trade_levels
from stratnb.ui.panels.report_trades import result_bins

INJECTION = "<img src=x onerror=alert(1)></script>"


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_market(["BTC/USDT"], "5m", candles=12_000, seed=7)[0]


@pytest.fixture(scope="module")
def run(candles: Candles) -> Backtest:
    return backtest("simple-levels", candles, decisions="entries")


@pytest.fixture(scope="module")
def made(run: Backtest) -> Report:
    return report(run)


def states(html: str) -> list[dict[str, Any]]:
    """Return what the page's charts and tables show."""
    found = re.search(r'id="sn-states">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    parts: list[dict[str, Any]] = json.loads(found[1])
    return parts


def test_the_report_has_every_part_and_the_figures_of_the_run(run: Backtest, made: Report) -> None:
    titles = [part.title for part in made.parts]
    for title in ("Price and trades", "Equity and drawdown", "Months", "Rolling figures", "Distribution of trades"):
        assert title in titles
    assert {"MAE and MFE", "Decisions", "Trades", "Figures", "What was run"} <= set(titles)
    frame = made.to_frame().set_index("figure")[run.name]
    for name in ("total_return", "max_drawdown", "sharpe", "trades", "win_rate", "profit_factor"):
        assert frame[name] == pytest.approx(run.figures[name], abs=1e-12)
    assert repr(made) == f"<Report of simple-levels on BTC/USDT 5m, {len(run.trades)} trades>"


def test_the_file_is_one_closed_page(made: Report, tmp_path: Path) -> None:
    target = made.save(tmp_path / "run.html")
    html = target.read_text("utf-8")
    assert html == made.html and 1_300_000 < len(html) < 8_000_000
    assert "default-src 'none'" in html and "connect-src" not in html
    assert not re.search(r'<(script|link|img|iframe)[^>]*(src|href)="?http', html)
    tables = {part["state"]["caption"]: part["state"] for part in states(html) if part["draw"] == "table"}
    assert len(tables["Trades"]["rows"]) == len(made.source.trades)
    with pytest.raises(Refused, match="exists already"):
        made.save(target)
    assert made.save(target, overwrite=True) == target
    with pytest.raises(ConfigError, match=r"does not end in \.html"):
        made.save(tmp_path / "run.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        made.save(tmp_path / "none" / "run.html")


def test_the_equity_in_the_file_keeps_the_extremes_of_the_run(run: Backtest, made: Report) -> None:
    chart = next(p for p in states(made.html) if p["state"]["caption"] == "Equity and drawdown over time")
    op = next(op for op in chart["message"]["ops"] if op["model"] == "account")
    values = np.frombuffer(base64.b64decode(chart["buffers"][op["data"]["y"]["buffer"]]), np.float64)
    whole = np.concatenate(([run.capital], run.equity_curve))
    assert (values.min(), values.max(), values[-1]) == (whole.min(), whole.max(), whole[-1])


def test_a_saved_run_says_what_it_needs_and_takes_its_own_candles_only(
    run: Backtest, candles: Candles, made: Report
) -> None:
    saved = run.saved()
    assert "The candles are not known" in json.dumps([part["state"] for part in states(report(saved).html)])
    whole = report(saved, candles=candles)
    assert whole.to_frame().equals(made.to_frame())
    with pytest.raises(ConfigError, match="not the candles"):
        report(saved, candles=candles[:100])
    with pytest.raises(ConfigError, match="is not a backtest"):
        report("run.json")


def test_foreign_strings_stay_text(run: Backtest) -> None:
    saved = replace(run.saved(), name=INJECTION, quote=INJECTION, findings=(INJECTION,), reasons={INJECTION: 3})
    html = report(saved).html
    assert "<img" not in html and html.count("</script>") == html.count("<script")
    part = Part(INJECTION, (Words(INJECTION), Listing(INJECTION, [{"id": "1", "a": INJECTION}])), INJECTION)
    assert "<img" not in page(INJECTION, INJECTION, [part], INJECTION)
    bundle = report(saved)._repr_mimebundle_()
    assert "<img" not in bundle["text/html"] and "application/vnd.jupyter.widget-view+json" in bundle


def test_a_long_run_is_grouped_and_a_short_one_is_not(candles: Candles) -> None:
    assert [step for step, _ in candle_levels(candles[:1_500])] == [300_000]
    found = candle_levels(candles)
    assert [len(rows) <= most for (_, rows), most in zip(found, (COARSE, FINE), strict=True)] == [True, True]
    step, rows = found[0]
    assert step % 300_000 == 0 and len(found[-1][1]) == len(candles)
    assert rows[:, 1].max() == candles.high.max() and rows[:, 4].sum() == pytest.approx(candles.volume.sum())


def test_of_many_trades_the_largest_results_come_first(run: Backtest) -> None:
    trades = [replace(run.closed_trades[0], entry_ms=i * 10, exit_ms=i * 10 + 5, pnl=float(i)) for i in range(1_000)]
    marks, legs = trade_levels(trades, [()])
    assert [len(leg["x0"]) for leg in legs] == [400, 1_000] and legs[0]["x0"].min() == 6_000.0
    assert all((np.diff(level["x"]) >= 0).all() for level in marks)


def test_a_histogram_holds_every_trade_and_has_an_edge_at_zero() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(0.0, 0.01, 500), np.array([0.02]), np.array([-0.02, -0.02]), np.zeros(3)):
        edges, counts = result_bins(values)
        assert counts.sum() == len(values) and np.abs(edges).min() < 1e-12 and len(counts) <= 62


def test_rolling_figures_are_those_of_each_window() -> None:
    returns = np.random.default_rng(1).normal(0.0, 0.01, 40)
    last = returns[-30:]
    assert rolling_volatility(returns, 30)[-1] == pytest.approx(last.std(ddof=1) * np.sqrt(365))
    assert rolling_return(returns, 30)[-1] == pytest.approx(np.prod(1 + last) - 1)
    assert np.isnan(rolling_return(returns, 30)[:29]).all() and np.isnan(rolling_volatility(returns, 41)).all()


def test_levels_travel_as_binary() -> None:
    buffers: list[memoryview] = []
    op = packed(levels("src", "t", 5, [{"t": [1.0, 2.0]}, {"t": [1.0, 1.5, 2.0]}]), buffers)
    assert op["parts"] == [{"t": {"buffer": 0}}, {"t": {"buffer": 1}}] and len(buffers[1]) == 3
