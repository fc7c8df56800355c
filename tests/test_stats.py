"""Statistics three times: counted while it works, folded from the strategies', computed again from the journal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.engine import Engine
from stratnb.journal import JournalReader
from stratnb.kernels import layout as at
from stratnb.multi.stats import StrategyStats, SystemStats, daily_sharpe, stats_of, system_of
from stratnb.multi.stats_fold import fold_strategy, fold_system, walk
from stratnb.services.daily import DAY_MS, sharpe
from trading_cases import FREE, LONG, START_MS, document, flat, market, registered, series, wander

EXITS = {"stop_loss": {"fraction": 0.006}, "take_profit": {"levels": [{"at": 0.004, "close": 1.0}]}, "signal_exit": {}}
LADDER = {
    "stop_loss": {"fraction": 0.01},
    "take_profit": {"levels": [{"at": 0.003, "close": 0.5}, {"at": 0.006, "close": 0.5}]},
}
FIELDS = (
    *("strategy_id", "name", "symbol", "label", "state", "loaded_ms", "uptime_s", "open_positions"),
    *("closed_positions", "total_trades", "wins", "losses", "realized_pnl", "unrealized_pnl", "total_pnl", "fees"),
    *("funding", "win_rate", "profit_factor", "max_drawdown", "sharpe", "avg_hold_s", "best_trade", "worst_trade"),
    *("last_trade_ms", "candles", "decisions", "entries", "denials_by_code", "slippage_mean"),
)
SYSTEM = (
    *("mode", "total_strategies", "active", "managing", "suspended", "dormant", "failed", "open_positions"),
    *("closed_positions", "total_trades", "combined_pnl", "overall_win_rate", "overall_max_drawdown", "by_pnl"),
    *("memory_bytes", "uptime_s", "updated_ms"),
)


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def engine_on(candles: Any, **options: Any) -> Engine:
    known = {"cash": 10_000.0, "limits": FREE, "mode": "parallel", "markets": [market(), market("BBB/USDT")], **options}
    return Engine("case", candles=candles, **known)


def markets(n: int = 5_000) -> list[Any]:
    return [wander(n, 3, gaps=5), wander(n, 4, symbol="BBB/USDT")]


def unlike(one: Mapping[str, Any], two: Mapping[str, Any], where: str = "") -> list[str]:
    """Return the fields that differ, numbers by more than rounding."""
    assert one.keys() == two.keys()
    found = []
    for name, left in one.items():
        right = two[name]
        if isinstance(left, float) and isinstance(right, float):
            same = math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
        elif name == "by_pnl":
            found += [line for a, b in zip(left, right, strict=True) for line in unlike(a, b, a["strategy_id"])]
            continue
        else:
            same = left == right
        if not same:
            found.append(f"{where} {name}: {left!r} and {right!r}")
    return found


def check(engine: Engine, path: Path) -> None:
    """Compare counters, fold and journal."""
    engine.list()
    live = system_of(engine.desk)
    engine._operations._record.recorder.flush()  # type: ignore[union-attr]
    with JournalReader.open(path) as reader:
        again = fold_system(reader)
        for lane in engine.desk.lanes():
            key = lane.context.strategy_id
            assert unlike(asdict(stats_of(engine.desk, lane)), asdict(fold_strategy(reader, key)), key) == []
    assert (
        unlike({**asdict(live), "memory_bytes": 0, "mode": ""}, {**asdict(again), "memory_bytes": 0, "mode": ""}) == []
    )
    books, account = engine.desk.services.positions.books, engine.desk.services.positions.account
    assert live.total_trades == books[:, at.B_TRADES].sum()
    assert live.open_positions == (books[:, at.B_QUANTITY] != 0).sum()
    combined = account[at.A_EQUITY] - engine.desk.services.positions.cash - engine.desk.services.positions.removed_pnl
    assert live.combined_pnl == pytest.approx(combined, abs=1e-6)


def test_the_fields_are_those_of_the_specification() -> None:
    assert tuple(field.name for field in fields(StrategyStats)) == FIELDS
    assert tuple(field.name for field in fields(SystemStats)) == SYSTEM


def test_counters_fold_and_journal_agree_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "engine.sqlite"
    with engine_on(markets(), journal=path) as engine:
        first = engine.add(document(exits=EXITS, capital={"amount": 0.4}), "AAA/USDT")
        second = engine.add(document("other", exits=LADDER, capital={"amount": 0.3}), "BBB/USDT")
        engine.add(document("rests"), "AAA/USDT")
        engine.activate(first)
        engine.step(700)
        engine.activate(second)
        engine.step(900)
        check(engine, path)
        engine.pause(first)
        engine.step(200)
        engine.resume(first)
        engine.step(300)
        if engine.desk.lane(second).context.book.quantity:
            engine.close_position(second, 1.0)
        check(engine, path)
    for count in (400, 600):
        with engine_on(markets(), journal=path) as engine:
            check(engine, path)
            engine.step(count)
            check(engine, path)
            found = stats_of(engine.desk, engine.desk.lane(first))
    assert found.total_trades > 20
    assert found.sharpe is not None
    assert found.uptime_s < (engine.desk.now_ms() - found.loaded_ms) / 1000.0


def test_a_removed_strategy_stays_in_the_accounts_drawdown(tmp_path: Path) -> None:
    path = tmp_path / "engine.sqlite"
    with engine_on(markets(2_000), journal=path) as engine:
        first = engine.add(document(exits=EXITS), "AAA/USDT")
        second = engine.add(document("other", exits=LADDER), "BBB/USDT")
        for key in (first, second):
            engine.activate(key)
        engine.step(600)
        engine.remove(first, policy="close")
        engine.step(500)
        check(engine, path)


def test_undefined_ratios_are_none() -> None:
    with engine_on([series(flat(50))]) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(50)
        found = stats_of(engine.desk, engine.desk.lane(key))
        assert (found.win_rate, found.profit_factor, found.sharpe, found.avg_hold_s) == (None,) * 4
        assert (found.best_trade, found.worst_trade, found.last_trade_ms, found.slippage_mean) == (None,) * 4
        assert (found.decisions, found.candles, found.uptime_s) == (50, 50, 3_000.0)


def test_slippage_is_what_orders_at_market_lost() -> None:
    rows = [*flat(1, volume=LONG), *flat(3), (100, 100, 90, 95), *flat(2, 95.0)]
    with engine_on([series(rows)]) as engine:
        key = engine.add(document())
        engine.activate(key)
        engine.step(len(rows))
        assert engine.stats(key)["total_trades"] == 1
        assert engine.stats(key)["slippage_mean"] == pytest.approx(0.001)


def test_the_best_comes_first_and_ties_by_id() -> None:
    with engine_on(markets(2_000)) as engine:
        keys = [engine.add(document(), "AAA/USDT", label=label) for label in ("b", "a")]
        keys.append(engine.add(document(exits=EXITS), "BBB/USDT"))
        engine.activate(keys[2])
        engine.step(1_000)
        ranked = system_of(engine.desk).by_pnl
        assert [row.total_pnl for row in ranked] == sorted((row.total_pnl for row in ranked), reverse=True)
        idle = [row.strategy_id for row in ranked if row.total_pnl == 0.0]
        assert idle == sorted(idle)
        frame = engine.stats_frame()
        assert set(FIELDS) <= set(frame.columns)


def test_the_sharpe_ratio_of_a_day_series_by_hand() -> None:
    days = np.array([1, 2, 3, 4]) * DAY_MS + START_MS
    values = np.array([110.0, 99.0, 99.0, 120.0])
    ratio, n = daily_sharpe(days, values, capital=100.0, begin_ms=START_MS, now_ms=int(days[-1]), equity=120.0)
    returns = np.array([0.0, 0.1, -0.1, 0.0, 120 / 99 - 1])[1:]
    assert n == 4
    assert ratio == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365))
    assert ratio == pytest.approx(sharpe(returns))
    assert daily_sharpe(days[:0], values[:0], capital=1.0, begin_ms=5, now_ms=5, equity=1.0) == (None, 0)


def test_a_walk_of_a_ledger_by_hand() -> None:
    """Bought 2 at 100 at the open of the second candle, sold by hand at 90 between the third and the fourth."""
    candles = series([(100, 100, 100, 100), (100, 110, 100, 110), (110, 110, 90, 90), (95, 95, 95, 95)]).rows()
    bought = {"kind": "fill", "quantity": 2.0, "price": 100.0, "realized": 0.0, "fee": 1.0, "position_after": 2.0}
    sold = {"kind": "fill", "quantity": -2.0, "price": 90.0, "realized": -20.0, "fee": 1.0, "position_after": 0.0}
    when = [START_MS + 60_000 * k for k in range(5)]
    ledger = [
        {**bought, "time_ms": when[1], "ts_ns": when[2] * 1_000_000},
        {**sold, "time_ms": when[3], "ts_ns": when[3] * 1_000_000},
    ]
    found = walk(ledger, candles, step_ms=60_000)
    assert found.result.tolist() == [0.0, 19.0, -21.0, -22.0, -22.0]
    assert found.drawdown(100.0) == pytest.approx(1 - 78 / 119)
    assert found.quantity == 0.0
