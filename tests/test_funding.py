"""Tables of funding rates: what is none is told at once, and a portfolio pays each market's own at its times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data import Candles, FundingRates, funding_tables, load_funding
from stratnb.research.backtest import backtest
from stratnb.research.portfolio import portfolio
from trading_cases import FREE, document, market, registered, wander

HOUR = 3_600_000
THEN = 1_699_999_200_000
SYMBOLS = ("AAA/USDT", "BBB/USDT")
MARKETS = {symbol: market(symbol, kind="linear", max_leverage=5.0) for symbol in SYMBOLS}
HELD = document(
    "held",
    market={"kind": "linear"},
    timeframes={"primary": "5m"},
    capital={"amount": 0.4},
    analyzers=[{"kind": "dice"}],
    sizing={"kind": "fixed_quantity", "quantity": 4.0},
    exits={"stop_loss": {"fraction": 0.4}, "signal_exit": {}},
)
WRONG: list[tuple[Any, Any, str]] = [
    ([2 * HOUR, HOUR], [0.0, 0.0], "do not rise at row 1: 3600000 after 7200000"),
    ([HOUR, HOUR], [0.0, 0.0], "do not rise at row 1"),
    ([HOUR, 2 * HOUR], [0.0, float("nan")], "rate nan of row 1 is no number"),
    ([HOUR, float("nan")], [0.0, 0.0], "time nan of row 1 is no whole number"),
    ([HOUR, 2.5 * HOUR + 0.5], [0.0, 0.0], "is no whole number"),
    ([HOUR * 10**9], [0.0], "are no milliseconds"),
    ([HOUR, 2 * HOUR], [0.0, -2.0], "rate -2.0 of row 1 is no fraction of at most 0.1"),
    ([HOUR + 7_000, HOUR], [0.2, 0.0], "no fraction of at most 0.1; the times are no multiples of a minute"),
    ([[HOUR]], [[0.0]], "there are 1 times and 1 rates"),
    (["x"], [0.0], "they are no numbers"),
    ([HOUR], [None], "rate nan of row 0"),
]


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Any:
    with registered():
        yield


def table(symbol: str, start_ms: int, hours: int, every: int, seed: int) -> FundingRates:
    """Return rates every so many hours."""
    times = start_ms - start_ms % (8 * HOUR) + HOUR * np.arange(0, hours, every)
    return FundingRates(symbol, times, np.random.default_rng(seed).uniform(-0.003, 0.003, len(times)).round(5))


def series(n: int = 3_000) -> list[Candles]:
    return [wander(n, 5 + k, symbol=symbol, timeframe="5m", gaps=3 * k) for k, symbol in enumerate(SYMBOLS)]


@pytest.mark.parametrize(("times", "rates", "text"), WRONG)
def test_what_is_no_table_says_which_row(times: Any, rates: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FundingRates("AAA/USDT", times, rates)
    assert caught.value.code == "funding_rates" and text in caught.value.message and "AAA/USDT" in caught.value.message


def test_all_faults_of_all_tables_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratnb.research.portfolio.run_many", lambda *_a: pytest.fail("it ran"))
    good = FundingRates("AAA/USDT", [HOUR], [0.0])  # type: ignore[arg-type]
    frames: dict[str, Any] = {
        "AAA/USDT": pd.DataFrame({"time": [THEN + HOUR, THEN], "rate": [0.0, 0.0]}),
        "BBB/USD": pd.DataFrame({"time": [THEN], "rate": [0.0]}),
        "BBB/USDT": pd.DataFrame({"time": [THEN], "price": [0.0]}),
    }
    cases: list[tuple[Any, set[str]]] = [
        (frames, {"funding_rates", "market_unknown", "missing"}),
        ([good, good], {"duplicate_symbol"}),
        ({"BBB/USDT": good}, {"market_symbol"}),
        ([good, 7], {"type"}),
        (7, {"type"}),
        (pd.DataFrame({"time": [THEN], "rate": [0.0]}), {"missing"}),
        (pd.DataFrame({"symbol": ["CCC/USDT"], "time": [THEN], "rate": [0.0]}), {"market_unknown"}),
        ({"AAA/USDT": pd.DataFrame({"time": ["2024-01-01", "soon"], "rate": [0.0, 0.0]})}, {"funding_rates"}),
    ]
    for given_, codes in cases:
        with pytest.raises(ConfigError) as caught:
            portfolio([HELD], series(300), market=MARKETS, funding=given_)
        assert caught.value.code == "funding_rates"
        assert {finding.code for finding in caught.value.findings} == codes, caught.value
    with pytest.raises(ConfigError, match="there are candles of BBB/USDT"):
        funding_tables({"BBB/USD": frames["BBB/USD"]}, SYMBOLS)


def test_one_strategy_of_a_portfolio_pays_as_alone() -> None:
    candles = series()[1]
    own = table("BBB/USDT", int(candles.open_time_ms[0]), 320, 4, 3)
    options: dict[str, Any] = {"market": MARKETS["BBB/USDT"], "limits": FREE, "funding": own}
    alone = backtest(HELD, candles, **options)
    made = portfolio([HELD], candles, **options)["held"]
    assert alone.book[at.B_FUNDING] != 0.0
    assert np.array_equal(alone.fill_rows, made.fill_rows) and np.array_equal(alone.book, made.book, equal_nan=True)
    assert np.array_equal(alone.equity_curve, made.equity_curve)


@pytest.mark.parametrize("chunk", [None, 2 * 97])
def test_each_market_pays_its_own_rates(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if chunk is not None:
        monkeypatch.setattr("stratnb.research.portfolio.CHUNK", chunk)
    candles = series()
    start = int(candles[0].open_time_ms[0])
    tables = {symbol: table(symbol, start, 320, every, every) for symbol, every in zip(SYMBOLS, (8, 1), strict=True)}
    made = portfolio([HELD], candles, market=MARKETS, limits=FREE, funding=tables)
    for each in candles:
        own = made[f"held@{each.symbol}"]
        options: dict[str, Any] = {"market": MARKETS[each.symbol], "limits": FREE, "funding": tables[each.symbol]}
        alone = backtest(HELD, each, **options)
        assert own.book[at.B_FUNDING] != 0.0
        assert own.book[at.B_FUNDING] == pytest.approx(alone.book[at.B_FUNDING], rel=1e-9)
        assert [trade.funding for trade in own.closed_trades] == pytest.approx(
            [trade.funding for trade in alone.closed_trades], rel=1e-9, abs=1e-12
        )
        assert not [finding for finding in made.findings if finding.code == "funding_missing"]


def test_a_market_without_a_table_pays_the_parameter_and_says_so() -> None:
    candles = series()
    one = table("AAA/USDT", int(candles[0].open_time_ms[0]), 320, 8, 1)
    made = portfolio([HELD], candles, market=MARKETS, limits=FREE, funding=one)
    assert made["held@AAA/USDT"].book[at.B_FUNDING] != 0.0 and made["held@BBB/USDT"].book[at.B_FUNDING] == 0.0
    told = [finding for finding in made.findings if finding.code == "funding_missing"]
    assert len(told) == 1 and told[0].path.startswith("held@BBB/USDT")
    short = table("AAA/USDT", int(candles[0].open_time_ms[0]) + 60 * HOUR, 40, 8, 1)
    result = backtest(HELD, candles[0], market=MARKETS["AAA/USDT"], limits=FREE, funding=short)
    assert [f.message.partition("out times ")[2] for f in result.findings if f.code == "funding_missing"] == [
        "before the first and after the last"
    ]
    spot = document("spot", timeframes={"primary": "5m"}, analyzers=[{"kind": "dice"}])
    result = backtest(spot, candles[0], limits=FREE, funding=short)
    assert [f.code for f in result.findings if "spot" in f.message] == ["not_enforced"]


def test_every_way_of_writing_a_table_is_the_same(tmp_path: Path) -> None:
    made = [table(symbol, 1_700_000_000_000, 80, 8, k) for k, symbol in enumerate(SYMBOLS)]
    frames = [pd.DataFrame({"time": each.time_ms, "rate": each.rates}) for each in made]
    whole = pd.concat([frame.assign(symbol=symbol) for frame, symbol in zip(frames, SYMBOLS, strict=True)])
    dated = whole.assign(time=pd.to_datetime(whole["time"], unit="ms", utc=True)).rename(
        columns={"rate": "fundingRate"}
    )
    file = tmp_path / "funding.csv"
    dated.to_csv(file, index=False)
    ways: list[Any] = [made, dict(zip(SYMBOLS, frames, strict=True)), whole, dated, {x.symbol: x for x in made}]
    for found in [funding_tables(way, SYMBOLS) for way in ways] + [load_funding(file, SYMBOLS)]:
        for each in made:
            assert np.array_equal(found[each.symbol].time_ms, each.time_ms)
            assert np.array_equal(found[each.symbol].rates, each.rates)
    alone = funding_tables(frames[0], SYMBOLS[:1])
    assert list(alone) == ["AAA/USDT"] and funding_tables(None, SYMBOLS) == {}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=40, unique=True), st.integers(0, 499))
def test_times_that_exchanges_tell_late_are_rounded(hours: list[int], late_ms: int) -> None:
    times = HOUR * np.array(sorted(hours))
    made = FundingRates("AAA/USDT", times + late_ms, np.zeros(len(times)))
    assert np.array_equal(made.time_ms, times) and (made.time_ms % made.every_ms == 0).all()
    assert 8 * HOUR % made.every_ms == 0


@pytest.mark.parametrize(("costs", "told"), [({}, 1), ({"funding_rate": 0.0}, 0), ({"funding": False}, 0)])
def test_paper_says_that_it_knows_no_rates(costs: dict[str, Any], told: int) -> None:
    doc = {**HELD, "execution": {"simulation": costs}}
    with Engine("rates", candles=series(50)[0], markets=[MARKETS["AAA/USDT"]]) as engine:
        heard = engine.events.subscribe(types=("STRATEGY_LOADED",))
        engine.add(doc)
        (event,) = heard.take()
        assert sum("no funding rates are given" in text for text in event.payload["warnings"]) == told
