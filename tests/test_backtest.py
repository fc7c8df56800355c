"""The candle loop against a second one written in plain Python from the rules, and against laws of causality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratnb.errors import ConfigError, StratnbError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data import load_candles, resample, synthetic_market
from stratnb.market_data.candles import Candles, utc_text
from stratnb.model import Market
from stratnb.research import backtest as module
from stratnb.research import looping
from stratnb.research.backtest import backtest
from stratnb.research.configured import configure
from stratnb.research.portfolio import portfolio
from stratnb.strategy.documents import build_config
from trading_cases import BOOM, DAY, FREE, LONG, Floats, document, flat, market, merged, registered, series, wander

SHARED = Path(__file__).parents[2] / "shared" / "data"
FAST, SLOW, ATR = 5, 12, 14
SLIP, TAKER, MAKER = 0.0005, 0.001, 0.0004
STOP, RUNGS, FRACTION, DAILY = 0.01, ((0.006, 0.5), (0.012, 0.5)), 0.4, 0.03
DOCUMENT = document(
    name="plain-ema",
    market={"kind": "linear", "direction": "both"},
    analyzers=[{"kind": "ema", "params": {"fast": FAST, "slow": SLOW}}],
    entry={"mode": "coverage", "min_candles": 20, "min_confidence": 0.55},
    sizing={"kind": "fixed_fraction", "fraction": FRACTION},
    exits={"stop_loss": {"fraction": STOP}, "take_profit": {"levels": [{"at": a, "close": c} for a, c in RUNGS]}},
    execution={"simulation": {"slippage": SLIP, "taker_fee": TAKER, "maker_fee": MAKER}},
    risk={"max_daily_loss": DAILY},
)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


@dataclass
class Averages:
    """Two exponential averages seeded with a mean, and Wilder's ATR, a candle at a time."""

    closes: list[float] = field(default_factory=list)
    ranges: list[float] = field(default_factory=list)
    fast: float = math.nan
    slow: float = math.nan
    atr: float = math.nan

    def signal(self, high: float, low: float, close: float) -> tuple[int, float]:
        """Return direction and confidence of the averages."""
        if self.closes:
            before = self.closes[-1]
            self.ranges.append(max(high - low, abs(high - before), abs(low - before)))
        self.closes.append(close)
        self.fast, self.slow = self._next(self.fast, FAST), self._next(self.slow, SLOW)
        if len(self.ranges) == ATR:
            self.atr = sum(self.ranges) / ATR
        elif len(self.ranges) > ATR:
            self.atr = (self.atr * (ATR - 1) + self.ranges[-1]) / ATR
        if math.isnan(self.slow) or math.isnan(self.atr) or self.atr <= 1e-12 * close:
            return 0, 0.0
        gap = (self.fast - self.slow) / self.atr
        if abs(gap) < 0.1:
            return 0, 0.0
        return (1 if gap > 0 else -1), 0.5 + 0.45 * min(1.0, (abs(gap) - 0.1) / 0.9)

    def _next(self, average: float, n: int) -> float:
        if len(self.closes) < n:
            return math.nan
        return sum(self.closes) / n if len(self.closes) == n else average + (self.closes[-1] - average) * 2 / (n + 1)


@dataclass
class Plain:
    """The rules of trading in plain Python: one strategy, one account, market orders, a stop and a ladder."""

    market: Market
    cash: float
    length: int
    realized: float = 0.0
    fees: float = 0.0
    held: float = 0.0
    entry: float = 0.0
    original: float = 0.0
    stop: float = 0.0
    targets: list[tuple[int, float, float]] = field(default_factory=list)
    order: float = 0.0
    day: int = -1
    day_start: float = 0.0
    last_equity: float = 0.0
    blocked_until: float = -1.0
    fills: list[tuple[int, str, float, float, float]] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)

    def run(self, candles: Candles) -> None:
        averages, self.last_equity, self.day_start = Averages(), self.cash, self.cash
        for n, (open_, high, low, close, _, time) in enumerate(candles.rows()):
            self._open(int(time), open_)
            self._touch(int(time), open_, high, low)
            self._protect(int(time), high, low, close)
            direction, confidence = averages.signal(high, low, close)
            if n + 1 >= 20 and direction and confidence >= 0.55 and self.held == 0.0:
                self._enter(direction, close, int(time) + self.length)

    def _value(self, price: float) -> float:
        return self.cash + self.realized - self.fees + self.held * (price - self.entry)

    def _fill(self, time: int, reason: str, signed: float, price: float, rate: float) -> None:
        if self.held:
            self.realized -= signed * (price - self.entry)
        else:
            self.entry = price
        self.held = round(self.held + signed, 9)
        self.fees += rate * abs(signed) * price
        self.fills.append((time, reason, math.copysign(1.0, signed), abs(signed), price))

    def _tick(self, price: float) -> float:
        return round(math.floor(price / self.market.tick + 0.5) * self.market.tick, 9)

    def _open(self, time: int, open_: float) -> None:
        if not self.order:
            return
        side = math.copysign(1.0, self.order)
        self._fill(time, "entry", self.order, open_ * (1 + side * SLIP), TAKER)
        self.original, self.order = abs(self.held), 0.0
        self.stop = self._tick(self.entry * (1 - side * STOP))
        self.targets = []
        for n, (reach, share) in enumerate(RUNGS, 1):
            lots = math.floor(share * self.original / self.market.lot + 1e-6)
            self.targets.append((n, self._tick(self.entry * (1 + side * reach)), round(lots * self.market.lot, 9)))

    def _touch(self, time: int, open_: float, high: float, low: float) -> None:
        if not self.held:
            return
        side = math.copysign(1.0, self.held)
        best, worst = (high, low) if side > 0 else (low, high)
        if side * (open_ - self.stop) <= 0:
            self._fill(time, "stop", -self.held, open_ * (1 - side * SLIP), TAKER)
            return
        stopped = side * (worst - self.stop) <= 0
        for target in list(self.targets):
            n, level, quantity = target
            better = side * (open_ - level) > 0
            if not better and (stopped or side * (best - level) < self.market.tick * 0.999):
                break
            sold = abs(self.held) if n == len(RUNGS) else quantity
            self._fill(time, f"target_{n}", -side * sold, open_ if better else level, MAKER)
            self.targets.remove(target)
        if self.held and stopped:
            price = self.stop * (1 - side * SLIP)
            self._fill(time, "stop", -self.held, max(price, low) if side > 0 else min(price, high), TAKER)

    def _protect(self, time: int, high: float, low: float, close: float) -> None:
        """Mark, then the daily loss: from a breach on no entries until the next 00:00 UTC."""
        closing = time + self.length
        today = (closing - 1) // DAY
        if today > self.day:
            self.day, self.day_start = today, self.last_equity
        adverse = self._value(low if self.held > 0 else high) if self.held else self._value(close)
        if adverse <= (1 - DAILY) * self.day_start and self.blocked_until <= closing - 1:
            self.blocked_until = (today + 1) * DAY
        self.last_equity = self._value(close)
        self.equity.append(self.last_equity)
        if closing % DAY == 0:
            self.day, self.day_start = today + 1, self.last_equity

    def _enter(self, direction: int, close: float, now: int) -> None:
        if now < self.blocked_until:
            return
        lots = math.floor(FRACTION * self.last_equity / close / self.market.lot + 1e-6)
        quantity = round(lots * self.market.lot, 9)
        if quantity > 0:
            self.order = direction * quantity


def check(candles: Candles, known: Market) -> module.Backtest:
    """Compare both loops fill by fill and candle by candle."""
    oracle = Plain(known, 10_000.0, candles.timeframe_ms)
    oracle.run(candles)
    overrides = {"timeframes": {"primary": candles.timeframe}}
    result = backtest(DOCUMENT, candles, market=known, limits=FREE, overrides=overrides)
    found = [
        (
            int(r[at.F_TIME]),
            result.plan.fill_reason(r[at.F_REASON]),
            *r[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE]].tolist(),
        )
        for r in result.fill_rows
    ]
    for mine, theirs in zip(oracle.fills, found, strict=False):
        assert mine[:2] == theirs[:2], (mine, theirs)
        assert mine[2:] == pytest.approx(theirs[2:], rel=1e-9)
    assert len(found) == len(oracle.fills)
    assert result.equity_curve == pytest.approx(np.array(oracle.equity), rel=1e-9)
    return result


@pytest.mark.parametrize("seed", range(6))
def test_plain_loop_agrees_on_random_walks(seed: int) -> None:
    result = check(wander(2500, seed, timeframe="5m", gaps=30 * (seed % 2), move=0.004), market(kind="linear"))
    assert result.figures["trades"] > 20


def test_plain_loop_agrees_while_days_are_lost() -> None:
    found = [check(wander(3000, seed, timeframe="15m", gaps=40, move=0.02), market(kind="linear")) for seed in (11, 12)]
    assert any(result.reasons.get("daily_loss") for result in found)


def test_plain_loop_agrees_on_the_synthetic_market() -> None:
    for candles in synthetic_market(["BTC/USDT", "XRP/USDT"], candles=3000, seed=3):
        known = market(candles.symbol, kind="linear", tick=0.1 if candles.open[0] > 1000 else 1e-5)
        check(candles, known)


@pytest.mark.parametrize("name", ["eth_btc_5m_2018", "btc_usdt_binance_1h_2018-04", "btc_perp_1m_2022-01"])
def test_plain_loop_agrees_on_recorded_candles(name: str) -> None:
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        pytest.skip("the recorded candles are not here")
    candles, _ = load_candles(path, repair="all")
    fields = {"tick": 1e-6, "lot": 0.001} if "eth_btc" in name else {"tick": 0.01, "lot": 1e-6}
    check(candles[:8000], market(candles.symbol, kind="linear", **fields))


# Causality.

EXITS = {
    "stop_loss": {"basis": "atr"},
    "take_profit": {"levels": [{"at": 0.004, "close": 0.5}, {"at": 0.01, "close": 0.5}]},
    "trailing": {"distance": 0.006, "start": {"profit": 0.002}},
    "signal_exit": {},
}
CAUSAL = merged(
    DOCUMENT,
    {
        "timeframes": {"primary": "5m", "trend": "15m"},
        "analyzers": [{"kind": "ema"}, {"kind": "price_momentum", "timeframe": "trend"}, {"kind": "scripted"}],
        "filters": {"trend_alignment": {"on_missing": "allow"}},
        "exits": EXITS,
    },
)


@given(seed=st.integers(0, 10**6), cut=st.integers(230, 900), shock=st.floats(0.5, 1.5))
@settings(max_examples=20)
def test_the_future_changes_nothing_before_it(seed: int, cut: int, shock: float) -> None:
    candles = wander(1000, seed, gaps=10)
    later = {name: getattr(candles, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for name, column in later.items():
        column[cut:] *= shock if name != "volume" else 3.0
    changed = Candles(candles.symbol, "1m", candles.open_time_ms, *later.values())
    whole, other, part = (
        backtest(CAUSAL, each, market=market(kind="linear"), decisions=True)
        for each in (candles, changed, candles[:cut])
    )
    known = int(np.searchsorted(whole.fill_rows[:, at.F_TIME], candles.open_time_ms[cut]))
    early = np.searchsorted(whole.decision_rows[:, at.D_TIME], candles.open_time_ms[cut] - 5 * 60_000)
    for run in (other, part):
        assert np.array_equal(run.equity_curve[:cut], whole.equity_curve[:cut])
        assert np.array_equal(run.fill_rows[:known], whole.fill_rows[:known])
        assert np.array_equal(run.decision_rows[:early], whole.decision_rows[:early], equal_nan=True)


# Higher timeframes from finer candles.

ROLES = merged(
    DOCUMENT,
    {
        "timeframes": {"primary": "5m", "trend": "1h"},
        "indicators": {
            "slow": {"kind": "ema", "period": 5, "timeframe": "trend"},
            "near": {"kind": "sma", "period": 3},
        },
    },
)


def seen_from(candles: Candles, timeframe: str) -> tuple[Candles, Floats]:
    """Return the closed groups and when each is known: with the candle that ends it, or just before one after a gap."""
    longer = resample(candles, timeframe)
    ends = longer.close_time_ms - candles.timeframe_ms
    by = candles.open_time_ms[np.searchsorted(candles.open_time_ms, ends)]
    return longer, 2 * by + (by == ends)


@pytest.mark.parametrize(("start", "gaps"), [(0, 0), (0, 25), (7, 25), (61, 0)])
def test_roles_equal_resampled_candles(start: int, gaps: int) -> None:
    """At each primary close the trend columns are those of the newest hour that was over by then."""
    candles = wander(1500, 5, gaps=gaps, start_ms=1_600_041_600_000 + start * 60_000)
    plan, _ = configure(ROLES, candles, market=market(kind="linear"))
    names = [
        "open_time_ms",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "trend.open_time_ms",
        "trend.close",
        "trend.volume",
    ]
    columns = np.array([plan.column(name) for name in [*names, "ind.slow", "ind.near"]])
    out, decisions = np.empty((len(candles), len(columns))), np.empty((0, plan.decision_width))
    books, account = np.zeros((1, at.W_BOOK)), np.zeros(at.W_ACCOUNT)
    tables = (loop.parts(), plan.code, plan.params, plan.memory(), books, account, candles.rows())
    out = out[: loop.scan(*tables, 0, len(candles), columns, out, decisions)]
    primary, known = seen_from(candles, "5m")
    trend, trend_known = seen_from(candles, "1h")
    assert len(out) == len(primary)
    for k, name in enumerate(("open_time_ms", "open", "high", "low", "close", "volume")):
        assert np.array_equal(out[:, k], getattr(primary, name)), name
    newest = np.searchsorted(trend_known, known, side="right") - 1
    fifth = np.full(len(trend), np.nan)
    fifth[4:] = [trend.close[:5].mean(), *np.full(max(0, len(trend) - 5), np.nan)][: len(fifth[4:])]
    for k in range(5, len(trend)):
        fifth[k] = fifth[k - 1] + (trend.close[k] - fifth[k - 1]) / 3
    for row, which in zip(out, newest, strict=True):
        if which < 0:
            assert np.isnan(row[6:10]).all()
            continue
        assert row[6:9].tolist() == [trend.open_time_ms[which], trend.close[which], trend.volume[which]]
        assert row[9] == pytest.approx(fifth[which], rel=1e-12, nan_ok=True)
    assert out[2:, 10] == pytest.approx((primary.close[2:] + primary.close[1:-1] + primary.close[:-2]) / 3, rel=1e-12)


# The call.


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    candles = wander(700, 3, gaps=6)
    whole = backtest(CAUSAL, candles, market=market(kind="linear"), decisions=True)
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(looping, "CHUNK", 7)
    monkeypatch.setattr(looping, "FILL_BUFFER", at.MAX_FILLS)
    parts = backtest(
        CAUSAL, candles, market=market(kind="linear"), decisions=True, progress=lambda *at_: steps.append(at_)
    )
    assert np.array_equal(parts.equity_curve, whole.equity_curve)
    assert np.array_equal(parts.fill_rows, whole.fill_rows)
    assert np.array_equal(parts.decision_rows, whole.decision_rows, equal_nan=True)
    assert parts.reasons == whole.reasons
    assert whole.fill_rows.size > 0
    assert steps[-1] == (700, 700)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_cancel_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looping, "CHUNK", 100)
    candles, calls = wander(600, 4), iter([False, False, True])
    whole = backtest(CAUSAL, candles, market=market(kind="linear"))
    part = backtest(CAUSAL, candles, market=market(kind="linear"), cancelled=lambda: next(calls))
    assert not part.complete
    assert whole.complete
    assert len(part.equity_curve) == 200
    assert np.array_equal(part.equity_curve, whole.equity_curve[:200])
    assert "canceled" in repr(part)
    assert len(part.equity) == 200


def test_cancel_before_anything() -> None:
    part = backtest(CAUSAL, wander(300, 4), market=market(kind="linear"), cancelled=lambda: True)
    assert (len(part.equity_curve), part.closed_trades, part.complete) == (0, [], False)
    assert part.figures["sharpe"] is None
    assert part.figures["trades"] == 0
    assert part.trades.empty
    assert part.equity.empty


@pytest.mark.parametrize("cash", [0.0, -5.0, math.nan, math.inf])
def test_an_account_needs_money(cash: float) -> None:
    with pytest.raises(ConfigError, match="cash") as caught:
        backtest(DOCUMENT, wander(50, 1, timeframe="1m"), cash=cash)
    assert caught.value.code == "range"


def test_a_configuration_takes_overrides_too() -> None:
    candles, known = wander(400, 2), market(kind="linear")
    doc, twice = document(market={"kind": "linear"}), {"sizing": {"quantity": 2.0}}
    config = build_config(doc, symbol=candles.symbol).config
    given, changed = (backtest(each, candles, market=known, overrides=twice) for each in (doc, config))
    assert np.array_equal(given.fill_rows, changed.fill_rows)
    assert changed.fill_rows[0, at.F_QUANTITY] == 2.0
    assert np.array_equal(
        backtest(config, candles, market=known).fill_rows, backtest(doc, candles, market=known).fill_rows
    )


def test_no_candles_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        backtest(DOCUMENT, wander(50, 1)[:0])
    assert caught.value.code == "no_candles"


def test_candles_that_cannot_build_the_timeframes_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        backtest(merged(DOCUMENT, {"timeframes": {"primary": "5m"}}), wander(50, 1, timeframe="15m"))
    assert caught.value.code == "timeframe_divides"


def test_capital_is_the_share_of_the_account() -> None:
    candles = series([*flat(1, volume=LONG), *flat(3)])
    half = backtest(document(capital={"amount": 0.5}), candles, market=market(), cash=1000.0)
    fixed = backtest(document(capital={"unit": "quote", "amount": 300}), candles, market=market(), cash=1000.0)
    assert (half.capital, fixed.capital) == (500.0, 300.0)


def test_frames_tell_the_same_as_the_rows() -> None:
    result = backtest(CAUSAL, wander(900, 8), market=market(kind="linear"))
    trades = result.trades
    assert len(trades) == len(result.closed_trades) == result.book[at.B_TRADES]
    assert trades["pnl"].sum() == pytest.approx(sum(t.pnl for t in result.closed_trades))
    assert (trades["exit"] >= trades["entry"]).all()
    assert len(result.fills) == len(result.fill_rows)
    assert result.equity.index[0] == result.equity.index[0].floor("min")
    assert result.equity["drawdown"].max() == pytest.approx(result.figures["max_drawdown"])
    gained = sum(t.pnl for t in result.closed_trades)
    if result.book[at.B_QUANTITY] == 0.0:
        assert result.equity_curve[-1] - result.capital == pytest.approx(gained, rel=1e-9)
    assert "<script" not in result._repr_html_()


def test_a_title_cannot_inject() -> None:
    hostile: dict[str, Any] = document(title="<img src=x onerror=alert(1)>")
    result = backtest(hostile, series([*flat(1, volume=LONG), *flat(3)]), market=market())
    assert "<img" not in result._repr_html_()


def test_the_shares_of_exposure_and_buy_and_hold() -> None:
    rows = [*flat(1, volume=LONG), (100, 100, 100, 100), (100, 100, 97, 97), *flat(7, 97.0)]
    result = backtest(document(), series(rows), market=market(), limits=FREE, cash=1e6)
    assert result.figures["exposure_time"] == pytest.approx(1 / 10)
    assert result.figures["buy_and_hold"] == pytest.approx(97 / 100 - 1 - 2 * TAKER)


def test_without_compounding_the_allocated_capital_is_sized() -> None:
    rows = [
        *flat(1, volume=LONG),
        *flat(1),
        (100, 110, 100, 110),
        *flat(2, 110.0),
        *flat(1, 110.0, LONG),
        *flat(3, 110.0),
    ]
    exits = {"stop_loss": {"fraction": 0.02}, "take_profit": {"levels": [{"at": 0.05, "close": 1.0}]}}
    sizes = {}
    for compound in (True, False):
        doc = document(
            exits=exits,
            sizing={"kind": "fixed_fraction", "fraction": 0.5},
            capital={"unit": "quote", "amount": 1_000.0, "compound": compound},
        )
        done = backtest(doc, series(rows), market=market(), cash=1e6, limits=FREE, decisions=True)
        entered = done.decision_rows[done.decision_rows[:, at.D_REASON] == at.Z_ENTER]
        assert len(entered) == 2
        sizes[compound] = entered[:, at.D_QUANTITY] * entered[:, at.D_CLOSE]
        assert entered[1, at.D_EQUITY] > 1_015.0
    assert sizes[False] == pytest.approx([500.0, 500.0], abs=0.2)
    assert sizes[True][0] == sizes[False][0]
    assert sizes[True][1] > 507.0


@pytest.mark.parametrize("timeframe", ["1m", "5m"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gap_flag_is_set_at_the_first_close_after_missing_candles(timeframe: str, seed: int) -> None:
    candles = wander(400, seed, gaps=12)
    doc = document(timeframes={"primary": timeframe})
    rows = backtest(doc, candles, market=market(), cash=1e6, limits=FREE, decisions=True).decision_rows
    length = {"1m": 60_000, "5m": 300_000}[timeframe]
    expected = np.concatenate(([False], np.diff(rows[:, at.D_TIME]) > length))
    flagged = (rows[:, at.D_FLAGS].astype(int) & int(at.FLAG_GAP)) != 0
    assert np.array_equal(flagged, expected)
    assert flagged.sum() >= 5
    if timeframe == "1m":
        assert flagged.sum() == 12
    smooth = backtest(doc, wander(400, seed), market=market(), limits=FREE, decisions=True).decision_rows
    assert not smooth[:, at.D_FLAGS].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: backtest(None, c),
        lambda c: backtest(7, c),
        lambda c: backtest(document(), None),
        lambda c: backtest(document(), [c, c]),
        lambda c: backtest(document(), c, overrides=5),
        lambda c: backtest(document(), c, cash="a"),
        lambda c: backtest(document(), c, cash=None),
        lambda c: backtest(document(), c, cash=math.inf),
    ],
)
def test_wrong_types_are_told_before_anything_runs(call: Any) -> None:
    with pytest.raises(StratnbError):
        call(wander(50, 1))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"decisions": "enrties"}, "enum"),
        ({"cash": True}, "range"),
        ({"cash": 10**400}, "range"),
        ({"market": "BTC"}, "type"),
        ({"limits": {"max_open_positions": 3}}, "type"),
    ],
)
def test_unusable_options_are_told(options: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backtest(document(), wander(50, 1), **options)
    assert caught.value.code == code and caught.value.hint


def test_nowhere_to_save_is_told() -> None:
    with pytest.raises(ConfigError, match="a path is text"):
        backtest(document(), wander(50, 1)).save(None)  # type: ignore[arg-type]


def test_a_block_that_raises_is_named_with_its_candle_and_line() -> None:
    candles = series([*flat(30), *flat(1, volume=BOOM), *flat(5)])
    with pytest.raises(ConfigError) as caught:
        backtest(document(), candles)
    told = str(caught.value)
    assert caught.value.code == "block_failed" and caught.value.value == "scripted"
    assert utc_text(int(candles.open_time_ms[30])) in told and "trading_cases.py" in told and caught.value.hint


def test_candles_shorter_than_the_warm_up_are_refused() -> None:
    candles = wander(300, 3)
    need = configure(CAUSAL, candles, market=market(kind="linear"))[0]
    least = need.warmup * (need.primary_ms // need.base_ms)
    backtest(CAUSAL, candles[: least + 1], market=market(kind="linear"))
    for n in (1, least):
        with pytest.raises(ConfigError, match=f"needs {least} candles before its first decision, and there are {n};"):
            backtest(CAUSAL, candles[:n], market=market(kind="linear"))
    with pytest.raises(ConfigError, match="no strategy has candles enough"):
        portfolio(CAUSAL, candles[:least], market=market(kind="linear"))
    late = portfolio({"long": DOCUMENT, "short": CAUSAL}, candles[:least], market=market(kind="linear"))
    assert [finding.path for finding in late.findings if finding.code == "candles_short"] == ["short"]
