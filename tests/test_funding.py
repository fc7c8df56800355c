"""Tables of funding rates: what is none is told at once; each market pays its own, a trial what its backtest does."""

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
from stratnb.research import batch
from stratnb.research.backtest import backtest
from stratnb.research.batch import run_batch, track_of
from stratnb.research.configured import configure
from stratnb.research.daily import daily_series
from stratnb.research.funding import parts_of, shared
from stratnb.research.gaps import OnGap
from stratnb.research.measure import FIGURES
from stratnb.research.portfolio import portfolio
from stratnb.research.random_entries import random_entries
from stratnb.research.stretch import run_stretch
from stratnb.research.sweep import Sweep, sweep
from stratnb.research.walk_forward import walk_forward
from sweep_cases import EMA, FAST, SLOW, STOP, same, walk
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


# Sweeps and walk-forwards.

RATE, PAID, END = (f"execution.simulation.{name}" for name in ("funding_rate", "funding", "end"))
SWEPT = {**EMA, "market": {"kind": "linear"}}
SPACE: dict[str, Any] = {FAST: [3, 5, 9], SLOW: [20, 30], RATE: [0.0, 0.002], PAID: [True, False]}


def rates(seed: int) -> FundingRates:
    """Return rates at some hours of the candles that are swept; the last hours have none."""
    every = table("AAA/USDT", int(walk(10).open_time_ms[0]), 96, 1, seed)
    kept = np.random.default_rng(seed).random(len(every)) < 0.8
    return FundingRates("AAA/USDT", every.time_ms[kept], every.rates[kept])


def swept(funding: FundingRates | None, **options: Any) -> Sweep:
    given_ = {"market": MARKETS["AAA/USDT"], "limits": FREE, "ledger": False, "funding": funding, **options}
    return sweep(SWEPT, walk(), options.pop("space", SPACE), **{k: v for k, v in given_.items() if k != "space"})


@pytest.mark.parametrize(("gaps", "on_gap"), [(0, "hold"), (7, "hold"), (7, "split")])
@pytest.mark.parametrize("together", [False, True])
def test_a_trial_pays_what_its_backtest_pays(
    gaps: int, on_gap: OnGap, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Book and equity have the same bits, alone or together by a generated loop, in any number of threads."""
    monkeypatch.setattr(batch, "pays", lambda *_: together)
    candles, funding = walk(gaps=gaps), rates(gaps)
    settings_ = [{FAST: fast, RATE: 0.001 * (fast % 3), PAID: fast != 7} for fast in range(3, 14)]
    settings_ += [{FAST: 4, END: "close"}, {FAST: 4, "market.direction": "both"}]
    options: dict[str, Any] = {"market": MARKETS["AAA/USDT"]}
    plans = [configure(SWEPT, candles, overrides=own, **options)[0] for own in settings_]
    track = track_of(candles, on_gap, funding=funding)
    made = run_batch(plans, track, cash=10_000.0, limits=FREE, threads=1)
    other = run_batch(plans[::-1], track, cash=10_000.0, limits=FREE, threads=3)
    assert not any(made.errors) and np.array_equal(made.daily, other.daily[::-1])
    options |= {"limits": FREE, "funding": funding, "on_gap": on_gap}
    for k, own in enumerate(settings_):
        alone = backtest(SWEPT, candles, overrides=own, tier="scan", **options)
        assert np.array_equal(made.book[k], alone.book, equal_nan=True)
        assert np.array_equal(made.daily[k], daily_series(alone.close_ms, alone.equity_curve, alone.capital)[1])
        assert bool(alone.book[at.B_FUNDING]) is own.get(PAID, True)


def test_a_sweep_ranks_by_the_money_of_its_backtests(tmp_path: Path) -> None:
    found, path = swept(rates(1)), tmp_path / "paid.parquet"
    assert same(found.frame, swept(rates(1), threads=3).frame) and same(found.frame, swept(rates(1), path=path).frame)
    for trial in (0, 5, None):
        result, row = found.backtest(trial), found.best_row if trial is None else found.frame.iloc[trial].to_dict()
        figures = result.figures | {"pnl": float(result.equity_curve[-1]) - result.capital}
        assert row is not None and result.funding is not None
        assert [row[name] for name in FIGURES] == pytest.approx([figures[name] for name in FIGURES], rel=1e-12)
        assert row["pnl"] == figures["pnl"]
    before = path.read_bytes()
    for funding in (rates(2), None):
        with pytest.raises(ConfigError, match="holds another sweep: it differs in funding") as caught:
            swept(funding, path=path)
        assert caught.value.code == "sweep_other" and path.read_bytes() == before
    plain = tmp_path / "plain.parquet"
    swept(None, path=plain)
    with pytest.raises(ConfigError, match="differs in funding"):
        swept(rates(1), path=plain)


@pytest.mark.parametrize("run", [sweep, walk_forward])
def test_what_is_no_table_of_the_symbol_is_told_with_the_other_faults(run: Any) -> None:
    sizes = {} if run is sweep else {"train": 3_000, "test": 500}
    for wrong, code in ((7, "type"), (table("BBB/USDT", THEN, 8, 8, 1), "market_symbol")):
        with pytest.raises(ConfigError) as caught:
            run(SWEPT, walk(), {STOP: [0.1, 7.0]}, funding=wrong, ledger=False, **sizes)
        assert code in {finding.code for finding in caught.value.findings} and len(caught.value.findings) == 2


def test_a_walk_trains_and_tests_with_the_table() -> None:
    candles, funding = walk(), rates(3)
    options: dict[str, Any] = {"market": MARKETS["AAA/USDT"], "limits": FREE, "funding": funding, "ledger": False}
    walked = walk_forward(SWEPT, candles, {FAST: [3, 5], STOP: [0.005, 0.02]}, train=3_000, test=1_000, **options)
    for each in walked.windows:
        trained = sweep(SWEPT, candles[slice(*each.window.train)], {FAST: [3, 5], STOP: [0.005, 0.02]}, **options)
        assert each.chosen == trained.best and trained.best_row is not None
        assert each.inside == trained.best_row["sharpe"]
        assert each.result is not None and each.result.book[at.B_FUNDING] != 0.0


def test_a_stretch_pays_what_the_backtest_pays() -> None:
    candles, funding = walk(), rates(4)
    plan, _ = configure(SWEPT, candles, market=MARKETS["AAA/USDT"])
    stretch = run_stretch(plan, candles, cash=10_000.0, funding=funding)
    whole = backtest(SWEPT, candles, market=MARKETS["AAA/USDT"], funding=funding)
    assert whole.book[at.B_FUNDING] == stretch.book[at.B_FUNDING] != 0.0
    assert stretch.equity_curve[:-1].tobytes() == whole.equity_curve[:-1].tobytes()


def test_entries_by_chance_pay_the_same_rates() -> None:
    candles = walk()
    every = table("AAA/USDT", int(candles.open_time_ms[0]), 112, 1, 5)
    dear = FundingRates("AAA/USDT", every.time_ms, np.full(len(every), 0.02))
    doc = {**SWEPT, "market": {"kind": "linear", "direction": "long"}}
    free, paid = (
        random_entries(backtest(doc, candles, market=MARKETS["AAA/USDT"], limits=FREE, funding=x), n=5, threads=1)
        for x in (None, dear)
    )
    assert paid.median is not None and free.median is not None and paid.median < free.median - 0.01


@given(
    st.lists(st.lists(st.integers(1, 39), max_size=6, unique=True), min_size=1, max_size=4),
    st.lists(st.integers(1, 39), max_size=6, unique=True),
)
def test_shared_stretches_are_those_of_each(stops: list[list[int]], days: list[int]) -> None:
    own = [[(stop, float(k * 100 + stop)) for stop in [*sorted(x), 40]] for k, x in enumerate(stops)]
    every, spans = shared(own, np.array([*sorted(days), 40]))
    assert {*days, 40} <= set(every.tolist()) and every[-1] == 40
    assert [spans[0][0], *(last for _, last, _ in spans)] == [0, *(first for first, _, _ in spans[1:]), len(every)]
    starts = [0, *every.tolist()]
    for k, rates_ in enumerate(own):
        seen = [row[k] for first, last, row in spans for _ in range(starts[first], starts[last])]
        parts = [rate for (start, stop), rate in parts_of(rates_, (0, 40)) for _ in range(start, stop)]
        assert seen == parts and len(parts) == 40
