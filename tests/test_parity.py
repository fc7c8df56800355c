"""The engine on paper and the backtest do the same, to the last bit, for every shipped strategy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratnb.kernels import layout as at
from stratnb.market_data import load_candles, synthetic_market
from stratnb.market_data.candles import Candles
from stratnb.parity import parity
from stratnb.research.backtest import Backtest
from stratnb.services.ledger import AccountLimits
from stratnb.strategy.documents import build_config, library
from trading_cases import FREE, document, market, merged, registered, wander

SHARED = Path(__file__).parents[2] / "shared" / "data"
FINE = {"timeframes": {"primary": "1m", "trend": "15m", "entry": None}}


@pytest.fixture(autouse=True, scope="module")
def test_blocks() -> Iterator[None]:
    with registered():
        yield


def holed(candles: Candles, seed: int, holes: int) -> Candles:
    """Return the candles with some stretches taken out."""
    rng, kept = np.random.default_rng(seed), np.ones(len(candles), bool)
    for start in rng.integers(1, len(candles) - 1, holes):
        kept[start : start + int(rng.integers(1, 90))] = False
    columns = (getattr(candles, name)[kept] for name in ("open", "high", "low", "close", "volume"))
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms[kept], *columns)


MINUTES = synthetic_market(["SOL/USDT"], candles=3500, seed=19)[0]


@pytest.mark.parametrize("name", library())
@pytest.mark.parametrize("fine", [True, False], ids=["own-candles", "finer-candles"])
def test_every_shipped_strategy(name: str, fine: bool) -> None:
    candles = holed(MINUTES, 7, 14)
    verdict = parity(name, candles, overrides=FINE if fine else None)
    assert verdict, str(verdict)
    assert verdict.candles == len(candles)
    if fine:
        assert verdict.fills > 0


EVERYTHING: dict[str, Any] = {
    "stop_loss": {"basis": "atr", "multiple": 1.0},
    "take_profit": {
        "levels": [
            {"at": 0.003, "close": 0.4, "on_hit": ["breakeven"]},
            {"at": 0.008, "close": 0.3, "on_hit": ["trail"]},
        ]
    },
    "breakeven": {"offset": 0.0005},
    "trailing": {"basis": "atr"},
    "signal_exit": {},
    "time_exit": {"max_candles": 60},
}


@pytest.mark.parametrize("limits", [None, FREE], ids=["default-limits", "no-limits"])
@pytest.mark.parametrize("seed", range(3))
def test_all_exits_shorts_gaps_and_lost_days(limits: AccountLimits | None, seed: int) -> None:
    doc = document(
        market={"kind": "linear"},
        timeframes={"primary": "3m", "trend": "15m"},
        analyzers=[{"kind": "scripted", "weight": 0.6}, {"kind": "ema", "timeframe": "trend", "weight": 0.4}],
        entry={"mode": "coverage", "min_candles": 5, "min_score": 0.1},
        sizing={"kind": "risk", "fraction": 0.01},
        exits=EVERYTHING,
        execution={"leverage": 3},
        filters={"trend_alignment": {"on_missing": "allow"}, "time_window": {"start_hour": 1, "end_hour": 23}},
    )
    candles = wander(3000, seed, gaps=60, start_ms=1_600_041_600_000 + 60_000 * seed, move=0.006)
    verdict = parity(doc, candles, market=market(kind="linear", max_leverage=5.0), limits=limits)
    assert verdict, str(verdict)
    assert verdict.trades > 10


def test_the_verdict_names_the_first_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["stratnb.parity"]
    real = module.backtest

    def bent(*args: Any, **kwargs: Any) -> Backtest:
        result = real(*args, **kwargs)
        result.fill_rows[1, at.F_PRICE] = np.nextafter(result.fill_rows[1, at.F_PRICE], np.inf)
        return result

    monkeypatch.setattr(module, "backtest", bent)
    verdict = parity(document(), wander(400, 2), market=market())
    assert not verdict
    assert "fill 1, price" in verdict.difference
    assert "different" in str(verdict)


@pytest.mark.parametrize("name", ["ada_btc_5m_2018", "btc_perp_1m_2022-01"])
@pytest.mark.parametrize("strategy", ["simple-levels", "trend-rider"])
def test_recorded_candles(name: str, strategy: str) -> None:
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        pytest.skip("the recorded candles are not here")
    candles, _ = load_candles(path, repair="all")
    verdict = parity(strategy, candles[:6000])
    assert verdict, str(verdict)


def test_a_merged_override_is_used_by_both() -> None:
    verdict = parity(document(), wander(400, 2), market=market(), overrides=merged({"sizing": {"quantity": 2.0}}))
    assert verdict, str(verdict)


def test_a_configuration_instead_of_a_document() -> None:
    config = build_config(document(), symbol="AAA/USDT").config
    for overrides in (None, {"sizing": {"quantity": 3.0}}):
        verdict = parity(config, wander(400, 2), market=market(), overrides=overrides)
        assert verdict, str(verdict)
        assert verdict.fills > 0
