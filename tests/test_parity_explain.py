"""Each difference between a recorded run and its backtest has one cause, and the amounts add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.errors import ConfigError
from stratnb.kernels import layout as at
from stratnb.kernels import loop
from stratnb.market_data.candles import Candles
from stratnb.model import Market
from stratnb.parity_explain import CAUSES, ParityReport, Recorded, explain
from stratnb.parity_explain.recorded import denied_of
from stratnb.research.backtest import Backtest, backtest, load_run
from stratnb.research.configured import configure
from stratnb.services.ledger import AccountLimits
from stratnb.services.trades import fill_of
from stratnb.strategy.plan import Plan
from trading_cases import FREE, MINUTE, Floats, Steps, document, market, registered, wander

CASH = 10_000.0
DOCUMENT = document(
    market={"kind": "linear"},
    sizing={"kind": "risk", "fraction": 0.01},
    capital={"amount": 0.9, "compound": True},
    risk={"max_daily_loss": None},
    exits={
        "stop_loss": {"fraction": 0.008},
        "take_profit": {"levels": [{"at": 0.006, "close": 0.5}, {"at": 0.012, "close": 0.5}]},
        "time_exit": {"max_candles": 40},
    },
)
CANDLES = wander(1500, 5, gaps=4, move=0.002)
MARKET = market(kind="linear", max_leverage=5.0)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


class Recorder(Steps):
    """Keeps a run candle by candle, as a live engine would, with something done to it on the way."""

    def __init__(self, plan: Plan, *, limits: AccountLimits = FREE) -> None:
        super().__init__(plan, cash=CASH, limits=limits)
        self.entries = 0
        self.before: Callable[[Recorder, Floats], bool] = lambda run, row: True
        self.bend: Callable[[Recorder, Floats], None] = lambda run, fill: None
        self.denied: dict[int, str] = {}

    def take(self, row: Floats) -> None:
        """Process a candle; `before` may act and hold the pending order back."""
        if not math.isnan(self._before) and row[at.C_TIME] != self._before + self.plan.base_ms:
            self._close(row, late=True)
        self._before = row[at.C_TIME]
        if self.before(self, row):
            self._filled(loop.open_fills(self.plan.params, self.book, row, self._buffer, 0))
        self._filled(loop.touch_fills(self.plan.params, self.book, row, self._buffer, 0))
        loop.settle_all(self.books, self.account, row.reshape(1, -1), np.ones(1), row[at.C_TIME] + self.plan.base_ms)
        self._close(row, late=False)

    def _filled(self, count: int) -> None:
        for fill in self._buffer[:count].copy():
            self.entries += fill[at.F_REASON] == at.REASON_ENTRY
            self.bend(self, fill)
            self.put(fill)

    def put(self, fill: Floats) -> None:
        """Apply a fill."""
        entered = self.book[at.B_QUANTITY] == 0.0
        loop.apply(self.book, fill)
        self.fills.append(fill.copy())
        if entered:
            loop.arm_position(self.plan.code, self.plan.params, self.memory, self.book)


def recorded(run: Recorder, candles: Candles = CANDLES, **known: Any) -> Recorded:
    for row in candles.rows():
        run.take(row)
    told = {"strategy_id": "case", "symbol": candles.symbol, "reason": run.plan.fill_reason}
    fills = tuple(fill_of(row, **told) for row in run.fills)
    denied = {**denied_of(np.array(run.decisions)), **run.denied}
    options: dict[str, Any] = {"document": DOCUMENT, "market": MARKET, "limits": FREE, "cash": CASH, "candles": candles}
    return Recorded("case", candles.symbol, fills, denied=denied, **(options | known))


def recorder(candles: Candles = CANDLES) -> Recorder:
    return Recorder(configure(DOCUMENT, candles, market=MARKET)[0])


def one(report: ParityReport, cause: str) -> None:
    """Assert the law: one cause explains the gap, no other appears, the amounts add up."""
    assert report.causes.keys() == {cause}, str(report)
    assert report.total != 0.0
    assert math.isclose(report.causes[cause], report.total, rel_tol=1e-9)
    assert math.isclose(sum(row.amount for row in report.differences), report.total, rel_tol=1e-9)
    assert math.isclose(report.frame["amount"].sum(), report.total, rel_tol=1e-9)
    assert report.explained is not None and report.explained >= 0.95
    assert cause in CAUSES and cause in repr(report) and cause in report._repr_html_()


def reference(candles: Candles = CANDLES, **options: Any) -> Backtest:
    known: dict[str, Any] = {"market": MARKET, "limits": FREE, "cash": CASH, "decisions": True}
    return backtest(DOCUMENT, candles, **(known | options))


def test_what_does_not_differ_has_no_cause() -> None:
    test, run = reference(), recorder()
    record = recorded(run)
    assert np.array_equal(np.array(run.fills), test.fill_rows) and len(test.fill_rows) > 60
    for source in (record, test, test.saved()):
        report = explain(source, CANDLES)
        assert report.identical and report and not report.causes and report.total == 0.0
        assert report.model_pnl == pytest.approx(test.equity_curve[-1] - test.capital, rel=1e-9)
        assert "identical" in repr(report) and report.explained is None


def test_slippage_of_another_setting() -> None:
    costs = {"execution": {"simulation": {"slippage": 0.0004}}}
    one(explain(reference(overrides=costs), CANDLES, DOCUMENT), "slippage")
    one(explain(reference(overrides=costs).saved(), CANDLES, DOCUMENT), "slippage")


def test_slippage_of_each_fill() -> None:
    run, rng = recorder(), np.random.default_rng(3)

    def bend(run: Recorder, fill: Floats) -> None:
        if fill[at.F_REASON] < at.REASON_TARGET or fill[at.F_REASON] >= at.REASON_EXIT:
            fill[at.F_PRICE] *= 1.0 + fill[at.F_SIGN] * rng.uniform(0.0005, 0.001)
            fill[at.F_FEE] = 0.001 * fill[at.F_PRICE] * fill[at.F_QUANTITY]

    run.bend = bend
    one(explain(recorded(run), CANDLES), "slippage")


def test_fee_of_another_setting_and_of_each_fill() -> None:
    costs = {"execution": {"simulation": {"taker_fee": 0.0025}}}
    one(explain(reference(overrides=costs), CANDLES, DOCUMENT), "fee")
    one(explain(reference(market=replace(MARKET, taker_fee=0.0004)), CANDLES, market=MARKET), "fee")
    run = recorder()
    run.bend = lambda run, fill: fill.__setitem__(at.F_FEE, fill[at.F_FEE] * 1.5)
    one(explain(recorded(run), CANDLES), "fee")


def test_missed_candles() -> None:
    test = reference()
    place = int(np.searchsorted(CANDLES.open_time_ms, test.fill_rows[8, at.F_TIME]))
    kept = np.ones(len(CANDLES), bool)
    kept[place : place + 3] = False
    names = ("open", "high", "low", "close", "volume")
    columns = {name: getattr(CANDLES, name)[kept] for name in names}
    holed = Candles(CANDLES.symbol, "1m", CANDLES.open_time_ms[kept], **columns)
    one(explain(reference(holed), CANDLES), "missed candle")
    one(explain(reference(holed).saved(), CANDLES), "missed candle")
    one(explain(recorded(recorder(holed), holed), CANDLES), "missed candle")


def test_a_fill_that_moved_without_money_is_no_parity() -> None:
    record = recorded(recorder())
    fills = list(record.fills)
    last = max(k for k, fill in enumerate(fills) if fill.reason == "stop")
    fills[last] = replace(fills[last], time_ms=fills[last].time_ms + MINUTE)
    report = explain(replace(record, fills=tuple(fills)), CANDLES)
    assert not report.identical and report.causes.keys() == {"unexplained"}
    assert report.total == pytest.approx(0.0, abs=1e-9)


def test_revised_candles() -> None:
    test = reference()
    place = int(np.searchsorted(CANDLES.open_time_ms, test.fill_rows[8, at.F_TIME]))
    columns = {name: getattr(CANDLES, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for name in ("open", "high", "low", "close"):
        columns[name][place] *= 1.004
    other = Candles(CANDLES.symbol, "1m", CANDLES.open_time_ms, **columns)
    one(explain(reference(other), CANDLES), "data revision")
    one(explain(recorded(recorder(other), other), CANDLES), "data revision")
    one(explain(reference(other).saved(), CANDLES), "data revision")  # of which only a hash is kept
    assert explain(reference(other).saved(), CANDLES).notes


def test_a_delayed_fill() -> None:
    run, held = recorder(), {"from": 0.0}

    def before(run: Recorder, row: Floats) -> bool:
        if run.entries == 6 and run.book[at.B_ORDER] == at.ORDER_ENTRY:
            held["from"] = held["from"] or row[at.C_TIME]
            return bool(row[at.C_TIME] >= held["from"] + 3 * MINUTE)
        return True

    run.before = before
    one(explain(recorded(run), CANDLES), "latency")


def test_a_fill_late_within_its_candle() -> None:
    run = recorder()

    def bend(run: Recorder, fill: Floats) -> None:
        if run.entries in (4, 9) and fill[at.F_REASON] == at.REASON_ENTRY:
            fill[at.F_TIME] += 20_000.0
            fill[at.F_PRICE] *= 1.001
            fill[at.F_FEE] *= 1.001

    run.bend = bend
    one(explain(recorded(run), CANDLES), "latency")


def test_a_partial_fill() -> None:
    run = recorder()

    def bend(run: Recorder, fill: Floats) -> None:
        if run.entries == 5 and fill[at.F_REASON] == at.REASON_ENTRY:
            share = math.floor(fill[at.F_QUANTITY] * 600.0) / 1000.0 / fill[at.F_QUANTITY]
            fill[[at.F_QUANTITY, at.F_FEE]] *= share

    run.bend = bend
    one(explain(recorded(run), CANDLES), "partial fill")


def test_rounding_to_other_steps() -> None:
    coarse = replace(MARKET, lot=0.5)
    one(explain(reference(market=coarse), CANDLES, market=MARKET), "rounding")
    run = recorder()

    def bend(run: Recorder, fill: Floats) -> None:
        price = round(fill[at.F_PRICE] / 0.01) * 0.01
        fill[at.F_FEE] *= price / fill[at.F_PRICE]
        fill[at.F_PRICE] = price

    run.bend = bend
    one(explain(recorded(run), CANDLES), "rounding")


def deny(code: str) -> Recorded:
    """Return a run in which the seventh entry was denied."""
    run = recorder()

    def before(run: Recorder, row: Floats) -> bool:
        if run.entries == 6 and run.book[at.B_ORDER] == at.ORDER_ENTRY and not run.denied:
            run.denied[int(run.book[at.B_ORDER_MS]) - MINUTE] = code
            run.book[[at.B_ORDER, at.B_RESERVED]] = 0.0
        return True

    run.before = before
    return recorded(run)


def test_a_denied_entry() -> None:
    one(explain(deny("exposure_account"), CANDLES), "risk denial")
    one(explain(deny("paused"), CANDLES), "manual action")
    strict = reference(limits=AccountLimits(max_drawdown=0.01))
    assert strict.denials
    one(explain(strict, CANDLES, limits=FREE), "risk denial")


def test_a_persons_close() -> None:
    run, done = recorder(), []

    def before(run: Recorder, row: Floats) -> bool:
        if run.entries == 7 and run.book[at.B_QUANTITY] != 0.0 and run.book[at.B_HELD] == 2.0 and not done:
            done.append(row)
            fill = np.zeros(at.W_FILL)
            quantity, price = abs(run.book[at.B_QUANTITY]), row[at.C_OPEN] * 0.999
            sign = -math.copysign(1.0, run.book[at.B_QUANTITY])
            fill[[at.F_SIGN, at.F_QUANTITY, at.F_PRICE, at.F_REASON]] = sign, quantity, price, at.REASON_MANUAL
            fill[[at.F_TIME, at.F_FEE]] = row[at.C_TIME], 0.001 * quantity * price
            run.put(fill)
        return True

    run.before = before
    one(explain(recorded(run), CANDLES), "manual action")
    assert done


def test_funding() -> None:
    one(explain(recorded(recorder(), funding=-12.5), CANDLES), "funding")


def test_several_causes_add_up() -> None:
    run = recorder()

    def bend(run: Recorder, fill: Floats) -> None:
        fill[at.F_FEE] *= 2.0
        if fill[at.F_REASON] == at.REASON_ENTRY:
            fill[at.F_PRICE] *= 1.0 + fill[at.F_SIGN] * 0.0007
            fill[at.F_FEE] *= 1.0 + fill[at.F_SIGN] * 0.0007

    run.bend = bend
    report = explain(recorded(run, funding=3.0), CANDLES)
    assert report.causes.keys() == {"fee", "slippage", "funding"}
    assert math.isclose(sum(report.causes.values()), report.total, rel_tol=1e-9)


def test_what_nothing_explains_is_called_so() -> None:
    record = recorded(recorder())
    fills = list(record.fills)
    fills[20] = replace(fills[20], side="sell" if fills[20].side == "buy" else "buy")
    report = explain(replace(record, fills=tuple(fills)), CANDLES)
    assert "unexplained" in report.causes
    assert math.isclose(sum(report.causes.values()), report.total, rel_tol=1e-9)


def test_engines_files_and_journals(tmp_path: Path) -> None:
    costs = {"execution": {"simulation": {"slippage": 0.0003}}}
    run = tmp_path / "run.json.gz"
    reference(overrides=costs).save(run)
    one(explain(load_run(run), CANDLES, DOCUMENT), "slippage")
    path = tmp_path / "paper.db"
    part = CANDLES[:500]
    with Engine("explained", candles=part, markets=[MARKET], cash=CASH, limits=FREE, journal=path) as engine:
        key = engine.add(DOCUMENT, part.symbol, overrides=costs)
        engine.activate(key)
        engine.step(len(part))
        one(explain(engine, part, DOCUMENT), "slippage")
        assert explain(engine, part).identical
    known: dict[str, Any] = {"market": MARKET, "cash": CASH, "limits": FREE}
    one(explain(path, part, DOCUMENT, strategy_id=key, **known), "slippage")
    assert explain(path, part, **known).identical
    with pytest.raises(ConfigError, match="did you mean"):
        explain(path, part, strategy_id=f"{key}x", **known)


def test_a_strategy_that_was_activated_later(tmp_path: Path) -> None:
    part, known = CANDLES[:600], {"market": MARKET, "cash": CASH, "limits": FREE}
    path = tmp_path / "late.db"
    with Engine("later", candles=part, markets=[MARKET], cash=CASH, limits=FREE, journal=path) as engine:
        key = engine.add(DOCUMENT, part.symbol)
        engine.step(200)
        engine.activate(key)
        engine.step(len(part))
        fills = engine.desk.lane(key).context.book.fills()
        assert len(fills) > 6 and fills[0].time_ms >= part.open_time_ms[200]
        assert explain(engine, part).identical
    assert explain(path, part, **known).identical


@pytest.mark.parametrize(
    ("source", "candles", "code"),
    [
        (object(), CANDLES, "type"),
        (Recorded("case", CANDLES.symbol, ()), CANDLES, "strategy_missing"),
        (Recorded("case", "BBB/USDT", ()), CANDLES, "symbol_mismatch"),
        (Recorded("case", CANDLES.symbol, ()), CANDLES[:0], "no_candles"),
    ],
)
def test_wrong_input_is_an_error(source: Any, candles: Candles, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain(source, candles)
    assert caught.value.code == code


def test_a_name_with_markup_is_escaped() -> None:
    report = explain(recorded(recorder(), funding=-1.0), CANDLES)
    assert "<script>" not in replace(report, name="<script>")._repr_html_()
    assert isinstance(MARKET, Market)
