"""Several strategies on one account: equal to the backtest of one and to the engine, and the sum of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.market_data.candles import Candles
from stratnb.research import backtest as module
from stratnb.research.backtest import Backtest, backtest
from stratnb.research.portfolio import Portfolio, portfolio
from stratnb.services.ledger import AccountLimits
from trading_cases import BOOM, FREE, Floats, document, flat, market, registered, series, wander

SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
MARKETS = {symbol: market(symbol, kind="linear", max_leverage=5.0) for symbol in SYMBOLS}
EXITS: dict[str, Any] = {
    "stop_loss": {"basis": "atr", "multiple": 1.0},
    "take_profit": {"levels": [{"at": 0.003, "close": 0.4, "on_hit": ["breakeven"]}, {"at": 0.008, "close": 0.3}]},
    "breakeven": {"offset": 0.0005},
    "trailing": {"basis": "atr"},
    "signal_exit": {},
    "time_exit": {"max_candles": 60},
}
BASIC: dict[str, Any] = {"market": {"kind": "linear"}, "capital": {"amount": 0.4}}
RULES: dict[str, Any] = {
    "max_drawdown": 0.1,
    "max_consecutive_losses": 4,
    "stop_loss_guard": {"count": 3, "window_s": 7200, "pause_s": 1800},
    "cooldown_s": 120,
    "max_daily_loss": 0.01,
    "max_holding_s": 5400,
}
DOCUMENTS = (
    document("scripted", **BASIC, sizing={"kind": "fixed_quantity", "quantity": 4.0}, risk=RULES),
    document(
        "slow",
        **BASIC,
        timeframes={"primary": "3m", "trend": "15m"},
        analyzers=[{"kind": "scripted", "weight": 0.6}, {"kind": "ema", "timeframe": "trend", "weight": 0.4}],
        entry={"mode": "coverage", "min_candles": 5, "min_score": 0.1},
        sizing={"kind": "risk", "fraction": 0.01},
        exits=EXITS,
        execution={"leverage": 3},
    ),
    document(
        "dice",
        **BASIC,
        indicators={"loud": {"kind": "natr", "period": 14}},
        analyzers=[{"kind": "dice"}],
        sizing={"kind": "fixed_fraction", "fraction": 0.6},
    ),
)
BINDING = {
    "defaults": AccountLimits(),
    "one-position": AccountLimits(max_open_positions=1),
    "little-exposure": AccountLimits(gross_linear=0.3),
    "daily-loss": AccountLimits(daily_loss=0.01, max_per_market=None, risk_open=None),
    "daily-loss-kept": AccountLimits(daily_loss=0.01, flatten=False, max_drawdown=0.03),
    "guard": AccountLimits(stop_loss_guard={"count": 3, "window_s": 3600, "pause_s": 1200}),  # type: ignore[arg-type]
    "gains": AccountLimits(
        daily_target=0.004,
        profit_lock={"arm": 0.002, "give_back": 0.3},
        volatility_halt=0.9,  # type: ignore[arg-type]
    ),
    "free": FREE,
}
EXPECTED = {
    "one-position": "max_open_positions",
    "little-exposure": "exposure_account",
    "daily-loss": "daily_loss",
    "daily-loss-kept": "daily_loss",
    "guard": "paused",
    "gains": "paused",
}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def markets(seed: int, n: int = 1600) -> list[Candles]:
    """Return three series with gaps that start at different minutes, across a midnight."""
    begin = 1_600_041_600_000 + 60_000 * 700
    return [
        wander(n - 200 * k, seed + k, symbol=symbol, gaps=12, start_ms=begin + 60_000 * 37 * k, move=0.006)
        for k, symbol in enumerate(SYMBOLS)
    ]


def same(a: Floats, b: Floats) -> bool:
    """Tell whether two arrays have the same bits, or are NaN at the same places."""
    return a.shape == b.shape and bool(((a == b) | (np.isnan(a) & np.isnan(b))).all())


def equal(a: Backtest, b: Backtest, *, shared: bool = False) -> bool:
    """Tell whether two results are the same, bit for bit; the account too unless others share it."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("equity_curve", "fill_rows", "decision_rows", "book")]
    pairs += [] if shared else [(a.account, b.account)]
    return all(same(x, y) for x, y in pairs) and a.reasons == b.reasons


@pytest.mark.parametrize("doc", DOCUMENTS, ids=lambda doc: doc["name"])
@pytest.mark.parametrize("limits", [None, BINDING["daily-loss"]], ids=["defaults", "daily-loss"])
def test_one_strategy_is_its_backtest(doc: dict[str, Any], limits: AccountLimits | None) -> None:
    candles = markets(5)[0]
    alone = backtest(doc, candles, market=MARKETS[candles.symbol], limits=limits, decisions=True)
    both = portfolio([doc], candles, market=MARKETS[candles.symbol], limits=limits, decisions=True)
    assert both.labels == (doc["name"],)
    assert equal(alone, both[doc["name"]])
    assert same(both.equity_curve, alone.account[at.A_START] + (alone.equity_curve - alone.capital))
    assert len(alone.fill_rows) > 3


def test_what_is_held_at_the_end_is_closed_where_that_is_chosen() -> None:
    candles = markets(5)[0]
    for stop in range(200, len(candles)):
        if backtest(DOCUMENTS[0], candles[:stop], market=MARKETS[candles.symbol]).book[at.B_QUANTITY] != 0.0:
            break
    doc = {**DOCUMENTS[0], "execution": {**DOCUMENTS[0].get("execution", {}), "simulation": {"end": "close"}}}
    alone = backtest(doc, candles[:stop], market=MARKETS[candles.symbol], decisions=True)
    both = portfolio([doc], candles[:stop], market=MARKETS[candles.symbol], decisions=True)
    assert alone.all_fills[-1].reason == "end_of_data" and alone.book[at.B_QUANTITY] == 0.0
    assert equal(alone, both[doc["name"]])
    assert both.equity_curve[-1] == alone.account[at.A_EQUITY]


def replayed(run: Portfolio, candles: Sequence[Candles], limits: AccountLimits) -> str:
    """Replay the same through an engine in parallel mode; return where the two part first, "" nowhere."""
    engine = Engine(
        "portfolio",
        candles=candles,
        markets=MARKETS.values(),
        mode="parallel",
        cash=run.cash,
        limits=limits,
        curve_points=None,
        decisions_kept=10_000,
    )
    with engine:
        keys = {}
        for doc in DOCUMENTS:
            for each in candles:
                keys[f"{doc['name']}@{each.symbol}"] = engine.add(doc, each.symbol)
        for key in keys.values():
            engine.activate(key)
        engine.step(len(run.close_ms))
        desk = engine.desk
        for label, own in run.items():
            book = desk.lane(keys[label]).context.book
            fills = np.array(book.fill_rows) if book.fill_rows else np.empty((0, at.W_FILL))
            pairs = {
                "fills": (own.fill_rows, fills),
                "equity": (own.equity_curve, book.curve.rows()[:, 1]),
                "decisions": (own.decision_rows, desk.store.decisions(keys[label]).rows()),
                "book": (own.book, book.row),
            }
            for name, (ours, theirs) in pairs.items():
                if not same(ours, theirs):
                    return f"{name} of {label}"
        positions = desk.services.positions
        if not same(run.equity_curve, positions.curve.rows()[:, 1]):
            return "equity of the account"
        return "" if same(run.account, positions.account) else "the account"


@pytest.mark.parametrize("name", BINDING)
def test_the_engine_in_parallel_does_the_same(name: str) -> None:
    candles, limits = markets(11, 900), BINDING[name]
    run = portfolio(DOCUMENTS, candles, market=MARKETS, limits=limits, decisions=True)
    assert replayed(run, candles, limits) == ""
    assert len(run.fill_rows) > 20
    if name in EXPECTED:
        assert EXPECTED[name] in run.denials, run.denials


def test_a_halt_of_the_account_cancels_entries_that_wait_in_a_gap() -> None:
    calm = [*flat(3), (100, 100, 100, 100, 7.0), *flat(6)]
    waiting = series(calm, "BBB/USDT")
    kept = np.r_[0:4, 8:10]
    names = ("open", "high", "low", "close", "volume")
    waiting = Candles("BBB/USDT", "1m", waiting.open_time_ms[kept], *(getattr(waiting, x)[kept] for x in names))
    falling = series([*flat(1), (100, 100, 100, 100, 7.0), *flat(2), (100, 100, 60, 60, 1.0), *flat(5, 60.0)])
    doc = document("one", **BASIC, sizing={"kind": "fixed_quantity", "quantity": 30.0}, exits={})
    limits = AccountLimits(**FREE.model_dump() | {"daily_loss": 0.05})
    known = {symbol: MARKETS[symbol] for symbol in SYMBOLS[:2]}
    run = portfolio([doc], [falling, waiting], market=known, limits=limits)
    assert len(run["one@AAA/USDT"].fill_rows) == 2
    assert len(run["one@BBB/USDT"].fill_rows) == 0
    assert run["one@BBB/USDT"].reasons["enter"] == 1
    assert run["one@BBB/USDT"].book[at.B_RESERVED] == 0.0


def test_order_matters_through_shared_limits_only() -> None:
    candles = markets(3, 800)
    enough: dict[str, Any] = {"cash": 1e6, "overrides": {"capital": {"amount": 0.02}}}
    forward = portfolio(DOCUMENTS, candles, market=MARKETS, limits=FREE, **enough)
    back = portfolio(DOCUMENTS[::-1], candles, market=MARKETS, limits=FREE, **enough)
    assert set(forward) == set(back)
    assert "insufficient_funds" not in forward.denials
    for label, own in forward.items():
        theirs = back[label]
        assert same(own.fill_rows, theirs.fill_rows), label
        assert same(own.equity_curve, theirs.equity_curve), label
        assert own.reasons == theirs.reasons, label
    twins, one = {name: document(name, **BASIC) for name in "pq"}, AccountLimits(max_open_positions=1)
    first = portfolio(twins, candles[0], limits=one, cash=1e6)
    second = portfolio(dict(reversed(twins.items())), candles[0], limits=one, cash=1e6)
    assert len(first["p"].fill_rows) > 3
    assert len(first["q"].fill_rows) == len(second["p"].fill_rows) == 0
    assert same(first["p"].fill_rows, second["q"].fill_rows)
    assert first.denials["max_open_positions"]["q"] > 10


@pytest.mark.parametrize("name", ["defaults", "daily-loss"])
def test_the_parts_are_the_account_at_every_instant(name: str) -> None:
    run = portfolio(DOCUMENTS, markets(7, 900), market=MARKETS, limits=BINDING[name])
    total = np.full(len(run.close_ms), run.cash)
    for label in run:
        total = total + run.results[label].to_numpy()
    assert same(total, run.equity_curve)
    gross, net = np.zeros(len(total)), np.zeros(len(total))
    for own in run.values():
        found = own.exposure["notional"].reindex(run.exposure.index).ffill().fillna(0.0).to_numpy()
        gross, net = gross + abs(found), net + found
    assert gross == pytest.approx(run.exposure["gross"].to_numpy(), abs=1e-6)
    assert net == pytest.approx(run.exposure["net"].to_numpy(), abs=1e-6)
    assert run.attribution["pnl"].sum() == pytest.approx(run.account[at.A_EQUITY] - run.cash, rel=1e-9)
    assert run.attribution["share"].sum() == pytest.approx(1.0)
    assert run.attribution["fees"].sum() == pytest.approx(run.fills["fee"].sum(), rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_and_full_buffers_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    candles = markets(2, 500)
    whole = portfolio(DOCUMENTS, candles, market=MARKETS, decisions=True)
    monkeypatch.setattr("stratnb.research.portfolio.CHUNK", chunk)
    monkeypatch.setattr("stratnb.research.portfolio.FILL_BUFFER", 1)
    steps: list[tuple[int, int]] = []
    parts = portfolio(DOCUMENTS, candles, market=MARKETS, decisions=True, progress=lambda *x: steps.append(x))
    assert all(equal(whole[label], parts[label]) for label in whole)
    assert same(whole.curves, parts.curves)
    assert same(whole.fill_rows, parts.fill_rows)
    assert steps[0] == (0, len(whole.close_ms))
    assert steps[-1] == (len(whole.close_ms),) * 2


def test_a_cancel_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    candles, asked = markets(2, 500), iter([False, False, True])
    whole = portfolio(DOCUMENTS, candles, market=MARKETS)
    monkeypatch.setattr("stratnb.research.portfolio.CHUNK", 900)
    part = portfolio(DOCUMENTS, candles, market=MARKETS, cancelled=lambda: next(asked))
    n = len(part.close_ms)
    assert n == 200
    assert not part.complete
    assert same(part.curves, whole.curves[:n])
    assert all(same(own.equity_curve, whole[x].equity_curve[: len(own.equity_curve)]) for x, own in part.items())
    assert "canceled" in repr(part)
    none = portfolio(DOCUMENTS, candles, market=MARKETS, cancelled=lambda: True)
    assert len(none.close_ms) == 0
    assert "canceled" in none._repr_html_()


def test_what_a_result_shows() -> None:
    run = portfolio(DOCUMENTS, markets(9, 900), market=MARKETS, limits=FREE, decisions="entries")
    assert len(run) == 9
    assert run.complete
    assert list(run.trades.columns[:2]) == ["strategy", "symbol"]
    assert len(run.trades) == sum(len(own.trades) for own in run.values())
    assert len(run.fills) == len(run.fill_rows) == sum(len(own.fills) for own in run.values())
    assert run.trades["exit"].is_monotonic_increasing
    orders = run.orders
    assert orders.loc[orders["status"] == "filled", "quantity"].sum() == pytest.approx(run.fills["quantity"].sum())
    assert run.figures["trades"] == len(run.trades)
    assert run.figures["final_equity"] == run.equity_curve[-1]
    assert run.drawdown.max() == pytest.approx(run.figures["max_drawdown"])
    assert (run.correlation.shape, run.attribution.shape[0]) == ((9, 9), 9)
    assert all(set(own.decision_rows[:, at.D_ACTION]) == {at.ENTER} for own in run.values())
    assert "9 strategies on 3 markets" in repr(run)
    assert "scripted@AAA/USDT" in run._repr_html_()
    own = run["scripted@AAA/USDT"]
    assert own.exposure["quantity"].iloc[-1] == own.book[at.B_QUANTITY]
    assert own.drawdown.max() == pytest.approx(own.figures["max_drawdown"])


def test_labels_and_markets_of_strategies() -> None:
    candles, doc = markets(1, 500), DOCUMENTS[0]
    run = portfolio({"a": (doc, "BBB/USDT"), "b": DOCUMENTS[2]}, candles[:2], market={"AAA/USDT": MARKETS["AAA/USDT"]})
    assert run.labels == ("a", "b@AAA/USDT", "b@BBB/USDT")
    assert run["a"].candles.symbol == "BBB/USDT"
    assert portfolio(doc, candles[0]).labels == ("scripted",)
    assert portfolio((doc, DOCUMENTS[2]), candles[0]).labels == ("scripted", "dice")
    over = portfolio(doc, candles[0], overrides={"capital": {"amount": 1.0}}, cash=500.0)
    assert over["scripted"].capital == 500.0
    assert "capital_over" in {x.code for x in portfolio([*DOCUMENTS], candles[0]).findings}


def test_wrong_input_is_told_before_anything_runs() -> None:
    candles, doc = markets(1, 500), DOCUMENTS[0]
    bad = {**doc, "sizing": {"kind": "fixed_quantity", "quantity": -1}}
    spot = document("spot", market={"kind": "spot", "direction": "long"})
    hourly = wander(50, 1, symbol="DDD/USDT", timeframe="1h")
    cases: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("no_strategies", [], candles, {}),
        ("type", [3], candles, {}),
        ("type", [doc], [3], {}),
        ("no_candles", [doc], [], {}),
        ("no_candles", [doc], [candles[0], candles[1][:0]], {}),
        ("duplicate_symbol", [doc], [candles[0], candles[0]], {}),
        ("timeframe_mixed", [doc], [candles[0], hourly], {}),
        ("duplicate_label", [doc, doc], candles, {}),
        ("market_unknown", [(doc, "AAB/USDT")], candles, {}),
        ("market_unknown", [doc], candles, {"market": {"AAB/USDT": market("AAB/USDT")}}),
        ("market_unknown", [doc], candles, {"market": market()}),
        ("market_kind", [doc, spot], candles[0], {}),
        ("quote_mixed", [doc], [candles[0], wander(50, 1, symbol="DDD/BTC")], {}),
        ("config_invalid", [bad], candles[0], {}),
        ("portfolio_invalid", [bad], candles, {}),
        ("range", [doc], candles, {"cash": 0.0}),
        ("type", [doc], candles, {"limits": {"max_open_positions": 1}}),
    ]
    for code, strategies, given, options in cases:
        with pytest.raises(ConfigError) as caught:
            portfolio(strategies, given, **options)
        assert caught.value.code == code
    with pytest.raises(ConfigError, match="BBB/USDT") as caught:
        portfolio([bad], candles)
    assert len(caught.value.findings) == 3


def test_a_block_that_raises_is_told_with_its_strategy() -> None:
    good, bad = flat(20), [*flat(10), (100, 100, 100, 100, BOOM), *flat(9)]
    docs = {"x": (document("x"), "AAA/USDT"), "y": (document("y"), "BBB/USDT")}
    with pytest.raises(ConfigError, match="y: analyzer kind 'scripted' raised ValueError") as caught:
        portfolio(docs, [series(good), series(bad, "BBB/USDT")])
    assert caught.value.code == "block_failed"


def test_backtest_shows_orders_exposure_and_drawdown() -> None:
    result = module.backtest(DOCUMENTS[1], markets(5)[0], market=MARKETS["AAA/USDT"])
    assert len(result.orders) >= len(result.trades) * 2
    held = result.exposure
    assert held["quantity"].ne(0).mean() == pytest.approx(result.figures["exposure_time"])
    assert (held["share"] * result.equity["equity"]).to_numpy() == pytest.approx(held["notional"].to_numpy())
