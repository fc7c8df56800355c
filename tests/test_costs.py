"""The cost model against values worked out by hand, and on paper as in a backtest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from stratnb.kernels import layout as at
from stratnb.parity import parity
from stratnb.research.backtest import Backtest, backtest
from trading_cases import FREE, LONG, SHORT, document, fills_of, flat, market, merged, registered, series, wander

FEE = 0.001
LADDER: dict[str, Any] = {
    "stop_loss": {"fraction": 0.02},
    "take_profit": {"levels": [{"at": 0.01, "close": 0.5}, {"at": 0.02, "close": 0.5}]},
}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def costs(**simulation: Any) -> dict[str, Any]:
    """Return a linear document with these costs."""
    return document(
        market={"kind": "linear", "direction": "both"},
        exits=LADDER,
        execution={"simulation": simulation, "max_slippage": 0.1},
    )


def trade(rows: list[Any], sign: float = LONG, **simulation: Any) -> Backtest:
    """Signal at the close of one quiet candle, then show the rows."""
    candles = series([*flat(1, volume=sign), *rows])
    return backtest(costs(**simulation), candles, market=market(kind="linear"), cash=1e6, limits=FREE)


@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_half_a_spread_is_paid_on_each_side(sign: float) -> None:
    result = trade([(100, 100, 100, 100), (90, 90, 90, 90) if sign == LONG else (110, 110, 110, 110)], sign,
                   slippage_model="spread", half_spread=0.0004, slippage=0.05)  # fmt: skip
    side = 1 if sign == LONG else -1
    entry, stop = result.fill_rows[:, at.F_PRICE]
    assert entry == 100 * (1 + side * 0.0004)
    assert stop == pytest.approx((90 if side > 0 else 110) * (1 - side * 0.0004), rel=1e-15)


@pytest.mark.parametrize(("volume", "quantity"), [(4.0, 1.0), (0.25, 1.0), (0.001, 1.0), (0.0, 1.0)])
def test_slippage_by_volume_grows_with_the_root_of_its_share(volume: float, quantity: float) -> None:
    result = trade([(100, 100, 100, 100, volume)], slippage_model="volume", slippage_factor=0.01, slippage=0.0007)
    paid = min(0.01 * math.sqrt(quantity / volume), 0.1) if volume else 0.0007
    assert result.fill_rows[0, at.F_PRICE] == 100 * (1 + paid)


def test_slippage_by_volatility_is_a_multiple_of_the_natr() -> None:
    quiet = [(100.0, 101.0, 99.0, 100.0, 1.0)] * 20
    candles = series([*quiet, (100, 101, 99, 100, LONG), (100, 100.5, 99.5, 100), (100, 100, 100, 100)])
    doc = costs(slippage_model="volatility", slippage_factor=0.5, slippage=0.0007)
    result = backtest(doc, candles, market=market(kind="linear"), cash=1e6, limits=FREE, decisions=True)
    assert result.fill_rows[0, at.F_PRICE] == pytest.approx(100 * (1 + 0.5 * 0.02), rel=1e-12)
    planned = result.decision_rows[20, at.D_SLIPPAGE]
    assert planned == pytest.approx(0.01, rel=1e-12)
    early = backtest(doc, series([*flat(1, volume=LONG), *flat(2)]), market=market(kind="linear"), cash=1e6)
    assert early.fill_rows[0, at.F_PRICE] == 100 * (1 + 0.0007)


@pytest.mark.parametrize(("touch", "expected"), [(True, ["entry", "target_1"]), (False, ["entry"])])
def test_a_touched_target_fills_where_that_is_chosen(touch: bool, expected: list[str]) -> None:
    result = trade([(100, 100, 100, 100), (100, 101, 100, 100)], slippage=0.0, touch=touch)
    assert [reason for reason, _, _ in fills_of(result.fill_rows, result.plan)] == expected


@pytest.mark.parametrize("sign", [LONG, SHORT])
def test_the_end_closes_an_open_position_with_its_costs(sign: float) -> None:
    rows = [(100, 100, 100, 100), (100, 100.5, 99.5, 100.5)]
    kept, closed = (trade(rows, sign, slippage=0.001, end=end) for end in ("mark", "close"))
    side = 1 if sign == LONG else -1
    assert kept.figures["open_quantity"] == side
    assert closed.figures["open_quantity"] == 0.0
    (last,) = closed.closed_trades
    price = 100.5 * (1 - side * 0.001)
    assert (last.reason, last.exit_ms) == ("end_of_data", int(closed.close_ms[-1]))
    assert last.exit_price == price
    entry = 100 * (1 + side * 0.001)
    assert last.pnl == pytest.approx(side * (price - entry) - FEE * (price + entry), rel=1e-12)
    assert closed.equity_curve[-1] == pytest.approx(1e6 + last.pnl, rel=1e-15)
    assert (closed.equity_curve[:-1] == kept.equity_curve[:-1]).all()


def test_an_order_that_waits_at_the_end_is_dropped() -> None:
    result = trade([(100, 100, 100, 100), (100, 100, 100, 100)], end="close")
    again = backtest(costs(end="close"), series([*flat(3), *flat(1, volume=LONG)]), market=market(kind="linear"))
    assert len(result.closed_trades) == 1
    assert len(again.fill_rows) == 0 and again.book[at.B_RESERVED] == 0.0


@pytest.mark.parametrize(
    "simulation",
    [
        {"slippage_model": "volume", "slippage_factor": 0.002, "touch": True},
        {"slippage_model": "volatility", "slippage_factor": 0.3},
        {"slippage_model": "spread"},
    ],
    ids=["volume", "volatility", "spread"],
)
def test_paper_pays_the_same(simulation: dict[str, Any]) -> None:
    doc = merged(costs(**simulation), {"sizing": {"kind": "risk", "fraction": 0.01}})
    verdict = parity(doc, wander(900, 5, gaps=20), market=market(kind="linear"), limits=FREE)
    assert verdict, str(verdict)
    assert verdict.trades > 5
